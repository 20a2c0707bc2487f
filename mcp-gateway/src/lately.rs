//! [`Lately`]: a store, and the repos and collections in it that were named last.
//!
//! What a handle names is opened by its first call, which sends the hops on the way to it, and let go of with the last
//! handle. Agents ask for much of the same, so the last few are kept: a call on one of them is one message, its answer
//! another, and nothing is said of objects.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use carrack_client::{Collection, Repo, Store};

/// Repos and collections that are kept, of each; a server takes thousands from one connection.
const KEPT_MAX: usize = 16;

/// A store, and what was named in it lately; clones share that.
#[derive(Clone, Debug)]
pub(crate) struct Lately {
    store: Store,
    repos: Kept<Repo>,
    collections: Kept<Collection>,
}

impl Lately {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            repos: Kept::default(),
            collections: Kept::default(),
        }
    }

    /// Returns the store itself.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Names a repo, at a revision if one is said.
    pub(crate) fn repo(&self, did: &str, rev: Option<&str>) -> Repo {
        let rev = rev.unwrap_or_default();
        self.repos.get(&[did, rev], || {
            let repo = self.store.repo(did);
            match rev {
                "" => repo,
                rev => repo.at(rev),
            }
        })
    }

    /// Names a collection of such a repo.
    pub(crate) fn collection(&self, did: &str, rev: Option<&str>, nsid: &str) -> Collection {
        let key = [did, rev.unwrap_or_default(), nsid];
        self.collections
            .get(&key, || self.repo(did, rev).collection(nsid))
    }
}

/// Handles by what they name, the last used behind.
#[derive(Debug)]
struct Kept<T>(Arc<Mutex<VecDeque<Entry<T>>>>);

/// The parts of a name, and the handle.
type Entry<T> = (Vec<String>, T);

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Kept<T> {
    fn get(&self, key: &[&str], make: impl FnOnce() -> T) -> T {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(known, _)| known == key);
        let entry = match found.and_then(|at| kept.remove(at)) {
            Some(entry) => entry,
            None => (key.iter().map(|&part| part.to_owned()).collect(), make()),
        };
        let handle = entry.1.clone();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(entry);
        handle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_are_kept_and_no_more() {
        let kept = Kept::default();
        let made = std::cell::Cell::new(0);
        let get = |name: &str| {
            kept.get(&[name], || {
                made.set(made.get() + 1);
                name.to_owned()
            })
        };
        for number in 0..KEPT_MAX {
            get(&number.to_string());
        }
        assert_eq!(get("0"), "0");
        assert_eq!(made.get(), KEPT_MAX, "the first is still there");
        get("one more");
        assert_eq!(kept.0.lock().unwrap().len(), KEPT_MAX);
        get("0");
        assert_eq!(made.get(), KEPT_MAX + 1, "it was used after the second");
        get("1");
        assert_eq!(made.get(), KEPT_MAX + 2);
    }

    #[test]
    fn what_differs_in_one_part_is_another() {
        let kept = Kept::default();
        assert_eq!(kept.get(&["a", "", "b"], || 1), 1);
        assert_eq!(kept.get(&["a", "b", ""], || 2), 2);
        assert_eq!(kept.get(&["a", "", "b"], || 3), 1);
    }
}
