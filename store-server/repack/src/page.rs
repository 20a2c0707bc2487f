//! Pages: some rows of one repo, in key order.

use capnp::message::HeapAllocator;
use carrack_repo::VerifiedRef;
use carrack_schema::Cid;
use carrack_schema::limits::{PAGE_BYTES_TARGET, PAGE_ROWS_MAX};
use carrack_schema::wire::segment_capnp::page;
use carrack_segment::message;

/// Gathers rows until a page is full.
#[derive(Debug, Default)]
pub struct PageBuilder {
    ends: Vec<u32>,
    heap: Vec<u8>,
    missing: Vec<u16>,
}

impl PageBuilder {
    /// Says whether a record of this many bytes still belongs in this page. An empty page takes any record.
    pub fn fits(&self, record_bytes: usize) -> bool {
        self.ends.is_empty()
            || self.ends.len() < PAGE_ROWS_MAX
                && self.heap.len().saturating_add(record_bytes) <= PAGE_BYTES_TARGET
    }

    /// Adds a row and returns its ordinal.
    ///
    /// # Panics
    /// If the record does not [fit](Self::fits).
    pub fn push(&mut self, record: &VerifiedRef<'_>) -> u32 {
        self.row(record.bytes())
    }

    /// Adds the row of a record whose block is not held, and returns its ordinal.
    ///
    /// # Panics
    /// If 36 bytes do not [fit](Self::fits).
    pub fn push_missing(&mut self, cid: &Cid) -> u32 {
        let ordinal = self.row(cid.as_bytes());
        self.missing
            .push(u16::try_from(ordinal).expect("a page holds at most PAGE_ROWS_MAX rows"));
        ordinal
    }

    fn row(&mut self, bytes: &[u8]) -> u32 {
        assert!(self.fits(bytes.len()), "the caller asks whether a row fits");
        let ordinal = self.rows();
        self.heap.extend_from_slice(bytes);
        self.ends
            .push(u32::try_from(self.heap.len()).expect("a page is far below 4 GiB"));
        ordinal
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("a page holds at most PAGE_ROWS_MAX rows")
    }

    /// Returns the page's message and starts the next page.
    ///
    /// # Errors
    /// None that a page within its limits meets; the message layer's otherwise.
    pub fn finish(&mut self) -> carrack_segment::Result<Vec<u8>> {
        // Root pointer, page, verbatim (three pointers), ends, heap, missing: each rounded up to words.
        const FRAME_WORDS: usize = 9;
        let words = FRAME_WORDS
            .saturating_add(self.ends.len().div_ceil(2))
            .saturating_add(self.missing.len().div_ceil(4))
            .saturating_add(self.heap.len().div_ceil(8));
        let mut message = message::builder(words as u64)?;
        self.fill(&mut message);
        self.ends.clear();
        self.heap.clear();
        self.missing.clear();
        message::flatten(&message)
    }

    fn fill(&self, message: &mut capnp::message::Builder<HeapAllocator>) {
        let count =
            |length: usize| u32::try_from(length).expect("a page holds at most PAGE_ROWS_MAX rows");
        let mut verbatim = message.init_root::<page::Builder<'_>>().init_verbatim();
        verbatim.set_heap(&self.heap);
        let mut ends = verbatim.reborrow().init_ends(count(self.ends.len()));
        for (i, end) in (0..).zip(&self.ends) {
            ends.set(i, *end);
        }
        if !self.missing.is_empty() {
            let mut missing = verbatim.init_missing(count(self.missing.len()));
            for (i, ordinal) in (0..).zip(&self.missing) {
                missing.set(i, *ordinal);
            }
        }
    }
}

/// A row of a page, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredRow<'a> {
    /// The record's DAG-CBOR.
    DagCbor(&'a [u8]),
    /// The CID of a record whose block was not in the CAR.
    Missing(Cid),
}

/// A page whose message does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The message does not parse.
    #[error("page does not parse")]
    Message(#[from] capnp::Error),
    /// The page has no such row, or the row lies outside its heap.
    #[error("page has no row {0}")]
    Row(u32),
    /// A row that should be a CID is none.
    #[error("page has no CID in row {0}")]
    Cid(u32),
}

/// Returns a row, in place.
///
/// # Errors
/// If the page does not hold such a row.
pub fn row(page_bytes: &[u8], ordinal: u32) -> Result<StoredRow<'_>, PageError> {
    let reader = message::flat(page_bytes);
    let verbatim = reader.get_root::<page::Reader<'_>>()?.get_verbatim()?;
    let ends = verbatim.get_ends()?;
    let heap = verbatim.get_heap()?;
    let start = match ordinal.checked_sub(1) {
        None => Some(0),
        Some(before) => ends.try_get(before),
    };
    let (Some(start), Some(end)) = (start, ends.try_get(ordinal)) else {
        return Err(PageError::Row(ordinal));
    };
    // The heap borrows from the reader; its place in the page borrows from the page.
    let bytes = heap
        .as_ptr()
        .addr()
        .checked_sub(page_bytes.as_ptr().addr())
        .and_then(|offset| page_bytes.get(offset..)?.get(..heap.len()))
        .and_then(|heap| heap.get(start as usize..end as usize))
        .ok_or(PageError::Row(ordinal))?;
    if verbatim.has_missing()
        && verbatim
            .get_missing()?
            .iter()
            .any(|row| u32::from(row) == ordinal)
    {
        return Cid::from_bytes(bytes)
            .map(StoredRow::Missing)
            .map_err(|_| PageError::Cid(ordinal));
    }
    Ok(StoredRow::DagCbor(bytes))
}

#[cfg(test)]
mod tests {
    use capnp::Word;
    use carrack_schema::cid::Codec;

    use super::*;

    fn row(bytes: &[u8]) -> VerifiedRef<'_> {
        VerifiedRef::of(Codec::DagCbor, bytes)
    }

    fn with_page(bytes: &[u8], check: impl FnOnce(&[u8])) {
        let words = message::words(bytes);
        check(Word::words_to_bytes(&words));
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let mut builder = PageBuilder::default();
        for round in 0..2 {
            let rows: Vec<Vec<u8>> = (0..300_usize).map(|i| vec![i as u8; i + round]).collect();
            for (i, bytes) in rows.iter().enumerate() {
                assert_eq!(builder.push(&row(bytes)), i as u32);
            }
            with_page(&builder.finish().unwrap(), |page| {
                for (i, bytes) in rows.iter().enumerate() {
                    assert_eq!(
                        super::row(page, i as u32).unwrap(),
                        StoredRow::DagCbor(bytes)
                    );
                }
                assert!(matches!(super::row(page, 300), Err(PageError::Row(300))));
                assert!(super::row(page, u32::MAX).is_err());
            });
        }
    }

    #[test]
    fn missing_rows_are_told_from_records_that_look_like_cids() {
        let cid = Cid::new(Codec::DagCbor, [9; 32]);
        let mut builder = PageBuilder::default();
        builder.push(&row(cid.as_bytes()));
        builder.push_missing(&cid);
        with_page(&builder.finish().unwrap(), |page| {
            assert_eq!(
                super::row(page, 0).unwrap(),
                StoredRow::DagCbor(cid.as_bytes())
            );
            assert_eq!(super::row(page, 1).unwrap(), StoredRow::Missing(cid));
        });
        builder.push(&row(b"next page"));
        with_page(&builder.finish().unwrap(), |page| {
            assert_eq!(
                super::row(page, 0).unwrap(),
                StoredRow::DagCbor(b"next page")
            );
        });
    }

    #[test]
    fn a_page_is_full_at_its_bytes() {
        let mut builder = PageBuilder::default();
        assert!(builder.fits(usize::MAX));
        builder.push(&row(&vec![0; PAGE_BYTES_TARGET - 1]));
        assert!(builder.fits(1));
        assert!(!builder.fits(2));
    }

    #[test]
    fn a_page_is_full_at_its_rows() {
        let mut builder = PageBuilder::default();
        for _ in 1..PAGE_ROWS_MAX {
            builder.push(&row(b""));
        }
        assert!(builder.fits(0));
        builder.push(&row(b""));
        assert!(!builder.fits(0));
    }

    #[test]
    fn a_damaged_page_is_an_error_or_other_bytes_but_no_panic() {
        let mut builder = PageBuilder::default();
        builder.push(&row(b"abc"));
        builder.push_missing(&Cid::new(Codec::DagCbor, [9; 32]));
        let good = builder.finish().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            with_page(&bad, |page| {
                for ordinal in 0..3 {
                    let _either_is_fine = super::row(page, ordinal);
                }
            });
        }
    }
}
