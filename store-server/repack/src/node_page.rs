//! Node pages: the digests of a repo's MST nodes, in pre-order, behind the pages of its rows.

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::wire::segment_capnp::node_page;
use carrack_segment::message;

/// Length of a digest in bytes.
const DIGEST_BYTES: usize = 32;

/// Digests in a page: 256 KiB of them.
pub const NODE_PAGE_DIGESTS: usize = 8_192;

/// Returns the message of a page with these digests, at most [`NODE_PAGE_DIGESTS`].
///
/// # Errors
/// None that so many digests meet; the message layer's otherwise.
pub fn encode(digests: &[[u8; DIGEST_BYTES]]) -> carrack_segment::Result<Vec<u8>> {
    let mut message = Builder::<HeapAllocator>::new_default();
    message
        .init_root::<node_page::Builder<'_>>()
        .set_digests(digests.as_flattened());
    message::flatten(&message)
}

/// Appends a page's digests to `out`.
///
/// # Errors
/// If the message does not parse or is not whole digests.
pub fn decode(page: &[u8], out: &mut Vec<[u8; DIGEST_BYTES]>) -> Result<(), capnp::Error> {
    let reader = message::flat(page);
    let digests = reader.get_root::<node_page::Reader<'_>>()?.get_digests()?;
    let (whole, rest) = digests.as_chunks::<DIGEST_BYTES>();
    if !rest.is_empty() {
        return Err(capnp::Error::failed("digests are not whole".into()));
    }
    out.extend_from_slice(whole);
    Ok(())
}

#[cfg(test)]
mod tests {
    use capnp::Word;

    use super::*;

    #[test]
    fn digests_round_trip_and_a_cut_page_is_an_error() {
        let digests: Vec<[u8; 32]> = (0..NODE_PAGE_DIGESTS).map(|i| [i as u8; 32]).collect();
        let bytes = encode(&digests).unwrap();
        assert!(bytes.len() <= carrack_schema::limits::PAGE_BYTES_MAX);
        let words = message::words(&bytes);
        let mut out = Vec::new();
        decode(Word::words_to_bytes(&words), &mut out).unwrap();
        assert_eq!(out, digests);
        assert!(decode(&Word::words_to_bytes(&words)[..64], &mut out).is_err());
    }
}
