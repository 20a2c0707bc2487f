//! DID documents: what is read of one is what a plain document that says only that would say.

use carrack_repo::did_document::{DID_DOCUMENT_BYTES_MAX, HANDLE_BYTES_MAX, HANDLES_MAX};
use carrack_repo::{DidDocument, ErrorKind, PublicKey};
use carrack_schema::Did;
use serde_json::json;

/// The longest message about a document that is none: what it quotes is cut.
const ERROR_BYTES_MAX: usize = 1_024;

/// Takes the input as a DID document.
///
/// - What was read, written as the plainest document, reads the same; a blank after it changes nothing.
/// - Handles are within their limits; the key's text is the key.
/// - It is the document of the DID it names and of no other.
/// - An error quotes no more than it should.
pub fn run(data: &[u8]) {
    let document = match DidDocument::parse(data) {
        Ok(document) => document,
        Err(error) => {
            assert!(error.to_string().len() <= ERROR_BYTES_MAX, "{error}");
            let is_long = data.len() > DID_DOCUMENT_BYTES_MAX;
            assert_eq!(error.kind() == ErrorKind::LimitExceeded, is_long, "{error}");
            return;
        }
    };
    assert!(document.handles.len() <= HANDLES_MAX);
    for handle in &document.handles {
        assert!((1..=HANDLE_BYTES_MAX).contains(&handle.len()) && handle.is_ascii());
    }
    assert!(document.check_id(&document.id).is_ok());
    let other: Did = "did:web:fuzz.example.com".parse().expect("a DID");
    assert_eq!(document.check_id(&other).is_ok(), document.id == other);

    if data.len() < DID_DOCUMENT_BYTES_MAX {
        let spaced = [data, b"\n"].concat();
        assert_eq!(DidDocument::parse(&spaced).ok().as_ref(), Some(&document));
    }
    let plain = plain(&document).to_string();
    assert_eq!(
        DidDocument::parse(plain.as_bytes()).ok().as_ref(),
        Some(&document)
    );
}

fn plain(document: &DidDocument) -> serde_json::Value {
    let id = document.id.as_str();
    let names: Vec<_> = document
        .handles
        .iter()
        .map(|handle| format!("at://{handle}"))
        .collect();
    let method = |key: &PublicKey| {
        let text = key.to_string();
        assert_eq!(text.parse::<PublicKey>().ok().as_ref(), Some(key));
        let multikey = text.strip_prefix("did:key:").expect("a did:key");
        assert_eq!(PublicKey::from_multikey(multikey).ok().as_ref(), Some(key));
        json!({
            "id": format!("{id}#atproto"),
            "type": "Multikey",
            "controller": id,
            "publicKeyMultibase": multikey,
        })
    };
    let methods: Vec<_> = document.signing_key.iter().map(method).collect();
    json!({ "id": id, "alsoKnownAs": names, "verificationMethod": methods })
}
