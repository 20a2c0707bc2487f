//! [`Swap`]: the change of the catalog that puts a merge's segments in the place of what they were made from.
//!
//! What is not there any more as the merge read it stays as it is now.

use carrack_schema::Did;

use super::plan::Form;
use crate::catalog::{ExtentEntry, SegmentEntry, SegmentId, Tables};
use crate::error::Result;
use crate::ingest::publish::drop_all;
use crate::packer::PackedSegment;
use crate::retention::Retention;

/// An extent that was written again, and what it is to replace.
pub(super) struct Rewritten {
    /// Extents that follow each other, newest first.
    pub(super) old: Vec<ExtentEntry>,
    pub(super) form: Form,
    pub(super) rows: u32,
    pub(super) tombstones: u32,
    /// Which of the new segments it is in, and which extent there.
    pub(super) output: usize,
    pub(super) extent: usize,
}

/// What was written again of a repo, as it was then.
pub(super) struct RewrittenRepo {
    pub(super) did: Did,
    pub(super) deletions: u32,
    pub(super) extents: Vec<Rewritten>,
}

/// The change of the catalog that swaps a merge's segments in.
pub(super) struct Swap<'a, 't> {
    tables: &'a mut Tables<'t>,
    sealed: &'a [PackedSegment],
    retention: Retention,
    /// Of each new segment, what repos name of it.
    live: Vec<SegmentEntry>,
    dropped: Vec<ExtentEntry>,
    /// Whether something was deleted while the merge ran that it may have written.
    is_late: bool,
}

impl<'a, 't> Swap<'a, 't> {
    pub(super) fn new(
        tables: &'a mut Tables<'t>,
        sealed: &'a [PackedSegment],
        retention: Retention,
    ) -> Result<Self> {
        let live = sealed.iter().map(|segment| SegmentEntry {
            bytes: segment.bytes,
            cold: segment.cold,
            ..SegmentEntry::default()
        });
        Ok(Self {
            tables,
            live: live.collect(),
            sealed,
            retention,
            dropped: Vec::new(),
            is_late: false,
        })
    }

    pub(super) fn repo(&mut self, repo: &RewrittenRepo) -> Result<()> {
        let current = self.tables.repo(&repo.did)?;
        let Some(current) = current.filter(|row| row.deletions == repo.deletions) else {
            self.is_late |= !repo.extents.is_empty();
            return Ok(());
        };
        let mut entry = current.clone();
        let pruned = self.retention.prune_merged(&mut entry.extents);
        self.dropped.extend(pruned);
        let mut is_used = repo.extents.is_empty();
        for rewritten in &repo.extents {
            is_used |= self.extent(&mut entry.extents, rewritten);
        }
        // It may have been deleted and imported anew since.
        self.is_late |= !is_used;
        if entry == current {
            return Ok(());
        }
        self.tables.put_repo(&repo.did, Some(&current), &entry)
    }

    /// Puts an extent in the place of those it was made of, if they are there; says whether they were.
    fn extent(&mut self, extents: &mut Vec<ExtentEntry>, rewritten: &Rewritten) -> bool {
        let old = &rewritten.old;
        let is_run = |run: &[ExtentEntry]| run.iter().zip(old).all(|(a, b)| a.is(b));
        let at = extents.windows(old.len().max(1)).position(is_run);
        let sealed = self.sealed.get(rewritten.output);
        let live = self.live.get_mut(rewritten.output);
        let (Some(at), Some(sealed), Some(live)) = (at, sealed, live) else {
            return false;
        };
        let Some(first) = extents.get(at) else {
            return false;
        };
        let share = sealed.shares.get(rewritten.extent).copied().unwrap_or(0);
        live.extents += 1;
        live.live_bytes += share;
        // The row's own words, not those of then: a signature may have been checked meanwhile.
        let new = ExtentEntry {
            segment: sealed.id,
            is_diff: match rewritten.form {
                Form::Copy => first.is_diff,
                Form::Diff => true,
                Form::Full => false,
            },
            rows: rewritten.rows,
            tombstones: rewritten.tombstones,
            bytes_stored: share,
            ..first.clone()
        };
        self.dropped
            .extend(extents.splice(at..at + old.len(), [new]));
        true
    }

    /// Writes the segments' rows, and returns the new segments that nobody needs.
    pub(super) fn finish(self, purge_by: i64) -> Result<Vec<SegmentId>> {
        let mut unused = Vec::new();
        for (segment, mut entry) in self.sealed.iter().zip(self.live) {
            if entry.extents == 0 {
                unused.push(segment.id);
                continue;
            }
            entry.purge_by = self.is_late.then_some(purge_by);
            self.tables.put_segment(segment.id, &entry)?;
        }
        drop_all(self.tables, &self.dropped)?;
        Ok(unused)
    }
}
