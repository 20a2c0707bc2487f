//! What answers about records of several repos are put together from: rows, and where they come from.

use carrack_client::Source;
use schemars::JsonSchema;
use serde::Serialize;

use super::common;
use crate::render::Budget;
use crate::render::record::Line;

/// A line of an answer and what stands for it in the structured half.
pub(super) struct Row<I> {
    pub(super) line: Line,
    /// The line to show if the other is larger than a whole answer, which only a long one can be.
    pub(super) stub: Option<String>,
    pub(super) item: I,
}

/// The rows that fit.
pub(super) struct Fitting<I> {
    /// Their lines, in the order of the rows.
    pub(super) lines: Vec<String>,
    /// Some of them show a record in part.
    pub(super) has_cut: bool,
    pub(super) items: Vec<I>,
    /// There are more rows than fit.
    pub(super) is_cut: bool,
}

impl<I: Serialize> Row<I> {
    /// Returns the bytes it takes: the line and its end, the item and its comma.
    fn cost(&self) -> usize {
        self.line.text.len() + common::json_bytes(&self.item) + 2
    }
}

/// Returns the first rows that fit into the budget. One is always shown, or the same call would have to be made again.
pub(super) fn fitting<I: Serialize>(
    mut budget: Budget,
    rows: impl IntoIterator<Item = Row<I>>,
) -> Fitting<I> {
    let whole = budget.left();
    let mut fitting = Fitting {
        lines: Vec::new(),
        has_cut: false,
        items: Vec::new(),
        is_cut: false,
    };
    for mut row in rows {
        if row.cost() > whole
            && let Some(stub) = row.stub.take()
        {
            row.line = Line::whole(stub);
        }
        if !budget.take(row.cost()) && !fitting.items.is_empty() {
            fitting.is_cut = true;
            break;
        }
        fitting.has_cut |= row.line.is_cut;
        fitting.lines.push(row.line.text);
        fitting.items.push(row.item);
    }
    fitting
}

impl<I> Fitting<I> {
    /// Returns the lines, each after a line break.
    pub(super) fn body(&self) -> String {
        let mut body = String::new();
        for line in &self.lines {
            body.push('\n');
            body.push_str(line);
        }
        body
    }
}

/// A repo that an answer is about, in the structured half.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RepoItem {
    did: String,
    rev: String,
    verdict: &'static str,
}

/// Returns one line a repo and its items, each repo once: provenance is said once, not with every row.
pub(super) fn provenance<'a>(
    sources: impl IntoIterator<Item = &'a Source>,
) -> (String, Vec<RepoItem>) {
    let (mut lines, mut items) = (String::new(), Vec::<RepoItem>::new());
    for source in sources {
        let known = |item: &RepoItem| item.did == source.did && item.rev == source.rev;
        if items.iter().any(known) {
            continue;
        }
        lines.push_str("\nrepo ");
        lines.push_str(&common::repo_line(source));
        items.push(RepoItem {
            did: source.did.clone(),
            rev: source.rev.clone(),
            verdict: source.verdict.as_str(),
        });
    }
    (lines, items)
}
