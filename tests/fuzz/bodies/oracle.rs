//! A second opinion on DAG-CBOR: lenient to read, strict to write.
//!
//! It must never use the code that is fuzzed. Bytes are canonical if what they say, written again, is the same bytes:
//! [`is_canonical`] is that sentence, and nothing of how `carrack_repo::cbor` goes about it.

use std::collections::HashSet;

use carrack_repo::cbor::Token;
use carrack_schema::limits::{
    CBOR_CID_BYTES_MAX, CBOR_CONTAINER_MAX, CBOR_DEPTH_MAX, CBOR_KEY_BYTES_MAX,
};

/// A value of the data model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A binary CID of any form.
    Link(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A map, in any order.
    Map(Vec<(String, Item)>),
}

impl Item {
    /// Returns the value under a map's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        entries
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }
}

const NULL: u8 = 0xf6;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
/// Tag 42 in its shortest form.
const LINK: [u8; 2] = [0xd8, 42];

/// Whether the bytes are one value of the data model within its limits, in its one form.
pub fn is_canonical(bytes: &[u8]) -> bool {
    read(bytes).is_some_and(|item| write(&item) == bytes)
}

/// Reads one value in any form of definite length: long heads and any order of keys are fine here.
pub fn read(bytes: &[u8]) -> Option<Item> {
    let mut rest = bytes;
    let item = item(&mut rest, 0)?;
    rest.is_empty().then_some(item)
}

/// Returns a value's canonical bytes.
pub fn write(item: &Item) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, item);
    out
}

/// Returns a token's canonical bytes.
pub fn write_token(token: &Token<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match token {
        Token::Null => out.push(NULL),
        Token::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Token::Int(number) => put_int(&mut out, *number),
        Token::Text(text) | Token::Key(text) => put_string(&mut out, 3, text.as_bytes()),
        Token::Bytes(bytes) => put_string(&mut out, 2, bytes),
        Token::Link(cid) => put_link(&mut out, cid),
        Token::List(length) => put_head(&mut out, 4, *length),
        Token::Map(length) => put_head(&mut out, 5, *length),
    }
    out
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(taken)
}

fn head(rest: &mut &[u8]) -> Option<(u8, u8, u64)> {
    let first = take(rest, 1)?[0];
    let minor = first & 31;
    let argument = match minor {
        0..24 => u64::from(minor),
        24..28 => {
            let bytes = take(rest, 1 << (minor - 24))?;
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
        _ => return None,
    };
    Some((first >> 5, minor, argument))
}

fn text(rest: &mut &[u8], length: u64) -> Option<String> {
    String::from_utf8(take(rest, length)?.to_vec()).ok()
}

/// Recursion ends at the data model's depth.
fn item(rest: &mut &[u8], depth: usize) -> Option<Item> {
    let (major, minor, argument) = head(rest)?;
    let is_container = major == 4 || major == 5;
    if is_container && (depth == CBOR_DEPTH_MAX || argument > CBOR_CONTAINER_MAX) {
        return None;
    }
    Some(match major {
        0 => Item::Int(i64::try_from(argument).ok()?),
        1 => Item::Int(-1 - i64::try_from(argument).ok()?),
        2 => Item::Bytes(take(rest, argument)?.to_vec()),
        3 => Item::Text(text(rest, argument)?),
        4 => Item::List(
            (0..argument)
                .map(|_| item(rest, depth + 1))
                .collect::<Option<_>>()?,
        ),
        5 => {
            let mut seen = HashSet::new();
            let mut entry = || {
                let (major, _, length) = head(rest)?;
                if major != 3 || !(1..=CBOR_KEY_BYTES_MAX).contains(&length) {
                    return None;
                }
                let key = text(rest, length)?;
                let is_new = seen.insert(key.clone());
                is_new.then_some((key, item(rest, depth + 1)?))
            };
            Item::Map((0..argument).map(|_| entry()).collect::<Option<_>>()?)
        }
        6 if argument == 42 => {
            let (2, _, length) = head(rest)? else {
                return None;
            };
            let (0, cid) = take(rest, length)?.split_first()? else {
                return None;
            };
            if cid.is_empty() || cid.len() as u64 > CBOR_CID_BYTES_MAX {
                return None;
            }
            Item::Link(cid.to_vec())
        }
        7 => match minor {
            20 => Item::Bool(false),
            21 => Item::Bool(true),
            22 => Item::Null,
            _ => return None,
        },
        _ => return None,
    })
}

fn put(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Null => out.push(NULL),
        Item::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Item::Int(number) => put_int(out, *number),
        Item::Bytes(bytes) => put_string(out, 2, bytes),
        Item::Text(text) => put_string(out, 3, text.as_bytes()),
        Item::Link(cid) => put_link(out, cid),
        Item::List(items) => {
            put_head(out, 4, items.len() as u64);
            for item in items {
                put(out, item);
            }
        }
        Item::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| (key.len(), key));
            put_head(out, 5, entries.len() as u64);
            for (key, value) in sorted {
                put_string(out, 3, key.as_bytes());
                put(out, value);
            }
        }
    }
}

fn put_int(out: &mut Vec<u8>, number: i64) {
    match u64::try_from(number) {
        Ok(number) => put_head(out, 0, number),
        Err(_) => put_head(out, 1, (-1 - i128::from(number)) as u64),
    }
}

fn put_string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    put_head(out, major, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_link(out: &mut Vec<u8>, cid: &[u8]) {
    out.extend(LINK);
    put_head(out, 2, cid.len() as u64 + 1);
    out.push(0);
    out.extend_from_slice(cid);
}

fn put_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let bytes = argument.to_be_bytes();
    let (minor, width) = match argument {
        0..24 => (bytes[7], 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | minor);
    out.extend_from_slice(&bytes[8 - width..]);
}
