//! [`Cid`]: the content identifier of a block, in the one form AT Protocol repositories use.
//!
//! CIDv1, SHA-256, and one of two codecs: 36 bytes. Other forms exist inside record values (any CID a record
//! links to is kept as it is); they stay bytes there and are shown by [`text_of`].

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

/// Length of a [`Cid`] in bytes: version, codec, hash code, digest length, 32 bytes of digest.
pub const CID_BYTES: usize = 36;

const VERSION_1: u8 = 0x01;
const SHA2_256: u8 = 0x12;
const DIGEST_BYTES: u8 = 32;

/// What a block's bytes are, as far as its CID says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// DAG-CBOR: commits, MST nodes, records.
    DagCbor,
    /// Raw bytes: blobs.
    Raw,
}

impl Codec {
    const fn byte(self) -> u8 {
        match self {
            Self::DagCbor => 0x71,
            Self::Raw => 0x55,
        }
    }
}

/// A CIDv1 with SHA-256 and codec DAG-CBOR or raw.
///
/// Ordered by its bytes. Text form is base32 with the multibase prefix `b`, 59 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid([u8; CID_BYTES]);

impl Cid {
    /// Returns the CID of a block with this codec and SHA-256 digest.
    pub const fn new(codec: Codec, digest: [u8; 32]) -> Self {
        let mut bytes = [0; CID_BYTES];
        bytes[0] = VERSION_1;
        bytes[1] = codec.byte();
        bytes[2] = SHA2_256;
        bytes[3] = DIGEST_BYTES;
        let mut i = 0;
        while i < 32 {
            bytes[4 + i] = digest[i];
            i += 1;
        }
        Self(bytes)
    }

    /// Reads a CID from exactly its 36 bytes.
    ///
    /// # Errors
    /// If the length, version, codec, hash code or digest length is another one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let Ok(bytes) = <[u8; CID_BYTES]>::try_from(bytes) else {
            return Err(CidError::Form);
        };
        match bytes {
            [VERSION_1, 0x71 | 0x55, SHA2_256, DIGEST_BYTES, ..] => Ok(Self(bytes)),
            _ => Err(CidError::Form),
        }
    }

    /// Returns the 36 bytes.
    pub const fn as_bytes(&self) -> &[u8; CID_BYTES] {
        &self.0
    }

    /// Returns the codec.
    pub const fn codec(&self) -> Codec {
        if self.0[1] == Codec::Raw.byte() {
            Codec::Raw
        } else {
            Codec::DagCbor
        }
    }

    /// Returns the SHA-256 digest.
    pub fn digest(&self) -> &[u8; 32] {
        self.0.last_chunk().expect("36 bytes end in 32")
    }
}

/// Returns the text of any binary CID: multibase `b` and base32.
///
/// CIDs of other forms than [`Cid`] appear as links inside records.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(1 + BASE32_NOPAD.encode_len(bytes.len()));
    text.push('b');
    text.push_str(&BASE32_NOPAD.encode(bytes).to_ascii_lowercase());
    text
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_of(&self.0))
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let base32 = text.strip_prefix('b').ok_or(CidError::Form)?;
        if base32.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(CidError::Form);
        }
        let bytes = BASE32_NOPAD
            .decode(base32.to_ascii_uppercase().as_bytes())
            .map_err(|_| CidError::Form)?;
        Self::from_bytes(&bytes)
    }
}

/// Why bytes or text are not a [`Cid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    /// Not CIDv1 with SHA-256 and codec DAG-CBOR or raw.
    #[error("not a CIDv1 with sha-256 and codec dag-cbor or raw")]
    Form,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_MAP: &str = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua";

    #[test]
    fn text_and_bytes_round_trip() {
        let cid: Cid = EMPTY_MAP.parse().unwrap();
        assert_eq!(cid.to_string(), EMPTY_MAP);
        assert_eq!(Cid::from_bytes(cid.as_bytes()), Ok(cid));
        assert_eq!(Cid::new(cid.codec(), *cid.digest()), cid);
        assert_eq!(cid.codec(), Codec::DagCbor);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "b",
            "zdpuAm",
            "Bafy",
            &EMPTY_MAP.to_uppercase(),
            &EMPTY_MAP[..58],
        ] {
            assert_eq!(text.parse::<Cid>(), Err(CidError::Form), "{text}");
        }
        let mut bytes = *EMPTY_MAP.parse::<Cid>().unwrap().as_bytes();
        for (i, byte) in [(0, 0), (1, 0x70), (2, 0x13), (3, 31)] {
            let kept = bytes[i];
            bytes[i] = byte;
            assert_eq!(Cid::from_bytes(&bytes), Err(CidError::Form), "byte {i}");
            bytes[i] = kept;
        }
    }
}
