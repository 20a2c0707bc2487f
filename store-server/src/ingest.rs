//! Importing: CAR → verified blocks → rows → sealed segment → catalog, atomically.
//!
//! Runs on a thread of its own, because it hashes and waits for its input. Blocks arrive in any order (the reference
//! PDS puts the commit anywhere), so all are verified and spooled as they come, and the walk starts when the last
//! byte is in. Until the catalog's commit nothing of an import is visible, and an error leaves nothing behind.

mod spool;

use std::io::Read;

use carrack_repack::{PageBuilder, RepoHead};
use carrack_repo::{CarBlocks, CarLimits, Commit, VerifiedRef, walk};
use carrack_schema::limits::REV_AHEAD_MICROS_MAX;
use carrack_schema::{Cid, Code, Did, Tid};
use carrack_segment::{Place, SegmentWriter, Target};

use self::spool::Spool;
use crate::catalog::{RepoEntry, SegmentId};
use crate::entropy::random;
use crate::error::{Error, Result};
use crate::store::{CollectionCount, Store, Summary, TMP};

/// What an import should insist on.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Refuse a repo of another DID.
    pub did: Option<Did>,
    /// Length of the CAR in bytes, if known.
    pub size: Option<u64>,
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
    /// The store held this very commit.
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
        let inner = self.inner();
        let mut blocks = CarBlocks::open(car, CarLimits::default())?;
        let root = blocks.root();
        let spool = self.receive(&mut blocks, request.size.unwrap_or(0), &mut progress)?;
        let mut scratch = Vec::new();
        let Some(commit_block) = spool.get(&root, &mut scratch)? else {
            let words = format!("the CAR does not hold its root {root}");
            return Err(Error::new(Code::Incomplete, words));
        };
        let commit = Commit::parse(commit_block.bytes())?;
        if let Some(expected) = &request.did {
            commit.check_did(expected)?;
        }
        check_rev_is_past(commit.rev, inner.clock.now())?;
        let stored = inner.catalog.repo(&commit.did)?;
        if admit(&commit, root, stored.as_ref())? == Admission::Unchanged {
            return self.report(&commit.did).map(Outcome::Unchanged);
        }

        let segment = self.pack(&commit, &commit_block, &spool, &mut progress)?;
        progress(Progress {
            phase: Phase::Committing,
            done: 0,
            total: 0,
        });
        let entry = RepoEntry {
            rev: commit.rev,
            commit: root,
            segment: segment.id,
            records: segment.records,
            blocks: blocks.blocks_count() as u64,
            bytes_in: blocks.bytes_read(),
            bytes_stored: segment.bytes,
            imported: inner.clock.now(),
        };
        let published = self.publish(&commit.did, &entry, |current| {
            // Another import of the same repo may have come first.
            match admit(&commit, root, current)? {
                Admission::Newer => Ok(()),
                Admission::Unchanged => Err(Error::new(Code::Fork, ALREADY_IN)),
            }
        });
        match published {
            Ok(()) => self.report(&commit.did).map(Outcome::Imported),
            Err(error) => {
                if error.code() != Code::UnknownOutcome {
                    self.discard(segment.id);
                }
                match self.inner().catalog.repo(&commit.did) {
                    Ok(Some(current)) if current.commit == root => {
                        self.report(&commit.did).map(Outcome::Unchanged)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Takes in the whole CAR, hashing each block as it comes.
    fn receive(
        &self,
        blocks: &mut CarBlocks<impl Read>,
        total: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Spool> {
        let mut spool = Spool::new(&self.inner().directory);
        let mut reported = 0;
        while let Some(block) = blocks.next_block()? {
            spool.insert(&block.verify()?)?;
            let done = blocks.bytes_read();
            if done - reported >= REPORT_BYTES {
                reported = done;
                progress(Progress {
                    phase: Phase::Receiving,
                    done,
                    total,
                });
                self.check_open()?;
            }
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
        commit: &Commit,
        commit_block: &VerifiedRef<'_>,
        spool: &Spool,
        progress: &mut impl FnMut(Progress),
    ) -> Result<PackedSegment> {
        let id = self.new_segment_id()?;
        let (published, temporary) = (id.file(), format!("{TMP}/{}.cseg", id.0));
        let target = Target {
            temporary: &temporary,
            published: &published,
            id: id.0.to_bytes(),
            writer_epoch: 0,
        };
        let mut packer = Packer {
            writer: SegmentWriter::create(&self.inner().directory, target)?,
            page: PageBuilder::default(),
            page_number: 0,
        };
        packer.writer.begin_extent(commit.did.as_str().as_bytes())?;
        let mut scratch = Vec::new();
        let mut records = 0;
        walk(commit.data, &mut &*spool, |record| {
            let Some(block) = spool.get(&record.cid, &mut scratch)? else {
                let words = format!(
                    "the CAR does not hold block {} of record {}; it is not a full export",
                    record.cid, record.path
                );
                return Err(Error::new(Code::Incomplete, words));
            };
            packer.push(record.collection, record.rkey, &block)?;
            records += 1;
            if records % REPORT_RECORDS == 0 {
                progress(Progress {
                    phase: Phase::Packing,
                    done: records,
                    total: 0,
                });
                self.check_open()?;
            }
            Ok(())
        })?;
        packer.end_page()?;
        let head = RepoHead {
            did: commit.did.to_string(),
            rev: commit.rev,
            commit_cid: *commit_block.cid(),
            commit: commit_block.bytes().to_vec(),
            records,
        };
        packer.writer.end_extent(&head.encode()?)?;
        let sealed = packer.writer.seal()?;
        Ok(PackedSegment {
            id,
            records,
            bytes: sealed.bytes,
        })
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

    fn report(&self, did: &Did) -> Result<Report> {
        let repo = self.repo(did)?.ok_or_else(|| {
            Error::new(Code::Internal, "a repo that was just imported is not there")
        })?;
        Ok(Report {
            summary: repo.summary().clone(),
            collections: repo.collections()?,
        })
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

struct PackedSegment {
    id: SegmentId,
    records: u64,
    bytes: u64,
}

/// Fills pages and writes them out.
struct Packer {
    writer: SegmentWriter,
    page: PageBuilder,
    page_number: u32,
}

impl Packer {
    fn push(&mut self, collection: &str, rkey: &str, block: &VerifiedRef<'_>) -> Result<()> {
        if !self.page.fits(block.bytes().len()) {
            self.end_page()?;
        }
        let ordinal = self.page.push(block);
        let place = Place {
            page: self.page_number,
            ordinal,
        };
        Ok(self
            .writer
            .row(collection.as_bytes(), rkey.as_bytes(), place)?)
    }

    fn end_page(&mut self) -> Result<()> {
        let rows = self.page.rows();
        if rows > 0 {
            let number = self.writer.page(rows, &self.page.finish()?)?;
            debug_assert_eq!(
                number, self.page_number,
                "pages are numbered as they are written"
            );
            self.page_number = number + 1;
        }
        Ok(())
    }
}

const ALREADY_IN: &str = "another import has just brought this very commit";

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Newer,
    Unchanged,
}

/// Compares a commit with the stored one of the same repo: only a higher rev replaces it (CM7).
fn admit(commit: &Commit, root: Cid, stored: Option<&RepoEntry>) -> Result<Admission> {
    let Some(stored) = stored else {
        return Ok(Admission::Newer);
    };
    if commit.rev > stored.rev {
        return Ok(Admission::Newer);
    }
    if commit.rev < stored.rev {
        let words = format!(
            "the CAR is at rev {}, the store at {}, which is newer",
            commit.rev, stored.rev
        );
        return Err(Error::new(Code::OlderRev, words));
    }
    if root == stored.commit {
        return Ok(Admission::Unchanged);
    }
    let words = format!(
        "the CAR's commit {root} and the stored {} are both rev {}: the account's history has forked",
        stored.commit, commit.rev
    );
    Err(Error::new(Code::Fork, words))
}

/// A rev is a time; one in the future would keep every honest one out.
fn check_rev_is_past(rev: Tid, now: i64) -> Result<()> {
    let now = u64::try_from(now).unwrap_or(0);
    if rev.micros() > now.saturating_add(REV_AHEAD_MICROS_MAX) {
        let time = carrack_schema::time::rfc3339(i64::try_from(rev.micros()).unwrap_or(i64::MAX));
        let words = format!("the commit's rev {rev} says {time}, which is in the future");
        return Err(Error::new(Code::BadStructure, words));
    }
    Ok(())
}
