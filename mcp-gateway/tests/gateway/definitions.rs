//! What a client reads before it calls anything: names, descriptions, schemas, annotations.

use serde_json::{Value, json};

use crate::kit::{Agent, folder};

fn tools(arguments: &[&str]) -> Vec<Value> {
    let data = folder();
    let mut gateway = Agent::start(data.path(), arguments);
    let list = gateway.request("tools/list", json!({}));
    list["result"]["tools"].as_array().unwrap().clone()
}

#[test]
fn definitions_are_these() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&tools(&[])).unwrap());
}

/// As the model reads them; counted with a real vocabulary.
#[test]
fn definitions_take_few_tokens() {
    let tokenizer = tiktoken_rs::o200k_base().unwrap();
    let list = tools(&[]);
    let tokens = |value: &Value| tokenizer.encode_ordinary(&value.to_string()).len();
    let each: Vec<_> = list
        .iter()
        .map(|tool| format!("{} {}", tool["name"], tokens(tool)))
        .collect();
    let all = tokens(&Value::from(list));
    assert!(all <= 4_000, "{all} tokens: {each:?}");
}

#[test]
fn read_only_leaves_the_writing_tools_out() {
    let names = |arguments: &[&str]| -> Vec<String> {
        let names = tools(arguments);
        names
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let reading = [
        "at_overview",
        "at_get",
        "at_list",
        "at_query",
        "at_thread",
        "at_verify",
        "at_export",
    ];
    assert_eq!(names(&["--read-only"]), reading);
    assert_eq!(
        names(&[]),
        [&reading[..], &["at_import", "at_grant"]].concat()
    );
}

#[test]
fn every_definition_keeps_the_house_rules() {
    for tool in tools(&[]) {
        let name = tool["name"].as_str().unwrap();
        assert!(name.starts_with("at_") && name.len() <= 40, "{name}");
        let words = tool["description"]
            .as_str()
            .unwrap()
            .split_whitespace()
            .count();
        assert!(words <= 60, "{name}: {words} words");
        let annotations = tool["annotations"].as_object().unwrap();
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(annotations[hint].is_boolean(), "{name}: {hint}");
        }
        let text = tool.to_string();
        for noise in [
            "$schema",
            "\"format\":\"",
            "\"null\"",
            ":null",
            "$ref",
            "$defs",
        ] {
            assert!(!text.contains(noise), "{name}: {noise}");
        }
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
        assert_eq!(tool["outputSchema"]["type"], "object");
        for (parameter, schema) in tool["inputSchema"]["properties"].as_object().unwrap() {
            let said = schema["description"].is_string() || schema["enum"].is_array();
            assert!(said, "{name}.{parameter}");
        }
    }
}
