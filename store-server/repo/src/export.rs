//! [`export`]: a whole repository as a CAR, from its commit and its rows.
//!
//! It must never write a byte before the rows' tree is proven to be the commit's (rules EX2, MT6), nor keep a record
//! or a node longer than it takes to write it. The store calls it with its own rows.
//!
//! The order is the one the specification prefers (EX1): the commit, then each node before what is below it, with the
//! records between in the order of their paths. So a reader can check everything as it comes.

use std::io::Write;

use carrack_schema::Cid;

use crate::block::VerifiedRef;
use crate::car::write::CarWriter;
use crate::commit::AnyCommit;
use crate::error::{Error, Result};
use crate::mst::plan::{Item, Rows, TreePlan};

#[cfg(test)]
mod tests;

/// A repository's records as rows that can be read in full.
pub trait RecordRows: Rows {
    /// Puts a record's block in place of what `out` holds.
    ///
    /// # Errors
    /// If the rows cannot be read; [`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete) if the store lacks this
    /// record (CA5).
    fn record(&mut self, index: usize, out: &mut Vec<u8>) -> Result<()>;
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportStats {
    /// Blocks: the commit, nodes, records.
    pub blocks_count: usize,
    /// Nodes among them.
    pub nodes_count: usize,
    /// Records by path; several may share a block.
    pub records_count: usize,
    /// Bytes of the CAR.
    pub bytes: u64,
}

/// Writes a repository's CAR to `out`.
///
/// Goes through the rows twice: first every key and CID, to build the tree and compare its root with the commit's
/// `data`; then in the order of the CAR. A record's CID is asked for once, a key twice, a record once. Each block is
/// written once, however many paths name it (RC4). Memory is about 54 bytes a row and 80 a node, and one node of each
/// depth; no record but the one being written.
///
/// # Errors
/// Before the first byte: as [`AnyCommit::parse`] and [`TreePlan::build`], and
/// [`ErrorKind::BadStructure`](crate::ErrorKind::BadStructure) if the tree is not the commit's. After it: errors of
/// the rows, [`ErrorKind::BadHash`](crate::ErrorKind::BadHash) for a record that is not what its CID says, and
/// [`ErrorKind::Io`](crate::ErrorKind::Io) of `out`; then what is out is no repository.
pub fn export(
    commit: VerifiedRef<'_>,
    rows: &mut impl RecordRows,
    out: &mut impl Write,
) -> Result<ExportStats> {
    let parsed = AnyCommit::parse(commit.bytes())?;
    let mut rows = KeptCids {
        cids: Vec::with_capacity(rows.rows_count()),
        rows,
    };
    let plan = TreePlan::build(&mut rows)?;
    let (root, data) = (plan.root(), parsed.data());
    if root != data {
        let message = format!("the records give a tree with root {root}, the commit's is {data}");
        return Err(Error::structure(message).with_cid(data));
    }
    let is_written = written_elsewhere(&rows.cids, &plan, commit.cid());

    let mut writer = CarWriter::begin(out, commit.cid())?;
    writer.block(commit)?;
    let mut stack = vec![Item::Node(plan.root_at())];
    let (mut bytes, mut nodes_count): (_, usize) = (Vec::new(), 0);
    while let Some(item) = stack.pop() {
        match item {
            Item::Node(at) => {
                let items = plan.items(&at);
                writer.block(plan.write_node(&at, &items, &mut rows, &mut bytes)?)?;
                nodes_count = nodes_count.saturating_add(1);
                stack.extend(items.into_iter().rev());
            }
            Item::Row(index) => {
                if is_written.get(index).is_some_and(|written| !written) {
                    rows.rows.record(index, &mut bytes)?;
                    writer.block(VerifiedRef::check(rows.cid(index)?, &bytes)?)?;
                }
            }
        }
    }
    let (blocks_count, bytes) = (writer.blocks_count(), writer.bytes());
    writer.finish()?;
    Ok(ExportStats {
        blocks_count,
        nodes_count,
        records_count: rows.rows_count(),
        bytes,
    })
}

/// Rows whose CIDs are kept once they were asked for in their order.
struct KeptCids<'a, R> {
    rows: &'a mut R,
    cids: Vec<Cid>,
}

impl<R: Rows> Rows for KeptCids<'_, R> {
    fn rows_count(&self) -> usize {
        self.rows.rows_count()
    }

    fn key(&mut self, index: usize, out: &mut Vec<u8>) -> Result<()> {
        self.rows.key(index, out)
    }

    fn cid(&mut self, index: usize) -> Result<Cid> {
        if let Some(cid) = self.cids.get(index) {
            return Ok(*cid);
        }
        let cid = self.rows.cid(index)?;
        if index == self.cids.len() {
            self.cids.push(cid);
        }
        Ok(cid)
    }
}

/// Returns for each row whether its block is written for something else: an earlier row, a node, or the commit.
fn written_elsewhere(cids: &[Cid], plan: &TreePlan, commit: &Cid) -> Vec<bool> {
    // Sorted by a part of the digest: 16 bytes a row instead of a set of CIDs. Whoever makes those parts collide on
    // purpose has to find collisions of 64 bits of SHA-256, and gains a longer run to sort below.
    let prefix = |cid: &Cid| {
        cid.digest()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_be_bytes)
    };
    let mut order: Vec<(u64, u32)> = cids
        .iter()
        .zip(0..)
        .map(|(cid, index)| (prefix(cid), index))
        .collect();
    order.sort_unstable();
    let cid_of = |index: u32| cids.get(index as usize);
    let mut written = vec![false; cids.len()];
    let mut mark = |index: u32| {
        if let Some(slot) = written.get_mut(index as usize) {
            *slot = true;
        }
    };
    for run in order.chunk_by_mut(|(left, _), (right, _)| left == right) {
        run.sort_unstable_by_key(|&(_, index)| (cid_of(index), index));
        for same in run.chunk_by(|&(_, left), &(_, right)| cid_of(left) == cid_of(right)) {
            same.iter().skip(1).for_each(|&(_, index)| mark(index));
        }
    }
    // The other way round: nodes and the commit are looked up among the rows.
    let nodes = plan.cids();
    for cid in nodes.chain([*commit]) {
        let first = order.partition_point(|&(part, _)| part < prefix(&cid));
        let run = order.get(first..).unwrap_or_default().iter();
        for &(_, index) in run.take_while(|&&(part, _)| part == prefix(&cid)) {
            if cid_of(index) == Some(&cid) {
                mark(index);
            }
        }
    }
    written
}
