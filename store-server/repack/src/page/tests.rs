//! What pages give back, whatever went in.

use capnp::Word;
use carrack_schema::cid::Codec;
use proptest::prelude::*;

use super::*;
use crate::dictionary::{Dictionary, Vocabulary};
use crate::kit::{Node, cbor, records};
use crate::row::{Field, PageError};

/// Keeps pages in memory.
#[derive(Default)]
struct Pages(Vec<(u32, Vec<Word>)>);

impl PageSink for Pages {
    fn page(&mut self, rows: u32, message: &[u8]) -> Result<u32> {
        self.0.push((rows, message::words(message)));
        Ok(self.0.len() as u32 - 1)
    }
}

impl Pages {
    fn bytes(&self, page: u32) -> &[u8] {
        Word::words_to_bytes(&self.0[page as usize].1)
    }

    fn row(&self, finished: &Finished, at: SlotRow) -> Result<StoredRow<'_>, PageError> {
        let place = finished.slots[at.slot as usize];
        row::row(self.bytes(place.page), place.first_row + at.row)
    }
}

fn verified(bytes: &[u8]) -> VerifiedRef<'_> {
    VerifiedRef::of(Codec::DagCbor, bytes)
}

fn read(row: StoredRow<'_>, words: &impl Vocabulary) -> Vec<u8> {
    let mut out = Vec::new();
    match row {
        StoredRow::DagCbor(bytes) => out.extend_from_slice(bytes),
        StoredRow::Columns(row) => row.write(words, &mut out).unwrap(),
        other => panic!("{other:?}"),
    }
    out
}

/// Builds pages of records, checks that each comes back, and hands pages and dictionary on.
fn check(records: &[Vec<u8>], then: impl FnOnce(&Pages, &Finished, &[SlotRow])) {
    let mut pages = Pages::default();
    let mut builder = PageBuilder::default();
    let at: Vec<_> = records
        .iter()
        .map(|record| builder.push(&verified(record), &mut pages).unwrap().at)
        .collect();
    let finished = builder.finish(&mut pages).unwrap();
    let words = message::words(&finished.dictionary);
    let bytes = Word::words_to_bytes(&words);
    let table = Dictionary::parse(bytes).unwrap();
    for (record, at) in records.iter().zip(&at) {
        assert_eq!(
            read(pages.row(&finished, *at).unwrap(), &table.over(bytes)),
            *record
        );
    }
    assert_eq!(
        pages
            .0
            .iter()
            .map(|(rows, _)| *rows as usize)
            .sum::<usize>(),
        records.len()
    );
    assert!(
        pages
            .0
            .iter()
            .all(|(rows, _)| *rows as usize <= PAGE_ROWS_MAX)
    );
    then(&pages, &finished, &at);
}

fn is_columns(row: &StoredRow<'_>) -> bool {
    matches!(row, StoredRow::Columns(_))
}

fn like(i: u64) -> Vec<u8> {
    let subject = Node::map([
        (
            "cid",
            Node::Text(Cid::new(Codec::DagCbor, [i as u8; 32]).to_string()),
        ),
        (
            "uri",
            Node::Text(format!(
                "at://did:plc:{}/app.bsky.feed.post/{}",
                "ab".repeat(12),
                carrack_schema::Tid::from_u64(i << 20)
            )),
        ),
    ]);
    cbor(&Node::map([
        ("$type", Node::text("app.bsky.feed.like")),
        ("subject", subject),
        (
            "createdAt",
            Node::Text(format!("2024-11-05T12:34:56.{:03}Z", i % 1_000)),
        ),
    ]))
}

proptest! {
    #[test]
    fn whatever_the_records_they_come_back(records in records()) {
        check(&records, |_, _, _| {});
    }

    #[test]
    fn what_is_not_dag_cbor_comes_back_too(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..40)) {
        check(&records, |_, _, _| {});
    }
}

#[test]
fn likes_become_columns_that_take_a_fifth() {
    let records: Vec<_> = (0..10_000).map(like).collect();
    let total: usize = records.iter().map(Vec::len).sum();
    check(&records, |pages, finished, at| {
        let stored: usize = pages.0.iter().map(|(_, words)| words.len() * 8).sum();
        assert!(stored * 5 < total, "{stored} of {total}");
        assert!(pages.0.len() > 2, "a page ends at its rows");
        assert!(
            at.iter()
                .all(|at| is_columns(&pages.row(finished, *at).unwrap()))
        );
    });
}

#[test]
fn a_page_may_have_more_shapes_than_a_message_visits() {
    let records: Vec<_> = (0..300_u32)
        .flat_map(|shape| {
            (0..8_i64).map(move |i| {
                let key = format!("{:x<40}", format!("a key of its own {shape}"));
                let text =
                    format!("words of row {i}, which take their room on the heap of the page");
                cbor(&Node::map([
                    (&*key, Node::Int(i)),
                    ("another key that all have", Node::text(&text)),
                    ("createdAt", Node::text("2024-11-05T12:34:56.789Z")),
                ]))
            })
        })
        .collect();
    check(&records, |pages, finished, at| {
        let columns = at
            .iter()
            .filter(|at| is_columns(&pages.row(finished, **at).unwrap()));
        assert_eq!(columns.count(), records.len());
    });
}

#[test]
fn one_record_of_its_kind_is_kept_as_it_is() {
    let mut records: Vec<_> = (0..100).map(like).collect();
    records.push(cbor(&Node::map([
        ("odd", Node::Int(1)),
        ("key", Node::text("text")),
    ])));
    check(&records, |pages, finished, at| {
        assert!(!is_columns(&pages.row(finished, at[100]).unwrap()));
        assert!(is_columns(&pages.row(finished, at[99]).unwrap()));
    });
}

#[test]
fn leaves_are_read_without_the_record() {
    let records: Vec<_> = (0..300).map(like).collect();
    check(&records, |pages, finished, at| {
        let words = message::words(&finished.dictionary);
        let bytes = Word::words_to_bytes(&words);
        let table = Dictionary::parse(bytes).unwrap();
        let texts = |at: SlotRow, path: &str| {
            let StoredRow::Columns(row) = pages.row(finished, at).unwrap() else {
                panic!("not in columns")
            };
            let mut texts = Vec::new();
            row.fields(path, &table.over(bytes), |field: Field<'_>| {
                texts.push(String::from_utf8(field.text().unwrap().into_owned()).unwrap());
            })
            .unwrap();
            texts
        };
        assert_eq!(texts(at[7], "createdAt"), ["2024-11-05T12:34:56.007Z"]);
        assert_eq!(texts(at[7], "$type"), ["app.bsky.feed.like"]);
        assert_eq!(
            texts(at[8], "subject.cid"),
            [Cid::new(Codec::DagCbor, [8; 32]).to_string()]
        );
        let uri = format!(
            "at://did:plc:{}/app.bsky.feed.post/{}",
            "ab".repeat(12),
            carrack_schema::Tid::from_u64(8 << 20)
        );
        assert_eq!(texts(at[8], "subject.uri"), [uri]);
        assert_eq!(texts(at[7], "nothing"), Vec::<String>::new());
    });
}

#[test]
fn missing_and_gone_rows_are_told_from_records() {
    let cid = Cid::new(Codec::DagCbor, [9; 32]);
    let mut pages = Pages::default();
    let mut builder = PageBuilder::default();
    let looks_like_one = builder.push(&verified(cid.as_bytes()), &mut pages).unwrap();
    assert!(!looks_like_one.is_valid);
    let missing = builder.push_missing(&cid, &mut pages).unwrap();
    let gone = builder.push_gone(&mut pages).unwrap();
    let again = builder.push_missing(&cid, &mut pages).unwrap();
    let finished = builder.finish(&mut pages).unwrap();
    let row = |at| pages.row(&finished, at).unwrap();
    assert!(matches!(row(looks_like_one.at), StoredRow::DagCbor(bytes) if bytes == cid.as_bytes()));
    assert!(matches!(row(missing), StoredRow::Missing(found) if found == cid));
    assert!(matches!(row(again), StoredRow::Missing(found) if found == cid));
    assert!(matches!(row(gone), StoredRow::Gone));
    assert!(matches!(
        row::row(pages.bytes(0), 4),
        Err(PageError::Row(4))
    ));
    assert!(row::row(pages.bytes(0), u32::MAX).is_err());
}

#[test]
fn a_page_is_full_at_its_rows_and_at_its_bytes() {
    let tiny: Vec<_> = (0..=PAGE_ROWS_MAX).map(|_| b"\xff".to_vec()).collect();
    check(&tiny, |pages, _, _| {
        assert_eq!(
            pages
                .0
                .iter()
                .map(|(rows, _)| *rows as usize)
                .collect::<Vec<_>>(),
            [PAGE_ROWS_MAX, 1]
        );
    });
    let half = vec![0xff; PAGE_BYTES_TARGET / 2 - VERBATIM_ROW_BYTES];
    check(&[half.clone(), half.clone()], |pages, _, _| {
        assert_eq!(pages.0.len(), 1)
    });
    check(&[half.clone(), half, vec![0xff]], |pages, _, _| {
        assert_eq!(pages.0.len(), 2)
    });
}

#[test]
fn the_longest_record_has_a_page() {
    let longest = vec![0xff; carrack_schema::limits::CAR_SECTION_BYTES_MAX];
    check(&[longest, vec![0xff]], |pages, _, _| {
        assert!(pages.bytes(0).len() <= carrack_schema::limits::PAGE_BYTES_MAX);
    });
}

#[test]
fn rows_that_wait_take_bounded_memory() {
    let mut pages = Pages::default();
    let mut builder = PageBuilder::default();
    let most = |builder: &PageBuilder| {
        builder
            .open
            .values()
            .map(OpenGroup::memory_bytes)
            .sum::<usize>()
    };
    // Each record is a shape of its own, and long enough that half the shapes that may be open pass the limit.
    for i in 0..3_000_u32 {
        let key = format!("k{i}");
        let record = cbor(&Node::map([(&*key, Node::Text("t".repeat(20_000)))]));
        builder.push(&verified(&record), &mut pages).unwrap();
        assert!(most(&builder) <= REPACK_MEMORY_BYTES);
        assert!(builder.open_bytes <= REPACK_MEMORY_BYTES);
    }
    assert!(!pages.0.is_empty(), "the limit was met");
}

#[test]
fn rows_that_would_not_come_back_are_kept_as_they_are() {
    let records: Vec<_> = (0..100).map(like).collect();
    let mut pages = Pages::default();
    let mut builder = PageBuilder::default();
    let at: Vec<_> = records
        .iter()
        .map(|record| builder.push(&verified(record), &mut pages).unwrap().at)
        .collect();
    builder.close_all(&mut pages).unwrap();
    // A fault in packing, as it were: another least value for the column of times.
    for base in &mut builder.draft.groups[0].columns.bases {
        *base = base.wrapping_add(1);
    }
    let finished = builder.finish(&mut pages).unwrap();
    for (record, at) in records.iter().zip(at) {
        assert!(
            matches!(pages.row(&finished, at).unwrap(), StoredRow::DagCbor(bytes) if bytes == record)
        );
    }
}

#[test]
fn a_damaged_page_is_an_error_or_other_bytes_but_no_panic() {
    let mut pages = Pages::default();
    let mut builder = PageBuilder::default();
    for i in 0..20 {
        builder.push(&verified(&like(i)), &mut pages).unwrap();
    }
    builder.push(&verified(b"\xff"), &mut pages).unwrap();
    builder
        .push_missing(&Cid::new(Codec::DagCbor, [9; 32]), &mut pages)
        .unwrap();
    let finished = builder.finish(&mut pages).unwrap();
    let words = message::words(&finished.dictionary);
    let dictionary = Word::words_to_bytes(&words);
    let table = Dictionary::parse(dictionary).unwrap();
    let good = pages.bytes(0).to_vec();
    let mut out = Vec::new();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let words = message::words(&bad);
        for ordinal in [0, 7, 19, 20, 21, 22] {
            if let Ok(StoredRow::Columns(row)) = row::row(Word::words_to_bytes(&words), ordinal) {
                out.clear();
                let _either_is_fine = row.write(&table.over(dictionary), &mut out);
                let _either_is_fine = row.fields("subject.uri", &table.over(dictionary), |field| {
                    field.text();
                });
            }
        }
    }
}
