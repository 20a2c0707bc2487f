//! [`RepoHead`]: what an extent says of its repo, beside the rows.

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::Tid;
use carrack_schema::wire::segment_capnp::repo_head;
use carrack_segment::message;

use crate::node_page::NodeScript;

/// What an extent says of its repo, whose DID and revision are the extent's key. With it a segment explains itself: a
/// catalog could be made again from segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoHead {
    /// The commit block, as it was signed.
    pub commit: Vec<u8>,
    /// Number of records of the repo at this revision; a diff has fewer rows.
    pub records: u64,
    /// Whether the rows are what changed since the revision before.
    pub is_diff: bool,
    /// Number of the first page that goes on with `nodes`.
    pub first_node_page: u32,
    /// How many such pages there are, one after the other.
    pub node_pages: u32,
    /// The digests of the tree's nodes; all of them where they are few.
    pub nodes: NodeScript,
}

impl RepoHead {
    /// Returns the head's message.
    ///
    /// # Errors
    /// None that a commit within its limit meets; the message layer's otherwise.
    pub fn encode(&self) -> carrack_segment::Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<repo_head::Builder<'_>>();
        wire.set_commit(&self.commit);
        wire.set_records(self.records);
        wire.set_is_diff(self.is_diff);
        wire.set_first_node_page(self.first_node_page);
        wire.set_node_pages(self.node_pages);
        self.nodes.write(wire.init_nodes());
        message::flatten(&message)
    }

    /// Reads a head from its message, which starts at a multiple of 8 in memory.
    ///
    /// # Errors
    /// If the message is not one that [`encode`](Self::encode) makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, capnp::Error> {
        let reader = message::flat(bytes);
        let wire = reader.get_root::<repo_head::Reader<'_>>()?;
        let mut nodes = NodeScript::default();
        nodes.read(wire.get_nodes()?)?;
        Ok(Self {
            commit: wire.get_commit()?.to_vec(),
            records: wire.get_records(),
            is_diff: wire.get_is_diff(),
            first_node_page: wire.get_first_node_page(),
            node_pages: wire.get_node_pages(),
            nodes,
        })
    }
}

/// Returns the key of an extent: the repo's DID, a zero byte, which no DID has, and the revision's text.
pub fn extent_key(did: &str, rev: Option<Tid>) -> Vec<u8> {
    let mut key = did.as_bytes().to_vec();
    key.push(0);
    if let Some(rev) = rev {
        key.extend_from_slice(&rev.text());
    }
    key
}

/// Reads a key that [`extent_key`] made; none if it is no such key.
pub fn split_extent_key(key: &[u8]) -> Option<(&str, Option<Tid>)> {
    let (did, rev) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    Some((did, rev_of(rev).ok()?))
}

/// Returns a revision as it is stored and sent: a TID, or nothing for a commit without one.
pub fn rev_text(rev: Option<Tid>) -> String {
    rev.map(|rev| rev.to_string()).unwrap_or_default()
}

/// Reads a revision that [`rev_text`] wrote.
///
/// # Errors
/// If the text is neither empty nor a TID.
pub fn rev_of(text: &str) -> Result<Option<Tid>, carrack_schema::names::NameError> {
    if text.is_empty() {
        Ok(None)
    } else {
        text.parse().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use capnp::Word;

    use super::*;

    #[test]
    fn a_head_round_trips_and_a_cut_one_is_an_error() {
        let head = RepoHead {
            commit: vec![1, 2, 3],
            records: 9,
            is_diff: true,
            first_node_page: 3,
            node_pages: 2,
            nodes: NodeScript::between(&[[1; 32], [2; 32]], &[[3; 32], [2; 32]]),
        };
        let bytes = head.encode().unwrap();
        let words = message::words(&bytes);
        let bytes = Word::words_to_bytes(&words);
        assert_eq!(RepoHead::decode(bytes).unwrap(), head);
        for length in (0..bytes.len()).step_by(8) {
            assert!(
                RepoHead::decode(&bytes[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn keys_are_of_one_repo_and_one_revision() {
        for rev in [None, Some(Tid::from_u64(42))] {
            let key = extent_key("did:plc:a", rev);
            assert_eq!(split_extent_key(&key), Some(("did:plc:a", rev)));
        }
        for key in [&b"did:plc:a"[..], b"did:plc:a\0x", b"\xff\0"] {
            assert_eq!(split_extent_key(key), None);
        }
    }
}
