//! An extent's index as it is read: checked whole on first touch, then read in place by plain arithmetic.
//!
//! Cap'n Proto is used once, to find the packed bytes; what is kept is where their parts lie, and 16 bytes a group. A
//! lookup afterwards makes no reader, allocates nothing and cannot fail.

use std::ops::Range;

use carrack_schema::wire::segment_capnp::index;

use crate::bits;
use crate::format::{
    BASE_BITS, BLOCK_FORM_BITS, BLOCK_ROWS, EXTENT_ROWS_MAX, OFFSET_BITS_MAX, ORDINAL_BITS,
    PAGE_BITS,
};
use crate::message;
use crate::name::{self, Bound, Name, SLASH, compare_groups};
use crate::span::Span;
use crate::writer::Place;

/// Why an index is refused.
pub(crate) type Damage = String;

/// Where an index's parts lie in the file.
#[derive(Debug)]
pub(crate) struct IndexTable {
    groups: Box<[GroupEntry]>,
    /// Of all groups, read once: a lookup halves them, and each is one line of memory for 128 rows.
    blocks: Box<[Block]>,
    packed: Span,
    heap: Span,
    widths: Widths,
    /// Bits of the packed bytes at which blocks, names and places start.
    blocks_at: u64,
    names_at: u64,
    places_at: u64,
}

/// How wide an index's numbers are.
#[derive(Clone, Copy, Debug)]
struct Widths {
    group: u32,
    count: u32,
    offset: u32,
    page: u32,
    ordinal: u32,
    page_base: u32,
}

impl Widths {
    fn parse(root: index::Reader<'_>, rows: u32) -> Result<Self, Damage> {
        let widths = Self {
            group: root.get_group_bits().into(),
            count: bits::width_of(rows.into()),
            offset: root.get_offset_bits().into(),
            page: root.get_page_bits().into(),
            ordinal: root.get_ordinal_bits().into(),
            page_base: root.get_page_base(),
        };
        let legal = widths.group <= PAGE_BITS
            && widths.offset <= OFFSET_BITS_MAX
            && widths.page <= PAGE_BITS
            && widths.ordinal <= ORDINAL_BITS;
        legal
            .then_some(widths)
            .ok_or_else(|| "a number is wider than it can be".into())
    }

    fn block(&self) -> u32 {
        self.offset
            .saturating_add(BASE_BITS)
            .saturating_add(BLOCK_FORM_BITS)
    }

    fn place(&self) -> u32 {
        self.page.saturating_add(self.ordinal)
    }
}

#[derive(Clone, Copy, Debug)]
struct GroupEntry {
    /// The number of the group's name in the file.
    number: u32,
    first_row: u32,
    row_count: u32,
    first_block: u32,
}

impl GroupEntry {
    fn rows(&self) -> Range<u32> {
        self.first_row..self.first_row.saturating_add(self.row_count)
    }

    fn blocks(&self) -> u32 {
        self.row_count.div_ceil(BLOCK_ROWS)
    }
}

/// Up to [`BLOCK_ROWS`] rows of a group, as its entry in the index says.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    first_row: u32,
    row_count: u32,
    base: u64,
    /// Bits of the packed bytes at which its numbers start.
    at: u64,
    width: u32,
    is_text: bool,
}

impl Block {
    /// Returns the bits its numbers take. The first name of a block that is no text is the base itself.
    fn bits(&self) -> u64 {
        let numbers = if self.is_text {
            self.row_count
        } else {
            self.row_count.saturating_sub(1)
        };
        u64::from(numbers).saturating_mul(self.width.into())
    }
}

impl IndexTable {
    /// Checks the index message in `section` of `file`: every group, name and place of `rows` rows. `names` are the
    /// file's groups; `page_rows` says how many rows a page holds, if there is such a page.
    pub(crate) fn parse(
        file: &[u8],
        section: Span,
        rows: u32,
        names: &[Span],
        page_rows: impl Fn(u32) -> Option<u32>,
    ) -> Result<Self, Damage> {
        let malformed = |error: capnp::Error| format!("malformed message: {error}");
        if rows > EXTENT_ROWS_MAX {
            return Err(format!("too many rows: {rows}"));
        }
        let reader = message::flat(section.of(file));
        let root = reader.get_root::<index::Reader<'_>>().map_err(malformed)?;
        let widths = Widths::parse(root, rows)?;
        let packed = root.get_packed().map_err(malformed)?;
        let packed_span =
            Span::within(file, packed).ok_or("the packed bytes are outside the file")?;

        let (groups, blocks_at) = parse_groups(packed, rows, &widths, names.len())?;
        let blocks = groups
            .iter()
            .map(|group| u64::from(group.blocks()))
            .fold(0, u64::saturating_add);
        let names_at = blocks_at.saturating_add(blocks.saturating_mul(widths.block().into()));
        let mut table = Self {
            groups,
            blocks: Box::default(),
            packed: packed_span,
            heap: Span::EMPTY,
            widths,
            blocks_at,
            names_at,
            places_at: names_at,
        };
        table.set_places_and_heap(file, rows)?;
        Index::new(file, names, &table).check_rows(page_rows)?;
        Ok(table)
    }

    /// Finds where names end, which the blocks say, and so where the places and the heap lie.
    fn set_places_and_heap(&mut self, file: &[u8], rows: u32) -> Result<(), Damage> {
        let packed = self.packed.of(file);
        let mut names_bits = 0_u64;
        let mut blocks = Vec::new();
        for group in &self.groups {
            for i in 0..group.blocks() {
                let block = self.read_block(packed, group, i);
                if block.width > bits::WIDTH_MAX
                    || block.at != self.names_at.saturating_add(names_bits)
                {
                    return Err(format!(
                        "the block of row {} does not follow the one before",
                        block.first_row
                    ));
                }
                names_bits = names_bits.saturating_add(block.bits());
                blocks.push(block);
            }
        }
        self.blocks = blocks.into();
        self.places_at = self.names_at.saturating_add(names_bits);
        let places_bits = u64::from(rows).saturating_mul(self.widths.place().into());
        let end = self.places_at.saturating_add(places_bits);
        let heap_at = usize::try_from(end.div_ceil(8)).unwrap_or(usize::MAX);
        let heap = packed.get(heap_at..).ok_or_else(|| {
            format!(
                "{rows} rows take {heap_at} bytes, of which there are {}",
                packed.len()
            )
        })?;
        // The bits left in the last byte, fewer than 8.
        let unused = end.next_multiple_of(8).saturating_sub(end) as u32;
        if bits::read(packed, end, unused) != 0 {
            return Err("bits that must be zero are not".into());
        }
        self.heap = Span::within(file, heap).ok_or("the heap is outside the file")?;
        Ok(())
    }

    /// Returns block `i` of a group.
    #[inline]
    fn block(&self, group: &GroupEntry, i: u32) -> Block {
        let number = group.first_block.saturating_add(i);
        self.blocks
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Reads block `i` of a group from the packed bytes.
    fn read_block(&self, packed: &[u8], group: &GroupEntry, i: u32) -> Block {
        let number = u64::from(group.first_block.saturating_add(i));
        let at = self
            .blocks_at
            .saturating_add(number.saturating_mul(self.widths.block().into()));
        let offset_at = at.saturating_add(BASE_BITS.into());
        let form_at = offset_at.saturating_add(self.widths.offset.into());
        let form = bits::read(packed, form_at, BLOCK_FORM_BITS);
        let before = i.saturating_mul(BLOCK_ROWS);
        Block {
            first_row: group.first_row.saturating_add(before),
            row_count: group.row_count.saturating_sub(before).min(BLOCK_ROWS),
            base: bits::read(packed, at, BASE_BITS),
            at: self
                .names_at
                .saturating_add(bits::read(packed, offset_at, self.widths.offset)),
            width: (form >> 1) as u32,
            is_text: form & 1 == 1,
        }
    }
}

/// Returns the groups, and the bit after the last.
fn parse_groups(
    packed: &[u8],
    rows: u32,
    widths: &Widths,
    names: usize,
) -> Result<(Box<[GroupEntry]>, u64), Damage> {
    let mut groups: Vec<GroupEntry> = Vec::new();
    let (mut at, mut next_row, mut next_block) = (0_u64, 0_u32, 0_u32);
    while next_row < rows {
        let i = groups.len();
        let number = bits::read(packed, at, widths.group) as u32;
        at = at.saturating_add(widths.group.into());
        // What lies beyond the bytes reads as zero, and is no count: this ends.
        let row_count = bits::read(packed, at, widths.count) as u32;
        at = at.saturating_add(widths.count.into());
        if number as usize >= names {
            return Err(format!("group {i} has no name"));
        }
        if groups.last().is_some_and(|last| last.number >= number) {
            return Err(format!("group {i} is out of order"));
        }
        if row_count == 0 || row_count > rows.saturating_sub(next_row) {
            return Err(format!("group {i} is empty or leaves the rows"));
        }
        let group = GroupEntry {
            number,
            first_row: next_row,
            row_count,
            first_block: next_block,
        };
        next_row = next_row.saturating_add(row_count);
        next_block = next_block.saturating_add(group.blocks());
        groups.push(group);
    }
    Ok((groups.into(), at))
}

/// A group of rows whose names share what stands before the slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// The name, without the slash.
    pub name: &'a [u8],
    /// Number of the first row.
    pub first_row: u32,
    /// Number of rows, at least 1.
    pub row_count: u32,
}

impl Group<'_> {
    /// Returns the numbers of the group's rows.
    pub fn rows(&self) -> Range<u32> {
        self.first_row..self.first_row.saturating_add(self.row_count)
    }
}

/// A row of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Position of its group in [`Index::groups`].
    pub group: usize,
    /// Its name within the group.
    pub name: Name<'a>,
    /// Where it is.
    pub place: Place,
}

/// An extent's index, checked: every row's place is in a page of the segment, and rows ascend by the bytes of
/// `group + '/' + name`. Cheap to copy. Its calls cannot fail, and none but a `lower_bound` of a group with a slash allocates.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    file: &'a [u8],
    names: &'a [Span],
    table: &'a IndexTable,
    packed: &'a [u8],
    heap: &'a [u8],
}

impl<'a> Index<'a> {
    pub(crate) fn new(file: &'a [u8], names: &'a [Span], table: &'a IndexTable) -> Self {
        Self {
            file,
            names,
            table,
            packed: table.packed.of(file),
            heap: table.heap.of(file),
        }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.table.groups.last().map_or(0, |group| group.rows().end)
    }

    /// Returns the groups in order.
    pub fn groups(
        &self,
    ) -> impl ExactSizeIterator<Item = Group<'a>> + DoubleEndedIterator + use<'a> {
        let index = *self;
        self.table.groups.iter().map(move |entry| Group {
            name: index.group_name(entry.number),
            first_row: entry.first_row,
            row_count: entry.row_count,
        })
    }

    /// Returns the group of this name.
    pub fn group(&self, name: &[u8]) -> Option<Group<'a>> {
        let at = self.search_groups(name).ok()?;
        self.groups().nth(at)
    }

    /// Returns where the row of this name is.
    #[inline]
    pub fn find(&self, group: &[u8], name: &[u8]) -> Option<Place> {
        self.find_in(group, name).map(|(_, place)| place)
    }

    /// Returns where the row of this name is, and the group's name as it is in the file.
    #[inline]
    pub fn find_in(&self, group: &[u8], name: &[u8]) -> Option<(&'a [u8], Place)> {
        let at = self.search_groups(group).ok()?;
        let entry = self.table.groups.get(at)?;
        let row = self.search_names(entry, name).ok()?;
        Some((self.group_name(entry.number), self.place(row)))
    }

    /// Returns the number of the first row that is not below `group + '/' + name`, or [`rows`](Self::rows) if all are.
    ///
    /// Neither has to exist or be whole: an empty name gives the group's first row, or where it would be.
    pub fn lower_bound(&self, group: &[u8], name: &[u8]) -> u32 {
        if let Some((group, rest)) = split_at_slash(group) {
            // No stored group holds a slash, so what comes after the first is the beginning of a name.
            return self.lower_bound(group, &[rest, &[SLASH], name].concat());
        }
        match self.search_groups(group) {
            Ok(at) => match self.table.groups.get(at) {
                Some(entry) => self.search_names(entry, name).unwrap_or_else(|row| row),
                None => self.rows(),
            },
            Err(at) => self
                .table
                .groups
                .get(at)
                .map_or_else(|| self.rows(), |entry| entry.first_row),
        }
    }

    /// Returns a row by its number.
    pub fn row(&self, number: u32) -> Option<Row<'a>> {
        let group = self
            .table
            .groups
            .partition_point(|entry| entry.rows().end <= number);
        let entry = self.table.groups.get(group)?;
        let within = number.checked_sub(entry.first_row)?;
        let block = self.block(entry, within / BLOCK_ROWS);
        Some(Row {
            group,
            name: self.name(&block, within % BLOCK_ROWS),
            place: self.place(number),
        })
    }

    /// Returns the rows of these numbers, in order and from either end; numbers beyond the last are left out.
    pub fn range(&self, numbers: Range<u32>) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
        let index = *self;
        let end = numbers.end.min(self.rows());
        (numbers.start..end).filter_map(move |number| index.row(number))
    }

    /// Returns where each row is, by number.
    pub fn places(&self) -> impl DoubleEndedIterator<Item = Place> + use<'a> {
        self.places_of(0..self.rows())
    }

    /// Returns where the rows of these numbers are; numbers beyond the last are left out.
    pub fn places_of(
        &self,
        numbers: Range<u32>,
    ) -> impl DoubleEndedIterator<Item = Place> + use<'a> {
        let index = *self;
        (numbers.start..numbers.end.min(self.rows())).map(move |row| index.place(row))
    }

    fn group_name(&self, number: u32) -> &'a [u8] {
        let name = self.names.get(number as usize);
        name.map_or(&[][..], |name| name.of(self.file))
    }

    #[inline]
    fn place(&self, row: u32) -> Place {
        let widths = &self.table.widths;
        let bits = u64::from(row).saturating_mul(widths.place().into());
        let place = bits::read(
            self.packed,
            self.table.places_at.saturating_add(bits),
            widths.place(),
        );
        let ordinal = place & bits::mask(widths.ordinal);
        let page = (place >> widths.ordinal.min(ORDINAL_BITS)) as u32;
        Place {
            page: widths.page_base.saturating_add(page),
            ordinal: ordinal as u32,
        }
    }

    #[inline]
    fn block(&self, group: &GroupEntry, i: u32) -> Block {
        self.table.block(group, i)
    }

    /// Returns number `i` of a block.
    #[inline]
    fn number(&self, block: &Block, i: u32) -> u64 {
        let bits = u64::from(i).saturating_mul(block.width.into());
        bits::read(self.packed, block.at.saturating_add(bits), block.width)
    }

    /// Returns the word that is the name of row `i` of a block that is no text.
    #[inline]
    fn word(&self, block: &Block, i: u32) -> u64 {
        match i.checked_sub(1) {
            None => block.base,
            Some(before) => block.base.saturating_add(self.number(block, before)),
        }
    }

    /// Returns where in the heap the name of row `i` of a text block is.
    #[inline]
    fn text_range(&self, block: &Block, i: u32) -> Range<u64> {
        let start = i
            .checked_sub(1)
            .map_or(0, |before| self.number(block, before));
        let end = self.number(block, i);
        block.base.saturating_add(start)..block.base.saturating_add(end)
    }

    #[inline]
    fn text(&self, block: &Block, i: u32) -> &'a [u8] {
        let range = self.text_range(block, i);
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end).unwrap_or(usize::MAX);
        self.heap.get(start..end).unwrap_or_default()
    }

    fn name(&self, block: &Block, i: u32) -> Name<'a> {
        if block.is_text {
            Name::text(self.text(block, i))
        } else {
            Name::sortable(self.word(block, i))
        }
    }

    /// Returns the position of the group of this name, or else that of the first group above it.
    fn search_groups(&self, name: &[u8]) -> Result<usize, usize> {
        let number = self
            .names
            .binary_search_by(|span| compare_groups(span.of(self.file), name));
        let position = |number: usize| {
            self.table
                .groups
                .partition_point(|entry| (entry.number as usize) < number)
        };
        match number {
            Ok(number) => {
                let at = position(number);
                let found = self.table.groups.get(at);
                if found.is_some_and(|entry| entry.number as usize == number) {
                    return Ok(at);
                }
                Err(at)
            }
            Err(number) => Err(position(number)),
        }
    }

    /// Returns the row of this name, or else the row before which it would stand. Halves the blocks by their first names,
    /// which lie together, then one block.
    #[inline]
    fn search_names(&self, group: &GroupEntry, name: &[u8]) -> Result<u32, u32> {
        let sought = Sought::new(name);
        let blocks = bisect(0..group.blocks(), |i| self.starts_below(group, i, &sought));
        // The name may be the first of that block, or else it can only be in the block before.
        if blocks < group.blocks() {
            let block = self.block(group, blocks);
            if self.is(&block, 0, &sought) {
                return Ok(block.first_row);
            }
        }
        let Some(before) = blocks.checked_sub(1) else {
            return Err(group.first_row);
        };
        let block = self.block(group, before);
        let i = bisect(1..block.row_count, |i| self.is_below(&block, i, &sought));
        let row = block.first_row.saturating_add(i);
        if i < block.row_count && self.is(&block, i, &sought) {
            return Ok(row);
        }
        Err(row)
    }

    /// Says whether the first name of a group's block is below the one sought; reads no more of the block than that.
    #[inline]
    fn starts_below(&self, group: &GroupEntry, i: u32, sought: &Sought<'_>) -> bool {
        let block = self.block(group, i);
        if block.is_text {
            return self.text(&block, 0) < sought.name;
        }
        sought.is_above(block.base)
    }

    #[inline]
    fn is_below(&self, block: &Block, i: u32, sought: &Sought<'_>) -> bool {
        if block.is_text {
            return self.text(block, i) < sought.name;
        }
        sought.is_above(self.word(block, i))
    }

    #[inline]
    fn is(&self, block: &Block, i: u32, sought: &Sought<'_>) -> bool {
        if block.is_text {
            return self.text(block, i) == sought.name;
        }
        sought.bound == Bound::Exact(self.word(block, i))
    }

    /// Checks what a lookup relies on and a hostile file may break.
    fn check_rows(&self, page_rows: impl Fn(u32) -> Option<u32>) -> Result<(), Damage> {
        let mut heap_end = 0;
        for group in &self.table.groups {
            let mut last: Option<Name<'a>> = None;
            for i in 0..group.blocks() {
                let block = self.block(group, i);
                if last.is_some_and(|last| *last >= *self.name(&block, 0)) {
                    return Err(format!("row {} is out of order", block.first_row));
                }
                if block.is_text {
                    self.check_text(&block, &mut heap_end)?;
                } else {
                    self.check_words(&block)?;
                }
                last = Some(self.name(&block, block.row_count.saturating_sub(1)));
            }
        }
        if heap_end != self.heap.len() as u64 {
            return Err(format!(
                "names take {heap_end} of {} bytes of the heap",
                self.heap.len()
            ));
        }
        self.check_places(page_rows)
    }

    fn check_words(&self, block: &Block) -> Result<(), Damage> {
        let mut last = block.base;
        for i in 1..block.row_count {
            let word = self.word(block, i);
            if word <= last {
                let row = block.first_row.saturating_add(i);
                return Err(format!("row {row} is out of order"));
            }
            last = word;
        }
        Ok(())
    }

    fn check_text(&self, block: &Block, heap_end: &mut u64) -> Result<(), Damage> {
        let mut last: Option<&[u8]> = None;
        for i in 0..block.row_count {
            let row = block.first_row.saturating_add(i);
            let range = self.text_range(block, i);
            if range.start != *heap_end
                || range.end < range.start
                || range.end > self.heap.len() as u64
            {
                return Err(format!(
                    "row {row} has its name outside its place in the heap"
                ));
            }
            *heap_end = range.end;
            let text = self.text(block, i);
            if last.is_some_and(|last| text <= last) {
                return Err(format!("row {row} is out of order"));
            }
            last = Some(text);
        }
        Ok(())
    }

    fn check_places(&self, page_rows: impl Fn(u32) -> Option<u32>) -> Result<(), Damage> {
        // Rows that follow each other are often of one page; asking for it once halves the time of this check.
        let mut page = None;
        let mut page_rows_count = None;
        for (row, place) in self.places().enumerate() {
            if page != Some(place.page) {
                page = Some(place.page);
                page_rows_count = page_rows(place.page);
            }
            if page_rows_count.is_none_or(|rows| place.ordinal >= rows) {
                return Err(format!(
                    "row {row} is placed where no row is: page {} ordinal {}",
                    place.page, place.ordinal
                ));
            }
        }
        Ok(())
    }
}

/// A name that is looked for, and where it stands among the names that are words.
struct Sought<'n> {
    name: &'n [u8],
    bound: Bound,
}

impl<'n> Sought<'n> {
    #[inline]
    fn new(name: &'n [u8]) -> Self {
        Self {
            name,
            bound: name::bound(name),
        }
    }

    /// Says whether the name is above that of a word.
    #[inline]
    fn is_above(&self, word: u64) -> bool {
        match self.bound {
            Bound::Exact(least) | Bound::Above(least) => word < least,
            Bound::End => true,
        }
    }
}

/// Returns the first of these numbers for which `below` is false, or their end; `below` is true up to some number and
/// false after it.
#[inline]
fn bisect(numbers: Range<u32>, below: impl Fn(u32) -> bool) -> u32 {
    let mut start = numbers.start;
    let mut left = numbers.end.saturating_sub(start);
    while left > 1 {
        let half = left / 2;
        let middle = start.saturating_add(half);
        if below(middle) {
            start = middle;
        }
        left = left.saturating_sub(half);
    }
    if left == 1 && below(start) {
        start = start.saturating_add(1);
    }
    start
}

fn split_at_slash(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == SLASH)?;
    let (before, rest) = bytes.split_at_checked(at)?;
    Some((before, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Packer;
    use crate::message::{builder, flatten, words};
    use capnp::Word;

    /// The parts of an index, each of which a test can spoil.
    #[derive(Clone)]
    struct Raw {
        /// Number and rows.
        groups: Vec<(u64, u64)>,
        /// Base, offset, width, whether it is text, numbers.
        blocks: Vec<(u64, u64, u32, bool, Vec<u64>)>,
        /// Page above the base, ordinal.
        places: Vec<(u64, u64)>,
        pad: u64,
        heap: &'static [u8],
        rows: u32,
        widths: [u8; 4],
        cut: usize,
    }

    const NAMES: [&[u8]; 3] = [b"a-b", b"a", b"ab"];

    fn sound() -> Raw {
        Raw {
            groups: vec![(0, 1), (1, 2), (2, 2)],
            blocks: vec![
                (0, 0, 2, true, vec![2]),
                (5, 2, 3, false, vec![4]),
                (2, 5, 4, true, vec![2, 3]),
            ],
            places: vec![(0, 0), (0, 1), (1, 0), (0, 2), (0, 1)],
            pad: 0,
            heap: b"bcabc",
            rows: 5,
            widths: [2, 3, 1, 2],
            cut: 0,
        }
    }

    fn parse(raw: &Raw) -> Result<Vec<String>, Damage> {
        let [group_bits, offset_bits, page_bits, ordinal_bits] = raw.widths;
        let mut packer = Packer::default();
        for &(number, rows) in &raw.groups {
            packer.push(number, group_bits.into());
            packer.push(rows, bits::width_of(raw.rows.into()));
        }
        for (base, offset, width, is_text, _) in &raw.blocks {
            packer.push(*base, 64);
            packer.push(*offset, offset_bits.into());
            packer.push(u64::from(*is_text), 1);
            packer.push((*width).into(), 7);
        }
        for (_, _, width, _, numbers) in &raw.blocks {
            numbers
                .iter()
                .for_each(|&number| packer.push(number, *width));
        }
        for &(page, ordinal) in &raw.places {
            packer.push(ordinal, ordinal_bits.into());
            packer.push(page, page_bits.into());
        }
        packer.push(
            raw.pad,
            packer.bits().next_multiple_of(8) as u32 - packer.bits() as u32,
        );
        let mut packed = [&packer.finish(), raw.heap].concat();
        packed.truncate(packed.len() - raw.cut);

        // The names lie before the message, in what stands for the file.
        let mut message = builder(100).unwrap();
        let mut root = message.init_root::<index::Builder<'_>>();
        root.set_packed(&packed);
        root.set_page_base(7);
        root.set_group_bits(group_bits);
        root.set_offset_bits(offset_bits);
        root.set_page_bits(page_bits);
        root.set_ordinal_bits(ordinal_bits);
        let names_bytes = NAMES.concat().len().next_multiple_of(8);
        let mut bytes = NAMES.concat();
        bytes.resize(names_bytes, 0);
        bytes.extend(flatten(&message).unwrap());
        let words = words(&bytes);
        let file = Word::words_to_bytes(&words);
        let mut at = 0;
        let names = NAMES.map(|name| {
            at += name.len();
            Span {
                start: at - name.len(),
                end: at,
            }
        });
        let section = Span {
            start: names_bytes,
            end: file.len(),
        };
        // Pages 7, of three rows, and 8, of one.
        let page_rows = |page: u32| [3, 1].get(page.checked_sub(7)? as usize).copied();
        let table = IndexTable::parse(file, section, raw.rows, &names, page_rows)?;
        let index = Index::new(file, &names, &table);
        let groups: Vec<_> = index.groups().collect();
        Ok(index
            .range(0..u32::MAX)
            .map(|row| {
                let group = groups[row.group].name.escape_ascii();
                format!(
                    "{group}/{:?} {}.{}",
                    row.name, row.place.page, row.place.ordinal
                )
            })
            .collect())
    }

    #[test]
    fn a_sound_index_is_read() {
        assert_eq!(
            parse(&sound()).unwrap(),
            [
                "a-b/bc 7.0",
                "a/2222222222227 7.1",
                "a/222222222222d 8.0",
                "ab/ab 7.2",
                "ab/c 7.1"
            ]
        );
    }

    #[test]
    fn each_thing_a_hostile_index_can_say_is_refused() {
        let check = |expect: &str, spoil: &dyn Fn(&mut Raw)| {
            let mut raw = sound();
            spoil(&mut raw);
            let damage = parse(&raw).expect_err(expect);
            assert!(
                damage.contains(expect),
                "expected `{expect}`, got `{damage}`"
            );
        };
        check("too many rows", &|raw| raw.rows = EXTENT_ROWS_MAX + 1);
        check("wider than it can be", &|raw| raw.widths[0] = 25);
        check("wider than it can be", &|raw| raw.widths[1] = 33);
        check("wider than it can be", &|raw| raw.widths[2] = 25);
        check("wider than it can be", &|raw| raw.widths[3] = 15);
        check("group 2 has no name", &|raw| raw.groups[2].0 = 3);
        check("group 1 is out of order", &|raw| raw.groups[1].0 = 0);
        check("group 2 is out of order", &|raw| raw.groups[1].0 = 2);
        check("group 1 is empty", &|raw| raw.groups[1].1 = 0);
        check("group 2 is empty or leaves", &|raw| raw.groups[2].1 = 3);
        check("group 3 is out of order", &|raw| raw.groups[2].1 = 1);
        check("block of row 1 does not follow", &|raw| raw.blocks[1].1 = 3);
        check("block of row 0 does not follow", &|raw| raw.blocks[0].1 = 1);
        check("block of row 0 does not follow", &|raw| {
            raw.blocks[0].2 = 65
        });
        check("5 rows take", &|raw| raw.cut = raw.heap.len() + 1);
        check("must be zero are not", &|raw| raw.pad = 1);
        check("row 2 is out of order", &|raw| raw.blocks[1].4 = vec![0]);
        check("row 2 is out of order", &|raw| raw.blocks[1].0 = u64::MAX);
        check("outside its place in the heap", &|raw| raw.blocks[2].0 = 1);
        check("outside its place in the heap", &|raw| {
            raw.blocks[2].0 = u64::MAX
        });
        check("outside its place in the heap", &|raw| {
            raw.blocks[2].4[1] = 1
        });
        check("outside its place in the heap", &|raw| {
            raw.blocks[2].4[1] = 4
        });
        check("row 4 is out of order", &|raw| raw.heap = b"bcaba");
        check("row 4 is out of order", &|raw| raw.blocks[2].4[1] = 2);
        check("of the heap", &|raw| raw.heap = b"bcabcx");
        check("placed where no row is", &|raw| raw.places[0].1 = 3);
        check("placed where no row is", &|raw| raw.places[0] = (1, 1));
        check("placed where no row is", &|raw| {
            raw.widths[2] = 2;
            raw.places[4].0 = 2;
        });
    }

    /// Between blocks: names ascend across the border, whatever the two blocks' forms.
    #[test]
    fn blocks_out_of_order_are_refused() {
        let blocks = |second: (u64, u64, u32, bool, Vec<u64>)| Raw {
            groups: vec![(1, 129)],
            blocks: vec![(1 << 60, 0, 7, false, (1..128).collect()), second],
            places: vec![(0, 0); 129],
            pad: 0,
            heap: b"",
            rows: 129,
            widths: [2, 10, 1, 2],
            cut: 0,
        };
        let offset = 127 * 7;
        let parse_text = |text: &'static [u8]| {
            let mut raw = blocks((0, offset, 4, true, vec![text.len() as u64]));
            raw.heap = text;
            parse(&raw)
        };
        assert!(parse(&blocks(((1 << 60) + 128, offset, 0, false, vec![]))).is_ok());
        let damage = parse(&blocks(((1 << 60) + 127, offset, 0, false, vec![]))).unwrap_err();
        assert!(damage.contains("row 128 is out of order"), "{damage}");
        // 2^60 is `3222…`.
        assert!(parse_text(b"4").is_ok());
        let damage = parse_text(b"3").unwrap_err();
        assert!(damage.contains("row 128 is out of order"), "{damage}");
    }
}
