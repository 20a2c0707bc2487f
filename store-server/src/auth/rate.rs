//! [`Rate`]: so much a second, refused when there is none left; the caller has the clock.

use std::sync::{Mutex, PoisonError};

/// Millionths in one.
const ONE: i128 = 1_000_000;

/// So much a second, and no more than a second's worth at once. What is larger than that is let in when the second is
/// whole, and owed afterwards.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// In millionths, so that small rates lose nothing to rounding. Negative while something is owed.
    level: i128,
    /// In microseconds.
    filled: i64,
}

impl Rate {
    pub(super) fn new(per_second: u64, now: i64) -> Self {
        let bucket = Bucket {
            level: i128::from(per_second) * ONE,
            filled: now,
        };
        Self {
            per_second,
            bucket: Mutex::new(bucket),
        }
    }

    /// Takes an amount out.
    ///
    /// # Errors
    /// How many microseconds to wait for it; nothing was taken.
    pub(super) fn take(&self, amount: u64, now: i64) -> Result<(), u64> {
        let full = i128::from(self.per_second) * ONE;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that goes back earns nothing.
        let passed = now.saturating_sub(bucket.filled).max(0);
        bucket.filled = now;
        let earned = i128::from(passed).saturating_mul(self.per_second.into());
        bucket.level = full.min(bucket.level.saturating_add(earned));
        let amount = i128::from(amount) * ONE;
        let needed = amount.min(full);
        if bucket.level >= needed {
            bucket.level -= amount;
            return Ok(());
        }
        let rate = i128::from(self.per_second.max(1));
        let wait = (needed - bucket.level + rate - 1) / rate;
        Err(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Puts back what was taken for something that did not happen.
    pub(super) fn give_back(&self, amount: u64) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.level += i128::from(amount) * ONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_there_at_once_and_then_comes_by_time() {
        let rate = Rate::new(10, 0);
        for _ in 0..10 {
            rate.take(1, 0).unwrap();
        }
        assert_eq!(rate.take(1, 0), Err(100_000));
        assert_eq!(rate.take(1, 99_999), Err(1));
        rate.take(1, 100_000).unwrap();
        assert_eq!(rate.take(1, 100_000), Err(100_000));
        rate.give_back(1);
        rate.take(1, 100_000).unwrap();
    }

    #[test]
    fn asking_often_loses_nothing_of_a_small_rate() {
        let rate = Rate::new(1, 0);
        rate.take(1, 0).unwrap();
        let refused = (1..1_000).filter(|step| rate.take(1, step * 1_000).is_err());
        assert_eq!(refused.count(), 999);
        rate.take(1, 1_000_000).unwrap();
    }

    #[test]
    fn what_is_larger_than_a_second_waits_for_a_whole_one_and_is_owed() {
        let rate = Rate::new(100, 0);
        rate.take(250, 0).unwrap();
        // 150 are owed, and a whole second must be there again.
        assert_eq!(rate.take(250, 0), Err(2_500_000));
        assert_eq!(rate.take(1, 0), Err(1_510_000));
        rate.take(250, 2_500_000).unwrap();
    }

    #[test]
    fn a_long_rest_saves_up_no_more_than_a_second_and_a_clock_may_jump() {
        let rate = Rate::new(10, 0);
        rate.take(10, i64::MAX).unwrap();
        assert_eq!(rate.take(1, i64::MAX), Err(100_000));
        assert_eq!(rate.take(1, 0), Err(100_000));
        let most = Rate::new(u64::MAX, i64::MIN);
        most.take(u64::MAX, i64::MAX).unwrap();
    }
}
