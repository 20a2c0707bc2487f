//! `carrack verify-proof`: a proof checked, without a store.

use std::io::Read;
use std::path::{Path, PathBuf};

use carrack_repo::PublicKey;
use carrack_repo::did_document::{DID_DOCUMENT_BYTES_MAX, DidDocument};
use carrack_repo::proof::{
    Finding, PROOF_BYTES_MAX, ProofOutcome, ProofQuestion, paths_in, verify_proof,
};
use carrack_schema::codes::Exit;
use carrack_schema::names::RepoName;
use carrack_schema::{Code, Did, RecordPath};
use clap::Args;

use super::output::Output;
use super::target::RecordTarget;
use super::{Failure, Result};
use crate::error::Error;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack verify-proof post.proof.car --did-doc alice.json
  carrack verify-proof none.proof.car at://did:plc:…/app.bsky.feed.post/3k… --did-doc alice.json

The signature is checked with the key that the DID document names; without one the proof holds only if the commit
itself is trusted. Exit code 3 means that the file proves nothing.")]
pub(super) struct Arguments {
    /// The proof, as `carrack prove` or `com.atproto.sync.getRecord` gives it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The record it should be about: at://DID/COLLECTION/RKEY; without one, every record that the file holds. That there
    /// is none is shown only of a record that is named
    #[arg(value_name = "AT-URI")]
    record: Option<RecordTarget>,
    /// The account's DID document
    #[arg(long, value_name = "FILE")]
    did_doc: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit> {
    let about = |failure: Failure| failure.about(arguments.file.display());
    let did = match &arguments.record {
        Some(RecordTarget {
            repo: RepoName::Did(did),
            ..
        }) => Some(did),
        Some(
            record @ RecordTarget {
                repo: RepoName::Handle(_),
                ..
            },
        ) => {
            let words = "a proof is about a DID; a handle may be anybody's";
            return Err(Failure::new(Code::InvalidArgument, words).about(record));
        }
        None => None,
    };
    let car = read(&arguments.file, PROOF_BYTES_MAX)?;
    let document = arguments.did_doc.as_deref().map(document).transpose()?;
    let paths = match &arguments.record {
        Some(record) => vec![record.path.clone()],
        None => paths_in(&car).map_err(|error| about(refused(error)))?,
    };
    if paths.is_empty() {
        let words = "it holds no record; name the one whose absence it should show";
        return Err(about(Failure::new(Code::Incomplete, words)));
    }
    for path in &paths {
        let (key, of) = match &document {
            None => (None, did),
            Some((id, key)) => (Some(key), Some(did.unwrap_or(id))),
        };
        let question = ProofQuestion { path, did: of, key };
        let outcome = verify_proof(&car, question).map_err(|error| about(refused(error)))?;
        if outcome.signature.is_some_and(|verdict| !verdict.is_valid()) {
            let words = format!(
                "commit {} is not signed with the document's key",
                outcome.commit
            );
            return Err(about(Failure::new(Code::BadSignature, words)));
        }
        print(path, &outcome, output)?;
    }
    Ok(Exit::Ok)
}

/// Returns whose a DID document is, and the key it names.
fn document(file: &Path) -> Result<(Did, PublicKey)> {
    let about = |failure: Failure| failure.about(file.display());
    let document = DidDocument::parse(&read(file, DID_DOCUMENT_BYTES_MAX as u64)?)
        .map_err(|error| about(refused(error)))?;
    let no_key = || about(Failure::new(Code::BadSignature, "it names no #atproto key"));
    let key = document.signing_key.ok_or_else(no_key)?;
    Ok((document.id, key))
}

fn refused(error: carrack_repo::Error) -> Failure {
    Error::from(error).into()
}

fn print(path: &RecordPath, outcome: &ProofOutcome, output: &mut Output) -> Result {
    let uri = format!("at://{}/{path}", outcome.did);
    let rev = outcome.rev.map(|rev| rev.to_string());
    let cid = match &outcome.finding {
        Finding::Present { cid, .. } => Some(cid.to_string()),
        Finding::Absent => None,
    };
    let signature = if outcome.signature.is_some() {
        "valid"
    } else {
        "unchecked"
    };
    if output.is_json() {
        return output.object(&serde_json::json!({
            "uri": uri,
            "present": cid.is_some(),
            "cid": cid,
            "rev": rev,
            "commit": outcome.commit.to_string(),
            "verdict": signature,
        }));
    }
    let what = cid.map_or("absent".to_owned(), |cid| format!("present, {cid}"));
    let rev = rev.unwrap_or_default();
    output.line(&format!(
        "{uri}: {what}, at rev {rev}, commit {} (signature {signature})",
        outcome.commit
    ))
}

/// Reads a file of at most so many bytes; one byte more is enough for whoever checks its length.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(bytes_max.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(|error| super::import::unreadable(&error).about(path.display()))?;
    Ok(bytes)
}
