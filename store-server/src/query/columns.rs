//! What rows of a repo have at a path, read out of the columns: each page once for all of its rows that are asked for.

use std::borrow::Cow;
use std::ops::Range;

use carrack_repack::{Field, PageError, row};
use carrack_schema::RecordPath;
use carrack_segment::Place;

use super::plan::Hop;
use crate::chain::{Link, RowTable};
use crate::error::Result;
use crate::snapshot::{Keys, Repo};

/// Rows of a page from which on its groups are gone through; fewer are found one by one.
const ROWS_FOR_GROUPS: usize = 8;

/// A row that is asked for: what the caller calls it, and its number among those that may be seen.
pub(super) type Asked = (u32, u32);

/// A row that is asked for, where it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    link: u32,
    page: u32,
    ordinal: u32,
    name: u32,
}

impl Repo {
    /// Calls `visit` with each value that these rows have at a path, in no order; the values of one row that its record
    /// has in different places come in their order. `tick` is called for each page, and may end it.
    pub(super) fn visit_fields(
        &self,
        rows: &[Asked],
        path: &str,
        mut tick: impl FnMut() -> Result<()>,
        mut visit: impl FnMut(u32, &Field<'_>),
    ) -> Result<()> {
        self.each_page(rows, |link, page, placed| {
            tick()?;
            let words = link.segment().dictionary()?;
            let bytes = link.segment().file().page(page)?;
            let result = if placed.len() < ROWS_FOR_GROUPS {
                placed.iter().try_for_each(|row| {
                    let stored = row::row_for_fields(&bytes, row.ordinal)?;
                    stored.fields(path, &words, |field| visit(row.name, &field))
                })
            } else {
                each_group(&bytes, placed, |group, rows| {
                    let first = group.first_row();
                    let mut names = Names::new(rows, first);
                    let numbers = rows.iter().map(|row| row.ordinal.saturating_sub(first));
                    group.scan_rows(path, &words, numbers, |row, field| {
                        visit(names.of(row), &field);
                    })
                })
            };
            result.map_err(|error| link.segment().damaged(page, error))
        })
    }

    /// Calls `visit` with each of these rows that has a value at a path or below it.
    pub(super) fn visit_having(
        &self,
        rows: &[Asked],
        path: &str,
        mut tick: impl FnMut() -> Result<()>,
        mut visit: impl FnMut(u32),
    ) -> Result<()> {
        self.each_page(rows, |link, page, placed| {
            tick()?;
            let words = link.segment().dictionary()?;
            let bytes = link.segment().file().page(page)?;
            let result = if placed.len() < ROWS_FOR_GROUPS {
                placed.iter().try_for_each(|row| {
                    if row::row_for_fields(&bytes, row.ordinal)?.has(path, &words)? {
                        visit(row.name);
                    }
                    Ok(())
                })
            } else {
                each_group(&bytes, placed, |group, rows| {
                    let first = group.first_row();
                    let mut names = Names::new(rows, first);
                    let numbers = rows.iter().map(|row| row.ordinal.saturating_sub(first));
                    group.rows_having(path, &words, numbers, |row| visit(names.of(row)))
                })
            };
            result.map_err(|error| link.segment().damaged(page, error))
        })
    }

    /// Calls `visit` with each page that rows are in, and those rows by their place in it.
    fn each_page(
        &self,
        rows: &[Asked],
        mut visit: impl FnMut(&Link, u32, &[Placed]) -> Result<()>,
    ) -> Result<()> {
        let mut placed = self.places(rows)?;
        if !placed.is_sorted() {
            placed.sort_unstable();
        }
        for rows in placed.chunk_by(|a, b| (a.link, a.page) == (b.link, b.page)) {
            if let Some(first) = rows.first() {
                visit(self.chain().link(first.link as usize)?, first.page, rows)?;
            }
        }
        Ok(())
    }

    fn places(&self, rows: &[Asked]) -> Result<Vec<Placed>> {
        let shown = self.shown()?;
        let mut placed = Vec::with_capacity(rows.len());
        for run in rows.chunk_by(|a, b| a.1.checked_add(1) == Some(b.1)) {
            let Some(&(_, first)) = run.first() else {
                continue;
            };
            let numbers = first..first.saturating_add(u32::try_from(run.len()).unwrap_or(u32::MAX));
            let mut names = run.iter().map(|&(name, _)| name);
            self.each_place(shown, numbers, |link, place| {
                if let Some(name) = names.next() {
                    placed.push(Placed {
                        link,
                        page: place.page,
                        ordinal: place.ordinal,
                        name,
                    });
                }
            })?;
        }
        Ok(placed)
    }

    fn each_place(
        &self,
        shown: &RowTable,
        numbers: Range<u32>,
        mut visit: impl FnMut(u32, Place),
    ) -> Result<()> {
        for run in shown.runs(numbers) {
            let index = self.chain().link(run.at.link)?.index()?;
            let link = u32::try_from(run.at.link).unwrap_or(u32::MAX);
            for place in index.places_of(run.at.row..run.at.row.saturating_add(run.count)) {
                visit(link, place);
            }
        }
        Ok(())
    }

    /// Puts the path, `collection/rkey`, of a row that may be seen in place of what `out` holds.
    pub(super) fn path_of(&self, number: u32, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match self.shown()?.at(number) {
            Some(at) => self.chain().key(at, out),
            None => Ok(()),
        }
    }

    /// Returns the number of a record among the rows that may be seen, or what is missing.
    pub(super) fn number_of(&self, path: &RecordPath) -> Result<Result<u32, Hop>> {
        let shown = self.shown()?;
        let key = path.to_string();
        let number = shown.first_at(self.chain(), key.as_bytes())?;
        let mut found = Vec::new();
        self.path_of(number, &mut found)?;
        if found == key.as_bytes() {
            return Ok(Ok(number));
        }
        let collection = Keys {
            collection: Some(&path.collection),
            ..Keys::default()
        };
        Ok(Err(match self.rows(&collection)? {
            Some(_) => Hop::Record,
            None => Hop::Collection,
        }))
    }
}

/// Calls `visit` with each group of a page that rows are in, and those rows.
fn each_group(
    page: &[u8],
    mut rows: &[Placed],
    mut visit: impl FnMut(row::GroupRef<'_>, &[Placed]) -> Result<(), PageError>,
) -> Result<(), PageError> {
    row::groups(page, |group| {
        let end = group.first_row().saturating_add(group.rows());
        let within = rows.partition_point(|row| row.ordinal < end);
        let (in_group, rest) = rows.split_at(within);
        rows = rest;
        match in_group {
            [] => Ok(()),
            in_group => visit(group, in_group),
        }
    })?;
    match rows {
        [] => Ok(()),
        [lost, ..] => Err(PageError::Row(lost.ordinal)),
    }
}

/// Finds what rows of a group are called, which are asked for in ascending order, once or several times over.
struct Names<'r> {
    rows: &'r [Placed],
    first: u32,
    next: usize,
}

impl<'r> Names<'r> {
    fn new(rows: &'r [Placed], first: u32) -> Self {
        Self {
            rows,
            first,
            next: 0,
        }
    }

    #[inline]
    fn of(&mut self, row: u32) -> u32 {
        let ordinal = self.first.saturating_add(row);
        let is_next = |at: usize| self.rows.get(at).filter(|row| row.ordinal == ordinal);
        // A record may have several values in one place, and each leaf begins anew.
        let found = is_next(self.next).or_else(|| is_next(self.next.wrapping_sub(1)));
        match found {
            Some(found) => {
                if is_next(self.next).is_some() {
                    self.next += 1;
                }
                found.name
            }
            None => {
                let at = self.rows.partition_point(|row| row.ordinal < ordinal);
                self.next = at + 1;
                self.rows.get(at).map_or(u32::MAX, |row| row.name)
            }
        }
    }
}

/// Returns the collection and the record key of a path.
pub(super) fn split_path(path: &[u8]) -> (Cow<'_, str>, Cow<'_, str>) {
    let slash = path.iter().position(|&byte| byte == b'/');
    let (collection, rkey) = path.split_at(slash.unwrap_or(path.len()));
    let rkey = rkey.get(1..).unwrap_or_default();
    (
        String::from_utf8_lossy(collection),
        String::from_utf8_lossy(rkey),
    )
}
