//! Which segments to merge: those that must be purged, else many of one size, else one that is mostly dead.

use std::collections::BTreeMap;

use carrack_schema::limits::{MERGE_SEGMENTS_MAX, MERGE_SEGMENTS_MIN};

use super::Work;
use crate::catalog::{SegmentEntry, SegmentId};

/// The segments of one merge are at most so many times apart in size.
const TIER_RATIO: u64 = 4;
/// Below this many bytes all segments are of one size: an import of a few records.
const TIER_BYTES_MIN: u64 = 64 << 10;

/// Returns the work of rewriting the segments that must be purged.
pub(super) fn purge_work(
    segments: Vec<(SegmentId, SegmentEntry)>,
    is_due: impl Fn(SegmentId, i64) -> bool,
) -> Work {
    let due: Vec<_> = segments
        .into_iter()
        .filter(|(id, entry)| entry.purge_by.is_some_and(|by| is_due(*id, by)))
        .take(MERGE_SEGMENTS_MAX)
        .collect();
    Work {
        cold: !due.is_empty() && due.iter().all(|(_, entry)| entry.cold),
        sources: due.into_iter().map(|(id, _)| id).collect(),
        ..Work::default()
    }
}

/// Picks segments to merge: many of one size, else one that is more than half of it dead.
pub(super) fn pick(segments: Vec<(SegmentId, SegmentEntry)>, target: u64) -> Option<Work> {
    let mut tiers: BTreeMap<(bool, u32), Vec<(SegmentId, SegmentEntry)>> = BTreeMap::new();
    let mut dead = None;
    for (id, entry) in segments {
        if entry.live_bytes < entry.bytes / 2 {
            dead.get_or_insert((id, entry));
        }
        if entry.live_bytes <= target / 2 {
            let tier = (entry.live_bytes / TIER_BYTES_MIN)
                .checked_ilog(TIER_RATIO)
                .map_or(0, |tier| tier + 1);
            tiers
                .entry((entry.cold, tier))
                .or_default()
                .push((id, entry));
        }
    }
    let merge = |picked: &[(SegmentId, SegmentEntry)]| Work {
        cold: picked.iter().all(|(_, entry)| entry.cold),
        sources: picked.iter().map(|(id, _)| *id).collect(),
        ..Work::default()
    };
    for tier in tiers.values() {
        let mut bytes = 0;
        let fit = tier
            .iter()
            .take(MERGE_SEGMENTS_MAX)
            .take_while(|(_, entry)| {
                bytes += entry.live_bytes;
                bytes <= target
            });
        // Of the largest two fill a segment, and waiting for more would save nothing.
        let fit = fit.count();
        let is_full = fit < tier.len() && fit >= 2;
        if fit >= MERGE_SEGMENTS_MIN || is_full {
            return tier.get(..fit).map(merge);
        }
    }
    dead.map(|dead| merge(&[dead]))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn segments(sizes: &[u64]) -> Vec<(SegmentId, SegmentEntry)> {
        let segments = (1..).zip(sizes).map(|(i, &bytes)| {
            let entry = SegmentEntry {
                bytes,
                live_bytes: bytes,
                extents: 1,
                ..SegmentEntry::default()
            };
            (SegmentId(ulid::Ulid(i)), entry)
        });
        segments.collect()
    }

    fn picked(segments: Vec<(SegmentId, SegmentEntry)>) -> Vec<u128> {
        let work = pick(segments, 256 << 20).unwrap_or_default();
        let mut ids: Vec<u128> = work.sources.iter().map(|id| id.0.0).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn many_of_one_size_are_merged_and_few_are_not() {
        const MIB: u64 = 1 << 20;
        let small = |count: usize| picked(segments(&vec![4_000; count])).len();
        assert_eq!(small(MERGE_SEGMENTS_MIN - 1), 0);
        assert_eq!(small(MERGE_SEGMENTS_MIN), MERGE_SEGMENTS_MIN);
        assert_eq!(small(MERGE_SEGMENTS_MAX), MERGE_SEGMENTS_MAX);
        assert_eq!(small(MERGE_SEGMENTS_MAX + 1), MERGE_SEGMENTS_MAX);
        // One large segment among small ones is left alone.
        let mut sizes = vec![4_000; 8];
        sizes.insert(3, 50 * MIB);
        assert_eq!(picked(segments(&sizes)), [1, 2, 3, 5, 6, 7, 8, 9]);
        // As many as fill a segment.
        assert_eq!(picked(segments(&[100 * MIB; 5])).len(), 2);
        assert_eq!(picked(segments(&[200 * MIB; 50])), [0_u128; 0]);
    }

    #[test]
    fn a_purge_takes_so_many_at_a_time() {
        let due = |count: usize| {
            let mut segments = segments(&vec![4_000; count]);
            for (_, entry) in &mut segments {
                entry.purge_by = Some(0);
            }
            purge_work(segments, |_, _| true).sources.len()
        };
        assert_eq!(due(MERGE_SEGMENTS_MAX), MERGE_SEGMENTS_MAX);
        assert_eq!(due(MERGE_SEGMENTS_MAX + 1), MERGE_SEGMENTS_MAX);
    }

    #[test]
    fn a_segment_that_is_mostly_dead_is_rewritten() {
        let mut all = segments(&[1_000_000; 3]);
        all[1].1.live_bytes = 499_999;
        assert_eq!(picked(all), [2]);
    }

    #[test]
    fn a_byte_is_written_a_few_times_only() {
        // As imports come, one by one, each of 300 KB; merges are done at once.
        const TARGET: u64 = 64 << 20;
        let (mut sizes, mut written) = (Vec::new(), 0);
        for import in 0..2_000 {
            sizes.push(300_000 + import % 2);
            while let Some(work) = pick(segments(&sizes), TARGET) {
                let ids: HashSet<usize> =
                    work.sources.iter().map(|id| id.0.0 as usize - 1).collect();
                let merged: u64 = ids.iter().map(|&i| sizes[i]).sum();
                let mut at = 0;
                sizes.retain(|_| {
                    at += 1;
                    !ids.contains(&(at - 1))
                });
                sizes.push(merged);
                written += merged;
            }
        }
        let total = 2_000 * 300_001;
        assert!(written <= 4 * total, "{written} bytes written for {total}");
        assert!(sizes.len() <= 60, "{sizes:?}");
    }
}
