//! [`Value`]: a writer of canonical DAG-CBOR.
//!
//! Shortest integers and lengths, definite lengths, map keys by length and then bytes, CIDs under tag 42. Has no
//! reader and no floats: the kit needs neither.

use std::borrow::Cow;

use carrack_schema::Cid;
use carrack_schema::cid::Codec;
use sha2::{Digest, Sha256};

const MAJOR_UNSIGNED: u8 = 0;
const MAJOR_NEGATIVE: u8 = 1;
const MAJOR_BYTES: u8 = 2;
const MAJOR_TEXT: u8 = 3;
const MAJOR_LIST: u8 = 4;
const MAJOR_MAP: u8 = 5;
const MAJOR_TAG: u8 = 6;
const TAG_CID: u64 = 42;
const NULL: u8 = 0xf6;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;

/// A value of the AT Protocol data model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`, which is not the same as an absent field.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// UTF-8 text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A map in any order and without duplicate keys; it is sorted as it is written.
    Map(Vec<(Cow<'static, str>, Value)>),
    /// A link to a block.
    Link(Cid),
}

impl Value {
    /// Returns a map of these entries.
    pub fn map<const N: usize>(entries: [(&'static str, Self); N]) -> Self {
        Self::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Cow::Borrowed(key), value))
                .collect(),
        )
    }

    /// Returns text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Returns a link, or null for none.
    pub fn link_or_null(cid: Option<Cid>) -> Self {
        cid.map_or(Self::Null, Self::Link)
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If this is not a map.
    pub fn insert(&mut self, key: impl Into<Cow<'static, str>>, value: Self) {
        let Self::Map(entries) = self else {
            panic!("only a map has entries")
        };
        entries.push((key.into(), value));
    }

    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }

    /// Appends the canonical bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(NULL),
            Self::Bool(false) => out.push(FALSE),
            Self::Bool(true) => out.push(TRUE),
            Self::Int(n) if *n >= 0 => write_head(out, MAJOR_UNSIGNED, n.unsigned_abs()),
            // Major type 1 holds -1 - n, whose bits are those of n inverted.
            Self::Int(n) => write_head(out, MAJOR_NEGATIVE, !n.cast_unsigned()),
            Self::Bytes(bytes) => write_string(out, MAJOR_BYTES, bytes),
            Self::Text(text) => write_string(out, MAJOR_TEXT, text.as_bytes()),
            Self::List(items) => {
                write_head(out, MAJOR_LIST, items.len() as u64);
                for item in items {
                    item.write(out);
                }
            }
            Self::Map(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by_key(|(key, _)| (key.len(), key));
                write_map(out, &sorted);
            }
            Self::Link(cid) => {
                write_head(out, MAJOR_TAG, TAG_CID);
                write_head(out, MAJOR_BYTES, 1 + cid.as_bytes().len() as u64);
                out.push(0); // the multibase prefix of binary
                out.extend_from_slice(cid.as_bytes());
            }
        }
    }
}

/// Returns the CID of a DAG-CBOR block.
pub fn cid_of(block: &[u8]) -> Cid {
    Cid::new(Codec::DagCbor, Sha256::digest(block).into())
}

/// Appends a map whose entries stay in the order given, canonical or not.
pub fn write_map(out: &mut Vec<u8>, entries: &[&(Cow<'static, str>, Value)]) {
    write_head(out, MAJOR_MAP, entries.len() as u64);
    for (key, value) in entries {
        write_string(out, MAJOR_TEXT, key.as_bytes());
        value.write(out);
    }
}

fn write_string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    write_head(out, major, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend([major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn check(value: &Value, hex: &str) {
        assert_eq!(HEXLOWER.encode(&value.encode()), hex, "{value:?}");
    }

    #[test]
    fn integers_take_their_shortest_form() {
        // From RFC 8949, appendix A.
        for (n, hex) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1_000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (-1, "20"),
            (-100, "3863"),
            (-1_000, "3903e7"),
            (i64::MIN, "3b7fffffffffffffff"),
        ] {
            check(&Value::Int(n), hex);
        }
    }

    #[test]
    fn map_keys_sort_by_length_then_bytes() {
        let value = Value::map([
            ("bb", Value::Null),
            ("b", Value::Bool(true)),
            ("aa", Value::text("ü")),
            ("c", Value::List(vec![Value::Bytes(vec![1, 2])])),
        ]);
        check(
            &value,
            "a46162f56163814201026261 6162c3bc626262f6"
                .replace(' ', "")
                .as_str(),
        );
    }

    #[test]
    fn empty_map_has_its_known_cid() {
        let cid = cid_of(&Value::map([]).encode());
        assert_eq!(
            cid.to_string(),
            "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"
        );
    }
}
