//! Judging a commit's signature with the key of a DID document that came with the import.

use carrack_repo::hash::sha256;
use carrack_repo::{AnyCommit, DidDocument, SignatureVerdict, VerifiedRef, check_signature};
use carrack_schema::Code;

use super::ImportRequest;
use crate::catalog::RepoEntry;
use crate::error::{Error, Result};
use crate::verdict::Verdict;

/// What an import says of a commit's signature and of the account's handle.
#[derive(Clone)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// The handle the document claims; none if there was no document.
    claimed: Option<String>,
}

impl Judgement {
    /// Judges a commit. What no key was given for is unchecked, and says so.
    ///
    /// # Errors
    /// `badSignature` if the signature is not the key's, the document names no key, or one is required and none was given;
    /// `badStructure` for a document that is none; `wrongDid` for another account's.
    pub(super) fn of(
        commit: &AnyCommit,
        block: &VerifiedRef<'_>,
        request: &ImportRequest,
        now: i64,
    ) -> Result<Self> {
        let unchecked = match commit {
            AnyCommit::Current(_) => Verdict::Unchecked,
            AnyCommit::Legacy(_) => Verdict::LegacyCommit,
        };
        let Some(json) = &request.did_document else {
            if request.require_signature {
                let words = "a checked signature is required, and no DID document was given to check it with";
                return Err(Error::new(Code::BadSignature, words));
            }
            return Ok(Self {
                verdict: unchecked,
                claimed: None,
            });
        };
        let document = DidDocument::parse(json)?;
        document.check_id(commit.did())?;
        let Some(key) = &document.signing_key else {
            let words = format!("the DID document of {} names no #atproto key", commit.did());
            return Err(Error::new(Code::BadSignature, words));
        };
        if let SignatureVerdict::Invalid(fault) = check_signature(block.bytes(), key)? {
            let words = format!("commit {} is not signed with {key}: {fault}", block.cid());
            return Err(Error::new(Code::BadSignature, words));
        }
        let verdict = match commit {
            AnyCommit::Current(_) => Verdict::Valid {
                key: key.to_string(),
                document: sha256(json),
                checked: now,
            },
            AnyCommit::Legacy(_) => unchecked,
        };
        let claimed = document
            .handles
            .first()
            .map(|handle| handle.to_ascii_lowercase());
        Ok(Self {
            verdict,
            claimed: Some(claimed.unwrap_or_default()),
        })
    }

    /// Says whether a DID document came with the import, so that the handle in it is claimed anew.
    pub(super) fn claims(&self) -> bool {
        self.claimed.is_some()
    }

    /// Returns the handle that counts: the one claimed now, else the one known.
    pub(super) fn handle(&self, stored: Option<&RepoEntry>) -> String {
        let known = || stored.map(|stored| stored.handle.clone());
        self.claimed.clone().or_else(known).unwrap_or_default()
    }
}
