//! Messages of a broken peer, or of a file an enemy made: whatever their pointers say, they end in a value or an error.

use capnp::Word;
use capnp::message::ReaderOptions;
use carrack_repack::row::row;
use carrack_repack::{Dictionary, NodeScript, RepoHead, StoredRow, Vocabulary};
use carrack_schema::Value;
use carrack_schema::limits::{CAR_SECTION_BYTES_MAX, CLIENT_MESSAGE_WORDS_MAX, VALUE_NODES_MAX};
use carrack_schema::wire::record_capnp::value;
use carrack_segment::message;

/// Rows of a page that are asked for.
const ROWS_TRIED: u32 = 64;

/// Takes the input as a message with a value, as a client reads it; then as the flat message of a page, of a
/// dictionary, of a head and of a page of digests.
///
/// - A value has no more nodes than allowed, and JSON.
/// - A page's rows lie in the page; a head, encoded and read again, is the same.
pub fn run(data: &[u8]) {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(CLIENT_MESSAGE_WORDS_MAX));
    if let Ok(reader) = capnp::serialize::read_message(data, options)
        && let Ok(wire) = reader.get_root::<value::Reader<'_>>()
        && let Ok(value) = Value::from_wire(wire)
    {
        assert!(nodes_count(&value) <= VALUE_NODES_MAX);
        assert!(serde_json::to_string(&value).is_ok());
    }

    let words = message::words(data);
    let flat = Word::words_to_bytes(&words);
    check_rows(flat, &Dictionary::default().over(&[]));
    if let Ok(dictionary) = Dictionary::parse(flat) {
        // The input's second half as a page, which may name what its first half holds.
        let half = data.len() / 16 * 8;
        let page = message::words(&data[half..]);
        check_rows(Word::words_to_bytes(&page), &dictionary.over(flat));
    }
    if let Ok(head) = RepoHead::decode(flat) {
        let encoded = message::words(&head.encode().expect("no longer than it was"));
        let again = RepoHead::decode(Word::words_to_bytes(&encoded));
        assert_eq!(again.ok(), Some(head));
    }
    let mut nodes = NodeScript::default();
    if nodes.read_page(flat).is_ok()
        && let Ok(digests) = nodes.apply(&[])
    {
        assert!(digests.as_flattened().len() <= flat.len());
    }
}

/// Reads rows of a page: those that are kept as they are lie in it, others are made again or refused.
pub fn check_rows(page: &[u8], words: &impl Vocabulary) {
    let ends = page.as_ptr_range();
    let mut record = Vec::new();
    for ordinal in (0..ROWS_TRIED).chain([u32::MAX]) {
        match row(page, ordinal) {
            Ok(StoredRow::DagCbor(bytes)) => {
                let row = bytes.as_ptr_range();
                assert!(ends.start <= row.start && row.end <= ends.end);
            }
            Ok(StoredRow::Columns(row)) => {
                record.clear();
                let _record_or_error = row.write(words, &mut record);
                assert!(record.len() <= 2 * CAR_SECTION_BYTES_MAX + page.len());
                let _fields_or_error = row.fields("subject.uri", words, |field| {
                    field.text();
                });
            }
            _ => {}
        }
    }
}

fn nodes_count(value: &Value) -> usize {
    1 + match value {
        Value::List(items) => items.iter().map(nodes_count).sum(),
        Value::Map(entries) => entries.iter().map(|(_, value)| nodes_count(value)).sum(),
        _ => 0,
    }
}
