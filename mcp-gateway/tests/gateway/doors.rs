//! One session over everything that is served, through both doors: a store in the gateway's own process, and one that
//! another process owns. Word for word the same answers, refusals and news of progress, on stdio and over HTTP.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use kit::{Order, RepoSpec};
use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, FRIEND, Http, address, folder, message, redact, sample};

const NOBODY: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

/// Whoever is asked: the answer, and the notifications that came with it.
trait Door {
    fn ask(&mut self, method: &str, params: Value) -> (Value, Vec<Value>);
}

impl Door for Agent {
    fn ask(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        self.notes.clear();
        let mut answer = self.request(method, params);
        answer["id"] = 1.into();
        (answer, std::mem::take(&mut self.notes))
    }
}

impl Door for Http {
    fn ask(&mut self, method: &str, params: Value) -> (Value, Vec<Value>) {
        let version = [("MCP-Protocol-Version", "2025-11-25")];
        let response = self.post(&message(method, params), &version);
        assert_eq!(response.status, 200, "{response:?}");
        // A stream of events if something was told on the way, else the answer alone.
        let events = response.body.lines();
        let events = events.filter_map(|line| line.strip_prefix("data:").map(str::trim));
        let mut messages: Vec<Value> = events
            .filter(|event| event.starts_with('{'))
            .map(|event| serde_json::from_str(event).unwrap())
            .collect();
        let answer = messages.pop();
        (
            answer.unwrap_or_else(|| serde_json::from_str(&response.body).unwrap()),
            messages,
        )
    }
}

/// Files to import: a sound one that takes a while, a newer and a damaged one.
fn write_files(files: &Path) {
    let long = RepoSpec {
        records: 4_000,
        ..RepoSpec::default()
    }
    .build();
    let mut damaged = fs::read(sample("varied.car")).unwrap();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(files.join("long.car"), long.car(Order::PreOrder)).unwrap();
    fs::write(files.join("damaged.car"), damaged).unwrap();
    for name in ["varied.car", "varied-friend.car"] {
        fs::copy(sample(name), files.join(name)).unwrap();
    }
}

fn requests(files: &Path, writes_files: bool) -> Vec<(&'static str, Value)> {
    let file = |name: &str| files.join(name).display().to_string();
    let post = |rkey: &str| format!("at://{ACTOR}/app.bsky.feed.post/{rkey}");
    let call = |tool: &str, arguments: Value| {
        let params =
            json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": "t" } });
        ("tools/call", params)
    };
    let list = |repo: &str, collection: &str| json!({ "list": { "repo": repo, "collection": collection } });
    let posts = list(ACTOR, "app.bsky.feed.post");
    let mut requests = vec![
        ("tools/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        call("at_overview", json!({})),
        call("at_import", json!({ "source": file("long.car") })),
        call(
            "at_import",
            json!({ "source": file("varied.car"), "did": ACTOR }),
        ),
        call(
            "at_import",
            json!({ "source": file("varied-friend.car"), "did": ACTOR }),
        ),
        call("at_import", json!({ "source": file("varied-friend.car") })),
        call("at_import", json!({ "source": file("varied.car") })),
        call("at_import", json!({ "source": file("damaged.car") })),
        call("at_import", json!({ "source": file("none.car") })),
        call("at_overview", json!({})),
        call("at_overview", json!({ "actor": ACTOR, "format": "full" })),
        call("at_overview", json!({ "actor": NOBODY })),
        call(
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "max_bytes": 1_024 }),
        ),
        call(
            "at_list",
            json!({ "actor": ACTOR, "collection": "app.bsky.feed.post", "cursor": "c1_AAAA" }),
        ),
        call(
            "at_list",
            json!({ "actor": FRIEND, "rev": "2222222222222" }),
        ),
        call(
            "at_list",
            json!({ "actor": ACTOR, "fields": ["text"], "order": "oldest", "limit": 3 }),
        ),
        call(
            "at_get",
            json!({ "refs": [post("3n2v4jxbvsh2x"), post("nope"), FRIEND, "alice.test"] }),
        ),
        call("at_get", json!({ "refs": [post("nope")] })),
        call(
            "at_query",
            json!({ "steps": [posts, { "group": "langs" }, { "top": 3 }] }),
        ),
        call(
            "at_query",
            json!({ "steps": [list(NOBODY, "app.bsky.feed.post"), { "count": {} }] }),
        ),
        call(
            "at_query",
            json!({ "steps": [posts, { "from": "x", "count": {} }] }),
        ),
        call(
            "at_query",
            json!({ "steps": [{ "list": { "repo": "alice.test", "collection": "a.b.c" } }] }),
        ),
        call("at_thread", json!({ "uri": post("3n2v4jxbvsh2x") })),
        call("at_thread", json!({ "uri": post("nope") })),
        call("at_verify", json!({ "uri": post("3n2v4jxbvsh2x") })),
        call("at_verify", json!({ "uri": post("nope") })),
        call("at_verify", json!({ "actor": NOBODY })),
        call("at_export", json!({ "actor": ACTOR })),
        call(
            "at_export",
            json!({ "uris": [post("3n2v4jxbvsh2x"), post("nope")] }),
        ),
        call("at_export", json!({ "actor": NOBODY })),
        call("at_grant", json!({ "action": "list" })),
        call(
            "at_grant",
            json!({ "action": "create", "repos": [ACTOR], "calls": 10, "label": "x" }),
        ),
        call(
            "at_grant",
            json!({ "action": "create", "repos": ["alice.test"] }),
        ),
        call("at_grant", json!({ "action": "revoke", "id": "nothing" })),
        call("at_nothing", json!({})),
        ("resources/list", json!({})),
        (
            "resources/read",
            json!({ "uri": format!("at://{ACTOR}/app.bsky.feed.post?limit=2") }),
        ),
        ("resources/read", json!({ "uri": post("3n2v4jxbvsh2x") })),
        (
            "resources/read",
            json!({ "uri": format!("at-car://{FRIEND}") }),
        ),
        (
            "resources/read",
            json!({ "uri": format!("at-car://{NOBODY}") }),
        ),
        ("prompts/get", json!({ "name": "archive_health" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": "at://{did}" }, "argument": { "name": "did", "value": "" } }),
        ),
    ];
    if writes_files {
        let written = files.join("written");
        let at = |name: &str| format!("{}-{name}", written.display());
        for _ in 0..2 {
            // The second time there is a file already.
            requests.push(call(
                "at_export",
                json!({ "actor": ACTOR, "path": at("car") }),
            ));
        }
        let uris = [post("3n2v4jxbvsh2x")];
        requests.extend([
            call(
                "at_export",
                json!({ "actor": ACTOR, "as": "jsonl", "path": at("jsonl") }),
            ),
            call("at_export", json!({ "uris": uris, "path": at("proof") })),
            call("at_export", json!({ "actor": NOBODY, "path": at("none") })),
        ]);
    }
    requests
}

/// News of progress come when there is time for them: what each says is the same, how many there are is not.
fn checked(notes: &[Value]) -> &'static str {
    let mut last = 0.0;
    for note in notes {
        assert_eq!(note["method"], "notifications/progress", "{note}");
        let params = &note["params"];
        assert_eq!(
            (&params["progressToken"], &params["total"]),
            (&json!("t"), &json!(100.0))
        );
        let progress = params["progress"].as_f64().unwrap();
        assert!(progress > last && progress < 100.0, "{note}");
        let words = params["message"].as_str().unwrap();
        let known = [
            "received ",
            "verified ",
            "committing",
            "sent ",
            "wrote ",
            "written ",
        ];
        assert!(known.iter().any(|known| words.starts_with(known)), "{note}");
        last = progress;
    }
    if notes.is_empty() { "" } else { "told\n" }
}

/// Goes through the session and returns all of it, without what differs from run to run.
fn session(door: &mut impl Door, files: &Path, writes_files: bool) -> String {
    let mut shown = String::new();
    let mut once = |method: &str, params: Value| -> Value {
        let (answer, notes) = door.ask(method, params.clone());
        let long = params["arguments"]["source"]
            .as_str()
            .is_some_and(|path| path.ends_with("long.car"));
        let told = if long {
            checked(&notes)
        } else {
            checked(&notes);
            ""
        };
        writeln!(shown, "{method} {params}\n{told}{answer}\n").unwrap();
        answer
    };
    let mut own = Vec::new();
    for (method, params) in requests(files, writes_files) {
        let answer = once(method, params);
        let structured = &answer["result"]["structuredContent"];
        if let Some(token) = structured["token"].as_str() {
            let id = structured["items"][0]["id"].as_str().unwrap().to_owned();
            own.extend([
                token.to_owned(),
                structured["items"][0]["until"].as_str().unwrap().to_owned(),
            ]);
            let revoke = json!({ "action": "revoke", "id": id });
            once(
                "tools/call",
                json!({ "name": "at_grant", "arguments": revoke }),
            );
            own.push(id);
        }
    }
    assert_eq!(own.len(), 3, "a grant was made and revoked");
    let mut shown = redact(&shown);
    for (value, name) in own.iter().zip(["TOKEN", "UNTIL", "ID"]) {
        shown = shown.replace(value, name);
    }
    let folder = files.display().to_string();
    without_times(&shown.replace(&folder, "FILES"))
}

/// Replaces the times of imports, which stand in JSON within JSON too.
fn without_times(text: &str) -> String {
    let mark = "imported\\\":\\\"";
    let mut parts = text.split(mark);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.extend([mark, "TIME", &part[20..]]);
    }
    out
}

fn compare(embedded: &str, elsewhere: &str) {
    for (one, other) in embedded.lines().zip(elsewhere.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(embedded.len(), elsewhere.len());
    for tool in [
        "at_overview",
        "at_get",
        "at_list",
        "at_query",
        "at_thread",
        "at_verify",
        "at_export",
        "at_import",
        "at_grant",
    ] {
        for outcome in ["\"isError\":false", "\"isError\":true"] {
            let calls = embedded.split("\n\n");
            let mut calls =
                calls.filter(|call| call.starts_with(&format!("tools/call {{\"name\":\"{tool}\"")));
            assert!(calls.any(|call| call.contains(outcome)), "{tool} {outcome}");
        }
    }
    assert!(embedded.contains("\ntold\n"), "progress was told");
}

#[test]
fn both_stores_say_the_same_on_stdio() {
    let seen = |elsewhere: bool| {
        let (data, files) = (folder(), folder());
        write_files(files.path());
        let mut owner = Agent::start(data.path(), &[]);
        owner.text("at_overview", json!({}));
        match elsewhere {
            false => session(&mut owner, files.path(), true),
            true => session(
                &mut Agent::to_store(&address(data.path())),
                files.path(),
                true,
            ),
        }
    };
    compare(&seen(false), &seen(true));
}

#[test]
fn both_stores_say_the_same_over_http() {
    let seen = |elsewhere: bool| {
        let (data, files) = (folder(), folder());
        write_files(files.path());
        let _owner = elsewhere.then(|| {
            let mut owner = Agent::start(data.path(), &[]);
            owner.text("at_overview", json!({}));
            owner
        });
        let root = files.path().to_str().unwrap();
        let mut gateway = Http::start(data.path(), &["--import-root", root]);
        session(&mut gateway, files.path(), false)
    };
    compare(&seen(false), &seen(true));
}
