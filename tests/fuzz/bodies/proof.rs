//! Proofs: what one shows, and that nothing is shown once a block of it is gone.

use std::collections::BTreeMap;

use carrack_repo::proof::{
    Finding, PROOF_BLOCKS_MAX, ProofOutcome, ProofQuestion, paths_in, verify_proof,
};
use carrack_repo::{AnyCommit, BlockSource, Error, ErrorKind, VerifiedRef, prove, walk};
use carrack_schema::cid::Codec;
use carrack_schema::{Cid, RecordPath};
use kit::car;

use super::blocks::{Block, SEPARATOR, Source, link};
use super::keys::PUBLIC;
use super::oracle::{self, Item};

/// What is asked where the input does not say.
const PATH: &str = "com.example.thing/self";
/// Most blocks that are left out one by one.
const LEFT_OUT_MAX: usize = 16;

/// Takes the input as a CAR; then as a record path and blocks ([`link`]) of a CAR whose last one is the commit.
///
/// - A proof without any one of its blocks is refused, or shows the same.
/// - A record that is present hashes to its CID. The oracle, going down the same path, finds the same, and each node's
///   keys between those around it; where the whole tree is there, a walk finds the same too.
/// - Where to look is told for whatever shows something, within its limit.
/// - The proof that Carrack makes of such blocks shows the same and has no block too many.
pub fn run(data: &[u8]) {
    let path: RecordPath = PATH.parse().expect("a path");
    let raw = ask(data, &path);
    if let Err(error) = &raw {
        check_kind(error);
    }

    let at = data
        .windows(SEPARATOR.len())
        .position(|bytes| bytes == SEPARATOR);
    let Some(at) = at else { return };
    let text = std::str::from_utf8(&data[..at]).ok();
    let path = text.and_then(|text| text.parse().ok()).unwrap_or(path);
    let blocks = link(&data[at + SEPARATOR.len()..]);
    let commit = blocks.last().expect("one block at least");
    let outcome = match ask(&car_of(commit.cid, &blocks), &path) {
        Ok(outcome) => outcome,
        Err(error) => {
            check_kind(&error);
            assert_ne!(
                error.kind(),
                ErrorKind::BadHash,
                "hashes are right: {error}"
            );
            return;
        }
    };
    assert_eq!(outcome.commit, commit.cid);
    check_outcome(&outcome, &path, commit, &blocks);

    for left_out in blocks.iter().take(LEFT_OUT_MAX) {
        let rest: Vec<Block> = blocks
            .iter()
            .filter(|block| block.cid != left_out.cid)
            .cloned()
            .collect();
        let question = ProofQuestion {
            path: &path,
            did: None,
            key: None,
        };
        if let Ok(other) = verify_proof(&car_of(commit.cid, &rest), question) {
            assert_eq!(other.finding, outcome.finding, "without a block");
            assert_eq!(other.unused_blocks_count + 1, outcome.unused_blocks_count);
        }
    }
}

fn ask(car: &[u8], path: &RecordPath) -> Result<ProofOutcome, Error> {
    let question = |key| ProofQuestion {
        path,
        did: None,
        key,
    };
    let paths = paths_in(car);
    if let Ok(paths) = &paths {
        assert!(paths.len() <= PROOF_BLOCKS_MAX);
    }
    let unchecked = verify_proof(car, question(None));
    assert!(paths.is_ok() || unchecked.is_err(), "{paths:?}");
    let checked = verify_proof(car, question(Some(&*PUBLIC)));
    match (&unchecked, &checked) {
        (Ok(unchecked), Ok(checked)) => {
            assert_eq!(unchecked.signature, None);
            assert!(checked.signature.is_some());
            assert_eq!(unchecked.finding, checked.finding);
        }
        (Err(unchecked), Err(checked)) => assert_eq!(unchecked.to_string(), checked.to_string()),
        _ => panic!("a key decides nothing but the signature: {unchecked:?}, {checked:?}"),
    }
    unchecked
}

fn check_outcome(outcome: &ProofOutcome, path: &RecordPath, commit: &Block, blocks: &[Block]) {
    let mut source = Source::new(blocks);
    let found = match &outcome.finding {
        Finding::Present { cid, record } => {
            assert!(VerifiedRef::check(*cid, record).is_ok());
            Some(*cid)
        }
        Finding::Absent => None,
    };
    let root = AnyCommit::parse(&commit.bytes).expect("it was one").data();
    let mut records: BTreeMap<String, Cid> = BTreeMap::new();
    assert_eq!(descend(root, path.to_string().as_bytes(), &source), found);
    let walked = walk(root, &mut source, |record| {
        records.insert(record.path.to_owned(), record.cid);
        Ok::<_, Error>(())
    });
    if walked.is_ok() {
        assert_eq!(records.get(&path.to_string()).copied(), found);
    }

    let mut records = Source::new(blocks);
    let mut car = Vec::new();
    let made = prove(
        VerifiedRef::of(Codec::DagCbor, &commit.bytes),
        path,
        &mut source,
        |cid| {
            let mut scratch = Vec::new();
            let block = records.get(cid, &mut scratch)?.expect("it was there");
            Ok(block.bytes().to_vec())
        },
        &mut car,
    )
    .expect("what could be checked can be proved");
    assert_eq!((made.record, made.bytes), (found, car.len() as u64));
    let again = ask(&car, path).expect("a proof of our own");
    assert_eq!(again.finding, outcome.finding);
    assert_eq!((again.commit, again.unused_blocks_count), (commit.cid, 0));
}

/// Goes down the path to a key by the oracle, and returns what is there.
fn descend(root: Cid, key: &[u8], blocks: &Source<'_>) -> Option<Cid> {
    let (mut lower, mut upper): (Vec<u8>, Option<Vec<u8>>) = (Vec::new(), None);
    let mut next = Some(root);
    while let Some(cid) = next {
        let node = oracle::read(blocks.bytes(&cid).expect("a node of the path"));
        let node = node.expect("a node is canonical");
        next = link_of(node.get("l"));
        let Some(Item::List(entries)) = node.get("e") else {
            panic!("a node has entries")
        };
        let mut whole: Vec<u8> = Vec::new();
        let (mut below, mut above) = (lower.clone(), None);
        for entry in entries {
            let (Some(Item::Int(prefix)), Some(Item::Bytes(suffix))) =
                (entry.get("p"), entry.get("k"))
            else {
                panic!("an entry has a key")
            };
            whole.truncate(usize::try_from(*prefix).expect("a length"));
            whole.extend_from_slice(suffix);
            assert!(lower.is_empty() || lower < whole, "above what is before it");
            assert!(
                upper.as_ref().is_none_or(|upper| whole < *upper),
                "below what is after it"
            );
            if whole == key {
                return link_of(entry.get("v"));
            }
            if *whole < *key {
                next = link_of(entry.get("t"));
                below.clone_from(&whole);
            } else {
                above.get_or_insert_with(|| whole.clone());
            }
        }
        (lower, upper) = (below, above.or(upper));
    }
    None
}

fn link_of(item: Option<&Item>) -> Option<Cid> {
    let Some(Item::Link(bytes)) = item else {
        return None;
    };
    Cid::from_bytes(bytes).ok()
}

fn car_of(root: Cid, blocks: &[Block]) -> Vec<u8> {
    let sections = blocks
        .iter()
        .map(|block| car::section(&block.cid, &block.bytes));
    std::iter::once(car::header(&[root]))
        .chain(sections)
        .flatten()
        .collect()
}

/// A hostile proof is refused for what is in it, never for a fault of Carrack's own.
fn check_kind(error: &Error) {
    let is_ours = matches!(
        error.kind(),
        ErrorKind::Internal | ErrorKind::InvalidArgument | ErrorKind::Io
    );
    assert!(!is_ours, "{error}");
}
