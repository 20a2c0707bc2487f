//! [`Named`]: what the URI of a resource names.
//!
//! Clients fill templates in with percent-encoding, so `at://did%3Aplc%3Aabc` and `at://did:plc:abc` are the same.

use carrack_client::Cursor;
use carrack_schema::limits::LIST_RECORDS_MAX;
use carrack_schema::{AtUri, Tid};

/// Records of a page when the URI names no limit.
const LIMIT_DEFAULT: u32 = 25;

/// What a resource's URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// `at://` with a repo or a record.
    At(AtUri),
    /// `at://` with a collection: one page of it.
    Page {
        uri: AtUri,
        limit: u32,
        cursor: Option<Cursor>,
    },
    /// `at-car://`: a repo's export, at a revision if one is named.
    Car { uri: AtUri, rev: Option<Tid> },
    /// `at-proof://`: the proof of a record.
    Proof(AtUri),
}

/// Why a text names no resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UriError {
    /// There is no resource of this form.
    Form,
    /// The part after the `?` does not fit; the text says why.
    Query(String),
}

impl Named {
    /// Reads a URI.
    pub(crate) fn parse(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once("://").ok_or(UriError::Form)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, query),
            None => (rest, ""),
        };
        let mut parts = Vec::with_capacity(3);
        for part in path.split('/') {
            let part = decode(part).ok_or(UriError::Form)?;
            // A slash that was encoded is part of no name.
            if part.contains('/') || parts.len() == 3 {
                return Err(UriError::Form);
            }
            parts.push(part);
        }
        let named = format!("at://{}", parts.join("/"));
        let uri: AtUri = named.parse().map_err(|_| UriError::Form)?;
        match (scheme, parts.len()) {
            ("at", 2) => page(uri, query),
            ("at", _) => only([], query).map(|[]| Self::At(uri)),
            ("at-car", 1) => car(uri, query),
            ("at-proof", 3) => only([], query).map(|[]| Self::Proof(uri)),
            _ => Err(UriError::Form),
        }
    }
}

fn page(uri: AtUri, query: &str) -> Result<Named, UriError> {
    let [cursor, limit] = only(["cursor", "limit"], query)?;
    let limit = match limit {
        None => LIMIT_DEFAULT,
        Some(text) => match text.parse() {
            Ok(limit) if (1..=LIST_RECORDS_MAX).contains(&limit) => limit,
            _ => {
                let words = format!("limit is a number from 1 to {LIST_RECORDS_MAX}");
                return Err(UriError::Query(words));
            }
        },
    };
    let cursor = match cursor.map(|text| text.parse::<Cursor>()).transpose() {
        Ok(cursor) => cursor,
        Err(error) => return Err(UriError::Query(error.words().to_owned())),
    };
    Ok(Named::Page { uri, limit, cursor })
}

fn car(uri: AtUri, query: &str) -> Result<Named, UriError> {
    let [rev] = only(["rev"], query)?;
    let rev = rev.map(|text| text.parse::<Tid>()).transpose();
    match rev {
        Ok(rev) => Ok(Named::Car { uri, rev }),
        Err(_) => Err(UriError::Query("rev is a TID".to_owned())),
    }
}

/// Returns the values of the parameters that a resource has; no others may be there, and each once.
fn only<const N: usize>(names: [&str; N], query: &str) -> Result<[Option<String>; N], UriError> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = names.iter().position(|known| *known == name);
        let Some(place) = place.and_then(|place| values.get_mut(place)) else {
            let known = match N {
                0 => "it takes none".to_owned(),
                _ => format!("it takes {}", names.join(" and ")),
            };
            return Err(UriError::Query(format!("an unknown parameter: {known}")));
        };
        let decoded =
            decode(value).ok_or_else(|| UriError::Query("a wrong percent-encoding".to_owned()))?;
        if place.replace(decoded).is_some() {
            return Err(UriError::Query("a parameter is there twice".to_owned()));
        }
    }
    // An expansion may leave a variable empty instead of out.
    Ok(values.map(|value| value.filter(|text| !text.is_empty())))
}

/// Returns a text without its percent-encoding; none if that is not one of UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let [high, low] = [rest.next()?, rest.next()?];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> AtUri {
        text.parse().unwrap()
    }

    fn page(limit: u32, cursor: Option<&str>) -> Named {
        Named::Page {
            uri: at("at://did:plc:a/a.b.c"),
            limit,
            cursor: cursor.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn every_template_is_understood() {
        let record = at("at://did:plc:a/a.b.c/k:1");
        let car = |rev: Option<&str>| Named::Car {
            uri: at("at://did:plc:a"),
            rev: rev.map(|rev| rev.parse().unwrap()),
        };
        for (text, named) in [
            ("at://did:plc:a", Named::At(at("at://did:plc:a"))),
            ("at://did%3Aplc%3aa", Named::At(at("at://did:plc:a"))),
            ("at://did:plc:a/a.b.c/k:1", Named::At(record.clone())),
            ("at://did:plc:a/a.b.c/k%3A1", Named::At(record.clone())),
            ("at://did:plc:a/a.b.c", page(LIMIT_DEFAULT, None)),
            ("at://did:plc:a/a.b.c?limit=1000", page(1_000, None)),
            (
                "at://did:plc:a/a.b.c?cursor=c1_AAAA&limit=7",
                page(7, Some("c1_AAAA")),
            ),
            (
                "at://did:plc:a/a.b.c?cursor=&limit=",
                page(LIMIT_DEFAULT, None),
            ),
            ("at-car://did:plc:a", car(None)),
            (
                "at-car://did:plc:a?rev=3n2v4k6owr72x",
                car(Some("3n2v4k6owr72x")),
            ),
            ("at-proof://did:plc:a/a.b.c/k:1", Named::Proof(record)),
        ] {
            assert_eq!(Named::parse(text), Ok(named), "{text}");
        }
    }

    #[test]
    fn other_texts_name_nothing() {
        for text in [
            "",
            "at:",
            "at://",
            "at://alice.test",
            "at://did:plc:a/",
            "at://did:plc:a/b",
            "at://did:plc:a/a.b.c/",
            "at://did:plc:a/a.b.c/k/x",
            "at://did:plc:a%2Fa.b.c",
            "at://did:plc:%",
            "at://did:plc:%zz",
            "at://did:plc:%ff",
            "at://did:plc:a\n",
            "at-car://did:plc:a/a.b.c",
            "at-proof://did:plc:a",
            "at-proof://did:plc:a/a.b.c",
            "at-blob://did:plc:a/bafy",
            "file:///etc/passwd",
            "https://bsky.app/profile/did:plc:a",
        ] {
            assert_eq!(Named::parse(text), Err(UriError::Form), "{text}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        for text in [
            "at://did:plc:a?limit=1",
            "at://did:plc:a/a.b.c?limit=0",
            "at://did:plc:a/a.b.c?limit=1001",
            "at://did:plc:a/a.b.c?limit=x",
            "at://did:plc:a/a.b.c?limit=1&limit=2",
            "at://did:plc:a/a.b.c?cursor=x",
            "at://did:plc:a/a.b.c?limit=%",
            "at://did:plc:a/a.b.c/k?x",
            "at-car://did:plc:a?since=3n2v4k6owr72x",
            "at-car://did:plc:a?rev=x",
        ] {
            assert!(
                matches!(Named::parse(text), Err(UriError::Query(_))),
                "{text}"
            );
        }
    }
}
