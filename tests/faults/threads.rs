//! Real threads on one store: importers, a merger, a deleter, and readers that hold snapshots. Every read is right for
//! its snapshot, and at the end all that was acknowledged is there; also after a crash in the middle of it.
//!
//! What each thread asks is seeded, how they meet is not. `CARRACK_SEED` and `CARRACK_ROUNDS` as for the histories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carrack_schema::{Cid, Code, Did, RecordPath};
use carrack_segment::directory::faulty::{Fault, Faulty, Plan, Span};
use carrack_segment::directory::mem::Mem;
use carrack_store::{Absence, Error, Keys, Lookup, Repo};
use kit::rng::Rng;

use crate::model::{Model, STRICT, Version};
use crate::operation::Operation;
use crate::report::Report;
use crate::worlds::{DISK_CODES, Worlds};
use crate::{Opened, START, Sizes, crash, number, open, takes_all};

const IMPORTERS: usize = 3;
const READERS: usize = 2;
/// Repos of each importer.
const REPOS: usize = 2;
/// Revisions of each of them.
const REVISIONS: usize = 8;
/// How often the deleter's own repo comes and goes.
const COMINGS: usize = 8;
/// How often what the store is too busy for is asked.
const ATTEMPTS: usize = 1_000;
/// Snapshots that a reader holds.
const HELD: usize = 4;

const SIZES: Sizes = Sizes {
    memory: 3_000,
    segment: 30_000,
};

#[test]
fn threads_on_one_store_lose_nothing_and_read_nothing_wrong() {
    let mut report = Report::new("threads");
    let first = number("CARRACK_SEED", 1);
    let rounds = number("CARRACK_ROUNDS", if takes_all() { 100 } else { 6 });
    for seed in first..first + rounds {
        let label = format!("CARRACK_SEED={seed} CARRACK_ROUNDS=1");
        report.case(&label, |report| run(seed, None, report));
        // A round takes about so many steps.
        let at = Rng::new(seed).index(2_000);
        report.case(&format!("{label}, crash at step {at}"), |report| {
            run(seed, Some(at), report)
        });
    }
    report.finish();
}

/// A repo that is imported, revision by revision.
struct Shared {
    did: Did,
    versions: Vec<Arc<Version>>,
    /// Records that are the same in all revisions, and so may be deleted at any time.
    lasting: Vec<(String, Cid)>,
    /// Revisions whose import was begun, and those of which it was acknowledged.
    begun: AtomicUsize,
    acknowledged: AtomicUsize,
    /// Records whose deletion was begun, and those of which it was acknowledged.
    deleting: Mutex<BTreeSet<String>>,
    deleted: Mutex<BTreeSet<String>>,
}

impl Shared {
    fn new(records: usize, seed: u64) -> Self {
        let mut versions = vec![Version::first(records, seed)];
        while versions.len() < REVISIONS {
            let next = versions[versions.len() - 1].next(seed);
            versions.push(next);
        }
        let pairs = |version: &Arc<Version>| -> BTreeSet<(String, Cid)> {
            let records = version.repo.records.iter();
            records.map(|each| (each.path.clone(), each.cid)).collect()
        };
        let lasting = versions.iter().map(pairs).reduce(|a, b| &a & &b);
        Self {
            did: versions[0].repo.did.clone(),
            lasting: lasting.unwrap_or_default().into_iter().collect(),
            versions,
            begun: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            deleting: Mutex::default(),
            deleted: Mutex::default(),
        }
    }
}

/// What all threads see.
struct World {
    store: Opened,
    repos: Vec<Shared>,
    /// The repo that is deleted as a whole.
    guest: Vec<Arc<Version>>,
    /// Whether the disk may crash.
    may_crash: bool,
    crashed: AtomicBool,
    /// Threads that still change something.
    working: AtomicUsize,
    reads: AtomicUsize,
    merges: AtomicUsize,
}

/// What a thread had the store do: what was acknowledged, in order, and what was not.
#[derive(Default)]
struct Log {
    done: Vec<Operation>,
    cut_off: Option<Operation>,
}

fn run(seed: u64, crash_at: Option<usize>, report: &mut Report) -> Result<(), String> {
    let disk = Mem::new();
    let faulty = Faulty::new(Arc::new(disk.clone()), seed);
    let store = open(faulty.clone(), SIZES, START).map_err(|error| error.chain())?;
    if let Some(at) = crash_at {
        let at = faulty.steps() + at;
        faulty.plan(Plan {
            at,
            span: Span::Once,
            fault: Fault::Crash,
        });
    }
    let mut rng = Rng::new(seed);
    let mut guest = vec![Version::first(12, rng.next_u64())];
    for _ in 1..COMINGS {
        guest.push(guest[guest.len() - 1].remarked(rng.next_u64()));
    }
    let world = World {
        store,
        repos: (0..IMPORTERS * REPOS)
            .map(|_| Shared::new(5 + rng.index(25), rng.next_u64()))
            .collect(),
        guest,
        may_crash: crash_at.is_some(),
        crashed: AtomicBool::new(false),
        working: AtomicUsize::new(IMPORTERS + 1),
        reads: AtomicUsize::new(0),
        merges: AtomicUsize::new(0),
    };
    let logs = threads(&world, &mut rng)?;
    // It may have come where nobody minds, as at a file that is removed.
    world
        .crashed
        .fetch_or(faulty.faults() > 0, Ordering::AcqRel);
    faulty.heal();
    report.count("rounds", 1);
    report.count("reads", world.reads.load(Ordering::Relaxed));
    report.count("merges", world.merges.load(Ordering::Relaxed));
    report.count(
        "crashes",
        usize::from(world.crashed.load(Ordering::Relaxed)),
    );
    let mut models = vec![Model::default()];
    for operation in logs.iter().flat_map(|log| &log.done) {
        report.count("operations", 1);
        models = models
            .iter()
            .flat_map(|model| operation.expect(model))
            .flatten()
            .collect();
    }
    if models.is_empty() {
        return Err("an answer that no model gives".into());
    }
    for operation in logs.iter().filter_map(|log| log.cut_off.as_ref()) {
        let cut_off = |model: &Model| {
            let done = operation.expect(model).into_iter().flatten();
            [model.clone()]
                .into_iter()
                .chain(done)
                .chain(operation.expect_half(model))
                .collect::<Vec<_>>()
        };
        models = models.iter().flat_map(cut_off).collect();
    }
    let mut worlds = Worlds::of(models);
    if world.crashed.load(Ordering::Relaxed) {
        drop(world);
        return crash::recover(disk.crash(seed), worlds);
    }
    worlds.compare(&world.store, STRICT)?;
    for operation in [Operation::Merge, Operation::compact(false)] {
        let answer = worlds.run(&operation, &world.store, &[])?;
        answer.map_err(|error| error.chain())?;
        worlds.compare(&world.store, STRICT)?;
    }
    report.count("purged records", worlds.look_for_purged(&disk)?);
    drop(world);
    crash::recover(disk.crash(seed), worlds)
}

/// Runs all threads to their end.
fn threads(world: &World, rng: &mut Rng) -> Result<Vec<Log>, String> {
    std::thread::scope(|scope| {
        let mut changing = Vec::new();
        for repos in world.repos.chunks(REPOS) {
            let rng = Rng::new(rng.next_u64());
            changing
                .push(scope.spawn(move || at_work(world, |log| import(world, repos, rng, log))));
        }
        let mut seeds = [rng.next_u64(), rng.next_u64()].map(Rng::new).into_iter();
        let (deleter, merger) = (seeds.next(), seeds.next());
        let (deleter, merger) = (deleter.expect("two"), merger.expect("two"));
        changing.push(scope.spawn(move || at_work(world, |log| delete(world, deleter, log))));
        let mut others = vec![scope.spawn(move || merge(world, merger))];
        for _ in 0..READERS {
            let rng = Rng::new(rng.next_u64());
            others.push(scope.spawn(move || read(world, rng)));
        }
        let mut logs = Vec::new();
        for thread in changing {
            logs.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        for thread in others {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(logs)
    })
}

/// Runs a body that changes something. Others go on until it ends, however it does.
fn at_work(
    world: &World,
    body: impl FnOnce(&mut Log) -> Result<(), String>,
) -> Result<Log, String> {
    struct Working<'a>(&'a AtomicUsize);
    impl Drop for Working<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
    let _working = Working(&world.working);
    let mut log = Log::default();
    body(&mut log)?;
    Ok(log)
}

impl World {
    /// Asks until the store is not too busy. False if the disk crashed.
    fn ask(&self, operation: Operation, log: &mut Log) -> Result<bool, String> {
        for _ in 0..ATTEMPTS {
            let Err(error) = operation.run(&self.store) else {
                log.done.push(operation);
                return Ok(true);
            };
            if error.code() == Code::Overloaded {
                std::thread::yield_now();
                continue;
            }
            return match self.is_crash(&error) {
                true => {
                    log.cut_off = Some(operation);
                    Ok(false)
                }
                false => Err(wrong(&operation, &error)),
            };
        }
        Err(format!("{operation:?} found the store busy too often"))
    }

    fn is_crash(&self, error: &Error) -> bool {
        let is_crash = self.may_crash && DISK_CODES.contains(&error.code());
        self.crashed.fetch_or(is_crash, Ordering::AcqRel);
        is_crash
    }

    fn is_over(&self) -> bool {
        self.crashed.load(Ordering::Acquire) || self.working.load(Ordering::Acquire) == 0
    }
}

fn wrong(what: &dyn std::fmt::Debug, error: &Error) -> String {
    format!("{what:?}: {}: {}", error.code(), error.chain())
}

fn import(world: &World, repos: &[Shared], mut rng: Rng, log: &mut Log) -> Result<(), String> {
    let mut left: Vec<&Shared> = repos.iter().collect();
    while !left.is_empty() {
        let at = rng.index(left.len());
        let repo = left[at];
        let number = repo.begun.fetch_add(1, Ordering::AcqRel);
        let version = &repo.versions[number];
        let operation = match number {
            0 => Operation::import(version),
            _ if rng.chance(300) => Operation::import(version),
            _ => Operation::import_since(version, &repo.versions[number - 1]),
        };
        if !world.ask(operation, log)? {
            return Ok(());
        }
        repo.acknowledged.store(number + 1, Ordering::Release);
        if number + 1 == REVISIONS {
            left.swap_remove(at);
        }
    }
    Ok(())
}

fn delete(world: &World, mut rng: Rng, log: &mut Log) -> Result<(), String> {
    for number in 0..COMINGS {
        let version = &world.guest[number];
        if !world.ask(Operation::import(version), log)? {
            return Ok(());
        }
        for _ in 0..3 {
            let repo = rng.pick(&world.repos);
            if !repo.lasting.is_empty() && !delete_record(world, repo, &mut rng, log)? {
                return Ok(());
            }
        }
        if number + 1 < COMINGS {
            let purge = rng.chance(500);
            let operation = Operation::delete_repo(version, purge);
            if !delete_surely(world, operation, log)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn delete_record(
    world: &World,
    repo: &Shared,
    rng: &mut Rng,
    log: &mut Log,
) -> Result<bool, String> {
    let (path, _) = rng.pick(&repo.lasting);
    let is_first = repo.deleting.lock().unwrap().insert(path.clone());
    if repo.acknowledged.load(Ordering::Acquire) == 0 || !is_first {
        // There is nothing to delete yet, or no more.
        if is_first {
            repo.deleting.lock().unwrap().remove(path);
        }
        return Ok(true);
    }
    let operation = Operation::Delete {
        did: repo.did.clone(),
        path: Some(path.clone()),
        purge: rng.chance(500),
    };
    let is_done = delete_surely(world, operation, log)?;
    if is_done {
        repo.deleted.lock().unwrap().insert(path.clone());
    }
    Ok(is_done)
}

/// Deletes; a store that is too busy to purge has hidden already, and does not find it again.
fn delete_surely(world: &World, operation: Operation, log: &mut Log) -> Result<bool, String> {
    let mut was_busy = false;
    for _ in 0..ATTEMPTS {
        match operation.run(&world.store) {
            Ok(()) => {}
            Err(error) if error.code() == Code::NotFound && was_busy => {}
            Err(error) if error.code() == Code::Overloaded => {
                was_busy = true;
                continue;
            }
            Err(error) if world.is_crash(&error) => {
                log.cut_off = Some(operation);
                return Ok(false);
            }
            Err(error) => return Err(wrong(&operation, &error)),
        }
        log.done.push(match (operation, was_busy) {
            // It is hidden; when it is purged nobody knows.
            (Operation::Delete { did, path, .. }, true) => Operation::Delete {
                did,
                path,
                purge: false,
            },
            (operation, _) => operation,
        });
        return Ok(true);
    }
    Err(format!("{operation:?} found the store busy too often"))
}

fn merge(world: &World, mut rng: Rng) -> Result<(), String> {
    while !world.is_over() {
        let result = match rng.below(8) {
            0 => world.store.compact(rng.chance(500), None),
            1 => {
                let did = &rng.pick(&world.repos).did;
                world.store.compact(rng.chance(500), Some(did))
            }
            _ => world.store.merge_once().map(|_| ()),
        };
        match result {
            Ok(()) => {}
            Err(error) if error.code() == Code::NotFound => {}
            Err(error) if world.is_crash(&error) => return Ok(()),
            Err(error) => return Err(wrong(&"merge", &error)),
        }
        world.merges.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A snapshot, and what was read in it.
struct Held<'a> {
    repo: Repo,
    version: &'a Version,
    records: BTreeMap<String, Vec<u8>>,
}

fn read(world: &World, mut rng: Rng) -> Result<(), String> {
    let mut held: Vec<Held<'_>> = Vec::new();
    loop {
        let is_over = world.is_over();
        if held.len() == HELD {
            held.swap_remove(rng.index(HELD));
        }
        match read_one(world, &mut rng) {
            Ok(new) => held.extend(new),
            Err(Wrong::Error(error)) if world.is_crash(&error) => return Ok(()),
            Err(wrong) => return Err(wrong.words()),
        }
        if let Some(old) = held.get(rng.index(held.len().max(1))) {
            match old.is_as_before() {
                Ok(()) => {}
                Err(Wrong::Error(error)) if world.is_crash(&error) => return Ok(()),
                Err(wrong) => return Err(format!("in a snapshot: {}", wrong.words())),
            }
        }
        world.reads.fetch_add(1, Ordering::Relaxed);
        // Once more when all is done.
        if is_over {
            return Ok(());
        }
    }
}

/// What is wrong with a read.
enum Wrong {
    Error(Error),
    Words(String),
}

impl Wrong {
    fn words(&self) -> String {
        match self {
            Self::Error(error) => wrong(&"a read", error),
            Self::Words(words) => words.clone(),
        }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Takes a snapshot and reads all of it.
fn read_one<'a>(world: &'a World, rng: &mut Rng) -> Result<Option<Held<'a>>, Wrong> {
    let repo = rng.pick(&world.repos);
    let acknowledged = repo.acknowledged.load(Ordering::Acquire);
    let deleted = repo.deleted.lock().unwrap().clone();
    let older = (acknowledged > 0 && rng.chance(400)).then(|| rng.index(acknowledged));
    let found = match older {
        Some(number) => world
            .store
            .repo_at(&repo.did, repo.versions[number].repo.rev)?,
        None => world.store.repo(&repo.did)?,
    };
    let snapshot = match found {
        Ok(snapshot) => snapshot,
        Err(Absence::Unknown) if acknowledged == 0 => return Ok(None),
        Err(absence) => return Err(Wrong::Words(format!("{} is {absence:?}", repo.did))),
    };
    let begun = repo.begun.load(Ordering::Acquire);
    let deleting = repo.deleting.lock().unwrap().clone();
    let rev = snapshot.summary().rev;
    let is_it = |version: &Arc<Version>| Some(version.repo.rev) == rev;
    let number = repo.versions.iter().position(is_it);
    let is_possible = match older {
        Some(older) => number == Some(older),
        None => number.is_some_and(|number| (acknowledged..=begun).contains(&(number + 1))),
    };
    let (Some(number), true) = (number, is_possible) else {
        return Err(Wrong::Words(format!(
            "{} is at {number:?}, acknowledged were {acknowledged}, begun {begun}, asked for was {older:?}",
            repo.did
        )));
    };
    let held = Held {
        records: list(&snapshot)?,
        repo: snapshot,
        version: &repo.versions[number],
    };
    let expected = held.version.repo.records.iter();
    let mut hidden = 0;
    for record in expected {
        let is_right = match held.records.get(&record.path) {
            Some(bytes) => **bytes == *record.bytes && !deleted.contains(&record.path),
            None => {
                hidden += 1;
                deleting.contains(&record.path)
            }
        };
        if !is_right {
            let words = format!("{}/{} is wrong at {number}", repo.did, record.path);
            return Err(Wrong::Words(words));
        }
    }
    if held.records.len() + hidden != held.version.repo.records.len() {
        return Err(Wrong::Words(format!("{} has too many records", repo.did)));
    }
    held.is_as_before()?;
    Ok(Some(held))
}

impl Held<'_> {
    /// Reads the snapshot again, in other ways.
    fn is_as_before(&self) -> Result<(), Wrong> {
        if list(&self.repo)? != self.records {
            return Err(Wrong::Words("a listing changed".into()));
        }
        for record in self.version.repo.records.iter().step_by(5) {
            let path: RecordPath = record.path.parse().expect("the kit's paths are paths");
            let found = match self.repo.record(&path)? {
                Lookup::Found(found) => Some(found.bytes()?.into_owned()),
                _ => None,
            };
            if found.as_ref() != self.records.get(&record.path) {
                return Err(Wrong::Words(format!("{path} is another one by itself")));
            }
        }
        let mut car = Vec::new();
        let is_whole = self.records.len() == self.version.repo.records.len();
        match self.repo.export(&mut car) {
            Ok(_) if is_whole && car == self.version.export => Ok(()),
            Err(error) if !is_whole && error.code() == Code::Incomplete => Ok(()),
            Ok(_) => Err(Wrong::Words("an export is wrong".into())),
            Err(error) => Err(error.into()),
        }
    }
}

fn list(repo: &Repo) -> Result<BTreeMap<String, Vec<u8>>, Wrong> {
    let mut records = BTreeMap::new();
    if let Some(rows) = repo.rows(&Keys::default())? {
        for row in repo.read(rows) {
            let row = row?;
            let path = format!("{}/{}", row.collection, row.rkey);
            records.insert(path, row.bytes()?.into_owned());
        }
    }
    Ok(records)
}
