//! Whether a commit may take the place of the stored one: only a higher revision replaces (CM7).

use carrack_repo::AnyCommit;
use carrack_schema::{Cid, Code};

use crate::catalog::RepoEntry;
use crate::error::{Error, Result};

/// How a commit relates to the stored one of the same repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// There is none, or it is older.
    Newer,
    /// It is this very commit.
    Same,
}

/// Compares a commit with the stored one.
///
/// # Errors
/// `olderRev` and `fork`; a commit of version 2 has no revision, so it takes no other's place (CM8).
pub(super) fn admit(
    commit: &AnyCommit,
    root: Cid,
    stored: Option<&RepoEntry>,
) -> Result<Admission> {
    let Some(stored) = stored.map(RepoEntry::head) else {
        return Ok(Admission::Newer);
    };
    if stored.commit == root {
        return Ok(Admission::Same);
    }
    match (commit, stored.rev) {
        (AnyCommit::Current(commit), Some(rev)) if commit.rev > rev => Ok(Admission::Newer),
        (AnyCommit::Current(_), None) => Ok(Admission::Newer),
        (AnyCommit::Current(commit), Some(rev)) if commit.rev < rev => {
            let words = format!(
                "the CAR is at rev {}, the store at {rev}, which is newer",
                commit.rev
            );
            Err(Error::new(Code::OlderRev, words))
        }
        (AnyCommit::Current(commit), Some(_)) => {
            let words = format!(
                "the CAR's commit {root} and the stored {} are both rev {}: the account's history has forked",
                stored.commit, commit.rev
            );
            Err(Error::new(Code::Fork, words))
        }
        (AnyCommit::Legacy(_), Some(rev)) => {
            let words =
                format!("the CAR's commit is of version 2 and has no rev; the store is at {rev}");
            Err(Error::new(Code::OlderRev, words))
        }
        (AnyCommit::Legacy(_), None) => {
            let words = format!(
                "the CAR's commit {root} and the stored {} are both of version 2: nothing says which is newer",
                stored.commit
            );
            Err(Error::new(Code::Fork, words))
        }
    }
}
