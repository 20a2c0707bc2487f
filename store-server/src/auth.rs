//! [`Authority`]: what the holder of a session may do. Every object that a session gives out holds it, and asks it
//! when a method starts and for what it passes on; nothing is allowed by who somebody is.

use carrack_schema::{Did, Nsid};

use crate::error::{Error, Result};

/// What a method does; a scope allows each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Records by name, and what is known of a repo.
    Read,
    /// Which repos, collections and records there are; queries.
    List,
    /// Proofs.
    Prove,
    /// Whole repos.
    Export,
    /// New revisions.
    Import,
    /// Deleting records and repos.
    Delete,
    /// Compacting and checking the store.
    Maintain,
}

/// What the holder of a session may do. Cheap to clone, and shared by all threads.
#[derive(Clone, Debug)]
pub(crate) struct Authority;

#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the owner is the only holder yet"
)]
impl Authority {
    /// Returns the authority of the store's owner: everything.
    pub(crate) fn owner() -> Self {
        Self
    }

    /// Returns the id of its grant; empty for the owner. Cursors are sealed to it.
    pub(crate) fn id(&self) -> &str {
        ""
    }

    /// Counts a call that does nothing by itself: a hop.
    ///
    /// # Errors
    /// `revoked` or `expired`; `budgetSpent` or `overloaded` if there are no calls left for good, or for now.
    pub(crate) fn enter(&self) -> Result<()> {
        Ok(())
    }

    /// Counts a call of a method that does `operation`.
    ///
    /// # Errors
    /// As [`enter`](Self::enter), and `denied` if the scope does not allow it.
    pub(crate) fn begin(&self, _operation: Operation) -> Result<()> {
        Ok(())
    }

    /// Says whether a repo is in the scope.
    pub(crate) fn sees_repo(&self, _did: &Did) -> bool {
        true
    }

    /// Says whether a collection is in the scope.
    pub(crate) fn sees_collection(&self, _nsid: &Nsid) -> bool {
        true
    }

    /// Says whether all repos are in the scope, also those to come.
    pub(crate) fn sees_all_repos(&self) -> bool {
        true
    }

    /// Says whether all collections are in the scope.
    pub(crate) fn sees_all_collections(&self) -> bool {
        true
    }

    /// Counts bytes that go in or out.
    ///
    /// # Errors
    /// `revoked` or `expired`; `budgetSpent` or `overloaded` if there are none left for good, or for now.
    pub(crate) fn charge(&self, _bytes: usize) -> Result<()> {
        Ok(())
    }

    /// Waits until the authority ends, and says why: `revoked` or `expired`. What is under way then is to end too.
    pub(crate) async fn ended(&self) -> Error {
        std::future::pending().await
    }
}
