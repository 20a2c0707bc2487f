//! `EVALUATION.md`: written from a run, and compared with the one that is kept.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::questions::{Outcome, Question};
use crate::session::{Cost, Session};
use crate::tokens::Compared;

const HEAD: &str = "\
# Evaluation

Written by `UPDATE_EVALUATION=1 cargo test -p carrack-gateway --test evaluation`; the same test fails where a run differs from this file.

Thirty questions to the shipped archives (`tests/fixtures/pds-made`: varied, varied-friend, mid), each with the tool calls a sensible agent would
make, through `carrack-mcp` on stdio. What is right is known by other means: a second reader of the CAR files, which the test has for itself and
which is compared with the PDS's own record tables. Tokens are o200k's. *Asked* is what the model writes (tool names and arguments), *read* the
text of the answers, *structured* their other half, which few clients show to the model. Sealed cursors and paths count as stand-ins of equal length.
";

const COSTS: &str = "
## Twenty rows against JSON

Twenty rows of `at_list` in its default form, with its header, beside the same records as JSON without white space: as the values alone, and as
`com.atproto.repo.listRecords` answers, with at-uri and CID. The default form cuts post texts at 160 characters and says how to get the rest.
The ratios are of the text, and in brackets of the text and the structured half together. The mix weighs the kinds as the archive holds them.

";

type Costs = [(&'static str, usize, Compared)];

pub(crate) fn write(session: &Session, rows: &[(&Question, Outcome)], costs: &Costs) -> String {
    let mut out = HEAD.to_owned();
    let count =
        |fits: fn(&Outcome) -> bool| rows.iter().filter(|(_, outcome)| fits(outcome)).count();
    let right = count(|outcome| matches!(outcome, Outcome::Right(_)));
    let pending = count(|outcome| matches!(outcome, Outcome::Pending(_)));
    let definitions = session.tokens(&Value::from(session.tools.clone()).to_string());
    let mut total = Cost::default();
    for (_, outcome) in rows {
        if let Outcome::Right(cost) = outcome {
            total.calls += cost.calls;
            total.asked += cost.asked;
            total.read += cost.read;
            total.structured += cost.structured;
        }
    }
    writeln!(
        out,
        "\n**{right} right, {} wrong, {pending} pending**; {} calls; {} tokens asked, {} read, {} structured. The tools' definitions ({} tools) are {definitions} \
         tokens more, once a session.\n",
        rows.len() - right - pending, total.calls, total.asked, total.read, total.structured, session.tools.len(),
    )
    .unwrap();
    out.push_str("| | Question | Tools | Calls | Asked | Read | Structured | |\n|--:|---|---|--:|--:|--:|--:|---|\n");
    for (at, (question, outcome)) in rows.iter().enumerate() {
        let tools = question.tools.join(", ");
        let (cost, word) = match outcome {
            Outcome::Right(cost) => (
                format!(
                    "{} | {} | {} | {}",
                    cost.calls, cost.asked, cost.read, cost.structured
                ),
                "right".to_owned(),
            ),
            Outcome::Wrong { .. } => ("| | |".to_owned(), "**wrong**".to_owned()),
            Outcome::Pending(tool) => ("| | |".to_owned(), format!("pending: {tool}")),
        };
        writeln!(
            out,
            "| {} | {} | {tools} | {cost} | {word} |",
            at + 1,
            question.words
        )
        .unwrap();
    }
    out.push_str(COSTS);
    out.push_str(&self::costs(costs));
    out
}

/// Returns the table of costs.
pub(crate) fn costs(costs: &Costs) -> String {
    let mut out = "| Records | held | `at_list`, text | structured | values | ratio | listRecords | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|\n".to_owned();
    for (name, held, cost) in costs {
        let ratio = |json: f64| {
            format!(
                "{:.2} ({:.2})",
                cost.text / json,
                (cost.text + cost.structured) / json
            )
        };
        writeln!(
            out,
            "| {name} | {held} | {:.0} | {:.0} | {:.0} | {} | {:.0} | {} |",
            cost.text,
            cost.structured,
            cost.values,
            ratio(cost.values),
            cost.records,
            ratio(cost.records),
        )
        .unwrap();
    }
    out
}

/// Compares a report with the one that is kept, or keeps it.
pub(crate) fn check(report: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("EVALUATION.md");
    if std::env::var_os("UPDATE_EVALUATION").is_some() {
        std::fs::write(&path, report).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = report
        .lines()
        .zip(kept.lines())
        .find(|(new, old)| new != old);
    assert!(
        report == kept,
        "EVALUATION.md is not what this run gives (UPDATE_EVALUATION=1 writes it anew); first difference: {differs:#?}"
    );
}
