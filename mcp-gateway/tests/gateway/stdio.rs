//! The stdio transport: what is on stdout, how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};

use carrack_schema::limits::{LISTENS_MAX, STDIO_UNDER_WAY_MAX};
use serde_json::{Value, json};

use crate::kit::{Agent, bare, folder, modern_meta, sample};

/// Something to listen to.
const ACTOR_URI: &str = "at://did:plc:a";

/// `receive` fails on any line that is no JSON-RPC; here everything that can log does.
#[test]
fn stdout_carries_messages_only_whatever_is_logged() {
    let data = folder();
    let mut gateway = Agent::spawn(data.path(), &[], &[("CARRACK_LOG", "trace")]);
    gateway.initialize();
    gateway.call("at_import", json!({ "source": sample("varied.car") }));
    gateway.call("at_overview", json!({}));
    // The real stdout is elsewhere: what prints to fd 1 reaches stderr.
    let link = |fd| fs::read_link(format!("/proc/{}/fd/{fd}", gateway.pid())).unwrap();
    assert_eq!(link(1), link(2));
    gateway.signal("-TERM");
    assert!(gateway.wait().success());
    assert!(gateway.log().contains("INFO"));
}

#[test]
fn it_ends_when_stdin_does_and_frees_the_folder() {
    let data = folder();
    for _ in 0..2 {
        let mut gateway = Agent::start(data.path(), &[]);
        gateway.text("at_overview", json!({}));
        assert!(data.path().join("carrack.sock").exists());
        assert!(gateway.end().success());
        assert!(!data.path().join("carrack.sock").exists());
    }
}

#[test]
fn it_ends_when_told_to_although_stdin_is_open() {
    for name in ["-TERM", "-INT"] {
        let data = folder();
        let mut gateway = Agent::start(data.path(), &[]);
        gateway.signal(name);
        assert!(gateway.wait().success(), "{name}");
        assert!(!data.path().join("carrack.sock").exists(), "{name}");
    }
}

#[test]
fn a_client_that_says_nothing_is_no_failure() {
    let data = folder();
    assert!(Agent::spawn(data.path(), &[], &[]).end().success());
}

/// A request and the end of stdin may come in one write.
#[test]
fn what_was_asked_before_the_end_is_answered() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    gateway.send(&json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": { "name": "at_overview", "arguments": {} } }));
    let answer = gateway.close_and_receive();
    assert_eq!(answer["id"], 9);
}

#[test]
fn a_folder_that_is_not_ours_is_refused_at_start() {
    let data = folder();
    fs::write(data.path().join("thesis.tex"), "x").unwrap();
    let mut gateway = Agent::spawn(data.path(), &[], &[]);
    assert_eq!(gateway.wait().code(), Some(2));
    assert!(
        gateway
            .log()
            .contains("neither empty nor a Carrack data folder")
    );
}

/// Clients start a server with pipes; whoever tries it out by hand may not.
#[test]
fn files_serve_as_well_as_pipes() {
    let data = folder();
    let (asked, answered) = (data.path().join("asked"), data.path().join("answered"));
    let hello = crate::kit::message("initialize", crate::kit::initialize_params());
    fs::write(&asked, format!("{hello}\n")).unwrap();
    let store = data.path().join("store");
    let status = bare()
        .arg("--data")
        .arg(&store)
        .stdin(fs::File::open(&asked).unwrap())
        .stdout(fs::File::create(&answered).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    let answer: Value = serde_json::from_str(&fs::read_to_string(&answered).unwrap()).unwrap();
    assert_eq!(answer["result"]["serverInfo"]["name"], "carrack-mcp");
}

/// Streams of updates never end by themselves: were each to hold a place among what is under way, nothing more would be
/// read, their cancellation and the end neither.
#[test]
fn streams_of_updates_leave_room_for_calls() {
    let streams = STDIO_UNDER_WAY_MAX + 1;
    for uris in [json!([]), json!(["at-car://did:plc:a"]), json!([ACTOR_URI])] {
        let data = folder();
        let mut gateway = Agent::spawn(data.path(), &[], &[]);
        gateway.modern();
        gateway.request("server/discover", json!({}));
        for stream in 0..streams {
            let params = json!({ "notifications": { "resourceSubscriptions": uris }, "_meta": modern_meta() });
            gateway.send(&json!({ "jsonrpc": "2.0", "id": 900 + stream, "method": "subscriptions/listen", "params": params }));
        }
        gateway.request("tools/list", json!({}));
        // Those without anything to tell have ended, of the others those that are too many.
        let (over, how) = match uris.as_array().unwrap().contains(&json!(ACTOR_URI)) {
            true => (streams - LISTENS_MAX, "error"),
            false => (streams, "result"),
        };
        let mut notes = std::mem::take(&mut gateway.notes);
        let ended = |note: &&Value| note["id"].is_u64();
        while notes.iter().filter(ended).count() < over {
            notes.push(gateway.receive());
        }
        for note in notes.iter().filter(ended) {
            assert!(note[how].is_object(), "{note}");
        }
        if how == "error" {
            let refused = notes.iter().find(ended).unwrap();
            let words = format!("{LISTENS_MAX} streams of updates at the most");
            assert!(refused.to_string().contains(&words), "{refused}");
            // One that ends makes room for another.
            let running =
                (900..900 + streams).find(|id| !notes.iter().any(|note| note["id"] == *id));
            let cancel = json!({ "requestId": running, "_meta": modern_meta() });
            gateway.send(
                &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel }),
            );
            gateway.request("tools/list", json!({}));
        }
        assert!(gateway.end().success());
    }
}

/// A client that asks, reads nothing and dies leaves no process behind, though the end of stdin stands behind what was not
/// read of it.
#[test]
fn it_ends_with_a_client_that_read_nothing() {
    for closes_both in [true, false] {
        let data = folder();
        let (input, mut asking) = std::io::pipe().unwrap();
        let (unread, output) = std::io::pipe().unwrap();
        let mut child = bare()
            .arg("--data")
            .arg(data.path())
            .stdin(input)
            .stdout(output)
            .spawn()
            .unwrap();
        let hello = crate::kit::message("initialize", crate::kit::initialize_params());
        let list = crate::kit::message("tools/list", json!({}));
        writeln!(asking, "{hello}").unwrap();
        let mut unread = BufReader::with_capacity(1, unread);
        assert_ne!(unread.read_line(&mut String::new()).unwrap(), 0);
        // Each answer has 10 KiB and more, and a pipe holds 64: most are never written, many requests never read.
        for _ in 0..4 * STDIO_UNDER_WAY_MAX {
            writeln!(asking, "{list}").unwrap();
        }
        drop(asking);
        let kept = (!closes_both).then_some(unread);
        assert!(crate::kit::wait(&mut child).success());
        drop(kept);
    }
}
