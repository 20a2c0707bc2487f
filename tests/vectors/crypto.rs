//! Keys and signatures (CM3, CM4).

use carrack_repo::PublicKey;
use carrack_repo::key::Curve;
use kit::key::Key;
use serde_json::Value;

use crate::json::base64;
use crate::places::{committed, list};
use crate::tally::Tally;

fn vectors(name: &str) -> Vec<Value> {
    list(committed(&format!(
        "atproto-interop-tests/crypto/{name}.json"
    )))
}

#[test]
fn signatures() {
    let mut tally = Tally::new("crypto/signature-fixtures");
    for vector in vectors("signature-fixtures") {
        let comment = &vector["comment"];
        let key: PublicKey = vector["publicKeyDid"].as_str().unwrap().parse().unwrap();
        let curve = match vector["algorithm"].as_str() {
            Some("ES256") => Curve::P256,
            Some("ES256K") => Curve::K256,
            other => panic!("{other:?}"),
        };
        assert_eq!(key.curve(), curve, "{comment}");
        // The same key as old DID documents have it.
        let legacy = vector["publicKeyMultibase"].as_str().unwrap();
        assert_eq!(
            PublicKey::from_legacy(curve, legacy).unwrap(),
            key,
            "{comment}"
        );

        let message = base64(vector["messageBase64"].as_str().unwrap());
        let signature = base64(vector["signatureBase64"].as_str().unwrap());
        // A signature in DER has another length, so it never gets as far as a key.
        let valid = <[u8; 64]>::try_from(&signature[..])
            .is_ok_and(|signature| key.verify(&message, &signature).is_ok());
        assert_eq!(Some(valid), vector["validSignature"].as_bool(), "{comment}");
        tally.pass();
    }
    tally.finish(6, 0);
}

#[test]
fn keys_as_did_key() {
    let mut tally = Tally::new("crypto/w3c did:key");
    let k256 = vectors("w3c_didkey_K256").into_iter().map(|vector| {
        let hex = vector["privateKeyBytesHex"].as_str().unwrap();
        let secret = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let key = Key::K256(k256::ecdsa::SigningKey::from_slice(&secret).unwrap());
        (key, vector)
    });
    let p256 = vectors("w3c_didkey_P256").into_iter().map(|vector| {
        let base58 = vector["privateKeyBytesBase58"].as_str().unwrap();
        let secret = bs58::decode(base58).into_vec().unwrap();
        let key = Key::P256(p256::ecdsa::SigningKey::from_slice(&secret).unwrap());
        (key, vector)
    });
    for (secret, vector) in k256.chain(p256) {
        let text = vector["publicDidKey"].as_str().unwrap();
        assert_eq!(secret.did_key(), text, "the kit's own key");
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        key.verify(b"signed", &secret.sign(b"signed")).unwrap();
        assert!(key.verify(b"another", &secret.sign(b"signed")).is_err());
        tally.pass();
    }
    tally.finish(6, 0);
}
