//! Random histories: imports of every kind, merges, deletions, time that passes, crashes, errors and reopenings, against
//! a model.
//!
//! `CARRACK_SEED` is the first history's seed and `CARRACK_ROUNDS` their number; a failure names the seed that it needs.
//! A new ability is one more arm of [`History::operation`], or of [`Act`] if it is not asked of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrack_schema::Did;
use carrack_segment::directory::faulty::{Failure, Fault, Faulty, Plan, Span};
use carrack_segment::directory::mem::Mem;
use kit::rng::Rng;

use crate::model::{Model, STRICT, Version};
use crate::operation::{Account, Operation};
use crate::report::Report;
use crate::worlds::{DISK_CODES, NO_CODES, Worlds};
use crate::{HOUR, Opened, Sizes, number, open};

/// Little memory: the larger repos spill. Small segments: two or three are merged.
const SIZES: Sizes = Sizes {
    memory: 3_000,
    segment: 20_000,
};
/// Things that happen in one history.
const ACTS: usize = 40;
/// Repos in one history, at most.
const REPOS: usize = 6;
/// Kinds of operation, see [`History::operation`].
const KINDS: u64 = 15;

#[test]
fn random_histories_end_as_the_model_says() {
    let mut report = Report::new("histories");
    let first = number("CARRACK_SEED", 1);
    for seed in first..first + number("CARRACK_ROUNDS", 25) {
        report.case(&format!("CARRACK_SEED={seed} CARRACK_ROUNDS=1"), |report| {
            report.count("histories", 1);
            History::new(seed).run(report)
        });
    }
    report.finish();
}

/// What happens next.
#[derive(Debug)]
enum Act {
    /// The store is asked, and all goes well.
    Ask(Operation),
    /// The store is asked, and from that many steps on the disk is gone; then the power.
    AskAndCrash(Operation, usize),
    /// The store is asked, and after that many steps the disk fails once; then the store is reopened.
    AskAndFail(Operation, usize, Fault),
    /// The store is closed and opened.
    Reopen,
    /// The power goes while nothing is asked.
    Crash,
}

struct History {
    rng: Rng,
    disk: Mem,
    worlds: Worlds,
    /// Every version made so far, oldest first.
    versions: BTreeMap<Did, Vec<Arc<Version>>>,
    /// Which kinds of operation this history has: some are left out, so that the others meet more often.
    kinds: Vec<u64>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let kinds: Vec<u64> = (0..KINDS).filter(|_| rng.chance(700)).collect();
        Self {
            rng,
            disk: Mem::new(),
            worlds: Worlds::one(Model::default()),
            versions: BTreeMap::new(),
            kinds: if kinds.is_empty() { vec![0, 1] } else { kinds },
        }
    }

    fn run(mut self, report: &mut Report) -> Result<(), String> {
        let mut faulty = Faulty::new(Arc::new(self.disk.clone()), 0);
        let mut store = Some(open_store(&faulty, self.worlds.now())?);
        for number in 0..ACTS {
            let act = self.act();
            let words = format!("{act:?}");
            report.count("acts", 1);
            let done = self.perform(act, &mut faulty, &mut store, report);
            done.map_err(|wrong| format!("act {number}, {words}: {wrong}"))?;
        }
        Ok(())
    }

    fn act(&mut self) -> Act {
        match self.rng.below(20) {
            0..12 => Act::Ask(self.operation()),
            12..15 => Act::AskAndCrash(self.operation(), self.rng.index(60)),
            15..17 => {
                let fault = *self.rng.pick(&[
                    Fault::Fail(Failure::Broken),
                    Fault::Fail(Failure::Full),
                    Fault::Short(Failure::Full),
                ]);
                Act::AskAndFail(self.operation(), self.rng.index(40), fault)
            }
            17..19 => Act::Reopen,
            _ => Act::Crash,
        }
    }

    fn perform(
        &mut self,
        act: Act,
        faulty: &mut Faulty,
        store: &mut Option<Opened>,
        report: &mut Report,
    ) -> Result<(), String> {
        let open_now = store.as_ref().expect("a store is open between acts");
        match act {
            Act::Ask(operation) => {
                report.count("operations", 1);
                let _answer = self.worlds.run(&operation, open_now, NO_CODES)?;
                self.worlds.compare(open_now, STRICT)?;
                let looked_for = self.worlds.look_for_purged(&self.disk)?;
                report.count("looks for a purged record", looked_for);
                return Ok(());
            }
            Act::AskAndCrash(operation, after) => {
                report.count("operations with a crash", 1);
                plan(faulty, after, Fault::Crash);
                let _answer = self.worlds.run(&operation, open_now, DISK_CODES)?;
                self.crash(report);
            }
            Act::AskAndFail(operation, after, fault) => {
                report.count("operations with an error", 1);
                plan(faulty, after, fault);
                let _answer = self.worlds.run(&operation, open_now, DISK_CODES)?;
                let tolerance = |_: Option<&Did>, code| DISK_CODES.contains(&code);
                self.worlds.clone().compare(open_now, &tolerance)?;
                faulty.heal();
            }
            Act::Reopen => {
                report.count("reopenings", 1);
            }
            Act::Crash => self.crash(report),
        }
        drop(store.take());
        if let Some(promise) = faulty.broken_promises().first() {
            return Err(promise.clone());
        }
        *faulty = Faulty::new(Arc::new(self.disk.clone()), 0);
        let opened = open_store(faulty, self.worlds.now())?;
        self.worlds.reopened();
        self.worlds.compare(&opened, STRICT)?;
        self.worlds.look_for_purged(&self.disk)?;
        *store = Some(opened);
        Ok(())
    }

    /// The disk is now what a power cut leaves of it.
    fn crash(&mut self, report: &mut Report) {
        report.count("crashes", 1);
        self.disk = self.disk.crash(self.rng.next_u64());
    }

    /// Returns what the store is asked next.
    fn operation(&mut self) -> Operation {
        let known: Vec<Did> = self.versions.keys().cloned().collect();
        if known.is_empty() || (known.len() < REPOS && self.rng.chance(200)) {
            let version = Version::first(self.rng.index(30), self.rng.next_u64());
            let did = version.repo.did.clone();
            self.versions.insert(did, vec![version.clone()]);
            return Operation::import(&version);
        }
        let did = self.rng.pick(&known).clone();
        let kind = *self.rng.pick(&self.kinds);
        let seed = self.rng.next_u64();
        let versions = self.versions.get_mut(&did).expect("it is known");
        let newest = versions.last().expect("none is empty").clone();
        match kind {
            // A newer revision, in full or as a diff since any older one.
            0 => {
                versions.push(newest.next(seed));
                Operation::import(&versions[versions.len() - 1])
            }
            1 | 2 => {
                let since = versions[self.rng.index(versions.len())].clone();
                versions.push(newest.next(seed));
                Operation::import_since(&versions[versions.len() - 1], &since)
            }
            // Any revision, again or for the first time.
            3 => Operation::import(self.rng.pick(versions)),
            // A fork of any revision.
            4 => {
                let of = self.rng.pick(versions);
                let changes = kit::Changes {
                    added: 1,
                    ..kit::Changes::default()
                };
                let edits = of.repo.random_edits(seed, changes);
                Operation::import(&Version::new(of.repo.fork(&edits)))
            }
            5 => {
                versions.push(newest.remarked(seed));
                Operation::import(&versions[versions.len() - 1])
            }
            6 => Operation::Merge,
            7 => Operation::compact(self.rng.chance(500)),
            8 => Operation::Compact {
                cold: self.rng.chance(500),
                did: Some(did),
            },
            9 | 10 => {
                let of = self.rng.pick(versions).clone();
                let purge = self.rng.chance(500);
                match self.rng.chance(200) || of.repo.records.is_empty() {
                    true => Operation::delete_record(&of, purge),
                    false => Operation::Delete {
                        did,
                        path: Some(self.rng.pick(&of.repo.records).path.clone()),
                        purge,
                    },
                }
            }
            11 => Operation::delete_repo(&newest, self.rng.chance(500)),
            12 | 13 => Operation::Tick(*self.rng.pick(&[HOUR / 2, 2 * HOUR, 13 * HOUR])),
            // Something about the account.
            _ => {
                let account = Account {
                    document: self.rng.chance(500),
                    status: *self.rng.pick(&[None, Some("active"), Some("takendown")]),
                };
                Operation::import_as(self.rng.pick(versions), account)
            }
        }
    }
}

fn open_store(faulty: &Faulty, now: i64) -> Result<Opened, String> {
    open(faulty.clone(), SIZES, now)
        .map_err(|error| format!("opening: {}: {}", error.code(), error.chain()))
}

fn plan(faulty: &Faulty, after: usize, fault: Fault) {
    faulty.plan(Plan {
        at: faulty.steps() + after,
        span: Span::Once,
        fault,
    });
}
