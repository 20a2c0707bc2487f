//! `carrack watch`: what changes in the store, as it does.

use carrack_client::{Changes, Selection};
use carrack_schema::Did;
use carrack_schema::codes::Exit;
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack watch                                  all repos
  carrack watch did:plc:… did:web:… | jq -r .did

Prints one JSON object for each repo that changed: did, kind (imported, recordDeleted, repoDeleted, status), rev, commit,
records. Says `watching` on stderr once nothing is missed any more. {\"missed\": true} says that there was more than the store keeps for a slow reader. Ends when interrupted, or with
the store that it watches.")]
pub(super) struct Arguments {
    /// These repos only
    #[arg(value_name = "DID")]
    repos: Vec<Did>,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let dids = arguments.repos.iter();
    let repos = match &arguments.repos[..] {
        [] => Selection::All,
        _ => Selection::Only(dids.map(|did| did.as_str().to_owned()).collect()),
    };
    let watch = door.call(async |session| Ok(session.store().watch(repos.clone()).await?));
    let mut watch = watch.await?;
    output.note("watching");
    let interrupted = tokio::signal::ctrl_c();
    let mut interrupted = std::pin::pin!(interrupted);
    loop {
        let told = tokio::select! {
            told = watch.next() => told,
            _ = &mut interrupted => None,
        };
        let Some(told) = told else {
            return Ok(Exit::Ok);
        };
        print(&told.map_err(Failure::from)?, output)?;
        if output.is_closed() {
            return Ok(Exit::Ok);
        }
    }
}

fn print(told: &Changes, output: &mut Output) -> Result {
    for change in &told.changes {
        output.object(&serde_json::json!({
            "did": change.did,
            "kind": change.kind.as_str(),
            "rev": change.rev,
            "commit": change.commit.map(|cid| cid.to_string()),
            "records": change.records,
        }))?;
    }
    if told.missed {
        output.object(&serde_json::json!({ "missed": true }))?;
    }
    // Whoever reads this waits for it.
    output.flush()
}
