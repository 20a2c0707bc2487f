//! Nodes by themselves: public vectors, and each rule broken once.

use carrack_schema::Code;

use super::*;
use crate::kit::{Entry, Value, cid_of, encode, entries, key_of_depth, link, map, node_value};

#[test]
fn depths_are_those_of_the_public_vectors() {
    // From the interoperability tests of AT Protocol (CC0), mst/key_heights.json.
    for (key, depth) in [
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
        assert_eq!(depth_of(key.as_bytes()), depth, "{key}");
    }
}

#[test]
fn prefixes_are_those_of_the_public_vectors() {
    // From the same tests, mst/common_prefix.json.
    for (left, right, length) in [
        ("", "", 0),
        ("abc", "abc", 3),
        ("", "abc", 0),
        ("ab", "abc", 2),
        ("abcde", "abc", 3),
        ("abcde", "abc1", 3),
        ("abcde", "abb", 2),
        ("abcde", "qbb", 0),
        ("abc", "abc\0", 3),
    ] {
        assert_eq!(common_prefix_len(left.as_bytes(), right.as_bytes()), length);
        assert_eq!(common_prefix_len(right.as_bytes(), left.as_bytes()), length);
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|nth| key_of_depth(0, nth)).collect()
}

fn three() -> Vec<Entry> {
    let keys = keys(3);
    let keys: Vec<_> = keys
        .iter()
        .map(|key| (key.as_str(), cid_of(key.as_bytes()), None))
        .collect();
    entries(&keys)
}

#[test]
fn a_node_is_parsed_with_whole_keys() {
    let (left, tree) = (cid_of(b"left"), cid_of(b"tree"));
    let mut own = three();
    own[1].tree = Some(tree);
    let node = Node::parse(&encode(&node_value(Some(left), &own))).unwrap();
    assert_eq!(
        (node.left(), node.depth(), node.entries_count()),
        (Some(left), Some(0), 3)
    );
    for (entry, (key, expected)) in node.entries().zip(keys(3).iter().zip(&own)) {
        assert_eq!(entry.key, key.as_bytes());
        assert_eq!((entry.value, entry.tree), (expected.value, expected.tree));
    }
    assert!(node.has_children());

    let empty = Node::parse(&encode(&node_value(None, &[]))).unwrap();
    assert_eq!(
        (empty.left(), empty.depth(), empty.entries_count()),
        (None, None, 0)
    );
    assert!(!empty.has_children());
}

#[test]
fn memory_is_reused_without_traces() {
    let big = encode(&node_value(Some(cid_of(b"left")), &three()));
    let small = encode(&node_value(None, &three()[..1]));
    let mut node = Node::parse(&big).unwrap();
    node.read(&small).unwrap();
    assert_eq!(node, Node::parse(&small).unwrap());
    node.read(&big[..9]).unwrap_err();
    node.read(&big).unwrap();
    assert_eq!(node, Node::parse(&big).unwrap());
}

fn refused(value: Value) -> String {
    let error = Node::parse(&encode(&value)).unwrap_err();
    assert_eq!(error.code(), Code::BadStructure, "{error}");
    error.to_string()
}

#[track_caller]
fn check_entries(change: impl FnOnce(&mut Vec<Entry>), expected: &str) {
    let mut entries = three();
    change(&mut entries);
    let error = refused(node_value(None, &entries));
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn keys_ascend_with_maximal_prefixes_at_one_depth() {
    check_entries(
        |e| e[0].prefix = 1,
        "entry 0: field `p` of a first entry is not 0",
    );
    check_entries(
        |e| e[1].prefix = -1,
        "entry 1: field `p` is not within the 25 bytes",
    );
    check_entries(
        |e| e[1].prefix = 26,
        "entry 1: field `p` is not within the 25 bytes",
    );
    check_entries(
        |e| e[1].prefix = i64::MAX,
        "entry 1: field `p` is not within the 25 bytes",
    );
    check_entries(
        |e| {
            let whole = keys(3)[1].as_bytes().to_vec();
            e[1].suffix = whole[23..].to_vec();
            e[1].prefix = 23;
        },
        &format!(
            "entry 1: field `p` of key `{}` is 23, but it shares 24 bytes",
            keys(3)[1]
        ),
    );
    check_entries(
        |e| (e[1].prefix, e[1].suffix) = (0, keys(3)[1].as_bytes().to_vec()),
        &format!(
            "entry 1: field `p` of key `{}` is 0, but it shares 24 bytes",
            keys(3)[1]
        ),
    );
    // twice, descending, and a key that is the start of the one before
    check_entries(
        |e| (e[1].prefix, e[1].suffix) = (25, vec![]),
        "entry 1: key `com.example.thing/k000000` does not come after",
    );
    check_entries(
        |e| e[1].suffix = b"!".to_vec(),
        "entry 1: key `com.example.thing/k00000!`",
    );
    check_entries(
        |e| (e[1].prefix, e[1].suffix) = (9, vec![]),
        "entry 1: key `com.examp`",
    );
    let odd = key_of_depth(1, 0);
    check_entries(
        |e| (e[0].prefix, e[0].suffix) = (0, odd.as_bytes().to_vec()),
        "entry 1: key `com.example.thing/k",
    );
    let odd = key_of_depth(2, 9);
    check_entries(
        |e| {
            let shared = common_prefix_len(keys(3)[1].as_bytes(), odd.as_bytes());
            (e[2].prefix, e[2].suffix) = (shared as i64, odd.as_bytes()[shared..].to_vec());
        },
        &format!("entry 2: key `{odd}` is of depth 2, unlike the keys before it"),
    );
}

fn fields(value: Value) -> Vec<(String, Value)> {
    let Value::Map(fields) = value else {
        unreachable!()
    };
    fields
}

#[test]
fn fields_are_exactly_those_of_a_node() {
    let good = node_value(None, &three());
    for field in ["e", "l"] {
        let without = fields(good.clone())
            .into_iter()
            .filter(|(name, _)| name != field);
        assert_eq!(refused(map(without)), format!("field `{field}` is missing"));
        let odd = fields(good.clone()).into_iter().map(|(name, value)| {
            let value = if name == field {
                Value::Bool(true)
            } else {
                value
            };
            (name, value)
        });
        let error = refused(map(odd));
        assert!(
            error.starts_with(&format!("field `{field}` is ")),
            "{error}"
        );
    }
    let mut extra = fields(good.clone());
    extra.push(("x".to_owned(), Value::Null));
    assert_eq!(refused(map(extra)), "unexpected field `x`");
    assert_eq!(refused(Value::Null), "node is not a map");
    assert_eq!(
        refused(map([("e", Value::List(vec![Value::Null]))])),
        "entry 0: not a map"
    );
    let trailing = [encode(&good), vec![0]].concat();
    let error = Node::parse(&trailing).unwrap_err().to_string();
    assert!(
        error.starts_with("bytes follow the value at byte "),
        "{error}"
    );
    // The order of fields is DAG-CBOR's.
    let mut swapped = fields(good);
    swapped.reverse();
    assert_eq!(
        refused(Value::Map(swapped)).split(" at ").next(),
        Some("map key out of order")
    );
}

#[test]
fn fields_are_exactly_those_of_an_entry() {
    let entry = || {
        let Value::List(mut list) = fields(node_value(None, &three()[..1])).remove(0).1 else {
            unreachable!()
        };
        fields(list.remove(0))
    };
    let refused = |fields: Vec<(String, Value)>| {
        refused(map([
            ("e", Value::List(vec![map(fields)])),
            ("l", Value::Null),
        ]))
    };
    for field in ["k", "p", "t", "v"] {
        let without = entry()
            .into_iter()
            .filter(|(name, _)| name != field)
            .collect();
        assert_eq!(
            refused(without),
            format!("entry 0: field `{field}` is missing")
        );
        let odd = entry().into_iter().map(|(name, value)| {
            let value = if name == field {
                Value::Bool(true)
            } else {
                value
            };
            (name, value)
        });
        let error = refused(odd.collect());
        assert!(
            error.starts_with(&format!("entry 0: field `{field}` is a boolean")),
            "{error}"
        );
    }
    let mut extra = entry();
    extra.push(("x".to_owned(), Value::Null));
    assert_eq!(refused(extra), "entry 0: unexpected field `x`");
    let mut list = entry();
    list[1].1 = Value::List(vec![Value::Null]);
    assert_eq!(refused(list), "entry 0: field `p` is a list");
}

#[test]
fn links_have_the_form_they_must() {
    let mut raw = cid_of(b"x").as_bytes().to_vec();
    raw[1] = 0x55;
    for odd in [raw.clone(), vec![1], vec![0x12; 34]] {
        let error = refused(map([("e", Value::List(vec![])), ("l", Value::Link(odd))]));
        assert!(error.starts_with("field `l` is not a CIDv1 with sha-256 and dag-cbor: b"));
    }
    let entry = |value: Value| {
        let key = Value::Bytes(keys(1)[0].as_bytes().to_vec());
        let fields = [
            ("k", key),
            ("p", Value::Int(0)),
            ("t", Value::Null),
            ("v", value),
        ];
        map([("e", Value::List(vec![map(fields)])), ("l", Value::Null)])
    };
    // A record may be raw bytes; a CID of any other form cannot be verified.
    Node::parse(&encode(&entry(Value::Link(raw)))).unwrap();
    Node::parse(&encode(&entry(link(&cid_of(b"x"))))).unwrap();
    let error = refused(entry(Value::Link(vec![1, 2])));
    assert!(
        error.contains("key `com.example.thing/k000000` has a CID of a form"),
        "{error}"
    );
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond() {
    let keys = keys(MST_NODE_ENTRIES_MAX + 1);
    let node = |count: usize| {
        let keys: Vec<_> = keys[..count]
            .iter()
            .map(|k| (k.as_str(), cid_of(b"x"), None))
            .collect();
        Node::parse(&encode(&node_value(None, &entries(&keys))))
    };
    assert_eq!(
        node(MST_NODE_ENTRIES_MAX).unwrap().entries_count(),
        MST_NODE_ENTRIES_MAX
    );
    let error = node(MST_NODE_ENTRIES_MAX + 1).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
    assert_eq!(error.to_string(), "1025 entries, more than 1024");

    let key = |bytes: usize| {
        let entry = Entry {
            prefix: 0,
            suffix: vec![b'k'; bytes],
            value: cid_of(b"x"),
            tree: None,
        };
        Node::parse(&encode(&node_value(None, &[entry])))
    };
    assert_eq!(
        key(MST_KEY_BYTES_MAX).unwrap().entry(0).unwrap().key.len(),
        MST_KEY_BYTES_MAX
    );
    let error = key(MST_KEY_BYTES_MAX + 1).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
    assert_eq!(
        error.to_string(),
        "entry 0: key of 831 bytes, more than 830"
    );
}
