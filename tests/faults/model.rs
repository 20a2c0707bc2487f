//! [`Model`]: what a store must hold, and reading all of it back through the store's own calls.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use carrack_schema::{Cid, Code, Did, RecordPath};
use carrack_store::{Absence, CheckEvent, Error, Keys, Lookup, Repo, Store, Summary, Verdict};
use kit::{Order, RepoSpec};

/// A revision of a repo, with its export.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) repo: kit::Repo,
    /// As the reference PDS gives it, to be imported.
    pub(crate) car: Vec<u8>,
    /// Its blocks.
    cids: HashSet<Cid>,
    /// As the store must give it back.
    export: Vec<u8>,
}

impl Version {
    pub(crate) fn new(repo: kit::Repo) -> Arc<Self> {
        Arc::new(Self {
            car: repo.car(Order::Pds),
            cids: repo.blocks().iter().map(|block| block.cid).collect(),
            export: repo.car(Order::PreOrder),
            repo,
        })
    }

    pub(crate) fn first(records: usize, seed: u64) -> Arc<Self> {
        let spec = RepoSpec {
            records,
            seed,
            ..RepoSpec::default()
        };
        Self::new(spec.build())
    }

    /// Returns a later revision, some records of which are added, changed and gone.
    pub(crate) fn next(&self, seed: u64) -> Arc<Self> {
        let few = self.repo.records.len().min(3);
        let changes = kit::Changes {
            added: 3,
            changed: few / 2,
            deleted: few.div_ceil(2),
        };
        let edits = self.repo.random_edits(seed, changes);
        Self::new(self.repo.next_version(&edits))
    }
}

impl Version {
    /// Says whether a CAR holds all of it, together with an older version.
    pub(crate) fn is_whole(&self, car: &[u8], older: Option<&Self>) -> bool {
        let car: HashSet<Cid> = kit::car::blocks(car)
            .iter()
            .map(|block| block.cid)
            .collect();
        let is_held = |cid| car.contains(cid) || older.is_some_and(|old| old.cids.contains(cid));
        self.cids.iter().all(is_held)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.repo.commit_cid == other.repo.commit_cid
    }
}

/// A repo as the store must have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) version: Arc<Version>,
    /// Bytes of the CAR it came from.
    pub(crate) bytes_in: u64,
    pub(crate) status: String,
    pub(crate) handle: String,
    /// Whether the signature was checked.
    pub(crate) verified: bool,
    /// Revisions imported, this one among them.
    pub(crate) revisions: usize,
}

/// All that a store must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) repos: BTreeMap<Did, Stored>,
    pub(crate) handles: BTreeMap<String, Did>,
}

/// Which errors may stand in for an answer: those about a repo, or about none in particular.
pub(crate) type Tolerance<'a> = &'a dyn Fn(Option<&Did>, Code) -> bool;

/// Takes no error for an answer.
pub(crate) const STRICT: Tolerance<'static> = &|_, _| false;

impl Model {
    /// Returns how many revisions of all repos were imported.
    pub(crate) fn revisions(&self) -> usize {
        self.repos.values().map(|stored| stored.revisions).sum()
    }

    /// Asks the store for everything. Each answer must be right, or an error that is tolerated; returns how many of those
    /// there were.
    ///
    /// # Errors
    /// The first wrong answer, or error that is not tolerated, in words.
    pub(crate) fn compare(&self, store: &Store, tolerance: Tolerance<'_>) -> Result<usize, String> {
        let mut reading = Reading {
            model: self,
            store,
            tolerance,
            errors: 0,
        };
        reading.listing()?;
        reading.stats()?;
        reading.handles()?;
        for (did, stored) in &self.repos {
            reading.repo(did, stored)?;
        }
        reading.check()?;
        let unknown: Did = "did:web:nobody.example".parse().expect("it is a DID");
        if let Some(Ok(_) | Err(Absence::Inactive)) =
            reading.answer("repo", None, store.repo(&unknown))?
        {
            return Err("there is a repo that nobody imported".into());
        }
        Ok(reading.errors)
    }
}

struct Reading<'a> {
    model: &'a Model,
    store: &'a Store,
    tolerance: Tolerance<'a>,
    errors: usize,
}

impl Reading<'_> {
    fn answer<T>(
        &mut self,
        call: &str,
        did: Option<&Did>,
        result: Result<T, Error>,
    ) -> Result<Option<T>, String> {
        match result {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if (self.tolerance)(did, error.code()) => {
                self.errors += 1;
                Ok(None)
            }
            Err(error) => {
                let of = did.map(|did| format!(" of {did}")).unwrap_or_default();
                Err(format!("{call}{of}: {}: {}", error.code(), error.chain()))
            }
        }
    }

    fn listing(&mut self) -> Result<(), String> {
        let mut after = String::new();
        let mut expected = self.model.repos.iter();
        loop {
            let Some((page, more)) = self.answer("repos", None, self.store.repos(&after, 2))?
            else {
                return Ok(());
            };
            for summary in &page {
                match expected.next() {
                    Some((did, stored)) if *did == summary.did => same_summary(summary, stored)?,
                    other => {
                        let due = other.map(|(did, _)| did);
                        return Err(format!("repos lists {}, due is {due:?}", summary.did));
                    }
                }
            }
            match page.last() {
                Some(last) if more => after = last.did.to_string(),
                _ => break,
            }
        }
        match expected.next() {
            None => Ok(()),
            Some((did, _)) => Err(format!("repos leaves out {did}")),
        }
    }

    fn stats(&mut self) -> Result<(), String> {
        let Some(stats) = self.answer("stats", None, self.store.stats())? else {
            return Ok(());
        };
        let repos = self.model.repos.values();
        let records: usize = repos.map(|stored| stored.version.repo.records.len()).sum();
        let bytes_in: u64 = self
            .model
            .repos
            .values()
            .map(|stored| stored.bytes_in)
            .sum();
        let expected = (self.model.repos.len() as u64, records as u64, bytes_in);
        same(
            "stats",
            (stats.repos, stats.records, stats.bytes_in),
            expected,
        )
    }

    /// Lets the store check itself: what it finds must be of those whose damage is tolerated.
    fn check(&mut self) -> Result<(), String> {
        let mut findings = Vec::new();
        let checked = self.store.check(false, &mut |event| {
            if let CheckEvent::Found(finding) = event {
                findings.push(finding);
            }
            true
        });
        self.answer("check", None, checked)?;
        let is_tolerated = |did: Option<&Did>| (self.tolerance)(did, Code::Damaged);
        for finding in findings {
            let of_them = || finding.repos.iter().all(|did| is_tolerated(Some(did)));
            if !is_tolerated(None) && (finding.repos.is_empty() || !of_them()) {
                return Err(format!("check found {finding:?}"));
            }
        }
        Ok(())
    }

    fn handles(&mut self) -> Result<(), String> {
        for (handle, did) in &self.model.handles {
            let name = handle.parse().expect("the kit's handles are handles");
            if let Some(found) = self.answer("resolve", None, self.store.resolve(&name))? {
                same("resolve", &found, did)?;
            }
        }
        Ok(())
    }

    fn repo(&mut self, did: &Did, stored: &Stored) -> Result<(), String> {
        let found = self.answer("repo", Some(did), self.store.repo(did))?;
        let repo = match found {
            None => return Ok(()),
            Some(Ok(_)) if !stored.status.is_empty() => {
                return Err(format!("{did} is {} and not hidden", stored.status));
            }
            Some(Ok(repo)) => repo,
            Some(Err(Absence::Inactive)) if !stored.status.is_empty() => return Ok(()),
            Some(Err(absence)) => return Err(format!("{did} is {absence:?}")),
        };
        same_summary(repo.summary(), stored)?;
        self.collections(did, &repo, stored)?;
        self.rows(did, &repo, stored)?;
        self.records(did, &repo, stored)?;
        self.export(did, &repo, stored)?;
        self.proof(did, &repo, stored)
    }

    fn collections(&mut self, did: &Did, repo: &Repo, stored: &Stored) -> Result<(), String> {
        let Some(found) = self.answer("collections", Some(did), repo.collections())? else {
            return Ok(());
        };
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for record in &stored.version.repo.records {
            let collection = record.path.split('/').next().unwrap_or_default();
            *expected.entry(collection).or_default() += 1;
        }
        let mut found: Vec<_> = found.iter().map(|c| (&*c.nsid, c.records)).collect();
        found.sort_unstable();
        same("collections", found, expected.into_iter().collect())
    }

    fn rows(&mut self, did: &Did, repo: &Repo, stored: &Stored) -> Result<(), String> {
        let rows = self.answer("rows", Some(did), repo.rows(&Keys::default()))?;
        let Some(rows) = rows.flatten() else {
            return Ok(());
        };
        same("rows", rows.len(), stored.version.repo.records.len())?;
        for (row, expected) in repo.read(rows).zip(&stored.version.repo.records) {
            let Some(row) = self.answer("row", Some(did), row)? else {
                continue;
            };
            same(
                "row",
                format!("{}/{}", row.collection, row.rkey),
                expected.path.clone(),
            )?;
            if let Some(cid) = self.answer("cid", Some(did), row.cid())? {
                same("cid", cid, expected.cid)?;
            }
        }
        Ok(())
    }

    fn records(&mut self, did: &Did, repo: &Repo, stored: &Stored) -> Result<(), String> {
        for expected in &stored.version.repo.records {
            let path: RecordPath = expected.path.parse().expect("the kit's paths are paths");
            match self.answer("record", Some(did), repo.record(&path))? {
                None => {}
                Some(Lookup::Found(record)) => {
                    if let Some(bytes) = self.answer("bytes", Some(did), record.bytes())? {
                        same("bytes", &*bytes, &*expected.bytes)?;
                    }
                }
                Some(other) => return Err(format!("{did}/{path}: {other:?}")),
            }
        }
        let absent: RecordPath = "com.example.nothing/self".parse().expect("it is a path");
        match self.answer("record", Some(did), repo.record(&absent))? {
            Some(Lookup::Found(_)) => Err(format!("{did} has a record nobody wrote")),
            _ => Ok(()),
        }
    }

    fn export(&mut self, did: &Did, repo: &Repo, stored: &Stored) -> Result<(), String> {
        let mut car = Vec::new();
        let exported = repo.export(&mut car);
        match self.answer("export", Some(did), exported)? {
            Some(_) if car != stored.version.export => {
                Err(format!("the export of {did} has {} wrong bytes", car.len()))
            }
            _ => Ok(()),
        }
    }

    fn proof(&mut self, did: &Did, repo: &Repo, stored: &Stored) -> Result<(), String> {
        let Some(record) = stored.version.repo.records.first() else {
            return Ok(());
        };
        let path: RecordPath = record.path.parse().expect("the kit's paths are paths");
        let proof = repo.prove(&path, &mut Vec::new());
        match self.answer("proof", Some(did), proof)? {
            Some(proof) if !proof.present => Err(format!("{did}/{path} is proven absent")),
            _ => Ok(()),
        }
    }
}

fn same_summary(summary: &Summary, stored: &Stored) -> Result<(), String> {
    let verified = matches!(summary.verdict, Verdict::Valid { .. });
    let repo = &stored.version.repo;
    same("did", &summary.did, &repo.did)?;
    same("rev", summary.rev, Some(repo.rev))?;
    same("commit", summary.commit, repo.commit_cid)?;
    same("records", summary.records, repo.records.len() as u64)?;
    same("missing", summary.missing, 0)?;
    same("bytes in", summary.bytes_in, stored.bytes_in)?;
    same("status", summary.status.as_str(), &*stored.status)?;
    same("handle", &summary.handle, &stored.handle)?;
    same("verdict", verified, stored.verified)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let short = |value: T| {
        let mut text = format!("{value:?}");
        if text.len() > 200 {
            text.truncate(text.floor_char_boundary(200));
            text.push('…');
        }
        text
    };
    Err(format!(
        "{what} is {}, not {}",
        short(found),
        short(expected)
    ))
}
