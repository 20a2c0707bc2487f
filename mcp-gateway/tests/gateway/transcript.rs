//! What goes over the wire, word for word: both eras of the protocol, both transports.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, Http, folder, modern_meta, redact, sample};

fn shown(messages: &[(char, Value)]) -> String {
    let mut out = String::new();
    for (direction, message) in messages {
        let mut message = message.clone();
        // Definitions have a golden file of their own.
        let tools = message
            .pointer_mut("/result/tools")
            .and_then(Value::as_array_mut);
        for tool in tools.into_iter().flatten() {
            *tool = tool["name"].clone();
        }
        writeln!(out, "{direction} {message}").unwrap();
    }
    redact(&out)
}

fn converse(gateway: &mut Agent) {
    gateway.request("tools/list", json!({}));
    let arguments = json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "limit": 1 });
    gateway.request(
        "tools/call",
        json!({ "name": "at_list", "arguments": arguments }),
    );
    gateway.request("tools/call", json!({ "name": "at_get", "arguments": {} }));
    gateway.request(
        "tools/call",
        json!({ "name": "at_nothing", "arguments": {} }),
    );
    gateway.request("prompts/get", json!({ "name": "x" }));
}

#[test]
fn stdio_2025_11_25() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let mut gateway = Agent::start(data.path(), &[]);
    gateway.request("ping", json!({}));
    converse(&mut gateway);
    insta::assert_snapshot!(shown(&gateway.transcript));
}

#[test]
fn stdio_2026_07_28() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let mut gateway = Agent::spawn(data.path(), &[], &[]);
    gateway.modern();
    gateway.request("server/discover", json!({}));
    converse(&mut gateway);
    insta::assert_snapshot!(shown(&gateway.transcript));
}

fn over_http(messages: &[Value], headers: &[(&str, &str)]) -> String {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::start(data.path(), &[]);
    let mut transcript = Vec::new();
    for message in messages {
        let method = message["method"].as_str().unwrap();
        let mut headers = headers.to_vec();
        let name = message["params"]["name"].as_str();
        if headers.iter().any(|(_, value)| *value == "2026-07-28") {
            headers.push(("Mcp-Method", method));
            headers.extend(name.map(|name| ("Mcp-Name", name)));
        }
        let response = gateway.post(message, &headers);
        transcript.push(('>', message.clone()));
        let body = serde_json::from_str(&response.body).unwrap_or(Value::Null);
        transcript.push(('<', json!({ "status": response.status })));
        if !body.is_null() {
            transcript.push(('<', body));
        }
    }
    assert!(gateway.end().success());
    shown(&transcript)
}

fn requests(meta: Option<&Value>) -> Vec<Value> {
    let arguments = json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "limit": 1 });
    [
        ("tools/list", json!({})),
        (
            "tools/call",
            json!({ "name": "at_list", "arguments": arguments }),
        ),
        ("tools/call", json!({ "name": "at_get", "arguments": {} })),
        (
            "tools/call",
            json!({ "name": "at_nothing", "arguments": {} }),
        ),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, (method, mut params))| {
        if let Some(meta) = meta {
            params["_meta"] = meta.clone();
        }
        json!({ "jsonrpc": "2.0", "id": i + 2, "method": method, "params": params })
    })
    .collect()
}

#[test]
fn http_2025_11_25() {
    let mut messages = vec![
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": crate::kit::initialize_params() }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
    ];
    messages.extend(requests(None));
    let transcript = over_http(&messages, &[("MCP-Protocol-Version", "2025-11-25")]);
    insta::assert_snapshot!(transcript);
}

#[test]
fn http_2026_07_28() {
    let meta = modern_meta();
    let mut messages = vec![
        json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": meta } }),
    ];
    messages.extend(requests(Some(&meta)));
    let transcript = over_http(&messages, &[("MCP-Protocol-Version", "2026-07-28")]);
    insta::assert_snapshot!(transcript);
}

/// The era changes the envelope, not what a tool says.
#[test]
fn both_eras_give_the_same_answers() {
    let data = folder();
    let mut old = Agent::start(data.path(), &[]);
    old.call("at_import", json!({ "source": sample("varied.car") }));
    let mut new = Agent::spawn(data.path(), &[], &[]);
    new.modern();
    new.request("server/discover", json!({}));
    for (tool, arguments) in [
        ("at_overview", json!({})),
        ("at_list", json!({ "actor": ACTOR })),
        ("at_get", json!({})),
    ] {
        let (a, b) = (old.call(tool, arguments.clone()), new.call(tool, arguments));
        assert_eq!(
            (&a["content"], &a["structuredContent"]),
            (&b["content"], &b["structuredContent"])
        );
        assert_eq!(b["resultType"], "complete");
    }
}
