//! [`walk()`]: through a whole tree, in the order of its keys, checking how its nodes fit together.
//!
//! It must never recurse on depth the input chooses, read a record's block, or take bytes nobody has hashed. The
//! importer calls it with `commit.data` to learn which blocks are nodes, which are records, and whether any node
//! is missing (rules CA3, CA5, MT1–MT5); which records are missing it sees itself, by the CIDs it is told.

use carrack_schema::{Cid, Nsid, RecordKey};

use crate::block::VerifiedRef;
use crate::cursor::{Cursor, Step};
use crate::error::{Error, Result};

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

    /// Hears of blocks that a node names, its children and its records, some of which are asked for soon.
    fn expect(&mut self, _cids: &[Cid]) {}
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
/// [`ErrorKind::Incomplete`](crate::ErrorKind::Incomplete) naming the first node that is missing and the key before it;
/// [`ErrorKind::BadStructure`](crate::ErrorKind::BadStructure) naming the node and key that break a rule; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded); any error
/// of `blocks` and of `visit`, which ends the walk.
pub fn walk<E: From<Error>>(
    root: Cid,
    blocks: &mut impl BlockSource,
    mut visit: impl FnMut(WalkedRecord<'_>) -> Result<(), E>,
) -> Result<WalkStats, E> {
    let mut cursor = Cursor::default();
    cursor.open_root(root, blocks)?;
    let depth = cursor.depth();
    let mut records_count: u64 = 0;
    let mut known = String::new();
    while let Some(step) = cursor.peek() {
        if let Step::Child(cid, depth) = step {
            cursor.open_child(cid, depth, blocks)?;
            continue;
        }
        let cid = cursor.take_record()?;
        records_count = records_count.saturating_add(1);
        let Some((path, (collection, rkey))) = split_path(cursor.key(), &known) else {
            return Err(cursor.refuse(NOT_A_PATH).into());
        };
        if collection != known {
            known.clear();
            known.push_str(collection);
        }
        visit(WalkedRecord {
            path,
            collection,
            rkey,
            cid,
        })?;
    }
    Ok(WalkStats {
        nodes_count: cursor.nodes_count(),
        node_bytes: cursor.node_bytes(),
        records_count,
        depth,
    })
}

/// Why a key is refused that [`split_path`] does not split.
pub(crate) const NOT_A_PATH: &str = "is not a record path";

/// Returns a key as a record path, with its collection and record key. `known` is a collection found valid, or empty.
pub(crate) fn split_path<'k>(key: &'k [u8], known: &str) -> Option<(&'k str, (&'k str, &'k str))> {
    let path = std::str::from_utf8(key).ok()?;
    let (collection, rkey) = path.split_once('/')?;
    // Before the first key, what is known is empty, and so may be a hostile key's collection.
    let is_known = !known.is_empty() && known == collection;
    let is_path = (is_known || collection.parse::<Nsid>().is_ok()) && is_record_key(rkey);
    is_path.then_some((path, (collection, rkey)))
}

/// Whether a text is a record key. The common form is seen without the allocation a [`RecordKey`] takes.
fn is_record_key(text: &str) -> bool {
    let is_plain = !text.is_empty()
        && text.len() <= carrack_schema::names::RECORD_KEY_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain || text.parse::<RecordKey>().is_ok()
}
