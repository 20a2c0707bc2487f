//! Our store, in process.
//!
//! [`settle`], [`chill`], [`field`] and [`scan`] are where the bench meets its abilities: each is the one place to change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use carrack_schema::limits::IMPORTS_MAX;
use carrack_schema::{Did, Nsid, RecordPath};
use carrack_segment::directory::fs::Fs;
use carrack_store::{ImportRequest, Keys, Lookup, Outcome, Repo, Store, SystemClock, TimeForm};

use super::{Engine, OnDisk, on_disk};
use crate::field::Field;
use crate::source::Source;

/// Our store.
pub(crate) struct Carrack {
    folder: PathBuf,
    store: Store,
    first: Option<Did>,
    repo: Option<Repo>,
    keys: Vec<(RecordPath, Nsid)>,
    field: Field,
}

/// Opens the store in a folder, or makes one.
pub(crate) fn opened_in(folder: &Path) -> Result<Store> {
    Ok(Store::open(
        Arc::new(Fs::open(folder)?),
        Arc::new(SystemClock),
    )?)
}

/// Does at once what the store does in the background: small segments are merged.
fn settle(store: &Store) -> Result<()> {
    Ok(store.merge_all()?)
}

/// Compacts everything to the cold form.
fn chill(store: &Store) -> Result<()> {
    Ok(store.compact(true, None)?)
}

/// Appends one field of a record, which is not made for it.
fn field(repo: &Repo, path: &RecordPath, field: &Field, out: &mut Vec<u8>) -> Result<()> {
    let Lookup::Found(record) = repo.record(path)? else {
        bail!("no record under a path that was imported");
    };
    let mut found = false;
    record.fields(&field.path, |value| found |= value.write_text(out))?;
    anyhow::ensure!(found, "a record lacks the field");
    Ok(())
}

/// A bound of a scan: as text, and as the time that it is with a `Z` behind it, in microseconds. Texts of times sort
/// above such a bound just where the times are not below it.
struct Least<'a> {
    text: &'a str,
    micros: Option<i64>,
}

/// Whether a value is a text that is `least` or above.
fn is_at_least(value: &carrack_store::Field<'_>, least: &Least<'_>) -> bool {
    match (value, least.micros) {
        (carrack_store::Field::Time(form, value), Some(least)) => form.micros(*value) >= least,
        _ => value
            .text()
            .is_some_and(|text| *text >= *least.text.as_bytes()),
    }
}

/// Counts the records of the repo whose field is `least` or above.
fn scan(repo: &Repo, field: &Field, least: &str) -> Result<u64> {
    let least = Least {
        text: least,
        micros: TimeForm::parse(&format!("{least}Z")).map(|(form, value)| form.micros(value)),
    };
    let rows = repo.rows(&Keys::default())?.context("the repo is gone")?;
    let found = repo.scan(&rows, &field.path, |value| is_at_least(value, &least))?;
    Ok(found.len() as u64)
}

impl Carrack {
    /// Opens the store in a folder, or makes one.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            store: opened_in(folder)?,
            first: None,
            repo: None,
            keys: Vec::new(),
            field: Field::new(""),
        })
    }

    /// Reads from now on from this repo, which was imported by another process.
    pub(crate) fn read_from(&mut self, did: Did) {
        self.first = Some(did);
    }

    fn repo(&self) -> Result<&Repo> {
        self.repo.as_ref().context("no keys were prepared")
    }
}

fn import(store: &Store, source: &Source) -> Result<Did> {
    let request = ImportRequest {
        size: Some(source.bytes()),
        ..ImportRequest::default()
    };
    match store.import(source.open()?, &request, |_| {})? {
        Outcome::Imported(report) => Ok(report.summary.did),
        Outcome::Unchanged(report) => bail!("{} was there already", report.summary.did),
    }
}

impl Engine for Carrack {
    fn import(&mut self, source: &Source) -> Result<()> {
        let did = import(&self.store, source)?;
        self.first.get_or_insert(did);
        Ok(())
    }

    fn import_all(&mut self, sources: &[Source]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                import(&self.store, source)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..IMPORTS_MAX).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("an import does not panic"))
        })
    }

    fn settle(&mut self) -> Result<()> {
        settle(&self.store)
    }

    fn chill(&mut self) -> Result<bool> {
        chill(&self.store)?;
        Ok(true)
    }

    fn prepare(&mut self, paths: &[&str], field: &Field) -> Result<()> {
        let did = self.first.as_ref().context("nothing was imported")?;
        let repo = self.store.repo(did)?;
        self.repo = Some(repo.ok().context("the imported repo is absent")?);
        self.field = field.clone();
        let key = |path: &&str| -> Result<_> {
            let path: RecordPath = path.parse()?;
            let collection = path.collection.clone();
            Ok((path, collection))
        };
        self.keys = paths.iter().map(key).collect::<Result<_>>()?;
        Ok(())
    }

    fn get(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let Lookup::Found(record) = self.repo()?.record(&self.keys[at].0)? else {
            bail!("no record under a path that was imported");
        };
        out.extend_from_slice(&record.bytes()?);
        Ok(())
    }

    fn get_field(&mut self, at: usize, out: &mut Vec<u8>) -> Result<()> {
        field(self.repo()?, &self.keys[at].0, &self.field, out)
    }

    fn list_page(&mut self, at: usize, limit: usize, out: &mut Vec<u8>) -> Result<usize> {
        let repo = self.repo()?;
        let (path, collection) = &self.keys[at];
        let keys = Keys {
            collection: Some(collection),
            after: Some(path.rkey.as_str()),
            ..Keys::default()
        };
        let rows = repo.rows(&keys)?.context("a collection is gone")?;
        let mut listed = 0;
        for record in repo.read(rows).take(limit) {
            let record = record?;
            out.extend_from_slice(record.rkey.as_bytes());
            out.extend_from_slice(&record.bytes()?);
            listed += 1;
        }
        Ok(listed)
    }

    fn scan_column(&mut self, least: &str) -> Result<u64> {
        scan(self.repo()?, &self.field, least)
    }

    fn bytes_on_disk(&self) -> Result<OnDisk> {
        on_disk(&self.folder, &|name| name.ends_with(".cseg"))
    }
}
