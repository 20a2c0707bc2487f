//! [`Rate`]: so many a second, and as many at once after a quiet second.

use std::time::Duration;

use tokio::time::Instant;

/// A rate. What was not used of one second is there in the next, and no longer.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second: f64::from(per_second),
            left: f64::from(per_second),
            at: now,
        }
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.at = now;
    }

    /// Takes one, or says how long to wait for it.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.advance(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(self.wait(1.0 - self.left))
    }

    /// Says how long to wait until all that was charged is paid for, if it is not.
    pub(super) fn is_paid(&mut self, now: Instant) -> Result<(), Duration> {
        self.advance(now);
        if self.left >= 0.0 {
            return Ok(());
        }
        Err(self.wait(-self.left))
    }

    /// Charges what was used already.
    pub(super) fn charge(&mut self, amount: usize) {
        self.left -= amount as f64;
    }

    fn wait(&self, amount: f64) -> Duration {
        Duration::from_secs_f64(amount / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_it_says_and_one_beyond() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        for _ in 0..10 {
            assert!(rate.take(start).is_ok());
        }
        let wait = rate.take(start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(rate.take(start + wait / 2).is_err());
        assert!(rate.take(start + wait).is_ok());
        assert!(rate.take(start + wait).is_err());
        // A quiet hour gives no more than a second.
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..20).filter(|_| rate.take(later).is_ok()).count(), 10);
    }

    #[test]
    fn a_debt_is_waited_for() {
        let start = Instant::now();
        let mut rate = Rate::new(1_000, start);
        rate.charge(1_000);
        assert!(rate.is_paid(start).is_ok());
        rate.charge(2_000);
        assert_eq!(rate.is_paid(start).unwrap_err(), Duration::from_secs(2));
        assert!(rate.is_paid(start + Duration::from_millis(1_999)).is_err());
        assert!(rate.is_paid(start + Duration::from_secs(2)).is_ok());
    }
}
