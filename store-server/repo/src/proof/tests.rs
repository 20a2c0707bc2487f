//! Proofs made here check; without any one of their blocks, or with any of them changed, they show nothing.

use std::collections::BTreeMap;

use carrack_schema::Code;
use carrack_schema::cid::Codec;
use proptest::prelude::*;

use super::*;
use crate::kit::{
    self, Blocks, MemoryRows, Value, cid_of, encode, entries, key_of_depth, map, node_value,
};
use crate::mst::plan::{RebuiltNodes, TreePlan};

struct Repo {
    commit: Vec<u8>,
    rows: MemoryRows,
    blocks: Blocks,
}

fn repo(records: &BTreeMap<String, Vec<u8>>) -> Repo {
    let rows = MemoryRows::new(records);
    let mut blocks = Blocks::default();
    let commit = kit::commit(kit::tree(&mut blocks, &rows.cids()));
    Repo {
        commit,
        rows,
        blocks,
    }
}

fn records(count: usize) -> BTreeMap<String, Vec<u8>> {
    let record = |n: usize| encode(&map([("n", Value::Int(n as i64 / 2))]));
    (0..count)
        .map(|n| (format!("com.example.thing{}/k{n}", n % 3), record(n)))
        .collect()
}

impl Repo {
    fn prove(&mut self, path: &RecordPath) -> Result<(Vec<u8>, ProofMade)> {
        let mut car = Vec::new();
        let text = path.to_string();
        let row = self.rows.rows.iter().find(|(key, ..)| *key == text);
        let record = row.map(|(_, _, bytes)| bytes.clone());
        let commit = VerifiedRef::of(Codec::DagCbor, &self.commit);
        let made = prove(
            commit,
            path,
            &mut self.blocks,
            |_| Ok(record.unwrap()),
            &mut car,
        )?;
        Ok((car, made))
    }
}

fn ask(car: &[u8], path: &RecordPath) -> Result<ProofOutcome> {
    verify_proof(
        car,
        ProofQuestion {
            path,
            did: None,
            key: None,
        },
    )
}

/// Cuts a CAR of the kit's kind into its blocks.
fn blocks_of(car: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = CarBlocks::open(car, CarLimits::default()).unwrap();
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block().unwrap() {
        blocks.push(block.bytes);
    }
    blocks
}

fn car_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    kit::car(&blocks.iter().map(|block| &block[..]).collect::<Vec<_>>())
}

/// Makes and checks a proof; it holds what is needed and nothing else.
#[track_caller]
fn check(repo: &mut Repo, path: &RecordPath) {
    let (car, made) = repo.prove(path).unwrap();
    let text = path.to_string();
    let expected = repo.rows.rows.iter().find(|(key, ..)| *key == text);
    let finding = match expected {
        None => Finding::Absent,
        Some((_, cid, record)) => Finding::Present {
            cid: *cid,
            record: record.clone(),
        },
    };
    assert_eq!(made.record, expected.map(|(_, cid, _)| *cid));
    assert_eq!(made.bytes, car.len() as u64);
    let outcome = ask(&car, path).unwrap();
    assert_eq!(outcome.finding, finding);
    assert_eq!(outcome.commit, cid_of(&repo.commit));
    assert_eq!(outcome.rev.unwrap().to_string(), "3jzfcijpj2z2a");
    assert_eq!((outcome.signature, outcome.unused_blocks_count), (None, 0));

    let blocks = blocks_of(&car);
    assert_eq!(
        blocks.len(),
        1 + made.nodes_count + usize::from(made.record.is_some())
    );
    assert_eq!(blocks[0], repo.commit);
    for left_out in 1..blocks.len() {
        let mut fewer = blocks.clone();
        let cid = cid_of(&fewer.remove(left_out));
        let error = ask(&car_of(&fewer), path).unwrap_err();
        assert_eq!((error.code(), error.cid()), (Code::Incomplete, Some(&cid)));
    }
    // Another order, and twice the same, make no difference.
    let mut shuffled = blocks.clone();
    shuffled[1..].reverse();
    shuffled.push(blocks[1].clone());
    assert_eq!(ask(&car_of(&shuffled), path).unwrap(), outcome);
    // A block that takes no part is counted.
    shuffled.push(b"stray".to_vec());
    assert_eq!(
        ask(&car_of(&shuffled), path).unwrap().unused_blocks_count,
        1
    );
}

#[test]
fn records_and_their_absence_are_proven() {
    for count in [0, 1, 2, 10, 400] {
        let records = records(count);
        let mut repo = repo(&records);
        for key in records.keys().step_by(1 + count / 40) {
            check(&mut repo, &key.parse().unwrap());
            check(&mut repo, &format!("{key}.not").parse().unwrap());
        }
        for absent in [
            "aa.example.first/a",
            "zz.example.last/z",
            "com.example.thing1/k2",
        ] {
            check(&mut repo, &absent.parse().unwrap());
        }
    }
}

/// Storage promises: a proof costs the records of the nodes on its path, whatever the repository's size.
#[test]
fn a_proof_from_rows_and_digests_asks_for_few_records() {
    let records = records(20_000);
    let mut rows = MemoryRows::new(&records);
    let plan = TreePlan::build(&mut rows).unwrap();
    let commit = kit::commit(plan.root());
    let commit = VerifiedRef::of(Codec::DagCbor, &commit);
    for path in ["com.example.thing1/k10000", "com.example.thing1/k10000x"] {
        let path: RecordPath = path.parse().unwrap();
        let bytes = records.get(&path.to_string()).cloned();
        let digests = plan.digests().to_vec();
        let plan = TreePlan::with_digests(&mut rows, digests).unwrap();
        let mut nodes = RebuiltNodes::new(&plan, &mut rows);
        let mut car = Vec::new();
        let made = prove(commit, &path, &mut nodes, |_| Ok(bytes.unwrap()), &mut car).unwrap();
        assert_eq!(nodes.nodes_count(), made.nodes_count);
        assert!(nodes.rows_count() < 4_096 / 16, "{}", nodes.rows_count());
        let outcome = ask(&car, &path).unwrap();
        assert_eq!(outcome.finding != Finding::Absent, made.record.is_some());
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let mut repo = repo(&records(30));
    let path: RecordPath = "com.example.thing1/k7".parse().unwrap();
    let (car, _) = repo.prove(&path).unwrap();
    for bit in 0..car.len() * 8 {
        let mut car = car.clone();
        car[bit / 8] ^= 1 << (bit % 8);
        ask(&car, &path).unwrap_err();
    }
    for length in 0..car.len() {
        ask(&car[..length], &path).unwrap_err();
    }
}

#[test]
fn the_did_and_the_signature_are_judged() {
    use k256::ecdsa::signature::Signer;
    let mut repo = repo(&records(5));
    let path: RecordPath = "com.example.thing1/k1".parse().unwrap();
    let secret = k256::ecdsa::SigningKey::from_slice(&[3; 32]).unwrap();
    let point = secret.verifying_key().to_encoded_point(true);
    let key = PublicKey::from_multikey_bytes(&[&[0xe7, 1], point.as_bytes()].concat()).unwrap();
    let verdict = |repo: &mut Repo| {
        let (car, _) = repo.prove(&path).unwrap();
        let did = "did:plc:abcdefghijklmnopqrstuvwx".parse().unwrap();
        let question = ProofQuestion {
            path: &path,
            did: Some(&did),
            key: Some(&key),
        };
        verify_proof(&car, question).unwrap().signature.unwrap()
    };
    assert!(!verdict(&mut repo).is_valid());
    let message = crate::commit::signing_bytes(&repo.commit).unwrap();
    let signature: k256::ecdsa::Signature = secret.sign(&message);
    let at = repo
        .commit
        .windows(64)
        .position(|bytes| bytes == [7; 64])
        .unwrap();
    repo.commit[at..at + 64].copy_from_slice(&signature.to_bytes());
    assert!(verdict(&mut repo).is_valid());

    let (car, _) = repo.prove(&path).unwrap();
    let other = "did:web:x".parse().unwrap();
    let question = ProofQuestion {
        path: &path,
        did: Some(&other),
        key: None,
    };
    assert_eq!(
        verify_proof(&car, question).unwrap_err().code(),
        Code::WrongDid
    );
}

fn put(blocks: &mut Vec<Vec<u8>>, left: Option<Cid>, keys: &[(&str, Option<Cid>)]) -> Cid {
    let keys: Vec<_> = keys
        .iter()
        .map(|&(key, tree)| (key, cid_of(b"x"), tree))
        .collect();
    blocks.push(encode(&node_value(left, &entries(&keys))));
    cid_of(blocks.last().unwrap())
}

fn refused(root: Cid, nodes: &[Vec<u8>], path: &str) -> String {
    let blocks = [&[kit::commit(root)], nodes].concat();
    let error = ask(&car_of(&blocks), &path.parse().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::BadStructure);
    error.to_string()
}

/// EX3: a node that hides a key from the path to it is not at its own place.
#[test]
fn a_path_through_nodes_at_wrong_places_shows_nothing() {
    let high = key_of_depth(1, 0);
    let zeros: Vec<_> = (0..40).map(|nth| key_of_depth(0, nth)).collect();
    let before = zeros.iter().find(|key| **key < high).unwrap();
    let after: Vec<_> = zeros.iter().filter(|key| **key > high).take(2).collect();
    let mut nodes = Vec::new();
    let low = put(&mut nodes, None, &[(before, None)]);
    let late = put(&mut nodes, None, &[(after[0], None), (after[1], None)]);

    let root = put(&mut nodes, None, &[(&high, Some(low))]);
    let expected = format!("MST node {low}: key `{before}` does not come after key `{high}`");
    assert_eq!(refused(root, &nodes, after[0]), expected);
    let root = put(&mut nodes, Some(late), &[(&high, None)]);
    let expected = format!(
        "MST node {late}: key `{}` does not come before key `{high}`",
        after[1]
    );
    assert_eq!(refused(root, &nodes, before), expected);
    // Bounds hold further down than one node.
    let higher = key_of_depth(2, 0);
    let before = zeros.iter().rfind(|key| **key < higher).unwrap();
    let low = put(&mut nodes, None, &[(before, None)]);
    let bridge = put(&mut nodes, Some(low), &[]);
    let root = put(&mut nodes, None, &[(&higher, Some(bridge))]);
    let expected = format!("MST node {low}: key `{before}` does not come after key `{higher}`");
    assert_eq!(refused(root, &nodes, &format!("{higher}x")), expected);
}

#[test]
fn depths_are_checked_on_the_path() {
    let low = key_of_depth(0, 0);
    let high = key_of_depth(2, 0);
    let mut nodes = Vec::new();
    let child = put(&mut nodes, None, &[(&low, None)]);
    let skips = put(&mut nodes, Some(child), &[(&high, Some(child))]);
    assert!(
        refused(skips, &nodes, "aa.example.first/a").contains("its keys are of depth 0, not 1")
    );
    let below = put(&mut nodes, Some(skips), &[(&low, Some(skips))]);
    assert!(refused(below, &nodes, "aa.example.first/a").contains("has a child below depth 0"));
    let pointer = put(&mut nodes, Some(child), &[]);
    assert!(refused(pointer, &nodes, &low).contains("the root has a child and no entries"));
}

#[test]
fn a_record_may_be_a_node_or_stand_at_two_paths() {
    // The record's block is the tree's own root would need a cycle; a node of another place is possible.
    let empty = encode(&node_value(None, &[]));
    let path: RecordPath = "com.example.thing/k".parse().unwrap();
    let mut repo = repo(&BTreeMap::from([(path.to_string(), empty.clone())]));
    check(&mut repo, &path);
}

#[test]
fn a_proof_is_not_written_before_it_is_whole() {
    let mut repo = repo(&records(50));
    let path: RecordPath = "com.example.thing1/k7".parse().unwrap();
    let commit = repo.commit.clone();
    let commit = VerifiedRef::of(Codec::DagCbor, &commit);
    let mut out = Vec::new();
    let lost = |_: &Cid| Err(Error::new(ErrorKind::Incomplete, "lost"));
    let error = prove(commit, &path, &mut repo.blocks, lost, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "lost");
    let wrong = |_: &Cid| Ok(b"other".to_vec());
    let error = prove(commit, &path, &mut repo.blocks, wrong, &mut out).unwrap_err();
    assert_eq!(error.code(), Code::BadHash);
    repo.blocks.0.clear();
    let wrong = |_: &Cid| Ok(b"other".to_vec());
    let error = prove(commit, &path, &mut repo.blocks, wrong, &mut out).unwrap_err();
    assert_eq!(error.code(), Code::Incomplete);
    assert!(out.is_empty());
}

#[test]
fn size_is_limited() {
    let path: RecordPath = "com.example.thing1/k7".parse().unwrap();
    let (car, made) = repo(&records(50)).prove(&path).unwrap();
    let blocks = blocks_of(&car);
    let mut padded = blocks.clone();
    let spare = PROOF_BLOCKS_MAX - blocks.len();
    padded.extend((0..spare).map(|n| (n as u32).to_be_bytes().to_vec()));
    assert_eq!(
        ask(&car_of(&padded), &path).unwrap().unused_blocks_count,
        spare
    );
    padded.push(vec![0]);
    assert_eq!(
        ask(&car_of(&padded), &path).unwrap_err().code(),
        Code::LimitExceeded
    );

    let mut padded = blocks.clone();
    padded.extend((0..15_u8).map(|n| vec![n; MIB]));
    ask(&car_of(&padded), &path).unwrap();
    let room = PROOF_BYTES_MAX as usize - car_of(&padded).len();
    // A section of this size has a length of three bytes.
    padded.push(vec![99; room - 36 - 3]);
    assert_eq!(car_of(&padded).len() as u64, PROOF_BYTES_MAX);
    ask(&car_of(&padded), &path).unwrap();
    padded.last_mut().unwrap().push(0);
    assert_eq!(
        ask(&car_of(&padded), &path).unwrap_err().code(),
        Code::LimitExceeded
    );
    assert!(made.bytes < 5_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_path_is_proven_present_or_absent(
        records in prop::collection::btree_map(
            "com\\.(a|a-b|a\\.b)\\.x/[a-h]{1,2}",
            prop::collection::vec(any::<u8>(), 1..8),
            0..60,
        ),
        paths in prop::collection::vec("com\\.(a|a-b|a\\.b)\\.x/[a-h]{1,2}", 1..6),
    ) {
        let mut repo = repo(&records);
        for path in paths {
            check(&mut repo, &path.parse().unwrap());
        }
    }

    #[test]
    fn random_bytes_are_no_proof(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(ask(&bytes, &"com.example.thing/k".parse().unwrap()).is_err());
    }
}
