//! [`Tally`]: the count of a family's vectors, which must add up.

use std::collections::BTreeMap;
use std::io::Write;

/// Writes a line to stderr, past the capture of the test's output.
pub(crate) fn say(words: &str) {
    let _closed = writeln!(std::io::stderr(), "{words}");
}

/// How many vectors of a family passed, and why the others do not apply.
pub(crate) struct Tally {
    family: &'static str,
    passed_count: usize,
    aside: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(crate) fn new(family: &'static str) -> Self {
        Self {
            family,
            passed_count: 0,
            aside: BTreeMap::new(),
        }
    }

    /// Counts a vector that did as it says; the caller has asserted it.
    pub(crate) fn pass(&mut self) {
        self.passed_count += 1;
    }

    /// Counts a vector that says nothing about Carrack.
    pub(crate) fn set_aside(&mut self, reason: &'static str) {
        *self.aside.entry(reason).or_default() += 1;
    }

    /// Prints the counts.
    ///
    /// # Panics
    /// If they are not those expected: passed, and not applicable.
    pub(crate) fn finish(self, passed_count: usize, aside_count: usize) {
        let set_aside: usize = self.aside.values().sum();
        let reasons = self.aside.iter();
        let reasons = reasons.map(|(reason, count)| format!("; {count} not applicable ({reason})"));
        let reasons: String = reasons.collect();
        say(&format!(
            "{}: {} passed{reasons}",
            self.family, self.passed_count
        ));
        assert_eq!(
            (self.passed_count, set_aside),
            (passed_count, aside_count),
            "{}: passed and not applicable",
            self.family
        );
    }
}
