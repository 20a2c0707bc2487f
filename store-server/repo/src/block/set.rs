//! [`BlockSet`]: verified blocks in memory, by CID.

use std::collections::HashMap;

use carrack_schema::Cid;

use super::{VerifiedBlock, VerifiedRef};

/// Verified blocks in memory, by CID. Since only verified ones get in, what comes out needs no second hash.
#[derive(Debug, Default)]
pub struct BlockSet {
    bytes: Vec<u8>,
    places: HashMap<Cid, (usize, usize)>,
}

impl BlockSet {
    /// Adds a block; one that is there already costs nothing.
    pub fn insert(&mut self, block: &VerifiedBlock) {
        let bytes = &mut self.bytes;
        self.places.entry(block.cid).or_insert_with(|| {
            let start = bytes.len();
            bytes.extend_from_slice(&block.bytes);
            (start, bytes.len())
        });
    }

    /// Returns a block.
    pub fn get(&self, cid: &Cid) -> Option<VerifiedRef<'_>> {
        let &(start, end) = self.places.get(cid)?;
        Some(VerifiedRef {
            cid: *cid,
            bytes: self.bytes.get(start..end)?,
        })
    }

    /// Returns the bytes of all blocks together, without what their index takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use carrack_schema::cid::Codec;

    use super::*;
    use crate::block::RawBlock;

    #[test]
    fn blocks_come_back_and_duplicates_cost_nothing() {
        let mut set = BlockSet::default();
        let blocks: Vec<VerifiedBlock> = (0..100_u8)
            .map(|i| {
                let bytes = vec![i; usize::from(i)];
                let cid = *VerifiedRef::of(Codec::DagCbor, &bytes).cid();
                RawBlock {
                    cid,
                    bytes,
                    offset: 0,
                }
                .verify()
                .unwrap()
            })
            .collect();
        for block in blocks.iter().chain(&blocks) {
            set.insert(block);
        }
        assert_eq!(set.bytes(), (0..100).sum());
        for block in &blocks {
            assert_eq!(set.get(block.cid()), Some(VerifiedRef::from(block)));
        }
        assert_eq!(set.get(VerifiedRef::of(Codec::Raw, b"other").cid()), None);
    }
}
