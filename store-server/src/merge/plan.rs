//! What to do with the extents of one repo: [`steps`], each of which writes one new extent in the place of a run of old
//! ones.
//!
//! Revisions that are retained stay apart. What is older than the oldest of them is folded into it: into one diff while
//! that is small beside the full extent below it, else into a full one. So a large repo with small changes is not
//! written again for each of them, but once half of it has changed.

use std::collections::HashSet;
use std::ops::Range;

use crate::catalog::{ExtentEntry, SegmentId};
use crate::retention::{Retention, full_from};

/// What a new extent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The same rows as the one old extent.
    Copy,
    /// What the old extents together change of what is below them.
    Diff,
    /// All rows of the revision.
    Full,
}

/// A run of old extents, and the form of the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) run: Range<usize>,
    pub(super) form: Form,
}

/// Returns what to do so that no extent that is needed is left in `sources`. `fold` asks for it whatever it costs.
pub(super) fn steps(
    extents: &[ExtentEntry],
    sources: &HashSet<SegmentId>,
    retention: &Retention,
    fold: bool,
) -> Vec<Step> {
    let oldest = retention.kept_apart(extents).saturating_sub(1);
    let full = full_from(extents, oldest);
    let is_source = |extent: &ExtentEntry| sources.contains(&extent.segment);
    let folded = fold_step(extents, oldest, full, fold, is_source);
    let until = folded.as_ref().map_or(full + 1, |step| step.run.start);
    let after = folded.as_ref().map_or(full + 1, |step| step.run.end);
    let copies = (0..until)
        .chain(after..full + 1)
        .filter(|&at| extents.get(at).is_some_and(is_source))
        .map(|at| Step {
            run: at..at + 1,
            form: Form::Copy,
        });
    let mut steps: Vec<Step> = copies.chain(folded).collect();
    steps.sort_by_key(|step| step.run.start);
    steps
}

/// Returns how what is older than the oldest revision that stays apart is folded into it, if it is.
fn fold_step(
    extents: &[ExtentEntry],
    oldest: usize,
    full: usize,
    fold: bool,
    is_source: impl Fn(&ExtentEntry) -> bool,
) -> Option<Step> {
    if oldest == full {
        return None;
    }
    let rows = |extent: &ExtentEntry| u64::from(extent.rows) + u64::from(extent.tombstones);
    let diffs = extents.get(oldest..full)?;
    let base = extents.get(full)?;
    if !fold && !is_source(base) && !diffs.iter().any(&is_source) {
        return None;
    }
    let changed: u64 = diffs.iter().map(rows).sum();
    if is_source(base) || changed >= rows(base) / 2 {
        return Some(Step {
            run: oldest..full + 1,
            form: Form::Full,
        });
    }
    // One diff alone has nothing to be folded with.
    (diffs.len() > 1).then_some(Step {
        run: oldest..full,
        form: Form::Diff,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::entry::tests::extent;
    use crate::settings::StoreSettings;

    /// Extents with these rows, newest first, each in a segment of its own; the last is full.
    fn extents(rows: &[u32]) -> Vec<ExtentEntry> {
        let last = rows.len() - 1;
        let extents = rows.iter().enumerate().map(|(i, &rows)| ExtentEntry {
            is_diff: i < last,
            rows,
            tombstones: 0,
            ..extent(100 - i as u64)
        });
        extents.collect()
    }

    fn check(rows: &[u32], sources: &[usize], fold: bool, expected: &[(Range<usize>, Form)]) {
        let extents = extents(rows);
        let settings = StoreSettings {
            retention_revs: 2,
            ..StoreSettings::default()
        };
        let retention = Retention::new(&settings, i64::MAX);
        let sources = sources.iter().map(|&i| extents[i].segment).collect();
        let expected: Vec<Step> = expected
            .iter()
            .map(|(run, form)| Step {
                run: run.clone(),
                form: *form,
            })
            .collect();
        assert_eq!(steps(&extents, &sources, &retention, fold), expected);
    }

    #[test]
    fn retained_revisions_stay_apart_and_older_ones_are_folded() {
        use Form::{Copy, Diff, Full};
        check(&[100], &[0], false, &[(0..1, Copy)]);
        check(&[1, 100], &[0, 1], false, &[(0..1, Copy), (1..2, Copy)]);
        check(&[1, 100], &[], true, &[]);
        check(&[1, 1, 1, 1, 100], &[], false, &[]);
        check(&[1, 1, 1, 1, 100], &[], true, &[(1..4, Diff)]);
        check(&[1, 1, 1, 1, 100], &[2], false, &[(1..4, Diff)]);
        check(&[1, 1, 1, 1, 100], &[0], false, &[(0..1, Copy)]);
        check(&[1, 20, 20, 20, 100], &[], true, &[(1..5, Full)]);
        check(
            &[1, 1, 1, 1, 100],
            &[0, 4],
            false,
            &[(0..1, Copy), (1..5, Full)],
        );
        check(&[1, 1, 100], &[], true, &[]);
        check(&[1, 1, 100], &[1], false, &[(1..2, Copy)]);
    }
}
