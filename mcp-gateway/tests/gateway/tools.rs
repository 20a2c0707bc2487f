//! `--tools`: which tools are offered.

use std::process::Command;

use serde_json::json;

use crate::kit::{Agent, folder, text};

fn names(gateway: &mut Agent) -> Vec<String> {
    let answer = gateway.request("tools/list", json!({}));
    let tools = answer["result"]["tools"].as_array().unwrap();
    let name = |tool: &serde_json::Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

#[test]
fn only_the_tools_named_are_there() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &["--tools", "at_list,at_get,at_import"]);
    assert_eq!(names(&mut gateway), ["at_get", "at_list", "at_import"]);
    let hidden = text(&gateway.call("at_overview", json!({})));
    assert!(
        hidden.ends_with("\ntry: one of at_get, at_list, at_import"),
        "{hidden}"
    );
    // Prompts that need the others are absent too.
    let answer = gateway.request("prompts/list", json!({}));
    assert_eq!(answer["result"]["prompts"].as_array().unwrap().len(), 2);
    gateway.end();
    // What may not write does not, named or not.
    let mut gateway = Agent::start(data.path(), &["--tools", "at_get,at_import", "--read-only"]);
    assert_eq!(names(&mut gateway), ["at_get"]);
    let hidden = text(&gateway.call("at_import", json!({ "source": "x" })));
    assert!(hidden.ends_with("\ntry: one of at_get"), "{hidden}");
}

#[test]
fn an_unknown_tool_is_refused_at_start_with_what_was_meant() {
    let data = folder();
    for (list, meant) in [
        ("at_get,at_lists", "at_list"),
        ("overview", "at_overview"),
        ("", "at_"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
            .arg("--data")
            .arg(data.path())
            .args(["--tools", list])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{list}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains(&format!("did you mean {meant}")), "{words}");
        assert!(words.contains("There are at_overview, at_get"), "{words}");
    }
}
