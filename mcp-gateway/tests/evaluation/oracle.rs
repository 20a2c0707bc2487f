//! [`Oracle`]: what the archives hold, read from their CAR files without anything of Carrack's.
//!
//! A second reader, from the specifications: varints, CAR sections, DAG-CBOR, the tree. It trusts its input, which is
//! shipped, and panics where that is not as specified.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// The archives, in the order they were named.
pub(crate) struct Oracle {
    pub(crate) repos: Vec<Repo>,
}

/// An account's repo.
pub(crate) struct Repo {
    pub(crate) did: String,
    pub(crate) rev: String,
    /// `collection/rkey` → record.
    pub(crate) records: BTreeMap<String, Record>,
}

/// A record.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) cid: String,
    /// The value in JSON, with `$link` and `$bytes`.
    pub(crate) value: Value,
}

impl Oracle {
    pub(crate) fn new(cars: impl IntoIterator<Item = PathBuf>) -> Self {
        let repos = cars
            .into_iter()
            .map(|car| Repo::read(&std::fs::read(car).unwrap()));
        Self {
            repos: repos.collect(),
        }
    }

    /// Returns the repo of the account.
    pub(crate) fn repo(&self, did: &str) -> &Repo {
        self.repos.iter().find(|repo| repo.did == did).unwrap()
    }

    /// Returns the record that an at-uri names.
    pub(crate) fn record(&self, uri: &str) -> &Record {
        let (did, path) = uri.strip_prefix("at://").unwrap().split_once('/').unwrap();
        &self.repo(did).records[path]
    }
}

impl Repo {
    pub(crate) fn read(car: &[u8]) -> Self {
        let (header, blocks) = sections(car);
        let root = header["roots"][0]["$link"].as_str().unwrap().to_owned();
        let block = |cid: &str| Reader(&blocks[cid], 0).value();
        let commit = block(&root);
        let mut records = BTreeMap::new();
        let mut below = vec![commit["data"]["$link"].as_str().unwrap().to_owned()];
        while let Some(cid) = below.pop() {
            let node = block(&cid);
            below.extend(node["l"]["$link"].as_str().map(str::to_owned));
            let mut key = Vec::new();
            for entry in node["e"].as_array().unwrap() {
                key.truncate(entry["p"].as_u64().unwrap() as usize);
                key.extend(bytes(&entry["k"]));
                let cid = entry["v"]["$link"].as_str().unwrap().to_owned();
                let value = block(&cid);
                records.insert(
                    String::from_utf8(key.clone()).unwrap(),
                    Record { cid, value },
                );
                below.extend(entry["t"]["$link"].as_str().map(str::to_owned));
            }
        }
        Self {
            did: commit["did"].as_str().unwrap().to_owned(),
            rev: commit["rev"].as_str().unwrap().to_owned(),
            records,
        }
    }

    /// Returns a collection's record keys and values, oldest key first.
    pub(crate) fn collection(&self, name: &str) -> Vec<(&str, &Value)> {
        let prefix = format!("{name}/");
        let rows = self.records.iter();
        rows.filter_map(|(path, record)| Some((path.strip_prefix(&prefix)?, &record.value)))
            .collect()
    }

    /// Returns the names of the collections and how many records each has.
    pub(crate) fn collections(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for path in self.records.keys() {
            *counts.entry(path.split_once('/').unwrap().0).or_insert(0) += 1;
        }
        counts
    }
}

/// Splits a CAR into its header and its blocks by CID.
fn sections(car: &[u8]) -> (Value, HashMap<String, Vec<u8>>) {
    let mut at = 0;
    let mut next = || {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = *car.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        at += length;
        Some(&car[at - length..at])
    };
    let header = Reader(next().unwrap(), 0).value();
    let mut blocks = HashMap::new();
    while let Some(section) = next() {
        // Version, codec, hash function and length, 32 bytes of hash.
        let (cid, block) = section.split_at(36);
        blocks.insert(cid_text(cid), block.to_vec());
    }
    (header, blocks)
}

fn cid_text(cid: &[u8]) -> String {
    let mut text = String::from("b");
    let (mut held, mut bits) = (0u32, 0);
    for byte in cid {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(
                b"abcdefghijklmnopqrstuvwxyz234567"[(held >> bits & 31) as usize],
            ));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(
            b"abcdefghijklmnopqrstuvwxyz234567"[(held << (5 - bits) & 31) as usize],
        ));
    }
    text
}

/// Reads back what [`Reader::value`] made of bytes: the tree's keys are such.
fn bytes(value: &Value) -> Vec<u8> {
    let text = value["$bytes"].as_str().unwrap();
    let mut out = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for digit in text.bytes() {
        let digit = BASE64.iter().position(|known| *known == digit).unwrap();
        held = held << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut held = 0;
        for at in 0..3 {
            held = held << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            text.push(char::from(BASE64[(held >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

/// DAG-CBOR at a place.
struct Reader<'a>(&'a [u8], usize);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        self.1 += count;
        &self.0[self.1 - count..self.1]
    }

    fn value(&mut self) -> Value {
        let first = self.take(1)[0];
        let argument = match first & 31 {
            small @ 0..24 => u64::from(small),
            long => {
                let bytes = self.take(1 << (long - 24));
                bytes
                    .iter()
                    .fold(0, |value, byte| value << 8 | u64::from(*byte))
            }
        };
        let count = argument as usize;
        match first >> 5 {
            0 => json!(argument),
            1 => json!(-1 - argument as i64),
            2 => json!({ "$bytes": base64(self.take(count)) }),
            3 => json!(String::from_utf8(self.take(count).to_vec()).unwrap()),
            4 => (0..count).map(|_| self.value()).collect(),
            5 => {
                let entries = (0..count).map(|_| {
                    let key = self.value().as_str().unwrap().to_owned();
                    (key, self.value())
                });
                Value::Object(entries.collect::<Map<_, _>>())
            }
            // The one tag there is, of CIDs: bytes that begin with a zero.
            6 => {
                let length = match self.take(1)[0] {
                    0x58 => usize::from(self.take(1)[0]),
                    short => usize::from(short & 31),
                };
                json!({ "$link": cid_text(&self.take(length)[1..]) })
            }
            _ => match first & 31 {
                20 => json!(false),
                21 => json!(true),
                22 => Value::Null,
                other => panic!("no such simple value: {other}"),
            },
        }
    }
}

#[test]
fn the_oracle_reads_what_the_pds_said() {
    for name in ["varied", "mid", "small"] {
        let path = crate::car(name);
        let repo = Repo::read(&std::fs::read(&path).unwrap());
        let table = std::fs::read_to_string(path.with_extension("records.tsv")).unwrap();
        let read = repo
            .records
            .iter()
            .map(|(path, record)| format!("{path}\t{}\n", record.cid));
        assert!(read.collect::<String>() == table, "{name}");
    }
    assert_eq!(base64(b"hello"), "aGVsbG8");
    assert_eq!(bytes(&json!({ "$bytes": "aGVsbG8" })), b"hello");
}
