//! [`BlockSet`]: verified blocks in memory; [`BlockIndex`]: where blocks are, in 16 bytes each.

use carrack_schema::Cid;

use super::{VerifiedBlock, VerifiedRef};

/// Where a block's bytes are in some region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Bytes from the region's start, below 2^40.
    pub offset: u64,
    /// Length, below 2^24.
    pub length: usize,
}

impl BlockPlace {
    const LENGTH_BITS: u32 = 24;

    fn pack(self) -> u64 {
        let length = self.length as u64;
        debug_assert!(
            length >> Self::LENGTH_BITS == 0 && self.offset >> 40 == 0,
            "{self:?}"
        );
        self.offset << Self::LENGTH_BITS | length
    }

    fn unpack(packed: u64) -> Self {
        let length = packed & ((1 << Self::LENGTH_BITS) - 1);
        Self {
            offset: packed >> Self::LENGTH_BITS,
            length: length as usize,
        }
    }
}

/// Where blocks are, by the first 8 bytes of their digests. An entry takes 16 bytes, so the index of a million
/// blocks fits in 16 MB; a hash map would take four times that, and twice more while it grows.
///
/// Two digests may begin alike (by chance never, by an attacker's work): whoever looks up compares what is there.
#[derive(Debug, Default)]
pub struct BlockIndex {
    entries: Vec<(u64, u64)>,
}

impl BlockIndex {
    /// Adds a block.
    pub fn push(&mut self, cid: &Cid, place: BlockPlace) {
        self.entries.push((prefix(cid), place.pack()));
    }

    /// Sorts the index; before that nothing is found.
    pub fn sort(&mut self) {
        self.entries.sort_unstable();
    }

    /// Returns where a block may be, nearest to the region's start first: places of blocks whose digests begin alike.
    pub fn find(&self, cid: &Cid) -> impl Iterator<Item = BlockPlace> + use<'_> {
        let wanted = prefix(cid);
        let start = self.entries.partition_point(|(prefix, _)| *prefix < wanted);
        self.entries
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(prefix, _)| *prefix == wanted)
            .map(|(_, packed)| BlockPlace::unpack(*packed))
    }
}

fn prefix(cid: &Cid) -> u64 {
    cid.digest()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Bytes of a chunk. A block never straddles two, so a chunk must hold the largest.
const CHUNK_BYTES: usize = 4 << 20;
const DIGEST_BYTES: usize = 32;
const _: () = assert!(CHUNK_BYTES > DIGEST_BYTES + carrack_schema::limits::CAR_SECTION_BYTES_MAX);

/// Verified blocks in memory. Since only verified ones get in, what comes out needs no second hash.
///
/// Filled first, then [sorted](Self::sort), then asked. Memory grows by chunks, so growing never copies what is
/// there.
#[derive(Debug, Default)]
pub struct BlockSet {
    /// Each block as its digest and its bytes.
    chunks: Vec<Vec<u8>>,
    index: BlockIndex,
    bytes: usize,
}

impl BlockSet {
    /// Adds a block. A duplicate takes its space again.
    pub fn insert(&mut self, block: &VerifiedBlock) {
        let needed = DIGEST_BYTES.saturating_add(block.bytes.len());
        let is_full = |chunk: &Vec<u8>| chunk.len().saturating_add(needed) > CHUNK_BYTES;
        if self.chunks.last().is_none_or(is_full) {
            self.chunks.push(Vec::new());
        }
        let before = self
            .chunks
            .len()
            .saturating_sub(1)
            .saturating_mul(CHUNK_BYTES);
        if let Some(chunk) = self.chunks.last_mut() {
            let offset = before.saturating_add(chunk.len()) as u64;
            chunk.extend_from_slice(block.cid.digest());
            chunk.extend_from_slice(&block.bytes);
            self.index.push(
                &block.cid,
                BlockPlace {
                    offset,
                    length: block.bytes.len(),
                },
            );
            self.bytes = self.bytes.saturating_add(needed);
        }
    }

    /// Ends filling.
    pub fn sort(&mut self) {
        self.index.sort();
    }

    /// Returns a block, once sorted. The CID's codec is the caller's: a digest has one sequence of bytes.
    pub fn get(&self, cid: &Cid) -> Option<VerifiedRef<'_>> {
        self.index.find(cid).find_map(|place| {
            let offset = usize::try_from(place.offset).ok()?;
            let chunk = self.chunks.get(offset / CHUNK_BYTES)?;
            let (digest, rest) = chunk
                .get(offset % CHUNK_BYTES..)?
                .split_first_chunk::<DIGEST_BYTES>()?;
            let bytes = rest.get(..place.length)?;
            (digest == cid.digest()).then_some(VerifiedRef { cid: *cid, bytes })
        })
    }

    /// Returns the bytes it holds, without those of the index.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use carrack_schema::cid::Codec;

    use super::*;
    use crate::block::RawBlock;

    fn block(bytes: Vec<u8>) -> VerifiedBlock {
        let cid = *VerifiedRef::of(Codec::DagCbor, &bytes).cid();
        RawBlock {
            cid,
            bytes,
            offset: 0,
        }
        .verify()
        .unwrap()
    }

    #[test]
    fn blocks_come_back_across_chunks() {
        let mut blocks: Vec<_> = (0..100_u8)
            .map(|i| block(vec![i; usize::from(i)]))
            .collect();
        blocks.extend((0..5_u8).map(|i| block(vec![i; 2 << 20])));
        let mut set = BlockSet::default();
        for block in blocks.iter().chain(&blocks[..10]) {
            set.insert(block);
        }
        set.sort();
        assert!(set.chunks.len() > 1);
        for block in &blocks {
            assert_eq!(set.get(block.cid()), Some(VerifiedRef::from(block)));
        }
        assert_eq!(set.get(VerifiedRef::of(Codec::Raw, b"other").cid()), None);
    }

    #[test]
    fn digests_that_begin_alike_are_told_apart() {
        let real = block(b"real".to_vec());
        let mut digest = *real.cid().digest();
        digest[31] ^= 1;
        let twin = Cid::new(Codec::DagCbor, digest);
        let mut set = BlockSet::default();
        set.insert(&real);
        set.sort();
        assert_eq!(set.index.find(&twin).count(), 1);
        assert_eq!(set.get(&twin), None);
        assert!(set.get(real.cid()).is_some());
    }

    #[test]
    fn a_place_survives_packing_at_its_limits() {
        for place in [
            BlockPlace {
                offset: 0,
                length: 0,
            },
            BlockPlace {
                offset: (1 << 40) - 1,
                length: (1 << 24) - 1,
            },
        ] {
            assert_eq!(BlockPlace::unpack(place.pack()), place);
        }
    }
}
