//! [`Verification`]: what the store found when it looked at a record again.

use carrack_schema::Cid;

use crate::types::Source;

/// What the store found when it looked at a record again, from its bytes to the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// All fits together.
    Sound(Verified),
    /// The store's files are damaged: what does not fit, for people.
    Broken(String),
}

/// What was shown of a record that is in the repo, or is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The repo and the commit that it was shown for.
    pub source: Source,
    /// The record's CID, from its bytes as they are stored now; none if there is no such record.
    pub cid: Option<Cid>,
    /// Nodes of the tree, from the root to where the record is or would be.
    pub nodes: u32,
    /// What checking the commit's signature came to, now.
    pub signature: Signature,
}

/// What checking a commit's signature came to. A wrong one is [`Verification::Broken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The store was given no key to check it with.
    Unchecked,
    /// It is of the key that the verdict names.
    Valid,
    /// The commit is of version 2, from an old export.
    LegacyCommit,
}

impl Signature {
    /// Returns its name, as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Valid => "valid",
            Self::LegacyCommit => "legacyCommit",
        }
    }
}
