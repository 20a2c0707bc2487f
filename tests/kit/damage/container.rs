//! Damage to the file around the blocks: cuts, flips, lengths, the header, blocks too many and too few.

use carrack_schema::cid::{CID_BYTES, Codec};
use carrack_schema::{Cid, Code};
use sha2::{Digest, Sha256};

use super::{BAD_HASH, BAD_STRUCTURE, Damaged, Expect, INCOMPLETE, flip_bit, without_block};
use crate::car::{self, Section};
use crate::cbor::{Value, cid_of};
use crate::edit::Changes;
use crate::mst;
use crate::order::Order;
use crate::repo::Repo;

/// A length no repo's block has; a reader that allocates it first is in trouble.
const LENGTH_3_GIB: u64 = 3 << 30;

/// What lengths beyond all limits may be refused as.
const TOO_LONG: Expect =
    Expect::Refused(&[Code::LimitExceeded, Code::BadStructure, Code::Incomplete]);

pub(super) fn variants(repo: &Repo) -> Vec<Damaged> {
    let car = repo.car(Order::PreOrder);
    let sections = car::blocks(&car);
    let mut variants = cuts(&car, &sections);
    variants.extend(flips(repo, &car, &sections));
    variants.extend(lengths(&car, &sections));
    variants.extend(headers(repo, &car));
    variants.extend(missing(repo, &car));
    variants.extend(surplus(repo, &car, &sections));
    variants
}

fn cuts(car: &[u8], sections: &[Section]) -> Vec<Damaged> {
    let cut = |name, end: usize| Damaged::new(name, INCOMPLETE, car[..end].to_vec());
    let header_end = car::header_range(car).end;
    let last = &sections[sections.len() - 1];
    let long = sections
        .iter()
        .rev()
        .find(|section| section.range.len() > 200);
    let long = long.expect("some record of a repo is longer than 200 bytes");
    vec![
        cut("cut-inside-header", header_end / 2),
        cut("cut-after-header", header_end),
        cut("cut-after-commit", sections[0].range.end),
        cut("cut-before-last-block", last.range.start),
        // A length of 128 and above has two bytes; only the first one stays.
        cut("cut-inside-length", long.range.start + 1),
        cut("cut-after-length", long.cid_range().start),
        cut("cut-inside-cid", long.cid_range().start + CID_BYTES / 2),
        cut("cut-after-cid", long.payload.start),
        cut(
            "cut-inside-block",
            long.payload.start + long.payload.len() / 2,
        ),
        cut("cut-before-last-byte", car.len() - 1),
    ]
}

fn flips(repo: &Repo, car: &[u8], sections: &[Section]) -> Vec<Damaged> {
    let record = repo.records[repo.records.len() / 2].cid;
    let record = sections
        .iter()
        .find(|section| section.cid == record)
        .expect("it is in there");
    let commit = &sections[0];
    let root = &sections[1];
    let middle = &sections[sections.len() / 2];
    let last = &sections[sections.len() - 1];
    let payload = |name, section: &Section| {
        let offset = section.payload.start + section.payload.len() / 2;
        Damaged::new(name, BAD_HASH, flip_bit(car, offset, 3))
    };
    let digest = |name, section: &Section| {
        let offset = section.payload.start - 1;
        Damaged::new(name, BAD_HASH, flip_bit(car, offset, 0))
    };
    // A CID of another form is no longer the block that is looked for, or no CID at all.
    let form = |name, offset: usize| {
        let expect = Expect::Refused(&[Code::BadHash, Code::BadStructure, Code::Incomplete]);
        Damaged::new(
            name,
            expect,
            flip_bit(car, middle.cid_range().start + offset, 0),
        )
    };
    vec![
        payload("bit-flipped-in-commit", commit),
        payload("bit-flipped-in-root-node", root),
        payload("bit-flipped-in-record", record),
        payload("bit-flipped-in-last-block", last),
        digest("bit-flipped-in-commit-cid", commit),
        digest("bit-flipped-in-root-node-cid", root),
        digest("bit-flipped-in-record-cid", record),
        form("bit-flipped-in-cid-version", 0),
        form("bit-flipped-in-cid-codec", 1),
        form("bit-flipped-in-cid-hash-code", 2),
        form("bit-flipped-in-cid-digest-length", 3),
    ]
}

fn lengths(car: &[u8], sections: &[Section]) -> Vec<Damaged> {
    let middle = &sections[sections.len() / 2];
    let length = middle.range.start..middle.cid_range().start;
    let at_middle = |bytes: &[u8]| splice(car, length.start, length.start, bytes);
    let mut padded = car[length.clone()].to_vec();
    *padded.last_mut().expect("a length has a byte") |= 0x80;
    padded.push(0);
    let claim = |bytes: u64| {
        let mut tail = Vec::new();
        car::put_varint(&mut tail, bytes);
        tail.extend_from_slice(&car[middle.cid_range()]);
        tail
    };
    vec![
        Damaged::new("zero-length-section", BAD_STRUCTURE, at_middle(&[0])),
        Damaged::new(
            "zero-length-section-at-end",
            BAD_STRUCTURE,
            appended(car, &[0]),
        ),
        Damaged::new(
            "length-not-minimal",
            BAD_STRUCTURE,
            splice(car, length.start, length.end, &padded),
        ),
        Damaged::new(
            "section-shorter-than-a-cid",
            BAD_STRUCTURE,
            at_middle(b"\x05abcde"),
        ),
        Damaged::new(
            "section-of-3-gib",
            TOO_LONG,
            appended(car, &claim(LENGTH_3_GIB)),
        ),
        Damaged::new(
            "section-of-2-to-the-63",
            TOO_LONG,
            appended(car, &claim(1 << 63)),
        ),
        Damaged::new("length-of-eleven-bytes", TOO_LONG, at_middle(&[0xff; 11])),
        Damaged::new("header-of-3-gib", TOO_LONG, claim(LENGTH_3_GIB)),
        Damaged::new(
            "header-of-zero-bytes",
            BAD_STRUCTURE,
            splice(car, 0, 1, &[0]),
        ),
    ]
}

fn headers(repo: &Repo, car: &[u8]) -> Vec<Damaged> {
    let body = &car[car::header_range(car).end..];
    let replaced = |header: &[u8]| [header, body].concat();
    let rooted = |roots: &[Cid]| replaced(&car::header(roots));
    let root = Value::List(vec![Value::Link(repo.commit_cid)]);
    let of_value = |value: Value| {
        let bytes = value.encode();
        let mut header = Vec::new();
        car::put_varint(&mut header, bytes.len() as u64);
        header.extend(bytes);
        replaced(&header)
    };
    let no_car = Expect::Refused(&[Code::BadStructure, Code::Incomplete]);
    vec![
        Damaged::new("empty-file", no_car, Vec::new()),
        Damaged::new(
            "text-file",
            no_car,
            b"This is not a CAR file.\nIt is text, and goes on for some lines.\n".repeat(4),
        ),
        Damaged::new(
            "json-file",
            no_car,
            br#"{"error":"RepoNotFound","message":"no"}"#.to_vec(),
        ),
        Damaged::new("no-header", no_car, body.to_vec()),
        Damaged::new("roots-empty", BAD_STRUCTURE, rooted(&[])),
        Damaged::new(
            "root-not-in-file",
            INCOMPLETE,
            rooted(&[cid_of(b"nowhere")]),
        ),
        Damaged::new(
            "root-is-a-record",
            BAD_STRUCTURE,
            rooted(&[repo.records[0].cid]),
        ),
        Damaged::new("root-is-a-node", BAD_STRUCTURE, rooted(&[repo.root])),
        Damaged::new(
            "header-of-version-2",
            BAD_STRUCTURE,
            of_value(Value::map([
                ("roots", root.clone()),
                ("version", Value::Int(2)),
            ])),
        ),
        Damaged::new(
            "header-without-version",
            BAD_STRUCTURE,
            of_value(Value::map([("roots", root)])),
        ),
        Damaged::new(
            "header-without-roots",
            BAD_STRUCTURE,
            of_value(Value::map([("version", Value::Int(1))])),
        ),
        Damaged::new(
            "header-is-a-list",
            BAD_STRUCTURE,
            of_value(Value::List(vec![])),
        ),
        // How every CAR file of version 2 starts.
        Damaged::new(
            "car-version-2",
            no_car,
            [b"\x0a\xa1\x67version\x02", car].concat(),
        ),
    ]
}

fn missing(repo: &Repo, car: &[u8]) -> Vec<Damaged> {
    let without = |name, cid: &Cid| Damaged::new(name, INCOMPLETE, without_block(car, cid));
    let middle = &repo.records[repo.records.len() / 2];
    let next = repo.next_version(&repo.random_edits(
        1,
        Changes {
            added: 3,
            changed: 3,
            deleted: 3,
        },
    ));
    vec![
        without("commit-missing", &repo.commit_cid),
        without("root-node-missing", &repo.root),
        without("node-missing", &repo.tree.nodes[0].cid),
        without("record-missing", &middle.cid),
        // A legal answer to another question: what changed since the original.
        Damaged::new("changes-since-only", INCOMPLETE, next.car_since(repo.rev)),
    ]
}

fn surplus(repo: &Repo, car: &[u8], sections: &[Section]) -> Vec<Damaged> {
    let header = &car[car::header_range(car)];
    let mut twice = header.to_vec();
    for section in sections {
        twice.extend([&car[section.range.clone()], &car[section.range.clone()]].concat());
    }
    let commit = &car[sections[0].range.clone()];
    let all = &car[header.len()..];

    let text: &[u8] = b"a stray block that is not even CBOR";
    let stray = car::section(&cid_of(text), text);
    let blob = car::section(&Cid::new(Codec::Raw, Sha256::digest(text).into()), text);
    let empty_node = &mst::build(&[]).nodes[0];
    let node = car::section(&empty_node.cid, &empty_node.bytes);
    let older = repo.next_version(&[]).car(Order::PreOrder);
    let other_commit = &older[car::blocks(&older)[0].range.clone()];
    let lying_stray = car::section(&cid_of(b"something else"), text);
    let mut lying_copy = commit.to_vec();
    *lying_copy.last_mut().expect("a commit has bytes") ^= 1;

    let mut reversed = header.to_vec();
    for section in sections.iter().rev() {
        reversed.extend_from_slice(&car[section.range.clone()]);
    }
    let same = |name, bytes| Damaged::new(name, Expect::Same, bytes);
    let bad_hash = |name, bytes| Damaged::new(name, BAD_HASH, bytes);
    vec![
        same("blocks-in-reverse", reversed),
        same("every-block-twice", twice),
        same("all-blocks-again-at-end", appended(car, all)),
        same("commit-again-at-end", appended(car, commit)),
        same("stray-block-first", [header, &stray, all].concat()),
        same("stray-block-last", appended(car, &stray)),
        // Cut at the border between two unreachable blocks: nothing that matters is gone.
        same(
            "cut-among-trailing-strays",
            appended(car, &[&stray[..], &node].concat()),
        ),
        same("stray-blob", appended(car, &blob)),
        same("stray-node", appended(car, &node)),
        same("stray-commit", appended(car, other_commit)),
        bad_hash("stray-block-with-wrong-hash", appended(car, &lying_stray)),
        bad_hash("copy-of-commit-with-wrong-hash", appended(car, &lying_copy)),
    ]
}

fn appended(car: &[u8], tail: &[u8]) -> Vec<u8> {
    [car, tail].concat()
}

fn splice(car: &[u8], start: usize, end: usize, bytes: &[u8]) -> Vec<u8> {
    [&car[..start], bytes, &car[end..]].concat()
}
