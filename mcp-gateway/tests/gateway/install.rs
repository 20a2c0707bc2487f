//! `carrack-mcp install`, on a home folder of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::kit::{bare, folder};

const CLIENTS: [(&str, &str, &str); 4] = [
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
        "mcpServers",
    ),
    ("claude-code", ".claude.json", "mcpServers"),
    ("cursor", ".cursor/mcp.json", "mcpServers"),
    ("vscode", ".config/Code/User/mcp.json", "servers"),
];

fn install(home: &Path, arguments: &[&str]) -> Output {
    install_in(home, arguments, &[])
}

fn install_in(home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    bare()
        .env_remove("XDG_CONFIG_HOME")
        .envs(environment.iter().copied())
        .env("HOME", home)
        .current_dir(home)
        .arg("install")
        .args(arguments)
        .output()
        .unwrap()
}

/// Returns what is printed, with this machine's paths replaced.
fn shown(home: &Path, bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let text = text.replace(env!("CARGO_BIN_EXE_carrack-mcp"), "BIN/carrack-mcp");
    text.replace(home.to_str().unwrap(), "HOME")
}

fn home() -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = fs::canonicalize(folder.path()).unwrap();
    (folder, path)
}

#[cfg(target_os = "linux")]
#[test]
fn settings_are_these_for_every_client() {
    let (_folder, home) = home();
    let mut all = String::new();
    for (client, _, _) in CLIENTS {
        let options = [
            "--read-only",
            "--data",
            "archive",
            "--tools",
            "at_get,at_list",
        ];
        let output = install(&home, &[&["--client", client], &options[..]].concat());
        assert!(output.status.success(), "{output:?}");
        all.extend(["# ", client, "\n", &shown(&home, &output.stderr)]);
        all.push_str(&shown(&home, &output.stdout));
    }
    // A file means the same from any folder.
    let elsewhere = ["--store", "tls:example.org:7440", "--ca-file", "ca.pem"];
    let output = install(&home, &[&["--client", "cursor"], &elsewhere[..]].concat());
    assert!(output.status.success(), "{output:?}");
    all.push_str("# a store elsewhere\n");
    all.push_str(&shown(&home, &output.stdout));
    insta::assert_snapshot!(all);
    let left = fs::read_dir(&home).unwrap().count();
    assert_eq!(left, 0, "printing writes nothing, and opens no store");
}

#[cfg(target_os = "linux")]
#[test]
fn writing_keeps_what_is_there() {
    for (client, file, section) in CLIENTS {
        let (_folder, home) = home();
        let path = home.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let old = json!({ "theme": "dark", section: { "other": { "command": "x" } } });
        fs::write(&path, old.to_string()).unwrap();
        let output = install(&home, &["--client", client, "--write"]);
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
        let words = shown(&home, &output.stderr);
        assert!(
            words.contains(&format!(
                "changed: HOME/{file}; before: HOME/{file}.before-carrack"
            )),
            "{words}"
        );
        let new: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            (&new["theme"], &new[section]["other"]["command"]),
            (&json!("dark"), &json!("x"))
        );
        let command = &new[section]["carrack"]["command"];
        assert_eq!(command, env!("CARGO_BIN_EXE_carrack-mcp"));
        let again = install(&home, &["--client", client, "--write"]);
        assert!(
            shown(&home, &again.stderr).contains("nothing to change"),
            "{again:?}"
        );
    }
}

/// The client starts the gateway with its own environment: what stood in this one must not be lost on the way.
#[test]
fn what_the_environment_says_is_carried_or_refused() {
    let (_folder, home) = home();
    let cursor = ["--client", "cursor"];
    for token in ["carrack_x", ""] {
        let output = install_in(&home, &cursor, &[("CARRACK_TOKEN", token)]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let words = shown(&home, &output.stderr);
        assert!(words.contains("name its file with --token-file"), "{words}");
    }
    let named = [&cursor[..], &["--token-file", "t"]].concat();
    let environment = [("CARRACK_TOKEN", "carrack_x"), ("CARRACK_TLS_CA", "ca.pem")];
    let output = install_in(&home, &named, &environment);
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let path = |name: &str| home.join(name).display().to_string();
    assert_eq!(
        settings["mcpServers"]["carrack"]["args"],
        json!(["--token-file", path("t"), "--ca-file", path("ca.pem")])
    );
}

#[test]
fn what_cannot_be_installed_is_refused() {
    let (_folder, home) = home();
    fs::create_dir(home.join(".cursor")).unwrap();
    let path = home.join(".cursor/mcp.json");
    fs::write(&path, "{ // mine\n}").unwrap();
    for (arguments, part) in [
        (
            &["--client", "cursor", "--write"][..],
            "it is not plain JSON",
        ),
        (&["--client", "emacs"], "invalid value 'emacs'"),
        (
            &["--client", "cursor", "--tools", "at_gets"],
            "did you mean at_get",
        ),
        (
            &["--client", "cursor", "--import-root", "/no/such"],
            "is not a folder",
        ),
        (&[], "--client"),
    ] {
        let output = install(&home, arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let words = shown(&home, &output.stderr);
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "{ // mine\n}");
}
