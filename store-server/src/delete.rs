//! Deleting: a repo or a record is hidden at every revision at once, and its bytes are off the disk by a deadline.
//!
//! What is hidden is said by the catalog, in the change that acknowledges the deletion. The segments that hold the bytes
//! are marked in the same change, and a merge writes them again without. Of a deleted record path and CID stay, for the
//! tree is rebuilt from them, and so that a later import does not bring it back. Of a deleted repo nothing stays; it may
//! be imported again.

use std::collections::{BTreeSet, HashSet};

use carrack_repack::head::{extent_key, split_extent_key};
use carrack_repo::cbor;
use carrack_schema::{AtUri, Cid, Code, Did, RecordPath};

use crate::catalog::{Deletions, ExtentEntry, RepoEntry, SegmentId};
use crate::chain::{Chain, Link};
use crate::changes::ChangeKind;
use crate::error::{Error, Result};
use crate::ingest::publish::drop_all;
use crate::retention::full_from;
use crate::row::Content;
use crate::store::Store;

/// How often a deletion is tried over, while its repo changes.
const ATTEMPTS_MAX: usize = 64;

/// What to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteTarget {
    /// A whole repo.
    Repo(Did),
    /// One record.
    Record(Did, RecordPath),
}

impl DeleteTarget {
    /// Reads what an AT-URI names.
    ///
    /// # Errors
    /// `invalidArgument` for a collection: its records are deleted one by one.
    pub fn of(uri: &AtUri) -> Result<Self> {
        match (uri.path(), &uri.collection) {
            (Some(path), _) => Ok(Self::Record(uri.did.clone(), path)),
            (None, None) => Ok(Self::Repo(uri.did.clone())),
            (None, Some(_)) => Err(Error::new(
                Code::InvalidArgument,
                format!("{uri} names a collection; delete a record or the repo"),
            )),
        }
    }
}

/// What a deletion came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Records that could be seen at the current revision and cannot any more.
    pub records: u64,
    /// When the bytes will be off the disk at the latest, in microseconds since the Unix epoch; none if they are.
    pub purge_by: Option<i64>,
}

impl Store {
    /// Deletes a repo or a record. When this returns it is hidden for good, also through a crash; who holds a snapshot
    /// reads on. With `purge` the bytes are off the disk as well, as soon as the last such reader is done.
    ///
    /// # Errors
    /// `notFound` if there is no such thing, or it was deleted before; `unknownOutcome`. With `purge`, `damaged` or the
    /// disk's if it is hidden and the bytes could not be removed yet.
    pub fn delete(&self, target: &DeleteTarget, purge: bool) -> Result<Deleted> {
        let by = self.inner().clock.now() + self.inner().settings.purge_micros();
        let records = match target {
            DeleteTarget::Repo(did) => self.delete_repo(did, by)?,
            DeleteTarget::Record(did, path) => self.delete_record(did, path, by)?,
        };
        if purge {
            self.purge_now()?;
        } else {
            self.inner().merges.signal.raise();
        }
        Ok(Deleted {
            records,
            purge_by: (!purge).then_some(by),
        })
    }

    fn delete_repo(&self, did: &Did, by: i64) -> Result<u64> {
        for _ in 0..ATTEMPTS_MAX {
            let entry = self.inner().catalog.repo(did)?.ok_or_else(|| {
                Error::new(Code::NotFound, format!("the store does not hold {did}"))
            })?;
            let dead = self.dead_copies(did, &entry)?;
            let head = entry.head();
            let records = head.records.saturating_sub(head.deleted);
            let (of, row) = (did.clone(), entry.clone());
            let done = self.change(move |tables| {
                if tables.repo(&of)?.as_ref() != Some(&row) {
                    return Ok(false);
                }
                tables.remove_repo(&of, &row)?;
                drop_all(tables, &row.extents)?;
                // A segment that others are in stays, with the bytes.
                let live = row.extents.iter().map(|extent| extent.segment);
                for id in live.chain(dead) {
                    tables.must_purge(id, by)?;
                }
                Ok(true)
            })?;
            if done {
                self.tell(did, ChangeKind::RepoDeleted, Some(&entry), None);
                return Ok(records.into());
            }
        }
        Err(busy(did))
    }

    /// Returns the segments with extents of a repo that its row does not name any more: of revisions that went.
    fn dead_copies(&self, did: &Did, entry: &RepoEntry) -> Result<Vec<SegmentId>> {
        let keys: HashSet<(SegmentId, Vec<u8>)> = entry
            .extents
            .iter()
            .map(|extent| (extent.segment, extent_key(did.as_str(), extent.rev)))
            .collect();
        let is_dead = |id: SegmentId, key: &[u8]| {
            split_extent_key(key).is_some_and(|(of, _)| of == did.as_str())
                && !keys.contains(&(id, key.to_vec()))
        };
        let mut dead = Vec::new();
        for (id, segment) in self.inner().catalog.segments()? {
            // Shares add up to the file, so this one has nothing dead in it.
            if segment.live_bytes >= segment.bytes {
                continue;
            }
            match self.inner().segments.get(id) {
                Ok(open) => {
                    if open
                        .file()
                        .extents()
                        .any(|extent| is_dead(id, extent.key()))
                    {
                        dead.push(id);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = error.chain(), "a segment cannot be searched");
                }
            }
        }
        Ok(dead)
    }

    fn delete_record(&self, did: &Did, path: &RecordPath, by: i64) -> Result<u64> {
        for _ in 0..ATTEMPTS_MAX {
            let found = self.inner().catalog.repo_and_deletions(did)?;
            let (entry, deletions) = found.ok_or_else(|| {
                Error::new(Code::NotFound, format!("the store does not hold {did}"))
            })?;
            let Some(hidden) = self.hidden_entry(did, path, &entry, &deletions)? else {
                // An import or a merge took the files away.
                continue;
            };
            let records = entry.head().deleted != hidden.entry.head().deleted;
            let (of, path, before) = (did.clone(), path.clone(), entry.clone());
            let done = self.change(move |tables| {
                if tables.repo(&of)?.as_ref() != Some(&before) {
                    return Ok(None);
                }
                for cid in &hidden.cids {
                    tables.add_deletion(&of, &path, cid, by)?;
                }
                tables.put_repo(&of, Some(&before), &hidden.entry)?;
                for id in &hidden.segments {
                    tables.must_purge(*id, by)?;
                }
                Ok(Some(hidden.entry))
            })?;
            if let Some(after) = done {
                self.tell(did, ChangeKind::RecordDeleted, Some(&entry), Some(&after));
                return Ok(records.into());
            }
        }
        Err(busy(did))
    }

    /// Returns a repo's row with a record hidden at every revision; none if the repo's files have gone meanwhile.
    fn hidden_entry(
        &self,
        did: &Did,
        path: &RecordPath,
        entry: &RepoEntry,
        deletions: &Deletions,
    ) -> Result<Option<Hidden>> {
        let chain = match self.open_all(did, &entry.extents) {
            Ok(chain) => chain,
            Err(_) if self.inner().catalog.repo(did)?.as_ref() != Some(entry) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = path.to_string();
        let mut hidden = Hidden {
            entry: entry.clone(),
            cids: BTreeSet::new(),
            segments: BTreeSet::new(),
        };
        let mut rows = Vec::with_capacity(entry.extents.len());
        for link in chain.links() {
            let row = link.find(path.collection.as_str(), path.rkey.as_str())?;
            let row = row.map(|row| row.content()).transpose()?;
            if let Some(cid) = row.as_ref().and_then(Content::cid)
                && !deletions.hide(&text, || Ok(cid))?
            {
                hidden.cids.insert(cid);
                hidden.segments.insert(link.entry().segment);
            }
            rows.push(row);
        }
        if hidden.cids.is_empty() {
            let words = format!("the store holds no record {path} of {did}");
            return Err(Error::new(Code::NotFound, words));
        }
        for (at, extent) in hidden.entry.extents.iter_mut().enumerate() {
            let until = full_from(&entry.extents, at);
            let seen = rows
                .get(at..=until)
                .and_then(|rows| rows.iter().find_map(Option::as_ref));
            if let Some(row) = seen
                && row.cid().is_some_and(|cid| hidden.cids.contains(&cid))
            {
                count_hidden(extent, row);
            }
        }
        hidden.segments.extend(self.dead_copies(did, entry)?);
        let added = u32::try_from(hidden.cids.len()).unwrap_or(u32::MAX);
        hidden.entry.deletions = hidden.entry.deletions.saturating_add(added);
        Ok(Some(hidden))
    }

    /// Opens all extents of a repo.
    fn open_all(&self, did: &Did, extents: &[ExtentEntry]) -> Result<Chain> {
        let mut links = Vec::with_capacity(extents.len());
        for extent in extents {
            let segment = self.inner().segments.get(extent.segment)?;
            links.push(Link::new(did, extent.clone(), segment)?);
        }
        Ok(Chain::new(links))
    }
}

fn busy(did: &Did) -> Error {
    let words = format!("{did} changed again and again while it was to be deleted; try again");
    Error::new(Code::Overloaded, words)
}

/// What a record's deletion changes.
struct Hidden {
    entry: RepoEntry,
    /// Of the blocks that were at the path.
    cids: BTreeSet<Cid>,
    /// Where their bytes are, or may be.
    segments: BTreeSet<SegmentId>,
}

/// Counts a record as deleted, and no longer as what it was.
fn count_hidden(extent: &mut ExtentEntry, row: &Content<'_>) {
    extent.deleted = extent.deleted.saturating_add(1);
    match row {
        Content::Missing(_) => extent.missing = extent.missing.saturating_sub(1),
        Content::DagCbor(bytes) if cbor::validate(bytes).is_err() => {
            extent.invalid = extent.invalid.saturating_sub(1);
        }
        _ => {}
    }
}
