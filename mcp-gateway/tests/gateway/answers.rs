//! Answers over the shipped sample, as an agent reads them.

use std::fmt::Write;

use kit::RepoSpec;
use kit::cbor::Value as Cbor;
use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, FRIEND, address, folder, redact, text};

/// The part of JSON Schema that our output schemas use.
fn check(schema: &Value, value: &Value, path: &str) {
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        None => true,
        Some(other) => panic!("{path}: type {other} is not checked here"),
    };
    assert!(fits, "{path}: {value} is no {}", schema["type"]);
    let has = |required: &Value| {
        required.as_array().is_none_or(|names| {
            names
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some())
        })
    };
    assert!(has(&schema["required"]), "{path}: {value}");
    if let Some(any) = schema["anyOf"].as_array() {
        assert!(
            any.iter().any(|one| has(&one["required"])),
            "{path}: {value}"
        );
    }
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object())
    {
        for (name, value) in object {
            let known = ["code", "hint", "candidates"].contains(&name.as_str());
            match properties.get(name) {
                Some(schema) => check(schema, value, &format!("{path}.{name}")),
                None => assert!(known, "{path}.{name} is not in the schema"),
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check(&schema["items"], item, &format!("{path}[]"));
    }
}

fn steps(steps: Value) -> Value {
    json!({ "steps": steps })
}

/// The same through both doors: of a store in the gateway's own process, and of one elsewhere.
#[test]
fn answers_over_the_sample_are_these() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let shown = answers(&mut gateway);
    let mut guest = Agent::to_store(&address(data.path()));
    assert_eq!(answers(&mut guest), shown);
    insta::assert_snapshot!(shown);
    for gateway in [guest, gateway] {
        assert!(gateway.end().success());
    }
}

fn answers(gateway: &mut Agent) -> String {
    let list = gateway.request("tools/list", json!({}));
    let tools = list["result"]["tools"].as_array().unwrap().clone();
    let post = |rkey: &str| format!("at://{ACTOR}/app.bsky.feed.post/{rkey}");
    let mut shown = String::new();
    for (tool, arguments) in [
        ("at_overview", json!({})),
        ("at_overview", json!({ "limit": 1 })),
        ("at_overview", json!({ "format": "full", "cursor": FRIEND })),
        ("at_overview", json!({ "actor": ACTOR })),
        (
            "at_overview",
            json!({ "actor": format!("https://bsky.app/profile/{FRIEND}"), "format": "full", "limit": 2 }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post" }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.like", "order": "oldest", "limit": 2 }),
        ),
        ("at_list", json!({ "actor": FRIEND })),
        (
            "at_list",
            json!({ "actor": format!("{ACTOR},com.example.custom.thing") }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "com.example.custom.thing", "format": "full" }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "fields": ["text", "reply.parent.uri"], "limit": 3 }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "since": "2026-01-01", "until": "2026-01-02", "limit": 2 }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "since": "2030-01-01" }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "rkey_prefix": "3n2v4jx" }),
        ),
        (
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x"), FRIEND, format!("{ACTOR},com.example.custom.thing,k1")] }),
        ),
        (
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x"), post("nope"), "alice.test", "???", format!("{ACTOR},app.bsky.feed.post")] }),
        ),
        (
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x")], "format": "full" }),
        ),
        (
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x")], "fields": ["langs"] }),
        ),
        (
            "at_get",
            json!({ "refs": [format!("https://bsky.app/profile/{ACTOR}/post/3n2v4jwzgcx2x")] }),
        ),
        (
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x"), "bafyreibilrtk527yuv76k4cvtmbhwstsnaf6lii3ffemvhxn3mmr7igdxy"], "rev": "3n2v4k6owr72x" }),
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.like", "rev": "3n2v4k6owr72x", "limit": 1 }),
        ),
        ("at_thread", json!({ "uri": post("3n2v4jxbvsh2x") })),
        (
            "at_thread",
            json!({ "uri": format!("https://bsky.app/profile/{ACTOR}/post/3n2v4jxbvsh2x"), "up": 1, "fields": ["text"] }),
        ),
        (
            "at_thread",
            json!({ "uri": format!("{ACTOR},com.example.custom.thing,k1") }),
        ),
        (
            "at_query",
            steps(json!([
                { "list": { "repo": ACTOR, "collection": "app.bsky.feed.like" } },
                { "group": "subject.uri#did" },
                { "top": 10 },
            ])),
        ),
        (
            "at_query",
            steps(json!([
                { "list": { "repos": [FRIEND, format!("https://bsky.app/profile/{ACTOR}")], "collection": "app.bsky.feed.post" } },
                { "filter": [{ "path": "text", "contains": "FOX" }, { "path": "reply", "exists": false }] },
                { "project": ["text"] },
            ])),
        ),
        (
            "at_query",
            steps(json!([
                { "list": { "repos": "all", "collection": "app.bsky.feed.like" } },
                { "group": "subject.uri" },
                { "map": "@value" },
                { "top": 3 },
                { "project": [] },
            ])),
        ),
        (
            "at_query",
            steps(json!([
                { "list": { "repo": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "collection": "app.bsky.feed.post" } },
                { "count": {} },
            ])),
        ),
        (
            "at_query",
            json!({
                "steps": [
                    { "id": "mine", "list": { "repo": ACTOR, "collection": "app.bsky.graph.follow" } },
                    { "id": "theirs", "list": { "repo": FRIEND, "collection": "app.bsky.graph.follow" } },
                    { "among": { "path": "subject", "step": "mine", "of": "subject", "not": true } },
                ],
            }),
        ),
        (
            "at_query",
            json!({
                "steps": [{ "list": { "repos": "all", "collection": "app.bsky.feed.post", "reverse": true } }],
                "limit": 2,
            }),
        ),
        (
            "at_query",
            json!({
                "steps": [{ "list": { "repos": "all", "collection": "app.bsky.feed.post" } }],
                "max_bytes": 1024, "format": "full",
            }),
        ),
        (
            "at_query",
            json!({
                "steps": [
                    { "id": "mine", "list": { "repo": ACTOR, "collection": "app.bsky.feed.post" } },
                    { "group": "createdAt#day" },
                    { "from": "mine", "group": "langs" },
                ],
                "return": "2", "limit": 1,
            }),
        ),
        (
            "at_query",
            steps(json!([
                { "get": [post("3n2v4jxbvsh2x"), post("nope"), FRIEND] },
                { "project": { "form": "value", "cid": true, "fields": ["langs", "displayName"] } },
            ])),
        ),
        (
            "at_query",
            steps(json!([
                { "list": { "repo": ACTOR, "collection": "app.bsky.feed.post" } },
                { "filter": [{ "path": "text", "contains": "no such text" }] },
            ])),
        ),
        ("at_verify", json!({ "uri": post("3n2v4jxbvsh2x") })),
        ("at_verify", json!({ "uri": post("nope") })),
        ("at_verify", json!({ "actor": FRIEND })),
        ("at_export", json!({ "actor": ACTOR })),
        (
            "at_export",
            json!({ "uris": [post("3n2v4jxbvsh2x"), post("nope"), "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"] }),
        ),
    ] {
        let result = gateway.call(tool, arguments.clone());
        assert_ne!(result["isError"], true, "{result}");
        let schema = &tools.iter().find(|known| known["name"] == tool).unwrap()["outputSchema"];
        check(schema, &result["structuredContent"], tool);
        let text = text(&result);
        let size = text.len() + result["structuredContent"].to_string().len();
        assert!(size <= 8_192, "{tool} {arguments}: {size} bytes");
        writeln!(
            shown,
            "{tool} {arguments}\n{text}\n{}",
            result["structuredContent"]
        )
        .unwrap();
        for link in &result["content"].as_array().unwrap()[1..] {
            writeln!(shown, "{link}").unwrap();
        }
        shown.push('\n');
    }
    redact(&shown)
}

#[test]
fn every_answer_about_a_repo_says_that_its_signature_is_unchecked() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    for (tool, arguments) in [
        ("at_overview", json!({})),
        ("at_overview", json!({ "actor": ACTOR })),
        ("at_list", json!({ "actor": ACTOR })),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "since": "2030-01-01" }),
        ),
        ("at_get", json!({ "refs": [ACTOR] })),
        ("at_verify", json!({ "actor": ACTOR })),
        (
            "at_verify",
            json!({ "uri": format!("{ACTOR},app.bsky.actor.profile,self") }),
        ),
        (
            "at_import",
            json!({ "source": crate::kit::sample("varied.car") }),
        ),
    ] {
        let text = gateway.text(tool, arguments);
        assert!(
            text.contains("signature unchecked") && text.contains(ACTOR),
            "{text}"
        );
        assert!(text.contains("rev 3n2v4k6owr72x"), "{text}");
    }
}

#[test]
fn an_empty_archive_says_so() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let text = gateway.text("at_overview", json!({}));
    assert!(text.starts_with("none: the archive is empty"), "{text}");
}

/// A post as long as a list shows whole, and one that is a character longer: of letters, of emoji that are several
/// characters to a computer. What the answer says about the rest is a call that gives it.
#[test]
fn a_list_cuts_texts_at_160_characters_and_says_how_to_get_the_rest() {
    let family = "👩‍👩‍👧";
    let texts = [
        ("fits1", "x".repeat(160)),
        ("fits2", "語".repeat(160)),
        ("fits3", format!("{}{family}", "x".repeat(155))),
        ("long1", "x".repeat(161)),
        ("long2", "語".repeat(161)),
        // The family has five characters, of which four would still fit.
        ("long3", format!("{}{family}", "x".repeat(156))),
        ("long4", format!("{}\u{e9}e\u{301}", "x".repeat(159))),
    ];
    let extra = texts.iter().map(|(key, text)| {
        let value = Cbor::map([
            ("$type", Cbor::text("app.bsky.feed.post")),
            ("text", Cbor::text(text)),
        ]);
        (format!("app.bsky.feed.post/{key}"), value.encode())
    });
    let repo = RepoSpec {
        records: 0,
        extra: extra.collect(),
        ..RepoSpec::default()
    };
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let did = crate::resources::import(&mut gateway, &repo.build());
    let posts = json!({ "actor": did, "collection": "app.bsky.feed.post", "order": "oldest" });
    let note = "cut where …(+n bytes) or a count stands: at_get with format=full shows one whole";
    let fitting =
        json!({ "rkey_prefix": "fits", "actor": did, "collection": "app.bsky.feed.post" });
    assert!(!gateway.text("at_list", fitting).contains(note));
    let list = json!({ "list": { "repo": did, "collection": "app.bsky.feed.post" } });
    for listed in [
        gateway.text("at_list", posts),
        gateway.text("at_query", json!({ "steps": [list] })),
    ] {
        assert_eq!(listed.matches(note).count(), 1, "{listed}");
        for (key, text) in &texts {
            let row = listed.lines().find(|line| line.contains(key)).unwrap();
            let (_, shown) = row.split_once("> ").unwrap();
            match shown.split_once("…(+") {
                None => assert_eq!(shown, text, "{key}"),
                Some((start, rest)) => {
                    let left_out = rest.strip_suffix(" bytes)").unwrap();
                    assert_eq!(start.len() + left_out.parse::<usize>().unwrap(), text.len());
                    let chars = if *key == "long3" { 156 } else { 160 };
                    assert_eq!(start.chars().count(), chars, "{key}");
                }
            }
            assert_eq!(shown == text, key.starts_with("fits"), "{row}");
            let uri = format!("at://{did}/app.bsky.feed.post/{key}");
            let compact = gateway.text("at_get", json!({ "refs": [uri] }));
            assert!(compact.ends_with(&format!("> {text}")), "{compact}");
            let thread = gateway.text("at_thread", json!({ "uri": uri }));
            assert!(thread.ends_with(&format!("> {text}")), "{thread}");
            let full = gateway.text("at_get", json!({ "refs": [uri], "format": "full" }));
            assert!(full.contains(&format!("\"text\":\"{text}\"")), "{full}");
        }
    }
}
