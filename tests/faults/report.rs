//! [`Report`]: what a suite did and what it found wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// How many findings are shown.
const SHOWN: usize = 12;

/// Counts and findings of one suite. Ends in [`Report::finish`].
pub(crate) struct Report {
    suite: &'static str,
    counts: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Report {
    pub(crate) fn new(suite: &'static str) -> Self {
        quiet();
        Self {
            suite,
            counts: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str, more: usize) {
        *self.counts.entry(what).or_default() += more;
    }

    /// Runs one case. What it says is wrong, and a panic of it, is a finding under `label`.
    pub(crate) fn case(&mut self, label: &str, body: impl FnOnce(&mut Self) -> Result<(), String>) {
        let result = catch_unwind(AssertUnwindSafe(|| body(self)));
        let wrong = match result {
            Ok(Ok(())) => return,
            Ok(Err(words)) => words,
            Err(panic) => {
                let words = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                format!("panicked: {}", words.unwrap_or("without words"))
            }
        };
        self.wrong.push(format!("{label}: {wrong}"));
    }

    /// Returns how often something was counted.
    pub(crate) fn counted(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Says what was counted, and fails if anything was wrong.
    pub(crate) fn finish(self) {
        let mut line = self.suite.to_owned();
        for (what, count) in &self.counts {
            write!(line, " · {count} {what}").expect("a string takes all writes");
        }
        say(&line);
        assert!(
            self.wrong.is_empty(),
            "{line}\n{} of it wrong:\n{}",
            self.wrong.len(),
            self.wrong[..self.wrong.len().min(SHOWN)].join("\n")
        );
    }
}

/// Prints for who runs with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the counts are this suite's result")]
fn say(line: &str) {
    println!("{line}");
}

/// Panics are caught and counted here, some of them redb's own on damaged files: a line each is enough, and a backtrace
/// of each would take most of the time.
#[expect(
    clippy::print_stderr,
    reason = "a panic's place belongs into a failed test's output"
)]
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    });
}
