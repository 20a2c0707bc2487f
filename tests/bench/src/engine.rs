//! [`Engine`]: what every store that is compared must do, and the list of them.
//!
//! All hold the same records under the same paths. What they are asked for goes into the caller's buffer, so that each
//! pays for handing out its answer once. Keys are prepared in the engine's own form before a measurement starts.

mod carrack;
mod fjall;
mod redb;
mod sqlite;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::field::Field;
use crate::source::Source;

pub(crate) use carrack::{Carrack, opened_in};

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Name {
    /// Ours.
    Carrack,
    /// redb, values as DAG-CBOR; a field is found with our CBOR reader, which skips to it.
    Redb,
    /// The same; a field is found by decoding the whole record with `serde_ipld_dagcbor`.
    RedbIpld,
    /// SQLite, values as DAG-CBOR.
    Sqlite,
    /// SQLite, values as JSON text.
    SqliteJson,
    /// SQLite, values in SQLite's own binary JSON.
    SqliteJsonb,
    /// fjall, an LSM tree, with lz4.
    Fjall,
}

impl Name {
    /// All engines, ours first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Carrack,
        Self::Redb,
        Self::RedbIpld,
        Self::Sqlite,
        Self::SqliteJson,
        Self::SqliteJsonb,
        Self::Fjall,
    ];

    /// Returns its name in the report.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Carrack => "Carrack",
            Self::Redb => "redb",
            Self::RedbIpld => "redb, whole decode",
            Self::Sqlite => "SQLite",
            Self::SqliteJson => "SQLite JSON",
            Self::SqliteJsonb => "SQLite JSONB",
            Self::Fjall => "fjall lz4",
        }
    }

    /// Says whether it gives back the bytes it was given, so that its answers must equal the others'.
    pub(crate) const fn keeps_bytes(self) -> bool {
        !matches!(self, Self::SqliteJson | Self::SqliteJsonb)
    }

    /// Says whether only its reading of fields is of interest, the rest being another engine's.
    pub(crate) const fn only_fields(self) -> bool {
        matches!(self, Self::RedbIpld)
    }

    /// Says whether it takes in a CAR by itself; the others are given its records.
    pub(crate) const fn reads_cars(self) -> bool {
        matches!(self, Self::Carrack)
    }

    /// Makes a new, empty engine of this name in an empty folder.
    pub(crate) fn create(self, folder: &Path) -> Result<Box<dyn Engine>> {
        use redb::Decoder;
        use sqlite::Layout;
        fs::create_dir_all(folder)?;
        Ok(match self {
            Self::Carrack => Box::new(Carrack::open(folder)?),
            Self::Redb => Box::new(redb::Redb::create(folder, Decoder::Reader)?),
            Self::RedbIpld => Box::new(redb::Redb::create(folder, Decoder::Ipld)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::create(folder, Layout::Blob)?),
            Self::SqliteJson => Box::new(sqlite::Sqlite::create(folder, Layout::Json)?),
            Self::SqliteJsonb => Box::new(sqlite::Sqlite::create(folder, Layout::Jsonb)?),
            Self::Fjall => Box::new(fjall::Fjall::create(folder)?),
        })
    }
}

/// A store that holds the records of repos. Reads are of the repo that was imported first.
pub(crate) trait Engine {
    /// Takes in one repo; durable when this returns.
    fn import(&mut self, source: &Source) -> Result<()>;

    /// Takes in several repos, each durable by itself.
    fn import_all(&mut self, sources: &[Source]) -> Result<()> {
        sources.iter().try_for_each(|source| self.import(source))
    }

    /// Waits until nothing goes on in the background and the files have their final size.
    fn settle(&mut self) -> Result<()>;

    /// Rewrites everything in the smallest form the engine has, if it has one for what is seldom read, and says whether
    /// it has.
    fn chill(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Sets the keys and the field that the following reads are about.
    fn prepare(&mut self, paths: &[&str], field: &Field) -> Result<()>;

    /// Appends the value under the prepared key `at`.
    fn get(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()>;

    /// Appends the prepared field, a text, of the record under the prepared key `at`.
    fn get_field(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()>;

    /// Appends record key and value of up to `limit` records that follow the prepared key in its collection, and
    /// returns their number.
    fn list_page(&mut self, at: usize, limit: usize, out: &mut Vec<u8>) -> Result<usize>;

    /// Returns how many records of the repo have the prepared field, a text, at `least` or above.
    fn scan_column(&mut self, least: &str) -> Result<u64>;

    /// Returns what it takes on disk.
    fn bytes_on_disk(&self) -> Result<OnDisk>;
}

/// Bytes that an engine takes on disk.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OnDisk {
    /// Lengths of the files that hold records and their index.
    pub(crate) data_bytes: u64,
    /// What all files occupy, in whole blocks of the file system.
    pub(crate) all_bytes: u64,
}

/// Adds up the files in a folder and below; `is_data` says of a file's name whether it holds records.
fn on_disk(folder: &Path, is_data: &dyn Fn(&str) -> bool) -> Result<OnDisk> {
    const BLOCK_BYTES: u64 = 512;
    let mut sum = OnDisk::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let below = on_disk(&entry.path(), is_data)?;
            sum.data_bytes += below.data_bytes;
            sum.all_bytes += below.all_bytes;
        } else {
            sum.all_bytes += metadata.blocks() * BLOCK_BYTES;
            if is_data(&entry.file_name().to_string_lossy()) {
                // A file may have holes that it does not pay for.
                sum.data_bytes += metadata.len().min(metadata.blocks() * BLOCK_BYTES);
            }
        }
    }
    Ok(sum)
}

/// The key of a record where one store holds several repos: the repo's number and the path, in path order.
fn numbered_key(repo: u32, path: &str) -> Vec<u8> {
    [&repo.to_be_bytes()[..], path.as_bytes()].concat()
}

/// The end of a prepared path's collection: `/` made its successor `0`.
fn collection_end(repo: u32, path: &str) -> Vec<u8> {
    let collection = path
        .split_once('/')
        .map_or(path, |(collection, _)| collection);
    [&repo.to_be_bytes()[..], collection.as_bytes(), b"0"].concat()
}

/// Appends a listed record: its record key, out of a numbered key, and its value.
fn push_listed(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let slash = key
        .iter()
        .position(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    out.extend_from_slice(&key[slash..]);
    out.extend_from_slice(value);
}
