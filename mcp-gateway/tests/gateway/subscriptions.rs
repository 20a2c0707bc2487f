//! Updates over the wire: a stream in the newer era, subscriptions in the older one.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::time::Instant;

use kit::edit::Edit;
use kit::repo::{Repo, RepoSpec};
use serde_json::{Value, json};

use crate::kit::{Agent, Http, PATIENCE, folder, modern_meta};
use crate::resources::import;

/// Returns a repo and its next version.
fn versions() -> (Repo, Repo) {
    let first = RepoSpec::default().build();
    let second = next(&first, 1);
    (first, second)
}

fn next(repo: &Repo, number: u8) -> Repo {
    let put = Edit::Put(format!("com.example.thing/n{number}"), vec![0xa0]);
    repo.next_version(&[put])
}

fn listen_to(uris: &[String]) -> Value {
    let params =
        json!({ "notifications": { "resourceSubscriptions": uris }, "_meta": modern_meta() });
    json!({ "jsonrpc": "2.0", "id": 900, "method": "subscriptions/listen", "params": params })
}

/// Returns the URI that an update is about.
fn updated(message: &Value) -> &str {
    assert_eq!(
        message["method"], "notifications/resources/updated",
        "{message}"
    );
    message["params"]["uri"].as_str().unwrap()
}

/// Waits for an update of each of these, in any order.
fn wait_for(gateway: &mut Agent, uris: &[String]) {
    let mut left: Vec<_> = uris.iter().map(String::as_str).collect();
    let mut notes = std::mem::take(&mut gateway.notes);
    while !left.is_empty() {
        if notes.is_empty() {
            notes.push(gateway.receive());
        }
        let uri = updated(&notes[0]);
        left.retain(|each| *each != uri);
        notes.remove(0);
    }
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn a_stream_on_stdio_tells_of_imports_until_it_is_cancelled() {
    let data = folder();
    let mut gateway = Agent::spawn(data.path(), &[], &[]);
    gateway.modern();
    gateway.request("server/discover", json!({}));
    let (first, second) = versions();
    let did = import(&mut gateway, &first);
    let uris = [
        format!("at://{did}"),
        format!("at://{did}/app.bsky.feed.post"),
    ];
    let mut asked = uris.to_vec();
    asked.push(format!("at-car://{did}"));
    gateway.send(&listen_to(&asked));
    let acknowledged = gateway.receive();
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    let accepted = &acknowledged["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(accepted, &json!(uris));
    // Once at the start, then with each import.
    wait_for(&mut gateway, &uris);
    import(&mut gateway, &second);
    wait_for(&mut gateway, &uris);
    // Of another repo nothing is told.
    let other = RepoSpec {
        seed: 2,
        ..RepoSpec::default()
    }
    .build();
    import(&mut gateway, &other);
    let cancel = json!({ "requestId": 900, "_meta": modern_meta() });
    gateway
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel }));
    import(&mut gateway, &next(&second, 2));
    assert_eq!(gateway.notes, [] as [Value; 0]);
    gateway.request("resources/list", json!({}));
    assert_eq!(gateway.notes, [] as [Value; 0]);
    assert!(gateway.end().success());
}

/// Opens a stream over HTTP.
fn open(gateway: &Http, uris: &[String]) -> BufReader<TcpStream> {
    let headers = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
    ];
    BufReader::new(gateway.open(&gateway.request(&listen_to(uris), &headers)))
}

/// Returns the next message of a stream; none at its end.
fn message(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let event = line.strip_prefix("data:").map(str::trim);
        if let Some(event) = event.filter(|event| event.starts_with('{')) {
            return Some(serde_json::from_str(event).unwrap());
        }
    }
}

#[test]
fn a_stream_over_http_tells_of_imports_and_ends_with_its_client() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let mut importer = Agent::start(data.path(), &[]);
    let (first, second) = versions();
    let did = import(&mut importer, &first);
    let uris = [format!("at://{did}")];
    let mut stream = open(&gateway, &uris);
    let acknowledged = message(&mut stream).unwrap();
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    assert_eq!(updated(&message(&mut stream).unwrap()), uris[0]);
    import(&mut importer, &second);
    assert_eq!(updated(&message(&mut stream).unwrap()), uris[0]);
    // A connection to the store has sixteen watches: those of clients that left are free again.
    for _ in 0..3 * carrack_schema::limits::WATCHES_MAX {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "watches are not given back");
            let mut stream = open(&gateway, &uris);
            let acknowledged = message(&mut stream).unwrap();
            assert_eq!(
                acknowledged["method"],
                "notifications/subscriptions/acknowledged"
            );
            if message(&mut stream).unwrap().get("error").is_none() {
                break;
            }
        }
    }
    // The first stream has lived through all that; and it ends well with the gateway.
    import(&mut importer, &next(&second, 2));
    assert_eq!(updated(&message(&mut stream).unwrap()), uris[0]);
    gateway.terminate();
    let end = message(&mut stream);
    assert!(end.is_none_or(|end| end.get("result").is_some()));
    assert!(gateway.end().success());
}

#[test]
fn a_client_of_the_older_era_subscribes_on_stdio() {
    let data = folder();
    let mut gateway = Agent::spawn(data.path(), &[], &[]);
    let hello = gateway.initialize();
    assert_eq!(
        hello["result"]["capabilities"]["resources"]["subscribe"],
        true
    );
    let (first, second) = versions();
    let did = import(&mut gateway, &first);
    let uris = [
        format!("at://{did}"),
        format!("at://{did}/app.bsky.feed.post"),
    ];
    for uri in [&uris[0], &uris[1], &uris[0]] {
        let answer = gateway.request("resources/subscribe", json!({ "uri": uri }));
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    import(&mut gateway, &second);
    wait_for(&mut gateway, &uris);
    let answer = gateway.request("resources/unsubscribe", json!({ "uri": uris[0] }));
    assert_eq!(answer["result"], json!({}), "{answer}");
    let third = next(&second, 2);
    import(&mut gateway, &third);
    wait_for(&mut gateway, &uris[1..]);
    for uri in [&uris[1], "at://did:plc:never"] {
        gateway.request("resources/unsubscribe", json!({ "uri": uri }));
    }
    import(&mut gateway, &next(&third, 3));
    gateway.request("ping", json!({}));
    assert_eq!(gateway.notes, [] as [Value; 0]);
    let answer = gateway.request(
        "resources/subscribe",
        json!({ "uri": "file:///etc/passwd" }),
    );
    assert_eq!(answer["error"]["code"], -32002, "{answer}");
}

#[test]
fn a_client_has_so_many_subscriptions() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let limit = carrack_schema::limits::SUBSCRIPTION_URIS_MAX;
    for i in 0..limit {
        let uri = format!("at://did:plc:a{i}");
        let answer = gateway.request("resources/subscribe", json!({ "uri": uri }));
        assert_eq!(answer["result"], json!({}), "{i}: {answer}");
    }
    let answer = gateway.request("resources/subscribe", json!({ "uri": "at://did:plc:more" }));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    gateway.request("resources/unsubscribe", json!({ "uri": "at://did:plc:a0" }));
    let answer = gateway.request("resources/subscribe", json!({ "uri": "at://did:plc:more" }));
    assert_eq!(answer["result"], json!({}), "{answer}");
}

#[test]
fn a_subscription_outlives_the_owner_of_the_folder() {
    let data = folder();
    let mut owner = Agent::start(data.path(), &[]);
    let (first, second) = versions();
    let did = import(&mut owner, &first);
    let uris = [format!("at://{did}")];
    let mut guest = Agent::start(data.path(), &[]);
    guest.request("resources/subscribe", json!({ "uri": uris[0] }));
    owner.kill();
    // What the owner did last may not have been told.
    wait_for(&mut guest, &uris);
    import(&mut guest, &second);
    wait_for(&mut guest, &uris);
}

/// Without a session there is nothing to hold a subscription, so none is promised.
#[test]
fn over_http_the_older_era_has_no_subscriptions() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let ask = |method: &str, params: Value| -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = gateway.post(&message, &[("MCP-Protocol-Version", "2025-11-25")]);
        serde_json::from_str(&response.body).unwrap()
    };
    let hello = ask("initialize", crate::kit::initialize_params());
    assert_eq!(
        hello["result"]["capabilities"]["resources"],
        json!({}),
        "{hello}"
    );
    let answer = ask("resources/subscribe", json!({ "uri": "at://did:plc:a" }));
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
}
