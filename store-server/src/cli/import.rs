//! `carrack import`: repo exports into the store.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use carrack_client::{ImportOptions, ImportOutcome, ImportReport, Importer};
use carrack_repo::did_document::DID_DOCUMENT_BYTES_MAX;
use carrack_schema::codes::Exit;
use carrack_schema::limits::CHUNK_BYTES_MAX;
use carrack_schema::{Code, Did};
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::progress::Bar;
use super::{Failure, Result, verify_proof};
use crate::verdict::Status;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack import alice.car
  carrack import alice.car --did-doc alice.json   check the signature
  carrack import exports/                    every .car in a folder
  curl -s URL | carrack import --did did:plc:… -

Each CAR is verified whole (block hashes, tree, commit) before any of it is visible. One that is refused leaves the
store as it was; the others are still imported, and the exit code is 3.")]
pub(super) struct Arguments {
    /// CAR files, folders of .car files, or - for stdin
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Refuse a repo of another DID
    #[arg(long)]
    did: Option<Did>,
    /// The account's DID document: the commit's signature is checked with its key, its handle kept
    #[arg(long, value_name = "FILE")]
    did_doc: Option<PathBuf>,
    /// Refuse a commit whose signature is not checked
    #[arg(long)]
    require_signature: bool,
    /// Take a CAR that lacks record blocks; their CIDs are kept
    #[arg(long)]
    allow_partial: bool,
    /// The account's status, such as active, deactivated or takendown; one that is not active hides the repo
    #[arg(long)]
    status: Option<Status>,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let options = ImportOptions {
        did: arguments.did.as_ref().map(Did::to_string),
        size: None,
        did_document: match &arguments.did_doc {
            None => None,
            Some(file) => Some(verify_proof::read(file, DID_DOCUMENT_BYTES_MAX as u64)?),
        },
        require_signature: arguments.require_signature,
        allow_partial: arguments.allow_partial,
        status: arguments.status.as_ref().map(Status::to_string),
    };
    let mut exit = Exit::Ok;
    for source in expand(arguments.sources)? {
        let imported = if source.as_os_str() == "-" {
            // What came through a pipe is gone, so this is tried once.
            import(&door.session().importer(), &source, options.clone()).await
        } else {
            door.call(async |session| import(&session.importer(), &source, options.clone()).await)
                .await
        };
        match imported {
            Ok((outcome, report)) => print(outcome, &report, output)?,
            Err(failure) => {
                let failure = failure.about(source.display());
                output.failure(&failure);
                if exit == Exit::Ok {
                    exit = failure.code.exit();
                }
            }
        }
    }
    Ok(exit)
}

/// Replaces folders by the CAR files in them.
fn expand(sources: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in sources {
        if !source.is_dir() {
            files.push(source);
            continue;
        }
        let unreadable = |error| unreadable(&error).about(source.display());
        let mut found = Vec::new();
        for entry in source.read_dir().map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "car") {
                found.push(path);
            }
        }
        if found.is_empty() {
            let words = format!("{} holds no .car file", source.display());
            return Err(Failure::new(Code::InvalidArgument, words));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

async fn import(
    importer: &Importer,
    source: &Path,
    mut options: ImportOptions,
) -> Result<(&'static str, ImportReport)> {
    let mut input: Box<dyn Read> = if source.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(source).map_err(|error| unreadable(&error))?;
        options.size = file
            .metadata()
            .ok()
            .filter(|metadata| metadata.is_file())
            .map(|m| m.len());
        Box::new(file)
    };
    let name = source
        .file_name()
        .unwrap_or(source.as_os_str())
        .to_string_lossy()
        .into_owned();
    let bar = Bar::new(&name, options.size);
    let upload = importer.import(options);
    let reports = upload.progress();
    let send = async move {
        let mut chunk = vec![0; CHUNK_BYTES_MAX];
        loop {
            // Reading a local file between two awaits holds up nobody: this process does nothing else.
            match input.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) if upload.write(&chunk[..count]).await => {}
                Ok(_) => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
        Ok(upload.done().await?)
    };
    let outcome = tokio::select! {
        biased;
        outcome = send => outcome?,
        () = async { bar.follow(reports).await; std::future::pending().await } => unreachable!(),
    };
    match outcome {
        ImportOutcome::Imported(report) => Ok(("imported", report)),
        ImportOutcome::Unchanged(report) => Ok(("unchanged", report)),
        ImportOutcome::Rejected(rejection) => Err(Failure::new(rejection.code, rejection.words)),
    }
}

pub(super) fn unreadable(error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        _ => Code::Unavailable,
    };
    Failure::new(code, format!("cannot be read: {error}"))
}

fn print(outcome: &str, report: &ImportReport, output: &mut Output) -> Result {
    let info = &report.info;
    let source = &info.source;
    if output.is_json() {
        let collections: serde_json::Map<_, _> = report
            .collections
            .iter()
            .map(|collection| (collection.nsid.clone(), collection.records.into()))
            .collect();
        return output.object(&serde_json::json!({
            "did": source.did,
            "rev": source.rev,
            "commit": source.commit.to_string(),
            "records": info.records,
            "blocks": report.blocks,
            "bytesIn": info.bytes_in,
            "bytesStored": info.bytes_stored,
            "missing": info.missing,
            "invalid": info.invalid,
            "collections": collections,
            "verdict": source.verdict.as_str(),
            "outcome": outcome,
        }));
    }
    let mut notes = vec![source.verdict.words().to_owned()];
    if info.missing > 0 {
        notes.push(format!("{} records missing", info.missing));
    }
    if info.invalid > 0 {
        notes.push(format!(
            "{} records break the data model, see `carrack list --invalid`",
            info.invalid
        ));
    }
    output.line(&format!(
        "{outcome} {} at rev {}: {} records, {} blocks, {} bytes stored in {} ({})",
        source.did,
        source.rev,
        info.records,
        report.blocks,
        info.bytes_in,
        info.bytes_stored,
        notes.join(", "),
    ))
}
