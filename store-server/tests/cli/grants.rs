//! `carrack grant` and commands that use a token.

use kit::Order;
use rustix::process::Signal;

use super::serve::Serving;
use super::{FAILED, NOT_FOUND, OK, Place, Run, USAGE, bare, repo};

const CREATE: [&str; 14] = [
    "grant",
    "create",
    "--label",
    "helper",
    "--collections",
    "app.bsky.feed.*",
    "--may",
    "read,list",
    "--calls",
    "1000",
    "--bytes",
    "100MiB",
    "--expires",
    "7d",
];

fn create<'a>(repos: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&CREATE[..], &["--repos", repos], more].concat()
}

/// As [`create`], with another value of one option.
fn create_but<'a>(option: &str, value: &'a str) -> Vec<&'a str> {
    let mut arguments = create("all", &[]);
    let at = arguments
        .iter()
        .position(|argument| *argument == option)
        .unwrap();
    arguments[at + 1] = value;
    arguments
}

/// Runs `carrack --store ADDRESS --token-file FILE`.
fn held(place: &Place, address: &str, token: &str, arguments: &[&str]) -> Run {
    let file = place.file("token", format!("{token}\n").as_bytes());
    let mut command = bare();
    command
        .args(["--store", address, "--token-file", &file])
        .args(arguments);
    Run::of(&mut command)
}

#[test]
fn a_grant_is_made_used_over_tcp_listed_shown_and_taken_back() {
    let place = Place::new();
    let (mine, other) = (repo(60, 1), repo(10, 2));
    let files = [("a.car", &mine), ("b.car", &other)];
    let files = files.map(|(name, repo)| place.file(name, &repo.car(Order::Pds)));
    place.run(&["import", &files[0], &files[1]]).ends(OK);
    let mut serving = Serving::start(&place, &["--listen", "127.0.0.1:0"]);
    let addresses = [serving.address(), serving.address()];
    let tcp = addresses
        .iter()
        .find(|address| !address.starts_with("unix:"))
        .unwrap();

    let did = mine.did.as_str();
    let made = place.run(&create(did, &[])).ends(OK);
    let token = made.text().trim_end();
    assert!(token.starts_with("carrack_") && !token.contains('\n'));
    assert!(made.stderr.contains("shown this once"), "{}", made.stderr);
    assert!(!made.stderr.contains(token));
    let listed = place.run(&["grant", "list", "--json"]).ends(OK).objects();
    assert_eq!(listed.len(), 1);
    let grant = &listed[0];
    let id = grant["grant"].as_str().unwrap();
    assert_eq!(grant["label"], "helper");
    assert_eq!(grant["may"], serde_json::json!(["read", "list"]));
    assert_eq!(grant["repos"], serde_json::json!([did]));
    assert_eq!(
        grant["calls"],
        serde_json::json!({"total": 1000, "perSecond": null})
    );
    assert_eq!(grant["bytes"]["total"], 100 << 20);

    let listing = held(
        &place,
        tcp,
        token,
        &["list", &format!("{did}/app.bsky.feed.post")],
    );
    assert!(listing.ends(OK).text().lines().count() > 1);
    let repos = held(&place, tcp, token, &["repos", "--json"])
        .ends(OK)
        .objects();
    assert_eq!(repos.len(), 1);
    for (denied, why) in [
        (vec!["list", other.did.as_str()], "denied"),
        (vec!["export", did, "-o", "-"], "denied"),
        (vec!["grant", "list"], "denied"),
        (vec!["compact"], "denied"),
    ] {
        let run = held(&place, tcp, token, &denied).ends(FAILED);
        assert!(run.stderr.contains(why), "{denied:?}: {}", run.stderr);
    }
    // Without a token nobody comes in there, and the words say what to do.
    let refused = Run::of(bare().args(["--store", tcp, "repos"])).ends(FAILED);
    assert!(
        refused.stderr.contains("asks for a token"),
        "{}",
        refused.stderr
    );

    let shown = place.run(&["grant", "show", id]).ends(OK);
    for part in [
        "helper",
        did,
        "app.bsky.feed.*",
        "read, list",
        "of 1000 used",
        "token        1",
    ] {
        assert!(shown.text().contains(part), "{part} in {}", shown.text());
    }
    let another = place
        .run(&["grant", "token", id, "--label", "two"])
        .ends(OK);
    held(&place, tcp, another.text().trim_end(), &["repos"]).ends(OK);
    place.run(&["grant", "forget", id, "2"]).ends(OK);
    place.run(&["grant", "forget", id, "2"]).ends(NOT_FOUND);
    held(&place, tcp, another.text().trim_end(), &["repos"]).ends(FAILED);

    let revoked = place.run(&["grant", "revoke", id]).ends(OK);
    assert_eq!(revoked.text(), format!("revoked {id}\n"));
    let gone = held(&place, tcp, token, &["repos"]).ends(FAILED);
    assert!(gone.stderr.contains("badCredential"), "{}", gone.stderr);
    place.run(&["grant", "revoke", id]).ends(NOT_FOUND);
    assert_eq!(place.run(&["grant", "list"]).ends(OK).text(), "");
    assert_eq!(serving.end(Signal::TERM), OK);
}

#[test]
fn a_grant_outlives_the_command_that_made_it() {
    let place = Place::new();
    let made = place
        .run(&create("all", &["--json"]))
        .ends(OK)
        .objects()
        .remove(0);
    let (id, token) = (
        made["grant"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert_eq!(made["tokenId"], 1);
    // Each of these opens the folder anew.
    let run = Run::of(
        super::command(&place.data())
            .env("CARRACK_TOKEN", token)
            .arg("stats"),
    );
    run.ends(OK);
    let shown = place
        .run(&["grant", "show", id, "--json"])
        .ends(OK)
        .objects()
        .remove(0);
    assert_eq!(shown["tokens"][0]["label"], "helper");
    assert!(shown["used"]["calls"].as_u64().unwrap() > 0);
    let run = Run::of(super::command(&place.data()).args(["--token", token, "grant", "list"]));
    assert!(run.ends(FAILED).stderr.contains("denied"));
}

/// Without a token a command has the owner's authority.
#[test]
fn a_token_that_is_none_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let file = place.data().join("../empty.token");
    place.run(&["stats"]).ends(OK);
    std::fs::write(&file, "\n").unwrap();
    for text in ["".as_bytes(), b" \n", b"\xff"] {
        let text = std::ffi::OsStr::from_bytes(text);
        let run = Run::of(
            super::command(&place.data())
                .env("CARRACK_TOKEN", text)
                .arg("stats"),
        );
        assert!(
            run.ends(USAGE)
                .stderr
                .contains("CARRACK_TOKEN: it is given")
        );
    }
    let run = Run::of(super::command(&place.data()).args(["--token", "", "stats"]));
    assert!(run.ends(USAGE).stderr.contains("--token: it is given"));
    let run = Run::of(
        super::command(&place.data())
            .arg("--token-file")
            .arg(&file)
            .arg("stats"),
    );
    assert!(run.ends(USAGE).stderr.contains("empty.token: it is given"));
}

#[test]
fn what_cannot_be_granted_is_said_and_nothing_is_made() {
    let place = Place::new();
    for wrong in [
        create_but("--expires", "soon"),
        create_but("--bytes", "many"),
        create_but("--may", "fly"),
        vec!["grant", "create", "--label", "x"],
    ] {
        place.run(&wrong).ends(USAGE);
    }
    for (wrong, word) in [
        (create("not a did", &[]), "--repos"),
        (create("nobody.example", &[]), "nobody.example"),
        (create_but("--collections", "nonsense"), "nonsense"),
    ] {
        let run = place.run(&wrong);
        assert_ne!(run.code, OK, "{wrong:?}");
        assert!(run.stderr.contains(word), "{}", run.stderr);
    }
    assert_eq!(place.run(&["grant", "list"]).ends(OK).text(), "");
    let missing =
        Run::of(super::command(&place.data()).args(["--token-file", "/nowhere/x", "stats"]));
    assert!(missing.ends(USAGE).stderr.contains("/nowhere/x"));
}
