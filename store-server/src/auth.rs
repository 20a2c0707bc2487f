//! [`Authority`]: what the holder of a session may do. Every object that a session gives out holds it, and asks it
//! when a method starts and for what it passes on; nothing is allowed by who somebody is.
//!
//! The owner may do everything. Everyone else holds a [`Grant`](grant::Grant): a part of that, made by the owner or by
//! another holder, counted as it is used, and taken back whenever its issuer wants.

pub(crate) mod audit;
mod books;
pub(crate) mod grant;
pub(crate) mod grants;
#[cfg(test)]
mod kit;
mod rate;
pub(crate) mod scope;
pub(crate) mod token;
mod wire;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use carrack_schema::{Code, Did, Nsid};

use self::grant::{Grant, Refusal};
use self::scope::{Scope, Selection};
use crate::error::{Error, Result};
use crate::ingest::ImportGuard;

/// What a method does; a scope allows each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Records by name, and what is known of a repo.
    Read,
    /// Which repos, collections and records there are; queries.
    List,
    /// Full text. No method needs it yet.
    Search,
    /// No method needs it yet.
    Blobs,
    /// Proofs.
    Prove,
    /// Whole repos.
    Export,
    /// New revisions.
    Import,
    /// Deleting records and repos.
    Delete,
    /// Handing on a part of this.
    Grant,
    /// Compacting and checking the store.
    Maintain,
}

impl Operation {
    pub(crate) const ALL: &[Self] = &[
        Self::Read,
        Self::List,
        Self::Search,
        Self::Blobs,
        Self::Prove,
        Self::Export,
        Self::Import,
        Self::Delete,
        Self::Grant,
        Self::Maintain,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Search => "search",
            Self::Blobs => "blobs",
            Self::Prove => "prove",
            Self::Export => "export",
            Self::Import => "import",
            Self::Delete => "delete",
            Self::Grant => "grant",
            Self::Maintain => "maintain",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the holder of a session may do. Cheap to clone, and shared by all threads.
#[derive(Clone, Debug)]
pub(crate) struct Authority(Option<Arc<Grant>>);

/// Longest pause at a time of what waits for its rate.
const PACE_SLICE: Duration = Duration::from_secs(1);

impl Authority {
    /// Returns the authority of the store's owner: everything.
    pub(crate) fn owner() -> Self {
        Self(None)
    }

    pub(crate) fn of(grant: Arc<Grant>) -> Self {
        Self(Some(grant))
    }

    /// Returns the grant it comes from; none for the owner.
    pub(crate) fn grant(&self) -> Option<&Arc<Grant>> {
        self.0.as_ref()
    }

    /// Returns the id of its grant; empty for the owner. Cursors are sealed to it.
    pub(crate) fn id(&self) -> &str {
        self.0.as_ref().map_or("", |grant| grant.id_text())
    }

    /// Returns the label of its grant; empty for the owner.
    pub(crate) fn label(&self) -> &str {
        self.0.as_ref().map_or("", |grant| &grant.facts.label)
    }

    pub(crate) fn scope(&self) -> &Scope {
        static EVERYTHING: LazyLock<Scope> = LazyLock::new(Scope::everything);
        self.0
            .as_ref()
            .map_or_else(|| &*EVERYTHING, |grant| grant.scope())
    }

    /// Says whether it allows anything still.
    ///
    /// # Errors
    /// `revoked` or `expired`.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |grant| grant.check())
    }

    /// Counts a call that does nothing by itself: a hop.
    ///
    /// # Errors
    /// `revoked` or `expired`; `budgetSpent` or `overloaded` if there are no calls left for good, or for now.
    pub(crate) fn enter(&self) -> Result<()> {
        self.spend(1, 0)
    }

    /// Counts a call of a method that does `operation`.
    ///
    /// # Errors
    /// As [`enter`](Self::enter), and `denied` if the scope does not allow it.
    pub(crate) fn begin(&self, operation: Operation) -> Result<()> {
        self.check_may(operation)?;
        self.enter()
    }

    /// Says whether a call that was let in may do `operation` too.
    ///
    /// # Errors
    /// `revoked` or `expired`; `denied` if the scope does not allow it.
    pub(crate) fn check_may(&self, operation: Operation) -> Result<()> {
        let Some(grant) = &self.0 else {
            return Ok(());
        };
        // Whose authority has ended hears of that, not of what it was.
        grant.check()?;
        if !grant.scope().may.contains(operation) {
            let words = format!("this session may not {operation}; {}", self.may());
            return Err(Error::new(Code::Denied, words));
        }
        Ok(())
    }

    fn may(&self) -> String {
        let scope = self.scope();
        let held = Operation::ALL
            .iter()
            .filter(|each| scope.may.contains(**each));
        let held: Vec<_> = held.map(|each| each.as_str()).collect();
        match held.as_slice() {
            [] => "it may do nothing".to_owned(),
            held => format!("it may {}", held.join(", ")),
        }
    }

    fn spend(&self, calls: u64, bytes: u64) -> Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(grant) => Ok(grant.charge(calls, bytes)?),
        }
    }

    /// Says whether a repo is in the scope.
    pub(crate) fn sees_repo(&self, did: &Did) -> bool {
        self.scope().sees_repo(did)
    }

    /// Says whether a collection is in the scope.
    pub(crate) fn sees_collection(&self, nsid: &Nsid) -> bool {
        self.scope().sees_collection(nsid)
    }

    /// Says whether all repos are in the scope, also those to come.
    pub(crate) fn sees_all_repos(&self) -> bool {
        matches!(self.scope().repos, Selection::All)
    }

    /// Says whether all collections are in the scope.
    pub(crate) fn sees_all_collections(&self) -> bool {
        matches!(self.scope().collections, Selection::All)
    }

    /// Returns which repos are in the scope; none if all are.
    pub(crate) fn repos(&self) -> Option<&BTreeSet<Did>> {
        static NOTHING: BTreeSet<Did> = BTreeSet::new();
        match &self.scope().repos {
            Selection::None => Some(&NOTHING),
            Selection::Only(dids) => Some(dids),
            Selection::All => None,
        }
    }

    /// Counts bytes that go in or out.
    ///
    /// # Errors
    /// `revoked` or `expired`; `budgetSpent` or `overloaded` if there are none left for good, or for now.
    pub(crate) fn charge(&self, bytes: usize) -> Result<()> {
        self.spend(0, bytes as u64)
    }

    /// As [`charge`](Self::charge) for what goes through piece by piece: where the bytes of a second are used up it waits
    /// for the next, and so goes as fast as the grant allows.
    ///
    /// # Errors
    /// `revoked` or `expired`; `budgetSpent`.
    pub(crate) async fn charge_paced(&self, bytes: usize) -> Result<()> {
        let Some(grant) = &self.0 else {
            return Ok(());
        };
        loop {
            match grant.charge(0, bytes as u64) {
                Ok(()) => return Ok(()),
                Err(Refusal::Wait(_, micros)) => {
                    tokio::time::sleep(Duration::from_micros(micros).min(PACE_SLICE)).await;
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// Waits until the authority ends, and says why: `revoked` or `expired`. What is under way then is to end too.
    pub(crate) async fn ended(&self) -> Error {
        match &self.0 {
            None => std::future::pending().await,
            Some(grant) => grant.ended().await,
        }
    }
}

impl ImportGuard for Authority {
    fn admit(&self, did: &Did) -> Result<()> {
        if self.sees_repo(did) {
            return Ok(());
        }
        let words = format!("the repository {did} is outside what this session may reach");
        Err(Error::new(Code::Denied, words))
    }

    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn may_take_from(&self, claimant: &Did) -> bool {
        self.sees_repo(claimant)
    }
}
