//! Budgets and cursors: every row exactly once, whatever the page size.

use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, FRIEND, folder, text};

/// Reads all pages and returns their rows' keys in order, and how many pages there were.
fn all(gateway: &mut Agent, mut arguments: Value) -> (Vec<String>, usize) {
    let max_bytes = usize::try_from(arguments["max_bytes"].as_u64().unwrap_or(8_192)).unwrap();
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let result = gateway.call("at_list", arguments.clone());
        assert_ne!(result["isError"], true, "{result}");
        let (text, structured) = (text(&result), &result["structuredContent"]);
        let size = text.len() + structured.to_string().len();
        assert!(size <= max_bytes, "{size} > {max_bytes}\n{text}");
        let items = structured["items"].as_array().unwrap();
        assert!(!items.is_empty(), "a page without rows goes on nowhere");
        assert_eq!(text.lines().count(), items.len() + 1, "{text}");
        for (item, line) in items.iter().zip(text.lines().skip(1)) {
            let key = match item["collection"].as_str() {
                Some(collection) => format!("{collection}/{}", item["rkey"].as_str().unwrap()),
                None => item["rkey"].as_str().unwrap().to_owned(),
            };
            assert!(line.starts_with(&key), "{line}");
            keys.push(key);
        }
        pages += 1;
        let Some(next) = structured["next"].as_str() else {
            assert!(!text.contains("cursor="), "{text}");
            return (keys, pages);
        };
        assert!(
            text.lines()
                .next()
                .unwrap()
                .ends_with(&format!("cursor={next}")),
            "{text}"
        );
        arguments["cursor"] = next.into();
    }
}

#[test]
fn pages_hold_every_row_once() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    for (base, rows) in [
        (json!({ "actor": ACTOR }), 23),
        (json!({ "actor": FRIEND, "order": "oldest" }), 19),
        (
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post" }),
            12,
        ),
        (
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "format": "full" }),
            12,
        ),
        (
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "fields": ["text"] }),
            12,
        ),
    ] {
        let whole = all(&mut gateway, with(&base, 1_000, 65_536));
        assert_eq!((whole.0.len(), whole.1), (rows, 1), "{base}");
        for (limit, max_bytes) in [
            (1, 8_192),
            (2, 1_024),
            (5, 8_192),
            (1_000, 1_024),
            (1_000, 1_500),
            (1_000, 3_000),
        ] {
            let (keys, pages) = all(&mut gateway, with(&base, limit, max_bytes));
            assert_eq!(keys, whole.0, "{base} limit={limit} max_bytes={max_bytes}");
            assert!(
                pages > 1 || max_bytes == 3_000,
                "{base}: one page of {max_bytes} bytes"
            );
        }
    }
}

fn with(base: &Value, limit: u32, max_bytes: u32) -> Value {
    let mut arguments = base.clone();
    arguments["limit"] = limit.into();
    arguments["max_bytes"] = max_bytes.into();
    arguments
}

/// A record of 1.5 KB in an answer of 1 KiB: shown as a stub that tells how to get it, and the call it tells works.
#[test]
fn a_record_over_the_budget_is_a_stub_that_says_how_to_get_it() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let arguments = json!({
        "actor": ACTOR, "collection": "app.bsky.feed.post", "format": "full", "max_bytes": 1_024,
        "rkey_prefix": "3n2v4jzbfzp2x",
    });
    let answer = gateway.text("at_list", arguments);
    let stub = answer.lines().nth(1).unwrap();
    assert!(stub.contains("over max_bytes: at_get {"), "{stub}");
    let (_, call) = stub.split_once("at_get ").unwrap();
    let call = &call[..=call.find('}').unwrap()];
    let mut call: Value = serde_json::from_str(call).unwrap();
    call["format"] = "full".into();
    let whole = gateway.text("at_get", call);
    assert!(whole.contains("fox capnp capnp café"), "{whole}");
}

#[test]
fn a_cursor_serves_its_own_listing_only() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let mut arguments = json!({ "actor": ACTOR, "limit": 2 });
    let page = gateway.call("at_list", arguments.clone());
    let next = page["structuredContent"]["next"]
        .as_str()
        .unwrap()
        .to_owned();
    arguments["cursor"] = next.clone().into();
    assert_ne!(gateway.call("at_list", arguments.clone())["isError"], true);
    for (key, value) in [
        ("actor", FRIEND),
        ("order", "oldest"),
        ("collection", "app.bsky.feed.post"),
    ] {
        let mut other = arguments.clone();
        other[key] = value.into();
        let result = gateway.call("at_list", other);
        assert_eq!(
            result["structuredContent"]["code"], "invalidArgument",
            "{key}: {result}"
        );
    }
    let forged = next.replace(
        &next[3..8],
        if &next[3..8] == "AAAAA" {
            "BBBBB"
        } else {
            "AAAAA"
        },
    );
    arguments["cursor"] = forged.into();
    assert_eq!(gateway.call("at_list", arguments)["isError"], true);
}

#[test]
fn accounts_are_paged_by_row() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let first = gateway.call("at_overview", json!({ "limit": 1 }));
    assert_eq!(first["structuredContent"]["items"][0]["did"], FRIEND);
    let next = first["structuredContent"]["next"].clone();
    let second = gateway.call("at_overview", json!({ "limit": 1, "cursor": next }));
    assert_eq!(second["structuredContent"]["items"][0]["did"], ACTOR);
    assert!(
        second["structuredContent"].get("next").is_none(),
        "{second}"
    );
}
