//! Values and records for this crate's tests.

use carrack_repo::cbor::write::{self, put_head};
use carrack_schema::Cid;
use proptest::prelude::*;

/// A value of the data model.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Link(Cid),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    pub(crate) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }
}

/// Returns a value as DAG-CBOR.
pub(crate) fn cbor(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    put(node, &mut out);
    out
}

fn put(node: &Node, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.push(write::NULL),
        Node::Bool(value) => out.push(if *value { write::TRUE } else { write::FALSE }),
        Node::Int(value) if *value < 0 => put_head(out, write::NEGATIVE, !value as u64),
        Node::Int(value) => put_head(out, write::UNSIGNED, *value as u64),
        Node::Text(text) => {
            put_head(out, write::TEXT, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Node::Bytes(bytes) => {
            put_head(out, write::BYTES, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Node::Link(cid) => write::put_link(out, Some(cid)),
        Node::List(items) => {
            put_head(out, write::LIST, items.len() as u64);
            items.iter().for_each(|item| put(item, out));
        }
        Node::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
            entries.dedup_by_key(|(key, _)| key);
            put_head(out, write::MAP, entries.len() as u64);
            for (key, value) in entries {
                put_head(out, write::TEXT, key.len() as u64);
                out.extend_from_slice(key.as_bytes());
                put(value, out);
            }
        }
    }
}

/// Texts of all forms, and some that only look like them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[2-7a-j][2-7a-z]{12}",
        "did:plc:[a-z2-7]{24}",
        "did:web:[a-z]{3}",
        "at://did:plc:[a-c]{24}/[ab]\\.c/[2-7a-j][2-7a-z]{12}",
        "at://did:plc:[a-z2-7]{24}/a\\.b/(self|[a-z/]{0,9})",
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+00:00)",
        any::<[u8; 32]>()
            .prop_map(|digest| Cid::new(carrack_schema::cid::Codec::DagCbor, digest).to_string()),
        "baf(yrei|krei)[a-z2-7]{52}",
        Just("en".to_owned()),
    ]
}

/// Any value, with forms of texts, repetitions and rare integers.
pub(crate) fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(Node::Null),
        any::<bool>().prop_map(Node::Bool),
        prop_oneof![any::<i64>(), -30..300_i64, Just(i64::MIN), Just(i64::MAX)].prop_map(Node::Int),
        text().prop_map(Node::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Node::Bytes),
        (any::<[u8; 32]>(), any::<bool>()).prop_map(|(digest, is_raw)| {
            use carrack_schema::cid::Codec;
            Node::Link(Cid::new(
                if is_raw { Codec::Raw } else { Codec::DagCbor },
                digest,
            ))
        }),
    ];
    leaf.prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Node::List),
            prop::collection::vec(("(\\$type|[a-d]{1,3}|text|createdAt)", inner), 0..6)
                .prop_map(Node::Map),
        ]
    })
}

/// Records of few shapes: one value's skeleton, filled anew for each.
pub(crate) fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let like_one =
        (node(), prop::collection::vec(any::<u64>(), 1..30)).prop_map(|(skeleton, seeds)| {
            seeds
                .into_iter()
                .map(|seed| cbor(&vary(&skeleton, seed)))
                .collect::<Vec<_>>()
        });
    prop::collection::vec(like_one, 1..6).prop_map(|many| {
        // In turns, so that groups grow side by side.
        let longest = many.iter().map(Vec::len).max().unwrap_or(0);
        (0..longest)
            .flat_map(|i| many.iter().filter_map(move |rows| rows.get(i).cloned()))
            .collect()
    })
}

/// Returns the same shape with other leaves, now and then the same.
fn vary(node: &Node, seed: u64) -> Node {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
    match node {
        Node::Int(value) if !mixed.is_multiple_of(3) => {
            Node::Int(value.wrapping_add((mixed % 1_000) as i64))
        }
        Node::Bool(_) => Node::Bool(mixed.is_multiple_of(2)),
        Node::Text(text) if text.len() < 5 && mixed.is_multiple_of(2) => {
            Node::Text(format!("{text}{}", mixed % 10))
        }
        Node::Bytes(bytes) => {
            Node::Bytes([&bytes[..], &mixed.to_le_bytes()[..(mixed % 5) as usize]].concat())
        }
        Node::List(items) => Node::List(
            (1..)
                .zip(items)
                .map(|(i, item)| vary(item, seed ^ i))
                .collect(),
        ),
        Node::Map(entries) => Node::Map(
            (7..)
                .zip(entries)
                .map(|(i, (key, value))| (key.clone(), vary(value, seed.rotate_left(i))))
                .collect(),
        ),
        other => other.clone(),
    }
}
