//! Inputs that are several blocks: how they are cut, and how they name each other.
//!
//! A block names another by the hash of its bytes, which no mutation finds. So in an input a digest of 31 zeros and a
//! number stands for the block of that number, counted from 1, if it comes before: [`link`] puts the real digest in.

use std::collections::HashMap;

use carrack_repo::{BlockSource, Result, VerifiedRef};
use carrack_schema::Cid;
use carrack_schema::cid::{CID_BYTES, Codec};
use kit::cbor::cid_of;

/// What stands between two blocks.
pub const SEPARATOR: &[u8] = b"\xff--\xff";
/// How the CID of a DAG-CBOR block begins.
const CID_HEAD: [u8; 4] = *b"\x01\x71\x12\x20";
/// Zeros of a digest that stands for a block.
const ZEROS: usize = 31;
/// Most blocks taken of an input: as many as a number can name.
const BLOCKS_MAX: usize = 255;

/// A block and its CID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The CID of the bytes.
    pub cid: Cid,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Cuts an input into blocks and puts in the digests of those that they name.
pub fn link(data: &[u8]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for part in cut(data) {
        let mut bytes = part.to_vec();
        let mut at = 0;
        while let Some(cid) = bytes.get(at..at + CID_BYTES) {
            if let Some(number) = number_of(cid)
                && let Some(named) = number.checked_sub(1).and_then(|index| blocks.get(index))
            {
                bytes[at..at + CID_BYTES].copy_from_slice(named.cid.as_bytes());
                at += CID_BYTES;
            } else {
                at += 1;
            }
        }
        let cid = cid_of(&bytes);
        blocks.push(Block { cid, bytes });
    }
    blocks
}

/// The way back: what [`link`] makes these blocks of. Those that are named come before those that name them.
pub fn unlink<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut numbers: HashMap<Cid, u8> = HashMap::new();
    let mut out = Vec::new();
    for (index, block) in blocks.into_iter().take(BLOCKS_MAX).enumerate() {
        let mut bytes = block.to_vec();
        let mut at = 0;
        while let Some(cid) = bytes.get(at..at + CID_BYTES) {
            let named = Cid::from_bytes(cid)
                .ok()
                .and_then(|cid| numbers.get(&cid).copied());
            if let Some(number) = named {
                bytes[at + CID_HEAD.len()..at + CID_BYTES].fill(0);
                bytes[at + CID_BYTES - 1] = number;
                at += CID_BYTES;
            } else {
                at += 1;
            }
        }
        if index > 0 {
            out.extend_from_slice(SEPARATOR);
        }
        out.extend(bytes);
        let number = u8::try_from(index + 1).expect("at most BLOCKS_MAX");
        numbers.entry(cid_of(block)).or_insert(number);
    }
    out
}

fn number_of(cid: &[u8]) -> Option<usize> {
    let digest = cid.strip_prefix(&CID_HEAD)?;
    let (zeros, number) = digest.split_at_checked(ZEROS)?;
    let is_name = zeros.iter().all(|byte| *byte == 0) && number.len() == 1;
    is_name.then(|| usize::from(number[0]))
}

/// Cuts an input at its separators, into [`BLOCKS_MAX`] parts at most; what is beyond is left out.
pub fn cut(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    let next = move || {
        let data = rest?;
        let at = data
            .windows(SEPARATOR.len())
            .position(|bytes| bytes == SEPARATOR);
        rest = at.map(|at| &data[at + SEPARATOR.len()..]);
        Some(&data[..at.unwrap_or(data.len())])
    };
    std::iter::from_fn(next).take(BLOCKS_MAX)
}

/// Blocks to walk in, and how often they were asked for.
#[derive(Debug, Default)]
pub struct Source<'a> {
    blocks: HashMap<Cid, &'a [u8]>,
    /// How many blocks were given.
    pub given_count: usize,
}

impl<'a> Source<'a> {
    /// Makes a source of these blocks.
    pub fn new(blocks: impl IntoIterator<Item = &'a Block>) -> Self {
        let blocks = blocks
            .into_iter()
            .map(|block| (block.cid, &block.bytes[..]));
        Self {
            blocks: blocks.collect(),
            given_count: 0,
        }
    }

    /// Returns how many different blocks it has.
    pub fn blocks_count(&self) -> usize {
        self.blocks.len()
    }

    /// Returns the bytes of a block.
    pub fn bytes(&self, cid: &Cid) -> Option<&'a [u8]> {
        self.blocks.get(cid).copied()
    }
}

impl BlockSource for Source<'_> {
    fn get<'a>(&'a mut self, cid: &Cid, _: &'a mut Vec<u8>) -> Result<Option<VerifiedRef<'a>>> {
        let Some(bytes) = self.bytes(cid) else {
            return Ok(None);
        };
        self.given_count += 1;
        Ok(Some(VerifiedRef::of(Codec::DagCbor, bytes)))
    }
}
