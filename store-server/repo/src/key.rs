//! [`PublicKey`]: the key a repository's commits are signed with, in each text form it is published in.
//!
//! It must never accept a second signature for the same message: raw `r ‖ s` only, and the lower `s` on both curves
//! (rule CM3). [`DidDocument`](crate::did_document::DidDocument) and callers with a `did:key` make it;
//! [`check_signature`](crate::commit::check_signature) asks it.

use std::fmt;
use std::str::FromStr;

use k256::ecdsa::signature::hazmat::PrehashVerifier;

use crate::commit::SIGNATURE_BYTES;
use crate::error::{Error, Result, quoted};
use crate::hash::sha256;

#[cfg(test)]
mod tests;

/// Longest text of a key. The longest legal one is 88 characters of base58 after `z`; base58 costs the square of
/// its length to decode, so nothing longer is tried.
pub const KEY_TEXT_BYTES_MAX: usize = 128;

const DID_KEY: &str = "did:key:";
/// The multibase prefix of base58btc.
const BASE58: char = 'z';
/// Multicodec 0xe7, secp256k1-pub, as a varint.
const MULTICODEC_K256: [u8; 2] = [0xe7, 0x01];
/// Multicodec 0x1200, p256-pub, as a varint.
const MULTICODEC_P256: [u8; 2] = [0x80, 0x24];
/// A point of either curve with only the sign of its y.
const COMPRESSED_BYTES: usize = 33;
/// How a compressed point begins: its y is even, or odd. SEC 1 has a third form of this length, which is none here.
const COMPRESSED: [u8; 2] = [2, 3];
/// A point of either curve, whole.
const UNCOMPRESSED_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;

/// A curve that AT Protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256k1, which most accounts have.
    K256,
    /// NIST P-256, also called secp256r1.
    P256,
}

/// A public key on one of the two curves: a point that is really on it.
///
/// Its text is the `did:key` form.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Inner);

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    K256(k256::ecdsa::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

/// Why a signature is not one of this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureFault {
    /// `r` or `s` is zero or not below the curve's order; so is most of what is not `r ‖ s` at all.
    #[error("signature is not two numbers within the order of the curve")]
    OutOfRange,
    /// The higher of the two values `s` can have, which AT Protocol forbids.
    #[error("signature has the higher `s`, which is not allowed")]
    HighS,
    /// The numbers do not fit the message and the key.
    #[error("signature does not fit the message and the key")]
    Mismatch,
}

impl PublicKey {
    /// Reads the bytes of a Multikey: a multicodec and a compressed point (CM4).
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`](crate::ErrorKind::BadStructure) for another multicodec or length, and for a
    /// point that is not on the curve.
    pub fn from_multikey_bytes(bytes: &[u8]) -> Result<Self> {
        let (curve, point) = match bytes.split_first_chunk() {
            Some((&MULTICODEC_K256, point)) => (Curve::K256, point),
            Some((&MULTICODEC_P256, point)) => (Curve::P256, point),
            _ => return Err(Error::structure("key is of no multicodec known here")),
        };
        if point.len() != COMPRESSED_BYTES {
            let length = point.len();
            let message = format!("key is {length} bytes, not {COMPRESSED_BYTES}");
            return Err(Error::structure(message));
        }
        Self::from_point(curve, point)
    }

    /// Reads a Multikey as text: the `publicKeyMultibase` of a `Multikey`, or what follows `did:key:`.
    ///
    /// # Errors
    /// As [`from_multikey_bytes`](Self::from_multikey_bytes), and if the text is not base58 behind a `z`.
    pub fn from_multikey(text: &str) -> Result<Self> {
        Self::from_multikey_bytes(&multibase(text)?)
    }

    /// Reads the `publicKeyMultibase` of an `EcdsaSecp256k1VerificationKey2019` or its P-256 sibling (CM4).
    ///
    /// There the curve is in the type and no multicodec in the text; the point is whole, or compressed as in the
    /// published test vectors.
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`](crate::ErrorKind::BadStructure) if the text is not base58 behind a `z`, or not
    /// a point on the curve in one of the two forms.
    pub fn from_legacy(curve: Curve, text: &str) -> Result<Self> {
        let point = multibase(text)?;
        if point.len() != COMPRESSED_BYTES && point.len() != UNCOMPRESSED_BYTES {
            let length = point.len();
            let message =
                format!("key is {length} bytes, not {COMPRESSED_BYTES} or {UNCOMPRESSED_BYTES}");
            return Err(Error::structure(message));
        }
        Self::from_point(curve, &point)
    }

    fn from_point(curve: Curve, point: &[u8]) -> Result<Self> {
        let off_curve = || Error::structure("key is not a point on its curve");
        match (point.len(), point.first()) {
            (COMPRESSED_BYTES, Some(form)) if COMPRESSED.contains(form) => {}
            (UNCOMPRESSED_BYTES, Some(&UNCOMPRESSED)) => {}
            _ => return Err(off_curve()),
        }
        let inner = match curve {
            Curve::K256 => k256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Inner::K256),
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Inner::P256),
        };
        inner.map(Self).map_err(|_| off_curve())
    }

    /// Returns its curve.
    pub fn curve(&self) -> Curve {
        match self.0 {
            Inner::K256(_) => Curve::K256,
            Inner::P256(_) => Curve::P256,
        }
    }

    /// Returns the bytes of its Multikey: the multicodec and the compressed point.
    pub fn to_multikey_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Inner::K256(key) => {
                [&MULTICODEC_K256[..], key.to_encoded_point(true).as_bytes()].concat()
            }
            Inner::P256(key) => {
                [&MULTICODEC_P256[..], key.to_encoded_point(true).as_bytes()].concat()
            }
        }
    }

    /// Checks a signature, `r ‖ s`, over the SHA-256 of a message (CM3).
    ///
    /// # Errors
    /// Why it is not one. Only `Ok` says that the key's holder signed these bytes.
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), SignatureFault> {
        let digest = sha256(message);
        // Two libraries of one family and two types: k256 refuses a high `s` by itself and p256 does not, so both
        // are asked the same question first.
        match &self.0 {
            Inner::K256(key) => {
                let signature = k256::ecdsa::Signature::from_slice(signature)
                    .map_err(|_| SignatureFault::OutOfRange)?;
                if signature.normalize_s().is_some() {
                    return Err(SignatureFault::HighS);
                }
                key.verify_prehash(&digest, &signature)
                    .map_err(|_| SignatureFault::Mismatch)
            }
            Inner::P256(key) => {
                let signature = p256::ecdsa::Signature::from_slice(signature)
                    .map_err(|_| SignatureFault::OutOfRange)?;
                if signature.normalize_s().is_some() {
                    return Err(SignatureFault::HighS);
                }
                key.verify_prehash(&digest, &signature)
                    .map_err(|_| SignatureFault::Mismatch)
            }
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base58 = bs58::encode(self.to_multikey_bytes()).into_string();
        write!(f, "{DID_KEY}{BASE58}{base58}")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    /// Reads `did:key:z…`.
    fn from_str(text: &str) -> Result<Self> {
        let Some(multikey) = text.strip_prefix(DID_KEY) else {
            return Err(Error::structure(format!(
                "not a did:key: {}",
                quoted(text.as_bytes())
            )));
        };
        Self::from_multikey(multikey)
    }
}

/// Decodes base58 behind its multibase prefix.
fn multibase(text: &str) -> Result<Vec<u8>> {
    let refuse = |why: &str| Error::structure(format!("key {} {why}", quoted(text.as_bytes())));
    if text.len() > KEY_TEXT_BYTES_MAX {
        return Err(refuse("is too long"));
    }
    let base58 = text
        .strip_prefix(BASE58)
        .ok_or_else(|| refuse("does not begin with `z`"))?;
    bs58::decode(base58)
        .into_vec()
        .map_err(|_| refuse("is not base58"))
}
