//! [`Outputs`]: the segments that a merge writes, and how the rows of an extent get there.

use carrack_repack::NodeScript;
use carrack_repo::VerifiedRef;
use carrack_schema::Did;
use carrack_schema::cid::Codec;

use super::background::Pace;
use super::plan::Form;
use super::swap::Rewritten;
use crate::catalog::{Deletions, ExtentEntry};
use crate::chain::{Chain, ReadRow, RowAt, RowTable};
use crate::error::Result;
use crate::packer::{ExtentHead, PackedSegment, Packer};
use crate::row::{Content, cid_of};
use crate::store::Store;

/// Writes new segments, each up to the target size.
pub(super) struct Outputs<'a> {
    store: &'a Store,
    cold: bool,
    packer: Option<Packer>,
    /// Extents in the packer's segment.
    extents: usize,
    sealed: Vec<PackedSegment>,
}

impl<'a> Outputs<'a> {
    pub(super) fn new(store: &'a Store, cold: bool) -> Self {
        Self {
            store,
            cold,
            packer: None,
            extents: 0,
            sealed: Vec::new(),
        }
    }

    /// Returns the segments, sealed.
    ///
    /// # Errors
    /// The disk's; nothing is left then.
    pub(super) fn finish(mut self) -> Result<Vec<PackedSegment>> {
        self.seal()?;
        Ok(self.sealed)
    }

    /// Writes one extent.
    pub(super) fn extent(
        &mut self,
        did: &Did,
        old: &[ExtentEntry],
        form: Form,
        chain: &Chain,
        deletions: &Deletions,
        pace: &mut Pace<'_>,
    ) -> Result<Rewritten> {
        let (output, extent) = (self.sealed.len(), self.extents);
        let head = chain.head()?;
        let mut packer = match self.packer.take() {
            Some(packer) => packer,
            None => {
                let id = self.store.new_segment_id()?;
                Packer::create(&self.store.inner().directory, id, self.cold)?
            }
        };
        packer.begin(did, head.entry().rev)?;
        let mut rows = RowWriter {
            packer: &mut packer,
            deletions,
            pace,
        };
        let (nodes, is_diff) = match form {
            Form::Copy => (rows.copy(chain)?, head.entry().is_diff),
            Form::Diff => (rows.diff(chain, old.len())?, true),
            Form::Full => (rows.full(chain)?, false),
        };
        let counts = packer.end(&ExtentHead {
            commit: head.commit(),
            records: head.entry().records.into(),
            is_diff,
            nodes: &nodes,
        })?;
        self.extents += 1;
        let is_full = packer.bytes() >= self.store.inner().settings.segment_bytes_target;
        self.packer = Some(packer);
        if is_full {
            self.seal()?;
        }
        Ok(Rewritten {
            old: old.to_vec(),
            form,
            rows: counts.rows,
            tombstones: counts.tombstones,
            output,
            extent,
        })
    }

    fn seal(&mut self) -> Result<()> {
        self.extents = 0;
        if let Some(packer) = self.packer.take() {
            match packer.finish() {
                Ok(sealed) => self.sealed.push(sealed),
                Err(error) => {
                    self.discard();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes what was sealed.
    pub(super) fn discard(&mut self) {
        self.packer = None;
        for segment in self.sealed.drain(..) {
            self.store.discard(segment.id);
        }
    }
}

/// Writes the rows of an extent that a merge makes, less what was deleted.
struct RowWriter<'a, 'b> {
    packer: &'a mut Packer,
    deletions: &'a Deletions,
    pace: &'a mut Pace<'b>,
}

impl RowWriter<'_, '_> {
    /// Writes the rows of one extent as they are.
    fn copy(&mut self, chain: &Chain) -> Result<NodeScript> {
        let head = chain.head()?;
        for row in 0..head.index()?.rows() {
            self.push(&chain.row(RowAt { link: 0, row })?)?;
        }
        head.nodes()
    }

    /// Writes all rows of a revision.
    fn full(&mut self, chain: &Chain) -> Result<NodeScript> {
        let table = RowTable::of(chain)?;
        for number in 0..table.rows() {
            if let Some(at) = table.at(number) {
                self.push(&chain.row(at)?)?;
            }
        }
        Ok(NodeScript::full(chain.node_digests(0)?))
    }

    /// Writes what the newest extents, so many, change of what is below them.
    fn diff(&mut self, chain: &Chain, links: usize) -> Result<NodeScript> {
        for at in chain.diff_rows(links)?.into_values() {
            let row = chain.row(at)?;
            // A record that came and went between leaves nothing to hide.
            if !row.row.is_gone()? || chain.is_below(links, &row)? {
                self.push(&row)?;
            }
        }
        Ok(NodeScript::between(
            &chain.node_digests(links)?,
            &chain.node_digests(0)?,
        ))
    }

    fn push(&mut self, read: &ReadRow<'_>) -> Result<()> {
        let (collection, rkey) = (read.collection, read.rkey.as_str());
        match read.row.content()? {
            Content::DagCbor(bytes) => {
                if !self.deletions.is_empty() {
                    let (path, cid) = (format!("{collection}/{rkey}"), cid_of(&bytes));
                    if self.deletions.hide(&path, || Ok(cid))? {
                        // The tree is rebuilt from its CID.
                        return self.packer.push_missing(collection, rkey, &cid);
                    }
                }
                self.pace.spend(bytes.len() as u64)?;
                let block = VerifiedRef::of(Codec::DagCbor, &bytes);
                self.packer.push(collection, rkey, &block)
            }
            Content::Missing(cid) => self.packer.push_missing(collection, rkey, &cid),
            Content::Gone => self.packer.push_gone(collection, rkey),
        }
    }
}
