//! AT Protocol names, parsed once into types: DID, NSID, record key, TID, record path, AT-URI.
//!
//! Syntax rules: <https://atproto.com/specs/did>, `/nsid`, `/record-key`, `/tid`, `/at-uri-scheme`. A value of
//! one of these types has passed them; a `&str` inside Carrack is text for people.

use std::fmt;
use std::str::FromStr;

/// Longest DID in bytes (AT Protocol's own bound).
pub const DID_BYTES_MAX: usize = 2_048;
/// Longest NSID in bytes: 253 of authority, a dot, 63 of name.
///
/// The specification bounds the authority by itself too. Neither the published vectors nor the reference
/// implementation do, so a longer one under a shorter name occurs in legal repos; only the sum is checked.
pub const NSID_BYTES_MAX: usize = 317;
/// Longest record key in bytes.
pub const RECORD_KEY_BYTES_MAX: usize = 512;

/// Why a text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: `{text}`")]
pub struct NameError {
    kind: &'static str,
    text: String,
}

impl NameError {
    fn new(kind: &'static str, text: &str) -> Self {
        // A hostile name may be megabytes long, or move a terminal's cursor; the message shows its start, escaped.
        let text = text.chars().take(80).flat_map(char::escape_debug).collect();
        Self { kind, text }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(NameError::new($kind, text)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A decentralized identifier: `did:plc:…`, `did:web:…`.
    Did, "DID", is_did
);
name!(
    /// A namespaced identifier, the name of a collection: `app.bsky.feed.post`.
    Nsid, "NSID", is_nsid
);
name!(
    /// A record's key within its collection.
    RecordKey, "record key", is_record_key
);

name!(
    /// A handle, a domain name: `alice.bsky.social`. Case does not matter when handles are compared.
    Handle, "handle", is_handle
);

/// Longest handle in bytes.
pub const HANDLE_BYTES_MAX: usize = 253;

fn is_handle(text: &str) -> bool {
    let Some((_, last)) = text.rsplit_once('.') else {
        return false;
    };
    text.len() <= HANDLE_BYTES_MAX
        && text.split('.').all(is_domain_label)
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn is_did(text: &str) -> bool {
    let Some((method, id)) = text
        .strip_prefix("did:")
        .and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    text.len() <= DID_BYTES_MAX
        && !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_lowercase())
        && !id.is_empty()
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:%-".contains(&b))
        && !id.ends_with([':', '%'])
}

fn is_nsid(text: &str) -> bool {
    let Some((authority, name)) = text.rsplit_once('.') else {
        return false;
    };
    let authority_ok = authority.split('.').count() >= 2
        && authority.split('.').all(is_domain_label)
        && authority.starts_with(|c: char| c.is_ascii_alphabetic());
    text.len() <= NSID_BYTES_MAX
        && authority_ok
        && name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_domain_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_record_key(text: &str) -> bool {
    (1..=RECORD_KEY_BYTES_MAX).contains(&text.len())
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:~-".contains(&b))
}

/// What a person calls a repo: its DID, or a handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RepoName {
    /// Its DID.
    Did(Did),
    /// A handle, which somebody has to resolve.
    Handle(Handle),
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.starts_with("did:") {
            text.parse().map(Self::Did)
        } else {
            text.parse().map(Self::Handle)
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Did(did) => did.fmt(f),
            Self::Handle(handle) => handle.fmt(f),
        }
    }
}

/// A timestamp identifier: 13 characters of sortable base32, 64 bits.
///
/// Ordered like its text: the alphabet is ascending in ASCII and the length is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(u64);

const TID_ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
/// The digit of each character; 255 for those that are none.
const TID_DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut i = 0;
    while i < 32 {
        digits[TID_ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    digits
};

impl Tid {
    /// Length of a TID's text.
    pub const TEXT_BYTES: usize = 13;

    /// Returns the TID with these 64 bits.
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the 64 bits: by convention 53 of microseconds since 1970 above 10 of clock id.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the time it names, in microseconds since the Unix epoch.
    pub const fn micros(self) -> u64 {
        self.0 >> 10
    }

    /// Reads a TID from its 13 characters; none if they are no TID's.
    #[inline]
    pub fn parse_bytes(text: &[u8; Self::TEXT_BYTES]) -> Option<Self> {
        let mut bits: u64 = 0;
        let mut seen = 0;
        for &byte in text {
            let digit = TID_DIGITS[byte as usize];
            seen |= digit;
            bits = bits << 5 | u64::from(digit & 31);
        }
        // The first of 13 characters holds the top 4 of 64 bits.
        (seen < 32 && TID_DIGITS[text[0] as usize] < 16).then_some(Self(bits))
    }

    /// Returns its 13 characters.
    pub fn text(self) -> [u8; Self::TEXT_BYTES] {
        let mut text = [0; Self::TEXT_BYTES];
        for (i, byte) in text.iter_mut().enumerate() {
            *byte = TID_ALPHABET[((self.0 >> (60 - 5 * i)) & 31) as usize];
        }
        text
    }
}

impl FromStr for Tid {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        <&[u8; Self::TEXT_BYTES]>::try_from(text.as_bytes())
            .ok()
            .and_then(Self::parse_bytes)
            .ok_or_else(|| NameError::new("TID", text))
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("the alphabet is ASCII"))
    }
}

/// Where a record is within its repo: `collection/rkey`. Its bytes are the MST key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordPath {
    /// The collection.
    pub collection: Nsid,
    /// The key within the collection.
    pub rkey: RecordKey,
}

impl FromStr for RecordPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("record path", text);
        let (collection, rkey) = text.split_once('/').ok_or_else(error)?;
        Ok(Self {
            collection: collection.parse().map_err(|_| error())?,
            rkey: rkey.parse().map_err(|_| error())?,
        })
    }
}

impl fmt::Display for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.rkey)
    }
}

/// An AT-URI whose authority is a DID: `at://did[/collection[/rkey]]`.
///
/// A handle as authority is not resolved here: it is an error that says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AtUri {
    /// The repo.
    pub did: Did,
    /// The collection, if the URI names one.
    pub collection: Option<Nsid>,
    /// The record key, if the URI names a record; never without a collection.
    pub rkey: Option<RecordKey>,
}

impl AtUri {
    /// Returns the record's path, if the URI names a record.
    pub fn path(&self) -> Option<RecordPath> {
        Some(RecordPath {
            collection: self.collection.clone()?,
            rkey: self.rkey.clone()?,
        })
    }
}

impl FromStr for AtUri {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("AT-URI of a DID (at://did:…/collection/rkey)", text);
        let rest = text.strip_prefix("at://").ok_or_else(error)?;
        let mut parts = rest.split('/');
        let did = parts
            .next()
            .unwrap_or_default()
            .parse()
            .map_err(|_| error())?;
        let collection = parts
            .next()
            .map(str::parse)
            .transpose()
            .map_err(|_| error())?;
        let rkey = parts
            .next()
            .map(str::parse)
            .transpose()
            .map_err(|_| error())?;
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self {
            did,
            collection,
            rkey,
        })
    }
}

impl fmt::Display for AtUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at://{}", self.did)?;
        if let Some(collection) = &self.collection {
            write!(f, "/{collection}")?;
        }
        if let Some(rkey) = &self.rkey {
            write!(f, "/{rkey}")?;
        }
        Ok(())
    }
}

/// An AT-URI of a record, whose authority is a DID or a handle: `at://repo/collection/rkey`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordUri {
    /// The repo.
    pub repo: RepoName,
    /// Where the record is within it.
    pub path: RecordPath,
}

impl FromStr for RecordUri {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("AT-URI of a record (at://REPO/COLLECTION/RKEY)", text);
        let bare = text.strip_prefix("at://").ok_or_else(error)?;
        let (repo, path) = bare.split_once('/').ok_or_else(error)?;
        Ok(Self {
            repo: repo.parse().map_err(|_| error())?,
            path: path.parse().map_err(|_| error())?,
        })
    }
}

impl fmt::Display for RecordUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at://{}/{}", self.repo, self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: FromStr + fmt::Display>(valid: &[&str], invalid: &[&str]) {
        for text in valid {
            let name = text
                .parse::<T>()
                .ok()
                .unwrap_or_else(|| panic!("`{text}` is valid"));
            assert_eq!(name.to_string(), *text);
        }
        for text in invalid {
            assert!(text.parse::<T>().is_err(), "`{text}` is not valid");
        }
    }

    #[test]
    fn dids() {
        let long = format!("did:web:{}", "a".repeat(DID_BYTES_MAX - 8));
        check::<Did>(
            &[
                "did:plc:abc",
                "did:web:localhost%3A1234",
                "did:m:v_-.:x",
                &long,
            ],
            &[
                "",
                "did",
                "did:",
                "did:plc:",
                "DID:plc:a",
                "did:Plc:a",
                "did:m:a:",
                "did:m:a%",
                "did:m:é",
                "did:m:a/b",
                &format!("{long}a"),
            ],
        );
    }

    #[test]
    fn record_uris() {
        let did = format!("did:web:{}", "a".repeat(DID_BYTES_MAX - 8));
        let label = "a".repeat(63);
        let nsid = format!("{label}.{label}.{label}.{}.{label}", "a".repeat(61));
        assert_eq!(nsid.len(), NSID_BYTES_MAX);
        let longest = format!("at://{did}/{nsid}/{}", "k".repeat(RECORD_KEY_BYTES_MAX));
        assert_eq!(longest.len(), crate::limits::AT_URI_BYTES_MAX);
        check::<RecordUri>(
            &[
                "at://did:plc:a/a.b.c/d",
                "at://alice.test/a.b.c/d",
                &longest,
            ],
            &[
                "",
                "did:plc:a/a.b.c/d",
                "at://did:plc:a",
                "at://did:plc:a/a.b.c",
                "at://did:plc:a/a.b.c/d/e",
                "at://did:plc:a/a.b.c/d#e",
                "AT://did:plc:a/a.b.c/d",
                "at://alice/a.b.c/d",
                &format!("{longest}k"),
            ],
        );
    }

    #[test]
    fn handles() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        check::<Handle>(
            &["alice.test", "8.cn", "a-b.c-d.xyz", "A.Test", &long],
            &[
                "",
                "alice",
                "alice.",
                ".test",
                "a..b",
                "-a.test",
                "a-.test",
                "a.0",
                "a_b.test",
                "é.test",
                &format!("a{long}"),
            ],
        );
    }

    #[test]
    fn nsids() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{}.{label}", "a".repeat(61));
        let long_authority = format!("{label}.{label}.{label}.{label}.{}", "a".repeat(61));
        check::<Nsid>(
            &[
                "com.example.thing",
                "a.b.c",
                "com.ex-1.x2y",
                "net.users.bob.ping",
                &long,
                &long_authority,
            ],
            &[
                "",
                "a.b",
                "a..c",
                "com.example.1x",
                "com.example.x-y",
                "1com.example.x",
                "com.-a.x",
                "com.a-.x",
                "com.example.é",
                &format!("{long}a"),
                &format!("a{long}"),
                &format!("{long_authority}a"),
            ],
        );
    }

    #[test]
    fn record_keys() {
        let long = "k".repeat(RECORD_KEY_BYTES_MAX);
        check::<RecordKey>(
            &["self", "3jui7kd54zh2y", "a.b_c:d~e-f", "...", &long],
            &["", ".", "..", "a/b", "a b", "é", "a#b", &format!("{long}k")],
        );
    }

    #[test]
    fn tids() {
        check::<Tid>(
            &[
                "3jzfcijpj2z2a",
                "7777777777777",
                "2222222222222",
                "jzzzzzzzzzzzz",
            ],
            &[
                "",
                "3jzfcijpj2z2",
                "3jzfcijpj2z2aa",
                "kzzzzzzzzzzzz",
                "3jzfcijpj2z21",
                "3JZFCIJPJ2Z2A",
            ],
        );
        assert_eq!("2222222222222".parse::<Tid>().unwrap().as_u64(), 0);
        assert_eq!("jzzzzzzzzzzzz".parse::<Tid>().unwrap().as_u64(), u64::MAX);
    }

    #[test]
    fn at_uris() {
        check::<AtUri>(
            &[
                "at://did:plc:abc",
                "at://did:plc:abc/a.b.c",
                "at://did:plc:abc/a.b.c/self",
            ],
            &[
                "",
                "at://",
                "at://alice.test/a.b.c/k",
                "at://did:plc:abc/",
                "at://did:plc:abc/a.b.c/",
                "at://did:plc:abc/a.b.c/k/x",
                "at://did:plc:abc/a.b.c/k?x",
                "did:plc:abc",
            ],
        );
    }

    proptest! {
        #[test]
        fn tids_sort_like_their_text(a: u64, b: u64) {
            let (a, b) = (Tid::from_u64(a), Tid::from_u64(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse::<Tid>().unwrap(), a);
        }
    }
}
