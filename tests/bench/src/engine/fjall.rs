//! fjall: one keyspace, repo number and path → DAG-CBOR, blocks compressed with lz4 as it does by default.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Engine, OnDisk, collection_end, numbered_key, on_disk, push_listed};
use crate::field::{Field, text_at};
use crate::source::Source;

const CACHE_BYTES: u64 = 1 << 30;

/// A fjall database.
pub(crate) struct Fjall {
    folder: PathBuf,
    keyspace: Keyspace,
    database: Database,
    repos_count: u32,
    keys: Vec<(Vec<u8>, Vec<u8>)>,
    field: Field,
}

impl Fjall {
    /// Makes an empty database.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let database = Database::builder(folder).cache_size(CACHE_BYTES).open()?;
        Ok(Self {
            folder: folder.to_owned(),
            keyspace: database.keyspace("records", KeyspaceCreateOptions::default)?,
            database,
            repos_count: 0,
            keys: Vec::new(),
            field: Field::new(""),
        })
    }
}

impl Engine for Fjall {
    fn import(&mut self, source: &Source) -> Result<()> {
        let mut ingestion = self.keyspace.start_ingestion()?;
        for (path, value) in source.rows()? {
            ingestion.write(numbered_key(self.repos_count, path), &value[..])?;
        }
        ingestion.finish()?;
        self.database.persist(PersistMode::SyncAll)?;
        self.repos_count += 1;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(self.keyspace.major_compact()?)
    }

    fn prepare(&mut self, paths: &[&str], field: &Field) -> Result<()> {
        self.field = field.clone();
        let key = |path: &&str| (numbered_key(0, path), collection_end(0, path));
        self.keys = paths.iter().map(key).collect();
        Ok(())
    }

    fn get(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let value = self.keyspace.get(&self.keys[at].0)?;
        out.extend_from_slice(&value.context("no such record")?);
        Ok(())
    }

    fn get_field(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let value = self.keyspace.get(&self.keys[at].0)?;
        let value = value.context("no such record")?;
        let text = text_at(&value, &self.field.parts).context("no such field")?;
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn list_page(&mut self, at: usize, limit: usize, out: &mut Vec<u8>) -> Result<usize> {
        let (key, end) = &self.keys[at];
        let mut listed = 0;
        for row in self.keyspace.range(&key[..]..&end[..]).skip(1).take(limit) {
            let (key, value) = row.into_inner()?;
            push_listed(&key, &value, out);
            listed += 1;
        }
        Ok(listed)
    }

    fn scan_column(&mut self, least: &str) -> Result<u64> {
        let mut hits = 0;
        for row in self.keyspace.iter() {
            let (_, value) = row.into_inner()?;
            let text = text_at(&value, &self.field.parts);
            hits += u64::from(text.is_some_and(|text| text >= least));
        }
        Ok(hits)
    }

    fn bytes_on_disk(&self) -> Result<OnDisk> {
        on_disk(&self.folder, &|_| true)
    }
}
