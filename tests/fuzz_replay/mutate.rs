//! [`mutated`]: an input changed in some of the ways libFuzzer changes them.

use std::fs;
use std::path::Path;

use kit::rng::Rng;

/// Bytes that formats use for their own ends.
const ODD_BYTES: [u8; 12] = [
    0x00, 0x01, 0x18, 0x1b, 0x5f, 0x7f, 0x80, 0x81, 0x9f, 0xa1, 0xd8, 0xff,
];
/// Most changes of one input.
const CHANGES_MAX: u64 = 4;
/// Longest run of bytes that is inserted, copied or taken away.
const RUN_MAX: usize = 40;

/// Returns the words of a dictionary in libFuzzer's form; none if there is no file.
pub(crate) fn dictionary(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let quoted = text.lines().filter(|line| !line.starts_with('#'));
    quoted
        .filter_map(|line| line.split_once('"')?.1.strip_suffix('"'))
        .map(unescaped)
        .collect()
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'\\').then(|| rest.next()).flatten();
        bytes.push(match escaped {
            None => byte,
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
            }
            Some(other) => other,
        });
    }
    bytes
}

/// Returns the input with a few changes; some take bytes of `other` or of `words`.
pub(crate) fn mutated(input: &[u8], other: &[u8], words: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(CHANGES_MAX) {
        change(&mut bytes, other, words, rng);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.index(bytes.len() + 1);
    let run = |rng: &mut Rng, left: usize| rng.index(left.min(RUN_MAX) + 1);
    match rng.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *rng.pick(&ODD_BYTES);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = byte.wrapping_add(if rng.chance(500) { 1 } else { 255 });
            }
        }
        3 => bytes.insert(at, *rng.pick(&ODD_BYTES)),
        4 => {
            let end = at + run(rng, bytes.len() - at);
            bytes.drain(at..end);
        }
        5 => {
            let end = at + run(rng, bytes.len() - at);
            let copy = bytes[at..end].to_vec();
            let to = rng.index(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        6 => {
            let from = rng.index(other.len() + 1);
            let end = from + run(rng, other.len() - from);
            bytes.splice(at..at, other[from..end].iter().copied());
        }
        7 if !words.is_empty() => {
            let word = rng.pick(words).clone();
            let end = if rng.chance(500) {
                at
            } else {
                bytes.len().min(at + word.len())
            };
            bytes.splice(at..end, word);
        }
        _ => bytes.truncate(at),
    }
}
