//! What one caller may take of a gateway over HTTP, and what that leaves to the others.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use carrack_schema::limits::HTTP_BODY_BYTES_MAX;
use serde_json::json;

use crate::kit::{ACTOR, Agent, FRIEND, Http, Issuer, folder, message};

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

/// Fills a connection with calls whose answers nobody reads, until the gateway takes no more of them.
fn never_read(gateway: &Http, token: &str) -> TcpStream {
    let arguments = json!({ "actor": ACTOR, "format": "full", "max_bytes": 65_536 });
    let call = message(
        "tools/call",
        json!({ "name": "at_list", "arguments": arguments }),
    );
    let bearer = format!("Bearer {token}");
    let request = gateway.request(&call, &[("Authorization", &bearer)]);
    let mut stream = gateway.open(&request);
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    for _ in 0..100_000 {
        if stream.write_all(request.as_bytes()).is_err() {
            return stream;
        }
    }
    panic!("the gateway takes calls without end");
}

#[test]
fn whoever_never_reads_holds_up_nobody_else() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::asking(data.path(), &[], "warn");
    let issuer = Issuer::of(data.path());
    let (deaf, other) = (issuer.reader(ACTOR).1, issuer.reader(FRIEND).1);
    let _stuck = [
        never_read(&gateway, &gateway.owner),
        never_read(&gateway, &deaf),
    ];
    for _ in 0..5 {
        let seen = gateway
            .call_as(&other, "at_overview", json!({}))
            .to_string();
        assert!(seen.contains(FRIEND) && !seen.contains(ACTOR), "{seen}");
        let seen = gateway
            .call_as(&gateway.owner, "at_overview", json!({}))
            .to_string();
        assert!(seen.contains(FRIEND) && seen.contains(ACTOR), "{seen}");
    }
    assert!(gateway.end().success());
}
