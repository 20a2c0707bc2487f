//! What goes over the wire, word for word: both eras of the protocol, both transports.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use kit::{Order, RepoSpec};
use serde_json::{Value, json};

use crate::cancel::long_car;
use crate::kit::{
    ACTOR, Agent, FRIEND, Http, Issuer, Response, folder, message, modern_meta, reading, redact,
    sample,
};

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

/// Takes out what of progress depends on how fast the machine is: all but the first news of a call, and how far it was.
fn told(messages: &[(char, Value)]) -> String {
    let mut seen = Vec::new();
    let mut kept = Vec::new();
    for (direction, message) in messages {
        let mut message = message.clone();
        if message["method"] == "notifications/progress" {
            let token = message["params"]["progressToken"].clone();
            if seen.contains(&token) {
                continue;
            }
            seen.push(token);
            message["params"]["progress"] = "PROGRESS".into();
            message["params"]["message"] = "MESSAGE".into();
        }
        kept.push((*direction, message));
    }
    shown(&kept)
}

fn call_of(id: u64, source: &Path, meta: &Value) -> Value {
    let mut meta = meta.clone();
    meta["progressToken"] = format!("of {id}").into();
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": "at_import", "arguments": { "source": source }, "_meta": meta },
    })
}

/// Writes a CAR whose import takes long enough for news of it, and returns its account.
fn write_car(path: &Path, seed: u64) -> String {
    let spec = RepoSpec {
        records: 2_000,
        seed,
        ..RepoSpec::default()
    };
    let repo = spec.build();
    fs::write(path, repo.car(Order::PreOrder)).unwrap();
    repo.did.to_string()
}

/// Progress, a cancelled call, which is not answered, and news of updates.
fn go_on(gateway: &mut Agent, data: &Path, is_modern: bool) -> String {
    let files = folder();
    let (sound, long) = (
        files.path().join("sound.car"),
        files.path().join("long.car"),
    );
    let did = write_car(&sound, 1);
    long_car(&long);
    // The one is there from the first import on, the other comes with the last.
    let uri = format!("at://{}", if is_modern { &did } else { FRIEND });
    let meta = if is_modern { modern_meta() } else { json!({}) };
    gateway.transcript.clear();
    gateway.send(&call_of(30, &sound, &meta));
    while gateway.receive()["id"] != 30 {}
    gateway.send(&call_of(31, &long, &meta));
    assert_eq!(gateway.receive()["method"], "notifications/progress");
    let mut params = json!({ "requestId": 31, "reason": "no longer of use" });
    if is_modern {
        params["_meta"] = meta.clone();
    }
    gateway
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }));
    let (method, params) = match is_modern {
        true => (
            "subscriptions/listen",
            json!({ "notifications": { "resourceSubscriptions": [uri, "at-car://x"] }, "_meta": meta }),
        ),
        false => ("resources/subscribe", json!({ "uri": uri })),
    };
    gateway.send(&json!({ "jsonrpc": "2.0", "id": 32, "method": method, "params": params }));
    let mut last = gateway.receive();
    // What was on its way when the call was cancelled.
    while last["method"] == "notifications/progress" {
        last = gateway.receive();
    }
    if is_modern {
        assert_eq!(last["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(
            gateway.receive()["method"],
            "notifications/resources/updated"
        );
        let params = json!({ "requestId": 32, "_meta": meta });
        gateway.send(
            &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }),
        );
    } else {
        assert_eq!(last["result"], json!({}), "{last}");
        let mut importer = Agent::start(data, &[]);
        importer.text(
            "at_import",
            json!({ "source": sample("varied-friend.car") }),
        );
        assert_eq!(
            gateway.receive()["method"],
            "notifications/resources/updated"
        );
        gateway.request("resources/unsubscribe", json!({ "uri": uri }));
    }
    for (_, message) in &gateway.transcript {
        assert!(
            message["id"] != 31 || message["method"].is_string(),
            "{message}"
        );
    }
    let shown = told(&gateway.transcript);
    shown.replace(files.path().to_str().unwrap(), "FILES")
}

#[test]
fn stdio_goes_on_2025_11_25() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    insta::assert_snapshot!(go_on(&mut gateway, data.path(), false));
}

#[test]
fn stdio_goes_on_2026_07_28() {
    let data = folder();
    let mut gateway = Agent::spawn(data.path(), &[], &[]);
    gateway.modern();
    gateway.request("server/discover", json!({}));
    insta::assert_snapshot!(go_on(&mut gateway, data.path(), true));
}

/// Returns an answer's head, without what differs from run to run.
fn head(head: &str, port: u16) -> String {
    let mut lines: Vec<_> = head.trim_end().lines().map(str::to_owned).collect();
    lines.retain(|line| {
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        !["date", "content-length"].contains(&name.as_str())
    });
    lines.join("\n< ").replace(&format!(":{port}"), ":PORT")
}

/// Reads a stream up to an event that holds this, or its end.
fn events(stream: &mut impl BufRead, last: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap() != 0 {
        let event = line.strip_prefix("data:").map(str::trim);
        if let Some(event) = event.filter(|event| event.starts_with('{')) {
            events.push(serde_json::from_str(event).unwrap());
            if event.contains(last) {
                break;
            }
        }
        line.clear();
    }
    events
}

/// The answers that are streams: progress, and news of updates. Closing one is what cancels it.
#[test]
fn http_streams() {
    let (data, files) = (folder(), folder());
    let did = write_car(&files.path().join("one.car"), 1);
    write_car(&files.path().join("two.car"), 2);
    let root = files.path().to_str().unwrap();
    let gateway = Http::start(data.path(), &["--import-root", root]);
    let mut out = String::new();
    let listen = json!({ "notifications": { "resourceSubscriptions": [format!("at://{did}")] } });
    for (version, method, mut params, last) in [
        (
            "2025-11-25",
            "tools/call",
            call_of(2, Path::new("one.car"), &json!({}))["params"].clone(),
            "\"result\"",
        ),
        (
            "2026-07-28",
            "tools/call",
            call_of(3, Path::new("two.car"), &modern_meta())["params"].clone(),
            "\"result\"",
        ),
        (
            "2026-07-28",
            "subscriptions/listen",
            listen,
            "resources/updated",
        ),
    ] {
        let mut headers = vec![("MCP-Protocol-Version", version)];
        if version == "2026-07-28" {
            headers.push(("Mcp-Method", method));
            headers.extend((method == "tools/call").then_some(("Mcp-Name", "at_import")));
            for (name, value) in modern_meta().as_object().unwrap() {
                params["_meta"][name] = value.clone();
            }
        }
        let asked = message(method, params);
        let mut stream = BufReader::new(gateway.open(&gateway.request(&asked, &headers)));
        let mut answered = String::new();
        while !answered.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut answered).unwrap(), 0, "{answered}");
        }
        let mut messages = vec![('>', asked)];
        messages.extend(
            events(&mut stream, last)
                .into_iter()
                .map(|event| ('<', event)),
        );
        let transcript = told(&messages);
        let (request, rest) = transcript.split_once('\n').unwrap();
        let answered = head(&answered, gateway.port);
        writeln!(out, "{request}\n< {answered}\n{rest}").unwrap();
    }
    insta::assert_snapshot!(out);
}

/// Who is not let in, and what they are told: whole heads, and bodies.
#[test]
fn http_refusals() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::asking(data.path(), &[], "warn");
    let issuer = Issuer::of(data.path());
    let nothing = carrack_client::Scope::none()
        .all_repos()
        .unlimited_calls()
        .never_expires();
    let (nothing, reader) = (issuer.issue(nothing, "nothing").1, issuer.reader(ACTOR).1);
    let (revoked, revoked_token) = issuer.issue(reading().all_repos(), "revoked");
    issuer.revoke(&revoked);
    let list = message("tools/list", json!({}));
    let bearer = |token: &str| format!("Bearer {token}");
    let posted = |headers: &[(&str, &str)]| gateway.post(&list, headers);
    let long = message("tools/list", json!({ "x": "x".repeat(1 << 20) }));
    let own = [("Authorization", bearer(&reader))];
    let own: Vec<_> = own
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let with = |more: (&'static str, &'static str)| [own.as_slice(), &[more]].concat();
    let mut out = String::new();
    let mut show = |what: &str, response: Response| {
        let (answered, body) = (head(&response.head, gateway.port), response.body);
        let body = body.replace(&format!(":{}", gateway.port), ":PORT");
        writeln!(out, "{what}\n< {answered}\n< {body}\n").unwrap();
    };
    show("no token", posted(&[]));
    show(
        "a token that is none",
        posted(&[("Authorization", "Bearer carrack_x")]),
    );
    show(
        "a credential that is none",
        posted(&[("Authorization", "Bearer a b")]),
    );
    show(
        "a password",
        posted(&[("Authorization", "Basic OmNhcnJhY2tfYQ==")]),
    );
    show(
        "a revoked token",
        posted(&[("Authorization", &bearer(&revoked_token))]),
    );
    show(
        "a grant of nothing",
        posted(&[("Authorization", &bearer(&nothing))]),
    );
    show(
        "a reader's token for the metrics",
        gateway.get("/metrics", &own),
    );
    show("no token for the status page", gateway.get("/", &[]));
    show(
        "another site",
        posted(&with(("Origin", "https://evil.example"))),
    );
    show("another name", posted(&with(("Host", "evil.example"))));
    show("a body that is too long", gateway.post(&long, &own));
    show(
        "a body of another type",
        gateway.raw(
            &gateway
                .request_of("x", &own)
                .replace("application/json\r", "text/plain\r"),
        ),
    );
    show(
        "a body that is no message",
        gateway.raw(&gateway.request_of("x", &own)),
    );
    show(
        "a revision of the future",
        posted(&with(("MCP-Protocol-Version", "2999-01-01"))),
    );
    show(
        "a method that does not fit its header",
        gateway.post(
            &message("tools/list", json!({ "_meta": modern_meta() })),
            &[
                own.as_slice(),
                &[
                    ("MCP-Protocol-Version", "2026-07-28"),
                    ("Mcp-Method", "tools/call"),
                ],
            ]
            .concat(),
        ),
    );
    show(
        "a stream of the older era",
        gateway.get("/mcp", &with(("Accept", "text/event-stream"))),
    );
    show("what is nowhere", gateway.get("/nowhere", &own));
    show(
        "what may be asked for",
        gateway.get("/.well-known/oauth-protected-resource/mcp", &[]),
    );
    insta::assert_snapshot!(out);
}
