//! Proofs: [`prove`] cuts the few blocks out of a repository that show one record, or that there is none;
//! [`verify_proof`] checks such a CAR.
//!
//! It must never believe a block nobody has hashed, or take a record for absent because a node is missing: only a
//! path that is there to its end shows either (rule EX3). The store makes proofs; anyone with a file checks them.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use carrack_schema::limits::MIB;
use carrack_schema::{Cid, Did, RecordPath, Tid};

use crate::block::{VerifiedBlock, VerifiedRef};
use crate::car::write::CarWriter;
use crate::car::{CarBlocks, CarLimits};
use crate::commit::{AnyCommit, SignatureVerdict, check_signature};
use crate::cursor::{check_given, check_shape};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::key::PublicKey;
use crate::mst::Node;
use crate::walk::BlockSource;

#[cfg(test)]
mod tests;

/// Longest CAR of a proof. A path of ten real nodes takes some 5 KB, a record 1 MiB at most; what is left is for
/// trees that someone has made large on purpose.
pub const PROOF_BYTES_MAX: u64 = 16 * MIB as u64;
/// Most blocks in the CAR of a proof: a commit, a record, a node of each of 129 depths, and what other makers add.
pub const PROOF_BLOCKS_MAX: usize = 1_024;

/// Goes down the one path on which a key can be, and returns its record.
///
/// `visit` is given each node of the path, the root first. For a key that is there the path ends at its node, for one
/// that is not at the place without a child where it would be. Each node is of the depth, and its keys between
/// those, that its place says (MT1, MT2).
///
/// # Errors
/// [`ErrorKind::Incomplete`] naming a node that is missing; [`ErrorKind::BadStructure`] for one at a place that is not
/// its own; [`ErrorKind::LimitExceeded`]; any error of `nodes` and of `visit`.
pub fn find(
    root: Cid,
    key: &[u8],
    nodes: &mut impl BlockSource,
    mut visit: impl FnMut(VerifiedRef<'_>) -> Result<()>,
) -> Result<Option<Cid>> {
    let mut node = Node::default();
    let mut scratch = Vec::new();
    let (mut lower, mut upper): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
    let (mut next, mut depth) = (root, None);
    loop {
        let cid = next;
        let Some(block) = nodes.get(&cid, &mut scratch)? else {
            let message = format!(
                "MST node {cid} is missing, on the path to key {}",
                quoted(key)
            );
            return Err(Error::new(ErrorKind::Incomplete, message).with_cid(cid));
        };
        check_given(cid, block.cid())?;
        let in_node = |error: Error| error.within(format_args!("MST node {cid}")).with_cid(cid);
        node.read(block.bytes()).map_err(in_node)?;
        let here = check_shape(&node, depth).map_err(in_node)?;
        check_bounds(&node, lower.as_deref(), upper.as_deref()).map_err(in_node)?;
        visit(block)?;

        // Entries before the key; they ascend.
        let before = node.entries().take_while(|entry| entry.key < key).count();
        let at = node.entry(before);
        if let Some(found) = at.filter(|entry| entry.key == key) {
            return Ok(Some(found.value));
        }
        let Some(child) = node.child(before) else {
            return Ok(None);
        };
        if let Some(last) = before.checked_sub(1).and_then(|index| node.entry(index)) {
            lower = Some(last.key.to_vec());
        }
        if let Some(first) = at {
            upper = Some(first.key.to_vec());
        }
        // `check_shape` has seen that a node with children is above depth 0.
        (next, depth) = (child, Some(here.saturating_sub(1)));
    }
}

/// Checks that a node's keys are between those around it. They ascend, so its first and last one tell.
fn check_bounds(node: &Node, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Result<()> {
    let last = node
        .entries_count()
        .checked_sub(1)
        .and_then(|last| node.entry(last));
    let (Some(first), Some(last)) = (node.entry(0), last) else {
        return Ok(());
    };
    if let Some(lower) = lower.filter(|lower| first.key <= *lower) {
        let (key, lower) = (quoted(first.key), quoted(lower));
        return Err(Error::structure(format!(
            "key {key} does not come after key {lower}"
        )));
    }
    if let Some(upper) = upper.filter(|upper| last.key >= *upper) {
        let (key, upper) = (quoted(last.key), quoted(upper));
        return Err(Error::structure(format!(
            "key {key} does not come before key {upper}"
        )));
    }
    Ok(())
}

/// What a proof came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProofMade {
    /// The record; `None` if the proof shows that there is none.
    pub record: Option<Cid>,
    /// Nodes on the path.
    pub nodes_count: usize,
    /// Bytes of the CAR.
    pub bytes: u64,
}

/// Writes the CAR that shows the record at `path`, or that there is none: the commit, the nodes on the path from the
/// root, the record (EX3).
///
/// `nodes` may be the repository's blocks, or [`RebuiltNodes`](crate::mst::plan::RebuiltNodes). `record` is asked for
/// the bytes of the record if there is one. Nothing is written before all blocks are there and checked.
///
/// # Errors
/// As [`find`] and [`AnyCommit::parse`]; any error of `record`; [`ErrorKind::BadHash`] if its bytes are not the
/// record's; [`ErrorKind::Io`] if `out` fails.
pub fn prove(
    commit: VerifiedRef<'_>,
    path: &RecordPath,
    nodes: &mut impl BlockSource,
    record: impl FnOnce(&Cid) -> Result<Vec<u8>>,
    out: &mut impl Write,
) -> Result<ProofMade> {
    let root = AnyCommit::parse(commit.bytes())?.data();
    let mut blocks: Vec<(Cid, Vec<u8>)> = vec![(*commit.cid(), commit.bytes().to_vec())];
    let mut nodes_count: usize = 0;
    let found = find(root, path.to_string().as_bytes(), nodes, |node| {
        nodes_count = nodes_count.saturating_add(1);
        blocks.push((*node.cid(), node.bytes().to_vec()));
        Ok(())
    })?;
    if let Some(cid) = found {
        let bytes = record(&cid)?;
        // Someone may store a node, or the commit itself, as a record (CA3).
        if blocks.iter().all(|(other, _)| *other != cid) {
            blocks.push((cid, bytes));
        }
    }
    let checked: Vec<VerifiedRef<'_>> = blocks
        .iter()
        .map(|(cid, bytes)| VerifiedRef::check(*cid, bytes))
        .collect::<Result<_>>()?;
    let mut writer = CarWriter::begin(out, commit.cid())?;
    for block in checked {
        writer.block(block)?;
    }
    let bytes = writer.bytes();
    writer.finish()?;
    Ok(ProofMade {
        record: found,
        nodes_count,
        bytes,
    })
}

/// What a proof is asked.
#[derive(Clone, Copy, Debug)]
pub struct ProofQuestion<'a> {
    /// The record it is about.
    pub path: &'a RecordPath,
    /// Whose repository it must be; any, if `None`.
    pub did: Option<&'a Did>,
    /// The key to check the commit's signature with; it stays unchecked if `None`.
    pub key: Option<&'a PublicKey>,
}

/// What a proof shows, under its commit. Whether that commit is the account's is what `signature` says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProofOutcome {
    /// Whose repository the commit says it is.
    pub did: Did,
    /// The commit's revision; `None` for one of version 2 (CM8).
    pub rev: Option<Tid>,
    /// The commit.
    pub commit: Cid,
    /// The record, or that there is none.
    pub finding: Finding,
    /// Whether the commit's signature is the key's; `None` if no key was given.
    pub signature: Option<SignatureVerdict>,
    /// Blocks that took no part. Other makers add some, such as the nodes beside the path.
    pub unused_blocks_count: usize,
}

/// What a proof shows of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is in the repository at this commit.
    Present {
        /// Its CID.
        cid: Cid,
        /// Its bytes, which hash to the CID. Whether they are a legal record is not judged.
        record: Vec<u8>,
    },
    /// No record is at the path at this commit.
    Absent,
}

/// Returns the paths of the records that a proof's CAR holds, in no certain order, for [`verify_proof`] to check:
/// what is found here is only where to look. At most [`PROOF_BLOCKS_MAX`], one for each block.
///
/// # Errors
/// Of reading the CAR, as [`verify_proof`]; [`ErrorKind::Incomplete`] if its commit is missing.
pub fn paths_in(car: &[u8]) -> Result<Vec<RecordPath>> {
    let (root, blocks) = ProofBlocks::read(car)?;
    let commit = blocks.block(&root).ok_or_else(|| missing("commit", root))?;
    let mut paths = Vec::new();
    let mut stack = vec![AnyCommit::parse(commit.bytes())?.data()];
    let mut visited = HashSet::new();
    while let Some(cid) = stack.pop() {
        // A node that many name is looked at once; so the blocks of the CAR bound the work.
        if !visited.insert(cid) {
            continue;
        }
        // What is no node is no part of the tree, and a child that is not there is none of the proof's.
        let Some(Ok(node)) = blocks.block(&cid).map(|block| Node::parse(block.bytes())) else {
            continue;
        };
        let mut children: Vec<Cid> = node.left().into_iter().collect();
        for entry in node.entries() {
            let path = std::str::from_utf8(entry.key)
                .ok()
                .and_then(|key| key.parse().ok());
            if let Some(path) = path
                && blocks.block(&entry.value).is_some()
                && paths.len() < PROOF_BLOCKS_MAX
            {
                paths.push(path);
            }
            children.extend(entry.tree);
        }
        let there = |cid: &Cid| blocks.block(cid).is_some();
        stack.extend(children.into_iter().rev().filter(there));
    }
    Ok(paths)
}

/// Checks the CAR of a proof: one that [`prove`] made, or a `sync.getRecord` answer of any other server.
///
/// # Errors
/// Of reading the CAR ([`CarBlocks`]), with [`PROOF_BYTES_MAX`] and [`PROOF_BLOCKS_MAX`]; [`ErrorKind::BadHash`] for
/// any block, a needless one too; [`ErrorKind::Incomplete`] naming a block that is missing, so that nothing is shown;
/// [`ErrorKind::WrongDid`]; as [`find`] and [`AnyCommit::parse`]. A signature that is not the key's is no error:
/// it stands in the outcome.
pub fn verify_proof(car: &[u8], question: ProofQuestion<'_>) -> Result<ProofOutcome> {
    let (root, mut blocks) = ProofBlocks::read(car)?;
    let block = blocks.block(&root).ok_or_else(|| missing("commit", root))?;
    let commit = AnyCommit::parse(block.bytes())?;
    if let Some(did) = question.did {
        commit.check_did(did)?;
    }
    let signature = question
        .key
        .map(|key| check_signature(block.bytes(), key))
        .transpose()?;
    let mut used = vec![root];
    let key = question.path.to_string();
    let found = find(commit.data(), key.as_bytes(), &mut blocks, |node| {
        used.push(*node.cid());
        Ok(())
    })?;
    let finding = match found {
        None => Finding::Absent,
        Some(cid) => {
            let record = blocks.block(&cid).ok_or_else(|| missing("record", cid))?;
            used.push(cid);
            Finding::Present {
                cid,
                record: record.bytes().to_vec(),
            }
        }
    };
    used.sort_unstable();
    used.dedup();
    Ok(ProofOutcome {
        did: commit.did().clone(),
        rev: commit.rev(),
        commit: root,
        finding,
        signature,
        unused_blocks_count: blocks.0.len().saturating_sub(used.len()),
    })
}

/// The blocks of one proof, which its limits keep few.
#[derive(Default)]
struct ProofBlocks(HashMap<Cid, VerifiedBlock>);

fn missing(what: &str, cid: Cid) -> Error {
    let message = format!("the proof does not hold the {what} {cid}");
    Error::new(ErrorKind::Incomplete, message).with_cid(cid)
}

impl ProofBlocks {
    /// Reads and hashes all blocks of a proof's CAR, and says which its root is.
    fn read(car: &[u8]) -> Result<(Cid, Self)> {
        let limits = CarLimits {
            bytes_max: PROOF_BYTES_MAX,
            blocks_max: PROOF_BLOCKS_MAX,
            ..CarLimits::default()
        };
        let mut reader = CarBlocks::open(car, limits)?;
        let root = reader.root();
        let mut blocks = Self::default();
        while let Some(block) = reader.next_block()? {
            let block = block.verify()?;
            blocks.0.insert(*block.cid(), block);
        }
        Ok((root, blocks))
    }

    fn block(&self, cid: &Cid) -> Option<VerifiedRef<'_>> {
        self.0.get(cid).map(VerifiedRef::from)
    }
}

impl BlockSource for ProofBlocks {
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        _scratch: &'a mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'a>>> {
        Ok(self.block(cid))
    }
}
