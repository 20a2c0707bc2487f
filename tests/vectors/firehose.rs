//! Real firehose messages (SY1, EX3): the blocks of a commit prove what it says it did.
//!
//! Undoing a commit's operations (SY2) and the order of messages belong to live sync, which Carrack does not do yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use carrack_repo::diff::Tree;
use carrack_repo::proof::{Finding, ProofQuestion};
use carrack_repo::{AnyCommit, Error, ErrorKind, PublicKey, check_signature, diff, verify_proof};
use carrack_schema::{Cid, Did, RecordPath};
use serde_json::Value;

use crate::blocks::{Blocks, read};
use crate::json::{bytes_of, link_of};
use crate::places::{beside, json};
use crate::tally::{Tally, say};

fn files(folder: PathBuf, prefix: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(prefix)
        })
        .collect();
    files.sort();
    files
}

/// Checks a `#commit` message and returns how many operations it proves.
fn check_commit(message: &Value, key: Option<&PublicKey>, about: &str) -> usize {
    let car = bytes_of(&message["blocks"]);
    let (root, blocks) = read(&car);
    assert_eq!(root, link_of(&message["commit"]), "{about}");
    let commit = AnyCommit::parse(&blocks.0[&root]).unwrap();
    let did: Did = message["repo"].as_str().unwrap().parse().unwrap();
    commit.check_did(&did).unwrap();
    if let Some(key) = key {
        let verdict = check_signature(&blocks.0[&root], key).unwrap();
        assert!(verdict.is_valid(), "{about}");
    }
    let ops = message["ops"].as_array().unwrap();
    for op in ops {
        let path: RecordPath = op["path"].as_str().unwrap().parse().unwrap();
        let question = ProofQuestion {
            path: &path,
            did: Some(&did),
            key,
        };
        let outcome = verify_proof(&car, question).unwrap();
        match (op["action"].as_str().unwrap(), outcome.finding) {
            ("create" | "update", Finding::Present { cid, .. }) => {
                assert_eq!(cid, link_of(&op["cid"]), "{about} {path}");
            }
            ("delete", Finding::Absent) => {}
            other => panic!("{about} {path}: {other:?}"),
        }
    }
    ops.len()
}

fn rev(message: &Value) -> String {
    let (root, blocks) = read(&bytes_of(&message["blocks"]));
    let commit = AnyCommit::parse(&blocks.0[&root]).unwrap();
    commit.rev().unwrap().to_string()
}

/// Compares the trees of two commits that follow each other, of which only the blocks of their messages are there.
///
/// Returns nothing if those are not enough: a message holds what changed with it, not what changes next.
fn changes(old: &Value, new: &Value) -> Option<BTreeMap<String, Option<Cid>>> {
    let (old_root, mut nodes) = read(&bytes_of(&old["blocks"]));
    let (new_root, fresh) = read(&bytes_of(&new["blocks"]));
    let data = |root, blocks: &Blocks| AnyCommit::parse(&blocks.0[&root]).unwrap().data();
    let (old_data, new_data) = (data(old_root, &nodes), data(new_root, &fresh));
    nodes.0.extend(fresh.0);
    let mut same = nodes.clone();
    let mut changes = BTreeMap::new();
    let old = Tree {
        root: old_data,
        nodes: &mut nodes,
    };
    let new = Tree {
        root: new_data,
        nodes: &mut same,
    };
    let outcome = diff(old, new, |change| {
        changes.insert(change.path.to_owned(), change.edit.new_cid());
        Ok::<_, Error>(())
    });
    match outcome {
        Ok(_) => Some(changes),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Incomplete, "{error}");
            None
        }
    }
}

#[test]
fn commits() {
    let family = "indigo/firehose commits";
    let Some(folder) = beside(family, "interop/indigo/atproto/repo/testdata") else {
        return;
    };
    let mut tally = Tally::new(family);
    let mut ops_count = 0;
    for file in files(folder, "firehose_commit_") {
        let message = json(file.clone());
        let name = file.file_name().unwrap().to_string_lossy();
        ops_count += check_commit(&message, None, &name);
        assert_eq!(rev(&message), message["rev"], "{name}");
        tally.pass();
    }
    say(&format!(
        "{family}: {ops_count} operations proven; no keys are there to check signatures with"
    ));
    tally.finish(4, 0);
}

#[test]
fn relay_scenarios() {
    let family = "indigo/relay scenarios";
    let Some(folder) = beside(family, "interop/indigo/cmd/relay/testing/testdata") else {
        return;
    };
    let mut tally = Tally::new(family);
    let (mut ops_count, mut follow_count, mut compared_count) = (0, 0, 0);
    for file in files(folder, "") {
        let scenario = json(file.clone());
        let name = file.file_name().unwrap().to_string_lossy();
        let key = &scenario["accounts"][0]["identity"]["keys"]["atproto"]["publicKeyMultibase"];
        let key = PublicKey::from_multikey(key.as_str().unwrap()).unwrap();
        let mut last: Option<&Value> = None;
        for message in scenario["messages"].as_array().unwrap() {
            let body = &message["frame"]["body"];
            match message["frame"]["header"]["t"].as_str().unwrap() {
                "#commit" => {
                    ops_count += check_commit(body, Some(&key), &name);
                    // A message with another rev than its commit is one that a relay must drop.
                    if let Some(last) = last
                        && rev(last) == body["since"]
                    {
                        follow_count += 1;
                        if let Some(changes) = changes(last, body) {
                            let ops = body["ops"].as_array().unwrap().iter();
                            let ops = ops.map(|op| {
                                let cid = op["cid"]["$link"].as_str();
                                let path = op["path"].as_str().unwrap().to_owned();
                                (path, cid.map(|cid| cid.parse().unwrap()))
                            });
                            assert_eq!(changes, ops.collect(), "{name}");
                            compared_count += 1;
                        }
                    }
                    last = Some(body);
                    assert!(
                        rev(body) == body["rev"] || message["drop"] == true,
                        "{name}"
                    );
                    tally.pass();
                }
                "#sync" => {
                    let (root, blocks) = read(&bytes_of(&body["blocks"]));
                    let verdict = check_signature(&blocks.0[&root], &key).unwrap();
                    assert!(verdict.is_valid(), "{name}");
                    assert_eq!(rev(body), body["rev"], "{name}");
                    tally.pass();
                }
                "#identity" | "#account" => {
                    tally.set_aside("a message without blocks; live sync is not there yet");
                }
                other => panic!("{name}: {other}"),
            }
        }
    }
    say(&format!(
        "{family}: {ops_count} operations proven, all signatures valid; the trees of {compared_count} of {follow_count} \
         commits that follow another compared, the others' messages do not hold enough of them"
    ));
    assert_eq!((ops_count, compared_count, follow_count), (27, 5, 14));
    tally.finish(26, 9);
}
