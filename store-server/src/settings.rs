//! [`StoreSettings`]: what an owner may choose about its store. Plain data; the defaults and their reasons are in
//! `limits.rs`.

use std::time::Duration;

use carrack_schema::limits::{
    DISK_FLOOR_BYTES, IMPORT_MEMORY_BYTES, IMPORT_STALL_SECONDS_MAX, IMPORT_WAIT_SECONDS_MAX,
    MERGE_BYTES_PER_SECOND, PURGE_HOURS, RETENTION_HOURS, RETENTION_REVS, SEGMENT_BYTES_TARGET,
    SEGMENTS_OPEN_MAX,
};

/// Microseconds in an hour.
const HOUR_MICROS: i64 = 3_600 * 1_000_000;

/// What an owner may choose about its store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Bytes of blocks that one import keeps in memory before it goes on in a file in `DATA/tmp`.
    pub import_memory_bytes: usize,
    /// How long an import waits for a place among those that run.
    pub import_wait: Duration,
    /// How long an upload may keep its place waiting for bytes altogether, while others wait for a place.
    pub import_stall: Duration,
    /// Bytes of the disk that imports and backups leave free.
    pub disk_floor_bytes: u64,
    /// Revisions of a repo that stay readable, the current one among them.
    pub retention_revs: usize,
    /// Hours since its import in which a revision stays readable, however many came after.
    pub retention_hours: u32,
    /// Hours after a deletion within which the bytes are off the disk.
    pub purge_hours: u32,
    /// Bytes a second that merging in the background may write.
    pub merge_bytes_per_second: u64,
    /// Bytes that a merged segment aims for.
    pub segment_bytes_target: u64,
    /// Segments kept open for whoever reads next.
    pub segments_open_max: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            import_memory_bytes: IMPORT_MEMORY_BYTES,
            import_wait: Duration::from_secs(IMPORT_WAIT_SECONDS_MAX),
            import_stall: Duration::from_secs(IMPORT_STALL_SECONDS_MAX),
            disk_floor_bytes: DISK_FLOOR_BYTES,
            retention_revs: RETENTION_REVS,
            retention_hours: RETENTION_HOURS,
            purge_hours: PURGE_HOURS,
            merge_bytes_per_second: MERGE_BYTES_PER_SECOND,
            segment_bytes_target: SEGMENT_BYTES_TARGET,
            segments_open_max: SEGMENTS_OPEN_MAX,
        }
    }
}

impl StoreSettings {
    /// Returns `retention_hours` in microseconds.
    pub(crate) fn retention_micros(&self) -> i64 {
        i64::from(self.retention_hours) * HOUR_MICROS
    }

    /// Returns `purge_hours` in microseconds.
    pub(crate) fn purge_micros(&self) -> i64 {
        i64::from(self.purge_hours) * HOUR_MICROS
    }
}
