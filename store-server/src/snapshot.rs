//! [`Repo`]: a snapshot of one repo at one revision, and how its records are read and listed.
//!
//! It holds its segments open, so it stays readable, and the same, however often the repo is imported anew, merged or
//! deleted meanwhile. Deleted records are hidden in it as of when it was taken.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use carrack_repack::Field;
use carrack_schema::{Cid, Code, Did, Nsid, RecordPath, Tid};
use carrack_segment::{Group, Index};

use crate::catalog::{Deletions, ExtentEntry, RepoEntry};
use crate::chain::{Chain, ReadRow, RowTable, utf8};
use crate::error::{Error, Result};
use crate::row::{Content, StoredRow};
use crate::verdict::{Status, Verdict};

/// What is known of a repo as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The repo.
    pub did: Did,
    /// The revision; none for a commit of version 2.
    pub rev: Option<Tid>,
    /// CID of the commit.
    pub commit: Cid,
    /// Records that can be seen.
    pub records: u64,
    /// Records whose block is not held; 0 unless it was imported as partial.
    pub missing: u64,
    /// Records that break the data model; their bytes are kept as they are (RC2).
    pub invalid: u64,
    /// Records of the tree that were deleted from the store, and are not counted above.
    pub deleted: u64,
    /// Blocks of the CAR it came from.
    pub blocks: u64,
    /// Bytes of the CAR it came from.
    pub bytes_in: u64,
    /// Bytes that all its revisions take in segment files.
    pub bytes_stored: u64,
    /// When it was imported, in microseconds since the Unix epoch.
    pub imported: i64,
    /// What is known of the commit's signature.
    pub verdict: Verdict,
    /// The first handle that a DID document claimed, unverified; may be empty.
    pub handle: String,
    /// The account's status; a repo of one that is not active is hidden.
    pub status: Status,
}

impl Summary {
    /// Says what a catalog's row says of a repo's current revision.
    pub(crate) fn new(did: Did, entry: &RepoEntry) -> Self {
        Self::at(did, entry, entry.head())
    }

    /// Says what a catalog's row says of one of a repo's revisions.
    pub(crate) fn at(did: Did, entry: &RepoEntry, extent: &ExtentEntry) -> Self {
        Self {
            did,
            rev: extent.rev,
            commit: extent.commit,
            records: extent.records.saturating_sub(extent.deleted).into(),
            missing: extent.missing.into(),
            invalid: extent.invalid.into(),
            deleted: extent.deleted.into(),
            blocks: extent.blocks.into(),
            bytes_in: extent.bytes_in,
            bytes_stored: entry.extents.iter().map(|each| each.bytes_stored).sum(),
            imported: extent.imported,
            verdict: extent.verdict.clone(),
            handle: entry.handle.clone(),
            status: entry.status.clone(),
        }
    }
}

/// A collection and its number of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionCount {
    /// Its NSID.
    pub nsid: String,
    /// Its records.
    pub records: u64,
}

/// A snapshot of a repo: readable, and the same, for as long as it is held.
pub struct Repo {
    summary: Summary,
    chain: Chain,
    deletions: Deletions,
    view: OnceLock<View>,
}

/// The rows of a repo in key order; made when first asked for.
struct View {
    /// Those of the tree.
    all: RowTable,
    /// Those that may be seen, if they are fewer.
    shown: Option<RowTable>,
}

impl View {
    fn shown(&self) -> &RowTable {
        self.shown.as_ref().unwrap_or(&self.all)
    }
}

/// What looking for a record found.
#[derive(Debug)]
pub enum Lookup<'a> {
    /// The record.
    Found(RecordRef<'a>),
    /// The repo has no such collection.
    NoCollection,
    /// The collection has no such record.
    NoRecord,
}

/// A stored record, in place in its mapped segment.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    /// Its collection.
    pub collection: &'a str,
    /// Its key.
    pub rkey: Cow<'a, str>,
    /// What is stored of it; no tombstone.
    pub(crate) row: StoredRow<'a>,
}

impl<'a> RecordRef<'a> {
    fn of(read: ReadRow<'a>) -> Self {
        Self {
            collection: read.collection,
            rkey: Cow::Owned(read.rkey),
            row: read.row,
        }
    }

    /// Returns the record's DAG-CBOR, exactly as it was imported.
    ///
    /// # Errors
    /// `incomplete` if its block was not in the CAR of a repo that was imported as partial.
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>> {
        match self.content()? {
            Content::DagCbor(bytes) => Ok(bytes),
            Content::Missing(cid) => {
                let path = self.key(true);
                let words =
                    format!("the repo was imported without the block {cid} of record {path}");
                Err(Error::new(Code::Incomplete, words))
            }
            Content::Gone => {
                let words = format!("the record {} is gone", self.key(true));
                Err(Error::new(Code::Damaged, words))
            }
        }
    }

    /// Says whether the record's bytes are held; they are not if the repo was imported as partial, without this block.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub fn is_held(&self) -> Result<bool> {
        self.row.is_held()
    }

    /// Returns what is held of the record.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub fn content(&self) -> Result<Content<'a>> {
        self.row.content()
    }

    /// Returns the record's CID, by hashing its bytes where they are held: the answer is its own proof.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub fn cid(&self) -> Result<Cid> {
        self.row.cid()
    }

    /// Calls `visit` with each value at a path of the record, without making the record: map keys joined by dots
    /// (`subject.uri`); a path goes through lists (`embed.images.alt`). A record that breaks the data model has none.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub fn fields(&self, path: &str, visit: impl FnMut(Field<'_>)) -> Result<()> {
        self.row.fields(path, visit)
    }

    /// Returns the record's key in a listing of its collection, or of the whole repo.
    pub(crate) fn key(&self, whole_repo: bool) -> String {
        if whole_repo {
            format!("{}/{}", self.collection, self.rkey)
        } else {
            self.rkey.to_string()
        }
    }
}

/// Which records to list. Keys are record keys where a collection is given, else paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys<'a> {
    /// Only this collection.
    pub collection: Option<&'a Nsid>,
    /// First key, inclusive; empty means open.
    pub from: &'a str,
    /// End, exclusive; empty means open.
    pub before: &'a str,
    /// From the last to the first.
    pub reverse: bool,
    /// Only what comes after this key in the listing's direction.
    pub after: Option<&'a str>,
}

/// Rows of a repo, numbered in key order, and the direction to read them in.
#[derive(Clone, Debug)]
pub struct Rows {
    numbers: Range<u32>,
    reverse: bool,
}

impl Rows {
    /// Returns how many there are.
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether a listing is empty"
    )]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}

impl Rows {
    /// Returns them without the first so many.
    pub(crate) fn after(mut self, count: usize) -> Self {
        let count = u32::try_from(count)
            .unwrap_or(u32::MAX)
            .min(self.numbers.len() as u32);
        match self.reverse {
            true => self.numbers.end -= count,
            false => self.numbers.start += count,
        }
        self
    }

    /// Returns their numbers.
    pub(crate) fn numbers(&self) -> Range<u32> {
        self.numbers.clone()
    }
}

impl Repo {
    /// Returns the rows that may be seen.
    pub(crate) fn shown(&self) -> Result<&RowTable> {
        Ok(self.view()?.shown())
    }

    /// Says whether those are at hand.
    pub(crate) fn has_rows(&self) -> bool {
        self.view.get().is_some()
    }

    /// Says whether reading a record may decompress a page.
    pub(crate) fn is_compressed(&self) -> bool {
        self.chain.is_compressed()
    }

    /// Returns a row that may be seen by its number in key order.
    pub(crate) fn shown_row(&self, number: u32) -> Result<RecordRef<'_>> {
        self.row_of(self.view()?.shown(), number)
    }

    pub(crate) fn new(summary: Summary, chain: Chain, deletions: Deletions) -> Self {
        Self {
            summary,
            chain,
            deletions,
            view: OnceLock::new(),
        }
    }

    /// Returns the repo, if there is one, once all of it is found readable: every checksum is right.
    pub(crate) fn sound(repo: Option<Self>) -> Result<Option<Self>> {
        if let Some(repo) = &repo {
            repo.chain.check()?;
        }
        Ok(repo)
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(crate) fn deletions(&self) -> &Deletions {
        &self.deletions
    }

    /// Returns what is known of the repo as a whole.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn view(&self) -> Result<&View> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let all = RowTable::of(&self.chain)?;
        let shown = match self.deletions.is_empty() {
            true => None,
            false => Some(all.without(&self.hidden_rows(&all)?)),
        };
        Ok(self.view.get_or_init(|| View { all, shown }))
    }

    /// Returns the numbers of the rows that are deleted records, ascending.
    fn hidden_rows(&self, all: &RowTable) -> Result<Vec<u32>> {
        let mut hidden = Vec::new();
        let mut key = Vec::new();
        for path in self.deletions.paths() {
            let number = all.first_at(&self.chain, path.as_bytes())?;
            let Some(at) = all.at(number) else { continue };
            self.chain.key(at, &mut key)?;
            if key == path.as_bytes() {
                let row = self.chain.row(at)?.row;
                if self.deletions.hide(path, || row.cid())? {
                    hidden.push(number);
                }
            }
        }
        hidden.sort_unstable();
        Ok(hidden)
    }

    /// Returns the collections in order.
    ///
    /// # Errors
    /// `damaged` if the index is.
    pub fn collections(&self) -> Result<Vec<CollectionCount>> {
        if let Some(index) = self.plain_index()? {
            let count = |group: Group<'_>| {
                Ok(CollectionCount {
                    nsid: utf8(group.name)?.to_owned(),
                    records: group.row_count.into(),
                })
            };
            return index.groups().map(count).collect();
        }
        let shown = self.view()?.shown();
        let mut collections = Vec::new();
        let mut next = 0;
        while let Some(at) = shown.at(next) {
            let index = self.chain.link(at.link)?.index()?;
            let group = index
                .row(at.row)
                .and_then(|row| index.groups().nth(row.group))
                .ok_or_else(|| Error::new(Code::Damaged, "a row is of no collection"))?;
            let rows = shown.collection(&self.chain, group.name)?;
            collections.push(CollectionCount {
                nsid: utf8(group.name)?.to_owned(),
                records: rows.len() as u64,
            });
            next = rows.end.max(next + 1);
        }
        Ok(collections)
    }

    /// Returns the index whose rows are just those that may be seen, if there is one: of a repo that is one extent, as
    /// most are.
    fn plain_index(&self) -> Result<Option<Index<'_>>> {
        match (self.chain.links(), self.deletions.is_empty()) {
            ([only], true) => only.index().map(Some),
            _ => Ok(None),
        }
    }

    /// Returns the numbers of a collection's rows among those that may be seen; none if there are none.
    fn collection_rows(&self, nsid: &str) -> Result<Range<u32>> {
        if let Some(index) = self.plain_index()? {
            let group = index.group(nsid.as_bytes());
            return Ok(group.map_or(0..0, |group| group.rows()));
        }
        self.view()?
            .shown()
            .collection(&self.chain, nsid.as_bytes())
    }

    /// Returns a record.
    ///
    /// # Errors
    /// `damaged` if the index or the record's page is.
    pub fn record<'a>(&'a self, path: &'a RecordPath) -> Result<Lookup<'a>> {
        match self.found(path)? {
            Some(record) => Ok(Lookup::Found(record)),
            None => self.absence(path),
        }
    }

    /// As [`record`](Self::record), unless that takes long: decompressing a page, or going through the rows of diffs.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub(crate) fn record_at_once<'a>(&'a self, path: &'a RecordPath) -> Result<Option<Lookup<'a>>> {
        if self.chain.is_compressed() {
            return Ok(None);
        }
        match self.found(path)? {
            Some(record) => Ok(Some(Lookup::Found(record))),
            None if self.plain_index()?.is_some() => self.absence(path).map(Some),
            None => Ok(None),
        }
    }

    fn found<'a>(&'a self, path: &'a RecordPath) -> Result<Option<RecordRef<'a>>> {
        let (collection, rkey) = (path.collection.as_str(), path.rkey.as_str());
        let found = self.chain.find(collection, rkey)?;
        if let Some((collection, row)) = found
            && (self.deletions.is_empty()
                || !self.deletions.hide(&path.to_string(), || row.cid())?)
        {
            return Ok(Some(RecordRef {
                collection,
                rkey: Cow::Borrowed(rkey),
                row,
            }));
        }
        Ok(None)
    }

    fn absence(&self, path: &RecordPath) -> Result<Lookup<'_>> {
        let rows = self.collection_rows(path.collection.as_str())?;
        Ok(match rows.is_empty() {
            true => Lookup::NoCollection,
            false => Lookup::NoRecord,
        })
    }

    /// Says whether the tree has a record that was deleted from the store.
    pub(crate) fn is_deleted(&self, path: &RecordPath) -> Result<bool> {
        if self.deletions.is_empty() {
            return Ok(false);
        }
        let found = self
            .chain
            .find(path.collection.as_str(), path.rkey.as_str())?;
        match found {
            Some((_, row)) => self.deletions.hide(&path.to_string(), || row.cid()),
            None => Ok(false),
        }
    }

    /// Returns the rows that `keys` select; none if the repo has no such collection.
    ///
    /// # Errors
    /// `damaged` if the index is.
    pub fn rows(&self, keys: &Keys<'_>) -> Result<Option<Rows>> {
        let shown = self.view()?.shown();
        let (prefix, all) = match keys.collection {
            None => (String::new(), 0..shown.rows()),
            Some(nsid) => {
                let rows = self.collection_rows(nsid.as_str())?;
                if rows.is_empty() {
                    return Ok(None);
                }
                (format!("{nsid}/"), rows)
            }
        };
        let first = |key: &str| shown.first_at(&self.chain, format!("{prefix}{key}").as_bytes());
        let mut numbers = all;
        if !keys.from.is_empty() {
            numbers.start = numbers.start.max(first(keys.from)?);
        }
        if !keys.before.is_empty() {
            numbers.end = numbers.end.min(first(keys.before)?);
        }
        match keys.after {
            None => {}
            Some(after) if keys.reverse => numbers.end = numbers.end.min(first(after)?),
            // The smallest key above `after` is `after` with a zero byte.
            Some(after) => numbers.start = numbers.start.max(first(&format!("{after}\0"))?),
        }
        numbers.start = numbers.start.min(numbers.end);
        Ok(Some(Rows {
            numbers,
            reverse: keys.reverse,
        }))
    }

    /// Reads rows in their order.
    pub fn read(&self, rows: Rows) -> impl Iterator<Item = Result<RecordRef<'_>>> {
        let Rows { numbers, reverse } = rows;
        let (start, end) = (numbers.start, numbers.end);
        numbers.map(move |i| {
            let number = if reverse { end - 1 - (i - start) } else { i };
            self.shown_row(number)
        })
    }

    /// Returns how many rows the tree has, deleted records among them.
    pub(crate) fn tree_rows(&self) -> Result<u32> {
        Ok(self.view()?.all.rows())
    }

    /// Returns a row of the tree by its number in key order, be it deleted or not.
    pub(crate) fn tree_row(&self, number: u32) -> Result<RecordRef<'_>> {
        self.row_of(&self.view()?.all, number)
    }

    /// Puts the key of a row of the tree in place of what `out` holds.
    pub(crate) fn tree_key(&self, number: u32, out: &mut Vec<u8>) -> Result<()> {
        let at = self.view()?.all.at(number).ok_or_else(|| no_row(number))?;
        self.chain.key(at, out)
    }

    fn row_of(&self, table: &RowTable, number: u32) -> Result<RecordRef<'_>> {
        let at = table.at(number).ok_or_else(|| no_row(number))?;
        self.chain.row(at).map(RecordRef::of)
    }
}

fn no_row(number: u32) -> Error {
    Error::new(Code::Damaged, format!("the repo has no row {number}"))
}
