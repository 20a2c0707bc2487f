//! Numbers of a few bits, packed one after the other: the form of an index, and of columns.
//!
//! Bit `i` of a run is bit `i % 8`, counted from the least, of byte `i / 8`; a number's least bit comes first. Nothing
//! here knows how many numbers there are or how wide they are: that is for the caller to store, and to check.

/// Widest number.
pub const WIDTH_MAX: u32 = u64::BITS;

/// Returns the bits that numbers up to `max` need: 0 for 0, 64 at the most.
#[inline]
pub const fn width_of(max: u64) -> u32 {
    WIDTH_MAX.saturating_sub(max.leading_zeros())
}

/// Returns the number of `width` bits that starts at bit `offset`. Bits beyond the bytes read as zero; a width above 64
/// counts as 64.
#[inline]
pub fn read(bytes: &[u8], offset: u64, width: u32) -> u64 {
    let rest = usize::try_from(offset / 8)
        .ok()
        .and_then(|byte| bytes.get(byte..))
        .unwrap_or_default();
    let shift = (offset % 8) as u32;
    let mut value = match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => short_word(rest),
    }
    .wrapping_shr(shift);
    let here = WIDTH_MAX.saturating_sub(shift);
    if width > here {
        let ninth = rest.get(8).copied().unwrap_or_default();
        // `here` is below 64, or no bits would be missing.
        value |= u64::from(ninth).checked_shl(here).unwrap_or(0);
    }
    value & mask(width)
}

/// Returns up to eight bytes as a word, the last bytes of a run.
#[cold]
fn short_word(bytes: &[u8]) -> u64 {
    let low_first = bytes.iter().take(8).rev();
    low_first.fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Returns a word whose `width` least bits are set.
#[inline]
pub(crate) const fn mask(width: u32) -> u64 {
    match u64::MAX.checked_shr(WIDTH_MAX.saturating_sub(width)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Packs numbers one after the other.
#[derive(Clone, Debug, Default)]
pub struct Packer {
    bytes: Vec<u8>,
    /// The bits that fill no word yet, and how many they are: fewer than 64.
    pending: u64,
    filled: u32,
}

impl Packer {
    /// Appends the `width` least bits of `value`; a width above 64 counts as 64.
    #[inline]
    pub fn push(&mut self, value: u64, width: u32) {
        let width = width.min(WIDTH_MAX);
        let value = value & mask(width);
        self.pending |= value.wrapping_shl(self.filled);
        let filled = self.filled.saturating_add(width);
        if filled < WIDTH_MAX {
            self.filled = filled;
            return;
        }
        self.bytes.extend_from_slice(&self.pending.to_le_bytes());
        let room = WIDTH_MAX.saturating_sub(self.filled);
        self.pending = value.checked_shr(room).unwrap_or(0);
        self.filled = filled.saturating_sub(WIDTH_MAX);
    }

    /// Returns the number of bits pushed so far, which is the offset of the next number.
    pub fn bits(&self) -> u64 {
        (self.bytes.len() as u64)
            .saturating_mul(8)
            .saturating_add(u64::from(self.filled))
    }

    /// Returns the bytes; the bits that are left in the last one are zero.
    pub fn finish(mut self) -> Vec<u8> {
        let bytes = self.filled.div_ceil(8) as usize;
        let pending = self.pending.to_le_bytes();
        self.bytes
            .extend_from_slice(pending.get(..bytes).unwrap_or_default());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn widths_at_the_edges() {
        assert_eq!(width_of(0), 0);
        assert_eq!(width_of(1), 1);
        assert_eq!(width_of(u64::MAX), 64);
        for bit in 1..64 {
            assert_eq!(width_of(1 << bit), bit + 1);
            assert_eq!(width_of((1 << bit) - 1), bit);
        }
    }

    /// What `read` means, one bit at a time.
    fn read_slowly(bytes: &[u8], offset: u64, width: u32) -> u64 {
        (0..u64::from(width.min(64))).fold(0, |word, i| {
            let at = u128::from(offset) + u128::from(i);
            let byte = usize::try_from(at / 8).ok().and_then(|at| bytes.get(at));
            word | u64::from(byte.map_or(0, |byte| byte >> (at % 8) & 1)) << i
        })
    }

    #[test]
    fn far_beyond_the_end_is_zero() {
        for offset in [80, 81, 1 << 40, u64::MAX - 64, u64::MAX] {
            assert_eq!(read(&[0xff; 10], offset, 64), 0);
        }
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read(
            numbers in proptest::collection::vec((any::<u64>(), 0_u32..=66), 0..200),
        ) {
            let mut packer = Packer::default();
            let mut offsets = Vec::new();
            for &(value, width) in &numbers {
                offsets.push(packer.bits());
                packer.push(value, width);
            }
            let bits = packer.bits();
            prop_assert_eq!(bits, numbers.iter().map(|(_, width)| u64::from(*width).min(64)).sum::<u64>());
            let bytes = packer.finish();
            prop_assert_eq!(bytes.len() as u64, bits.div_ceil(8));
            prop_assert_eq!(read(&bytes, bits, 64), 0);
            for (&(value, width), offset) in numbers.iter().zip(offsets) {
                let expect = if width >= 64 { value } else { value & ((1 << width) - 1) };
                prop_assert_eq!(read(&bytes, offset, width), expect);
            }
        }

        #[test]
        fn any_read_is_the_bits_or_zeros(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            offset in 0_u64..400,
            width in 0_u32..=66,
        ) {
            prop_assert_eq!(read(&bytes, offset, width), read_slowly(&bytes, offset, width));
        }
    }
}
