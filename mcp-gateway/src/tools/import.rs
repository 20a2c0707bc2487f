//! `at_import`: a CAR file into the archive.

use carrack_client::{Error, ImportOptions, ImportOutcome, ImportReport, Phase, Progress, Session};
use carrack_schema::{Code, Did};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::common;
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::frame::{count, counted};
use crate::schema;
use crate::server::{Caller, Policy};
use crate::source::{CarFile, ImportRule};

pub(crate) const NAME: &str = "at_import";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Path of a .car file (a repo export) on this machine
    source: String,
    /// Refuse a repo of another DID
    did: Option<String>,
}

/// The structured half.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Output {
    outcome: &'static str,
    did: String,
    rev: String,
    commit: String,
    verdict: &'static str,
    records: u64,
    blocks: u64,
    bytes_in: u64,
    bytes_stored: u64,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "Imports an account's repo export (CAR file), or brings a held one up to date. All hashes and the tree are \
         verified before any of it is visible; a refused file changes nothing. Local files only: it downloads \
         nothing. Example: {\"source\":\"/home/me/repo.car\"}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("outcome"))
    .with_annotations(
        ToolAnnotations::new()
            .read_only(false)
            // A newer revision takes the place of the held one, whose deleted records are then gone.
            .destructive(true)
            .idempotent(true)
            .open_world(false),
    )
}

pub(crate) async fn run(
    connection: &Connection,
    policy: &Policy,
    caller: &Caller,
    arguments: JsonObject,
) -> Result<Answer, Refusal> {
    let path = match policy.import {
        ImportRule::Below(_) => "repo.car",
        ImportRule::AnyFile | ImportRule::Nothing => "/home/me/repo.car",
    };
    let example = json!({ "source": path });
    let arguments: Arguments = common::arguments(NAME, arguments, &example)?;
    let did = arguments.did.as_deref().map(str::parse::<Did>).transpose();
    let did = did.map_err(|_| {
        Refusal::new(
            Code::InvalidArgument,
            "reading did",
            "it is not a valid DID",
        )
        .about(arguments.did.as_deref().unwrap_or_default())
        .hint("leave did out, or write a DID such as did:plc:ewvi7nxzyoun6zhxrhs64oiz")
    })?;
    let what = "importing a file";
    let source = arguments.source.as_str();
    if ELSEWHERE.iter().any(|start| source.starts_with(start)) {
        let why = "it is no path of a file here, and nothing is downloaded";
        return Err(Refusal::new(Code::InvalidArgument, what, why).about(source).hint(
            "ask the user for the repo's export as a file (com.atproto.sync.getRepo of the account's PDS gives it)",
        ));
    }
    let file = policy
        .import
        .open(&arguments.source)
        .await
        .map_err(|error| unreadable(source, &error).example(NAME, &example))?;
    let options = ImportOptions {
        did: did.map(|did| did.to_string()),
        size: Some(file.size()),
        ..ImportOptions::default()
    };
    let ended =
        connection.write(|session| async move { upload(&session, file, options, caller).await });
    let outcome = match ended.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return Err(unreadable(source, &error)),
        Err(error) if error.code() == Code::Unavailable => {
            let why = format!(
                "{}; whether the import took effect is unknown",
                error.words()
            );
            let refusal = Refusal::new(Code::UnknownOutcome, what, why).about(source);
            return Err(refusal.hint(
                "at_overview {} shows the revisions held; the import may be repeated safely",
            ));
        }
        Err(error) => return Err(Refusal::of(&error, what).about(source)),
    };
    match outcome {
        ImportOutcome::Imported(report) => Ok(render("imported", &report)),
        ImportOutcome::Unchanged(report) => Ok(render("unchanged", &report)),
        ImportOutcome::Rejected(rejection) => {
            // What does not fit is shown, and that is the file's.
            let why = format!("the file is not a sound repo export > {}", rejection.words);
            let hint = match rejection.code {
                Code::WrongDid => {
                    "the archive is as it was; leave did out, or name that account's file"
                }
                _ => "the archive is as it was; get a fresh export of the repo and import that",
            };
            Err(Refusal::new(rejection.code, what, why)
                .about(source)
                .hint(hint))
        }
    }
}

/// What names a repo elsewhere begins so; a file of such a name is written `./did:…`.
const ELSEWHERE: [&str; 4] = ["https://", "http://", "at://", "did:"];

fn unreadable(source: &str, error: &std::io::Error) -> Refusal {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::PermissionDenied => Code::Denied,
        std::io::ErrorKind::InvalidInput => Code::InvalidArgument,
        _ => Code::Unavailable,
    };
    let why = format!("the file cannot be read: {error}");
    Refusal::new(code, "importing a file", why).about(source)
}

/// Sends the file and tells the caller how far it is. Dropped before all is sent, it aborts the import; after that
/// the import ends by itself, whole or not at all.
///
/// The inner error is the file's: the connection is as good as before.
async fn upload(
    session: &Session,
    mut file: CarFile,
    options: ImportOptions,
    caller: &Caller,
) -> Result<Result<ImportOutcome, std::io::Error>, Error> {
    let upload = session.importer().import(options);
    let reports = upload.progress();
    let send = async move {
        loop {
            let (rest, chunk) = match file.chunk().await {
                Ok(read) => read,
                Err(error) => return Ok(Err(error)),
            };
            if chunk.is_empty() || !upload.write(&chunk).await {
                break;
            }
            file = rest;
        }
        upload.done().await.map(Ok)
    };
    tokio::select! {
        biased;
        outcome = send => outcome,
        () = tell(reports, caller) => unreachable!("telling goes on until the import ends"),
    }
}

/// Passes on progress for as long as it is polled.
async fn tell(mut reports: watch::Receiver<Progress>, caller: &Caller) {
    let mut told = 0;
    while reports.changed().await.is_ok() {
        let progress = *reports.borrow_and_update();
        let percent = percent(&progress);
        // Progress has to grow; news of the same percent is no news.
        if percent > told {
            told = percent;
            caller.progress(percent, words(&progress)).await;
        }
    }
    std::future::pending().await
}

/// As many records verified count as half of them, where their number is not known: repos mostly have fewer.
const RECORDS_HALFWAY: u64 = 20_000;

/// Receiving is the first half, verifying the second; a hundred is the result itself.
///
/// How many records there are is known once the tree was walked. Until then there is more behind the more there was: what is
/// told grows all the time, and ever slower.
fn percent(progress: &Progress) -> u8 {
    let (start, share) = match progress.phase {
        Phase::Receiving => (0, 50),
        Phase::Packing => (50, 49),
        Phase::Committing => return 99,
    };
    let (done, total) = match progress.total {
        0 => (progress.done, progress.done.saturating_add(RECORDS_HALFWAY)),
        total => (progress.done.min(total), total),
    };
    let part = u128::from(done) * share / u128::from(total);
    start + u8::try_from(part).unwrap_or(0)
}

fn words(progress: &Progress) -> String {
    match progress.phase {
        Phase::Receiving => {
            format!(
                "received {} of {} bytes",
                count(progress.done),
                count(progress.total)
            )
        }
        Phase::Packing if progress.total == 0 => {
            format!("verified {}", counted(progress.done, "record"))
        }
        Phase::Packing => {
            format!(
                "verified {} of {} records",
                count(progress.done),
                count(progress.total)
            )
        }
        Phase::Committing => "committing".to_owned(),
    }
}

/// Most collections named after an import; the rest is for `at_overview`.
const COLLECTIONS_MAX: usize = 20;

fn render(outcome: &'static str, report: &ImportReport) -> Answer {
    let (info, source) = (&report.info, &report.info.source);
    let mut text = format!(
        "{outcome} · {} · {}, {} · {} bytes in, {} stored",
        common::repo_line(source),
        counted(info.records, "record"),
        counted(report.blocks, "block"),
        count(info.bytes_in),
        count(info.bytes_stored),
    );
    for collection in report.collections.iter().take(COLLECTIONS_MAX) {
        text.push('\n');
        text.push_str(&collection.nsid);
        text.push_str(" · ");
        text.push_str(&count(collection.records));
    }
    if let Some(more) = report
        .collections
        .len()
        .checked_sub(COLLECTIONS_MAX)
        .filter(|more| *more > 0)
    {
        let call = json!({ "actor": source.did });
        text.push('\n');
        text.push_str(&counted(more as u64, "more collection"));
        text.push_str(": at_overview ");
        text.push_str(&call.to_string());
    }
    let output = Output {
        outcome,
        did: source.did.clone(),
        rev: source.rev.clone(),
        commit: source.commit.to_string(),
        verdict: source.verdict.as_str(),
        records: info.records,
        blocks: report.blocks,
        bytes_in: info.bytes_in,
        bytes_stored: info.bytes_stored,
    };
    Answer::new(text, &output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_grows_from_phase_to_phase() {
        let at = |phase, done, total| percent(&Progress { phase, done, total });
        let steps = [
            at(Phase::Receiving, 0, 0),
            at(Phase::Receiving, 1, 2),
            at(Phase::Receiving, 2, 2),
            at(Phase::Packing, 1, 2),
            at(Phase::Packing, 2, 2),
            at(Phase::Committing, 0, 0),
        ];
        assert_eq!(steps, [0, 25, 50, 74, 99, 99]);
        let unknown =
            [0, 2_000, 20_000, 200_000, 2_000_000].map(|done| at(Phase::Packing, done, 0));
        assert_eq!(unknown, [50, 54, 74, 94, 98]);
        assert_eq!(at(Phase::Receiving, u64::MAX, 1), 50);
    }
}
