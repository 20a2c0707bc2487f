//! [`Stats`]: totals over all that a store holds, from its catalog alone: no segment is opened.

use std::collections::BTreeSet;

use carrack_schema::Did;

use crate::catalog::RepoEntry;
use crate::error::Result;
use crate::store::Store;

/// Totals over all repos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Repos held.
    pub repos: u64,
    /// Records of their current revisions.
    pub records: u64,
    /// Revisions held of all repos.
    pub revisions: u64,
    /// Bytes of the CARs the current revisions came from.
    pub bytes_in: u64,
    /// Bytes that all their revisions take in segment files.
    pub bytes_stored: u64,
    /// Segment files.
    pub segments: u64,
    /// Of them, those with compressed pages.
    pub segments_cold: u64,
    /// Length of the segment files, with what no repo needs any more.
    pub bytes_segments: u64,
    /// Length of the catalog's file.
    pub bytes_catalog: u64,
    /// Segment files that hold something deleted and will be rewritten.
    pub purges: u64,
    /// When the first of them will be at the latest, in microseconds since the Unix epoch.
    pub purge_by: Option<i64>,
}

impl Store {
    /// Returns totals over all repos.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let catalog = &self.inner().catalog;
        let mut stats = Stats {
            bytes_catalog: catalog.bytes()?,
            ..Stats::default()
        };
        catalog.repos_after("", |_, entry| {
            stats.add(&entry);
            true
        })?;
        for (_, segment) in catalog.segments()? {
            stats.segments += 1;
            stats.segments_cold += u64::from(segment.cold);
            stats.bytes_segments += segment.bytes;
            stats.purges += u64::from(segment.purge_by.is_some());
            stats.purge_by = match (stats.purge_by, segment.purge_by) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(stats)
    }

    /// Returns totals over some repos. What is of the whole store is 0.
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    pub(crate) fn stats_among(&self, dids: &BTreeSet<Did>) -> Result<Stats> {
        let mut stats = Stats::default();
        for did in dids {
            if let Some(entry) = self.inner().catalog.repo(did)? {
                stats.add(&entry);
            }
        }
        Ok(stats)
    }
}

impl Stats {
    fn add(&mut self, entry: &RepoEntry) {
        self.repos += 1;
        self.revisions += entry.extents.len() as u64;
        let head = entry.head();
        self.records += u64::from(head.records.saturating_sub(head.deleted));
        self.bytes_in += head.bytes_in;
        let stored = entry.extents.iter().map(|each| each.bytes_stored);
        self.bytes_stored += stored.sum::<u64>();
    }
}
