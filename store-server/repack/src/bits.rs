//! Numbers of 0 to 64 bits, one after the other without a gap, the lowest bit of each first.

/// Returns how many bits a number needs.
pub(crate) fn width_of(max: u64) -> u32 {
    64_u32.saturating_sub(max.leading_zeros())
}

/// Returns the number of `width` bits that begins at bit `at`; 0 for bits behind the end, and for a width above 64.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize, width: u32) -> u64 {
    if width == 0 {
        return 0;
    }
    let (byte, shift) = (at >> 3, (at & 7) as u32);
    let mut wide = [0_u8; 16];
    let rest = bytes.get(byte..).unwrap_or_default();
    if let Some(nine) = rest.first_chunk::<9>() {
        if let Some(start) = wide.first_chunk_mut() {
            *start = *nine;
        }
    } else if let Some(start) = wide.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    let bits = (u128::from_le_bytes(wide) >> shift) as u64;
    match 64_u32.checked_sub(width) {
        Some(above) => bits << above >> above,
        None => 0,
    }
}

/// Puts numbers together.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    pending: u128,
    pending_bits: u32,
}

impl BitWriter {
    /// Appends a number, which has at most `width` bits.
    #[inline]
    pub(crate) fn push(&mut self, number: u64, width: u32) {
        self.pending |= u128::from(number) << self.pending_bits;
        self.pending_bits = self.pending_bits.wrapping_add(width);
        if self.pending_bits >= 64 {
            self.bytes
                .extend_from_slice(&(self.pending as u64).to_le_bytes());
            self.pending >>= 64;
            self.pending_bits = self.pending_bits.wrapping_sub(64);
        }
    }

    /// Returns how many bits there are.
    pub(crate) fn bits(&self) -> usize {
        self.bytes
            .len()
            .saturating_mul(8)
            .saturating_add(self.pending_bits as usize)
    }

    /// Returns the bytes; the last one's unused bits are zero.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let left = self.pending.to_le_bytes();
        let used = self.pending_bits.div_ceil(8) as usize;
        self.bytes
            .extend_from_slice(left.get(..used).unwrap_or_default());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec((0..=64_u32, any::<u64>()), 0..200)) {
            let mut writer = BitWriter::default();
            let mut expected = Vec::new();
            for (width, number) in numbers {
                let number = if width == 0 { 0 } else { number >> (64 - width) };
                expected.push((writer.bits(), width, number));
                writer.push(number, width);
            }
            let bytes = writer.finish();
            for (at, width, number) in expected {
                prop_assert!(width_of(number) <= width);
                prop_assert_eq!(read(&bytes, at, width), number);
            }
        }

        #[test]
        fn nothing_is_read_out_of_bounds(bytes: Vec<u8>, at in 0..2_000_usize, width: u32) {
            read(&bytes, at, width);
        }
    }
}
