//! [`Leaf`]: what the values at the ends of a record's tree are, and how each is cut down to words and back.
//!
//! A kind is a *form* of value, never a field of a lexicon. A value belongs to a kind only if the kind gives the very
//! same bytes back; what fits none of them is text or bytes. The kinds of a record's leaves are part of its
//! [`Shape`](crate::shape::Shape).

pub(crate) mod base32;
pub(crate) mod time;
pub(crate) mod uri;

use carrack_schema::Tid;
use carrack_schema::cid::Codec;

use self::time::TimeForm;
use self::uri::{PlcUri, RkeyForm};

/// What a leaf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Leaf {
    /// False or true; null is part of the shape.
    Bool,
    /// An integer of 64 signed bits.
    Int,
    /// Any other text.
    Text,
    /// A byte string.
    Bytes,
    /// Text of 13 characters that a TID gives back.
    Tid,
    /// Text: a `did:plc`, 15 bytes.
    Plc,
    /// Text: `at://` of a `did:plc`, a collection and a record key.
    Uri(RkeyForm),
    /// Text: a CID of version 1 with SHA-256 in base32, 32 bytes of digest.
    CidText(Codec),
    /// A link: a CID of version 1 with SHA-256, 32 bytes of digest.
    Link(Codec),
    /// Text: a time, a number of its units.
    Time(TimeForm),
    /// The same as an earlier leaf of the record.
    Same(u8),
}

const BOOL: u8 = 0;
const INT: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;
const TID: u8 = 4;
const PLC: u8 = 5;
const URI_TID: u8 = 6;
const URI_TEXT: u8 = 7;
const CID_TEXT_CBOR: u8 = 8;
const CID_TEXT_RAW: u8 = 9;
const LINK_CBOR: u8 = 10;
const LINK_RAW: u8 = 11;
const SAME: u8 = 12;
/// And the ten forms that follow.
const TIME: u8 = 0x20;

impl Leaf {
    /// Returns the kind's number in a template, below 128; [`Same`](Self::Same) is followed by the leaf's number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Bool => BOOL,
            Self::Int => INT,
            Self::Text => TEXT,
            Self::Bytes => BYTES,
            Self::Tid => TID,
            Self::Plc => PLC,
            Self::Uri(RkeyForm::Tid) => URI_TID,
            Self::Uri(RkeyForm::Text) => URI_TEXT,
            Self::CidText(Codec::DagCbor) => CID_TEXT_CBOR,
            Self::CidText(Codec::Raw) => CID_TEXT_RAW,
            Self::Link(Codec::DagCbor) => LINK_CBOR,
            Self::Link(Codec::Raw) => LINK_RAW,
            Self::Same(_) => SAME,
            Self::Time(form) => TIME | form.code(),
        }
    }

    /// Reads a kind's number; `next` gives the byte behind it.
    pub(crate) fn from_code(code: u8, next: impl FnOnce() -> Option<u8>) -> Option<Self> {
        Some(match code {
            BOOL => Self::Bool,
            INT => Self::Int,
            TEXT => Self::Text,
            BYTES => Self::Bytes,
            TID => Self::Tid,
            PLC => Self::Plc,
            URI_TID => Self::Uri(RkeyForm::Tid),
            URI_TEXT => Self::Uri(RkeyForm::Text),
            CID_TEXT_CBOR => Self::CidText(Codec::DagCbor),
            CID_TEXT_RAW => Self::CidText(Codec::Raw),
            LINK_CBOR => Self::Link(Codec::DagCbor),
            LINK_RAW => Self::Link(Codec::Raw),
            SAME => Self::Same(next()?),
            _ => Self::Time(TimeForm::from_code(code.checked_sub(TIME)?)?),
        })
    }

    /// Returns how many columns a leaf of this kind has in a page: an AT-URI has its account, collection and record key.
    pub(crate) fn columns_count(self) -> usize {
        match self {
            Self::Same(_) => 0,
            Self::Uri(_) => 3,
            _ => 1,
        }
    }

    /// Returns the kind of a text, and its word if a TID or a time is one.
    #[inline]
    pub(crate) fn of_text(text: &[u8]) -> (Self, i64) {
        let text_only = (Self::Text, 0);
        match (text.len(), text.first()) {
            (20..=35, Some(b'0'..=b'9')) => match time::read(text) {
                Some((form, value)) => (Self::Time(form), value),
                None => text_only,
            },
            (Tid::TEXT_BYTES, _) => match tid(text) {
                Some(word) => (Self::Tid, word.cast_signed()),
                None => text_only,
            },
            (uri::PLC_TEXT_BYTES, Some(b'd')) if uri::plc(text).is_some() => (Self::Plc, 0),
            (base32::CID_TEXT_BYTES, Some(b'b')) => {
                base32::cid_codec(text).map_or(text_only, |codec| (Self::CidText(codec), 0))
            }
            (_, Some(b'a')) => {
                PlcUri::parse(text).map_or(text_only, |uri| (Self::Uri(uri.form), 0))
            }
            _ => text_only,
        }
    }

    /// Returns the kind of a link's binary CID, if it has one.
    pub(crate) fn of_link(cid: &[u8]) -> Option<Self> {
        let cid = carrack_schema::Cid::from_bytes(cid).ok()?;
        Some(Self::Link(cid.codec()))
    }
}

/// Returns a TID's word, if the text is one that the word gives back.
pub(crate) fn tid(text: &[u8]) -> Option<u64> {
    let text: &[u8; Tid::TEXT_BYTES] = text.try_into().ok()?;
    Tid::parse_bytes(text).map(Tid::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_number() {
        let mut kinds = vec![
            Leaf::Bool,
            Leaf::Int,
            Leaf::Text,
            Leaf::Bytes,
            Leaf::Tid,
            Leaf::Plc,
            Leaf::Uri(RkeyForm::Tid),
            Leaf::Uri(RkeyForm::Text),
            Leaf::CidText(Codec::DagCbor),
            Leaf::CidText(Codec::Raw),
            Leaf::Link(Codec::DagCbor),
            Leaf::Link(Codec::Raw),
            Leaf::Same(7),
        ];
        kinds.extend((0..20).map(|code| Leaf::Time(TimeForm::from_code(code).unwrap())));
        for kind in kinds {
            assert!(kind.code() < 128);
            assert_eq!(Leaf::from_code(kind.code(), || Some(7)), Some(kind));
        }
        for code in [13, 0x1f, 0x20 + 20, 0x7f] {
            assert_eq!(Leaf::from_code(code, || Some(7)), None);
        }
        assert_eq!(Leaf::from_code(SAME, || None), None);
    }

    #[test]
    fn texts_are_what_they_look_like_and_only_then() {
        let cases: [(&str, Leaf); 12] = [
            ("3jzfcijpj2z2a", Leaf::Tid),
            ("zjzfcijpj2z2a", Leaf::Text),
            ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", Leaf::Plc),
            ("did:plc:ewvi7nxzyoun6zhxrhs64oi1", Leaf::Text),
            (
                "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/a.b/3jzfcijpj2z2a",
                Leaf::Uri(RkeyForm::Tid),
            ),
            (
                "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/a.b/self",
                Leaf::Uri(RkeyForm::Text),
            ),
            ("at://did:web:example.com/a.b/self", Leaf::Text),
            (
                "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a",
                Leaf::CidText(Codec::DagCbor),
            ),
            (
                "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2b",
                Leaf::Text,
            ),
            (
                "2024-02-29T23:59:59.123Z",
                Leaf::Time(time::read(b"2024-02-29T23:59:59.123Z").unwrap().0),
            ),
            ("2023-02-29T23:59:59.123Z", Leaf::Text),
            ("", Leaf::Text),
        ];
        for (text, kind) in cases {
            assert_eq!(Leaf::of_text(text.as_bytes()).0, kind, "{text}");
        }
    }
}
