//! [`Key`]: a value as bytes that compare as the value does: what rows are grouped, sorted, tested and matched by.
//!
//! The first byte is the kind, in the order in which kinds are sorted; what follows is a text's, byte string's or link's
//! own bytes, or a number with its most significant byte first.

use carrack_repack::Field;
use carrack_schema::Value;

/// A value without parts, as bytes that compare as it does.
pub type Key = Box<[u8]>;

pub(super) const NULL: u8 = 0;
pub(super) const BOOL: u8 = 1;
pub(super) const INT: u8 = 2;
pub(super) const TEXT: u8 = 3;
pub(super) const BYTES: u8 = 4;
pub(super) const LINK: u8 = 5;

/// Turns the sign of an integer, so that its bytes sort as it does.
const SIGN: u64 = 1 << 63;

/// Puts a field's key in place of what `out` holds.
pub(super) fn put_field(field: &Field<'_>, out: &mut Vec<u8>) {
    out.clear();
    match field {
        Field::Null => out.push(NULL),
        Field::Bool(value) => out.extend([BOOL, u8::from(*value)]),
        Field::Int(value) => put_int(*value, out),
        Field::Bytes(bytes) => put(BYTES, bytes, out),
        Field::Link(cid) => put(LINK, cid.as_bytes(), out),
        Field::OddLink(cid) => put(LINK, cid, out),
        Field::Text(text) => put(TEXT, text, out),
        _ => {
            out.push(TEXT);
            field.write_text(out);
        }
    }
}

/// Puts an integer's key in place of what `out` holds.
pub(super) fn put_int(value: i64, out: &mut Vec<u8>) {
    out.clear();
    out.push(INT);
    out.extend_from_slice(&(value.cast_unsigned() ^ SIGN).to_be_bytes());
}

/// Puts the key of a text, a byte string or a link in place of what `out` holds.
pub(super) fn put(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(kind);
    out.extend_from_slice(bytes);
}

/// Returns a value's key; none of a list or a map.
pub(super) fn of_value(value: &Value) -> Option<Key> {
    let mut out = Vec::new();
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(value) => out.extend([BOOL, u8::from(*value)]),
        Value::Int(value) => put_int(*value, &mut out),
        Value::Text(text) => put(TEXT, text.as_bytes(), &mut out),
        Value::Bytes(bytes) => put(BYTES, bytes, &mut out),
        Value::Link(cid) => put(LINK, cid, &mut out),
        Value::List(_) | Value::Map(_) => return None,
    }
    Some(out.into())
}

/// Returns the value of a key.
pub(super) fn to_value(key: &[u8]) -> Value {
    let Some((&kind, bytes)) = key.split_first() else {
        return Value::Null;
    };
    match kind {
        BOOL => Value::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
        INT => Value::Int(int(key).unwrap_or_default()),
        // A text of a file that a stranger wrote may be none.
        TEXT => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        BYTES => Value::Bytes(bytes.to_vec()),
        LINK => Value::Link(bytes.to_vec()),
        _ => Value::Null,
    }
}

/// Returns the integer of a key, if it is one's.
pub(super) fn int(key: &[u8]) -> Option<i64> {
    let [INT, bytes @ ..] = key else { return None };
    let word = u64::from_be_bytes(bytes.try_into().ok()?);
    Some((word ^ SIGN).cast_signed())
}

/// Returns the bytes of the text of a key, if it is one's.
pub(super) fn text(key: &[u8]) -> Option<&[u8]> {
    match key {
        [TEXT, text @ ..] => Some(text),
        _ => None,
    }
}

/// Says whether two keys are of one kind.
pub(super) fn same_kind(a: &[u8], b: &[u8]) -> bool {
    a.first() == b.first()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_values_and_come_back() {
        let ascending = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Int(-1),
            Value::Int(0),
            Value::Int(1),
            Value::Int(i64::MAX),
            Value::Text(String::new()),
            Value::Text("B".into()),
            Value::Text("a".into()),
            Value::Text("a\0".into()),
            Value::Text("é".into()),
            Value::Bytes(vec![]),
            Value::Bytes(vec![255]),
            Value::Link(vec![1]),
        ];
        let keys: Vec<Key> = ascending.iter().filter_map(of_value).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys.len(), ascending.len());
        for (key, value) in keys.iter().zip(&ascending) {
            assert_eq!(to_value(key), *value);
        }
        assert_eq!(of_value(&Value::List(vec![])), None);
        assert_eq!(of_value(&Value::Map(vec![])), None);
    }
}
