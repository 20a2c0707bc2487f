//! [`Upload`]: a CAR on its way into the store.

use carrack_schema::limits::CHUNK_BYTES_MAX;
use tokio::sync::{mpsc, oneshot, watch};

use crate::actor::{Call, Piece};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::types::{ImportOptions, ImportOutcome, Phase, Progress};

/// Chunks that wait between the writer and the connection.
const PIECES_QUEUED_MAX: usize = 4;

/// A CAR on its way into the store: write all of it, then ask for [`done`](Self::done).
///
/// Dropped before that, the import is aborted and leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    pieces: mpsc::Sender<Piece>,
    outcome: oneshot::Receiver<Result<ImportOutcome>>,
    progress: watch::Receiver<Progress>,
    _importer: Handle,
}

impl Upload {
    pub(crate) fn start(importer: Handle, options: ImportOptions) -> Self {
        let (pieces, incoming) = mpsc::channel(PIECES_QUEUED_MAX);
        let (reply, outcome) = oneshot::channel();
        let none_yet = Progress {
            phase: Phase::Receiving,
            done: 0,
            total: 0,
        };
        let (watcher, progress) = watch::channel(none_yet);
        importer.call(Call::Import {
            options,
            progress: Some(watcher),
            pieces: incoming,
            reply,
        });
        Self {
            pieces,
            outcome,
            progress,
            _importer: importer,
        }
    }

    /// Returns the newest report of how far the import is; it changes while the upload runs.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Sends the next bytes, of any length. Waits while the store is behind, so memory stays bounded.
    ///
    /// Returns false when the import has ended early: no more bytes are needed, and [`done`](Self::done) says
    /// why.
    pub async fn write(&self, bytes: &[u8]) -> bool {
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            if self
                .pieces
                .send(Piece::Bytes(chunk.to_vec()))
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }

    /// Ends the CAR, waits for verification and commit, and returns how the import ended.
    ///
    /// # Errors
    /// If the connection is lost (whether the import took effect is then unknown: ask for the repo's rev), or
    /// the server is at a limit. An input that was refused is an outcome, not an error.
    pub async fn done(self) -> Result<ImportOutcome> {
        // An import that ended early has closed the channel, and its outcome waits.
        let _ended_early = self.pieces.send(Piece::Done).await;
        self.outcome.await.unwrap_or_else(|_| Err(Error::gone()))
    }
}
