//! Merging: small segments into larger ones, old revisions into one, and out with what was deleted.
//!
//! A merge writes new segments from the extents that repos name, proving each record again, and swaps them in by one
//! change of the catalog. It may only ever replace what it read: where a repo was imported anew, or something of it was
//! deleted meanwhile, the catalog goes on naming the old extents. A crash leaves the old set or the new one, and files
//! that the next opening removes. One merge runs at a time; [`background`] runs them as they are due, [`plan`] says
//! what to do with the extents of one repo.

pub(crate) mod background;
mod plan;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use carrack_repack::NodeScript;
use carrack_repack::head::split_extent_key;
use carrack_repo::VerifiedRef;
use carrack_schema::cid::Codec;
use carrack_schema::limits::{EXTENTS_UNRETAINED_MAX, MERGE_SEGMENTS_MAX, MERGE_SEGMENTS_MIN};
use carrack_schema::{Code, Did};

use self::background::{Pace, Signal};
use self::plan::{Form, Step};
use crate::catalog::{Deletions, ExtentEntry, RepoEntry, SegmentEntry, SegmentId, Tables};
use crate::chain::{Chain, Link, ReadRow, RowTable};
use crate::error::{Error, Result};
use crate::ingest::publish::drop_all;
use crate::packer::{ExtentHead, PackedSegment, Packer};
use crate::retention::Retention;
use crate::row::{Content, cid_of};
use crate::store::Store;

/// The segments of one merge are at most so many times apart in size.
const TIER_RATIO: u64 = 4;
/// Below this many bytes all segments are of one size: an import of a few records.
const TIER_BYTES_MIN: u64 = 64 << 10;
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

/// An extent that was written again, and what it is to replace.
struct Rewritten {
    /// Extents that follow each other, newest first.
    old: Vec<ExtentEntry>,
    form: Form,
    rows: u32,
    tombstones: u32,
    /// Which of the new segments it is in, and which extent there.
    output: usize,
    extent: usize,
}

/// What was written again of a repo, as it was then.
struct RewrittenRepo {
    did: Did,
    deletions: u32,
    extents: Vec<Rewritten>,
}

/// Writes new segments, each up to the target size.
struct Outputs<'a> {
    store: &'a Store,
    cold: bool,
    packer: Option<Packer>,
    /// Extents in the packer's segment.
    extents: usize,
    sealed: Vec<PackedSegment>,
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
                self.inner().catalog.compact()?;
            }
            return Ok(false);
        };
        self.rewrite(&work, &mut unmergeable, pace)?;
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
        let mut outputs = Outputs {
            store: self,
            cold: work.cold,
            packer: None,
            extents: 0,
            sealed: Vec::new(),
        };
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
        outputs.seal()?;
        self.swap(repos, outputs.sealed, retention)
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
                Err(error) => {
                    tracing::error!(error = error.chain(), "a segment cannot be merged");
                    unmergeable.insert(id);
                    continue;
                }
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
                Err(_) => return Err(Unmergeable::Damaged(Box::new(entry))),
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

/// Returns the work of rewriting the segments that must be purged.
fn purge_work(
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
fn pick(segments: Vec<(SegmentId, SegmentEntry)>, target: u64) -> Option<Work> {
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

impl Outputs<'_> {
    /// Writes one extent.
    fn extent(
        &mut self,
        did: &Did,
        old: &[ExtentEntry],
        form: Form,
        chain: &Chain,
        deletions: &Deletions,
        pace: &mut Pace<'_>,
    ) -> Result<Rewritten> {
        let (output, extent) = (self.sealed.len(), self.extents);
        let head = chain.head()?;
        let mut packer = match self.packer.take() {
            Some(packer) => packer,
            None => {
                let id = self.store.new_segment_id()?;
                Packer::create(&self.store.inner().directory, id, self.cold)?
            }
        };
        packer.begin(did, head.entry().rev)?;
        let mut rows = RowWriter {
            packer: &mut packer,
            deletions,
            pace,
        };
        let (nodes, is_diff) = match form {
            Form::Copy => (rows.copy(chain)?, head.entry().is_diff),
            Form::Diff => (rows.diff(chain, old.len())?, true),
            Form::Full => (rows.full(chain)?, false),
        };
        let counts = packer.end(&ExtentHead {
            commit: head.commit(),
            records: head.entry().records.into(),
            is_diff,
            nodes: &nodes,
        })?;
        self.extents += 1;
        let is_full = packer.bytes() >= self.store.inner().settings.segment_bytes_target;
        self.packer = Some(packer);
        if is_full {
            self.seal()?;
        }
        Ok(Rewritten {
            old: old.to_vec(),
            form,
            rows: counts.rows,
            tombstones: counts.tombstones,
            output,
            extent,
        })
    }

    fn seal(&mut self) -> Result<()> {
        self.extents = 0;
        if let Some(packer) = self.packer.take() {
            match packer.finish() {
                Ok(sealed) => self.sealed.push(sealed),
                Err(error) => {
                    self.discard();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes what was sealed.
    fn discard(&mut self) {
        self.packer = None;
        for segment in self.sealed.drain(..) {
            self.store.discard(segment.id);
        }
    }
}

/// Writes the rows of an extent that a merge makes, less what was deleted.
struct RowWriter<'a, 'b> {
    packer: &'a mut Packer,
    deletions: &'a Deletions,
    pace: &'a mut Pace<'b>,
}

impl RowWriter<'_, '_> {
    /// Writes the rows of one extent as they are.
    fn copy(&mut self, chain: &Chain) -> Result<NodeScript> {
        let head = chain.head()?;
        for row in 0..head.index()?.rows() {
            self.push(&chain.row(crate::chain::RowAt { link: 0, row })?)?;
        }
        head.nodes()
    }

    /// Writes all rows of a revision.
    fn full(&mut self, chain: &Chain) -> Result<NodeScript> {
        let table = RowTable::of(chain)?;
        for number in 0..table.rows() {
            if let Some(at) = table.at(number) {
                self.push(&chain.row(at)?)?;
            }
        }
        Ok(NodeScript::full(chain.node_digests(0)?))
    }

    /// Writes what the newest extents, so many, change of what is below them.
    fn diff(&mut self, chain: &Chain, links: usize) -> Result<NodeScript> {
        for at in chain.diff_rows(links)?.into_values() {
            let row = chain.row(at)?;
            // A record that came and went between leaves nothing to hide.
            if !row.row.is_gone()? || chain.is_below(links, &row)? {
                self.push(&row)?;
            }
        }
        Ok(NodeScript::between(
            &chain.node_digests(links)?,
            &chain.node_digests(0)?,
        ))
    }

    fn push(&mut self, read: &ReadRow<'_>) -> Result<()> {
        let (collection, rkey) = (read.collection, read.rkey.as_str());
        match read.row.content()? {
            Content::DagCbor(bytes) => {
                if !self.deletions.is_empty() {
                    let (path, cid) = (format!("{collection}/{rkey}"), cid_of(&bytes));
                    if self.deletions.hide(&path, || Ok(cid))? {
                        // The tree is rebuilt from its CID.
                        return self.packer.push_missing(collection, rkey, &cid);
                    }
                }
                self.pace.spend(bytes.len() as u64)?;
                let block = VerifiedRef::of(Codec::DagCbor, &bytes);
                self.packer.push(collection, rkey, &block)
            }
            Content::Missing(cid) => self.packer.push_missing(collection, rkey, &cid),
            Content::Gone => self.packer.push_gone(collection, rkey),
        }
    }
}

/// The change of the catalog that swaps a merge's segments in.
struct Swap<'a, 't> {
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
    fn new(
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

    fn repo(&mut self, repo: &RewrittenRepo) -> Result<()> {
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
    fn finish(self, purge_by: i64) -> Result<Vec<SegmentId>> {
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

#[cfg(test)]
mod tests {
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
        assert_eq!(picked(segments(&[4_000; 7])), [0_u128; 0]);
        assert_eq!(picked(segments(&[4_000; 8])).len(), 8);
        assert_eq!(picked(segments(&[4_000; 3_000])).len(), 3_000);
        // One large segment among small ones is left alone.
        let mut sizes = vec![4_000; 8];
        sizes.insert(3, 50 * MIB);
        assert_eq!(picked(segments(&sizes)), [1, 2, 3, 5, 6, 7, 8, 9]);
        // As many as fill a segment.
        assert_eq!(picked(segments(&[100 * MIB; 5])).len(), 2);
        assert_eq!(picked(segments(&[200 * MIB; 50])), [0_u128; 0]);
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
        for _ in 0..2_000 {
            sizes.push(300_000);
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
        let total = 2_000 * 300_000;
        assert!(written <= 4 * total, "{written} bytes written for {total}");
        assert!(sizes.len() <= 60, "{sizes:?}");
    }
}
