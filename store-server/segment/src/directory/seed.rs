//! [`Seed`]: SplitMix64, so that a fault can be had again. For [`super::mem`] and [`super::faulty`] only.

/// A seeded generator; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub(super) struct Seed(u64);

impl Seed {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, and 0 if `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 1)
            .unwrap_or(usize::MAX)
            .checked_rem(end)
            .unwrap_or(0)
    }

    /// Returns true half of the time.
    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
