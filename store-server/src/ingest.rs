//! Importing: CAR → verified blocks → rows → sealed segment → catalog, atomically.
//!
//! Runs on a thread of its own, because it hashes and waits for its input. Blocks arrive in any order (the reference
//! PDS puts the commit anywhere), so all are verified and spooled as they come, and the walk starts when the last
//! byte is in. What a `since` export leaves out is taken from the stored revision ([`base`]). Until the catalog's commit
//! nothing of an import is visible, and an error leaves nothing behind.

mod admission;
mod base;
mod packer;
mod signature;
mod spool;

use std::io::Read;

use carrack_repo::{AnyCommit, BlockSource, CarBlocks, CarLimits, VerifiedRef, walk};
use carrack_schema::limits::REV_AHEAD_MICROS_MAX;
use carrack_schema::{Cid, Code, Did, Tid};

use self::admission::{Admission, admit};
use self::base::Base;
use self::packer::{PackedSegment, Packer};
use self::signature::Judgement;
use self::spool::{Spool, SpoolWriter};
use crate::catalog::{RepoEntry, SegmentId};
use crate::entropy::random;
use crate::error::{Error, Result};
use crate::store::{CollectionCount, Repo, Store, Summary};
use crate::verdict::{Status, Verdict};

/// What an import should insist on, and what is known of the account.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Refuse a repo of another DID.
    pub did: Option<Did>,
    /// Length of the CAR in bytes, if known.
    pub size: Option<u64>,
    /// The account's DID document, JSON: the commit's signature is checked with its key.
    pub did_document: Option<Vec<u8>>,
    /// Refuse a commit that no key was given for.
    pub require_signature: bool,
    /// Take a CAR that lacks record blocks; their CIDs are kept.
    pub allow_partial: bool,
    /// The account's status, if known.
    pub status: Option<Status>,
}

/// What an import is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Taking in and hashing the CAR; counted in bytes.
    Receiving,
    /// Verifying records along the MST and writing them; counted in records.
    Packing,
    /// Making it durable.
    Committing,
}

/// How far an import is; `total` is 0 while it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How much of it is done.
    pub done: u64,
    /// Of how much.
    pub total: u64,
}

/// How an import ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The repo is in the store and stays there through a crash.
    Imported(Report),
    /// The store held this very commit; what is known of its signature and account may have grown.
    Unchanged(Report),
}

/// What the store holds after an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The repo.
    pub summary: Summary,
    /// Its collections.
    pub collections: Vec<CollectionCount>,
}

/// Bytes between two reports while receiving.
const REPORT_BYTES: u64 = 1 << 20;
/// Records between two reports, and two looks at whether to stop, while packing.
const REPORT_RECORDS: u64 = 4_096;

impl Store {
    /// Imports one full repo from a CAR. `progress` is called now and then, from this thread.
    ///
    /// When this returns `Imported` the repo survives a crash. An `io::Error` of `car` aborts the import.
    ///
    /// # Errors
    /// A refusal (a code whose exit code is [`Exit::Refused`](carrack_schema::codes::Exit)) says what is wrong with
    /// the CAR and where; any other error is the store's. After either the store is as before, unless the code is
    /// `unknownOutcome`.
    pub fn import(
        &self,
        car: impl Read,
        request: &ImportRequest,
        mut progress: impl FnMut(Progress),
    ) -> Result<Outcome> {
        self.inner().catalog.check_certain()?;
        let mut blocks = CarBlocks::open(car, CarLimits::default())?;
        let root = blocks.root();
        let spool = self.receive(&mut blocks, request.size.unwrap_or(0), &mut progress)?;
        let Some(commit_block) = spool.get(&root)? else {
            let words = format!("the CAR does not hold its root {root}");
            return Err(Error::new(Code::Incomplete, words));
        };
        let commit = AnyCommit::parse(commit_block.bytes())?;
        let now = self.inner().clock.now();
        check_expectations(&commit, request, now)?;
        let judgement = Judgement::of(&commit, &commit_block, request, now)?;

        let stored = self.inner().catalog.repo(commit.did())?;
        let admission = admit(&commit, root, stored.as_ref())?;
        // A stored revision that cannot be read helps no import, and is replaced by the same one.
        let (base, unreadable) = match self.stored(commit.did()).and_then(Repo::sound) {
            Ok(base) => (base, None),
            Err(error) => (None, Some(error)),
        };
        if let (Admission::Same, Some(base), Some(stored)) = (admission, &base, &stored)
            && stored.missing == 0
        {
            return self.learn(base, stored, &judgement, request);
        }
        let source = Source {
            spool: &spool,
            base: base.as_ref().map(Base::new),
            allow_partial: request.allow_partial,
        };
        let packed = self.pack(&commit, &commit_block, source, &mut progress);
        let segment = packed.map_err(|error| match unreadable {
            // What the CAR lacks may well be in the stored revision.
            Some(unreadable) if error.code() == Code::Incomplete => unreadable,
            _ => error,
        })?;
        progress(Progress {
            phase: Phase::Committing,
            done: 0,
            total: 0,
        });
        let entry = RepoEntry {
            rev: commit.rev(),
            commit: root,
            segment: segment.id,
            records: segment.records,
            missing: segment.missing,
            invalid: segment.invalid,
            blocks: blocks.blocks_count() as u64,
            bytes_in: blocks.bytes_read(),
            bytes_stored: segment.bytes,
            imported: now,
            verdict: judgement.verdict.clone(),
            handle: judgement.handle(stored.as_ref()),
            status: status(stored.as_ref(), request),
        };
        // Another import of the same repo may have come first; one of the same commit is replaced by its equal.
        let published = self.publish(commit.did(), &entry, |current| {
            admit(&commit, root, current).map(|_| ())
        });
        if let Err(error) = published {
            if error.code() != Code::UnknownOutcome {
                self.discard(segment.id);
            }
            return Err(error);
        }
        let summary = Summary::new(commit.did().clone(), &entry);
        Ok(Outcome::Imported(Report {
            summary,
            collections: segment.collections,
        }))
    }

    /// Takes what an import of the stored commit says anew: a verdict on its signature, a handle, a status.
    fn learn(
        &self,
        repo: &Repo,
        stored: &RepoEntry,
        judgement: &Judgement,
        request: &ImportRequest,
    ) -> Result<Outcome> {
        let mut entry = stored.clone();
        if let Verdict::Valid { .. } = judgement.verdict {
            entry.verdict = judgement.verdict.clone();
        }
        entry.handle = judgement.handle(Some(stored));
        entry.status = status(Some(stored), request);
        let did = &repo.summary().did;
        if entry != *stored {
            self.publish(did, &entry, |current| {
                if current == Some(stored) {
                    return Ok(());
                }
                Err(Error::new(
                    Code::Overloaded,
                    "another import of this repo came first; import again",
                ))
            })?;
        }
        // Another import's commit may have failed meanwhile: then the stored row is not known to be the stored row.
        self.inner().catalog.check_certain()?;
        let summary = Summary::new(did.clone(), &entry);
        Ok(Outcome::Unchanged(Report {
            summary,
            collections: repo.collections()?,
        }))
    }

    /// Takes in the whole CAR, hashing the blocks of each chunk as it comes.
    fn receive(
        &self,
        blocks: &mut CarBlocks<impl Read>,
        total: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Spool> {
        let mut spool = SpoolWriter::new(&self.inner().directory, self.inner().import_memory_bytes);
        let mut reported = 0;
        while let Some(chunk) = blocks.next_chunk()? {
            if let Some(memory) = spool.insert(chunk.verify()?)? {
                blocks.reuse(memory);
            }
            let done = blocks.bytes_read();
            if done - reported >= REPORT_BYTES {
                reported = done;
                progress(Progress {
                    phase: Phase::Receiving,
                    done,
                    total,
                });
            }
            self.check_open()?;
        }
        progress(Progress {
            phase: Phase::Receiving,
            done: blocks.bytes_read(),
            total,
        });
        spool.finish()
    }

    /// Walks the tree in key order and writes each record into a new segment.
    fn pack(
        &self,
        commit: &AnyCommit,
        commit_block: &VerifiedRef<'_>,
        source: Source<'_>,
        progress: &mut impl FnMut(Progress),
    ) -> Result<PackedSegment> {
        let mut packer = Packer::create(
            &self.inner().directory,
            self.new_segment_id()?,
            commit.did(),
        )?;
        let Source {
            spool,
            base,
            allow_partial,
        } = source;
        let base = base.map(std::cell::RefCell::new);
        let mut nodes = Nodes {
            spool,
            base: base.as_ref(),
            digests: Vec::new(),
        };
        let mut scratch = Vec::new();
        let mut done: u64 = 0;
        // The first record without a block, and how many there are.
        let mut missing: Option<(String, Cid, u64)> = None;
        walk(commit.data(), &mut nodes, |record| {
            let mut block = spool.get(&record.cid)?;
            if block.is_none()
                && let Some(base) = &base
            {
                block = base
                    .borrow_mut()
                    .record(record.path, &record.cid, &mut scratch)?;
            }
            match block {
                Some(block) => packer.push(record.collection, record.rkey, &block)?,
                None => {
                    missing
                        .get_or_insert_with(|| (record.path.to_owned(), record.cid, 0))
                        .2 += 1;
                    if allow_partial {
                        packer.push_missing(record.collection, record.rkey, &record.cid)?;
                    }
                }
            }
            done += 1;
            if done.is_multiple_of(REPORT_RECORDS) {
                progress(Progress {
                    phase: Phase::Packing,
                    done,
                    total: 0,
                });
                self.check_open()?;
            }
            Ok::<_, Error>(())
        })?;
        if let Some((path, cid, count)) = missing
            && !allow_partial
        {
            let words = format!(
                "the CAR lacks the blocks of {count} records, the first is {cid} of {path}; it is not a full export"
            );
            return Err(Error::new(Code::Incomplete, words));
        }
        packer.finish(commit, commit_block, &nodes.digests)
    }

    /// Returns a new segment's name: the time in front, so that names sort by it.
    fn new_segment_id(&self) -> Result<SegmentId> {
        let millis = u64::try_from(self.inner().clock.now() / 1_000).unwrap_or(0);
        let mut bytes = [0; 16];
        bytes[6..].copy_from_slice(&random::<10>()?);
        let random = u128::from_be_bytes(bytes);
        Ok(SegmentId(ulid::Ulid::from_parts(millis, random)))
    }

    /// Removes a sealed segment that did not get into the catalog.
    fn discard(&self, id: SegmentId) {
        if let Err(error) = self.inner().directory.unlink(&id.file()) {
            // Harmless: the next opening removes files that the catalog does not name.
            tracing::warn!(%error, file = id.file(), "cannot remove an unused segment");
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closing() {
            return Err(Error::new(
                Code::Unavailable,
                "the store is shutting down; import again",
            ));
        }
        Ok(())
    }
}

/// Where the blocks of an import come from.
struct Source<'a> {
    spool: &'a Spool,
    base: Option<Base<'a>>,
    allow_partial: bool,
}

/// The nodes of an import, as the walk asks for them: each once and in pre-order, which is how their digests are kept.
struct Nodes<'a, 'b> {
    spool: &'a Spool,
    base: Option<&'a std::cell::RefCell<Base<'b>>>,
    digests: Vec<[u8; 32]>,
}

impl BlockSource for Nodes<'_, '_> {
    fn get<'s>(
        &'s mut self,
        cid: &Cid,
        scratch: &'s mut Vec<u8>,
    ) -> carrack_repo::Result<Option<VerifiedRef<'s>>> {
        self.digests.push(*cid.digest());
        if let Some(block) = self.spool.get(cid)? {
            return Ok(Some(block));
        }
        match self.base {
            Some(base) => base.borrow_mut().node(cid, scratch),
            None => Ok(None),
        }
    }

    fn expect(&mut self, cids: &[Cid]) {
        self.spool.warm(cids);
    }
}

/// Checks a commit against what the caller expects and the clock says.
fn check_expectations(commit: &AnyCommit, request: &ImportRequest, now: i64) -> Result<()> {
    if let Some(expected) = &request.did {
        commit.check_did(expected)?;
    }
    commit
        .rev()
        .map_or(Ok(()), |rev| check_rev_is_past(rev, now))
}

/// Returns the status that counts: the one given now, else the one known.
fn status(stored: Option<&RepoEntry>, request: &ImportRequest) -> Status {
    let known = stored.map(|stored| stored.status.clone());
    request.status.clone().or(known).unwrap_or_default()
}

/// A rev is a time; one in the future would keep every honest one out (CM7).
fn check_rev_is_past(rev: Tid, now: i64) -> Result<()> {
    let now = u64::try_from(now).unwrap_or(0);
    if rev.micros() > now.saturating_add(REV_AHEAD_MICROS_MAX) {
        let time = carrack_schema::time::rfc3339(i64::try_from(rev.micros()).unwrap_or(i64::MAX));
        let words = format!("the commit's rev {rev} says {time}, which is in the future");
        return Err(Error::new(Code::BadStructure, words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rev_may_be_a_little_ahead_of_the_clock() {
        let now: u64 = 1_700_000_000_000_000;
        let rev = |micros: u64| Tid::from_u64(micros << 10 | 1_023);
        assert!(check_rev_is_past(rev(now + REV_AHEAD_MICROS_MAX), now as i64).is_ok());
        let ahead = check_rev_is_past(rev(now + REV_AHEAD_MICROS_MAX + 1), now as i64).unwrap_err();
        assert_eq!(ahead.code(), Code::BadStructure);
        assert!(check_rev_is_past(rev(0), now as i64).is_ok());
    }
}
