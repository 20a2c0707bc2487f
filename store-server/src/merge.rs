//! Merging: small segments into larger ones, old revisions into one, and out with what was deleted.
//!
//! A merge writes new segments from the extents that repos name, proving each record again, and swaps them in by one
//! change of the catalog. It may only ever replace what it read: where a repo was imported anew, or something of it was
//! deleted meanwhile, the catalog goes on naming the old extents. A crash leaves the old set or the new one, and files
//! that the next opening removes. One merge runs at a time; [`background`] runs them as they are due, [`plan`] says
//! what to do with the extents of one repo.

pub(crate) mod background;
mod outputs;
mod pick;
mod plan;
mod swap;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use carrack_repack::head::split_extent_key;
use carrack_schema::limits::{EXTENTS_UNRETAINED_MAX, MERGE_SEGMENTS_MAX};
use carrack_schema::{Code, Did};

use self::background::{Pace, Signal};
use self::outputs::Outputs;
use self::pick::{pick, purge_work};
use self::plan::{Form, Step};
use self::swap::{RewrittenRepo, Swap};
use crate::catalog::{RepoEntry, SegmentId};
use crate::chain::{Chain, Link};
use crate::error::{Error, Result};
use crate::packer::PackedSegment;
use crate::retention::Retention;
use crate::store::Store;

/// Repos whose revisions are folded in one go.
const FOLDS_MAX: usize = 64;
/// Segments that a merge takes in after which the catalog's file is made smaller.
const COMPACT_AFTER_SEGMENTS: usize = 256;
/// How often a purge is tried over, while imports and deletions go on.
const PURGE_ATTEMPTS_MAX: usize = 8;

/// What the store remembers of its merges.
#[derive(Default)]
pub(crate) struct Merges {
    /// Held by the merge that runs. Segments that cannot be merged because something in them is damaged.
    running: Mutex<HashSet<SegmentId>>,
    /// Repos that may have more extents than they should.
    long: Mutex<BTreeSet<Did>>,
    /// Whether a merge took so many rows out of the catalog that its file has room to give back.
    was_large: AtomicBool,
    pub(crate) signal: Arc<Signal>,
}

/// What one merge is to do.
#[derive(Default)]
struct Work {
    /// Segments to leave nothing in.
    sources: HashSet<SegmentId>,
    /// The repos to go through; those of the sources, if none.
    dids: Option<Vec<Did>>,
    /// Whether to fold the revisions of these repos even where that costs more than it saves.
    fold: bool,
    cold: bool,
}

impl Store {
    /// Does the merge that is due most, if one is; says whether it did.
    ///
    /// # Errors
    /// The disk's; `unknownOutcome`. The repos are as they were.
    pub fn merge_once(&self) -> Result<bool> {
        self.merge_next(&mut Pace::unlimited(self))
    }

    /// Merges until nothing is due.
    ///
    /// # Errors
    /// As [`merge_once`](Self::merge_once).
    pub fn merge_all(&self) -> Result<()> {
        while self.merge_once()? {}
        Ok(())
    }

    fn merge_next(&self, pace: &mut Pace<'_>) -> Result<bool> {
        let mut unmergeable = self.lock_merges();
        let Some(work) = self.next_work(&unmergeable)? else {
            if self.inner().merges.was_large.swap(false, Ordering::Relaxed) {
                self.inner().catalog.compact_if_small()?;
            }
            return Ok(false);
        };
        let done = self.rewrite(&work, &mut unmergeable, pace);
        if let (Err(error), Some(dids)) = (&done, &work.dids)
            && error.code() == Code::Damaged
        {
            // They would be next again, and everyone else would wait.
            let mut long = self.lock_long();
            dids.iter().for_each(|did| {
                long.remove(did);
            });
        }
        done?;
        let is_large = work.sources.len() >= COMPACT_AFTER_SEGMENTS;
        self.inner()
            .merges
            .was_large
            .fetch_or(is_large, Ordering::Relaxed);
        Ok(true)
    }

    /// Merges everything now, or all of one repo, into as few segments and revisions as retention allows. `cold` asks
    /// for pages that are smaller and slower to read.
    ///
    /// # Errors
    /// As [`merge_once`](Self::merge_once); what was merged before stays so.
    pub fn compact(&self, cold: bool, did: Option<&Did>) -> Result<()> {
        let mut unmergeable = self.lock_merges();
        let pace = &mut Pace::unlimited(self);
        if let Some(did) = did {
            let Some(entry) = self.inner().catalog.repo(did)? else {
                return Err(Error::new(
                    Code::NotFound,
                    format!("the store does not hold {did}"),
                ));
            };
            let work = Work {
                sources: entry.extents.iter().map(|extent| extent.segment).collect(),
                dids: Some(vec![did.clone()]),
                fold: true,
                cold,
            };
            return self.rewrite(&work, &mut unmergeable, pace);
        }
        let mut segments = self.inner().catalog.segments()?.into_iter().peekable();
        while segments.peek().is_some() {
            let mut work = Work {
                fold: true,
                cold,
                ..Work::default()
            };
            let mut bytes = 0;
            while let Some((id, entry)) = segments.next_if(|(_, entry)| {
                work.sources.is_empty()
                    || work.sources.len() < MERGE_SEGMENTS_MAX
                        && bytes + entry.live_bytes <= self.inner().settings.segment_bytes_target
            }) {
                bytes += entry.live_bytes;
                work.sources.insert(id);
            }
            self.rewrite(&work, &mut unmergeable, pace)?;
        }
        self.inner().catalog.compact()
    }

    /// Returns how many segments no merge can take in, because something in them is damaged. Waits for a merge that runs.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn unmergeable(&self) -> Result<usize> {
        let unmergeable = self.lock_merges();
        let segments = self.inner().catalog.segments()?;
        let is_unmergeable = segments.iter().filter(|(id, _)| unmergeable.contains(id));
        Ok(is_unmergeable.count())
    }

    /// Folds the oldest revisions of a repo that has too many, unless a merge runs: then that may do it.
    pub(crate) fn fold(&self, did: &Did) -> Result<()> {
        let mut unmergeable = match self.inner().merges.running.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let work = Work {
            dids: Some(vec![did.clone()]),
            fold: true,
            ..Work::default()
        };
        self.rewrite(&work, &mut unmergeable, &mut Pace::unlimited(self))
    }

    /// Rewrites every segment that holds something deleted.
    ///
    /// # Errors
    /// `damaged` if one cannot be rewritten because something else in it is damaged; the disk's.
    pub(crate) fn purge_now(&self) -> Result<()> {
        let mut unmergeable = self.lock_merges();
        for _ in 0..PURGE_ATTEMPTS_MAX {
            let work = purge_work(self.inner().catalog.segments()?, |_, _| true);
            if work.sources.is_empty() {
                return Ok(());
            }
            self.rewrite(&work, &mut unmergeable, &mut Pace::unlimited(self))?;
            if let Some(id) = work.sources.iter().find(|id| unmergeable.contains(id)) {
                let words = format!(
                    "what was deleted is hidden, and cannot be purged yet: {} is damaged",
                    id.file()
                );
                return Err(Error::new(Code::Damaged, words));
            }
        }
        Err(Error::new(
            Code::Overloaded,
            "what was deleted is hidden, and will be purged when fewer imports run",
        ))
    }

    /// Notes a repo that may have more extents than it should, and wakes whoever merges.
    pub(crate) fn note_extents(&self, did: &Did, extents: usize) {
        if extents > self.extents_max() {
            self.lock_long().insert(did.clone());
        }
        self.inner().merges.signal.raise();
    }

    /// Returns how many extents a repo may have before it is looked at what they are.
    fn extents_max(&self) -> usize {
        self.inner().settings.retention_revs + EXTENTS_UNRETAINED_MAX
    }

    fn lock_merges(&self) -> MutexGuard<'_, HashSet<SegmentId>> {
        let running = &self.inner().merges.running;
        running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_long(&self) -> MutexGuard<'_, BTreeSet<Did>> {
        let long = &self.inner().merges.long;
        long.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is due most: a purge, then repos with too many extents, then many segments of one size.
    fn next_work(&self, unmergeable: &HashSet<SegmentId>) -> Result<Option<Work>> {
        let mut segments = self.inner().catalog.segments()?;
        segments.retain(|(id, _)| !unmergeable.contains(id));
        // Half of the time is left for what else is deleted, and for a merge that fails.
        let due = self.inner().clock.now() + self.inner().settings.purge_micros() / 2;
        let purge = purge_work(segments.clone(), |_, by| by <= due);
        if !purge.sources.is_empty() {
            return Ok(Some(purge));
        }
        if let Some(dids) = self.long_repos(unmergeable)? {
            return Ok(Some(Work {
                dids: Some(dids),
                fold: true,
                ..Work::default()
            }));
        }
        Ok(pick(segments, self.inner().settings.segment_bytes_target))
    }

    /// Returns repos with more extents than they should have.
    fn long_repos(&self, unmergeable: &HashSet<SegmentId>) -> Result<Option<Vec<Did>>> {
        let noted: Vec<Did> = self.lock_long().iter().cloned().collect();
        let retention = self.retention();
        let mut dids = Vec::new();
        for did in noted {
            let entry = self.inner().catalog.repo(&did)?;
            let Some(extents) = entry.map(|entry| entry.extents) else {
                self.lock_long().remove(&did);
                continue;
            };
            let is_damaged = extents
                .iter()
                .any(|extent| unmergeable.contains(&extent.segment));
            if is_damaged || extents.len() <= self.extents_max() {
                self.lock_long().remove(&did);
            } else if retention.unretained(&extents) > EXTENTS_UNRETAINED_MAX {
                dids.push(did);
            }
            if dids.len() == FOLDS_MAX {
                break;
            }
        }
        Ok((!dids.is_empty()).then_some(dids))
    }

    /// Writes the extents that are to be replaced into new segments, and swaps them in.
    fn rewrite(
        &self,
        work: &Work,
        unmergeable: &mut HashSet<SegmentId>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let dids = match &work.dids {
            Some(dids) => dids.clone(),
            None => self.repos_in(&work.sources, unmergeable)?,
        };
        let retention = self.retention();
        let mut outputs = Outputs::new(self, work.cold);
        let mut repos = Vec::new();
        for did in dids {
            match self.rewrite_repo(&did, work, &retention, &mut outputs, pace) {
                Ok(Some(repo)) => repos.push(repo),
                Ok(None) => {}
                Err(Unmergeable::Damaged(entry)) => {
                    tracing::error!(%did, "a damaged repo cannot be merged");
                    unmergeable.extend(entry.extents.iter().map(|extent| extent.segment));
                }
                Err(Unmergeable::Error(error)) => {
                    // What could not be read once is not tried again and again.
                    if error.code() == Code::Damaged {
                        unmergeable.extend(&work.sources);
                    }
                    outputs.discard();
                    return Err(error);
                }
            }
        }
        self.swap(repos, outputs.finish()?, retention)
    }

    /// Returns the repos that have extents in segments, in order.
    fn repos_in(
        &self,
        sources: &HashSet<SegmentId>,
        unmergeable: &mut HashSet<SegmentId>,
    ) -> Result<Vec<Did>> {
        let mut dids = BTreeSet::new();
        for &id in sources {
            let segment = match self.inner().segments.get(id) {
                Ok(segment) => segment,
                // An import or a deletion took it away.
                Err(_) if !self.is_segment(id)? => continue,
                Err(error) if error.code() == Code::Damaged => {
                    tracing::error!(error = error.chain(), "a segment cannot be merged");
                    unmergeable.insert(id);
                    continue;
                }
                // The disk may be well again with the next merge.
                Err(error) => return Err(error),
            };
            for extent in segment.file().extents() {
                let did = split_extent_key(extent.key()).and_then(|(did, _)| did.parse().ok());
                let did: Did = did.ok_or_else(|| {
                    let words = format!("{} has an extent of no repo", id.file());
                    Error::new(Code::Damaged, words)
                })?;
                dids.insert(did);
            }
        }
        Ok(dids.into_iter().collect())
    }

    fn is_segment(&self, id: SegmentId) -> Result<bool> {
        let segments = self.inner().catalog.segments()?;
        Ok(segments.iter().any(|(known, _)| *known == id))
    }

    /// Writes what is to be replaced of one repo; none if the store does not hold it any more.
    fn rewrite_repo(
        &self,
        did: &Did,
        work: &Work,
        retention: &Retention,
        outputs: &mut Outputs<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Option<RewrittenRepo>, Unmergeable> {
        let Some((entry, deletions)) = self.inner().catalog.repo_and_deletions(did)? else {
            return Ok(None);
        };
        let steps = plan::steps(&entry.extents, &work.sources, retention, work.fold);
        let mut chains = Vec::with_capacity(steps.len());
        // Looked at before the first row is written: a damaged repo stays where it is, and the others are merged.
        for step in &steps {
            let chain = self.chain_of(did, &entry, step);
            match chain.and_then(|chain| chain.check().map(|()| chain)) {
                Ok(chain) => chains.push(chain),
                // An import or a deletion took files away: the next merge sees what there is then.
                Err(_) if self.inner().catalog.repo(did)?.as_ref() != Some(&entry) => {
                    return Ok(None);
                }
                Err(error) if error.code() == Code::Damaged => {
                    return Err(Unmergeable::Damaged(Box::new(entry)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut extents = Vec::with_capacity(steps.len());
        for (step, chain) in steps.iter().zip(&chains) {
            let old = entry.extents.get(step.run.clone()).unwrap_or_default();
            extents.push(outputs.extent(did, old, step.form, chain, &deletions, pace)?);
        }
        Ok(Some(RewrittenRepo {
            did: did.clone(),
            deletions: entry.deletions,
            extents,
        }))
    }

    /// Opens what a step reads: one extent to copy it, else all that its revision is made of.
    fn chain_of(&self, did: &Did, entry: &RepoEntry, step: &Step) -> Result<Chain> {
        match (step.form, entry.extents.get(step.run.start)) {
            (Form::Copy, Some(extent)) => {
                let segment = self.inner().segments.get(extent.segment)?;
                Ok(Chain::new(vec![Link::new(did, extent.clone(), segment)?]))
            }
            _ => self.open_chain(did, entry, step.run.start),
        }
    }

    /// Makes the catalog name the new segments where the old ones are still what it was.
    fn swap(
        &self,
        repos: Vec<RewrittenRepo>,
        sealed: Vec<PackedSegment>,
        retention: Retention,
    ) -> Result<()> {
        let ids: Vec<SegmentId> = sealed.iter().map(|segment| segment.id).collect();
        let purge_by = self.inner().clock.now() + self.inner().settings.purge_micros();
        let swapped = self.change(move |tables| {
            let mut swap = Swap::new(tables, &sealed, retention)?;
            for repo in &repos {
                swap.repo(repo)?;
            }
            swap.finish(purge_by)
        });
        let unused = match swapped {
            Ok(unused) => unused,
            // The catalog may name them.
            Err(error) if error.code() == Code::UnknownOutcome => return Err(error),
            Err(error) => {
                ids.iter().for_each(|id| self.discard(*id));
                return Err(error);
            }
        };
        unused.iter().for_each(|id| self.discard(*id));
        Ok(())
    }
}

/// Why a repo cannot be written again.
enum Unmergeable {
    Damaged(Box<RepoEntry>),
    Error(Error),
}

impl From<Error> for Unmergeable {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
