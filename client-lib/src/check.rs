//! [`Check`]: a check of the store while it runs.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::wire::store_capnp as wire;
use tokio::sync::{mpsc, watch};

use crate::error::Result;
use crate::handle::Handle;
use crate::push::Push;
use crate::read;
use crate::types::{CheckFinding, CheckPhase, CheckProgress, CheckReport};

/// Findings that wait between the connection and the reader.
const FINDINGS_QUEUED_MAX: usize = 4;

/// A check of the store while it runs: take its findings to the last, then ask for [`done`](Self::done).
///
/// Dropping it stops the check. It is not begun again if the connection is lost.
#[derive(Debug)]
pub struct Check {
    findings: Push<CheckFinding, CheckReport>,
    progress: watch::Receiver<CheckProgress>,
}

impl Check {
    pub(crate) fn new(keeper: &Handle<wire::keeper::Client>, quick: bool) -> Self {
        let none_yet = CheckProgress {
            phase: CheckPhase::Segments,
            done: 0,
            total: 0,
            records: 0,
        };
        let (watcher, progress) = watch::channel(none_yet);
        let findings = keeper.push(FINDINGS_QUEUED_MAX, async move |on, findings| {
            let mut request = on.check_request();
            request.get().set_quick(quick);
            let watcher = Watcher {
                findings,
                progress: watcher,
            };
            request.get().set_watcher(new_client(watcher));
            let response = request.send().promise.await?;
            Ok(read::check(&response)?)
        });
        Self { findings, progress }
    }

    /// Returns the newest report of how far the check is; it changes while the check runs.
    pub fn progress(&self) -> watch::Receiver<CheckProgress> {
        self.progress.clone()
    }

    /// Returns the next finding; none after the last, or when the check has failed. One round trip to the first, and one
    /// more for each report of progress before it.
    pub async fn next(&mut self) -> Option<CheckFinding> {
        self.findings.next().await
    }

    /// Returns what was gone through. One round trip from the last finding or report of progress.
    ///
    /// # Errors
    /// If the store could not be checked: `damaged` if that is for its catalog; as every leaf.
    pub async fn done(self) -> Result<CheckReport> {
        self.findings.done().await
    }
}

/// Passes on what a check tells. A finding is answered when it has room, which holds back the server.
struct Watcher {
    findings: mpsc::Sender<CheckFinding>,
    progress: watch::Sender<CheckProgress>,
}

impl wire::check_watcher::Server for Watcher {
    async fn found(
        self: Rc<Self>,
        params: wire::check_watcher::FoundParams,
        _results: wire::check_watcher::FoundResults,
    ) -> capnp::Result<()> {
        let finding = read::finding(params.get()?.get_finding()?)?;
        let left = |_| capnp::Error::disconnected("the receiver left".into());
        self.findings.send(finding).await.map_err(left)
    }

    async fn progress(
        self: Rc<Self>,
        params: wire::check_watcher::ProgressParams,
        _results: wire::check_watcher::ProgressResults,
    ) -> capnp::Result<()> {
        // A check that nobody watches still tells what it finds.
        self.progress
            .send_replace(read::check_progress(params.get()?)?);
        Ok(())
    }
}
