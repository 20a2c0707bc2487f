//! Where options come from: a flag wins over the environment, that over the file of `--config`.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::kit::{Agent, bare, folder, sample, text};

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
            "token_file = 't'",
            "is for the store of that file: name the one for this store with --token-file",
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

/// Over HTTP each caller brings a token of its own.
#[test]
fn a_token_of_the_gateways_own_is_not_for_http() {
    let data = folder();
    let file = data.path().join("gateway.toml");
    fs::write(&file, "http = '127.0.0.1:0'\ntoken_file = 't'\ndata = 'd'").unwrap();
    let run = |arguments: &[&str], token: Option<&str>| {
        let output = bare()
            .args(arguments)
            .envs(token.map(|token| ("CARRACK_TOKEN", token)))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let words = run(&["--config", file.to_str().unwrap()], None);
    assert!(words.contains("leave --token-file out"), "{words}");
    let http = ["--data", file.to_str().unwrap(), "--http", "127.0.0.1:0"];
    for token in ["carrack_x", ""] {
        let words = run(&http, Some(token));
        assert!(words.contains("leave CARRACK_TOKEN out"), "{words}");
    }
}

/// A gateway that went on without its token would have the owner's authority.
#[test]
fn a_token_that_is_none_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    let data = folder();
    for token in [&b""[..], b" \n", b"\xff"] {
        let output = bare()
            .arg("--data")
            .arg(data.path())
            .env("CARRACK_TOKEN", std::ffi::OsStr::from_bytes(token))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{token:?}: {words}");
        assert!(
            words.contains("CARRACK_TOKEN is set and holds no token"),
            "{words}"
        );
    }
}

/// The file of `--config` says whom to trust as well; the environment wins.
#[test]
fn a_file_says_whom_to_trust() {
    let folder = folder();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "store = 'tls:localhost:1'\nca_file = 'file.pem'").unwrap();
    let run = |environment: Option<&str>| {
        let output = bare()
            .arg("--config")
            .arg(&file)
            .envs(environment.map(|path| ("CARRACK_TLS_CA", path)))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(None).contains("file.pem"));
    assert!(run(Some("no/environment.pem")).contains("no/environment.pem"));
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
