//! [`Clock`]: the time, given to the store so that tests own it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the store takes the time from.
pub trait Clock: Send + Sync {
    /// Returns the time in microseconds since the Unix epoch.
    fn now(&self) -> i64;
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
