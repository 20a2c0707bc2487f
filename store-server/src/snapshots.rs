//! [`Snapshots`]: repos as they were read last, for whoever reads next while nothing was committed.
//!
//! Opening a repo costs more than reading a record of it. What is kept here must never be older than the catalog's newest
//! commit that anyone has heard of, and must not hold a file that the store has let go of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrack_schema::Did;
use carrack_schema::limits::SNAPSHOTS_MAX;

use crate::snapshot::Repo;

/// Repos by their DIDs; of another kind in tests only.
pub(crate) struct Snapshots<R = Repo> {
    state: Mutex<State<R>>,
}

struct State<R> {
    /// With the version of the catalog that was there before the repo was read.
    repos: HashMap<Did, (u64, Arc<R>)>,
    round: Round,
}

/// Counts how often all was let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round(u64);

impl<R> Default for Snapshots<R> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                repos: HashMap::new(),
                round: Round::default(),
            }),
        }
    }
}

impl<R> Snapshots<R> {
    /// Returns a repo if it was read at this version of the catalog; else what [`put`](Self::put) is to be given.
    pub(crate) fn get(&self, did: &Did, version: u64) -> Result<Arc<R>, Round> {
        let state = self.lock();
        match state.repos.get(did) {
            Some((at, repo)) if *at == version => Ok(repo.clone()),
            _ => Err(state.round),
        }
    }

    /// Keeps a repo that was read since the catalog had this version, unless all was let go of meanwhile: then it may hold
    /// what was.
    pub(crate) fn put(&self, did: &Did, version: u64, round: Round, repo: Arc<R>) {
        let mut state = self.lock();
        if state.round != round {
            return;
        }
        if state.repos.len() >= SNAPSHOTS_MAX && !state.repos.contains_key(did) {
            state.repos.clear();
        }
        state.repos.insert(did.clone(), (version, repo));
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.round.0 += 1;
        state.repos.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        // Each holder leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(number: usize) -> Did {
        format!("did:web:n{number}.example").parse().unwrap()
    }

    #[test]
    fn what_was_read_before_all_was_let_go_of_is_not_kept() {
        let (snapshots, did) = (Snapshots::default(), did(0));
        let before = snapshots.get(&did, 1).unwrap_err();
        snapshots.clear();
        snapshots.put(&did, 1, before, Arc::new("old"));
        let after = snapshots.get(&did, 1).unwrap_err();
        snapshots.put(&did, 1, after, Arc::new("new"));
        assert_eq!(*snapshots.get(&did, 1).unwrap(), "new");
        assert!(snapshots.get(&did, 2).is_err());
    }

    #[test]
    fn no_more_are_kept_than_the_limit() {
        let (snapshots, repo) = (Snapshots::default(), Arc::new(()));
        for number in 0..SNAPSHOTS_MAX {
            snapshots.put(&did(number), 0, Round::default(), repo.clone());
        }
        // One that is there already takes no more room.
        snapshots.put(&did(0), 1, Round::default(), repo.clone());
        assert_eq!(Arc::strong_count(&repo), SNAPSHOTS_MAX + 1);
        snapshots.put(&did(SNAPSHOTS_MAX), 0, Round::default(), repo.clone());
        assert_eq!(Arc::strong_count(&repo), 2);
    }
}
