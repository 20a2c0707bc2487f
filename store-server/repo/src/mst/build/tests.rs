//! Trees built node by node are those of the kit, which cuts them from above; and those that others have published.

use std::collections::BTreeMap;

use carrack_schema::Code;
use carrack_schema::limits::{MST_KEY_BYTES_MAX, MST_NODE_ENTRIES_MAX};
use proptest::prelude::*;

use super::*;
use crate::block::VerifiedRef;
use crate::kit::{self, Blocks, cid_of, key_of_depth};
use crate::mst::{Node, common_prefix_len};
use crate::walk::walk;

fn build(records: &BTreeMap<String, Cid>) -> (BuiltTree, Vec<(Cid, Vec<u8>, u8)>) {
    let mut nodes = Vec::new();
    let mut builder = TreeBuilder::new(|node: BuiltNode<'_>| {
        nodes.push((node.cid, node.bytes.to_vec(), node.depth));
        Ok::<_, Error>(())
    });
    for (key, cid) in records {
        assert_eq!(
            builder.push(key.as_bytes(), *cid).unwrap(),
            depth_of(key.as_bytes())
        );
    }
    let tree = builder.finish().unwrap();
    (tree, nodes)
}

/// Checks a tree against the kit's and against the walk.
#[track_caller]
fn check(records: &BTreeMap<String, Cid>) {
    let (tree, nodes) = build(records);
    let mut blocks = Blocks::default();
    assert_eq!(tree.root, kit::tree(&mut blocks, records));
    assert_eq!(
        nodes.last().map(|(cid, ..)| *cid),
        Some(tree.root),
        "the root comes last"
    );
    assert_eq!(
        (tree.nodes_count, nodes.len()),
        (blocks.0.len(), blocks.0.len())
    );
    assert_eq!(tree.records_count, records.len() as u64);
    let mut seen = Vec::new();
    for (cid, bytes, depth) in &nodes {
        assert_eq!(blocks.0.get(cid), Some(bytes));
        let node = Node::parse(bytes).unwrap();
        assert!(node.depth().is_none_or(|own| own == *depth));
        let children = node
            .left()
            .into_iter()
            .chain(node.entries().filter_map(|entry| entry.tree));
        assert!(
            { children }.all(|child| seen.contains(&child)),
            "children come first"
        );
        seen.push(*cid);
    }
    let mut walked = Vec::new();
    let stats = walk(tree.root, &mut blocks, |record| {
        walked.push((record.path.to_owned(), record.cid));
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(walked.into_iter().eq(records.clone()));
    assert_eq!(stats.depth, tree.depth);
    let of_rows = tree_of(records.iter().map(|(key, cid)| (key.as_bytes(), *cid)));
    assert_eq!(of_rows.unwrap(), tree);
}

#[test]
fn trees_of_many_sizes_are_the_kits() {
    for count in [0, 1, 2, 3, 5, 10, 100, 1_500] {
        let record = |n| {
            (
                format!("com.example.thing{}/k{n}", n % 3),
                cid_of(&[n as u8]),
            )
        };
        check(&(0..count).map(record).collect());
    }
}

#[test]
fn gaps_of_depth_are_bridged() {
    // Every subset of these keys, whose depths are up to three apart.
    let keys: Vec<String> = [(3, 0), (0, 0), (0, 5), (1, 1), (2, 2), (0, 9), (3, 1)]
        .map(|(depth, nth)| key_of_depth(depth, nth))
        .into();
    for subset in 0..1_u32 << keys.len() {
        let chosen = keys
            .iter()
            .enumerate()
            .filter(|(n, _)| subset >> n & 1 == 1);
        check(
            &chosen
                .map(|(n, key)| (key.clone(), cid_of(&[n as u8])))
                .collect(),
        );
    }
}

/// The tree of a PDS-made repository of our own, whose ten records and root are known.
#[test]
fn a_pds_made_tree_has_its_root() {
    let records = [
        (
            "app.bsky.feed.like/3lenayuyf7n2b",
            "bafyreieh5wskarn63bwflx3at3mhgowhftbve4wb74ewtszxgafl2weeje",
        ),
        (
            "app.bsky.feed.like/3lenb6dj3qu2b",
            "bafyreie7auzeytmtmemwkwoqa5nn5rf26fnvszrhvwajf3fpvkuutga42u",
        ),
        (
            "app.bsky.feed.like/3lenba5oo532b",
            "bafyreievb2w6xo7h6r37igbiatbur2zbwmovxvyennve2hutqa2b7mmdri",
        ),
        (
            "app.bsky.feed.like/3lenbfm7fdf2b",
            "bafyreihelxgk2n3kvzzni2mzdyyuaua7wzysqwq67o2x4t7gfz6n6kzrqm",
        ),
        (
            "app.bsky.feed.post/3lenax2sshd2b",
            "bafyreicw5uodup2vtt3xdyntaerxjjemod7gayxtzfn6hzwd3utmgx2jia",
        ),
        (
            "app.bsky.feed.post/3lenb2p5wpr2b",
            "bafyreift6qjmv26pg6c5mh4odx2wpd3dqa7kdp27lw3uuodoqnlz5wqocu",
        ),
        (
            "app.bsky.feed.post/3lenb4jdj3o2b",
            "bafyreigown45uezhfpbob7wmsebyy5zi52ddfodiznjxqn6plgbh2ivkdy",
        ),
        (
            "app.bsky.feed.post/3lenbbxuafy2b",
            "bafyreiddkzvhdnepnqo7oj7lljqgn6azmyum76cn33jn7iye6edorexnim",
        ),
        (
            "app.bsky.feed.post/3lenbdrzsv72b",
            "bafyreibyuexo6m4qb5of5jq7xywfislar6l7oajf5xs7betdlz574i7rqe",
        ),
        (
            "app.bsky.feed.post/3lenbhgewyy2b",
            "bafyreiaqffm7jkv6kt2o5qhy4nxvi6pyoe7ollmlvbmamqhizh5cutv6wm",
        ),
    ];
    let parse = |(path, cid): (&'static str, &str)| (path.as_bytes(), cid.parse().unwrap());
    let tree = tree_of(records.map(parse)).unwrap();
    assert_eq!(
        tree.root.to_string(),
        "bafyreieuotcj3w7qohpj743zgbsm2ggcdsttyoumcrf7w4aszlw6ismpca"
    );
    let empty = tree_of([]).unwrap();
    assert_eq!(
        empty.root.to_string(),
        "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
    );
}

/// `mst/key_heights.json` of atproto-interop-tests (CC0-1.0).
#[test]
fn published_heights() {
    for (key, height) in [
        ("", 0),
        ("asdf", 0),
        ("blue", 1),
        ("2653ae71", 0),
        ("88bfafc7", 2),
        ("2a92d355", 4),
        ("884976f5", 6),
        ("app.bsky.feed.post/454397e440ec", 4),
        ("app.bsky.feed.post/9adeb165882c", 8),
    ] {
        assert_eq!(depth_of(key.as_bytes()), height, "{key}");
    }
}

/// `mst/common_prefix.json` of atproto-interop-tests (CC0-1.0).
#[test]
fn published_prefixes() {
    for (left, right, length) in [
        ("", "", 0),
        ("abc", "abc", 3),
        ("", "abc", 0),
        ("abc", "", 0),
        ("ab", "abc", 2),
        ("abc", "ab", 2),
        ("abcde", "abc", 3),
        ("abc", "abcde", 3),
        ("abcde", "abc1", 3),
        ("abcde", "abb", 2),
        ("abcde", "qbb", 0),
        ("abc", "abc\0", 3),
        ("abc\0", "abc", 3),
    ] {
        assert_eq!(
            common_prefix_len(left.as_bytes(), right.as_bytes()),
            length,
            "{left} {right}"
        );
    }
}

#[test]
fn keys_must_ascend() {
    for (first, second) in [("b/1", "a/1"), ("a/1", "a/1"), ("", ""), ("a", "")] {
        let records = [first, second].map(|key| (key.as_bytes(), cid_of(b"x")));
        let error = tree_of(records).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        let expected = format!("key `{second}` does not come after key `{first}`");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond() {
    let key = "k".repeat(MST_KEY_BYTES_MAX + 1);
    tree_of([(&key.as_bytes()[1..], cid_of(b"x"))]).unwrap();
    let error = tree_of([(key.as_bytes(), cid_of(b"x"))]).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);

    let zeros = (0..).map(|n| format!("com.example.thing/k{n:06}"));
    let zeros = zeros.filter(|key| depth_of(key.as_bytes()) == 0);
    let keys: Vec<String> = zeros.take(MST_NODE_ENTRIES_MAX + 1).collect();
    let rows = keys.iter().map(|key| (key.as_bytes(), cid_of(b"x")));
    let tree = tree_of(rows.clone().take(MST_NODE_ENTRIES_MAX)).unwrap();
    assert_eq!(tree.nodes_count, 1);
    let error = tree_of(rows).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
}

#[test]
fn an_error_of_the_caller_ends_the_tree() {
    let mut builder = TreeBuilder::new(|_: BuiltNode<'_>| Err(Error::limit("enough")));
    builder
        .push(key_of_depth(0, 0).as_bytes(), cid_of(b"x"))
        .unwrap();
    assert_eq!(builder.finish().unwrap_err().to_string(), "enough");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// MT1–MT3: what is built is what the parser and the walk accept, and nothing else.
    #[test]
    fn any_records_make_the_kits_tree(
        records in prop::collection::btree_map(
            "(com\\.(a|a-b|a\\.b)\\.x|org\\.x\\.y)/[a-z0-9]{1,3}",
            prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| cid_of(&bytes)),
            0..120,
        )
    ) {
        check(&records);
    }

    /// Keys of any bytes make nodes that parse, whatever the lengths of prefixes and suffixes.
    #[test]
    fn any_keys_make_canonical_nodes(
        keys in prop::collection::btree_set(prop::collection::vec(0..3_u8, 0..400), 1..40)
    ) {
        let raw = *VerifiedRef::of(Codec::Raw, b"x").cid();
        let mut nodes = Vec::new();
        let mut builder = TreeBuilder::new(|node: BuiltNode<'_>| {
            nodes.push(node.bytes.to_vec());
            Ok::<_, Error>(())
        });
        for key in &keys {
            builder.push(key, raw).unwrap();
        }
        builder.finish().unwrap();
        let entries: usize =
            nodes.iter().map(|bytes| Node::parse(bytes).unwrap().entries_count()).sum();
        prop_assert_eq!(entries, keys.len());
    }
}
