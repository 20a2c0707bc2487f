//! [`Field`]: one text in a record, named by its path.

use carrack_repo::cbor::{Reader, Token};

/// A field by its path, in the forms that engines take it.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The path itself.
    pub(crate) path: String,
    /// Keys of maps, from the outside in.
    pub(crate) parts: Vec<String>,
    /// As SQLite's JSON functions name it: `$.subject.uri`.
    pub(crate) json_path: String,
}

impl Field {
    /// Makes a field of a path such as `subject.uri`.
    pub(crate) fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            parts: path.split('.').map(str::to_owned).collect(),
            json_path: format!("$.{path}"),
        }
    }
}

/// Returns the text at `parts` in a record's DAG-CBOR, reading no further than that.
pub(crate) fn text_at<'a>(record: &'a [u8], parts: &[String]) -> Option<&'a str> {
    let mut reader = Reader::new(record);
    for part in parts {
        let Token::Map(mut left) = reader.token().ok()? else {
            return None;
        };
        loop {
            left = left.checked_sub(1)?;
            match reader.token().ok()? {
                Token::Key(key) if key == part => break,
                _ => reader.skip().ok()?,
            }
        }
    }
    match reader.token().ok()? {
        Token::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_at_its_path_only() {
        // {"a": 1, "b": {"c": [2, "x"], "d": "y"}}
        let record = b"\xa2\x61a\x01\x61b\xa2\x61c\x82\x02\x61x\x61d\x61y";
        let at = |path: &str| text_at(record, &Field::new(path).parts);
        assert_eq!(at("b.d"), Some("y"));
        for path in ["a", "b", "d", "b.c", "b.d.e", "b.e"] {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
