//! The data model (DR1, DR2): values as JSON and as DAG-CBOR.

use carrack_repo::cbor::{self, CborFault};
use carrack_schema::Cid;
use serde_json::Value;

use crate::json::{base64, encode};
use crate::places::{beside, bytes, committed, list};
use crate::tally::Tally;

fn vectors(name: &str) -> Vec<Value> {
    list(committed(&format!(
        "atproto-interop-tests/data-model/{name}.json"
    )))
}

#[test]
fn values_with_their_bytes_and_cids() {
    let mut tally = Tally::new("data-model/fixtures");
    for vector in vectors("data-model-fixtures") {
        let bytes = base64(vector["cbor_base64"].as_str().unwrap());
        assert_eq!(encode(&vector["json"]), bytes);
        assert_eq!(cbor::validate(&bytes), Ok(()));
        let cid: Cid = vector["cid"].as_str().unwrap().parse().unwrap();
        assert_eq!(kit::cbor::cid_of(&bytes), cid);
        carrack_repo::VerifiedRef::check(cid, &bytes).unwrap();
        tally.pass();
    }
    tally.finish(3, 0);
}

#[test]
fn valid_values() {
    let mut tally = Tally::new("data-model/valid");
    for vector in vectors("data-model-valid") {
        let bytes = encode(&vector["json"]);
        assert_eq!(cbor::validate(&bytes), Ok(()), "{}", vector["note"]);
        tally.pass();
    }
    tally.finish(5, 0);
}

#[test]
fn invalid_values() {
    const JSON: &str = "about the JSON form, which Carrack writes and never reads";
    const KEPT: &str =
        "about what a record should be: its bytes are kept whatever they say, RC2 and RC3";
    let mut tally = Tally::new("data-model/invalid");
    for vector in vectors("data-model-invalid") {
        match vector["note"].as_str().unwrap() {
            "float" => {
                let float = vector["json"]["rcrd"]["a"].as_f64().unwrap();
                let bytes = [&[0xfb][..], &float.to_be_bytes()].concat();
                let fault = cbor::validate(&bytes).unwrap_err().fault;
                assert_eq!(fault, CborFault::Float);
                tally.pass();
            }
            "top-level not an object"
            | "record with $type null"
            | "record with $type wrong type"
            | "record with empty $type string"
            | "blob with string size"
            | "blob with missing key" => {
                assert_eq!(cbor::validate(&encode(&vector["json"])), Ok(()));
                tally.set_aside(KEPT);
            }
            "bytes with wrong field type"
            | "bytes with extra fields"
            | "link with wrong field type"
            | "link with bogus CID"
            | "link with extra fields" => tally.set_aside(JSON),
            other => panic!("unknown vector: {other}"),
        }
    }
    tally.finish(1, 11);
}

#[test]
fn records_as_blocks() {
    let mut tally = Tally::new("indigo/records as DAG-CBOR");
    let Some(indigo) = beside("indigo/records as DAG-CBOR", "interop/indigo") else {
        return;
    };
    for file in [
        "atproto/atdata/testdata/feedpost_record.cbor",
        "testing/testdata/feedpost_record.cbor",
        "testing/testdata/post_richtext_link.cbor",
    ] {
        assert_eq!(cbor::validate(&bytes(indigo.join(file))), Ok(()), "{file}");
        tally.pass();
    }
    tally.finish(3, 0);
}

#[test]
fn lexicons() {
    let family = "lexicon/record data, lexicons";
    let Some(folder) = beside(family, "interop/atproto-interop-tests/lexicon") else {
        return;
    };
    let mut tally = Tally::new(family);
    for name in [
        "lexicon-valid",
        "lexicon-invalid",
        "record-data-valid",
        "record-data-invalid",
    ] {
        for _ in list(folder.join(format!("{name}.json"))) {
            tally.set_aside("an import judges no record by a Lexicon, RC3");
        }
    }
    tally.finish(0, 63);
}
