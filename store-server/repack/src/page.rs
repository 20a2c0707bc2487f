//! Pages: some rows of one repo, in key order.

use capnp::message::HeapAllocator;
use carrack_repo::VerifiedRef;
use carrack_schema::limits::{PAGE_BYTES_TARGET, PAGE_ROWS_MAX};
use carrack_schema::wire::segment_capnp::page;
use carrack_segment::message;

/// Gathers rows until a page is full.
#[derive(Debug, Default)]
pub struct PageBuilder {
    ends: Vec<u32>,
    heap: Vec<u8>,
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
        assert!(
            self.fits(record.bytes().len()),
            "the caller asks whether a row fits"
        );
        let ordinal = self.rows();
        self.heap.extend_from_slice(record.bytes());
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
        // Root pointer, page, verbatim (two pointers), ends, heap: each rounded up to words.
        const FRAME_WORDS: usize = 8;
        let words = FRAME_WORDS
            .saturating_add(self.ends.len().div_ceil(2))
            .saturating_add(self.heap.len().div_ceil(8));
        let mut message = message::builder(words as u64)?;
        fill(&mut message, &self.ends, &self.heap);
        self.ends.clear();
        self.heap.clear();
        message::flatten(&message)
    }
}

fn fill(message: &mut capnp::message::Builder<HeapAllocator>, row_ends: &[u32], heap: &[u8]) {
    let mut verbatim = message.init_root::<page::Builder<'_>>().init_verbatim();
    verbatim.set_heap(heap);
    let count = u32::try_from(row_ends.len()).expect("a page holds at most PAGE_ROWS_MAX rows");
    let mut ends = verbatim.init_ends(count);
    for (i, end) in (0..count).zip(row_ends) {
        ends.set(i, *end);
    }
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
}

/// Returns a row's DAG-CBOR, in place.
///
/// # Errors
/// If the page does not hold such a row.
pub fn dag_cbor(page_bytes: &[u8], ordinal: u32) -> Result<&[u8], PageError> {
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
    heap.as_ptr()
        .addr()
        .checked_sub(page_bytes.as_ptr().addr())
        .and_then(|offset| page_bytes.get(offset..)?.get(..heap.len()))
        .and_then(|heap| heap.get(start as usize..end as usize))
        .ok_or(PageError::Row(ordinal))
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
                    assert_eq!(dag_cbor(page, i as u32).unwrap(), bytes);
                }
                assert!(matches!(dag_cbor(page, 300), Err(PageError::Row(300))));
                assert!(dag_cbor(page, u32::MAX).is_err());
            });
        }
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
        builder.push(&row(b"defg"));
        let good = builder.finish().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            with_page(&bad, |page| {
                for ordinal in 0..3 {
                    let _either_is_fine = dag_cbor(page, ordinal);
                }
            });
        }
    }
}
