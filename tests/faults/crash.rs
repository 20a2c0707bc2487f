//! The power goes, or the process is killed, at every step of its I/O: an acknowledged import is whole, another one is
//! whole or absent, and the store opens, is tidy, and takes in the next one.

use std::sync::Arc;

use carrack_segment::Directory;
use carrack_segment::directory::faulty::{Fault, Faulty, Op, Plan, Span, Step};
use carrack_segment::directory::mem::Mem;

use crate::model::{Model, STRICT};
use crate::report::Report;
use crate::workload::{self, Workload};
use crate::worlds::{DISK_CODES, NO_CODES, Worlds};
use crate::{DEFAULT_SIZES, open, takes_all};

/// Crash images looked at for each step.
fn images() -> u64 {
    if takes_all() { 24 } else { 4 }
}

#[test]
fn a_crash_at_every_step_loses_nothing_that_was_acknowledged() {
    let mut report = Report::new("crashes");
    for workload in workload::all() {
        let base = workload.prepare();
        let steps = undisturbed(&workload, &base);
        // A step that changes nothing leaves what the next one leaves.
        for (at, step) in sample(&steps, |op| op.changes() || takes_all()) {
            let label = format!("{}, step {at} ({:?} {})", workload.name, step.op, step.name);
            report.count("steps crashed at", 1);
            report.case(&label, |report| crash_at(&workload, &base, at, report));
        }
        // And when all is done.
        report.case(workload.name, |report| {
            crash_at(&workload, &base, usize::MAX, report)
        });
    }
    assert!(report.counted("steps crashed at") > 300);
    report.finish();
}

/// Returns the steps of an operation with their numbers: all, or a sample of those of a long workload.
pub(crate) fn sample(steps: &[Step], is_due: impl Fn(Op) -> bool) -> Vec<(usize, &Step)> {
    const SAMPLE: usize = 32;
    let due: Vec<_> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| is_due(step.op))
        .collect();
    let every = match takes_all() {
        true => 1,
        false => due.len() / SAMPLE + 1,
    };
    // The last steps are those that make it true.
    due.into_iter().rev().step_by(every).collect()
}

/// Runs a workload and returns its steps.
pub(crate) fn undisturbed(workload: &Workload, (base, model): &(Mem, Model)) -> Vec<Step> {
    let faulty = Faulty::new(Arc::new(base.copy()), 0);
    let store = open(faulty.clone(), workload.sizes, model.now).expect("the disk works");
    for operation in &workload.operations {
        // Refusals are part of some workloads.
        let _answer = operation.run(&store);
    }
    drop(store);
    faulty.log()
}

fn crash_at(
    workload: &Workload,
    (base, model): &(Mem, Model),
    at: usize,
    report: &mut Report,
) -> Result<(), String> {
    let disk = base.copy();
    let faulty = Faulty::new(Arc::new(disk.clone()), 0);
    faulty.plan(Plan {
        at,
        span: Span::Once,
        fault: Fault::Crash,
    });
    let mut worlds = Worlds::one(model.clone());
    match open(faulty.clone(), workload.sizes, model.now) {
        Err(error) if DISK_CODES.contains(&error.code()) => {}
        Err(error) => return Err(format!("opening: {}: {}", error.code(), error.chain())),
        Ok(store) => {
            for operation in &workload.operations {
                let _answer = worlds.run(operation, &store, DISK_CODES)?;
            }
        }
    }
    if let Some(promise) = faulty.broken_promises().first() {
        return Err(promise.clone());
    }
    report.count("crash images", 1);
    recover(disk.copy(), worlds.clone()).map_err(|words| format!("killed: {words}"))?;
    for seed in 0..images() {
        report.count("crash images", 1);
        let seed = (at as u64).wrapping_mul(1_000).wrapping_add(seed);
        recover(disk.crash(seed), worlds.clone())
            .map_err(|words| format!("crash seed {seed}: {words}"))?;
    }
    Ok(())
}

/// Opens what a crash left, looks at everything, and goes on working.
pub(crate) fn recover(disk: Mem, mut worlds: Worlds) -> Result<(), String> {
    let now = worlds.now();
    let reopen = |disk: &Mem| {
        open(disk.clone(), DEFAULT_SIZES, now)
            .map_err(|error| format!("reopening: {}: {}", error.code(), error.chain()))
    };
    let store = reopen(&disk)?;
    worlds.reopened();
    worlds.compare(&store, STRICT)?;
    worlds.look_for_purged(&disk)?;
    is_tidy(&disk, &worlds)?;
    let answer = worlds.run(&workload::probe(), &store, NO_CODES)?;
    answer.map_err(|error| error.chain())?;
    worlds.compare(&store, STRICT)?;
    drop(store);
    // What was acknowledged now survives the next crash as well.
    let disk = disk.crash(1);
    let store = reopen(&disk)?;
    worlds
        .compare(&store, STRICT)
        .map_err(|words| format!("after the second import: {words}"))?;
    is_tidy(&disk, &worlds)
}

/// Says whether nothing is left over: no temporary file, and no segment but those that are read.
fn is_tidy(disk: &Mem, worlds: &Worlds) -> Result<(), String> {
    let list = |folder| disk.list(folder).map_err(|error| error.to_string());
    let temporary = list("tmp")?;
    if !temporary.is_empty() {
        return Err(format!("left over in tmp: {temporary:?}"));
    }
    // A repo has a segment for each revision that is still needed, and shares one after a merge.
    let segments = list("segments")?.len();
    let models = || worlds.models().iter();
    let most = models().map(Model::segments_max).max().unwrap_or(0);
    let has_repos = models().all(|model| !model.repos.is_empty());
    if segments > most || (segments == 0 && has_repos) {
        return Err(format!("{segments} segments for {most} revisions"));
    }
    let rest = list("")?;
    if rest != ["catalog.redb", "lock"] {
        return Err(format!("left over: {rest:?}"));
    }
    Ok(())
}
