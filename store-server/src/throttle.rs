//! [`TokenBucket`]: so many bytes a second, and no more than a second's worth at once.

/// What may be spent. Times are in microseconds; the caller has the clock.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    bytes_per_second: u64,
    /// May be negative: what is spent was written already, and is waited for afterwards.
    bytes: i64,
    filled: i64,
}

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

impl TokenBucket {
    /// Makes a full bucket.
    pub(crate) fn new(bytes_per_second: u64, now: i64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            bytes: clamped(bytes_per_second),
            filled: now,
        }
    }

    /// Takes bytes out, `times` as many where somebody else needs the disk, and returns how long to wait in microseconds.
    pub(crate) fn spend(&mut self, bytes: u64, times: u64, now: i64) -> u64 {
        let passed = u64::try_from(now.saturating_sub(self.filled)).unwrap_or(0);
        let earned = u128::from(passed) * u128::from(self.bytes_per_second) / u128::from(SECOND);
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        let full = clamped(self.bytes_per_second);
        self.filled = now;
        self.bytes = self.bytes.saturating_add(earned).min(full);
        self.bytes = self
            .bytes
            .saturating_sub(clamped(bytes.saturating_mul(times)));
        let owed = u128::from(self.bytes.min(0).unsigned_abs());
        let wait = owed * u128::from(SECOND) / u128::from(self.bytes_per_second);
        u64::try_from(wait).unwrap_or(u64::MAX)
    }
}

fn clamped(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_free_and_then_it_costs_time() {
        let mut bucket = TokenBucket::new(1_000, 0);
        assert_eq!(bucket.spend(1_000, 1, 0), 0);
        assert_eq!(bucket.spend(500, 1, 0), 500_000);
        // Waited for; then a tenth of a second's worth.
        assert_eq!(bucket.spend(100, 1, 600_000), 0);
        assert_eq!(bucket.spend(100, 4, 600_000), 400_000);
    }

    #[test]
    fn a_long_rest_saves_up_no_more_than_a_second() {
        let mut bucket = TokenBucket::new(1_000, 0);
        assert_eq!(bucket.spend(1_500, 1, i64::MAX), 500_000);
        // A clock that goes back earns nothing.
        assert_eq!(bucket.spend(0, 1, 0), 500_000);
    }
}
