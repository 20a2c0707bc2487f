//! Base32 in lower case without padding, as DIDs of method `plc` and CIDs have it: only texts that come back the same.

use carrack_schema::cid::Codec;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The digit of each character; 255 for those that are none.
#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut i = 0;
    while i < 32 {
        digits[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    digits
};

/// Characters of a CID's text: the multibase prefix and 36 bytes, whose last character has two bits to spare.
pub(crate) const CID_TEXT_BYTES: usize = 59;
/// Bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 32;
/// Characters that say the multibase, version and codec, and five of the six bits of the next: `bafyrei`, `bafkrei`.
const PREFIX_CBOR: &[u8; 7] = b"bafyrei";
const PREFIX_RAW: &[u8; 7] = b"bafkrei";

/// Every byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;

/// Reads eight characters as 40 bits; none if any is no digit.
#[inline]
fn decode_8(chars: [u8; 8]) -> Option<u64> {
    let mut bits = 0_u64;
    let mut seen = 0_u8;
    for char in chars {
        let digit = DIGITS.get(usize::from(char)).copied().unwrap_or(255);
        seen |= digit;
        bits = bits << 5 | u64::from(digit & 31);
    }
    (seen < 32).then_some(bits)
}

/// Returns the eight characters of 40 bits, all at once: the bits are spread to a byte a digit, then `a` is added, and
/// taken back as far as `2` is below it from the 26th digit on.
#[inline]
fn encode_8(bits: u64) -> [u8; 8] {
    let by_20 = bits & 0xf_ffff | (bits >> 20 & 0xf_ffff) << 32;
    let by_10 = by_20 & 0x3ff_0000_03ff | (by_20 >> 10 & 0x3ff_0000_03ff) << 16;
    let digits = by_10 & 0x1f_001f_001f_001f | (by_10 >> 5 & 0x1f_001f_001f_001f) << 8;
    let is_number = digits.wrapping_add(EACH.wrapping_mul(128 - 26)) >> 7 & EACH;
    digits
        .wrapping_add(EACH.wrapping_mul(b'a'.into()))
        .wrapping_sub(is_number.wrapping_mul((b'a' + 26 - b'2').into()))
        .to_be_bytes()
}

/// Reads 24 characters as 15 bytes.
#[inline]
pub(crate) fn decode_15(text: &[u8]) -> Option<[u8; 15]> {
    let (chunks, rest) = text.as_chunks::<8>();
    let mut out = [0; 15];
    if chunks.len() != 3 || !rest.is_empty() {
        return None;
    }
    let (slots, _) = out.as_chunks_mut::<5>();
    for (slot, chars) in slots.iter_mut().zip(chunks) {
        let [_, _, _, five @ ..] = decode_8(*chars)?.to_be_bytes();
        *slot = five;
    }
    Some(out)
}

/// Appends the 24 characters of 15 bytes.
#[inline]
pub(crate) fn encode_15(bytes: &[u8; 15], out: &mut Vec<u8>) {
    let (chunks, _) = bytes.as_chunks::<5>();
    for &[a, b, c, d, e] in chunks {
        out.extend_from_slice(&encode_8(u64::from_be_bytes([0, 0, 0, a, b, c, d, e])));
    }
}

/// Returns the codec of a CID's text, if the text is that of a version 1 CID with SHA-256 and comes back the same.
pub(crate) fn cid_codec(text: &[u8]) -> Option<Codec> {
    let codec = match text.first_chunk()? {
        PREFIX_CBOR => Codec::DagCbor,
        PREFIX_RAW => Codec::Raw,
        _ => return None,
    };
    cid_digest(text).map(|_| codec)
}

/// Characters of a CID's text behind its prefix. They hold two zero bits of the header, the digest and two zero bits:
/// four characters of 20 bits, then six times eight of 40.
const BODY_CHARS: usize = 52;
const BODY_START: usize = CID_TEXT_BYTES - BODY_CHARS;
/// Bits of the digest that the first four characters hold.
const HEAD_BITS: u32 = 18;
/// A digest with room behind it, so that each 40 bits are read and written as a word.
const ROOM_BYTES: usize = 40;

/// Where in a digest the eight bytes begin that hold the 40 bits of a block of characters, two bits into them.
fn word_of(block: usize) -> usize {
    block.wrapping_mul(5).wrapping_add(2)
}

/// Reads the digest of a CID's text, if its characters behind the prefix are those of one.
#[inline]
pub(crate) fn cid_digest(text: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
    let chars: &[u8; BODY_CHARS] = text.get(BODY_START..)?.try_into().ok()?;
    let [a, b, c, d, rest @ ..] = *chars;
    let head = decode_8([b'a', b'a', b'a', b'a', a, b, c, d])?;
    let mut room = [0_u8; ROOM_BYTES];
    let [_, _, _, _, _, first, second, third] = (head << (24 - HEAD_BITS)).to_be_bytes();
    if let Some(start) = room.first_chunk_mut() {
        *start = [first, second, third];
    }
    let mut last = 0;
    let (blocks, _) = rest.as_chunks::<8>();
    for (number, block) in blocks.iter().enumerate() {
        last = decode_8(*block)?;
        let word = room.get_mut(word_of(number)..)?.first_chunk_mut::<8>()?;
        *word = (u64::from_be_bytes(*word) | last << (24 - 2)).to_be_bytes();
    }
    // Bits before the digest and behind it are zero.
    (head >> HEAD_BITS == 0 && last & 3 == 0).then_some(*room.first_chunk()?)
}

/// Appends a CID's text.
#[inline]
pub(crate) fn encode_cid(codec: Codec, digest: &[u8; DIGEST_BYTES], out: &mut Vec<u8>) {
    let mut room = [0_u8; ROOM_BYTES];
    if let Some(start) = room.first_chunk_mut() {
        *start = *digest;
    }
    let mut text = [0_u8; CID_TEXT_BYTES];
    let word_at = |at: usize| {
        let word = room.get(at..).and_then(|rest| rest.first_chunk::<8>());
        word.map_or(0, |word| u64::from_be_bytes(*word))
    };
    let [_, _, _, _, head @ ..] = encode_8(word_at(0) >> (64 - HEAD_BITS));
    if let Some((prefix, rest)) = text.split_first_chunk_mut() {
        *prefix = *match codec {
            Codec::DagCbor => PREFIX_CBOR,
            Codec::Raw => PREFIX_RAW,
        };
        if let Some((start, rest)) = rest.split_first_chunk_mut() {
            *start = head;
            let (blocks, _) = rest.as_chunks_mut::<8>();
            for (number, block) in blocks.iter_mut().enumerate() {
                *block = encode_8(word_at(word_of(number)) << 2 >> 24);
            }
        }
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use carrack_schema::Cid;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fifteen_bytes_round_trip(bytes: [u8; 15]) {
            let mut text = Vec::new();
            encode_15(&bytes, &mut text);
            prop_assert_eq!(decode_15(&text), Some(bytes));
        }

        #[test]
        fn cids_are_written_as_everywhere_else(digest: [u8; 32], is_raw: bool) {
            let codec = if is_raw { Codec::Raw } else { Codec::DagCbor };
            let text = Cid::new(codec, digest).to_string();
            let mut ours = Vec::new();
            encode_cid(codec, &digest, &mut ours);
            prop_assert_eq!(std::str::from_utf8(&ours).unwrap(), text.as_str());
            prop_assert_eq!(cid_codec(text.as_bytes()), Some(codec));
            prop_assert_eq!(cid_digest(text.as_bytes()), Some(digest));
        }

        #[test]
        fn what_is_read_comes_back(text in "bafyrei[a-z2-7]{52}") {
            if let Some(digest) = cid_digest(text.as_bytes()) {
                let mut again = Vec::new();
                encode_cid(Codec::DagCbor, &digest, &mut again);
                prop_assert_eq!(again, text.into_bytes());
            }
        }
    }

    #[test]
    fn other_characters_are_refused() {
        for text in [
            "aaaaaaaaaaaaaaaaaaaaaaa1",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "aaaaaaaaaaaaaaaaaaaaaaa",
            "",
        ] {
            assert_eq!(decode_15(text.as_bytes()), None, "{text}");
        }
    }
}
