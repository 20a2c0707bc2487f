//! Strict DAG-CBOR: `carrack_repo::cbor` against an oracle that knows another way to say "canonical".

use carrack_repo::cbor::{Reader, validate};
use carrack_schema::limits::CBOR_DEPTH_MAX;

use super::oracle;

/// Takes the input as a block.
///
/// - It is valid if and only if what it says, encoded again, is the same bytes.
/// - Each token, encoded again, is the bytes it was read from, also before a fault.
/// - Reading token by token, skipping and validating come to the same verdict.
pub fn run(data: &[u8]) {
    let verdict = validate(data);
    assert_eq!(verdict.is_ok(), oracle::is_canonical(data), "{verdict:?}");

    let mut reader = Reader::new(data);
    let tokens = loop {
        let start = reader.position();
        match reader.next_token() {
            Ok(Some(token)) => {
                assert_eq!(oracle::write_token(&token), data[start..reader.position()]);
                assert!(reader.depth() <= CBOR_DEPTH_MAX);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(tokens, verdict, "token by token");
    if let Err(error) = verdict {
        assert!(error.offset <= data.len());
    }

    let mut reader = Reader::new(data);
    let skipped = reader.skip().and_then(|()| reader.finish());
    assert_eq!(skipped, verdict, "skipped");
}
