//! The `mst-test-suite` archive: differences between every two of 128 trees (MT1, MT6, DF1, EX3).
//!
//! Its author calls it not authoritative; a disagreement is settled by the specification.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use carrack_repo::diff::{Tree, diff_keys};
use carrack_repo::mst::{Node, depth_of};
use carrack_repo::{Error, RebuiltNodes, TreePlan};
use carrack_schema::Cid;
use serde_json::Value;

use crate::blocks::{Blocks, RecordList, Records, build, read, records};
use crate::commit_proofs::{covering, path};
use crate::places::{beside, bytes, json};
use crate::tally::{Tally, say};

const FAMILY: &str = "mst-test-suite";

/// A tree of the archive, as Carrack builds it from its records.
struct Built {
    records: Records,
    root: Cid,
    nodes: Blocks,
    cids: BTreeSet<Cid>,
    plan: TreePlan,
}

/// Unpacks the archive.
fn unpack() -> Option<tempfile::TempDir> {
    let archive = beside(FAMILY, "interop/mst-test-suite.tar.gz")?;
    let folder = tempfile::tempdir().unwrap();
    let unpacked = std::process::Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    Some(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn cids(list: &Value) -> BTreeSet<Cid> {
    let list = list.as_array().unwrap().iter();
    list.map(|cid| cid.as_str().unwrap().parse().unwrap())
        .collect()
}

/// Builds each tree of the archive anew and compares it with its nodes.
fn trees(folder: &Path) -> BTreeMap<String, Built> {
    let mut trees = BTreeMap::new();
    for file in files(&folder.join("cars/exhaustive")) {
        let (root, mut nodes) = read(&bytes(file.clone()));
        let records = records(root, &mut nodes);
        let (rebuilt, rebuilt_nodes) = build(&records);
        assert_eq!(rebuilt, root, "{}", file.display());
        assert!(rebuilt_nodes.0 == nodes.0, "{}", file.display());
        let mut rows = RecordList(records.clone().into_iter().collect());
        let plan = TreePlan::build(&mut rows).unwrap();
        assert_eq!(plan.root(), root);
        let name = file.file_name().unwrap().to_string_lossy();
        let built = Built {
            records,
            root,
            cids: nodes.0.keys().copied().collect(),
            nodes,
            plan,
        };
        trees.insert(format!("./cars/exhaustive/{name}"), built);
    }
    trees
}

/// Compares two trees, both rebuilt from rows as the store does.
fn ops(old: &Built, new: &Built) -> Vec<(String, Option<Cid>, Option<Cid>)> {
    let rows = |built: &Built| RecordList(built.records.clone().into_iter().collect());
    let (mut old_rows, mut new_rows) = (rows(old), rows(new));
    let mut old_nodes = RebuiltNodes::new(&old.plan, &mut old_rows);
    let mut new_nodes = RebuiltNodes::new(&new.plan, &mut new_rows);
    let mut ops = Vec::new();
    diff_keys(
        Tree {
            root: old.root,
            nodes: &mut old_nodes,
        },
        Tree {
            root: new.root,
            nodes: &mut new_nodes,
        },
        |key, edit| {
            let key = String::from_utf8(key.to_vec()).unwrap();
            ops.push((key, edit.old_cid(), edit.new_cid()));
            Ok::<_, Error>(())
        },
    )
    .unwrap();
    ops
}

#[test]
fn differences_between_all_trees() {
    let Some(folder) = unpack() else { return };
    let folder = folder.path().join("mst-test-suite");
    let mut trees = trees(&folder);
    assert_eq!(trees.len(), 128);
    let mut tally = Tally::new("mst-test-suite/mst-diff");
    let (mut longer_count, mut wider_count) = (0, 0);
    for file in files(&folder.join("tests/diff/exhaustive")) {
        let case = json(file.clone());
        let name = file.file_name().unwrap().to_string_lossy();
        assert_eq!(case["$type"], "mst-diff", "{name}");
        let tree = |field: &str| case["inputs"][field].as_str().unwrap();
        let (old, new) = (&trees[tree("mst_a")], &trees[tree("mst_b")]);
        let results = &case["results"];

        let created: BTreeSet<Cid> = new.cids.difference(&old.cids).copied().collect();
        let deleted: BTreeSet<Cid> = old.cids.difference(&new.cids).copied().collect();
        assert_eq!(created, cids(&results["created_nodes"]), "{name}");
        assert_eq!(deleted, cids(&results["deleted_nodes"]), "{name}");

        let cid = |value: &Value| value.as_str().map(|cid| cid.parse().unwrap());
        let listed = results["record_ops"].as_array().unwrap().iter();
        let listed: Vec<_> = listed
            .map(|op| {
                let path = op["rpath"].as_str().unwrap().to_owned();
                (path, cid(&op["old_value"]), cid(&op["new_value"]))
            })
            .collect();
        assert_eq!(ops(old, new), listed, "{name}");

        let new = trees.get_mut(tree("mst_b")).unwrap();
        let root_depth = Node::parse(&new.nodes.0[&new.root]).unwrap().depth();
        let (mut whole, mut least, mut wide) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (key, ..) in &listed {
            let key = key.as_bytes();
            let path = path(new.root, &mut new.nodes, key);
            whole.extend(path.iter().copied());
            // The archive ends the proof that a key is absent at the root when the key would stand above it.
            // Carrack goes on to the place without a child, which is legal and a node or two longer.
            match root_depth < Some(depth_of(key)) {
                true => least.insert(new.root),
                false => {
                    least.extend(path);
                    true
                }
            };
            wide.append(&mut covering(&new.records, new.root, &mut new.nodes, key));
        }
        assert_eq!(least, cids(&results["proof_nodes"]), "{name}");
        longer_count += usize::from(whole != least);
        // What undoing the changes needs is on the ways to the changed keys and to those beside them.
        let inductive = cids(&results["inductive_proof_nodes"]);
        assert!(wide.is_superset(&inductive), "{name}");
        wider_count += usize::from(wide != inductive);
        // A list of what to send was never filled in.
        assert!(results["firehose_cids"].is_string(), "{name}");
        tally.pass();
    }
    say(&format!(
        "{FAMILY}: proofs are longer than listed in {longer_count} cases, nodes for inversion more in {wider_count}"
    ));
    tally.finish(8_192, 0);
    assert_eq!((longer_count, wider_count), (148, 291));
}
