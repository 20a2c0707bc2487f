//! DID documents (CM4): real ones and the keys they name, and repos beside them.

use carrack_repo::key::Curve;
use carrack_repo::proof::{Finding, ProofQuestion};
use carrack_repo::{AnyCommit, DidDocument, ErrorKind, check_signature, verify_proof};
use carrack_schema::AtUri;

use crate::blocks::read;
use crate::json::encode;
use crate::places::{beside, bytes, json};
use crate::tally::Tally;

/// Documents: file, handle, curve of the key.
const DOCUMENTS: [(&str, Option<&str>, Option<Curve>); 7] = [
    (
        "atproto/identity/testdata/did_plc_doc.json",
        Some("atproto.com"),
        Some(Curve::K256),
    ),
    (
        "atproto/identity/testdata/did_plc_doc_legacy.json",
        Some("atproto.com"),
        Some(Curve::K256),
    ),
    ("atproto/identity/testdata/did_web_doc.json", None, None),
    (
        "testing/testdata/did_plc_z5vnbioquyhivxirw3bbljmu.didDoc.json",
        Some("koch5149-c5.test"),
        Some(Curve::K256),
    ),
    (
        "testing/testdata/fakermaker.didDoc.json",
        Some("ebert9014-89.test"),
        Some(Curve::P256),
    ),
    (
        "testing/testdata/greenground.didDoc.json",
        Some("greenground.bsky.social"),
        Some(Curve::K256),
    ),
    (
        "testing/testdata/paul_staging.didDoc.json",
        Some("paul.staging.bsky.dev"),
        Some(Curve::K256),
    ),
];

#[test]
fn documents() {
    let family = "indigo/DID documents";
    let Some(indigo) = beside(family, "interop/indigo") else {
        return;
    };
    let mut tally = Tally::new(family);
    for (file, handle, curve) in DOCUMENTS {
        let path = indigo.join(file);
        let document = DidDocument::parse(&bytes(path.clone())).unwrap();
        assert_eq!(json(path)["id"], document.id.as_str(), "{file}");
        assert_eq!(
            document.handles,
            Vec::from_iter(handle.map(str::to_owned)),
            "{file}"
        );
        let key = document.signing_key;
        assert_eq!(key.map(|key| key.curve()), curve, "{file}");
        tally.pass();
    }
    tally.finish(7, 0);
}

#[test]
fn a_key_that_fits_is_not_enough() {
    let family = "indigo/real repo and a document beside it";
    let Some(testdata) = beside(family, "interop/indigo/testing/testdata") else {
        return;
    };
    // The two share a name and, as all accounts of the first host did, a key. That the key fits is not enough.
    let mut tally = Tally::new(family);
    let (root, blocks) = read(&bytes(testdata.join("greenground.repo.car")));
    let document = bytes(testdata.join("greenground.didDoc.json"));
    let document = DidDocument::parse(&document).unwrap();
    let commit = AnyCommit::parse(&blocks.0[&root]).unwrap();
    let error = document.check_id(commit.did()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongDid);
    let key = document.signing_key.unwrap();
    assert!(check_signature(&blocks.0[&root], &key).unwrap().is_valid());
    for other in ["fakermaker", "paul_staging"] {
        let other = bytes(testdata.join(format!("{other}.didDoc.json")));
        let other = DidDocument::parse(&other).unwrap().signing_key.unwrap();
        assert!(
            !check_signature(&blocks.0[&root], &other)
                .unwrap()
                .is_valid()
        );
    }
    tally.pass();
    tally.finish(1, 0);
}

#[test]
fn a_slice_proves_its_record() {
    let family = "indigo/slice of a real repo";
    let Some(testdata) = beside(family, "interop/indigo/testing/testdata") else {
        return;
    };
    let mut tally = Tally::new(family);
    let expected = json(testdata.join("repo_slice_record.json"));
    let uri: AtUri = expected["uri"].as_str().unwrap().parse().unwrap();
    let question = ProofQuestion {
        path: &uri.path().unwrap(),
        did: Some(&uri.did),
        key: None,
    };
    let outcome = verify_proof(&bytes(testdata.join("repo_slice.car")), question).unwrap();
    let Finding::Present { cid, record } = outcome.finding else {
        panic!("{:?}", outcome.finding);
    };
    assert_eq!(cid.to_string(), expected["cid"].as_str().unwrap());
    assert_eq!(record, encode(&expected["value"]));
    tally.pass();
    tally.finish(1, 0);
}
