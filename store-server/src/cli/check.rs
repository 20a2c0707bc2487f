//! `carrack check`: what is damaged, whom it touches, and what can still be read.

use carrack_client::{CheckFinding, CheckReport, Session};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::progress::CheckBar;
use super::{Failure, Result};

/// Repos that a line names; `--json` names more.
const REPOS_SHOWN: usize = 8;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack check            decode every record, rebuild every tree, compare with the signed commits
  carrack check --quick    compare checksums only
  carrack check --json     one object a finding, then one of totals

Each finding is a line: the file, the part of it, what is wrong, the repos it touches, what can
still be read. Nothing is written or repaired: import a touched repo again, and it does not need
what is damaged any more.
Exit codes: 0 all is well, 4 damage was found, 1 the store could not be checked.")]
pub(super) struct Arguments {
    /// Compare checksums only: no rows, no trees, no commits
    #[arg(long)]
    quick: bool,
}

/// Says what to do about a store that cannot be opened for its damage.
pub(super) fn unopened(failure: Failure) -> Failure {
    match failure.code {
        Code::Damaged => Failure::new(
            Code::Damaged,
            format!(
                "{}; nothing was changed, and segment files may be sound (`carrack inspect FILE`): put catalog.redb back \
                 from a backup, or import the repos again into a new data folder",
                failure.words
            ),
        ),
        _ => failure,
    }
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    // What was told of a store that goes away would be told again by the next one, so it is not asked again.
    let report = check(door.session(), arguments.quick, output).await?;
    if output.is_json() {
        output.object(&totals(&report, arguments.quick))?;
    } else {
        output.line(&summary(&report, arguments.quick))?;
    }
    Ok(if report.findings == 0 {
        Exit::Ok
    } else {
        Exit::Damaged
    })
}

async fn check(session: &Session, quick: bool, output: &mut Output) -> Result<CheckReport> {
    let mut check = session.keeper().check(quick);
    let bar = CheckBar::new();
    let mut progress = check.progress();
    loop {
        tokio::select! {
            finding = check.next() => match finding {
                Some(finding) => bar.suspend(|| print(&finding, output))?,
                None => break,
            },
            Ok(()) = progress.changed() => bar.show(*progress.borrow_and_update()),
        }
    }
    drop(bar);
    Ok(check.done().await?)
}

fn print(finding: &CheckFinding, output: &mut Output) -> Result {
    if output.is_json() {
        output.object(&serde_json::json!({
            "file": finding.file,
            "section": finding.section,
            "words": finding.words,
            "repos": finding.repos,
            "reposCount": finding.repos_count,
            "readable": finding.readable,
        }))?;
    } else {
        let mut repos = finding.repos.clone();
        repos.truncate(REPOS_SHOWN);
        let more = finding.repos_count.saturating_sub(repos.len() as u64);
        if more > 0 {
            repos.push(format!("and {more} more"));
        }
        let touched = match repos.as_slice() {
            [] => "no repo".to_owned(),
            repos => repos.join(", "),
        };
        output.line(&format!(
            "{} {}: {}; touches {touched}; readable: {}",
            finding.file, finding.section, finding.words, finding.readable
        ))?;
    }
    // A check may take long, and a finding is worth knowing at once.
    output.flush()
}

fn totals(report: &CheckReport, quick: bool) -> serde_json::Value {
    serde_json::json!({
        "segments": report.segments,
        "repos": report.repos,
        "revisions": report.revisions,
        "records": report.records,
        "bytes": report.bytes,
        "findings": report.findings,
        "reposDamaged": report.repos_damaged,
        "quick": quick,
    })
}

fn summary(report: &CheckReport, quick: bool) -> String {
    let CheckReport {
        segments,
        repos,
        revisions,
        records,
        ..
    } = report;
    let checked = if quick {
        format!("{segments} segments and {repos} repos checked by checksums")
    } else {
        format!(
            "{segments} segments, {repos} repos at {revisions} revisions, {records} records checked"
        )
    };
    match report.findings {
        0 => format!("{checked}; no damage"),
        findings => format!(
            "{checked}; {findings} damaged parts, which touch {} repos",
            report.repos_damaged
        ),
    }
}
