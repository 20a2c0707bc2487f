//! The generic short form of a value of any lexicon: `key=value · key=value`.

use carrack_schema::{Value, cid};

use super::quote;

/// Longest text shown within a digest, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 160;
/// Longest type of a blob that is shown, in characters.
const MIME_CHARS_MAX: usize = 60;
/// Deepest container that is opened.
const DEPTH_MAX: usize = 2;
/// Most entries shown of one container.
const ENTRIES_MAX: usize = 8;

/// Whoever puts values in short, and remembers whether something was left out.
#[derive(Debug, Default)]
pub(super) struct Digest {
    pub(super) is_cut: bool,
    /// A record's form was not that of a known type.
    pub(super) is_generic: bool,
}

impl Digest {
    /// Returns a value in short. What is left out is counted, so that the reader knows to ask for all of it.
    pub(super) fn of(&mut self, value: &Value) -> String {
        let Value::Map(entries) = value else {
            return self.inner(value, 0);
        };
        let shown: Vec<String> = entries
            .iter()
            // The type is the collection's name again, and the time is a fact of the row already.
            .filter(|(key, _)| key != "$type" && key != "createdAt")
            .map(|(key, value)| self.entry(key, value, 0))
            .collect();
        if shown.is_empty() {
            return "{}".to_owned();
        }
        shown.join(" · ")
    }

    /// Returns a text in short.
    pub(super) fn text(&mut self, text: &str) -> String {
        self.shorten(text, TEXT_CHARS_MAX)
    }

    fn shorten(&mut self, text: &str, chars_max: usize) -> String {
        let short = quote::short(text, chars_max);
        self.is_cut |= short.is_cut;
        short.text
    }

    fn entry(&mut self, key: &str, value: &Value, depth: usize) -> String {
        format!("{}={}", self.text(key), self.inner(value, depth))
    }

    fn inner(&mut self, value: &Value, depth: usize) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Text(text) => format!("\"{}\"", self.text(text)),
            Value::Bytes(bytes) => self.counted(format!("({} bytes)", bytes.len())),
            Value::Link(link) => cid::text_of(link),
            Value::List(items) if items.is_empty() => "[]".to_owned(),
            Value::List(items) if depth >= DEPTH_MAX => {
                self.counted(format!("[{} items]", items.len()))
            }
            Value::List(items) => {
                let shown = items.iter().take(ENTRIES_MAX);
                let shown = shown.map(|item| self.inner(item, depth + 1)).collect();
                format!("[{}]", self.some(shown, items.len()))
            }
            Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Value::Map(_) if is_blob(value) => self.blob(value),
            Value::Map(entries) if depth >= DEPTH_MAX => {
                self.counted(format!("{{{} entries}}", entries.len()))
            }
            Value::Map(entries) => {
                let shown = entries.iter().take(ENTRIES_MAX);
                let shown = shown.map(|(key, value)| self.entry(key, value, depth + 1));
                let shown = shown.collect();
                format!("{{{}}}", self.some(shown, entries.len()))
            }
        }
    }

    /// Returns what stands for something that is not shown.
    fn counted(&mut self, count: String) -> String {
        self.is_cut = true;
        count
    }

    fn some(&mut self, mut shown: Vec<String>, count: usize) -> String {
        if count > shown.len() {
            let more = count - shown.len();
            shown.push(self.counted(format!("…+{more}")));
        }
        shown.join(", ")
    }

    /// A blob's place in a record says what it is in four entries; its CID and type are what matters.
    fn blob(&mut self, value: &Value) -> String {
        let link = match value.get("ref") {
            Some(Value::Link(link)) => cid::text_of(link),
            _ => "without ref".to_owned(),
        };
        let kind = value.get("mimeType").and_then(Value::as_text);
        let kind = self.shorten(kind.unwrap_or_default(), MIME_CHARS_MAX);
        format!("blob({link} {kind})")
    }
}

fn is_blob(value: &Value) -> bool {
    value.get("$type").and_then(Value::as_text) == Some("blob")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    fn digest(value: &Value) -> String {
        Digest::default().of(value)
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
    fn whatever_is_left_out_is_remembered() {
        let list = |count| Value::List(vec![Value::Null; count]);
        let inner = |value| map([("a", map([("b", map([("c", value)]))]))]);
        for (value, is_cut) in [
            (text("x".repeat(TEXT_CHARS_MAX)), false),
            (text("x".repeat(TEXT_CHARS_MAX + 1)), true),
            (list(ENTRIES_MAX), false),
            (list(ENTRIES_MAX + 1), true),
            (inner(list(0)), false),
            (inner(list(1)), true),
            (map([("b", Value::Bytes(vec![0]))]), true),
        ] {
            let mut digest = Digest::default();
            digest.of(&value);
            assert_eq!(digest.is_cut, is_cut, "{value:?}");
        }
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
