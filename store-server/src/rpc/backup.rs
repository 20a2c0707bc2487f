//! Pushing a copy of the store into a client's sink, file by file.
//!
//! The catalog is written anew on a thread of its own; the files' pages are read by the pool. A client that leaves, or takes
//! nothing for too long, ends the copy, and what it kept from being free on the disk is free.

use std::ops::Range;
use std::sync::Arc;

use carrack_schema::limits::CHUNK_BYTES_MAX;
use carrack_schema::wire::store_capnp::{backup_report, backup_sink};

use super::caller::Call;
use super::error::exception;
use super::keeper::place;
use super::thread::Work;
use crate::backup::{Backup, BackupFile};

/// What a copy was of.
#[derive(Default)]
pub(super) struct Pushed {
    taken: i64,
    segments: u64,
    bytes: u64,
    bytes_skipped: u64,
}

impl Pushed {
    pub(super) fn fill(&self, mut wire: backup_report::Builder<'_>) {
        wire.set_taken(self.taken);
        wire.set_segments(self.segments);
        wire.set_bytes(self.bytes);
        wire.set_bytes_skipped(self.bytes_skipped);
    }
}

/// Pushes a copy into a sink, and says what it was of.
pub(super) async fn push(call: &Call, sink: backup_sink::Client) -> capnp::Result<Pushed> {
    let failed = |error| exception(&error);
    let mut push = call.push().map_err(failed)?;
    // Held to the end, for a copy keeps replaced files from being free; and by the thread, which goes on if the call is dropped.
    let place = place(call).map_err(failed)?;
    let store = call.store().clone();
    let work = Work::start("carrack-backup", (), move || Ok((store.backup()?, place)));
    let (backup, _place) = work.map_err(failed)?.outcome().await.map_err(failed)?;
    let backup = Arc::new(backup);
    let mut pushed = Pushed {
        taken: backup.taken,
        ..Pushed::default()
    };
    let mut left: u64 = backup.files.iter().map(length).sum();
    for (number, file) in backup.files.iter().enumerate() {
        left -= length(file);
        pushed.bytes += length(file);
        pushed.segments += u64::from(file.is_segment());
        let mut request = sink.file_request();
        request.get().set_name(&file.name);
        request.get().set_bytes(length(file));
        request.get().set_left(left);
        let answer = call.answered(request.send().promise).await?;
        if file.is_segment() && answer.get()?.get_skip() {
            pushed.bytes_skipped += length(file);
            continue;
        }
        for from in (0..file.bytes.len()).step_by(CHUNK_BYTES_MAX) {
            let end = file.bytes.len().min(from + CHUNK_BYTES_MAX);
            let chunk = chunk(call, &backup, number, from..end).await?;
            let request = || {
                let mut request = sink.write_request();
                request.get().set_bytes(&chunk);
                request
            };
            push.write(chunk.len(), request).await?;
        }
    }
    push.done(sink.done_request().send().promise).await?;
    Ok(pushed)
}

fn length(file: &BackupFile) -> u64 {
    file.bytes.len() as u64
}

/// Reads a part of a file, from the disk as a rule.
async fn chunk(
    call: &Call,
    backup: &Arc<Backup>,
    file: usize,
    range: Range<usize>,
) -> capnp::Result<Vec<u8>> {
    let charged = call.charge_paced(range.len()).await;
    charged.map_err(|error| exception(&error))?;
    let backup = backup.clone();
    let read = move || {
        let bytes = backup
            .files
            .get(file)
            .and_then(|file| file.bytes.get(range));
        Ok(bytes.unwrap_or_default().to_vec())
    };
    call.work(read).await
}
