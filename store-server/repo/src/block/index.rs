//! [`BlockIndex`]: where blocks are, in 17 bytes each.
//!
//! It must never decide that a block is there: digests may begin alike. [`BlockSet`](super::BlockSet) and the importer
//! compare what they find.

use carrack_schema::Cid;

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

/// Where blocks are, by the first 8 bytes of their digests. An entry takes 16 bytes and the table of buckets less than
/// one, so the index of a million blocks fits in 17 MB; a hash map would take four times that, and twice more while it
/// grows.
///
/// Two digests may begin alike (by chance never, by an attacker's work): whoever looks up compares what is there. Many
/// blocks whose digests an attacker made to begin with the same few bits share a bucket, which is searched in halves.
#[derive(Debug, Default)]
pub struct BlockIndex {
    /// Prefix and place, sorted.
    entries: Vec<(u64, u64)>,
    /// Where each bucket begins in the entries, and where the last one ends. A bucket is the entries whose prefixes
    /// agree in their first bits, [`BUCKET_ENTRIES`] on average.
    buckets: Vec<u32>,
    /// How far a prefix is shifted to the right to give its bucket.
    shift: u32,
}

/// Entries in a bucket on average: two cache lines of them.
const BUCKET_ENTRIES: usize = 8;

impl BlockIndex {
    /// Adds a block.
    pub fn push(&mut self, cid: &Cid, place: BlockPlace) {
        self.entries.push((prefix(cid), place.pack()));
    }

    /// Sorts the index; before that nothing is found.
    pub fn sort(&mut self) {
        self.entries.sort_unstable();
        let buckets_count = (self.entries.len() / BUCKET_ENTRIES).max(1);
        let bits = buckets_count.ilog2();
        self.shift = u64::BITS.saturating_sub(bits);
        self.buckets.clear();
        // One more than the buckets, and each holds where the one before it ends.
        self.buckets.resize((1_usize << bits).saturating_add(1), 0);
        for &(prefix, _) in &self.entries {
            let next = self.bucket(prefix).saturating_add(1);
            if let Some(count) = self.buckets.get_mut(next) {
                *count = count.saturating_add(1);
            }
        }
        let mut sum: u32 = 0;
        for start in &mut self.buckets {
            sum = sum.saturating_add(*start);
            *start = sum;
        }
    }

    fn bucket(&self, prefix: u64) -> usize {
        // Below 2^32 buckets; a shift of all 64 bits is the one bucket there is.
        prefix.checked_shr(self.shift).unwrap_or(0) as usize
    }

    /// Returns where a block may be, nearest to the region's start first: places of blocks whose digests begin alike.
    pub fn find(&self, cid: &Cid) -> impl Iterator<Item = BlockPlace> + use<'_> {
        let wanted = prefix(cid);
        self.from(wanted)
            .iter()
            .take_while(move |(prefix, _)| *prefix == wanted)
            .map(|(_, packed)| BlockPlace::unpack(*packed))
    }

    /// Returns where in the entries the bucket of a block begins.
    pub(super) fn bucket_start(&self, cid: &Cid) -> u32 {
        let start = self.buckets.get(self.bucket(prefix(cid)));
        start.copied().unwrap_or(0)
    }

    /// Reads one entry for its side effect, the cache line it is in.
    pub(super) fn touch(&self, entry: u32) -> u64 {
        let entry = self.entries.get(entry as usize);
        entry.map_or(0, |(prefix, _)| *prefix)
    }

    /// Returns the entries of a bucket from this prefix on.
    fn from(&self, wanted: u64) -> &[(u64, u64)] {
        let bucket = self.bucket(wanted);
        let bounds = self.buckets.get(bucket..bucket.saturating_add(2));
        let Some(&[start, end]) = bounds else {
            return &[];
        };
        let entries = self
            .entries
            .get(start as usize..end as usize)
            .unwrap_or_default();
        let before = entries.partition_point(|(prefix, _)| *prefix < wanted);
        entries.get(before..).unwrap_or_default()
    }
}

fn prefix(cid: &Cid) -> u64 {
    cid.digest()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use carrack_schema::cid::Codec;

    use super::*;

    fn cid(first: u64, last: u8) -> Cid {
        let mut digest = [last; 32];
        digest[..8].copy_from_slice(&first.to_be_bytes());
        Cid::new(Codec::DagCbor, digest)
    }

    fn place(offset: u64) -> BlockPlace {
        BlockPlace { offset, length: 1 }
    }

    /// Each prefix is found with all its places, and no other is, however many there are and however they lie.
    fn check(prefixes: &[u64]) {
        let mut index = BlockIndex::default();
        for (offset, &first) in prefixes.iter().enumerate() {
            index.push(&cid(first, 1), place(offset as u64));
        }
        index.sort();
        for &first in prefixes.iter().take(500) {
            let found: Vec<_> = index.find(&cid(first, 2)).collect();
            let expected: Vec<_> = (0..prefixes.len())
                .filter(|&at| prefixes[at] == first)
                .map(|at| place(at as u64))
                .collect();
            assert_eq!(found, expected, "{first:x} of {}", prefixes.len());
            let other = first ^ 1;
            let others = prefixes.iter().filter(|&&prefix| prefix == other).count();
            assert_eq!(index.find(&cid(other, 2)).count(), others);
        }
    }

    #[test]
    fn all_that_begins_alike_is_found() {
        // A full-period generator's numbers spread over all bits.
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for count in [0, 1, 2, 7, 8, 15, 16, 17, 100, 1_000] {
            let prefixes: Vec<u64> = (0..count).map(spread).collect();
            check(&prefixes);
            check(&[&prefixes[..], &prefixes].concat());
            check(
                &prefixes
                    .iter()
                    .map(|prefix| prefix >> 40)
                    .collect::<Vec<_>>(),
            );
        }
        check(&[0, 0, u64::MAX, u64::MAX, 1, u64::MAX - 1]);
        check(&[u64::MAX; 100]);
        check(&[0; 100]);
        let near: Vec<u64> = (0..300).chain(u64::MAX - 300..=u64::MAX).collect();
        check(&near);
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let mut index = BlockIndex::default();
        assert_eq!(index.find(&cid(7, 7)).count(), 0);
        index.sort();
        assert_eq!(index.find(&cid(7, 7)).count(), 0);
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
