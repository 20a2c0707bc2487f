//! Diffs against a model of two maps; what is read; hostile trees.

use std::collections::BTreeMap;

use carrack_schema::Code;
use proptest::prelude::*;

use super::*;
use crate::block::VerifiedRef;
use crate::kit::{self, Blocks, cid_of, encode, entries, key_of_depth, node_value};

type Records = BTreeMap<String, Cid>;

fn records(count: usize) -> Records {
    (0..count)
        .map(|n| (format!("com.example.thing{}/k{n:05}", n % 3), cid_of(&[1])))
        .collect()
}

fn collect(
    old: (Cid, &mut Blocks),
    new: (Cid, &mut Blocks),
) -> Result<(Vec<(String, Edit)>, DiffStats)> {
    let mut changes = Vec::new();
    let stats = diff(
        Tree {
            root: old.0,
            nodes: old.1,
        },
        Tree {
            root: new.0,
            nodes: new.1,
        },
        |change| {
            changes.push((change.path.to_owned(), change.edit));
            Ok::<_, Error>(())
        },
    )?;
    Ok((changes, stats))
}

/// What two maps say of each other.
fn model(old: &Records, new: &Records) -> Vec<(String, Edit)> {
    let mut edits = BTreeMap::new();
    for (key, &cid) in old {
        match new.get(key) {
            None => edits.insert(key.clone(), Edit::Deleted { old: cid }),
            Some(&other) if other != cid => edits.insert(
                key.clone(),
                Edit::Updated {
                    old: cid,
                    new: other,
                },
            ),
            Some(_) => None,
        };
    }
    for (key, &cid) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        edits.insert(key.clone(), Edit::Created { new: cid });
    }
    edits.into_iter().collect()
}

/// Diffs both ways and returns the nodes read beyond those that are in one tree only, and those.
#[track_caller]
fn check(old: &Records, new: &Records) -> (usize, usize) {
    let (mut old_blocks, mut new_blocks) = (Blocks::default(), Blocks::default());
    let old_root = kit::tree(&mut old_blocks, old);
    let new_root = kit::tree(&mut new_blocks, new);
    let own = |a: &Blocks, b: &Blocks| a.0.keys().filter(|cid| !b.0.contains_key(cid)).count();
    let differing = own(&old_blocks, &new_blocks) + own(&new_blocks, &old_blocks);
    let mut most = 0;
    for (a, b, back) in [(old, new, false), (new, old, true)] {
        let sides = ((old_root, &mut old_blocks), (new_root, &mut new_blocks));
        let (one, other) = if back { (sides.1, sides.0) } else { sides };
        let (changes, stats) = collect(one, other).unwrap();
        assert_eq!(changes, model(a, b));
        let count = |is: fn(&Edit) -> bool| changes.iter().filter(|(_, edit)| is(edit)).count();
        assert_eq!(
            stats.created_count as usize,
            count(|edit| edit.old_cid().is_none())
        );
        assert_eq!(
            stats.deleted_count as usize,
            count(|edit| edit.new_cid().is_none())
        );
        assert_eq!(
            stats.updated_count as usize,
            count(|edit| matches!(edit, Edit::Updated { .. }))
        );
        let read = stats.old_nodes_count + stats.new_nodes_count;
        assert!(read >= differing);
        most = most.max(read - differing);
    }
    (most, differing)
}

#[test]
fn equal_trees_are_not_read_at_all() {
    let mut blocks = Blocks::default();
    let root = kit::tree(&mut blocks, &records(100));
    let (changes, stats) = collect(
        (root, &mut Blocks::default()),
        (root, &mut Blocks::default()),
    )
    .unwrap();
    assert_eq!((changes, stats), (vec![], DiffStats::default()));
}

#[test]
fn one_change_reads_the_nodes_that_differ_and_few_others() {
    let base = records(1_000);
    let keys: Vec<&String> = base.keys().collect();
    let mut beside = Vec::new();
    for n in (0..1_000).step_by(37) {
        let mut new = base.clone();
        new.insert(keys[n].clone(), cid_of(b"other"));
        // An update changes no node's place: exactly the two paths are read.
        assert_eq!(check(&base, &new).0, 0, "update of {}", keys[n]);
        new.remove(keys[n]);
        beside.push(check(&base, &new).0);
    }
    // A deletion joins nodes. What is read besides is at most the left edge of one child in both trees.
    assert!(beside.iter().all(|&count| count <= 12), "{beside:?}");
    assert!(
        beside.iter().filter(|&&count| count == 0).count() * 4 > beside.len() * 3,
        "{beside:?}"
    );
}

/// A record in front of a child that stays: the child is met again behind it and not read in either tree.
#[test]
fn a_child_behind_what_is_new_is_not_read() {
    let (first, second) = (key_of_depth(1, 0), key_of_depth(1, 1));
    let mut zeros = (0..60).map(|nth| key_of_depth(0, nth));
    let last = zeros.find(|key| *key > second).unwrap();
    let old: Records = [&first, &last]
        .map(|key| (key.clone(), cid_of(b"x")))
        .into();
    let mut new = old.clone();
    new.insert(second, cid_of(b"x"));
    // The two roots, and nothing beside them, in either direction.
    assert_eq!(check(&old, &new), (0, 2));
}

#[test]
fn what_is_equal_may_be_missing() {
    let base = records(2_000);
    let mut new = base.clone();
    new.insert(base.keys().nth(700).unwrap().clone(), cid_of(b"other"));
    let (mut old_blocks, mut new_blocks) = (Blocks::default(), Blocks::default());
    let old_root = kit::tree(&mut old_blocks, &base);
    let new_root = kit::tree(&mut new_blocks, &new);
    let all = old_blocks.0.len();
    let shared: Vec<Cid> = old_blocks
        .0
        .keys()
        .filter(|cid| new_blocks.0.contains_key(cid))
        .copied()
        .collect();
    for cid in &shared {
        old_blocks.0.remove(cid);
        new_blocks.0.remove(cid);
    }
    assert!(old_blocks.0.len() < 12 && shared.len() > all - 12);
    let (changes, _) = collect((old_root, &mut old_blocks), (new_root, &mut new_blocks)).unwrap();
    assert_eq!(changes, model(&base, &new));

    // A node that differs may not.
    let path: Vec<Cid> = new_blocks.0.keys().copied().collect();
    for cid in path {
        let mut blocks = new_blocks.clone();
        blocks.0.remove(&cid);
        let error = collect((old_root, &mut old_blocks), (new_root, &mut blocks)).unwrap_err();
        assert_eq!((error.code(), error.cid()), (Code::Incomplete, Some(&cid)));
    }
}

#[test]
fn every_pair_of_small_trees_is_told_apart() {
    // Depths up to three apart, so that subsets split, join, grow and shrink the tree.
    let keys: Vec<String> = [(2, 0), (0, 0), (0, 5), (1, 1), (3, 0), (0, 9)]
        .map(|(depth, nth)| key_of_depth(depth, nth))
        .into();
    let subset = |bits: u32| -> Records {
        let chosen = keys.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1);
        chosen.map(|(_, key)| (key.clone(), cid_of(b"x"))).collect()
    };
    for old in 0..1 << keys.len() {
        for new in 0..=old {
            check(&subset(old), &subset(new));
        }
    }
}

fn put(blocks: &mut Blocks, left: Option<Cid>, keys: &[(&str, Option<Cid>)]) -> Cid {
    let keys: Vec<_> = keys
        .iter()
        .map(|&(key, tree)| (key, cid_of(b"x"), tree))
        .collect();
    blocks.put(encode(&node_value(left, &entries(&keys))))
}

#[test]
fn a_child_at_a_place_not_its_own_is_noticed() {
    let high = key_of_depth(1, 0);
    let low = (0..)
        .map(|nth| key_of_depth(0, nth))
        .find(|key| *key < high)
        .unwrap();
    let blocks = &mut Blocks::default();
    let child = put(blocks, None, &[(&low, None)]);
    let legal = put(blocks, Some(child), &[(&high, None)]);
    let illegal = put(blocks, None, &[(&high, Some(child))]);
    let mut copy = blocks.clone();
    let error = collect((legal, blocks), (illegal, &mut copy)).unwrap_err();
    assert_eq!(error.code(), Code::BadStructure);
    assert!(error.to_string().contains("out of order"), "{error}");
    let error = collect((illegal, blocks), (legal, &mut copy)).unwrap_err();
    assert_eq!(error.code(), Code::BadStructure);
}

#[test]
fn keys_are_record_paths_unless_asked_otherwise() {
    let mut blocks = Blocks::default();
    let root = put(&mut blocks, None, &[("k/00", None)]);
    let empty = put(&mut blocks, None, &[]);
    let mut copy = blocks.clone();
    let error = collect((empty, &mut blocks), (root, &mut copy)).unwrap_err();
    assert_eq!(error.to_string(), "key `k/00` is not a record path");
    let mut seen = Vec::new();
    diff_keys(
        Tree {
            root: empty,
            nodes: &mut blocks,
        },
        Tree {
            root,
            nodes: &mut copy,
        },
        |key, edit| {
            seen.push((key.to_vec(), edit));
            Ok::<_, Error>(())
        },
    )
    .unwrap();
    assert_eq!(
        seen,
        [(b"k/00".to_vec(), Edit::Created { new: cid_of(b"x") })]
    );
}

#[test]
fn an_error_of_the_caller_ends_the_diff() {
    let mut blocks = Blocks::default();
    let (one, two) = (
        kit::tree(&mut blocks, &records(1)),
        kit::tree(&mut blocks, &records(9)),
    );
    let mut copy = blocks.clone();
    let mut calls = 0;
    let result = diff(
        Tree {
            root: one,
            nodes: &mut blocks,
        },
        Tree {
            root: two,
            nodes: &mut copy,
        },
        |_| {
            calls += 1;
            Err(Error::limit("enough"))
        },
    );
    assert_eq!(
        (result.unwrap_err().to_string().as_str(), calls),
        ("enough", 1)
    );
}

/// Gives every node another one than was asked for.
struct Liar;

impl BlockSource for Liar {
    fn get<'a>(&'a mut self, _: &Cid, _: &'a mut Vec<u8>) -> Result<Option<VerifiedRef<'a>>> {
        Ok(Some(VerifiedRef::of(
            carrack_schema::cid::Codec::DagCbor,
            b"\xa0",
        )))
    }
}

#[test]
fn a_source_that_lies_is_noticed() {
    let tree = |root| Tree {
        root,
        nodes: Box::leak(Box::new(Liar)),
    };
    let error = diff(tree(cid_of(b"1")), tree(cid_of(b"2")), |_| {
        Ok::<_, Error>(())
    })
    .unwrap_err();
    assert_eq!(error.code(), Code::Internal);
}

fn some_records() -> impl Strategy<Value = Records> {
    prop::collection::btree_map(
        "com\\.(a|a-b|a\\.b)\\.x/[a-h]{1,2}",
        (0..3_u8).prop_map(|n| cid_of(&[n])),
        0..120,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_two_trees_differ_as_their_maps_do(old in some_records(), new in some_records()) {
        check(&old, &new);
    }

    #[test]
    fn few_edits_of_many_records_read_few_nodes(
        edits in prop::collection::vec((0..400_usize, 0..3_u8), 1..8)
    ) {
        let base = records(300);
        let mut new = base.clone();
        for (n, kind) in &edits {
            let key = format!("com.example.thing{}/k{n:05}", n % 3);
            match kind {
                0 => drop(new.remove(&key)),
                _ => drop(new.insert(key, cid_of(&[*kind]))),
            }
        }
        let (beside, _) = check(&base, &new);
        prop_assert!(beside <= edits.len() * 12, "{} nodes for {} edits", beside, edits.len());
    }
}
