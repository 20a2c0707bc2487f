//! `carrack compact`: merge segment files now.

use carrack_schema::codes::Exit;
use carrack_schema::names::RepoName;
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::stats::{object, on_disk};
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack compact                 few large segment files in the place of many
  carrack compact --cold          and smaller ones, which take longer to read
  carrack compact did:plc:…       the files of one repo

Merging also goes on in the background; this does all of it at once, without a limit on what it
writes, and folds the revisions that retention does not hold any more. A file with something
damaged in it stays as it is.
Exit codes: 0 ok, 4 a damaged file stays as it is, 5 no such repo.")]
pub(super) struct Arguments {
    /// Only the segment files of this repo: DID or HANDLE
    #[arg(value_name = "REPO")]
    repo: Option<RepoName>,
    /// Compress pages
    #[arg(long)]
    cold: bool,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let name = arguments.repo.as_ref().map(RepoName::to_string);
    let compacted = door.call(async |session| {
        let keeper = session.keeper();
        Ok(keeper.compact(name.as_deref(), arguments.cold).await??)
    });
    let about = |failure: Failure| match &arguments.repo {
        Some(repo) => failure.about(repo),
        None => failure,
    };
    let compacted = compacted.await.map_err(about)?;
    let (before, after) = (compacted.before, compacted.after);
    if output.is_json() {
        output.object(&serde_json::json!({
            "before": object(&before),
            "after": object(&after),
            "damagedSegments": compacted.damaged,
        }))?;
    } else {
        output.line(&format!(
            "before: {} segments, {} bytes on disk",
            before.segments,
            on_disk(&before)
        ))?;
        output.line(&format!(
            "after:  {} segments ({} cold), {} bytes on disk",
            after.segments,
            after.segments_cold,
            on_disk(&after)
        ))?;
    }
    if compacted.damaged == 0 {
        return Ok(Exit::Ok);
    }
    output.note(&format!(
        "{} damaged segments stay as they are; `carrack check` says what is damaged",
        compacted.damaged
    ));
    Ok(Exit::Damaged)
}
