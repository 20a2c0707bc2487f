//! What the store keeps when the disk or the power fails: crashes, errors, lies and damage, at every step of its I/O.
//!
//! The real store runs on directories in memory that a test owns. A test says what was asked of the store
//! ([`operation`]), works out what must be there ([`model`]), and reads all of it back through the store's own calls.
//! Nothing here mocks the store, and nothing waits for time to pass.
//!
//! To add an ability: a variant of [`operation::Operation`] with what it asks and what it makes of a model, and a line in
//! [`workload::all`]. Every suite then runs it.
//!
//! Environment: `CARRACK_FAULTS=all` takes every step and more crash images instead of a sample; `CARRACK_SEED` and
//! `CARRACK_ROUNDS` are the random histories' seed and number. `--nocapture` shows what was counted.

mod backups;
mod crash;
mod damage;
mod errors;
mod histories;
mod lies;
mod model;
mod operation;
mod purged;
mod races;
mod report;
mod threads;
mod workload;
mod worlds;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carrack_segment::Directory;
use carrack_store::{Clock, Error, Store, StoreSettings};

/// A clock that moves when it is told: equal histories give equal catalogs. Microseconds since the Unix epoch.
pub(crate) struct Standing(AtomicI64);

/// When every history begins: 2026-09-21, after every revision of the kit's.
pub(crate) const START: i64 = 1_790_000_000_000_000;
/// An hour in microseconds.
pub(crate) const HOUR: i64 = 3_600 * 1_000_000;

impl Clock for Standing {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A store with its clock.
pub(crate) struct Opened {
    store: Store,
    clock: Arc<Standing>,
}

impl Deref for Opened {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Opened {
    /// Lets time pass, in microseconds.
    pub(crate) fn pass(&self, micros: i64) {
        self.clock.0.fetch_add(micros, Ordering::Relaxed);
    }
}

/// What of the settings a test chooses, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// What an import keeps in memory before it spills into a file.
    pub(crate) memory: usize,
    /// What a merged segment aims for. Two segments that fill it are merged; else it takes eight of a size.
    pub(crate) segment: u64,
}

/// The sizes that the store has by itself.
pub(crate) const DEFAULT_SIZES: Sizes = Sizes {
    memory: carrack_schema::limits::IMPORT_MEMORY_BYTES,
    segment: carrack_schema::limits::SEGMENT_BYTES_TARGET,
};

/// Opens the store of a directory at a time.
pub(crate) fn open(
    directory: impl Directory + 'static,
    sizes: Sizes,
    now: i64,
) -> Result<Opened, Error> {
    let settings = StoreSettings {
        import_memory_bytes: sizes.memory,
        segment_bytes_target: sizes.segment,
        ..StoreSettings::default()
    };
    let clock = Arc::new(Standing(AtomicI64::new(now)));
    let store = Store::open_with(Arc::new(directory), clock.clone(), settings)?;
    Ok(Opened { store, clock })
}

/// Says whether to take every step and not a sample.
pub(crate) fn takes_all() -> bool {
    std::env::var("CARRACK_FAULTS").is_ok_and(|text| text == "all")
}

/// Returns a number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}=`{text}` is no number")),
        Err(_) => default,
    }
}
