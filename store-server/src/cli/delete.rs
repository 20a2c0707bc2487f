//! `carrack delete`: a repo or a record out of the store, once somebody has said yes.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::str::FromStr;

use carrack_client::{Absent, Session};
use carrack_schema::codes::Exit;
use carrack_schema::names::RepoName;
use carrack_schema::time::rfc3339;
use carrack_schema::{Code, RecordPath};
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::target::RecordTarget;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack delete at://did:plc:…/app.bsky.feed.post/3k…   one record
  carrack delete did:plc:…                               a repo with all of its revisions
  carrack delete did:plc:… --purge --yes                 at once, and without asking

What is deleted is hidden at every revision at once, for good: a record does not come back with a
later import; a repo may be imported again. The bytes are off the disk within the hours that
`serve --purge-hours` says, or with --purge before this ends. It is only deleted here: its account
still has it.
Exit codes: 0 ok, 1 not confirmed, 4 hidden, but damage keeps the bytes there, 5 no such thing.")]
pub(super) struct Arguments {
    /// What to delete: a repo (DID or HANDLE), or a record (at://DID/COLLECTION/RKEY)
    #[arg(value_name = "DID|AT-URI")]
    target: DeleteTarget,
    /// Take its bytes off the disk before this ends
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Arguments {
    /// Refuses before the store is opened what nobody could be asked about.
    pub(super) fn check_confirmable(&self) -> Result {
        if self.yes || std::io::stdin().is_terminal() {
            return Ok(());
        }
        let words = format!(
            "{}: nobody can be asked whether to delete it, for stdin is no terminal; say --yes",
            self.target
        );
        Err(Failure::new(Code::InvalidArgument, words))
    }
}

/// A repo or a record.
#[derive(Clone, Debug)]
enum DeleteTarget {
    Repo(RepoName),
    Record(RecordTarget),
}

impl DeleteTarget {
    fn repo(&self) -> String {
        match self {
            Self::Repo(repo) | Self::Record(RecordTarget { repo, .. }) => repo.to_string(),
        }
    }

    fn path(&self) -> Option<&RecordPath> {
        match self {
            Self::Repo(_) => None,
            Self::Record(record) => Some(&record.path),
        }
    }
}

impl FromStr for DeleteTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("at://").unwrap_or(text);
        match bare.matches('/').count() {
            0 => bare
                .parse()
                .map(Self::Repo)
                .map_err(|error| format!("{error}; write DID, HANDLE or at://DID/COLLECTION/RKEY")),
            1 => Err(format!(
                "`{text}` names a collection; records are deleted one by one, `carrack list {text}` shows them"
            )),
            _ => text.parse().map(Self::Record),
        }
    }
}

impl fmt::Display for DeleteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repo(repo) => repo.fmt(f),
            Self::Record(record) => record.fmt(f),
        }
    }
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let Arguments { target, purge, yes } = arguments;
    let about = |failure: Failure| failure.about(target);
    if !yes && !confirm(door.session(), target).await.map_err(about)? {
        output.note("nothing was deleted");
        return Ok(Exit::Failed);
    }
    // Not asked again where the store goes away meanwhile: then it may be deleted, and would not be found.
    let path = target.path().map(RecordPath::to_string);
    let keeper = door.session().keeper();
    let deleted = keeper.delete(&target.repo(), path.as_deref(), *purge).await;
    let deleted = deleted
        .map_err(Failure::from)
        .and_then(|found| Ok(found?))
        .map_err(about)?;
    let purge_by = deleted.purge_by.map(rfc3339);
    if output.is_json() {
        output.object(&serde_json::json!({
            "did": deleted.did,
            "path": path,
            "records": deleted.records,
            "purged": purge_by.is_none(),
            "purgeBy": purge_by,
        }))?;
        return Ok(Exit::Ok);
    }
    let what = match &path {
        None => format!("{} ({} records)", deleted.did, deleted.records),
        Some(path) => format!("at://{}/{path}", deleted.did),
    };
    let bytes = match purge_by {
        None => "the bytes are off the disk".to_owned(),
        Some(by) => format!("the bytes are off the disk by {by}"),
    };
    output.line(&format!(
        "deleted {what}: hidden at every revision, {bytes}"
    ))?;
    Ok(Exit::Ok)
}

/// Asks on the terminal; anything but a yes is a no.
async fn confirm(session: &Session, target: &DeleteTarget) -> Result<bool> {
    let what = match target {
        DeleteTarget::Record(record) => format!("the record {record}"),
        // A hidden repo says nothing of itself, and may be deleted all the same.
        DeleteTarget::Repo(repo) => match session.store().repo(&repo.to_string()).info().await? {
            Ok(info) => format!(
                "the repo {} with {} records and all of its revisions",
                info.source.did, info.records
            ),
            Err(Absent::Inactive) => format!("the hidden repo {repo} with all of its revisions"),
            Err(absent) => return Err(absent.into()),
        },
    };
    let unheard = |error: std::io::Error| Failure::new(Code::Unavailable, error.to_string());
    let mut stderr = std::io::stderr();
    write!(stderr, "Delete {what}? [y/N] ").map_err(unheard)?;
    stderr.flush().map_err(unheard)?;
    let mut answer = String::new();
    // Reading a terminal between two awaits holds up nobody but the store in this process, which has no other work.
    std::io::stdin().read_line(&mut answer).map_err(unheard)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}
