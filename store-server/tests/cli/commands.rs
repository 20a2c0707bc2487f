//! import, repos, get, list.

use std::io::Write;
use std::process::Stdio;

use kit::Order;

use super::{FAILED, NOT_FOUND, OK, Place, REFUSED, Run, USAGE, bare, command, repo};

#[test]
fn import_list_and_get_agree_with_the_car() {
    let place = Place::new();
    let repo = repo(200, 1);
    let car = place.file("a.car", &repo.car(Order::Pds));
    let report = &place.run(&["import", "--json", &car]).ends(OK).objects()[0];
    assert_eq!(report["did"], repo.did.as_str());
    assert_eq!(report["rev"], repo.rev.to_string());
    assert_eq!(report["commit"], repo.commit_cid.to_string());
    assert_eq!(report["records"], repo.records.len());
    assert_eq!(
        (&report["verdict"], &report["outcome"]),
        (&"unchecked".into(), &"imported".into())
    );
    let total: u64 = report["collections"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(total, repo.records.len() as u64);

    let listed = place
        .run(&["list", repo.did.as_str(), "--json"])
        .ends(OK)
        .objects();
    let mut expected: Vec<_> = repo.records.iter().collect();
    expected.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(listed.len(), expected.len());
    for (object, record) in listed.iter().zip(expected) {
        assert_eq!(object["uri"], format!("at://{}/{}", repo.did, record.path));
        assert_eq!(object["cid"], record.cid.to_string());
        assert!(object["value"].is_object());
    }
    for record in repo.records.iter().step_by(40) {
        let uri = format!("at://{}/{}", repo.did, record.path);
        assert_eq!(
            place.run(&["get", &uri, "--cbor"]).ends(OK).stdout,
            *record.bytes
        );
        let object = &place.run(&["get", &uri, "--json"]).ends(OK).objects()[0];
        assert_eq!(object["cid"], record.cid.to_string());
        let pretty: serde_json::Value =
            serde_json::from_slice(&place.run(&["get", &uri]).ends(OK).stdout).unwrap();
        assert_eq!(pretty, object["value"]);
    }
    let repos = &place.run(&["repos", "--json"]).ends(OK).objects()[0];
    assert_eq!(repos["records"], repo.records.len());
    assert_eq!(repos["complete"], true);
    let again = place.run(&["import", "--json", &car]).ends(OK).objects();
    assert_eq!(again[0]["outcome"], "unchanged");
}

#[test]
fn a_limit_cuts_and_its_cursor_goes_on() {
    let place = Place::new();
    let repo = repo(150, 2);
    place
        .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
        .ends(OK);
    let whole = place.run(&["list", repo.did.as_str()]).ends(OK);
    let mut pieces = String::new();
    let mut cursor = None::<String>;
    loop {
        let mut arguments = vec!["list", repo.did.as_str(), "--limit", "40"];
        arguments.extend(
            cursor
                .as_deref()
                .map(|c| ["--cursor", c])
                .into_iter()
                .flatten(),
        );
        let piece = place.run(&arguments).ends(OK);
        pieces += piece.text();
        match piece.stderr.trim().strip_prefix("next: ") {
            None => break,
            Some(next) => cursor = Some(next.to_owned()),
        }
    }
    assert_eq!(pieces, whole.text());
    let json = place
        .run(&["list", repo.did.as_str(), "--limit", "1", "--json"])
        .ends(OK)
        .objects();
    assert_eq!(json.len(), 2);
    assert!(json[1]["next"].as_str().unwrap().starts_with("c1_"));
    let mut backwards: Vec<_> = whole.text().lines().collect();
    backwards.reverse();
    let reverse = place
        .run(&["list", repo.did.as_str(), "--reverse"])
        .ends(OK);
    assert_eq!(reverse.text().lines().collect::<Vec<_>>(), backwards);
    place
        .run(&["list", repo.did.as_str(), "--cursor", "c1_AAAA"])
        .ends(USAGE);
}

#[test]
fn what_is_not_there_is_not_found() {
    let place = Place::new();
    let repo = repo(10, 3);
    place
        .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
        .ends(OK);
    let uri = |path: &str| format!("at://{}/{path}", repo.did);
    for arguments in [
        ["get", "at://did:plc:nobody/a.b.c/self"],
        ["get", &uri("com.example.none/self")],
        ["list", "did:plc:nobody"],
        ["list", &format!("{}/com.example.none", repo.did)],
        ["import", "no/such/file.car"],
    ] {
        let run = place.run(&arguments).ends(NOT_FOUND);
        assert!(run.stdout.is_empty(), "{arguments:?}");
        let json = place
            .run(&[&["--json"], &arguments[..]].concat())
            .ends(NOT_FOUND);
        let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
        assert_eq!(error["error"]["code"], "notFound", "{arguments:?}");
    }
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let place = Place::new();
    for arguments in [
        &["get", "at://alice/a.b.c/self"][..],
        &["get", "at://did:plc:a"],
        &["export", "nobody"],
        &["prove", "did:plc:a/a.b.c"],
        &["verify-proof", "x.car", "at://alice.test/a.b.c/self"],
        &["get", "at://did:plc:a/a.b.c/self", "--cbor", "--json"],
        &["list", "nobody"],
        &["list", "did:plc:a/a.b.c/self"],
        &["list", "did:plc:a", "--limit", "0"],
        &["import"],
        &["import", "--did", "alice", "a.car"],
        &["frobnicate"],
        &["--store", "somewhere", "repos"],
    ] {
        let run = place.run(arguments).ends(USAGE);
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn refused_input_changes_nothing_and_the_rest_goes_in() {
    let place = Place::new();
    let (good, other) = (repo(20, 4), repo(20, 5));
    let mut flipped = other.car(Order::Pds);
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let files = [
        place.file("1-good.car", &good.car(Order::Pds)),
        place.file("2-flipped.car", &flipped),
        place.file("3-empty.car", b""),
        place.file(
            "4-text.car",
            b"This is not a CAR file at all, but a text about cars.",
        ),
        place.file("5-cut.car", &other.car(Order::PreOrder)[..2_000]),
    ];
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let run = place.run(&[&["import"], &names[..]].concat()).ends(REFUSED);
    assert_eq!(run.text().lines().count(), 1, "{}", run.text());
    let errors: Vec<_> = run.stderr.lines().collect();
    assert_eq!(errors.len(), 4, "{}", run.stderr);
    for (line, (file, code)) in errors.iter().zip([
        ("2-flipped.car", "(badHash)"),
        ("3-empty.car", "("),
        ("4-text.car", "(badStructure)"),
        ("5-cut.car", "(incomplete)"),
    ]) {
        assert!(line.contains(file) && line.contains(code), "{line}");
    }
    assert_eq!(place.run(&["repos", "--json"]).ends(OK).objects().len(), 1);
    // The same, a folder at a time.
    let folder = place.folder.path().to_str().unwrap();
    let run = place.run(&["import", "--json", folder]).ends(REFUSED);
    assert_eq!(run.objects()[0]["outcome"], "unchanged");
}

#[test]
fn a_car_may_come_through_a_pipe() {
    let place = Place::new();
    let repo = repo(50, 6);
    let mut child = command(&place.data())
        .args(["import", "--did", repo.did.as_str(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&repo.car(Order::Pds))
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        place.run(&["repos", "--json"]).ends(OK).objects()[0]["did"],
        repo.did.as_str()
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let place = Place::new();
    let repo = repo(3_000, 7);
    place
        .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
        .ends(OK);
    let mut child = command(&place.data())
        .args(["list", repo.did.as_str(), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(OK),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_data_folder_may_come_from_the_environment_and_a_store_that_is_not_there_fails() {
    let place = Place::new();
    let mut run = bare();
    run.env("CARRACK_DATA", place.data()).arg("repos");
    Run::of(&mut run).ends(OK);
    assert!(place.data().join("catalog.redb").exists());
    let mut run = bare();
    run.env("CARRACK_STORE", "127.0.0.1:1").arg("repos");
    let run = Run::of(&mut run).ends(FAILED);
    assert!(run.stderr.contains("carrack serve"), "{}", run.stderr);
}
