//! [`Shape`]: what remains of a record when its leaf values are taken out, and [`Cut`], which takes them out.
//!
//! Canonical DAG-CBOR has one way to write a value, so a shape and its leaves are the exact bytes. A shape is kept as
//! its *template*: runs of the record's own bytes (heads, keys, nulls, the text of `$type`) with the kinds of the leaves
//! between them. No lexicon is known here.

mod describe;

use std::ops::Range;

use carrack_repo::cbor::{Reader, Token};

use crate::leaf::Leaf;
use crate::row::is_at_or_below;

/// Longest template in bytes; a record of a longer one is kept as it is. A post with four images takes about 1 KiB.
pub const TEMPLATE_BYTES_MAX: usize = 4_096;
/// Most leaves of a shape; a record of more is kept as it is. A leaf's number fits in a byte.
pub const LEAVES_MAX: usize = 200;

/// Set in a template's byte that stands for a leaf, with its kind; a byte below it begins a run of the record's own
/// bytes, of its number and one. [`LONG_RUN`] is followed by the run's length in two bytes.
const LEAF_BIT: u8 = 0x80;
const LONG_RUN: u8 = 0x7f;
/// How far back a leaf's equal is looked for: both references of a reply, and what stands between.
const SAME_LEAVES_BACK: usize = 8;
/// The key whose text is part of the shape: it names what the map is.
const TYPE_KEY: &str = "$type";

/// A record taken apart. Reused from record to record, so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Cut {
    template: Vec<u8>,
    leaves: Vec<CutLeaf>,
}

/// A leaf of a record: its kind, and where its content is in the record. An integer or boolean has a word only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutLeaf {
    pub(crate) kind: Leaf,
    pub(crate) start: u32,
    pub(crate) length: u32,
    /// The value of an integer, boolean, time or TID.
    pub(crate) word: i64,
}

/// Whether a record can be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuttable {
    /// It can, and has been.
    Yes,
    /// It breaks the data model (rules DR1 and DR2), so nothing could give its bytes back.
    Invalid,
    /// It is too large, has too many leaves or a link of a rare form: it keeps the data model, and is kept as it is.
    AsIs,
}

impl Cut {
    /// Takes a record apart.
    pub fn of(&mut self, record: &[u8]) -> Cuttable {
        self.template.clear();
        self.leaves.clear();
        let mut reader = Reader::new(record);
        let mut run_start = 0;
        let mut is_type = false;
        loop {
            let start = reader.position();
            let token = match reader.next_token() {
                Ok(Some(token)) => token,
                Ok(None) => break,
                Err(_) => return Cuttable::Invalid,
            };
            let was_type = std::mem::replace(&mut is_type, token == Token::Key(TYPE_KEY));
            let Some(leaf) = leaf_of(&token, was_type, reader.position()) else {
                if let Token::Link(_) = token {
                    return finish_judging(reader);
                }
                continue;
            };
            if self.leaves.len() >= LEAVES_MAX {
                return finish_judging(reader);
            }
            self.run(record, run_start..start);
            run_start = reader.position();
            let leaf = self.same(record, leaf);
            self.template.push(LEAF_BIT | leaf.kind.code());
            if let Leaf::Same(of) = leaf.kind {
                self.template.push(of);
            }
            self.leaves.push(leaf);
            if self.template.len() > TEMPLATE_BYTES_MAX {
                return finish_judging(reader);
            }
        }
        self.run(record, run_start..record.len());
        if self.template.len() > TEMPLATE_BYTES_MAX || u32::try_from(record.len()).is_err() {
            return Cuttable::AsIs;
        }
        Cuttable::Yes
    }

    /// Returns the template of the record that was cut.
    pub(crate) fn template(&self) -> &[u8] {
        &self.template
    }

    /// Returns the leaves of the record that was cut, in order.
    pub(crate) fn leaves(&self) -> &[CutLeaf] {
        &self.leaves
    }

    /// Returns a leaf as one that is the same as an earlier one, if it is: the CID or AT-URI of a reply's root and
    /// parent often are.
    #[inline]
    fn same(&self, record: &[u8], leaf: CutLeaf) -> CutLeaf {
        if !matches!(leaf.kind, Leaf::CidText(_) | Leaf::Uri(_) | Leaf::Link(_)) {
            return leaf;
        }
        let content = content_of(record, &leaf);
        let earlier = self
            .leaves
            .iter()
            .enumerate()
            .rev()
            .take(SAME_LEAVES_BACK)
            .find(|(_, earlier)| {
                earlier.kind == leaf.kind && content_of(record, earlier) == content
            });
        match earlier.and_then(|(number, _)| u8::try_from(number).ok()) {
            Some(number) => CutLeaf {
                kind: Leaf::Same(number),
                ..leaf
            },
            None => leaf,
        }
    }

    fn run(&mut self, record: &[u8], range: Range<usize>) {
        let run = record.get(range).unwrap_or_default();
        match run.len() {
            0 => return,
            length @ 1..=0x7f => self.template.push((length as u8).wrapping_sub(1)),
            length => {
                // A length that does not fit makes a template that is too long anyway.
                let [low, high] = u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
                self.template.extend([LONG_RUN, low, high]);
            }
        }
        self.template.extend_from_slice(run);
    }
}

/// Returns what a token is, if it is a leaf; `end` is where it ends.
#[inline]
fn leaf_of(token: &Token<'_>, is_type: bool, end: usize) -> Option<CutLeaf> {
    let (kind, length, word) = match token {
        Token::Bool(value) => (Leaf::Bool, 0, i64::from(*value)),
        Token::Int(value) => (Leaf::Int, 0, *value),
        Token::Text(_) if is_type => return None,
        Token::Text(text) => {
            let (kind, word) = Leaf::of_text(text.as_bytes());
            (kind, text.len(), word)
        }
        Token::Bytes(bytes) => (Leaf::Bytes, bytes.len(), 0),
        Token::Link(cid) => (Leaf::of_link(cid)?, cid.len(), 0),
        Token::Null | Token::List(_) | Token::Map(_) | Token::Key(_) => return None,
    };
    let start = end.saturating_sub(length);
    Some(CutLeaf {
        kind,
        start: u32::try_from(start).unwrap_or(u32::MAX),
        length: u32::try_from(length).unwrap_or(u32::MAX),
        word,
    })
}

/// A record that is too large to be cut is still judged to its end.
fn finish_judging(reader: Reader<'_>) -> Cuttable {
    match reader.finish() {
        Ok(()) => Cuttable::AsIs,
        Err(_) => Cuttable::Invalid,
    }
}

/// Returns a leaf's content in its record.
pub(crate) fn content_of<'r>(record: &'r [u8], leaf: &CutLeaf) -> &'r [u8] {
    let start = leaf.start as usize;
    record
        .get(start..start.saturating_add(leaf.length as usize))
        .unwrap_or_default()
}

/// A template, read: how its records are made again, and what is at which path.
#[derive(Debug)]
pub struct Shape {
    template: Box<[u8]>,
    parts: Box<[Part]>,
    leaves: Box<[LeafPlace]>,
    /// Texts of `$type` and nulls: what every record of the shape has.
    fixed: Box<[(Box<str>, Fixed)]>,
}

/// What a record is made of, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Bytes of the template.
    Run { start: u16, end: u16 },
    /// The leaf of this number.
    Leaf(u8),
}

/// A leaf of a shape.
#[derive(Clone, Debug)]
pub(crate) struct LeafPlace {
    pub(crate) kind: Leaf,
    /// Map keys joined by dots; lists leave no trace in it.
    pub(crate) path: Box<str>,
    /// Number of its first column.
    pub(crate) column: usize,
}

#[derive(Clone, Copy, Debug)]
enum Fixed {
    Null,
    Text { start: u16, end: u16 },
}

/// What a shape has at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtPath<'s> {
    Null,
    Text(&'s [u8]),
    Leaf(&'s LeafPlace),
}

impl Shape {
    /// Reads a template. None if it is not one that a record gives: its bytes may be a hostile file's.
    pub fn parse(template: &[u8]) -> Option<Self> {
        if template.len() > TEMPLATE_BYTES_MAX {
            return None;
        }
        let mut reader = ShapeReader::default();
        let mut at = 0_usize;
        let mut next = || {
            let byte = template.get(at).copied();
            at = at.saturating_add(1);
            (byte, at)
        };
        while let (Some(op), start) = next() {
            if op & LEAF_BIT != 0 {
                reader.leaf(Leaf::from_code(op & !LEAF_BIT, || next().0)?)?;
                continue;
            }
            let (start, length) = match op {
                LONG_RUN => {
                    let (low, (high, start)) = (next().0?, next());
                    (start, usize::from(u16::from_le_bytes([low, high?])))
                }
                _ => (start, usize::from(op).saturating_add(1)),
            };
            let end = start.checked_add(length)?;
            reader.run(template, start, end)?;
            for _ in 0..length {
                next();
            }
        }
        reader.finish(template)
    }

    /// Returns the record's parts, in order.
    #[inline]
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns bytes of the template.
    #[inline]
    pub(crate) fn bytes(&self, start: u16, end: u16) -> &[u8] {
        self.template
            .get(usize::from(start)..usize::from(end))
            .unwrap_or_default()
    }

    /// Returns a leaf that has columns of its own.
    #[inline]
    pub(crate) fn own_leaf(&self, number: u8) -> Option<&LeafPlace> {
        let leaf = self.leaves.get(usize::from(number))?;
        (!matches!(leaf.kind, Leaf::Same(_))).then_some(leaf)
    }

    /// Returns a leaf and what it is; for one that is the same as another, that one.
    #[inline]
    pub(crate) fn leaf(&self, number: u8) -> Option<&LeafPlace> {
        let leaf = self.leaves.get(usize::from(number))?;
        match leaf.kind {
            // `parse` has seen that this is an earlier one, and not of this kind itself.
            Leaf::Same(of) => self.leaves.get(usize::from(of)),
            _ => Some(leaf),
        }
    }

    /// Says whether there is a value at a path, which names no lists, or below it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let mut paths = (self.fixed.iter().map(|(at, _)| &**at))
            .chain(self.leaves.iter().map(|leaf| &*leaf.path));
        paths.any(|at| is_at_or_below(at, path))
    }

    /// Returns what is at a path, which names no lists: fixed values, then leaves in the order of the record.
    pub(crate) fn at_path<'s, 'q>(
        &'s self,
        path: &'q str,
    ) -> impl Iterator<Item = AtPath<'s>> + use<'s, 'q> {
        let fixed = self.fixed.iter().filter(move |(at, _)| **at == *path);
        let fixed = fixed.map(|(_, value)| match *value {
            Fixed::Null => AtPath::Null,
            Fixed::Text { start, end } => AtPath::Text(self.bytes(start, end)),
        });
        let leaves = (0..=u8::MAX)
            .zip(&self.leaves)
            .filter(move |(_, leaf)| *leaf.path == *path);
        fixed.chain(
            leaves
                .filter_map(|(number, _)| self.leaf(number))
                .map(AtPath::Leaf),
        )
    }
}

/// Follows a template through the value it describes, to learn the paths and to refuse what is no value.
#[derive(Default)]
struct ShapeReader {
    parts: Vec<Part>,
    leaves: Vec<LeafPlace>,
    fixed: Vec<(Box<str>, Fixed)>,
    open: Vec<Open>,
    /// Keys to where the next value stands.
    path: String,
    columns: usize,
    started: bool,
}

/// A list or map of the template that has not ended.
struct Open {
    left: u64,
    is_map: bool,
    key_next: bool,
    /// Length of the path to it.
    path_bytes: usize,
}

const MAJOR_TEXT: u8 = 3;
const MAJOR_LIST: u8 = 4;
const MAJOR_MAP: u8 = 5;
const NULL: u8 = 0xf6;

impl ShapeReader {
    fn run(&mut self, template: &[u8], start: usize, end: usize) -> Option<()> {
        let mut at = start;
        while at < end {
            at = self.item(template.get(..end)?, at)?;
        }
        let (start, end) = (u16::try_from(start).ok()?, u16::try_from(end).ok()?);
        self.parts.push(Part::Run { start, end });
        Some(())
    }

    /// Takes in the item at `at` and returns where it ends.
    fn item(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let first = *bytes.get(at)?;
        if self.open.last().is_some_and(|open| open.key_next) {
            let (key, end) = text_at(bytes, at)?;
            let open = self.open.last_mut()?;
            open.key_next = false;
            self.path.truncate(open.path_bytes);
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(key);
            return Some(end);
        }
        if first == NULL {
            self.fixed.push((self.path.as_str().into(), Fixed::Null));
            self.value()?;
            return at.checked_add(1);
        }
        if first >> 5 == MAJOR_TEXT {
            let (text, end) = text_at(bytes, at)?;
            let start = u16::try_from(end.checked_sub(text.len())?).ok()?;
            let fixed = Fixed::Text {
                start,
                end: u16::try_from(end).ok()?,
            };
            self.fixed.push((self.path.as_str().into(), fixed));
            self.value()?;
            return Some(end);
        }
        let (major, left, end) = head_at(bytes, at)?;
        let is_map = match major {
            MAJOR_LIST => false,
            MAJOR_MAP => true,
            _ => return None,
        };
        self.value_begins()?;
        if self.open.len() >= carrack_schema::limits::CBOR_DEPTH_MAX {
            return None;
        }
        let path_bytes = self.path.len();
        self.open.push(Open {
            left,
            is_map,
            key_next: is_map,
            path_bytes,
        });
        self.leave();
        Some(end)
    }

    fn leaf(&mut self, kind: Leaf) -> Option<()> {
        let number = u8::try_from(self.leaves.len()).ok()?;
        if usize::from(number) >= LEAVES_MAX || self.open.last().is_some_and(|open| open.key_next) {
            return None;
        }
        if let Leaf::Same(of) = kind
            && matches!(self.leaves.get(usize::from(of))?.kind, Leaf::Same(_))
        {
            return None;
        }
        self.parts.push(Part::Leaf(number));
        let path = self.path.as_str().into();
        self.leaves.push(LeafPlace {
            kind,
            path,
            column: self.columns,
        });
        self.columns = self.columns.saturating_add(kind.columns_count());
        self.value()
    }

    /// Counts a value that is whole.
    fn value(&mut self) -> Option<()> {
        self.value_begins()?;
        self.leave();
        Some(())
    }

    fn value_begins(&mut self) -> Option<()> {
        match self.open.last_mut() {
            None if self.started => None,
            None => {
                self.started = true;
                Some(())
            }
            Some(open) => {
                open.left = open.left.checked_sub(1)?;
                open.key_next = open.is_map;
                Some(())
            }
        }
    }

    /// Leaves the lists and maps that are full.
    fn leave(&mut self) {
        while let Some(open) = self.open.last()
            && open.left == 0
        {
            self.path.truncate(open.path_bytes);
            self.open.pop();
        }
    }

    fn finish(self, template: &[u8]) -> Option<Shape> {
        (self.started && self.open.is_empty()).then(|| Shape {
            template: template.into(),
            parts: self.parts.into(),
            leaves: self.leaves.into(),
            fixed: self.fixed.into(),
        })
    }
}

/// Returns major type, argument and end of the head at `at`.
fn head_at(bytes: &[u8], at: usize) -> Option<(u8, u64, usize)> {
    let (&first, rest) = bytes.get(at..)?.split_first()?;
    let (argument, more) = match first & 0x1f {
        minor @ 0..=23 => (u64::from(minor), 0),
        24 => (u64::from(*rest.first()?), 1),
        25 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        26 => (u64::from(u32::from_be_bytes(*rest.first_chunk()?)), 4),
        _ => return None,
    };
    Some((first >> 5, argument, at.checked_add(1)?.checked_add(more)?))
}

/// Returns the text at `at` and where it ends.
fn text_at(bytes: &[u8], at: usize) -> Option<(&str, usize)> {
    let (MAJOR_TEXT, length, start) = head_at(bytes, at)? else {
        return None;
    };
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let text = std::str::from_utf8(bytes.get(start..end)?).ok()?;
    Some((text, end))
}

#[cfg(test)]
mod tests;
