//! `at_export` to a file: what it writes is what was imported, and nothing else is touched.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, FRIEND, Http, folder, text};

/// An export that is imported into an empty archive gives the same archive.
#[test]
fn a_car_that_was_written_can_be_imported_again() {
    let (data, other, files) = (folder(), folder(), folder());
    let mut gateway = Agent::with_samples(data.path());
    let path = files.path().join("out.car");
    let answer = gateway.request(
        "tools/call",
        json!({ "name": "at_export", "arguments": { "actor": ACTOR, "path": path }, "_meta": { "progressToken": "t" } }),
    );
    let told = text(&answer["result"]);
    assert!(
        told.starts_with("wrote ") && told.contains("23 records"),
        "{told}"
    );
    let bytes = answer["result"]["structuredContent"]["bytes"]
        .as_u64()
        .unwrap();
    assert_eq!(bytes, fs::metadata(&path).unwrap().len());
    let mut second = Agent::start(other.path(), &[]);
    let imported = second.text("at_import", json!({ "source": path, "did": ACTOR }));
    assert!(imported.starts_with("imported · "), "{imported}");
    let listed = json!({ "actor": ACTOR, "limit": 100 });
    assert_eq!(
        gateway.text("at_list", listed.clone()),
        second.text("at_list", listed)
    );
}

#[test]
fn json_lines_hold_every_record_once_with_its_cid() {
    let (data, files) = (folder(), folder());
    let mut gateway = Agent::with_samples(data.path());
    let mut export = |name: &str, mut arguments: Value| -> Vec<Value> {
        let path = files.path().join(name);
        arguments["path"] = path.to_str().unwrap().into();
        arguments["as"] = "jsonl".into();
        gateway.text("at_export", arguments);
        let lines = fs::read_to_string(path).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let all = export("all", json!({ "actor": FRIEND }));
    let uris: BTreeSet<_> = all.iter().map(|line| line["uri"].to_string()).collect();
    assert_eq!((all.len(), uris.len()), (19, 19));
    assert!(
        all.iter()
            .all(|line| line["cid"].is_string() && line["value"].is_object())
    );
    let posts = export(
        "posts",
        json!({ "actor": format!("{ACTOR},app.bsky.feed.post") }),
    );
    assert_eq!(posts.len(), 12);
    let known = &posts[0];
    let one = export("one", json!({ "uris": [known["uri"]] }));
    assert_eq!(&one, &posts[..1]);
    let shown = gateway.text("at_get", json!({ "refs": [known["uri"]] }));
    assert!(shown.contains(known["cid"].as_str().unwrap()), "{shown}");
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
    let (data, files) = (folder(), folder());
    let mut gateway = Agent::with_samples(data.path());
    let path = files.path().join("out.car");
    fs::write(&path, "mine").unwrap();
    let refused = gateway.call("at_export", json!({ "actor": ACTOR, "path": path }));
    assert_eq!(refused["isError"], true, "{refused}");
    assert!(text(&refused).contains("overwrite=true"), "{refused}");
    // Nor does an export that fails leave anything behind, or take what is there away.
    for (arguments, kept) in [
        (
            json!({ "actor": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "path": path, "overwrite": true }),
            true,
        ),
        (
            json!({ "actor": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "path": files.path().join("new.car") }),
            true,
        ),
        (
            json!({ "actor": ACTOR, "path": path, "overwrite": true }),
            false,
        ),
    ] {
        let result = gateway.call("at_export", arguments);
        assert_eq!(result["isError"] == true, kept, "{result}");
        assert_eq!(fs::read(&path).unwrap() == b"mine", kept);
        assert_eq!(fs::read_dir(files.path()).unwrap().count(), 1);
    }
}

#[test]
fn nothing_is_written_for_others_than_the_local_user() {
    let (data, files) = (folder(), folder());
    let path = files.path().join("out.car");
    let arguments = json!({ "actor": ACTOR, "path": path });
    let root = files.path().to_str().unwrap();
    drop(Agent::with_samples(data.path()));
    let mut results = Vec::new();
    for flags in [&["--read-only"][..], &["--import-root", root]] {
        let mut gateway = Agent::start(data.path(), flags);
        let list = gateway.request("tools/list", json!({}))["result"]["tools"].clone();
        let tools = list.as_array().unwrap();
        let tool = tools
            .iter()
            .find(|tool| tool["name"] == "at_export")
            .unwrap();
        assert!(
            tool["inputSchema"]["properties"].get("path").is_none(),
            "{tool}"
        );
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
        results.push(gateway.call("at_export", arguments.clone()));
    }
    let http = Http::start(data.path(), &[]);
    results.push(http.call("at_export", arguments)["result"].clone());
    for result in results {
        assert_eq!(
            result["structuredContent"]["code"], "invalidArgument",
            "{result}"
        );
    }
    assert!(!path.exists());
}
