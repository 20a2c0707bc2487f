//! [`StoredRow`]: a row of an extent where it lies in an open segment, and what it holds once it is read.
//!
//! A row in columns is made into its record's bytes each time it is read; one that is kept as it is, in a page that is
//! mapped, is borrowed from the map.

use std::borrow::Cow;
use std::sync::OnceLock;

use carrack_repack::{Dictionary, DictionaryRef, Field, PageError, row};
use carrack_schema::{Cid, Code, cid::Codec};
use carrack_segment::{Page, Place, Segment};

use crate::error::{Error, Result, damaged};

/// Bytes that most records do not pass.
const RECORD_BYTES: usize = 512;

/// An open segment of records, with what its pages name by number.
pub(crate) struct RecordSegment {
    segment: Segment,
    /// Filled on first touch.
    dictionary: OnceLock<Dictionary>,
}

impl RecordSegment {
    pub(crate) fn new(segment: Segment) -> Self {
        let dictionary = OnceLock::new();
        Self {
            segment,
            dictionary,
        }
    }

    pub(crate) fn file(&self) -> &Segment {
        &self.segment
    }

    /// Returns what its pages name by number.
    ///
    /// # Errors
    /// `damaged` if it is; pages that name nothing stay readable.
    pub(crate) fn dictionary(&self) -> Result<DictionaryRef<'_>> {
        let bytes = self.segment.dictionary()?.unwrap_or_default();
        if let Some(table) = self.dictionary.get() {
            return Ok(table.over(bytes));
        }
        let table = match bytes {
            [] => Dictionary::default(),
            bytes => Dictionary::parse(bytes)
                .map_err(|error| damaged(&format!("{} dictionary", self.segment.name()), error))?,
        };
        Ok(self.dictionary.get_or_init(|| table).over(bytes))
    }

    /// Names an error in a page for where it is.
    pub(crate) fn damaged(&self, page: u32, error: PageError) -> Error {
        damaged(&format!("{} page {page}", self.segment.name()), error)
    }

    /// Returns the row at a place, without reading it.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub(crate) fn row(&self, place: Place) -> Result<StoredRow<'_>> {
        let page = self.segment.page(place.page)?;
        Ok(StoredRow {
            segment: self,
            page,
            place,
        })
    }
}

/// A row of a page of an open segment.
#[derive(Clone)]
pub(crate) struct StoredRow<'a> {
    segment: &'a RecordSegment,
    page: Page<'a>,
    place: Place,
}

/// What a row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The record's DAG-CBOR, exactly as it was imported.
    DagCbor(Cow<'a, [u8]>),
    /// The CID of a record whose block is not held.
    Missing(Cid),
    /// That the record an older extent has is gone; no record that a repo gives out has this.
    Gone,
}

impl Content<'_> {
    /// Returns the record's CID, by hashing its bytes where they are held: the answer is its own proof. None for a
    /// record that is gone.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::DagCbor(bytes) => Some(cid_of(bytes)),
            Self::Missing(cid) => Some(*cid),
            Self::Gone => None,
        }
    }
}

/// Returns the CID of a record's DAG-CBOR.
pub(crate) fn cid_of(record: &[u8]) -> Cid {
    Cid::new(Codec::DagCbor, carrack_repo::hash::sha256(record))
}

impl<'a> StoredRow<'a> {
    fn damaged(&self, error: PageError) -> Error {
        self.segment.damaged(self.place.page, error)
    }

    fn stored(&self) -> Result<carrack_repack::StoredRow<'_>> {
        row::row(&self.page, self.place.ordinal).map_err(|error| self.damaged(error))
    }

    /// Says whether the row is a tombstone.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub(crate) fn is_gone(&self) -> Result<bool> {
        Ok(matches!(self.stored()?, carrack_repack::StoredRow::Gone))
    }

    /// Says whether the bytes of its record are held.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub(crate) fn is_held(&self) -> Result<bool> {
        use carrack_repack::StoredRow as InPage;
        Ok(match self.stored()? {
            InPage::DagCbor(_) | InPage::Columns(_) => true,
            InPage::Missing(_) | InPage::Gone => false,
        })
    }

    /// Reads the row.
    ///
    /// # Errors
    /// `damaged` if its page or its segment's dictionary is.
    pub(crate) fn content(&self) -> Result<Content<'a>> {
        use carrack_repack::StoredRow as InPage;
        let stored = match self.page.mapped() {
            // What is in the map as it is need not be copied.
            Some(page) => match row::row(page, self.place.ordinal) {
                Ok(InPage::DagCbor(bytes)) => return Ok(Content::DagCbor(Cow::Borrowed(bytes))),
                stored => stored.map_err(|error| self.damaged(error))?,
            },
            None => self.stored()?,
        };
        Ok(match stored {
            InPage::DagCbor(bytes) => Content::DagCbor(Cow::Owned(bytes.to_vec())),
            InPage::Columns(row) => {
                let mut out = Vec::with_capacity(RECORD_BYTES);
                row.write(&self.segment.dictionary()?, &mut out)
                    .map_err(|error| self.damaged(error))?;
                Content::DagCbor(Cow::Owned(out))
            }
            InPage::Missing(cid) => Content::Missing(cid),
            InPage::Gone => Content::Gone,
        })
    }

    /// Returns the CID of what the row holds.
    ///
    /// # Errors
    /// `damaged` if its page is, or if it is a tombstone where none can be.
    pub(crate) fn cid(&self) -> Result<Cid> {
        self.content()?.cid().ok_or_else(|| {
            let words = "a tombstone stands where a record should";
            Error::new(Code::Damaged, words)
        })
    }

    /// Calls `visit` with each value at a path, as [`carrack_repack::StoredRow::fields`] does.
    ///
    /// # Errors
    /// `damaged` if its page or its segment's dictionary is.
    pub(crate) fn fields(&self, path: &str, visit: impl FnMut(Field<'_>)) -> Result<()> {
        let words = self.segment.dictionary()?;
        let stored = row::row_for_fields(&self.page, self.place.ordinal)
            .map_err(|error| self.damaged(error))?;
        stored
            .fields(path, &words, visit)
            .map_err(|error| self.damaged(error))
    }
}

impl std::fmt::Debug for StoredRow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredRow")
            .field("segment", &self.segment.segment.name())
            .field("place", &self.place)
            .finish()
    }
}
