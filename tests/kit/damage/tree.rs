//! Damage to the tree: wrong structures with right hashes under a right signature.

use std::collections::{HashMap, HashSet};

use carrack_schema::Cid;

use super::{BAD_STRUCTURE, Damaged, Expect};
use crate::car;
use crate::cbor::cid_of;
use crate::commit;
use crate::mst::{self, Entry, Form, Item, Leaf, Shape};
use crate::repo::{Repo, leaves_of};

/// Keys a tree can hold and a repo must not.
const BAD_KEYS: &[(&str, &[u8])] = &[
    ("key-empty", b""),
    ("key-without-slash", b"com.example.thing"),
    ("key-without-record-key", b"com.example.thing/"),
    ("key-without-collection", b"/self"),
    ("key-with-two-slashes", b"com.example.thing/a/b"),
    ("key-with-dots-only", b"com.example.thing/.."),
    ("key-with-space", b"com.example.thing/a b"),
    ("key-with-bad-collection", b"thing/self"),
    ("key-not-ascii", "com.example.thing/ü".as_bytes()),
    ("key-not-utf-8", b"com.example.thing/\xff\xfe"),
    ("key-with-nul", b"com.example.thing/a\0b"),
];

/// How many nodes deep a tree is that nobody should walk to its end.
const CHAIN_NODES: usize = 300;

pub(super) fn variants(repo: &Repo) -> Vec<Damaged> {
    let mut variants = heights(repo);
    variants.extend(links(repo));
    variants.extend(orders(repo));
    variants.extend(forms(repo));
    variants.extend(BAD_KEYS.iter().map(|&(name, key)| {
        let draft = Draft::with_record(repo, key, b"\xa0");
        Damaged::new(name, BAD_STRUCTURE, draft.car())
    }));
    // What a block is, is decided by the way to it and not by its looks.
    let node = mst::build(&[]).nodes.remove(0).bytes;
    let draft = Draft::with_record(repo, b"com.example.thing/looks-like-a-node", &node);
    let expect = Expect::Valid {
        records: repo.records.len() + 1,
    };
    variants.push(Damaged::new(
        "record-looks-like-a-node",
        expect,
        draft.car(),
    ));
    variants
}

/// Keys in nodes of another layer than their hash says.
fn heights(repo: &Repo) -> Vec<Damaged> {
    let heights = heights_of(&leaves_of(&repo.records));
    let top = heights.iter().copied().max().unwrap_or(0);
    let low = heights
        .iter()
        .position(|height| *height == 0)
        .expect("most keys have height 0");
    let high = heights
        .iter()
        .position(|height| *height == top)
        .expect("some key is on top");
    let moved = |name, change: &dyn Fn(&mut Vec<u32>)| {
        let mut heights = heights.clone();
        change(&mut heights);
        let draft = Draft {
            shape: mst::shape(&heights),
            ..Draft::new(repo)
        };
        Damaged::new(name, BAD_STRUCTURE, draft.car())
    };
    vec![
        moved("key-one-layer-too-high", &|heights| heights[low] += 1),
        moved("key-on-a-layer-of-its-own", &|heights| {
            heights[low] = top + 1
        }),
        moved("key-at-the-bottom-instead-of-the-top", &|heights| {
            heights[high] = 0
        }),
        moved("all-keys-in-one-node", &|heights| heights.fill(0)),
        // Layers upside down, as one implementation once had them.
        moved("layers-inverted", &|heights| {
            for height in heights {
                *height = top - *height;
            }
        }),
    ]
}

/// Nodes without keys where none may be.
fn links(repo: &Repo) -> Vec<Damaged> {
    let reshaped = |name, change: &dyn Fn(Shape) -> Shape| {
        let mut draft = Draft::new(repo);
        draft.shape = change(draft.shape);
        Damaged::new(name, BAD_STRUCTURE, draft.car())
    };
    vec![
        reshaped("root-without-keys", &above),
        reshaped("chain-of-300-nodes", &|mut shape| {
            for _ in 0..CHAIN_NODES {
                shape = above(shape);
            }
            shape
        }),
        reshaped("layer-too-many", &|mut shape| {
            let parent = find(&mut shape, &|node| children(node).next().is_some());
            let child = children_mut(parent).next().expect("it was looked for");
            *child = above(std::mem::take(child));
            shape
        }),
        reshaped("empty-node-at-the-bottom", &|mut shape| {
            let bottom = find(&mut shape, &is_bottom);
            bottom.left = Some(Box::default());
            shape
        }),
    ]
}

/// Keys out of order or there twice.
fn orders(repo: &Repo) -> Vec<Damaged> {
    let swapped_keys = {
        let mut draft = Draft::new(repo);
        let node = find(&mut draft.shape, &|node| node.entries.len() >= 2);
        let (first, second) = (node.entries[0].leaf, node.entries[1].leaf);
        node.entries[0].leaf = second;
        node.entries[1].leaf = first;
        draft.car()
    };
    let swapped_subtrees = {
        let mut draft = Draft::new(repo);
        let node = find(&mut draft.shape, &|node| children(node).nth(1).is_some());
        let mut children = children_mut(node);
        let pair = children
            .next()
            .zip(children.next())
            .expect("it was looked for");
        std::mem::swap(pair.0, pair.1);
        drop(children);
        draft.car()
    };
    let doubled = |cid: Cid| {
        let mut draft = Draft::new(repo);
        let second = draft.leaves.len();
        let node = find(&mut draft.shape, &is_bottom);
        let first = node.entries[0].leaf;
        node.entries.insert(
            1,
            Entry {
                leaf: second,
                right: None,
            },
        );
        draft.leaves.push(Leaf {
            cid,
            ..draft.leaves[first]
        });
        draft.car()
    };
    // The record of the doubled key itself, and another one.
    let own = {
        let mut draft = Draft::new(repo);
        let node = find(&mut draft.shape, &is_bottom);
        draft.leaves[node.entries[0].leaf].cid
    };
    let other = repo
        .records
        .iter()
        .map(|record| record.cid)
        .find(|cid| *cid != own);
    let other = other.expect("a repo has more than one block");
    vec![
        Damaged::new("keys-swapped-in-a-node", BAD_STRUCTURE, swapped_keys),
        Damaged::new("subtrees-swapped", BAD_STRUCTURE, swapped_subtrees),
        Damaged::new("key-twice", BAD_STRUCTURE, doubled(own)),
        Damaged::new("key-twice-with-two-records", BAD_STRUCTURE, doubled(other)),
    ]
}

/// Nodes written in another form.
fn forms(repo: &Repo) -> Vec<Damaged> {
    let keys: Vec<&str> = repo
        .records
        .iter()
        .map(|record| record.path.as_str())
        .collect();
    let shares_prefix = |node: &Shape| {
        node.entries.windows(2).any(|pair| {
            let (a, b) = (keys[pair[0].leaf], keys[pair[1].leaf]);
            mst::common_prefix_len(a.as_bytes(), b.as_bytes()) > 0
        })
    };
    let written = |name, form, which: &dyn Fn(&Shape) -> bool| {
        let mut draft = Draft::new(repo);
        find(&mut draft.shape, which).form = form;
        Damaged::new(name, BAD_STRUCTURE, draft.car())
    };
    vec![
        written("node-without-nulls", Form::WithoutNulls, &is_bottom),
        written(
            "node-without-prefixes",
            Form::WithoutPrefixes,
            &shares_prefix,
        ),
        written("first-key-with-prefix", Form::FirstPrefix, &is_bottom),
        written("prefix-longer-than-key", Form::LongPrefix, &|node| {
            node.entries.len() >= 2
        }),
        written("node-map-keys-swapped", Form::SwappedMapKeys, &|_| true),
    ]
}

/// A repo with another tree.
struct Draft<'a> {
    repo: &'a Repo,
    leaves: Vec<Leaf<'a>>,
    shape: Shape,
    /// Blocks of records the repo does not have.
    added: Vec<&'a [u8]>,
}

impl<'a> Draft<'a> {
    fn new(repo: &'a Repo) -> Self {
        let leaves = leaves_of(&repo.records);
        let shape = mst::shape(&heights_of(&leaves));
        Self {
            repo,
            leaves,
            shape,
            added: Vec::new(),
        }
    }

    /// The canonical tree with one more record.
    fn with_record(repo: &'a Repo, key: &'a [u8], bytes: &'a [u8]) -> Self {
        let mut leaves = leaves_of(&repo.records);
        let at = leaves.partition_point(|leaf| leaf.key < key);
        leaves.insert(
            at,
            Leaf {
                key,
                cid: cid_of(bytes),
            },
        );
        let shape = mst::shape(&heights_of(&leaves));
        Self {
            repo,
            leaves,
            shape,
            added: vec![bytes],
        }
    }

    /// Returns the signed export in pre-order.
    fn car(&self) -> Vec<u8> {
        let tree = mst::encode(&self.shape, &self.leaves);
        let own = self
            .repo
            .records
            .iter()
            .map(|record| (record.cid, &*record.bytes));
        let added = self.added.iter().map(|bytes| (cid_of(bytes), *bytes));
        let records: HashMap<Cid, &[u8]> = own.chain(added).collect();

        let rev = self.repo.rev.to_string();
        let fields = commit::fields(self.repo.did.as_str(), &rev, tree.root);
        let commit = commit::signed(fields, &self.repo.key);
        let commit_cid = cid_of(&commit);
        let mut car = car::header(&[commit_cid]);
        car.extend(car::section(&commit_cid, &commit));
        let mut written = HashSet::new();
        for item in &tree.walk {
            let (cid, bytes) = match *item {
                Item::Node(i) => (tree.nodes[i].cid, &tree.nodes[i].bytes[..]),
                Item::Leaf(i) => (self.leaves[i].cid, records[&self.leaves[i].cid]),
            };
            if written.insert(cid) {
                car.extend(car::section(&cid, bytes));
            }
        }
        car
    }
}

fn heights_of(leaves: &[Leaf<'_>]) -> Vec<u32> {
    leaves.iter().map(|leaf| mst::height(leaf.key)).collect()
}

/// Returns a node whose only content is the link to this one.
fn above(shape: Shape) -> Shape {
    Shape {
        left: Some(Box::new(shape)),
        ..Shape::default()
    }
}

fn is_bottom(node: &Shape) -> bool {
    !node.entries.is_empty() && children(node).next().is_none()
}

fn children(node: &Shape) -> impl Iterator<Item = &Shape> {
    let rights = node
        .entries
        .iter()
        .filter_map(|entry| entry.right.as_deref());
    node.left.as_deref().into_iter().chain(rights)
}

fn children_mut(node: &mut Shape) -> impl Iterator<Item = &mut Shape> {
    let rights = node
        .entries
        .iter_mut()
        .filter_map(|entry| entry.right.as_deref_mut());
    node.left.as_deref_mut().into_iter().chain(rights)
}

/// Returns the first node in pre-order that fits.
///
/// # Panics
/// If none does, which in a repo of [`super::RECORDS_MIN`] records is a fault of the kit.
fn find<'s>(shape: &'s mut Shape, fits: &dyn Fn(&Shape) -> bool) -> &'s mut Shape {
    find_below(shape, fits).expect("a repo of some size has every sort of node")
}

fn find_below<'s>(shape: &'s mut Shape, fits: &dyn Fn(&Shape) -> bool) -> Option<&'s mut Shape> {
    if fits(shape) {
        return Some(shape);
    }
    children_mut(shape).find_map(|child| find_below(child, fits))
}
