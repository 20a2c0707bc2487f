//! `at_import`: what it takes, what it tells on the way, what it refuses.

use std::fs;

use serde_json::json;

use crate::kit::{ACTOR, Agent, FRIEND, Http, folder, sample, text};

#[test]
fn an_import_reports_progress_and_repeats_the_totals() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let source = sample("varied.car");
    let answer = gateway.request(
        "tools/call",
        json!({ "name": "at_import", "arguments": { "source": source, "did": ACTOR }, "_meta": { "progressToken": "t" } }),
    );
    let result = &answer["result"];
    let told = text(result);
    assert!(
        told.starts_with(&format!(
            "imported · {ACTOR} · rev 3n2v4k6owr72x · signature unchecked · 23 records, 31 blocks"
        )),
        "{told}"
    );
    assert!(told.contains("\napp.bsky.feed.post · 12\n"), "{told}");
    assert_eq!(result["structuredContent"]["outcome"], "imported");
    assert_eq!(result["structuredContent"]["bytesIn"], 14_522);
    assert!(!gateway.notes.is_empty(), "no progress was told");
    let mut last = 0.0;
    for note in &gateway.notes {
        assert_eq!(note["method"], "notifications/progress");
        let params = &note["params"];
        assert_eq!(
            (&params["progressToken"], &params["total"]),
            (&json!("t"), &json!(100.0))
        );
        let progress = params["progress"].as_f64().unwrap();
        assert!(progress > last && progress < 100.0, "{note}");
        assert!(params["message"].is_string(), "{note}");
        last = progress;
    }
    gateway.notes.clear();
    let again = gateway.text("at_import", json!({ "source": source }));
    assert!(again.starts_with("unchanged · "), "{again}");
    assert!(gateway.notes.is_empty(), "nobody asked for progress");
}

#[test]
fn a_refused_file_says_why_and_changes_nothing() {
    let data = folder();
    let files = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let mut car = fs::read(sample("varied.car")).unwrap();
    car.truncate(9_000);
    fs::write(files.path().join("cut.car"), &car).unwrap();
    let last = car.len() - 1;
    let mut car = fs::read(sample("varied.car")).unwrap();
    car[last] ^= 1;
    fs::write(files.path().join("flipped.car"), &car).unwrap();
    fs::write(files.path().join("empty.car"), "").unwrap();
    for (name, did, code) in [
        ("cut.car", None, "incomplete"),
        ("flipped.car", None, "badHash"),
        ("empty.car", None, "badStructure"),
        ("whole.car", Some(FRIEND), "wrongDid"),
    ] {
        let path = if did.is_some() {
            sample("varied.car")
        } else {
            files.path().join(name)
        };
        let mut arguments = json!({ "source": path });
        if let Some(did) = did {
            arguments["did"] = did.into();
        }
        let result = gateway.call("at_import", arguments);
        assert_eq!(result["isError"], true, "{name}: {result}");
        assert_eq!(
            result["structuredContent"]["code"], code,
            "{name}: {result}"
        );
        assert!(
            text(&result).contains("the archive is as it was"),
            "{result}"
        );
    }
    assert!(gateway.text("at_overview", json!({})).starts_with("none"));
}

/// A model that asks for a download is told what to ask its user for.
#[test]
fn what_is_elsewhere_is_not_looked_for_here() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    for source in [
        "https://pds.example/xrpc/com.atproto.sync.getRepo?did=did:plc:a",
        ACTOR,
        "at://fx-varied.test",
    ] {
        let refused = gateway.call("at_import", json!({ "source": source }));
        assert_eq!(refused["isError"], true, "{refused}");
        let told = text(&refused);
        assert!(
            told.contains("nothing is downloaded") && told.contains("ask the user"),
            "{told}"
        );
    }
}

/// Over HTTP a path is a stranger's: it gets one error, whether or not a file is there.
#[test]
fn over_http_only_files_below_the_root_are_taken() {
    let (data, files) = (folder(), folder());
    let root = files.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::copy(sample("varied.car"), root.join("in.car")).unwrap();
    fs::copy(sample("varied.car"), files.path().join("out.car")).unwrap();
    std::os::unix::fs::symlink("../out.car", root.join("link.car")).unwrap();
    let gateway = Http::start(data.path(), &["--import-root", root.to_str().unwrap()]);
    let outside = files.path().join("out.car");
    let mut texts = Vec::new();
    for source in [
        "missing.car",
        "link.car",
        "../out.car",
        outside.to_str().unwrap(),
        "/no/such/file",
    ] {
        let result = &gateway.call("at_import", json!({ "source": source }))["result"];
        assert_eq!(
            result["structuredContent"]["code"], "denied",
            "{source}: {result}"
        );
        texts.push(text(result).replace(source, "SOURCE"));
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:#?}");
    let result = &gateway.call("at_import", json!({ "source": "in.car" }))["result"];
    assert!(text(result).starts_with("imported · "), "{result}");
    assert!(gateway.end().success());
}

#[test]
fn over_http_without_a_root_nothing_is_imported() {
    let data = folder();
    let gateway = Http::start(data.path(), &[]);
    let answer = gateway.call("at_import", json!({ "source": sample("varied.car") }));
    let hidden = text(&answer["result"]);
    assert!(
        hidden.starts_with("failed: calling a tool (notFound) > at_import\n")
            && !hidden.contains("at_import,"),
        "{hidden}"
    );
}
