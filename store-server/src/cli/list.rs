//! `carrack list`: the records of a repo or a collection, streamed.

use std::str::FromStr;

use carrack_client::{Body, Cursor, Listing, Page, PageRequest, Range, Session, Want};
use carrack_schema::codes::Exit;
use carrack_schema::{AtUri, Code};
use clap::Args;

use super::Result;
use super::output::Output;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack list did:plc:…                               every record, in order of path
  carrack list did:plc:…/app.bsky.feed.post --reverse --limit 20
  carrack list did:plc:… --json | jq -r .uri

With --limit the cursor of the next page comes last: `next: c1_…` on stderr, {\"next\": …} with --json.")]
pub(super) struct Arguments {
    /// DID, DID/COLLECTION, or the same with at:// in front
    #[arg(value_name = "DID[/COLLECTION]")]
    what: Target,
    /// Stop after this many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// From the last to the first
    #[arg(long)]
    reverse: bool,
    /// Go on where another listing stopped
    #[arg(long, value_name = "C")]
    cursor: Option<Cursor>,
}

#[derive(Clone, Debug)]
struct Target(AtUri);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri = if text.starts_with("at://") {
            text.to_owned()
        } else {
            format!("at://{text}")
        };
        let uri: AtUri = uri
            .parse()
            .map_err(|_| format!("`{text}` is not DID or DID/COLLECTION"))?;
        if uri.rkey.is_some() {
            return Err(format!(
                "`{text}` names a record; print it with `carrack get {uri}`"
            ));
        }
        Ok(Self(uri))
    }
}

pub(super) async fn run(
    session: &Session,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let Target(uri) = &arguments.what;
    let repo = session.store().repo(uri.did.as_str());
    let range = Range {
        reverse: arguments.reverse,
        ..Range::default()
    };
    let want = if output.is_json() {
        Want::value().with_cid()
    } else {
        Want::default().with_cid()
    };
    let listing = match &uri.collection {
        None => repo.list(range, want),
        Some(collection) => repo.collection(collection.as_str()).list(range, want),
    };
    list(&listing, arguments, output)
        .await
        .map_err(|failure| failure.about(uri))?;
    Ok(Exit::Ok)
}

async fn list(listing: &Listing, arguments: &Arguments, output: &mut Output) -> Result {
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut cursor = arguments.cursor.clone();
    loop {
        let limit = u32::try_from(left).unwrap_or(u32::MAX);
        let page = listing
            .page(PageRequest { cursor, limit })
            .await?
            .map_err(carrack_client::Error::from)?;
        if let Some(rev) = &page.moved_from {
            output.note(&format!(
                "the repo moved from rev {rev} to {} meanwhile",
                page.source.rev
            ));
        }
        print(&page, &arguments.what, output)?;
        left = left.saturating_sub(page.records.len() as u64);
        cursor = page.next;
        let Some(next) = &cursor else { return Ok(()) };
        if left == 0 {
            if output.is_json() {
                return output.object(&serde_json::json!({ "next": next.to_string() }));
            }
            output.note(&format!("next: {next}"));
            return Ok(());
        }
    }
}

fn print(page: &Page, Target(target): &Target, output: &mut Output) -> Result {
    for record in &page.records {
        let collection = target
            .collection
            .as_ref()
            .map_or(&*record.collection, |nsid| nsid.as_str());
        let uri = format!("at://{}/{collection}/{}", target.did, record.rkey);
        let cid = record.cid.map(|cid| cid.to_string()).unwrap_or_default();
        match &record.body {
            Body::Value(value) => {
                output.object(&serde_json::json!({ "uri": uri, "cid": cid, "value": value }))?;
            }
            Body::Undecodable(why) => {
                let error =
                    serde_json::json!({ "code": Code::BadStructure.as_str(), "words": why });
                output.object(
                    &serde_json::json!({ "uri": uri, "cid": cid, "value": null, "error": error }),
                )?;
            }
            Body::None | Body::DagCbor(_) => output.line(&format!("{uri}\t{cid}"))?,
        }
    }
    Ok(())
}
