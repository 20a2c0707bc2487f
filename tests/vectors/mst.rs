//! Trees (MT1, MT2): depths of keys, shared prefixes, and the example keys as a tree.

use carrack_repo::mst::{common_prefix_len, depth_of};
use kit::mst::Leaf;

use crate::blocks::{Records, build, records};
use crate::places::{committed, list, text};
use crate::tally::Tally;

#[test]
fn depths_of_keys() {
    let mut tally = Tally::new("mst/key_heights");
    for vector in list(committed("atproto-interop-tests/mst/key_heights.json")) {
        let key = vector["key"].as_str().unwrap();
        assert_eq!(
            Some(u64::from(depth_of(key.as_bytes()))),
            vector["height"].as_u64(),
            "{key}"
        );
        tally.pass();
    }
    tally.finish(9, 0);
}

#[test]
fn shared_prefixes() {
    let mut tally = Tally::new("mst/common_prefix");
    for vector in list(committed("atproto-interop-tests/mst/common_prefix.json")) {
        let (left, right) = (
            vector["left"].as_str().unwrap(),
            vector["right"].as_str().unwrap(),
        );
        let shared = common_prefix_len(left.as_bytes(), right.as_bytes());
        assert_eq!(Some(shared as u64), vector["len"].as_u64(), "{vector}");
        tally.pass();
    }
    tally.finish(13, 0);
}

#[test]
fn example_keys() {
    let mut tally = Tally::new("mst/example_keys");
    let keys = text(committed("atproto-interop-tests/mst/example_keys.txt"));
    let mut tree = Records::new();
    for key in keys.lines() {
        // Such a key says its depth: `A3/…` is of depth 3.
        let depth = key.as_bytes()[1] - b'0';
        assert_eq!(depth_of(key.as_bytes()), depth, "{key}");
        tree.insert(key.as_bytes().to_vec(), kit::cbor::cid_of(key.as_bytes()));
        tally.pass();
    }
    let leaves: Vec<_> = tree
        .iter()
        .map(|(key, cid)| Leaf { key, cid: *cid })
        .collect();
    let (root, mut nodes) = build(&tree);
    assert_eq!(root, kit::mst::build(&leaves).root);
    assert_eq!(records(root, &mut nodes), tree);
    tally.finish(156, 0);
}
