//! [`Store::backup`]: a copy of the store as of one moment, file by file; [`BackupFolder`] keeps one.
//!
//! Segment files never change, so a copy takes those that the catalog names at that moment, mapped: they stay readable though a
//! merge replaces them or a purge unlinks them meanwhile. The catalog is written anew. Nothing waits for a backup: imports,
//! merges and deletions go on, and what they change is not in it.

mod folder;

use std::io;

use carrack_schema::Code;
use carrack_segment::{File, Map};

pub use self::folder::BackupFolder;
use crate::catalog;
use crate::error::{Error, Result};
use crate::store::{CONFIG, Store, TMP};

/// How often a copy is begun anew because a merge took a file away between reading the catalog and opening it.
const ATTEMPTS_MAX: usize = 64;

/// A copy of the store as of one moment. What its files take on the disk is free when this is dropped, not before.
pub struct Backup {
    /// The moment, in microseconds since the Unix epoch.
    pub taken: i64,
    /// The files of a data folder; the catalog is the last.
    pub files: Vec<BackupFile>,
}

/// A file of a copy.
pub struct BackupFile {
    /// Its name in the data folder.
    pub name: String,
    /// All that is in it.
    pub bytes: Map,
}

impl BackupFile {
    /// Says whether it is a segment file, whose name never stands for other bytes.
    pub fn is_segment(&self) -> bool {
        self.name.ends_with(".cseg")
    }
}

impl Store {
    /// Takes a copy of the store as it is now: every repo at every revision that is stored, deletions, grants, tokens' hashes,
    /// and the key that seals cursors. The audit log is not in it.
    ///
    /// # Errors
    /// `damaged` if a segment file is missing or has another length than it should; nothing else of the segments is looked
    /// at. The disk's; `overloaded` if the store's disk has no room for its catalog once more, or if merges took files away
    /// again and again.
    pub fn backup(&self) -> Result<Backup> {
        for _ in 0..ATTEMPTS_MAX {
            // Before the moment: what was true then is in it.
            let taken = self.inner().clock.now();
            let moment = self.inner().catalog.moment()?;
            let Some(mut files) = self.map_segments(&moment)? else {
                continue;
            };
            files.extend(self.config()?);
            let bytes = self.map_catalog(&moment)?;
            let name = catalog::FILE.to_owned();
            files.push(BackupFile { name, bytes });
            return Ok(Backup { taken, files });
        }
        let words = "segments were merged again and again while a backup was to begin; try again";
        Err(Error::new(Code::Overloaded, words))
    }

    /// Maps the segment files of a moment; none if one has gone since.
    fn map_segments(&self, moment: &catalog::Moment) -> Result<Option<Vec<BackupFile>>> {
        let mut files = Vec::new();
        for (id, entry) in moment.segments()? {
            let name = id.file();
            match self.inner().directory.map(&name) {
                Ok(bytes) if bytes.len() as u64 == entry.bytes => {
                    files.push(BackupFile { name, bytes });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(unreadable(&name, error));
                }
                _ if self.inner().catalog.names(id)? => {
                    let words = format!(
                        "{name} is missing or has another length than it should; `carrack check` says whom that touches"
                    );
                    return Err(Error::new(Code::Damaged, words));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(files))
    }

    /// Writes the catalog of a moment into a file that nobody else knows, which goes when the map is dropped.
    fn map_catalog(&self, moment: &catalog::Moment) -> Result<Map> {
        // It becomes as long by and large, but how full its pages will be is not known before.
        self.check_room(2 * self.inner().catalog.bytes()?)?;
        let directory = &self.inner().directory;
        let name = format!("{TMP}/{}.redb", self.new_segment_id()?.0);
        let failed = |error| unreadable(&name, error);
        let file = directory.create(&name).map_err(failed)?;
        let written = moment
            .write(file)
            .and_then(|()| directory.map(&name).map_err(failed));
        directory.unlink(&name).map_err(failed)?;
        written
    }

    /// Returns the folder's settings, if there are any.
    fn config(&self) -> Result<Option<BackupFile>> {
        let failed = |error| unreadable(CONFIG, error);
        let file = match self.inner().directory.open(CONFIG) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // It is read and not mapped: whoever edits it may shorten it.
        let bytes = Map::owned(&read(&*file).map_err(failed)?);
        let name = CONFIG.to_owned();
        Ok(Some(BackupFile { name, bytes }))
    }
}

fn read(file: &dyn File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn unreadable(name: &str, error: io::Error) -> Error {
    let words = format!("{name} cannot be read for a backup");
    Error::because(Code::Unavailable, words, error)
}
