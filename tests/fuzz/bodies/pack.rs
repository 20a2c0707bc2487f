//! Records into the columns of pages and back; and templates of shapes that an enemy made.

use capnp::Word;
use carrack_repack::page::{Finished, PageSink};
use carrack_repack::row::row;
use carrack_repack::shape::Shape;
use carrack_repack::{Dictionary, PageBuilder, StoredRow};
use carrack_repo::VerifiedRef;
use carrack_repo::cbor::validate;
use carrack_schema::cid::Codec;
use carrack_segment::message;

/// How often each record is pushed: so often that its columns pay.
const TIMES: usize = 12;

/// Takes the input as a record, and as the template of a shape.
///
/// - It is judged valid if and only if it is DAG-CBOR that keeps the data model.
/// - It, and records like it, come back from their pages byte for byte.
/// - A template is read or refused.
pub fn run(data: &[u8]) {
    let _shape_or_none = Shape::parse(data);
    let mut records = vec![data.to_vec()];
    // Others of the same shape, if a byte inside a value is what changes; of none, if it is another.
    for at in [data.len() / 3, data.len() / 2, data.len().saturating_sub(2)] {
        let mut other = data.to_vec();
        if let Some(byte) = other.get_mut(at) {
            *byte ^= 1;
            records.push(other);
        }
    }
    let mut pages = Pages(Vec::new());
    let mut builder = PageBuilder::default();
    let mut placed = Vec::new();
    for _ in 0..TIMES {
        for record in &records {
            let block = VerifiedRef::of(Codec::DagCbor, record);
            let pushed = builder.push(&block, &mut pages).expect("memory takes it");
            assert_eq!(pushed.is_valid, validate(record).is_ok());
            placed.push((record, pushed.at));
        }
    }
    let Finished { slots, dictionary } = builder.finish(&mut pages).expect("memory takes it");
    let words = message::words(&dictionary);
    let bytes = Word::words_to_bytes(&words);
    let table = Dictionary::parse(bytes).expect("a dictionary just made");
    let mut again = Vec::new();
    for (record, at) in placed {
        let slot = slots[at.slot as usize];
        let page = Word::words_to_bytes(&pages.0[slot.page as usize]);
        again.clear();
        match row(page, slot.first_row + at.row).expect("a row just made") {
            StoredRow::DagCbor(bytes) => again.extend_from_slice(bytes),
            StoredRow::Columns(row) => row
                .write(&table.over(bytes), &mut again)
                .expect("columns just made"),
            other => panic!("a record became {other:?}"),
        }
        assert_eq!(&again, record);
    }
}

/// Keeps pages in memory.
struct Pages(Vec<Vec<Word>>);

impl PageSink for Pages {
    fn page(&mut self, _rows: u32, bytes: &[u8]) -> carrack_segment::Result<u32> {
        self.0.push(message::words(bytes));
        Ok(u32::try_from(self.0.len() - 1).expect("few pages"))
    }
}
