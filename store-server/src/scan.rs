//! [`Repo::scan`]: the rows that have a value at a path which passes a test, found column by column.
//!
//! A page is scanned once, all rows of a shape after each other, without making a record; what passed is a bit. The rows
//! asked for then only look their bits up. No record is read.

use std::ops::Range;

use carrack_repack::{Field, PageError, row};

use crate::chain::Link;
use crate::error::Result;
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
struct Pages(Vec<Option<Bits>>);

/// A bit for each row of a page.
type Bits = Box<[u64]>;

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
                self.0.resize(page + 1, None);
            }
            let Some(slot) = self.0.get_mut(page) else {
                continue;
            };
            let bits = match slot {
                Some(bits) => bits,
                None => slot.insert(scan_page(link, place.page, path, test)?),
            };
            let word = bits.get(place.ordinal as usize / 64).copied();
            if word.is_some_and(|word| word >> (place.ordinal % 64) & 1 == 1) {
                found(row);
            }
        }
        Ok(())
    }
}

/// Tests all rows of a page.
fn scan_page(
    link: &Link,
    number: u32,
    path: &str,
    test: &mut impl FnMut(&Field<'_>) -> bool,
) -> Result<Bits> {
    let segment = link.segment();
    let rows = segment.file().page_rows(number).unwrap_or(0);
    let mut bits = vec![0_u64; rows.div_ceil(64) as usize].into_boxed_slice();
    let page = segment.file().page(number)?;
    let words = segment.dictionary()?;
    row::groups::<PageError>(&page, |group| {
        group.scan(path, &words, |row, field| {
            if test(&field) {
                let ordinal = group.first_row().saturating_add(row);
                if let Some(word) = bits.get_mut(ordinal as usize / 64) {
                    *word |= 1 << (ordinal % 64);
                }
            }
        })
    })
    .map_err(|error| segment.damaged(number, error))?;
    Ok(bits)
}
