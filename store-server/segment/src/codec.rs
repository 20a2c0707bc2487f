//! How a section is stored: as it is, or compressed. Knows nothing of what sections say.

use std::fmt;
use std::io;

use capnp::Word;
use zstd::bulk::{Compressor, decompress_to_buffer};

use crate::format::WORD_BYTES;

/// How a writer stores pages and the dictionary. Indexes are always stored as they are: they are read in place, and
/// packed bits do not shrink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As they are, to be read in place from the map.
    #[default]
    Plain,
    /// With Zstandard, each that is smaller for it. A read takes the page's memory, see [`PageCache`](crate::PageCache).
    Zstd {
        /// Zstandard's level, -7 (fast) to 22 (small); one beyond counts as the nearest.
        level: i32,
    },
}

/// Compresses sections, one after the other.
pub(crate) struct Encoder(Option<Compressor<'static>>);

impl Encoder {
    /// # Errors
    /// If memory is short.
    pub(crate) fn new(codec: Codec) -> io::Result<Self> {
        Ok(Self(match codec {
            Codec::Plain => None,
            Codec::Zstd { level } => Some(Compressor::new(level)?),
        }))
    }

    /// Returns the compressed form if it takes fewer words than the plain one.
    ///
    /// # Errors
    /// If memory is short.
    pub(crate) fn smaller(&mut self, plain: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(compressor) = &mut self.0 else {
            return Ok(None);
        };
        let stored = compressor.compress(plain)?;
        let saves = stored.len().div_ceil(WORD_BYTES) < plain.len().div_ceil(WORD_BYTES);
        Ok(saves.then_some(stored))
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "zstd" } else { "plain" })
    }
}

/// Returns the message of `plain_bytes` bytes, whole words, that a compressed section holds; nothing if it does not hold
/// exactly as many. Never takes more memory than they do, whatever the section claims.
pub(crate) fn decompress(stored: &[u8], plain_bytes: usize) -> Option<Vec<Word>> {
    let mut words = Word::allocate_zeroed_vec(plain_bytes.div_ceil(WORD_BYTES));
    let out = Word::words_to_bytes_mut(&mut words).get_mut(..plain_bytes)?;
    let written = decompress_to_buffer(stored, out).ok()?;
    (written == plain_bytes).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_of_it_is_accepted() {
        let plain: Vec<u8> = (0..4_096_u32).map(|i| (i / 64) as u8).collect();
        let mut encoder = Encoder::new(Codec::Zstd { level: 3 }).unwrap();
        let stored = encoder.smaller(&plain).unwrap().unwrap();
        let words = decompress(&stored, plain.len()).unwrap();
        assert_eq!(Word::words_to_bytes(&words), plain);
        assert_eq!(decompress(&stored, plain.len() - 8), None, "a bomb");
        assert_eq!(decompress(&stored, plain.len() + 8), None, "too short");
        assert_eq!(decompress(&stored[..stored.len() - 1], plain.len()), None);
        assert_eq!(decompress(&[&stored[..], &[0]].concat(), plain.len()), None);
        assert_eq!(decompress(b"", plain.len()), None);
    }

    #[test]
    fn what_does_not_shrink_by_a_word_stays_plain() {
        let noise: Vec<u8> = (0..64_u64)
            .flat_map(|i| {
                (i + 1)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .rotate_left(29)
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                    .to_le_bytes()
            })
            .collect();
        let mut encoder = Encoder::new(Codec::Zstd { level: 22 }).unwrap();
        assert_eq!(encoder.smaller(&noise).unwrap(), None);
        assert!(encoder.smaller(&[0; 64]).unwrap().is_some());
        let mut plain = Encoder::new(Codec::Plain).unwrap();
        assert_eq!(plain.smaller(&[0; 64]).unwrap(), None);
    }
}
