//! [`Key`]: a repo's signing key on either curve, and the forms in which its public half is published.
//!
//! The private keys come from seeds and protect nothing.

use carrack_schema::Did;
use k256::ecdsa::signature::Signer;

use crate::rng::Rng;

/// An elliptic curve commits are signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    /// secp256k1, what most accounts have.
    #[default]
    K256,
    /// NIST P-256.
    P256,
}

/// A signing key.
#[derive(Clone, Debug)]
pub enum Key {
    /// A key on secp256k1.
    K256(k256::ecdsa::SigningKey),
    /// A key on P-256.
    P256(p256::ecdsa::SigningKey),
}

impl Key {
    /// Returns the key of the next 32 random bytes.
    pub fn random(curve: Curve, rng: &mut Rng) -> Self {
        let bytes: [u8; 32] = rng.bytes();
        // Zero and numbers above the group's order are no keys; neither comes up within 2^100 seeds.
        match curve {
            Curve::K256 => {
                Self::K256(k256::ecdsa::SigningKey::from_slice(&bytes).expect("below the order"))
            }
            Curve::P256 => {
                Self::P256(p256::ecdsa::SigningKey::from_slice(&bytes).expect("below the order"))
            }
        }
    }

    /// Returns the low-S signature over the SHA-256 of a message, as 64 bytes `r ‖ s`.
    ///
    /// Deterministic (RFC 6979).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match self {
            Self::K256(key) => {
                let signature: k256::ecdsa::Signature = key.sign(message);
                signature
                    .normalize_s()
                    .unwrap_or(signature)
                    .to_bytes()
                    .into()
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature
                    .normalize_s()
                    .unwrap_or(signature)
                    .to_bytes()
                    .into()
            }
        }
    }

    /// Returns the other signature over the same message, `r ‖ -s`: valid as ECDSA, refused by AT Protocol.
    pub fn sign_high_s(&self, message: &[u8]) -> [u8; 64] {
        let low = self.sign(message);
        match self {
            Self::K256(_) => {
                let (r, s) = k256::ecdsa::Signature::from_slice(&low)
                    .expect("just made")
                    .split_scalars();
                let high = k256::ecdsa::Signature::from_scalars(r, -s);
                high.expect("neither half is zero").to_bytes().into()
            }
            Self::P256(_) => {
                let (r, s) = p256::ecdsa::Signature::from_slice(&low)
                    .expect("just made")
                    .split_scalars();
                let high = p256::ecdsa::Signature::from_scalars(r, -s);
                high.expect("neither half is zero").to_bytes().into()
            }
        }
    }

    /// Returns the low-S signature in DER, which AT Protocol refuses.
    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let low = self.sign(message);
        match self {
            Self::K256(_) => {
                let signature = k256::ecdsa::Signature::from_slice(&low).expect("just made");
                signature.to_der().as_bytes().to_vec()
            }
            Self::P256(_) => {
                let signature = p256::ecdsa::Signature::from_slice(&low).expect("just made");
                signature.to_der().as_bytes().to_vec()
            }
        }
    }

    /// Returns the public key as a SEC1 point: 33 bytes compressed, 65 uncompressed.
    fn point(&self, compress: bool) -> Vec<u8> {
        match self {
            Self::K256(key) => key
                .verifying_key()
                .to_encoded_point(compress)
                .as_bytes()
                .to_vec(),
            Self::P256(key) => key
                .verifying_key()
                .to_encoded_point(compress)
                .as_bytes()
                .to_vec(),
        }
    }

    /// Returns the public key as a Multikey: `z`, then base58 of multicodec and compressed point.
    pub fn multikey(&self) -> String {
        // The varints of multicodecs 0xe7 and 0x1200.
        let mut bytes = match self {
            Self::K256(_) => vec![0xe7, 0x01],
            Self::P256(_) => vec![0x80, 0x24],
        };
        bytes.extend(self.point(true));
        format!("z{}", base58(&bytes))
    }

    /// Returns the public key as `did:key:z…`.
    pub fn did_key(&self) -> String {
        format!("did:key:{}", self.multikey())
    }

    /// Returns a DID document that names this key as the repo's signing key.
    pub fn did_doc(&self, did: &Did) -> String {
        let context = r#""https://www.w3.org/ns/did/v1","https://w3id.org/security/multikey/v1""#;
        document(
            did,
            context,
            &format!("{did}#atproto"),
            "Multikey",
            &self.multikey(),
        )
    }

    /// Returns the DID document in its older form: relative ids, the curve in the type, an uncompressed key.
    pub fn did_doc_legacy(&self, did: &Did) -> String {
        let kind = match self {
            Self::K256(_) => "EcdsaSecp256k1VerificationKey2019",
            Self::P256(_) => "EcdsaSecp256r1VerificationKey2019",
        };
        let key = format!("z{}", base58(&self.point(false)));
        document(
            did,
            r#""https://www.w3.org/ns/did/v1""#,
            "#atproto",
            kind,
            &key,
        )
    }
}

fn document(did: &Did, context: &str, id: &str, kind: &str, key: &str) -> String {
    // A DID, a Multikey and the fixed texts need no JSON escapes.
    format!(
        concat!(
            r##"{{"@context":[{context}],"id":"{did}","alsoKnownAs":["at://kit.example.com"],"##,
            r##""verificationMethod":[{{"id":"{id}","type":"{kind}","controller":"{did}","##,
            r##""publicKeyMultibase":"{key}"}}],"service":[{{"id":"#atproto_pds","##,
            r##""type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.example.com"}}]}}"##
        ),
        context = context,
        did = did,
        id = id,
        kind = kind,
        key = key
    )
}

fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = Vec::new(); // least significant first
    for &byte in bytes {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    zeros
        .chain(
            digits
                .iter()
                .rev()
                .map(|&digit| ALPHABET[usize::from(digit)].into()),
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::signature::Verifier;

    use super::*;

    #[test]
    fn base58_matches_known_texts() {
        assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
        assert_eq!(base58(&[0, 0, 0x28, 0x7f, 0xb4, 0xcd]), "11233QC4");
    }

    #[test]
    fn signatures_verify_and_are_low_s_on_both_curves() {
        for seed in 0..20 {
            let Key::K256(key) = Key::random(Curve::K256, &mut Rng::new(seed)) else {
                panic!()
            };
            let bytes = Key::K256(key.clone()).sign(b"message");
            let signature = k256::ecdsa::Signature::from_slice(&bytes).unwrap();
            assert!(signature.normalize_s().is_none());
            key.verifying_key().verify(b"message", &signature).unwrap();

            let Key::P256(key) = Key::random(Curve::P256, &mut Rng::new(seed)) else {
                panic!()
            };
            let bytes = Key::P256(key.clone()).sign(b"message");
            let signature = p256::ecdsa::Signature::from_slice(&bytes).unwrap();
            assert!(signature.normalize_s().is_none());
            key.verifying_key().verify(b"message", &signature).unwrap();
        }
    }

    #[test]
    fn high_s_differs_only_in_s() {
        for curve in [Curve::K256, Curve::P256] {
            let key = Key::random(curve, &mut Rng::new(3));
            let (low, high) = (key.sign(b"m"), key.sign_high_s(b"m"));
            assert_eq!(low[..32], high[..32]);
            assert_ne!(low[32..], high[32..]);
            assert!(high[32] >= 0x7f, "the upper half of the group");
        }
    }

    #[test]
    fn did_keys_carry_their_curve() {
        // `zQ3s` and `zDn` are what the two multicodecs look like in base58.
        let key = Key::random(Curve::K256, &mut Rng::new(1));
        assert!(
            key.did_key().starts_with("did:key:zQ3s"),
            "{}",
            key.did_key()
        );
        let key = Key::random(Curve::P256, &mut Rng::new(1));
        assert!(
            key.did_key().starts_with("did:key:zDn"),
            "{}",
            key.did_key()
        );
    }
}
