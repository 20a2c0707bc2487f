//! The disk lies: it gives back flipped bits, writes half and says it wrote all, or forgets what it was told to keep.
//!
//! No store can keep its word then. It must say `damaged` or answer right, also of an older state where the disk forgot the
//! newer one; never panic, and never lose for a lie that is over what is on the disk still.

use std::sync::Arc;

use carrack_schema::Code;
use carrack_segment::directory::faulty::{Fault, Faulty, Op, Plan, Span};
use carrack_segment::directory::mem::Mem;

use crate::crash::{recover, sample, undisturbed};
use crate::model::{Model, Tolerance};
use crate::report::Report;
use crate::workload::{self, Workload};
use crate::worlds::{LIE_CODES, Worlds};
use crate::{DEFAULT_SIZES, open, takes_all};

const LIES: Tolerance<'static> = &|did, code| LIE_CODES.contains(&code) || DAMAGED(did, code);

/// An import over a revision that cannot be read lets go of it, and of those below.
const DAMAGED: Tolerance<'static> =
    &|did, code| code == Code::Damaged || (did.is_some() && code == Code::RevNotRetained);

/// Runs a body for each workload and each of its steps that a fault is of.
fn each_step(
    report: &mut Report,
    is_due: impl Fn(Op) -> bool,
    body: impl Fn(&Workload, &(Mem, Model), usize, &mut Report) -> Result<(), String>,
) {
    for workload in workload::all() {
        let base = workload.prepare();
        for (at, step) in sample(&undisturbed(&workload, &base), &is_due) {
            let label = format!("{}, step {at} ({:?} {})", workload.name, step.op, step.name);
            report.case(&label, |report| body(&workload, &base, at, report));
        }
    }
}

/// Runs a workload under a lie. Returns every state that the store was in.
fn run(
    workload: &Workload,
    base: &Model,
    faulty: &Faulty,
    report: &mut Report,
) -> Result<(Worlds, Vec<Model>), String> {
    let mut worlds = Worlds::one(base.clone());
    let mut states = vec![base.clone()];
    report.count("schedules", 1);
    match open(faulty.clone(), workload.sizes, base.now) {
        Err(error) if LIE_CODES.contains(&error.code()) => {
            report.count("openings that found it", 1);
        }
        Err(error) => return Err(format!("opening: {}: {}", error.code(), error.chain())),
        Ok(store) => {
            for operation in &workload.operations {
                let answer = worlds.run(operation, &store, LIE_CODES)?;
                let found = answer.is_err_and(|error| LIE_CODES.contains(&error.code()));
                report.count("operations that found it", usize::from(found));
                states.extend(worlds.models().iter().cloned());
            }
            let found = worlds.clone().compare(&store, LIES)?;
            report.count("reads that found it", found);
        }
    }
    report.count("lies", faulty.faults());
    Ok((worlds, states))
}

#[test]
fn a_bit_flipped_while_reading_is_found_or_harmless_and_gone_with_the_next_opening() {
    let mut report = Report::new("flipped reads");
    let seeds = if takes_all() { 12 } else { 2 };
    let is_read = |op| matches!(op, Op::Read | Op::Map);
    each_step(
        &mut report,
        is_read,
        |workload, (disk, model), at, report| {
            for seed in 0..seeds {
                let disk = disk.copy();
                let faulty = Faulty::new(Arc::new(disk.clone()), seed + at as u64);
                faulty.plan(Plan {
                    at,
                    span: Span::Once,
                    fault: Fault::FlipBit,
                });
                let (worlds, _) = run(workload, model, &faulty, report)?;
                recover(disk.copy(), worlds.clone()).map_err(|words| format!("{seed}: {words}"))?;
                recover(disk.crash(seed), worlds).map_err(|words| format!("{seed}: {words}"))?;
            }
            Ok(())
        },
    );
    assert!(report.counted("lies") > 100);
    report.finish();
}

#[test]
fn a_write_torn_in_silence_is_found_or_harmless() {
    let mut report = Report::new("torn writes");
    let seeds = if takes_all() { 12 } else { 2 };
    each_step(
        &mut report,
        |op| op == Op::Write,
        |workload, (disk, model), at, report| {
            for seed in 0..seeds {
                let disk = disk.copy();
                let faulty = Faulty::new(Arc::new(disk.clone()), seed + at as u64);
                faulty.plan(Plan {
                    at,
                    span: Span::Once,
                    fault: Fault::Torn,
                });
                let (_, states) = run(workload, model, &faulty, report)?;
                look(&disk.copy(), &states, report)?;
                look(&disk.crash(seed), &states, report)?;
            }
            Ok(())
        },
    );
    assert!(report.counted("lies") > 100);
    report.finish();
}

#[test]
fn a_sync_that_was_dropped_is_found_after_a_crash_or_leaves_an_older_state() {
    let mut report = Report::new("dropped syncs");
    let seeds = if takes_all() { 48 } else { 4 };
    let is_sync = |op| matches!(op, Op::Sync | Op::SyncDir);
    each_step(
        &mut report,
        is_sync,
        |workload, (disk, model), at, report| {
            for span in [Span::Once, Span::Onwards] {
                let disk = disk.copy();
                let faulty = Faulty::new(Arc::new(disk.clone()), at as u64);
                faulty.plan(Plan {
                    at,
                    span,
                    fault: Fault::DropSync,
                });
                let (_, states) = run(workload, model, &faulty, report)?;
                for seed in 0..seeds {
                    look(&disk.crash(seed), &states, report)
                        .map_err(|words| format!("{span:?}, crash seed {seed}: {words}"))?;
                }
            }
            Ok(())
        },
    );
    assert!(report.counted("lies") > 100);
    report.finish();
}

/// Opens what is left: `damaged`, or each answer is that or right of one of the states.
fn look(disk: &Mem, states: &[Model], report: &mut Report) -> Result<(), String> {
    report.count("disks looked at", 1);
    let now = states[states.len() - 1].now;
    let store = match open(disk.clone(), DEFAULT_SIZES, now) {
        Ok(store) => store,
        Err(error) if error.code() == Code::Damaged => {
            report.count("disks found damaged", 1);
            return Ok(());
        }
        Err(error) => return Err(format!("{}: {}", error.code(), error.chain())),
    };
    let mut wrong = Vec::new();
    for (older, state) in states.iter().rev().enumerate() {
        let state = Model {
            now,
            ..state.clone()
        };
        match state.compare(&store, DAMAGED) {
            Ok(errors) => {
                report.count("disks with damaged repos", usize::from(errors > 0));
                report.count("disks in an older state", usize::from(older > 0));
                return Ok(());
            }
            Err(words) => wrong.push(words),
        }
    }
    Err(wrong.join(" | "))
}
