//! [`Calls`]: how often each tool was called, and how that went, for whoever runs the gateway.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use carrack_schema::Code;

/// Counts of tool calls; shared by all gateways of a process.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<(String, &'static str), u64>>);

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused, in-band.
    Refused(Code),
    /// Its caller left.
    Cancelled,
    /// There is no such tool for this caller.
    Unknown,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Refused(code) => code.as_str(),
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

impl Calls {
    /// Counts a call. A name that is no tool's is a caller's free text, and does not become a name of ours.
    pub fn count(&self, tool: &str, outcome: Outcome) {
        let tool = match outcome {
            Outcome::Unknown => "",
            _ => tool,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts
            .entry((tool.to_owned(), outcome.as_str()))
            .or_default() += 1;
    }

    /// Returns the counts by tool and outcome, in their order.
    pub fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((tool, outcome), count)| (tool.clone(), *outcome, *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_one() {
        let calls = Calls::default();
        for name in ["a", "b\"} 1\n"] {
            calls.count(name, Outcome::Unknown);
        }
        calls.count("at_get", Outcome::Refused(Code::NotFound));
        let expected = [
            (String::new(), "unknown", 2),
            ("at_get".to_owned(), "notFound", 1),
        ];
        assert_eq!(calls.counts(), expected);
    }
}
