//! The disk fails or is full, at every step of the store's I/O: each call answers what is right or says what went wrong
//! in a code, never a panic; and after reopening all that was acknowledged is there.

use std::sync::Arc;

use carrack_segment::directory::faulty::{Failure, Fault, Faulty, Plan, Span};
use carrack_segment::directory::mem::Mem;
use carrack_store::Error;

use crate::crash::{recover, sample, undisturbed};
use crate::model::{Model, STRICT};
use crate::report::Report;
use crate::workload::{self, Workload};
use crate::worlds::{DISK_CODES, Worlds};
use crate::{open, takes_all};

const PLANS: [(Span, Fault); 5] = [
    (Span::Once, Fault::Fail(Failure::Broken)),
    (Span::Once, Fault::Fail(Failure::Full)),
    (Span::Once, Fault::Short(Failure::Full)),
    (Span::Onwards, Fault::Fail(Failure::Broken)),
    (Span::Onwards, Fault::Short(Failure::Full)),
];

#[test]
fn a_failure_at_every_step_is_a_typed_error_and_loses_nothing() {
    let mut report = Report::new("errors");
    for workload in workload::all() {
        let base = workload.prepare();
        let steps = undisturbed(&workload, &base);
        for (number, (at, step)) in sample(&steps, |_| true).into_iter().enumerate() {
            for (i, (span, fault)) in PLANS.into_iter().enumerate() {
                // Each step fails in some way, and each way at some steps.
                if !takes_all() && (number + i) % PLANS.len() != 0 {
                    continue;
                }
                let label = format!(
                    "{}, step {at} ({:?} {}), {fault:?} {span:?}",
                    workload.name, step.op, step.name
                );
                let plan = Plan { at, span, fault };
                report.case(&label, |report| fail_at(&workload, &base, plan, report));
            }
        }
    }
    assert!(report.counted("unknown outcomes") > 10);
    assert!(report.counted("operations that failed") > 100);
    report.finish();
}

fn fail_at(
    workload: &Workload,
    (base, model): &(Mem, Model),
    plan: Plan,
    report: &mut Report,
) -> Result<(), String> {
    let disk = base.copy();
    let faulty = Faulty::new(Arc::new(disk.clone()), plan.at as u64);
    faulty.plan(plan);
    let mut worlds = Worlds::one(model.clone());
    report.count("schedules", 1);
    match open(faulty.clone(), workload.sizes, model.now) {
        Err(error) => {
            report.count("openings that failed", 1);
            is_the_disks(&error)?;
        }
        Ok(store) => {
            for operation in &workload.operations {
                let answer = worlds.run(operation, &store, DISK_CODES)?;
                count(&answer, report);
                // A refusal is as expected; after the disk's failure the same is asked again.
                if answer.is_err_and(|error| is_the_disks(&error).is_ok()) {
                    let again = worlds.run(operation, &store, DISK_CODES)?;
                    let what = match again {
                        Ok(()) => "operations done at the second try",
                        Err(_) => "operations that failed twice",
                    };
                    report.count(what, 1);
                }
                // After an unknown outcome reads go on with what was there before, and decide nothing.
                let mut read = worlds.clone();
                let errors = read.compare(&store, &|_, code| DISK_CODES.contains(&code))?;
                report.count("reads that failed", errors);
            }
        }
    }
    report.count("faults", faulty.faults());
    if let Some(promise) = faulty.broken_promises().first() {
        return Err(promise.clone());
    }
    // The process ends, the power goes, or the store is opened again at once.
    let seed = plan.at as u64;
    recover(disk.crash(seed), worlds.clone())
        .map_err(|words| format!("crash seed {seed}: {words}"))?;
    recover(disk.copy(), worlds.clone()).map_err(|words| format!("killed: {words}"))?;
    faulty.heal();
    let store = open(faulty, workload.sizes, worlds.now())
        .map_err(|error| format!("reopening at once: {}", error.chain()))?;
    worlds
        .compare(&store, STRICT)
        .map_err(|words| format!("reopened at once: {words}"))?;
    drop(store);
    recover(disk.copy(), worlds).map_err(|words| format!("reopened at once: {words}"))
}

fn is_the_disks(error: &Error) -> Result<(), String> {
    if DISK_CODES.contains(&error.code()) {
        return Ok(());
    }
    Err(format!("{}: {}", error.code(), error.chain()))
}

fn count(answer: &Result<(), Error>, report: &mut Report) {
    match answer {
        Ok(()) => report.count("operations done", 1),
        Err(error) => {
            report.count("operations that failed", 1);
            if error.code() == carrack_schema::Code::UnknownOutcome {
                report.count("unknown outcomes", 1);
            }
        }
    }
}
