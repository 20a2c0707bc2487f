//! [`Chain`]: the extents that give a repo at one revision, newest first; and [`RowTable`], their rows as one list.
//!
//! A diff's rows hide older ones of the same name, and its tombstones hide them for good; the last link is full. All
//! reading of stored rows is here.

use std::collections::BTreeMap;
use std::sync::Arc;

use carrack_repack::head::extent_key;
use carrack_repack::{NodeScript, RepoHead};
use carrack_schema::{Code, Did};
use carrack_segment::{Extent, Index, Place, Segment};

use crate::catalog::ExtentEntry;
use crate::error::{Error, Result, damaged};
use crate::row::{RecordSegment, StoredRow};

/// An extent of a repo, open.
pub(crate) struct Link {
    segment: Arc<RecordSegment>,
    /// Which extent of the segment it is.
    at: usize,
    head: RepoHead,
    entry: ExtentEntry,
}

impl Link {
    /// Finds the extent that a catalog's row names.
    ///
    /// # Errors
    /// `damaged` if the segment holds no such extent, or one that is another than the catalog says.
    pub(crate) fn new(did: &Did, entry: ExtentEntry, segment: Arc<RecordSegment>) -> Result<Self> {
        let key = extent_key(did.as_str(), entry.rev);
        let (at, extent) = find_extent(segment.file(), &key)?;
        let head = RepoHead::decode(extent.head())
            .map_err(|error| damaged("a repo's head does not parse", error))?;
        // What the catalog says was written with the segment; a pair that differs is not one.
        if (head.records, head.is_diff) != (entry.records.into(), entry.is_diff) {
            let words = format!(
                "{} holds another repo than the catalog says",
                segment.file().name()
            );
            return Err(Error::new(Code::Damaged, words));
        }
        Ok(Self {
            at,
            head,
            entry,
            segment,
        })
    }

    pub(crate) fn segment(&self) -> &RecordSegment {
        &self.segment
    }

    pub(crate) fn entry(&self) -> &ExtentEntry {
        &self.entry
    }

    /// Returns the commit block.
    pub(crate) fn commit(&self) -> &[u8] {
        &self.head.commit
    }

    fn extent(&self) -> Result<Extent<'_>> {
        let extent = self.segment.file().extents().nth(self.at);
        extent.ok_or_else(|| {
            let words = format!("{} has no extent {}", self.segment.file().name(), self.at);
            Error::new(Code::Damaged, words)
        })
    }

    pub(crate) fn index(&self) -> Result<Index<'_>> {
        Ok(self.extent()?.index()?)
    }

    /// Returns what this extent alone has of a record, be it a tombstone.
    pub(crate) fn find(&self, collection: &str, rkey: &str) -> Result<Option<StoredRow<'_>>> {
        let place = self.index()?.find(collection.as_bytes(), rkey.as_bytes());
        place.map(|place| self.stored_row(place)).transpose()
    }

    /// Returns the row at a place of this extent.
    pub(crate) fn stored_row(&self, place: Place) -> Result<StoredRow<'_>> {
        self.segment.row(place)
    }

    /// Says whether a row is a tombstone. Most extents have none, and then no page is read.
    fn is_gone(&self, row: &StoredRow<'_>) -> Result<bool> {
        Ok(self.entry.tombstones > 0 && row.is_gone()?)
    }

    /// Reads all that the extent is made of: its index, the pages its rows are in, the dictionary, the nodes.
    ///
    /// # Errors
    /// The first damage.
    pub(crate) fn check(&self) -> Result<()> {
        self.segment.dictionary()?;
        let mut pages = std::collections::BTreeSet::new();
        pages.extend(self.index()?.places().map(|place| place.page));
        for page in pages.into_iter().chain(self.node_pages()) {
            self.segment.file().page(page)?;
        }
        Ok(())
    }

    fn node_pages(&self) -> std::ops::Range<u32> {
        let first = self.head.first_node_page;
        first..first.saturating_add(self.head.node_pages)
    }

    /// Returns how the digests of the tree's nodes come from those of the revision before.
    pub(crate) fn nodes(&self) -> Result<NodeScript> {
        let mut nodes = self.head.nodes.clone();
        for number in self.node_pages() {
            nodes
                .read_page(&self.segment.file().page(number)?)
                .map_err(|error| damaged("a page of node digests does not parse", error))?;
        }
        Ok(nodes)
    }
}

/// Returns an extent and which one of the segment's it is, so that it is searched for once only.
fn find_extent<'a>(segment: &'a Segment, key: &[u8]) -> Result<(usize, Extent<'a>)> {
    let nth = |at| segment.extents().nth(at);
    let (mut low, mut high) = (0, segment.extents().len());
    while low < high {
        let middle = low + (high - low) / 2;
        if nth(middle).is_some_and(|extent| extent.key() < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let found = nth(low).filter(|extent| extent.key() == key);
    found.map(|extent| (low, extent)).ok_or_else(|| {
        let words = format!("{} does not hold {}", segment.name(), key.escape_ascii());
        Error::new(Code::Damaged, words)
    })
}

/// A row of a chain: which link has it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowAt {
    pub(crate) link: usize,
    pub(crate) row: u32,
}

/// A row that was read: its names and what is stored of it.
pub(crate) struct ReadRow<'a> {
    pub(crate) collection: &'a str,
    pub(crate) rkey: String,
    pub(crate) row: StoredRow<'a>,
}

/// The extents of a repo from one revision down to the first full one.
pub(crate) struct Chain {
    links: Vec<Link>,
}

impl Chain {
    /// Makes a chain; the last link, and no other, is full.
    pub(crate) fn new(links: Vec<Link>) -> Self {
        Self { links }
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(crate) fn link(&self, at: usize) -> Result<&Link> {
        self.links
            .get(at)
            .ok_or_else(|| Error::new(Code::Damaged, format!("a repo has no extent {at}")))
    }

    /// Says whether any of its segments has compressed pages.
    pub(crate) fn is_compressed(&self) -> bool {
        let first_page = |link: &Link| link.segment().file().page_stored(0);
        let mut pages = self.links.iter().filter_map(first_page);
        pages.any(|page| page.is_compressed)
    }

    /// Returns the newest link.
    pub(crate) fn head(&self) -> Result<&Link> {
        self.link(0)
    }

    /// Returns what is stored of a record at this revision, and the collection's name; a tombstone is nothing.
    pub(crate) fn find(
        &self,
        collection: &str,
        rkey: &str,
    ) -> Result<Option<(&str, StoredRow<'_>)>> {
        for link in &self.links {
            let found = link
                .index()?
                .find_in(collection.as_bytes(), rkey.as_bytes());
            let Some((group, place)) = found else {
                continue;
            };
            let row = link.stored_row(place)?;
            if link.is_gone(&row)? {
                return Ok(None);
            }
            return Ok(Some((utf8(group)?, row)));
        }
        Ok(None)
    }

    /// Reads a row.
    pub(crate) fn row(&self, at: RowAt) -> Result<ReadRow<'_>> {
        let missing = || Error::new(Code::Damaged, format!("the index has no row {}", at.row));
        let link = self.link(at.link)?;
        let index = link.index()?;
        let row = index.row(at.row).ok_or_else(missing)?;
        let group = index.groups().nth(row.group).ok_or_else(missing)?;
        Ok(ReadRow {
            collection: utf8(group.name)?,
            rkey: utf8(row.name.as_bytes())?.to_owned(),
            row: link.stored_row(row.place)?,
        })
    }

    /// Puts a row's key, `collection/rkey`, in place of what `out` holds.
    pub(crate) fn key(&self, at: RowAt, out: &mut Vec<u8>) -> Result<()> {
        let missing = || Error::new(Code::Damaged, format!("the index has no row {}", at.row));
        let index = self.link(at.link)?.index()?;
        let row = index.row(at.row).ok_or_else(missing)?;
        let group = index.groups().nth(row.group).ok_or_else(missing)?;
        out.clear();
        out.extend_from_slice(group.name);
        out.push(b'/');
        out.extend_from_slice(row.name.as_bytes());
        Ok(())
    }

    /// Reads all that the links are made of.
    ///
    /// # Errors
    /// The first damage.
    pub(crate) fn check(&self) -> Result<()> {
        self.links.iter().try_for_each(Link::check)
    }

    /// Says whether the revision below the newest `links` has a record of these names.
    pub(crate) fn is_below(&self, links: usize, row: &ReadRow<'_>) -> Result<bool> {
        for link in self.links.iter().skip(links) {
            if let Some(row) = link.find(row.collection, &row.rkey)? {
                return Ok(!link.is_gone(&row)?);
            }
        }
        Ok(false)
    }

    /// Returns the digests of the tree's nodes, in pre-order, at the revision of a link: 0 is the newest.
    pub(crate) fn node_digests(&self, from: usize) -> Result<Vec<[u8; 32]>> {
        let mut digests = Vec::new();
        for link in self.links.iter().skip(from).rev() {
            digests = link
                .nodes()?
                .apply(&digests)
                .map_err(|error| damaged("the digests of a repo's nodes", error))?;
        }
        Ok(digests)
    }

    /// Returns the rows of the newest `links` as a diff over what is below them: each name once, by its newest row,
    /// tombstones among them.
    pub(crate) fn diff_rows(&self, links: usize) -> Result<BTreeMap<Vec<u8>, RowAt>> {
        let mut rows = BTreeMap::new();
        for link in (0..links.min(self.links.len())).rev() {
            let count = self.link(link)?.index()?.rows();
            for row in 0..count {
                let at = RowAt { link, row };
                let mut key = Vec::new();
                self.key(at, &mut key)?;
                rows.insert(key, at);
            }
        }
        Ok(rows)
    }

    fn is_gone(&self, at: RowAt) -> Result<bool> {
        let link = self.link(at.link)?;
        if link.entry.tombstones == 0 {
            return Ok(false);
        }
        match link.index()?.row(at.row) {
            Some(row) => link.is_gone(&link.stored_row(row.place)?),
            None => Ok(true),
        }
    }
}

/// A run of rows that follow each other in one link and in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Number in the table of its first row.
    pub(crate) first: u32,
    pub(crate) at: RowAt,
    pub(crate) count: u32,
}

/// The rows of a chain in key order, numbered from 0. Takes memory by the rows of diffs, not by those of the repo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowTable {
    runs: Vec<Run>,
    rows: u32,
}

impl RowTable {
    /// Merges the rows of a chain.
    ///
    /// # Errors
    /// `damaged` if an index is, or a page where tombstones are.
    pub(crate) fn of(chain: &Chain) -> Result<Self> {
        let mut table = Self::default();
        let Some(base) = chain.links.len().checked_sub(1) else {
            return Ok(table);
        };
        let index = chain.link(base)?.index()?;
        let mut next = 0;
        for (key, at) in chain.diff_rows(base)? {
            let at_slash = key.iter().position(|&byte| byte == b'/');
            let (group, name) = key.split_at(at_slash.unwrap_or(key.len()));
            let name = name.get(1..).unwrap_or_default();
            let place = index.lower_bound(group, name);
            table.push(
                RowAt {
                    link: base,
                    row: next,
                },
                place.saturating_sub(next),
            );
            let is_there = index.find(group, name).is_some();
            next = place + u32::from(is_there);
            if !chain.is_gone(at)? {
                table.push(at, 1);
            }
        }
        table.push(
            RowAt {
                link: base,
                row: next,
            },
            index.rows().saturating_sub(next),
        );
        Ok(table)
    }

    fn push(&mut self, at: RowAt, count: u32) {
        if count == 0 {
            return;
        }
        let first = self.rows;
        self.rows = self.rows.saturating_add(count);
        match self.runs.last_mut() {
            Some(last) if last.at.link == at.link && last.at.row + last.count == at.row => {
                last.count += count;
            }
            _ => self.runs.push(Run { first, at, count }),
        }
    }

    /// Returns the table without rows, whose numbers ascend.
    pub(crate) fn without(&self, numbers: &[u32]) -> Self {
        let mut table = Self::default();
        let mut numbers = numbers.iter().copied().peekable();
        for run in &self.runs {
            let mut done = 0;
            while let Some(number) = numbers.next_if(|number| *number < run.first + run.count) {
                let until = number - run.first;
                table.push(run.after(done), until - done);
                done = until + 1;
            }
            table.push(run.after(done), run.count - done);
        }
        table
    }

    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the runs that rows of these numbers are in, cut to them.
    pub(crate) fn runs(&self, numbers: std::ops::Range<u32>) -> impl Iterator<Item = Run> {
        let from = self
            .runs
            .partition_point(|run| run.first + run.count <= numbers.start);
        let runs = self.runs.get(from..).unwrap_or_default().iter();
        let end = numbers.end;
        runs.take_while(move |run| run.first < end).map(move |run| {
            let skipped = numbers.start.saturating_sub(run.first);
            let first = run.first + skipped;
            Run {
                first,
                at: run.after(skipped),
                count: (run.first + run.count).min(end).saturating_sub(first),
            }
        })
    }

    /// Returns where a row is.
    pub(crate) fn at(&self, number: u32) -> Option<RowAt> {
        let run = match self.runs.as_slice() {
            [only] => only,
            runs => runs.get(runs.partition_point(|run| run.first + run.count <= number))?,
        };
        let within = number.checked_sub(run.first).filter(|&n| n < run.count)?;
        Some(run.after(within))
    }

    /// Returns the number of the first row whose key is not below `key`, which may be any bytes.
    ///
    /// # Errors
    /// `damaged` if an index is.
    pub(crate) fn first_at(&self, chain: &Chain, key: &[u8]) -> Result<u32> {
        let mut indexes = Vec::with_capacity(chain.links.len());
        for link in &chain.links {
            indexes.push(link.index()?);
        }
        let is_below = |number: u32| -> Option<bool> {
            let at = self.at(number)?;
            let index = indexes.get(at.link)?;
            let row = index.row(at.row)?;
            let group = index.groups().nth(row.group)?.name;
            Some(group.iter().chain(b"/").chain(row.name.as_bytes()).lt(key))
        };
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_below(middle).unwrap_or(false) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Returns the numbers of a collection's rows.
    ///
    /// # Errors
    /// As [`first_at`](Self::first_at).
    pub(crate) fn collection(&self, chain: &Chain, nsid: &[u8]) -> Result<std::ops::Range<u32>> {
        let first = self.first_at(chain, &[nsid, b"/"].concat())?;
        // No byte stands between a slash and a zero.
        let end = self.first_at(chain, &[nsid, b"0"].concat())?;
        Ok(first..end.max(first))
    }
}

impl Run {
    /// Returns where the row is that comes so many rows after the first.
    fn after(&self, rows: u32) -> RowAt {
        RowAt {
            link: self.at.link,
            row: self.at.row + rows,
        }
    }
}

pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| damaged("a name in the index is not text", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(runs: &[(usize, u32, u32)]) -> RowTable {
        let mut table = RowTable::default();
        for &(link, row, count) in runs {
            table.push(RowAt { link, row }, count);
        }
        table
    }

    fn all(table: &RowTable) -> Vec<(usize, u32)> {
        (0..table.rows())
            .map(|number| table.at(number).unwrap())
            .map(|at| (at.link, at.row))
            .collect()
    }

    #[test]
    fn rows_are_numbered_through_all_runs() {
        let table = table(&[(1, 0, 2), (0, 0, 1), (1, 3, 2), (1, 5, 1), (0, 9, 0)]);
        assert_eq!(table.runs.len(), 3);
        assert_eq!(
            all(&table),
            [(1, 0), (1, 1), (0, 0), (1, 3), (1, 4), (1, 5)]
        );
        assert_eq!(table.at(6), None);
        assert_eq!(RowTable::default().at(0), None);
    }

    #[test]
    fn any_rows_can_be_left_out() {
        let table = table(&[(1, 0, 3), (0, 0, 1), (1, 3, 3)]);
        for mask in 0..1_u32 << table.rows() {
            let out: Vec<u32> = (0..table.rows()).filter(|i| mask >> i & 1 == 1).collect();
            let mut expected = all(&table);
            let mut number = 0;
            expected.retain(|_| {
                number += 1;
                !out.contains(&(number - 1))
            });
            assert_eq!(all(&table.without(&out)), expected, "without {out:?}");
        }
    }
}
