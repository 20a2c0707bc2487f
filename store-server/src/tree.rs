//! A stored repo's tree: its rows as the tree's builder wants them, and what is made of it: exports and proofs.
//!
//! Nodes are not stored. They are rebuilt from rows, and an export writes nothing before the rebuilt root is the one
//! the commit signs (EX2).

use std::io::Write;

use carrack_repo::export::{ExportStats, RecordRows, export};
use carrack_repo::proof::prove;
use carrack_repo::{BlockSource, ErrorKind, RebuiltNodes, Rows, TreePlan, VerifiedRef};
use carrack_schema::limits::PROOF_RECORDS_MAX;
use carrack_schema::{Cid, Code, RecordPath};

use crate::error::{Error, Result};
use crate::store::{Lookup, RecordRef, Repo};

/// The rows of a repo for the tree's builder. An error of the store's waits here while the builder passes on its own.
pub(crate) struct TreeRows<'a> {
    repo: &'a Repo,
    rows: u32,
    fault: Option<Error>,
}

impl<'a> TreeRows<'a> {
    pub(crate) fn new(repo: &'a Repo) -> Result<Self> {
        Ok(Self {
            repo,
            rows: repo.tree_rows()?,
            fault: None,
        })
    }

    /// Returns the store's own error, if that is what ended a call.
    pub(crate) fn take_fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// Returns the error that ended a call: the store's own, if there is one.
    fn error(&mut self, error: carrack_repo::Error) -> Error {
        stored(self.fault.take().unwrap_or_else(|| error.into()))
    }

    fn row(&mut self, index: usize) -> carrack_repo::Result<RecordRef<'a>> {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        self.repo.tree_row(number).map_err(|error| self.keep(error))
    }

    fn keep(&mut self, error: Error) -> carrack_repo::Error {
        let passed_on = carrack_repo::Error::new(ErrorKind::Internal, error.to_string());
        self.fault = Some(error);
        passed_on
    }
}

impl Rows for TreeRows<'_> {
    fn rows_count(&self) -> usize {
        self.rows as usize
    }

    fn key(&mut self, index: usize, out: &mut Vec<u8>) -> carrack_repo::Result<()> {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        self.repo
            .tree_key(number, out)
            .map_err(|error| self.keep(error))
    }

    fn cid(&mut self, index: usize) -> carrack_repo::Result<Cid> {
        self.row(index)?.cid().map_err(|error| self.keep(error))
    }
}

impl RecordRows for TreeRows<'_> {
    fn record(&mut self, index: usize, out: &mut Vec<u8>) -> carrack_repo::Result<()> {
        let record = self.row(index)?;
        let bytes = record.bytes().map_err(|error| self.keep(error))?;
        out.clear();
        out.extend_from_slice(&bytes);
        Ok(())
    }
}

/// What a proof came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// Whether it shows the record, or that there is none.
    pub present: bool,
    /// Bytes of the CAR.
    pub bytes: u64,
    /// Records that were hashed to make it.
    pub hashed: u64,
}

/// The nodes of a proof, up to its limit.
pub(crate) struct ProofNodes<'a, 'r>(pub(crate) RebuiltNodes<'a, TreeRows<'r>>);

impl BlockSource for ProofNodes<'_, '_> {
    fn get<'s>(
        &'s mut self,
        cid: &Cid,
        scratch: &'s mut Vec<u8>,
    ) -> carrack_repo::Result<Option<VerifiedRef<'s>>> {
        if self.0.rows_count() > PROOF_RECORDS_MAX {
            return Err(too_wide());
        }
        self.0.get(cid, scratch)
    }
}

pub(crate) fn too_wide() -> carrack_repo::Error {
    let words =
        format!("the path of this record goes through more than {PROOF_RECORDS_MAX} records");
    carrack_repo::Error::new(ErrorKind::LimitExceeded, words)
}

impl Repo {
    /// Writes the repo as a CAR: the commit, then each node before what is below it, with the records between in key
    /// order; exactly the blocks the commit reaches, each once.
    ///
    /// # Errors
    /// Before the first byte: `incomplete` for a repo that was imported as partial or had records deleted, `damaged` if the rows do not give the
    /// signed root. After it: `unavailable` when `out` fails.
    pub fn export(&self, out: &mut impl Write) -> Result<ExportStats> {
        let (missing, deleted) = (self.summary().missing, self.summary().deleted);
        if deleted > 0 {
            let words = format!(
                "{deleted} records of the repo were deleted from the store: what is left is not what the commit signs"
            );
            return Err(Error::new(Code::Incomplete, words));
        }
        if missing > 0 {
            let words = format!(
                "the repo was imported without {missing} of its records; import a full export first"
            );
            return Err(Error::new(Code::Incomplete, words));
        }
        let mut rows = TreeRows::new(self)?;
        export(self.commit()?, &mut rows, out).map_err(|error| rows.error(error))
    }

    /// Writes the small CAR that proves from the signed commit that a record is in the repo, or that there is none.
    ///
    /// Reads every key, hashes only the records of the nodes on the path: [`PROOF_RECORDS_MAX`] at the most, some dozens
    /// in a tree that nobody has made wide on purpose.
    ///
    /// # Errors
    /// `incomplete` if the record's block is not held; `limitExceeded` for a path through more records than that;
    /// `damaged` if the rows do not give the signed tree.
    pub fn prove(&self, path: &RecordPath, out: &mut impl Write) -> Result<RecordProof> {
        if self.is_deleted(path)? {
            let words = format!("record {path} was deleted from the store");
            return Err(Error::new(Code::Incomplete, words));
        }
        // Asked first: a proof of what is not held is no damage.
        let record = match self.record(path)? {
            Lookup::Found(record) => Some(record.bytes()?.to_vec()),
            Lookup::NoCollection | Lookup::NoRecord => None,
        };
        let mut rows = TreeRows::new(self)?;
        let plan = self.plan(&mut rows)?;
        let mut nodes = ProofNodes(RebuiltNodes::new(&plan, &mut rows));
        let in_tree = |_: &Cid| {
            record.ok_or_else(|| {
                carrack_repo::Error::new(
                    ErrorKind::Internal,
                    "the tree holds a record, the index does not",
                )
            })
        };
        let made = prove(self.commit()?, path, &mut nodes, in_tree, out);
        let hashed = nodes.0.rows_count();
        match made {
            Ok(_) if hashed > PROOF_RECORDS_MAX => Err(too_wide().into()),
            Ok(made) => Ok(RecordProof {
                present: made.record.is_some(),
                bytes: made.bytes,
                hashed,
            }),
            Err(error) if error.kind() == ErrorKind::LimitExceeded => Err(error.into()),
            Err(error) => Err(rows.error(error)),
        }
    }

    /// Returns the plan of the repo's tree, from the digests stored with it.
    pub(crate) fn plan(&self, rows: &mut TreeRows<'_>) -> Result<TreePlan> {
        let plan = TreePlan::with_digests(rows, self.chain().node_digests(0)?);
        plan.map_err(|error| rows.error(error))
    }

    /// Returns the commit, once it is found to be the one that the catalog names.
    pub(crate) fn commit(&self) -> Result<VerifiedRef<'_>> {
        let head = self.chain().head()?;
        VerifiedRef::check(head.entry().commit, head.commit()).map_err(|error| stored(error.into()))
    }
}

/// Names an error for where it is: what breaks a rule here was stored, so it is damage, not somebody's input.
fn stored(error: Error) -> Error {
    match error.code() {
        Code::BadHash | Code::BadStructure | Code::InvalidArgument | Code::Internal => {
            Error::because(Code::Damaged, "a stored repo does not give its tree", error)
        }
        _ => error,
    }
}
