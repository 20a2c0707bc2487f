//! [`RowRef`]: a row of a page, read in place: as the record's bytes, or one leaf at a time.
//!
//! A page's bytes may be a hostile file's: nothing here trusts a count, a place or a number of it.

use std::borrow::Cow;

use capnp::raw;
use carrack_repo::cbor::write::{self as cbor, put_head};
use carrack_repo::cbor::{Reader, Token};
use carrack_schema::limits::CAR_SECTION_BYTES_MAX;
use carrack_schema::wire::segment_capnp::page;
use carrack_schema::{Cid, Tid, cid::Codec};
use carrack_segment::{bits, message};

use crate::dictionary::Vocabulary;
use crate::group::{CODE_ENTRY, CODE_FIXED, CODE_TEXT, PLACE_BITS_MAX, SIGN};
use crate::leaf::time::{self, TimeForm};
use crate::leaf::uri::{self, PLC_BYTES, RkeyForm};
use crate::leaf::{Leaf, base32};
use crate::shape::{AtPath, LeafPlace, Part, Shape};

/// Numbers of groups whose rows have no shape, and of the first shape.
pub(crate) const VERBATIM: u32 = 0;
pub(crate) const MISSING: u32 = 1;
pub(crate) const GONE: u32 = 2;
pub(crate) const FIRST_SHAPE: u32 = 3;

/// A page whose message does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The message does not parse.
    #[error("page does not parse")]
    Message(#[from] capnp::Error),
    /// The page has no such row, or a column of it lies outside the page.
    #[error("page has no row {0}")]
    Row(u32),
    /// A row that should be a CID is none.
    #[error("page has no CID in row {0}")]
    Cid(u32),
    /// The dictionary has no such entry.
    #[error("row {0} names what its segment's dictionary does not hold")]
    Dictionary(u32),
    /// A row would be longer than a record may be.
    #[error("row {0} is longer than a record may be")]
    TooLong(u32),
}

/// A row of a page, in place.
#[derive(Clone, Copy, Debug)]
pub enum StoredRow<'a> {
    /// The record's DAG-CBOR, as it is.
    DagCbor(&'a [u8]),
    /// The record, in columns.
    Columns(RowRef<'a>),
    /// The CID of a record whose block was not in the CAR.
    Missing(Cid),
    /// The record that an older extent has is gone.
    Gone,
}

/// Rows of one shape, in place.
#[derive(Clone, Copy, Debug)]
pub struct GroupRef<'a> {
    shape: u32,
    first_row: u32,
    rows: u32,
    bases: &'a [u8],
    codes: &'a [u8],
    packed: &'a [u8],
    shared: Shared<'a>,
}

/// A row in columns: a group, and a row of it.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    group: GroupRef<'a>,
    row: u32,
}

/// A leaf's value, as it is stored; texts of a form are made only when asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// Null.
    Null,
    /// False or true.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Text.
    Text(&'a [u8]),
    /// A byte string.
    Bytes(&'a [u8]),
    /// Text that is a TID.
    Tid(Tid),
    /// Text that is a `did:plc`, by its 15 bytes.
    Plc([u8; PLC_BYTES]),
    /// Text that is an AT-URI of a `did:plc`.
    Uri {
        /// The account.
        plc: [u8; PLC_BYTES],
        /// The collection's text.
        collection: &'a [u8],
        /// The record key.
        rkey: Rkey<'a>,
    },
    /// Text that is a CID.
    CidText(Cid),
    /// A link.
    Link(Cid),
    /// A link of a rare form, by its binary CID.
    OddLink(&'a [u8]),
    /// Text that is a time: a number of its form's units since the Unix epoch.
    Time(TimeForm, i64),
}

/// A record key of an AT-URI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rkey<'a> {
    /// A TID.
    Tid(Tid),
    /// Any text.
    Text(&'a [u8]),
}

impl Rkey<'_> {
    fn with_bytes<T>(&self, with: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Tid(tid) => with(&tid.text()),
            Self::Text(text) => with(text),
        }
    }
}

impl<'a> Field<'a> {
    /// Returns the bytes of the text, if the value is one.
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        if let Self::Text(text) = self {
            return Some(Cow::Borrowed(text));
        }
        let mut out = Vec::new();
        self.write_text(&mut out).then_some(Cow::Owned(out))
    }

    /// Appends the bytes of the text; false if the value is none.
    #[inline]
    pub fn write_text(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Tid(tid) => out.extend_from_slice(&tid.text()),
            Self::Plc(plc) => uri::write_plc(plc, out),
            Self::Uri {
                plc,
                collection,
                rkey,
            } => {
                rkey.with_bytes(|rkey| uri::write(plc, collection, rkey, out));
            }
            Self::CidText(cid) => base32::encode_cid(cid.codec(), cid.digest(), out),
            Self::Time(form, value) => time::write(*form, *value, out),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Bytes(_)
            | Self::Link(_)
            | Self::OddLink(_) => return false,
        }
        true
    }

    /// Appends the value as DAG-CBOR.
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(cbor::NULL),
            Self::Bool(value) => out.push(if *value { cbor::TRUE } else { cbor::FALSE }),
            Self::Int(value) if *value < 0 => {
                put_head(out, cbor::NEGATIVE, (!value).cast_unsigned())
            }
            Self::Int(value) => put_head(out, cbor::UNSIGNED, value.cast_unsigned()),
            Self::Text(text) => {
                put_head(out, cbor::TEXT, text.len() as u64);
                out.extend_from_slice(text);
            }
            Self::Bytes(bytes) => {
                put_head(out, cbor::BYTES, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::Tid(tid) => {
                put_head(out, cbor::TEXT, Tid::TEXT_BYTES as u64);
                out.extend_from_slice(&tid.text());
            }
            Self::Plc(plc) => {
                put_head(out, cbor::TEXT, uri::PLC_TEXT_BYTES as u64);
                uri::write_plc(plc, out);
            }
            Self::Uri {
                plc,
                collection,
                rkey,
            } => rkey.with_bytes(|rkey| {
                put_head(
                    out,
                    cbor::TEXT,
                    uri::text_bytes(collection, rkey.len()) as u64,
                );
                uri::write(plc, collection, rkey, out);
            }),
            Self::CidText(cid) => {
                put_head(out, cbor::TEXT, base32::CID_TEXT_BYTES as u64);
                base32::encode_cid(cid.codec(), cid.digest(), out);
            }
            Self::Link(cid) => cbor::put_link(out, Some(cid)),
            Self::OddLink(cid) => {
                out.extend_from_slice(&cbor::LINK_TAG);
                put_head(out, cbor::BYTES, (cid.len() as u64).saturating_add(1));
                out.push(0);
                out.extend_from_slice(cid);
            }
            Self::Time(form, value) => {
                put_head(out, cbor::TEXT, form.text_bytes() as u64);
                time::write(*form, *value, out);
            }
        }
    }
}

/// Returns a row of a page, in place. The page starts at a multiple of 8 in memory.
///
/// # Errors
/// If the page does not hold such a row.
pub fn row(page_bytes: &[u8], ordinal: u32) -> Result<StoredRow<'_>, PageError> {
    find_row(page_bytes, ordinal, Shared::of)
}

/// As [`row`], for who reads a leaf: what the page's groups share is found only if the leaf is there.
///
/// # Errors
/// As [`row`].
pub fn row_for_fields(page_bytes: &[u8], ordinal: u32) -> Result<StoredRow<'_>, PageError> {
    find_row(page_bytes, ordinal, |page, _| Ok(Shared::not_yet(page)))
}

#[inline]
fn find_row<'p>(
    page_bytes: &'p [u8],
    ordinal: u32,
    shared: impl FnOnce(&'p [u8], page::Reader<'_>) -> Result<Shared<'p>, PageError>,
) -> Result<StoredRow<'p>, PageError> {
    let reader = message::flat(page_bytes);
    let root = reader.get_root::<page::Reader<'_>>()?;
    let groups = root.get_groups()?;
    // The last group whose first row is not above the ordinal.
    let (mut low, mut high) = (0, groups.len());
    while low < high {
        let middle = low.midpoint(high);
        if u32::from(groups.get(middle).get_first_row()) <= ordinal {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    let number = low.checked_sub(1).ok_or(PageError::Row(ordinal))?;
    let group = shared(page_bytes, root)?.group(groups.get(number))?;
    let row = ordinal.saturating_sub(group.first_row);
    group.row(row).ok_or(PageError::Row(ordinal))?
}

/// Calls `visit` with each group of a page, until it fails.
///
/// # Errors
/// If the page does not parse, or `visit`'s.
pub fn groups<'p, E: From<PageError>>(
    page_bytes: &'p [u8],
    mut visit: impl FnMut(GroupRef<'p>) -> Result<(), E>,
) -> Result<(), E> {
    let reader = message::flat(page_bytes);
    let root = reader
        .get_root::<page::Reader<'_>>()
        .map_err(PageError::from)?;
    let shared = Shared::of(page_bytes, root)?;
    for group in root.get_groups().map_err(PageError::from)? {
        visit(shared.group(group)?)?;
    }
    Ok(())
}

/// Returns a part of a page that a reader found in it, borrowed from the page itself.
#[inline]
fn borrowed<'p>(page: &'p [u8], part: &[u8]) -> &'p [u8] {
    if part.is_empty() {
        return &[];
    }
    let start = part.as_ptr().addr().wrapping_sub(page.as_ptr().addr());
    page.get(start..start.saturating_add(part.len()))
        .unwrap_or_default()
}

fn u32_at(bytes: &[u8], number: usize) -> Option<u32> {
    let chunk = bytes.get(number.checked_mul(4)?..)?.first_chunk()?;
    Some(u32::from_le_bytes(*chunk))
}

/// A column of a group.
#[derive(Clone, Copy, Debug)]
struct ColumnRef {
    base: u64,
    code: u8,
    /// Where its numbers begin, in bits.
    at: u64,
    width: u32,
}

/// What the groups of a page share, found once: each look at a list counts as a visit to all of it.
#[derive(Clone, Copy, Debug)]
struct Shared<'p> {
    page: &'p [u8],
    is_found: bool,
    heap: &'p [u8],
    entry_starts: &'p [u8],
    entries: &'p [u8],
}

impl<'p> Shared<'p> {
    fn of(page: &'p [u8], root: page::Reader<'_>) -> Result<Self, PageError> {
        Ok(Self {
            page,
            is_found: true,
            heap: borrowed(page, root.get_heap()?),
            entry_starts: borrowed(page, raw::get_list_bytes(root.get_entry_starts()?)),
            entries: borrowed(page, root.get_entries()?),
        })
    }

    /// Puts off looking.
    fn not_yet(page: &'p [u8]) -> Self {
        Self {
            page,
            is_found: false,
            heap: &[],
            entry_starts: &[],
            entries: &[],
        }
    }

    /// Returns what is shared, looked for now if it was put off.
    fn found(self) -> Result<Self, PageError> {
        if self.is_found {
            return Ok(self);
        }
        let reader = message::flat(self.page);
        Self::of(self.page, reader.get_root::<page::Reader<'_>>()?)
    }

    fn group(self, group: page::group::Reader<'_>) -> Result<GroupRef<'p>, PageError> {
        Ok(GroupRef {
            shape: group.get_shape(),
            first_row: group.get_first_row().into(),
            rows: group.get_rows().into(),
            bases: borrowed(self.page, raw::get_list_bytes(group.get_bases()?)),
            codes: borrowed(self.page, group.get_codes()?),
            packed: borrowed(self.page, group.get_packed()?),
            shared: self,
        })
    }
}

impl ColumnRef {
    /// Whether its values are on the page's heap or among its entries.
    fn is_on_heap(&self) -> bool {
        self.code >= CODE_FIXED
    }
}

impl<'p> GroupRef<'p> {
    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the ordinal of the first row.
    pub fn first_row(&self) -> u32 {
        self.first_row
    }

    /// Returns the shape's number; none for rows that have no shape.
    pub fn shape(&self) -> Option<u32> {
        self.shape.checked_sub(FIRST_SHAPE)
    }

    /// Returns a row by its number in the group; none if the group has no such row.
    #[inline]
    pub fn row(self, row: u32) -> Option<Result<StoredRow<'p>, PageError>> {
        if row >= self.rows {
            return None;
        }
        let ordinal = self.first_row.saturating_add(row);
        let text = || {
            let column = self.columns().next()?;
            self.whole().ok()?.text(column, row)
        };
        Some(match self.shape {
            VERBATIM => text()
                .map(StoredRow::DagCbor)
                .ok_or(PageError::Row(ordinal)),
            MISSING => text()
                .and_then(|cid| Cid::from_bytes(cid).ok())
                .map(StoredRow::Missing)
                .ok_or(PageError::Cid(ordinal)),
            GONE => Ok(StoredRow::Gone),
            _ => Ok(StoredRow::Columns(RowRef { group: self, row })),
        })
    }

    /// Returns the group with what the page's groups share.
    fn whole(self) -> Result<Self, PageError> {
        let shared = self.shared.found()?;
        Ok(Self { shared, ..self })
    }

    /// Returns the columns in order.
    fn columns(self) -> impl Iterator<Item = ColumnRef> + Clone + use<'p> {
        let (bases, _) = self.bases.as_chunks::<8>();
        let rows = u64::from(self.rows);
        let mut at = 0_u64;
        self.codes.iter().zip(bases).map(move |(&code, base)| {
            let width = match code {
                0..=64 => code.into(),
                CODE_ENTRY.. => u32::from(code & 63).min(PLACE_BITS_MAX),
                _ => 0,
            };
            let column = ColumnRef {
                base: u64::from_le_bytes(*base),
                code,
                at,
                width,
            };
            at = at.saturating_add(rows.saturating_mul(width.into()));
            column
        })
    }

    #[inline]
    fn number(&self, column: ColumnRef, row: u32) -> u64 {
        let at = column
            .at
            .saturating_add(u64::from(row).saturating_mul(column.width.into()));
        column
            .base
            .wrapping_add(bits::read(self.packed, at, column.width))
    }

    #[inline]
    fn text(&self, column: ColumnRef, row: u32) -> Option<&'p [u8]> {
        if column.code >= CODE_TEXT {
            let end = self.number(column, row);
            let start = match row.checked_sub(1) {
                None => column.base,
                Some(before) => self.number(column, before),
            };
            return self
                .shared
                .heap
                .get(usize::try_from(start).ok()?..usize::try_from(end).ok()?);
        }
        if column.code < CODE_ENTRY {
            return None;
        }
        let number = usize::try_from(self.number(column, row)).ok()?;
        let start = u32_at(self.shared.entry_starts, number)? as usize;
        let end = u32_at(self.shared.entry_starts, number.checked_add(1)?)
            .map_or(self.shared.entries.len(), |end| end as usize);
        self.shared.entries.get(start..end)
    }

    /// Returns fixed bytes of a row: in the heap, or an entry.
    #[inline]
    fn fixed<const N: usize>(&self, column: ColumnRef, row: u32) -> Option<&'p [u8; N]> {
        if column.code == CODE_FIXED {
            let start = usize::try_from(column.base)
                .ok()?
                .checked_add((row as usize).checked_mul(N)?)?;
            return self.shared.heap.get(start..)?.first_chunk();
        }
        self.text(column, row)?.try_into().ok()
    }

    fn plc(&self, column: ColumnRef, row: u32, words: &impl Vocabulary) -> Option<[u8; PLC_BYTES]> {
        if column.code == CODE_FIXED {
            return self.fixed(column, row).copied();
        }
        words.plc(self.number(column, row))
    }

    /// Returns a leaf's value; `columns` stands at the leaf's first.
    #[inline]
    fn field<'v: 'f, 'f>(
        &self,
        kind: Leaf,
        columns: &mut impl Iterator<Item = ColumnRef>,
        row: u32,
        words: &'v impl Vocabulary,
    ) -> Option<Field<'f>>
    where
        'p: 'f,
    {
        let first = columns.next()?;
        let signed = || (self.number(first, row) ^ SIGN).cast_signed();
        Some(match kind {
            Leaf::Bool => Field::Bool(self.number(first, row) != 0),
            Leaf::Int => Field::Int(signed()),
            Leaf::Time(form) => Field::Time(form, signed()),
            Leaf::Tid => Field::Tid(Tid::from_u64(self.number(first, row))),
            Leaf::Text => Field::Text(self.text(first, row)?),
            Leaf::Bytes => Field::Bytes(self.text(first, row)?),
            Leaf::Plc => Field::Plc(self.plc(first, row, words)?),
            Leaf::CidText(codec) => Field::CidText(self.cid(codec, first, row)?),
            Leaf::Link(codec) => Field::Link(self.cid(codec, first, row)?),
            Leaf::Uri(form) => {
                let (name, rkey) = (columns.next()?, columns.next()?);
                Field::Uri {
                    plc: self.plc(first, row, words)?,
                    collection: words.name(self.number(name, row))?,
                    rkey: match form {
                        RkeyForm::Tid => Rkey::Tid(Tid::from_u64(self.number(rkey, row))),
                        RkeyForm::Text => Rkey::Text(self.text(rkey, row)?),
                    },
                }
            }
            Leaf::Same(_) => return None,
        })
    }

    fn cid(&self, codec: Codec, column: ColumnRef, row: u32) -> Option<Cid> {
        Some(Cid::new(codec, *self.fixed(column, row)?))
    }
}

impl<'p> GroupRef<'p> {
    /// Calls `visit` with the number of a row of this group and each value it has at a path, as
    /// [`StoredRow::fields`] does. Only the columns of that path are touched, one leaf after the other, so rows ascend
    /// for each leaf of the shape. Rows that are kept as they are, and break the data model, have no values.
    ///
    /// # Errors
    /// If the page or the dictionary does not hold what the group names.
    pub fn scan<'v: 'f, 'f>(
        &self,
        path: &str,
        words: &'v impl Vocabulary,
        visit: impl FnMut(u32, Field<'f>),
    ) -> Result<(), PageError>
    where
        'p: 'f,
    {
        self.scan_rows(path, words, 0..self.rows, visit)
    }

    /// As [`scan`](Self::scan), of these rows of the group only.
    ///
    /// # Errors
    /// As [`scan`](Self::scan), and if the group does not hold such a row.
    pub fn scan_rows<'v: 'f, 'f>(
        &self,
        path: &str,
        words: &'v impl Vocabulary,
        rows: impl Iterator<Item = u32> + Clone,
        mut visit: impl FnMut(u32, Field<'f>),
    ) -> Result<(), PageError>
    where
        'p: 'f,
    {
        let path = &*without_lists(path);
        let Some(number) = self.shape() else {
            for row in rows {
                if let Some(Ok(StoredRow::DagCbor(record))) = self.row(row) {
                    fields_of(record, path, |field| visit(row, field));
                }
            }
            return Ok(());
        };
        let lost = |row: u32| PageError::Row(self.first_row.saturating_add(row));
        for at in self.shape_of(number, words)?.at_path(path) {
            let fixed = match at {
                AtPath::Leaf(leaf) => {
                    let columns = self
                        .columns()
                        .skip(leaf.column)
                        .take(leaf.kind.columns_count());
                    let columns: Vec<_> = columns.collect();
                    for row in rows.clone() {
                        let field = self.field(leaf.kind, &mut columns.iter().copied(), row, words);
                        visit(row, field.ok_or_else(|| lost(row))?);
                    }
                    continue;
                }
                AtPath::Null => Field::Null,
                AtPath::Text(text) => Field::Text(text),
            };
            rows.clone().for_each(|row| visit(row, fixed));
        }
        Ok(())
    }

    /// Calls `visit` with those of these rows of the group that have a value at a path or below it: a list or map that is
    /// not empty has one. Rows that share a shape are alike in this, and no column is touched.
    ///
    /// # Errors
    /// If the dictionary does not hold what the group names.
    pub fn rows_having(
        &self,
        path: &str,
        words: &impl Vocabulary,
        rows: impl Iterator<Item = u32>,
        visit: impl FnMut(u32),
    ) -> Result<(), PageError> {
        let path = &*without_lists(path);
        let Some(number) = self.shape() else {
            let has = |row: &u32| match self.row(*row) {
                Some(Ok(StoredRow::DagCbor(record))) => has_value(record, path),
                _ => false,
            };
            rows.filter(has).for_each(visit);
            return Ok(());
        };
        if self.shape_of(number, words)?.has(path) {
            rows.for_each(visit);
        }
        Ok(())
    }

    fn shape_of<'v>(
        &self,
        number: u32,
        words: &'v impl Vocabulary,
    ) -> Result<&'v Shape, PageError> {
        words
            .shape(number)
            .ok_or(PageError::Dictionary(self.first_row))
    }
}

impl<'p> StoredRow<'p> {
    /// Calls `visit` with each value at a path: map keys joined by dots; a path goes through lists to what is in them, and
    /// may say so (`embed.images[].alt`).
    /// Lists and maps are no values here. A record that breaks the data model has none, nor has a row without a record.
    ///
    /// # Errors
    /// If the page or the dictionary does not hold what the row names.
    pub fn fields<'v: 'f, 'f>(
        &self,
        path: &str,
        words: &'v impl Vocabulary,
        mut visit: impl FnMut(Field<'f>),
    ) -> Result<(), PageError>
    where
        'p: 'f,
    {
        let path = &*without_lists(path);
        match self {
            Self::Columns(row) => row.fields(path, words, visit)?,
            Self::DagCbor(record) => fields_of(record, path, &mut visit),
            Self::Missing(_) | Self::Gone => {}
        }
        Ok(())
    }

    /// Says whether there is a value at a path or below it: a list or map that is not empty has one.
    ///
    /// # Errors
    /// If the dictionary does not hold what the row names.
    pub fn has(&self, path: &str, words: &impl Vocabulary) -> Result<bool, PageError> {
        let path = &*without_lists(path);
        Ok(match self {
            Self::Columns(row) => row.shape(words)?.has(path),
            Self::DagCbor(record) => has_value(record, path),
            Self::Missing(_) | Self::Gone => false,
        })
    }
}

/// Returns a path without the marks of lists, which may be said (`images[].alt`) and make no difference.
fn without_lists(path: &str) -> Cow<'_, str> {
    // Looked for by the byte: this is on the way to every leaf.
    match path.as_bytes().contains(&b'[') {
        true => Cow::Owned(path.replace("[]", "")),
        false => Cow::Borrowed(path),
    }
}

/// Calls `visit` with each value at a path of a record that is DAG-CBOR; with none if it breaks the data model anywhere.
fn fields_of<'r>(record: &'r [u8], path: &str, mut visit: impl FnMut(Field<'r>)) {
    let mut found = Vec::new();
    if find(record, |at| at == path, |field| found.push(field)).is_some() {
        found.into_iter().for_each(&mut visit);
    }
}

/// Says whether a record that is DAG-CBOR has a value at a path or below it; not if it breaks the data model anywhere.
fn has_value(record: &[u8], path: &str) -> bool {
    let mut found = false;
    find(record, |at| is_at_or_below(at, path), |_| found = true).is_some() && found
}

/// Says whether `at` is `path` or leads on from it.
pub(crate) fn is_at_or_below(at: &str, path: &str) -> bool {
    at.strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Finds the values at paths that `is_wanted` picks, following the keys of the maps that are open.
fn find<'r>(
    record: &'r [u8],
    is_wanted: impl Fn(&str) -> bool,
    mut found: impl FnMut(Field<'r>),
) -> Option<()> {
    let mut reader = Reader::new(record);
    // Keys to where the next value stands; by depth, how long that is where each open list or map stands.
    let mut at = String::new();
    let mut open = vec![Standing {
        path_bytes: 0,
        is_list: true,
    }];
    loop {
        open.truncate(reader.depth().saturating_add(1));
        let standing = open.last()?;
        let Some(token) = reader.next_token().ok()? else {
            return Some(());
        };
        if standing.is_list || matches!(token, Token::Key(_)) {
            at.truncate(standing.path_bytes);
        }
        let field = match token {
            Token::Key(key) => {
                if !at.is_empty() {
                    at.push('.');
                }
                at.push_str(key);
                continue;
            }
            Token::List(_) | Token::Map(_) => {
                let is_list = matches!(token, Token::List(_));
                open.push(Standing {
                    path_bytes: at.len(),
                    is_list,
                });
                continue;
            }
            Token::Null => Field::Null,
            Token::Bool(value) => Field::Bool(value),
            Token::Int(value) => Field::Int(value),
            Token::Text(text) => Field::Text(text.as_bytes()),
            Token::Bytes(bytes) => Field::Bytes(bytes),
            Token::Link(cid) => match Cid::from_bytes(cid) {
                Ok(cid) => Field::Link(cid),
                Err(_) => Field::OddLink(cid),
            },
        };
        if is_wanted(&at) {
            found(field);
        }
    }
}

/// A list or map that is open while a path is followed.
struct Standing {
    path_bytes: usize,
    is_list: bool,
}

impl<'p> RowRef<'p> {
    fn ordinal(&self) -> u32 {
        self.group.first_row.saturating_add(self.row)
    }

    /// Returns the row's shape.
    ///
    /// # Errors
    /// If the dictionary does not hold it.
    pub fn shape<'v>(&self, words: &'v impl Vocabulary) -> Result<&'v Shape, PageError> {
        let shape = self.group.shape().and_then(|shape| words.shape(shape));
        shape.ok_or(PageError::Dictionary(self.ordinal()))
    }

    /// Appends the record's DAG-CBOR, exactly as it was.
    ///
    /// # Errors
    /// If the page or the dictionary does not hold what the row names; then `out` holds a part of the record.
    pub fn write(&self, words: &impl Vocabulary, out: &mut Vec<u8>) -> Result<(), PageError> {
        let shape = self.shape(words)?;
        let limit = out.len().saturating_add(CAR_SECTION_BYTES_MAX);
        let group = self.group.whole()?;
        let mut columns = group.columns();
        for part in shape.parts() {
            match *part {
                Part::Run { start, end } => out.extend_from_slice(shape.bytes(start, end)),
                Part::Leaf(number) => {
                    let lost = PageError::Row(self.ordinal());
                    let field = match shape.own_leaf(number) {
                        Some(leaf) => group.field(leaf.kind, &mut columns, self.row, words),
                        None => shape.leaf(number).and_then(|leaf| self.leaf(leaf, words)),
                    };
                    field.ok_or(lost)?.write(out);
                }
            }
            if out.len() > limit {
                return Err(PageError::TooLong(self.ordinal()));
            }
        }
        Ok(())
    }

    /// Returns a leaf's value, not touching the others.
    fn leaf<'v: 'f, 'f>(&self, leaf: &LeafPlace, words: &'v impl Vocabulary) -> Option<Field<'f>>
    where
        'p: 'f,
    {
        let mut columns = self.group.columns().skip(leaf.column);
        let mut own = columns.clone().take(leaf.kind.columns_count());
        let group = match own.any(|column| column.is_on_heap()) {
            true => self.group.whole().ok()?,
            false => self.group,
        };
        group.field(leaf.kind, &mut columns, self.row, words)
    }

    /// Calls `visit` with each value at a path: map keys joined by dots, through lists. Lists and maps are no values here.
    ///
    /// # Errors
    /// If the page or the dictionary does not hold what the row names.
    pub fn fields<'v: 'f, 'f>(
        &self,
        path: &str,
        words: &'v impl Vocabulary,
        mut visit: impl FnMut(Field<'f>),
    ) -> Result<(), PageError>
    where
        'p: 'f,
    {
        for at in self.shape(words)?.at_path(path) {
            visit(match at {
                AtPath::Null => Field::Null,
                AtPath::Text(text) => Field::Text(text),
                AtPath::Leaf(leaf) => self
                    .leaf(leaf, words)
                    .ok_or(PageError::Row(self.ordinal()))?,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
