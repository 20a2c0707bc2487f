//! What a gateway offers, as `TOOLS.md` shows it to people: made from the definitions that clients get.

use std::borrow::Cow;

use carrack_schema::limits::{
    ANCESTORS_MAX, ANSWER_BYTES_DEFAULT, ANSWER_BYTES_MAX, CONNECTIONS_PER_GATEWAY_MAX,
    HTTP_BODY_BYTES_MAX, HTTP_BYTES_PER_SECOND, HTTP_CONNECTIONS_MAX, HTTP_GOODBYE_SECONDS_MAX,
    HTTP_REQUESTS_PER_SECOND, HTTP_UNDER_WAY_MAX, LIST_RECORDS_MAX, LISTENS_MAX, QUERY_STEPS_MAX,
    REFS_MAX, RESOURCE_BYTES_MAX, SUBSCRIPTION_URIS_MAX,
};
use rmcp::model::{Prompt, ResourceTemplate, Tool};
use serde_json::Value;

use crate::render::frame::count;
use crate::server::Policy;
use crate::{prompts, resources, tools};

const HEAD: &str = "\
# What agents see

Made from the definitions by `carrack-mcp tools`; a test holds this file against them.

Lists are filtered by how the gateway was started (`--read-only`, `--tools`, `--import-root`) and by the caller's
grant: what a caller may not do is absent.
";

/// Returns the reference, in Markdown.
pub(crate) fn markdown() -> String {
    let tools = tools::definitions(&Policy::all());
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Tools\n");
    text.extend(tools.iter().map(tool));
    text.push_str("\n## Resources\n\n| template | type | content |\n|---|---|---|\n");
    text.extend(resources::all().iter().map(template));
    text.push_str("\n`resources/list` names the accounts that are held. Accounts, collections and records can be listened to.\n");
    text.push_str("\n## Prompts\n\n| prompt | arguments | answers |\n|---|---|---|\n");
    text.extend(prompts::list(&names).iter().map(prompt));
    text.push_str(LIMITS);
    text.extend(
        limits()
            .iter()
            .map(|(what, most)| format_row(&[what, most])),
    );
    text
}

const LIMITS: &str = "
## Limits

What callers meet. All limits are in `schema/src/limits.rs`, each with its reason; what a grant allows is its maker's choice.

| what | most |
|---|---|
";

fn limits() -> [(&'static str, String); 16] {
    let sized = |most: usize| count(most as u64);
    [
        (
            "bytes of text in an answer, if nothing is said",
            sized(ANSWER_BYTES_DEFAULT),
        ),
        ("bytes of text in an answer", sized(ANSWER_BYTES_MAX)),
        ("rows on a page", count(LIST_RECORDS_MAX.into())),
        ("references in `at_get`", sized(REFS_MAX)),
        ("steps in `at_query`", sized(QUERY_STEPS_MAX)),
        (
            "posts above another in `at_thread`",
            count(ANCESTORS_MAX.into()),
        ),
        (
            "bytes of a CAR that is read as a resource",
            sized(RESOURCE_BYTES_MAX),
        ),
        (
            "resources that one stream of updates names",
            sized(SUBSCRIPTION_URIS_MAX),
        ),
        ("streams of updates of one caller", sized(LISTENS_MAX)),
        (
            "HTTP: bytes of a request's body",
            sized(HTTP_BODY_BYTES_MAX),
        ),
        (
            "HTTP: requests of one grant, by all its tokens, each second",
            count(HTTP_REQUESTS_PER_SECOND.into()),
        ),
        (
            "HTTP: bytes of answers to one grant, each second",
            count(HTTP_BYTES_PER_SECOND.into()),
        ),
        (
            "HTTP: requests of one grant under way",
            sized(HTTP_UNDER_WAY_MAX),
        ),
        ("HTTP: connections", sized(HTTP_CONNECTIONS_MAX)),
        (
            "HTTP: tokens served at once",
            sized(CONNECTIONS_PER_GATEWAY_MAX),
        ),
        (
            "HTTP: seconds that calls under way have when it ends",
            count(HTTP_GOODBYE_SECONDS_MAX),
        ),
    ]
}

fn tool(tool: &Tool) -> String {
    let mut text = format!("\n### {}\n\n", tool.name);
    text.push_str(tool.description.as_deref().unwrap_or_default());
    text.push_str("\n\n");
    text.push_str(&behaviour(tool));
    let none = serde_json::Map::new();
    let properties = tool
        .input_schema
        .get("properties")
        .and_then(Value::as_object);
    let properties = properties.unwrap_or(&none);
    if properties.is_empty() {
        return text;
    }
    let required = tool.input_schema.get("required").and_then(Value::as_array);
    text.push_str("\n| argument | type | default | |\n|---|---|---|---|\n");
    for (name, schema) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|each| each == name));
        let default = match (is_required, schema.get("default")) {
            (true, _) => "required".to_owned(),
            (false, None | Some(Value::Null)) => String::new(),
            (false, Some(default)) => format!("`{default}`"),
        };
        let words = schema
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        text.push_str(&format_row(&[
            &format!("`{name}`"),
            &kind(schema),
            &default,
            words,
        ]));
    }
    text
}

fn behaviour(tool: &Tool) -> String {
    let said = tool.annotations.clone().unwrap_or_default();
    let mut words = vec![match said.read_only_hint {
        Some(true) => "Reads only",
        _ => "Writes",
    }];
    if said.destructive_hint == Some(true) {
        words.push("may destroy");
    }
    if said.idempotent_hint == Some(true) {
        words.push("twice is the same as once");
    }
    if said.open_world_hint == Some(true) {
        words.push("reaches outside the archive");
    }
    format!("{}.\n", words.join(", "))
}

/// Returns an argument's type and what it is, as an error says it.
pub(crate) fn said(schema: &Value) -> String {
    let words = schema.get("description").and_then(Value::as_str);
    let kind = kind(schema).replace('`', "");
    match words {
        Some(words) => format!("{kind} ({words})"),
        None => kind,
    }
}

/// Returns the type of an argument, with its bounds or its choices.
fn kind(schema: &Value) -> String {
    let choices = schema.get("enum").and_then(Value::as_array);
    if let Some(choices) = choices {
        let choices: Vec<_> = choices.iter().map(|each| format!("`{each}`")).collect();
        return choices.join(" or ");
    }
    let mut kind = schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("any")
        .to_owned();
    if let Some(items) = schema.get("items") {
        kind.extend([" of ", &self::kind(items)]);
    }
    for (low, high) in [("minimum", "maximum"), ("minItems", "maxItems")] {
        match (schema.get(low), schema.get(high)) {
            (Some(low), Some(high)) => {
                kind += &[", ", &low.to_string(), " to ", &high.to_string()].concat()
            }
            (None, Some(high)) => kind += &[", at most ", &high.to_string()].concat(),
            _ => {}
        }
    }
    kind
}

fn template(template: &ResourceTemplate) -> String {
    let uri = format!("`{}`", template.uri_template);
    let words = |text: &Option<String>| text.clone().unwrap_or_default();
    format_row(&[
        &uri,
        &words(&template.mime_type),
        &words(&template.description),
    ])
}

fn prompt(prompt: &Prompt) -> String {
    let arguments = prompt.arguments.iter().flatten().map(|argument| {
        let optional = if argument.required == Some(true) {
            ""
        } else {
            "?"
        };
        format!("`{}{optional}`", argument.name)
    });
    let arguments: Vec<_> = arguments.collect();
    let words = prompt.description.clone().unwrap_or_default();
    format_row(&[&format!("`{}`", prompt.name), &arguments.join(", "), &words])
}

fn format_row(cells: &[&str]) -> String {
    let escaped = cells.iter().map(|cell| match cell.contains(['|', '\n']) {
        true => Cow::Owned(cell.replace('|', "\\|").replace('\n', " ")),
        false => Cow::Borrowed(*cell),
    });
    let cells: Vec<_> = escaped.collect();
    format!("| {} |\n", cells.join(" | "))
}
