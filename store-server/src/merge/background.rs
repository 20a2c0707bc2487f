//! The thread that merges as merges are due, and how fast it may.
//!
//! It holds the store only while it merges, so that a store nobody else uses goes; and it ends when the store closes.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use carrack_schema::Code;

use crate::error::{Error, Result};
use crate::store::{Inner, Store};
use crate::throttle::TokenBucket;

/// How long the thread waits when nothing is due and nobody wakes it: for purges and revisions whose time has come.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest pause of a merge at a time: between them it looks whether the store is closing.
const SLICE: Duration = Duration::from_millis(100);
/// Bytes between two looks at the clock.
const SPEND_BYTES: u64 = 256 << 10;
/// How many times a byte counts while an import runs.
const IMPORT_TIMES: u64 = 4;

/// Wakes whoever waits.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Returns when it was raised since the last wait, or after some time.
    pub(crate) fn wait(&self, time: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut raised, _) = self
            .changed
            .wait_timeout_while(raised, time, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        *raised = false;
    }
}

/// How fast a merge may go.
pub(super) struct Pace<'a> {
    store: &'a Store,
    bucket: Option<TokenBucket>,
    spent: u64,
}

impl<'a> Pace<'a> {
    /// As fast as it can.
    pub(super) fn unlimited(store: &'a Store) -> Self {
        Self {
            store,
            bucket: None,
            spent: 0,
        }
    }

    /// As fast as the settings say.
    fn limited(store: &'a Store) -> Self {
        let rate = store.inner().settings.merge_bytes_per_second;
        Self {
            bucket: Some(TokenBucket::new(rate, store.inner().clock.now())),
            ..Self::unlimited(store)
        }
    }

    /// Counts bytes that were written, and waits if they were too many.
    ///
    /// # Errors
    /// `unavailable` if the store is closing.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<()> {
        self.spent += bytes;
        if self.spent < SPEND_BYTES {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.spent);
        self.store.check_open()?;
        let Some(bucket) = &mut self.bucket else {
            return Ok(());
        };
        let times = if self.store.imports() > 0 {
            IMPORT_TIMES
        } else {
            1
        };
        let now = self.store.inner().clock.now();
        let mut wait = Duration::from_micros(bucket.spend(bytes, times, now));
        while !wait.is_zero() {
            let slice = wait.min(SLICE);
            std::thread::sleep(slice);
            wait = wait.saturating_sub(slice);
            self.store.check_open()?;
        }
        Ok(())
    }
}

impl Store {
    /// Starts the threads that merge in the background and keep the books. They end when the store is closed, or nobody
    /// else uses it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start_background(&self) -> Result<()> {
        let (weak, signal) = (self.downgrade(), self.inner().merges.signal.clone());
        std::thread::Builder::new()
            .name("carrack-merge".into())
            .spawn(move || run(&weak, &signal))
            .map_err(|error| Error::because(Code::Unavailable, "no thread to merge", error))?;
        self.start_books()
    }
}

fn run(store: &Weak<Inner>, signal: &Arc<Signal>) {
    let mut is_first = true;
    loop {
        let Some(store) = Store::upgrade(store) else {
            return;
        };
        if store.is_closing() {
            return;
        }
        let merged = if std::mem::take(&mut is_first) {
            store.find_long_repos().map(|()| true)
        } else {
            store.merge_next(&mut Pace::limited(&store))
        };
        let more = merged.unwrap_or_else(|error| {
            if !store.is_closing() {
                tracing::warn!(error = error.chain(), "a merge failed");
            }
            false
        });
        drop(store);
        if !more {
            signal.wait(PAUSE);
        }
    }
}

impl Store {
    /// Looks once through all repos for those with many extents: who opens a store does not know them.
    fn find_long_repos(&self) -> Result<()> {
        let mut long = Vec::new();
        self.inner().catalog.repos_after("", |did, entry| {
            if entry.extents.len() > 1
                && let Ok(did) = did.parse()
            {
                long.push((did, entry.extents.len()));
            }
            !self.is_closing()
        })?;
        for (did, extents) in long {
            self.note_extents(&did, extents);
        }
        Ok(())
    }
}
