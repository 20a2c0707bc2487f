//! DAG-CBOR strictness (DR1, DR2): the `dasl-testing` cases.

use carrack_repo::cbor::{self, CborFault};

use crate::places::{committed, list};
use crate::tally::Tally;

/// The specifications whose cases apply to AT Protocol: DRISL is DAG-CBOR with the CIDs of DASL.
const PROFILES: [&str; 3] = ["basic", "dag-cbor", "dasl-cid"];

const FILES: [&str; 11] = [
    "cid",
    "concat",
    "floats",
    "indefinite",
    "integer_range",
    "map_keys",
    "numeric_reduction",
    "short_form",
    "simple",
    "tags",
    "utf8",
];

const NO_FLOATS: &str = "AT Protocol has no floats, DR2";
const NO_BIG_INTEGERS: &str = "integers have 64 signed bits, DR2";
const ANY_LINK: &str =
    "what a record links to is kept in any form up to 100 bytes, DR2; nothing Carrack follows is";
const OTHER_PROFILE: &str = "a rule of CBOR profiles other than DAG-CBOR";

/// Cases that differ on purpose: file, name, reason.
const DIFFERENT: [(&str, &str, &str); 12] = [
    ("cid", "CIDv0", ANY_LINK),
    ("cid", "invalid hash size", ANY_LINK),
    ("cid", "empty CID", ANY_LINK),
    ("cid", "short hash digest", ANY_LINK),
    ("cid", "long hash digest", ANY_LINK),
    ("cid", "CIDv1 that isn't raw or cbor", ANY_LINK),
    ("cid", "disallowed hash type (SHA-1)", ANY_LINK),
    ("floats", "64-bit floats only", NO_FLOATS),
    ("floats", "zero float64", NO_FLOATS),
    ("floats", "64-bit subnormal number", NO_FLOATS),
    (
        "integer_range",
        "largest CBOR integer, 2^64-1",
        NO_BIG_INTEGERS,
    ),
    (
        "integer_range",
        "smallest CBOR integer, -(2^64)",
        NO_BIG_INTEGERS,
    ),
];

#[test]
fn dasl_testing() {
    let mut tally = Tally::new("dasl-testing/cbor");
    for file in FILES {
        for case in list(committed(&format!(
            "dasl-testing/fixtures/cbor/{file}.json"
        ))) {
            let name = case["name"].as_str().unwrap();
            let hex = case["data"].as_str().unwrap();
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
            let outcome = cbor::validate(&bytes);
            let mut tags = case["tags"].as_array().unwrap().iter();
            if !tags.any(|tag| PROFILES.contains(&tag.as_str().unwrap())) {
                tally.set_aside(OTHER_PROFILE);
                continue;
            }
            let legal = match case["type"].as_str().unwrap() {
                "roundtrip" => true,
                "invalid_in" => false,
                // Carrack writes no value it has not read.
                "invalid_out" => false,
                other => panic!("{file}, {name}: {other}"),
            };
            if outcome.is_ok() == legal {
                tally.pass();
                continue;
            }
            let different = DIFFERENT
                .iter()
                .find(|case| (case.0, case.1) == (file, name));
            let Some((.., reason)) = different else {
                panic!("{file}, {name}: {outcome:?}");
            };
            let as_said = match *reason {
                NO_FLOATS => outcome.map_err(|error| error.fault) == Err(CborFault::Float),
                NO_BIG_INTEGERS => outcome.map_err(|error| error.fault) == Err(CborFault::IntRange),
                _ => outcome.is_ok(),
            };
            assert!(as_said, "{file}, {name}: {outcome:?}");
            tally.set_aside(reason);
        }
    }
    tally.finish(80, 25);
}
