//! Pages: groups of rows, packed, and [`PageBuilder`], which gathers rows by shape until a page is full.
//!
//! Before a page is given out, each row that is kept in columns is read back from the page's own bytes and compared with
//! the record: what would not come back the same is kept as it is.

use capnp::message::HeapAllocator;
use carrack_repo::VerifiedRef;
use carrack_schema::Cid;
use carrack_schema::limits::{
    COLD_PAGE_BYTES_TARGET, COLD_PAGE_ROWS_MAX, PAGE_BYTES_TARGET, PAGE_ROWS_MAX,
    REPACK_MEMORY_BYTES,
};
use carrack_schema::wire::segment_capnp::page;
use carrack_segment::{Result, message};

use carrack_segment::bits::{self, width_of};
use foldhash::HashMap;

use crate::dictionary::{DictionaryBuilder, SHAPES_MAX};
use crate::group::{CODE_TEXT, Heap, OpenGroup, PackedColumns, VERBATIM_ROW_BYTES};
use crate::row::{self, FIRST_SHAPE, GONE, MISSING, PageError, StoredRow, VERBATIM};
use crate::shape::{Cut, Cuttable};

/// Where a row will be: a slot, and a row of it. [`PageBuilder::finish`] says which page each slot came into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRow {
    /// The slot's number.
    pub slot: u32,
    /// The row's number in it.
    pub row: u32,
}

/// Where a slot came to be: its rows stand in this page from this ordinal on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotPlace {
    /// The page's number, as the sink gave it.
    pub page: u32,
    /// Ordinal of the slot's first row.
    pub first_row: u32,
}

/// What a builder's pages go to: given rows and message, it returns the page's number.
pub trait PageSink {
    /// Takes a page.
    ///
    /// # Errors
    /// The disk's.
    fn page(&mut self, rows: u32, message: &[u8]) -> Result<u32>;
}

/// What became of a record that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Where its row will be.
    pub at: SlotRow,
    /// Whether it keeps the data model; one that does not is kept as it is.
    pub is_valid: bool,
}

/// What a finished builder leaves to be written.
#[derive(Debug)]
pub struct Finished {
    /// By slot, where its rows are.
    pub slots: Vec<SlotPlace>,
    /// The dictionary's message.
    pub dictionary: Vec<u8>,
}

/// When a page is full.
#[derive(Clone, Copy, Debug)]
pub struct PageTarget {
    /// Most rows.
    pub rows: usize,
    /// Bytes it aims for; a page with one larger record is larger.
    pub bytes: usize,
}

impl PageTarget {
    /// For pages that are read in place.
    pub const WARM: Self = Self {
        rows: PAGE_ROWS_MAX,
        bytes: PAGE_BYTES_TARGET,
    };
    /// For pages that are compressed: larger ones have more to find in common, and take longer to read one row of.
    pub const COLD: Self = Self {
        rows: COLD_PAGE_ROWS_MAX,
        bytes: COLD_PAGE_BYTES_TARGET,
    };
}

/// Gathers rows by shape and gives out full pages.
#[derive(Debug)]
pub struct PageBuilder {
    target: PageTarget,
    dictionary: DictionaryBuilder,
    cut: Cut,
    /// Rows that wait, by template.
    open: HashMap<Box<[u8]>, OpenGroup>,
    open_bytes: usize,
    draft: Draft,
    slots: Vec<SlotPlace>,
}

/// The page in hand.
#[derive(Debug, Default)]
struct Draft {
    groups: Vec<DraftGroup>,
    heap: Heap,
    rows: usize,
    bytes: usize,
    verbatim: Pool,
    missing: Pool,
    gone: Pool,
}

#[derive(Debug)]
struct DraftGroup {
    group: OpenGroup,
    shape: u32,
    columns: PackedGroup,
}

#[derive(Debug, Default)]
struct PackedGroup {
    bases: Vec<u64>,
    codes: Vec<u8>,
    packed: Vec<u8>,
}

/// Rows without a shape.
#[derive(Debug, Default)]
struct Pool {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Slots whose rows are here, with the number of their first.
    slots: Vec<(u32, u32)>,
    /// The slot that rows of no other slot go to.
    own: Option<(u32, u32)>,
}

impl Pool {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(count(self.bytes.len()));
    }

    /// Puts the rows on the heap, and returns their group: its number, rows and column.
    fn pack(&self, shape: u32, heap: &mut Vec<u8>) -> (u32, u32, PackedGroup) {
        let base = heap.len() as u64;
        heap.extend_from_slice(&self.bytes);
        let rows = count(self.ends.len());
        if shape == GONE {
            // A row that says only that something is gone needs no column.
            return (shape, rows, PackedGroup::default());
        }
        let width = width_of(self.bytes.len() as u64);
        let mut ends = bits::Packer::default();
        self.ends
            .iter()
            .for_each(|&end| ends.push(end.into(), width));
        let columns = PackedGroup {
            bases: vec![base],
            codes: vec![CODE_TEXT | width as u8],
            packed: ends.finish(),
        };
        (shape, rows, columns)
    }
}

/// A number that a page's limits keep far below 2^32.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Default for PageBuilder {
    fn default() -> Self {
        Self::new(PageTarget::WARM)
    }
}

impl PageBuilder {
    /// Makes a builder of pages that are full at `target`.
    pub fn new(target: PageTarget) -> Self {
        Self {
            target,
            dictionary: DictionaryBuilder::default(),
            cut: Cut::default(),
            open: HashMap::default(),
            open_bytes: 0,
            draft: Draft::default(),
            slots: Vec::new(),
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The sink's.
    pub fn push(&mut self, record: &VerifiedRef<'_>, sink: &mut impl PageSink) -> Result<Pushed> {
        let mut cut = std::mem::take(&mut self.cut);
        let pushed = self.push_cut(&mut cut, record.bytes(), sink);
        self.cut = cut;
        pushed
    }

    fn push_cut(
        &mut self,
        cut: &mut Cut,
        record: &[u8],
        sink: &mut impl PageSink,
    ) -> Result<Pushed> {
        let cuttable = cut.of(record);
        let is_valid = cuttable != Cuttable::Invalid;
        if cuttable != Cuttable::Yes || record.len() > self.target.bytes {
            let at = self.pool_row(|draft| &mut draft.verbatim, record, sink)?;
            return Ok(Pushed { at, is_valid });
        }
        let has_room = self.open.len() < SHAPES_MAX;
        let group = match self.open.get_mut(cut.template()) {
            Some(group) => group,
            None if has_room => {
                let slot = new_slot(&mut self.slots);
                self.open_bytes = self.open_bytes.saturating_add(cut.template().len());
                let shape = self.dictionary.shape_number(cut.template());
                self.open
                    .entry(cut.template().into())
                    .or_insert_with(|| OpenGroup::new(slot, shape, cut))
            }
            None => {
                let at = self.pool_row(|draft| &mut draft.verbatim, record, sink)?;
                return Ok(Pushed { at, is_valid });
            }
        };
        let before = group.memory_bytes();
        let at = SlotRow {
            slot: group.slot,
            row: group.push(record, cut),
        };
        self.open_bytes = self
            .open_bytes
            .saturating_add(group.memory_bytes().saturating_sub(before));
        if group.rows() as usize >= self.target.rows || group.packed_bytes() >= self.target.bytes {
            let next = OpenGroup::new(new_slot(&mut self.slots), group.shape, cut);
            let full = std::mem::replace(group, next);
            let shape = self.close(cut.template(), full, sink)?;
            if let Some(group) = self.open.get_mut(cut.template()) {
                group.shape = shape;
            }
        } else if self.open_bytes > REPACK_MEMORY_BYTES {
            self.close_all(sink)?;
        }
        Ok(Pushed { at, is_valid })
    }

    /// Adds a record whose block is not held.
    ///
    /// # Errors
    /// The sink's.
    pub fn push_missing(&mut self, cid: &Cid, sink: &mut impl PageSink) -> Result<SlotRow> {
        self.pool_row(|draft| &mut draft.missing, cid.as_bytes(), sink)
    }

    /// Adds a row that says that its record is gone.
    ///
    /// # Errors
    /// The sink's.
    pub fn push_gone(&mut self, sink: &mut impl PageSink) -> Result<SlotRow> {
        self.pool_row(|draft| &mut draft.gone, &[], sink)
    }

    /// Gives out what is left.
    ///
    /// # Errors
    /// The sink's; the message layer's for a dictionary above its limit.
    pub fn finish(mut self, sink: &mut impl PageSink) -> Result<Finished> {
        self.close_all(sink)?;
        self.end_page(sink)?;
        Ok(Finished {
            dictionary: self.dictionary.encode()?,
            slots: self.slots,
        })
    }

    fn pool_row(
        &mut self,
        pool: impl Fn(&mut Draft) -> &mut Pool,
        bytes: &[u8],
        sink: &mut impl PageSink,
    ) -> Result<SlotRow> {
        self.make_room(1, bytes.len().saturating_add(VERBATIM_ROW_BYTES), sink)?;
        let slots = &mut self.slots;
        let rows = pool(&mut self.draft);
        let number = count(rows.ends.len());
        // Rows of a slot stand together, so its own slot begins anew when another came between.
        let (slot, first) = match rows.own {
            Some(own) if rows.slots.last() == Some(&own) => own,
            _ => {
                let own = (new_slot(slots), number);
                rows.slots.push(own);
                rows.own = Some(own);
                own
            }
        };
        rows.push(bytes);
        self.draft
            .count(1, bytes.len().saturating_add(VERBATIM_ROW_BYTES));
        Ok(SlotRow {
            slot,
            row: number.saturating_sub(first),
        })
    }

    /// Ends the page in hand if so much more does not fit.
    fn make_room(&mut self, rows: usize, bytes: usize, sink: &mut impl PageSink) -> Result<()> {
        let draft = &self.draft;
        let is_full = draft.rows.saturating_add(rows) > self.target.rows
            || draft.bytes.saturating_add(bytes) > self.target.bytes;
        if draft.rows > 0 && is_full {
            self.end_page(sink)?;
        }
        Ok(())
    }

    fn close_all(&mut self, sink: &mut impl PageSink) -> Result<()> {
        let mut groups: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        // The order of the first rows, so that the same records make the same file.
        groups.sort_unstable_by_key(|(_, group)| group.slot);
        for (template, group) in groups {
            if group.rows() > 0 {
                self.close(&template, group, sink)?;
            }
        }
        self.open_bytes = 0;
        Ok(())
    }

    /// Puts a group's rows into the page in hand and returns the number of its shape, if it has one.
    fn close(
        &mut self,
        template: &[u8],
        mut group: OpenGroup,
        sink: &mut impl PageSink,
    ) -> Result<Option<u32>> {
        self.open_bytes = self.open_bytes.saturating_sub(group.memory_bytes());
        self.make_room(group.rows() as usize, group.packed_bytes(), sink)?;
        if !group.may_pay(template.len()) {
            self.keep_as_is(&group, sink)?;
            return Ok(group.shape);
        }
        let before = self.draft.heap.size();
        let columns = group.pack(&mut self.draft.heap, &mut self.dictionary);
        if group.shape.is_none() && columns.is_some() {
            group.shape = self.dictionary.add_shape(template);
        }
        let (Some(columns), Some(number)) = (columns, group.shape) else {
            self.keep_as_is(&group, sink)?;
            return Ok(group.shape);
        };
        let PackedColumns {
            bases,
            codes,
            packed,
        } = columns;
        let columns = PackedGroup {
            bases,
            codes,
            packed: packed.finish(),
        };
        let bytes = self
            .draft
            .heap
            .size()
            .saturating_sub(before)
            .saturating_add(columns.bytes());
        self.draft.count(group.rows() as usize, bytes);
        self.draft.groups.push(DraftGroup {
            group,
            shape: number.saturating_add(FIRST_SHAPE),
            columns,
        });
        Ok(Some(number))
    }

    fn keep_as_is(&mut self, group: &OpenGroup, sink: &mut impl PageSink) -> Result<()> {
        let bytes = group
            .records()
            .map(|record| record.len().saturating_add(VERBATIM_ROW_BYTES))
            .sum();
        self.make_room(group.rows() as usize, bytes, sink)?;
        self.draft.count(group.rows() as usize, bytes);
        self.draft.keep_as_is(group);
        Ok(())
    }

    fn end_page(&mut self, sink: &mut impl PageSink) -> Result<()> {
        let mut draft = std::mem::take(&mut self.draft);
        if draft.rows == 0 {
            return Ok(());
        }
        let message = loop {
            let message = draft.encode()?;
            let lost = draft.lost(&message, &self.dictionary);
            if lost.is_empty() {
                break message;
            }
            for number in lost.into_iter().rev() {
                let lost = draft.groups.remove(number);
                tracing::error!(
                    shape = lost.shape,
                    "columns do not give their records back; they are kept as they are"
                );
                draft.keep_as_is(&lost.group);
            }
        };
        let page = sink.page(count(draft.rows), &message)?;
        draft.place(page, &mut self.slots);
        Ok(())
    }
}

/// Whether each row of a stored group is the record it was made of.
fn gives_back(
    stored: row::GroupRef<'_>,
    group: &OpenGroup,
    dictionary: &DictionaryBuilder,
    again: &mut Vec<u8>,
) -> bool {
    stored.rows() == group.rows()
        && (0..).zip(group.records()).all(|(number, record)| {
            again.clear();
            match stored.row(number) {
                Some(Ok(StoredRow::Columns(row))) => {
                    row.write(dictionary, again).is_ok() && again == record
                }
                _ => false,
            }
        })
}

/// Promises a slot.
fn new_slot(slots: &mut Vec<SlotPlace>) -> u32 {
    slots.push(SlotPlace::default());
    count(slots.len().saturating_sub(1))
}

impl PackedGroup {
    fn bytes(&self) -> usize {
        const STRUCT_BYTES: usize = 32 + 12;
        self.bases
            .len()
            .saturating_mul(9)
            .saturating_add(self.packed.len())
            .saturating_add(STRUCT_BYTES)
    }
}

impl Draft {
    fn count(&mut self, rows: usize, bytes: usize) {
        self.rows = self.rows.saturating_add(rows);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn keep_as_is(&mut self, group: &OpenGroup) {
        self.verbatim
            .slots
            .push((group.slot, count(self.verbatim.ends.len())));
        for record in group.records() {
            self.verbatim.push(record);
        }
    }

    /// Returns the pools with the numbers their groups have, in the order of the page.
    fn pools(&self) -> [(u32, &Pool); 3] {
        [
            (VERBATIM, &self.verbatim),
            (MISSING, &self.missing),
            (GONE, &self.gone),
        ]
    }

    /// Returns the page's message.
    fn encode(&self) -> Result<Vec<u8>> {
        let mut heap = self.heap.bytes.clone();
        let pools = self
            .pools()
            .map(|(shape, pool)| pool.pack(shape, &mut heap));
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|draft| (draft.shape, draft.group.rows(), &draft.columns))
            .chain(
                pools
                    .iter()
                    .map(|(shape, rows, columns)| (*shape, *rows, columns)),
            )
            .filter(|(_, rows, _)| *rows > 0)
            .collect();
        let words = |bytes: usize| bytes.div_ceil(8);
        // The root pointer, the page's four, the tag of the list of groups; a group has a word and three pointers.
        let fixed = groups.len().saturating_mul(4).saturating_add(1 + 4 + 1);
        let starts_bytes = self.heap.entry_starts.len().saturating_mul(4);
        let lists = [heap.len(), self.heap.entries.len(), starts_bytes];
        let parts = groups.iter().flat_map(|(_, _, columns)| {
            let PackedGroup {
                bases,
                codes,
                packed,
            } = columns;
            [bases.len(), words(codes.len()), words(packed.len())]
        });
        let total = lists
            .into_iter()
            .map(words)
            .chain(parts)
            .fold(fixed, usize::saturating_add);
        let mut message = message::builder(total as u64)?;
        self.fill(&mut message, &heap, &groups);
        message::flatten(&message)
    }

    fn fill(
        &self,
        message: &mut capnp::message::Builder<HeapAllocator>,
        heap: &[u8],
        groups: &[(u32, u32, &PackedGroup)],
    ) {
        let mut root = message.init_root::<page::Builder<'_>>();
        let mut list = root.reborrow().init_groups(count(groups.len()));
        let mut first_row = 0_u32;
        for (i, (shape, rows, columns)) in (0..).zip(groups) {
            let mut wire = list.reborrow().get(i);
            wire.set_shape(*shape);
            wire.set_first_row(u16::try_from(first_row).unwrap_or(u16::MAX));
            wire.set_rows(u16::try_from(*rows).unwrap_or(u16::MAX));
            let mut bases = wire.reborrow().init_bases(count(columns.bases.len()));
            for (column, base) in (0..).zip(&columns.bases) {
                bases.set(column, *base);
            }
            wire.set_codes(&columns.codes);
            wire.set_packed(&columns.packed);
            first_row = first_row.saturating_add(*rows);
        }
        root.set_heap(heap);
        let mut starts = root
            .reborrow()
            .init_entry_starts(count(self.heap.entry_starts.len()));
        for (i, start) in (0..).zip(&self.heap.entry_starts) {
            starts.set(i, *start);
        }
        root.set_entries(&self.heap.entries);
    }

    /// Returns the groups of which a row would not come back from the page as it was.
    fn lost(&self, message: &[u8], dictionary: &DictionaryBuilder) -> Vec<usize> {
        let words = message::words(message);
        let mut drafts = (0..).zip(&self.groups);
        let mut lost = Vec::new();
        let mut again = Vec::new();
        let read = row::groups::<PageError>(capnp::Word::words_to_bytes(&words), |stored| {
            // Rows without a shape follow the groups; they are not made again but kept.
            if let Some((number, draft)) = drafts.next()
                && !gives_back(stored, &draft.group, dictionary, &mut again)
            {
                lost.push(number);
            }
            Ok(())
        });
        if read.is_err() {
            return (0..self.groups.len()).collect();
        }
        lost
    }

    /// Says where the page's slots are.
    fn place(&self, page: u32, slots: &mut [SlotPlace]) {
        let mut place = |slot: u32, first_row: u32| {
            if let Some(place) = slots.get_mut(slot as usize) {
                *place = SlotPlace { page, first_row };
            }
        };
        let mut first_row = 0_u32;
        for draft in &self.groups {
            place(draft.group.slot, first_row);
            first_row = first_row.saturating_add(draft.group.rows());
        }
        for (_, pool) in self.pools() {
            for (slot, first) in &pool.slots {
                place(*slot, first_row.saturating_add(*first));
            }
            first_row = first_row.saturating_add(count(pool.ends.len()));
        }
    }
}

#[cfg(test)]
mod tests;
