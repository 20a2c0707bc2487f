//! `carrack get`: one record.

use carrack_client::{Body, Session, Want};
use carrack_schema::codes::Exit;
use carrack_schema::{AtUri, Code};
use clap::Args;

use super::output::Output;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack get at://did:plc:…/app.bsky.actor.profile/self
  carrack get at://did:plc:…/app.bsky.feed.post/3k… --cbor > record.cbor")]
pub(super) struct Arguments {
    /// The record: at://DID/COLLECTION/RKEY
    #[arg(value_name = "AT-URI")]
    uri: AtUri,
    /// Write the record's exact DAG-CBOR bytes
    #[arg(long, conflicts_with = "json")]
    cbor: bool,
}

pub(super) async fn run(
    session: &Session,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let uri = &arguments.uri;
    let Some(path) = uri.path() else {
        let words = format!("{uri} names no record; `carrack list` shows what is below it");
        return Err(Failure::new(Code::InvalidArgument, words));
    };
    let record = session
        .store()
        .repo(uri.did.as_str())
        .record(&path.to_string());
    let want = if arguments.cbor {
        Want::dag_cbor()
    } else {
        Want::value().with_cid()
    };
    let about = |error: carrack_client::Error| Failure::from(error).about(uri);
    let (_, data) = record
        .read(want)
        .await
        .map_err(about)?
        .map_err(|absent| about(absent.into()))?;
    match data.body {
        Body::DagCbor(bytes) => output.bytes(&bytes)?,
        Body::Value(value) if output.is_json() => output.object(&serde_json::json!({
            "uri": uri.to_string(),
            "cid": data.cid.map(|cid| cid.to_string()),
            "value": value,
        }))?,
        Body::Value(value) => {
            let pretty = serde_json::to_string_pretty(&value)
                .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
            output.line(&pretty)?;
        }
        Body::Undecodable(why) => {
            let words = format!("{uri}: {why}; read its bytes with --cbor");
            return Err(Failure::new(Code::BadStructure, words));
        }
        Body::None => {}
    }
    Ok(Exit::Ok)
}
