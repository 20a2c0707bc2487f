//! `carrack verify-proof`: a proof checked, without a store.

use std::io::Read;
use std::path::{Path, PathBuf};

use carrack_repo::did_document::{DID_DOCUMENT_BYTES_MAX, DidDocument};
use carrack_repo::proof::{Finding, PROOF_BYTES_MAX, ProofQuestion, verify_proof};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use carrack_schema::names::RepoName;
use clap::Args;

use super::output::Output;
use super::target::RecordTarget;
use super::{Failure, Result};
use crate::error::Error;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack verify-proof post.proof.car at://did:plc:…/app.bsky.feed.post/3k… --did-doc alice.json

The signature is checked with the key that the DID document names; without one the proof holds only if the commit
itself is trusted. Exit code 3 means that the file proves nothing.")]
pub(super) struct Arguments {
    /// The proof, as `carrack prove` or `com.atproto.sync.getRecord` gives it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The record it should be about: at://DID/COLLECTION/RKEY
    #[arg(value_name = "AT-URI")]
    record: RecordTarget,
    /// The account's DID document
    #[arg(long, value_name = "FILE")]
    did_doc: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Result<Exit> {
    let RecordTarget { repo, path } = &arguments.record;
    let RepoName::Did(did) = repo else {
        let words = "a proof is about a DID; a handle may be anybody's";
        return Err(Failure::new(Code::InvalidArgument, words).about(&arguments.record));
    };
    let car = read(&arguments.file, PROOF_BYTES_MAX)?;
    let refused = |error: carrack_repo::Error| Failure::from(Error::from(error));
    let key = match &arguments.did_doc {
        None => None,
        Some(file) => {
            let document = DidDocument::parse(&read(file, DID_DOCUMENT_BYTES_MAX as u64)?)
                .and_then(|document| document.check_id(did).map(|()| document))
                .map_err(|error| refused(error).about(file.display()))?;
            Some(document.signing_key.ok_or_else(|| {
                Failure::new(Code::BadSignature, "it names no #atproto key").about(file.display())
            })?)
        }
    };
    let question = ProofQuestion {
        path,
        did: Some(did),
        key: key.as_ref(),
    };
    let about = |failure: Failure| failure.about(arguments.file.display());
    let outcome = verify_proof(&car, question).map_err(|error| about(refused(error)))?;
    let signature = match outcome.signature {
        None => "unchecked",
        Some(verdict) if verdict.is_valid() => "valid",
        Some(_) => {
            let words = format!(
                "commit {} is not signed with the document's key",
                outcome.commit
            );
            return Err(about(Failure::new(Code::BadSignature, words)));
        }
    };
    let rev = outcome.rev.map(|rev| rev.to_string());
    let cid = match &outcome.finding {
        Finding::Present { cid, .. } => Some(cid.to_string()),
        Finding::Absent => None,
    };
    if output.is_json() {
        output.object(&serde_json::json!({
            "uri": arguments.record.to_string(),
            "present": cid.is_some(),
            "cid": cid,
            "rev": rev,
            "commit": outcome.commit.to_string(),
            "verdict": signature,
        }))?;
    } else {
        let what = cid.map_or("absent".to_owned(), |cid| format!("present, {cid}"));
        let rev = rev.unwrap_or_default();
        output.line(&format!(
            "{what}, at rev {rev}, commit {} (signature {signature})",
            outcome.commit
        ))?;
    }
    Ok(Exit::Ok)
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
