//! [`TreePlan`]: what must be known of a tree to write any of its nodes from sorted rows, in any order.
//!
//! It must never hold a node's bytes or a key: it takes 36 bytes a node and one a row. What a store keeps of a tree is
//! [`TreePlan::digests`]; with them a proof rebuilds only the nodes on its path. The export and [`RebuiltNodes`] read
//! nodes through it.

use std::collections::HashMap;
use std::ops::Range;

use carrack_schema::Cid;
use carrack_schema::cid::Codec;
use carrack_schema::limits::CAR_BLOCKS_MAX;

use super::build::{BuiltNode, TreeBuilder};
use super::depth_of;
use super::encode::NodeEncoder;
use crate::block::VerifiedRef;
use crate::error::{Error, ErrorKind, Result};
use crate::walk::BlockSource;

#[cfg(test)]
mod tests;

/// A repository's records as rows, in ascending order of their keys.
pub trait Rows {
    /// Returns how many there are.
    fn rows_count(&self) -> usize;

    /// Puts a row's key, `collection/rkey`, in place of what `out` holds.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn key(&mut self, index: usize, out: &mut Vec<u8>) -> Result<()>;

    /// Returns a row's record CID. This may cost encoding and hashing the record.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn cid(&mut self, index: usize) -> Result<Cid>;
}

/// A node's place in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// Its number in pre-order.
    index: usize,
    depth: u8,
    /// The rows of it and of all that is below it.
    rows: Range<usize>,
}

/// What a node holds, in the order of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A child.
    Node(NodeAt),
    /// A row of the node's own.
    Row(usize),
}

/// The shape of a tree and the digests of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePlan {
    /// Each row's depth.
    depths: Vec<u8>,
    /// Nodes in each node's subtree, itself included; in pre-order.
    sizes: Vec<u32>,
    /// Each node's digest, in pre-order.
    digests: Vec<[u8; 32]>,
    depth: u8,
}

// A plan's numbers of nodes fit into its sizes.
const _: () = assert!(CAR_BLOCKS_MAX <= u32::MAX as usize);

impl TreePlan {
    /// Goes through all rows once and builds every node.
    ///
    /// # Errors
    /// Of the rows, and as [`TreeBuilder::push`].
    pub fn build(rows: &mut impl Rows) -> Result<Self> {
        let mut depths = Vec::with_capacity(rows.rows_count());
        let mut post_order = Vec::new();
        let mut builder = TreeBuilder::new(|node: BuiltNode<'_>| {
            if post_order.len() >= CAR_BLOCKS_MAX {
                return Err(Error::limit(format!(
                    "tree has more than {CAR_BLOCKS_MAX} nodes"
                )));
            }
            post_order.push(*node.cid.digest());
            Ok(())
        });
        let mut key = Vec::new();
        for index in 0..rows.rows_count() {
            rows.key(index, &mut key)?;
            depths.push(builder.push(&key, rows.cid(index)?)?);
        }
        let tree = builder.finish()?;
        let shape = Shape::of(&depths);
        let mut digests = vec![[0; 32]; post_order.len()];
        for (digest, node) in post_order.iter().zip(&shape.nodes) {
            if let Some(slot) = digests.get_mut(shape.pre_order(node)) {
                *slot = *digest;
            }
        }
        let plan = Self::assemble(depths, &shape, digests)?;
        if plan.root() != tree.root {
            return Err(Error::new(
                ErrorKind::Internal,
                "a plan with another root than its tree",
            ));
        }
        Ok(plan)
    }

    /// Takes up again what a store has kept: the digests, in pre-order, of the tree that these rows have.
    ///
    /// Reads every key and no CID. The digests are believed here; each node is checked when it is rebuilt.
    ///
    /// # Errors
    /// Of the rows; [`ErrorKind::InvalidArgument`] if a tree of these keys has another number of nodes.
    pub fn with_digests(rows: &mut impl Rows, digests: Vec<[u8; 32]>) -> Result<Self> {
        let mut depths = Vec::with_capacity(rows.rows_count());
        let mut key = Vec::new();
        for index in 0..rows.rows_count() {
            rows.key(index, &mut key)?;
            depths.push(depth_of(&key));
        }
        let shape = Shape::of(&depths);
        Self::assemble(depths, &shape, digests)
    }

    fn assemble(depths: Vec<u8>, shape: &Shape, digests: Vec<[u8; 32]>) -> Result<Self> {
        if digests.len() != shape.nodes.len() {
            let message = format!(
                "{} digests for a tree of {} nodes",
                digests.len(),
                shape.nodes.len()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let mut sizes = vec![0; digests.len()];
        for node in &shape.nodes {
            if let Some(size) = sizes.get_mut(shape.pre_order(node)) {
                *size = node.size;
            }
        }
        Ok(Self {
            depths,
            sizes,
            digests,
            depth: shape.depth,
        })
    }

    /// Returns the root's CID: what the commit's `data` must be (MT6).
    pub fn root(&self) -> Cid {
        self.cid(0)
    }

    /// Returns the digests of all nodes, in pre-order.
    pub fn digests(&self) -> &[[u8; 32]] {
        &self.digests
    }

    /// Returns where the root is.
    pub fn root_at(&self) -> NodeAt {
        NodeAt {
            index: 0,
            depth: self.depth,
            rows: 0..self.depths.len(),
        }
    }

    /// Returns a node's CID.
    pub fn cid_at(&self, at: &NodeAt) -> Cid {
        self.cid(at.index)
    }

    /// Returns the CIDs of all nodes, in pre-order.
    pub fn cids(&self) -> impl Iterator<Item = Cid> {
        self.digests
            .iter()
            .map(|digest| Cid::new(Codec::DagCbor, *digest))
    }

    fn cid(&self, index: usize) -> Cid {
        // Every tree has a root, and `items` makes places only for nodes that are there.
        let digest = self.digests.get(index).copied().unwrap_or_default();
        Cid::new(Codec::DagCbor, digest)
    }

    /// Returns what a node holds.
    pub fn items(&self, at: &NodeAt) -> Vec<Item> {
        let mut items = Vec::new();
        let mut index = at.index.saturating_add(1);
        let mut start = at.rows.start;
        while start < at.rows.end {
            let rest = self.depths.get(start..at.rows.end).unwrap_or_default();
            let gap = rest
                .iter()
                .position(|&depth| depth == at.depth)
                .unwrap_or(rest.len());
            let end = start.saturating_add(gap);
            if gap > 0 {
                let depth = at.depth.saturating_sub(1);
                items.push(Item::Node(NodeAt {
                    index,
                    depth,
                    rows: start..end,
                }));
                let size = self.sizes.get(index).copied().unwrap_or_default();
                index = index.saturating_add(size as usize);
            }
            if end < at.rows.end {
                items.push(Item::Row(end));
            }
            start = end.saturating_add(1);
        }
        items
    }

    /// Puts a node's bytes in place of what `out` holds. `items` are the node's own.
    ///
    /// # Errors
    /// Of the rows; [`ErrorKind::Internal`] if the bytes do not hash to the node's digest: the rows are not those
    /// that the plan was made from, or its digests are not theirs.
    pub fn write_node<'o>(
        &self,
        at: &NodeAt,
        items: &[Item],
        rows: &mut impl Rows,
        out: &'o mut Vec<u8>,
    ) -> Result<VerifiedRef<'o>> {
        let mut encoder = NodeEncoder::default();
        let mut key = Vec::new();
        for item in items {
            match item {
                Item::Node(child) => encoder.set_child(self.cid_at(child)),
                Item::Row(index) => {
                    rows.key(*index, &mut key)?;
                    encoder.push(&key, rows.cid(*index)?)?;
                }
            }
        }
        encoder.finish(out);
        let cid = self.cid_at(at);
        VerifiedRef::check(cid, out).map_err(|_| {
            let message = format!("the rows do not give MST node {cid}");
            Error::new(ErrorKind::Internal, message).with_cid(cid)
        })
    }
}

/// A tree's shape, which the depths of its keys alone determine.
struct Shape {
    /// In the order in which a builder completes them.
    nodes: Vec<ShapeNode>,
    depth: u8,
}

struct ShapeNode {
    /// Nodes that are wholly left of it.
    before: u32,
    /// Nodes in its subtree, itself included.
    size: u32,
    depth: u8,
}

impl Shape {
    /// Goes the way of [`TreeBuilder`], with numbers in place of nodes.
    fn of(depths: &[u8]) -> Self {
        let mut shape = Self {
            nodes: Vec::new(),
            depth: 0,
        };
        // For the unfinished node of each depth, the nodes left of it.
        let mut open = [None; 256];
        for &depth in depths {
            shape.close_below(depth, &mut open);
            let before = shape.count();
            if let Some(slot) = open.get_mut(usize::from(depth)) {
                slot.get_or_insert(before);
            }
            shape.depth = shape.depth.max(depth);
        }
        shape.close_below(shape.depth, &mut open);
        shape.push(0, shape.depth);
        shape
    }

    fn count(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    fn close_below(&mut self, depth: u8, open: &mut [Option<u32>; 256]) {
        for level in 0..depth {
            let above = usize::from(level).saturating_add(1);
            let Some((ended, rest)) = open.split_at_mut_checked(above) else {
                continue;
            };
            let (Some(slot), Some(above)) = (ended.last_mut(), rest.first_mut()) else {
                continue;
            };
            if let Some(before) = slot.take() {
                self.push(before, level);
                above.get_or_insert(before);
            }
        }
    }

    fn push(&mut self, before: u32, depth: u8) {
        let size = self.count().saturating_sub(before).saturating_add(1);
        self.nodes.push(ShapeNode {
            before,
            size,
            depth,
        });
    }

    /// Returns a node's number in pre-order: after those left of it and those above it, one of each depth.
    fn pre_order(&self, node: &ShapeNode) -> usize {
        let above = self.depth.saturating_sub(node.depth);
        (node.before as usize).saturating_add(usize::from(above))
    }
}

/// The nodes of a tree, rebuilt from its rows when they are asked for.
///
/// A node can be asked for once, after the node above it: as [`walk`](crate::walk()), [`diff`](crate::diff()) and
/// [`prove`](crate::proof::prove) do. Memory is the places of children that were not asked for yet.
#[derive(Debug)]
pub struct RebuiltNodes<'a, R> {
    plan: &'a TreePlan,
    rows: &'a mut R,
    places: HashMap<Cid, NodeAt>,
    nodes_count: usize,
    rows_count: u64,
}

impl<'a, R: Rows> RebuiltNodes<'a, R> {
    /// Makes the source of a plan's nodes. `rows` are those of the plan.
    pub fn new(plan: &'a TreePlan, rows: &'a mut R) -> Self {
        let places = HashMap::from([(plan.root(), plan.root_at())]);
        Self {
            plan,
            rows,
            places,
            nodes_count: 0,
            rows_count: 0,
        }
    }

    /// Returns how many nodes were rebuilt.
    pub fn nodes_count(&self) -> usize {
        self.nodes_count
    }

    /// Returns of how many rows the CID was asked: for a store that keeps none, records hashed.
    pub fn rows_count(&self) -> u64 {
        self.rows_count
    }
}

impl<R: Rows> BlockSource for RebuiltNodes<'_, R> {
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'a>>> {
        let Some(at) = self.places.remove(cid) else {
            return Ok(None);
        };
        let items = self.plan.items(&at);
        for item in &items {
            match item {
                Item::Node(child) => {
                    self.places.insert(self.plan.cid_at(child), child.clone());
                }
                Item::Row(_) => self.rows_count = self.rows_count.saturating_add(1),
            }
        }
        self.nodes_count = self.nodes_count.saturating_add(1);
        self.plan
            .write_node(&at, &items, self.rows, scratch)
            .map(Some)
    }
}
