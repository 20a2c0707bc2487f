//! [`Keeper`]: deleting, compacting, checking, copying. Each call has a thread of its own, for it takes as long as its work.
//!
//! A check that nobody waits for any more ends; a deletion or a compaction goes on, for it is whole or absent.

use std::rc::Rc;

use carrack_schema::limits::FINDINGS_QUEUED_MAX;
use carrack_schema::names::RepoName;
use carrack_schema::wire::store_capnp::{Absent, check_report, check_watcher, keeper};
use carrack_schema::{Code, Did, RecordPath};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::backup;
use super::caller::{Call, Caller};
use super::error::{answer, exception};
use super::thread::Work;
use super::view;
use crate::auth::Operation;
use crate::check::{CheckEvent, CheckPhase, CheckProgress, CheckReport, Finding};
use crate::delete::{DeleteTarget, Deleted};
use crate::error::{Error, Result};
use crate::stats::Stats;
use crate::store::Store;

pub(super) struct Keeper {
    caller: Caller,
}

impl Keeper {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    /// Starts a call's work on a thread.
    fn start<T: Send + 'static>(
        call: &Call,
        name: &str,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<Work<T>> {
        let place = place(call)?;
        let store = call.store().clone();
        Work::start(name, place, move || work(&store))
    }
}

/// Takes a place among the calls that look after the store.
///
/// # Errors
/// `overloaded` if none is free.
pub(super) fn place(call: &Call) -> Result<OwnedSemaphorePermit> {
    call.store().check_open()?;
    let keepers = call.store().inner().keepers.clone();
    keepers.try_acquire_owned().map_err(|_| {
        let words =
            "as many deletions, compactions, checks and backups run as may at the same time";
        Error::new(Code::Overloaded, words)
    })
}

/// Waits for the outcome of a call's work.
async fn outcome<T: Send + 'static>(started: Result<Work<T>>) -> capnp::Result<T> {
    let ended = async { started?.outcome().await };
    ended.await.map_err(|error| exception(&error))
}

fn delete(
    store: &Store,
    did: Did,
    path: Option<RecordPath>,
    purge: bool,
) -> Result<Result<(Did, Deleted), Absent>> {
    let target = match path {
        None => DeleteTarget::Repo(did.clone()),
        Some(path) => DeleteTarget::Record(did.clone(), path),
    };
    match store.delete(&target, purge) {
        Ok(deleted) => Ok(Ok((did, deleted))),
        Err(error) if error.code() == Code::NotFound => {
            let is_held = store.inner().catalog.repo(&did)?.is_some();
            Ok(Err(if is_held {
                Absent::Record
            } else {
                Absent::Repo
            }))
        }
        Err(error) => Err(error),
    }
}

/// What a compaction came to: the store before and after it, and files that stay as they are.
type Compacted = (Stats, Stats, usize);

fn compact(store: &Store, did: Option<&Did>, cold: bool) -> Result<Result<Compacted, Absent>> {
    let before = store.stats()?;
    match store.compact(cold, did) {
        Ok(()) => Ok(Ok((before, store.stats()?, store.unmergeable()?))),
        Err(error) if error.code() == Code::NotFound => Ok(Err(Absent::Repo)),
        Err(error) => Err(error),
    }
}

impl keeper::Server for Keeper {
    async fn delete(
        self: Rc<Self>,
        params: keeper::DeleteParams,
        mut results: keeper::DeleteResults,
    ) -> capnp::Result<()> {
        let (call, started) = answer(|| {
            let params = params.get()?;
            let name: RepoName = params.get_repo()?.to_str()?.parse()?;
            let path = params.get_path()?.to_str()?;
            let path: Option<RecordPath> = (!path.is_empty()).then(|| path.parse()).transpose()?;
            let purge = params.get_purge();
            let call = self.caller.begin(Operation::Delete)?;
            let did = call.resolve(&name)?;
            match &path {
                Some(path) => {
                    call.does("delete", path.to_string());
                    call.check_collection(&path.collection)?;
                }
                None => call.check_all_collections("a repository is deleted as a whole")?,
            }
            let work = move |store: &Store| delete(store, did, path, purge);
            let started = Keeper::start(&call, "carrack-delete", work);
            Ok((call, started))
        })?;
        match call.ended(outcome(started).await)? {
            Err(absent) => results.get().set_absent(absent),
            Ok((did, Deleted { records, purge_by })) => {
                let mut deleted = results.get().init_deleted();
                deleted.set_did(did.as_str());
                deleted.set_records(records);
                deleted.set_purge_by(purge_by.unwrap_or(0));
            }
        }
        Ok(())
    }

    async fn compact(
        self: Rc<Self>,
        params: keeper::CompactParams,
        mut results: keeper::CompactResults,
    ) -> capnp::Result<()> {
        let (call, started) = answer(|| {
            let params = params.get()?;
            let name = params.get_repo()?.to_str()?;
            let name: Option<RepoName> = (!name.is_empty()).then(|| name.parse()).transpose()?;
            let cold = params.get_cold();
            let call = self.caller.begin(Operation::Maintain)?;
            call.does("compact", "");
            call.check_whole_store("compacting tells of the whole store")?;
            let did = name.map(|name| call.resolve(&name)).transpose()?;
            let work = move |store: &Store| compact(store, did.as_ref(), cold);
            let started = Keeper::start(&call, "carrack-compact", work);
            Ok((call, started))
        })?;
        match call.ended(outcome(started).await)? {
            Err(absent) => results.get().set_absent(absent),
            Ok((before, after, damaged)) => {
                let mut compacted = results.get().init_compacted();
                view::stats(compacted.reborrow().init_before(), &before);
                view::stats(compacted.reborrow().init_after(), &after);
                compacted.set_damaged(damaged as u64);
            }
        }
        Ok(())
    }

    async fn check(
        self: Rc<Self>,
        params: keeper::CheckParams,
        mut results: keeper::CheckResults,
    ) -> capnp::Result<()> {
        let call = answer(|| {
            let call = self.caller.begin(Operation::Maintain)?;
            call.does("check", "");
            call.check_whole_store("a check is of the whole store")?;
            Ok(call)
        })?;
        let params = params.get()?;
        let (quick, watcher) = (params.get_quick(), params.get_watcher()?);
        let none_yet = CheckProgress {
            phase: CheckPhase::Segments,
            done: 0,
            total: 0,
            records: 0,
        };
        let (findings, mut incoming) = mpsc::channel(FINDINGS_QUEUED_MAX);
        let (progress, mut reports) = watch::channel(none_yet);
        let started = Keeper::start(&call, "carrack-check", move |store| {
            store.check(quick, &mut |event| match event {
                CheckEvent::Progress(now) => {
                    progress.send_replace(now);
                    !findings.is_closed()
                }
                CheckEvent::Found(finding) => findings.blocking_send(finding).is_ok(),
            })
        });
        // When this call is dropped both channels close, which ends the thread.
        let watching = async {
            loop {
                tokio::select! {
                    biased;
                    finding = incoming.recv() => match finding {
                        Some(finding) => call.answered(found(&watcher, &finding)).await?,
                        None => break,
                    },
                    Ok(()) = reports.changed() => {
                        let now = *reports.borrow_and_update();
                        call.answered(report(&watcher, now)).await?;
                    }
                }
            }
            outcome(started).await
        };
        let checked = call.ended(call.while_allowed(watching).await)?;
        fill(results.get().init_report(), &checked);
        Ok(())
    }

    async fn backup(
        self: Rc<Self>,
        params: keeper::BackupParams,
        mut results: keeper::BackupResults,
    ) -> capnp::Result<()> {
        let call = answer(|| {
            let call = self.caller.begin(Operation::Maintain)?;
            call.does("backup", "");
            call.check_owner("a backup holds every record, grant and key")?;
            Ok(call)
        })?;
        let sink = params.get()?.get_sink()?;
        let pushed = call.while_allowed(backup::push(&call, sink)).await;
        call.ended(pushed)?.fill(results.get().init_report());
        Ok(())
    }
}

/// Pushes a finding; waits while the client is behind.
async fn found(watcher: &check_watcher::Client, finding: &Finding) -> capnp::Result<()> {
    let mut request = watcher.found_request();
    let mut wire = request.get().init_finding();
    wire.set_file(&finding.file);
    wire.set_section(&finding.section);
    wire.set_words(&finding.words);
    wire.set_repos_count(finding.repos_count);
    wire.set_readable(&finding.readable);
    let mut repos = wire.init_repos(view::count(finding.repos.len()));
    for (i, did) in (0..).zip(&finding.repos) {
        repos.set(i, did.as_str());
    }
    request.send().promise.await.map(drop)
}

/// Says how far the check is, one call at a time: while one is outstanding newer figures replace each other.
async fn report(watcher: &check_watcher::Client, now: CheckProgress) -> capnp::Result<()> {
    let mut request = watcher.progress_request();
    let mut params = request.get();
    params.set_phase(match now.phase {
        CheckPhase::Segments => check_watcher::Phase::Segments,
        CheckPhase::Repos => check_watcher::Phase::Repos,
    });
    params.set_done(now.done);
    params.set_total(now.total);
    params.set_records(now.records);
    request.send().promise.await.map(drop)
}

fn fill(mut wire: check_report::Builder<'_>, report: &CheckReport) {
    wire.set_segments(report.segments);
    wire.set_repos(report.repos);
    wire.set_revisions(report.revisions);
    wire.set_records(report.records);
    wire.set_bytes(report.bytes);
    wire.set_findings(report.findings);
    wire.set_repos_damaged(report.repos_damaged);
}
