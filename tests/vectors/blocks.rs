//! [`Blocks`]: a CAR in memory, read and hashed by Carrack, and trees rebuilt from records.

use std::collections::{BTreeMap, HashMap};

use carrack_repo::diff::{Tree, diff_keys};
use carrack_repo::mst::build::{BuiltNode, TreeBuilder};
use carrack_repo::{BlockSource, CarBlocks, CarLimits, Error, Result, Rows, VerifiedRef};
use carrack_schema::Cid;

/// Blocks by their CIDs.
#[derive(Clone, Default)]
pub(crate) struct Blocks(pub(crate) HashMap<Cid, Vec<u8>>);

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

/// Reads a CAR: its root, and its blocks, each of which hashes to its CID.
pub(crate) fn read(car: &[u8]) -> (Cid, Blocks) {
    let mut reader = CarBlocks::open(car, CarLimits::default()).unwrap();
    let mut blocks = Blocks::default();
    while let Some(block) = reader.next_block().unwrap() {
        let block = block.verify().unwrap();
        blocks.0.insert(*block.cid(), block.into_bytes());
    }
    (reader.root(), blocks)
}

/// Keys and CIDs of records, in the order of keys. Keys may be any bytes.
pub(crate) type Records = BTreeMap<Vec<u8>, Cid>;

/// Builds the tree of some records: its root and its nodes.
pub(crate) fn build(records: &Records) -> (Cid, Blocks) {
    let mut nodes = Blocks::default();
    let mut builder = TreeBuilder::new(|node: BuiltNode<'_>| {
        nodes.0.insert(node.cid, node.bytes.to_vec());
        Ok::<_, Error>(())
    });
    for (key, cid) in records {
        builder.push(key, *cid).unwrap();
    }
    let root = builder.finish().unwrap().root;
    (root, nodes)
}

/// Returns the records of a tree: what differs from the empty one.
pub(crate) fn records(root: Cid, nodes: &mut Blocks) -> Records {
    let (empty, mut none) = build(&Records::new());
    let mut records = Records::new();
    let old = Tree {
        root: empty,
        nodes: &mut none,
    };
    diff_keys(old, Tree { root, nodes }, |key, edit| {
        records.insert(key.to_vec(), edit.new_cid().expect("nothing was there"));
        Ok::<_, Error>(())
    })
    .unwrap();
    records
}

/// Records as rows, from which nodes are rebuilt.
pub(crate) struct RecordList(pub(crate) Vec<(Vec<u8>, Cid)>);

impl Rows for RecordList {
    fn rows_count(&self) -> usize {
        self.0.len()
    }

    fn key(&mut self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.extend_from_slice(&self.0[row].0);
        Ok(())
    }

    fn cid(&mut self, row: usize) -> Result<Cid> {
        Ok(self.0[row].1)
    }
}
