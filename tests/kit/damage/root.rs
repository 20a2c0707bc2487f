//! Damage to the commit: wrong fields, rightly signed, and right fields, wrongly signed.

use carrack_schema::Code;

use super::{BAD_STRUCTURE, Damaged, Expect};
use crate::car;
use crate::cbor::{Value, cid_of};
use crate::commit::{self, Fields};
use crate::key::{Curve, Key};
use crate::order::Order;
use crate::repo::Repo;
use crate::rng::Rng;

pub(super) fn variants(repo: &Repo) -> Vec<Damaged> {
    let mut variants = fields(repo);
    variants.extend(signatures(repo));
    variants
}

/// Returns the export with a commit of version 2, as repos had until 2023: no revision.
///
/// Legal in old files, and never a newer version of anything.
pub fn legacy_commit(repo: &Repo) -> Vec<u8> {
    let fields = without(with(fields_of(repo), "version", Value::Int(2)), "rev");
    rooted_in(repo, &commit::signed(fields, &repo.key))
}

fn fields(repo: &Repo) -> Vec<Damaged> {
    let signed = |name, expect, fields| {
        Damaged::new(
            name,
            expect,
            rooted_in(repo, &commit::signed(fields, &repo.key)),
        )
    };
    let set = |name, field, value| signed(name, BAD_STRUCTURE, with(fields_of(repo), field, value));
    let unset = |name, field| signed(name, BAD_STRUCTURE, without(fields_of(repo), field));
    let valid = Expect::Valid {
        records: repo.records.len(),
    };
    let added = |name, field, value| signed(name, valid, with(fields_of(repo), field, value));
    let other_did = with(
        fields_of(repo),
        "did",
        Value::text("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"),
    );
    vec![
        set("commit-did-malformed", "did", Value::text("not a DID")),
        set("commit-did-is-a-number", "did", Value::Int(1)),
        signed(
            "commit-did-of-another",
            Expect::Refused(&[Code::WrongDid]),
            other_did,
        ),
        set("commit-version-4", "version", Value::Int(4)),
        set("commit-version-is-text", "version", Value::text("3")),
        set(
            "commit-rev-malformed",
            "rev",
            Value::text("2024-01-01T00:00:00Z"),
        ),
        set("commit-rev-is-a-number", "rev", Value::Int(3)),
        set(
            "commit-data-is-text",
            "data",
            Value::text(repo.root.to_string()),
        ),
        set("commit-data-is-null", "data", Value::Null),
        set("commit-prev-is-text", "prev", Value::text("none")),
        unset("commit-without-did", "did"),
        unset("commit-without-version", "version"),
        unset("commit-without-rev", "rev"),
        unset("commit-without-data", "data"),
        unset("commit-without-prev", "prev"),
        added(
            "commit-with-prev",
            "prev",
            Value::Link(cid_of(b"an earlier commit")),
        ),
        added(
            "commit-with-unknown-field",
            "future",
            Value::List(vec![Value::Null]),
        ),
        Damaged::new(
            "commit-is-not-cbor",
            BAD_STRUCTURE,
            rooted_in(repo, b"\xffcommit"),
        ),
        Damaged::new(
            "commit-is-a-list",
            BAD_STRUCTURE,
            rooted_in(repo, &Value::List(vec![]).encode()),
        ),
        Damaged::new("commit-has-a-byte-too-many", BAD_STRUCTURE, {
            let mut bytes = commit::signed(fields_of(repo), &repo.key);
            bytes.push(0xf6);
            rooted_in(repo, &bytes)
        }),
    ]
}

fn signatures(repo: &Repo) -> Vec<Damaged> {
    let message = commit::signing_bytes(&fields_of(repo));
    let by = |name, signature: Vec<u8>| {
        let block = commit::with_signature(fields_of(repo), signature);
        Damaged::new(name, Expect::BadSignature, rooted_in(repo, &block))
    };
    let other_curve = match repo.key {
        Key::K256(_) => Curve::P256,
        Key::P256(_) => Curve::K256,
    };
    let own_curve = match repo.key {
        Key::K256(_) => Curve::K256,
        Key::P256(_) => Curve::P256,
    };
    let own = repo.key.sign(&message);
    // A seed nobody chose, so that it is not this repo's.
    let seed = u64::from_be_bytes(*own.first_chunk().expect("64 bytes start with 8"));
    let stranger = |curve| {
        Key::random(curve, &mut Rng::new(seed))
            .sign(&message)
            .to_vec()
    };
    let mut other_message = message.clone();
    other_message.push(0);
    let unsigned = rooted_in(repo, &message);
    let malformed = Expect::Refused(&[Code::BadStructure]);
    vec![
        by("signature-of-another-key", stranger(own_curve)),
        by("signature-of-another-curve", stranger(other_curve)),
        by(
            "signature-of-another-message",
            repo.key.sign(&other_message).to_vec(),
        ),
        by("signature-high-s", repo.key.sign_high_s(&message).to_vec()),
        by("signature-der", repo.key.sign_der(&message)),
        by("signature-of-63-bytes", own[..63].to_vec()),
        by("signature-of-zeros", vec![0; 64]),
        by("signature-empty", Vec::new()),
        Damaged::new("commit-without-signature", malformed, unsigned),
    ]
}

fn fields_of(repo: &Repo) -> Fields {
    commit::fields(repo.did.as_str(), &repo.rev.to_string(), repo.root)
}

fn with(fields: Fields, name: &'static str, value: Value) -> Fields {
    let mut fields = without(fields, name);
    fields.push((name.into(), value));
    fields
}

fn without(mut fields: Fields, name: &str) -> Fields {
    fields.retain(|(field, _)| field != name);
    fields
}

/// Returns the export with this block as commit and root.
fn rooted_in(repo: &Repo, commit: &[u8]) -> Vec<u8> {
    let original = repo.car(Order::PreOrder);
    let first = &car::blocks(&original)[0];
    let cid = cid_of(commit);
    let rest = &original[first.range.end..];
    [&car::header(&[cid]), &car::section(&cid, commit), rest].concat()
}
