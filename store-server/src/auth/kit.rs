//! What the tests of grants share: a clock that stands still until it is told, a store with it, and scopes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carrack_segment::{Directory, Fs};

use super::scope::Scope;
use crate::clock::Clock;
use crate::store::Store;

pub(super) const SECOND: i64 = 1_000_000;

/// Some time in 2027.
pub(super) const START: i64 = 1_800_000_000 * SECOND;

pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START)))
    }

    pub(super) fn pass(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) clock: Arc<TestClock>,
    store: Option<Store>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: TestClock::new(),
            store: None,
        };
        world.reopen();
        world
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Drops the store as a crash would, and opens it again.
    pub(super) fn reopen(&mut self) {
        self.store = None;
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(self.folder.path()).unwrap());
        self.store = Some(Store::open(directory, self.clock.clone()).unwrap());
    }
}

/// All that the issuer may, changed a little.
pub(super) fn scope(change: impl FnOnce(&mut Scope)) -> Scope {
    let mut scope = Scope::everything();
    change(&mut scope);
    scope
}
