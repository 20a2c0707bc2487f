//! [`Download`]: a CAR on its way out of the store.

use tokio::sync::{mpsc, oneshot};

use crate::actor::Call;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::types::{ExportReport, Found};

/// Chunks that wait between the connection and the reader.
const CHUNKS_QUEUED_MAX: usize = 4;

/// A CAR on its way out of the store: take its chunks to the last, then ask for [`done`](Self::done).
///
/// Dropping it stops the export. What came before `done` said so may end anywhere.
#[derive(Debug)]
pub struct Download {
    chunks: mpsc::Receiver<Vec<u8>>,
    outcome: oneshot::Receiver<Result<Found<ExportReport>>>,
    _repo: Handle,
}

impl Download {
    pub(crate) fn start(repo: Handle) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_QUEUED_MAX);
        let (reply, outcome) = oneshot::channel();
        repo.call(Call::Export {
            chunks: sender,
            reply,
        });
        Self {
            chunks,
            outcome,
            _repo: repo,
        }
    }

    /// Returns the next bytes; none after the last, or when the export has failed.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.chunks.recv().await
    }

    /// Returns how the export ended.
    ///
    /// # Errors
    /// `incomplete` for a repo that was imported as partial, `damaged` if the store's files are; as every leaf.
    pub async fn done(self) -> Result<Found<ExportReport>> {
        self.outcome.await.unwrap_or_else(|_| Err(Error::gone()))
    }
}
