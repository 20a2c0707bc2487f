//! A gateway on stdio that holds a token: it is its grant's holder, not the owner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use carrack_client::Scope;
use serde_json::json;

use crate::kit::{ACTOR, Agent, FRIEND, Issuer, folder, reading, text};

/// Returns a file that holds a token.
fn file(data: &Path, token: &str) -> PathBuf {
    let path = data.join("a.token");
    fs::write(&path, token).unwrap();
    path
}

fn holding(data: &Path, file: &Path) -> Agent {
    Agent::start(data, &["--token-file", file.to_str().unwrap()])
}

/// Returns how a gateway ended that nobody told to, and what it said.
fn started_and_ended(data: &Path, file: &Path) -> (ExitStatus, String) {
    let arguments = ["--token-file", file.to_str().unwrap()];
    let mut gateway = Agent::spawn(data, &arguments, &[]);
    (gateway.wait(), gateway.log())
}

#[test]
fn a_holder_reaches_its_grant_and_no_more_until_it_is_revoked() {
    let data = folder();
    let owner = Agent::with_samples(data.path());
    let (_, token) = Issuer::of(data.path()).reader(ACTOR);
    owner.end();
    // From here on the holder's own process owns the folder: its authority is the token's all the same.
    let file = file(data.path(), &format!("{token}\n"));
    let mut holder = holding(data.path(), &file);
    let listed = holder.request("tools/list", json!({})).to_string();
    assert!(listed.contains("at_list"), "{listed}");
    assert!(
        !listed.contains("at_import") && !listed.contains("at_grant"),
        "{listed}"
    );
    let shown = text(&holder.call("at_overview", json!({})));
    assert!(shown.contains(ACTOR) && !shown.contains(FRIEND), "{shown}");
    let denied = holder.call("at_list", json!({ "actor": FRIEND }));
    assert_eq!(denied["structuredContent"]["code"], "denied", "{denied}");

    Issuer::of(data.path()).revoke_all();
    let over = holder.call("at_list", json!({ "actor": ACTOR }));
    assert_eq!(over["isError"], true, "{over}");
    assert_eq!(over["structuredContent"]["code"], "revoked", "{over}");
    assert!(
        text(&over).contains("this session's grant is over"),
        "{over}"
    );
}

/// A store tells no total of what a session may not see a part of; a zero would be a wrong one.
#[test]
fn what_a_narrow_grant_is_not_told_is_not_said_to_be_nothing() {
    let data = folder();
    let _owner = Agent::with_samples(data.path());
    let scope = Scope::none()
        .all_repos()
        .collection("app.bsky.feed.*")
        .read()
        .list()
        .unlimited_calls()
        .unlimited_bytes()
        .never_expires();
    let (_, token) = Issuer::of(data.path()).issue(scope, "posts");
    let mut holder = holding(data.path(), &file(data.path(), &token));
    for format in ["compact", "full"] {
        let overview = holder.call("at_overview", json!({ "format": format }));
        let shown = text(&overview);
        let header = "2 repos · of each, the records in collections that this session may see\n";
        assert!(shown.starts_with(header), "{shown}");
        assert!(shown.contains(" · 17 records · "), "{shown}");
        assert!(!shown.contains("· 0 "), "{shown}");
        assert!(
            overview["structuredContent"].get("records").is_none(),
            "{overview}"
        );
    }
}

#[test]
fn the_environment_holds_a_token_too_and_a_file_wins() {
    let data = folder();
    let _owner = Agent::with_samples(data.path());
    let issuer = Issuer::of(data.path());
    let (_, token) = issuer.reader(ACTOR);
    let (_, other) = issuer.reader(FRIEND);
    let environment = [("CARRACK_TOKEN", token.as_str())];
    let mut holder = Agent::spawn(data.path(), &[], &environment);
    holder.initialize();
    let shown = text(&holder.call("at_overview", json!({})));
    assert!(shown.contains(ACTOR) && !shown.contains(FRIEND), "{shown}");
    let file = file(data.path(), &other);
    let arguments = ["--token-file", file.to_str().unwrap()];
    let mut holder = Agent::spawn(data.path(), &arguments, &environment);
    holder.initialize();
    let shown = text(&holder.call("at_overview", json!({})));
    assert!(!shown.contains(ACTOR) && shown.contains(FRIEND), "{shown}");
}

/// A gateway that went on without its token would have the owner's authority.
#[test]
fn what_opens_nothing_ends_the_gateway_at_start() {
    let data = folder();
    let owner = Agent::with_samples(data.path());
    let issuer = Issuer::of(data.path());
    let (revoked, token) = issuer.issue(reading().all_repos(), "over");
    issuer.revoke(&revoked);
    drop(issuer);
    let long = "x".repeat(10_000);
    for (token, code, words) in [
        ("", "invalidArgument", "it holds no token"),
        (" \n", "invalidArgument", "it holds no token"),
        (&long, "invalidArgument", "it holds no token"),
        ("carrack_x", "badCredential", "--token-file"),
        (&token, "badCredential", "makes one"),
    ] {
        let file = file(data.path(), token);
        let (exit, log) = started_and_ended(data.path(), &file);
        assert!(!exit.success(), "{log}");
        assert!(log.contains(code) && log.contains(words), "{log}");
        assert!(token.len() < 20 || !log.contains(token), "{log}");
    }
    let (exit, log) = started_and_ended(data.path(), Path::new("no/such"));
    assert!(!exit.success() && log.contains("no/such"), "{log}");
    owner.end();
}
