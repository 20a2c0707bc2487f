//! What the store knows of a repo when an import begins, and the change of the catalog that ends it.
//!
//! Between the two others may have come: then the import is refused, or made anew over what is there now.

use carrack_repo::AnyCommit;
use carrack_schema::limits::EXTENTS_MAX;
use carrack_schema::{Cid, Code, Did};

use super::admission::admit;
use super::pack::Packed;
use super::signature::Judgement;
use super::{ImportRequest, Outcome, Report, status};
use crate::catalog::{Deletions, ExtentEntry, RepoEntry, SegmentEntry, SegmentId, Tables};
use crate::changes::ChangeKind;
use crate::error::{Error, Result};
use crate::store::{Repo, Store, Summary};
use crate::verdict::Verdict;

/// What the store knows of a repo when an import begins.
#[derive(Default)]
pub(super) struct Known {
    pub(super) row: Option<RepoEntry>,
    /// The stored revision, if all of it can be read: one that cannot helps no import.
    pub(super) base: Option<Repo>,
    /// Why it cannot be read.
    pub(super) unreadable: Option<Error>,
    pub(super) deletions: Deletions,
}

impl Known {
    /// Says whether a repo is still what an import was made for.
    fn holds(&self, current: Option<&RepoEntry>, is_diff: bool) -> bool {
        let deletions = |row: Option<&RepoEntry>| row.map_or(0, |row| row.deletions);
        let row = self.row.as_ref();
        // A deletion that the import did not know of may be of a record that it wrote.
        deletions(row) == deletions(current)
            && (!is_diff || same_revision(row, current))
            && (self.is_readable() || self.row.as_ref() == current)
    }

    fn is_readable(&self) -> bool {
        self.row.is_none() || self.base.is_some()
    }
}

/// Says whether two rows have the same current revision; where it lies may have changed.
fn same_revision(left: Option<&RepoEntry>, right: Option<&RepoEntry>) -> bool {
    let what = |row: &RepoEntry| {
        let head = row.head();
        (head.rev, head.commit, head.imported, head.missing)
    };
    left.map(what) == right.map(what)
}

/// An import's part of the new row.
pub(super) struct Import<'a> {
    pub(super) commit: &'a AnyCommit,
    pub(super) root: Cid,
    pub(super) judgement: &'a Judgement,
    pub(super) request: &'a ImportRequest,
    pub(super) blocks: u32,
    pub(super) bytes_in: u64,
    pub(super) now: i64,
}

impl Store {
    /// Reads what is known of a repo.
    pub(super) fn known(&self, did: &Did) -> Result<Known> {
        let mut row = self.inner().catalog.repo_and_deletions(did)?;
        if row
            .as_ref()
            .is_some_and(|(row, _)| row.extents.len() >= EXTENTS_MAX)
        {
            self.fold(did)?;
            row = self.inner().catalog.repo_and_deletions(did)?;
        }
        let Some((row, deletions)) = row else {
            return Ok(Known::default());
        };
        // Another import may have come between; it is seen when this one ends.
        let is_of_row = |base: &Repo| {
            let head = base.chain().head().map(|head| head.entry());
            head.is_ok_and(|head| {
                (head.commit, head.imported) == (row.head().commit, row.head().imported)
            })
        };
        let sound = || self.stored(did).and_then(Repo::sound);
        let found = sound().or_else(|_| {
            // What cannot be read, the import lets go of with all revisions that need it: so it is looked at twice.
            let extents = row.extents.iter();
            extents.for_each(|extent| self.inner().segments.forget(extent.segment));
            self.inner().snapshots.clear();
            sound()
        });
        let (base, unreadable) = match found {
            Ok(base) => (base.filter(is_of_row), None),
            Err(error) => (None, Some(error)),
        };
        // Something may have been deleted between the two looks: then the base does not show it, and nobody misses it.
        let deletions = base
            .as_ref()
            .map_or(deletions, |base| base.deletions().clone());
        Ok(Known {
            row: Some(row),
            base,
            unreadable,
            deletions,
        })
    }

    /// Puts a packed revision into the catalog; none if the repo is not what it was when the import began.
    ///
    /// # Errors
    /// `olderRev` and `fork`, if another import came first; `unknownOutcome`.
    pub(super) fn publish(
        &self,
        known: Known,
        import: &Import<'_>,
        packed: &Packed,
    ) -> Result<Option<RepoEntry>> {
        let did = import.commit.did().clone();
        let (commit, root) = (import.commit.clone(), import.root);
        let (judgement, request) = (import.judgement.clone(), import.request.clone());
        let (extent, segment) = (extent(import, packed), segment(packed));
        let (retention, of) = (self.retention(), did.clone());
        let published = self.change(move |tables| {
            // Whoever takes an authority back knows it taken back before its own change is made.
            request.check()?;
            let current = tables.repo(&did)?;
            // One of the same commit is replaced by its equal.
            admit(&commit, root, current.as_ref())?;
            if !known.holds(current.as_ref(), extent.is_diff) {
                return Ok(None);
            }
            let id = extent.segment;
            let (handle, claims) = claim(tables, &judgement, &request, &did, current.as_ref())?;
            let mut entry = RepoEntry {
                handle,
                status: status(current.as_ref(), &request),
                deletions: current.as_ref().map_or(0, |current| current.deletions),
                extents: vec![extent],
            };
            let mut dropped = Vec::new();
            for older in current.iter().flat_map(|current| &current.extents) {
                // The same commit takes its own place; and what cannot be read is of no use to anyone.
                if older.commit == root || !known.is_readable() {
                    dropped.push(older.clone());
                } else {
                    entry.extents.push(older.clone());
                }
            }
            dropped.extend(retention.prune(&mut entry.extents));
            tables.put_segment(id, &segment)?;
            tables.put_repo(&did, current.as_ref(), &entry)?;
            if claims {
                tables.claim(&did, &entry.handle)?;
            }
            drop_all(tables, &dropped)?;
            Ok(Some((current, entry)))
        })?;
        Ok(published.map(|(before, entry)| {
            self.tell(&of, ChangeKind::Imported, before.as_ref(), Some(&entry));
            entry
        }))
    }

    /// Takes what an import of the stored commit says anew: a verdict on its signature, a handle, a status. None if the
    /// repo is at another commit by now.
    pub(super) fn learn(&self, base: &Repo, import: &Import<'_>) -> Result<Option<Outcome>> {
        let did = base.summary().did.clone();
        let root = import.root;
        let (judgement, request) = (import.judgement.clone(), import.request.clone());
        let learned = self.change(move |tables| {
            request.check()?;
            let Some(current) = tables.repo(&did)?.filter(|row| row.head().commit == root) else {
                return Ok(None);
            };
            let mut entry = current.clone();
            if let (Verdict::Valid { .. }, Some(head)) =
                (&judgement.verdict, entry.extents.first_mut())
            {
                head.verdict = judgement.verdict.clone();
            }
            let (handle, claims) = claim(tables, &judgement, &request, &did, Some(&current))?;
            entry.handle = handle;
            entry.status = status(Some(&current), &request);
            if entry != current {
                tables.put_repo(&did, Some(&current), &entry)?;
            }
            if claims {
                tables.claim(&did, &entry.handle)?;
            }
            Ok(Some((current, entry)))
        })?;
        let Some((before, entry)) = learned else {
            return Ok(None);
        };
        if entry != before {
            let did = &base.summary().did;
            self.tell(did, ChangeKind::Status, Some(&before), Some(&entry));
        }
        Ok(Some(Outcome::Unchanged(Report {
            summary: Summary::new(base.summary().did.clone(), &entry),
            collections: base.collections()?,
        })))
    }

    /// Removes a sealed segment that did not get into the catalog.
    pub(crate) fn discard(&self, id: SegmentId) {
        if let Err(error) = self.inner().directory.unlink(&id.file()) {
            // Harmless: the next opening removes files that the catalog does not name.
            tracing::warn!(%error, file = id.file(), "cannot remove an unused segment");
        }
    }
}

/// Returns the handle that a repo has after an import, and whether the import claims it: one that a repo has which is none
/// of the importer's business stays with that.
fn claim(
    tables: &Tables<'_>,
    judgement: &Judgement,
    request: &ImportRequest,
    did: &Did,
    current: Option<&RepoEntry>,
) -> Result<(String, bool)> {
    let (handle, claims) = (judgement.handle(current), judgement.claims());
    let Some(guard) = request.guard.as_ref().filter(|_| claims) else {
        return Ok((handle, claims));
    };
    let claimant = tables.claimant(&handle)?;
    if claimant.is_none_or(|claimant| claimant == *did || guard.may_take_from(&claimant)) {
        return Ok((handle, true));
    }
    let known = current.map(|current| current.handle.clone());
    Ok((known.unwrap_or_default(), false))
}

/// Takes extents off their segments.
pub(crate) fn drop_all(tables: &mut Tables<'_>, extents: &[ExtentEntry]) -> Result<()> {
    extents
        .iter()
        .try_for_each(|extent| tables.drop_extent(extent))
}

fn extent(import: &Import<'_>, packed: &Packed) -> ExtentEntry {
    ExtentEntry {
        segment: packed.segment.id,
        rev: import.commit.rev(),
        commit: import.root,
        is_diff: packed.is_diff,
        rows: packed.rows,
        tombstones: packed.tombstones,
        records: packed.tally.records,
        missing: packed.tally.missing,
        invalid: packed.invalid,
        deleted: packed.tally.deleted,
        blocks: import.blocks,
        bytes_in: import.bytes_in,
        bytes_stored: packed.segment.bytes,
        imported: import.now,
        verdict: import.judgement.verdict.clone(),
    }
}

fn segment(packed: &Packed) -> SegmentEntry {
    SegmentEntry {
        bytes: packed.segment.bytes,
        live_bytes: packed.segment.bytes,
        extents: 1,
        purge_by: None,
        cold: packed.segment.cold,
    }
}

/// Says that the repo changed under an import too often.
pub(super) fn busy() -> Error {
    Error::new(
        Code::Overloaded,
        "the repo changed again and again while it was imported; import again",
    )
}
