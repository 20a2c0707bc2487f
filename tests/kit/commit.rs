//! Commit blocks: the signed root of a repo.

use std::borrow::Cow;

use carrack_schema::Cid;

use crate::cbor::Value;
use crate::key::Key;

/// A commit's fields without its signature, in any order.
pub type Fields = Vec<(Cow<'static, str>, Value)>;

/// Returns the fields of a version 3 commit.
///
/// DID and revision are plain text, so that wrong ones can be signed as well.
pub fn fields(did: &str, rev: &str, data: Cid) -> Fields {
    vec![
        ("did".into(), Value::text(did)),
        ("version".into(), Value::Int(3)),
        ("data".into(), Value::Link(data)),
        ("rev".into(), Value::text(rev)),
        ("prev".into(), Value::Null),
    ]
}

/// Returns the commit block: the fields and, as `sig`, the signature over them.
pub fn signed(fields: Fields, key: &Key) -> Vec<u8> {
    let signature = key.sign(&signing_bytes(&fields));
    with_signature(fields, signature.to_vec())
}

/// Returns the bytes a commit's signature is made over.
pub fn signing_bytes(fields: &Fields) -> Vec<u8> {
    Value::Map(fields.clone()).encode()
}

/// Returns the commit block with any bytes as its signature.
pub fn with_signature(mut fields: Fields, signature: Vec<u8>) -> Vec<u8> {
    fields.push(("sig".into(), Value::Bytes(signature)));
    Value::Map(fields).encode()
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::signature::Verifier;

    use super::*;
    use crate::cbor::cid_of;
    use crate::key::Curve;
    use crate::rng::Rng;

    #[test]
    fn signature_covers_the_block_without_it() {
        let data = cid_of(b"");
        let Key::K256(key) = Key::random(Curve::K256, &mut Rng::new(1)) else {
            panic!()
        };
        let fields = fields("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "3jzfcijpj2z2a", data);
        let block = signed(fields, &Key::K256(key.clone()));

        // {"did", "rev", "sig", "data", "prev", "version"}: cut the third entry out by hand.
        assert_eq!(block[0], 0xa6);
        let start = block
            .windows(6)
            .position(|bytes| bytes == b"\x63sig\x58\x40")
            .unwrap();
        let end = start + 6 + 64;
        let message = [&[0xa5], &block[1..start], &block[end..]].concat();
        assert_eq!(
            message.len(),
            118,
            "the size of every such commit of a did:plc"
        );
        let signature = k256::ecdsa::Signature::from_slice(&block[start + 6..end]).unwrap();
        key.verifying_key().verify(&message, &signature).unwrap();
    }
}
