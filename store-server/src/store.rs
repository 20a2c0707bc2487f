//! [`Store`]: the repos of one data folder, for reading and importing.
//!
//! It owns the catalog and the open segments, and hands out [`Repo`] snapshots: a snapshot keeps its segment file
//! readable however often the repo is imported anew meanwhile. No RPC type appears here; `rpc/` translates. Calls
//! may read from disk and so block shortly; [`Store::import`] blocks for as long as its input takes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use carrack_repack::{Dictionary, DictionaryRef, RepoHead, StoredRow, row};
use carrack_schema::limits::{IMPORT_MEMORY_BYTES, IMPORTS_MAX};
use carrack_schema::{Cid, Code, Did, Handle, Nsid, RecordPath, Tid, cid::Codec};
use carrack_segment::{Directory, Extent, Index, Lock, Page, PageCache, Segment};
use tokio::sync::watch;

use crate::catalog::{CURSOR_KEY_BYTES, Catalog, RepoEntry, SegmentId};
use crate::clock::Clock;
use crate::error::{Error, Result, damaged};
use crate::verdict::{Status, Verdict};

/// The repos of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    segments: Mutex<HashMap<SegmentId, Arc<OpenSegment>>>,
    pub(crate) import_memory_bytes: usize,
    imports: AtomicUsize,
    closing: watch::Sender<bool>,
    /// Held as long as anything here can write, by whatever thread; so it is the last field.
    _lock: Lock,
}

/// A mapped segment. Once another has taken its place in the catalog its file goes with the last snapshot.
struct OpenSegment {
    segment: Segment,
    /// Filled on first touch.
    dictionary: OnceLock<Dictionary>,
    directory: Arc<dyn Directory>,
    retired: AtomicBool,
}

impl OpenSegment {
    /// Returns what its pages name by number.
    fn dictionary(&self) -> Result<DictionaryRef<'_>> {
        let bytes = self.segment.dictionary()?.unwrap_or_default();
        if let Some(table) = self.dictionary.get() {
            return Ok(table.over(bytes));
        }
        let table = match bytes {
            [] => Dictionary::default(),
            bytes => Dictionary::parse(bytes)
                .map_err(|error| damaged(&format!("{} dictionary", self.segment.name()), error))?,
        };
        Ok(self.dictionary.get_or_init(|| table).over(bytes))
    }
}

/// Whether a segment had to be opened. One that is opened late may have been retired before.
enum Opening {
    Cached,
    Fresh,
}

impl Drop for OpenSegment {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = self.directory.unlink(self.segment.name())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            // Harmless: the next opening removes files that the catalog does not name.
            tracing::warn!(%error, file = self.segment.name(), "cannot remove a replaced segment");
        }
    }
}

/// Folders of the data folder.
const SEGMENTS: &str = "segments";
const SEGMENT_EXTENSION: &str = ".cseg";
/// Name of the lock in a data folder.
pub(crate) const LOCK: &str = "lock";
pub(crate) const TMP: &str = "tmp";

impl Store {
    /// Opens the store in a data folder, or creates an empty one, and takes the folder's lock.
    ///
    /// Files that a crash left behind are removed: all in `tmp/`, and segments that the catalog does not name.
    ///
    /// # Errors
    /// `overloaded` if another process holds the folder; if it cannot be used; if the catalog is damaged, missing beside
    /// segments, or of another version. A segment that is missing is no error here but of the repos in it.
    pub fn open(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(directory, clock, IMPORT_MEMORY_BYTES)
    }

    /// As [`open`](Self::open), with another bound on the bytes of blocks that one import keeps in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        import_memory_bytes: usize,
    ) -> Result<Self> {
        let unusable =
            |error| Error::because(Code::Unavailable, "the data folder cannot be used", error);
        let lock = directory.lock(LOCK).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Error::new(
                Code::Overloaded,
                "the data folder is held by another process",
            ),
            _ => unusable(error),
        })?;
        for folder in [SEGMENTS, TMP] {
            directory.create_dir(folder).map_err(unusable)?;
        }
        let files = directory.list(SEGMENTS).map_err(unusable)?;
        let has_segments = files.iter().any(|file| file.ends_with(SEGMENT_EXTENSION));
        let catalog = Catalog::open(&directory, has_segments)?;
        sweep(&*directory, &files, &catalog.segments()?).map_err(unusable)?;
        directory.sync_dir("").map_err(unusable)?;
        Ok(Self(Arc::new(Inner {
            directory,
            catalog,
            clock,
            segments: Mutex::default(),
            import_memory_bytes,
            imports: AtomicUsize::new(0),
            closing: watch::Sender::new(false),
            _lock: lock,
        })))
    }

    /// Returns a repo at its current revision.
    ///
    /// # Errors
    /// `damaged` if its segment is missing or broken; other repos stay readable.
    pub fn repo(&self, did: &Did) -> Result<Result<Repo, Absence>> {
        Ok(match self.stored(did)? {
            None => Err(Absence::Unknown),
            Some(repo) if !repo.summary.status.is_active() => Err(Absence::Inactive),
            Some(repo) => Ok(repo),
        })
    }

    /// Returns a repo, hidden or not.
    pub(crate) fn stored(&self, did: &Did) -> Result<Option<Repo>> {
        // Between reading the row and opening its file an import may replace both; then the newer row counts.
        let mut entry = self.0.catalog.repo(did)?;
        while let Some(found) = entry {
            let opened = self.segment(found.segment);
            if let Ok((segment, Opening::Cached)) = opened {
                return Repo::new(Summary::new(did.clone(), &found), segment).map(Some);
            }
            entry = self.0.catalog.repo(did)?;
            if entry
                .as_ref()
                .is_none_or(|newer| newer.segment == found.segment)
            {
                let (segment, _) = opened?;
                return Repo::new(Summary::new(did.clone(), &found), segment).map(Some);
            }
            // The import retired it before it was open here, so nobody else will.
            self.retire(found.segment);
        }
        Ok(None)
    }

    /// Returns whose handle this is, as far as DID documents given with imports say; nobody has verified it.
    ///
    /// # Errors
    /// `unknownHandle`, naming handles that are known.
    pub fn resolve(&self, handle: &Handle) -> Result<Did> {
        const CANDIDATES: usize = 5;
        let handle = handle.as_str().to_ascii_lowercase();
        if let Some(did) = self.0.catalog.did_of_handle(&handle)? {
            return Ok(did);
        }
        let known = self.0.catalog.handles_like(&handle, CANDIDATES)?;
        let hint = if known.is_empty() {
            "no handles are known; import with --did-doc, or name the repo by its DID".to_owned()
        } else {
            format!("known are {}", known.join(", "))
        };
        Err(Error::new(
            Code::UnknownHandle,
            format!("nobody in the store claims {handle}; {hint}"),
        ))
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
        self.0.closing.send_replace(true);
    }

    /// Returns what tells when the store is closing.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.0.closing.borrow()
    }

    /// Says whether this is the only handle of the store: nobody else uses it, and dropping it frees the folder.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
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
        if let Some(old) = self.0.catalog.replace_repo(did, entry, admit)?
            && old.segment != entry.segment
        {
            self.retire(old.segment);
        }
        Ok(())
    }

    /// Lets go of a segment that the catalog no longer names; its file goes with the last snapshot of it.
    fn retire(&self, id: SegmentId) {
        match self.lock_segments().remove(&id) {
            Some(segment) => segment.retired.store(true, Ordering::Release),
            None => match self.0.directory.unlink(&id.file()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, file = id.file(), "cannot remove a replaced segment");
                }
                _ => {}
            },
        }
    }

    /// Returns a segment, and whether it was open already.
    fn segment(&self, id: SegmentId) -> Result<(Arc<OpenSegment>, Opening)> {
        if let Some(segment) = self.lock_segments().get(&id) {
            return Ok((segment.clone(), Opening::Cached));
        }
        // Opened outside the lock: a slow disk holds up only who needs this file.
        let segment = Segment::open(&*self.0.directory, &id.file(), &PageCache::new(0))?;
        if segment.id() != id.0.to_bytes() {
            let words = format!("{} is another segment than its name says", id.file());
            return Err(Error::new(Code::Damaged, words));
        }
        let directory = self.0.directory.clone();
        let opened = Arc::new(OpenSegment {
            segment,
            dictionary: OnceLock::new(),
            directory,
            retired: AtomicBool::new(false),
        });
        Ok((
            self.lock_segments().entry(id).or_insert(opened).clone(),
            Opening::Fresh,
        ))
    }

    fn lock_segments(&self) -> MutexGuard<'_, HashMap<SegmentId, Arc<OpenSegment>>> {
        // The map is whole whatever its last holder did.
        self.0
            .segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what a crash left behind: all of `tmp/`, and `files` in `segments/` that are not among the known ones.
fn sweep(directory: &dyn Directory, files: &[String], known: &[SegmentId]) -> std::io::Result<()> {
    for file in directory.list(TMP)? {
        directory.unlink(&format!("{TMP}/{file}"))?;
    }
    let known: HashSet<String> = known.iter().map(|id| id.file()).collect();
    let mut present = 0;
    for file in files {
        let name = format!("{SEGMENTS}/{file}");
        if known.contains(&name) {
            present += 1;
        } else if name.ends_with(SEGMENT_EXTENSION) {
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

/// Why a repo cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The store does not hold it.
    Unknown,
    /// Its account is not active: it is held, and hidden.
    Inactive,
}

/// What is known of a repo as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The repo.
    pub did: Did,
    /// Its current revision; none for a commit of version 2.
    pub rev: Option<Tid>,
    /// CID of the commit.
    pub commit: Cid,
    /// Records.
    pub records: u64,
    /// Records whose block is not held; 0 unless it was imported as partial.
    pub missing: u64,
    /// Records that break the data model; their bytes are kept as they are (RC2).
    pub invalid: u64,
    /// Blocks of the CAR it came from.
    pub blocks: u64,
    /// Bytes of the CAR it came from.
    pub bytes_in: u64,
    /// Bytes of its segment file.
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
    pub(crate) fn new(did: Did, entry: &RepoEntry) -> Self {
        Self {
            did,
            rev: entry.rev,
            commit: entry.commit,
            records: entry.records,
            missing: entry.missing,
            invalid: entry.invalid,
            blocks: entry.blocks,
            bytes_in: entry.bytes_in,
            bytes_stored: entry.bytes_stored,
            imported: entry.imported,
            verdict: entry.verdict.clone(),
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
    head: RepoHead,
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
    /// What is stored of it.
    pub(crate) row: PlacedRow<'a>,
}

/// What is held of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Its DAG-CBOR, exactly as it was imported.
    DagCbor(Cow<'a, [u8]>),
    /// The CID of a block that was not in the CAR of a repo that was imported as partial.
    Missing(Cid),
}

/// Returns the CID of a record's DAG-CBOR.
pub(crate) fn cid_of(record: &[u8]) -> Cid {
    Cid::new(Codec::DagCbor, carrack_repo::hash::sha256(record))
}

/// A row of a page of an open segment.
#[derive(Clone)]
pub(crate) struct PlacedRow<'a> {
    segment: &'a OpenSegment,
    page: Page<'a>,
    number: u32,
    ordinal: u32,
}

impl<'a> PlacedRow<'a> {
    fn damaged(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        let what = format!("{} page {}", self.segment.segment.name(), self.number);
        damaged(&what, error)
    }

    /// Returns what the page has in the row.
    pub(crate) fn stored(&self) -> Result<StoredRow<'_>> {
        row::row(&self.page, self.ordinal).map_err(|error| self.damaged(error))
    }

    /// Returns the record's DAG-CBOR, or the CID of one that is not held.
    fn content(&self) -> Result<Content<'a>> {
        // Bytes that are in the map as they are need not be copied.
        let in_map = self.page.mapped().map(|page| row::row(page, self.ordinal));
        if let Some(Ok(StoredRow::DagCbor(bytes))) = in_map {
            return Ok(Content::DagCbor(Cow::Borrowed(bytes)));
        }
        Ok(match self.stored()? {
            StoredRow::DagCbor(bytes) => Content::DagCbor(Cow::Owned(bytes.to_vec())),
            StoredRow::Columns(row) => {
                let mut out = Vec::with_capacity(RECORD_BYTES);
                row.write(&self.segment.dictionary()?, &mut out)
                    .map_err(|error| self.damaged(error))?;
                Content::DagCbor(Cow::Owned(out))
            }
            StoredRow::Missing(cid) => Content::Missing(cid),
            StoredRow::Gone => {
                return Err(Error::new(
                    Code::Internal,
                    "a tombstone was read as a record",
                ));
            }
        })
    }
}

impl std::fmt::Debug for PlacedRow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PlacedRow({} page {} row {})",
            self.segment.segment.name(),
            self.number,
            self.ordinal
        )
    }
}

/// Bytes that most records do not pass.
const RECORD_BYTES: usize = 512;

impl<'a> RecordRef<'a> {
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
        }
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
        Ok(match self.content()? {
            Content::DagCbor(bytes) => cid_of(&bytes),
            Content::Missing(cid) => cid,
        })
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
        let name = segment.segment.name();
        let head = segment
            .segment
            .extent(summary.did.as_str().as_bytes())
            .ok_or_else(|| {
                Error::new(
                    Code::Damaged,
                    format!("{name} does not hold {}", summary.did),
                )
            })?
            .head();
        let head = RepoHead::decode(head)
            .map_err(|error| damaged("a repo's head does not parse", error))?;
        let Summary {
            did,
            rev,
            commit,
            records,
            ..
        } = &summary;
        // What the catalog says was written with the segment; a pair that differs is not one.
        if (head.did.as_str(), head.rev, head.commit_cid, head.records)
            != (did.as_str(), *rev, *commit, *records)
        {
            let words = format!("{name} holds another repo than the catalog says");
            return Err(Error::new(Code::Damaged, words));
        }
        Ok(Self {
            summary,
            head,
            segment,
        })
    }

    /// Returns the repo, if there is one, once all of it is found readable: every checksum is right.
    pub(crate) fn sound(repo: Option<Self>) -> Result<Option<Self>> {
        let segment = repo.as_ref().map(|repo| &repo.segment.segment);
        match segment.and_then(|segment| segment.check().into_iter().next()) {
            None => Ok(repo),
            Some(fault) => Err(fault.error.into()),
        }
    }

    /// Returns what its segment says of it.
    pub(crate) fn head(&self) -> &RepoHead {
        &self.head
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
            row: self.stored_row(place)?,
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

    /// Returns a row by its number in key order.
    pub(crate) fn row(&self, number: u32) -> Result<RecordRef<'_>> {
        let index = self.index()?;
        let missing = || Error::new(Code::Damaged, format!("the index has no row {number}"));
        let row = index.row(number).ok_or_else(missing)?;
        let group = index.groups().nth(row.group).ok_or_else(missing)?;
        Ok(RecordRef {
            collection: utf8(group.name)?,
            rkey: Cow::Owned(utf8(row.name.as_bytes())?.to_owned()),
            row: self.stored_row(row.place)?,
        })
    }

    fn stored_row(&self, place: carrack_segment::Place) -> Result<PlacedRow<'_>> {
        Ok(PlacedRow {
            segment: &self.segment,
            page: self.segment.segment.page(place.page)?,
            number: place.page,
            ordinal: place.ordinal,
        })
    }

    pub(crate) fn index(&self) -> Result<Index<'_>> {
        Ok(self.extent()?.index()?)
    }

    pub(crate) fn extent(&self) -> Result<Extent<'_>> {
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
