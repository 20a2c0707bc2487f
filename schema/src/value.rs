//! [`Value`]: one value of the AT Protocol data model, owned, as a client or a person meets it.
//!
//! On the wire a value is flat ([`crate::wire::record_capnp::value`]); [`Value::from_wire`] makes the tree. JSON
//! is that of the data model (<https://atproto.com/specs/data-model>): links are `{"$link": "bafy…"}`, bytes are
//! `{"$bytes": "base64"}`.

use capnp::struct_list;
use data_encoding::BASE64_NOPAD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::cid;
use crate::limits::VALUE_NODES_MAX;
use crate::wire::record_capnp::{node, value};

/// Deepest tree that is built from a wire value. The data model nests 32 deep; what a peer sends may not.
const DEPTH_MAX: usize = 64;

/// A value of the data model.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null; not the same as absent.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer; the data model has no floats.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A link: a binary CID, of any form.
    Link(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A map, in DAG-CBOR key order: shorter keys first, then by bytes.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// Returns the value under a map's key; none for another key or kind.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        entries
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        let Self::Text(text) = self else { return None };
        Some(text)
    }

    /// Reads a value off the wire.
    ///
    /// # Errors
    /// If the nodes are not one whole tree, name entries their tables do not have, are more than
    /// [`VALUE_NODES_MAX`] or deeper than twice the data model's depth: the peer is broken.
    pub fn from_wire(wire: value::Reader<'_>) -> Result<Self, capnp::Error> {
        let nodes = wire.get_nodes()?;
        if nodes.len() as usize > VALUE_NODES_MAX {
            return Err(broken("has too many nodes"));
        }
        let mut tree = Tree {
            nodes,
            next: 0,
            texts: wire.get_texts()?,
            blobs: wire.get_blobs()?,
        };
        let (_, root) = tree.node(0)?;
        if tree.next != tree.nodes.len() {
            return Err(broken("has nodes after its root"));
        }
        Ok(root)
    }

    /// Writes a value that has no parts. A list or a map has, and goes as null: whoever may hold one looks first.
    pub fn write_scalar(&self, mut wire: value::Builder<'_>) {
        let (kind, scalar) = match self {
            Self::Null | Self::List(_) | Self::Map(_) => (node::Kind::Null, 0),
            Self::Bool(value) => (node::Kind::Bool, i64::from(*value)),
            Self::Int(value) => (node::Kind::Int, *value),
            Self::Text(text) => {
                wire.reborrow().init_texts(1).set(0, text);
                (node::Kind::Text, 0)
            }
            Self::Bytes(bytes) => {
                wire.reborrow().init_blobs(1).set(0, bytes);
                (node::Kind::Bytes, 0)
            }
            Self::Link(cid) => {
                wire.reborrow().init_blobs(1).set(0, cid);
                (node::Kind::Link, 0)
            }
        };
        let mut node = wire.init_nodes(1).get(0);
        node.set_kind(kind);
        node.set_scalar(scalar);
    }
}

fn broken(what: &str) -> capnp::Error {
    capnp::Error::failed(format!("value on the wire {what}"))
}

struct Tree<'a> {
    nodes: struct_list::Reader<'a, node::Owned>,
    next: u32,
    texts: capnp::text_list::Reader<'a>,
    blobs: capnp::data_list::Reader<'a>,
}

impl Tree<'_> {
    /// Reads the next node and its children; returns the node's key index beside its value.
    fn node(&mut self, depth: usize) -> Result<(u32, Value), capnp::Error> {
        if depth > DEPTH_MAX {
            return Err(broken("is too deep"));
        }
        let node = self
            .nodes
            .try_get(self.next)
            .ok_or_else(|| broken("ends early"))?;
        self.next += 1;
        let scalar = node.get_scalar();
        let value = match node.get_kind()? {
            node::Kind::Null => Value::Null,
            node::Kind::Bool => Value::Bool(scalar != 0),
            node::Kind::Int => Value::Int(scalar),
            node::Kind::Text => Value::Text(self.text(scalar)?),
            node::Kind::Bytes => Value::Bytes(self.blob(scalar)?),
            node::Kind::Link => Value::Link(self.blob(scalar)?),
            node::Kind::List => {
                let mut items = Vec::with_capacity(self.children(scalar)?);
                for _ in 0..scalar {
                    items.push(self.node(depth + 1)?.1);
                }
                Value::List(items)
            }
            node::Kind::Map => {
                let mut entries = Vec::with_capacity(self.children(scalar)?);
                for _ in 0..scalar {
                    let (key, value) = self.node(depth + 1)?;
                    entries.push((self.text(i64::from(key))?, value));
                }
                Value::Map(entries)
            }
        };
        Ok((node.get_key(), value))
    }

    /// Returns a container's child count, which the nodes left must cover.
    fn children(&self, scalar: i64) -> Result<usize, capnp::Error> {
        let left = self.nodes.len() - self.next;
        usize::try_from(scalar)
            .ok()
            .filter(|count| *count <= left as usize)
            .ok_or_else(|| broken("has a container longer than itself"))
    }

    fn text(&self, index: i64) -> Result<String, capnp::Error> {
        let text = u32::try_from(index)
            .ok()
            .and_then(|i| self.texts.try_get(i));
        Ok(text
            .ok_or_else(|| broken("names a missing text"))??
            .to_string()?)
    }

    fn blob(&self, index: i64) -> Result<Vec<u8>, capnp::Error> {
        let blob = u32::try_from(index)
            .ok()
            .and_then(|i| self.blobs.try_get(i));
        Ok(blob.ok_or_else(|| broken("names missing bytes"))??.to_vec())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => tagged(serializer, "$bytes", &BASE64_NOPAD.encode(value)),
            Self::Link(value) => tagged(serializer, "$link", &cid::text_of(value)),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
            }
        }
    }
}

fn tagged<S: Serializer>(serializer: S, tag: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, text)?;
    map.end()
}

#[cfg(test)]
mod tests {
    use capnp::message::{Builder, HeapAllocator};

    use super::*;
    use crate::wire::record_capnp::node::Kind;

    /// Kind, key, scalar.
    type Node = (Kind, u32, i64);

    fn wire(nodes: &[Node], texts: &[&str], blobs: &[&[u8]]) -> Builder<HeapAllocator> {
        let mut message = Builder::new_default();
        let mut value = message.init_root::<value::Builder<'_>>();
        let mut list = value.reborrow().init_nodes(nodes.len() as u32);
        for (i, (kind, key, scalar)) in nodes.iter().enumerate() {
            let mut node = list.reborrow().get(i as u32);
            node.set_kind(*kind);
            node.set_key(*key);
            node.set_scalar(*scalar);
        }
        let mut list = value.reborrow().init_texts(texts.len() as u32);
        for (i, text) in texts.iter().enumerate() {
            list.set(i as u32, text);
        }
        let mut list = value.init_blobs(blobs.len() as u32);
        for (i, blob) in blobs.iter().enumerate() {
            list.set(i as u32, blob);
        }
        message
    }

    fn read(message: &Builder<HeapAllocator>) -> Result<Value, capnp::Error> {
        Value::from_wire(message.get_root_as_reader()?)
    }

    #[test]
    fn what_has_no_parts_comes_back() {
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Int(-7),
            Value::Text("ü".into()),
            Value::Bytes(vec![0, 255]),
            Value::Link(vec![1, 113]),
        ] {
            let mut message = Builder::new_default();
            value.write_scalar(message.init_root());
            assert_eq!(read(&message).unwrap(), value);
        }
    }

    #[test]
    fn json_is_that_of_the_data_model() {
        let value = read(&wire(
            &[
                (Kind::Map, 0, 6),
                (Kind::Null, 0, 0),
                (Kind::List, 1, 2),
                (Kind::Int, 0, -7),
                (Kind::Bool, 0, 1),
                (Kind::Text, 2, 3),
                (Kind::Bytes, 4, 0),
                (Kind::Link, 5, 1),
                (Kind::Map, 6, 0),
            ],
            &["n", "list", "text", "hé", "bytes", "link", "empty"],
            &[b"\x00\xff", b"\x01\x71"],
        ))
        .unwrap();
        assert_eq!(
            serde_json::to_string(&value).unwrap(),
            r#"{"n":null,"list":[-7,true],"text":"hé","bytes":{"$bytes":"AP8"},"link":{"$link":"bafyq"},"empty":{}}"#
                .replace("bafyq", &cid::text_of(b"\x01\x71")),
        );
        assert_eq!(value.get("text").and_then(Value::as_text), Some("hé"));
    }

    #[test]
    fn broken_wire_values_are_errors() {
        let deep: Vec<_> = (0..100).map(|_| (Kind::List, 0, 1)).collect();
        let cases: [(&[Node], &str); 8] = [
            (&[], "ends early"),
            (&[(Kind::List, 0, 1)], "longer than itself"),
            (&[(Kind::List, 0, -1)], "longer than itself"),
            (&[(Kind::Map, 0, i64::MAX)], "longer than itself"),
            (&[(Kind::Null, 0, 0), (Kind::Null, 0, 0)], "after its root"),
            (&[(Kind::Text, 0, 0)], "missing text"),
            (&[(Kind::Link, 0, -1)], "missing bytes"),
            (&deep, "too deep"),
        ];
        for (nodes, expected) in cases {
            let error = read(&wire(nodes, &[], &[])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_node_limit_holds() {
        let nodes = |count: usize| {
            let mut nodes = vec![(Kind::Null, 0, 0); count];
            nodes[0] = (Kind::List, 0, count as i64 - 1);
            nodes
        };
        assert!(read(&wire(&nodes(VALUE_NODES_MAX), &[], &[])).is_ok());
        assert!(read(&wire(&nodes(VALUE_NODES_MAX + 1), &[], &[])).is_err());
    }
}
