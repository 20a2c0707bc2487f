//! Importing: CAR → verified blocks → rows → sealed segment → catalog, atomically.
//!
//! Runs on a thread of its own, because it hashes and waits for its input. Blocks arrive in any order (the reference
//! PDS puts the commit anywhere), so all are verified and spooled as they come, and the walk starts when the last
//! byte is in. What a `since` export leaves out is taken from the stored revision ([`base`]). Until the catalog's commit
//! nothing of an import is visible, and an error leaves nothing behind.

mod admission;
mod base;
mod pack;
pub(crate) mod publish;
mod signature;
mod spool;

use std::io::Read;
use std::sync::Arc;

use carrack_repo::{AnyCommit, CarBlocks, CarLimits, VerifiedRef};
use carrack_schema::limits::{IMPORT_ATTEMPTS_MAX, REV_AHEAD_MICROS_MAX};
use carrack_schema::{Code, Did, Tid};

use self::admission::{Admission, admit};
use self::pack::Input;
use self::publish::Import;
use self::signature::Judgement;
use self::spool::{Spool, SpoolWriter};
use crate::catalog::RepoEntry;
use crate::error::{Error, Result};
use crate::store::{CollectionCount, Store, Summary};
use crate::verdict::Status;

/// Who says whether an import may be made, and may still be.
pub trait ImportGuard: Send + Sync + std::fmt::Debug {
    /// Says whether a repo may be imported. Asked once its commit is known, before anything is written.
    ///
    /// # Errors
    /// Why not; the import ends with it.
    fn admit(&self, did: &Did) -> Result<()>;

    /// Says whether the import may go on. Asked now and then, and last by the change that makes it true.
    ///
    /// # Errors
    /// Why not; the import ends with it, and leaves nothing.
    fn check(&self) -> Result<()>;

    /// Says whether a claim of a handle may take it from the repo that has it.
    fn may_take_from(&self, claimant: &Did) -> bool;
}

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
    /// Asked whether the import may be made; none lets in any.
    pub guard: Option<Arc<dyn ImportGuard>>,
}

impl ImportRequest {
    fn check(&self) -> Result<()> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check())
    }
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
        self.check_room(request.size.unwrap_or(0))?;
        let mut blocks = CarBlocks::open(car, CarLimits::default())?;
        let root = blocks.root();
        let spool = self.receive(&mut blocks, request, &mut progress)?;
        let Some(commit_block) = spool.get(&root)? else {
            let words = format!("the CAR does not hold its root {root}");
            return Err(Error::new(Code::Incomplete, words));
        };
        let commit = AnyCommit::parse(commit_block.bytes())?;
        let now = self.inner().clock.now();
        check_expectations(&commit, request, now)?;
        let judgement = Judgement::of(&commit, &commit_block, request, now)?;

        let import = Import {
            commit: &commit,
            root,
            judgement: &judgement,
            request,
            blocks: u32::try_from(blocks.blocks_count()).unwrap_or(u32::MAX),
            bytes_in: blocks.bytes_read(),
            now,
        };
        for _ in 0..IMPORT_ATTEMPTS_MAX {
            let attempt = self.attempt(&import, &commit_block, &spool, &mut progress)?;
            if let Some(outcome) = attempt {
                return Ok(outcome);
            }
        }
        Err(publish::busy())
    }

    /// Packs what was received over what is stored, and publishes it; none if that changed meanwhile.
    fn attempt(
        &self,
        import: &Import<'_>,
        commit_block: &VerifiedRef<'_>,
        spool: &Spool,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Option<Outcome>> {
        let commit = import.commit;
        let known = self.known(commit.did())?;
        let admission = admit(commit, import.root, known.row.as_ref())?;
        if let (Admission::Same, Some(base)) = (admission, &known.base)
            && base.summary().missing == 0
        {
            return self.learn(base, import);
        }
        let packed = self.pack(
            &Input {
                commit,
                commit_block,
                spool,
                known: &known,
                may_diff: admission == Admission::Newer,
                request: import.request,
            },
            progress,
        );
        let packed = packed.map_err(|error| match &known.unreadable {
            // What the CAR lacks may well be in the stored revision.
            Some(unreadable) if error.code() == Code::Incomplete => {
                Error::new(unreadable.code(), unreadable.chain())
            }
            _ => error,
        })?;
        progress(Progress {
            phase: Phase::Committing,
            done: 0,
            total: 0,
        });
        match self.publish(known, import, &packed) {
            Ok(Some(entry)) => {
                self.note_extents(commit.did(), entry.extents.len());
                let summary = Summary::new(commit.did().clone(), &entry);
                Ok(Some(Outcome::Imported(Report {
                    summary,
                    collections: packed.tally.collections,
                })))
            }
            Ok(None) => {
                self.discard(packed.segment.id);
                Ok(None)
            }
            Err(error) => {
                if error.code() != Code::UnknownOutcome {
                    self.discard(packed.segment.id);
                }
                Err(error)
            }
        }
    }

    /// Takes in the whole CAR, hashing each block as it comes.
    fn receive(
        &self,
        blocks: &mut CarBlocks<impl Read>,
        request: &ImportRequest,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Spool> {
        let total = request.size.unwrap_or(0);
        let mut spool = SpoolWriter::new(
            &self.inner().directory,
            self.inner().settings.import_memory_bytes,
        );
        let mut reported = 0;
        while let Some(chunk) = blocks.next_chunk()? {
            let chunk = chunk.verify()?;
            if spool.is_full(&chunk) {
                // Written twice: to the spool now, as rows at the end.
                self.check_room(2 * chunk.memory_bytes() as u64)?;
            }
            if let Some(memory) = spool.insert(chunk)? {
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
            request.check()?;
        }
        progress(Progress {
            phase: Phase::Receiving,
            done: blocks.bytes_read(),
            total,
        });
        self.check_room(blocks.bytes_read())?;
        spool.finish()
    }
}

/// Checks a commit against what the caller expects and the clock says.
fn check_expectations(commit: &AnyCommit, request: &ImportRequest, now: i64) -> Result<()> {
    if let Some(expected) = &request.did {
        commit.check_did(expected)?;
    }
    if let Some(guard) = &request.guard {
        guard.admit(commit.did())?;
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
