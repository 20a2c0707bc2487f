//! Gathers an extent's rows into its index message: 12 bytes a row, and the names that are text.

use std::cmp::Ordering;

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::wire::segment_capnp::index;

use crate::format::{
    EXTENT_PAGES_MAX, EXTENT_ROWS_MAX, GROUP_BYTES_MAX, HEAP_BYTES_MAX, NAME_BYTES_MAX,
    ORDINAL_BITS, PAGE_ROWS_MAX, WORD_BYTES,
};
use crate::name::{self, SLASH, compare_groups};
use crate::writer::Place;
use crate::{Error, ErrorKind, Result, message};

/// Rows of one extent, in order.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    groups: Vec<Draft>,
    names: Vec<u64>,
    places: Vec<u32>,
    heap: Vec<u8>,
    last_name: Vec<u8>,
}

#[derive(Debug)]
struct Draft {
    name: Box<[u8]>,
    first_row: usize,
    form: index::Form,
}

impl IndexBuilder {
    /// Appends a row. Nothing has changed if this fails.
    pub(crate) fn push(&mut self, group: &[u8], name: &[u8], place: Place) -> Result<()> {
        let limits = [
            ("bytes of a group", group.len(), GROUP_BYTES_MAX),
            ("bytes of a name", name.len(), NAME_BYTES_MAX),
            (
                "rows of an extent",
                self.names.len().saturating_add(1),
                EXTENT_ROWS_MAX as usize,
            ),
            (
                "page number",
                place.page as usize,
                (EXTENT_PAGES_MAX - 1) as usize,
            ),
            (
                "ordinal",
                place.ordinal as usize,
                (PAGE_ROWS_MAX - 1) as usize,
            ),
        ];
        for (what, value, max) in limits {
            limit(what, value, max)?;
        }
        if group.contains(&SLASH) {
            return Err(invalid("group holds a slash", group, name));
        }
        let opens = match self.groups.last() {
            None => true,
            Some(last) => match compare_groups(&last.name, group) {
                Ordering::Less => true,
                Ordering::Equal if self.last_name[..] < *name => false,
                _ => return Err(invalid("rows are not in ascending order", group, name)),
            },
        };
        let word = name::decode(name);
        if opens {
            let form = match word {
                Some(_) => index::Form::Tid,
                None => index::Form::Text,
            };
            let word = self.word(form, word, name)?;
            self.groups.push(Draft {
                name: group.into(),
                first_row: self.names.len(),
                form,
            });
            self.names.push(word);
        } else {
            if word.is_none() {
                self.make_last_group_text(name.len())?;
            }
            let form = self
                .groups
                .last()
                .map_or(index::Form::Text, |last| last.form);
            let word = self.word(form, word, name)?;
            self.names.push(word);
        }
        self.places.push(place.page << ORDINAL_BITS | place.ordinal);
        self.last_name.clear();
        self.last_name.extend_from_slice(name);
        Ok(())
    }

    /// Returns what stands for a name in its row, putting the name on the heap if the group is text.
    fn word(&mut self, form: index::Form, word: Option<u64>, name: &[u8]) -> Result<u64> {
        if let (index::Form::Tid, Some(word)) = (form, word) {
            return Ok(word);
        }
        let end = self.heap.len().saturating_add(name.len());
        limit("bytes of an extent's text names", end, HEAP_BYTES_MAX)?;
        let word = (self.heap.len() as u64) << 16 | name.len() as u64;
        self.heap.extend_from_slice(name);
        Ok(word)
    }

    /// Rewrites the group in hand as text, because a name came that is no word.
    fn make_last_group_text(&mut self, bytes_to_come: usize) -> Result<()> {
        let Some(last) = self
            .groups
            .last_mut()
            .filter(|last| last.form == index::Form::Tid)
        else {
            return Ok(());
        };
        let words = self.names.get_mut(last.first_row..).unwrap_or_default();
        let text_bytes = words.len().saturating_mul(name::encode(0).len());
        let end = [text_bytes, bytes_to_come]
            .iter()
            .fold(self.heap.len(), |sum, &bytes| sum.saturating_add(bytes));
        limit("bytes of an extent's text names", end, HEAP_BYTES_MAX)?;
        for word in words {
            let chars = name::encode(*word);
            *word = (self.heap.len() as u64) << 16 | chars.len() as u64;
            self.heap.extend_from_slice(&chars);
        }
        last.form = index::Form::Text;
        Ok(())
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> u32 {
        // `push` keeps this below EXTENT_ROWS_MAX.
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// Returns the index message, of one segment; `page_rows` says how many rows each page holds.
    pub(crate) fn finish(
        self,
        page_rows: impl Fn(u32) -> Option<u32>,
    ) -> Result<Builder<HeapAllocator>> {
        for &place in &self.places {
            let place = Place::unpack(place);
            if page_rows(place.page).is_none_or(|rows| place.ordinal >= rows) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "a row is placed where no row is: page=`{}` ordinal=`{}`",
                        place.page, place.ordinal
                    ),
                ));
            }
        }
        let mut message = message::builder(self.words())?;
        let mut root = message.init_root::<index::Builder<'_>>();
        let mut groups = root.reborrow().init_groups(count(self.groups.len()));
        let ends = self
            .groups
            .iter()
            .skip(1)
            .map(|group| group.first_row)
            .chain([self.names.len()]);
        for ((i, draft), end) in (0..).zip(&self.groups).zip(ends) {
            let mut group = groups.reborrow().get(i);
            group.set_name(&draft.name);
            group.set_first_row(count(draft.first_row));
            group.set_row_count(count(end.saturating_sub(draft.first_row)));
            group.set_form(draft.form);
        }
        let mut names = root.reborrow().init_names(count(self.names.len()));
        for (i, &word) in (0..).zip(&self.names) {
            names.set(i, word);
        }
        let mut places = root.reborrow().init_places(count(self.places.len()));
        for (i, &place) in (0..).zip(&self.places) {
            places.set(i, place);
        }
        root.set_heap(&self.heap);
        Ok(message)
    }

    /// Returns the length of the message in words.
    fn words(&self) -> u64 {
        let words = |bytes: usize| bytes.div_ceil(WORD_BYTES) as u64;
        // The root pointer, four pointers to lists, and the tag of the list of groups, whose elements have three words.
        let fixed = 1 + 4 + 1;
        self.groups
            .iter()
            .map(|group| words(group.name.len()).saturating_add(3))
            .chain([
                self.names.len() as u64,
                words(self.places.len().saturating_mul(4)),
                words(self.heap.len()),
            ])
            .fold(fixed, u64::saturating_add)
    }
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

    fn place(page: u32, ordinal: u32) -> Place {
        Place { page, ordinal }
    }

    #[test]
    fn each_limit_holds_at_the_limit_and_not_beyond() {
        let check = |group: usize, name: usize, place: Place| {
            IndexBuilder::default()
                .push(&vec![b'g'; group], &vec![b'n'; name], place)
                .map_err(|error| error.kind())
        };
        let beyond = Err(ErrorKind::LimitExceeded);
        assert_eq!(check(1_024, 0, place(0, 0)), Ok(()));
        assert_eq!(check(1_025, 0, place(0, 0)), beyond);
        assert_eq!(check(0, 65_535, place(0, 0)), Ok(()));
        assert_eq!(check(0, 65_536, place(0, 0)), beyond);
        assert_eq!(check(0, 0, place((1 << 20) - 1, 4_095)), Ok(()));
        assert_eq!(check(0, 0, place(1 << 20, 0)), beyond);
        assert_eq!(check(0, 0, place(0, 4_096)), beyond);
    }

    #[test]
    fn order_is_that_of_group_slash_name() {
        let check = |rows: &[(&str, &str)]| {
            let mut builder = IndexBuilder::default();
            rows.iter().try_for_each(|(group, name)| {
                builder
                    .push(group.as_bytes(), name.as_bytes(), place(0, 0))
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

    #[test]
    fn message_fits_the_words_it_claims() {
        for rows in 0..20_u64 {
            let mut builder = IndexBuilder::default();
            for row in 0..rows {
                let group = if row < 7 { "g" } else { "g1" };
                let name = match row {
                    3 | 12 => "~".repeat(row as usize),
                    row => String::from_utf8(name::encode(row).to_vec()).unwrap(),
                };
                let _order = builder.push(group.as_bytes(), name.as_bytes(), place(0, 0));
            }
            let words = builder.words() as usize;
            let message = builder.finish(|_| Some(1)).unwrap();
            assert_eq!(message::single(&message).unwrap().len(), words * 8);
        }
    }
}
