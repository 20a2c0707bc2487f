//! `at_thread`: what a post answers, up to where the thread began or leaves the archive.
//!
//! Downwards is not stored: a post does not know its replies, and finding them would read all posts of all repos.

use carrack_client::{Absent, Ancestors, AncestorsEnd, Found, RecordData, Source, Store, Want};
use carrack_schema::limits::ANCESTORS_MAX;
use carrack_schema::{AtUri, Code};
use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::{self, Format};
use super::rows::{self, RepoItem, Row};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::frame::counted;
use crate::render::record::{self, Style};
use crate::render::{Budget, quote};
use crate::schema;

pub(crate) const NAME: &str = "at_thread";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Post; any form of reference
    uri: String,
    /// Most posts above it
    #[serde(default = "up_default")]
    #[schemars(range(min = 1, max = 1000))]
    up: u32,
    /// Only these paths
    #[serde(default)]
    #[schemars(extend("default" = null))]
    fields: Vec<String>,
    /// full shows the whole JSON
    #[serde(default)]
    format: Format,
    /// Most bytes of the answer
    #[serde(default = "common::max_bytes_default")]
    #[schemars(range(min = 1024, max = 65536))]
    max_bytes: u32,
}

/// A conversation that goes on for longer is read page by page.
fn up_default() -> u32 {
    25
}

/// The structured half.
#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    repos: Vec<RepoItem>,
    /// From the top
    items: Vec<Item>,
    /// Why not more: root, missing, max, loop
    end: &'static str,
    /// `uri` for what is further up
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    truncated: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Item {
    uri: String,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "What a post answers: its parents up to the thread's start, topmost first; where the archive ends it says \
         [not archived]. Upwards only: replies to a post are not indexed; find them with at_query. \
         Example: {\"uri\":\"https://bsky.app/profile/did:plc:ewvi7nxzyoun6zhxrhs64oiz/post/3k44deefqdk2g\"}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("items"))
    .with_annotations(super::reading())
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let example = json!({ "uri": "https://bsky.app/profile/did:plc:ewvi7nxzyoun6zhxrhs64oiz/post/3k44deefqdk2g" });
    let arguments: Arguments = common::arguments(NAME, arguments, &example)?;
    let bytes_max = common::max_bytes(arguments.max_bytes)?;
    common::fields(&arguments.fields)?;
    if !(1..=ANCESTORS_MAX).contains(&arguments.up) {
        let what = format!("taking up={}", arguments.up);
        let why = format!("up is from 1 to {ANCESTORS_MAX}");
        return Err(Refusal::new(Code::LimitExceeded, what, why).example(NAME, &example));
    }
    let reference = common::reference(connection, &arguments.uri).await?;
    if reference.0.path().is_none() {
        let what = format!("reading the thread of {}", reference.0);
        let call = json!({ "actor": reference.did().as_str(), "collection": "app.bsky.feed.post" });
        return Err(
            Refusal::new(Code::InvalidArgument, what, "it names no post").example("at_list", &call),
        );
    }
    let style = common::style(Style::Reply, arguments.format, &arguments.fields);
    let (uri, up, want) = (&reference.0, arguments.up, common::want(&arguments.fields));
    let want = &want;
    let read = |store: Store| async move { read(&store, uri, up, want).await };
    let (post, ancestors) = connection
        .read(read)
        .await
        .map_err(|error| Refusal::of(&error, format!("reading the thread of {uri}")))?;
    match post {
        Ok(post) => Ok(render(uri, &post, &ancestors, Shown { style, bytes_max })),
        Err(absent) => Err(missing(connection, uri, absent).await),
    }
}

type Post = (Source, RecordData);

/// Reads the post and what it answers, in one flight.
async fn read(
    store: &Store,
    uri: &AtUri,
    up: u32,
    want: &Want,
) -> carrack_client::Result<(Found<Post>, Ancestors)> {
    let path = uri.path().map(|path| path.to_string()).unwrap_or_default();
    let (record, uri) = (store.repo(uri.did.as_str()).record(&path), uri.to_string());
    futures::try_join!(
        record.read(want.clone()),
        store.ancestors(&uri, up, want.clone())
    )
}

async fn missing(connection: &Connection, uri: &AtUri, absent: Absent) -> Refusal {
    let did = uri.did.as_str();
    if absent == Absent::Repo {
        return common::no_repo(connection, did, absent).await;
    }
    let what = format!("reading the thread of {uri}");
    Refusal::new(Code::NotFound, what, absent.to_string()).example(
        "at_list",
        &json!({ "actor": did, "collection": "app.bsky.feed.post" }),
    )
}

#[derive(Clone, Copy)]
struct Shown {
    style: Style,
    bytes_max: usize,
}

/// Longest name of what is not archived that is shown, in characters.
const MISSING_CHARS_MAX: usize = 400;

fn render(uri: &AtUri, post: &Post, ancestors: &Ancestors, shown: Shown) -> Answer {
    // From the post asked for upwards: what does not fit is furthest from it.
    let posts: Vec<&Post> = std::iter::once(post).chain(&ancestors.nodes).collect();
    let (sources, repos) = rows::provenance(posts.iter().map(|(source, _)| source));
    let mut output = Output {
        repos,
        items: Vec::new(),
        end: end(&ancestors.end),
        next: None,
        truncated: false,
    };
    let above = above(&ancestors.end);
    let names = posts.iter().map(|post| uri_of(post).len()).max();
    let frame = sources.len()
        + above.as_ref().map_or(0, String::len)
        + common::json_bytes(&output)
        + common::next_bytes(names.unwrap_or(0))
        + common::CUT_NOTE.len()
        + FRAME_WORDS_BYTES;
    let rows = posts.iter().enumerate();
    let fitting = rows::fitting(
        Budget::new(shown.bytes_max, frame),
        rows.map(|(up, post)| row(up, post, shown)),
    );
    let shown_above = fitting.items.len().saturating_sub(1) as u64;
    let mut text = format!("{} above {uri}", counted(shown_above, "post"));
    text.push_str(common::cut_note(fitting.has_cut));
    output.truncated = fitting.is_cut;
    let top = fitting.items.last().map(|item| item.uri.clone());
    if fitting.is_cut || ancestors.end == AncestorsEnd::Max {
        if let Some(top) = &top {
            let cut = if fitting.is_cut {
                "cut at max_bytes, "
            } else {
                ""
            };
            text.extend([" · ", cut, "go on with uri=", top]);
        }
        output.next = top;
    }
    text.push_str(&sources);
    if let Some(above) = above.filter(|_| !fitting.is_cut) {
        text.push('\n');
        text.push_str(&above);
    }
    for line in fitting.lines.iter().rev() {
        text.push('\n');
        text.push_str(line);
    }
    output.items = fitting.items;
    output.items.reverse();
    Answer::new(text, &output)
}

/// What the header says beside names.
const FRAME_WORDS_BYTES: usize = 120;

fn end(end: &AncestorsEnd) -> &'static str {
    match end {
        AncestorsEnd::Root => "root",
        AncestorsEnd::Missing(_) => "missing",
        AncestorsEnd::Max => "max",
        AncestorsEnd::Loop => "loop",
        // The post itself was read, so it was deleted in between.
        AncestorsEnd::Absent => "absent",
        AncestorsEnd::Unknown => "unknown",
    }
}

/// Returns the line above the topmost post, if there is something to say there.
fn above(end: &AncestorsEnd) -> Option<String> {
    match end {
        // What a post says that it answers is somebody's text; an at-URI is a name, anything else is quoted.
        AncestorsEnd::Missing(text) => Some(match text.parse::<AtUri>() {
            Ok(uri) => format!("[not archived] {uri}"),
            Err(_) => format!(
                "[not archived] > {}",
                quote::shorten(text, MISSING_CHARS_MAX)
            ),
        }),
        AncestorsEnd::Loop => Some("[the topmost post answers one below it]".to_owned()),
        AncestorsEnd::Root | AncestorsEnd::Max => None,
        AncestorsEnd::Absent => Some("[what it answers was deleted meanwhile]".to_owned()),
        AncestorsEnd::Unknown => Some("[unknown: the store is newer than this gateway]".to_owned()),
    }
}

fn uri_of((source, record): &Post) -> String {
    format!("at://{}/{}/{}", source.did, record.collection, record.rkey)
}

/// Returns a post's row: how far up it is, its name, what it says.
fn row(up: usize, post: &Post, shown: Shown) -> Row<Item> {
    let (_, record) = post;
    let uri = uri_of(post);
    let start = match up {
        0 => format!("0 {uri}"),
        up => format!("-{up} {uri}"),
    };
    let line = common::line(&record.collection, &record.body, shown.style);
    let stub = (line.text.len() > shown.bytes_max / 2)
        .then(|| record::row(&start, &common::stub(&uri, line.text.len(), &record.body)));
    Row {
        line: line.after(&start),
        stub,
        item: Item { uri },
    }
}

#[cfg(test)]
mod tests {
    use carrack_client::{Body, Verdict};
    use carrack_schema::cid::Codec;
    use carrack_schema::{Cid, Value};

    use super::*;

    fn post(key: usize, text: &str) -> Post {
        let source = Source {
            did: "did:plc:a".into(),
            rev: "3n2v4k6owr72x".into(),
            commit: Cid::new(Codec::DagCbor, [7; 32]),
            verdict: Verdict::Unchecked,
        };
        let parent = Value::Text(format!("at://did:plc:a/app.bsky.feed.post/{}", key + 1));
        let map = |key: &str, value| Value::Map(vec![(key.to_owned(), value)]);
        let record = RecordData {
            collection: "app.bsky.feed.post".into(),
            rkey: key.to_string(),
            cid: None,
            body: Body::Value(Value::Map(vec![
                ("text".into(), Value::Text(text.to_owned())),
                ("reply".into(), map("parent", map("uri", parent))),
            ])),
        };
        (source, record)
    }

    fn thread(posts: usize, text: &str, end: AncestorsEnd, bytes_max: usize) -> Answer {
        let nodes = (1..=posts).map(|key| post(key, text)).collect();
        let uri = "at://did:plc:a/app.bsky.feed.post/0".parse().unwrap();
        let shown = Shown {
            style: Style::Reply,
            bytes_max,
        };
        render(&uri, &post(0, text), &Ancestors { nodes, end }, shown)
    }

    #[test]
    fn the_topmost_is_first_and_nothing_repeats_what_stands_above_it() {
        let answer = thread(2, "yes", AncestorsEnd::Root, 8_192);
        let lines: Vec<_> = answer.text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "-2 at://did:plc:a/app.bsky.feed.post/2 > yes",
                "-1 at://did:plc:a/app.bsky.feed.post/1 > yes",
                "0 at://did:plc:a/app.bsky.feed.post/0 > yes",
            ]
        );
    }

    /// The nearest are kept, and the rest is read by asking for the thread of the topmost.
    #[test]
    fn a_thread_over_the_budget_goes_on_at_its_topmost() {
        for bytes_max in [1_024, 2_000, 8_192] {
            let answer = thread(200, &"x".repeat(200), AncestorsEnd::Root, bytes_max);
            let size = answer.text.len() + answer.structured.to_string().len();
            assert!(size <= bytes_max, "{size} > {bytes_max}");
            let items = answer.structured["items"].as_array().unwrap();
            assert_eq!(answer.structured["next"], items[0]["uri"]);
            assert_eq!(answer.structured["truncated"], true);
            assert!(answer.text.lines().last().unwrap().starts_with("0 at://"));
            assert_eq!(answer.text.lines().count(), items.len() + 2);
        }
    }

    #[test]
    fn what_is_not_archived_is_named_and_other_texts_are_quoted() {
        let missing = |text: &str| {
            let end = AncestorsEnd::Missing(text.to_owned());
            let answer = thread(1, "x", end, 8_192);
            answer.text.lines().nth(2).unwrap().to_owned()
        };
        assert_eq!(
            missing("at://did:plc:b/app.bsky.feed.post/k"),
            "[not archived] at://did:plc:b/app.bsky.feed.post/k"
        );
        assert_eq!(
            missing("ignore\nall that"),
            "[not archived] > ignore ⏎ all that"
        );
    }
}
