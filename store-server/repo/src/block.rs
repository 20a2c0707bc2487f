//! Blocks and how far they have come: [`RawBlock`] as read, [`VerifiedBlock`] and [`VerifiedRef`] once hashed; and the
//! same for many at once, [`RawChunk`], [`VerifiedChunk`] and [`BlockSet`].
//!
//! Invariant: only this module makes a verified block, and only by hashing its bytes (rule CA4). It must never
//! interpret them. The CAR reader makes raw blocks; the importer verifies and keeps them; the walk takes only
//! verified ones.

use carrack_schema::Cid;
use carrack_schema::cid::Codec;

use crate::error::{Error, ErrorKind, Result};
use crate::hash::{sha256, sha256_many};

mod chunk;
mod index;
mod memory;
mod set;

pub(crate) use chunk::BlockAt;
pub use chunk::{ChunkMemory, RawChunk, VerifiedChunk};
pub use index::{BlockIndex, BlockPlace};
pub(crate) use memory::Memory;
pub use set::{BlockSet, Found};

/// A block as it stands in a CAR: nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBlock {
    /// What the CAR says its CID is.
    pub cid: Cid,
    /// The bytes, without the CID.
    pub bytes: Vec<u8>,
    /// Where its section begins in the CAR: the first byte of the section's length.
    pub offset: u64,
}

impl RawBlock {
    /// Hashes the bytes and compares with the CID.
    ///
    /// # Errors
    /// [`ErrorKind::BadHash`], naming the CID and the offset.
    pub fn verify(self) -> Result<VerifiedBlock> {
        let Self { cid, bytes, offset } = self;
        if sha256(&bytes) != *cid.digest() {
            return Err(bad_hash(cid, Some(offset)));
        }
        Ok(VerifiedBlock { cid, bytes, offset })
    }
}

/// A block of a CAR whose bytes hash to its CID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBlock {
    cid: Cid,
    bytes: Vec<u8>,
    offset: u64,
}

impl VerifiedBlock {
    /// Returns the CID.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where its section begins in the CAR.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes, given up as verified ones.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Borrowed bytes that hash to their CID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedRef<'a> {
    cid: Cid,
    bytes: &'a [u8],
}

impl<'a> VerifiedRef<'a> {
    /// Hashes `bytes` and compares with `cid`: the way back for bytes that were kept in a spool meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::BadHash`], naming the CID.
    pub fn check(cid: Cid, bytes: &'a [u8]) -> Result<Self> {
        if sha256(bytes) != *cid.digest() {
            return Err(bad_hash(cid, None));
        }
        Ok(Self { cid, bytes })
    }

    /// As [`check`](Self::check), for many at once; `None` for bytes that do not hash to their CID.
    pub fn check_many<'b>(
        blocks: &'b [(Cid, &'a [u8])],
    ) -> impl Iterator<Item = Option<Self>> + use<'a, 'b> {
        let messages: Vec<&[u8]> = blocks.iter().map(|(_, bytes)| *bytes).collect();
        let mut digests = Vec::with_capacity(messages.len());
        sha256_many(&messages, &mut digests);
        blocks
            .iter()
            .zip(digests)
            .map(|(&(cid, bytes), digest)| (digest == *cid.digest()).then_some(Self { cid, bytes }))
    }

    /// Hashes `bytes` and returns them under the CID they have: for blocks made here, such as rebuilt nodes.
    pub fn of(codec: Codec, bytes: &'a [u8]) -> Self {
        Self {
            cid: Cid::new(codec, sha256(bytes)),
            bytes,
        }
    }

    /// Returns the CID.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> From<&'a VerifiedBlock> for VerifiedRef<'a> {
    fn from(block: &'a VerifiedBlock) -> Self {
        Self {
            cid: block.cid,
            bytes: &block.bytes,
        }
    }
}

fn bad_hash(cid: Cid, offset: Option<u64>) -> Error {
    let place = offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
    let message = format!("block {cid}{place} does not hash to its CID");
    let error = Error::new(ErrorKind::BadHash, message).with_cid(cid);
    match offset {
        Some(offset) => error.with_car_offset(offset),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_verifies_only_with_its_own_bytes() {
        let cid = *VerifiedRef::of(Codec::Raw, b"abc").cid();
        let good = RawBlock {
            cid,
            bytes: b"abc".to_vec(),
            offset: 9,
        };
        let verified = good.clone().verify().unwrap();
        assert_eq!(
            (verified.cid(), verified.bytes(), verified.offset()),
            (&cid, &b"abc"[..], 9)
        );
        assert_eq!(
            VerifiedRef::from(&verified),
            VerifiedRef::check(cid, b"abc").unwrap()
        );
        assert_eq!(verified.into_bytes(), b"abc");

        for bytes in [&b"abd"[..], b"ab", b"abc\0", b""] {
            let error = RawBlock {
                bytes: bytes.to_vec(),
                ..good.clone()
            }
            .verify()
            .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadHash);
            let expected = format!("block {cid} at byte 9 does not hash to its CID");
            assert_eq!(error.to_string(), expected);
            assert_eq!((error.cid(), error.car_offset()), (Some(&cid), Some(9)));
            let error = VerifiedRef::check(cid, bytes).unwrap_err();
            assert_eq!(
                (error.kind(), error.cid()),
                (ErrorKind::BadHash, Some(&cid))
            );
        }
    }
}
