//! `carrack get`: one record.

use carrack_client::{Body, Want};
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
  carrack get at://did:plc:…/app.bsky.actor.profile/self
  carrack get at://alice.example/app.bsky.actor.profile/self
  carrack get at://did:plc:…/app.bsky.feed.post/3k… --cbor > record.cbor")]
pub(super) struct Arguments {
    /// The record: at://DID/COLLECTION/RKEY, or with a handle in the DID's place
    #[arg(value_name = "AT-URI")]
    record: RecordTarget,
    /// Write the record's exact DAG-CBOR bytes
    #[arg(long, conflicts_with = "json")]
    cbor: bool,
    #[command(flatten)]
    at: At,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let RecordTarget { repo, path } = &arguments.record;
    let want = if arguments.cbor {
        Want::dag_cbor()
    } else {
        Want::value().with_cid()
    };
    let read = door.call(async |session| {
        let record = arguments.at.repo(session, repo).record(&path.to_string());
        Ok(record.read(want.clone()).await??)
    });
    let about = |failure: Failure| failure.about(&arguments.record);
    let (source, data) = read.await.map_err(about)?;
    match data.body {
        Body::DagCbor(bytes) => output.bytes(&bytes)?,
        Body::Value(value) if output.is_json() => output.object(&serde_json::json!({
            "uri": format!("at://{}/{path}", source.did),
            "cid": data.cid.map(|cid| cid.to_string()),
            "value": value,
        }))?,
        Body::Value(value) => {
            let pretty = serde_json::to_string_pretty(&value)
                .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
            output.line(&pretty)?;
        }
        Body::Undecodable(why) => {
            let words = format!("{why}; read its bytes with --cbor");
            return Err(about(Failure::new(Code::BadStructure, words)));
        }
        Body::Missing => {
            let words = "the repo was imported without this record's block";
            return Err(about(Failure::new(Code::Incomplete, words)));
        }
        Body::None => {}
    }
    Ok(Exit::Ok)
}
