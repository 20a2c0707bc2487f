//! [`Store`]: the repos of one data folder, for reading, importing and deleting.
//!
//! It owns the catalog and the open segments, and hands out [`Repo`] snapshots: a snapshot stays readable however often
//! the repo is imported anew meanwhile. No RPC type appears here; `rpc/` translates. Calls may read from disk and so
//! block shortly; [`Store::import`] blocks for as long as its input takes.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Weak};

use carrack_schema::limits::{EXPORTS_MAX, KEEPERS_MAX, QUERIES_MAX};
use carrack_schema::{Code, Did, Handle, Tid};
use carrack_segment::{Directory, Lock};
use tokio::sync::{Semaphore, watch};

use crate::auth::audit::Audit;
use crate::auth::grants::Grants;
use crate::catalog::{CURSOR_KEY_BYTES, Catalog, RepoEntry, SegmentId, Tables};
use crate::chain::{Chain, Link};
use crate::changes::Changes;
use crate::clock::Clock;
use crate::entropy::random;
use crate::error::{Error, Result, damaged};
use crate::import_queue::{ImportPlace, ImportQueue};
use crate::merge::Merges;
use crate::merge::background::Signal;
use crate::open_segments::OpenSegments;
use crate::retention::Retention;
use crate::settings::StoreSettings;
pub use crate::snapshot::{CollectionCount, Keys, Lookup, RecordRef, Repo, Rows, Summary};
use crate::snapshots::Snapshots;

/// The repos of one data folder. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) segments: OpenSegments,
    pub(crate) snapshots: Snapshots,
    pub(crate) settings: StoreSettings,
    pub(crate) merges: Merges,
    pub(crate) changes: Changes,
    pub(crate) imports: ImportQueue,
    pub(crate) grants: Grants,
    pub(crate) audit: Audit,
    /// Wakes the thread that writes down what was used and done.
    pub(crate) books: Arc<Signal>,
    /// Places of calls that take long: deletions, compactions, checks.
    pub(crate) keepers: Arc<Semaphore>,
    /// Places of queries.
    pub(crate) queries: Arc<Semaphore>,
    /// Places of exports.
    pub(crate) exports: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    /// Held as long as anything here can write, by whatever thread; so it is the last field.
    _lock: Lock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever waits for work ends.
        self.merges.signal.raise();
        self.books.raise();
    }
}

/// Folders of the data folder.
pub(crate) const SEGMENTS: &str = "segments";
const SEGMENT_EXTENSION: &str = ".cseg";
/// Name of the lock in a data folder.
pub(crate) const LOCK: &str = "lock";
pub(crate) const TMP: &str = "tmp";
/// Name of what says that a folder is a backup that did not end: as long as it is there the folder is no store.
pub(crate) const PARTIAL: &str = "backup.partial";
/// Name of the settings' file in a data folder.
pub(crate) const CONFIG: &str = "config.toml";

impl Store {
    /// Opens the store in a data folder, or creates an empty one, and takes the folder's lock.
    ///
    /// Files that a crash left behind are removed: all in `tmp/`, and segments that the catalog does not name.
    ///
    /// # Errors
    /// `overloaded` if another process holds the folder; if it cannot be used; `damaged` if it is a backup that did not end;
    /// if the catalog is damaged, missing beside segments, or of another version. A segment that is missing is no error here
    /// but of the repos in it.
    pub fn open(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(directory, clock, StoreSettings::default())
    }

    /// As [`open`](Self::open), with other settings.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        settings: StoreSettings,
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
        let files = directory.list("").map_err(unusable)?;
        if files.iter().any(|file| file == PARTIAL) {
            return Err(partial());
        }
        for folder in [SEGMENTS, TMP] {
            directory.create_dir(folder).map_err(unusable)?;
        }
        let files = directory.list(SEGMENTS).map_err(unusable)?;
        let has_segments = files.iter().any(|file| file.ends_with(SEGMENT_EXTENSION));
        let catalog = Catalog::open(&directory, has_segments)?;
        let known: Vec<SegmentId> = catalog.segments()?.into_iter().map(|(id, _)| id).collect();
        sweep(&*directory, &files, &known).map_err(unusable)?;
        directory.sync_dir("").map_err(unusable)?;
        Ok(Self(Arc::new(Inner {
            segments: OpenSegments::new(directory.clone(), settings.segments_open_max),
            snapshots: Snapshots::default(),
            grants: Grants::load(catalog.grants()?, &clock)?,
            audit: Audit::new(&directory, &clock),
            books: Arc::default(),
            directory,
            catalog,
            clock,
            settings,
            merges: Merges::default(),
            changes: Changes::default(),
            imports: ImportQueue::default(),
            keepers: Arc::new(Semaphore::new(KEEPERS_MAX)),
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            closing: watch::Sender::new(false),
            _lock: lock,
        })))
    }

    /// Returns a repo at its current revision.
    ///
    /// # Errors
    /// `damaged` if a segment of it is missing or broken; other repos stay readable.
    pub fn repo(&self, did: &Did) -> Result<Result<Repo, Absence>> {
        self.active(did, |_| Ok(0))
    }

    /// As [`repo`](Self::repo), but shared: as long as nothing is committed, whoever asks next gets the same.
    ///
    /// # Errors
    /// As [`repo`](Self::repo).
    pub fn current(&self, did: &Did) -> Result<Result<Arc<Repo>, Absence>> {
        // What is read from here on is of this version or newer; if a commit comes meanwhile, nobody gets it.
        let version = self.0.catalog.version();
        let round = match self.0.snapshots.get(did, version) {
            Ok(repo) => return Ok(Ok(repo)),
            Err(round) => round,
        };
        let repo = match self.repo(did)? {
            Ok(repo) => Arc::new(repo),
            Err(absence) => return Ok(Err(absence)),
        };
        self.0.snapshots.put(did, version, round, repo.clone());
        Ok(Ok(repo))
    }

    /// Returns a repo at an older revision, as long as that is retained, or at the current one.
    ///
    /// # Errors
    /// `revNotRetained`, naming the oldest revision that is; `damaged` as [`repo`](Self::repo).
    pub fn repo_at(&self, did: &Did, rev: Tid) -> Result<Result<Repo, Absence>> {
        self.pinned(did, Some(rev))
    }

    /// As [`repo_at`](Self::repo_at); no revision is that of a commit that has none.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn pinned(&self, did: &Did, rev: Option<Tid>) -> Result<Result<Repo, Absence>> {
        let retention = self.retention();
        self.active(did, |entry| retention.find(&entry.extents, rev))
    }

    /// Returns a repo at an older revision, or at the current one where that is not retained any more: what a listing
    /// goes on in.
    ///
    /// # Errors
    /// `damaged` as [`repo`](Self::repo).
    pub(crate) fn repo_at_or_head(
        &self,
        did: &Did,
        rev: Option<Tid>,
    ) -> Result<Result<Repo, Absence>> {
        let retention = self.retention();
        self.active(did, |entry| {
            Ok(retention.find(&entry.extents, rev).unwrap_or(0))
        })
    }

    /// Returns how long revisions are readable, as of now.
    pub(crate) fn retention(&self) -> Retention {
        Retention::new(&self.0.settings, self.0.clock.now())
    }

    /// Returns a repo that is not hidden at the revision that `pick` picks.
    pub(crate) fn active(
        &self,
        did: &Did,
        pick: impl Fn(&RepoEntry) -> Result<usize>,
    ) -> Result<Result<Repo, Absence>> {
        let hidden = std::cell::Cell::new(false);
        let repo = self.snapshot(did, |entry| {
            hidden.set(!entry.status.is_active());
            if hidden.get() { Ok(0) } else { pick(entry) }
        })?;
        Ok(match repo {
            None => Err(Absence::Unknown),
            Some(_) if hidden.get() => Err(Absence::Inactive),
            Some(repo) => Ok(repo),
        })
    }

    /// Returns a repo, hidden or not, at its current revision.
    pub(crate) fn stored(&self, did: &Did) -> Result<Option<Repo>> {
        self.snapshot(did, |_| Ok(0))
    }

    /// Returns a repo, hidden or not, at the revision that `pick` picks among its extents.
    pub(crate) fn snapshot(
        &self,
        did: &Did,
        pick: impl Fn(&RepoEntry) -> Result<usize>,
    ) -> Result<Option<Repo>> {
        // Between reading the row and opening its files an import or a merge may replace both; then the newer row
        // counts.
        let mut before = None;
        while let Some((entry, deletions)) = self.0.catalog.repo_and_deletions(did)? {
            let at = pick(&entry)?;
            match self.open_chain(did, &entry, at) {
                Ok(chain) => {
                    let summary = Summary::at(did.clone(), &entry, chain.head()?.entry());
                    return Ok(Some(Repo::new(summary, chain, deletions)));
                }
                Err(error) if before.as_ref() == Some(&entry) => return Err(error),
                Err(_) => before = Some(entry),
            }
        }
        Ok(None)
    }

    /// Opens a repo's extents from one on, down to the first that is full.
    pub(crate) fn open_chain(&self, did: &Did, entry: &RepoEntry, from: usize) -> Result<Chain> {
        let mut links = Vec::new();
        for extent in entry.extents.iter().skip(from) {
            let segment = self.0.segments.get(extent.segment)?;
            links.push(Link::new(did, extent.clone(), segment)?);
            if !extent.is_diff {
                break;
            }
        }
        Ok(Chain::new(links))
    }

    /// Returns whose handle this is among the repos that `sees` picks, as far as DID documents given with imports say;
    /// nobody has verified it.
    ///
    /// # Errors
    /// `unknownHandle`, naming handles that are known.
    pub fn resolve(&self, handle: &Handle, sees: impl Fn(&Did) -> bool) -> Result<Did> {
        const CANDIDATES: usize = 5;
        let handle = handle.as_str().to_ascii_lowercase();
        if let Some(did) = self.0.catalog.did_of_handle(&handle)?
            && sees(&did)
        {
            return Ok(did);
        }
        let known = self.0.catalog.handles_like(&handle, CANDIDATES, sees)?;
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

    /// As [`repos`](Self::repos), of some repos.
    pub(crate) fn repos_among(
        &self,
        dids: &BTreeSet<Did>,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<Summary>, bool)> {
        let mut repos = Vec::new();
        for did in dids.iter().filter(|did| did.as_str() > after) {
            if let Some(entry) = self.0.catalog.repo(did)? {
                if repos.len() == limit {
                    return Ok((repos, true));
                }
                repos.push(Summary::new(did.clone(), &entry));
            }
        }
        Ok((repos, false))
    }

    pub(crate) fn cursor_key(&self) -> &[u8; CURSOR_KEY_BYTES] {
        self.0.catalog.cursor_key()
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(store: &Weak<Inner>) -> Option<Self> {
        store.upgrade().map(Self)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Waits for a place among the imports that may run at the same time, in the name of `holder`.
    ///
    /// # Errors
    /// `overloaded` if none is free in time, `unavailable` if the store is closing.
    pub(crate) async fn admit_import(&self, holder: &str) -> Result<ImportPlace> {
        self.check_open()?;
        let mut closing = self.closing();
        tokio::select! {
            place = self.0.imports.enter(holder, self.0.settings.import_wait) => place,
            _ = closing.wait_for(|closing| *closing) => Err(shutting_down()),
        }
    }

    /// Says whether there is room on the disk for an import or a backup, with `more` bytes beside what is there.
    ///
    /// # Errors
    /// `overloaded` if less would be left than they leave.
    pub(crate) fn check_room(&self, more: u64) -> Result<()> {
        let floor = self.0.settings.disk_floor_bytes;
        if floor == 0 {
            return Ok(());
        }
        let free = self.0.directory.free_bytes().map_err(|error| {
            Error::because(
                Code::Unavailable,
                "the disk does not say how much is free",
                error,
            )
        })?;
        if free.saturating_sub(more) < floor {
            let words = format!(
                "{free} bytes are free on the store's disk and this needs some {more}; imports and backups leave {floor} free: \
                 make room, or choose another --disk-floor"
            );
            return Err(Error::new(Code::Overloaded, words));
        }
        Ok(())
    }

    /// Tells running imports to stop and admits no more. Those past their last check still complete.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
        self.0.merges.signal.raise();
        self.0.books.raise();
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
        self.0.imports.running()
    }

    /// Makes a change of the catalog, see [`Catalog::change`]; files that no repo needs any more are gone afterwards.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, retired) = self.0.catalog.change(change)?;
        if !retired.is_empty() {
            self.0.snapshots.clear();
        }
        for id in retired {
            self.0.segments.retire(id);
        }
        Ok(answer)
    }

    /// Returns a new segment's name: the time in front, so that names sort by it.
    pub(crate) fn new_segment_id(&self) -> Result<SegmentId> {
        let millis = u64::try_from(self.0.clock.now() / 1_000).unwrap_or(0);
        let mut bytes = [0; 16];
        bytes[6..].copy_from_slice(&random::<10>()?);
        let random = u128::from_be_bytes(bytes);
        Ok(SegmentId(ulid::Ulid::from_parts(millis, random)))
    }

    /// Says whether work may go on.
    ///
    /// # Errors
    /// `unavailable` if the store is closing.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closing() {
            return Err(shutting_down());
        }
        Ok(())
    }
}

fn partial() -> Error {
    let words = format!(
        "the folder is a backup that did not end ({PARTIAL} is in it): make it again by `carrack backup` into the same \
         folder, or remove the folder"
    );
    Error::new(Code::Damaged, words)
}

fn shutting_down() -> Error {
    let words = "the store is shutting down; try again when it is up";
    Error::new(Code::Unavailable, words)
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

/// Why a repo cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The store does not hold it.
    Unknown,
    /// Its account is not active: it is held, and hidden.
    Inactive,
}
