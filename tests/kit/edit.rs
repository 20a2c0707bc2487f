//! [`Edit`]: later versions of a repo, and forks of it, under the same key.

use std::collections::BTreeMap;

use carrack_schema::Tid;

use crate::cbor::Value;
use crate::repo::{Record, Repo};
use crate::rng::Rng;
use crate::text::{sentence, tid};

/// Time between a version and the next: a minute.
const VERSION_MICROS: u64 = 60 * 1_000_000;

/// The collection of records added by [`Repo::random_edits`].
const ADDED: &str = "com.example.edit.note";

/// One change of a repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The record at this path is now this block, whether there was one or not.
    Put(String, Vec<u8>),
    /// There is no record at this path any more.
    Delete(String),
}

/// How many random changes of each kind; each record is changed once at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Records at new paths.
    pub added: usize,
    /// Records with a new block.
    pub changed: usize,
    /// Records that go.
    pub deleted: usize,
}

impl Repo {
    /// Returns the next version: the edits applied, a revision a minute later.
    ///
    /// # Panics
    /// If a record to delete is not there.
    #[must_use]
    pub fn next_version(&self, edits: &[Edit]) -> Self {
        self.edited(
            edits,
            tid(
                self.rev.micros() + VERSION_MICROS,
                self.rev.as_u64() & 1_023,
            ),
        )
    }

    /// Returns another commit of the same revision: the edits applied, the revision kept.
    ///
    /// # Panics
    /// If a record to delete is not there, or if the edits change nothing.
    #[must_use]
    pub fn fork(&self, edits: &[Edit]) -> Self {
        let fork = self.edited(edits, self.rev);
        assert_ne!(
            fork.commit_cid, self.commit_cid,
            "a fork needs edits that change something"
        );
        fork
    }

    /// Returns edits at random: equal seeds give equal edits.
    ///
    /// # Panics
    /// If the repo has fewer records than are to be changed or deleted.
    pub fn random_edits(&self, seed: u64, changes: Changes) -> Vec<Edit> {
        let mut rng = Rng::new(seed);
        assert!(
            changes.changed + changes.deleted <= self.records.len(),
            "the repo has {} records, too few for {changes:?}",
            self.records.len()
        );
        let mut paths: Vec<&String> = self.records.iter().map(|record| &record.path).collect();
        rng.shuffle(&mut paths);
        let (changed, rest) = paths.split_at(changes.changed);
        let deleted = &rest[..changes.deleted];
        let now = self.rev.micros() + VERSION_MICROS;
        let mut edits = Vec::with_capacity(changes.added + changed.len() + deleted.len());
        for i in 0..changes.added {
            // Half among the old keys, half after all of them, as TIDs of the day are.
            let time = if rng.chance(500) {
                now + i as u64
            } else {
                rng.below(now)
            };
            let path = format!("{ADDED}/{}", tid(time, i as u64));
            edits.push(Edit::Put(path, note(&mut rng, ADDED)));
        }
        for path in changed {
            let collection = path.split('/').next().unwrap_or(ADDED);
            edits.push(Edit::Put((*path).clone(), note(&mut rng, collection)));
        }
        edits.extend(deleted.iter().map(|path| Edit::Delete((*path).clone())));
        edits
    }

    fn edited(&self, edits: &[Edit], rev: Tid) -> Self {
        let mut records: BTreeMap<String, Record> = self
            .records
            .iter()
            .map(|record| (record.path.clone(), record.clone()))
            .collect();
        for edit in edits {
            match edit {
                Edit::Put(path, bytes) => {
                    records.insert(path.clone(), Record::new(path.clone(), rev, bytes));
                }
                Edit::Delete(path) => {
                    let gone = records.remove(path);
                    assert!(gone.is_some(), "no record to delete at path=`{path}`");
                }
            }
        }
        let records = records.into_values().collect();
        Self::assemble(
            self.did.clone(),
            self.key.clone(),
            rev,
            records,
            &self.node_revs(),
        )
    }
}

/// Returns the block of a small record.
fn note(rng: &mut Rng, collection: &str) -> Vec<u8> {
    let text = format!("{} {:016x}", sentence(rng), rng.next_u64());
    Value::map([
        ("$type", Value::text(collection)),
        ("text", Value::Text(text)),
    ])
    .encode()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use carrack_schema::Cid;

    use super::*;
    use crate::{Order, RepoSpec, car};

    const CHANGES: Changes = Changes {
        added: 20,
        changed: 10,
        deleted: 15,
    };

    #[test]
    fn next_version_is_newer_and_has_the_edits() {
        let old = RepoSpec::default().build();
        let edits = old.random_edits(1, CHANGES);
        assert_eq!(edits, old.random_edits(1, CHANGES));
        let new = old.next_version(&edits);
        assert!(new.rev > old.rev);
        assert_eq!(new.did_key, old.did_key);
        assert_eq!(new.records.len(), old.records.len() + 20 - 15);
        for edit in &edits {
            match edit {
                Edit::Put(path, bytes) => {
                    assert_eq!(*new.record(path).expect("put").bytes, **bytes);
                }
                Edit::Delete(path) => assert_eq!(new.record(path), None),
            }
        }
    }

    #[test]
    fn version_without_edits_has_the_same_tree_and_another_commit() {
        let old = RepoSpec::default().build();
        let new = old.next_version(&[]);
        assert_eq!(new.root, old.root);
        assert_ne!(new.commit_cid, old.commit_cid);
    }

    #[test]
    fn fork_keeps_the_revision() {
        let repo = RepoSpec::default().build();
        let fork = repo.fork(&repo.random_edits(2, CHANGES));
        assert_eq!(fork.rev, repo.rev);
        assert_ne!(fork.commit_cid, repo.commit_cid);
    }

    #[test]
    fn changes_since_complete_the_old_version() {
        let old = RepoSpec {
            records: 500,
            ..RepoSpec::default()
        }
        .build();
        let new = old.next_version(&old.random_edits(3, CHANGES));
        let cids = |car: &[u8]| -> HashSet<Cid> {
            car::blocks(car).iter().map(|block| block.cid).collect()
        };
        let since = cids(&new.car_since(old.rev));
        let have = cids(&old.car(Order::Pds));
        let need = cids(&new.car(Order::Pds));
        assert!(
            since.len() < need.len() / 2,
            "{} of {} blocks",
            since.len(),
            need.len()
        );
        assert!(
            need.iter()
                .all(|cid| since.contains(cid) || have.contains(cid))
        );
    }
}
