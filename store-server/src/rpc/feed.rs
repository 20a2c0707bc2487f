//! [`Feed`]: the way of a CAR's bytes from a sink to the thread of its import, and how long that waits for them.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carrack_schema::limits::IMPORT_CHUNKS_QUEUED_MAX;
use tokio::sync::mpsc;

/// A part of the CAR on its way to the import's thread. A channel that closes without `Done` is an abort.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Done,
}

/// The import's end of the channel, as a reader.
pub(super) struct Feed {
    incoming: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    read: usize,
    done: bool,
    stall: Stall,
}

/// How long an import has waited for bytes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Stall(Arc<Mutex<Waited>>);

#[derive(Debug, Default)]
struct Waited {
    before: Duration,
    since: Option<Instant>,
}

impl Feed {
    /// Makes a feed, and the end that the bytes go into.
    pub(super) fn new() -> (mpsc::Sender<Piece>, Self) {
        let (pieces, incoming) = mpsc::channel(IMPORT_CHUNKS_QUEUED_MAX);
        let feed = Self {
            incoming,
            piece: Vec::new(),
            read: 0,
            done: false,
            stall: Stall::default(),
        };
        (pieces, feed)
    }

    /// Returns what tells how long it has waited.
    pub(super) fn stall(&self) -> Stall {
        self.stall.clone()
    }
}

impl Stall {
    /// Returns how long the import has waited for bytes altogether, up to now.
    pub(super) fn waited(&self) -> Duration {
        let waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waited.before + waited.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).since = Some(Instant::now());
        let came = wait();
        let mut waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = waited.since.take() {
            waited.before += since.elapsed();
        }
        came
    }
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() && !self.done {
            let incoming = &mut self.incoming;
            match self.stall.during(|| incoming.blocking_recv()) {
                Some(Piece::Bytes(bytes)) => {
                    self.piece = bytes;
                    self.read = 0;
                }
                Some(Piece::Done) => self.done = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the sender left",
                    ));
                }
            }
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waiting_for_bytes_counts() {
        let (pieces, mut feed) = Feed::new();
        let stall = feed.stall();
        assert_eq!(stall.waited(), Duration::ZERO);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            feed.read_to_end(&mut all).map(|_| all)
        });
        while stall.waited() == Duration::ZERO {
            std::thread::yield_now();
        }
        let before = stall.waited();
        while stall.waited() == before {
            std::thread::yield_now();
        }
        pieces.blocking_send(Piece::Bytes(vec![1, 2])).unwrap();
        pieces.blocking_send(Piece::Done).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), [1, 2]);
        let after = stall.waited();
        assert!(after > before);
        assert_eq!(stall.waited(), after, "a reader that has all waits no more");
    }

    #[test]
    fn so_many_chunks_wait() {
        let (pieces, _feed) = Feed::new();
        for _ in 0..IMPORT_CHUNKS_QUEUED_MAX {
            pieces.try_send(Piece::Bytes(vec![1])).unwrap();
        }
        assert!(pieces.try_send(Piece::Done).is_err(), "one more must wait");
    }

    #[test]
    fn a_sender_that_leaves_is_no_end() {
        let (pieces, mut feed) = Feed::new();
        drop(pieces);
        let error = feed.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
