//! Commit proofs (SY2, MT6): trees before and after a commit, and the nodes that let it be inverted.

use std::collections::BTreeSet;

use carrack_repo::diff::{Edit, Tree, diff_keys};
use carrack_repo::proof::find;
use carrack_repo::{Error, VerifiedRef};
use carrack_schema::Cid;

use crate::blocks::{Blocks, Records, build};
use crate::places::{committed, list};
use crate::tally::Tally;

/// Returns the nodes on the way to a key, or to where it would be.
pub(crate) fn path(root: Cid, nodes: &mut Blocks, key: &[u8]) -> BTreeSet<Cid> {
    let mut path = BTreeSet::new();
    let visit = |node: VerifiedRef<'_>| {
        path.insert(*node.cid());
        Ok::<_, Error>(())
    };
    find(root, key, nodes, visit).unwrap();
    path
}

/// Returns the nodes on the ways to a key and to the keys beside it: with them the key can be put in or taken out.
pub(crate) fn covering(
    records: &Records,
    root: Cid,
    nodes: &mut Blocks,
    key: &[u8],
) -> BTreeSet<Cid> {
    let before = records.range(..key.to_vec()).next_back();
    let after = records
        .range(key.to_vec()..)
        .find(|(other, _)| *other != key);
    let mut found = path(root, nodes, key);
    for (beside, _) in before.into_iter().chain(after) {
        found.append(&mut path(root, nodes, beside));
    }
    found
}

#[test]
fn commit_proofs() {
    let mut tally = Tally::new("firehose/commit-proof-fixtures");
    for vector in list(committed(
        "atproto-interop-tests/firehose/commit-proof-fixtures.json",
    )) {
        let comment = &vector["comment"];
        let keys = |field: &str| -> BTreeSet<Vec<u8>> {
            let keys = vector[field].as_array().unwrap().iter();
            keys.map(|key| key.as_str().unwrap().as_bytes().to_vec())
                .collect()
        };
        let cid = |field: &str| -> Cid { vector[field].as_str().unwrap().parse().unwrap() };
        let leaf = cid("leafValue");
        let (adds, dels) = (keys("adds"), keys("dels"));

        let before: Records = keys("keys").into_iter().map(|key| (key, leaf)).collect();
        let mut after = before.clone();
        after.extend(adds.iter().map(|key| (key.clone(), leaf)));
        after.retain(|key, _| !dels.contains(key));
        let (old_root, mut old) = build(&before);
        let (new_root, mut new) = build(&after);
        assert_eq!(old_root, cid("rootBeforeCommit"), "{comment}");
        assert_eq!(new_root, cid("rootAfterCommit"), "{comment}");

        let (mut added, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        let (old, mut seen) = (
            Tree {
                root: old_root,
                nodes: &mut old,
            },
            new.clone(),
        );
        let fresh = Tree {
            root: new_root,
            nodes: &mut seen,
        };
        diff_keys(old, fresh, |key, edit| {
            match edit {
                Edit::Created { new } if new == leaf => added.insert(key.to_vec()),
                Edit::Deleted { old } if old == leaf => deleted.insert(key.to_vec()),
                other => panic!("{comment}: {other:?}"),
            };
            Ok::<_, Error>(())
        })
        .unwrap();
        assert_eq!((&added, &deleted), (&adds, &dels), "{comment}");

        let listed = vector["blocksInProof"].as_array().unwrap().iter();
        let listed: BTreeSet<Cid> = listed
            .map(|cid| cid.as_str().unwrap().parse().unwrap())
            .collect();
        let mut covered = BTreeSet::new();
        for key in adds.iter().chain(&dels) {
            covered.append(&mut covering(&after, new_root, &mut new, key));
        }
        assert_eq!(covered, listed, "{comment}");
        tally.pass();
    }
    tally.finish(6, 0);
}
