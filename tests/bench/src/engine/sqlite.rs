//! SQLite: one table, repo number and path → value, as a B-tree of its own (`WITHOUT ROWID`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::{Connection, Statement};

use super::{Engine, OnDisk, on_disk};
use crate::field::{Field, text_at};
use crate::json;
use crate::source::Source;

/// How a record is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// DAG-CBOR.
    Blob,
    /// JSON text, for `json_extract`.
    Json,
    /// SQLite's binary JSON, for `json_extract`.
    Jsonb,
}

/// A SQLite database.
pub(crate) struct Sqlite {
    folder: PathBuf,
    // Statements borrow the connection; it lives as long as the process, which measures one engine.
    connection: &'static Connection,
    layout: Layout,
    repos_count: u32,
    reading: Option<Reading>,
}

/// What the reads are about, with their statements.
struct Reading {
    get: Statement<'static>,
    get_field: Statement<'static>,
    page: Statement<'static>,
    scan: Statement<'static>,
    keys: Vec<(String, String)>,
    field: Field,
}

const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -1048576;
    PRAGMA mmap_size = 17179869184;
    CREATE TABLE records (
        repo INTEGER NOT NULL, path TEXT NOT NULL, value NOT NULL, PRIMARY KEY (repo, path)
    ) WITHOUT ROWID;";

impl Sqlite {
    /// Makes an empty database.
    pub(crate) fn create(folder: &Path, layout: Layout) -> Result<Self> {
        let connection = Connection::open(folder.join("records.sqlite"))?;
        connection.execute_batch(SETTINGS)?;
        Ok(Self {
            folder: folder.to_owned(),
            connection: Box::leak(Box::new(connection)),
            layout,
            repos_count: 0,
            reading: None,
        })
    }

    fn reading(&mut self) -> Result<&mut Reading> {
        self.reading.as_mut().context("no keys were prepared")
    }
}

impl Engine for Sqlite {
    fn import(&mut self, source: &Source) -> Result<()> {
        let insert = match self.layout {
            Layout::Jsonb => "INSERT INTO records VALUES (?1, ?2, jsonb(?3))",
            _ => "INSERT INTO records VALUES (?1, ?2, ?3)",
        };
        self.connection.execute_batch("BEGIN")?;
        {
            let mut insert = self.connection.prepare(insert)?;
            for (path, value) in source.rows()? {
                match self.layout {
                    Layout::Blob => insert.execute((self.repos_count, path, &value[..]))?,
                    _ => insert.execute((self.repos_count, path, json::text_of(value)?))?,
                };
            }
        }
        self.connection.execute_batch("COMMIT")?;
        self.repos_count += 1;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(checkpoint, (), |_| Ok(()))?)
    }

    fn prepare(&mut self, paths: &[&str], field: &Field) -> Result<()> {
        let prepare = |sql| self.connection.prepare(sql);
        let end = |path: &str| {
            path.split_once('/')
                .map_or("", |(start, _)| start)
                .to_owned()
                + "0"
        };
        self.reading = Some(Reading {
            get: prepare("SELECT value FROM records WHERE repo = 0 AND path = ?1")?,
            get_field: prepare(
                "SELECT json_extract(value, ?2) FROM records WHERE repo = 0 AND path = ?1",
            )?,
            page: prepare(
                "SELECT path, value FROM records
                 WHERE repo = 0 AND path > ?1 AND path < ?2 ORDER BY path LIMIT ?3",
            )?,
            scan: match self.layout {
                Layout::Blob => prepare("SELECT value FROM records WHERE repo = 0")?,
                _ => prepare(
                    "SELECT count(*) FROM records
                     WHERE repo = 0 AND json_extract(value, ?1) >= ?2",
                )?,
            },
            keys: paths
                .iter()
                .map(|path| ((*path).to_owned(), end(path)))
                .collect(),
            field: field.clone(),
        });
        Ok(())
    }

    fn get(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let Reading { get, keys, .. } = self.reading()?;
        get.query_row((&keys[at].0,), |row| {
            out.extend_from_slice(row.get_ref(0)?.as_bytes()?);
            Ok(())
        })?;
        Ok(())
    }

    fn get_field(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let layout = self.layout;
        let reading = self.reading()?;
        let (key, field) = (&reading.keys[at].0, &reading.field);
        if layout == Layout::Blob {
            return reading
                .get
                .query_row((key,), |row| {
                    let text = text_at(row.get_ref(0)?.as_bytes()?, &field.parts);
                    out.extend_from_slice(text.unwrap_or_default().as_bytes());
                    Ok(())
                })
                .map_err(Into::into);
        }
        reading
            .get_field
            .query_row((key, &field.json_path), |row| {
                out.extend_from_slice(row.get_ref(0)?.as_bytes()?);
                Ok(())
            })?;
        Ok(())
    }

    fn list_page(&mut self, at: usize, limit: usize, out: &mut Vec<u8>) -> Result<usize> {
        let Reading { page, keys, .. } = self.reading()?;
        let (after, end) = &keys[at];
        let mut rows = page.query((after, end, limit as i64))?;
        let mut listed = 0;
        while let Some(row) = rows.next()? {
            super::push_listed(
                row.get_ref(0)?.as_bytes()?,
                row.get_ref(1)?.as_bytes()?,
                out,
            );
            listed += 1;
        }
        Ok(listed)
    }

    fn scan_column(&mut self, least: &str) -> Result<u64> {
        let layout = self.layout;
        let Reading { scan, field, .. } = self.reading()?;
        if layout != Layout::Blob {
            let hits: i64 = scan.query_row((&field.json_path, least), |row| row.get(0))?;
            return Ok(hits.try_into()?);
        }
        let mut hits = 0;
        let mut rows = scan.query(())?;
        while let Some(row) = rows.next()? {
            let text = text_at(row.get_ref(0)?.as_bytes()?, &field.parts);
            hits += u64::from(text.is_some_and(|text| text >= least));
        }
        Ok(hits)
    }

    fn bytes_on_disk(&self) -> Result<OnDisk> {
        on_disk(&self.folder, &|_| true)
    }
}
