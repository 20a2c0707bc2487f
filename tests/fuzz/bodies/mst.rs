//! Merkle search trees: nodes, walks, the way to one key and the difference of two trees, on trees made of the input.

use std::collections::BTreeMap;

use carrack_repo::diff::{Edit, Tree};
use carrack_repo::mst::Node;
use carrack_repo::proof::find;
use carrack_repo::{Error, ErrorKind, TreeBuilder, diff, walk};
use carrack_schema::{Cid, RecordPath};
use kit::mst::{Leaf, build, common_prefix_len, height};

use super::blocks::{Block, Source, link};
use super::oracle::{self, Item};

/// The records of a tree, by path.
type Records = BTreeMap<String, Cid>;

/// Takes the input as blocks ([`link`]); each is a node, and the last two are roots of trees.
///
/// - A node that parses, encoded again by the oracle, is the same bytes; its keys ascend and are of its depth.
/// - Paths that a walk reports ascend and are paths.
/// - A tree that a walk accepts is the one tree of its records, as Carrack's builder and the kit build it; each key of
///   it is found, and what is beside it is not.
/// - The difference of two such trees is that of their records.
/// - No walk reads more nodes than there are.
pub fn run(data: &[u8]) {
    let blocks = link(data);
    for block in &blocks {
        if let Ok(node) = Node::parse(&block.bytes) {
            check_node(&node, &block.bytes);
        }
    }
    let mut roots = blocks.iter().rev();
    let (Some(new), old) = (roots.next(), roots.next()) else {
        return;
    };
    let new_records = check_tree(new.cid, &blocks);
    let Some(old) = old else { return };
    let old_records = check_tree(old.cid, &blocks);
    check_diff((old.cid, old_records), (new.cid, new_records), &blocks);
}

fn check_node(node: &Node, bytes: &[u8]) {
    let link = |cid: Cid| Item::Link(cid.as_bytes().to_vec());
    let link_or_null = |cid: Option<Cid>| cid.map_or(Item::Null, link);
    let map = |entries: Vec<(&str, Item)>| {
        let owned = entries
            .into_iter()
            .map(|(key, item)| (key.to_owned(), item));
        Item::Map(owned.collect())
    };
    let mut last: &[u8] = &[];
    let mut items = Vec::new();
    for (index, entry) in node.entries().enumerate() {
        assert!(index == 0 || entry.key > last, "keys ascend");
        assert_eq!(node.depth().map(u32::from), Some(height(entry.key)));
        let prefix = common_prefix_len(last, entry.key);
        items.push(map(vec![
            ("p", Item::Int(prefix as i64)),
            ("k", Item::Bytes(entry.key[prefix..].to_vec())),
            ("v", link(entry.value)),
            ("t", link_or_null(entry.tree)),
        ]));
        last = entry.key;
    }
    assert_eq!(items.len(), node.entries_count());
    assert_eq!(node.depth().is_none(), items.is_empty());
    let item = map(vec![
        ("l", link_or_null(node.left())),
        ("e", Item::List(items)),
    ]);
    assert_eq!(oracle::write(&item), bytes, "encoded again");
}

/// Walks a tree, and returns its records if it is a legal one.
fn check_tree(root: Cid, blocks: &[Block]) -> Option<Records> {
    let mut source = Source::new(blocks);
    let mut records = Records::new();
    let mut last = String::new();
    let walked = walk(root, &mut source, |record| {
        assert!(record.path > last.as_str(), "paths ascend");
        let path: RecordPath = record.path.parse().expect("a walk reports paths");
        assert_eq!(
            (path.collection.as_str(), path.rkey.as_str()),
            (record.collection, record.rkey)
        );
        record.path.clone_into(&mut last);
        records.insert(last.clone(), record.cid);
        Ok::<_, Error>(())
    });
    assert!(source.given_count <= source.blocks_count() + 1);
    let stats = match walked {
        Ok(stats) => stats,
        Err(error) => {
            check_kind(&error);
            return None;
        }
    };
    assert_eq!(stats.records_count, records.len() as u64);
    assert_eq!(stats.nodes_count, source.given_count);

    let mut builder = TreeBuilder::new(|node: carrack_repo::mst::build::BuiltNode<'_>| {
        assert_eq!(source.bytes(&node.cid), Some(node.bytes), "a node it had");
        Ok::<_, Error>(())
    });
    for (path, cid) in &records {
        builder.push(path.as_bytes(), *cid).expect("they ascend");
    }
    let built = builder.finish().expect("the records of a legal tree");
    assert_eq!(
        (built.root, built.depth, built.nodes_count),
        (root, stats.depth, stats.nodes_count)
    );
    let leaves: Vec<Leaf<'_>> = records
        .iter()
        .map(|(path, cid)| Leaf {
            key: path.as_bytes(),
            cid: *cid,
        })
        .collect();
    assert_eq!(build(&leaves).root, root, "as the kit builds it");

    for (path, cid) in &records {
        let mut found = |key: &str| find(root, key.as_bytes(), &mut source, |_| Ok(()));
        assert_eq!(found(path).expect("the tree is whole"), Some(*cid));
        for beside in [format!("{path}~"), format!("{path}-")] {
            let expected = records.get(&beside).copied();
            assert_eq!(found(&beside).expect("the tree is whole"), expected);
        }
    }
    Some(records)
}

fn check_diff(old: (Cid, Option<Records>), new: (Cid, Option<Records>), blocks: &[Block]) {
    let (mut old_source, mut new_source) = (Source::new(blocks), Source::new(blocks));
    let mut changes: Vec<(String, Edit)> = Vec::new();
    let made = diff(
        Tree {
            root: old.0,
            nodes: &mut old_source,
        },
        Tree {
            root: new.0,
            nodes: &mut new_source,
        },
        |change| {
            let last = changes.last().map(|(path, _)| path.as_str());
            assert!(last.is_none_or(|last| last < change.path), "changes ascend");
            changes.push((change.path.to_owned(), change.edit));
            Ok::<_, Error>(())
        },
    );
    if let Err(error) = &made {
        check_kind(error);
    }
    let (Some(old), Some(new)) = (old.1, new.1) else {
        return;
    };
    made.expect("both trees are legal");
    let mut expected = BTreeMap::new();
    for (path, old) in &old {
        let old = *old;
        match new.get(path) {
            None => expected.insert(path.clone(), Edit::Deleted { old }),
            Some(&new) if new != old => expected.insert(path.clone(), Edit::Updated { old, new }),
            Some(_) => None,
        };
    }
    for (path, new) in &new {
        if !old.contains_key(path) {
            expected.insert(path.clone(), Edit::Created { new: *new });
        }
    }
    assert_eq!(changes, expected.into_iter().collect::<Vec<_>>());
}

/// Hostile trees break rules or limits or lack nodes; nothing else can be wrong with them.
fn check_kind(error: &Error) {
    assert!(
        matches!(
            error.kind(),
            ErrorKind::BadStructure | ErrorKind::Incomplete | ErrorKind::LimitExceeded
        ),
        "{error}"
    );
}
