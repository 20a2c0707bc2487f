//! What tools share: argument types, their checks, what stands beside the rows.

use carrack_client::{Absent, Body, Error, RepoInfo, Source, Store, Want};
use carrack_schema::limits::{
    ANSWER_BYTES_DEFAULT, ANSWER_BYTES_MAX, FIELDS_MAX, LIST_RECORDS_MAX,
};
use carrack_schema::{Code, Tid, Value};
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{CANDIDATES_MAX, Refusal};
use crate::connection::Connection;
use crate::refs::{Ref, RefError};
use crate::render::budget::ANSWER_BYTES_MIN;
use crate::render::record::{self, Line, Style};
use crate::render::{frame, quote};
use crate::{reference, schema};

/// Rows a page holds by default. A compact row takes about 200 bytes, so a default answer mostly holds a whole
/// page, and its cursor comes with it.
pub(crate) const LIMIT_DEFAULT: u32 = 25;

pub(crate) fn limit_default() -> u32 {
    LIMIT_DEFAULT
}

pub(crate) fn max_bytes_default() -> u32 {
    ANSWER_BYTES_DEFAULT as u32
}

/// How records are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Compact,
    Full,
}

/// Reads a tool's arguments.
pub(crate) fn arguments<T: DeserializeOwned + JsonSchema>(
    tool: &str,
    arguments: JsonObject,
    example: &serde_json::Value,
) -> Result<T, Refusal> {
    let error = match T::deserialize(&arguments) {
        Ok(arguments) => return Ok(arguments),
        Err(error) => error.to_string(),
    };
    let schema = schema::input::<T>();
    let known = schema
        .get("properties")
        .and_then(serde_json::Value::as_object);
    let known = known.cloned().unwrap_or_default();
    let refusal = |why: String| {
        let what = format!("reading the arguments of {tool}");
        Refusal::new(Code::InvalidArgument, what, why).example(tool, example)
    };
    if let Some(unknown) = arguments.keys().find(|name| !known.contains_key(*name)) {
        let names: Vec<_> = known.keys().cloned().collect();
        let why = format!("it has no such argument; it has {}", names.join(", "));
        return Err(refusal(why).about(unknown));
    }
    let is_missing = |name: &&String| error == format!("missing field `{name}`");
    if let Some(name) = known.keys().find(is_missing) {
        return Err(refusal(format!(
            "{name} is missing; it takes {}",
            reference::said(&known[name])
        )));
    }
    Err(match wrong::<T>(&arguments, &error) {
        Some(name) => {
            let why = format!("{name} takes {}", reference::said(&known[name]));
            refusal(why).about(&format!("{name}={}", arguments[name]))
        }
        None => refusal(told(&error)),
    })
}

/// Most arguments that are looked at for the wrong one; no tool has more.
const ARGUMENTS_MAX: usize = 20;

/// Returns what a parser says of an argument, without the argument, which is quoted elsewhere, and in JSON's words.
pub(crate) fn told(error: &str) -> String {
    if let Some((found, expected)) = error.rsplit_once(", expected ") {
        let what = match found {
            found if found.starts_with("unknown field") => "unknown field, ",
            found if found.starts_with("unknown variant") => "unknown word, ",
            _ => "",
        };
        let expected = expected.replace("a sequence", "an array");
        return format!("{what}expected {}", expected.replace("a map", "an object"));
    }
    match error.rsplit_once("` is ") {
        Some((found, rest)) if found.starts_with('`') => format!("it is {rest}"),
        _ => error.to_owned(),
    }
}

/// Returns the argument of the wrong type, which the error does not name: the one without which it would not come.
fn wrong<'a, T: DeserializeOwned>(arguments: &'a JsonObject, error: &str) -> Option<&'a String> {
    let clears = |name: &&String| {
        let others = arguments.iter().filter(|(other, _)| other != name);
        let others = others.map(|(name, value)| (name.as_str(), value));
        match T::deserialize(MapDeserializer::<_, serde_json::Error>::new(others)) {
            Ok(_) => true,
            Err(other) => other.to_string() != error,
        }
    };
    arguments.keys().take(ARGUMENTS_MAX).find(clears)
}

/// Checks a row limit.
pub(crate) fn limit(limit: u32) -> Result<u32, Refusal> {
    if (1..=LIST_RECORDS_MAX).contains(&limit) {
        return Ok(limit);
    }
    let why = format!("limit is from 1 to {LIST_RECORDS_MAX}");
    Err(
        Refusal::new(Code::LimitExceeded, format!("taking limit={limit}"), why)
            .hint(format!("limit={LIMIT_DEFAULT}, and go on with the cursor")),
    )
}

/// Checks a byte budget.
pub(crate) fn max_bytes(max_bytes: u32) -> Result<usize, Refusal> {
    let bytes = max_bytes as usize;
    if (ANSWER_BYTES_MIN..=ANSWER_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    let why = format!("max_bytes is from {ANSWER_BYTES_MIN} to {ANSWER_BYTES_MAX}");
    Err(Refusal::new(
        Code::LimitExceeded,
        format!("taking max_bytes={bytes}"),
        why,
    )
    .hint(format!(
        "max_bytes={ANSWER_BYTES_MAX}, or fewer rows, or fields"
    )))
}

/// Checks a projection.
pub(crate) fn fields(fields: &[String]) -> Result<(), Refusal> {
    if fields.len() <= FIELDS_MAX && fields.iter().all(|field| !field.is_empty()) {
        return Ok(());
    }
    let why = format!("fields names at most {FIELDS_MAX} paths, none of them empty");
    Err(Refusal::new(Code::InvalidArgument, "taking fields", why)
        .hint("fields=[\"text\",\"reply.parent.uri\"]"))
}

/// What to do about a revision that cannot be had.
const OTHER_REV: &str = "leave rev out for the current revision; at_overview names it";

/// Checks a revision. What names one is kept for a while, so that a text of any length must not come that far.
pub(crate) fn rev(rev: Option<&str>) -> Result<(), Refusal> {
    match rev {
        Some(text) if text.parse::<Tid>().is_err() => Err(Refusal::new(
            Code::InvalidArgument,
            "choosing a revision",
            "a rev is a TID, such as 3n2v4k6owr72x",
        )
        .about(text)
        .hint(OTHER_REV)),
        _ => Ok(()),
    }
}

/// Returns the refusal of an error of the store's, which may be about the revision asked for.
pub(crate) fn failed(error: &Error, what: String, rev: Option<&str>) -> Refusal {
    let refusal = Refusal::of(error, what);
    match (error.code(), rev) {
        (Code::RevNotRetained, _) | (Code::InvalidArgument, Some(_)) => refusal.hint(OTHER_REV),
        _ => refusal,
    }
}

/// Reads a reference, which may name the account by a handle that the store knows; one that is none is refused with the DIDs that the archive holds.
pub(crate) async fn reference(connection: &Connection, text: &str) -> Result<Ref, Refusal> {
    let error = match Ref::parse(text) {
        Ok(reference) => return Ok(reference),
        Err(RefError::Handle(handle, rest)) => match did_of(connection, &handle).await? {
            Some(did) => match Ref::resolved(&did, &rest) {
                Ok(reference) => return Ok(reference),
                Err(error) => error,
            },
            None => RefError::Handle(handle, rest),
        },
        Err(error) => error,
    };
    Err(refuse(connection, &error).await)
}

/// Returns the DID of whoever's DID document claims a handle, if the store was given one that does.
pub(crate) async fn did_of(
    connection: &Connection,
    handle: &str,
) -> Result<Option<String>, Refusal> {
    let read = |store: Store| async move { store.repo(handle).info().await };
    match connection.read(read).await {
        Ok(Ok(info)) => Ok(Some(info.source.did)),
        Ok(Err(_)) => Ok(None),
        Err(error) if error.code() == Code::UnknownHandle => Ok(None),
        Err(error) => Err(Refusal::of(
            &error,
            format!("finding the account `{handle}`"),
        )),
    }
}

/// Returns the refusal of a reference, with the DIDs held.
pub(crate) async fn refuse(connection: &Connection, error: &RefError) -> Refusal {
    error.refuse(held(connection).await)
}

/// Returns the first DIDs held, for an error text; none if the store does not answer either.
pub(crate) async fn held(connection: &Connection) -> Vec<String> {
    let read = |store: Store| async move { dids(&store).await };
    connection.read(read).await.unwrap_or_default()
}

async fn dids(store: &Store) -> Result<Vec<String>, Error> {
    let list = store.repos("", CANDIDATES_MAX as u32).await?;
    Ok(list.repos.into_iter().map(|repo| repo.source.did).collect())
}

/// Reads what is known of an account's repo as a whole.
pub(crate) async fn repo_info(connection: &Connection, did: &str) -> Result<RepoInfo, Refusal> {
    let read = |store: Store| async move { store.repo(did).info().await };
    let info = connection
        .read(read)
        .await
        .map_err(|error| Refusal::of(&error, format!("reading {did}")))?;
    match info {
        Ok(info) => Ok(info),
        Err(absent) => Err(no_repo(connection, did, absent).await),
    }
}

/// Returns the refusal of a repo that is not held.
pub(crate) async fn no_repo(connection: &Connection, did: &str, absent: Absent) -> Refusal {
    Refusal::new(Code::NotFound, format!("finding {did}"), absent.to_string())
        .hint("at_overview {} lists the accounts in the archive; `carrack import` adds one")
        .candidates(held(connection).await)
}

/// Returns what to ask of records for a format and fields.
pub(crate) fn want(fields: &[String]) -> Want {
    Want {
        fields: fields.to_vec(),
        ..Want::value()
    }
}

/// Returns how to show what was asked for: a projection is what the caller chose, so all of it is shown.
pub(crate) fn style(compact: Style, format: Format, fields: &[String]) -> Style {
    if format == Format::Full || !fields.is_empty() {
        Style::Json
    } else {
        compact
    }
}

/// Returns a record's line without its key.
pub(crate) fn line(collection: &str, body: &Body, style: Style) -> Line {
    match body {
        Body::Value(value) => record::line(collection, value, style),
        Body::Undecodable(why) => Line::whole(format!(
            "no value; its exact bytes are kept > {}",
            quote::inline(why)
        )),
        // Tools ask for values, so what is left is a record that the store knows of but does not hold.
        _ => Line::whole("no value: the archive does not hold this record's block".to_owned()),
    }
}

/// What the header of an answer says if a record in it is shown in part.
pub(crate) const CUT_NOTE: &str =
    " · cut where …(+n bytes) or a count stands: at_get with format=full shows one whole";

/// Returns that note, if it is needed.
pub(crate) fn cut_note(is_cut: bool) -> &'static str {
    if is_cut { CUT_NOTE } else { "" }
}

/// Returns what stands in place of a record that is larger than the whole budget.
pub(crate) fn stub(uri: &str, line_bytes: usize, body: &Body) -> String {
    // A quarter for the frame around it and the escapes in it.
    let needed = line_bytes + line_bytes / 4 + ANSWER_BYTES_MIN;
    // The names of fields are whoever wrote the record's.
    let all = if needed <= ANSWER_BYTES_MAX {
        let call = json!({ "refs": [uri], "max_bytes": needed });
        format!("at_get {call} shows it, or ")
    } else {
        String::new()
    };
    let keys = keys(body);
    format!(
        "{} bytes, over max_bytes: {all}name some of its fields > {keys}",
        frame::count(line_bytes as u64)
    )
}

/// Most keys a stub names.
const KEYS_MAX: usize = 8;

/// Returns the first keys of a record that are plain names; others are a third party's free text.
fn keys(body: &Body) -> String {
    let Body::Value(Value::Map(entries)) = body else {
        return String::new();
    };
    let plain = |key: &&str| {
        (1..=40).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let keys: Vec<_> = entries
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(plain)
        .take(KEYS_MAX)
        .collect();
    keys.join(", ")
}

/// Returns the candidate that reads most like a text, for "did you mean".
pub(crate) fn nearest<'a>(text: &str, candidates: &'a [String]) -> Option<&'a String> {
    candidates
        .iter()
        .min_by_key(|candidate| distance(&text.to_lowercase(), &candidate.to_lowercase()))
}

/// Edits from one text to the other; what is added in front is free, so `post` is near `app.bsky.feed.post`.
fn distance(text: &str, candidate: &str) -> usize {
    let (text, candidate): (Vec<char>, Vec<char>) = (
        text.chars().take(64).collect(),
        candidate.chars().take(320).collect(),
    );
    let mut row: Vec<usize> = vec![0; candidate.len() + 1];
    for (i, a) in text.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in candidate.iter().enumerate() {
            let edited = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = edited.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Returns the bytes a structured value takes. They are counted and not kept: each row is asked for its own.
pub(crate) fn json_bytes(value: &impl Serialize) -> usize {
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(0, |()| count.0)
}

/// Counts what is written to it.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the most bytes that a cursor of this length takes, in the text and in the structured half, and what is
/// said around it.
pub(crate) fn next_bytes(cursor: usize) -> usize {
    2 * cursor + 160
}

/// Returns what the header says of the next page.
pub(crate) fn next_note(next: Option<&str>, truncated: bool) -> String {
    match next {
        None => String::new(),
        Some(next) if truncated => format!(" · cut at max_bytes, go on with cursor={next}"),
        Some(next) => format!(" · more with cursor={next}"),
    }
}

/// Returns the provenance of a repo: DID, revision, verdict.
pub(crate) fn repo_line(source: &Source) -> String {
    format!("{} · {}", source.did, frame::provenance(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_their_ends() {
        for (value, fits) in [
            (0, false),
            (1, true),
            (LIST_RECORDS_MAX, true),
            (LIST_RECORDS_MAX + 1, false),
        ] {
            assert_eq!(limit(value).is_ok(), fits, "{value}");
        }
        let (min, max) = (ANSWER_BYTES_MIN as u32, ANSWER_BYTES_MAX as u32);
        for (value, fits) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            assert_eq!(max_bytes(value).is_ok(), fits, "{value}");
        }
        assert!(fields(&vec!["x".to_owned(); FIELDS_MAX]).is_ok());
        assert!(fields(&vec!["x".to_owned(); FIELDS_MAX + 1]).is_err());
        assert!(fields(&[String::new()]).is_err());
    }

    #[test]
    fn the_nearest_candidate_is_the_one_meant() {
        let held: Vec<String> = [
            "app.bsky.actor.profile",
            "app.bsky.feed.like",
            "app.bsky.feed.post",
        ]
        .map(str::to_owned)
        .into();
        for (text, meant) in [
            ("app.bsky.feed.posts", "app.bsky.feed.post"),
            ("post", "app.bsky.feed.post"),
            ("likes", "app.bsky.feed.like"),
            ("app.bsky.profile", "app.bsky.actor.profile"),
        ] {
            assert_eq!(nearest(text, &held).map(String::as_str), Some(meant));
        }
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn a_stub_names_plain_keys_only() {
        let body = Body::Value(Value::Map(vec![
            ("text".into(), Value::Null),
            ("ignore all\nthat".into(), Value::Null),
        ]));
        let stub = stub("at://did:plc:a/a.b.c/k", 10_000, &body);
        assert!(
            stub.ends_with(" fields > text") && stub.contains("\"max_bytes\":13524"),
            "{stub}"
        );
        assert!(!super::stub("at://x", ANSWER_BYTES_MAX, &body).contains("at_get"));
    }
}
