//! The catalog: which repos the store holds, at which revision, in which segment file.
//!
//! One redb database, `catalog.redb`, on the same [`Directory`] as the segments, so that its I/O is under the same
//! tests. A commit of the catalog is what makes an import true: files it does not name do not count. Only
//! [`crate::store`] calls this.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use capnp::message::{Builder, HeapAllocator};
use carrack_repack::head::{rev_of, rev_text};
use carrack_schema::wire::catalog_capnp::{self, repo_entry, segment_entry};
use carrack_schema::{Cid, Code, Did, Tid};
use carrack_segment::directory::{Directory, File};
use carrack_segment::message;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::entropy::random;
use crate::error::{Error, Result, damaged};
use crate::verdict::{Status, Verdict};

/// Name of the catalog's file in the data folder.
const FILE: &str = "catalog.redb";

/// Its name while it is made: redb cannot open a file that a crash left half made.
const NEW_FILE: &str = "catalog.redb.new";

/// What redb may keep of the catalog in memory, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// Version of the tables below. Another one is refused.
const FORMAT: u32 = 1;

const REPOS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("repos");
const SEGMENTS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("segments");
const HANDLES: TableDefinition<'_, &str, &str> = TableDefinition::new("handles");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const META_FORMAT: &str = "format";
const META_CURSOR_KEY: &str = "cursorKey";

/// Length of the key that seals cursors, in bytes.
pub(crate) const CURSOR_KEY_BYTES: usize = 32;

/// Name of a segment file: a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SegmentId(pub(crate) ulid::Ulid);

impl SegmentId {
    /// Returns the file's name in the data folder.
    pub(crate) fn file(self) -> String {
        format!("segments/{}.cseg", self.0)
    }
}

/// A repo's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepoEntry {
    pub(crate) rev: Option<Tid>,
    pub(crate) commit: Cid,
    pub(crate) segment: SegmentId,
    pub(crate) records: u64,
    pub(crate) missing: u64,
    pub(crate) invalid: u64,
    pub(crate) blocks: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) imported: i64,
    pub(crate) verdict: Verdict,
    pub(crate) handle: String,
    pub(crate) status: Status,
}

/// The open catalog.
#[derive(Debug)]
pub(crate) struct Catalog {
    database: redb::Database,
    cursor_key: [u8; CURSOR_KEY_BYTES],
    /// A commit failed half way: what is read here may not be what the file holds.
    uncertain: AtomicBool,
}

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
        let backend = Backend(file.map_err(unreadable)?);
        let mut builder = redb::Database::builder();
        // Every page's checksum is compared first: what redb reads later it trusts, and on bytes that changed behind its
        // back it answers wrongly, or panics.
        builder
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true);
        let database = builder.create_with_backend(backend)?;
        let mut catalog = Self {
            database,
            cursor_key: [0; CURSOR_KEY_BYTES],
            uncertain: AtomicBool::new(false),
        };
        catalog.cursor_key = catalog.prepare(has_segments)?;
        if is_new {
            // The tables' commit was synced, so what gets the name is whole.
            directory.rename(NEW_FILE, FILE).map_err(unreadable)?;
            directory.sync_dir("").map_err(unreadable)?;
        }
        Ok(catalog)
    }

    /// Begins a transaction that is committed in two phases, at the price of a second sync. With one phase only, redb takes
    /// a page that does not match its checksum, when it recovers from a kill, for a commit that was under way, and goes
    /// back to the one before: one flipped bit would undo what was acknowledged.
    fn begin_write(&self) -> Result<redb::WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        Ok(transaction)
    }

    /// Creates the tables if need be, checks their format and returns the cursor key.
    fn prepare(&self, has_segments: bool) -> Result<[u8; CURSOR_KEY_BYTES]> {
        let transaction = self.begin_write()?;
        let key = {
            transaction.open_table(REPOS)?;
            transaction.open_table(SEGMENTS)?;
            transaction.open_table(HANDLES)?;
            let mut meta = transaction.open_table(META)?;
            let format = meta.get(META_FORMAT)?.map(|bytes| bytes.value().to_vec());
            match format {
                None if has_segments => return Err(missing()),
                None => {
                    meta.insert(META_FORMAT, &FORMAT.to_le_bytes()[..])?;
                }
                Some(bytes) if bytes == FORMAT.to_le_bytes() => {}
                Some(_) => {
                    return Err(Error::new(
                        Code::Unavailable,
                        format!(
                            "the data folder was made by another version of Carrack, this one reads catalog format {FORMAT}"
                        ),
                    ));
                }
            }
            let stored = meta
                .get(META_CURSOR_KEY)?
                .map(|bytes| bytes.value().to_vec());
            match stored {
                Some(bytes) => bytes.try_into().map_err(|_| {
                    Error::new(Code::Damaged, "the catalog's cursor key has an odd length")
                })?,
                None => {
                    let key = random()?;
                    meta.insert(META_CURSOR_KEY, &key[..])?;
                    key
                }
            }
        };
        transaction.commit()?;
        Ok(key)
    }

    /// Returns the key that seals cursors.
    pub(crate) fn cursor_key(&self) -> &[u8; CURSOR_KEY_BYTES] {
        &self.cursor_key
    }

    /// Refuses once the outcome of a commit is unknown: reads may go on, but nothing may be acknowledged, not even that
    /// there is nothing to change, until the catalog is opened anew.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) fn check_certain(&self) -> Result<()> {
        if self.uncertain.load(Ordering::Acquire) {
            return Err(Error::new(
                Code::Unavailable,
                "a commit of the catalog failed before: reopen the store",
            ));
        }
        Ok(())
    }

    /// Returns a repo's row.
    pub(crate) fn repo(&self, did: &Did) -> Result<Option<RepoEntry>> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(REPOS)?;
            table
                .get(did.as_str())?
                .map(|bytes| decode_repo(bytes.value()))
                .transpose()
        })
    }

    /// Calls `visit` with each repo above `after` in order of DID, until it says false.
    pub(crate) fn repos_after(
        &self,
        after: &str,
        mut visit: impl FnMut(&str, RepoEntry) -> bool,
    ) -> Result<()> {
        use std::ops::Bound;
        let table = self.database.begin_read()?.open_table(REPOS)?;
        for row in table.range::<&str>((Bound::Excluded(after), Bound::Unbounded))? {
            let (did, bytes) = row?;
            if !visit(did.value(), decode_repo(bytes.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the segment files that must be there.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentId>> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(SEGMENTS)?;
            table
                .iter()?
                .map(|row| Ok(SegmentId(ulid::Ulid::from_bytes(row?.0.value()))))
                .collect()
        })
    }

    /// Returns the DID that claims a handle: by the DID document given with the latest import that brought the claim.
    pub(crate) fn did_of_handle(&self, handle: &str) -> Result<Option<Did>> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(HANDLES)?;
            let did = table.get(handle)?.map(|did| did.value().to_owned());
            did.map(|did| {
                did.parse()
                    .map_err(|e| damaged("a handle's row in the catalog", e))
            })
            .transpose()
        })
    }

    /// Returns up to `limit` known handles, those that begin like `handle` first.
    pub(crate) fn handles_like(&self, handle: &str, limit: usize) -> Result<Vec<String>> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(HANDLES)?;
            let start: String = handle.chars().take(1).collect();
            let (alike, others) = (
                table.range::<&str>(start.as_str()..)?,
                table.range::<&str>(..start.as_str())?,
            );
            alike
                .chain(others)
                .take(limit)
                .map(|row| Ok(row?.0.value().to_owned()))
                .collect()
        })
    }

    /// Puts a repo's new row in the place of the one it had, if `admit` takes that one, and returns the old row.
    ///
    /// When this returns `Ok` the change survives a crash: this is the acknowledgement of an import. `admit` runs
    /// inside the transaction, so that of two imports of one repo the second sees the first.
    ///
    /// # Errors
    /// Those of `admit`, which leave the catalog as it was; `unknownOutcome` when the commit itself failed.
    pub(crate) fn replace_repo(
        &self,
        did: &Did,
        entry: &RepoEntry,
        admit: impl FnOnce(Option<&RepoEntry>) -> Result<()>,
    ) -> Result<Option<RepoEntry>> {
        let transaction = self.begin_write()?;
        let old = {
            let mut repos = transaction.open_table(REPOS)?;
            let mut segments = transaction.open_table(SEGMENTS)?;
            let mut handles = transaction.open_table(HANDLES)?;
            let old = repos
                .get(did.as_str())?
                .map(|bytes| decode_repo(bytes.value()))
                .transpose()?;
            admit(old.as_ref())?;
            repos.insert(did.as_str(), &encode_repo(entry)?[..])?;
            segments.insert(
                entry.segment.0.to_bytes(),
                &encode_segment(entry.bytes_stored)?[..],
            )?;
            if let Some(old) = &old {
                if old.segment != entry.segment {
                    segments.remove(old.segment.0.to_bytes())?;
                }
                if old.handle != entry.handle && is_claimed_by(&handles, &old.handle, did)? {
                    handles.remove(old.handle.as_str())?;
                }
            }
            if !entry.handle.is_empty() {
                handles.insert(entry.handle.as_str(), did.as_str())?;
            }
            old
        };
        transaction.commit().map_err(|error| {
            self.uncertain.store(true, Ordering::Release);
            Error::because(
                Code::UnknownOutcome,
                "the catalog's commit failed half way: reopen the store and ask for the repo's rev",
                redb::Error::from(error),
            )
        })?;
        Ok(old)
    }
}

/// Says whether a handle is this DID's: another may have claimed it since.
fn is_claimed_by(
    handles: &impl ReadableTable<&'static str, &'static str>,
    handle: &str,
    did: &Did,
) -> Result<bool> {
    Ok(handles
        .get(handle)?
        .is_some_and(|row| row.value() == did.as_str()))
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

/// redb on a [`File`] of a [`Directory`].
#[derive(Debug)]
struct Backend(Box<dyn File>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}

fn encode_repo(entry: &RepoEntry) -> Result<Vec<u8>> {
    let mut message = Builder::<HeapAllocator>::new_default();
    let mut wire = message.init_root::<repo_entry::Builder<'_>>();
    wire.set_rev(rev_text(entry.rev));
    wire.set_commit_cid(entry.commit.as_bytes());
    wire.set_segment(&entry.segment.0.to_bytes());
    wire.set_records(entry.records);
    wire.set_blocks(entry.blocks);
    wire.set_bytes_in(entry.bytes_in);
    wire.set_bytes_stored(entry.bytes_stored);
    wire.set_imported(entry.imported);
    wire.set_missing(entry.missing);
    wire.set_invalid(entry.invalid);
    wire.set_handle(&entry.handle);
    wire.set_status(entry.status.as_str());
    match &entry.verdict {
        Verdict::Unchecked => wire.set_verdict(catalog_capnp::Verdict::Unchecked),
        Verdict::LegacyCommit => wire.set_verdict(catalog_capnp::Verdict::LegacyCommit),
        Verdict::Valid {
            key,
            document,
            checked,
        } => {
            wire.set_verdict(catalog_capnp::Verdict::Valid);
            wire.set_key(key);
            wire.set_document(document);
            wire.set_checked(*checked);
        }
    }
    Ok(message::flatten(&message)?)
}

fn encode_segment(bytes: u64) -> Result<Vec<u8>> {
    let mut message = Builder::<HeapAllocator>::new_default();
    message
        .init_root::<segment_entry::Builder<'_>>()
        .set_bytes(bytes);
    Ok(message::flatten(&message)?)
}

fn decode_repo(bytes: &[u8]) -> Result<RepoEntry> {
    const WHAT: &str = "a repo's row in the catalog does not parse";
    // A value lies anywhere in redb's page; Cap'n Proto wants it aligned.
    let words = message::words(bytes);
    let reader = message::flat(capnp::Word::words_to_bytes(&words));
    let wire = reader
        .get_root::<repo_entry::Reader<'_>>()
        .map_err(|e| damaged(WHAT, e))?;
    let text = |field: capnp::Result<capnp::text::Reader<'_>>| {
        field
            .and_then(|text| Ok(text.to_string()?))
            .map_err(|e| damaged(WHAT, e))
    };
    let data = |field: capnp::Result<capnp::data::Reader<'_>>| {
        field.map(<[u8]>::to_vec).map_err(|e| damaged(WHAT, e))
    };
    let segment: [u8; 16] = data(wire.get_segment())?
        .try_into()
        .map_err(|_| Error::new(Code::Damaged, format!("{WHAT}: the segment is no ULID")))?;
    Ok(RepoEntry {
        rev: rev_of(&text(wire.get_rev())?).map_err(|e| damaged(WHAT, e))?,
        commit: Cid::from_bytes(&data(wire.get_commit_cid())?).map_err(|e| damaged(WHAT, e))?,
        segment: SegmentId(ulid::Ulid::from_bytes(segment)),
        records: wire.get_records(),
        blocks: wire.get_blocks(),
        bytes_in: wire.get_bytes_in(),
        bytes_stored: wire.get_bytes_stored(),
        imported: wire.get_imported(),
        missing: wire.get_missing(),
        invalid: wire.get_invalid(),
        verdict: match wire.get_verdict().map_err(|e| damaged(WHAT, e))? {
            catalog_capnp::Verdict::Unchecked => Verdict::Unchecked,
            catalog_capnp::Verdict::LegacyCommit => Verdict::LegacyCommit,
            catalog_capnp::Verdict::Valid => Verdict::Valid {
                key: text(wire.get_key())?,
                document: data(wire.get_document())?.try_into().map_err(|_| {
                    Error::new(
                        Code::Damaged,
                        format!("{WHAT}: the document has no SHA-256"),
                    )
                })?,
                checked: wire.get_checked(),
            },
        },
        handle: text(wire.get_handle())?,
        status: text(wire.get_status())?
            .parse()
            .map_err(|e| damaged(WHAT, e))?,
    })
}

#[cfg(test)]
mod tests {
    use carrack_segment::directory::fs::Fs;

    use super::*;

    fn entry(rev: u64) -> RepoEntry {
        RepoEntry {
            rev: Some(Tid::from_u64(rev)),
            commit: "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"
                .parse()
                .unwrap(),
            segment: SegmentId(ulid::Ulid::from_bytes([rev as u8; 16])),
            records: 1,
            blocks: 2,
            bytes_in: 3,
            bytes_stored: 4,
            imported: -5,
            missing: 6,
            invalid: 9,
            verdict: Verdict::Valid {
                key: "did:key:z1".into(),
                document: [7; 32],
                checked: 8,
            },
            handle: "alice.test".into(),
            status: "takendown".parse().unwrap(),
        }
    }

    fn directory() -> (tempfile::TempDir, Arc<dyn Directory>) {
        let folder = tempfile::tempdir().unwrap();
        let directory = Arc::new(Fs::open(folder.path()).unwrap());
        (folder, directory)
    }

    #[test]
    fn rows_survive_reopening_and_replace_each_other() {
        let (_folder, directory) = directory();
        let did: Did = "did:plc:a".parse().unwrap();
        let key = {
            let catalog = Catalog::open(&directory, false).unwrap();
            assert_eq!(
                catalog.replace_repo(&did, &entry(1), |_| Ok(())).unwrap(),
                None
            );
            let old = catalog.replace_repo(&did, &entry(2), |_| Ok(())).unwrap();
            assert_eq!(old, Some(entry(1)));
            *catalog.cursor_key()
        };
        let catalog = Catalog::open(&directory, false).unwrap();
        assert_eq!(catalog.repo(&did).unwrap(), Some(entry(2)));
        assert_eq!(catalog.repo(&"did:plc:b".parse().unwrap()).unwrap(), None);
        assert_eq!(catalog.segments().unwrap(), [entry(2).segment]);
        assert_eq!(*catalog.cursor_key(), key);
    }

    #[test]
    fn a_row_that_is_not_admitted_changes_nothing() {
        let (_folder, directory) = directory();
        let catalog = Catalog::open(&directory, false).unwrap();
        let did: Did = "did:plc:a".parse().unwrap();
        let refuse = |_: Option<&RepoEntry>| Err(Error::new(Code::Fork, "no"));
        assert_eq!(
            catalog
                .replace_repo(&did, &entry(1), refuse)
                .unwrap_err()
                .code(),
            Code::Fork
        );
        assert_eq!(catalog.repo(&did).unwrap(), None);
        assert!(catalog.segments().unwrap().is_empty());
    }

    #[test]
    fn a_catalog_that_is_gone_beside_segments_is_damage() {
        let (folder, directory) = directory();
        let refused = |directory| {
            Catalog::open(directory, true)
                .map(|_| ())
                .unwrap_err()
                .code()
        };
        assert_eq!(refused(&directory), Code::Damaged);
        assert!(directory.list("").unwrap().is_empty(), "nothing was made");
        drop(Catalog::open(&directory, false).unwrap());
        assert!(Catalog::open(&directory, true).is_ok());
        std::fs::write(folder.path().join(FILE), b"").unwrap();
        assert_eq!(refused(&directory), Code::Damaged);
    }

    #[test]
    fn rows_that_do_not_parse_are_damage() {
        for bytes in [&[][..], &[0xff; 64], &encode_segment(7).unwrap()] {
            assert_eq!(decode_repo(bytes).unwrap_err().code(), Code::Damaged);
        }
    }
}
