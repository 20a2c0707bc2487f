//! [`Budget`]: how many bytes an answer may still take.

use carrack_schema::limits::{ANSWER_BYTES_MAX, KIB};

/// Fewest bytes a caller may ask for: a header with a cursor and one stub always fit for names of ordinary length.
pub const ANSWER_BYTES_MIN: usize = KIB;
const _: () = assert!(ANSWER_BYTES_MIN < ANSWER_BYTES_MAX);

/// Bytes left in an answer, text and structured half together.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: usize,
}

impl Budget {
    /// Starts a budget of `bytes_max`, of which `frame` are spoken for: header, footer, structured frame.
    pub fn new(bytes_max: usize, frame: usize) -> Self {
        Self {
            left: bytes_max.saturating_sub(frame),
        }
    }

    /// Takes `bytes` if they fit, and says whether they did.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Returns the bytes left.
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_budget_is_spent_to_the_last_byte_and_no_further() {
        let mut budget = Budget::new(10, 4);
        assert!(budget.take(5));
        assert!(!budget.take(2));
        assert!(budget.take(1));
        assert_eq!(budget.left(), 0);
        assert!(!Budget::new(3, 4).take(1));
    }
}
