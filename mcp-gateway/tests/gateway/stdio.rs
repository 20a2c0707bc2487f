//! The stdio transport: what is on stdout, how it ends.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{Agent, folder, sample};

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
    let status = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
        .arg("--data")
        .arg(&store)
        .env_remove("CARRACK_STORE")
        .stdin(fs::File::open(&asked).unwrap())
        .stdout(fs::File::create(&answered).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    let answer: Value = serde_json::from_str(&fs::read_to_string(&answered).unwrap()).unwrap();
    assert_eq!(answer["result"]["serverInfo"]["name"], "carrack-mcp");
}
