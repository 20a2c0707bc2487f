//! [`Packer`]: the records of one repo into pages of a new segment, in key order.

use std::sync::Arc;

use carrack_repack::head::RepoHead;
use carrack_repack::page::{Finished, SlotRow};
use carrack_repack::{PageBuilder, PageSink, node_page};
use carrack_repo::{AnyCommit, VerifiedRef};
use carrack_schema::limits::COLLECTIONS_MAX;
use carrack_schema::{Cid, Code, Did};
use carrack_segment::{Codec, Directory, Place, SegmentWriter, Target};

use crate::catalog::SegmentId;
use crate::error::{Error, Result};
use crate::store::{CollectionCount, TMP};

/// A sealed segment that the catalog does not name yet.
pub(super) struct PackedSegment {
    pub(super) id: SegmentId,
    pub(super) records: u64,
    pub(super) missing: u64,
    pub(super) invalid: u64,
    pub(super) bytes: u64,
    pub(super) collections: Vec<CollectionCount>,
}

/// Fills pages and writes them out. Dropped before it is finished, it leaves nothing.
pub(super) struct Packer {
    id: SegmentId,
    writer: SegmentWriter,
    pages: PageBuilder,
    records: u64,
    missing: u64,
    invalid: u64,
    collections: Vec<CollectionCount>,
}

impl Packer {
    pub(super) fn create(directory: &Arc<dyn Directory>, id: SegmentId, did: &Did) -> Result<Self> {
        let (published, temporary) = (id.file(), format!("{TMP}/{}.cseg", id.0));
        let target = Target {
            temporary: &temporary,
            published: &published,
            id: id.0.to_bytes(),
            writer_epoch: 0,
            codec: Codec::Plain,
        };
        let mut writer = SegmentWriter::create(directory, target)?;
        writer.begin_extent(did.as_str().as_bytes())?;
        Ok(Self {
            id,
            writer,
            pages: PageBuilder::default(),
            records: 0,
            missing: 0,
            invalid: 0,
            collections: Vec::new(),
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// `limitExceeded` for a repo of more collections than an answer can list; the disk's.
    pub(super) fn push(
        &mut self,
        collection: &str,
        rkey: &str,
        block: &VerifiedRef<'_>,
    ) -> Result<()> {
        let pushed = self.pages.push(block, &mut Sink(&mut self.writer))?;
        // A record that breaks the data model is kept as it is, and its siblings with it (RC2, DR3).
        self.invalid += u64::from(!pushed.is_valid);
        self.row(collection, rkey, pushed.at)
    }

    /// Adds a record whose block is not held.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn push_missing(&mut self, collection: &str, rkey: &str, cid: &Cid) -> Result<()> {
        let at = self.pages.push_missing(cid, &mut Sink(&mut self.writer))?;
        self.missing += 1;
        self.row(collection, rkey, at)
    }

    fn row(&mut self, collection: &str, rkey: &str, at: SlotRow) -> Result<()> {
        let count = self.collections.len();
        match self.collections.last_mut() {
            Some(last) if last.nsid == collection => last.records += 1,
            _ if count == COLLECTIONS_MAX => {
                let words = format!("the repo has more than {COLLECTIONS_MAX} collections");
                return Err(Error::new(Code::LimitExceeded, words));
            }
            _ => self.collections.push(CollectionCount {
                nsid: collection.to_owned(),
                records: 1,
            }),
        }
        self.records += 1;
        let (group, name) = (collection.as_bytes(), rkey.as_bytes());
        Ok(self.writer.row(group, name, at.slot, at.row)?)
    }

    /// Writes the rest, the tree's digests and the head, and seals the segment.
    ///
    /// # Errors
    /// The disk's; nothing is left then.
    pub(super) fn finish(
        mut self,
        commit: &AnyCommit,
        commit_block: &VerifiedRef<'_>,
        digests: &[[u8; 32]],
    ) -> Result<PackedSegment> {
        let Finished { slots, dictionary } = self.pages.finish(&mut Sink(&mut self.writer))?;
        let first_node_page = self.writer.page_count();
        for digests in digests.chunks(node_page::NODE_PAGE_DIGESTS) {
            self.writer.page(0, &node_page::encode(digests)?)?;
        }
        let head = RepoHead {
            did: commit.did().to_string(),
            rev: commit.rev(),
            commit_cid: *commit_block.cid(),
            commit: commit_block.bytes().to_vec(),
            records: self.records,
            first_node_page,
        };
        self.writer.end_extent(&head.encode()?)?;
        self.writer.dictionary(&dictionary)?;
        let slots: Vec<_> = slots
            .iter()
            .map(|slot| Place {
                page: slot.page,
                ordinal: slot.first_row,
            })
            .collect();
        let sealed = self.writer.seal(&slots)?;
        Ok(PackedSegment {
            id: self.id,
            records: self.records,
            missing: self.missing,
            invalid: self.invalid,
            bytes: sealed.bytes,
            collections: self.collections,
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
