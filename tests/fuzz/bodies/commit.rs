//! Commits: what is read of one, the bytes its signature is over, and whether a signature is a key's.

use carrack_repo::commit::signing_bytes;
use carrack_repo::{AnyCommit, Commit, ErrorKind, LegacyCommit, check_signature};
use carrack_schema::limits::COMMIT_BYTES_MAX;

use super::keys::{PUBLIC, SIGNING};
use super::oracle::{self, Item};

/// Takes the input as a commit block.
///
/// - What is read of it is what the oracle reads; one of version 3 is read alike by both parsers.
/// - The signing bytes are the map without `sig`, and `sig` put back gives the block.
/// - Only a commit with the one signature of the fixed key is valid under it; signed with that key it is valid, signed
///   with the other half of the curve, or changed, it is not.
pub fn run(data: &[u8]) {
    let item = oracle::is_canonical(data)
        .then(|| oracle::read(data))
        .flatten();
    let current = Commit::parse(data);
    let any = AnyCommit::parse(data);
    let signing = signing_bytes(data);
    if data.len() > COMMIT_BYTES_MAX {
        for kind in [
            current.as_ref().err().map(carrack_repo::Error::kind),
            any.as_ref().err().map(carrack_repo::Error::kind),
            signing.as_ref().err().map(carrack_repo::Error::kind),
        ] {
            assert_eq!(kind, Some(ErrorKind::LimitExceeded));
        }
        return;
    }

    let is_signed = item.as_ref().is_some_and(|item| item.get("sig").is_some());
    assert_eq!(signing.is_ok(), is_signed);
    if let (Ok(signing), Some(item)) = (&signing, &item) {
        let (unsigned, sig) = unsigned(item);
        assert_eq!(oracle::write(&unsigned), *signing);
        assert_eq!(oracle::write(&signed(&unsigned, sig)), data, "sig put back");
    }

    let Ok(commit) = any else {
        assert!(current.is_err());
        assert!(check_signature(data, &PUBLIC).is_err());
        return;
    };
    let item = item.expect("a commit is canonical");
    check_fields(&commit, &item);
    match &commit {
        AnyCommit::Current(commit) => assert_eq!(current.ok().as_ref(), Some(commit)),
        AnyCommit::Legacy(_) => assert!(current.is_err()),
    }
    assert!(commit.check_did(commit.did()).is_ok());
    check_signatures(data, &commit, &item, &signing.expect("it has a `sig`"));
}

fn check_fields(commit: &AnyCommit, item: &Item) {
    let text = |text: &str| Some(Item::Text(text.to_owned()));
    let link = |bytes: &[u8]| Some(Item::Link(bytes.to_vec()));
    let (version, rev, prev) = match commit {
        AnyCommit::Current(commit) => (3, text(&commit.rev.to_string()), commit.prev),
        AnyCommit::Legacy(LegacyCommit { prev, .. }) => (2, item.get("rev").cloned(), *prev),
    };
    assert_eq!(item.get("version"), Some(&Item::Int(version)));
    assert_eq!(item.get("did").cloned(), text(commit.did().as_str()));
    assert_eq!(item.get("rev").cloned(), rev);
    assert_eq!(item.get("data").cloned(), link(commit.data().as_bytes()));
    assert_eq!(item.get("sig"), Some(&Item::Bytes(commit.sig().to_vec())));
    match prev {
        Some(prev) => assert_eq!(item.get("prev").cloned(), link(prev.as_bytes())),
        None => assert!(matches!(item.get("prev"), None | Some(Item::Null))),
    }
}

fn check_signatures(data: &[u8], commit: &AnyCommit, item: &Item, signing: &[u8]) {
    let is_valid = |block: &[u8]| {
        let verdict = check_signature(block, &PUBLIC).expect("a commit");
        verdict.is_valid()
    };
    let right = SIGNING.sign(signing);
    // The key signs one way only, and nobody else has it.
    assert_eq!(is_valid(data), *commit.sig() == right);

    let (unsigned, _) = unsigned(item);
    let with = |sig: [u8; 64]| oracle::write(&signed(&unsigned, Item::Bytes(sig.to_vec())));
    assert!(is_valid(&with(right)), "signed with the key");
    assert!(!is_valid(&with(SIGNING.sign_high_s(signing))), "high S");
    let mut flipped = right;
    flipped[data.len() % 64] ^= 1 << (data.len() % 8);
    assert!(!is_valid(&with(flipped)), "a bit of sig flipped");
}

/// Returns the map without its `sig`, and that.
fn unsigned(item: &Item) -> (Item, Item) {
    let Item::Map(entries) = item else {
        panic!("a commit is a map")
    };
    let (sig, rest): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|(key, _)| key == "sig");
    let [(_, sig)] = <[_; 1]>::try_from(sig).expect("keys occur once");
    (Item::Map(rest), sig)
}

fn signed(unsigned: &Item, sig: Item) -> Item {
    let Item::Map(entries) = unsigned else {
        panic!("a commit is a map")
    };
    let mut entries = entries.clone();
    entries.push(("sig".to_owned(), sig));
    Item::Map(entries)
}
