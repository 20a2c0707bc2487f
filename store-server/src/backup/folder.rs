//! [`BackupFolder`]: a folder that becomes a copy of a store.
//!
//! What is in it first, and durable before all else, is a file that says that the backup did not end (`backup.partial`): a folder
//! with it is no store, whatever else it has. It goes last, when all the others are durable, and this makes the copy one. So a
//! backup that ended half way may be made again in the same folder, and goes on with the segments that are there; and a folder
//! without it is never taken for one, be it a store that lost its catalog.

use std::io;
use std::sync::Arc;

use carrack_schema::Code;
use carrack_segment::{Directory, File, Lock};

use crate::catalog;
use crate::check;
use crate::error::{Error, Result};
use crate::store::{CONFIG, LOCK, PARTIAL, SEGMENTS, TMP};

/// Bytes of a file that are written before they are made durable. A segment has 256 MiB and more, and a slow disk would take longer
/// for all of them than the store waits for an answer.
const SYNC_BYTES: u64 = 32 << 20;

/// A folder that becomes a copy of a store. Until [`finish`](Self::finish) has returned it is none.
pub struct BackupFolder {
    directory: Arc<dyn Directory>,
    /// Segment files that the copy has.
    segments: Vec<String>,
    writing: Option<Writing>,
    has_catalog: bool,
    _lock: Lock,
}

/// A file under way.
struct Writing {
    name: String,
    temporary: String,
    file: Box<dyn File>,
    bytes: u64,
    written: u64,
    /// How many of them are durable.
    synced: u64,
}

impl BackupFolder {
    /// Takes an empty folder, or one in which a backup ended half way.
    ///
    /// # Errors
    /// `invalidArgument` if anything of a store is in it; `overloaded` if another backup is made there; the disk's.
    pub fn open(directory: Arc<dyn Directory>) -> Result<Self> {
        let lock = directory.lock(LOCK).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::new(Code::Overloaded, "the folder is held by another process")
            }
            _ => unwritable(LOCK, error),
        })?;
        let failed = |error| unwritable("the folder", error);
        let files = directory.list("").map_err(failed)?;
        let has = |name: &str| files.iter().any(|file| file == name);
        if !has(PARTIAL) {
            check_empty(&*directory, has)?;
            directory.create(PARTIAL).map_err(failed)?;
        }
        directory.sync_dir("").map_err(failed)?;
        for folder in [SEGMENTS, TMP] {
            directory.create_dir(folder).map_err(failed)?;
        }
        for file in directory.list(TMP).map_err(failed)? {
            let name = format!("{TMP}/{file}");
            directory.unlink(&name).map_err(failed)?;
        }
        // Those of the last time: this copy has its own, or none.
        for name in [catalog::FILE, CONFIG] {
            if has(name) {
                directory.unlink(name).map_err(failed)?;
            }
        }
        directory.sync_dir("").map_err(failed)?;
        Ok(Self {
            directory,
            segments: Vec::new(),
            writing: None,
            has_catalog: false,
            _lock: lock,
        })
    }

    /// Returns the segment files that are there already, and their lengths: each was read to the end, is whole, and is durable.
    /// What is not whole goes, for the store to send it anew; so this is asked before a copy is begun, which does not wait.
    ///
    /// # Errors
    /// The disk's.
    pub fn segments(&self) -> Result<Vec<(String, u64)>> {
        let failed = |error| unwritable(SEGMENTS, error);
        let mut segments = Vec::new();
        for name in names(&*self.directory)? {
            if let Some(bytes) = check::whole(&*self.directory, &name)?
                && self.is_durable(&name)?
            {
                segments.push((name, bytes));
            } else {
                tracing::warn!(%name, "a segment that is there already is of no use, and copied anew");
                self.directory.unlink(&name).map_err(failed)?;
            }
        }
        Ok(segments)
    }

    /// Makes a file durable that somebody else wrote; false if that is not allowed, as with one that may only be read.
    fn is_durable(&self, name: &str) -> Result<bool> {
        match self.directory.open(name).and_then(|file| file.sync()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(unwritable(name, error)),
        }
    }

    /// Takes note of a segment file that is there already, as [`segments`](Self::segments) said.
    ///
    /// # Errors
    /// `invalidArgument` if that is no name of one.
    pub fn keep(&mut self, name: &str) -> Result<()> {
        check_segment_name(name)?;
        self.segments.push(name.to_owned());
        Ok(())
    }

    /// Begins the next file, of so many bytes.
    ///
    /// # Errors
    /// `invalidArgument` if a copy has no such file, or the one before is not whole; the disk's.
    pub fn begin(&mut self, name: &str, bytes: u64) -> Result<()> {
        self.end()?;
        if name != catalog::FILE && name != CONFIG {
            self.keep(name)?;
        }
        let temporary = format!("{TMP}/{}", name.rsplit('/').next().unwrap_or(name));
        let file = self.directory.create(&temporary);
        self.writing = Some(Writing {
            file: file.map_err(|error| unwritable(name, error))?,
            name: name.to_owned(),
            temporary,
            bytes,
            written: 0,
            synced: 0,
        });
        Ok(())
    }

    /// Writes the next bytes of the file that was begun last.
    ///
    /// # Errors
    /// `invalidArgument` if it has fewer; the disk's.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        // After an error it is never touched again.
        let mut writing = self.writing.take().ok_or_else(|| odd("bytes of no file"))?;
        let written = writing.written.saturating_add(bytes.len() as u64);
        if written > writing.bytes {
            return Err(odd(&format!("more bytes of {} than it has", writing.name)));
        }
        let failed = |error| unwritable(&writing.name, error);
        let file = &writing.file;
        file.write_at(bytes, writing.written).map_err(failed)?;
        if written - writing.synced >= SYNC_BYTES {
            file.sync().map_err(failed)?;
            writing.synced = written;
        }
        writing.written = written;
        self.writing = Some(writing);
        Ok(())
    }

    /// Makes it a store: when this returns it is one, also after a crash. Files that are not in the copy are gone.
    ///
    /// # Errors
    /// `invalidArgument` if the last file is not whole, or it was not the catalog; the disk's.
    pub fn finish(mut self) -> Result<()> {
        self.end()?;
        if !self.has_catalog {
            return Err(odd("no catalog"));
        }
        let failed = |error| unwritable("the folder", error);
        for name in names(&*self.directory)? {
            if !self.segments.contains(&name) {
                self.directory.unlink(&name).map_err(failed)?;
            }
        }
        self.directory
            .rename(&format!("{TMP}/{}", catalog::FILE), catalog::FILE)
            .map_err(failed)?;
        for folder in [SEGMENTS, ""] {
            self.directory.sync_dir(folder).map_err(failed)?;
        }
        // All of it is durable: from here on it is a store, or no store yet if a crash brings this back.
        self.directory.unlink(PARTIAL).map_err(failed)?;
        self.directory.sync_dir("").map_err(failed)
    }

    /// Ends the file under way: its bytes are durable, and but for the catalog it has its name.
    fn end(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        let name = &writing.name;
        if writing.written != writing.bytes {
            return Err(odd(&format!("fewer bytes of {name} than it has")));
        }
        let failed = |error| unwritable(name, error);
        writing.file.sync().map_err(failed)?;
        if name == catalog::FILE {
            self.has_catalog = true;
            return Ok(());
        }
        self.has_catalog = false;
        let renamed = self.directory.rename(&writing.temporary, name);
        renamed.map_err(failed)
    }
}

/// Refuses a folder that a backup would harm: not even a segment file may be there that no backup put there.
fn check_empty(directory: &dyn Directory, has: impl Fn(&str) -> bool) -> Result<()> {
    let what = if has(catalog::FILE) {
        "is a store already"
    } else if has(CONFIG) {
        "has a config.toml already"
    } else {
        let files = match directory.list(SEGMENTS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            files => files.map_err(|error| unwritable(SEGMENTS, error))?,
        };
        if files.is_empty() {
            return Ok(());
        }
        "has segments that no backup put there; it may be a store that lost its catalog"
    };
    let words = format!("the folder {what}; a backup is made into a new folder");
    Err(Error::new(Code::InvalidArgument, words))
}

/// Returns the names of the files that are in the segments' folder.
fn names(directory: &dyn Directory) -> Result<Vec<String>> {
    let files = directory.list(SEGMENTS);
    let files = files.map_err(|error| unwritable(SEGMENTS, error))?;
    Ok(files
        .iter()
        .map(|file| format!("{SEGMENTS}/{file}"))
        .collect())
}

/// Refuses what is no name of a segment file: it comes from another process, perhaps from another machine.
fn check_segment_name(name: &str) -> Result<()> {
    let stem = name
        .strip_prefix("segments/")
        .and_then(|file| file.strip_suffix(".cseg"));
    let is_ulid = stem.is_some_and(|stem| ulid::Ulid::from_string(stem).is_ok());
    if is_ulid {
        return Ok(());
    }
    Err(odd(&format!("a file named `{}`", name.escape_debug())))
}

fn odd(what: &str) -> Error {
    let words = format!("the store sent {what}, which no copy has");
    Error::new(Code::InvalidArgument, words)
}

fn unwritable(what: &str, error: io::Error) -> Error {
    let words = format!("the backup could not be written: {what}");
    Error::because(Code::Unavailable, words, error)
}
