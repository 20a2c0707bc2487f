//! Tokens over HTTP: whose grant a request has, and that it has no more.

use std::time::{Duration, Instant};

use carrack_client::Scope;
use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, FRIEND, Http, Issuer, PATIENCE, Response, folder, reading, text};

fn with_samples(arguments: &[&str]) -> (tempfile::TempDir, Http, Issuer) {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::asking(data.path(), arguments, "warn");
    let issuer = Issuer::of(data.path());
    (data, gateway, issuer)
}

/// One request that asks the store, and one that does not.
fn both(gateway: &Http, token: &str) -> [Response; 2] {
    let call = json!({ "name": "at_overview", "arguments": {} });
    [
        gateway.post_as(token, "tools/list", json!({})),
        gateway.post_as(token, "tools/call", call),
    ]
}

fn assert_served(gateway: &Http, token: &str) {
    for response in both(gateway, token) {
        assert_eq!(response.status, 200, "{response:?}");
    }
}

fn assert_refused(gateway: &Http, token: &str) {
    for response in both(gateway, token) {
        assert_eq!(response.status, 401, "{response:?}");
        let expected = format!(
            "Bearer resource_metadata=\"http://127.0.0.1:{}/.well-known/oauth-protected-resource/mcp\", \
             scope=\"at:read\", error=\"invalid_token\"",
            gateway.port
        );
        assert_eq!(response.header("www-authenticate"), Some(expected));
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body["jsonrpc"], "2.0", "{body}");
        assert!(body.get("id").is_some_and(Value::is_null), "{body}");
        assert_eq!(body["error"]["data"]["error"], "invalid_token", "{body}");
        let words = body["error"]["message"].as_str().unwrap();
        assert!(words.contains("opens nothing"), "{body}");
        assert!(token.is_empty() || !response.body.contains(token));
    }
}

#[test]
fn without_a_token_the_way_to_one_is_told() {
    let data = folder();
    let gateway = Http::asking(data.path(), &[], "warn");
    let call = crate::kit::message("tools/list", json!({}));
    let response = gateway.post(&call, &[]);
    assert_eq!(response.status, 401, "{response:?}");
    let challenge = response.header("www-authenticate").unwrap();
    assert!(!challenge.contains("error="), "{challenge}");
    let url = challenge.split('"').nth(1).unwrap();
    let base = format!("http://127.0.0.1:{}", gateway.port);
    let path = url.strip_prefix(&base).unwrap();
    for path in [path, "/.well-known/oauth-protected-resource"] {
        let response = gateway.get(path, &[]);
        assert_eq!(response.status, 200, "{response:?}");
        let shown: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(shown["resource"], format!("{base}/mcp"));
        assert_eq!(shown["bearer_methods_supported"], json!(["header"]));
        assert_eq!(shown["scopes_supported"][0], "at:read");
    }
    // A password is for pages; a browser would send it unasked.
    let basic = gateway.post(&call, &[("Authorization", "Basic OmNhcnJhY2tfYQ==")]);
    assert_eq!(basic.status, 401);
}

#[test]
fn the_owners_token_opens_all_and_ends_with_the_run() {
    let (data, gateway, _) = with_samples(&[]);
    let owner = gateway.owner.clone();
    assert_served(&gateway, &owner);
    let overview = gateway.call_as(&owner, "at_overview", json!({}));
    assert_eq!(overview["structuredContent"]["repos"], 2);
    assert!(gateway.end().success());
    let next = Http::asking(data.path(), &[], "warn");
    assert_ne!(next.owner, owner);
    assert_refused(&next, &owner);
}

#[test]
fn what_opens_nothing_is_refused() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let (_, token) = issuer.reader(ACTOR);
    let mut forged = token.clone().into_bytes();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let mut other_run = gateway.owner.clone();
    other_run.pop();
    for wrong in [
        "",
        "x",
        "carrack_",
        &forged,
        &token[..token.len() - 1],
        &other_run,
    ] {
        assert_refused(&gateway, wrong);
    }
    assert_served(&gateway, &token);
}

#[test]
fn a_revoked_grant_is_over_at_once() {
    let (_data, gateway, issuer) = with_samples(&[]);
    // One that is live, one whose list alone is asked for, one that was never shown.
    let (live, token) = issuer.reader(ACTOR);
    let (listed, only_listed) = issuer.reader(ACTOR);
    let (unseen, unshown) = issuer.reader(ACTOR);
    assert_served(&gateway, &token);
    let list = gateway.post_as(&only_listed, "tools/list", json!({}));
    assert_eq!(list.status, 200);
    for grant in [&live, &listed, &unseen] {
        issuer.revoke(grant);
    }
    let call = json!({ "name": "at_overview", "arguments": {} });
    let response = gateway.post_as(&token, "tools/call", call);
    assert_eq!(response.status, 401, "{response:?}");
    for token in [&token, &only_listed, &unshown] {
        assert_refused(&gateway, token);
    }
}

#[test]
fn an_expired_grant_is_over() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let scope = reading().all_repos().expires_in(Duration::from_secs(2));
    let (grant, token) = issuer.issue(scope, "short");
    let unshown = issuer.save(&grant);
    let started = Instant::now();
    // Asking so often, it is told to wait as well.
    while gateway.post_as(&token, "tools/list", json!({})).status != 401 {
        assert!(started.elapsed() < PATIENCE, "it does not end");
    }
    assert_refused(&gateway, &token);
    assert_refused(&gateway, &unshown);
}

#[test]
fn a_narrow_grant_reaches_its_own_and_no_more() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let (_, token) = issuer.reader(ACTOR);
    let overview = gateway
        .call_as(&token, "at_overview", json!({}))
        .to_string();
    assert!(
        overview.contains(ACTOR) && !overview.contains(FRIEND),
        "{overview}"
    );
    for (tool, arguments) in [
        ("at_overview", json!({ "actor": FRIEND })),
        ("at_list", json!({ "actor": FRIEND })),
        ("at_get", json!({ "refs": [FRIEND] })),
    ] {
        let result = gateway.call_as(&token, tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        assert_eq!(
            result["structuredContent"]["code"], "denied",
            "{tool}: {result}"
        );
    }
}

#[test]
fn a_grant_of_nothing_is_refused_as_a_whole() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let scope = Scope::none().all_repos().unlimited_calls().never_expires();
    let (_, token) = issuer.issue(scope, "nothing");
    for response in both(&gateway, &token) {
        assert_eq!(response.status, 403, "{response:?}");
        let challenge = response.header("www-authenticate").unwrap();
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"at:read\""), "{challenge}");
    }
}

#[test]
fn a_spent_grant_says_so_to_the_model() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let (_, token) = issuer.issue(reading().all_repos().calls(1), "spent");
    let result = loop {
        let result = gateway.call_as(&token, "at_overview", json!({}));
        if result["isError"] == true {
            break result;
        }
    };
    assert_eq!(
        result["structuredContent"]["code"], "budgetSpent",
        "{result}"
    );
}

/// Calls and bytes are the grant's: what one token takes, its others do not have. At the limit the last call is answered.
#[test]
fn tokens_of_a_grant_spend_one_budget() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let overview = |token: &str| gateway.call_as(token, "at_overview", json!({}));
    let list = |token: &str| {
        let arguments = json!({ "actor": ACTOR, "collection": "app.bsky.feed.post" });
        gateway.call_as(token, "at_list", arguments)
    };
    let is_spent = |result: &Value| result["structuredContent"]["code"] == "budgetSpent";
    // What tokens take to be shown, and a call after that.
    let (grant, first) = issuer.issue(reading().all_repos(), "measured");
    let second = issuer.save(&grant);
    let mut used = Vec::new();
    for token in [&first, &first, &second] {
        assert_ne!(overview(token)["isError"], true);
        used.push(issuer.used(&grant).0);
    }
    for (spare, answered) in [(0, true), (-1, false)] {
        let calls = used[2].checked_add_signed(spare).unwrap();
        let (grant, first) = issuer.issue(reading().all_repos().calls(calls), "calls");
        let second = issuer.save(&grant);
        for token in [&first, &first] {
            assert_ne!(overview(token)["isError"], true, "{calls} calls");
        }
        let last = overview(&second);
        assert_eq!(is_spent(&last), !answered, "{calls} calls: {last}");
        for token in [&first, &second] {
            assert!(is_spent(&overview(token)), "{calls} calls");
        }
    }
    let (grant, first) = issuer.issue(reading().all_repos(), "measured");
    assert_ne!(list(&first)["isError"], true);
    let bytes = issuer.used(&grant).1;
    assert!(bytes > 0);
    let (grant, first) = issuer.issue(reading().all_repos().bytes(bytes), "bytes");
    let second = issuer.save(&grant);
    assert_ne!(list(&first)["isError"], true, "{bytes} bytes");
    assert!(is_spent(&list(&second)), "{bytes} bytes");
}

/// Each listing's cursors are the grant's that made them.
#[test]
fn a_cursor_is_of_no_use_to_another_grant() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let (_, one) = issuer.reader(ACTOR);
    let (_, other) = issuer.reader(ACTOR);
    let mut arguments = json!({ "actor": ACTOR, "limit": 2 });
    let page = gateway.call_as(&one, "at_list", arguments.clone());
    arguments["cursor"] = page["structuredContent"]["next"].clone();
    let own = gateway.call_as(&one, "at_list", arguments.clone());
    assert_ne!(own["isError"], true, "{own}");
    let foreign = gateway.call_as(&other, "at_list", arguments);
    assert_eq!(
        foreign["structuredContent"]["code"], "invalidArgument",
        "{foreign}"
    );
}

#[test]
fn many_agents_each_see_their_own() {
    let (_data, gateway, issuer) = with_samples(&[]);
    let agents: Vec<_> = (0..20)
        .map(|i| {
            let (own, other) = if i % 2 == 0 {
                (ACTOR, FRIEND)
            } else {
                (FRIEND, ACTOR)
            };
            (issuer.reader(own).1, own, other)
        })
        .collect();
    std::thread::scope(|scope| {
        for (token, own, other) in &agents {
            let gateway = &gateway;
            scope.spawn(move || {
                for _ in 0..5 {
                    let seen = gateway.call_as(token, "at_overview", json!({}));
                    let shown = text(&seen);
                    assert!(shown.contains(own) && !shown.contains(other), "{shown}");
                    let denied = gateway.call_as(token, "at_list", json!({ "actor": other }));
                    assert_eq!(denied["structuredContent"]["code"], "denied", "{denied}");
                    let listed = gateway.call_as(token, "at_list", json!({ "actor": own }));
                    assert_eq!(listed["structuredContent"]["did"], *own, "{listed}");
                }
            });
        }
    });
}

/// A gateway whose store is served elsewhere, which is asked over a socket.
#[test]
fn a_store_elsewhere_knows_the_tokens_too() {
    let data = folder();
    let _owner = Agent::with_samples(data.path());
    let gateway = Http::asking(data.path(), &[], "warn");
    let issuer = Issuer::of(data.path());
    let (grant, token) = issuer.reader(ACTOR);
    assert_served(&gateway, &token);
    issuer.revoke(&grant);
    assert_refused(&gateway, &token);
}

#[test]
fn tokens_are_in_no_log() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let gateway = Http::asking(data.path(), &[], "trace");
    let issuer = Issuer::of(data.path());
    let (grant, token) = issuer.reader(ACTOR);
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let owner = gateway.owner.clone();
    assert_served(&gateway, &token);
    assert_served(&gateway, &owner);
    issuer.revoke(&grant);
    assert_refused(&gateway, &token);
    assert_refused(&gateway, &forged);
    drop(issuer);
    let log = gateway.end_and_log();
    assert!(log.len() > 1_000, "it logs: {log}");
    for token in [&token, &forged, &owner] {
        // Not even a part of one.
        assert!(!log.contains(&token[12..40]), "{log}");
    }
}
