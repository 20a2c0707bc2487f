//! Pushing a repo's CAR into a client's sink.
//!
//! The export runs on a thread of its own, because it hashes every record; a bounded channel between it and the sink
//! holds it back when the client is slow. A client that leaves, or takes nothing for too long, closes the channel, which
//! ends the thread.

use std::io::{self, Write};
use std::sync::Arc;

use carrack_repo::export::ExportStats;
use carrack_schema::Code;
use carrack_schema::limits::{CHUNK_BYTES_MAX, EXPORT_CHUNKS_QUEUED_MAX, EXPORTS_MAX};
use carrack_schema::wire::store_capnp::byte_sink;
use tokio::sync::mpsc;

use super::caller::Call;
use super::error::exception;
use super::thread::Work;
use crate::error::Error;
use crate::store::Repo;

/// Exports a repo into a sink, and says what it wrote.
pub(super) async fn push(
    call: &Call,
    repo: Arc<Repo>,
    sink: byte_sink::Client,
) -> capnp::Result<ExportStats> {
    let mut push = call.push().map_err(|error| exception(&error))?;
    let exports = call.store().inner().exports.clone();
    let place = exports.try_acquire_owned().map_err(|_| {
        let words = format!("{EXPORTS_MAX} exports are running, try again when one is done");
        exception(&Error::new(Code::Overloaded, words))
    })?;
    let (chunks, mut outgoing) = mpsc::channel(EXPORT_CHUNKS_QUEUED_MAX);
    let export = move || {
        let mut out = Chunks {
            chunk: Vec::with_capacity(CHUNK_BYTES_MAX),
            chunks,
        };
        repo.export(&mut out)
    };
    let work = Work::start("carrack-export", place, export).map_err(|error| exception(&error))?;
    while let Some(chunk) = outgoing.recv().await {
        let charged = call.charge_paced(chunk.len()).await;
        charged.map_err(|error| exception(&error))?;
        let request = || {
            let mut request = sink.write_request();
            request.get().set_bytes(&chunk);
            request
        };
        push.write(chunk.len(), request).await?;
    }
    let stats = work.outcome().await.map_err(|error| exception(&error))?;
    push.done(sink.done_request().send().promise).await?;
    Ok(stats)
}

/// The export's end of the channel, as a writer.
struct Chunks {
    chunk: Vec<u8>,
    chunks: mpsc::Sender<Vec<u8>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES_MAX - self.chunk.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(taken);
        if self.chunk.len() == CHUNK_BYTES_MAX {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES_MAX));
        self.chunks
            .blocking_send(full)
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the receiver left"))
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // Whoever fails to take the last bytes has left.
        let _left = self.flush();
    }
}
