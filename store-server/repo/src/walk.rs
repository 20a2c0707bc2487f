//! [`walk()`]: through a whole tree, in the order of its keys, checking how its nodes fit together.
//!
//! It must never recurse on depth the input chooses, read a record's block, or take bytes nobody has hashed. The
//! importer calls it with `commit.data` to learn which blocks are nodes, which are records, and whether any node
//! is missing (rules CA3, CA5, MT1–MT5); which records are missing it sees itself, by the CIDs it is told.

use carrack_schema::cid::Codec;
use carrack_schema::limits::CAR_BLOCKS_MAX;
use carrack_schema::{Cid, Nsid, RecordKey};

use crate::block::VerifiedRef;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::mst::Node;

#[cfg(test)]
mod tests;

/// Where [`walk()`] gets its nodes from.
pub trait BlockSource {
    /// Returns the block with this CID, or `None` if there is none.
    ///
    /// The bytes may be the source's own or put into `scratch`, which keeps its memory from call to call. The walk
    /// asks for each node once, in the order of the keys, and for nothing but nodes.
    ///
    /// # Errors
    /// If the source cannot tell; the walk ends with that error.
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'a>>>;
}

/// A record that a tree names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalkedRecord<'a> {
    /// Its path, `collection/rkey`: the text of a [`RecordPath`](carrack_schema::RecordPath), and the key's bytes.
    pub path: &'a str,
    /// The collection, a valid [`Nsid`].
    pub collection: &'a str,
    /// The key within the collection, a valid [`RecordKey`].
    pub rkey: &'a str,
    /// Its block. Several paths may name one (RC4).
    pub cid: Cid,
}

/// What a walk went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkStats {
    /// Nodes, each another block.
    pub nodes_count: usize,
    /// Bytes of those nodes.
    pub node_bytes: u64,
    /// Records, by path.
    pub records_count: u64,
    /// Depth of the root; 0 for an empty tree.
    pub depth: u8,
}

/// Walks the tree under `root` and calls `visit` for each record, in ascending order of paths.
///
/// The tree is a legal one if this returns `Ok`; until then `visit` has seen the records before the fault. No
/// node is walked twice: its keys would have to ascend past themselves. So the nodes of `blocks` bound the walk.
///
/// # Errors
/// [`ErrorKind::Incomplete`] naming the first node that is missing and the key before it;
/// [`ErrorKind::BadStructure`] naming the node and key that break a rule; [`ErrorKind::LimitExceeded`]; any error
/// of `blocks` and of `visit`, which ends the walk.
pub fn walk<E: From<Error>>(
    root: Cid,
    blocks: &mut impl BlockSource,
    mut visit: impl FnMut(WalkedRecord<'_>) -> Result<(), E>,
) -> Result<WalkStats, E> {
    let mut walker = Walker::default();
    walker.open_root(root, blocks)?;
    while let Some(step) = walker.step() {
        match step {
            Step::Child(cid, depth) => walker.open_child(cid, depth, blocks)?,
            Step::Record(index) => {
                let record = walker.record(index)?;
                visit(record)?;
            }
        }
    }
    Ok(walker.stats)
}

/// A node that is being walked. Its memory serves the next node at the same distance from the root.
#[derive(Default)]
struct Frame {
    cid: Option<Cid>,
    node: Node,
    depth: u8,
    /// How far the walk is in this node: its left child, its first entry, that entry's child, and so on.
    next: usize,
}

enum Step {
    /// A child and the depth it must be of.
    Child(Cid, u8),
    /// An entry of the innermost frame.
    Record(usize),
}

#[derive(Default)]
struct Walker {
    frames: Vec<Frame>,
    open_count: usize,
    scratch: Vec<u8>,
    /// The latest key of the whole tree.
    last_key: Vec<u8>,
    /// Bytes of the latest key's collection, which was found valid; 0 for none.
    collection_bytes: usize,
    stats: WalkStats,
}

impl Walker {
    fn top(&self) -> Option<&Frame> {
        self.frames.get(self.open_count.checked_sub(1)?)
    }

    fn step(&mut self) -> Option<Step> {
        loop {
            let frame = self.frames.get_mut(self.open_count.checked_sub(1)?)?;
            let next = frame.next;
            frame.next = next.saturating_add(1);
            if next > frame.node.entries_count().saturating_mul(2) {
                self.open_count = self.open_count.saturating_sub(1);
                continue;
            }
            // Even steps are children, odd ones records: l, e[0], e[0].t, e[1], …
            let index = next / 2;
            if next % 2 == 1 {
                return Some(Step::Record(index));
            }
            let child = match index.checked_sub(1) {
                None => frame.node.left(),
                Some(index) => frame.node.entry(index).and_then(|entry| entry.tree),
            };
            if let Some(cid) = child {
                // `check_shape` has seen that a node with children is above depth 0.
                return Some(Step::Child(cid, frame.depth.saturating_sub(1)));
            }
        }
    }

    fn open_root(&mut self, root: Cid, blocks: &mut impl BlockSource) -> Result<()> {
        if root.codec() != Codec::DagCbor {
            let message = format!("the tree's root {root} is not a dag-cbor block");
            return Err(Error::structure(message).with_cid(root));
        }
        self.open(root, None, blocks)?;
        self.stats.depth = self.top().map_or(0, |frame| frame.depth);
        Ok(())
    }

    fn open_child(&mut self, cid: Cid, depth: u8, blocks: &mut impl BlockSource) -> Result<()> {
        self.open(cid, Some(depth), blocks)
    }

    /// Opens a node; `depth` is what it must be of, and unknown for the root.
    fn open(&mut self, cid: Cid, depth: Option<u8>, blocks: &mut impl BlockSource) -> Result<()> {
        if self.stats.nodes_count >= CAR_BLOCKS_MAX {
            let message = format!("tree has more than {CAR_BLOCKS_MAX} nodes: MST node {cid}");
            return Err(Error::limit(message).with_cid(cid));
        }
        if self.frames.len() <= self.open_count {
            self.frames.push(Frame::default());
        }
        let Some(frame) = self.frames.get_mut(self.open_count) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a frame that was just made is gone",
            ));
        };
        let Some(block) = blocks.get(&cid, &mut self.scratch)? else {
            let place = match &self.last_key[..] {
                [] => "before the first key".to_owned(),
                key => format!("after key {}", quoted(key)),
            };
            let message = format!("MST node {cid} is missing, {place}");
            return Err(Error::new(ErrorKind::Incomplete, message).with_cid(cid));
        };
        if *block.cid() != cid {
            let message = format!("asked for block {cid}, was given {}", block.cid());
            return Err(Error::new(ErrorKind::Internal, message).with_cid(cid));
        }
        let in_node = |error: Error| error.within(format_args!("MST node {cid}")).with_cid(cid);
        frame.node.read(block.bytes()).map_err(in_node)?;
        frame.depth = check_shape(&frame.node, depth).map_err(in_node)?;
        frame.cid = Some(cid);
        frame.next = 0;
        self.open_count = self.open_count.saturating_add(1);
        self.stats.nodes_count = self.stats.nodes_count.saturating_add(1);
        self.stats.node_bytes = self
            .stats
            .node_bytes
            .saturating_add(block.bytes().len() as u64);
        Ok(())
    }

    /// Checks a key against all keys before it and returns its record.
    fn record(&mut self, index: usize) -> Result<WalkedRecord<'_>> {
        let frame = self
            .open_count
            .checked_sub(1)
            .and_then(|top| self.frames.get(top));
        let found = frame.and_then(|frame| Some((frame.cid?, frame.node.entry(index)?)));
        let Some((node, entry)) = found else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a walk beyond a node's entries",
            ));
        };
        let refuse = |why: &str| {
            let message = format!("MST node {node}: key {} {why}", quoted(entry.key));
            Error::structure(message).with_cid(node)
        };
        if self.stats.records_count > 0 && entry.key <= &self.last_key[..] {
            return Err(refuse(&format!(
                "does not come after key {}",
                quoted(&self.last_key)
            )));
        }
        let path = std::str::from_utf8(entry.key).ok();
        let split = path.and_then(|path| Some((path, path.split_once('/')?)));
        let Some((path, (collection, rkey))) = split else {
            return Err(refuse("is not a record path"));
        };
        let known = self
            .last_key
            .get(..self.collection_bytes)
            .unwrap_or_default();
        // Before the first key, what is known is empty, and so may be a hostile key's collection.
        let is_known = !known.is_empty() && known == collection.as_bytes();
        if !(is_known || collection.parse::<Nsid>().is_ok()) || !is_record_key(rkey) {
            return Err(refuse("is not a record path"));
        }
        self.collection_bytes = collection.len();
        self.last_key.clear();
        self.last_key.extend_from_slice(entry.key);
        self.stats.records_count = self.stats.records_count.saturating_add(1);
        Ok(WalkedRecord {
            path,
            collection,
            rkey,
            cid: entry.value,
        })
    }
}

/// Whether a text is a record key. The common form is seen without the allocation a [`RecordKey`] takes.
fn is_record_key(text: &str) -> bool {
    let is_plain = !text.is_empty()
        && text.len() <= carrack_schema::names::RECORD_KEY_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain || text.parse::<RecordKey>().is_ok()
}

/// Checks a node against the depth it must be of, and returns its depth (MT1, MT3).
fn check_shape(node: &Node, expected: Option<u8>) -> Result<u8> {
    let depth = match (expected, node.depth()) {
        (None, Some(depth)) => depth,
        (None, None) if node.has_children() => {
            return Err(Error::structure("the root has a child and no entries"));
        }
        (None, None) => 0,
        (Some(_), None) if !node.has_children() => {
            return Err(Error::structure(
                "has neither entries nor children, and is not the root",
            ));
        }
        (Some(expected), None) => expected,
        (Some(expected), Some(depth)) if depth == expected => depth,
        (Some(expected), Some(depth)) => {
            let message =
                format!("its keys are of depth {depth}, not {expected} as its place says");
            return Err(Error::structure(message));
        }
    };
    if depth == 0 && node.has_children() {
        return Err(Error::structure("has a child below depth 0"));
    }
    Ok(depth)
}
