//! [`Tree`]: the Merkle search tree of a repo, canonical or wrong on purpose.
//!
//! Two steps: [`shape`] decides from the heights of sorted keys which node holds which key, [`encode`] turns a shape
//! into blocks. [`build`] does both. Tests of refusals change the shape in between, so that every hash is right
//! and only the structure is wrong.
//!
//! Rules: <https://atproto.com/specs/repository#mst-structure>.

use std::ops::Range;

use carrack_schema::Cid;
use sha2::{Digest, Sha256};

use crate::cbor::{Value, cid_of, write_map};

/// One key of the tree and the CID it maps to.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The bytes of `collection/rkey`.
    pub key: &'a [u8],
    /// The record's CID.
    pub cid: Cid,
}

/// A node, before it has bytes: leaves are named by their index in a list kept elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The subtree before the first entry.
    pub left: Option<Box<Shape>>,
    /// The node's own keys.
    pub entries: Vec<Entry>,
    /// How the node is written.
    pub form: Form,
}

/// One key of a node and the subtree after it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Index of the leaf.
    pub leaf: usize,
    /// The subtree between this key and the node's next one.
    pub right: Option<Box<Shape>>,
}

/// How a node is written: as the specification says, or with one thing wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As the specification says.
    #[default]
    Canonical,
    /// Absent subtrees are left out instead of being null.
    WithoutNulls,
    /// Every key is written whole: the prefix shared with the key before is not used.
    WithoutPrefixes,
    /// The first entry claims a byte of prefix, where no key comes before it.
    FirstPrefix,
    /// The last entry claims more prefix than the key before has bytes.
    LongPrefix,
    /// The two map keys of the node are swapped, which is not canonical CBOR.
    SwappedMapKeys,
}

/// A node with its bytes.
#[derive(Clone, Debug)]
pub struct Node {
    /// The block's CID.
    pub cid: Cid,
    /// The block.
    pub bytes: Vec<u8>,
    /// Indexes of the leaves below the node, from the first to one after the last.
    pub span: Range<usize>,
}

/// One step of a walk in pre-order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Index of a node in [`Tree::nodes`].
    Node(usize),
    /// Index of a leaf.
    Leaf(usize),
}

/// An encoded tree.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The root node's CID.
    pub root: Cid,
    /// All nodes, each after the nodes below it; the root is the last one.
    pub nodes: Vec<Node>,
    /// The walk: a node, its left subtree, then each of its leaves followed by the subtree after it.
    pub walk: Vec<Item>,
}

/// Returns the height of a key: pairs of leading zero bits of its SHA-256.
pub fn height(key: &[u8]) -> u32 {
    let mut zeros = 0;
    for byte in Sha256::digest(key) {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros / 2
}

/// Returns how many bytes two keys have in common at their start.
pub fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Returns the canonical tree over leaves sorted by key.
pub fn build(leaves: &[Leaf<'_>]) -> Tree {
    let heights: Vec<u32> = leaves.iter().map(|leaf| height(leaf.key)).collect();
    encode(&shape(&heights), leaves)
}

/// Returns the shape of a tree whose leaves, in order of their keys, have these heights.
pub fn shape(heights: &[u32]) -> Shape {
    let top = heights.iter().copied().max().unwrap_or(0);
    subtree(heights, 0..heights.len(), top).map_or_else(Shape::default, |root| *root)
}

/// Returns the subtree of a range; no height in it is above `layer`.
fn subtree(heights: &[u32], range: Range<usize>, layer: u32) -> Option<Box<Shape>> {
    if range.is_empty() {
        return None;
    }
    // A gap between two keys of this layer holds lower keys only, so a gap at layer 0 is empty.
    let below = |gap| subtree(heights, gap, layer.saturating_sub(1));
    let own: Vec<usize> = range
        .clone()
        .filter(|&leaf| heights[leaf] == layer)
        .collect();
    let left = below(range.start..own.first().copied().unwrap_or(range.end));
    let ends = own.iter().skip(1).copied().chain([range.end]);
    let entries = own.iter().zip(ends).map(|(&leaf, end)| Entry {
        leaf,
        right: below(leaf + 1..end),
    });
    Some(Box::new(Shape {
        left,
        entries: entries.collect(),
        form: Form::Canonical,
    }))
}

/// Returns the blocks of a shape.
///
/// # Panics
/// If the shape names a leaf that is not there.
pub fn encode(shape: &Shape, leaves: &[Leaf<'_>]) -> Tree {
    let mut encoder = Encoder {
        leaves,
        nodes: Vec::new(),
        walk: Vec::new(),
    };
    let (root, _) = encoder.node(shape);
    Tree {
        root,
        nodes: encoder.nodes,
        walk: encoder.walk,
    }
}

struct Encoder<'a> {
    leaves: &'a [Leaf<'a>],
    nodes: Vec<Node>,
    walk: Vec<Item>,
}

impl Encoder<'_> {
    /// Encodes a node and all below it. Returns its CID and the span of its leaves.
    fn node(&mut self, shape: &Shape) -> (Cid, Range<usize>) {
        let slot = self.walk.len();
        self.walk.push(Item::Node(0)); // its place in the walk; its index is known only after its children
        let mut span = NO_SPAN;
        let left = self.child(shape.left.as_deref(), &mut span);
        let mut entries = Vec::with_capacity(shape.entries.len());
        let mut previous: &[u8] = &[];
        for (i, entry) in shape.entries.iter().enumerate() {
            let leaf = self.leaves[entry.leaf];
            self.walk.push(Item::Leaf(entry.leaf));
            span = union(&span, &(entry.leaf..entry.leaf + 1));
            let right = self.child(entry.right.as_deref(), &mut span);
            let is_last = i + 1 == shape.entries.len();
            let place = Place {
                previous,
                is_first: i == 0,
                is_last,
            };
            entries.push(entry_value(shape.form, place, leaf, right));
            previous = leaf.key;
        }
        let bytes = node_bytes(shape.form, left, entries);
        let cid = cid_of(&bytes);
        self.walk[slot] = Item::Node(self.nodes.len());
        self.nodes.push(Node {
            cid,
            bytes,
            span: span.clone(),
        });
        (cid, span)
    }

    fn child(&mut self, shape: Option<&Shape>, span: &mut Range<usize>) -> Option<Cid> {
        let (cid, below) = self.node(shape?);
        *span = union(span, &below);
        Some(cid)
    }
}

/// The leaves below a node that has none.
const NO_SPAN: Range<usize> = 0..0;

/// Returns the smallest range with all of both.
fn union(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}

/// Where an entry is in its node.
struct Place<'a> {
    /// The key before it, empty for the first.
    previous: &'a [u8],
    is_first: bool,
    is_last: bool,
}

fn entry_value(form: Form, place: Place<'_>, leaf: Leaf<'_>, right: Option<Cid>) -> Value {
    let shared = match form {
        Form::WithoutPrefixes => 0,
        _ => common_prefix_len(place.previous, leaf.key),
    };
    let claimed = match form {
        Form::FirstPrefix if place.is_first => 1,
        Form::LongPrefix if place.is_last => place.previous.len() + 1,
        _ => shared,
    };
    let mut entry = Value::map([
        ("p", Value::Int(claimed as i64)),
        ("k", Value::Bytes(leaf.key[shared..].to_vec())),
        ("v", Value::Link(leaf.cid)),
    ]);
    if right.is_some() || form != Form::WithoutNulls {
        entry.insert("t", Value::link_or_null(right));
    }
    entry
}

fn node_bytes(form: Form, left: Option<Cid>, entries: Vec<Value>) -> Vec<u8> {
    let entries = ("e".into(), Value::List(entries));
    let left_entry = ("l".into(), Value::link_or_null(left));
    let mut bytes = Vec::with_capacity(256);
    match form {
        Form::WithoutNulls if left.is_none() => write_map(&mut bytes, &[&entries]),
        Form::SwappedMapKeys => write_map(&mut bytes, &[&left_entry, &entries]),
        _ => write_map(&mut bytes, &[&entries, &left_entry]),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_tree_has_its_known_root() {
        let tree = build(&[]);
        assert_eq!(
            tree.root.to_string(),
            "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
        );
        assert_eq!(tree.walk, [Item::Node(0)]);
    }

    // The next two tables are from github.com/bluesky-social/atproto-interop-tests, `mst`, CC0-1.0.
    #[test]
    fn heights_match_the_interop_vectors() {
        for (key, expected) in [
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
            assert_eq!(height(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn common_prefixes_match_the_interop_vectors() {
        for (left, right, expected) in [
            ("", "", 0),
            ("abc", "abc", 3),
            ("", "abc", 0),
            ("abc", "", 0),
            ("ab", "abc", 2),
            ("abc", "ab", 2),
            ("abcde", "abc", 3),
            ("abcde", "abc1", 3),
            ("abcde", "abb", 2),
            ("abcde", "qbb", 0),
            ("abc", "abc\0", 3),
            ("abc\0", "abc", 3),
        ] {
            assert_eq!(
                common_prefix_len(left.as_bytes(), right.as_bytes()),
                expected
            );
        }
    }

    #[test]
    fn known_roots_of_small_trees() {
        // From the MST tests of the reference implementation and its specification.
        let cid = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
            .parse()
            .unwrap();
        let check = |keys: &[&str], root: &str| {
            let leaves: Vec<Leaf<'_>> = keys
                .iter()
                .map(|key| Leaf {
                    key: key.as_bytes(),
                    cid,
                })
                .collect();
            assert_eq!(build(&leaves).root.to_string(), root, "{keys:?}");
        };
        check(
            &["com.example.record/3jqfcqzm3fo2j"],
            "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu",
        );
        check(
            &["com.example.record/3jqfcqzm3fx2j"],
            "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai",
        );
        check(
            &[
                "com.example.record/3jqfcqzm3fp2j",
                "com.example.record/3jqfcqzm3fr2j",
                "com.example.record/3jqfcqzm3fs2j",
                "com.example.record/3jqfcqzm3ft2j",
                "com.example.record/3jqfcqzm4fc2j",
            ],
            "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m",
        );
    }

    #[test]
    fn walk_meets_leaves_in_order_and_every_node_once() {
        let keys: Vec<String> = (0..500)
            .map(|i| format!("com.example.thing/{i:04}"))
            .collect();
        let cid = cid_of(b"");
        let leaves: Vec<Leaf<'_>> = keys
            .iter()
            .map(|key| Leaf {
                key: key.as_bytes(),
                cid,
            })
            .collect();
        let tree = build(&leaves);
        let met = tree.walk.iter().filter_map(|item| match item {
            Item::Leaf(leaf) => Some(*leaf),
            Item::Node(_) => None,
        });
        assert!(met.eq(0..leaves.len()));
        assert_eq!(tree.walk.len(), leaves.len() + tree.nodes.len());
        assert_eq!(tree.nodes.last().expect("a tree has a root").span, 0..500);
    }
}
