//! [`sha256`] and [`sha256_many`]: the one place where hashing is named, so that another implementation is one line away.
//!
//! It must never hash anything but what it is given whole. Blocks and MST keys call it.
//!
//! A CPU with SHA instructions is fastest with one message after the other. Without them one message cannot be
//! hashed faster, but many can: they run side by side in the lanes of a vector.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// Returns the SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Replaces what is in `digests` by the SHA-256 digest of each message, in their order.
pub fn sha256_many(messages: &[&[u8]], digests: &mut Vec<[u8; 32]>) {
    digests.clear();
    match way() {
        Way::OneByOne => digests.extend(messages.iter().map(|message| sha256(message))),
        Way::SideBySide => side_by_side(messages, digests),
    }
}

/// How many messages are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    OneByOne,
    SideBySide,
}

/// Returns the faster way of this CPU, chosen once.
fn way() -> Way {
    static WAY: OnceLock<Way> = OnceLock::new();
    // `sha2` has no better than portable code where this is false; a lone lane gains nothing over it.
    let has_lanes = || !has_sha_instructions() && tape_sha256::lane_width() > 1;
    *WAY.get_or_init(|| match has_lanes() && lanes_are_right() {
        true => Way::SideBySide,
        false => Way::OneByOne,
    })
}

fn has_sha_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("sha");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Whether the lanes of this very CPU give what `sha2` gives, at each length around the borders of padding.
///
/// Tests cannot show that for CPUs they have not run on.
fn lanes_are_right() -> bool {
    const LENGTH_MAX: u8 = 200;
    let bytes: Vec<u8> = (0..=LENGTH_MAX)
        .map(|i| i.wrapping_mul(151) ^ 0x5c)
        .collect();
    let messages: Vec<&[u8]> = (0..=usize::from(LENGTH_MAX))
        .filter_map(|length| bytes.get(..length))
        .collect();
    let mut digests = Vec::new();
    side_by_side(&messages, &mut digests);
    digests.len() == messages.len()
        && messages
            .iter()
            .zip(&digests)
            .all(|(message, digest)| sha256(message) == *digest)
}

/// Messages that run side by side take as long as the longest of them, so those of about one length go together.
fn side_by_side(messages: &[&[u8]], digests: &mut Vec<[u8; 32]>) {
    let mut sorted: Vec<(usize, usize, &[u8])> = messages
        .iter()
        .enumerate()
        .map(|(index, message)| (message.len(), index, *message))
        .collect();
    sorted.sort_unstable_by_key(|&(length, index, _)| (length, index));
    let in_order: Vec<&[u8]> = sorted.iter().map(|&(_, _, message)| message).collect();
    let mut out = vec![[0; 32]; in_order.len()];
    tape_sha256::hash_many(&in_order, &mut out);
    digests.clear();
    digests.resize(messages.len(), [0; 32]);
    for ((_, index, _), digest) in sorted.iter().zip(out) {
        if let Some(place) = digests.get_mut(*index) {
            *place = digest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Many = fn(&[&[u8]], &mut Vec<[u8; 32]>);
    /// Whatever this CPU chooses, both are tested.
    const WAYS: [Many; 2] = [sha256_many, side_by_side];

    fn hex(digest: [u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// FIPS 180-4's examples and its successor's: nothing, one block, two blocks, and a million letters.
    #[test]
    fn published_vectors() {
        let million = vec![b'a'; 1_000_000];
        let vectors: [(&[u8], &str); 5] = [
            (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
            ),
            (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ];
        let messages = vectors.map(|(message, _)| message);
        for many in WAYS {
            let mut digests = Vec::new();
            many(&messages, &mut digests);
            for ((message, expected), digest) in vectors.into_iter().zip(digests) {
                assert_eq!(hex(digest), expected);
                assert_eq!(hex(sha256(message)), expected);
            }
        }
    }

    #[test]
    fn every_length_in_every_mix_is_as_one_by_one() {
        let bytes: Vec<u8> = (0..=300_u32).map(|i| (i * 7 % 251) as u8).collect();
        for many in WAYS {
            let mut digests = vec![[9; 32]; 3];
            for length in 0..=300 {
                // Alone, and among others, at a place of its own.
                for messages in [
                    vec![&bytes[..length]],
                    vec![&bytes[1..], &bytes[..length], &[], &bytes[..length / 2]],
                    vec![&bytes[..length]; 33],
                ] {
                    many(&messages, &mut digests);
                    let expected: Vec<_> = messages.iter().map(|bytes| sha256(bytes)).collect();
                    assert_eq!(digests, expected, "{length}");
                }
            }
            many(&[], &mut digests);
            assert!(digests.is_empty());
        }
    }

    #[test]
    fn the_way_is_chosen_by_what_the_cpu_has() {
        assert!(lanes_are_right());
        assert!(!has_sha_instructions() || way() == Way::OneByOne);
    }

    proptest! {
        #[test]
        fn many_are_as_one_by_one(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..80),
        ) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let expected: Vec<_> = messages.iter().map(|bytes| sha256(bytes)).collect();
            for many in WAYS {
                let mut digests = Vec::new();
                many(&messages, &mut digests);
                prop_assert_eq!(&digests, &expected);
            }
        }
    }
}
