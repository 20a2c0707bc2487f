//! Records as values on the wire: there and back again, whole and projected.

use capnp::message::{Builder, HeapAllocator};
use carrack_repack::value::{Plan, Unreadable};
use carrack_repo::cbor::validate;
use carrack_schema::Value;
use carrack_schema::limits::VALUE_NODES_MAX;
use carrack_schema::wire::record_capnp::value;

use super::oracle::{self, Item};

/// Words of a message around a value's own: the root pointer, three list pointers, the tag of the list of nodes.
const FRAME_WORDS: usize = 5;
/// Most keys of a map that are projected.
const PROJECTED_MAX: usize = 4;

/// Takes the input as a record.
///
/// - It has a value on the wire if and only if it is valid and has no more nodes than that allows.
/// - The value that is read off the wire, encoded by the oracle, is the record; its size was foretold.
/// - A projection on one field of a map is the map of that field alone.
/// - The value has JSON.
pub fn run(data: &[u8]) {
    let verdict = validate(data);
    let item = match (verdict, oracle::read(data)) {
        (Ok(()), Some(item)) => item,
        (Err(expected), _) => {
            for fields in [&[][..], &["text"]] {
                match Plan::of(data, fields) {
                    Err(Unreadable::Cbor(error)) => assert_eq!(error, expected),
                    // The limit of nodes may be passed before the fault.
                    Err(Unreadable::TooLarge) => assert!(data.len() > VALUE_NODES_MAX),
                    Ok(_) => panic!("a record that is not valid has a value"),
                }
            }
            return;
        }
        (Ok(()), None) => panic!("valid, but not a value"),
    };
    let is_too_large = nodes_count(&item) > VALUE_NODES_MAX;
    let Some(value) = through_the_wire(data, &[]) else {
        assert!(is_too_large);
        return;
    };
    assert!(!is_too_large);
    let whole = item_of(&value);
    assert_eq!(oracle::write(&whole), data);
    assert!(serde_json::to_string(&value).is_ok());

    let Item::Map(entries) = &whole else {
        assert!(through_the_wire(data, &["text"]).is_some());
        return;
    };
    let plain = entries.iter().filter(|(key, _)| !key.contains('.'));
    for entry in plain.take(PROJECTED_MAX) {
        let projected = through_the_wire(data, &[&entry.0]).expect("no more than the whole");
        assert_eq!(item_of(&projected), Item::Map(vec![entry.clone()]));
    }
    let nothing = through_the_wire(data, &["\0"]).expect("no more than the whole");
    let has_it = whole.get("\0").is_some();
    assert!(has_it || nothing == Value::Map(Vec::new()));
}

fn through_the_wire(record: &[u8], fields: &[&str]) -> Option<Value> {
    let plan = match Plan::of(record, fields) {
        Ok(plan) => plan,
        Err(Unreadable::TooLarge) => return None,
        Err(Unreadable::Cbor(error)) => panic!("a valid record: {error}"),
    };
    // In one segment, since a pointer into another takes a word more.
    let words = u32::try_from(plan.wire_bytes() / 8 + FRAME_WORDS).expect("a record is short");
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
    plan.write(message.init_root::<value::Builder<'_>>());
    assert_eq!(
        message.size_in_words() * 8,
        plan.wire_bytes() + FRAME_WORDS * 8
    );
    let bytes = capnp::serialize::write_message_to_words(&message);
    let options = capnp::message::ReaderOptions::new();
    let reader = capnp::serialize::read_message(&bytes[..], options).expect("just written");
    let wire = reader.get_root().expect("just written");
    Some(Value::from_wire(wire).expect("just written"))
}

fn nodes_count(item: &Item) -> usize {
    1 + match item {
        Item::List(items) => items.iter().map(nodes_count).sum(),
        Item::Map(entries) => entries.iter().map(|(_, item)| nodes_count(item)).sum(),
        _ => 0,
    }
}

fn item_of(value: &Value) -> Item {
    match value {
        Value::Null => Item::Null,
        Value::Bool(value) => Item::Bool(*value),
        Value::Int(number) => Item::Int(*number),
        Value::Text(text) => Item::Text(text.clone()),
        Value::Bytes(bytes) => Item::Bytes(bytes.clone()),
        Value::Link(cid) => Item::Link(cid.clone()),
        Value::List(items) => Item::List(items.iter().map(item_of).collect()),
        Value::Map(entries) => {
            let owned = entries
                .iter()
                .map(|(key, item)| (key.clone(), item_of(item)));
            Item::Map(owned.collect())
        }
    }
}
