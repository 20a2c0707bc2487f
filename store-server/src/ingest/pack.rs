//! From a verified tree to an extent: in full, or as what changed since the stored revision.
//!
//! A diff is written where less than half of the rows changed. What is unchanged is seen by comparing bytes: a stored
//! record is hashed only where the CAR does not hold its block. Records that were deleted from the store are never
//! written again; their CIDs are, because the tree is rebuilt from them.

use std::cell::RefCell;

use carrack_repack::NodeScript;
use carrack_repo::{AnyCommit, BlockSource, VerifiedRef, WalkedRecord, cbor, walk};
use carrack_schema::limits::COLLECTIONS_MAX;
use carrack_schema::{Cid, Code};

use super::base::Base;
use super::publish::Known;
use super::spool::Spool;
use super::{ImportRequest, Phase, Progress, REPORT_RECORDS};
use crate::error::{Error, Result};
use crate::packer::{ExtentHead, PackedSegment, Packer};
use crate::row::Content;
use crate::store::{CollectionCount, RecordRef, Repo, Store};

/// What an extent is made of.
pub(super) struct Input<'a> {
    pub(super) commit: &'a AnyCommit,
    pub(super) commit_block: &'a VerifiedRef<'a>,
    pub(super) spool: &'a Spool,
    pub(super) known: &'a Known,
    /// Whether the stored revision may be what a diff is over.
    pub(super) may_diff: bool,
    pub(super) request: &'a ImportRequest,
}

/// A sealed segment with one extent.
pub(super) struct Packed {
    pub(super) segment: PackedSegment,
    pub(super) is_diff: bool,
    pub(super) rows: u32,
    pub(super) tombstones: u32,
    pub(super) tally: Tally,
    pub(super) invalid: u32,
}

/// What the records of a revision come to; deleted ones count as such only.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) records: u32,
    pub(super) missing: u32,
    pub(super) deleted: u32,
    pub(super) collections: Vec<CollectionCount>,
    first_missing: Option<(String, Cid)>,
}

impl Tally {
    fn count(&mut self, collection: &str) -> Result<()> {
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
        Ok(())
    }
}

impl Store {
    /// Walks the tree in key order and writes its records into a new segment.
    pub(super) fn pack(
        &self,
        input: &Input<'_>,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Packed> {
        if let Some(base) = input.known.base.as_ref().filter(|_| input.may_diff) {
            let older = Older::new(base)?;
            if let Some(packed) = self.pack_rows(input, Some(older), progress)? {
                return Ok(packed);
            }
        }
        let packed = self.pack_rows(input, None, progress)?;
        packed.ok_or_else(|| Error::new(Code::Internal, "a full extent is always worth it"))
    }

    /// Writes a full extent, or a diff over `older`; none if too much has changed for that.
    fn pack_rows(
        &self,
        input: &Input<'_>,
        mut older: Option<Older<'_>>,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Option<Packed>> {
        let mut packer = Packer::create(&self.inner().directory, self.new_segment_id()?, false)?;
        packer.begin(input.commit.did(), input.commit.rev())?;
        let base = input
            .known
            .base
            .as_ref()
            .map(|repo| RefCell::new(Base::new(repo)));
        let mut nodes = Nodes {
            spool: input.spool,
            base: base.as_ref(),
            digests: Vec::new(),
        };
        let mut writer = Writer {
            input,
            base: base.as_ref(),
            packer,
            tally: Tally::default(),
            scratch: Vec::new(),
        };
        let walked = walk(input.commit.data(), &mut nodes, |record| {
            match &mut older {
                None => {
                    writer.record(&record, None)?;
                }
                Some(older) => {
                    older.skip_to(record.path.as_bytes(), &mut writer)?;
                    let stored = older.take_if(record.path.as_bytes())?;
                    if writer.record(&record, stored.as_ref())? {
                        older.replace(stored.as_ref())?;
                    }
                    older.check()?;
                }
            }
            writer.tally.records += 1;
            if u64::from(writer.tally.records).is_multiple_of(REPORT_RECORDS) {
                progress(Progress {
                    phase: Phase::Packing,
                    done: writer.tally.records.into(),
                    total: 0,
                });
                self.check_open()?;
                input.request.check()?;
            }
            Ok::<_, Stop>(())
        });
        let rest = walked.and_then(|_| match &mut older {
            None => Ok(()),
            Some(older) => {
                older.skip_rest(&mut writer)?;
                older.check()
            }
        });
        match rest {
            Ok(()) => writer.finish(&nodes.digests, older).map(Some),
            Err(Stop::TooMuchChanged) => Ok(None),
            Err(Stop::Error(error)) => Err(error),
        }
    }
}

/// Why packing ended early.
enum Stop {
    TooMuchChanged,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<carrack_repo::Error> for Stop {
    fn from(error: carrack_repo::Error) -> Self {
        Self::Error(error.into())
    }
}

/// Writes the rows of one extent.
struct Writer<'a, 'b> {
    input: &'a Input<'a>,
    base: Option<&'a RefCell<Base<'b>>>,
    packer: Packer,
    tally: Tally,
    scratch: Vec<u8>,
}

impl Writer<'_, '_> {
    /// Writes a record's row, unless it is `stored` just so; says whether it did.
    fn record(
        &mut self,
        record: &WalkedRecord<'_>,
        stored: Option<&RecordRef<'_>>,
    ) -> Result<bool> {
        let deletions = &self.input.known.deletions;
        if !deletions.is_empty() && deletions.hide(record.path, || Ok(record.cid))? {
            self.tally.deleted += 1;
            return self.without_block(record, stored);
        }
        self.tally.count(record.collection)?;
        let mut block = self.input.spool.get(&record.cid)?;
        if block.is_none()
            && let Some(base) = self.base
        {
            block = base
                .borrow_mut()
                .record(record.path, &record.cid, &mut self.scratch)?;
        }
        let Some(block) = block else {
            self.tally.missing += 1;
            self.tally
                .first_missing
                .get_or_insert_with(|| (record.path.to_owned(), record.cid));
            return self.without_block(record, stored);
        };
        if let Some(stored) = stored
            && stored.bytes().is_ok_and(|bytes| *bytes == *block.bytes())
        {
            return Ok(false);
        }
        self.packer.push(record.collection, record.rkey, &block)?;
        Ok(true)
    }

    /// Writes the row of a record whose block is not held, or must not be.
    fn without_block(
        &mut self,
        record: &WalkedRecord<'_>,
        stored: Option<&RecordRef<'_>>,
    ) -> Result<bool> {
        if let Some(stored) = stored
            && stored.cid()? == record.cid
        {
            return Ok(false);
        }
        self.packer
            .push_missing(record.collection, record.rkey, &record.cid)?;
        Ok(true)
    }

    fn finish(mut self, digests: &[[u8; 32]], older: Option<Older<'_>>) -> Result<Packed> {
        if let Some((path, cid)) = &self.tally.first_missing
            && !self.input.request.allow_partial
        {
            let count = self.tally.missing;
            let words = format!(
                "the CAR lacks the blocks of {count} records, the first is {cid} of {path}; it is not a full export"
            );
            return Err(Error::new(Code::Incomplete, words));
        }
        let nodes = match &older {
            None => NodeScript::full(digests.to_vec()),
            Some(older) => NodeScript::between(&older.repo.chain().node_digests(0)?, digests),
        };
        let counts = self.packer.end(&ExtentHead {
            commit: self.input.commit_block.bytes(),
            records: self.tally.records.into(),
            is_diff: older.is_some(),
            nodes: &nodes,
        })?;
        Ok(Packed {
            segment: self.packer.finish()?,
            is_diff: older.is_some(),
            rows: counts.rows,
            tombstones: counts.tombstones,
            tally: self.tally,
            invalid: counts.invalid + older.map_or(0, |older| older.invalid),
        })
    }
}

/// The rows of the stored revision, in key order beside the new ones.
struct Older<'a> {
    repo: &'a Repo,
    next: u32,
    rows: u32,
    /// The key of the next row.
    key: Vec<u8>,
    /// Rows of the diff so far.
    changed: u32,
    /// Records that break the data model, among those that are as they were or have not been met yet.
    invalid: u32,
}

impl<'a> Older<'a> {
    fn new(repo: &'a Repo) -> Result<Self> {
        let mut older = Self {
            repo,
            next: 0,
            rows: repo.tree_rows()?,
            key: Vec::new(),
            changed: 0,
            invalid: u32::try_from(repo.summary().invalid).unwrap_or(u32::MAX),
        };
        older.read_key()?;
        Ok(older)
    }

    fn read_key(&mut self) -> Result<()> {
        if self.next < self.rows {
            self.repo.tree_key(self.next, &mut self.key)?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<RecordRef<'a>> {
        let row = self.repo.tree_row(self.next)?;
        self.next += 1;
        self.read_key()?;
        Ok(row)
    }

    /// Takes the next row, if its key is this one.
    fn take_if(&mut self, key: &[u8]) -> Result<Option<RecordRef<'a>>> {
        if self.next == self.rows || self.key != key {
            return Ok(None);
        }
        self.take().map(Some)
    }

    /// Writes tombstones for the rows before a key.
    fn skip_to(&mut self, key: &[u8], writer: &mut Writer<'_, '_>) -> Result<()> {
        while self.next < self.rows && *self.key < *key {
            self.bury(writer)?;
        }
        Ok(())
    }

    /// Writes tombstones for the rows that are left.
    fn skip_rest(&mut self, writer: &mut Writer<'_, '_>) -> Result<()> {
        while self.next < self.rows {
            self.bury(writer)?;
        }
        Ok(())
    }

    fn bury(&mut self, writer: &mut Writer<'_, '_>) -> Result<()> {
        let row = self.take()?;
        self.changed += 1;
        self.forget(&row)?;
        writer.packer.push_gone(row.collection, &row.rkey)
    }

    /// Counts a row of the diff, which takes the place of `stored` if there is one.
    fn replace(&mut self, stored: Option<&RecordRef<'_>>) -> Result<()> {
        self.changed += 1;
        stored.map_or(Ok(()), |stored| self.forget(stored))
    }

    /// Takes a row that is no more out of the count of invalid ones.
    fn forget(&mut self, row: &RecordRef<'_>) -> Result<()> {
        if self.invalid == 0 {
            return Ok(());
        }
        if let Content::DagCbor(bytes) = row.content()?
            && cbor::validate(&bytes).is_err()
            && !self.repo.deletions().hide(&row.key(true), || row.cid())?
        {
            self.invalid = self.invalid.saturating_sub(1);
        }
        Ok(())
    }

    /// Says whether the diff is still worth it: a full extent reads faster and frees the old one.
    fn check(&self) -> Result<(), Stop> {
        match self.changed > self.rows / 2 {
            true => Err(Stop::TooMuchChanged),
            false => Ok(()),
        }
    }
}

/// The nodes of an import, as the walk asks for them: each once and in pre-order, which is how their digests are kept.
struct Nodes<'a, 'b> {
    spool: &'a Spool,
    base: Option<&'a RefCell<Base<'b>>>,
    digests: Vec<[u8; 32]>,
}

impl BlockSource for Nodes<'_, '_> {
    fn get<'s>(
        &'s mut self,
        cid: &Cid,
        scratch: &'s mut Vec<u8>,
    ) -> carrack_repo::Result<Option<VerifiedRef<'s>>> {
        self.digests.push(*cid.digest());
        if let Some(block) = self.spool.get(cid)? {
            return Ok(Some(block));
        }
        match self.base {
            Some(base) => base.borrow_mut().node(cid, scratch),
            None => Ok(None),
        }
    }

    fn expect(&mut self, cids: &[Cid]) {
        self.spool.warm(cids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repo_has_so_many_collections() {
        let mut tally = Tally::default();
        for i in 0..COLLECTIONS_MAX {
            let name = format!("com.example.c{i}");
            // The second record is of a collection that is counted.
            tally.count(&name).unwrap();
            tally.count(&name).unwrap();
        }
        let error = tally.count("com.example.more").unwrap_err();
        assert_eq!(error.code(), Code::LimitExceeded);
        assert_eq!(tally.collections.len(), COLLECTIONS_MAX);
    }
}
