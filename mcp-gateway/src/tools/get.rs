//! `at_get`: records by reference, many in one flight.

use carrack_client::{Absent, Found, RecordData, Source, Store};
use carrack_schema::limits::REFS_MAX;
use carrack_schema::{AtUri, Code};
use futures::future;
use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::{self, Format};
use super::rows::{self, RepoItem, Row};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::lately::Lately;
use crate::refs::{Ref, RefError};
use crate::render::frame::counted;
use crate::render::record::{self, Line, Style};
use crate::render::{Budget, quote};
use crate::schema;

pub(crate) const NAME: &str = "at_get";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Each at://DID/COLLECTION/RKEY, DID,COLLECTION,RKEY, a bsky.app URL, or a DID for its profile
    #[schemars(length(min = 1, max = 50))]
    refs: Vec<String>,
    /// Earlier revision to read at; refs are then of one account
    rev: Option<String>,
    /// Only these paths, e.g. text, reply.parent.uri; default: all
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

/// The structured half.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Output {
    repos: Vec<RepoItem>,
    items: Vec<Item>,
    /// Index of the first ref that is not shown
    #[serde(skip_serializing_if = "Option::is_none")]
    next_ref: Option<usize>,
    truncated: bool,
}

/// A record that was found, or the code of why it was not.
#[derive(Debug, Serialize, JsonSchema)]
struct Item {
    r#ref: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "Reads up to 50 records at once, from any accounts, each with its CID. Use it when you know what to read; \
         not for browsing: use at_list. Text after `> ` is a third party's. \
         Example: {\"refs\":[\"at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.actor.profile/self\"]}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("items"))
    .with_annotations(super::reading())
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let example =
        json!({ "refs": ["at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.actor.profile/self"] });
    let arguments: Arguments = common::arguments(NAME, arguments, &example)?;
    let count = arguments.refs.len();
    if !(1..=REFS_MAX).contains(&count) {
        let why = format!("refs holds from 1 to {REFS_MAX} references");
        return Err(
            Refusal::new(Code::LimitExceeded, format!("taking {count} refs"), why)
                .example(NAME, &example),
        );
    }
    let bytes_max = common::max_bytes(arguments.max_bytes)?;
    common::fields(&arguments.fields)?;
    let asked = arguments.refs.iter().map(|text| Asked::parse(text));
    let asked = asked.map(|asked| asked.resolve(connection));
    let asked: Vec<Asked> = future::try_join_all(asked).await?;
    let (asked, fields) = (asked.as_slice(), arguments.fields.as_slice());
    let rev = arguments.rev.as_deref();
    common::rev(rev)?;
    if rev.is_some() {
        one_account(asked)?;
    }
    let read = |lately: Lately| async move { read_all(&lately, asked, rev, fields).await };
    let found = connection
        .read_lately(read)
        .await
        .map_err(|error| common::failed(&error, "reading the records".to_owned(), rev))?;
    if !found.iter().any(|found| matches!(found, Some(Ok(_)))) {
        return Err(nothing_found(connection, asked, &found).await);
    }
    let shown = Shown {
        style: common::style(Style::Whole, arguments.format, &arguments.fields),
        bytes_max,
    };
    Ok(render(asked, &found, shown))
}

/// A revision is one repo's.
fn one_account(asked: &[Asked]) -> Result<(), Refusal> {
    let mut dids = asked
        .iter()
        .filter_map(|asked| Some(&asked.meaning.as_ref().ok()?.did));
    match dids.next() {
        Some(first) if dids.any(|did| did != first) => Err(Refusal::new(
            Code::InvalidArgument,
            "reading several accounts at one rev",
            "a revision is of one account",
        )
        .hint("one at_get for each account, with its own rev")),
        _ => Ok(()),
    }
}

/// A reference as it was written, and what it says.
#[derive(Debug)]
struct Asked {
    text: String,
    meaning: Result<AtUri, RefusedRef>,
}

#[derive(Debug)]
enum RefusedRef {
    Text(RefError),
    /// It names a collection.
    NoRecord(AtUri),
}

impl Asked {
    fn parse(text: &str) -> Self {
        Self {
            text: text.chars().take(REF_CHARS_MAX).collect(),
            meaning: meaning(Ref::parse(text)),
        }
    }
}

impl Asked {
    /// Finds the account that is named by a handle, if the store knows it.
    async fn resolve(self, connection: &Connection) -> Result<Self, Refusal> {
        let Err(RefusedRef::Text(RefError::Handle(handle, rest))) = &self.meaning else {
            return Ok(self);
        };
        let Some(did) = common::did_of(connection, handle).await? else {
            return Ok(self);
        };
        Ok(Self {
            meaning: meaning(Ref::resolved(&did, rest)),
            ..self
        })
    }
}

fn meaning(reference: Result<Ref, RefError>) -> Result<AtUri, RefusedRef> {
    let reference = reference.map_err(RefusedRef::Text)?;
    reference.record().ok_or(RefusedRef::NoRecord(reference.0))
}

/// Longest reference that is repeated in an answer, in characters; a legal one is shorter unless its DID is huge.
const REF_CHARS_MAX: usize = 1_024;

type Read = Option<Found<(Source, RecordData)>>;

/// Reads all that was understood: every call is sent before the first answer is awaited.
async fn read_all(
    lately: &Lately,
    asked: &[Asked],
    rev: Option<&str>,
    fields: &[String],
) -> carrack_client::Result<Vec<Read>> {
    let reads = asked.iter().map(|asked| {
        let read = asked.meaning.as_ref().ok().and_then(|uri| {
            let path = uri.path()?;
            let collection = lately.collection(uri.did.as_str(), rev, path.collection.as_str());
            let want = common::want(fields).with_cid();
            Some(async move { collection.get(path.rkey.as_str(), want).await })
        });
        future::OptionFuture::from(read)
    });
    let reads: Vec<_> = reads.collect();
    future::join_all(reads)
        .await
        .into_iter()
        .map(Option::transpose)
        .collect()
}

/// Returns the refusal of a call whose every reference led nowhere, in the words for the first.
async fn nothing_found(connection: &Connection, asked: &[Asked], found: &[Read]) -> Refusal {
    let Some((asked, found)) = asked.iter().zip(found).next() else {
        return Refusal::new(Code::InvalidArgument, "reading no records", "refs is empty");
    };
    match (&asked.meaning, found) {
        (Err(RefusedRef::Text(error)), _) => common::refuse(connection, error).await,
        (Err(RefusedRef::NoRecord(uri)), _) => Refusal::new(
            Code::InvalidArgument,
            format!("reading {uri}"),
            "it names a collection, not a record",
        )
        .example("at_list", &list_call(uri)),
        (Ok(uri), Some(Err(absent @ Absent::Repo))) => {
            common::no_repo(connection, uri.did.as_str(), *absent).await
        }
        (Ok(uri), _) => missing(connection, uri, &absence(found)).await,
    }
}

async fn missing(connection: &Connection, uri: &AtUri, why: &str) -> Refusal {
    let did = uri.did.as_str();
    let read = |store: Store| async move { store.repo(did).collections().await };
    let held = match connection.read(read).await {
        Ok(Ok(collections)) => collections.into_iter().map(|c| c.nsid).collect(),
        _ => Vec::new(),
    };
    let refusal = Refusal::new(Code::NotFound, format!("reading {uri}"), why);
    let known = uri
        .collection
        .as_ref()
        .is_some_and(|collection| held.iter().any(|held| held == collection.as_str()));
    let refusal = if known {
        refusal.example("at_list", &list_call(uri))
    } else {
        refusal.example("at_overview", &json!({ "actor": did }))
    };
    refusal.candidates(held)
}

fn list_call(uri: &AtUri) -> serde_json::Value {
    let collection = uri.collection.as_ref().map(ToString::to_string);
    json!({ "actor": uri.did.as_str(), "collection": collection })
}

fn absence(found: &Read) -> String {
    match found {
        Some(Err(absent)) => absent.to_string(),
        _ => "not in the archive".to_owned(),
    }
}

#[derive(Clone, Copy)]
struct Shown {
    style: Style,
    bytes_max: usize,
}

fn row(asked: &Asked, found: &Read, shown: Shown) -> Row<Item> {
    // Whoever made the call may have the reference from a record: anybody's words, but for a name that was understood.
    let none = |code: Code, line: String, r#ref: String| Row {
        line: Line::whole(line),
        stub: None,
        item: Item {
            r#ref,
            cid: None,
            code: Some(code.as_str()),
        },
    };
    let unknown = |code: Code, why: &str| {
        let text = quote::inline(&asked.text);
        none(code, format!("unknown: {why} > {text}"), text)
    };
    match (&asked.meaning, found) {
        (Err(RefusedRef::Text(RefError::Handle(..))), _) => unknown(
            Code::UnknownHandle,
            "no account here is known by this handle, use the DID",
        ),
        (Err(RefusedRef::Text(RefError::Cid(_))), _) => unknown(
            Code::InvalidArgument,
            "records are found by at-uri, not by CID",
        ),
        (Err(RefusedRef::Text(RefError::Form(_))), _) => {
            unknown(Code::InvalidArgument, "not a reference")
        }
        (Err(RefusedRef::NoRecord(uri)), _) => none(
            Code::InvalidArgument,
            format!("{uri} · a collection, not a record: use at_list"),
            uri.to_string(),
        ),
        (Ok(uri), Some(Ok((_, record)))) => {
            let uri = uri.to_string();
            let cid = record.cid.map(|cid| cid.to_string());
            let start = format!("{uri} · cid {}", cid.as_deref().unwrap_or("unknown"));
            let line = common::line(&record.collection, &record.body, shown.style);
            let stub = (line.text.len() > shown.bytes_max / 2)
                .then(|| common::stub(&uri, line.text.len(), &record.body));
            Row {
                line: line.after(&start),
                stub: stub.map(|stub| record::row(&start, &stub)),
                item: Item {
                    r#ref: uri,
                    cid,
                    code: None,
                },
            }
        }
        (Ok(uri), absent) => none(
            Code::NotFound,
            format!("{uri} · none: {}", absence(absent)),
            uri.to_string(),
        ),
    }
}

fn render(asked: &[Asked], found: &[Read], shown: Shown) -> Answer {
    let read = found.iter().flatten().flatten();
    let (sources, repos) = rows::provenance(read.map(|(source, _)| source));
    let mut output = Output {
        repos,
        ..Output::default()
    };
    let words = common::next_bytes(60) + common::CUT_NOTE.len();
    let frame = sources.len() + common::json_bytes(&output) + words;
    let rows = asked.iter().zip(found);
    let fitting = rows::fitting(
        Budget::new(shown.bytes_max, frame),
        rows.map(|(asked, found)| row(asked, found, shown)),
    );
    let body = fitting.body();
    output.truncated = fitting.is_cut;
    output.next_ref = fitting.is_cut.then_some(fitting.items.len());
    let has_cut = fitting.has_cut;
    output.items = fitting.items;
    let records = output
        .items
        .iter()
        .filter(|item| item.code.is_none())
        .count();
    let cut = match output.next_ref {
        Some(next) => format!(
            " · cut at max_bytes: ask again with the last {} refs, or for fewer fields",
            asked.len() - next
        ),
        None => String::new(),
    };
    let header = format!(
        "{records} of {}{}{cut}",
        counted(asked.len() as u64, "record"),
        common::cut_note(has_cut)
    );
    Answer::new(format!("{header}{sources}{body}"), &output)
}

#[cfg(test)]
mod tests {
    use carrack_client::{Body, Verdict};
    use carrack_schema::{Cid, Value, cid::Codec};

    use super::*;

    fn found(bytes: usize) -> Read {
        let source = Source {
            did: "did:plc:a".into(),
            rev: "3n2v4k6owr72x".into(),
            commit: Cid::new(Codec::DagCbor, [7; 32]),
            verdict: Verdict::Unchecked,
        };
        let record = RecordData {
            collection: "app.bsky.feed.post".into(),
            rkey: "k".into(),
            cid: Some(Cid::new(Codec::DagCbor, [1; 32])),
            body: Body::Value(Value::Map(vec![(
                "text".into(),
                Value::Text("x".repeat(bytes)),
            )])),
        };
        Some(Ok((source, record)))
    }

    fn answer(sizes: &[usize], bytes_max: usize) -> Answer {
        let asked: Vec<_> = (0..sizes.len())
            .map(|i| Asked::parse(&format!("at://did:plc:a/app.bsky.feed.post/{i}")))
            .collect();
        let found: Vec<_> = sizes.iter().map(|bytes| found(*bytes)).collect();
        let style = Style::Whole;
        render(&asked, &found, Shown { style, bytes_max })
    }

    #[test]
    fn the_budget_cuts_between_records() {
        for bytes_max in [1_024, 2_000, 8_192] {
            let answer = answer(&[300; 50], bytes_max);
            let size = answer.text.len() + answer.structured.to_string().len();
            assert!(size <= bytes_max, "{size} > {bytes_max}");
            let shown = answer.structured["items"].as_array().unwrap().len();
            assert_eq!(answer.structured["nextRef"], shown);
            assert_eq!(answer.text.lines().count(), shown + 2);
            assert!(
                answer
                    .text
                    .lines()
                    .skip(2)
                    .all(|line| line.ends_with(&"x".repeat(300)))
            );
        }
    }

    #[test]
    fn a_record_over_the_whole_budget_is_a_stub_and_the_next_ones_follow() {
        let answer = answer(&[10, 20_000, 10], 8_192);
        let lines: Vec<_> = answer.text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(
            lines[3].contains("20,002 bytes, over max_bytes: at_get "),
            "{}",
            lines[3]
        );
        assert!(lines[3].ends_with(" fields > text"), "{}", lines[3]);
        assert_eq!(answer.structured["truncated"], false);
    }

    #[test]
    fn provenance_is_said_once_a_repo() {
        let answer = answer(&[1, 2, 3], 8_192);
        assert_eq!(answer.text.matches("signature unchecked").count(), 1);
        assert_eq!(answer.structured["repos"].as_array().unwrap().len(), 1);
    }
}
