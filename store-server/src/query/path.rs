//! [`Path`]: where in a row a value is, and what is made of it.

use std::borrow::Cow;

use carrack_repack::Field;
use carrack_schema::Tid;
use carrack_schema::limits::QUERY_PATH_BYTES_MAX;
use carrack_schema::time::{civil, parse_rfc3339};

use super::key::{self, TEXT};
use super::plan::PlanError;

/// Where in a row a value is, and what is made of it; see `query.capnp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub(super) base: Base,
    pub(super) part: Option<Part>,
}

/// Where in a row a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// At these keys of the record, joined by dots, without the marks of lists.
    Field(Box<str>),
    Uri,
    Did,
    Collection,
    Rkey,
    Time,
    Held,
    Value,
    Count,
}

/// What is made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Did,
    Collection,
    Rkey,
    Time,
    Year,
    Month,
    Day,
    Host,
    Length,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// If it is empty, too long, or names something of the row or of the value that there is not.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        if text.len() > QUERY_PATH_BYTES_MAX {
            let length = text.len();
            return Err(PlanError::TooMany(format!(
                "a path of {length} bytes is longer than the {QUERY_PATH_BYTES_MAX} it may have"
            )));
        }
        let (base, part) = match text.rsplit_once('#') {
            None => (text, None),
            Some((base, part)) => (base, Some(part)),
        };
        let base = match base {
            "" => return Err(PlanError::Illegal(format!("`{text}` is no path"))),
            "@uri" => Base::Uri,
            "@did" => Base::Did,
            "@collection" => Base::Collection,
            "@rkey" => Base::Rkey,
            "@time" => Base::Time,
            "@held" => Base::Held,
            "@value" => Base::Value,
            "@count" => Base::Count,
            base if base.starts_with('@') => {
                return Err(PlanError::Illegal(format!(
                    "`{base}` is none of @uri, @did, @collection, @rkey, @time, @held, @value, @count"
                )));
            }
            base => Base::Field(base.replace("[]", "").into()),
        };
        let part = match part {
            None => None,
            Some("did") => Some(Part::Did),
            Some("collection") => Some(Part::Collection),
            Some("rkey") => Some(Part::Rkey),
            Some("time") => Some(Part::Time),
            Some("year") => Some(Part::Year),
            Some("month") => Some(Part::Month),
            Some("day") => Some(Part::Day),
            Some("host") => Some(Part::Host),
            Some("length") => Some(Part::Length),
            Some(part) => {
                return Err(PlanError::Illegal(format!(
                    "`#{part}` is none of #did, #collection, #rkey, #time, #year, #month, #day, #host, #length"
                )));
            }
        };
        Ok(Self { base, part })
    }

    /// Says whether its values are times, as numbers.
    pub(super) fn is_time(&self) -> bool {
        match self.part {
            None => self.base == Base::Time,
            Some(part) => part == Part::Time,
        }
    }

    /// Puts the key of what a field gives in place of what `out` holds; false if it gives nothing.
    #[inline]
    pub(super) fn of_field(&self, field: &Field<'_>, out: &mut Vec<u8>) -> bool {
        let Some(part) = self.part else {
            key::put_field(field, out);
            return true;
        };
        // What is stored in parts need not be put together to be taken apart.
        match (part, field) {
            (Part::Did, Field::Uri { plc, .. }) => {
                key::put_field(&Field::Plc(*plc), out);
                true
            }
            (Part::Time, Field::Time(form, value)) => {
                key::put_int(form.micros(*value), out);
                true
            }
            (Part::Year | Part::Month | Part::Day, Field::Time(form, value)) => {
                put_date(part, form.micros(*value), out);
                true
            }
            _ => {
                let mut whole = Vec::new();
                key::put_field(field, &mut whole);
                part.of_key(&whole, out)
            }
        }
    }

    /// As [`of_field`](Self::of_field), of a value that is a key already.
    pub(super) fn of_key<'k>(&self, whole: &'k [u8], out: &'k mut Vec<u8>) -> Option<&'k [u8]> {
        match self.part {
            None => Some(whole),
            Some(part) => part.of_key(whole, out).then_some(out),
        }
    }
}

impl Part {
    fn of_key(self, whole: &[u8], out: &mut Vec<u8>) -> bool {
        if self == Self::Length {
            let length = match whole {
                [key::BYTES, bytes @ ..] => bytes.len(),
                [TEXT, text @ ..] => String::from_utf8_lossy(text).chars().count(),
                _ => return false,
            };
            key::put_int(i64::try_from(length).unwrap_or(i64::MAX), out);
            return true;
        }
        let Some(text) = key::text(whole).and_then(|text| std::str::from_utf8(text).ok()) else {
            return false;
        };
        let found = match self {
            Self::Did => uri(text).map(|uri| Cow::Borrowed(uri.0)),
            Self::Collection => uri(text).map(|uri| Cow::Borrowed(uri.1)),
            Self::Rkey => uri(text).map(|uri| Cow::Borrowed(uri.2)),
            Self::Host => host(text).map(Cow::Owned),
            Self::Time | Self::Year | Self::Month | Self::Day => {
                let Some(micros) = micros(text) else {
                    return false;
                };
                match self {
                    Self::Time => key::put_int(micros, out),
                    _ => put_date(self, micros, out),
                }
                return true;
            }
            Self::Length => None,
        };
        match found {
            Some(found) if !found.is_empty() => key::put(TEXT, found.as_bytes(), out),
            _ => return false,
        }
        true
    }
}

/// Returns the DID, the collection and the record key of an at-URI; what it does not name is empty.
fn uri(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.strip_prefix("at://")?.splitn(3, '/');
    let did = parts.next().filter(|did| did.starts_with("did:"))?;
    let collection = parts.next().unwrap_or_default();
    Some((did, collection, parts.next().unwrap_or_default()))
}

/// Returns the host of an absolute URL.
fn host(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && (scheme.bytes()).all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.find(']') {
        Some(end) if host.starts_with('[') => &host[..=end],
        _ => host.split(':').next()?,
    };
    is_scheme.then(|| host.to_ascii_lowercase())
}

/// Returns the time that a text is.
fn micros(text: &str) -> Option<i64> {
    tid_micros(text).or_else(|| parse_rfc3339(text))
}

/// Returns the time of a TID.
pub(super) fn tid_micros(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<Tid>().ok()?.micros()).ok()
}

fn put_date(part: Part, micros: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(micros.div_euclid(86_400_000_000));
    let text = match part {
        Part::Year => format!("{year:04}"),
        Part::Month => format!("{year:04}-{month:02}"),
        _ => format!("{year:04}-{month:02}-{day:02}"),
    };
    key::put(TEXT, text.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use carrack_schema::Value;

    use super::*;

    fn made(path: &str, of: &Value) -> Option<Value> {
        let (path, key) = (Path::parse(path).unwrap(), key::of_value(of).unwrap());
        let mut out = Vec::new();
        path.of_key(&key, &mut out).map(key::to_value)
    }

    #[test]
    fn parts_are_made_of_values() {
        let cases = [
            ("did", "at://did:plc:abc/a.b.c/k", Some("did:plc:abc")),
            ("did", "at://did:plc:abc", Some("did:plc:abc")),
            ("did", "at://alice.example/a.b.c/k", None),
            ("did", "did:plc:abc", None),
            ("collection", "at://did:plc:abc/a.b.c/k", Some("a.b.c")),
            ("collection", "at://did:plc:abc", None),
            ("rkey", "at://did:plc:abc/a.b.c/k", Some("k")),
            ("rkey", "at://did:plc:abc/a.b.c/", None),
            ("year", "2026-10-31T23:30:00-01:00", Some("2026")),
            ("month", "2026-10-31T23:30:00-01:00", Some("2026-11")),
            ("day", "2026-10-31T23:30:00.1Z", Some("2026-10-31")),
            ("day", "yesterday", None),
            ("day", "3jzfcijpj2z2a", Some("2023-06-30")),
            (
                "host",
                "https://User@Example.COM:8080/x?y#z",
                Some("example.com"),
            ),
            ("host", "https://[::1]:80/", Some("[::1]")),
            ("host", "https:///x", None),
            ("host", "example.com/x", None),
            ("host", "1x://example.com", None),
        ];
        for (part, text, expected) in cases {
            let found = made(&format!("a.b#{part}"), &Value::Text(text.into()));
            let expected = expected.map(|text| Value::Text(text.into()));
            assert_eq!(found, expected, "{part} of {text}");
        }
        let int = |part: &str, of: Value| made(&format!("a#{part}"), &of);
        let time = Value::Text("1970-01-01T00:00:01.5Z".into());
        assert_eq!(int("time", time), Some(Value::Int(1_500_000)));
        assert_eq!(int("length", Value::Text("hé".into())), Some(Value::Int(2)));
        assert_eq!(int("length", Value::Bytes(vec![0; 3])), Some(Value::Int(3)));
        assert_eq!(int("length", Value::Int(3)), None);
        assert_eq!(int("did", Value::Null), None);
    }

    #[test]
    fn paths_are_read() {
        for path in [
            "a",
            "$type",
            "a.b[].c",
            "@uri",
            "@count",
            "a.b#did",
            "@uri#rkey",
        ] {
            assert!(Path::parse(path).is_ok(), "{path}");
        }
        for path in ["", "#did", "@", "@nothing", "a#", "a#nothing", "a#did#did"] {
            let refused = Path::parse(path);
            let is_illegal = matches!(refused, Err(PlanError::Illegal(_)));
            // A mark within a path is of the key.
            assert!(is_illegal || path == "a#did#did", "{path}");
        }
        assert!(Path::parse(&"a".repeat(QUERY_PATH_BYTES_MAX)).is_ok());
        let long = Path::parse(&"a".repeat(QUERY_PATH_BYTES_MAX + 1));
        assert!(matches!(long, Err(PlanError::TooMany(_))));
    }
}
