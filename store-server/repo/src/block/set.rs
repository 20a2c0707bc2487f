//! [`BlockSet`]: the verified blocks of one CAR, those in memory and where the others were taken.
//!
//! It must never give out a block that was not hashed: what is away comes back as a place only, and whoever has the
//! bytes there hashes them again.

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;

use super::chunk::BlockAt;
use super::index::{BlockIndex, BlockPlace};
use super::memory::Memory;
use super::{VerifiedChunk, VerifiedRef};

/// What a chunk's number is shifted by to make an offset in the index. A chunk is shorter than 2^24 bytes, since a
/// section is; and 2^16 chunks of a megabyte are more than a CAR may be long.
const CHUNK_BITS: u32 = 24;

/// A block of more cache lines is read for so long that the CPU sees by itself what comes next.
const TOUCHED_LINES_MAX: usize = 16;

/// Verified blocks, by CID.
///
/// Filled first, then [sorted](Self::sort), then asked.
#[derive(Debug, Default)]
pub struct BlockSet {
    chunks: Vec<Chunk>,
    index: BlockIndex,
}

#[derive(Debug)]
enum Chunk {
    /// Blocks that were verified, in memory nobody else can reach.
    Here(Memory),
    /// Blocks that are somewhere else, from this offset there.
    Away(u64),
}

/// A block, or where to look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The block.
    Here(VerifiedRef<'a>),
    /// A place outside; the block there may be another one whose digest begins alike.
    Away(BlockPlace),
}

impl BlockSet {
    /// Keeps a chunk's blocks.
    pub fn keep(&mut self, chunk: VerifiedChunk) {
        self.index_blocks(&chunk);
        self.chunks.push(Chunk::Here(chunk.into_bytes()));
    }

    /// Remembers where a chunk's blocks are: its [bytes](VerifiedChunk::bytes) are put somewhere else, at this offset.
    pub fn put_away(&mut self, chunk: &VerifiedChunk, offset: u64) {
        self.index_blocks(chunk);
        self.chunks.push(Chunk::Away(offset));
    }

    fn index_blocks(&mut self, chunk: &VerifiedChunk) {
        let before = (self.chunks.len() as u64) << CHUNK_BITS;
        for (cid, BlockAt { start, length }) in chunk.places() {
            let place = BlockPlace {
                offset: before | u64::from(start),
                length: length as usize,
            };
            self.index.push(&cid, place);
        }
    }

    /// Ends filling.
    pub fn sort(&mut self) {
        self.index.sort();
    }

    /// Returns a block, once sorted, and each place outside where it may be. The CID's codec is the caller's: a digest
    /// has one sequence of bytes.
    pub fn find<'a>(&'a self, cid: &Cid) -> impl Iterator<Item = Found<'a>> + use<'a> {
        let cid = *cid;
        self.index
            .find(&cid)
            .filter_map(move |place| self.at(&cid, place))
    }

    /// Returns a block that is in memory, once sorted.
    pub fn get(&self, cid: &Cid) -> Option<VerifiedRef<'_>> {
        self.find(cid).find_map(|found| match found {
            Found::Here(block) => Some(block),
            Found::Away(_) => None,
        })
    }

    /// Has the memory of these blocks at hand when they are asked for soon, and changes nothing else. `outside` are the
    /// bytes to which places outside lead.
    ///
    /// A set is larger than a cache, and its blocks lie in it in the order of a hash: finding one waits for memory three
    /// times, one after the other. Finding many waits three times as well.
    pub fn warm(&self, cids: &[Cid], outside: &[u8]) {
        // No loop here needs what another turn of it reads, so the CPU has all their reads under way at once.
        const TURNS: usize = 16;
        for cids in cids.chunks(TURNS) {
            let mut starts = [0; TURNS];
            for (start, cid) in starts.iter_mut().zip(cids) {
                *start = self.index.bucket_start(cid);
            }
            let starts = starts.iter().take(cids.len());
            let mut sum = starts.fold(0, |sum, &start| sum ^ self.index.touch(start));
            let mut places = [None; TURNS];
            for (place, cid) in places.iter_mut().zip(cids) {
                *place = self.index.find(cid).next();
            }
            for place in places.into_iter().flatten() {
                sum ^= self.touch(place, outside);
            }
            std::hint::black_box(sum);
        }
    }

    /// Reads a byte of each cache line of a block.
    fn touch(&self, place: BlockPlace, outside: &[u8]) -> u64 {
        const LINE_BYTES: usize = 64;
        let number = usize::try_from(place.offset >> CHUNK_BITS).unwrap_or(usize::MAX);
        let start = place.offset & ((1 << CHUNK_BITS) - 1);
        let (bytes, start) = match self.chunks.get(number) {
            Some(Chunk::Here(chunk)) => (&chunk[..], start),
            Some(Chunk::Away(offset)) => (outside, offset.saturating_add(start)),
            None => return 0,
        };
        // The CID stands in front of the block.
        let start = usize::try_from(start)
            .unwrap_or(usize::MAX)
            .saturating_sub(CID_BYTES);
        let count = place.length.div_ceil(LINE_BYTES).saturating_add(1);
        let lines = bytes
            .get(start..)
            .unwrap_or_default()
            .iter()
            .step_by(LINE_BYTES);
        lines
            .take(count.min(TOUCHED_LINES_MAX))
            .fold(0, |sum, byte| sum ^ u64::from(*byte))
    }

    /// Places are the index's own, so each one is of a block that was hashed.
    fn at(&self, cid: &Cid, place: BlockPlace) -> Option<Found<'_>> {
        let number = usize::try_from(place.offset >> CHUNK_BITS).ok()?;
        let start = place.offset & ((1 << CHUNK_BITS) - 1);
        match self.chunks.get(number)? {
            Chunk::Here(chunk) => {
                let (front, rest) = chunk.split_at_checked(usize::try_from(start).ok()?)?;
                let digest = front.last_chunk::<32>()?;
                let bytes = rest.get(..place.length)?;
                (digest == cid.digest()).then_some(Found::Here(VerifiedRef { cid: *cid, bytes }))
            }
            Chunk::Away(offset) => Some(Found::Away(BlockPlace {
                offset: offset.saturating_add(start),
                length: place.length,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use carrack_schema::cid::Codec;

    use super::*;
    use crate::car::{CarBlocks, CarLimits};
    use crate::kit::{car, cid_of};

    fn chunks(blocks: &[Vec<u8>]) -> Vec<VerifiedChunk> {
        let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let car = car(&blocks);
        let mut reader = CarBlocks::open(&car[..], CarLimits::default()).unwrap();
        std::iter::from_fn(|| reader.next_chunk().unwrap())
            .map(|chunk| chunk.verify().unwrap())
            .collect()
    }

    #[test]
    fn blocks_come_back_across_chunks() {
        let mut blocks: Vec<_> = (0..100_u8).map(|i| vec![i; usize::from(i)]).collect();
        blocks.extend((0..5_u8).map(|i| vec![i; (2 << 20) - 36]));
        blocks.extend(blocks[..10].to_vec());
        let chunks = chunks(&blocks);
        assert!(chunks.len() > 5, "{}", chunks.len());

        let mut set = BlockSet::default();
        let mut outside = Vec::new();
        for (number, chunk) in chunks.into_iter().enumerate() {
            if number % 2 == 0 {
                set.keep(chunk);
            } else {
                set.put_away(&chunk, outside.len() as u64);
                outside.extend_from_slice(chunk.bytes());
            }
        }
        set.sort();
        let (mut here, mut away) = (0, 0);
        for block in &blocks {
            let cid = cid_of(block);
            for found in set.find(&cid) {
                match found {
                    Found::Here(found) => {
                        here += 1;
                        assert_eq!((found.cid(), found.bytes()), (&cid, &block[..]));
                    }
                    Found::Away(BlockPlace { offset, length }) => {
                        away += 1;
                        assert_eq!(outside[offset as usize..][..length], block[..]);
                    }
                }
            }
        }
        assert!(here > 1 && away > 1 && here + away >= blocks.len());
        assert_eq!(set.find(&cid_of(b"other")).count(), 0);
    }

    #[test]
    fn digests_that_begin_alike_are_told_apart() {
        let real = cid_of(b"real");
        let mut digest = *real.digest();
        digest[31] ^= 1;
        let twin = Cid::new(Codec::DagCbor, digest);
        let mut set = BlockSet::default();
        for chunk in chunks(&[b"real".to_vec()]) {
            set.keep(chunk);
        }
        assert_eq!(set.get(&real), None, "not sorted yet");
        set.sort();
        assert_eq!(set.index.find(&twin).count(), 1);
        assert_eq!(set.get(&twin), None);
        assert_eq!(set.get(&real).unwrap().bytes(), b"real");
    }
}
