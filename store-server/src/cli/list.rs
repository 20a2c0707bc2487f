//! `carrack list`: the records of a repo or a collection, streamed.

use carrack_client::{Body, Cursor, Listing, Page, PageRequest, Range, RecordData, Session, Want};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::Args;

use super::Result;
use super::door::Door;
use super::output::Output;
use super::target::{At, Target};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack list did:plc:…                               every record, in order of path
  carrack list did:plc:…/app.bsky.feed.post --reverse --limit 20
  carrack list alice.example --json | jq -r .uri

With --limit the cursor of the next page comes last: `next: c1_…` on stderr, {\"next\": …} with --json.")]
pub(super) struct Arguments {
    /// DID or HANDLE, with /COLLECTION or without
    #[arg(value_name = "REPO[/COLLECTION]")]
    what: Target,
    /// Stop after this many records
    #[arg(long, value_name = "N", conflicts_with = "invalid", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// From the last to the first
    #[arg(long)]
    reverse: bool,
    /// Only records that break the data model, with what is wrong with them
    #[arg(long)]
    invalid: bool,
    /// Go on where another listing stopped
    #[arg(long, value_name = "C")]
    cursor: Option<Cursor>,
    #[command(flatten)]
    at: At,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut cursor = arguments.cursor.clone();
    loop {
        let request = PageRequest {
            cursor,
            limit: u32::try_from(left).unwrap_or(u32::MAX),
        };
        let json = output.is_json();
        let page = door.call(async |session| {
            Ok(listing(session, arguments, json)
                .page(request.clone())
                .await??)
        });
        let page = page
            .await
            .map_err(|failure| failure.about(&arguments.what))?;
        if let Some(rev) = &page.moved_from {
            output.note(&format!(
                "the repo moved from rev {rev} to {} meanwhile",
                page.source.rev
            ));
        }
        print(&page, arguments, output)?;
        left = left.saturating_sub(page.records.len() as u64);
        cursor = page.next;
        let Some(next) = &cursor else {
            return Ok(Exit::Ok);
        };
        if output.is_closed() {
            return Ok(Exit::Ok);
        }
        if left == 0 {
            if output.is_json() {
                output.object(&serde_json::json!({ "next": next.to_string() }))?;
            } else {
                output.note(&format!("next: {next}"));
            }
            return Ok(Exit::Ok);
        }
    }
}

fn listing(session: &Session, arguments: &Arguments, json: bool) -> Listing {
    let repo = arguments.at.repo(session, &arguments.what.repo);
    let range = Range {
        reverse: arguments.reverse,
        ..Range::default()
    };
    let want = if json || arguments.invalid {
        Want::value().with_cid()
    } else {
        Want::default().with_cid()
    };
    match &arguments.what.collection {
        None => repo.list(range, want),
        Some(collection) => repo.collection(collection.as_str()).list(range, want),
    }
}

fn print(page: &Page, arguments: &Arguments, output: &mut Output) -> Result {
    let target = &arguments.what;
    for record in &page.records {
        let wrong = match &record.body {
            Body::Undecodable(why) => Some(why),
            _ => None,
        };
        if arguments.invalid && wrong.is_none() {
            continue;
        }
        let collection = target
            .collection
            .as_ref()
            .map_or(&*record.collection, |nsid| nsid.as_str());
        let uri = format!("at://{}/{collection}/{}", page.source.did, record.rkey);
        if output.is_json() {
            output.object(&object(&uri, record))?;
            continue;
        }
        let cid = record.cid.map(|cid| cid.to_string()).unwrap_or_default();
        match wrong {
            None => output.line(&format!("{uri}\t{cid}"))?,
            Some(why) => output.line(&format!("{uri}\t{cid}\t{why}"))?,
        }
    }
    Ok(())
}

/// Returns a record as an object: uri, cid, value; a record without a value has an error beside it.
pub(super) fn object(uri: &str, record: &RecordData) -> serde_json::Value {
    let mut object = serde_json::json!({
        "uri": uri,
        "cid": record.cid.map(|cid| cid.to_string()),
        "value": match &record.body {
            Body::Value(value) => serde_json::json!(value),
            _ => serde_json::Value::Null,
        },
    });
    let error = match &record.body {
        Body::Undecodable(why) => Some((Code::BadStructure, why.as_str())),
        Body::Missing => Some((
            Code::Incomplete,
            "the repo was imported without this record's block",
        )),
        Body::Value(_) | Body::None | Body::DagCbor(_) => None,
    };
    if let Some((code, words)) = error {
        object["error"] = serde_json::json!({ "code": code.as_str(), "words": words });
    }
    object
}
