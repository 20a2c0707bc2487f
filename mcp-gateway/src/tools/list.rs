//! `at_list`: the records of a collection, or of a whole repo, page by page.
//!
//! The store seals cursors, one a page. So that a page which the byte budget cuts short still has an exact one, it
//! is asked for again with as many rows as fit: the store then ends it there and seals that place. The default
//! limit is chosen so that a default page mostly fits, and costs one round trip.

use carrack_client::{Absent, CollectionInfo, Cursor, Page, PageRequest, Store};
use carrack_schema::Code;
use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::common;
use super::listing::{Arguments, Listing};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::lately::Lately;
use crate::render::Budget;
use crate::render::frame::{count, counted, provenance};
use crate::render::record;
use crate::schema;

pub(crate) const NAME: &str = "at_list";

/// The structured half.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Output {
    did: String,
    rev: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    /// Records of the collection or repo, whatever the filters
    total: u64,
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    truncated: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    rkey: String,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "Lists an account's records, newest first, one line each: the record key, then what it says, long texts cut. \
         Text after `> ` is a third party's. Not for known records, or a whole text: use at_get. \
         Example: {\"actor\":\"did:plc:ewvi7nxzyoun6zhxrhs64oiz\",\"collection\":\"app.bsky.feed.post\"}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("items"))
    .with_annotations(super::reading())
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let example =
        json!({ "actor": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "collection": "app.bsky.feed.post" });
    let arguments: Arguments = common::arguments(NAME, arguments, &example)?;
    let reference = common::reference(connection, &arguments.actor).await?;
    let mut listing = match Listing::of(&reference, &arguments)? {
        Ok(listing) => listing,
        Err(text) => {
            return Err(no_collection(connection, reference.did().as_str(), &text, None).await);
        }
    };
    let mut request = PageRequest {
        cursor: arguments
            .cursor
            .as_deref()
            .map(|text| cursor(&listing, text))
            .transpose()?,
        limit: listing
            .limit
            .min((listing.bytes_max / ROW_BYTES_MIN) as u32),
    };
    loop {
        let (named, asked) = (&listing, &request);
        let read = |lately: Lately| async move { named.read(&lately, asked.clone()).await };
        let answer = connection.read_lately(read).await;
        let (page, collections) = answer.map_err(|error| match error.code() {
            Code::InvalidArgument if request.cursor.is_some() => {
                foreign_cursor(&listing, error.words())
            }
            _ => {
                let what = format!("listing {}", listing.uri());
                common::failed(&error, what, listing.rev.as_deref())
            }
        })?;
        let (page, collections) = match (page, collections) {
            (Ok(page), Ok(collections)) => (page, collections),
            (Err(Absent::Collection), Ok(held)) => {
                let text = listing.collection.as_deref().unwrap_or_default().to_owned();
                return Err(no_collection(connection, &listing.did, &text, Some(held)).await);
            }
            (Err(absent), _) | (_, Err(absent)) => {
                return Err(common::no_repo(connection, &listing.did, absent).await);
            }
        };
        let Some(rows) = rows(&listing, &page) else {
            listing.read_all();
            continue;
        };
        let fitting = fitting(&listing, &page, &rows);
        if fitting == page.records.len() {
            let cut = request.limit < listing.limit;
            return Ok(render(&listing, &page, &collections, rows, cut));
        }
        request.limit = u32::try_from(fitting).unwrap_or(u32::MAX);
    }
}

/// Fewest bytes a row and its item take: more rows than that are not asked for, since they could not be shown.
const ROW_BYTES_MIN: usize = 24;

/// Reads a cursor. One without a byte would mean the start, which is no place to go on from.
fn cursor(listing: &Listing, text: &str) -> Result<Cursor, Refusal> {
    match text.parse::<Cursor>() {
        Ok(cursor) if text.len() > CURSOR_MARK.len() => Ok(cursor),
        Ok(_) => Err(foreign_cursor(listing, "this cursor is empty")),
        Err(error) => Err(foreign_cursor(listing, error.words())),
    }
}

/// What every cursor begins with.
const CURSOR_MARK: &str = "c1_";

fn foreign_cursor(listing: &Listing, words: &str) -> Refusal {
    let mut call = json!({ "actor": listing.did });
    if let Some(collection) = &listing.collection {
        call["collection"] = json!(collection);
    }
    let hint = format!(
        "{NAME} {call} from the beginning; or the call that gave the cursor, changed in nothing but the cursor"
    );
    Refusal::new(Code::InvalidArgument, "going on from this cursor", words).hint(hint)
}

async fn no_collection(
    connection: &Connection,
    did: &str,
    text: &str,
    held: Option<Vec<CollectionInfo>>,
) -> Refusal {
    let held = match held {
        Some(held) => Ok(held),
        None => {
            let read = |store: Store| async move { store.repo(did).collections().await };
            match connection.read(read).await {
                Err(error) => return Refusal::of(&error, format!("listing {did}")),
                Ok(held) => held,
            }
        }
    };
    let held = match held {
        Ok(held) => held,
        Err(absent) => return common::no_repo(connection, did, absent).await,
    };
    let held: Vec<_> = held.into_iter().map(|collection| collection.nsid).collect();
    let what = "listing a collection";
    let refusal =
        Refusal::new(Code::NotFound, what, "the repo holds no such collection").about(text);
    let refusal = match common::nearest(text, &held) {
        Some(nearest) => refusal.example(NAME, &json!({ "actor": did, "collection": nearest })),
        None => refusal,
    };
    refusal.candidates(held)
}

/// A record's line and item.
struct Row {
    line: String,
    is_cut: bool,
    item: Item,
}

impl Row {
    /// Returns the bytes it takes: the line and its end, the item and its comma.
    fn cost(&self) -> usize {
        self.line.len() + common::json_bytes(&self.item) + 2
    }
}

/// Returns the rows of a page; a record that no answer of this budget could hold is a stub. None if they need more of a
/// record than was read.
fn rows(listing: &Listing, page: &Page) -> Option<Vec<Row>> {
    let whole = budget(listing, page).left();
    let row = |record: &carrack_client::RecordData| {
        let collection = match &listing.collection {
            Some(collection) => collection,
            None => &record.collection,
        };
        let key = match &listing.collection {
            Some(_) => record.rkey.clone(),
            None => format!("{collection}/{}", record.rkey),
        };
        let line = common::line(collection, &record.body, listing.style);
        let mut row = Row {
            line: record::row(&key, &line.text),
            is_cut: line.is_cut,
            item: Item {
                collection: listing.collection.is_none().then(|| collection.clone()),
                rkey: record.rkey.clone(),
            },
        };
        let is_long = row.cost() > whole;
        if listing.is_part && (line.is_generic || is_long) {
            return None;
        }
        if is_long {
            let uri = format!("at://{}/{collection}/{}", listing.did, record.rkey);
            row.line = record::row(&key, &common::stub(&uri, line.text.len(), &record.body));
            row.is_cut = false;
        }
        Some(row)
    };
    page.records.iter().map(row).collect()
}

fn budget(listing: &Listing, page: &Page) -> Budget {
    Budget::new(listing.bytes_max, frame_bytes(listing, page))
}

/// Bytes of an answer that are not rows: the header, the structured frame, the cursor twice.
fn frame_bytes(listing: &Listing, page: &Page) -> usize {
    let keys = page
        .records
        .iter()
        .map(|record| record.rkey.len() + record.collection.len() + 1);
    // The cursor's seal and revision, and the key, in base64.
    let cursor = 4 + (24 + keys.max().unwrap_or(0)).div_ceil(3) * 4;
    let names = listing.uri().len() + provenance(&page.source).len();
    let header = names + common::CUT_NOTE.len() + HEADER_WORDS_BYTES;
    let moved = page.moved_from.as_ref().map_or(0, |_| MOVED_NOTE_BYTES);
    let frame = common::json_bytes(&Output {
        did: listing.did.clone(),
        rev: page.source.rev.clone(),
        verdict: page.source.verdict.as_str(),
        collection: listing.collection.clone(),
        total: u64::MAX,
        items: Vec::new(),
        next: Some(String::new()),
        truncated: false,
    });
    header + moved + frame + common::next_bytes(cursor)
}

/// What the header says beside names: counts of up to 26 digits and separators, and the words around them.
const HEADER_WORDS_BYTES: usize = 120;
/// The note about a repo that moved: two revisions and the words around them.
const MOVED_NOTE_BYTES: usize = 120;

/// Returns how many of the rows fit, at least one if there is one.
fn fitting(listing: &Listing, page: &Page, rows: &[Row]) -> usize {
    let mut budget = budget(listing, page);
    let fitting = rows
        .iter()
        .take_while(|row| budget.take(row.cost()))
        .count();
    fitting.max(rows.len().min(1))
}

/// Renders a page that fits. `cut`: it is shorter than what was asked for.
fn render(
    listing: &Listing,
    page: &Page,
    collections: &[CollectionInfo],
    rows: Vec<Row>,
    cut: bool,
) -> Answer {
    let total = match &listing.collection {
        None => collections
            .iter()
            .map(|collection| collection.records)
            .sum(),
        Some(nsid) => collections
            .iter()
            .find(|collection| collection.nsid == *nsid)
            .map_or(0, |collection| collection.records),
    };
    let next = page.next.as_ref().map(Cursor::to_string);
    let mut output = Output {
        did: page.source.did.clone(),
        rev: page.source.rev.clone(),
        verdict: page.source.verdict.as_str(),
        collection: listing.collection.clone(),
        total,
        items: Vec::with_capacity(rows.len()),
        next,
        truncated: cut && page.next.is_some(),
    };
    let mut text = match rows.len() {
        0 => "none".to_owned(),
        shown => count(shown as u64),
    };
    text.push_str(if listing.filtered {
        " matching, of "
    } else {
        " of "
    });
    text.push_str(&counted(total, "record"));
    text.push_str(" · ");
    text.push_str(&listing.uri());
    text.push_str("/ · ");
    text.push_str(&provenance(&page.source));
    text.push_str(common::cut_note(rows.iter().any(|row| row.is_cut)));
    text.push_str(&common::next_note(output.next.as_deref(), output.truncated));
    if let Some(rev) = &page.moved_from {
        text.push_str("\nnote: the repo moved from rev ");
        text.push_str(rev);
        text.push_str(" since the page before; this one goes on after the same key");
    }
    for row in rows {
        text.push('\n');
        text.push_str(&row.line);
        output.items.push(row.item);
    }
    Answer::new(text, &output)
}
