//! [`NodeEncoder`]: the bytes of one node, from its keys and children in their order.
//!
//! It must never write a node in another form than the one [`Node::parse`](super::Node::parse) takes (MT2, MT3). The
//! builder and the plan write nodes through it.

use carrack_schema::Cid;
use carrack_schema::limits::{MST_KEY_BYTES_MAX, MST_NODE_ENTRIES_MAX};

use super::common_prefix_len;
use crate::cbor::write::{BYTES, LIST, MAP, UNSIGNED, put_head, put_link};
use crate::error::{Error, Result, quoted};

/// A node that is being written. Its memory serves one node after another.
#[derive(Debug, Default)]
pub(crate) struct NodeEncoder {
    left: Option<Cid>,
    /// The entries so far; the last one lacks its `t` and `v` as long as `open` has its record.
    entries: Vec<u8>,
    entries_count: usize,
    last_key: Vec<u8>,
    open: Option<Open>,
}

/// What the last entry still lacks.
#[derive(Debug)]
struct Open {
    value: Cid,
    tree: Option<Cid>,
}

impl NodeEncoder {
    /// Whether there is neither a key nor a child.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries_count == 0 && self.left.is_none()
    }

    /// Adds a key that comes after all before it.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) beyond the limits of entries and of key bytes.
    pub(crate) fn push(&mut self, key: &[u8], value: Cid) -> Result<()> {
        if key.len() > MST_KEY_BYTES_MAX {
            let length = key.len();
            let message = format!("key of {length} bytes, more than {MST_KEY_BYTES_MAX}");
            return Err(Error::limit(message));
        }
        if self.entries_count >= MST_NODE_ENTRIES_MAX {
            let message = format!(
                "MST node of more than {MST_NODE_ENTRIES_MAX} entries: key {}",
                quoted(key)
            );
            return Err(Error::limit(message));
        }
        self.close_entry();
        // The last key is empty before the first entry.
        let prefix = common_prefix_len(&self.last_key, key);
        let suffix = key.get(prefix..).unwrap_or_default();
        let out = &mut self.entries;
        put_head(out, MAP, 4);
        out.extend_from_slice(b"\x61k");
        put_head(out, BYTES, suffix.len() as u64);
        out.extend_from_slice(suffix);
        out.extend_from_slice(b"\x61p");
        put_head(out, UNSIGNED, prefix as u64);
        self.last_key.truncate(prefix);
        self.last_key.extend_from_slice(suffix);
        self.open = Some(Open { value, tree: None });
        self.entries_count = self.entries_count.saturating_add(1);
        Ok(())
    }

    /// Sets the child between the last key and the next.
    pub(crate) fn set_child(&mut self, cid: Cid) {
        match &mut self.open {
            None => self.left = Some(cid),
            Some(open) => open.tree = Some(cid),
        }
    }

    /// Puts the node's bytes in place of what `out` holds, and begins anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.close_entry();
        out.clear();
        put_head(out, MAP, 2);
        out.extend_from_slice(b"\x61e");
        put_head(out, LIST, self.entries_count as u64);
        out.append(&mut self.entries);
        out.extend_from_slice(b"\x61l");
        put_link(out, self.left.take().as_ref());
        self.entries_count = 0;
        self.last_key.clear();
    }

    fn close_entry(&mut self) {
        if let Some(Open { value, tree }) = self.open.take() {
            self.entries.extend_from_slice(b"\x61t");
            put_link(&mut self.entries, tree.as_ref());
            self.entries.extend_from_slice(b"\x61v");
            put_link(&mut self.entries, Some(&value));
        }
    }
}
