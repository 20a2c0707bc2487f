//! Commits of both versions, each field wrong in turn, and whose signature is which.

use carrack_schema::Code;

use super::*;
use crate::kit::{Value, cid_of, encode, link, map, text};

const DID: &str = "did:plc:abcdefghijklmnopqrstuvwx";
const REV: &str = "3jzfcijpj2z2a";

fn good() -> Vec<(&'static str, Value)> {
    vec![
        ("did", text(DID)),
        ("version", Value::Int(3)),
        ("data", link(&cid_of(b"tree"))),
        ("rev", text(REV)),
        ("prev", Value::Null),
        ("sig", Value::Bytes(vec![7; 64])),
    ]
}

fn with(field: &'static str, value: Value) -> Vec<(&'static str, Value)> {
    let mut fields = good();
    fields.retain(|(name, _)| *name != field);
    fields.push((field, value));
    fields
}

fn refused(fields: Vec<(&'static str, Value)>) -> String {
    let error = Commit::parse(&encode(&map(fields))).unwrap_err();
    assert_eq!(error.code(), Code::BadStructure);
    error.to_string()
}

#[test]
fn a_commit_is_parsed() {
    let commit = Commit::parse(&encode(&map(good()))).unwrap();
    assert_eq!(commit.did.as_str(), DID);
    assert_eq!(commit.rev.to_string(), REV);
    assert_eq!(
        (commit.data, commit.prev, commit.sig),
        (cid_of(b"tree"), None, [7; 64])
    );
    commit.check_did(&DID.parse().unwrap()).unwrap();
    let error = commit.check_did(&"did:web:x".parse().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::WrongDid);
    assert_eq!(
        error.to_string(),
        format!("commit is of {DID}, not of did:web:x")
    );
}

#[test]
fn prev_and_unknown_fields_are_tolerated() {
    let mut fields = with("prev", link(&cid_of(b"before")));
    fields.push(("x", map([("sig", Value::List(vec![Value::Null]))])));
    let commit = Commit::parse(&encode(&map(fields))).unwrap();
    assert_eq!(commit.prev, Some(cid_of(b"before")));
}

#[test]
fn every_field_is_required_and_named() {
    for field in ["did", "version", "data", "rev", "prev", "sig"] {
        let fields = good()
            .into_iter()
            .filter(|(name, _)| *name != field)
            .collect();
        assert_eq!(
            refused(fields),
            format!("commit: field `{field}` is missing")
        );
        let odd = refused(with(
            field,
            Value::List(vec![Value::Int(1), map([("a", text(""))])]),
        ));
        assert!(
            odd.starts_with(&format!("commit: field `{field}` is a list, not a")),
            "{odd}"
        );
    }
}

#[test]
fn odd_values_are_refused_and_named() {
    let mut raw = *cid_of(b"tree").as_bytes();
    raw[1] = 0x55;
    for (field, value, expected) in [
        (
            "version",
            Value::Int(2),
            "version 2 commits are not supported",
        ),
        ("version", Value::Int(4), "version 4 is not known"),
        (
            "version",
            text("3"),
            "field `version` is a text, not an integer",
        ),
        (
            "did",
            text("did:x"),
            "field `did` is not a valid DID: `did:x`",
        ),
        (
            "did",
            text("a\nb"),
            "field `did` is not a valid DID: `a\\nb`",
        ),
        ("rev", text(""), "field `rev` is not a valid TID: ``"),
        (
            "rev",
            Value::Int(1),
            "field `rev` is an integer, not a text",
        ),
        ("data", Value::Null, "field `data` is null, not a link"),
        (
            "data",
            Value::Bytes(vec![]),
            "field `data` is a byte string, not a link",
        ),
        ("data", Value::Link(vec![1]), "field `data` is not a CIDv1"),
        (
            "data",
            Value::Link(raw.to_vec()),
            "field `data` is not a CIDv1",
        ),
        ("prev", Value::Link(vec![1]), "field `prev` is not a CIDv1"),
        (
            "prev",
            Value::Bool(false),
            "field `prev` is a boolean, not a link",
        ),
        (
            "sig",
            Value::Bytes(vec![0; 63]),
            "field `sig` is 63 bytes, not 64",
        ),
        (
            "sig",
            Value::Bytes(vec![0; 65]),
            "field `sig` is 65 bytes, not 64",
        ),
        ("sig", text("x"), "field `sig` is a text, not a byte string"),
    ] {
        let error = refused(with(field, value));
        assert!(error.starts_with(&format!("commit: {expected}")), "{error}");
    }
    // A version 2 commit has no `rev`: its version is what there is to say.
    let v2 = with("version", Value::Int(2))
        .into_iter()
        .filter(|(name, _)| *name != "rev");
    assert_eq!(
        refused(v2.collect()),
        "commit: version 2 commits are not supported"
    );
}

#[test]
fn what_is_not_canonical_is_refused() {
    let good = encode(&map(good()));
    for (bytes, expected) in [
        (vec![0x80], "commit: a list instead of a map"),
        (
            vec![],
            "commit: bytes end inside the value at byte 0 of the block",
        ),
        (
            [&good[..], &[0]].concat(),
            "commit: bytes follow the value at byte",
        ),
        (
            good[..good.len() - 1].to_vec(),
            "commit: bytes end inside the value at byte",
        ),
    ] {
        let error = Commit::parse(&bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(signing_bytes(&bytes).unwrap_err().to_string(), error);
    }
}

#[test]
fn size_is_limited() {
    let sized = |bytes: usize| {
        let empty = encode(&map(with("pad", Value::Bytes(vec![0; 256])))).len() - 256;
        encode(&map(with("pad", Value::Bytes(vec![0; bytes - empty]))))
    };
    let at_limit = sized(COMMIT_BYTES_MAX);
    assert_eq!(at_limit.len(), COMMIT_BYTES_MAX);
    Commit::parse(&at_limit).unwrap();
    signing_bytes(&at_limit).unwrap();
    let over = sized(COMMIT_BYTES_MAX + 1);
    assert_eq!(
        Commit::parse(&over).unwrap_err().code(),
        Code::LimitExceeded
    );
    assert_eq!(
        signing_bytes(&over).unwrap_err().code(),
        Code::LimitExceeded
    );
}

#[test]
fn signing_bytes_are_the_map_without_its_sig() {
    for extra in [0, 1, 17, 18, 19, 249, 250, 251, 300] {
        let mut fields: Vec<_> = good()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        // Nested `sig`s are not the signature.
        let unknown = map([("sig", Value::List(vec![Value::Null, Value::Int(-9)]))]);
        fields.extend((0..extra).map(|n| (format!("x{n}"), unknown.clone())));
        let raw = encode(&map(fields.clone()));
        fields.retain(|(name, _)| name != "sig");
        let unsigned = encode(&map(fields));
        assert_eq!(signing_bytes(&raw).unwrap(), unsigned, "{extra}");
        let error = signing_bytes(&unsigned).unwrap_err();
        assert_eq!(error.to_string(), "commit: field `sig` is missing");
    }
}

/// A commit of version 2, without `rev`.
fn legacy() -> Vec<(&'static str, Value)> {
    let fields = with("version", Value::Int(2)).into_iter();
    fields.filter(|(name, _)| *name != "rev").collect()
}

#[test]
fn a_commit_of_version_2_has_no_rev() {
    let parse = |fields| AnyCommit::parse(&encode(&map(fields)));
    let commit = parse(legacy()).unwrap();
    let AnyCommit::Legacy(inner) = &commit else {
        panic!()
    };
    assert_eq!((inner.prev, commit.rev()), (None, None));
    assert_eq!(
        (commit.did().as_str(), commit.data()),
        (DID, cid_of(b"tree"))
    );
    assert_eq!(commit.sig(), &[7; 64]);
    commit.check_did(&DID.parse().unwrap()).unwrap();
    let error = commit.check_did(&"did:web:x".parse().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::WrongDid);

    // Whatever stands in `rev` is not one.
    for rev in [text(REV), Value::Null, Value::List(vec![])] {
        let mut fields = legacy();
        fields.push(("rev", rev));
        assert_eq!(parse(fields).unwrap().rev(), None);
    }
    for (prev, expected) in [
        (vec![], None),
        (vec![("prev", Value::Null)], None),
        (
            vec![("prev", link(&cid_of(b"before")))],
            Some(cid_of(b"before")),
        ),
    ] {
        let mut fields = legacy();
        fields.retain(|(name, _)| *name != "prev");
        fields.extend(prev);
        let AnyCommit::Legacy(commit) = parse(fields).unwrap() else {
            panic!()
        };
        assert_eq!(commit.prev, expected);
    }
    for field in ["did", "data", "sig"] {
        let mut fields = legacy();
        fields.retain(|(name, _)| *name != field);
        let error = parse(fields).unwrap_err().to_string();
        assert_eq!(error, format!("commit: field `{field}` is missing"));
    }
    let mut fields = legacy();
    fields.retain(|(name, _)| *name != "prev");
    fields.push(("prev", text("x")));
    assert!(
        parse(fields)
            .unwrap_err()
            .to_string()
            .contains("field `prev` is a text")
    );
}

#[test]
fn any_commit_is_as_strict_about_version_3() {
    let commit = AnyCommit::parse(&encode(&map(good()))).unwrap();
    assert_eq!(
        commit,
        AnyCommit::Current(Commit::parse(&encode(&map(good()))).unwrap())
    );
    assert_eq!(
        commit.rev().map(|rev| rev.to_string()).as_deref(),
        Some(REV)
    );
    for (field, value) in [
        ("version", Value::Int(4)),
        ("version", Value::Int(1)),
        ("version", Value::Null),
        ("rev", text("")),
        ("prev", Value::Bool(true)),
    ] {
        let bytes = encode(&map(with(field, value)));
        let error = AnyCommit::parse(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            Commit::parse(&bytes).unwrap_err().to_string()
        );
    }
}

/// Signs fields the way an account's server does.
fn signed(fields: Vec<(&'static str, Value)>, secret: u8) -> (Vec<u8>, PublicKey) {
    use k256::ecdsa::signature::Signer;
    let mut fields: Vec<_> = fields
        .into_iter()
        .filter(|(name, _)| *name != "sig")
        .collect();
    let key = k256::ecdsa::SigningKey::from_slice(&[secret; 32]).unwrap();
    let signature: k256::ecdsa::Signature = key.sign(&encode(&map(fields.clone())));
    fields.push(("sig", Value::Bytes(signature.to_bytes().to_vec())));
    let point = key.verifying_key().to_encoded_point(true);
    let public = PublicKey::from_multikey_bytes(&[&[0xe7, 0x01], point.as_bytes()].concat());
    (encode(&map(fields)), public.unwrap())
}

#[test]
fn a_signature_is_over_the_bytes_as_they_stand() {
    let mut unknown = good();
    unknown.push(("x", map([("sig", Value::Bool(true))])));
    for fields in [
        good(),
        legacy(),
        with("prev", link(&cid_of(b"before"))),
        unknown,
    ] {
        let (raw, key) = signed(fields.clone(), 1);
        assert_eq!(
            check_signature(&raw, &key).unwrap(),
            SignatureVerdict::Valid
        );
        assert!(check_signature(&raw, &key).unwrap().is_valid());
        let (_, other) = signed(fields, 2);
        let verdict = check_signature(&raw, &other).unwrap();
        assert_eq!(verdict, SignatureVerdict::Invalid(SignatureFault::Mismatch));
        assert!(!verdict.is_valid());
    }
}

/// CM3: no bit of a commit may change, wherever it is.
#[test]
fn one_flipped_bit_invalidates_a_commit() {
    let (raw, key) = signed(good(), 1);
    for bit in 0..raw.len() * 8 {
        let mut raw = raw.clone();
        raw[bit / 8] ^= 1 << (bit % 8);
        if let Ok(verdict) = check_signature(&raw, &key) {
            assert!(!verdict.is_valid(), "bit {bit}");
        }
    }
}
