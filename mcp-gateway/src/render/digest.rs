//! The generic short form of a value of any lexicon: `key=value · key=value`.

use carrack_schema::{Value, cid};

use super::quote;

/// Longest text shown within a digest, in characters.
const TEXT_CHARS_MAX: usize = 160;
/// Deepest container that is opened.
const DEPTH_MAX: usize = 2;
/// Most entries shown of one container.
const ENTRIES_MAX: usize = 8;

/// Returns a value in short. What is left out is counted, so that the reader knows to ask for all of it.
pub(super) fn digest(value: &Value) -> String {
    let Value::Map(entries) = value else {
        return of(value, 0);
    };
    let shown: Vec<String> = entries
        .iter()
        // The type is the collection's name again, and the time is a fact of the row already.
        .filter(|(key, _)| key != "$type" && key != "createdAt")
        .map(|(key, value)| entry(key, value, 0))
        .collect();
    if shown.is_empty() {
        return "{}".to_owned();
    }
    shown.join(" · ")
}

fn entry(key: &str, value: &Value, depth: usize) -> String {
    let key = quote::shorten(&quote::inline(key), TEXT_CHARS_MAX);
    format!("{key}={}", of(value, depth))
}

fn of(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => {
            format!(
                "\"{}\"",
                quote::shorten(&quote::inline(text), TEXT_CHARS_MAX)
            )
        }
        Value::Bytes(bytes) => format!("({} bytes)", bytes.len()),
        Value::Link(link) => cid::text_of(link),
        Value::List(items) if items.is_empty() => "[]".to_owned(),
        Value::List(items) if depth >= DEPTH_MAX => format!("[{} items]", items.len()),
        Value::List(items) => {
            let shown = items.iter().map(|item| of(item, depth + 1));
            format!("[{}]", some(shown, items.len()))
        }
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(_) if is_blob(value) => blob(value),
        Value::Map(entries) if depth >= DEPTH_MAX => format!("{{{} entries}}", entries.len()),
        Value::Map(entries) => {
            let shown = entries
                .iter()
                .map(|(key, value)| entry(key, value, depth + 1));
            format!("{{{}}}", some(shown, entries.len()))
        }
    }
}

fn some(shown: impl Iterator<Item = String>, count: usize) -> String {
    let mut parts: Vec<String> = shown.take(ENTRIES_MAX).collect();
    if count > ENTRIES_MAX {
        parts.push(format!("…+{}", count - ENTRIES_MAX));
    }
    parts.join(", ")
}

fn is_blob(value: &Value) -> bool {
    value.get("$type").and_then(Value::as_text) == Some("blob")
}

/// A blob's place in a record says what it is in four entries; its CID and type are what matters.
fn blob(value: &Value) -> String {
    let link = match value.get("ref") {
        Some(Value::Link(link)) => cid::text_of(link),
        _ => "without ref".to_owned(),
    };
    let kind = value
        .get("mimeType")
        .and_then(Value::as_text)
        .unwrap_or_default();
    let kind = quote::shorten(&quote::inline(kind), 60);
    format!("blob({link} {kind})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    #[test]
    fn every_kind_has_a_short_form() {
        let deep = map([("a", map([("b", map([("c", map([("d", Value::Null)]))]))]))]);
        for (value, expected) in [
            (map([]), "{}"),
            (map([("$type", text("x.y.z"))]), "{}"),
            (
                map([("n", Value::Null), ("t", Value::Bool(true))]),
                "n=null · t=true",
            ),
            (map([("i", Value::Int(-7))]), "i=-7"),
            (map([("b", Value::Bytes(vec![0; 5]))]), "b=(5 bytes)"),
            (map([("l", Value::List(vec![]))]), "l=[]"),
            (
                map([("l", Value::List(vec![Value::Int(1), text("x")]))]),
                "l=[1, \"x\"]",
            ),
            (
                map([("l", Value::List(vec![Value::Int(0); 10]))]),
                "l=[0, 0, 0, 0, 0, 0, 0, 0, …+2]",
            ),
            (deep, "a={b={c={1 entries}}}"),
            (map([("k\ne=y", text("a\n> b"))]), "k ⏎ e=y=\"a ⏎ > b\""),
            (text("lone"), "\"lone\""),
        ] {
            assert_eq!(digest(&value), expected);
        }
    }

    #[test]
    fn long_texts_are_shortened_and_say_so() {
        let shown = digest(&map([("s", text("x".repeat(1_000)))]));
        assert!(shown.ends_with("…(+840 bytes)\""), "{shown}");
    }

    #[test]
    fn a_blob_shows_its_cid_and_type() {
        let blob = map([
            ("ref", Value::Link(vec![1, 0x55])),
            ("$type", text("blob")),
            ("mimeType", text("image/png")),
        ]);
        assert_eq!(
            digest(&map([("avatar", blob)])),
            "avatar=blob(bafkq image/png)"
        );
    }
}
