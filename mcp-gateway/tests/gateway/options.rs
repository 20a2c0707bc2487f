//! Where options come from: a flag wins over the environment, that over the file of `--config`.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::kit::{Agent, folder, sample, text};

/// Returns the tools that a gateway with these options offers.
fn offered(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut gateway = Agent::spawn(data, arguments, environment);
    gateway.initialize();
    let answer = gateway.request("tools/list", json!({}));
    let tools = answer["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    names.join(",")
}

/// Returns what a gateway said that ended by itself.
fn refused(data: &Path, arguments: &[&str]) -> String {
    let mut gateway = Agent::spawn(data, arguments, &[]);
    assert_eq!(gateway.wait().code(), Some(2));
    gateway.log()
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let (data, elsewhere) = (folder(), folder());
    let path = elsewhere.path().join("gateway.toml");
    fs::write(&path, "tools = ['at_get', 'at_import']\nread_only = true").unwrap();
    let file = ["--config", path.to_str().unwrap()];
    assert_eq!(offered(data.path(), &file, &[]), "at_get");
    let environment = [("CARRACK_MCP_TOOLS", "at_list,at_verify")];
    assert_eq!(
        offered(data.path(), &file, &environment),
        "at_list,at_verify"
    );
    let flag = [&file[..], &["--tools", "at_thread"]].concat();
    assert_eq!(offered(data.path(), &flag, &environment), "at_thread");
    let named = [
        ("CARRACK_MCP_CONFIG", file[1]),
        ("CARRACK_MCP_READ_ONLY", "false"),
    ];
    assert_eq!(offered(data.path(), &[], &named), "at_get");
}

/// A profile that names another store is no obstacle to naming this one.
#[test]
fn a_place_that_is_named_wins_over_the_environments() {
    let data = folder();
    let environment = [("CARRACK_STORE", "127.0.0.1:1")];
    let mut gateway = Agent::spawn(data.path(), &[], &environment);
    gateway.initialize();
    let shown = text(&gateway.call("at_overview", json!({})));
    assert!(shown.starts_with("none"), "{shown}");
}

#[test]
fn what_cannot_be_is_refused_at_start() {
    let (data, elsewhere) = (folder(), folder());
    let path = elsewhere.path().join("gateway.toml");
    let file = ["--config", path.to_str().unwrap()];
    for (text, named) in [
        ("reed_only = true", "reed_only"),
        ("allowed_host = ['h']", "--allowed-host needs --http"),
        ("tokenless = true", "--tokenless needs --http"),
        (
            "http = '127.0.0.1:0'\ntoken_file = 't'",
            "leave --token-file out",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let log = refused(data.path(), &file);
        assert!(log.contains(named), "{text}: {log}");
    }
    for (arguments, named) in [
        (&["--tokenless"][..], "--tokenless needs --http"),
        (&["--http", "8080"], "such as 127.0.0.1:8080"),
        (&["--config", "no/such"], "no/such"),
    ] {
        let log = refused(data.path(), arguments);
        assert!(log.contains(named), "{arguments:?}: {log}");
    }
}

/// What a store keeps and refuses does not hang on which program came first.
#[test]
fn a_gateway_that_owns_a_folder_obeys_its_settings() {
    let data = folder();
    let file = data.path().join("config.toml");
    fs::write(&file, "disk_floor_mib = 1_000_000_000").unwrap();
    let mut gateway = Agent::start(data.path(), &[]);
    let full = gateway.call("at_import", json!({ "source": sample("varied.car") }));
    assert_eq!(full["isError"], true, "{full}");
    assert!(text(&full).contains("disk"), "{full}");
    gateway.end();
    fs::write(&file, "disk_flor_mib = 1").unwrap();
    let log = refused(data.path(), &[]);
    assert!(log.contains("disk_flor_mib"), "{log}");
}
