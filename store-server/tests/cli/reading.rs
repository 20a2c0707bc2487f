//! get and list at a revision, verify, thread, watch.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use kit::cbor::Value;
use kit::{Changes, Order, RepoSpec};
use rustix::process::{Pid, Signal, kill_process};

use super::{DAMAGED, NOT_FOUND, OK, Place, Run, USAGE, command, repo};

fn import(place: &Place, name: &str, repo: &kit::Repo) {
    let car = place.file(name, &repo.car(Order::Pds));
    place.run(&["import", &car]).ends(OK);
}

fn next(repo: &kit::Repo) -> kit::Repo {
    let changes = Changes {
        added: 2,
        changed: 2,
        deleted: 2,
    };
    repo.next_version(&repo.random_edits(3, changes))
}

#[test]
fn records_are_read_and_listed_at_a_revision() {
    let place = Place::new();
    let first = repo(60, 41);
    let second = next(&first);
    import(&place, "a.car", &first);
    import(&place, "b.car", &second);
    for version in [&first, &second] {
        let rev = version.rev.to_string();
        let listed = place
            .run(&["list", version.did.as_str(), "--rev", &rev, "--json"])
            .ends(OK)
            .objects();
        let uris: Vec<String> = version
            .records
            .iter()
            .map(|record| format!("at://{}/{}", version.did, record.path))
            .collect();
        let listed: Vec<&str> = listed
            .iter()
            .map(|line| line["uri"].as_str().unwrap())
            .collect();
        assert_eq!(listed, uris);
        let record = &version.records[5];
        let got = place
            .run(&["get", &uris[5], "--cbor", "--rev", &rev])
            .ends(OK);
        assert_eq!(got.stdout, *record.bytes);
    }
    let uri = format!("at://{}/{}", first.did, first.records[5].path);
    let run = place
        .run(&["get", &uri, "--rev", "3aaaaaaaaaaaa"])
        .ends(NOT_FOUND);
    assert!(run.stderr.contains("revNotRetained"), "{}", run.stderr);
    place.run(&["get", &uri, "--rev", "newest"]).ends(USAGE);
}

#[test]
fn a_record_is_verified_or_the_store_is_damaged() {
    let place = Place::new();
    let repo = repo(200, 42);
    let document = place.file("did.json", repo.did_doc.as_bytes());
    let car = place.file("a.car", &repo.car(Order::Pds));
    place
        .run(&["import", &car, "--did-doc", &document])
        .ends(OK);
    let record = &repo.records[9];
    let uri = format!("at://{}/{}", repo.did, record.path);
    let run = place.run(&["verify", &uri, "--json"]).ends(OK);
    let found = &run.objects()[0];
    assert_eq!(found["present"], true);
    assert_eq!(found["cid"], record.cid.to_string());
    assert_eq!(found["commit"], repo.commit_cid.to_string());
    assert_eq!(found["signature"], "valid");
    let text = place.run(&["verify", &uri]).ends(OK);
    assert!(text.text().contains(": present as "), "{}", text.text());
    let absent = place.run(&["verify", &format!("{uri}x")]).ends(OK);
    assert!(absent.text().contains(": absent at "), "{}", absent.text());
    place
        .run(&["verify", "at://did:plc:nobody/a.b.c/d"])
        .ends(NOT_FOUND);

    let segments = std::fs::read_dir(place.data().join("segments")).unwrap();
    let file = segments.last().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(100).step_by(64) {
        *byte ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();
    let run = place.run(&["verify", &uri, "--json"]).ends(DAMAGED);
    assert!(run.stderr.contains("\"damaged\""), "{}", run.stderr);
}

#[test]
fn a_thread_is_printed_with_the_reason_for_its_end() {
    let place = Place::new();
    let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let post = |rkey: &str, parent: Option<&str>| {
        let mut post = Value::map([("text", Value::text(rkey))]);
        if let Some(parent) = parent {
            let uri = Value::text(parent);
            post.insert(
                "reply",
                Value::map([("parent", Value::map([("uri", uri)]))]),
            );
        }
        (format!("app.bsky.feed.post/{rkey}"), post.encode())
    };
    let uri = |rkey: &str| format!("at://{did}/app.bsky.feed.post/{rkey}");
    let repo = RepoSpec {
        records: 5,
        seed: 43,
        did: Some(did.parse().unwrap()),
        extra: vec![
            post("a", None),
            post("b", Some(&uri("a"))),
            post("c", Some(&uri("b"))),
            post("odd", Some("\u{1b}[2Jnot a uri")),
        ],
        ..RepoSpec::default()
    }
    .build();
    import(&place, "a.car", &repo);
    let run = place.run(&["thread", &uri("c"), "--json"]).ends(OK);
    let lines = run.objects();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["uri"], uri("b"));
    assert_eq!(lines[1]["value"]["text"], "a");
    assert_eq!(lines[2]["end"], "root");
    let run = place.run(&["thread", &uri("c"), "--limit", "1"]).ends(OK);
    assert!(run.text().starts_with(&uri("b")));
    assert!(run.stderr.contains("there are more"), "{}", run.stderr);
    let run = place.run(&["thread", &uri("odd")]).ends(OK);
    assert!(run.stdout.is_empty());
    assert!(
        run.stderr.contains("not held: \\u{1b}[2Jnot a uri"),
        "{}",
        run.stderr
    );
    place.run(&["thread", &uri("nothing")]).ends(NOT_FOUND);
    place
        .run(&["thread", &uri("c"), "--limit", "0"])
        .ends(USAGE);
}

#[test]
fn a_watch_prints_changes_until_it_is_interrupted() {
    let place = Place::new();
    let (watched, other) = (repo(5, 44), repo(5, 45));
    let mut child = command(&place.data())
        .args(["watch", watched.did.as_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "watching\n");
    import(&place, "other.car", &other);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for version in [&watched, &next(&watched)] {
        import(&place, "a.car", version);
        let line = lines.next().unwrap().unwrap();
        let change: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(change["did"], version.did.as_str());
        assert_eq!(change["kind"], "imported");
        assert_eq!(change["rev"], version.rev.to_string());
        assert_eq!(change["commit"], version.commit_cid.to_string());
        assert_eq!(change["records"], version.records.len());
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    let run: Run = place.run(&["repos", "--json"]).ends(OK);
    assert_eq!(run.objects().len(), 2);
}
