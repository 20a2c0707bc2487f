//! [`Node`]: one node of a Merkle search tree, with everything checked that a node alone can show.
//!
//! It must never be lenient: a tree has one legal form, and a node that is not in it is refused whatever its hash
//! says. [`walk`](crate::walk()) checks how nodes fit together; [`build`] and [`plan`] write nodes by the same rules.

use std::ops::Range;

use carrack_schema::Cid;
use carrack_schema::cid::{Codec, text_of};
use carrack_schema::limits::{MST_DEPTH_MAX, MST_KEY_BYTES_MAX, MST_NODE_ENTRIES_MAX};

use crate::cbor::{Reader, Token};
use crate::error::{Error, Result, quoted};
use crate::hash::sha256;

pub mod build;
pub(crate) mod encode;
pub mod plan;

#[cfg(test)]
mod tests;

/// Returns how high in a tree a key stands: half the leading zero bits of its SHA-256, rounded down (MT1).
pub fn depth_of(key: &[u8]) -> u8 {
    let mut zeros: u8 = 0;
    for byte in sha256(key) {
        // At most 8 for each byte, and u8::MAX for a digest of zeros, which is never seen.
        zeros = zeros.saturating_add(u8::try_from(byte.leading_zeros()).unwrap_or(8));
        if byte != 0 {
            break;
        }
    }
    (zeros / 2).min(MST_DEPTH_MAX)
}

/// Returns how many bytes two keys have in common from their start (MT2).
pub fn common_prefix_len(left: &[u8], right: &[u8]) -> usize {
    const WORD: usize = 8;
    // Keys of one collection share most of their bytes, so they are compared eight at a time first.
    let words = left.chunks_exact(WORD).zip(right.chunks_exact(WORD));
    let words = words.take_while(|(a, b)| a == b).count();
    let bytes = words.saturating_mul(WORD);
    let (left, right) = (left.iter().skip(bytes), right.iter().skip(bytes));
    let rest = left.zip(right).take_while(|(a, b)| a == b).count();
    bytes.saturating_add(rest)
}

/// A node whose form is legal by itself.
///
/// It is canonical DAG-CBOR with exactly the fields it should have (MT3); its keys are whole, ascend, share
/// prefixes maximally (MT2), and stand at one depth (MT1); its children's CIDs are those of nodes (MT5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    left: Option<Cid>,
    depth: Option<u8>,
    /// Every key, whole, one after the other. Bounded by the limits of entries and of key bytes, not by the
    /// node's own length: prefixes are written once and stand here each time.
    keys: Vec<u8>,
    entries: Vec<EntryAt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct EntryAt {
    key: Range<usize>,
    value: Cid,
    tree: Option<Cid>,
}

/// One entry of a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEntry<'a> {
    /// The key, whole.
    pub key: &'a [u8],
    /// The record.
    pub value: Cid,
    /// The child with the keys between this one and the next.
    pub tree: Option<Cid>,
}

impl Node {
    /// Parses a node.
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`](crate::ErrorKind::BadStructure) naming the entry, field or key that breaks a
    /// rule; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for more than
    /// [`MST_NODE_ENTRIES_MAX`] entries or a key of more than [`MST_KEY_BYTES_MAX`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut node = Self::default();
        node.read(bytes)?;
        Ok(node)
    }

    /// Like [`parse`](Self::parse), into memory that another node had.
    ///
    /// After an error the node is of no use.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = None;
        self.depth = None;
        self.keys.clear();
        self.entries.clear();

        let mut reader = Reader::new(bytes);
        let Token::Map(count) = reader.token()? else {
            return Err(Error::structure("node is not a map"));
        };
        let (mut has_entries, mut left) = (false, None);
        for _ in 0..count {
            match reader.token()? {
                Token::Key("e") => {
                    has_entries = true;
                    self.read_entries(&mut reader)?;
                }
                Token::Key("l") => left = Some(child("l", reader.token()?)?),
                token => return Err(unexpected_field(token)),
            }
        }
        reader.finish()?;
        if !has_entries {
            return Err(missing("e"));
        }
        self.left = left.ok_or_else(|| missing("l"))?;
        Ok(())
    }

    fn read_entries(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let Token::List(count) = reader.token()? else {
            return Err(Error::structure("field `e` is not a list"));
        };
        if count > MST_NODE_ENTRIES_MAX as u64 {
            return Err(Error::limit(format!(
                "{count} entries, more than {MST_NODE_ENTRIES_MAX}"
            )));
        }
        for index in 0..count {
            self.read_entry(reader)
                .map_err(|error| error.within(format_args!("entry {index}")))?;
        }
        Ok(())
    }

    fn read_entry(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let Token::Map(count) = reader.token()? else {
            return Err(Error::structure("not a map"));
        };
        let (mut prefix, mut suffix, mut tree, mut value) = (None, None, None, None);
        for _ in 0..count {
            match (reader.token()?, reader.token()?) {
                (Token::Key("k"), Token::Bytes(bytes)) => suffix = Some(bytes),
                (Token::Key("p"), Token::Int(length)) => prefix = Some(length),
                (Token::Key("t"), token) => tree = Some(child("t", token)?),
                (Token::Key("v"), Token::Link(cid)) => value = Some(cid),
                (Token::Key(field @ ("k" | "p" | "v")), token) => {
                    let found = token.noun();
                    return Err(Error::structure(format!("field `{field}` is {found}")));
                }
                (token, _) => return Err(unexpected_field(token)),
            }
        }
        let suffix = suffix.ok_or_else(|| missing("k"))?;
        let prefix = prefix.ok_or_else(|| missing("p"))?;
        let tree = tree.ok_or_else(|| missing("t"))?;
        let value = value.ok_or_else(|| missing("v"))?;
        let key = self.push_key(prefix, suffix)?;
        let value = Cid::from_bytes(value).map_err(|_| {
            let key = quoted(self.keys.get(key.clone()).unwrap_or_default());
            let value = text_of(value);
            Error::structure(format!(
                "record of key {key} has a CID of a form unknown here: {value}"
            ))
        })?;
        self.entries.push(EntryAt { key, value, tree });
        Ok(())
    }

    /// Puts a key together, checks it against the one before it and against the node's depth.
    fn push_key(&mut self, prefix: i64, suffix: &[u8]) -> Result<Range<usize>> {
        let last = self.entries.last().map_or(0..0, |entry| entry.key.clone());
        let prefix = usize::try_from(prefix)
            .ok()
            .filter(|&prefix| prefix <= last.len());
        let Some(prefix) = prefix else {
            let message = match self.entries.len() {
                0 => "field `p` of a first entry is not 0".to_owned(),
                _ => format!(
                    "field `p` is not within the {} bytes of the key before",
                    last.len()
                ),
            };
            return Err(Error::structure(message));
        };
        let length = prefix.saturating_add(suffix.len());
        if length > MST_KEY_BYTES_MAX {
            return Err(Error::limit(format!(
                "key of {length} bytes, more than {MST_KEY_BYTES_MAX}"
            )));
        }
        let start = self.keys.len();
        self.keys
            .extend_from_within(last.start..last.start.saturating_add(prefix));
        self.keys.extend_from_slice(suffix);

        let (before, key) = self.keys.split_at_checked(start).unwrap_or_default();
        let last = before.get(last).unwrap_or_default();
        if !self.entries.is_empty() {
            if key <= last {
                let (key, last) = (quoted(key), quoted(last));
                return Err(Error::structure(format!(
                    "key {key} does not come after key {last}"
                )));
            }
            let shared = common_prefix_len(last, key);
            if prefix != shared {
                let key = quoted(key);
                let message = format!(
                    "field `p` of key {key} is {prefix}, but it shares {shared} bytes with the key before"
                );
                return Err(Error::structure(message));
            }
        }
        let depth = depth_of(key);
        if *self.depth.get_or_insert(depth) != depth {
            let key = quoted(key);
            let message = format!("key {key} is of depth {depth}, unlike the keys before it");
            return Err(Error::structure(message));
        }
        Ok(start..self.keys.len())
    }

    /// Returns the child with the keys before the first entry's.
    pub fn left(&self) -> Option<Cid> {
        self.left
    }

    /// Returns the depth at which all its keys stand; `None` if it has none.
    pub fn depth(&self) -> Option<u8> {
        self.depth
    }

    /// Returns the entry at this index.
    pub fn entry(&self, index: usize) -> Option<NodeEntry<'_>> {
        let EntryAt { key, value, tree } = self.entries.get(index)?;
        Some(NodeEntry {
            key: self.keys.get(key.clone())?,
            value: *value,
            tree: *tree,
        })
    }

    /// Returns the entries, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = NodeEntry<'_>> {
        (0..self.entries.len()).map_while(|index| self.entry(index))
    }

    /// Returns the child with the keys before the entry at this index; after the last entry, its count.
    pub(crate) fn child(&self, index: usize) -> Option<Cid> {
        match index.checked_sub(1) {
            None => self.left,
            Some(before) => self.entries.get(before)?.tree,
        }
    }

    /// Adds all CIDs in it: children and records, in the order of the keys.
    pub(crate) fn push_links(&self, links: &mut Vec<Cid>) {
        links.extend(self.left);
        for entry in &self.entries {
            links.push(entry.value);
            links.extend(entry.tree);
        }
    }

    /// Returns how many entries it has.
    pub fn entries_count(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has a child anywhere.
    pub fn has_children(&self) -> bool {
        self.left.is_some() || self.entries.iter().any(|entry| entry.tree.is_some())
    }
}

/// Reads the CID of a child, or null (MT3, MT5).
fn child(field: &str, token: Token<'_>) -> Result<Option<Cid>> {
    let bytes = match token {
        Token::Null => return Ok(None),
        Token::Link(bytes) => bytes,
        other => {
            let message = format!("field `{field}` is {}, not a link or null", other.noun());
            return Err(Error::structure(message));
        }
    };
    match Cid::from_bytes(bytes) {
        Ok(cid) if cid.codec() == Codec::DagCbor => Ok(Some(cid)),
        _ => {
            let cid = text_of(bytes);
            let message =
                format!("field `{field}` is not a CIDv1 with sha-256 and dag-cbor: {cid}");
            Err(Error::structure(message))
        }
    }
}

fn missing(field: &str) -> Error {
    Error::structure(format!("field `{field}` is missing"))
}

fn unexpected_field(token: Token<'_>) -> Error {
    match token {
        Token::Key(key) => Error::structure(format!("unexpected field {}", quoted(key.as_bytes()))),
        other => Error::structure(format!("unexpected {}", other.noun())),
    }
}
