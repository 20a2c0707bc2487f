//! [`Base`]: the stored revision, where a `since` export goes on from.
//!
//! Such an export holds what is newer than a revision, and the commit; the rest of the new tree is the old one's (DF1).
//! Nodes are rebuilt and records looked up here when the CAR does not hold them, whatever the CAR claims to be: what
//! neither has is missing.

use std::collections::HashMap;

use carrack_repo::mst::plan::{Item, NodeAt};
use carrack_repo::{BlockIndex, BlockPlace, TreePlan, VerifiedRef};
use carrack_schema::{Cid, RecordPath};

use crate::error::{Error, Result};
use crate::store::{Lookup, Repo};
use crate::tree::TreeRows;

/// The stored revision of a repo. Costs nothing until it is asked.
pub(super) struct Base<'a> {
    repo: &'a Repo,
    nodes: Option<Nodes>,
    records: Option<BlockIndex>,
}

/// The stored tree, any node of which can be rebuilt.
struct Nodes {
    plan: TreePlan,
    places: HashMap<Cid, NodeAt>,
}

impl<'a> Base<'a> {
    pub(super) fn new(repo: &'a Repo) -> Self {
        Self {
            repo,
            nodes: None,
            records: None,
        }
    }

    /// Returns a node of the stored tree.
    pub(super) fn node<'s>(
        &mut self,
        cid: &Cid,
        scratch: &'s mut Vec<u8>,
    ) -> carrack_repo::Result<Option<VerifiedRef<'s>>> {
        let passed_on = |error: Error| {
            carrack_repo::Error::new(carrack_repo::ErrorKind::Internal, error.chain())
        };
        let mut rows = TreeRows::new(self.repo).map_err(passed_on)?;
        if self.nodes.is_none() {
            let plan = self.repo.plan(&mut rows).map_err(passed_on)?;
            self.nodes = Some(Nodes {
                places: places(&plan),
                plan,
            });
        }
        let Some(Nodes { plan, places }) = &self.nodes else {
            return Ok(None);
        };
        let Some(at) = places.get(cid) else {
            return Ok(None);
        };
        plan.write_node(at, &plan.items(at), &mut rows, scratch)
            .map(Some)
    }

    /// Returns a stored record's block: at the same path, where it nearly always is, or anywhere.
    pub(super) fn record<'s>(
        &mut self,
        path: &str,
        cid: &Cid,
        scratch: &'s mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'s>>> {
        scratch.clear();
        let Ok(path) = path.parse::<RecordPath>() else {
            return Ok(None);
        };
        if let Lookup::Found(record) = self.repo.record(&path)?
            && record.cid()? == *cid
        {
            // A stored record whose own block is missing is missing here too.
            let Ok(bytes) = record.bytes() else {
                return Ok(None);
            };
            scratch.extend_from_slice(&bytes);
            return Ok(VerifiedRef::check(*cid, scratch).ok());
        }
        self.record_anywhere(cid, scratch)
    }

    fn record_anywhere<'s>(
        &mut self,
        cid: &Cid,
        scratch: &'s mut Vec<u8>,
    ) -> Result<Option<VerifiedRef<'s>>> {
        if self.records.is_none() {
            self.records = Some(self.index_records()?);
        }
        let Some(records) = &self.records else {
            return Ok(None);
        };
        for place in records.find(cid) {
            let record = self
                .repo
                .tree_row(u32::try_from(place.offset).unwrap_or(u32::MAX))?;
            if let Ok(bytes) = record.bytes()
                && record.cid()? == *cid
            {
                scratch.extend_from_slice(&bytes);
                return Ok(VerifiedRef::check(*cid, scratch).ok());
            }
        }
        Ok(None)
    }

    /// Hashes every stored record, once, for a CAR that names one at another path than before.
    fn index_records(&self) -> Result<BlockIndex> {
        let mut index = BlockIndex::default();
        for number in 0..self.repo.tree_rows()? {
            let place = BlockPlace {
                offset: number.into(),
                length: 0,
            };
            index.push(&self.repo.tree_row(number)?.cid()?, place);
        }
        index.sort();
        Ok(index)
    }
}

/// Returns where each node of a tree is.
fn places(plan: &TreePlan) -> HashMap<Cid, NodeAt> {
    let mut places = HashMap::new();
    let mut stack = vec![plan.root_at()];
    while let Some(at) = stack.pop() {
        stack.extend(plan.items(&at).into_iter().filter_map(|item| match item {
            Item::Node(child) => Some(child),
            Item::Row(_) => None,
        }));
        places.insert(plan.cid_at(&at), at);
    }
    places
}
