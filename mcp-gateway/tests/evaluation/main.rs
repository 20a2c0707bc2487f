//! Thirty questions to the shipped archives, asked as a sensible agent would, over MCP on stdio.
//!
//! What is right is known by other means: [`oracle`] reads the same CAR files with a reader of its own. The report is
//! `mcp-gateway/EVALUATION.md`, and a run whose report differs fails: `UPDATE_EVALUATION=1` writes it anew. A question
//! whose tool is not in `tools/list` is pending there; once the tool is, its answer has to be right.

mod oracle;
mod questions;
mod report;
mod session;
mod tokens;

use std::path::{Path, PathBuf};

use oracle::Oracle;
use questions::{Outcome, QUESTIONS};
use session::Session;

/// The archives that are there from the start.
const HELD: [&str; 3] = ["varied", "varied-friend", "mid"];

/// What twenty rows of the mix may cost, of what `listRecords` answers: the text is what an agent reads.
const RATIO_MAX: f64 = 0.35;

/// A data folder of a test's own.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("cgw").tempdir().unwrap()
}

/// A shipped CAR file.
fn car(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/pds-made")
        .join(format!("{name}.car"))
        .canonicalize()
        .unwrap()
}

#[test]
fn thirty_questions_have_right_answers() {
    let data = folder();
    let mut session = Session::start(data.path());
    for name in HELD {
        session.import(&car(name));
    }
    let oracle = Oracle::new(HELD.map(car));
    let rows: Vec<_> = QUESTIONS
        .iter()
        .map(|question| (question, question.put(&mut session, &oracle)))
        .collect();
    let costs = tokens::compare(&mut session, &oracle.repos[2]);
    let report = report::write(&session, &rows, &costs);
    for (question, outcome) in &rows {
        if let Outcome::Wrong { answer, known } = outcome {
            panic!("{}\nanswered: {answer}\n   known: {known}", question.words);
        }
    }
    assert_eq!(rows.len(), 30);
    let (_, _, mix) = costs.last().unwrap();
    let ratio = mix.text / mix.records;
    assert!(
        ratio <= RATIO_MAX,
        "twenty rows cost {ratio:.2} of their JSON"
    );
    report::check(&report);
}

/// The cost of another archive, which is not ours to ship: `CARRACK_EVALUATION_CAR=FILE cargo test … -- --ignored --nocapture`.
#[test]
#[ignore = "needs an archive of the caller's"]
fn token_cost_of_another_archive() {
    let path = std::env::var_os("CARRACK_EVALUATION_CAR")
        .expect("CARRACK_EVALUATION_CAR names a CAR file");
    let data = folder();
    let mut session = Session::start(data.path());
    session.import(Path::new(&path));
    let oracle = Oracle::new([PathBuf::from(path)]);
    let costs = tokens::compare(&mut session, &oracle.repos[0]);
    // Not a print macro: what shipped code may not do, lints forbid here too.
    use std::io::Write;
    writeln!(std::io::stdout(), "{}", report::costs(&costs)).unwrap();
}
