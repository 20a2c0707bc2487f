//! `carrack verify`: the store looks at a record again.

use carrack_client::{Verification, Verified};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::target::{At, RecordTarget};
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack verify at://did:plc:…/app.bsky.feed.post/3k…

The record is hashed, the nodes above it are rebuilt up to the root that the commit names, the commit is hashed, and its
signature is checked with the key that the repo was imported with. That there is no such record is verified as well.")]
pub(super) struct Arguments {
    /// The record: at://DID/COLLECTION/RKEY, or with a handle in the DID's place
    #[arg(value_name = "AT-URI")]
    record: RecordTarget,
    #[command(flatten)]
    at: At,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let RecordTarget { repo, path } = &arguments.record;
    let verified = door.call(async |session| {
        let repo = arguments.at.repo(session, repo);
        Ok(repo.record(&path.to_string()).verify().await??)
    });
    let about = |failure: Failure| failure.about(&arguments.record);
    match verified.await.map_err(about)? {
        Verification::Broken(words) => Err(about(Failure::new(Code::Damaged, words))),
        Verification::Sound(found) if output.is_json() => {
            output.object(&object(&found, arguments))?;
            Ok(Exit::Ok)
        }
        Verification::Sound(found) => {
            output.line(&line(&found, arguments))?;
            Ok(Exit::Ok)
        }
    }
}

fn object(found: &Verified, arguments: &Arguments) -> serde_json::Value {
    let source = &found.source;
    serde_json::json!({
        "uri": format!("at://{}/{}", source.did, arguments.record.path),
        "present": found.cid.is_some(),
        "cid": found.cid.map(|cid| cid.to_string()),
        "rev": source.rev,
        "commit": source.commit.to_string(),
        "nodes": found.nodes,
        "signature": found.signature.as_str(),
    })
}

fn line(found: &Verified, arguments: &Arguments) -> String {
    let source = &found.source;
    let what = match found.cid {
        Some(cid) => format!("present as {cid}"),
        None => "absent".to_owned(),
    };
    format!(
        "{}: {what} at rev {} of {}, {} nodes below commit {}, signature {}",
        arguments.record,
        source.rev,
        source.did,
        found.nodes,
        source.commit,
        found.signature.as_str()
    )
}
