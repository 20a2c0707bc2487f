//! Gathers the rows of a segment's extents, and packs them into index messages once it is known where they are.
//!
//! A row takes 14 bytes here, and its name if that is text.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::wire::segment_capnp::index;

use crate::bits::{self, Packer};
use crate::format::{
    BASE_BITS, BLOCK_FORM_BITS, BLOCK_ROWS, EXTENT_ROWS_MAX, FILE_SECTIONS_MAX, GROUP_BYTES_MAX,
    HEAP_BYTES_MAX, INDEX_BYTES_MAX, NAME_BYTES_MAX, PAGE_ROWS_MAX, WORD_BYTES,
};
use crate::name::{self, SLASH, compare_groups};
use crate::writer::Place;
use crate::{Error, ErrorKind, Result, message};

/// Set beside an ordinal where a name is `offset in heap << 16 | length`; else it is the word it says.
const IS_TEXT: u16 = 1 << 15;

const _: () = assert!(PAGE_ROWS_MAX <= IS_TEXT as u32);

/// Rows of all extents, in order.
#[derive(Debug, Default)]
pub(crate) struct RowGatherer {
    names: Vec<u64>,
    slots: Vec<u32>,
    /// With [`IS_TEXT`].
    ordinals: Vec<u16>,
    heap: Vec<u8>,
    groups: Vec<Draft>,
    /// Names of groups, numbered as they came.
    group_names: HashMap<Box<[u8]>, u32>,
    /// Where the extent in hand starts.
    first_row: usize,
    first_group: usize,
    first_text: usize,
    last_group: Vec<u8>,
    last_name: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Draft {
    name: u32,
    first_row: usize,
}

/// The rows of one extent.
#[derive(Clone, Debug)]
pub(crate) struct ExtentRows {
    rows: Range<usize>,
    groups: Range<usize>,
}

impl ExtentRows {
    pub(crate) fn len(&self) -> u32 {
        count(self.rows.len())
    }
}

/// The names of a file's groups in order, and each one's number by the number it came with.
pub(crate) struct GroupNumbers<'a> {
    pub(crate) names: Vec<&'a [u8]>,
    numbers: Vec<u32>,
}

/// Where slots are: what a row's place is made of.
pub(crate) struct Placing<'a, F> {
    pub(crate) slots: &'a [Place],
    /// How many rows a page holds, if there is such a page.
    pub(crate) page_rows: F,
}

impl<F: Fn(u32) -> Option<u32>> Placing<'_, F> {
    fn resolve(&self, slot: u32, ordinal: u32) -> Result<Place> {
        let refused = |what: &str| {
            Error::new(
                ErrorKind::Invalid,
                format!("{what}: slot=`{slot}` ordinal=`{ordinal}`"),
            )
        };
        let start = self
            .slots
            .get(slot as usize)
            .ok_or_else(|| refused("a row is in a slot that has no place"))?;
        let place = Place {
            page: start.page,
            ordinal: start.ordinal.saturating_add(ordinal),
        };
        if (self.page_rows)(place.page).is_none_or(|rows| place.ordinal >= rows) {
            return Err(refused("a row is placed where no row is"));
        }
        Ok(place)
    }
}

/// A block as it will be written.
struct BlockDraft {
    base: u64,
    offset: u64,
    width: u32,
    is_text: bool,
}

impl RowGatherer {
    /// Appends a row to the extent in hand. Nothing has changed if this fails.
    pub(crate) fn push(
        &mut self,
        group: &[u8],
        name: &[u8],
        slot: u32,
        ordinal: u32,
    ) -> Result<()> {
        let opens = self.check(group, name, ordinal)?;
        if opens {
            self.open_group(group)?;
        }
        let mut packed_ordinal = u16::try_from(ordinal).unwrap_or(u16::MAX);
        let word = name::decode(name).unwrap_or_else(|| {
            packed_ordinal |= IS_TEXT;
            let offset = self.heap.len() as u64;
            self.heap.extend_from_slice(name);
            offset << 16 | name.len() as u64
        });
        self.names.push(word);
        self.slots.push(slot);
        self.ordinals.push(packed_ordinal);
        self.last_name.clear();
        self.last_name.extend_from_slice(name);
        Ok(())
    }

    /// Refuses a row that is out of order or beyond a limit; says whether it opens a group.
    fn check(&self, group: &[u8], name: &[u8], ordinal: u32) -> Result<bool> {
        let rows = self
            .names
            .len()
            .saturating_sub(self.first_row)
            .saturating_add(1);
        let text = self
            .heap
            .len()
            .saturating_sub(self.first_text)
            .saturating_add(name.len());
        let limits = [
            ("bytes of a group", group.len(), GROUP_BYTES_MAX),
            ("bytes of a name", name.len(), NAME_BYTES_MAX),
            ("rows of an extent", rows, EXTENT_ROWS_MAX as usize),
            ("bytes of an extent's text names", text, HEAP_BYTES_MAX),
            ("ordinal", ordinal as usize, (PAGE_ROWS_MAX - 1) as usize),
        ];
        for (what, value, max) in limits {
            limit(what, value, max)?;
        }
        if group.contains(&SLASH) {
            return Err(invalid("group holds a slash", group, name));
        }
        if self.groups.len() == self.first_group {
            return Ok(true);
        }
        match compare_groups(&self.last_group, group) {
            Ordering::Less => Ok(true),
            Ordering::Equal if self.last_name[..] < *name => Ok(false),
            _ => Err(invalid("rows are not in ascending order", group, name)),
        }
    }

    fn open_group(&mut self, group: &[u8]) -> Result<()> {
        let next = self.group_names.len();
        let number = match self.group_names.get(group) {
            Some(&number) => number,
            None => {
                limit(
                    "groups of a file",
                    next.saturating_add(1),
                    FILE_SECTIONS_MAX,
                )?;
                self.group_names.insert(group.into(), count(next));
                count(next)
            }
        };
        self.groups.push(Draft {
            name: number,
            first_row: self.names.len(),
        });
        self.last_group.clear();
        self.last_group.extend_from_slice(group);
        Ok(())
    }

    /// Ends the extent in hand and returns where its rows are.
    pub(crate) fn end_extent(&mut self) -> ExtentRows {
        let extent = ExtentRows {
            rows: self.first_row..self.names.len(),
            groups: self.first_group..self.groups.len(),
        };
        self.first_row = self.names.len();
        self.first_group = self.groups.len();
        self.first_text = self.heap.len();
        extent
    }

    /// Returns the number of rows of all extents.
    pub(crate) fn rows(&self) -> u64 {
        self.names.len() as u64
    }

    /// Numbers the groups in their order.
    pub(crate) fn group_numbers(&self) -> GroupNumbers<'_> {
        let mut names: Vec<(&[u8], u32)> = self
            .group_names
            .iter()
            .map(|(name, &number)| (&**name, number))
            .collect();
        names.sort_unstable_by(|(a, _), (b, _)| compare_groups(a, b));
        let mut numbers = vec![0; names.len()];
        for (i, (_, came_as)) in (0..).zip(&names) {
            if let Some(number) = numbers.get_mut(*came_as as usize) {
                *number = i;
            }
        }
        GroupNumbers {
            names: names.into_iter().map(|(name, _)| name).collect(),
            numbers,
        }
    }

    /// Returns an extent's index message, of one segment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a row has no place; [`ErrorKind::LimitExceeded`] for an index above its limit.
    pub(crate) fn index<F: Fn(u32) -> Option<u32>>(
        &self,
        extent: &ExtentRows,
        groups: &GroupNumbers<'_>,
        placing: &Placing<'_, F>,
    ) -> Result<Builder<HeapAllocator>> {
        let places = PlaceWidths::of(self.places(extent, placing))?;
        let groups = self.groups_of(extent, groups);
        let group_max = groups.iter().map(|(number, _)| *number).max();
        let group_bits = bits::width_of(group_max.unwrap_or(0).into());
        let mut heap = Vec::new();
        let blocks = self.blocks(&groups, &mut heap);
        let offset_max = blocks.last().map_or(0, |(block, _)| block.offset);
        let offset_bits = bits::width_of(offset_max);

        let mut packer = Packer::default();
        let count_bits = bits::width_of(extent.len().into());
        for (number, rows) in &groups {
            packer.push((*number).into(), group_bits);
            packer.push(rows.len() as u64, count_bits);
        }
        for (block, _) in &blocks {
            packer.push(block.base, BASE_BITS);
            packer.push(block.offset, offset_bits);
            packer.push(
                u64::from(block.width) << 1 | u64::from(block.is_text),
                BLOCK_FORM_BITS,
            );
        }
        for (block, rows) in &blocks {
            self.pack_names(&mut packer, block, rows);
        }
        for place in self.places(extent, placing) {
            places.pack(&mut packer, place?);
        }
        let mut packed = packer.finish();
        packed.append(&mut heap);
        limit("bytes of an index", packed.len(), INDEX_BYTES_MAX)?;

        let mut message = message::builder(index_words(packed.len()))?;
        let mut root = message.init_root::<index::Builder<'_>>();
        root.set_packed(&packed);
        root.set_page_base(places.page_base);
        root.set_page_bits(byte(places.page_bits));
        root.set_ordinal_bits(byte(places.ordinal_bits));
        root.set_group_bits(byte(group_bits));
        root.set_offset_bits(byte(offset_bits));
        Ok(message)
    }

    fn places<'a, F: Fn(u32) -> Option<u32>>(
        &'a self,
        extent: &ExtentRows,
        placing: &'a Placing<'_, F>,
    ) -> impl Iterator<Item = Result<Place>> + 'a {
        let slots = self.slots.get(extent.rows.clone()).unwrap_or_default();
        let ordinals = self.ordinals.get(extent.rows.clone()).unwrap_or_default();
        slots
            .iter()
            .zip(ordinals)
            .map(|(&slot, ordinal)| placing.resolve(slot, (ordinal & !IS_TEXT).into()))
    }

    /// Returns each group's number in the file, and its rows.
    fn groups_of(
        &self,
        extent: &ExtentRows,
        numbers: &GroupNumbers<'_>,
    ) -> Vec<(u32, Range<usize>)> {
        let drafts = self.groups.get(extent.groups.clone()).unwrap_or_default();
        let ends = drafts
            .iter()
            .skip(1)
            .map(|draft| draft.first_row)
            .chain([extent.rows.end]);
        drafts
            .iter()
            .zip(ends)
            .map(|(draft, end)| {
                let number = numbers.numbers.get(draft.name as usize);
                (number.copied().unwrap_or(u32::MAX), draft.first_row..end)
            })
            .collect()
    }

    /// Cuts groups into blocks, and gathers the text of those that have any. A block is text if one of its names is.
    fn blocks(
        &self,
        groups: &[(u32, Range<usize>)],
        heap: &mut Vec<u8>,
    ) -> Vec<(BlockDraft, Range<usize>)> {
        let mut blocks = Vec::new();
        let mut offset = 0_u64;
        for (_, rows) in groups {
            let mut start = rows.start;
            while start < rows.end {
                let end = start.saturating_add(BLOCK_ROWS as usize).min(rows.end);
                let (block, bits) = self.block(start..end, offset, heap);
                blocks.push((block, start..end));
                offset = offset.saturating_add(bits);
                start = end;
            }
        }
        blocks
    }

    /// Returns a block, and the bits of its names.
    fn block(&self, rows: Range<usize>, offset: u64, heap: &mut Vec<u8>) -> (BlockDraft, u64) {
        let names = self.names.get(rows.clone()).unwrap_or_default();
        let ordinals = self.ordinals.get(rows.clone()).unwrap_or_default();
        let is_text = ordinals.iter().any(|ordinal| ordinal & IS_TEXT != 0);
        let (base, max, numbers) = if is_text {
            let base = heap.len();
            for row in rows {
                self.text(row, |text| heap.extend_from_slice(text));
            }
            (
                base as u64,
                heap.len().saturating_sub(base) as u64,
                names.len(),
            )
        } else {
            let first = names.first().copied().unwrap_or_default();
            let last = names.last().copied().unwrap_or_default();
            (
                first,
                last.saturating_sub(first),
                names.len().saturating_sub(1),
            )
        };
        // A block of one word has no numbers; any width would do.
        let width = bits::width_of(max);
        let block = BlockDraft {
            base,
            offset,
            width,
            is_text,
        };
        (block, u64::from(width).saturating_mul(numbers as u64))
    }

    fn pack_names(&self, packer: &mut Packer, block: &BlockDraft, rows: &Range<usize>) {
        if block.is_text {
            let mut end = 0_u64;
            for row in rows.clone() {
                self.text(row, |text| end = end.saturating_add(text.len() as u64));
                packer.push(end, block.width);
            }
            return;
        }
        let names = self.names.get(rows.clone()).unwrap_or_default();
        for name in names.iter().skip(1) {
            packer.push(name.saturating_sub(block.base), block.width);
        }
    }

    /// Gives the characters of a row's name, whatever form it has here.
    fn text(&self, row: usize, mut to: impl FnMut(&[u8])) {
        let word = self.names.get(row).copied().unwrap_or_default();
        let ordinal = self.ordinals.get(row).copied().unwrap_or_default();
        if ordinal & IS_TEXT == 0 {
            return to(&name::encode(word));
        }
        let start = usize::try_from(word >> 16).unwrap_or(usize::MAX);
        let end = start.saturating_add((word & 0xffff) as usize);
        to(self.heap.get(start..end).unwrap_or_default());
    }
}

/// How an extent's places are packed: no wider than its own need.
struct PlaceWidths {
    page_base: u32,
    page_bits: u32,
    ordinal_bits: u32,
}

impl PlaceWidths {
    fn of(places: impl Iterator<Item = Result<Place>>) -> Result<Self> {
        let (mut page_min, mut page_max, mut ordinal_max) = (u32::MAX, 0, 0);
        for place in places {
            let place = place?;
            page_min = page_min.min(place.page);
            page_max = page_max.max(place.page);
            ordinal_max = ordinal_max.max(place.ordinal);
        }
        // An extent without rows has no least page.
        let page_base = page_min.min(page_max);
        Ok(Self {
            page_base,
            page_bits: bits::width_of(page_max.saturating_sub(page_base).into()),
            ordinal_bits: bits::width_of(ordinal_max.into()),
        })
    }

    fn pack(&self, packer: &mut Packer, place: Place) {
        packer.push(place.ordinal.into(), self.ordinal_bits);
        packer.push(
            place.page.saturating_sub(self.page_base).into(),
            self.page_bits,
        );
    }
}

/// Returns the words of an index message: the root pointer, a word of widths, the pointer to the packed bytes, and these.
fn index_words(packed_bytes: usize) -> u64 {
    3_u64.saturating_add(packed_bytes.div_ceil(WORD_BYTES) as u64)
}

/// A width, which is at most 64.
fn byte(width: u32) -> u8 {
    u8::try_from(width).unwrap_or(u8::MAX)
}

/// A number that `push` has kept far below 2^32.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Refuses a value above its limit.
pub(crate) fn limit(what: &str, value: usize, max: usize) -> Result<()> {
    if value <= max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("{what}: value=`{value}` max=`{max}`"),
    ))
}

fn invalid(what: &str, group: &[u8], name: &[u8]) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "{what}: group=`{}` name=`{}`",
            group.escape_ascii(),
            name.escape_ascii()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_at_the_limit_and_not_beyond() {
        let check = |group: usize, name: usize, ordinal: u32| {
            RowGatherer::default()
                .push(&vec![b'g'; group], &vec![b'n'; name], u32::MAX, ordinal)
                .map_err(|error| error.kind())
        };
        let beyond = Err(ErrorKind::LimitExceeded);
        assert_eq!(check(1_024, 0, 0), Ok(()));
        assert_eq!(check(1_025, 0, 0), beyond);
        assert_eq!(check(0, 65_535, 0), Ok(()));
        assert_eq!(check(0, 65_536, 0), beyond);
        assert_eq!(check(0, 0, 16_383), Ok(()));
        assert_eq!(check(0, 0, 16_384), beyond);
    }

    #[test]
    fn order_is_that_of_group_slash_name_within_an_extent() {
        let check = |rows: &[(&str, &str)]| {
            let mut gatherer = RowGatherer::default();
            // What another extent ended with does not matter.
            gatherer.push(b"z", b"z", 0, 0).unwrap();
            gatherer.end_extent();
            rows.iter().try_for_each(|(group, name)| {
                gatherer
                    .push(group.as_bytes(), name.as_bytes(), 0, 0)
                    .map_err(|error| error.kind())
            })
        };
        let bad = Err(ErrorKind::Invalid);
        assert_eq!(
            check(&[("a.b", "x"), ("a", "x"), ("a", "y"), ("ab", "")]),
            Ok(())
        );
        assert_eq!(check(&[("a", "x"), ("a.b", "x")]), bad);
        assert_eq!(check(&[("a", "x"), ("a", "x")]), bad);
        assert_eq!(check(&[("a", "y"), ("a", "x")]), bad);
        assert_eq!(check(&[("a/b", "x")]), bad);
    }

    /// The heap's limit, without a name of each byte: as if the rest were there.
    #[test]
    fn text_names_of_an_extent_end_at_their_limit() {
        let mut gatherer = RowGatherer {
            heap: vec![0; HEAP_BYTES_MAX],
            ..RowGatherer::default()
        };
        let error = gatherer.push(b"g", b"n", 0, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        gatherer.push(b"g", b"", 0, 0).unwrap();
        gatherer.end_extent();
        gatherer.push(b"g", b"n", 0, 0).unwrap();
    }
}
