//! [`RawChunk`] and [`VerifiedChunk`]: many blocks where the reader put them, verified together.
//!
//! A chunk is a piece of a CAR as it was read, and where the blocks are in it. It must never be taken apart: no block
//! is copied or allocated for by itself. [`CarBlocks::next_chunk`](crate::CarBlocks::next_chunk) makes raw ones; the
//! importer's spool keeps verified ones.

use std::ops::Range;

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;

use super::memory::Memory;
use crate::error::{Error, ErrorKind, Result};
use crate::hash::sha256_many;

/// Where a block's bytes are in its chunk; its CID is right before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockAt {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl BlockAt {
    /// Makes the place of a block that takes this range of its chunk.
    pub(crate) fn of(bytes: Range<usize>) -> Result<Self> {
        let (start, length) = (u32::try_from(bytes.start), u32::try_from(bytes.len()));
        let (Ok(start), Ok(length)) = (start, length) else {
            return Err(Error::new(ErrorKind::Internal, "a chunk of 4 GiB"));
        };
        Ok(Self { start, length })
    }

    pub(super) fn bytes_in(self, chunk: &[u8]) -> &[u8] {
        let start = self.start as usize;
        let end = start.saturating_add(self.length as usize);
        chunk.get(start..end).unwrap_or_default()
    }

    fn cid_in(self, chunk: &[u8]) -> Option<Cid> {
        let end = self.start as usize;
        let cid = chunk.get(end.checked_sub(CID_BYTES)?..end)?;
        Cid::from_bytes(cid).ok()
    }

    /// Where the section begins: before its CID stands its length, a varint in its shortest form.
    pub(crate) fn section_start(self) -> u64 {
        let section = u64::from(self.length).saturating_add(CID_BYTES as u64);
        let varint_bytes = section.max(1).ilog2() / 7;
        u64::from(self.start)
            .saturating_sub(CID_BYTES as u64)
            .saturating_sub(u64::from(varint_bytes).saturating_add(1))
    }
}

/// Blocks as they stand in a CAR: nobody has checked them.
#[derive(Debug, Default)]
pub struct RawChunk {
    /// Bytes of the CAR; those behind `used` are none.
    pub(crate) bytes: Memory,
    pub(crate) used: usize,
    /// Where in the CAR the bytes begin.
    pub(crate) offset: u64,
    /// In the order of the CAR.
    pub(crate) blocks: Vec<BlockAt>,
}

impl RawChunk {
    /// Hashes each block and compares with its CID.
    ///
    /// # Errors
    /// [`ErrorKind::BadHash`] for the first block of the CAR's order that does not hash to its CID, naming the CID and
    /// the offset.
    pub fn verify(self) -> Result<VerifiedChunk> {
        let chunk = &self.bytes[..];
        let messages: Vec<&[u8]> = self.blocks.iter().map(|at| at.bytes_in(chunk)).collect();
        let mut digests = Vec::with_capacity(messages.len());
        sha256_many(&messages, &mut digests);
        for (at, digest) in self.blocks.iter().zip(&digests) {
            let Some(cid) = at.cid_in(chunk) else {
                let words = "a block of a chunk has no CID";
                return Err(Error::new(ErrorKind::Internal, words));
            };
            if digest != cid.digest() {
                let offset = self.offset.saturating_add(at.section_start());
                return Err(super::bad_hash(cid, Some(offset)));
            }
        }
        Ok(VerifiedChunk(self))
    }
}

/// Blocks whose bytes hash to their CIDs.
#[derive(Debug)]
pub struct VerifiedChunk(RawChunk);

impl VerifiedChunk {
    /// Returns the bytes of the CAR that hold the blocks.
    pub fn bytes(&self) -> &[u8] {
        let RawChunk { bytes, used, .. } = &self.0;
        bytes.get(..*used).unwrap_or_default()
    }

    /// Returns how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        self.0.bytes.len()
    }

    /// Gives up the blocks for the memory they take.
    pub fn into_memory(self) -> ChunkMemory {
        let RawChunk { bytes, blocks, .. } = self.0;
        ChunkMemory { bytes, blocks }
    }

    /// Gives up the knowledge of where the blocks are; the index has it.
    pub(super) fn into_bytes(self) -> Memory {
        self.0.bytes
    }

    /// Returns each block's CID and its place in [`bytes`](Self::bytes), in the order of the CAR.
    pub(super) fn places(&self) -> impl Iterator<Item = (Cid, BlockAt)> + use<'_> {
        let RawChunk { bytes, blocks, .. } = &self.0;
        blocks
            .iter()
            .filter_map(|at| Some((at.cid_in(bytes)?, *at)))
    }
}

/// The memory of a chunk that is no longer needed, for another one.
#[derive(Debug, Default)]
pub struct ChunkMemory {
    pub(crate) bytes: Memory,
    pub(crate) blocks: Vec<BlockAt>,
}
