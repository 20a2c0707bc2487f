//! Leaves at their paths, one by one and by the column.

use capnp::Word;
use carrack_repo::VerifiedRef;
use carrack_schema::cid::Codec;
use carrack_segment::message;
use proptest::prelude::*;

use super::*;
use crate::dictionary::Dictionary;
use crate::kit::{Node, cbor, records};
use crate::page::{PageBuilder, PageSink};

/// Keeps the one page that so few records make.
#[derive(Default)]
struct Page(Vec<Word>);

impl PageSink for Page {
    fn page(&mut self, _rows: u32, bytes: &[u8]) -> carrack_segment::Result<u32> {
        assert!(self.0.is_empty());
        self.0 = message::words(bytes);
        Ok(0)
    }
}

/// Every path of a record with its values as DAG-CBOR, found by going through a tree.
fn paths(node: &Node, at: &str, out: &mut Vec<(String, Vec<u8>)>) {
    match node {
        Node::List(items) => items.iter().for_each(|item| paths(item, at, out)),
        Node::Map(entries) => entries.iter().for_each(|(key, value)| {
            let path = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            paths(value, &path, out);
        }),
        leaf => out.push((at.to_owned(), cbor(leaf))),
    }
}

/// Reads DAG-CBOR back into a tree, for the paths.
fn node(record: &[u8]) -> Node {
    fn value(reader: &mut Reader<'_>, token: Token<'_>) -> Node {
        match token {
            Token::Null => Node::Null,
            Token::Bool(value) => Node::Bool(value),
            Token::Int(value) => Node::Int(value),
            Token::Text(text) => Node::text(text),
            Token::Bytes(bytes) => Node::Bytes(bytes.to_vec()),
            Token::Link(cid) => Node::Link(Cid::from_bytes(cid).unwrap()),
            Token::List(length) => Node::List(
                (0..length)
                    .map(|_| {
                        let token = reader.token().unwrap();
                        value(reader, token)
                    })
                    .collect(),
            ),
            Token::Map(length) => Node::Map(
                (0..length)
                    .map(|_| {
                        let Token::Key(key) = reader.token().unwrap() else {
                            panic!("a key")
                        };
                        let token = reader.token().unwrap();
                        (key.to_owned(), value(reader, token))
                    })
                    .collect(),
            ),
            Token::Key(_) => panic!("a key where a value stands"),
        }
    }
    let mut reader = Reader::new(record);
    let token = reader.token().unwrap();
    value(&mut reader, token)
}

fn written(field: &Field<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    field.write(&mut out);
    out
}

proptest! {
    #[test]
    fn fields_and_scans_find_what_is_in_the_record(records in records()) {
        let mut page = Page::default();
        let mut builder = PageBuilder::default();
        let at: Vec<_> = records
            .iter()
            .map(|record| builder.push(&VerifiedRef::of(Codec::DagCbor, record), &mut page).unwrap().at)
            .collect();
        let finished = builder.finish(&mut page).unwrap();
        let words = message::words(&finished.dictionary);
        let dictionary = Word::words_to_bytes(&words);
        let table = Dictionary::parse(dictionary).unwrap();
        let page = Word::words_to_bytes(&page.0);
        for (record, at) in records.iter().zip(at) {
            let ordinal = finished.slots[at.slot as usize].first_row + at.row;
            let stored = match ordinal % 2 {
                0 => row(page, ordinal),
                _ => row_for_fields(page, ordinal),
            };
            let stored = stored.unwrap();
            let mut expected = Vec::new();
            paths(&node(record), "", &mut expected);
            let mut asked: Vec<_> = expected.iter().map(|(path, _)| path.clone()).collect();
            asked.push("not.there".into());
            for path in asked {
                let mut values: Vec<_> = expected.iter().filter(|(at, _)| *at == path).map(|(_, value)| value.clone()).collect();
                let mut found = Vec::new();
                stored.fields(&path, &table.over(dictionary), |field| found.push(written(&field))).unwrap();
                let mut scanned = Vec::new();
                groups::<PageError>(page, |group| {
                    group.scan(&path, &table.over(dictionary), |row, field| {
                        if group.first_row() + row == ordinal {
                            scanned.push(written(&field));
                        }
                    })
                })
                .unwrap();
                values.sort();
                found.sort();
                scanned.sort();
                prop_assert_eq!(&found, &values, "{}", path);
                let mut marked = 0;
                let with_marks = path.replace('.', "[].");
                stored.fields(&with_marks, &table.over(dictionary), |_| marked += 1).unwrap();
                prop_assert_eq!(marked, values.len());
                prop_assert_eq!(&scanned, &values, "{}", path);
            }
        }
    }
}
