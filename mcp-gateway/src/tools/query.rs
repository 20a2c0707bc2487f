//! `at_query`: a plan that the store runs next to the data, sent as one call.

use carrack_client::Store;
use carrack_client::query::{
    Answer as Answered, Budget as Cost, Ended, Op, Plan, Repos, Step, StepRef, What,
};
use carrack_schema::limits::QUERY_STEPS_MAX;
use carrack_schema::{AtUri, Code, Did, Value};
use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::{self, Format};
use super::rows::{self, RepoItem, Row};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::refs::{Ref, RefError};
use crate::render::frame::{count, counted};
use crate::render::record::{self, Line, Style};
use crate::render::{Budget, quote};
use crate::schema;

pub(crate) const NAME: &str = "at_query";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// One operation each, on the rows of the step before (or of `from`: an `id`)
    #[schemars(length(min = 1, max = 16))]
    #[schemars(with = "Vec<Empty>")]
    steps: Vec<serde_json::Value>,
    /// Step whose rows are shown; default: last
    #[schemars(with = "Option<String>")]
    r#return: Option<StepRef>,
    /// Most rows
    #[serde(default = "common::limit_default")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
    /// full shows the whole JSON
    #[serde(default)]
    format: Format,
    /// Most bytes of the answer
    #[serde(default = "common::max_bytes_default")]
    #[schemars(range(min = 1024, max = 65536))]
    max_bytes: u32,
}

/// An object, no more said of it: what a step may hold is taught by the description, in a tenth of the tokens.
#[derive(JsonSchema)]
struct Empty {}

/// The structured half.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Output {
    items: Vec<Item>,
    /// complete, or the budget that ended it
    ended: &'static str,
    repos: Vec<RepoItem>,
    repos_read: u32,
    work: u64,
    truncated: bool,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "Answers questions over many records in one call: a plan that runs inside the archive. Not for known records: \
         use at_get. Steps: list{repo|repos|at,collection,since,until}, get[uris], \
         filter[{path,contains|equals|prefix|atLeast|below|exists,not}], map:path (follow at-uris), \
         project[paths], group:path, count{}, top:n|{count,by}, distinct:path, first:n, among{path,step,of}. \
         Paths: text, subject.uri#did, createdAt#month, @uri, @value, @count. Example, whom one likes most: \
         {\"steps\":[{\"list\":{\"repo\":\"did:plc:ewvi7nxzyoun6zhxrhs64oiz\",\"collection\":\"app.bsky.feed.like\"}},\
         {\"group\":\"subject.uri#did\"},{\"top\":10}]}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("items"))
    .with_annotations(super::reading())
}

fn example() -> serde_json::Value {
    json!({ "steps": [
        { "list": { "repo": "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "collection": "app.bsky.feed.like" } },
        { "group": "subject.uri#did" },
        { "top": 10 },
    ] })
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let arguments: Arguments = common::arguments(NAME, arguments, &example())?;
    let shown = Shown {
        style: match arguments.format {
            Format::Compact => Style::Digest,
            Format::Full => Style::Json,
        },
        limit: common::limit(arguments.limit)?,
        bytes_max: common::max_bytes(arguments.max_bytes)?,
    };
    let plan = plan(&arguments)?;
    let shown = match projects(&plan) {
        true => Shown {
            style: Style::Json,
            ..shown
        },
        false => shown,
    };
    let asked = &plan;
    let read = |store: Store| async move { store.query(asked).await };
    let answered = connection.read(read).await.map_err(|error| {
        let refusal = Refusal::of(&error, "running the plan");
        match error.code() {
            Code::InvalidArgument | Code::LimitExceeded => refusal.example(NAME, &example()),
            Code::UnknownHandle => {
                refusal.hint("name the account by its DID; at_overview {} lists those held")
            }
            _ => refusal,
        }
    })?;
    Ok(render(&plan, &answered, shown))
}

/// Fewest bytes a row and its item take: more rows than that are not asked for, since they could not be shown.
const ROW_BYTES_MIN: usize = 16;

/// Reads the plan step by step, so that what is wrong can be said of the step it is in.
fn plan(arguments: &Arguments) -> Result<Plan, Refusal> {
    let refused = |what: String, why: String| {
        let refusal = Refusal::new(Code::InvalidArgument, what, common::told(&why));
        refusal.example(NAME, &example())
    };
    let count = arguments.steps.len();
    if !(1..=QUERY_STEPS_MAX).contains(&count) {
        let why = format!("a plan has from 1 to {QUERY_STEPS_MAX} steps");
        let refusal = Refusal::new(Code::LimitExceeded, format!("taking {count} steps"), why);
        return Err(refusal.example(NAME, &example()));
    }
    let mut plan = Plan::new();
    for (number, step) in (1..).zip(&arguments.steps) {
        let what = || format!("reading step {number}");
        if !step.is_object() {
            let why = "a step is an object of one operation, such as {\"group\":\"langs\"}";
            return Err(refused(what(), why.to_owned()).about(&step.to_string()));
        }
        let parsed = Step::deserialize(step);
        let mut step =
            parsed.map_err(|error| refused(what(), error.to_string()).about(&step.to_string()))?;
        named(&mut step.op).map_err(|(text, why)| refused(what(), why).about(&text))?;
        plan.steps.push(step);
    }
    plan.answer = arguments.r#return.clone().map(number);
    let fitting = u32::try_from(arguments.max_bytes as usize / ROW_BYTES_MIN).unwrap_or(u32::MAX);
    Ok(plan.budget(Cost {
        rows: arguments.limit.min(fitting),
        ..Cost::default()
    }))
}

/// Says whether the plan names fields: they are what the caller chose, so all of them are shown.
fn projects(plan: &Plan) -> bool {
    let projects = |op: &Op| matches!(op, Op::Project(want) if !want.fields.is_empty());
    plan.steps.iter().any(|step| projects(&step.op))
}

/// Takes a number that was written as a text; no schema of one type says "a number or a text".
fn number(step: StepRef) -> StepRef {
    match &step {
        StepRef::Id(id) => id.parse().map_or(step, StepRef::Number),
        StepRef::Number(_) => step,
    }
}

/// Takes the names in a step in every form of reference, or returns the one that is none, and why. A handle is for the
/// store to resolve.
fn named(op: &mut Op) -> Result<(), (String, String)> {
    match op {
        Op::Get(uris) => {
            for uri in uris {
                *uri = match Ref::parse(uri) {
                    Ok(reference) => match reference.record() {
                        Some(record) => record.to_string(),
                        None => {
                            let why = "it names a collection, not a record".to_owned();
                            return Err((uri.clone(), why));
                        }
                    },
                    Err(_) => return Err(no_reference(uri)),
                };
            }
        }
        Op::List(list) => {
            if let Repos::Named(names) = &mut list.repos {
                for name in names {
                    *name = match Ref::parse(name) {
                        Ok(reference) => reference.did().to_string(),
                        Err(RefError::Handle(handle, _)) => handle,
                        Err(RefError::Cid(_) | RefError::Form(_)) => {
                            return Err(no_reference(name));
                        }
                    };
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn no_reference(text: &str) -> (String, String) {
    (
        text.to_owned(),
        format!("a reference is one of {}", crate::refs::FORMS),
    )
}

#[derive(Clone, Copy)]
struct Shown {
    style: Style,
    limit: u32,
    bytes_max: usize,
}

fn render(plan: &Plan, answered: &Answered, shown: Shown) -> Answer {
    let mut output = Output {
        items: Vec::new(),
        ended: answered.ended.as_str(),
        repos: Vec::new(),
        repos_read: answered.repos,
        work: answered.steps.iter().map(|step| step.work).sum(),
        truncated: false,
    };
    let named = named_sources(answered);
    let (sources, repos) = rows::provenance(named);
    output.repos = repos;
    let facts = facts(plan, answered);
    let frame = sources.len() + facts.len() + common::json_bytes(&output);
    let frame = frame + common::CUT_NOTE.len() + FRAME_WORDS_BYTES;
    let all = answered.rows.iter();
    let fitting = rows::fitting(
        Budget::new(shown.bytes_max, frame),
        all.map(|each| row(answered, each, shown)),
    );
    output.truncated = fitting.is_cut;
    let shown_rows = fitting.items.len();
    let mut text = match shown_rows {
        0 => "none".to_owned(),
        rows => counted(rows as u64, "row"),
    };
    if fitting.is_cut {
        let more = count((answered.rows.len() - shown_rows) as u64);
        text.extend([
            " · cut at max_bytes: ",
            &more,
            " more came; a project step with fewer paths, or max_bytes, shows them",
        ]);
    }
    text.push_str(common::cut_note(fitting.has_cut));
    text.push_str(" · ");
    text.push_str(&ended(answered.ended, shown.limit));
    text.push_str(&facts);
    text.push_str(&sources);
    text.push_str(&fitting.body());
    output.items = fitting.items;
    Answer::new(text, &output)
}

/// What the header says beside what is counted for it: the longest note on why it ended, and on a cut.
const FRAME_WORDS_BYTES: usize = 400;

/// Most repos whose provenance stands in an answer; the rows of more are named by their at-URIs all the same.
const SOURCES_MAX: usize = 10;

/// Returns where the rows come from; of a plan that only counts, what was read.
fn named_sources(answered: &Answered) -> Vec<&carrack_client::Source> {
    let mut named = Vec::new();
    for row in &answered.rows {
        if let What::Record { source, .. } = &row.what
            && let Some(source) = answered.sources.get(*source)
            && !named.contains(&source)
        {
            named.push(source);
        }
    }
    if named.is_empty() {
        named.extend(&answered.sources);
    }
    named.truncate(SOURCES_MAX);
    named
}

/// Returns why there are not more rows, and how to get them.
fn ended(ended: Ended, limit: u32) -> String {
    const PARTIAL: &str =
        "what is counted is what was found until then; narrow the lists by repo, since or until";
    match ended {
        Ended::Complete => "complete".to_owned(),
        Ended::Rows => format!(
            "ended at limit={limit}: a larger limit (at most 1000), a filter, or a list with before or until gives the rest"
        ),
        Ended::Bytes => {
            "ended at the store's bytes: project fewer paths, or ask for fewer rows".to_owned()
        }
        Ended::Work => format!("partial, ended at the store's work: {PARTIAL}"),
        Ended::Time => format!("partial, ended at the store's time: {PARTIAL}"),
        Ended::Memory => {
            format!("partial, ended at the store's memory: {PARTIAL}, or filter before group")
        }
        Ended::Repos => format!("partial, ended at the store's repos: {PARTIAL}"),
        Ended::Unknown => "ended for a reason that this gateway does not know".to_owned(),
    }
}

/// Most lists that are said to be absent.
const ABSENT_MAX: usize = 5;

/// Returns what the plan cost, step by step, and what it named in vain.
fn facts(plan: &Plan, answered: &Answered) -> String {
    let mut steps = Vec::new();
    for (step, cost) in plan.steps.iter().zip(&answered.steps) {
        steps.push(format!("{} {}", verb(&step.op), count(cost.rows_out)));
    }
    let work: u64 = answered.steps.iter().map(|step| step.work).sum();
    let mut facts = format!(
        "\nrows by step: {} · work {} · {} read",
        steps.join(", "),
        count(work),
        counted(u64::from(answered.repos), "repo")
    );
    for missing in answered.absent.iter().take(ABSENT_MAX) {
        let did = quote::shorten(&missing.repo, NAME_CHARS_MAX);
        let (step, hop) = (missing.step.to_string(), missing.hop.to_string());
        facts.extend(["\n[not archived] step ", &step, ": ", &did, ": ", &hop]);
    }
    if let Some(more) = answered
        .absent
        .len()
        .checked_sub(ABSENT_MAX)
        .filter(|more| *more > 0)
    {
        facts.extend(["\n[not archived] ", &more.to_string(), " more"]);
    }
    facts
}

/// Longest name of what is absent that is shown, in characters.
const NAME_CHARS_MAX: usize = 200;

fn verb(op: &Op) -> &'static str {
    match op {
        Op::Get(_) => "get",
        Op::List(_) => "list",
        Op::Filter(_) => "filter",
        Op::Among(_) => "among",
        Op::Map(_) => "map",
        Op::Project(_) => "project",
        Op::Count => "count",
        Op::Group(_) => "group",
        Op::Top(_) => "top",
        Op::Distinct(_) => "distinct",
        Op::First(_) => "first",
    }
}

fn row(answered: &Answered, row: &carrack_client::query::Row, shown: Shown) -> Row<Item> {
    let count = (row.count > 0).then_some(row.count);
    let times = count.map_or(String::new(), |count| format!("{}× ", self::count(count)));
    let plain = |line: String, item: Item| Row {
        line: Line::whole(line),
        stub: None,
        item: Item { count, ..item },
    };
    match &row.what {
        What::Count => Row {
            line: Line::whole(self::count(row.count)),
            stub: None,
            item: Item {
                count: Some(row.count),
                ..Item::default()
            },
        },
        What::Value(value) => {
            let (line, value) = value_line(value);
            plain(
                format!("{times}{line}"),
                Item {
                    value: Some(value),
                    ..Item::default()
                },
            )
        }
        // The store passes on names only, but of what somebody's record says.
        What::Absent { uri, hop } => {
            let name = match uri.parse::<AtUri>() {
                Ok(uri) => format!("{uri} · [not archived] {hop}"),
                Err(_) => format!("[not archived] > {}", quote::shorten(uri, NAME_CHARS_MAX)),
            };
            let item = Item {
                uri: uri.parse::<AtUri>().ok().map(|uri| uri.to_string()),
                code: Some("notFound"),
                ..Item::default()
            };
            plain(format!("{times}{name}"), item)
        }
        What::Record { record, .. } => {
            let uri = answered.uri(row).unwrap_or_default();
            let start = match &record.cid {
                Some(cid) => format!("{times}{uri} · cid {cid}"),
                None => format!("{times}{uri}"),
            };
            let (line, stub) = match &record.body {
                // Its name was all that the plan asked for.
                carrack_client::Body::None => (Line::whole(start), None),
                body => {
                    let line = common::line(&record.collection, body, shown.style);
                    let stub = (line.text.len() > shown.bytes_max / 2)
                        .then(|| record::row(&start, &common::stub(&uri, line.text.len(), body)));
                    (line.after(&start), stub)
                }
            };
            Row {
                line,
                stub,
                item: Item {
                    uri: Some(uri),
                    count,
                    ..Item::default()
                },
            }
        }
    }
}

/// Longest value of a group that is shown, in characters.
const VALUE_CHARS_MAX: usize = 160;

/// Returns a group's value as it stands in a line, where only a name or a number is a fact, and as it is alone.
fn value_line(value: &Value) -> (String, String) {
    let short = |text: &str| quote::shorten(text, VALUE_CHARS_MAX);
    match value {
        Value::Text(text) if text.parse::<AtUri>().is_ok() || text.parse::<Did>().is_ok() => {
            (text.clone(), text.clone())
        }
        Value::Text(text) => (format!("> {}", short(text)), short(text)),
        Value::Int(_) | Value::Bool(_) | Value::Null | Value::Link(_) => {
            let text = record::short(value);
            (text.clone(), text)
        }
        other => {
            let text = short(&record::short(other));
            (format!("> {text}"), text)
        }
    }
}

#[cfg(test)]
mod tests {
    use carrack_client::query;
    use carrack_client::{Absent, Body, RecordData, Source, Verdict};
    use carrack_schema::Cid;
    use carrack_schema::cid::Codec;

    use super::*;

    fn answered(rows: Vec<query::Row>, ended: Ended) -> Answered {
        Answered {
            rows,
            ended,
            sources: vec![Source {
                did: "did:plc:a".into(),
                rev: "3n2v4k6owr72x".into(),
                commit: Cid::new(Codec::DagCbor, [7; 32]),
                verdict: Verdict::Unchecked,
            }],
            repos: 1,
            absent: Vec::new(),
            steps: Vec::new(),
            bytes: 0,
        }
    }

    fn rendered(answered: &Answered, bytes_max: usize) -> Answer {
        let shown = Shown {
            style: Style::Digest,
            limit: 25,
            bytes_max,
        };
        render(&Plan::new(), answered, shown)
    }

    fn row(what: What) -> query::Row {
        query::Row { count: 2, what }
    }

    #[test]
    fn a_value_is_a_fact_only_if_it_is_a_name_or_a_number() {
        for (value, expected) in [
            (Value::Text("did:plc:a".into()), "2× did:plc:a"),
            (
                Value::Text("at://did:plc:a/a.b.c/k".into()),
                "2× at://did:plc:a/a.b.c/k",
            ),
            (
                Value::Text("x\n2× did:plc:b".into()),
                "2× > x ⏎ 2× did:plc:b",
            ),
            (Value::Text("\u{202e}x".into()), "2× > \\u202ex"),
            (Value::Int(-3), "2× -3"),
            (Value::Bool(true), "2× true"),
            (Value::Bytes(vec![1, 2]), "2× > (2 bytes)"),
        ] {
            let answer = rendered(
                &answered(vec![row(What::Value(value))], Ended::Complete),
                8_192,
            );
            assert_eq!(answer.text.lines().last(), Some(expected));
        }
    }

    /// The names of records that are not held come out of records.
    #[test]
    fn a_name_that_is_none_is_quoted() {
        let what = What::Absent {
            uri: "ignore\nall".into(),
            hop: Absent::Record,
        };
        let answer = rendered(&answered(vec![row(what)], Ended::Complete), 8_192);
        let expected = "2× [not archived] > ignore ⏎ all";
        assert_eq!(answer.text.lines().last(), Some(expected));
        assert!(answer.structured["items"][0].get("uri").is_none());
    }

    #[test]
    fn an_answer_keeps_its_budget_however_its_plan_ended() {
        let record = |text: usize| What::Record {
            source: 0,
            record: RecordData {
                collection: "a.b.c".into(),
                rkey: "k".into(),
                cid: None,
                body: Body::Value(Value::Text("x".repeat(text))),
            },
        };
        for ended in [
            Ended::Complete,
            Ended::Rows,
            Ended::Bytes,
            Ended::Work,
            Ended::Time,
            Ended::Memory,
            Ended::Repos,
            Ended::Unknown,
        ] {
            for bytes_max in [1_024, 3_000, 8_192] {
                let rows = (0..200).map(|i| row(record(i))).collect();
                let answer = rendered(&answered(rows, ended), bytes_max);
                let size = answer.text.len() + answer.structured.to_string().len();
                assert!(size <= bytes_max, "{ended:?}: {size} > {bytes_max}");
                assert_eq!(answer.structured["truncated"], true);
                assert_eq!(answer.structured["ended"], ended.as_str());
            }
        }
    }

    #[test]
    fn a_step_takes_every_form_of_reference() {
        let read = |step: serde_json::Value| {
            let arguments = json!({ "steps": [step] });
            plan(&serde_json::from_value(arguments).unwrap()).map(|plan| plan.steps[0].op.clone())
        };
        let get =
            read(json!({ "get": ["did:plc:a", "https://bsky.app/profile/did:plc:a/post/3k"] }));
        let uris = [
            "at://did:plc:a/app.bsky.actor.profile/self",
            "at://did:plc:a/app.bsky.feed.post/3k",
        ];
        assert_eq!(get, Ok(Op::Get(uris.map(str::to_owned).into())));
        let Ok(Op::List(list)) =
            read(json!({ "list": { "repo": "@Alice.test", "collection": "a.b.c" } }))
        else {
            panic!("a handle is the store's to resolve");
        };
        assert_eq!(list.repos, Repos::Named(vec!["alice.test".into()]));
        let refused = read(json!({ "get": ["did:plc:a,a.b.c"] })).unwrap_err();
        assert!(refused.text().contains("step 1"), "{}", refused.text());
    }
}
