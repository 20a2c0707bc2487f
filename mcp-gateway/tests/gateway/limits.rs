//! What one caller may take of a gateway over HTTP, and what that leaves to the others.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use carrack_schema::limits::HTTP_BODY_BYTES_MAX;
use serde_json::{Value, json};

use crate::kit::{
    ACTOR, Agent, FRIEND, Http, Issuer, PATIENCE, address, folder, message, modern_meta, reading,
};

#[test]
fn a_body_is_as_long_as_it_may_be() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let call = |pad: usize| {
        let arguments = json!({ "actor": "x".repeat(pad) });
        message(
            "tools/call",
            json!({ "name": "at_overview", "arguments": arguments }),
        )
    };
    let frame = call(0).to_string().len();
    for (bytes, status) in [(HTTP_BODY_BYTES_MAX, 200), (HTTP_BODY_BYTES_MAX + 1, 413)] {
        let request = call(bytes - frame);
        assert_eq!(request.to_string().len(), bytes);
        let response = gateway.post(&request, &[]);
        assert_eq!(response.status, status, "{} bytes: {response:?}", bytes);
    }
}

#[test]
fn a_token_that_asks_too_fast_waits_and_the_others_do_not() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::asking(data.path(), &[], "warn");
    let issuer = Issuer::of(data.path());
    let (fast, other) = (issuer.reader(ACTOR).1, issuer.reader(FRIEND).1);
    let refused = (0..10_000)
        .map(|_| gateway.post_as(&fast, "ping", json!({})))
        .find(|response| response.status != 200)
        .expect("there is an end to it");
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    for token in [&other, &gateway.owner] {
        assert_eq!(gateway.post_as(token, "ping", json!({})).status, 200);
    }
}

/// Fills a connection with requests whose answers nobody reads, until the gateway takes no more of them.
fn never_read(gateway: &Http, token: &str, method: &str, params: &Value) -> TcpStream {
    let bearer = format!("Bearer {token}");
    let message = message(method, params.clone());
    let request = gateway.request(&message, &[("Authorization", &bearer)]);
    let mut stream = gateway.open(&request);
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    for _ in 0..100_000 {
        if stream.write_all(request.as_bytes()).is_err() {
            return stream;
        }
    }
    panic!("the gateway takes requests without end");
}

/// Calls a tool with a token whose grant may have been given much lately: then it waits, as it is told to.
fn patiently(gateway: &Http, token: &str, tool: &str, arguments: &Value) -> Value {
    let started = Instant::now();
    loop {
        let params = json!({ "name": tool, "arguments": arguments });
        let response = gateway.post_as(token, "tools/call", params);
        if response.status != 429 {
            assert_eq!(response.status, 200, "{response:?}");
            let answer: Value = serde_json::from_str(&response.body).unwrap();
            return answer["result"].clone();
        }
        assert!(started.elapsed() < PATIENCE, "{response:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Nobody reads what the owner, a grant and the listener of a third are sent; they themselves on other connections, the
/// same grant by another token, and other grants are all served.
fn the_others_are_served(data: &Path) {
    let gateway = Http::asking(data, &[], "warn");
    let issuer = Issuer::of(data);
    let exporting = reading().repo(ACTOR).export();
    let (grant, deaf) = issuer.issue(exporting, "deaf");
    let (sibling, other) = (issuer.save(&grant), issuer.reader(FRIEND).1);
    let full = json!({ "actor": ACTOR, "format": "full", "max_bytes": 65_536 });
    let list = json!({ "name": "at_list", "arguments": full });
    let car = json!({ "uri": format!("at-car://{ACTOR}") });
    let listen = json!({
        "notifications": { "resourceSubscriptions": [format!("at://{ACTOR}")] },
        "_meta": modern_meta(),
    });
    let modern = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "subscriptions/listen"),
        ("Authorization", &format!("Bearer {deaf}")),
    ];
    let stuck = [
        never_read(&gateway, &gateway.owner, "tools/call", &list),
        never_read(&gateway, &deaf, "tools/call", &list),
        never_read(&gateway, &deaf, "resources/read", &car),
        gateway.open(&gateway.request(&message("subscriptions/listen", listen), &modern)),
    ];
    for _ in 0..5 {
        for (token, sees, hides) in [
            (&other, FRIEND, ACTOR),
            (&deaf, ACTOR, FRIEND),
            (&sibling, ACTOR, FRIEND),
        ] {
            let seen = patiently(&gateway, token, "at_overview", &json!({})).to_string();
            assert!(seen.contains(sees) && !seen.contains(hides), "{seen}");
            let listed = patiently(&gateway, token, "at_list", &json!({ "actor": sees }));
            assert_eq!(listed["structuredContent"]["did"], sees, "{listed}");
        }
        let seen = gateway
            .call_as(&gateway.owner, "at_overview", json!({}))
            .to_string();
        assert!(seen.contains(FRIEND) && seen.contains(ACTOR), "{seen}");
    }
    drop(stuck);
    assert!(gateway.end().success());
}

#[test]
fn whoever_never_reads_holds_up_nobody_else() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    the_others_are_served(data.path());
}

/// The same where the store is another process, over whose socket each grant has a connection of its own; that process
/// goes on serving its own client meanwhile.
#[test]
fn whoever_never_reads_holds_up_no_store_elsewhere() {
    let data = folder();
    let mut owner = Agent::with_samples(data.path());
    the_others_are_served(data.path());
    assert!(owner.text("at_overview", json!({})).contains(FRIEND));
}

/// A client on a pipe that never reads, whose gateway is in front of a store elsewhere: another gateway of the same store
/// and the store's owner are served.
#[test]
fn a_pipe_that_nobody_reads_holds_up_no_store_elsewhere() {
    let data = folder();
    let mut owner = Agent::with_samples(data.path());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (unread, output) = UnixStream::pair().unwrap();
    let mut deaf = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
        .args(["--store", &address(data.path())])
        .env_remove("CARRACK_DATA")
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(output))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = ours;
    input
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let hello = message("initialize", crate::kit::initialize_params());
    writeln!(input, "{hello}").unwrap();
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    writeln!(input, "{initialized}").unwrap();
    let full = json!({ "actor": ACTOR, "format": "full", "max_bytes": 65_536 });
    let call = message(
        "tools/call",
        json!({ "name": "at_list", "arguments": full }),
    );
    let line = format!("{call}\n");
    // More than all buffers on the way hold: from some call on, its output is full.
    let taken = (0..1_000).take_while(|_| input.write_all(line.as_bytes()).is_ok());
    assert!(taken.count() > 100);
    let mut other = Agent::to_store(&address(data.path()));
    for gateway in [&mut owner, &mut other] {
        for _ in 0..5 {
            assert!(gateway.text("at_overview", json!({})).contains(FRIEND));
            let listed = gateway.text("at_list", json!({ "actor": ACTOR }));
            assert!(listed.contains(ACTOR), "{listed}");
        }
    }
    drop((input, unread));
    deaf.kill().unwrap();
    deaf.wait().unwrap();
}
