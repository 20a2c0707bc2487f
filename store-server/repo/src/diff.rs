//! [`diff()`]: what became of the records between two trees, without reading what both have in common.
//!
//! It must never hold more than one node of each depth, or go into a child that stands at the same place in both
//! trees. A `since` CAR is applied with it (DF1): its deletions show in no other way.
//!
//! It shows what differs, not that either tree is legal: what is skipped is not judged. Whoever applies the changes
//! to rows checks that the rows' tree has the new root (MT6).

use carrack_schema::Cid;

use crate::cursor::{Cursor, Step};
use crate::error::{Error, Result, quoted};
use crate::walk::{BlockSource, NOT_A_PATH, split_path};

#[cfg(test)]
mod tests;

/// A tree to compare: its root, and where its nodes come from.
#[derive(Debug)]
pub struct Tree<'s, S> {
    /// The root.
    pub root: Cid,
    /// The nodes. Only those that differ are asked for, and a few beside them.
    pub nodes: &'s mut S,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is in the new tree only.
    Created {
        /// Its CID there.
        new: Cid,
    },
    /// It is in both with another CID each.
    Updated {
        /// Its CID in the old tree.
        old: Cid,
        /// Its CID in the new tree.
        new: Cid,
    },
    /// It is in the old tree only.
    Deleted {
        /// Its CID there.
        old: Cid,
    },
}

impl Edit {
    /// Returns the record's CID in the old tree.
    pub fn old_cid(&self) -> Option<Cid> {
        match *self {
            Self::Created { .. } => None,
            Self::Updated { old, .. } | Self::Deleted { old } => Some(old),
        }
    }

    /// Returns the record's CID in the new tree.
    pub fn new_cid(&self) -> Option<Cid> {
        match *self {
            Self::Deleted { .. } => None,
            Self::Updated { new, .. } | Self::Created { new } => Some(new),
        }
    }
}

/// A record that is not the same in both trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its path, `collection/rkey`.
    pub path: &'a str,
    /// What became of it.
    pub edit: Edit,
}

/// What a diff went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffStats {
    /// Nodes read of the old tree.
    pub old_nodes_count: usize,
    /// Nodes read of the new tree.
    pub new_nodes_count: usize,
    /// Records created.
    pub created_count: u64,
    /// Records updated.
    pub updated_count: u64,
    /// Records deleted.
    pub deleted_count: u64,
}

/// Compares two trees of records and calls `visit` for each change, in ascending order of paths.
///
/// # Errors
/// As [`walk`](crate::walk()), for what is read of either tree; [`ErrorKind::BadStructure`](crate::ErrorKind) too if
/// the changes do not ascend, which they do between legal trees; any error of `visit`, which ends the diff.
pub fn diff<E: From<Error>>(
    old: Tree<'_, impl BlockSource>,
    new: Tree<'_, impl BlockSource>,
    mut visit: impl FnMut(Change<'_>) -> Result<(), E>,
) -> Result<DiffStats, E> {
    let mut known = String::new();
    diff_keys(old, new, |key, edit| {
        let Some((path, (collection, _))) = split_path(key, &known) else {
            return Err(Error::structure(format!("key {} {NOT_A_PATH}", quoted(key))).into());
        };
        if collection != known {
            known.clear();
            known.push_str(collection);
        }
        visit(Change { path, edit })
    })
}

/// Like [`diff()`], for trees whose keys may be any bytes.
///
/// # Errors
/// As [`diff()`].
pub fn diff_keys<E: From<Error>>(
    old: Tree<'_, impl BlockSource>,
    new: Tree<'_, impl BlockSource>,
    visit: impl FnMut(&[u8], Edit) -> Result<(), E>,
) -> Result<DiffStats, E> {
    if old.root == new.root {
        return Ok(DiffStats::default());
    }
    let mut differ = Differ {
        old: Side {
            cursor: Cursor::default(),
            nodes: old.nodes,
        },
        new: Side {
            cursor: Cursor::default(),
            nodes: new.nodes,
        },
        visit,
        last_key: Vec::new(),
        has_key: false,
        stats: DiffStats::default(),
    };
    differ.old.cursor.open_root(old.root, differ.old.nodes)?;
    differ.new.cursor.open_root(new.root, differ.new.nodes)?;
    while differ.step()? {}
    differ.stats.old_nodes_count = differ.old.cursor.nodes_count();
    differ.stats.new_nodes_count = differ.new.cursor.nodes_count();
    Ok(differ.stats)
}

struct Side<'s, S> {
    cursor: Cursor,
    nodes: &'s mut S,
}

impl<S: BlockSource> Side<'_, S> {
    fn open(&mut self, cid: Cid, depth: u8) -> Result<()> {
        self.cursor.open_child(cid, depth, self.nodes)
    }
}

struct Differ<'s, A, B, F> {
    old: Side<'s, A>,
    new: Side<'s, B>,
    visit: F,
    /// The latest key that changed.
    last_key: Vec<u8>,
    has_key: bool,
    stats: DiffStats,
}

/// Which tree to go on in.
enum Turn {
    Old,
    New,
    Both,
}

impl<A: BlockSource, B: BlockSource, F> Differ<'_, A, B, F> {
    /// Goes on by one step in one tree or both; false at the end of both.
    fn step<E: From<Error>>(&mut self) -> Result<bool, E>
    where
        F: FnMut(&[u8], Edit) -> Result<(), E>,
    {
        let (old, new) = (self.old.cursor.peek(), self.new.cursor.peek());
        if let (Some(Step::Child(old, _)), Some(Step::Child(new, _))) = (old, new)
            && old == new
        {
            // All before them is done with in both trees, so the same records come next.
            self.old.cursor.advance();
            self.new.cursor.advance();
            return Ok(true);
        }
        if old.is_none() && new.is_none() {
            return Ok(false);
        }
        match self.turn(old, new) {
            Turn::Old => self.go_on_in_old(old)?,
            Turn::New => self.go_on_in_new(new)?,
            Turn::Both => match (old, new) {
                (Some(Step::Child(old, old_depth)), Some(Step::Child(new, new_depth))) => {
                    self.old.open(old, old_depth)?;
                    self.new.open(new, new_depth)?;
                }
                _ => {
                    let old = self.old.cursor.take_record()?;
                    let new = self.new.cursor.take_record()?;
                    if old != new {
                        self.emit(Edit::Updated { old, new })?;
                    }
                }
            },
        }
        Ok(true)
    }

    fn turn(&self, old: Option<Step>, new: Option<Step>) -> Turn {
        // A child that still comes in the other tree is reached there first: what stands before it there has no
        // counterpart here. Without this look ahead its left edge would be read in both trees.
        if let Some(Step::Child(cid, depth)) = old
            && self.new.cursor.comes_later(cid, depth)
        {
            return Turn::New;
        }
        if let Some(Step::Child(cid, depth)) = new
            && self.old.cursor.comes_later(cid, depth)
        {
            return Turn::Old;
        }
        match (old, new) {
            (Some(Step::Child(_, old)), Some(Step::Child(_, new))) => match old.cmp(&new) {
                // The higher one may hold the lower one.
                std::cmp::Ordering::Greater => Turn::Old,
                std::cmp::Ordering::Less => Turn::New,
                std::cmp::Ordering::Equal => Turn::Both,
            },
            // Which keys a child has is known only inside it.
            (Some(Step::Child(..)), _) | (Some(Step::Record), None) => Turn::Old,
            (_, Some(Step::Child(..))) | (None, _) => Turn::New,
            (Some(Step::Record), Some(Step::Record)) => {
                match self.old.cursor.next_key().cmp(self.new.cursor.next_key()) {
                    std::cmp::Ordering::Less => Turn::Old,
                    std::cmp::Ordering::Greater => Turn::New,
                    std::cmp::Ordering::Equal => Turn::Both,
                }
            }
        }
    }

    fn go_on_in_old<E: From<Error>>(&mut self, step: Option<Step>) -> Result<(), E>
    where
        F: FnMut(&[u8], Edit) -> Result<(), E>,
    {
        if let Some(Step::Child(cid, depth)) = step {
            return Ok(self.old.open(cid, depth)?);
        }
        let old = self.old.cursor.take_record()?;
        self.emit(Edit::Deleted { old })
    }

    fn go_on_in_new<E: From<Error>>(&mut self, step: Option<Step>) -> Result<(), E>
    where
        F: FnMut(&[u8], Edit) -> Result<(), E>,
    {
        if let Some(Step::Child(cid, depth)) = step {
            return Ok(self.new.open(cid, depth)?);
        }
        let new = self.new.cursor.take_record()?;
        self.emit(Edit::Created { new })
    }

    /// Reports a change of the key taken last.
    fn emit<E: From<Error>>(&mut self, edit: Edit) -> Result<(), E>
    where
        F: FnMut(&[u8], Edit) -> Result<(), E>,
    {
        let count = match edit {
            Edit::Created { .. } => &mut self.stats.created_count,
            Edit::Updated { .. } => &mut self.stats.updated_count,
            Edit::Deleted { .. } => &mut self.stats.deleted_count,
        };
        *count = count.saturating_add(1);
        let side = match edit {
            Edit::Deleted { .. } => &self.old.cursor,
            _ => &self.new.cursor,
        };
        if self.has_key && side.key() <= &self.last_key[..] {
            let why = format!(
                "changes after key {}: it is out of order",
                quoted(&self.last_key)
            );
            return Err(side.refuse(&why).into());
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(side.key());
        self.has_key = true;
        (self.visit)(&self.last_key, edit)
    }
}
