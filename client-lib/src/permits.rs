//! [`Permits`]: how many calls of one client are under way at once.
//!
//! They keep the actor's inbox bounded, and honest clients below the server's own limit: one that has reached it waits
//! here instead of being answered `overloaded`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Calls under way before the next waits, until the server has said how many it takes.
const CALLS_DEFAULT: usize = 256;
/// Uploads, exports and whatever else pushes, under way at once. They have permits of their own, so that calls made
/// between two items of a stream never wait for the stream.
const STREAMS_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Permits {
    calls: Arc<Semaphore>,
    calls_max: AtomicUsize,
    streams: Arc<Semaphore>,
}

impl Permits {
    pub(crate) fn new() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_DEFAULT)),
            calls_max: AtomicUsize::new(CALLS_DEFAULT),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Waits until one more call may be under way.
    pub(crate) async fn call(&self) -> Result<OwnedSemaphorePermit> {
        let permit = self.calls.clone().acquire_owned().await;
        permit.map_err(|_| Error::gone())
    }

    /// Waits until one more stream may be under way.
    pub(crate) async fn stream(&self) -> Result<OwnedSemaphorePermit> {
        let permit = self.streams.clone().acquire_owned().await;
        permit.map_err(|_| Error::gone())
    }

    /// Takes over what a server said: how many calls of a session it takes, streams among them; 0 if it did not say.
    pub(crate) fn adapt(&self, calls_max: u32) {
        if calls_max == 0 {
            return;
        }
        let wanted = (calls_max as usize).saturating_sub(STREAMS_MAX).max(1);
        let wanted = wanted.min(Semaphore::MAX_PERMITS);
        let before = self.calls_max.swap(wanted, Ordering::Relaxed);
        if wanted > before {
            self.calls.add_permits(wanted - before);
        } else {
            // Those that are taken are not forgotten; they stay until the server is asked again.
            let forgotten = self.calls.forget_permits(before - wanted);
            self.calls_max
                .fetch_add(before - wanted - forgotten, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_the_last_word() {
        let permits = Permits::new();
        permits.adapt(0);
        assert_eq!(permits.calls.available_permits(), CALLS_DEFAULT);
        permits.adapt(1_024);
        assert_eq!(permits.calls.available_permits(), 1_024 - STREAMS_MAX);
        permits.adapt(40);
        assert_eq!(permits.calls.available_permits(), 40 - STREAMS_MAX);
        permits.adapt(1);
        assert_eq!(permits.calls.available_permits(), 1);
    }

    #[test]
    fn what_is_under_way_is_not_taken_back() {
        let permits = Permits::new();
        let taken: Vec<_> = (0..CALLS_DEFAULT)
            .map(|_| permits.calls.clone().try_acquire_owned().unwrap())
            .collect();
        permits.adapt(40);
        drop(taken);
        assert_eq!(permits.calls.available_permits(), CALLS_DEFAULT);
        permits.adapt(40);
        assert_eq!(permits.calls.available_permits(), 40 - STREAMS_MAX);
    }
}
