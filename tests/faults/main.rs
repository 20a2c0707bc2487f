//! What the store keeps when the disk or the power fails: crashes, errors, lies and damage, at every step of its I/O.
//!
//! The real store runs on directories in memory that a test owns. A test says what was asked of the store
//! ([`operation`]), works out what must be there ([`model`]), and reads all of it back through the store's own calls.
//! Nothing here mocks the store, and nothing waits for time to pass.
//!
//! To add an ability (a merge, a purge, a deletion): a variant of [`operation::Operation`] with what it asks and what it
//! makes of a model, and a line in [`workload::all`]. Every suite then runs it.
//!
//! Environment: `CARRACK_FAULTS=all` takes every step and more crash images instead of a sample; `CARRACK_SEED` and
//! `CARRACK_ROUNDS` are the random histories' seed and number. `--nocapture` shows what was counted.

mod crash;
mod damage;
mod errors;
mod histories;
mod lies;
mod model;
mod operation;
mod report;
mod workload;
mod worlds;

use std::sync::Arc;

use carrack_segment::Directory;
use carrack_store::{Clock, Error, Store, StoreSettings};

/// A clock that stands still: equal histories give equal catalogs.
struct Standing;

impl Clock for Standing {
    fn now(&self) -> i64 {
        // 2026-09-21, after every revision of the kit's.
        1_790_000_000_000_000
    }
}

/// Opens the store of a directory; `memory` is what an import keeps in memory before it spills into a file, in bytes.
pub(crate) fn open(directory: impl Directory + 'static, memory: usize) -> Result<Store, Error> {
    let settings = StoreSettings {
        import_memory_bytes: memory,
        ..StoreSettings::default()
    };
    Store::open_with(Arc::new(directory), Arc::new(Standing), settings)
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
