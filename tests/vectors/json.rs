//! [`encode`]: the JSON form of the data model as canonical DAG-CBOR, by the kit's writer.

use data_encoding::{BASE64, BASE64_NOPAD};
use kit::cbor::Value;

/// Decodes base64 with or without its padding.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    let decoded = BASE64_NOPAD.decode(text.as_bytes());
    decoded
        .or_else(|_| BASE64.decode(text.as_bytes()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Returns the bytes of the `$bytes` that a field holds.
pub(crate) fn bytes_of(json: &serde_json::Value) -> Vec<u8> {
    base64(json["$bytes"].as_str().unwrap())
}

/// Returns the link that a field holds as `$link`.
pub(crate) fn link_of(json: &serde_json::Value) -> carrack_schema::Cid {
    json["$link"].as_str().unwrap().parse().unwrap()
}

/// Turns JSON into a value.
///
/// # Panics
/// If it is not the JSON form of a value.
pub(crate) fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Bool(*bool),
        serde_json::Value::Number(number) => {
            let whole = number.as_i64().or_else(|| {
                let float = number.as_f64()?;
                // JSON does not tell 123.0 from 123.
                (float.fract() == 0.0).then_some(float as i64)
            });
            Value::Int(whole.expect("an integer"))
        }
        serde_json::Value::String(text) => Value::text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(value_of).collect()),
        serde_json::Value::Object(entries) => match entries.keys().next().map(String::as_str) {
            Some("$link") => Value::Link(link_of(json)),
            Some("$bytes") => Value::Bytes(bytes_of(json)),
            _ => {
                let entries = entries.iter();
                Value::Map(
                    entries
                        .map(|(key, value)| (key.clone().into(), value_of(value)))
                        .collect(),
                )
            }
        },
    }
}

/// Returns the canonical bytes of a value given as JSON.
///
/// # Panics
/// As [`value_of`].
pub(crate) fn encode(json: &serde_json::Value) -> Vec<u8> {
    value_of(json).encode()
}
