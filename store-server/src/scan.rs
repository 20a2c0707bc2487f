//! [`Repo::scan`]: the rows that have a value at a path which passes a test, found column by column.
//!
//! A group of a page is scanned once, all rows of a shape after each other, without making a record; what passed is a
//! bit. The rows asked for then only look their bits up. No record is read.

use std::ops::Range;

use carrack_repack::{Field, PageError, row};
use carrack_segment::Place;

use crate::chain::Link;
use crate::error::Result;
use crate::row::RecordSegment;
use crate::snapshot::{RecordRef, Repo, Rows};

/// Rows of a repo that a scan found, in key order.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    numbers: Vec<u32>,
}

impl Matches {
    /// Returns how many there are.
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether a scan found nothing but by their number"
    )]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}

impl Repo {
    /// Finds those of `rows` that have a value at `path` which passes `test`: map keys joined by dots (`subject.uri`),
    /// through lists (`embed.images.alt`). `test` may be asked of other rows of the pages too, and in any order. A
    /// record that breaks the data model, or whose block is not held, has no values.
    ///
    /// # Errors
    /// `damaged` if an index, a page or a dictionary is.
    pub fn scan(
        &self,
        rows: &Rows,
        path: &str,
        mut test: impl FnMut(&Field<'_>) -> bool,
    ) -> Result<Matches> {
        let shown = self.shown()?;
        let mut pages: Vec<Pages> = Vec::new();
        let mut found = Matches::default();
        for run in shown.runs(rows.numbers()) {
            let link = self.chain().link(run.at.link)?;
            if pages.len() <= run.at.link {
                pages.resize_with(run.at.link + 1, Pages::default);
            }
            if let Some(pages) = pages.get_mut(run.at.link) {
                let within = run.at.row..run.at.row + run.count;
                pages.find(link, within, path, &mut test, |row| {
                    found.numbers.push(run.first + (row - run.at.row));
                })?;
            }
        }
        Ok(found)
    }

    /// Reads the rows that a scan of this repo found, in key order.
    pub fn read_matches(&self, found: &Matches) -> impl Iterator<Item = Result<RecordRef<'_>>> {
        found.numbers.iter().map(|&number| self.shown_row(number))
    }
}

/// Which rows of a segment's pages passed, by page; none where nobody asked yet.
#[derive(Default)]
struct Pages(Vec<Option<PageBits>>);

/// A bit for each row of a page, and which groups were tested: those that a row asked for is in.
struct PageBits {
    bits: Box<[u64]>,
    groups: Vec<GroupState>,
}

/// Rows of a page that share a shape.
struct GroupState {
    /// Ordinal behind the last row.
    end: u32,
    is_tested: bool,
}

impl Pages {
    /// Calls `found` with those of a link's rows that pass, in order.
    fn find(
        &mut self,
        link: &Link,
        rows: Range<u32>,
        path: &str,
        test: &mut impl FnMut(&Field<'_>) -> bool,
        mut found: impl FnMut(u32),
    ) -> Result<()> {
        for (row, place) in rows.clone().zip(link.index()?.places_of(rows)) {
            let page = place.page as usize;
            if self.0.len() <= page {
                self.0.resize_with(page + 1, || None);
            }
            let Some(slot) = self.0.get_mut(page) else {
                continue;
            };
            let page = match slot {
                Some(page) => page,
                None => slot.insert(PageBits::of(link.segment(), place.page)?),
            };
            if page.is_untested(place.ordinal) {
                page.test(link.segment(), place, path, test)?;
            }
            if page.has(place.ordinal) {
                found(row);
            }
        }
        Ok(())
    }
}

impl PageBits {
    fn of(segment: &RecordSegment, number: u32) -> Result<Self> {
        let page = segment.file().page(number)?;
        let mut groups = Vec::new();
        row::groups::<PageError>(&page, |group| {
            groups.push(GroupState {
                end: group.first_row().saturating_add(group.rows()),
                is_tested: false,
            });
            Ok(())
        })
        .map_err(|error| segment.damaged(number, error))?;
        let rows = segment.file().page_rows(number).unwrap_or(0);
        let bits = vec![0; rows.div_ceil(64) as usize].into_boxed_slice();
        Ok(Self { bits, groups })
    }

    fn group_of(&self, ordinal: u32) -> usize {
        self.groups.partition_point(|group| group.end <= ordinal)
    }

    #[inline]
    fn is_untested(&self, ordinal: u32) -> bool {
        let group = self.groups.get(self.group_of(ordinal));
        group.is_some_and(|group| !group.is_tested)
    }

    #[inline]
    fn has(&self, ordinal: u32) -> bool {
        let word = self.bits.get(ordinal as usize / 64);
        word.is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// Tests all rows of the group that a row is in.
    fn test(
        &mut self,
        segment: &RecordSegment,
        place: Place,
        path: &str,
        test: &mut impl FnMut(&Field<'_>) -> bool,
    ) -> Result<()> {
        let asked = self.group_of(place.ordinal);
        if let Some(group) = self.groups.get_mut(asked) {
            group.is_tested = true;
        }
        let page = segment.file().page(place.page)?;
        let words = segment.dictionary()?;
        let bits = &mut self.bits;
        let mut number = 0;
        row::groups::<PageError>(&page, |group| {
            number += 1;
            if number - 1 != asked {
                return Ok(());
            }
            group.scan(path, &words, |row, field| {
                if test(&field) {
                    let ordinal = group.first_row().saturating_add(row);
                    if let Some(word) = bits.get_mut(ordinal as usize / 64) {
                        *word |= 1 << (ordinal % 64);
                    }
                }
            })
        })
        .map_err(|error| segment.damaged(place.page, error))
    }
}
