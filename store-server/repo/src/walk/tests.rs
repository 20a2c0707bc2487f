//! Trees built here: legal ones walk whole and in order; each illegal one is refused for its own fault.

use std::collections::BTreeMap;

use carrack_schema::Code;
use carrack_schema::cid::Codec;
use proptest::prelude::*;

use super::*;
use crate::error::{ErrorKind, quoted};
use crate::kit::{self, Blocks, Entry, cid_of, encode, entries, key_of_depth, node_value};

type Records = BTreeMap<String, Cid>;

fn records(count: usize) -> Records {
    (0..count)
        .map(|n| {
            (
                format!("com.example.thing{}/k{n}", n % 3),
                cid_of(&[n as u8 / 2]),
            )
        })
        .collect()
}

fn collect(root: Cid, blocks: &mut Blocks) -> Result<(Vec<(String, Cid)>, WalkStats)> {
    let mut seen = Vec::new();
    let stats = walk(root, blocks, |record| {
        assert_eq!(
            format!("{}/{}", record.collection, record.rkey),
            record.path
        );
        seen.push((record.path.to_owned(), record.cid));
        Ok::<_, Error>(())
    })?;
    Ok((seen, stats))
}

#[track_caller]
fn refused(root: Cid, blocks: &mut Blocks, code: Code) -> String {
    let error = collect(root, blocks).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

#[test]
fn trees_walk_whole_and_in_order() {
    for count in [0, 1, 2, 3, 10, 100, 2_000] {
        let records = records(count);
        let mut blocks = Blocks::default();
        let root = kit::tree(&mut blocks, &records);
        let (seen, stats) = collect(root, &mut blocks).unwrap();
        assert!(seen.into_iter().eq(records.clone()), "{count}");
        assert_eq!(stats.nodes_count, blocks.0.len());
        assert_eq!(
            stats.node_bytes,
            blocks.0.values().map(|node| node.len() as u64).sum::<u64>()
        );
        assert_eq!(stats.records_count, count as u64);
        let depth = records
            .keys()
            .map(|key| crate::mst::depth_of(key.as_bytes()))
            .max();
        assert_eq!(stats.depth, depth.unwrap_or(0));
    }
}

#[test]
fn every_missing_node_is_named() {
    let records = records(300);
    let mut blocks = Blocks::default();
    let root = kit::tree(&mut blocks, &records);
    for cid in blocks.0.keys().copied().collect::<Vec<_>>() {
        let mut blocks = blocks.clone();
        blocks.0.remove(&cid);
        let error = collect(root, &mut blocks).unwrap_err();
        assert_eq!((error.code(), error.cid()), (Code::Incomplete, Some(&cid)));
        assert!(
            error
                .to_string()
                .starts_with(&format!("MST node {cid} is missing, ")),
            "{error}"
        );
    }
    let message = refused(root, &mut Blocks::default(), Code::Incomplete);
    assert_eq!(
        message,
        format!("MST node {root} is missing, before the first key")
    );

    let mut blocks = Blocks::default();
    let key = key_of_depth(1, 0);
    let lost = cid_of(b"lost");
    let root = blocks.put(encode(&node_value(
        None,
        &entries(&[(&key, cid_of(b"x"), Some(lost))]),
    )));
    let message = refused(root, &mut blocks, Code::Incomplete);
    assert_eq!(
        message,
        format!("MST node {lost} is missing, after key `{key}`")
    );
}

fn leaf(blocks: &mut Blocks, keys: &[&str]) -> Cid {
    let keys: Vec<_> = keys.iter().map(|&key| (key, cid_of(b"x"), None)).collect();
    blocks.put(encode(&node_value(None, &entries(&keys))))
}

fn node(blocks: &mut Blocks, left: Option<Cid>, keys: &[(&str, Option<Cid>)]) -> Cid {
    let keys: Vec<_> = keys
        .iter()
        .map(|&(key, tree)| (key, cid_of(b"x"), tree))
        .collect();
    blocks.put(encode(&node_value(left, &entries(&keys))))
}

/// Keys in ascending order: `before` and `after` of depth 0 on the two sides of `mid`, of depth 2.
fn around() -> (String, String, String) {
    let mid = key_of_depth(2, 0);
    let zeros: Vec<_> = (0..40).map(|nth| key_of_depth(0, nth)).collect();
    let before = zeros.iter().rfind(|key| **key < mid).unwrap().clone();
    let after = zeros.into_iter().find(|key| *key > mid).unwrap();
    (before, mid, after)
}

#[test]
fn a_child_is_exactly_one_depth_below() {
    let (before, mid, after) = around();
    let blocks = &mut Blocks::default();
    let low = leaf(blocks, &[&before]);
    let high = leaf(blocks, &[&after]);
    // The legal form: nodes without entries bridge a gap of depths.
    let bridge = node(blocks, Some(low), &[]);
    let right = node(blocks, Some(high), &[]);
    let root = node(blocks, Some(bridge), &[(&mid, Some(right))]);
    let (seen, stats) = collect(root, blocks).unwrap();
    assert!(
        seen.iter()
            .map(|(path, _)| path)
            .eq([&before, &mid, &after])
    );
    assert_eq!((stats.nodes_count, stats.depth), (5, 2));

    let skips = node(blocks, Some(low), &[(&mid, None)]);
    let expected = format!("MST node {low}: its keys are of depth 0, not 1 as its place says");
    assert_eq!(refused(skips, blocks, Code::BadStructure), expected);

    let inverted = node(blocks, None, &[(&before, Some(root))]);
    let expected = format!("MST node {inverted}: has a child below depth 0");
    assert_eq!(refused(inverted, blocks, Code::BadStructure), expected);

    let too_long = node(blocks, Some(bridge), &[]);
    let root = node(blocks, Some(too_long), &[(&mid, None)]);
    let expected = format!("MST node {bridge}: has a child below depth 0");
    assert_eq!(refused(root, blocks, Code::BadStructure), expected);

    let same = leaf(blocks, &[&key_of_depth(2, 1)]);
    let root = node(blocks, None, &[(&mid, Some(same))]);
    let expected = format!("MST node {same}: its keys are of depth 2, not 1 as its place says");
    assert_eq!(refused(root, blocks, Code::BadStructure), expected);
}

#[test]
fn nodes_without_entries_have_their_place() {
    let (before, mid, _) = around();
    let blocks = &mut Blocks::default();
    let empty = node(blocks, None, &[]);
    assert_eq!(collect(empty, blocks).unwrap().0, []);

    let low = leaf(blocks, &[&before]);
    let pointer = node(blocks, Some(low), &[]);
    let expected = format!("MST node {pointer}: the root has a child and no entries");
    assert_eq!(refused(pointer, blocks, Code::BadStructure), expected);

    for root in [
        node(blocks, Some(empty), &[(&mid, None)]),
        node(blocks, None, &[(&mid, Some(empty))]),
    ] {
        let expected =
            format!("MST node {empty}: has neither entries nor children, and is not the root");
        assert_eq!(refused(root, blocks, Code::BadStructure), expected);
    }
}

#[test]
fn keys_ascend_over_the_whole_tree() {
    let high = key_of_depth(1, 0);
    let zeros: Vec<_> = (0..40).map(|nth| key_of_depth(0, nth)).collect();
    let before = zeros.iter().find(|key| **key < high).unwrap();
    let after = zeros.iter().find(|key| **key > high).unwrap();
    let blocks = &mut Blocks::default();
    let (low, late) = (leaf(blocks, &[before]), leaf(blocks, &[after]));

    let root = node(blocks, Some(low), &[(&high, Some(late))]);
    collect(root, blocks).unwrap();
    let root = node(blocks, None, &[(&high, Some(low))]);
    let expected = format!("MST node {low}: key `{before}` does not come after key `{high}`");
    assert_eq!(refused(root, blocks, Code::BadStructure), expected);
    let root = node(blocks, Some(late), &[(&high, None)]);
    let expected = format!("MST node {root}: key `{high}` does not come after key `{after}`");
    assert_eq!(refused(root, blocks, Code::BadStructure), expected);
    // A node that stands twice would repeat its keys.
    let root = node(blocks, Some(low), &[(&high, Some(low))]);
    let expected = format!("MST node {low}: key `{before}` does not come after key `{high}`");
    assert_eq!(refused(root, blocks, Code::BadStructure), expected);
}

#[test]
fn a_fault_within_a_node_names_the_node() {
    let blocks = &mut Blocks::default();
    let keys = [key_of_depth(0, 0), key_of_depth(0, 1)];
    let twice = Entry {
        prefix: keys[0].len() as i64,
        suffix: vec![],
        value: cid_of(b"x"),
        tree: None,
    };
    let mut own = entries(&[(&keys[0], cid_of(b"x"), None)]);
    own.push(twice);
    let root = blocks.put(encode(&node_value(None, &own)));
    let error = collect(root, blocks).unwrap_err();
    assert_eq!(error.cid(), Some(&root));
    let key = &keys[0];
    let expected = format!("MST node {root}: entry 1: key `{key}` does not come after key `{key}`");
    assert_eq!(error.to_string(), expected);

    let root = blocks.put(vec![0xa1, 0x61]);
    let expected = format!("MST node {root}: bytes end inside the value at byte 0 of the block");
    assert_eq!(refused(root, blocks, Code::BadStructure), expected);

    let raw = *VerifiedRef::of(Codec::Raw, b"x").cid();
    let expected = format!("the tree's root {raw} is not a dag-cbor block");
    assert_eq!(refused(raw, blocks, Code::BadStructure), expected);
}

#[test]
fn keys_are_record_paths() {
    let blocks = &mut Blocks::default();
    let long = format!("a.b.c/{}", "k".repeat(512));
    for path in ["a.b.c/self", "a.b.c/a~b:c_d-e.f", "a.b.c/...", &long] {
        let root = leaf(blocks, &[path]);
        assert_eq!(collect(root, blocks).unwrap().0[0].0, path);
    }
    let too_long = format!("{long}k");
    for path in [
        "",
        "/",
        "/k",
        "a.b.c",
        "a.b.c/",
        "a.b.c/.",
        "a.b.c/..",
        "a.b.c/k/l",
        "a.b.c/é",
        "a.b/k",
        "a.b.c/k\n",
        "k/a.b.c",
        &too_long,
    ] {
        let root = leaf(blocks, &[path]);
        let error = refused(root, blocks, Code::BadStructure);
        let expected = format!(
            "MST node {root}: key {} is not a record path",
            quoted(path.as_bytes())
        );
        assert_eq!(error, expected);
    }
    let own = Entry {
        prefix: 0,
        suffix: b"a.b.c/\xff".to_vec(),
        value: cid_of(b"x"),
        tree: None,
    };
    let root = blocks.put(encode(&node_value(None, &[own])));
    let error = refused(root, blocks, Code::BadStructure);
    assert_eq!(
        error,
        format!("MST node {root}: key `a.b.c/\u{fffd}` is not a record path")
    );
}

#[test]
fn a_visit_can_end_the_walk_with_its_own_error() {
    #[derive(Debug)]
    enum Stop {
        Enough(u32),
        Walk(#[expect(dead_code, reason = "shown by Debug")] Error),
    }
    impl From<Error> for Stop {
        fn from(error: Error) -> Self {
            Self::Walk(error)
        }
    }
    let mut blocks = Blocks::default();
    let root = kit::tree(&mut blocks, &records(50));
    let mut count = 0;
    let stop = walk(root, &mut blocks, |_| {
        count += 1;
        if count == 7 {
            Err(Stop::Enough(count))
        } else {
            Ok(())
        }
    });
    assert!(matches!(stop, Err(Stop::Enough(7))), "{stop:?}");
}

#[test]
fn a_source_that_gives_another_block_is_refused() {
    struct Wrong;
    impl BlockSource for Wrong {
        fn get<'a>(
            &'a mut self,
            _: &Cid,
            scratch: &'a mut Vec<u8>,
        ) -> Result<Option<VerifiedRef<'a>>> {
            *scratch = encode(&node_value(None, &[]));
            Ok(Some(VerifiedRef::of(Codec::DagCbor, scratch)))
        }
    }
    let error = walk(cid_of(b"x"), &mut Wrong, |_| Ok::<_, Error>(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_records_walk_in_order(keys in prop::collection::btree_set("[a-c]{1,4}", 0..80)) {
        let records: Records =
            keys.iter().map(|key| (format!("a.b.c/{key}"), cid_of(key.as_bytes()))).collect();
        let mut blocks = Blocks::default();
        let root = kit::tree(&mut blocks, &records);
        let (seen, stats) = collect(root, &mut blocks).unwrap();
        prop_assert!(seen.into_iter().eq(records));
        prop_assert_eq!(stats.nodes_count, blocks.0.len());
    }

    /// A changed byte of the root is a broken rule, a missing node, or another legal tree: never a panic.
    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, byte: u8) {
        let mut blocks = Blocks::default();
        let root = kit::tree(&mut blocks, &records(60));
        let mut bytes = blocks.0[&root].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let root = blocks.put(bytes);
        if let Err(error) = collect(root, &mut blocks) {
            prop_assert!(error.kind() != ErrorKind::Internal, "{}", error);
        }
    }
}
