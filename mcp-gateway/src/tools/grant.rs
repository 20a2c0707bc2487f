//! `at_grant`: handing on a part of what the caller may do, and taking it back.
//!
//! A token passes through the model's context and whatever logs that, so what is made here is narrow and ends soon by
//! itself. What can do harm (deleting, compacting, handing on further) is for `carrack grant`, which no model reads.

use std::time::Duration;

use carrack_client::{Error, GrantInfo, GrantList, Limit, Scope, Selection, Session};
use carrack_schema::Code;
use carrack_schema::limits::LIST_RECORDS_MAX;
use carrack_schema::time::rfc3339;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common;
use super::rows::{self, Row};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::frame::{count, counted};
use crate::render::record::Line;
use crate::render::{Budget, quote};
use crate::schema;

pub(crate) const NAME: &str = "at_grant";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    action: Action,
    /// create: accounts, or * for all
    #[serde(default)]
    #[schemars(extend("default" = null))]
    repos: Vec<String>,
    /// create: NSIDs or app.bsky.feed.*; default: all
    #[serde(default)]
    #[schemars(extend("default" = null))]
    collections: Vec<String>,
    /// create; default: read, list
    #[serde(default)]
    #[schemars(extend("default" = null))]
    may: Vec<Operation>,
    /// create: time until it ends
    #[serde(default = "minutes_default")]
    #[schemars(range(min = 1, max = 10080))]
    minutes: u32,
    /// create: most store calls in all; a tool call takes some
    #[serde(default = "calls_default")]
    calls: u64,
    /// create: most record bytes in all
    #[serde(default = "bytes_default")]
    bytes: u64,
    /// create: what it is for
    #[serde(default)]
    #[schemars(extend("default" = null))]
    label: String,
    /// revoke: its id
    id: Option<String>,
    /// list: `next` of the page before
    cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create,
    List,
    Revoke,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Read,
    List,
    Prove,
    Export,
    Import,
}

/// An hour: whoever needs longer says so.
fn minutes_default() -> u32 {
    60
}

/// A week.
const MINUTES_MAX: u32 = 7 * 24 * 60;

fn calls_default() -> u64 {
    5_000
}

fn bytes_default() -> u64 {
    10 << 20
}

/// The structured half.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Output {
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Grants that ended
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    truncated: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Item {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "Makes a token for another agent that may do a part of what you may; lists what was made; revokes it. Only \
         when the user asks: the token passes through this conversation, so keep it narrow and short. \
         Example: {\"action\":\"create\",\"repos\":[\"did:plc:ewvi7nxzyoun6zhxrhs64oiz\"],\"label\":\"summariser\"}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("items"))
    .with_annotations(
        ToolAnnotations::new()
            .read_only(false)
            // Revoking ends what others are doing.
            .destructive(true)
            .idempotent(false)
            .open_world(false),
    )
}

fn example() -> serde_json::Value {
    json!({ "action": "create", "repos": ["did:plc:ewvi7nxzyoun6zhxrhs64oiz"], "label": "summariser" })
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let arguments: Arguments = common::arguments(NAME, arguments, &example())?;
    match arguments.action {
        Action::Create => create(connection, &arguments).await,
        Action::List => list(connection, arguments.cursor.as_deref()).await,
        Action::Revoke => revoke(connection, arguments.id.as_deref()).await,
    }
}

async fn create(connection: &Connection, arguments: &Arguments) -> Result<Answer, Refusal> {
    let scope = scope(connection, arguments).await?;
    let what = "making a grant";
    let label = arguments.label.as_str();
    let make = |session: Session| async move { issue(&session, scope, label).await };
    match connection.write(make).await {
        Ok((info, token)) => Ok(created(&info, &token)),
        Err(error) if error.code() == Code::Unavailable => {
            let why = format!("{}; whether there is a grant is unknown", error.words());
            Err(Refusal::new(Code::UnknownOutcome, what, why).hint(
                "at_grant {\"action\":\"list\"} shows it if there is; revoke it then, its token is lost",
            ))
        }
        Err(error) => {
            let refusal = Refusal::of(&error, what);
            Err(match error.code() {
                Code::Denied | Code::InvalidArgument => refusal.example(NAME, &example()),
                _ => refusal,
            })
        }
    }
}

/// Makes the grant and its one token. A grant whose token nobody was shown is of no use, so it is taken back.
async fn issue(session: &Session, scope: Scope, label: &str) -> Result<(GrantInfo, String), Error> {
    let issued = session.grants().issue(scope, label).await?;
    match issued.grant.save(label).await {
        Ok((token, _)) => Ok((issued.info, token)),
        Err(error) => {
            if let Err(error) = issued.grant.revoke().await {
                tracing::warn!(%error, grant = %issued.info.id, "a grant without a token stays behind");
            }
            Err(error)
        }
    }
}

async fn scope(connection: &Connection, arguments: &Arguments) -> Result<Scope, Refusal> {
    let invalid = |what: &str, why: &str| {
        Refusal::new(Code::InvalidArgument, what, why).example(NAME, &example())
    };
    if arguments.repos.is_empty() {
        let refusal = invalid("making a grant", "repos names no account; * is all");
        return Err(refusal.candidates(common::held(connection).await));
    }
    if !(1..=MINUTES_MAX).contains(&arguments.minutes) {
        let why = format!("minutes is from 1 to {MINUTES_MAX}");
        let what = format!("taking minutes={}", arguments.minutes);
        return Err(Refusal::new(Code::LimitExceeded, what, why).example(NAME, &example()));
    }
    let mut scope = Scope::none()
        .calls(arguments.calls)
        .bytes(arguments.bytes)
        .expires_in(Duration::from_secs(60 * u64::from(arguments.minutes)));
    for repo in &arguments.repos {
        scope = match repo.as_str() {
            "*" => scope.all_repos(),
            text => scope.repo(common::reference(connection, text).await?.did().as_str()),
        };
    }
    scope = match arguments.collections.as_slice() {
        [] => scope.all_collections(),
        names => names.iter().fold(scope, |scope, name| match name.as_str() {
            "*" => scope.all_collections(),
            name => scope.collection(name),
        }),
    };
    let may = match arguments.may.as_slice() {
        [] => &[Operation::Read, Operation::List],
        may => may,
    };
    Ok(may.iter().fold(scope, |scope, may| match may {
        Operation::Read => scope.read(),
        Operation::List => scope.list(),
        Operation::Prove => scope.prove(),
        Operation::Export => scope.export(),
        Operation::Import => scope.import(),
    }))
}

fn created(info: &GrantInfo, token: &str) -> Answer {
    let revoke = json!({ "action": "revoke", "id": info.id });
    let text = format!(
        "created {}\ntoken, shown this once: {token}\nwarning: the token has passed through this conversation and \
         whatever logs it. Give it to its one holder; when they are done: at_grant {revoke}",
        words(info)
    );
    let output = Output {
        items: vec![item(info)],
        token: Some(token.to_owned()),
        ..Output::default()
    };
    Answer::new(text, &output)
}

fn item(info: &GrantInfo) -> Item {
    Item {
        id: info.id.clone(),
        until: until(&info.scope),
    }
}

fn until(scope: &Scope) -> Option<String> {
    (scope.expires != Scope::NEVER).then(|| rfc3339(scope.expires))
}

/// Returns a grant on one line; its label is free text, of whoever made it.
fn words(info: &GrantInfo) -> String {
    let scope = &info.scope;
    let until = match until(scope) {
        Some(time) => format!("until {time}"),
        None => "does not end by itself".to_owned(),
    };
    let most = |limit: Limit| match limit {
        Limit::None => " of 0".to_owned(),
        Limit::AtMost(most) => format!(" of {}", count(most)),
        Limit::Unlimited => String::new(),
    };
    let line = format!(
        "{} · may {} · {} · {} · {until} · used {}{} calls, {}{} bytes",
        info.id,
        operations(scope),
        selected(&scope.repos, "account"),
        selected(&scope.collections, "collection"),
        count(info.usage.calls),
        most(scope.calls.total),
        count(info.usage.bytes),
        most(scope.bytes.total),
    );
    if info.label.is_empty() {
        return line;
    }
    let label = quote::shorten(&info.label, LABEL_CHARS_MAX);
    format!("{line} > {label}")
}

/// Longest label that is shown, in characters.
const LABEL_CHARS_MAX: usize = 100;

fn selected(selection: &Selection, noun: &str) -> String {
    match selection {
        Selection::None => format!("no {noun}s"),
        Selection::All => format!("all {noun}s"),
        Selection::Only(names) => match names.as_slice() {
            [one] => quote::inline(one),
            names => counted(names.len() as u64, noun),
        },
    }
}

fn operations(scope: &Scope) -> String {
    let held = scope.may.names();
    match held.is_empty() {
        true => "nothing".to_owned(),
        false => held.join(", "),
    }
}

async fn list(connection: &Connection, after: Option<&str>) -> Result<Answer, Refusal> {
    let after = after.unwrap_or_default();
    let read =
        |session: Session| async move { session.grants().list(after, LIST_RECORDS_MAX).await };
    let list = connection
        .ask(read)
        .await
        .map_err(|error| Refusal::of(&error, "listing the grants"))?;
    Ok(listed(&list))
}

/// A page goes on after an id, which is a name and no secret.
fn listed(list: &GrantList) -> Answer {
    let mut output = Output::default();
    let longest = list.grants.iter().map(|grant| grant.id.len()).max();
    let frame = common::json_bytes(&output) + common::next_bytes(longest.unwrap_or(0)) + 40;
    let fitting = rows::fitting(
        Budget::new(common::max_bytes_default() as usize, frame),
        list.grants.iter().map(|grant| Row {
            line: Line::whole(words(grant)),
            stub: None,
            item: item(grant),
        }),
    );
    let body = fitting.body();
    output.truncated = fitting.is_cut;
    output.items = fitting.items;
    if list.more || output.truncated {
        output.next = output.items.last().map(|item| item.id.clone());
    }
    let header = match output.items.len() {
        0 => "none: no grant was made from this one".to_owned(),
        shown => counted(shown as u64, "grant"),
    };
    let next = common::next_note(output.next.as_deref(), output.truncated);
    Answer::new(format!("{header}{next}{body}"), &output)
}

async fn revoke(connection: &Connection, id: Option<&str>) -> Result<Answer, Refusal> {
    let Some(id) = id else {
        return Err(
            Refusal::new(Code::InvalidArgument, "revoking a grant", "id is missing")
                .example(NAME, &json!({ "action": "list" })),
        );
    };
    let take = |session: Session| async move { session.grants().grant(id).revoke().await };
    let short: String = id.chars().take(80).collect();
    match connection.write(take).await {
        Ok(revoked) => {
            let text = format!(
                "revoked {short}: {} ended, with their tokens and sessions",
                counted(u64::from(revoked), "grant")
            );
            let output = Output {
                revoked: Some(revoked),
                ..Output::default()
            };
            Ok(Answer::new(text, &output))
        }
        Err(error) => {
            let what = "revoking a grant";
            let refusal = match error.code() {
                // The store's words repeat the id, which is quoted here.
                Code::NotFound => {
                    let why = "no grant of this id was made from this session's";
                    Refusal::new(Code::NotFound, what, why)
                }
                _ => Refusal::of(&error, what),
            };
            Err(refusal
                .about(id)
                .example(NAME, &json!({ "action": "list" })))
        }
    }
}

#[cfg(test)]
mod tests {
    use carrack_client::Usage;

    use super::*;

    fn grant(id: usize, label: &str) -> GrantInfo {
        GrantInfo {
            id: format!("g{id:04}"),
            parent: String::new(),
            label: label.to_owned(),
            scope: Scope::none()
                .repo("did:plc:a")
                .all_collections()
                .read()
                .calls(1_000)
                .bytes(10)
                .expires_at(0),
            created: 0,
            usage: Usage::default(),
            tokens: 1,
            sessions: 0,
        }
    }

    #[test]
    fn a_label_is_somebodys_text() {
        assert_eq!(
            words(&grant(1, "a\ncreated g2")),
            "g0001 · may read · did:plc:a · all collections · until 1970-01-01T00:00:00Z · used 0 of 1,000 calls, 0 \
             of 10 bytes > a ⏎ created g2"
        );
    }

    #[test]
    fn a_long_list_goes_on_after_the_last_that_is_shown() {
        let (all, mut seen): (Vec<_>, Vec<String>) =
            ((0..250).map(|i| grant(i, "for x")).collect(), Vec::new());
        loop {
            let left = all.iter().filter(|grant| seen.last() < Some(&grant.id));
            let answer = listed(&GrantList {
                grants: left.cloned().collect(),
                more: false,
            });
            let size = answer.text.len() + answer.structured.to_string().len();
            assert!(size <= 8_192, "{size}");
            let items = answer.structured["items"].as_array().unwrap();
            seen.extend(
                items
                    .iter()
                    .map(|item| item["id"].as_str().unwrap().to_owned()),
            );
            match answer.structured["next"].as_str() {
                Some(next) => assert_eq!(seen.last().map(String::as_str), Some(next)),
                None => break,
            }
        }
        assert_eq!(seen.len(), 250);
    }
}
