//! What the tests of this crate build their input with: a canonical DAG-CBOR encoder, CARs, trees.
//!
//! It must never be used outside tests; it panics on what it does not expect.

use std::collections::{BTreeMap, HashMap};

use carrack_schema::Cid;
use carrack_schema::cid::Codec;

use crate::block::VerifiedRef;
use crate::error::Result;
use crate::export::RecordRows;
use crate::mst::plan::Rows;
use crate::mst::{common_prefix_len, depth_of};
use crate::walk::BlockSource;

/// A value to encode. A map is written in the order it has here, so that a test can write a wrong one.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Link(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn link(cid: &Cid) -> Value {
    Value::Link(cid.as_bytes().to_vec())
}

/// Makes a map in canonical order.
pub(crate) fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    let mut entries: Vec<_> = entries.into_iter().map(|(k, v)| (k.into(), v)).collect();
    entries.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
    Value::Map(entries)
}

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out);
    out
}

fn encode_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(b) => out.push(0xf4 + u8::from(*b)),
        Value::Int(n) if *n < 0 => head(1, !*n as u64, out),
        Value::Int(n) => head(0, *n as u64, out),
        Value::Bytes(bytes) => {
            head(2, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::Text(text) => {
            head(3, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::List(values) => {
            head(4, values.len() as u64, out);
            values.iter().for_each(|value| encode_into(value, out));
        }
        Value::Map(entries) => {
            head(5, entries.len() as u64, out);
            for (key, value) in entries {
                head(3, key.len() as u64, out);
                out.extend_from_slice(key.as_bytes());
                encode_into(value, out);
            }
        }
        Value::Link(cid) => {
            head(6, 42, out);
            head(2, cid.len() as u64 + 1, out);
            out.push(0);
            out.extend_from_slice(cid);
        }
    }
}

pub(crate) fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend([major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

pub(crate) fn cid_of(bytes: &[u8]) -> Cid {
    *VerifiedRef::of(Codec::DagCbor, bytes).cid()
}

pub(crate) fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// Puts a length in front.
pub(crate) fn section(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

pub(crate) fn car_header(roots: &[&[u8]]) -> Vec<u8> {
    let roots = roots.iter().map(|cid| Value::Link(cid.to_vec())).collect();
    section(&encode(&map([
        ("roots", Value::List(roots)),
        ("version", Value::Int(1)),
    ])))
}

pub(crate) fn car_block(bytes: &[u8]) -> Vec<u8> {
    section(&[cid_of(bytes).as_bytes(), bytes].concat())
}

/// Makes a CAR of these blocks; the first one is the root.
pub(crate) fn car(blocks: &[&[u8]]) -> Vec<u8> {
    let mut out = car_header(&[cid_of(blocks[0]).as_bytes()]);
    blocks.iter().for_each(|block| out.extend(car_block(block)));
    out
}

/// Blocks in memory.
#[derive(Clone, Default)]
pub(crate) struct Blocks(pub(crate) HashMap<Cid, Vec<u8>>);

impl Blocks {
    pub(crate) fn put(&mut self, bytes: Vec<u8>) -> Cid {
        let cid = cid_of(&bytes);
        self.0.insert(cid, bytes);
        cid
    }
}

impl BlockSource for Blocks {
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        _scratch: &'a mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'a>>> {
        self.0
            .get(cid)
            .map(|bytes| VerifiedRef::check(*cid, bytes))
            .transpose()
    }
}

/// An entry of a node to encode.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) prefix: i64,
    pub(crate) suffix: Vec<u8>,
    pub(crate) value: Cid,
    pub(crate) tree: Option<Cid>,
}

fn link_or_null(cid: Option<Cid>) -> Value {
    cid.map_or(Value::Null, |cid| link(&cid))
}

pub(crate) fn node_value(left: Option<Cid>, entries: &[Entry]) -> Value {
    let entries = entries.iter().map(|entry| {
        map([
            ("k", Value::Bytes(entry.suffix.clone())),
            ("p", Value::Int(entry.prefix)),
            ("t", link_or_null(entry.tree)),
            ("v", link(&entry.value)),
        ])
    });
    map([
        ("e", Value::List(entries.collect())),
        ("l", link_or_null(left)),
    ])
}

/// Makes entries with the prefixes these keys share.
pub(crate) fn entries(keys: &[(&str, Cid, Option<Cid>)]) -> Vec<Entry> {
    let mut last = "";
    keys.iter()
        .map(|&(key, value, tree)| {
            let prefix = common_prefix_len(last.as_bytes(), key.as_bytes());
            last = key;
            let suffix = key.as_bytes()[prefix..].to_vec();
            Entry {
                prefix: prefix as i64,
                suffix,
                value,
                tree,
            }
        })
        .collect()
}

/// Builds the one tree these records have and returns its root.
pub(crate) fn tree(blocks: &mut Blocks, records: &BTreeMap<String, Cid>) -> Cid {
    let records: Vec<_> = records.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    let depth = records
        .iter()
        .map(|(key, _)| depth_of(key.as_bytes()))
        .max()
        .unwrap_or(0);
    subtree(blocks, &records, depth)
}

fn subtree(blocks: &mut Blocks, records: &[(&str, Cid)], depth: u8) -> Cid {
    let mut between = records.split(|(key, _)| depth_of(key.as_bytes()) == depth);
    let mut child = |blocks: &mut Blocks| {
        let records = between.next().unwrap();
        (!records.is_empty()).then(|| subtree(blocks, records, depth - 1))
    };
    let left = child(blocks);
    let own: Vec<_> = records
        .iter()
        .filter(|(key, _)| depth_of(key.as_bytes()) == depth)
        .map(|&(key, cid)| (key, cid, child(blocks)))
        .collect();
    blocks.put(encode(&node_value(left, &entries(&own))))
}

/// Returns the `nth` key of this depth: the same ones each time.
pub(crate) fn key_of_depth(depth: u8, nth: usize) -> String {
    (0..)
        .map(|n| format!("com.example.thing/k{n:06}"))
        .filter(|key| depth_of(key.as_bytes()) == depth)
        .nth(nth)
        .unwrap()
}

/// Records as sorted rows, counting what is asked.
#[derive(Clone)]
pub(crate) struct MemoryRows {
    pub(crate) rows: Vec<(String, Cid, Vec<u8>)>,
    pub(crate) cids_asked: usize,
    pub(crate) records_asked: usize,
}

impl MemoryRows {
    pub(crate) fn new(records: &BTreeMap<String, Vec<u8>>) -> Self {
        let rows = records
            .iter()
            .map(|(key, bytes)| (key.clone(), cid_of(bytes), bytes.clone()));
        Self {
            rows: rows.collect(),
            cids_asked: 0,
            records_asked: 0,
        }
    }

    pub(crate) fn cids(&self) -> BTreeMap<String, Cid> {
        let rows = self.rows.iter();
        rows.map(|(key, cid, _)| (key.clone(), *cid)).collect()
    }
}

impl Rows for MemoryRows {
    fn rows_count(&self) -> usize {
        self.rows.len()
    }

    fn key(&mut self, index: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.extend_from_slice(self.rows[index].0.as_bytes());
        Ok(())
    }

    fn cid(&mut self, index: usize) -> Result<Cid> {
        self.cids_asked += 1;
        Ok(self.rows[index].1)
    }
}

impl RecordRows for MemoryRows {
    fn record(&mut self, index: usize, out: &mut Vec<u8>) -> Result<()> {
        self.records_asked += 1;
        out.clear();
        out.extend_from_slice(&self.rows[index].2);
        Ok(())
    }
}

/// Makes a commit of this tree, signed by nobody.
pub(crate) fn commit(data: Cid) -> Vec<u8> {
    encode(&map([
        ("did", text("did:plc:abcdefghijklmnopqrstuvwx")),
        ("version", Value::Int(3)),
        ("data", link(&data)),
        ("rev", text("3jzfcijpj2z2a")),
        ("prev", Value::Null),
        ("sig", Value::Bytes(vec![7; 64])),
    ]))
}
