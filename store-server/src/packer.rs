//! [`Packer`]: rows of repos into extents of a new segment. All segments are written here, by imports and merges.
//!
//! A record comes in as a verified block, so what is packed again by a merge is proven again.

use std::sync::Arc;

use carrack_repack::head::{RepoHead, extent_key};
use carrack_repack::page::{Finished, PageTarget, SlotRow};
use carrack_repack::{NodeScript, PageBuilder, PageSink};
use carrack_repo::VerifiedRef;
use carrack_schema::{Cid, Did, Tid};
use carrack_segment::{Codec, Directory, Place, SegmentWriter, Target};

use crate::catalog::SegmentId;
use crate::error::Result;
use crate::store::TMP;

/// About what a row takes in the index.
const INDEX_ROW_BYTES: u64 = 9;

/// How hard cold pages are compressed: they are written once, by a merge that nobody waits for. Above 19 zstd takes
/// much more memory to read too.
const COLD: Codec = Codec::Zstd { level: 19 };

/// What is said of an extent beside its rows.
pub(crate) struct ExtentHead<'a> {
    /// The commit block.
    pub(crate) commit: &'a [u8],
    /// Records of the repo at this revision.
    pub(crate) records: u64,
    /// Whether the rows are what changed since the revision before.
    pub(crate) is_diff: bool,
    /// The digests of the tree's nodes.
    pub(crate) nodes: &'a NodeScript,
}

/// What an extent came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtentCounts {
    /// Rows of records.
    pub(crate) rows: u32,
    /// Rows that say that a record went.
    pub(crate) tombstones: u32,
    /// Rows of records whose block is not held, among `rows`.
    pub(crate) missing: u32,
    /// Rows of records that break the data model, among `rows`.
    pub(crate) invalid: u32,
}

/// A sealed segment that the catalog does not name yet.
pub(crate) struct PackedSegment {
    pub(crate) id: SegmentId,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Each extent's share of those bytes, in the order in which they were packed. They add up to all of them: by that the
    /// store knows whether a segment holds anything that no repo names.
    pub(crate) shares: Vec<u64>,
    pub(crate) cold: bool,
}

/// Fills pages and writes them out. Dropped before it is finished, it leaves nothing.
pub(crate) struct Packer {
    id: SegmentId,
    cold: bool,
    writer: SegmentWriter,
    pages: PageBuilder,
    counts: ExtentCounts,
    /// Bytes of the extent in hand, near enough to share the file's by.
    weight: u64,
    weights: Vec<u64>,
}

impl Packer {
    /// Starts a segment file. `cold` asks for pages that are smaller and slower to read.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn create(
        directory: &Arc<dyn Directory>,
        id: SegmentId,
        cold: bool,
    ) -> Result<Self> {
        let (published, temporary) = (id.file(), format!("{TMP}/{}.cseg", id.0));
        let target = Target {
            temporary: &temporary,
            published: &published,
            id: id.0.to_bytes(),
            writer_epoch: 0,
            codec: if cold { COLD } else { Codec::Plain },
        };
        Ok(Self {
            id,
            cold,
            writer: SegmentWriter::create(directory, target)?,
            pages: PageBuilder::new(if cold {
                PageTarget::COLD
            } else {
                PageTarget::WARM
            }),
            counts: ExtentCounts::default(),
            weight: 0,
            weights: Vec::new(),
        })
    }

    /// Starts an extent: one revision of a repo, or what changed in it.
    ///
    /// # Errors
    /// If the segment has that extent already; the disk's.
    pub(crate) fn begin(&mut self, did: &Did, rev: Option<Tid>) -> Result<()> {
        self.counts = ExtentCounts::default();
        self.weight = 0;
        Ok(self.writer.begin_extent(&extent_key(did.as_str(), rev))?)
    }

    /// Adds a record. Rows come in key order.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn push(
        &mut self,
        collection: &str,
        rkey: &str,
        block: &VerifiedRef<'_>,
    ) -> Result<()> {
        let pushed = self.pages.push(block, &mut Sink(&mut self.writer))?;
        // A record that breaks the data model is kept as it is, and its siblings with it (RC2, DR3).
        self.counts.invalid += u32::from(!pushed.is_valid);
        self.counts.rows += 1;
        self.weight += block.bytes().len() as u64;
        self.row(collection, rkey, pushed.at)
    }

    /// Adds a record whose block is not held.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn push_missing(&mut self, collection: &str, rkey: &str, cid: &Cid) -> Result<()> {
        let at = self.pages.push_missing(cid, &mut Sink(&mut self.writer))?;
        self.counts.rows += 1;
        self.counts.missing += 1;
        self.row(collection, rkey, at)
    }

    /// Adds a tombstone: the record is in the revision before and not in this one.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn push_gone(&mut self, collection: &str, rkey: &str) -> Result<()> {
        let at = self.pages.push_gone(&mut Sink(&mut self.writer))?;
        self.counts.tombstones += 1;
        self.row(collection, rkey, at)
    }

    fn row(&mut self, collection: &str, rkey: &str, at: SlotRow) -> Result<()> {
        self.weight += INDEX_ROW_BYTES;
        let (group, name) = (collection.as_bytes(), rkey.as_bytes());
        Ok(self.writer.row(group, name, at.slot, at.row)?)
    }

    /// Ends the extent with the tree's digests and the head.
    ///
    /// # Errors
    /// The disk's; the packer is of no use then.
    pub(crate) fn end(&mut self, head: &ExtentHead<'_>) -> Result<ExtentCounts> {
        let first_node_page = self.writer.page_count();
        let mut nodes = NodeScript::default();
        if head.nodes.is_small() {
            nodes = head.nodes.clone();
        } else {
            for page in head.nodes.pages()? {
                self.weight += page.len() as u64;
                self.writer.page(0, &page)?;
            }
        }
        let head = RepoHead {
            commit: head.commit.to_vec(),
            records: head.records,
            is_diff: head.is_diff,
            first_node_page,
            node_pages: self.writer.page_count() - first_node_page,
            nodes,
        };
        let head = head.encode()?;
        self.writer.end_extent(&head)?;
        self.weights.push(self.weight + head.len() as u64);
        Ok(self.counts)
    }

    /// Returns how many bytes of the file are written; rows of a page that is not full wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Seals the segment.
    ///
    /// # Errors
    /// The disk's; nothing is left then.
    pub(crate) fn finish(mut self) -> Result<PackedSegment> {
        let Finished { slots, dictionary } = self.pages.finish(&mut Sink(&mut self.writer))?;
        self.writer.dictionary(&dictionary)?;
        let places: Vec<_> = slots
            .iter()
            .map(|slot| Place {
                page: slot.page,
                ordinal: slot.first_row,
            })
            .collect();
        let sealed = self.writer.seal(&places)?;
        Ok(PackedSegment {
            id: self.id,
            bytes: sealed.bytes,
            shares: share(sealed.bytes, &self.weights),
            cold: self.cold,
        })
    }
}

/// A segment's writer, as pages go to it.
struct Sink<'a>(&'a mut SegmentWriter);

impl PageSink for Sink<'_> {
    fn page(&mut self, rows: u32, message: &[u8]) -> carrack_segment::Result<u32> {
        self.0.page(rows, message)
    }
}

/// Shares a file's bytes among its extents by their weights; the shares add up to the whole.
fn share(bytes: u64, weights: &[u64]) -> Vec<u64> {
    let total = weights.iter().sum::<u64>().max(1);
    let up_to = |weight: u64| {
        let part = u128::from(bytes) * u128::from(weight) / u128::from(total);
        u64::try_from(part).unwrap_or(bytes)
    };
    let mut sum = 0;
    let mut shares = Vec::with_capacity(weights.len());
    for weight in weights {
        let before = up_to(sum);
        sum += weight;
        shares.push(up_to(sum) - before);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_file() {
        for (bytes, weights) in [
            (1_000, vec![7]),
            (1_001, vec![1, 1, 1]),
            (u64::MAX, vec![u64::MAX / 2, 1]),
        ] {
            assert_eq!(share(bytes, &weights).iter().sum::<u64>(), bytes);
        }
        assert_eq!(share(100, &[1, 3]), [25, 75]);
        assert_eq!(share(100, &[]), [0_u64; 0]);
    }
}
