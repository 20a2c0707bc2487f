//! [`Model`]: what a store must hold, and reading all of it back through the store's own calls.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use carrack_schema::limits::{EXTENTS_MAX, RETENTION_HOURS, RETENTION_REVS};
use carrack_schema::{Cid, Code, Did, RecordPath};
use carrack_store::{Absence, CheckEvent, Error, Keys, Lookup, Repo, Store, Summary, Verdict};
use kit::{Edit, Order, Record, RepoSpec};

use crate::operation::HANDLE;
use crate::purged::{self, Mark};
use crate::{HOUR, START};

/// Where a repo that is not empty has a record with a mark of its own.
pub(crate) const MARKED: &str = "com.example.marked/self";

/// A revision of a repo, with its export.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) repo: kit::Repo,
    /// As the reference PDS gives it, to be imported.
    pub(crate) car: Vec<u8>,
    /// Its blocks.
    cids: HashSet<Cid>,
    /// As the store must give it back.
    pub(crate) export: Vec<u8>,
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
        let extra = match records {
            0 => Vec::new(),
            _ => vec![(MARKED.to_owned(), marked(seed))],
        };
        let spec = RepoSpec {
            records,
            seed,
            extra,
            ..RepoSpec::default()
        };
        Self::new(spec.build())
    }

    /// Returns a later revision in which the record with the mark is another one.
    pub(crate) fn remarked(&self, seed: u64) -> Arc<Self> {
        let edit = Edit::Put(MARKED.to_owned(), marked(seed));
        Self::new(self.repo.next_version(&[edit]))
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

/// Returns the block of a record that says something nobody else says.
fn marked(seed: u64) -> Vec<u8> {
    let number = kit::rng::Rng::new(seed ^ 0x6d61_726b).next_u64();
    let text = format!("a mark {number:016x}");
    let length = u8::try_from(text.len()).expect("it is short");
    [b"\xa1\x64text\x78", &[length][..], text.as_bytes()].concat()
}

/// A path, and the block that nobody may see there.
pub(crate) type Deleted = BTreeSet<(String, Cid)>;

/// A revision as the store must have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revision {
    pub(crate) version: Arc<Version>,
    /// Bytes of the CAR it came from.
    pub(crate) bytes_in: u64,
    /// Whether the signature was checked.
    pub(crate) verified: bool,
    /// When it was imported.
    pub(crate) imported: i64,
}

impl Revision {
    /// Returns the records that may be seen.
    pub(crate) fn visible<'a>(
        &'a self,
        deleted: &'a Deleted,
    ) -> impl Iterator<Item = &'a Record> + 'a {
        let records = self.version.repo.records.iter();
        records.filter(|record| !is_deleted(deleted, record))
    }
}

fn is_deleted(deleted: &Deleted, record: &Record) -> bool {
    !deleted.is_empty() && deleted.contains(&(record.path.clone(), record.cid))
}

/// A repo as the store must have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored {
    /// All that were imported, newest first; the older ones may be gone.
    pub(crate) revisions: Vec<Revision>,
    pub(crate) status: String,
    pub(crate) handle: String,
    pub(crate) deleted: Deleted,
}

impl Stored {
    pub(crate) fn head(&self) -> &Revision {
        self.revisions
            .first()
            .expect("a stored repo has a revision")
    }

    /// Returns how many revisions can be read: the newest few, and the young.
    pub(crate) fn retained(&self, now: i64) -> usize {
        let since = now - i64::from(RETENTION_HOURS) * HOUR;
        let young = self
            .revisions
            .iter()
            .rposition(|each| each.imported > since);
        let most = self.revisions.len().min(EXTENTS_MAX);
        RETENTION_REVS.max(young.map_or(0, |at| at + 1)).min(most)
    }
}

/// All that a store must hold, and must not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) repos: BTreeMap<Did, Stored>,
    pub(crate) handles: BTreeMap<String, Did>,
    /// Marks of records that were deleted, and until when they must be off the disk.
    pub(crate) pending: BTreeMap<Mark, i64>,
    /// Marks that must be nowhere.
    pub(crate) gone: BTreeSet<Mark>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            now: START,
            repos: BTreeMap::new(),
            handles: BTreeMap::new(),
            pending: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }
}

/// Which errors may stand in for an answer: those about a repo, or about none in particular.
pub(crate) type Tolerance<'a> = &'a dyn Fn(Option<&Did>, Code) -> bool;

/// Takes no error for an answer.
pub(crate) const STRICT: Tolerance<'static> = &|_, _| false;

impl Model {
    /// Returns how many segments there may be: one for each revision that was imported, as older ones stay while newer
    /// ones are made of them.
    pub(crate) fn segments_max(&self) -> usize {
        self.repos
            .values()
            .map(|stored| stored.revisions.len())
            .sum()
    }

    /// Takes note that a record was deleted.
    pub(crate) fn delete_mark(&mut self, record: &[u8], by: i64) {
        if let Some(mark) = purged::mark(record)
            && !self.gone.contains(&mark)
        {
            self.pending.entry(mark).or_insert(by);
        }
    }

    /// Takes note that what must be off the disk by some time is.
    pub(crate) fn purge(&mut self, is_due: impl Fn(i64) -> bool) {
        let due = self.pending.extract_if(.., |_, by| is_due(*by));
        self.gone.extend(due.map(|(mark, _)| mark));
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
                    Some((did, stored)) if *did == summary.did => {
                        same_summary(summary, stored, stored.head())?
                    }
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
        let repos = || self.model.repos.values();
        let records: usize = repos()
            .map(|stored| stored.head().visible(&stored.deleted).count())
            .sum();
        let bytes_in: u64 = repos().map(|stored| stored.head().bytes_in).sum();
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
            if let Some(found) =
                self.answer("resolve", None, self.store.resolve(&name, |_| true))?
            {
                same("resolve", &found, did)?;
            }
        }
        if self.model.handles.is_empty() {
            let name = HANDLE.parse().expect("the kit's handles are handles");
            self.refusal(
                "resolve",
                None,
                self.store.resolve(&name, |_| true),
                Code::UnknownHandle,
            )?;
        }
        Ok(())
    }

    fn repo(&mut self, did: &Did, stored: &Stored) -> Result<(), String> {
        let retained = stored.retained(self.model.now);
        for (at, revision) in stored.revisions.iter().enumerate() {
            let rev = revision.version.repo.rev;
            let found = match at {
                0 => self.store.repo(did),
                _ => self.store.repo_at(did, rev),
            };
            let found = match at < retained || !stored.status.is_empty() {
                true => self.answer("repo", Some(did), found)?,
                false => {
                    self.refusal("repo", Some(did), found.map(|_| ()), Code::RevNotRetained)?;
                    None
                }
            };
            match found {
                None => {}
                Some(Ok(_)) if !stored.status.is_empty() => {
                    return Err(format!("{did} is {} and not hidden", stored.status));
                }
                Some(Ok(repo)) => {
                    let mut rows = RepoReading {
                        reading: self,
                        did,
                        repo: &repo,
                        stored,
                        revision,
                    };
                    rows.all()
                        .map_err(|wrong| format!("{did} at {rev}: {wrong}"))?;
                }
                Some(Err(Absence::Inactive)) if !stored.status.is_empty() => {}
                Some(Err(absence)) => return Err(format!("{did} at {rev} is {absence:?}")),
            }
        }
        Ok(())
    }

    /// Takes only this refusal for an answer, or an error that is tolerated.
    fn refusal<T>(
        &mut self,
        call: &str,
        did: Option<&Did>,
        result: Result<T, Error>,
        code: Code,
    ) -> Result<(), String> {
        match result {
            Err(error) if error.code() == code => Ok(()),
            result => match self.answer(call, did, result)? {
                None => Ok(()),
                Some(_) => Err(format!("{call} is answered and not {code}")),
            },
        }
    }
}

/// Reads a repo at one revision.
struct RepoReading<'a, 'b> {
    reading: &'a mut Reading<'b>,
    did: &'a Did,
    repo: &'a Repo,
    stored: &'a Stored,
    revision: &'a Revision,
}

impl RepoReading<'_, '_> {
    fn all(&mut self) -> Result<(), String> {
        same_summary(self.repo.summary(), self.stored, self.revision)?;
        self.collections()?;
        self.rows()?;
        self.records()?;
        self.export()?;
        self.proofs()
    }

    fn answer<T>(&mut self, call: &str, result: Result<T, Error>) -> Result<Option<T>, String> {
        self.reading.answer(call, Some(self.did), result)
    }

    fn refusal<T>(&mut self, call: &str, result: Result<T, Error>) -> Result<(), String> {
        let code = Code::Incomplete;
        self.reading.refusal(call, Some(self.did), result, code)
    }

    fn visible(&self) -> Vec<&Record> {
        self.revision.visible(&self.stored.deleted).collect()
    }

    fn collections(&mut self) -> Result<(), String> {
        let Some(found) = self.answer("collections", self.repo.collections())? else {
            return Ok(());
        };
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for record in self.visible() {
            let collection = record.path.split('/').next().unwrap_or_default();
            *expected.entry(collection).or_default() += 1;
        }
        let mut found: Vec<_> = found.iter().map(|c| (&*c.nsid, c.records)).collect();
        found.sort_unstable();
        same("collections", found, expected.into_iter().collect())
    }

    fn rows(&mut self) -> Result<(), String> {
        let repo = self.repo;
        let rows = self.answer("rows", repo.rows(&Keys::default()))?;
        let Some(rows) = rows.flatten() else {
            return Ok(());
        };
        let (stored, revision) = (self.stored, self.revision);
        same("rows", rows.len(), self.visible().len())?;
        for (row, expected) in repo.read(rows).zip(revision.visible(&stored.deleted)) {
            let Some(row) = self.answer("row", row)? else {
                continue;
            };
            same(
                "row",
                format!("{}/{}", row.collection, row.rkey),
                expected.path.clone(),
            )?;
            if let Some(cid) = self.answer("cid", row.cid())? {
                same("cid", cid, expected.cid)?;
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<(), String> {
        for expected in &self.revision.version.repo.records {
            let path = path(expected);
            let is_deleted = is_deleted(&self.stored.deleted, expected);
            match self.answer("record", self.repo.record(&path))? {
                None => {}
                Some(Lookup::Found(_)) if is_deleted => {
                    return Err(format!("{path} is deleted and can be seen"));
                }
                Some(Lookup::Found(record)) => {
                    if let Some(bytes) = self.answer("bytes", record.bytes())? {
                        same("bytes", &*bytes, &*expected.bytes)?;
                    }
                }
                Some(_) if is_deleted => {}
                Some(other) => return Err(format!("{path}: {other:?}")),
            }
        }
        let absent: RecordPath = "com.example.nothing/self".parse().expect("it is a path");
        match self.answer("record", self.repo.record(&absent))? {
            Some(Lookup::Found(_)) => Err("there is a record nobody wrote".into()),
            _ => Ok(()),
        }
    }

    fn export(&mut self) -> Result<(), String> {
        let mut car = Vec::new();
        let exported = self.repo.export(&mut car);
        let version = &self.revision.version;
        if self.visible().len() < version.repo.records.len() {
            self.refusal("export", exported)?;
            return same("bytes of a refused export", car.len(), 0);
        }
        match self.answer("export", exported)? {
            Some(_) if car != version.export => {
                Err(format!("the export has {} wrong bytes", car.len()))
            }
            _ => Ok(()),
        }
    }

    /// One record is proven, and none that is deleted.
    fn proofs(&mut self) -> Result<(), String> {
        if let Some(record) = self.visible().first() {
            let path = path(record);
            let proof = self.repo.prove(&path, &mut Vec::new());
            if let Some(false) = self.answer("proof", proof)?.map(|proof| proof.present) {
                return Err(format!("{path} is proven absent"));
            }
        }
        let records = &self.revision.version.repo.records;
        for record in records
            .iter()
            .filter(|each| is_deleted(&self.stored.deleted, each))
        {
            let proof = self.repo.prove(&path(record), &mut Vec::new());
            self.refusal("proof", proof)?;
        }
        Ok(())
    }
}

fn path(record: &Record) -> RecordPath {
    record.path.parse().expect("the kit's paths are paths")
}

fn same_summary(summary: &Summary, stored: &Stored, revision: &Revision) -> Result<(), String> {
    let verified = matches!(summary.verdict, Verdict::Valid { .. });
    let repo = &revision.version.repo;
    let visible = revision.visible(&stored.deleted).count();
    let hidden = repo.records.len() - visible;
    same("did", &summary.did, &repo.did)?;
    same("rev", summary.rev, Some(repo.rev))?;
    same("commit", summary.commit, repo.commit_cid)?;
    same("records", summary.records, visible as u64)?;
    same("deleted", summary.deleted, hidden as u64)?;
    same("missing", summary.missing, 0)?;
    same("bytes in", summary.bytes_in, revision.bytes_in)?;
    same("imported", summary.imported, revision.imported)?;
    same("status", summary.status.as_str(), &*stored.status)?;
    same("handle", &summary.handle, &stored.handle)?;
    same("verdict", verified, revision.verified)
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
