//! Exports read back whole, in the order they promise, and nothing is written for rows that are not the commit's.

use std::collections::BTreeMap;
use std::io;

use carrack_schema::Code;
use carrack_schema::cid::Codec;
use proptest::prelude::*;

use super::*;
use crate::car::{CarBlocks, CarLimits};
use crate::kit::{self, Blocks, MemoryRows, Value, cid_of, encode, map, node_value};
use crate::walk::{BlockSource, walk};

type Records = BTreeMap<String, Vec<u8>>;

fn records(count: usize) -> Records {
    let record = |n: usize| encode(&map([("n", Value::Int(n as i64 / 2))]));
    (0..count)
        .map(|n| (format!("com.example.thing{}/k{n}", n % 3), record(n)))
        .collect()
}

fn exported(records: &Records, commit: &[u8]) -> Result<(Vec<u8>, ExportStats, MemoryRows)> {
    let mut rows = MemoryRows::new(records);
    let mut car = Vec::new();
    let commit = VerifiedRef::of(Codec::DagCbor, commit);
    let stats = export(commit, &mut rows, &mut car)?;
    Ok((car, stats, rows))
}

fn commit_of(records: &Records) -> Vec<u8> {
    kit::commit(kit::tree(
        &mut Blocks::default(),
        &MemoryRows::new(records).cids(),
    ))
}

/// A reader that sees each block once, as it comes, and keeps none that it has used: only the streamable order
/// lets a walk end with it.
struct Stream<'c> {
    car: CarBlocks<&'c [u8]>,
    ahead: Blocks,
    most_ahead: usize,
}

impl Stream<'_> {
    fn take(&mut self, cid: &Cid) -> Option<Vec<u8>> {
        while !self.ahead.0.contains_key(cid) {
            let block = self.car.next_block().unwrap()?.verify().unwrap();
            self.ahead.0.insert(*block.cid(), block.into_bytes());
            self.most_ahead = self.most_ahead.max(self.ahead.0.len());
        }
        self.ahead.0.remove(cid)
    }
}

impl BlockSource for Stream<'_> {
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'a>>> {
        let Some(bytes) = self.take(cid) else {
            return Ok(None);
        };
        *scratch = bytes;
        VerifiedRef::check(*cid, scratch).map(Some)
    }
}

#[track_caller]
fn check(records: &Records) {
    let commit = commit_of(records);
    let (car, stats, rows) = exported(records, &commit).unwrap();
    assert_eq!(stats.bytes, car.len() as u64);
    assert_eq!(stats.records_count, records.len());
    assert_eq!(rows.cids_asked, records.len());

    // EX1: exactly the blocks that are reachable, each once.
    let mut expected = Blocks::default();
    let root = kit::tree(&mut expected, &rows.cids());
    assert_eq!(stats.nodes_count, expected.0.len());
    expected.put(commit.clone());
    for record in records.values() {
        expected.put(record.clone());
    }
    let mut reader = CarBlocks::open(&car[..], CarLimits::default()).unwrap();
    assert_eq!((reader.root(), reader.roots_count()), (cid_of(&commit), 1));
    let mut order = Vec::new();
    while let Some(block) = reader.next_block().unwrap() {
        let block = block.verify().unwrap();
        assert_eq!(
            expected.0.get(block.cid()).map(|bytes| &bytes[..]),
            Some(block.bytes())
        );
        order.push(*block.cid());
    }
    assert_eq!(order.len(), expected.0.len(), "no block twice");
    assert_eq!(
        (order[0], stats.blocks_count),
        (cid_of(&commit), order.len())
    );

    // A reader that goes along needs nothing but what the tree itself asks for next.
    let car = CarBlocks::open(&car[..], CarLimits::default()).unwrap();
    let mut stream = Stream {
        car,
        ahead: Blocks::default(),
        most_ahead: 0,
    };
    stream.take(&cid_of(&commit)).unwrap();
    let mut seen = Vec::new();
    walk(root, &mut stream, |record| {
        seen.push((record.path.to_owned(), record.cid));
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(seen.iter().map(|(path, _)| path).eq(records.keys()));
}

#[test]
fn repositories_of_many_sizes_are_exported_whole() {
    for count in [0, 1, 2, 3, 10, 100, 1_500] {
        check(&records(count));
    }
}

/// EX1: each record directly where its key is, after the nodes and records before it.
#[test]
fn order_is_streamable() {
    let records: Records = (0..800_usize)
        .map(|n| {
            (
                format!("com.example.thing/k{n}"),
                encode(&Value::Int(n as i64)),
            )
        })
        .collect();
    let (car, ..) = exported(&records, &commit_of(&records)).unwrap();
    let mut reader = CarBlocks::open(&car[..], CarLimits::default()).unwrap();
    let by_cid: BTreeMap<Cid, &String> = records
        .iter()
        .map(|(key, record)| (cid_of(record), key))
        .collect();
    let mut commit = reader.next_block().unwrap().unwrap();
    let (mut seen, mut stack) = (Vec::new(), Vec::new());
    commit.bytes.clear();
    // Pre-order by hand: what comes next is always what the nodes so far say comes next.
    stack.push(None);
    while let Some(expected) = stack.pop() {
        let block = reader.next_block().unwrap().unwrap();
        assert!(expected.is_none_or(|cid| cid == block.cid));
        if let Some(key) = by_cid.get(&block.cid) {
            seen.push((*key).clone());
            continue;
        }
        let node = crate::mst::Node::parse(&block.bytes).unwrap();
        let mut next: Vec<Option<Cid>> = node.left().into_iter().map(Some).collect();
        for entry in node.entries() {
            next.push(Some(entry.value));
            next.extend(entry.tree.map(Some));
        }
        stack.extend(next.into_iter().rev());
    }
    assert_eq!(reader.next_block().unwrap(), None);
    assert!(seen.iter().eq(records.keys()));
}

/// EX2, MT6: not a byte leaves for rows that are not the commit's.
#[test]
fn rows_of_another_tree_are_refused_before_the_first_byte() {
    let good = records(40);
    let commit = commit_of(&good);
    let mut changed = good.clone();
    changed.insert("com.example.thing1/k7".to_owned(), b"\x01".to_vec());
    let mut fewer = good.clone();
    fewer.pop_last();
    let mut more = good;
    more.insert("com.example.thing1/new".to_owned(), b"\x01".to_vec());
    for records in [changed, fewer, more, Records::new()] {
        let mut out = Vec::new();
        let block = VerifiedRef::of(Codec::DagCbor, &commit);
        let error = export(block, &mut MemoryRows::new(&records), &mut out).unwrap_err();
        assert_eq!(error.code(), Code::BadStructure);
        assert!(
            error
                .to_string()
                .starts_with("the records give a tree with root "),
            "{error}"
        );
        assert!(out.is_empty());
    }
    let mut out = Vec::new();
    let not_a_commit = VerifiedRef::of(Codec::DagCbor, b"\xa0");
    export(not_a_commit, &mut MemoryRows::new(&records(1)), &mut out).unwrap_err();
    assert!(out.is_empty());
}

/// RC4, CA3: a block that serves as several things is there once.
#[test]
fn shared_blocks_are_written_once() {
    let empty_node = encode(&node_value(None, &[]));
    let mut records: Records = (0..60)
        .map(|n| (format!("com.example.thing/k{n}"), vec![0x18, 24 + n % 3]))
        .collect();
    check(&records);
    let (_, stats, rows) = exported(&records, &commit_of(&records)).unwrap();
    assert_eq!(stats.blocks_count, 1 + stats.nodes_count + 3);
    assert_eq!(rows.records_asked, 3);

    // Records that are nodes of this very tree: every node below the root of the first 60 keys.
    let mut blocks = Blocks::default();
    kit::tree(&mut blocks, &MemoryRows::new(&records).cids());
    for (n, node) in blocks.0.into_values().chain([empty_node]).enumerate() {
        records.insert(format!("org.example.node/n{n:03}"), node);
    }
    check(&records);
}

/// A record that is not what its CID says, found only when it is written.
#[test]
fn a_record_that_was_changed_is_not_written() {
    let records = records(20);
    let commit = commit_of(&records);
    let mut rows = MemoryRows::new(&records);
    rows.rows[0].2 = b"other".to_vec();
    let mut out = Vec::new();
    let error = export(
        VerifiedRef::of(Codec::DagCbor, &commit),
        &mut rows,
        &mut out,
    )
    .unwrap_err();
    assert_eq!(
        (error.code(), error.cid()),
        (Code::BadHash, Some(&rows.rows[0].1))
    );
    assert!(!out.windows(5).any(|bytes| bytes == b"other"));
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.0.checked_sub(bytes.len()) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        self.0 = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0 == 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

#[test]
fn an_output_that_fails_ends_the_export() {
    let records = records(20);
    let commit = commit_of(&records);
    let (car, ..) = exported(&records, &commit).unwrap();
    for room in (0..=car.len()).step_by(7).chain([car.len()]) {
        let commit = VerifiedRef::of(Codec::DagCbor, &commit);
        let result = export(commit, &mut MemoryRows::new(&records), &mut Full(room));
        assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_records_are_exported_whole(
        records in prop::collection::btree_map(
            "com\\.(a|a-b|a\\.b)\\.x/[a-h]{1,2}",
            prop::collection::vec(any::<u8>(), 1..3),
            0..80,
        )
    ) {
        check(&records);
    }
}
