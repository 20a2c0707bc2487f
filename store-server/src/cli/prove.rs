//! `carrack prove`: a record's proof, or that of its absence.

use std::path::PathBuf;

use carrack_schema::codes::Exit;
use clap::Args;

use super::Result;
use super::door::Door;
use super::export::NewFile;
use super::output::Output;
use super::target::RecordTarget;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack prove at://did:plc:…/app.bsky.feed.post/3k… -o post.proof.car
  carrack verify-proof post.proof.car --did-doc alice.json")]
pub(super) struct Arguments {
    /// The record: at://DID/COLLECTION/RKEY, or with a handle in the DID's place
    #[arg(value_name = "AT-URI")]
    record: RecordTarget,
    /// Write this file; - or nothing means stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let RecordTarget { repo, path } = &arguments.record;
    let proof = door.call(async |session| {
        Ok(session
            .store()
            .repo(&repo.to_string())
            .record(&path.to_string())
            .prove()
            .await??)
    });
    let proof = proof
        .await
        .map_err(|failure| failure.about(&arguments.record))?;
    match arguments
        .output
        .as_ref()
        .filter(|path| path.as_os_str() != "-")
    {
        None => output.bytes(&proof.car)?,
        Some(file) => {
            let mut new = NewFile::create(file)?;
            new.write(&proof.car)?;
            new.publish()?;
        }
    }
    let what = if proof.present { "present" } else { "absent" };
    output.note(&format!(
        "{}: {what} at rev {} of {} ({} bytes)",
        arguments.record,
        proof.source.rev,
        proof.source.did,
        proof.car.len()
    ));
    Ok(Exit::Ok)
}
