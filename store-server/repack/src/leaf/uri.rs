//! AT-URIs of `did:plc` accounts, cut into DID, collection and record key: only texts that come back the same.

use super::{base32, tid};

/// Characters of a `did:plc`.
pub(crate) const PLC_TEXT_BYTES: usize = 32;
/// Bytes that a `did:plc` stands for.
pub(crate) const PLC_BYTES: usize = 15;
const PLC_PREFIX: &[u8; 8] = b"did:plc:";
const SCHEME: &[u8; 5] = b"at://";
/// Longest collection that is cut out; an NSID has at most 317 bytes.
const COLLECTION_BYTES_MAX: usize = 317;

/// How a record key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RkeyForm {
    /// As the word of a TID.
    Tid,
    /// As its text.
    Text,
}

/// The parts of an AT-URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlcUri<'a> {
    pub(crate) plc: [u8; PLC_BYTES],
    pub(crate) collection: &'a [u8],
    pub(crate) rkey: &'a [u8],
    pub(crate) form: RkeyForm,
    /// The word of `rkey`, if that is its form.
    pub(crate) tid: u64,
}

impl<'a> PlcUri<'a> {
    /// Reads an AT-URI. The collection need not be an NSID nor the key a record key: writing gives the same text back.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let (did, path) = text
            .strip_prefix(SCHEME)?
            .split_at_checked(PLC_TEXT_BYTES)?;
        let path = path.strip_prefix(b"/")?;
        let slash = path
            .iter()
            .take(COLLECTION_BYTES_MAX.wrapping_add(1))
            .position(|&byte| byte == b'/')?;
        let (collection, rkey) = path.split_at_checked(slash)?;
        let rkey = rkey.get(1..)?;
        let word = tid(rkey);
        Some(Self {
            plc: plc(did)?,
            collection,
            rkey,
            form: if word.is_some() {
                RkeyForm::Tid
            } else {
                RkeyForm::Text
            },
            tid: word.unwrap_or(0),
        })
    }
}

/// Reads a `did:plc`.
pub(crate) fn plc(text: &[u8]) -> Option<[u8; PLC_BYTES]> {
    base32::decode_15(text.strip_prefix(PLC_PREFIX)?)
}

/// Appends a `did:plc`.
pub(crate) fn write_plc(plc: &[u8; PLC_BYTES], out: &mut Vec<u8>) {
    out.extend_from_slice(PLC_PREFIX);
    base32::encode_15(plc, out);
}

/// Returns the length of an AT-URI's text.
pub(crate) fn text_bytes(collection: &[u8], rkey_bytes: usize) -> usize {
    const FIXED: usize = SCHEME.len() + PLC_TEXT_BYTES + 2;
    FIXED
        .saturating_add(collection.len())
        .saturating_add(rkey_bytes)
}

/// Appends an AT-URI.
pub(crate) fn write(plc: &[u8; PLC_BYTES], collection: &[u8], rkey: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(SCHEME);
    write_plc(plc, out);
    out.push(b'/');
    out.extend_from_slice(collection);
    out.push(b'/');
    out.extend_from_slice(rkey);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_read_comes_back(
            text in "at://did:plc:[a-z2-7]{24}/[a-z.]{0,9}/([2-7a-j][2-7a-z]{12}|[a-z/~]{0,20})"
        ) {
            let uri = PlcUri::parse(text.as_bytes()).unwrap();
            let mut again = Vec::new();
            write(&uri.plc, uri.collection, uri.rkey, &mut again);
            prop_assert_eq!(again.len(), text_bytes(uri.collection, uri.rkey.len()));
            prop_assert_eq!(again, text.as_bytes());
            prop_assert_eq!(uri.form == RkeyForm::Tid, tid(uri.rkey).is_some());
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "at://",
            "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz",
            "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/",
            "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/a.b",
            "at://did:plc:ewvi7nxzyoun6zhxrhs64oi0/a.b/c",
            "at://alice.example/a.b/c",
            "https://did:plc:ewvi7nxzyoun6zhxrhs64oiz/a.b/c",
        ] {
            assert_eq!(PlcUri::parse(text.as_bytes()), None, "{text}");
        }
        let long = format!(
            "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/{}/c",
            "a".repeat(318)
        );
        assert_eq!(PlcUri::parse(long.as_bytes()), None);
        let longest = format!(
            "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/{}/c",
            "a".repeat(317)
        );
        assert!(PlcUri::parse(longest.as_bytes()).is_some());
    }
}
