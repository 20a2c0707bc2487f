//! `carrack query`: a plan that the store runs, as JSON.

use std::io::Read;
use std::path::{Path, PathBuf};

use carrack_client::Absent;
use carrack_client::query::{Answer, Ended, Plan, Row, What};
use carrack_schema::codes::Exit;
use carrack_schema::{Code, Value};
use clap::Args;
use serde_json::{Map, json};

use super::door::Door;
use super::list;
use super::output::Output;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
A plan is JSON: {\"steps\": [STEP, …], \"return\": STEP, \"budget\": BUDGET}. A step does one thing with
the rows of the step before it, or of the one it names in `from`, by number from 1 or by `id`. A
budget has any of rows and bytes (of the answer), work (rows looked at) and millis.

Examples of steps:
  Whose posts somebody liked most in October
    {\"list\": {\"repo\": \"alice.example\", \"collection\": \"app.bsky.feed.like\",
              \"since\": \"2026-10-01\", \"until\": \"2026-11-01\"}},
    {\"group\": \"subject.uri#did\"}, {\"top\": 10}
  Posts that mention capnp and answer nothing, the latest first
    {\"list\": {\"repo\": \"alice.example\", \"collection\": \"app.bsky.feed.post\", \"reverse\": true}},
    {\"filter\": [{\"path\": \"text\", \"contains\": \"capnp\"},
                {\"path\": \"reply\", \"exists\": false}]},
    {\"project\": [\"text\", \"createdAt\"]}
  Whom Alice and Bob both follow
    {\"id\": \"bob\", \"list\": {\"repo\": \"bob.example\", \"collection\": \"app.bsky.graph.follow\"}},
    {\"list\": {\"repo\": \"alice.example\", \"collection\": \"app.bsky.graph.follow\"}},
    {\"among\": {\"path\": \"subject\", \"step\": \"bob\", \"of\": \"subject\"}}
  Posts of the store with five likes or more, with their likes
    {\"list\": {\"repos\": \"all\", \"collection\": \"app.bsky.feed.like\"}},
    {\"group\": \"subject.uri\"}, {\"filter\": [{\"path\": \"@count\", \"atLeast\": 5}]},
    {\"map\": \"@value\"}
  How many posts a month
    {\"list\": {\"repo\": \"alice.example\", \"collection\": \"app.bsky.feed.post\"}},
    {\"group\": \"createdAt#month\"}
  What those whom Alice follows have posted lately
    {\"list\": {\"repo\": \"alice.example\", \"collection\": \"app.bsky.graph.follow\"}},
    {\"list\": {\"at\": \"subject\", \"collection\": \"app.bsky.feed.post\"}},
    {\"top\": {\"count\": 20, \"by\": \"createdAt#time\"}}

Steps: get, list, filter, among, map, project, count, group, top, distinct, first.
Tests: exists, equals, prefix, contains, atLeast, below; each with `not`.
Paths: keys joined by dots, or @uri @did @collection @rkey @time @held @value @count; behind them
what is made of the value: #did #collection #rkey #time #year #month #day #host #length.
What each does is in schema/capnp/query.capnp. With --json the last object says why there are not
more rows, what was read and what each step cost.")]
pub(super) struct Arguments {
    /// A file with the plan, or - for stdin
    #[arg(value_name = "PLAN.json|-")]
    plan: PathBuf,
}

/// Longest plan that is read, in bytes: more than a server takes in one message.
const PLAN_BYTES_MAX: u64 = 4 << 20;

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let plan = read(&arguments.plan)?;
    let answer = door
        .call(async |session| Ok(session.store().query(&plan).await?))
        .await?;
    for row in &answer.rows {
        if output.is_json() {
            output.object(&object(&answer, row))?;
        } else {
            output.line(&line(&answer, row))?;
        }
    }
    if output.is_json() {
        output.object(&summary(&answer))?;
    } else {
        note(&answer, output);
    }
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<Plan> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Code::InvalidArgument, error.to_string()).about(path.display())
    };
    let mut text = String::new();
    if path == Path::new("-") {
        let stdin = std::io::stdin().lock();
        stdin.take(PLAN_BYTES_MAX).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(PLAN_BYTES_MAX).read_to_string(&mut text)
    }
    .map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|error| {
        let words = format!("the plan is not one: {error}");
        Failure::new(Code::InvalidArgument, words)
    })
}

/// Returns a row as an object: a record's uri and value, a group's value, and a count where there is one.
fn object(answer: &Answer, row: &Row) -> serde_json::Value {
    let mut object = match (&row.what, answer.uri(row)) {
        (What::Record { record, .. }, Some(uri)) => {
            let mut object = list::object(&uri, record);
            // What was not asked for is left out.
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|_, field| !field.is_null());
            }
            object
        }
        (What::Absent { hop, .. }, Some(uri)) => json!({ "uri": uri, "absent": name(*hop) }),
        (What::Value(value), _) => json!({ "value": value }),
        _ => serde_json::Value::Object(Map::new()),
    };
    if row.count > 0 || matches!(row.what, What::Count) {
        object["count"] = json!(row.count);
    }
    object
}

/// Returns the name of what is missing.
fn name(hop: Absent) -> &'static str {
    match hop {
        Absent::Repo => "repo",
        Absent::Collection => "collection",
        Absent::Record => "record",
        Absent::Inactive => "inactive",
        Absent::Unknown => "unknown",
    }
}

fn line(answer: &Answer, row: &Row) -> String {
    let mut parts = Vec::new();
    if row.count > 0 || matches!(row.what, What::Count) {
        parts.push(row.count.to_string());
    }
    parts.extend(answer.uri(row));
    match &row.what {
        What::Value(Value::Text(text)) => parts.push(text.clone()),
        What::Value(value) => parts.push(json!(value).to_string()),
        What::Absent { hop, .. } => parts.push(format!("({hop})")),
        What::Record { record, .. } => {
            if let carrack_client::Body::Value(value) = &record.body {
                parts.push(json!(value).to_string());
            }
        }
        What::Count => {}
    }
    parts.join("\t")
}

fn summary(answer: &Answer) -> serde_json::Value {
    let sources = answer.sources.iter();
    let steps = answer.steps.iter();
    let absent = answer.absent.iter();
    json!({
        "ended": answer.ended.as_str(),
        "bytes": answer.bytes,
        "repos": answer.repos,
        "sources": sources
            .map(|source| json!({ "did": source.did, "rev": source.rev }))
            .collect::<Vec<_>>(),
        "absent": absent
            .map(|each| json!({ "step": each.step, "repo": each.repo, "absent": name(each.hop) }))
            .collect::<Vec<_>>(),
        "steps": steps
            .map(|cost| json!({
                "rowsIn": cost.rows_in,
                "rowsOut": cost.rows_out,
                "work": cost.work,
                "micros": cost.micros,
            }))
            .collect::<Vec<_>>(),
    })
}

/// Tells a person what the rows do not.
fn note(answer: &Answer, output: &mut Output) {
    for missing in &answer.absent {
        output.note(&format!(
            "step {}: {}: {}",
            missing.step, missing.repo, missing.hop
        ));
    }
    let work: u64 = answer.steps.iter().map(|cost| cost.work).sum();
    let micros: u64 = answer.steps.iter().map(|cost| cost.micros).sum();
    let rows = answer.rows.len();
    let ended = match answer.ended {
        Ended::Complete => "that is all".to_owned(),
        Ended::Rows => "there are more".to_owned(),
        Ended::Bytes => "there are more than the answer may have bytes".to_owned(),
        other => format!("the plan ended early: {}", other.as_str()),
    };
    output.note(&format!(
        "{rows} rows, {ended}; {} repos read, {work} rows looked at, {}.{:03} ms",
        answer.repos,
        micros / 1_000,
        micros % 1_000,
    ));
}
