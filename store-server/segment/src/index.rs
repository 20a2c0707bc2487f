//! An extent's index as it is read: checked whole on first touch, then read in place by plain arithmetic.
//!
//! Cap'n Proto is used once, to find the lists; what is kept is where they lie. A lookup afterwards makes no reader,
//! allocates nothing and cannot fail.

use std::cmp::Ordering;
use std::ops::Range;

use capnp::raw;
use carrack_schema::wire::segment_capnp::index;

use crate::format::{EXTENT_ROWS_MAX, GROUP_BYTES_MAX, u32_at, u64_at};
use crate::message;
use crate::name::{self, Bound, Name, SLASH, compare_groups};
use crate::reader::Span;
use crate::writer::Place;

/// Why an index is refused.
pub(crate) type Damage = String;

/// Where an index's parts lie in the file.
#[derive(Debug)]
pub(crate) struct IndexTable {
    groups: Box<[GroupEntry]>,
    names: Span,
    places: Span,
    heap: Span,
}

#[derive(Debug)]
struct GroupEntry {
    name: Span,
    first_row: u32,
    row_count: u32,
    form: index::Form,
}

impl GroupEntry {
    fn rows(&self) -> Range<u32> {
        self.first_row..self.first_row.saturating_add(self.row_count)
    }
}

impl IndexTable {
    /// Checks the index message in `section` of `file`: every group, name and place of `rows` rows. `page_rows` says how
    /// many rows a page of the extent holds, if there is such a page.
    pub(crate) fn parse(
        file: &[u8],
        section: Span,
        rows: u32,
        page_rows: impl Fn(u32) -> Option<u32>,
    ) -> Result<Self, Damage> {
        let malformed = |error: capnp::Error| format!("malformed message: {error}");
        if rows > EXTENT_ROWS_MAX {
            return Err(format!("too many rows: {rows}"));
        }
        let reader = message::flat(section.of(file));
        let root = reader.get_root::<index::Reader<'_>>().map_err(malformed)?;
        let names = raw::get_list_bytes(root.get_names().map_err(malformed)?);
        let places = raw::get_list_bytes(root.get_places().map_err(malformed)?);
        let heap = root.get_heap().map_err(malformed)?;
        let rows_count = rows as usize;
        if names.len() != rows_count.saturating_mul(8)
            || places.len() != rows_count.saturating_mul(4)
        {
            return Err(format!(
                "lists are not of {rows} rows: names have {} bytes, places {}",
                names.len(),
                places.len()
            ));
        }

        let groups = root.get_groups().map_err(malformed)?;
        // Each group has a row at least; checked before memory is taken for as many as are claimed.
        if groups.len() > rows {
            return Err(format!("{} groups have {rows} rows", groups.len()));
        }
        let mut entries = Vec::with_capacity(groups.len() as usize);
        let mut last_name: Option<&[u8]> = None;
        let mut next_row = 0_u32;
        for (i, group) in groups.iter().enumerate() {
            let name = group.get_name().map_err(malformed)?;
            let form = group
                .get_form()
                .map_err(|_| format!("group {i} has an unknown form"))?;
            if name.len() > GROUP_BYTES_MAX || name.contains(&SLASH) {
                return Err(format!("group {i} has no legal name"));
            }
            if last_name.is_some_and(|last| compare_groups(last, name) != Ordering::Less) {
                return Err(format!("group {i} is out of order"));
            }
            let end = next_row
                .checked_add(group.get_row_count())
                .filter(|&end| end <= rows);
            let (Some(end), true, true) = (
                end,
                group.get_first_row() == next_row,
                group.get_row_count() > 0,
            ) else {
                return Err(format!(
                    "group {i} does not follow the one before or leaves the rows"
                ));
            };
            entries.push(GroupEntry {
                name: Span::within(file, name).ok_or("a group's name is outside the file")?,
                first_row: next_row,
                row_count: group.get_row_count(),
                form,
            });
            last_name = Some(name);
            next_row = end;
        }
        if next_row != rows {
            return Err(format!("groups cover {next_row} of {rows} rows"));
        }
        let table = Self {
            groups: entries.into(),
            names: Span::within(file, names).ok_or("names are outside the file")?,
            places: Span::within(file, places).ok_or("places are outside the file")?,
            heap: Span::within(file, heap).ok_or("the heap is outside the file")?,
        };
        Index::new(file, &table).check_rows(page_rows)?;
        Ok(table)
    }
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

/// An extent's index, checked: every row's place is in a page of the extent, and rows ascend by the bytes of
/// `group + '/' + name`. Cheap to copy. Its calls cannot fail, and none but a `lower_bound` of a group with a slash allocates.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    file: &'a [u8],
    groups: &'a [GroupEntry],
    names: &'a [u8],
    places: &'a [u8],
    heap: &'a [u8],
}

impl<'a> Index<'a> {
    pub(crate) fn new(file: &'a [u8], table: &'a IndexTable) -> Self {
        Self {
            file,
            groups: &table.groups,
            names: table.names.of(file),
            places: table.places.of(file),
            heap: table.heap.of(file),
        }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.groups.last().map_or(0, |group| group.rows().end)
    }

    /// Returns the groups in order.
    pub fn groups(
        &self,
    ) -> impl ExactSizeIterator<Item = Group<'a>> + DoubleEndedIterator + use<'a> {
        let file = self.file;
        self.groups.iter().map(move |entry| Group {
            name: entry.name.of(file),
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
        let at = self.search_groups(group).ok()?;
        let row = self.search_names(self.groups.get(at)?, name).ok()?;
        self.place(row)
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
            Ok(at) => match self.groups.get(at) {
                Some(entry) => self.search_names(entry, name).unwrap_or_else(|row| row),
                None => self.rows(),
            },
            Err(at) => self
                .groups
                .get(at)
                .map_or_else(|| self.rows(), |entry| entry.first_row),
        }
    }

    /// Returns a row by its number.
    pub fn row(&self, number: u32) -> Option<Row<'a>> {
        let group = self
            .groups
            .partition_point(|entry| entry.rows().end <= number);
        let entry = self.groups.get(group)?;
        Some(Row {
            group,
            name: self.name(entry.form, number)?,
            place: self.place(number)?,
        })
    }

    /// Returns the rows of these numbers, in order and from either end; numbers beyond the last are left out.
    pub fn range(&self, numbers: Range<u32>) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
        let index = *self;
        let end = numbers.end.min(self.rows());
        (numbers.start..end).filter_map(move |number| index.row(number))
    }

    fn place(&self, row: u32) -> Option<Place> {
        u32_at(self.places, (row as usize).checked_mul(4)?).map(Place::unpack)
    }

    #[inline]
    fn word(&self, row: u32) -> Option<u64> {
        u64_at(self.names, (row as usize).checked_mul(8)?)
    }

    /// Returns the bytes a text group's word stands for.
    #[inline]
    fn text(&self, word: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(word >> 16).ok()?;
        let bytes = (word & 0xffff) as usize;
        self.heap.get(start..start.checked_add(bytes)?)
    }

    fn name(&self, form: index::Form, row: u32) -> Option<Name<'a>> {
        let word = self.word(row)?;
        match form {
            index::Form::Tid => Some(Name::sortable(word)),
            index::Form::Text => self.text(word).map(Name::text),
        }
    }

    fn search_groups(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups
            .binary_search_by(|entry| compare_groups(entry.name.of(self.file), name))
    }

    /// Returns the row of this name, or else the row before which it would stand.
    #[inline]
    fn search_names(&self, group: &GroupEntry, name: &[u8]) -> Result<u32, u32> {
        match group.form {
            index::Form::Tid => {
                let (word, exact) = match name::bound(name) {
                    Bound::Exact(word) => (word, true),
                    Bound::Above(word) => (word, false),
                    Bound::End => return Err(group.rows().end),
                };
                let row = self.search_words(group.rows(), word);
                if exact && row < group.rows().end && self.word(row) == Some(word) {
                    return Ok(row);
                }
                Err(row)
            }
            index::Form::Text => {
                let order = |row| {
                    let text = self.word(row).and_then(|word| self.text(word));
                    text.unwrap_or_default().cmp(name)
                };
                let row = bisect(group.rows(), |row| order(row) == Ordering::Less);
                if row < group.rows().end && order(row) == Ordering::Equal {
                    return Ok(row);
                }
                Err(row)
            }
        }
    }

    /// Returns the first of these rows whose word is not below `word`, or their end.
    ///
    /// Guessing the row by proportion first was measured at 1M rows and was no faster than halving alone.
    #[inline]
    fn search_words(&self, rows: Range<u32>, word: u64) -> u32 {
        bisect(rows, |row| self.word(row).unwrap_or(u64::MAX) < word)
    }

    /// Checks what a lookup relies on and a hostile file may break.
    fn check_rows(&self, page_rows: impl Fn(u32) -> Option<u32>) -> Result<(), Damage> {
        for entry in self.groups {
            match entry.form {
                index::Form::Tid => {
                    let mut last = None;
                    for row in entry.rows() {
                        let word = self.word(row);
                        if word.is_none() || word <= last {
                            return Err(format!("row {row} is out of order"));
                        }
                        last = word;
                    }
                }
                index::Form::Text => {
                    let mut last = None;
                    for row in entry.rows() {
                        let text = self.word(row).and_then(|word| self.text(word));
                        if text.is_none() {
                            return Err(format!("row {row} has its name outside the heap"));
                        }
                        if text <= last {
                            return Err(format!("row {row} is out of order"));
                        }
                        last = text;
                    }
                }
            }
        }
        // Rows that follow each other are often of one page; asking for it once halves the time of this check.
        let mut page = None;
        let mut page_rows_count = None;
        for row in 0..self.rows() {
            let place = self
                .place(row)
                .ok_or_else(|| format!("row {row} has no place"))?;
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

/// Returns the first row for which `below` is false, or the end; `below` is true up to some row and false after it.
#[inline]
fn bisect(rows: Range<u32>, below: impl Fn(u32) -> bool) -> u32 {
    let mut start = rows.start;
    let mut left = rows.end.saturating_sub(rows.start);
    while left > 0 {
        let half = left / 2;
        let middle = start.saturating_add(half);
        if below(middle) {
            start = middle.saturating_add(1);
            left = left.saturating_sub(half).saturating_sub(1);
        } else {
            left = half;
        }
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
    use crate::message::{builder, flatten, words};
    use capnp::Word;

    /// An index message, each part of which a test can spoil.
    #[derive(Clone)]
    struct Raw {
        groups: Vec<(&'static str, u32, u32, u16)>,
        names: Vec<u64>,
        places: Vec<u32>,
        heap: &'static [u8],
        rows: u32,
    }

    const TEXT: u16 = 0;
    const TID: u16 = 1;

    fn sound() -> Raw {
        Raw {
            groups: vec![("a-b", 0, 1, TEXT), ("a", 1, 2, TID), ("ab", 3, 2, TEXT)],
            names: vec![1 << 16 | 2, 5, 9, 2, 2 << 16 | 2],
            places: vec![0, 1, 1 << 12, 2, 1],
            heap: b"abcd",
            rows: 5,
        }
    }

    fn parse(raw: &Raw) -> Result<Vec<String>, Damage> {
        let mut message = builder(200).unwrap();
        let mut root = message.init_root::<index::Builder<'_>>();
        let mut groups = root.reborrow().init_groups(raw.groups.len() as u32);
        for (i, &(name, first_row, row_count, form)) in (0..).zip(&raw.groups) {
            let mut group = groups.reborrow().get(i);
            group.set_name(name.as_bytes());
            group.set_first_row(first_row);
            group.set_row_count(row_count);
            group.set_form(if form == TID {
                index::Form::Tid
            } else {
                index::Form::Text
            });
        }
        root.set_names(&raw.names[..]).unwrap();
        root.set_places(&raw.places[..]).unwrap();
        root.set_heap(raw.heap);
        let words = words(&flatten(&message).unwrap());
        let file = Word::words_to_bytes(&words);
        let section = Span::within(file, file).unwrap();
        // Two pages, of three rows and of one.
        let table = IndexTable::parse(file, section, raw.rows, |page| {
            [3, 1].get(page as usize).copied()
        })?;
        let index = Index::new(file, &table);
        let groups: Vec<_> = index.groups().collect();
        Ok(index
            .range(0..u32::MAX)
            .map(|row| format!("{}/{:?}", groups[row.group].name.escape_ascii(), row.name))
            .collect())
    }

    #[test]
    fn a_sound_index_is_read() {
        assert_eq!(
            parse(&sound()).unwrap(),
            [
                "a-b/bc",
                "a/2222222222227",
                "a/222222222222d",
                "ab/ab",
                "ab/cd"
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
        check("lists are not of", &|raw| raw.rows = 4);
        check("lists are not of", &|raw| raw.rows = 6);
        check("too many rows", &|raw| raw.rows = EXTENT_ROWS_MAX + 1);
        check("lists are not of", &|raw| raw.places.truncate(4));
        check("groups have", &|raw| {
            raw.groups = vec![("a", 0, 1, TEXT); 6]
        });
        check("no legal name", &|raw| raw.groups[0].0 = "a/b");
        check("group 1 is out of order", &|raw| raw.groups[1].0 = "a-b");
        check("group 1 is out of order", &|raw| raw.groups[1].0 = "a+");
        check("group 1 does not follow", &|raw| raw.groups[1].1 = 2);
        check("group 1 does not follow", &|raw| raw.groups[1].1 = 0);
        check("group 1 does not follow", &|raw| raw.groups[1].2 = 0);
        check("group 1 does not follow", &|raw| raw.groups[1].2 = u32::MAX);
        check("group 2 does not follow", &|raw| raw.groups[2].2 = 3);
        check("groups cover", &|raw| raw.groups[2].2 = 1);
        check("row 2 is out of order", &|raw| raw.names[2] = 5);
        check("row 4 is out of order", &|raw| raw.names[4] = 2);
        check("outside the heap", &|raw| raw.names[4] = 2 << 16 | 3);
        check("outside the heap", &|raw| raw.names[3] = u64::MAX);
        check("placed where no row is", &|raw| raw.places[0] = 3);
        check("placed where no row is", &|raw| raw.places[0] = 1 << 12 | 1);
        check("placed where no row is", &|raw| raw.places[0] = 2 << 12);
        check("placed where no row is", &|raw| raw.places[0] = u32::MAX);
    }
}
