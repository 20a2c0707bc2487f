//! Errors: in-band, with what failed, why, and a call that would work.

use std::fmt::Write;

use serde_json::json;

use crate::kit::{ACTOR, Agent, FRIEND, address, folder, redact, text};

const NOBODY: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

/// The same through both doors: of a store in the gateway's own process, and of one elsewhere.
#[test]
fn error_texts_are_these() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let shown = errors(&mut gateway);
    let mut guest = Agent::to_store(&address(data.path()));
    assert_eq!(errors(&mut guest), shown);
    insta::assert_snapshot!(shown);
}

fn errors(gateway: &mut Agent) -> String {
    let mut shown = String::new();
    for (tool, arguments, code) in [
        (
            "at_overview",
            json!({ "actor": "alice.test" }),
            "unknownHandle",
        ),
        (
            "at_overview",
            json!({ "actor": "alice" }),
            "invalidArgument",
        ),
        ("at_overview", json!({ "actor": NOBODY }), "notFound"),
        ("at_overview", json!({ "who": ACTOR }), "invalidArgument"),
        ("at_overview", json!({ "limit": 0 }), "limitExceeded"),
        ("at_overview", json!({ "max_bytes": 100 }), "limitExceeded"),
        (
            "at_overview",
            json!({ "cursor": "c1_x" }),
            "invalidArgument",
        ),
        ("at_list", json!({}), "invalidArgument"),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.posts" }),
            "notFound",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "post" }),
            "notFound",
        ),
        (
            "at_list",
            json!({ "actor": NOBODY, "collection": "post" }),
            "notFound",
        ),
        ("at_list", json!({ "actor": NOBODY }), "notFound"),
        (
            "at_list",
            json!({ "actor": ACTOR, "since": "2026-01-01" }),
            "invalidArgument",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "since": "today" }),
            "invalidArgument",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "cursor": "c1_AAAA" }),
            "invalidArgument",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "cursor": "page 2" }),
            "invalidArgument",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "fields": [""] }),
            "invalidArgument",
        ),
        ("at_get", json!({ "refs": [] }), "limitExceeded"),
        (
            "at_get",
            json!({ "refs": vec![ACTOR; 51] }),
            "limitExceeded",
        ),
        ("at_get", json!({ "refs": ACTOR }), "invalidArgument"),
        ("at_get", json!({ "refs": ["alice.test"] }), "unknownHandle"),
        ("at_get", json!({ "refs": [NOBODY] }), "notFound"),
        (
            "at_get",
            json!({ "refs": [format!("{ACTOR},app.bsky.feed.post")] }),
            "invalidArgument",
        ),
        (
            "at_get",
            json!({ "refs": ["bafyreibilrtk527yuv76k4cvtmbhwstsnaf6lii3ffemvhxn3mmr7igdxy"] }),
            "invalidArgument",
        ),
        (
            "at_get",
            json!({ "refs": [ACTOR, FRIEND], "rev": "3n2v4k6owr72x" }),
            "invalidArgument",
        ),
        (
            "at_get",
            json!({ "refs": [ACTOR], "rev": "2222222222222" }),
            "revNotRetained",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "rev": "2222222222222" }),
            "revNotRetained",
        ),
        (
            "at_list",
            json!({ "actor": ACTOR, "rev": "yesterday" }),
            "invalidArgument",
        ),
        (
            "at_get",
            json!({ "refs": [format!("{ACTOR},app.bsky.feed.post,nope")] }),
            "notFound",
        ),
        (
            "at_get",
            json!({ "refs": [format!("{ACTOR},app.bsky.feed.posts,x")] }),
            "notFound",
        ),
        ("at_thread", json!({ "uri": ACTOR }), "invalidArgument"),
        (
            "at_thread",
            json!({ "uri": format!("{ACTOR},app.bsky.feed.post,nope") }),
            "notFound",
        ),
        (
            "at_thread",
            json!({ "uri": format!("{NOBODY},app.bsky.feed.post,x") }),
            "notFound",
        ),
        (
            "at_thread",
            json!({ "uri": format!("{ACTOR},app.bsky.feed.post,x"), "up": 1_001 }),
            "limitExceeded",
        ),
        ("at_query", json!({}), "invalidArgument"),
        ("at_query", json!({ "steps": [] }), "limitExceeded"),
        (
            "at_query",
            json!({ "steps": vec![json!({ "count": {} }); 17] }),
            "limitExceeded",
        ),
        (
            "at_query",
            json!({ "steps": [{ "list": { "repo": ACTOR, "collection": "app.bsky.feed.post" } }, { "sort": "text" }] }),
            "invalidArgument",
        ),
        (
            "at_query",
            json!({ "steps": [{ "list": { "repo": "???", "collection": "app.bsky.feed.post" } }] }),
            "invalidArgument",
        ),
        (
            "at_query",
            json!({ "steps": [{ "list": { "repo": "alice.test", "collection": "app.bsky.feed.post" } }] }),
            "unknownHandle",
        ),
        (
            "at_query",
            json!({ "steps": [{ "count": {} }] }),
            "invalidArgument",
        ),
        (
            "at_query",
            json!({ "steps": [{ "get": [ACTOR] }], "return": "none" }),
            "invalidArgument",
        ),
        (
            "at_query",
            json!({ "steps": [{ "list": { "repo": ACTOR, "collection": "posts" } }] }),
            "invalidArgument",
        ),
        (
            "at_query",
            json!({ "steps": [{ "list": { "repo": ACTOR, "collection": "app.bsky.feed.post", "since": "today" } }] }),
            "invalidArgument",
        ),
        ("at_verify", json!({}), "invalidArgument"),
        (
            "at_verify",
            json!({ "uri": ACTOR, "actor": ACTOR }),
            "invalidArgument",
        ),
        ("at_verify", json!({ "uri": ACTOR }), "invalidArgument"),
        (
            "at_verify",
            json!({ "uri": format!("{NOBODY},app.bsky.feed.post,x") }),
            "notFound",
        ),
        ("at_verify", json!({ "actor": NOBODY }), "notFound"),
        ("at_export", json!({}), "invalidArgument"),
        (
            "at_export",
            json!({ "actor": ACTOR, "uris": [ACTOR] }),
            "invalidArgument",
        ),
        ("at_export", json!({ "actor": NOBODY }), "notFound"),
        (
            "at_export",
            json!({ "actor": format!("{ACTOR},app.bsky.feed.post") }),
            "invalidArgument",
        ),
        (
            "at_export",
            json!({ "uris": [format!("{ACTOR},app.bsky.feed.post")] }),
            "invalidArgument",
        ),
        (
            "at_export",
            json!({ "actor": ACTOR, "as": "jsonl" }),
            "invalidArgument",
        ),
        (
            "at_export",
            json!({ "actor": ACTOR, "as": "zip" }),
            "invalidArgument",
        ),
        (
            "at_export",
            json!({ "actor": ACTOR, "path": "/no/such/folder/a.car" }),
            "notFound",
        ),
        (
            "at_export",
            json!({ "actor": ACTOR, "path": "/dev/null", "overwrite": true }),
            "invalidArgument",
        ),
        ("at_grant", json!({}), "invalidArgument"),
        ("at_grant", json!({ "action": "create" }), "invalidArgument"),
        (
            "at_grant",
            json!({ "action": "create", "repos": ["alice.test"] }),
            "unknownHandle",
        ),
        (
            "at_grant",
            json!({ "action": "create", "repos": [ACTOR], "minutes": 10_081 }),
            "limitExceeded",
        ),
        (
            "at_grant",
            json!({ "action": "create", "repos": [ACTOR], "may": ["delete"] }),
            "invalidArgument",
        ),
        (
            "at_grant",
            json!({ "action": "create", "repos": [ACTOR], "collections": ["posts"] }),
            "invalidArgument",
        ),
        ("at_grant", json!({ "action": "revoke" }), "invalidArgument"),
        (
            "at_grant",
            json!({ "action": "revoke", "id": "nothing" }),
            "notFound",
        ),
        (
            "at_import",
            json!({ "source": "/no/such/file.car" }),
            "notFound",
        ),
        ("at_import", json!({ "source": "/" }), "invalidArgument"),
        (
            "at_import",
            json!({ "source": "/no/such", "did": "alice" }),
            "invalidArgument",
        ),
    ] {
        let result = gateway.call(tool, arguments.clone());
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
        let structured = &result["structuredContent"];
        assert_eq!(structured["code"], code, "{tool} {arguments}: {result}");
        let text = text(&result);
        assert!(
            text.starts_with("failed: ") && text.contains("\nwhy: ") && text.contains("\ntry: "),
            "{text}"
        );
        assert!(text.len() <= 4_096, "{} bytes", text.len());
        let arguments = arguments.to_string();
        let start: String = arguments.chars().take(120).collect();
        writeln!(shown, "{tool} {start}\n{text}\n").unwrap();
    }
    redact(&shown)
}

#[test]
fn a_tool_that_there_is_not_is_refused_in_band_with_those_there_are() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &["--read-only"]);
    for name in ["at_nothing", "at_import", "at_grant"] {
        let answer = gateway.call(name, json!({}));
        assert_eq!(answer["isError"], true, "{answer}");
        assert_eq!(answer["structuredContent"]["code"], "notFound");
        let words = text(&answer);
        let start = format!(
            "failed: calling a tool (notFound) > {name}\nwhy: this session has no tool of that name\n\
             try: one of at_overview, "
        );
        assert!(words.starts_with(&start), "{words}");
        // Neither those that another caller has.
        assert!(
            !words.contains("at_import,") && !words.contains(", at_grant"),
            "{words}"
        );
    }
}
