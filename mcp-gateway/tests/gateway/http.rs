//! The HTTP transport: who is let in.

use serde_json::json;

use crate::kit::{Http, folder, initialize_params};
use std::process::Command;

fn hello() -> serde_json::Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize_params() })
}

#[test]
fn only_local_pages_and_programs_are_let_in() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let (own, localhost) = (
        format!("http://127.0.0.1:{}", gateway.port),
        format!("http://localhost:{}", gateway.port),
    );
    for (headers, status) in [
        (vec![], 200),
        (vec![("Origin", own.as_str())], 200),
        (vec![("Origin", localhost.as_str())], 200),
        (vec![("Origin", "https://evil.example")], 403),
        (vec![("Origin", "http://127.0.0.1:1")], 403),
        (vec![("Origin", "null")], 403),
        (vec![("Host", "evil.example")], 403),
        (vec![("Host", "127.0.0.1:1")], 403),
    ] {
        let response = gateway.post(&hello(), &headers);
        assert_eq!(response.status, status, "{headers:?}: {response:?}");
    }
    assert!(gateway.end().success());
}

/// Every call is answered by whoever takes it: there is no session to lose.
#[test]
fn there_are_no_sessions_and_answers_are_json() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let response = gateway.post(&hello(), &[]);
    let head = response.head.to_lowercase();
    assert!(!head.contains("mcp-session-id"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let answer = gateway.call("at_overview", json!({}));
    assert!(
        answer["result"]["content"][0]["text"].is_string(),
        "{answer}"
    );
}

#[test]
fn healthz_answers() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let request = format!(
        "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
        gateway.port
    );
    let response = gateway.raw(&request);
    assert_eq!((response.status, response.body.as_str()), (200, "ok\n"));
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let data = folder();
    let output = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
        .arg("--data")
        .arg(data.path())
        .args(["--http", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("refusing to listen on 0.0.0.0:0: it can be reached from other machines"),
        "{words}"
    );
    assert!(output.stdout.is_empty());
}

/// An allowed site's page may use the answer; the others are not answered at all.
#[test]
fn hosts_and_sites_are_added_by_name() {
    let data = folder();
    let flags = [
        "--allowed-host",
        "archive.example:443",
        "--allowed-origin",
        "https://app.example",
    ];
    let gateway = Http::start(data.path(), &flags);
    let site = ("Origin", "https://app.example");
    for (headers, status) in [
        (vec![("Host", "archive.example:443")], 200),
        (vec![("Host", "archive.example:444")], 403),
        (vec![site], 200),
        (vec![("Origin", "https://app.example:444")], 403),
    ] {
        let response = gateway.post(&hello(), &headers);
        assert_eq!(response.status, status, "{headers:?}: {response:?}");
        let shared = response.header("access-control-allow-origin");
        let expected = (status == 200 && headers[0] == site).then(|| site.1.to_owned());
        assert_eq!(shared, expected, "{headers:?}");
    }
    let preflight = format!(
        "OPTIONS /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nOrigin: {}\r\nAccess-Control-Request-Method: POST\r\n\r\n",
        gateway.port, site.1
    );
    let mut answer = [0; 4096];
    let read = std::io::Read::read(&mut gateway.open(&preflight), &mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    assert!(
        answer.contains("access-control-allow-headers: authorization"),
        "{answer}"
    );
}
