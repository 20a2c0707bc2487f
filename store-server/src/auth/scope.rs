//! [`Scope`]: what a grant allows, and that a narrower one never allows more. Pure: no clock, no counters.

use std::collections::BTreeSet;
use std::fmt;

use carrack_schema::limits::{SELECTION_BYTES_MAX, SELECTION_ENTRIES_MAX};
use carrack_schema::{Code, Did, Nsid};

use super::Operation;
use crate::error::{Error, Result};

/// What a grant allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) repos: Selection<BTreeSet<Did>>,
    pub(crate) collections: Selection<Nsids>,
    pub(crate) may: Operations,
    pub(crate) calls: Budget,
    pub(crate) bytes: Budget,
    /// In microseconds since the Unix epoch.
    pub(crate) expires: i64,
}

/// Which of all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection<S> {
    None,
    Only(S),
    All,
}

/// Collections, some by their name and some by what their name begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nsids {
    names: BTreeSet<String>,
    /// Without the `.*`: all that is below.
    trees: BTreeSet<String>,
}

/// How much may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) total: Limit,
    pub(crate) per_second: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    AtMost(u64),
    Unlimited,
}

/// Which operations; each by itself.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Operations(u16);

impl Operations {
    pub(crate) fn contains(self, operation: Operation) -> bool {
        self.0 & operation.bit() != 0
    }

    pub(crate) fn insert(&mut self, operation: Operation) {
        self.0 |= operation.bit();
    }
}

impl FromIterator<Operation> for Operations {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        let mut set = Self::default();
        operations
            .into_iter()
            .for_each(|operation| set.insert(operation));
        set
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Operation::ALL.iter().filter(|each| self.contains(**each));
        f.debug_set().entries(held).finish()
    }
}

impl Budget {
    pub(crate) const UNLIMITED: Self = Self {
        total: Limit::Unlimited,
        per_second: Limit::Unlimited,
    };
}

impl Scope {
    /// Returns the scope of the store's owner.
    pub(crate) fn everything() -> Self {
        Self {
            repos: Selection::All,
            collections: Selection::All,
            may: Operation::ALL.iter().copied().collect(),
            calls: Budget::UNLIMITED,
            bytes: Budget::UNLIMITED,
            expires: i64::MAX,
        }
    }

    pub(crate) fn sees_repo(&self, did: &Did) -> bool {
        match &self.repos {
            Selection::None => false,
            Selection::Only(dids) => dids.contains(did),
            Selection::All => true,
        }
    }

    pub(crate) fn sees_collection(&self, nsid: &Nsid) -> bool {
        match &self.collections {
            Selection::None => false,
            Selection::Only(nsids) => nsids.contains(nsid.as_str()),
            Selection::All => true,
        }
    }

    /// Returns about how many bytes its names take in a message.
    pub(crate) fn wire_bytes(&self) -> usize {
        /// A pointer, and the text's padding.
        const ENTRY: usize = 16;
        let repos = match &self.repos {
            Selection::Only(dids) => dids.iter().map(|did| did.as_str().len() + ENTRY).sum(),
            Selection::None | Selection::All => 0,
        };
        let collections: usize = match &self.collections {
            Selection::Only(nsids) => nsids.texts().map(|text| text.len() + ENTRY).sum(),
            Selection::None | Selection::All => 0,
        };
        repos + collections
    }

    /// Returns what is asked for here as part of `parent`: what says "all that the issuer may" becomes the issuer's, and
    /// a later expiry is cut to the issuer's.
    ///
    /// # Errors
    /// `denied` if anything is asked for that `parent` does not allow.
    pub(crate) fn narrow(self, parent: &Self) -> Result<Self> {
        Ok(Self {
            repos: narrow_repos(self.repos, &parent.repos)?,
            collections: narrow_collections(self.collections, &parent.collections)?,
            may: narrow_operations(self.may, parent.may)?,
            calls: self.calls.narrow(parent.calls, "calls")?,
            bytes: self.bytes.narrow(parent.bytes, "bytes")?,
            expires: self.expires.min(parent.expires),
        })
    }
}

fn narrow_repos(
    asked: Selection<BTreeSet<Did>>,
    parent: &Selection<BTreeSet<Did>>,
) -> Result<Selection<BTreeSet<Did>>> {
    match (asked, parent) {
        (Selection::None, _) => Ok(Selection::None),
        (Selection::All, parent) => Ok(parent.clone()),
        (only, Selection::All) => Ok(only),
        (Selection::Only(dids), Selection::Only(allowed)) => {
            match dids.iter().find(|did| !allowed.contains(did)) {
                Some(outside) => Err(wider(format!("the repository {outside}"))),
                None => Ok(Selection::Only(dids)),
            }
        }
        (Selection::Only(dids), Selection::None) => match dids.first() {
            Some(first) => Err(wider(format!("the repository {first}"))),
            None => Ok(Selection::None),
        },
    }
}

fn narrow_collections(
    asked: Selection<Nsids>,
    parent: &Selection<Nsids>,
) -> Result<Selection<Nsids>> {
    let nothing = Nsids::default();
    let allowed = match (&asked, parent) {
        (Selection::None, _) | (_, Selection::All) => return Ok(asked),
        (Selection::All, parent) => return Ok(parent.clone()),
        (Selection::Only(_), Selection::Only(allowed)) => allowed,
        (Selection::Only(_), Selection::None) => &nothing,
    };
    if let Selection::Only(nsids) = &asked {
        let name = nsids.names.iter().find(|name| !allowed.contains(name));
        let tree = nsids.trees.iter().find(|tree| !allowed.holds_tree(tree));
        if let Some(outside) = name {
            return Err(wider(format!("the collection {outside}")));
        }
        if let Some(outside) = tree {
            return Err(wider(format!("the collections {outside}.*")));
        }
    }
    Ok(asked)
}

fn narrow_operations(asked: Operations, parent: Operations) -> Result<Operations> {
    let outside = |each: &&Operation| asked.contains(**each) && !parent.contains(**each);
    match Operation::ALL.iter().find(outside) {
        Some(operation) => Err(wider(format!("to {operation}"))),
        None => Ok(asked),
    }
}

impl Budget {
    fn narrow(self, parent: Self, what: &str) -> Result<Self> {
        let total = self.total.narrow(parent.total);
        let per_second = self.per_second.narrow(parent.per_second);
        Ok(Self {
            total: total.ok_or_else(|| wider(format!("the number of {what}")))?,
            per_second: per_second.ok_or_else(|| wider(format!("{what} per second")))?,
        })
    }
}

impl Limit {
    /// None if it is more than the parent's.
    fn narrow(self, parent: Self) -> Option<Self> {
        match (self, parent) {
            (Self::None, _) => Some(Self::None),
            (Self::Unlimited, parent) => Some(parent),
            (own, Self::Unlimited) => Some(own),
            (Self::AtMost(own), Self::AtMost(most)) => (own <= most).then_some(self),
            (Self::AtMost(own), Self::None) => (own == 0).then_some(Self::None),
        }
    }

    /// Returns the number that it bounds to, if it does.
    pub(crate) fn most(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::AtMost(most) => Some(most),
            Self::Unlimited => None,
        }
    }
}

fn wider(what: impl fmt::Display) -> Error {
    let words = format!("{what} is more than this session may itself, so it cannot be handed on");
    Error::new(Code::Denied, words)
}

impl Nsids {
    /// Adds an NSID, or all below one: `app.bsky.feed.*`.
    ///
    /// # Errors
    /// `invalidArgument` for any other text.
    pub(crate) fn insert(&mut self, text: &str) -> Result<()> {
        let invalid = || {
            let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
            let words = format!(
                "`{shown}` is neither a collection (app.bsky.feed.post) nor all below a name (app.bsky.feed.*)"
            );
            Error::new(Code::InvalidArgument, words)
        };
        match text.strip_suffix(".*") {
            None => {
                let nsid: Nsid = text.parse().map_err(|_| invalid())?;
                self.names.insert(nsid.as_str().to_owned());
            }
            Some(tree) => {
                // Some collection must be able to be below it.
                let below: Result<Nsid, _> = format!("{tree}.a.a").parse();
                below.map_err(|_| invalid())?;
                self.trees.insert(tree.to_owned());
            }
        }
        Ok(())
    }

    /// Returns what was inserted.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        let trees = self.trees.iter().map(|tree| format!("{tree}.*"));
        self.names.iter().cloned().chain(trees)
    }

    fn len(&self) -> usize {
        self.names.len() + self.trees.len()
    }

    fn contains(&self, nsid: &str) -> bool {
        self.names.contains(nsid) || self.is_below_a_tree(nsid)
    }

    /// Says whether all below a name is in it.
    fn holds_tree(&self, tree: &str) -> bool {
        self.trees.contains(tree) || self.is_below_a_tree(tree)
    }

    fn is_below_a_tree(&self, name: &str) -> bool {
        let dots = name.match_indices('.');
        dots.filter_map(|(at, _)| name.get(..at))
            .any(|above| self.trees.contains(above))
    }
}

/// Counts the names of a selection as they are read, so that none is kept beyond the limits.
#[derive(Debug, Default)]
pub(crate) struct SelectionSize {
    entries: usize,
    bytes: usize,
}

impl SelectionSize {
    /// # Errors
    /// `limitExceeded`.
    pub(crate) fn count(&mut self, name: &str) -> Result<()> {
        self.entries += 1;
        self.bytes += name.len();
        if self.entries > SELECTION_ENTRIES_MAX || self.bytes > SELECTION_BYTES_MAX {
            let words = format!(
                "a scope names at most {SELECTION_ENTRIES_MAX} repositories and as many collections, of \
                 {SELECTION_BYTES_MAX} bytes each; make several grants, or allow all"
            );
            return Err(Error::new(Code::LimitExceeded, words));
        }
        Ok(())
    }
}

impl Selection<Nsids> {
    pub(crate) fn entries(&self) -> usize {
        match self {
            Self::Only(nsids) => nsids.len(),
            Self::None | Self::All => 0,
        }
    }
}

#[cfg(test)]
mod tests;
