//! [`Retention`]: which revisions of a repo are readable, and which of its extents are needed for that.

use carrack_repack::head::rev_text;
use carrack_schema::limits::{EXTENTS_FOLDED_TO, EXTENTS_MAX};
use carrack_schema::{Code, Tid};

use crate::catalog::ExtentEntry;
use crate::error::{Error, Result};
use crate::settings::StoreSettings;

/// How long revisions are readable, at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    revs: usize,
    /// What was imported after this is readable, however many came after.
    since: i64,
}

impl Retention {
    pub(crate) fn new(settings: &StoreSettings, now: i64) -> Self {
        Self {
            revs: settings.retention_revs.max(1),
            since: now.saturating_sub(settings.retention_micros()),
        }
    }

    /// Returns how many of a repo's revisions, newest first, are readable: at least one.
    pub(crate) fn retained(&self, extents: &[ExtentEntry]) -> usize {
        let young = extents
            .iter()
            .rposition(|extent| extent.imported > self.since);
        let by_age = young.map_or(0, |last| last + 1);
        self.revs.max(by_age).min(extents.len()).min(EXTENTS_MAX)
    }

    /// Returns how many revisions a merge keeps apart; the older ones may become one.
    pub(crate) fn kept_apart(&self, extents: &[ExtentEntry]) -> usize {
        let retained = self.retained(extents);
        if extents.len() >= EXTENTS_MAX {
            retained.min(EXTENTS_FOLDED_TO)
        } else {
            retained
        }
    }

    /// Returns how many extents a repo has beside the revisions that a merge keeps apart.
    pub(crate) fn unretained(&self, extents: &[ExtentEntry]) -> usize {
        extents.len().saturating_sub(self.kept_apart(extents))
    }

    /// Returns which extent is a revision's.
    ///
    /// # Errors
    /// `revNotRetained`.
    pub(crate) fn find(&self, extents: &[ExtentEntry], rev: Option<Tid>) -> Result<usize> {
        let retained = extents.get(..self.retained(extents)).unwrap_or_default();
        if let Some(at) = retained.iter().position(|extent| extent.rev == rev) {
            return Ok(at);
        }
        let oldest = retained.last().and_then(|extent| extent.rev);
        let words = format!(
            "the store holds no rev {} of this repo; the oldest it holds is {}",
            rev_text(rev),
            rev_text(oldest)
        );
        Err(Error::new(Code::RevNotRetained, words))
    }

    /// Leaves out the extents that no readable revision needs, and returns them. What they hold is in a newer full one.
    pub(crate) fn prune(&self, extents: &mut Vec<ExtentEntry>) -> Vec<ExtentEntry> {
        let kept = self.retained(extents);
        prune_to(extents, kept)
    }

    /// As [`prune`](Self::prune), for the revisions that a merge keeps apart.
    pub(crate) fn prune_merged(&self, extents: &mut Vec<ExtentEntry>) -> Vec<ExtentEntry> {
        let kept = self.kept_apart(extents);
        prune_to(extents, kept)
    }
}

fn prune_to(extents: &mut Vec<ExtentEntry>, kept: usize) -> Vec<ExtentEntry> {
    let full = full_from(extents, kept.saturating_sub(1));
    extents.split_off(full.saturating_add(1).min(extents.len()))
}

/// Returns the first full extent from one on: what the revision there is made of ends with it.
pub(crate) fn full_from(extents: &[ExtentEntry], from: usize) -> usize {
    let full = extents.iter().skip(from).position(|extent| !extent.is_diff);
    full.map_or(extents.len().saturating_sub(1), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::entry::tests::extent;

    const HOUR: i64 = 3_600 * 1_000_000;

    /// Extents of these ages in hours, newest first; a full one where the age is negative.
    fn extents(ages: &[i64]) -> Vec<ExtentEntry> {
        let extents = (0..).zip(ages).map(|(i, age)| ExtentEntry {
            imported: 1_000 * HOUR - age.abs() * HOUR,
            is_diff: *age >= 0,
            ..extent(100 - i)
        });
        extents.collect()
    }

    fn retention() -> Retention {
        let settings = StoreSettings {
            retention_revs: 3,
            retention_hours: 10,
            ..StoreSettings::default()
        };
        Retention::new(&settings, 1_000 * HOUR)
    }

    #[test]
    fn the_last_few_and_the_young_are_retained() {
        for (ages, retained) in [
            (&[-100][..], 1),
            (&[50, 60, 70, 80, -90], 3),
            (&[1, 2, 3, 4, 5, -9], 6),
            (&[1, 2, 3, 9, 10, -11], 4),
        ] {
            let extents = extents(ages);
            assert_eq!(retention().retained(&extents), retained, "{ages:?}");
            for (i, extent) in extents.iter().enumerate() {
                match retention().find(&extents, extent.rev) {
                    Ok(at) => assert!(at == i && i < retained, "{ages:?}"),
                    Err(error) => {
                        assert_eq!(error.code(), Code::RevNotRetained);
                        let oldest = rev_text(extents[retained - 1].rev);
                        assert!(error.to_string().ends_with(&oldest), "{error}");
                        assert!(i >= retained, "{ages:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_full_extent_stands_for_goes() {
        for (ages, kept) in [
            (&[50, 60, 70, 80, -90][..], 5),
            (&[50, 60, -70, 80, -90], 3),
            (&[50, -60, 70, -80, 90, -91], 4),
            (&[-50, -60], 2),
        ] {
            let mut extents = extents(ages);
            let all = extents.clone();
            let gone = retention().prune(&mut extents);
            assert_eq!(extents.len(), kept, "{ages:?}");
            assert_eq!([extents, gone].concat(), all);
        }
    }

    #[test]
    fn too_many_are_not_kept_apart() {
        let many = |count: usize| extents(&vec![1; count]);
        assert_eq!(
            retention().kept_apart(&many(EXTENTS_MAX - 1)),
            EXTENTS_MAX - 1
        );
        assert_eq!(
            retention().kept_apart(&many(EXTENTS_MAX)),
            EXTENTS_FOLDED_TO
        );
    }
}
