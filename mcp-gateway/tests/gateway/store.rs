//! Whose store it is: gateways side by side, a store elsewhere, an owner that goes away.

use serde_json::json;

use crate::kit::{ACTOR, Agent, Http, address, folder, sample};

#[test]
fn two_gateways_share_a_folder() {
    let data = folder();
    let mut owner = Agent::start(data.path(), &[]);
    let mut guest = Agent::start(data.path(), &["--read-only"]);
    assert!(guest.text("at_overview", json!({})).starts_with("none"));
    owner.text("at_import", json!({ "source": sample("varied.car") }));
    assert!(guest.text("at_overview", json!({})).contains(ACTOR));
    let http = Http::start(data.path(), &[]);
    let answer = http.call("at_overview", json!({})).to_string();
    assert!(answer.contains(ACTOR), "{answer}");
    for gateway in [guest, owner] {
        assert!(gateway.end().success());
    }
}

/// A guest whose owner was killed takes the folder over with its next call, and serves it for the others.
#[test]
fn a_killed_owner_is_succeeded() {
    let data = folder();
    let mut owner = Agent::start(data.path(), &[]);
    owner.text("at_import", json!({ "source": sample("varied.car") }));
    let mut guests = [
        Agent::start(data.path(), &[]),
        Agent::start(data.path(), &[]),
    ];
    for guest in &mut guests {
        assert!(guest.text("at_overview", json!({})).contains(ACTOR));
    }
    owner.kill();
    for guest in &mut guests {
        assert!(guest.text("at_overview", json!({})).contains(ACTOR));
        assert!(
            guest
                .text("at_list", json!({ "actor": ACTOR }))
                .contains("app.bsky.feed.post/")
        );
    }
    let [first, second] = guests;
    for guest in [second, first] {
        assert!(guest.end().success());
    }
}

/// What only looks is asked again of the successor, also where it is a tool that writes otherwise.
#[test]
fn grants_are_listed_though_the_owner_was_killed() {
    let data = folder();
    let owner = Agent::start(data.path(), &[]);
    let mut guest = Agent::start(data.path(), &[]);
    let list = || json!({ "action": "list" });
    assert!(guest.text("at_grant", list()).starts_with("none"));
    owner.kill();
    assert!(guest.text("at_grant", list()).starts_with("none"));
    assert!(guest.end().success());
}

#[test]
fn a_store_elsewhere_is_named_by_its_address_and_its_loss_is_told() {
    let data = folder();
    let mut owner = Agent::with_samples(data.path());
    let address = address(data.path());
    let mut guest = Agent::to_store(&address);
    assert!(guest.text("at_overview", json!({})).contains(ACTOR));
    owner.text("at_overview", json!({}));
    owner.kill();
    let result = guest.call("at_overview", json!({}));
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(
        result["structuredContent"]["code"], "unavailable",
        "{result}"
    );
    let _successor = Agent::start(data.path(), &[]);
    assert!(guest.text("at_overview", json!({})).contains(ACTOR));
}

#[test]
fn whom_to_trust_comes_by_flag_before_environment() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |flag: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
            .args(["--store", "tls:localhost:1"])
            .args(flag)
            .env("CARRACK_TLS_CA", path("environment.pem"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let words = run(&["--ca-file", &path("flag.pem")]);
    assert!(words.contains("flag.pem"), "{words}");
    let words = run(&[]);
    assert!(words.contains("environment.pem"), "{words}");
}
