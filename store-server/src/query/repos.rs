//! [`Opened`]: the repos that a query has reached, each opened once, so that an answer is of one revision of each.

use std::collections::HashMap;
use std::sync::Arc;

use carrack_schema::limits::{QUERY_REPO_WORK, QUERY_REPOS_MAX};
use carrack_schema::{AtUri, Did};

use super::Scope;
use super::budget::{Ended, Meter};
use super::plan::Hop;
use super::run::{Absent, Row, What};
use crate::error::Result;
use crate::store::{Absence, Repo, Store};

/// Bytes that knowing of a repo takes, beside its DID.
const REPO_BYTES: usize = 64;

/// The repos that a query has reached.
pub(super) struct Opened<'a> {
    store: &'a Store,
    scope: &'a dyn Scope,
    numbers: HashMap<Did, Result<u32, Hop>>,
    repos: Vec<Arc<Repo>>,
}

/// What opening a repo came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It is open under this number.
    Repo(u32),
    /// It is not held, or hidden, or out of sight.
    Absent(Hop),
    /// The plan may reach no more.
    Refused,
}

impl<'a> Opened<'a> {
    pub(super) fn new(store: &'a Store, scope: &'a dyn Scope) -> Self {
        Self {
            store,
            scope,
            numbers: HashMap::new(),
            repos: Vec::new(),
        }
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// Returns a repo by its number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Repo>> {
        self.repos.get(number as usize)
    }

    pub(super) fn all(&self) -> &[Arc<Repo>] {
        &self.repos
    }

    /// Opens a repo, if it was not before.
    pub(super) fn open(&mut self, did: &Did, meter: &mut Meter<'_>) -> Result<Opening> {
        if let Some(known) = self.numbers.get(did) {
            return Ok(known.map_or_else(Opening::Absent, Opening::Repo));
        }
        // Those out of sight too: a store may hold many, and looking past them takes time.
        meter.tick()?;
        if !self.scope.sees_repo(did) {
            return Ok(Opening::Absent(Hop::Repo));
        }
        if self.repos.len() >= QUERY_REPOS_MAX {
            meter.end(Ended::Repos);
            return Ok(Opening::Refused);
        }
        meter.charge(QUERY_REPO_WORK);
        if !meter.hold(REPO_BYTES + did.as_str().len()) {
            return Ok(Opening::Refused);
        }
        let opened = match self.store.repo(did)? {
            Err(Absence::Unknown) => Err(Hop::Repo),
            Err(Absence::Inactive) => Err(Hop::Inactive),
            Ok(repo) => {
                self.repos.push(Arc::new(repo));
                // Fits: there are at most QUERY_REPOS_MAX.
                Ok(u32::try_from(self.repos.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.numbers.insert(did.clone(), opened);
        Ok(opened.map_or_else(Opening::Absent, Opening::Repo))
    }

    /// Returns the row of a record by its name, held or not; none if nothing more may be looked up.
    pub(super) fn look_up(
        &mut self,
        uri: &AtUri,
        form: Option<usize>,
        count: u64,
        meter: &mut Meter<'_>,
    ) -> Result<Option<Row>> {
        let Some(path) = uri.path() else {
            return Ok(None);
        };
        if !meter.look_up() {
            return Ok(None);
        }
        let found = match self.open(&uri.did, meter)? {
            Opening::Refused => return Ok(None),
            Opening::Absent(hop) => Err(hop),
            Opening::Repo(_) if !self.scope.sees_collection(&path.collection) => Err(Hop::Record),
            Opening::Repo(number) => match self.get(number) {
                None => Err(Hop::Repo),
                Some(repo) => repo.number_of(&path)?.map(|row| (number, row)),
            },
        };
        let what = match found {
            Ok((repo, number)) => What::Record { repo, number },
            Err(hop) => What::Absent(Arc::new(Absent {
                uri: uri.clone(),
                hop,
            })),
        };
        Ok(Some(Row { what, count, form }))
    }
}
