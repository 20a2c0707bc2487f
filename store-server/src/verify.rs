//! Verifying a stored record: the store does itself what a proof lets others do.
//!
//! Everything is made from the bytes as they are on the disk now: the record is hashed, the nodes on its path are rebuilt
//! up to the root that the commit names, the commit is hashed and its signature checked again. What does not fit is a
//! finding, not an error. Its words name no other record: who asks may be allowed to see this one alone.

use carrack_repo::proof::find;
use carrack_repo::{
    AnyCommit, ErrorKind, PublicKey, RebuiltNodes, SignatureVerdict, VerifiedRef, check_signature,
};
use carrack_schema::limits::PROOF_RECORDS_MAX;
use carrack_schema::{Cid, Code, RecordPath};

use crate::error::{Error, Result, damaged};
use crate::row::Content;
use crate::store::{Lookup, Repo};
use crate::tree::{ProofNodes, TreeRows, too_wide};
use crate::verdict::Verdict;

/// What verifying a record came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// All fits together.
    Sound(Verified),
    /// The store's files are damaged: what does not fit.
    Broken(String),
}

/// What was shown of a record that is in the repo, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of the record, from its bytes as they are stored; none if the tree has no such record.
    pub cid: Option<Cid>,
    /// Nodes of the tree, from the root to where the record is or would be.
    pub nodes: u32,
    /// What is known of the commit's signature: valid is what was found valid now.
    pub signature: Signature,
}

/// What checking a commit's signature came to. One that does not fit is damage: a bad signature is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The store was given no key to check it with.
    Unchecked,
    /// It is of the key that the verdict names.
    Valid,
    /// The commit is of version 2.
    LegacyCommit,
}

impl Repo {
    /// Verifies a record, or that there is none.
    ///
    /// Reads every key, hashes only the records of the nodes on the path: [`PROOF_RECORDS_MAX`] at the most.
    ///
    /// # Errors
    /// `incomplete` for a record that was deleted from the store, or whose block is not held; `limitExceeded` for a path
    /// through more records than that; the disk's, if it cannot be read. Damage is no error.
    pub fn verify(&self, path: &RecordPath) -> Result<Verification> {
        match self.verified(path) {
            Ok(verified) => Ok(Verification::Sound(verified)),
            Err(error) => Verification::of(error),
        }
    }

    fn verified(&self, path: &RecordPath) -> Result<Verified> {
        if self.is_deleted(path)? {
            let words = format!("record {path} was deleted from the store");
            return Err(Error::new(Code::Incomplete, words));
        }
        let cid = self.hashed(path)?;
        let block = self.commit()?;
        let commit = AnyCommit::parse(block.bytes())
            .map_err(|error| damaged("the stored commit does not parse", error))?;
        let summary = self.summary();
        if (commit.did(), commit.rev()) != (&summary.did, summary.rev) {
            return Err(broken(
                "the stored commit is of another repository or revision",
            ));
        }
        let (found, nodes) = self.path_to(path, commit.data())?;
        if found != cid {
            return Err(broken(
                "the record's bytes are not those that the signed tree names",
            ));
        }
        let signature = self.signature(&block)?;
        Ok(Verified {
            cid,
            nodes,
            signature,
        })
    }

    /// Returns a record's CID, by its bytes.
    fn hashed(&self, path: &RecordPath) -> Result<Option<Cid>> {
        let Lookup::Found(record) = self.record(path)? else {
            return Ok(None);
        };
        let content = record.content()?;
        if let Content::Missing(cid) = content {
            let words = format!("the repo was imported without the block {cid} of record {path}");
            return Err(Error::new(Code::Incomplete, words));
        }
        Ok(content.cid())
    }

    /// Goes down from the root that the commit names; returns the record that is there, and how many nodes are above it.
    fn path_to(&self, path: &RecordPath, root: Cid) -> Result<(Option<Cid>, u32)> {
        let mut rows = TreeRows::new(self)?;
        let plan = self.plan(&mut rows)?;
        let mut nodes = ProofNodes(RebuiltNodes::new(&plan, &mut rows));
        let key = path.to_string();
        let mut count = 0_u32;
        let found = find(root, key.as_bytes(), &mut nodes, |_| {
            count = count.saturating_add(1);
            Ok(())
        });
        let hashed = nodes.0.rows_count();
        match found {
            Ok(_) if hashed > PROOF_RECORDS_MAX => Err(too_wide().into()),
            Ok(found) => Ok((found, count)),
            Err(error) if error.kind() == ErrorKind::LimitExceeded => Err(error.into()),
            Err(error) => Err(rows.take_fault().unwrap_or_else(|| {
                // What it says may name the records beside this one.
                tracing::warn!(%error, "a stored repo does not give its tree");
                broken("the stored records do not give the tree's nodes on the path from the root that the commit signs")
            })),
        }
    }

    fn signature(&self, commit: &VerifiedRef<'_>) -> Result<Signature> {
        let key = match &self.summary().verdict {
            Verdict::Unchecked => return Ok(Signature::Unchecked),
            Verdict::LegacyCommit => return Ok(Signature::LegacyCommit),
            Verdict::Valid { key, .. } => key,
        };
        let parsed: PublicKey = key
            .parse()
            .map_err(|error| damaged("the stored verdict's key does not parse", error))?;
        match check_signature(commit.bytes(), &parsed)
            .map_err(|error| damaged("the stored commit's signature", error))?
        {
            SignatureVerdict::Valid => Ok(Signature::Valid),
            SignatureVerdict::Invalid(fault) => Err(broken(format!(
                "the stored commit is not signed with {key}: {fault}"
            ))),
        }
    }
}

impl Verification {
    /// Takes damage for what it is here: a finding.
    ///
    /// # Errors
    /// Any other error.
    pub(crate) fn of(error: Error) -> Result<Self> {
        match error.code() {
            Code::Damaged => Ok(Self::Broken(error.chain())),
            _ => Err(error),
        }
    }
}

fn broken(words: impl Into<String>) -> Error {
    Error::new(Code::Damaged, words)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use carrack_segment::Directory;
    use carrack_segment::directory::mem::Mem;
    use kit::{Order, RepoSpec};

    use super::*;
    use crate::clock::SystemClock;
    use crate::ingest::ImportRequest;
    use crate::store::Store;

    #[test]
    fn a_key_that_did_not_sign_the_commit_is_found() {
        let repo = |seed| {
            let spec = RepoSpec {
                records: 5,
                seed,
                ..RepoSpec::default()
            };
            spec.build()
        };
        let (signed, other) = (repo(1), repo(2));
        let directory: Arc<dyn Directory> = Arc::new(Mem::new());
        let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
        for repo in [&signed, &other] {
            let request = ImportRequest {
                did_document: Some(repo.did_doc.clone().into_bytes()),
                ..ImportRequest::default()
            };
            let car = repo.car(Order::Pds);
            store.import(&car[..], &request, |_| ()).unwrap();
        }
        let path = signed.records[0].path.parse().unwrap();
        let verify = || store.repo(&signed.did).unwrap().unwrap().verify(&path);
        let Verification::Sound(verified) = verify().unwrap() else {
            panic!("it is sound");
        };
        assert_eq!(verified.signature, Signature::Valid);

        // As a catalog might say that was put together from two.
        let (did, other) = (signed.did.clone(), other.did.clone());
        store
            .change(move |tables| {
                let verdict = tables.repo(&other)?.unwrap().head().verdict.clone();
                let before = tables.repo(&did)?.unwrap();
                let mut after = before.clone();
                after.extents[0].verdict = verdict;
                tables.put_repo(&did, Some(&before), &after)
            })
            .unwrap();
        let Verification::Broken(words) = verify().unwrap() else {
            panic!("it is broken");
        };
        assert!(words.contains("is not signed with did:key:"), "{words}");
    }
}
