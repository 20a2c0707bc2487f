//! [`Store`]: the repos of one data folder, for reading and importing.
//!
//! It owns the catalog and the open segments, and hands out [`Repo`] snapshots: a snapshot keeps its segment file
//! readable however often the repo is imported anew meanwhile. No RPC type appears here; `rpc/` translates. Calls
//! may read from disk and so block shortly; [`Store::import`] blocks for as long as its input takes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrack_repack::{RepoHead, page};
use carrack_schema::limits::IMPORTS_MAX;
use carrack_schema::{Cid, Code, Did, Nsid, RecordPath, Tid, cid::Codec};
use carrack_segment::{Directory, Extent, Index, Segment};

use crate::catalog::{CURSOR_KEY_BYTES, Catalog, RepoEntry, SegmentId};
use crate::clock::Clock;
use crate::error::{Error, Result, damaged};

/// The repos of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    segments: Mutex<HashMap<SegmentId, Arc<OpenSegment>>>,
    imports: AtomicUsize,
    closing: AtomicBool,
}

/// A mapped segment. Once another has taken its place in the catalog its file goes with the last snapshot.
struct OpenSegment {
    segment: Segment,
    directory: Arc<dyn Directory>,
    retired: AtomicBool,
}

impl Drop for OpenSegment {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = self.directory.unlink(self.segment.name())
        {
            // Harmless: the next opening removes files that the catalog does not name.
            tracing::warn!(%error, file = self.segment.name(), "cannot remove a replaced segment");
        }
    }
}

/// Folders of the data folder.
const SEGMENTS: &str = "segments";
pub(crate) const TMP: &str = "tmp";

impl Store {
    /// Opens the store in a data folder, or creates an empty one. The caller holds the folder's lock.
    ///
    /// Files that a crash left behind are removed: all in `tmp/`, and segments that the catalog does not name.
    ///
    /// # Errors
    /// If the folder cannot be used, or the catalog is damaged or of another version. A segment that is missing is
    /// no error here but of the repos in it.
    pub fn open(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Result<Self> {
        let unusable =
            |error| Error::because(Code::Unavailable, "the data folder cannot be used", error);
        for folder in [SEGMENTS, TMP] {
            directory.create_dir(folder).map_err(unusable)?;
        }
        let catalog = Catalog::open(&directory)?;
        sweep(&*directory, &catalog).map_err(unusable)?;
        directory.sync_dir("").map_err(unusable)?;
        Ok(Self(Arc::new(Inner {
            directory,
            catalog,
            clock,
            segments: Mutex::default(),
            imports: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        })))
    }

    /// Returns a repo at its current revision.
    ///
    /// # Errors
    /// `damaged` if its segment is missing or broken; other repos stay readable.
    pub fn repo(&self, did: &Did) -> Result<Option<Repo>> {
        // Between reading the row and opening its file an import may replace both; then the newer row counts.
        let mut entry = self.0.catalog.repo(did)?;
        while let Some(found) = entry {
            let opened = self.segment(found.segment);
            let segment = match opened {
                Ok(segment) => segment,
                Err(error) => {
                    entry = self.0.catalog.repo(did)?;
                    match &entry {
                        Some(newer) if newer.segment != found.segment => continue,
                        _ => return Err(error),
                    }
                }
            };
            return Repo::new(Summary::new(did.clone(), &found), segment).map(Some);
        }
        Ok(None)
    }

    /// Returns up to `limit` repos above `after` in order of DID, and whether there are more.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn repos(&self, after: &str, limit: usize) -> Result<(Vec<Summary>, bool)> {
        let mut repos = Vec::new();
        let mut bad_row = None;
        let mut more = false;
        self.0.catalog.repos_after(after, |did, entry| {
            more = repos.len() == limit;
            if more {
                return false;
            }
            match did.parse() {
                Ok(did) => repos.push(Summary::new(did, &entry)),
                Err(error) => bad_row = Some(damaged("a repo's key in the catalog", error)),
            }
            bad_row.is_none()
        })?;
        bad_row.map_or(Ok((repos, more)), Err)
    }

    /// Returns totals over all repos.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        self.0.catalog.repos_after("", |_, entry| {
            stats.repos += 1;
            stats.records += entry.records;
            stats.bytes_in += entry.bytes_in;
            stats.bytes_stored += entry.bytes_stored;
            true
        })?;
        Ok(stats)
    }

    pub(crate) fn cursor_key(&self) -> &[u8; CURSOR_KEY_BYTES] {
        self.0.catalog.cursor_key()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Takes a place among the imports that may run at the same time.
    ///
    /// # Errors
    /// `overloaded` if all are taken, `unavailable` if the store is closing.
    pub(crate) fn admit_import(&self) -> Result<ImportPermit> {
        if self.is_closing() {
            return Err(Error::new(Code::Unavailable, "the store is shutting down"));
        }
        let taken = self.0.imports.fetch_add(1, Ordering::AcqRel);
        let permit = ImportPermit(self.clone());
        if taken >= IMPORTS_MAX {
            drop(permit);
            let words = format!("{IMPORTS_MAX} imports are running, try again when one is done");
            return Err(Error::new(Code::Overloaded, words));
        }
        Ok(permit)
    }

    /// Tells running imports to stop and admits no more. Those past their last check still complete.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    /// Returns the number of imports that run.
    pub fn imports(&self) -> usize {
        self.0.imports.load(Ordering::Acquire)
    }

    /// Puts a sealed segment's repo into the catalog, see [`Catalog::replace_repo`].
    pub(crate) fn publish(
        &self,
        did: &Did,
        entry: &RepoEntry,
        admit: impl FnOnce(Option<&RepoEntry>) -> Result<()>,
    ) -> Result<()> {
        if let Some(old) = self.0.catalog.replace_repo(did, entry, admit)? {
            self.retire(old.segment);
        }
        Ok(())
    }

    /// Lets go of a segment that the catalog no longer names; its file goes with the last snapshot of it.
    fn retire(&self, id: SegmentId) {
        // A segment nobody has open is opened once more, so that one place removes files.
        if let Ok(segment) = self.segment(id) {
            segment.retired.store(true, Ordering::Release);
        }
        self.lock_segments().remove(&id);
    }

    fn segment(&self, id: SegmentId) -> Result<Arc<OpenSegment>> {
        if let Some(segment) = self.lock_segments().get(&id) {
            return Ok(segment.clone());
        }
        // Opened outside the lock: a slow disk holds up only who needs this file.
        let segment = Segment::open(&*self.0.directory, &id.file())?;
        if segment.id() != id.0.to_bytes() {
            let words = format!("{} is another segment than its name says", id.file());
            return Err(Error::new(Code::Damaged, words));
        }
        let directory = self.0.directory.clone();
        let opened = Arc::new(OpenSegment {
            segment,
            directory,
            retired: AtomicBool::new(false),
        });
        Ok(self.lock_segments().entry(id).or_insert(opened).clone())
    }

    fn lock_segments(&self) -> MutexGuard<'_, HashMap<SegmentId, Arc<OpenSegment>>> {
        // The map is whole whatever its last holder did.
        self.0
            .segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what a crash left behind.
fn sweep(directory: &dyn Directory, catalog: &Catalog) -> std::io::Result<()> {
    for file in directory.list(TMP)? {
        directory.unlink(&format!("{TMP}/{file}"))?;
    }
    let known: Vec<String> = match catalog.segments() {
        Ok(segments) => segments.into_iter().map(SegmentId::file).collect(),
        Err(error) => return Err(std::io::Error::other(error)),
    };
    let known: std::collections::HashSet<&str> = known.iter().map(String::as_str).collect();
    let mut present = 0;
    for file in directory.list(SEGMENTS)? {
        let name = format!("{SEGMENTS}/{file}");
        if known.contains(name.as_str()) {
            present += 1;
        } else if name.ends_with(".cseg") {
            directory.unlink(&name)?;
        }
    }
    if present < known.len() {
        tracing::error!(
            missing = known.len() - present,
            "segment files that the catalog names are missing"
        );
    }
    Ok(())
}

/// A place among the imports that run; free again when dropped.
pub(crate) struct ImportPermit(Store);

impl Drop for ImportPermit {
    fn drop(&mut self) {
        self.0.0.imports.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Totals over all repos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Repos held.
    pub repos: u64,
    /// Records of their current revisions.
    pub records: u64,
    /// Bytes of the CARs those came from.
    pub bytes_in: u64,
    /// Bytes of their segment files.
    pub bytes_stored: u64,
}

/// What is known of a repo as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The repo.
    pub did: Did,
    /// Its current revision.
    pub rev: Tid,
    /// CID of the commit.
    pub commit: Cid,
    /// Records.
    pub records: u64,
    /// Blocks of the CAR it came from.
    pub blocks: u64,
    /// Bytes of the CAR it came from.
    pub bytes_in: u64,
    /// Bytes of its segment file.
    pub bytes_stored: u64,
    /// When it was imported, in microseconds since the Unix epoch.
    pub imported: i64,
}

impl Summary {
    pub(crate) fn new(did: Did, entry: &RepoEntry) -> Self {
        Self {
            did,
            rev: entry.rev,
            commit: entry.commit,
            records: entry.records,
            blocks: entry.blocks,
            bytes_in: entry.bytes_in,
            bytes_stored: entry.bytes_stored,
            imported: entry.imported,
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
    segment: Arc<OpenSegment>,
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
    /// Its DAG-CBOR, exactly as it was imported.
    pub bytes: &'a [u8],
}

impl RecordRef<'_> {
    /// Returns the record's CID, by hashing its bytes: the answer is its own proof.
    pub fn cid(&self) -> Cid {
        Cid::new(Codec::DagCbor, carrack_repo::hash::sha256(self.bytes))
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

impl Repo {
    fn new(summary: Summary, segment: Arc<OpenSegment>) -> Result<Self> {
        let repo = Self { summary, segment };
        let head = RepoHead::decode(repo.extent()?.head())
            .map_err(|error| damaged("a repo's head does not parse", error))?;
        let Summary {
            did,
            rev,
            commit,
            records,
            ..
        } = &repo.summary;
        // What the catalog says was written with the segment; a pair that differs is not one.
        if (head.did.as_str(), head.rev, head.commit_cid, head.records)
            != (did.as_str(), *rev, *commit, *records)
        {
            let words = format!(
                "{} holds another repo than the catalog says",
                repo.segment.segment.name()
            );
            return Err(Error::new(Code::Damaged, words));
        }
        Ok(repo)
    }

    /// Returns what is known of the repo as a whole.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the collections in order.
    ///
    /// # Errors
    /// `damaged` if the index is.
    pub fn collections(&self) -> Result<Vec<CollectionCount>> {
        self.index()?
            .groups()
            .map(|group| {
                let nsid = utf8(group.name)?.to_owned();
                Ok(CollectionCount {
                    nsid,
                    records: group.row_count.into(),
                })
            })
            .collect()
    }

    /// Returns a record.
    ///
    /// # Errors
    /// `damaged` if the index or the record's page is.
    pub fn record(&self, path: &RecordPath) -> Result<Lookup<'_>> {
        let index = self.index()?;
        let Some(group) = index.group(path.collection.as_str().as_bytes()) else {
            return Ok(Lookup::NoCollection);
        };
        let Some(place) = index.find(group.name, path.rkey.as_str().as_bytes()) else {
            return Ok(Lookup::NoRecord);
        };
        let rkey = Cow::Owned(path.rkey.as_str().to_owned());
        Ok(Lookup::Found(RecordRef {
            collection: utf8(group.name)?,
            rkey,
            bytes: self.bytes(place)?,
        }))
    }

    /// Returns the rows that `keys` select; none if the repo has no such collection.
    ///
    /// # Errors
    /// `damaged` if the index is.
    pub fn rows(&self, keys: &Keys<'_>) -> Result<Option<Rows>> {
        let index = self.index()?;
        let (prefix, all) = match keys.collection {
            None => (String::new(), 0..index.rows()),
            Some(nsid) => match index.group(nsid.as_str().as_bytes()) {
                None => return Ok(None),
                Some(group) => (format!("{nsid}/"), group.rows()),
            },
        };
        let first = |key: &str| first_row_at(&index, format!("{prefix}{key}").as_bytes());
        let mut numbers = all;
        if !keys.from.is_empty() {
            numbers.start = numbers.start.max(first(keys.from));
        }
        if !keys.before.is_empty() {
            numbers.end = numbers.end.min(first(keys.before));
        }
        match keys.after {
            None => {}
            Some(after) if keys.reverse => numbers.end = numbers.end.min(first(after)),
            // The smallest key above `after` is `after` with a zero byte.
            Some(after) => numbers.start = numbers.start.max(first(&format!("{after}\0"))),
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
        numbers.map(move |i| self.row(if reverse { end - 1 - (i - start) } else { i }))
    }

    fn row(&self, number: u32) -> Result<RecordRef<'_>> {
        let index = self.index()?;
        let missing = || Error::new(Code::Damaged, format!("the index has no row {number}"));
        let row = index.row(number).ok_or_else(missing)?;
        let group = index.groups().nth(row.group).ok_or_else(missing)?;
        Ok(RecordRef {
            collection: utf8(group.name)?,
            rkey: Cow::Owned(utf8(row.name.as_bytes())?.to_owned()),
            bytes: self.bytes(row.place)?,
        })
    }

    fn bytes(&self, place: carrack_segment::Place) -> Result<&[u8]> {
        let message = self.extent()?.page(place.page)?;
        page::dag_cbor(message, place.ordinal).map_err(|error| {
            let what = format!("{} page {}", self.segment.segment.name(), place.page);
            damaged(&what, error)
        })
    }

    fn index(&self) -> Result<Index<'_>> {
        Ok(self.extent()?.index()?)
    }

    fn extent(&self) -> Result<Extent<'_>> {
        let segment = &self.segment.segment;
        segment
            .extent(self.summary.did.as_str().as_bytes())
            .ok_or_else(|| {
                let words = format!("{} does not hold {}", segment.name(), self.summary.did);
                Error::new(Code::Damaged, words)
            })
    }
}

/// Returns the number of the first row whose path is not below `key`, which may be any bytes.
fn first_row_at(index: &Index<'_>, key: &[u8]) -> u32 {
    let (mut low, mut high) = (0, index.rows());
    while low < high {
        let middle = low + (high - low) / 2;
        let below = index.row(middle).is_some_and(|row| {
            let group = index
                .groups()
                .nth(row.group)
                .map_or(&[][..], |group| group.name);
            group.iter().chain(b"/").chain(row.name.as_bytes()).lt(key)
        });
        if below {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| damaged("a name in the index is not text", error))
}
