//! `carrack thread`: the posts that a post answers.

use carrack_client::{AncestorsEnd, Want};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::Args;

use super::door::Door;
use super::list;
use super::output::Output;
use super::target::RecordTarget;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack thread at://did:plc:…/app.bsky.feed.post/3k…
  carrack thread at://alice.example/app.bsky.feed.post/3k… --json | jq -r .value.text

From the post's parent up, as far as the store holds them. Why there are not more comes last: on stderr, or as {\"end\": …}
with --json.")]
pub(super) struct Arguments {
    /// The post: at://DID/COLLECTION/RKEY, or with a handle in the DID's place
    #[arg(value_name = "AT-URI")]
    post: RecordTarget,
    /// Stop after this many posts [default: the server's, 80]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let json = output.is_json();
    let found = door.call(async |session| {
        let want = if json { Want::value() } else { Want::default() };
        let uri = arguments.post.to_string();
        let max = arguments.limit.unwrap_or(0);
        let store = session.store();
        Ok(store.ancestors(&uri, max, want.with_cid()).await?)
    });
    let about = |failure: Failure| failure.about(&arguments.post);
    let found = found.await.map_err(about)?;
    for (source, record) in &found.nodes {
        let uri = format!("at://{}/{}/{}", source.did, record.collection, record.rkey);
        if json {
            output.object(&list::object(&uri, record))?;
        } else {
            let cid = record.cid.map(|cid| cid.to_string()).unwrap_or_default();
            output.line(&format!("{uri}\t{cid}"))?;
        }
    }
    let (name, words) = match &found.end {
        AncestorsEnd::Absent => {
            let words = "the store does not hold it";
            return Err(about(Failure::new(Code::NotFound, words)));
        }
        AncestorsEnd::Root => ("root", "the last one answers nothing".to_owned()),
        // Somebody's text: it may hold anything, a terminal's controls too.
        AncestorsEnd::Missing(uri) => ("missing", format!("not held: {}", uri.escape_debug())),
        AncestorsEnd::Max => ("max", "there are more; raise --limit".to_owned()),
        AncestorsEnd::Loop => ("loop", "the thread comes back to itself".to_owned()),
        AncestorsEnd::Unknown => ("unknown", "the store does not say why it ends".to_owned()),
    };
    if !json {
        output.note(&format!("end: {words}"));
        return Ok(Exit::Ok);
    }
    let mut end = serde_json::json!({ "end": name });
    if let AncestorsEnd::Missing(uri) = &found.end {
        end["missing"] = uri.as_str().into();
    }
    output.object(&end)?;
    Ok(Exit::Ok)
}
