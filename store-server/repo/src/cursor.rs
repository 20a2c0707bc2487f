//! [`Cursor`]: a place in a tree, between two of its records or children, checking what it goes over.
//!
//! It must never recurse on depth the input chooses, read a record's block, or take bytes nobody has hashed. The walk
//! and the diff move it; what a key means is theirs to judge.

use carrack_schema::Cid;
use carrack_schema::cid::Codec;
use carrack_schema::limits::CAR_BLOCKS_MAX;

use crate::error::{Error, ErrorKind, Result, quoted};
use crate::mst::Node;
use crate::walk::BlockSource;

/// A node that the cursor is in. Its memory serves the next node at the same distance from the root.
#[derive(Default)]
struct Frame {
    cid: Option<Cid>,
    node: Node,
    depth: u8,
    /// How far the cursor is in this node: even steps are children, odd ones records: l, e\[0\], e\[0\].t, e\[1\], …
    next: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A child and the depth it must be of.
    Child(Cid, u8),
    /// A record.
    Record,
}

/// A place in a tree.
#[derive(Default)]
pub(crate) struct Cursor {
    frames: Vec<Frame>,
    open_count: usize,
    scratch: Vec<u8>,
    /// The links of the node opened last.
    links: Vec<Cid>,
    /// The latest key taken.
    last_key: Vec<u8>,
    has_key: bool,
    nodes_count: usize,
    node_bytes: u64,
}

impl Cursor {
    /// Returns how many nodes were read.
    pub(crate) fn nodes_count(&self) -> usize {
        self.nodes_count
    }

    /// Returns how many bytes those nodes have.
    pub(crate) fn node_bytes(&self) -> u64 {
        self.node_bytes
    }

    /// Returns the depth of the node the cursor is in.
    pub(crate) fn depth(&self) -> u8 {
        self.top().map_or(0, |frame| frame.depth)
    }

    /// Returns the latest key taken.
    pub(crate) fn key(&self) -> &[u8] {
        &self.last_key
    }

    fn top(&self) -> Option<&Frame> {
        self.frames.get(self.open_count.checked_sub(1)?)
    }

    /// Returns what comes next, and stays before it; `None` at the end of the tree.
    pub(crate) fn peek(&mut self) -> Option<Step> {
        loop {
            let frame = self.frames.get_mut(self.open_count.checked_sub(1)?)?;
            if frame.next > frame.node.entries_count().saturating_mul(2) {
                self.open_count = self.open_count.saturating_sub(1);
                continue;
            }
            if frame.next % 2 == 1 {
                return Some(Step::Record);
            }
            if let Some(cid) = frame.node.child(frame.next / 2) {
                // `check_shape` has seen that a node with children is above depth 0.
                return Some(Step::Child(cid, frame.depth.saturating_sub(1)));
            }
            frame.next = frame.next.saturating_add(1);
        }
    }

    /// Goes over what comes next.
    pub(crate) fn advance(&mut self) {
        let top = self.open_count.checked_sub(1);
        if let Some(frame) = top.and_then(|top| self.frames.get_mut(top)) {
            frame.next = frame.next.saturating_add(1);
        }
    }

    /// Returns the key of the record that comes next.
    pub(crate) fn next_key(&self) -> &[u8] {
        let entry = self
            .top()
            .and_then(|frame| frame.node.entry(frame.next / 2));
        entry.map_or(&[], |entry| entry.key)
    }

    /// Whether a child of this depth still comes in the node that would hold it. Reads nothing.
    pub(crate) fn comes_later(&self, cid: Cid, depth: u8) -> bool {
        let mut open = self.frames.iter().take(self.open_count);
        let above = open.find(|frame| frame.depth.checked_sub(1) == Some(depth));
        above.is_some_and(|frame| {
            let first = frame.next.div_ceil(2);
            (first..=frame.node.entries_count()).any(|index| frame.node.child(index) == Some(cid))
        })
    }

    /// Goes over the record that comes next, checks its key against all keys before it, and returns its CID.
    ///
    /// Its key is [`key`](Self::key) from then on.
    pub(crate) fn take_record(&mut self) -> Result<Cid> {
        let top = self
            .open_count
            .checked_sub(1)
            .and_then(|top| self.frames.get_mut(top));
        let Some(frame) = top else {
            return Err(nothing_there());
        };
        let Some(entry) = frame.node.entry(frame.next / 2) else {
            return Err(nothing_there());
        };
        if self.has_key && entry.key <= &self.last_key[..] {
            let last = quoted(&self.last_key);
            return Err(refusal(
                frame.cid,
                entry.key,
                &format!("does not come after key {last}"),
            ));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(entry.key);
        self.has_key = true;
        let cid = entry.value;
        frame.next = frame.next.saturating_add(1);
        Ok(cid)
    }

    /// Makes the error of the record that was taken last.
    pub(crate) fn refuse(&self, why: &str) -> Error {
        refusal(self.top().and_then(|frame| frame.cid), &self.last_key, why)
    }

    /// Enters the root, whose depth it shows itself.
    pub(crate) fn open_root(&mut self, root: Cid, blocks: &mut impl BlockSource) -> Result<()> {
        if root.codec() != Codec::DagCbor {
            let message = format!("the tree's root {root} is not a dag-cbor block");
            return Err(Error::structure(message).with_cid(root));
        }
        self.open(root, None, blocks)
    }

    /// Enters the child that comes next: `cid`, which must be of this depth.
    pub(crate) fn open_child(
        &mut self,
        cid: Cid,
        depth: u8,
        blocks: &mut impl BlockSource,
    ) -> Result<()> {
        self.advance();
        self.open(cid, Some(depth), blocks)
    }

    fn open(&mut self, cid: Cid, depth: Option<u8>, blocks: &mut impl BlockSource) -> Result<()> {
        if self.nodes_count >= CAR_BLOCKS_MAX {
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
        check_given(cid, block.cid())?;
        let in_node = |error: Error| error.within(format_args!("MST node {cid}")).with_cid(cid);
        frame.node.read(block.bytes()).map_err(in_node)?;
        frame.depth = check_shape(&frame.node, depth).map_err(in_node)?;
        frame.cid = Some(cid);
        frame.next = 0;
        self.open_count = self.open_count.saturating_add(1);
        self.nodes_count = self.nodes_count.saturating_add(1);
        self.node_bytes = self.node_bytes.saturating_add(block.bytes().len() as u64);
        self.links.clear();
        frame.node.push_links(&mut self.links);
        blocks.expect(&self.links);
        Ok(())
    }
}

/// Checks that a source gave what it was asked for.
pub(crate) fn check_given(asked: Cid, given: &Cid) -> Result<()> {
    if *given == asked {
        return Ok(());
    }
    let message = format!("asked for block {asked}, was given {given}");
    Err(Error::new(ErrorKind::Internal, message).with_cid(asked))
}

fn nothing_there() -> Error {
    Error::new(ErrorKind::Internal, "a record taken where none comes")
}

fn refusal(node: Option<Cid>, key: &[u8], why: &str) -> Error {
    let key = quoted(key);
    match node {
        Some(node) => Error::structure(format!("MST node {node}: key {key} {why}")).with_cid(node),
        None => Error::structure(format!("key {key} {why}")),
    }
}

/// Checks a node against the depth it must be of, and returns its depth (MT1, MT3).
pub(crate) fn check_shape(node: &Node, expected: Option<u8>) -> Result<u8> {
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
