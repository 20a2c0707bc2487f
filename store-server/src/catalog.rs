//! The catalog: which repos the store holds, at which revisions, in which segment files, and what was deleted.
//!
//! One redb database, `catalog.redb`, on the same [`Directory`] as the segments, so that its I/O is under the same
//! tests. A commit of the catalog is what makes an import, a merge or a deletion true: files it does not name do not
//! count. Changes that come at the same time share a commit. What its rows hold is in [`entry`].
//!
//! After a failed commit it never writes again: what the disk holds is not known. It goes on answering from what can be
//! read of the file.

mod backend;
mod copy;
pub(crate) mod entry;
mod frozen;
mod grant;

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use carrack_schema::{Cid, Code, Did, RecordPath};
use carrack_segment::directory::Directory;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use self::backend::Backend;
pub(crate) use self::copy::Moment;
pub(crate) use self::entry::{Deletions, ExtentEntry, RepoEntry, SegmentEntry, SegmentId};
use self::frozen::Frozen;
pub(crate) use self::grant::{GrantEntry, GrantUse, TokenEntry};
use crate::commit_queue::CommitQueue;
use crate::entropy::random;
use crate::error::{Error, Result, damaged};

/// Name of the catalog's file in the data folder.
pub(crate) const FILE: &str = "catalog.redb";

/// Its name while it is made: redb cannot open a file that a crash left half made.
const NEW_FILE: &str = "catalog.redb.new";

/// What redb may keep of the catalog in memory, in bytes. So little in unit tests that their reads reach the file.
const CACHE_BYTES: usize = if cfg!(test) { 8 << 10 } else { 8 << 20 };

/// Longest file that is made smaller without being asked to: some tenths of a second in which nothing is read.
const COMPACT_BYTES_MAX: u64 = 64 << 20;

/// Version of the tables below. Another one is refused.
pub(crate) const FORMAT: u32 = 3;

const REPOS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("repos");
const SEGMENTS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("segments");
const HANDLES: TableDefinition<'_, &str, &str> = TableDefinition::new("handles");
/// Records that somebody deleted, by [`deletion_key`]; the value is when they must be off the disk, in microseconds
/// since the Unix epoch. A row stays after that: the same record never comes back.
const DELETIONS: TableDefinition<'_, &[u8], i64> = TableDefinition::new("deletions");
/// By the ULID of the grant; so is the next.
const GRANTS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("grants");
/// Apart from the grants, because it is written every few seconds and scopes are long.
const GRANT_USE: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("grantUse");
/// By the SHA-256 of the token.
const TOKENS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("tokens");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const META_FORMAT: &str = "format";
const META_CURSOR_KEY: &str = "cursorKey";

/// Length of the key that seals cursors, in bytes.
pub(crate) const CURSOR_KEY_BYTES: usize = 32;

/// The open catalog.
pub(crate) struct Catalog {
    directory: Arc<dyn Directory>,
    database: RwLock<Arc<redb::Database>>,
    /// Set by a failed commit, for good.
    is_frozen: AtomicBool,
    queue: CommitQueue<Change>,
    /// See [`version`](Self::version).
    commits: AtomicU64,
    cursor_key: [u8; CURSOR_KEY_BYTES],
}

/// All that the catalog knows of grants.
#[derive(Debug, Default)]
pub(crate) struct StoredGrants {
    /// In the order of their ids: a parent before its children.
    pub(crate) grants: Vec<(ulid::Ulid, GrantEntry, GrantUse)>,
    pub(crate) tokens: Vec<([u8; 32], TokenEntry)>,
}

/// Counts a commit when it is over, however it ended.
struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Makes a change. False if it failed half way, so that others cannot be committed with it either.
type Apply = Box<dyn FnOnce(&mut Tables<'_>) -> bool + Send>;

/// A change that waits for its commit.
struct Change {
    apply: Apply,
    /// Told when the commit failed.
    fail: Box<dyn FnOnce(&Error) + Send>,
}

/// What came of a change: its answer, and segments whose last extent it dropped. Their files may go now.
type Changed<T> = (T, Vec<SegmentId>);

impl Catalog {
    /// Opens the catalog, or creates an empty one if the folder has no segments: a catalog is there, and durable, before
    /// the first segment is written.
    ///
    /// # Errors
    /// If it cannot be read or written, is damaged, or of another format.
    pub(crate) fn open(directory: &Arc<dyn Directory>, has_segments: bool) -> Result<Self> {
        guarded(|| Self::open_file(directory, has_segments))
    }

    fn open_file(directory: &Arc<dyn Directory>, has_segments: bool) -> Result<Self> {
        let names = directory.list("").map_err(unreadable)?;
        let is_new = !names.iter().any(|name| name == FILE);
        if is_new && has_segments {
            return Err(missing());
        }
        if names.iter().any(|name| name == NEW_FILE) {
            directory.unlink(NEW_FILE).map_err(unreadable)?;
        }
        let file = if is_new {
            directory.create(NEW_FILE)
        } else {
            directory.open(FILE)
        };
        let database = open_database(Backend::new(file.map_err(unreadable)?))?;
        let cursor_key = prepare(&database, has_segments)?;
        if is_new {
            // The tables' commit was synced, so what gets the name is whole.
            directory.rename(NEW_FILE, FILE).map_err(unreadable)?;
            directory.sync_dir("").map_err(unreadable)?;
        }
        Ok(Self {
            directory: directory.clone(),
            database: RwLock::new(Arc::new(database)),
            is_frozen: AtomicBool::new(false),
            queue: CommitQueue::default(),
            commits: AtomicU64::new(0),
            cursor_key,
        })
    }

    /// Returns the key that seals cursors.
    pub(crate) fn cursor_key(&self) -> &[u8; CURSOR_KEY_BYTES] {
        &self.cursor_key
    }

    /// Refuses once a commit has failed: reads go on, but nothing may be acknowledged, not even that there is nothing to
    /// change, until the catalog is opened anew.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) fn check_certain(&self) -> Result<()> {
        if self.is_frozen.load(Ordering::Acquire) {
            return Err(Error::new(
                Code::Unavailable,
                "a write to the catalog failed before: nothing is written until the store is opened anew",
            ));
        }
        Ok(())
    }

    /// Returns the length of the catalog's file.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let file = self.directory.open(FILE).map_err(unreadable)?;
        file.len().map_err(unreadable)
    }

    fn database(&self) -> Arc<redb::Database> {
        self.database
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns a number that is another after each commit, failed ones too, before anyone hears of it.
    pub(crate) fn version(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// Returns a repo's row.
    pub(crate) fn repo(&self, did: &Did) -> Result<Option<RepoEntry>> {
        guarded(|| {
            let table = self.database().begin_read()?.open_table(REPOS)?;
            repo_in(&table, did)
        })
    }

    /// Returns a repo's row and the records of it that were deleted, as of one moment.
    pub(crate) fn repo_and_deletions(&self, did: &Did) -> Result<Option<(RepoEntry, Deletions)>> {
        guarded(|| {
            let transaction = self.database().begin_read()?;
            let Some(entry) = repo_in(&transaction.open_table(REPOS)?, did)? else {
                return Ok(None);
            };
            let deletions = match entry.deletions {
                0 => Deletions::default(),
                _ => deletions_in(&transaction.open_table(DELETIONS)?, did)?,
            };
            Ok(Some((entry, deletions)))
        })
    }

    /// Calls `visit` with each repo above `after` in order of DID, until it says false.
    pub(crate) fn repos_after(
        &self,
        after: &str,
        mut visit: impl FnMut(&str, RepoEntry) -> bool,
    ) -> Result<()> {
        let table = self.database().begin_read()?.open_table(REPOS)?;
        for row in table.range::<&str>((Bound::Excluded(after), Bound::Unbounded))? {
            let (did, bytes) = row?;
            if !visit(did.value(), RepoEntry::decode(bytes.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the segment files that must be there, in the order of their ids, which is that of their names.
    pub(crate) fn segments(&self) -> Result<Vec<(SegmentId, SegmentEntry)>> {
        guarded(|| segments_in(&self.database().begin_read()?))
    }

    /// Says whether a segment file must be there.
    pub(crate) fn names(&self, id: SegmentId) -> Result<bool> {
        guarded(|| {
            let table = self.database().begin_read()?.open_table(SEGMENTS)?;
            Ok(table.get(id.0.to_bytes())?.is_some())
        })
    }

    /// Returns all grants in the order they were made, what was used of them, and the tokens that open them.
    pub(crate) fn grants(&self) -> Result<StoredGrants> {
        guarded(|| {
            let transaction = self.database().begin_read()?;
            let used = transaction.open_table(GRANT_USE)?;
            let mut stored = StoredGrants::default();
            for row in transaction.open_table(GRANTS)?.iter()? {
                let (id, bytes) = row?;
                let entry = GrantEntry::decode(bytes.value())?;
                let used = used.get(id.value())?;
                let used = used.map_or_else(
                    || Ok(GrantUse::default()),
                    |bytes| GrantUse::decode(bytes.value()),
                );
                let id = ulid::Ulid::from_bytes(id.value());
                stored.grants.push((id, entry, used?));
            }
            for row in transaction.open_table(TOKENS)?.iter()? {
                let (hash, bytes) = row?;
                let entry = TokenEntry::decode(bytes.value())?;
                stored.tokens.push((hash.value(), entry));
            }
            Ok(stored)
        })
    }

    /// Returns the DID that claims a handle: by the DID document given with the latest import that brought the claim.
    pub(crate) fn did_of_handle(&self, handle: &str) -> Result<Option<Did>> {
        guarded(|| {
            let table = self.database().begin_read()?.open_table(HANDLES)?;
            let did = table.get(handle)?.map(|did| did.value().to_owned());
            did.map(|did| {
                did.parse()
                    .map_err(|e| damaged("a handle's row in the catalog", e))
            })
            .transpose()
        })
    }

    /// Returns up to `limit` known handles, those that begin like `handle` first.
    pub(crate) fn handles_like(
        &self,
        handle: &str,
        limit: usize,
        sees: impl Fn(&Did) -> bool,
    ) -> Result<Vec<String>> {
        /// Handles that are looked at: who may see few of many is told of fewer than there are.
        const CONSIDERED: usize = 1_000;
        guarded(|| {
            let table = self.database().begin_read()?.open_table(HANDLES)?;
            let start: String = handle.chars().take(1).collect();
            let (alike, others) = (
                table.range::<&str>(start.as_str()..)?,
                table.range::<&str>(..start.as_str())?,
            );
            alike
                .chain(others)
                .take(CONSIDERED)
                .filter(|row| match row {
                    Ok((_, did)) => did.value().parse().is_ok_and(|did| sees(&did)),
                    Err(_) => true,
                })
                .take(limit)
                .map(|row| Ok(row?.0.value().to_owned()))
                .collect()
        })
    }

    /// Makes a change, in one commit with those of other threads that come at the same time.
    ///
    /// When this returns `Ok` the change survives a crash. `change` runs in the transaction, after every change that
    /// was made before; it looks first and writes then, so that an error of its own leaves everything as it was.
    ///
    /// # Errors
    /// Those of `change`; `unknownOutcome` when the commit itself failed, and `unavailable` ever after.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T> + Send + 'static,
    ) -> Result<Changed<T>> {
        let slot: Arc<Mutex<Option<Result<Changed<T>>>>> = Arc::default();
        let (applied, failed) = (slot.clone(), slot.clone());
        let put = |slot: &Mutex<_>, answer| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        };
        let apply = move |tables: &mut Tables<'_>| {
            let writes = tables.writes;
            let answer = change(tables);
            let is_whole = answer.is_ok() || tables.writes == writes;
            let retired = std::mem::take(&mut tables.retired);
            put(&applied, answer.map(|answer| (answer, retired)));
            is_whole
        };
        let fail = move |error: &Error| {
            let mut slot = failed.lock().unwrap_or_else(PoisonError::into_inner);
            // Who was refused was refused, whatever became of the others.
            if !matches!(&*slot, Some(Err(_))) {
                *slot = Some(Err(Error::new(error.code(), error.chain())));
            }
        };
        let change = Change {
            apply: Box::new(apply),
            fail: Box::new(fail),
        };
        self.queue.submit(change, |batch| {
            let _counted = Counted(&self.commits);
            self.commit(batch);
        });
        let answer = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.unwrap_or_else(|| Err(Error::new(Code::Internal, "a change was not made")))
    }

    /// Commits changes together.
    fn commit(&self, batch: Vec<Change>) {
        let (changes, fails): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|change| (change.apply, change.fail))
            .unzip();
        if let Err(error) = guarded(|| self.commit_whole(changes)) {
            // A change that was given up before the commit leaves a sound file, unless it was the disk that failed.
            let begin = || Ok(self.database().begin_write()?.abort()?);
            if error.code() == Code::UnknownOutcome || guarded(begin).is_err() {
                self.freeze();
            }
            for fail in fails {
                fail(&error);
            }
        }
    }

    fn commit_whole(&self, changes: Vec<Apply>) -> Result<()> {
        self.check_certain()?;
        let transaction = begin_write(&self.database())?;
        let is_changed = {
            let mut tables = Tables::open(&transaction)?;
            for change in changes {
                if !change(&mut tables) {
                    let words = "another change in the same commit failed half way";
                    return Err(Error::new(Code::Unavailable, words));
                }
            }
            tables.writes > 0
        };
        if !is_changed {
            return Ok(transaction.abort()?);
        }
        transaction.commit().map_err(|error| {
            Error::because(
                Code::UnknownOutcome,
                "the catalog's commit failed half way: reopen the store and ask for the repo's rev",
                redb::Error::from(error),
            )
        })
    }

    /// As [`compact`](Self::compact), if the file is so small that nobody has to wait for long.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn compact_if_small(&self) -> Result<()> {
        let file = self.directory.open(FILE).map_err(unreadable)?;
        if file.len().map_err(unreadable)? > COMPACT_BYTES_MAX {
            return Ok(());
        }
        self.compact()
    }

    /// Gives back the space in the file that its rows do not need. Everyone else waits meanwhile; if anyone is at it,
    /// nothing is done.
    ///
    /// # Errors
    /// The disk's; then nothing is written any more.
    pub(crate) fn compact(&self) -> Result<()> {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_frozen.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(database) = Arc::get_mut(&mut slot) else {
            return Ok(());
        };
        let compacted = guarded(|| match database.compact() {
            Ok(_) | Err(redb::CompactionError::TransactionInProgress) => Ok(()),
            Err(error) => Err(redb::Error::from(error).into()),
        });
        drop(slot);
        if compacted.is_err() {
            self.freeze();
        }
        compacted
    }

    /// Ends writing. Reads go on from the file as it is, with what redb has to repair kept in memory.
    fn freeze(&self) {
        if self.is_frozen.swap(true, Ordering::AcqRel) {
            return;
        }
        let reopened = guarded(|| {
            let file = self.directory.open(FILE).map_err(unreadable)?;
            open_database(Frozen::new(file).map_err(unreadable)?)
        });
        match reopened {
            Ok(database) => {
                let mut slot = self
                    .database
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                *slot = Arc::new(database);
                tracing::error!("a write to the catalog failed: the store is read-only from here");
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "a write to the catalog failed");
            }
        }
    }
}

fn open_database(backend: impl redb::StorageBackend) -> Result<redb::Database> {
    let mut builder = redb::Database::builder();
    // Every page's checksum is compared first: what redb reads later it trusts, and on bytes that changed behind its
    // back it answers wrongly, or panics.
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend)?)
}

/// Begins a transaction that is committed in two phases, at the price of a second sync. With one phase only, redb takes
/// a page that does not match its checksum, when it recovers from a kill, for a commit that was under way, and goes
/// back to the one before: one flipped bit would undo what was acknowledged.
fn begin_write(database: &redb::Database) -> Result<redb::WriteTransaction> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Creates the tables if need be, checks their format and returns the cursor key.
fn prepare(database: &redb::Database, has_segments: bool) -> Result<[u8; CURSOR_KEY_BYTES]> {
    if let Some(key) = prepared(database)? {
        return Ok(key);
    }
    let transaction = begin_write(database)?;
    let key = random()?;
    {
        let mut meta = transaction.open_table(META)?;
        check_format(meta.get(META_FORMAT)?.map(|bytes| bytes.value().to_vec()))?;
        if has_segments {
            return Err(missing());
        }
        transaction.open_table(REPOS)?;
        transaction.open_table(SEGMENTS)?;
        transaction.open_table(HANDLES)?;
        transaction.open_table(DELETIONS)?;
        transaction.open_table(GRANTS)?;
        transaction.open_table(GRANT_USE)?;
        transaction.open_table(TOKENS)?;
        meta.insert(META_FORMAT, &FORMAT.to_le_bytes()[..])?;
        meta.insert(META_CURSOR_KEY, &key[..])?;
    }
    transaction.commit()?;
    Ok(key)
}

/// Returns the cursor key of a catalog that was prepared before, without writing anything.
fn prepared(database: &redb::Database) -> Result<Option<[u8; CURSOR_KEY_BYTES]>> {
    let meta = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let format = meta.get(META_FORMAT)?.map(|bytes| bytes.value().to_vec());
    if format.is_none() {
        return Ok(None);
    }
    check_format(format)?;
    let odd = || Error::new(Code::Damaged, "the catalog's cursor key has an odd length");
    let key = meta.get(META_CURSOR_KEY)?.ok_or_else(odd)?;
    key.value().try_into().map(Some).map_err(|_| odd())
}

fn check_format(stored: Option<Vec<u8>>) -> Result<()> {
    match stored {
        None => Ok(()),
        Some(bytes) if bytes == FORMAT.to_le_bytes() => Ok(()),
        Some(_) => Err(Error::new(
            Code::Unavailable,
            format!(
                "the data folder was made by another version of Carrack, this one reads catalog format {FORMAT}"
            ),
        )),
    }
}

/// The catalog's tables within a transaction that writes.
pub(crate) struct Tables<'t> {
    repos: redb::Table<'t, &'static str, &'static [u8]>,
    segments: redb::Table<'t, [u8; 16], &'static [u8]>,
    handles: redb::Table<'t, &'static str, &'static str>,
    deletions: redb::Table<'t, &'static [u8], i64>,
    grants: redb::Table<'t, [u8; 16], &'static [u8]>,
    grant_use: redb::Table<'t, [u8; 16], &'static [u8]>,
    tokens: redb::Table<'t, [u8; 32], &'static [u8]>,
    /// Counts what was written.
    writes: u64,
    retired: Vec<SegmentId>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t redb::WriteTransaction) -> Result<Self> {
        Ok(Self {
            repos: transaction.open_table(REPOS)?,
            segments: transaction.open_table(SEGMENTS)?,
            handles: transaction.open_table(HANDLES)?,
            deletions: transaction.open_table(DELETIONS)?,
            grants: transaction.open_table(GRANTS)?,
            grant_use: transaction.open_table(GRANT_USE)?,
            tokens: transaction.open_table(TOKENS)?,
            writes: 0,
            retired: Vec::new(),
        })
    }

    /// Returns a repo's row.
    pub(crate) fn repo(&self, did: &Did) -> Result<Option<RepoEntry>> {
        repo_in(&self.repos, did)
    }

    /// Writes a repo's row, in the place of `old`, and its claim of a handle.
    pub(crate) fn put_repo(
        &mut self,
        did: &Did,
        old: Option<&RepoEntry>,
        entry: &RepoEntry,
    ) -> Result<()> {
        self.writes += 1;
        self.repos.insert(did.as_str(), &entry.encode()?[..])?;
        if let Some(old) = old.filter(|old| old.handle != entry.handle) {
            self.remove_claim(did, &old.handle)?;
        }
        if !entry.handle.is_empty() && old.is_none_or(|old| old.handle != entry.handle) {
            self.handles.insert(entry.handle.as_str(), did.as_str())?;
        }
        Ok(())
    }

    /// Gives a handle to who claims it now, whoever had it.
    pub(crate) fn claim(&mut self, did: &Did, handle: &str) -> Result<()> {
        let has_it = |row: redb::AccessGuard<'_, &str>| row.value() == did.as_str();
        if !handle.is_empty() && !self.handles.get(handle)?.is_some_and(has_it) {
            self.writes += 1;
            self.handles.insert(handle, did.as_str())?;
        }
        Ok(())
    }

    /// Removes a repo: its row, its claim of a handle, what is known of its deleted records. Its extents stay.
    pub(crate) fn remove_repo(&mut self, did: &Did, old: &RepoEntry) -> Result<()> {
        self.writes += 1;
        self.repos.remove(did.as_str())?;
        self.remove_claim(did, &old.handle)?;
        let (start, end) = deletion_keys(did);
        self.deletions
            .retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
        Ok(())
    }

    /// Removes a claim of a handle, if it is this DID's: another may have claimed it since.
    fn remove_claim(&mut self, did: &Did, handle: &str) -> Result<()> {
        let claims = |row: redb::AccessGuard<'_, &str>| row.value() == did.as_str();
        if self.handles.get(handle)?.is_some_and(claims) {
            self.handles.remove(handle)?;
        }
        Ok(())
    }

    /// Returns a segment's row.
    pub(crate) fn segment(&self, id: SegmentId) -> Result<Option<SegmentEntry>> {
        self.segments
            .get(id.0.to_bytes())?
            .map(|bytes| SegmentEntry::decode(bytes.value()))
            .transpose()
    }

    /// Writes a segment's row: its file must be there from now on.
    pub(crate) fn put_segment(&mut self, id: SegmentId, entry: &SegmentEntry) -> Result<()> {
        self.writes += 1;
        self.segments
            .insert(id.0.to_bytes(), &entry.encode()?[..])?;
        Ok(())
    }

    /// Takes an extent off its segment, which goes with its last one.
    pub(crate) fn drop_extent(&mut self, extent: &ExtentEntry) -> Result<()> {
        let id = extent.segment;
        let unknown = || {
            let words = format!("{} is missing in the catalog's segments", id.file());
            Error::new(Code::Damaged, words)
        };
        let mut entry = self.segment(id)?.ok_or_else(unknown)?;
        entry.extents = entry.extents.saturating_sub(1);
        entry.live_bytes = entry.live_bytes.saturating_sub(extent.bytes_stored);
        if entry.extents > 0 {
            return self.put_segment(id, &entry);
        }
        self.writes += 1;
        self.segments.remove(id.0.to_bytes())?;
        self.retired.push(id);
        Ok(())
    }

    /// Says that a segment, if it is there still, holds something that must be off the disk by a time.
    pub(crate) fn must_purge(&mut self, id: SegmentId, by: i64) -> Result<()> {
        let Some(mut entry) = self.segment(id)? else {
            return Ok(());
        };
        entry.purge_by = Some(entry.purge_by.map_or(by, |before| before.min(by)));
        self.put_segment(id, &entry)
    }

    /// Notes that a record was deleted; false if that was known.
    pub(crate) fn add_deletion(
        &mut self,
        did: &Did,
        path: &RecordPath,
        cid: &Cid,
        by: i64,
    ) -> Result<bool> {
        let key = deletion_key(did, &path.to_string(), cid);
        if self.deletions.get(key.as_slice())?.is_some() {
            return Ok(false);
        }
        self.writes += 1;
        self.deletions.insert(key.as_slice(), by)?;
        Ok(true)
    }

    /// Returns whose handle this is.
    pub(crate) fn claimant(&self, handle: &str) -> Result<Option<Did>> {
        let did = self.handles.get(handle)?.map(|did| did.value().parse());
        did.transpose()
            .map_err(|error| damaged("a handle's row in the catalog", error))
    }

    /// Writes a grant's row.
    pub(crate) fn put_grant(&mut self, id: ulid::Ulid, entry: &GrantEntry) -> Result<()> {
        self.writes += 1;
        self.grants.insert(id.to_bytes(), &entry.encode()?[..])?;
        Ok(())
    }

    /// Removes a grant, what is known of its use, and the tokens that open it.
    pub(crate) fn remove_grant(&mut self, id: ulid::Ulid, tokens: &[[u8; 32]]) -> Result<()> {
        self.writes += 1;
        self.grants.remove(id.to_bytes())?;
        self.grant_use.remove(id.to_bytes())?;
        for token in tokens {
            self.tokens.remove(token)?;
        }
        Ok(())
    }

    /// Writes down what was used of a grant, if it is there still.
    pub(crate) fn put_use(&mut self, id: ulid::Ulid, used: GrantUse) -> Result<()> {
        if self.grants.get(id.to_bytes())?.is_some() {
            self.writes += 1;
            self.grant_use.insert(id.to_bytes(), &used.encode()?[..])?;
        }
        Ok(())
    }

    /// Writes a token's row.
    pub(crate) fn put_token(&mut self, hash: &[u8; 32], entry: &TokenEntry) -> Result<()> {
        self.writes += 1;
        self.tokens.insert(hash, &entry.encode()?[..])?;
        Ok(())
    }

    /// Writes down that a token was used, if it is there still.
    pub(crate) fn touch_token(&mut self, hash: &[u8; 32], entry: &TokenEntry) -> Result<()> {
        if self.tokens.get(hash)?.is_none() {
            return Ok(());
        }
        self.put_token(hash, entry)
    }

    /// Removes a token; false if there was none.
    pub(crate) fn remove_token(&mut self, hash: &[u8; 32]) -> Result<bool> {
        let was_there = self.tokens.remove(hash)?.is_some();
        self.writes += u64::from(was_there);
        Ok(was_there)
    }
}

fn segments_in(transaction: &redb::ReadTransaction) -> Result<Vec<(SegmentId, SegmentEntry)>> {
    let mut segments = Vec::new();
    for row in transaction.open_table(SEGMENTS)?.iter()? {
        let (id, bytes) = row?;
        let id = SegmentId(ulid::Ulid::from_bytes(id.value()));
        segments.push((id, SegmentEntry::decode(bytes.value())?));
    }
    Ok(segments)
}

fn repo_in(
    repos: &impl ReadableTable<&'static str, &'static [u8]>,
    did: &Did,
) -> Result<Option<RepoEntry>> {
    repos
        .get(did.as_str())?
        .map(|bytes| RepoEntry::decode(bytes.value()))
        .transpose()
}

fn deletions_in(table: &impl ReadableTable<&'static [u8], i64>, did: &Did) -> Result<Deletions> {
    let (start, end) = deletion_keys(did);
    let mut deletions = Deletions::default();
    for row in table.range::<&[u8]>(start.as_slice()..end.as_slice())? {
        let key = row?.0;
        let rest = key.value().get(start.len()..).unwrap_or_default();
        let (path, cid) = split_deletion_key(rest).ok_or_else(|| {
            Error::new(
                Code::Damaged,
                "a deletion's key in the catalog does not parse",
            )
        })?;
        deletions.insert(path, cid);
    }
    Ok(deletions)
}

/// Returns the key of a deletion: DID, zero, path, zero, CID. Neither DIDs nor paths hold a zero byte.
fn deletion_key(did: &Did, path: &str, cid: &Cid) -> Vec<u8> {
    [did.as_str().as_bytes(), path.as_bytes(), cid.as_bytes()].join(&0)
}

/// Returns the bounds of a repo's deletions.
fn deletion_keys(did: &Did) -> (Vec<u8>, Vec<u8>) {
    let bound = |byte| [did.as_str().as_bytes(), &[byte]].concat();
    (bound(0), bound(1))
}

/// Splits what stands behind the DID in a deletion's key.
fn split_deletion_key(rest: &[u8]) -> Option<(&str, Cid)> {
    let at = rest.iter().position(|&byte| byte == 0)?;
    let (path, cid) = rest.split_at_checked(at)?;
    let cid = Cid::from_bytes(cid.get(1..)?).ok()?;
    Some((std::str::from_utf8(path).ok()?, cid))
}

fn missing() -> Error {
    Error::new(
        Code::Damaged,
        "catalog.redb is missing or empty beside segment files; put it back from a backup, or move segments/ away",
    )
}

/// Runs redb, which panics on some damaged files, and takes a panic for what it means.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(Error::new(
            Code::Damaged,
            "catalog.redb is damaged: redb cannot make sense of it",
        ))
    })
}

fn unreadable(error: io::Error) -> Error {
    Error::because(Code::Unavailable, "catalog.redb cannot be opened", error)
}

#[cfg(test)]
mod tests;
