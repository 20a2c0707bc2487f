//! [`Check`]: a check of the store while it runs.

use tokio::sync::{mpsc, oneshot, watch};

use crate::actor::Call;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::types::{CheckFinding, CheckPhase, CheckProgress, CheckReport};

/// Findings that wait between the connection and the reader.
const FINDINGS_QUEUED_MAX: usize = 4;

/// A check of the store while it runs: take its findings to the last, then ask for [`done`](Self::done).
///
/// Dropping it stops the check.
#[derive(Debug)]
pub struct Check {
    findings: mpsc::Receiver<CheckFinding>,
    progress: watch::Receiver<CheckProgress>,
    outcome: oneshot::Receiver<Result<CheckReport>>,
    _keeper: Handle,
}

impl Check {
    pub(crate) fn start(keeper: Handle, quick: bool) -> Self {
        let (sender, findings) = mpsc::channel(FINDINGS_QUEUED_MAX);
        let none_yet = CheckProgress {
            phase: CheckPhase::Segments,
            done: 0,
            total: 0,
            records: 0,
        };
        let (watcher, progress) = watch::channel(none_yet);
        let (reply, outcome) = oneshot::channel();
        keeper.call(Call::Check {
            quick,
            findings: sender,
            progress: watcher,
            reply,
        });
        Self {
            findings,
            progress,
            outcome,
            _keeper: keeper,
        }
    }

    /// Returns the newest report of how far the check is; it changes while the check runs.
    pub fn progress(&self) -> watch::Receiver<CheckProgress> {
        self.progress.clone()
    }

    /// Returns the next finding; none after the last, or when the check has failed.
    pub async fn next(&mut self) -> Option<CheckFinding> {
        self.findings.recv().await
    }

    /// Returns what was gone through.
    ///
    /// # Errors
    /// If the store could not be checked: `damaged` if that is for its catalog; as every leaf.
    pub async fn done(self) -> Result<CheckReport> {
        self.outcome.await.unwrap_or_else(|_| Err(Error::gone()))
    }
}
