//! Records as values on the wire: from DAG-CBOR to flat nodes, whole or projected, without a tree between.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use carrack_repo::cbor::{CborError, Reader, Token};
use carrack_schema::limits::VALUE_NODES_MAX;
use carrack_schema::wire::record_capnp::{node::Kind, value};

/// Why a record's bytes have no value on the wire.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The bytes break a rule of the data model.
    #[error("record is not canonical DAG-CBOR: {0}")]
    Cbor(#[from] CborError),
    /// The value has more nodes than a message may hold.
    #[error("record has more than {VALUE_NODES_MAX} values; read it as DAG-CBOR")]
    TooLarge,
}

/// A record's value, measured and ready to be written into a message. Holds the record's bytes.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    record: Cow<'a, [u8]>,
    nodes: Vec<(Kind, u32, i64)>,
    texts: Vec<Part>,
    blobs: Vec<Part>,
}

/// Where a text or byte string is in the record.
type Part = Range<usize>;

/// A plan that is being made.
#[derive(Default)]
struct Draft<'r> {
    record: &'r [u8],
    nodes: Vec<(Kind, u32, i64)>,
    texts: Vec<Part>,
    blobs: Vec<Part>,
    keys: Keys<'r>,
}

/// Names that were met as keys, and which text each is.
#[derive(Default)]
struct Keys<'r> {
    few: Vec<(&'r str, u32)>,
    /// Those after the first few.
    more: HashMap<&'r str, u32>,
}

/// Names that are compared one by one, which is faster than hashing them; most records have no more.
const KEYS_FEW: usize = 16;

impl<'r> Keys<'r> {
    /// Returns which text a name is; `next` is where it will be if it was not met before.
    fn text(&mut self, name: &'r str, next: u32) -> u32 {
        if let Some((_, text)) = self.few.iter().find(|(known, _)| *known == name) {
            return *text;
        }
        if self.few.len() < KEYS_FEW {
            self.few.push((name, next));
            return next;
        }
        *self.more.entry(name).or_insert(next)
    }
}

impl<'a> Plan<'a> {
    /// Reads a record. `fields` are paths of map keys joined by dots (`text`, `subject.uri`); a path goes through
    /// lists to the maps in them; an empty list of paths keeps all, and a path that is not there keeps nothing.
    ///
    /// # Errors
    /// If the record breaks a rule of the data model anywhere, or is larger than a value on the wire may be.
    pub fn of(record: impl Into<Cow<'a, [u8]>>, fields: &[&str]) -> Result<Self, Unreadable> {
        let record = record.into();
        let mut draft = Draft {
            record: &record,
            ..Draft::default()
        };
        let mut reader = Reader::new(&record);
        let token = reader.token()?;
        let keep = if fields.is_empty() {
            Keep::All
        } else {
            Keep::Only(fields.to_vec())
        };
        draft.value(&mut reader, token, 0, &keep)?;
        reader.finish()?;
        let Draft {
            nodes,
            texts,
            blobs,
            ..
        } = draft;
        Ok(Self {
            record,
            nodes,
            texts,
            blobs,
        })
    }

    /// Lets go of where the record's bytes were borrowed from.
    pub fn into_owned(self) -> Plan<'static> {
        Plan {
            record: Cow::Owned(self.record.into_owned()),
            nodes: self.nodes,
            texts: self.texts,
            blobs: self.blobs,
        }
    }

    fn bytes(&self, part: &Part) -> &[u8] {
        self.record.get(part.clone()).unwrap_or_default()
    }

    /// Returns how many bytes it takes in a message, padding included.
    pub fn wire_bytes(&self) -> usize {
        const NODE_BYTES: usize = 16;
        const POINTER_BYTES: usize = 8;
        let padded = |length: usize| POINTER_BYTES.saturating_add(length.next_multiple_of(8));
        // A text ends in a zero byte.
        let texts = self
            .texts
            .iter()
            .map(|text| padded(text.len().saturating_add(1)));
        let blobs = self.blobs.iter().map(|blob| padded(blob.len()));
        let nodes = self.nodes.len().saturating_mul(NODE_BYTES);
        texts.chain(blobs).fold(nodes, usize::saturating_add)
    }

    /// Writes the value.
    pub fn write(&self, mut wire: value::Builder<'_>) {
        let count = |length: usize| {
            u32::try_from(length).expect("a plan has at most VALUE_NODES_MAX of each")
        };
        let mut nodes = wire.reborrow().init_nodes(count(self.nodes.len()));
        for (i, &(kind, key, scalar)) in (0..).zip(&self.nodes) {
            let mut node = nodes.reborrow().get(i);
            node.set_kind(kind);
            node.set_key(key);
            node.set_scalar(scalar);
        }
        let mut texts = wire.reborrow().init_texts(count(self.texts.len()));
        for (i, text) in (0..).zip(&self.texts) {
            texts.set(i, std::str::from_utf8(self.bytes(text)).unwrap_or_default());
        }
        let mut blobs = wire.init_blobs(count(self.blobs.len()));
        for (i, blob) in (0..).zip(&self.blobs) {
            blobs.set(i, self.bytes(blob));
        }
    }
}

impl<'r> Draft<'r> {
    /// Returns where a part of the record is in it.
    fn part(&self, bytes: &[u8]) -> Part {
        let start = bytes
            .as_ptr()
            .addr()
            .saturating_sub(self.record.as_ptr().addr());
        start..start.saturating_add(bytes.len())
    }

    /// Adds the value that begins with `token`, reading on to its end.
    ///
    /// Recursion is bounded by the reader, which refuses what nests deeper than the data model.
    fn value(
        &mut self,
        reader: &mut Reader<'r>,
        token: Token<'r>,
        key: u32,
        keep: &Keep<'_>,
    ) -> Result<(), Unreadable> {
        let (kind, scalar) = match token {
            Token::Null => (Kind::Null, 0),
            Token::Bool(value) => (Kind::Bool, i64::from(value)),
            Token::Int(value) => (Kind::Int, value),
            Token::Text(text) => {
                let part = self.part(text.as_bytes());
                (Kind::Text, push(&mut self.texts, part))
            }
            Token::Bytes(bytes) => {
                let part = self.part(bytes);
                (Kind::Bytes, push(&mut self.blobs, part))
            }
            Token::Link(cid) => {
                let part = self.part(cid);
                (Kind::Link, push(&mut self.blobs, part))
            }
            Token::List(length) => return self.list(reader, length, key, keep),
            Token::Map(length) => return self.map(reader, length, key, keep),
            // The reader gives keys only inside a map, where `map` takes them.
            Token::Key(_) => return Ok(()),
        };
        self.node(kind, key, scalar).map(|_| ())
    }

    fn list(
        &mut self,
        reader: &mut Reader<'r>,
        length: u64,
        key: u32,
        keep: &Keep<'_>,
    ) -> Result<(), Unreadable> {
        let node = self.node(Kind::List, key, 0)?;
        for _ in 0..length {
            let token = reader.token()?;
            self.value(reader, token, 0, keep)?;
        }
        self.close(node, length);
        Ok(())
    }

    fn map(
        &mut self,
        reader: &mut Reader<'r>,
        length: u64,
        key: u32,
        keep: &Keep<'_>,
    ) -> Result<(), Unreadable> {
        let node = self.node(Kind::Map, key, 0)?;
        let mut kept: u64 = 0;
        for _ in 0..length {
            let token = reader.token()?;
            let Token::Key(name) = token else { continue };
            match keep.below(name) {
                None => reader.skip()?,
                Some(below) => {
                    kept = kept.saturating_add(1);
                    let key = self.key(name);
                    let token = reader.token()?;
                    self.value(reader, token, key, &below)?;
                }
            }
        }
        self.close(node, kept);
        Ok(())
    }

    fn node(&mut self, kind: Kind, key: u32, scalar: i64) -> Result<usize, Unreadable> {
        if self.nodes.len() == VALUE_NODES_MAX {
            return Err(Unreadable::TooLarge);
        }
        self.nodes.push((kind, key, scalar));
        Ok(self.nodes.len().saturating_sub(1))
    }

    /// Sets a container's number of children, known only at its end when fields are left out.
    fn close(&mut self, node: usize, children: u64) {
        if let Some((_, _, scalar)) = self.nodes.get_mut(node) {
            *scalar = i64::try_from(children).unwrap_or(i64::MAX);
        }
    }

    fn key(&mut self, name: &'r str) -> u32 {
        let next = u32::try_from(self.texts.len()).expect("fewer texts than nodes");
        let text = self.keys.text(name, next);
        if text == next {
            let part = self.part(name.as_bytes());
            self.texts.push(part);
        }
        text
    }
}

fn push<T>(table: &mut Vec<T>, item: T) -> i64 {
    table.push(item);
    i64::try_from(table.len().saturating_sub(1)).expect("a table is bounded by the record")
}

/// Which part of a value to keep.
enum Keep<'f> {
    All,
    /// Only what these paths lead to.
    Only(Vec<&'f str>),
}

impl<'f> Keep<'f> {
    /// Returns what to keep of the value under a key; none if it is not kept at all.
    fn below(&self, key: &str) -> Option<Keep<'f>> {
        let Self::Only(paths) = self else {
            return Some(Self::All);
        };
        let mut below = Vec::new();
        for path in paths {
            match path.strip_prefix(key) {
                Some("") => return Some(Self::All),
                Some(rest) => below.extend(rest.strip_prefix('.')),
                None => {}
            }
        }
        (!below.is_empty()).then_some(Self::Only(below))
    }
}

#[cfg(test)]
mod tests {
    use capnp::message::{Builder, HeapAllocator};
    use carrack_schema::Value;

    use super::*;

    fn through_the_wire(record: &[u8], fields: &[&str]) -> Value {
        let mut message = Builder::<HeapAllocator>::new_default();
        Plan::of(record, fields)
            .unwrap()
            .write(message.init_root::<value::Builder<'_>>());
        Value::from_wire(message.get_root_as_reader().unwrap()).unwrap()
    }

    fn text(value: &str) -> Value {
        Value::Text(value.into())
    }

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
        )
    }

    /// {"a": [{"x": 1, "y": "t"}, null], "b": h'ff', "c": {"x": -1, "yy": true}, "ab": 42(h'0001')}
    const RECORD: &[u8] = b"\xa4\
        \x61a\x82\xa2\x61x\x01\x61y\x61t\xf6\
        \x61b\x41\xff\
        \x61c\xa2\x61x\x20\x62yy\xf5\
        \x62ab\xd8\x2a\x42\x00\x01";

    #[test]
    fn a_whole_record_comes_through() {
        let expected = map(&[
            (
                "a",
                Value::List(vec![
                    map(&[("x", Value::Int(1)), ("y", text("t"))]),
                    Value::Null,
                ]),
            ),
            ("b", Value::Bytes(vec![0xff])),
            (
                "c",
                map(&[("x", Value::Int(-1)), ("yy", Value::Bool(true))]),
            ),
            ("ab", Value::Link(vec![1])),
        ]);
        assert_eq!(through_the_wire(RECORD, &[]), expected);
    }

    #[test]
    fn projections_keep_what_their_paths_lead_to() {
        let x_of_c = map(&[("x", Value::Int(-1))]);
        let cases: [(&[&str], Value); 7] = [
            (&["b"], map(&[("b", Value::Bytes(vec![0xff]))])),
            (&["c.x"], map(&[("c", x_of_c.clone())])),
            (
                &["c.x", "c"],
                map(&[(
                    "c",
                    map(&[("x", Value::Int(-1)), ("yy", Value::Bool(true))]),
                )]),
            ),
            (
                &["a.y"],
                map(&[(
                    "a",
                    Value::List(vec![map(&[("y", text("t"))]), Value::Null]),
                )]),
            ),
            (&["ab"], map(&[("ab", Value::Link(vec![1]))])),
            (&["zz", "c.zz", ""], map(&[("c", map(&[]))])),
            (
                &["c.x", "b"],
                map(&[("b", Value::Bytes(vec![0xff])), ("c", x_of_c)]),
            ),
        ];
        for (fields, expected) in cases {
            assert_eq!(through_the_wire(RECORD, fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_still_judged() {
        // {"a": 1.0, "b": 1}
        let record = b"\xa2\x61a\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00\x61b\x01";
        assert!(matches!(Plan::of(record, &["b"]), Err(Unreadable::Cbor(_))));
        assert!(matches!(
            Plan::of(b"\x01\x01", &[]),
            Err(Unreadable::Cbor(_))
        ));
    }

    /// A name is one text however often it is a key, and whatever number of others there are.
    #[test]
    fn keys_are_sent_once() {
        for names in [1, KEYS_FEW, KEYS_FEW + 1, 60] {
            let name = |number: usize| [b'a' + (number / 26) as u8, b'a' + (number % 26) as u8];
            let mut map = match names {
                0..24 => vec![0xa0 | names as u8],
                _ => vec![0xb8, names as u8],
            };
            for number in 0..names {
                map.push(0x62);
                map.extend(name(number));
                map.push(number.min(23) as u8);
            }
            let record = [&[0x82][..], &map, &map].concat();
            let plan = Plan::of(&record[..], &[]).unwrap();
            assert_eq!(plan.texts.len(), names);
            let entry = |number: usize| {
                let value = Value::Int(number.min(23) as i64);
                (String::from_utf8(name(number).to_vec()).unwrap(), value)
            };
            let map = Value::Map((0..names).map(entry).collect());
            let expected = Value::List(vec![map.clone(), map]);
            assert_eq!(through_the_wire(&record, &[]), expected);
        }
    }

    #[test]
    fn a_plan_knows_its_size() {
        let mut message = Builder::<HeapAllocator>::new_default();
        let plan = Plan::of(RECORD, &[]).unwrap();
        plan.write(message.init_root::<value::Builder<'_>>());
        // Beside it: the root pointer, three list pointers, the tag of the list of nodes.
        assert_eq!(message.size_in_words() * 8, plan.wire_bytes() + 5 * 8);
    }

    #[test]
    fn the_node_limit_holds() {
        let list = |length: usize| {
            let mut record = match u16::try_from(length) {
                Ok(short) => [&[0x99][..], &short.to_be_bytes()].concat(),
                Err(_) => [&[0x9a][..], &(length as u32).to_be_bytes()].concat(),
            };
            record.resize(record.len() + length, 0xf6);
            record
        };
        assert!(Plan::of(list(VALUE_NODES_MAX - 1), &[]).is_ok());
        assert!(matches!(
            Plan::of(list(VALUE_NODES_MAX), &[]),
            Err(Unreadable::TooLarge)
        ));
    }
}
