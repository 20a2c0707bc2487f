//! [`RepoHead`]: what an extent says of its repo, beside the rows.

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::wire::segment_capnp::repo_head;
use carrack_schema::{Cid, Tid};
use carrack_segment::message;

/// What an extent says of its repo. With it a segment explains itself: a catalog could be made again from segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoHead {
    /// The repo.
    pub did: String,
    /// Its revision; none for a commit of version 2.
    pub rev: Option<Tid>,
    /// CID of the commit.
    pub commit_cid: Cid,
    /// The commit block, as it was signed.
    pub commit: Vec<u8>,
    /// Number of records.
    pub records: u64,
    /// The first of the pages, up to the extent's last, that hold digests of nodes.
    pub first_node_page: u32,
}

impl RepoHead {
    /// Returns the head's message.
    ///
    /// # Errors
    /// None that a commit within its limit meets; the message layer's otherwise.
    pub fn encode(&self) -> carrack_segment::Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<repo_head::Builder<'_>>();
        wire.set_did(&self.did);
        wire.set_rev(rev_text(self.rev));
        wire.set_commit_cid(self.commit_cid.as_bytes());
        wire.set_commit(&self.commit);
        wire.set_records(self.records);
        wire.set_first_node_page(self.first_node_page);
        message::flatten(&message)
    }

    /// Reads a head from its message, which starts at a multiple of 8 in memory.
    ///
    /// # Errors
    /// If the message is not one that [`encode`](Self::encode) makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, capnp::Error> {
        let reader = message::flat(bytes);
        let wire = reader.get_root::<repo_head::Reader<'_>>()?;
        let odd = |error: &dyn std::error::Error| capnp::Error::failed(error.to_string());
        Ok(Self {
            did: wire.get_did()?.to_string()?,
            rev: rev_of(wire.get_rev()?.to_str()?).map_err(|e| odd(&e))?,
            commit_cid: Cid::from_bytes(wire.get_commit_cid()?).map_err(|e| odd(&e))?,
            commit: wire.get_commit()?.to_vec(),
            records: wire.get_records(),
            first_node_page: wire.get_first_node_page(),
        })
    }
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
    use carrack_schema::cid::Codec;

    use super::*;

    #[test]
    fn a_head_round_trips_and_a_cut_one_is_an_error() {
        let head = RepoHead {
            did: "did:plc:a".into(),
            rev: Some(Tid::from_u64(42)),
            commit_cid: Cid::new(Codec::DagCbor, [7; 32]),
            commit: vec![1, 2, 3],
            records: 9,
            first_node_page: 3,
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
}
