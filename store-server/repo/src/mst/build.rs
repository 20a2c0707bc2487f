//! [`TreeBuilder`]: the one tree that sorted records have, node by node.
//!
//! It must never hold more than one node of each depth, whatever the number of records. The plan of an export and
//! the check that nodes may be dropped (MT6) build through it.

use carrack_schema::Cid;
use carrack_schema::cid::Codec;

use super::depth_of;
use super::encode::NodeEncoder;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::hash::sha256;

#[cfg(test)]
mod tests;

/// A node that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuiltNode<'a> {
    /// Its CID.
    pub cid: Cid,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The depth of its keys.
    pub depth: u8,
}

/// What a tree came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuiltTree {
    /// The root node: what the commit's `data` must be (MT6).
    pub root: Cid,
    /// Depth of the root; 0 for an empty tree.
    pub depth: u8,
    /// Nodes.
    pub nodes_count: usize,
    /// Records, by path.
    pub records_count: u64,
}

/// Builds a tree from its records in ascending order of their keys.
///
/// Each node is given to `emit` when it is complete: every node after all that is below it and left of it, the root
/// last. Memory is one node a depth.
#[derive(Debug)]
pub struct TreeBuilder<F> {
    emit: F,
    /// The unfinished node of each depth; the deepest key so far stands in the last one.
    levels: Vec<NodeEncoder>,
    bytes: Vec<u8>,
    last_key: Vec<u8>,
    nodes_count: usize,
    records_count: u64,
}

impl<F> TreeBuilder<F> {
    /// Begins a tree whose nodes go to `emit`.
    pub fn new(emit: F) -> Self {
        Self {
            emit,
            levels: vec![NodeEncoder::default()],
            bytes: Vec::new(),
            last_key: Vec::new(),
            nodes_count: 0,
            records_count: 0,
        }
    }

    /// Adds a record and returns the depth of its key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the key does not come after all before it;
    /// [`ErrorKind::LimitExceeded`] for a key or a node too large; any error of `emit`.
    pub fn push<E>(&mut self, key: &[u8], cid: Cid) -> Result<u8, E>
    where
        E: From<Error>,
        F: FnMut(BuiltNode<'_>) -> Result<(), E>,
    {
        if self.records_count > 0 && key <= &self.last_key[..] {
            let (key, last) = (quoted(key), quoted(&self.last_key));
            let message = format!("key {key} does not come after key {last}");
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        let depth = depth_of(key);
        // What is below this key and left of it is complete now.
        for level in 0..depth {
            self.close(level)?;
        }
        self.level(depth).push(key, cid)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.records_count = self.records_count.saturating_add(1);
        Ok(depth)
    }

    /// Ends the tree with its root.
    ///
    /// # Errors
    /// Any error of `emit`.
    pub fn finish<E>(mut self) -> Result<BuiltTree, E>
    where
        E: From<Error>,
        F: FnMut(BuiltNode<'_>) -> Result<(), E>,
    {
        let top = self.levels.len().saturating_sub(1);
        let depth = u8::try_from(top).unwrap_or(u8::MAX);
        for level in 0..depth {
            self.close(level)?;
        }
        let root = self.end_node(depth)?;
        Ok(BuiltTree {
            root,
            depth,
            nodes_count: self.nodes_count,
            records_count: self.records_count,
        })
    }

    /// Ends the node of this depth, if there is one, as the latest child of the node above.
    fn close<E>(&mut self, depth: u8) -> Result<(), E>
    where
        F: FnMut(BuiltNode<'_>) -> Result<(), E>,
    {
        if self.level(depth).is_empty() {
            return Ok(());
        }
        let cid = self.end_node(depth)?;
        self.level(depth.saturating_add(1)).set_child(cid);
        Ok(())
    }

    fn end_node<E>(&mut self, depth: u8) -> Result<Cid, E>
    where
        F: FnMut(BuiltNode<'_>) -> Result<(), E>,
    {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.level(depth).finish(&mut bytes);
        let cid = Cid::new(Codec::DagCbor, sha256(&bytes));
        self.bytes = bytes;
        self.nodes_count = self.nodes_count.saturating_add(1);
        let bytes = &self.bytes;
        (self.emit)(BuiltNode { cid, bytes, depth })?;
        Ok(cid)
    }

    fn level(&mut self, depth: u8) -> &mut NodeEncoder {
        let depth = usize::from(depth);
        if self.levels.len() <= depth {
            self.levels
                .resize_with(depth.saturating_add(1), NodeEncoder::default);
        }
        self.levels
            .get_mut(depth)
            .expect("the levels were just made to reach this depth")
    }
}

/// Builds the tree of records in ascending order of their keys, for its root alone (MT6).
///
/// # Errors
/// As [`TreeBuilder::push`].
pub fn tree_of<'k>(records: impl IntoIterator<Item = (&'k [u8], Cid)>) -> Result<BuiltTree> {
    let mut builder = TreeBuilder::new(|_: BuiltNode<'_>| Ok::<_, Error>(()));
    for (key, cid) in records {
        builder.push(key, cid)?;
    }
    builder.finish()
}
