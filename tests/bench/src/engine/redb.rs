//! redb: one table, repo number and path → DAG-CBOR.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipld_core::ipld::Ipld;
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use super::{Engine, OnDisk, collection_end, numbered_key, on_disk, push_listed};
use crate::field::{Field, text_at};
use crate::source::Source;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Enough that all the records of a measurement stay in it.
const CACHE_BYTES: usize = 1 << 30;

/// How a field is taken out of a record.
#[derive(Clone, Copy)]
pub(crate) enum Decoder {
    /// Our CBOR reader, skipping to the field.
    Reader,
    /// `serde_ipld_dagcbor`, the whole record.
    Ipld,
}

/// A redb database.
pub(crate) struct Redb {
    folder: PathBuf,
    database: Database,
    decoder: Decoder,
    repos_count: u32,
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    keys: Vec<(Vec<u8>, Vec<u8>)>,
    field: Field,
}

impl Redb {
    /// Makes an empty database.
    pub(crate) fn create(folder: &Path, decoder: Decoder) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(folder.join("records.redb"))?;
        Ok(Self {
            folder: folder.to_owned(),
            database,
            decoder,
            repos_count: 0,
            table: None,
            keys: Vec::new(),
            field: Field::new(""),
        })
    }

    fn table(&self) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        self.table.as_ref().context("no keys were prepared")
    }
}

impl Engine for Redb {
    fn import(&mut self, source: &Source) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (path, value) in source.rows()? {
                table.insert(&numbered_key(self.repos_count, path)[..], &value[..])?;
            }
        }
        transaction.commit()?;
        self.repos_count += 1;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.table = None;
        self.database.compact()?;
        Ok(())
    }

    fn prepare(&mut self, paths: &[&str], field: &Field) -> Result<()> {
        self.table = Some(self.database.begin_read()?.open_table(RECORDS)?);
        self.field = field.clone();
        let key = |path: &&str| (numbered_key(0, path), collection_end(0, path));
        self.keys = paths.iter().map(key).collect();
        Ok(())
    }

    fn get(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let value = self.table()?.get(&self.keys[at].0[..])?;
        out.extend_from_slice(value.context("no such record")?.value());
        Ok(())
    }

    fn get_field(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let value = self.table()?.get(&self.keys[at].0[..])?;
        let value = value.context("no such record")?;
        match self.decoder {
            Decoder::Reader => {
                let text = text_at(value.value(), &self.field.parts);
                out.extend_from_slice(text.context("no such field")?.as_bytes());
            }
            Decoder::Ipld => {
                let record: Ipld = serde_ipld_dagcbor::from_slice(value.value())?;
                let part = |value, part: &String| match value {
                    Some(Ipld::Map(mut map)) => map.remove(part),
                    _ => None,
                };
                match self.field.parts.iter().fold(Some(record), part) {
                    Some(Ipld::String(text)) => out.extend_from_slice(text.as_bytes()),
                    _ => anyhow::bail!("no such field"),
                }
            }
        }
        Ok(())
    }

    fn list_page(&mut self, at: usize, limit: usize, out: &mut Vec<u8>) -> Result<usize> {
        let (key, end) = &self.keys[at];
        let mut listed = 0;
        // The range begins with the prepared key itself, which was listed before.
        for row in self.table()?.range(&key[..]..&end[..])?.skip(1).take(limit) {
            let (key, value) = row?;
            push_listed(key.value(), value.value(), out);
            listed += 1;
        }
        Ok(listed)
    }

    fn scan_column(&mut self, least: &str) -> Result<u64> {
        let mut hits = 0;
        for row in self.table()?.range::<&[u8]>(..)? {
            let text = row?;
            let text = text_at(text.1.value(), &self.field.parts).map(|text| text >= least);
            hits += u64::from(text == Some(true));
        }
        Ok(hits)
    }

    fn bytes_on_disk(&self) -> Result<OnDisk> {
        on_disk(&self.folder, &|_| true)
    }
}
