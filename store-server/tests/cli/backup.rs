//! `carrack backup`, and the copy in use.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kit::{Changes, Order};
use rustix::process::Signal;

use super::serve::Serving;
use super::{DAMAGED, FAILED, OK, Place, Run, USAGE, command, repo};

fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
}

/// Runs a command on a copy.
fn on(folder: &Path, arguments: &[&str]) -> Run {
    Run::of(command(folder).args(arguments))
}

#[test]
fn a_served_store_is_backed_up_and_the_copy_serves_on() {
    let place = Place::new();
    let (one, two) = (repo(60, 31), repo(20, 32));
    let cars = [("a.car", &one), ("b.car", &two)];
    let [one_car, two_car] = cars.map(|(name, repo)| place.file(name, &repo.car(Order::Pds)));
    place.run(&["import", &one_car]).ends(OK);
    std::fs::write(place.data().join("config.toml"), "workers = 1\n").unwrap();
    let mut serving = Serving::start(&place, &[]);
    serving.address();
    let create = [
        "grant",
        "create",
        "--label",
        "helper",
        "--repos",
        "all",
        "--collections",
        "all",
        "--may",
        "read,list",
        "--expires",
        "never",
    ];
    let token = place.run(&create).ends(OK);
    let copy = place.folder.path().join("backups/monday");
    let backup = place
        .run(&["backup", copy.to_str().unwrap(), "--json"])
        .ends(OK);
    let report = backup.objects().remove(0);
    assert_eq!(report["segments"], 1);
    assert_eq!(report["bytesSkipped"], 0);
    assert_eq!(report["folder"], copy.to_str().unwrap());
    place.run(&["import", &two_car]).ends(OK);
    place.run(&["grant", "revoke", "--all"]).ends(OK);

    // The next shares what is there; both are whole, and each is of its moment.
    let newer = place.folder.path().join("backups/tuesday");
    let arguments = [
        "backup",
        newer.to_str().unwrap(),
        "--json",
        "--reuse",
        copy.to_str().unwrap(),
    ];
    let report = place.run(&arguments).ends(OK).objects().remove(0);
    assert_eq!(report["segments"], 2);
    assert!(report["bytesSkipped"].as_u64() > Some(0), "{report}");
    serving.end(Signal::TERM);

    for (folder, repos) in [(&copy, 1), (&newer, 2)] {
        on(folder, &["check"]).ends(OK);
        assert_eq!(on(folder, &["repos", "--json"]).objects().len(), repos);
        let config = std::fs::read_to_string(folder.join("config.toml")).unwrap();
        assert_eq!(config, "workers = 1\n");
        let export = on(folder, &["export", one.did.as_str()]).ends(OK);
        assert!(export.stdout == one.car(Order::PreOrder));
    }
    // The older one knows of the grant still, whose token opens it, until all are taken back.
    assert_eq!(on(&newer, &["grant", "list", "--json"]).objects().len(), 0);
    let token = place.file("token", &token.stdout);
    let with_token = |folder: &Path| on(folder, &["--token-file", &token, "repos"]).code;
    assert_eq!(with_token(&copy), OK);
    on(&copy, &["grant", "revoke", "--all"]).ends(OK);
    assert_eq!(with_token(&copy), FAILED);
}

#[test]
fn a_backup_goes_into_a_new_folder_only() {
    let place = Place::new();
    place
        .run(&["import", &place.file("a.car", &repo(9, 33).car(Order::Pds))])
        .ends(OK);
    let backup = |folder: &Path, more: &[&str]| {
        place.run(&[&["backup", folder.to_str().unwrap()], more].concat())
    };
    // Neither over the store itself, nor over a copy, nor beside somebody's files.
    let data = place.data();
    let refused = backup(&data, &[]);
    assert!(
        refused.stderr.contains("held by another process"),
        "{}",
        refused.stderr
    );
    assert_ne!(refused.code, OK);
    let copy = place.folder.path().join("copy");
    backup(&copy, &[]).ends(OK);
    let refused = backup(&copy, &[]).ends(USAGE);
    assert!(
        refused.stderr.contains("is a store already"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains(copy.to_str().unwrap()));
    backup(place.folder.path(), &[]).ends(USAGE);
    assert!(!place.folder.path().join("lock").exists());
    // What is to be shared must be a data folder.
    let new = place.folder.path().join("new");
    backup(&new, &["--reuse", "/nowhere/at/all"]).ends(USAGE);
    place.run(&["backup"]).ends(USAGE);
    let refused = on(&new, &["repos"]).ends(DAMAGED);
    assert!(
        refused.stderr.contains("`carrack backup`"),
        "{}",
        refused.stderr
    );
    backup(&new, &[]).ends(OK);
    assert_eq!(on(&new, &["repos", "--json"]).ends(OK).objects().len(), 1);
}

#[test]
fn an_instant_copy_shares_the_files_of_the_data_folder() {
    let place = Place::new();
    place
        .run(&[
            "import",
            &place.file("a.car", &repo(50, 34).car(Order::Pds)),
        ])
        .ends(OK);
    let copy = place.folder.path().join("copy");
    let data = place.data();
    let arguments = [
        "backup",
        copy.to_str().unwrap(),
        "--reuse",
        data.to_str().unwrap(),
    ];
    place.run(&arguments).ends(OK);
    // They part ways: what the one merges or deletes is the other's still.
    let all = place.run(&["repos", "--json"]).objects();
    let did = all[0]["did"].as_str().unwrap();
    place.run(&["delete", did, "--purge", "--yes"]).ends(OK);
    on(&copy, &["check"]).ends(OK);
    on(&copy, &["compact", "--cold"]).ends(OK);
    assert_eq!(on(&copy, &["repos", "--json"]).objects().len(), 1);
}

#[test]
fn what_an_older_backup_has_is_shared_only_if_it_is_whole_and_a_file() {
    let place = Place::new();
    for seed in [38, 39] {
        let car = repo(50, seed).car(Order::Pds);
        place.run(&["import", &place.file("a.car", &car)]).ends(OK);
    }
    let folder = |name: &str| place.folder.path().join(name);
    let backup = |name: &str, more: &[&str]| {
        let folder = folder(name);
        let arguments = [&["backup", folder.to_str().unwrap(), "--json"], more].concat();
        place.run(&arguments).ends(OK).objects().remove(0)
    };
    backup("older", &[]);
    let segments = folder("older").join("segments");
    let mut files: Vec<_> = std::fs::read_dir(&segments)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let [one, two] = &files[..] else {
        panic!("{files:?}")
    };
    // One is elsewhere, and one has a wrong bit.
    let elsewhere = folder("elsewhere");
    std::fs::rename(one, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, one).unwrap();
    let mut bytes = std::fs::read(two).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(two, &bytes).unwrap();
    let older = folder("older");
    let report = backup("newer", &["--reuse", older.to_str().unwrap()]);
    assert_eq!(report["bytesSkipped"], 0);
    std::fs::remove_file(&elsewhere).unwrap();
    on(&folder("newer"), &["check"]).ends(OK);
    // What was shared is as it was.
    assert_eq!(std::fs::read(two).unwrap(), bytes);
}

#[test]
fn a_missing_segment_is_named_and_no_copy_is_made() {
    let place = Place::new();
    place
        .run(&["import", &place.file("a.car", &repo(9, 35).car(Order::Pds))])
        .ends(OK);
    let segments = std::fs::read_dir(place.data().join("segments")).unwrap();
    for segment in segments {
        std::fs::remove_file(segment.unwrap().path()).unwrap();
    }
    let copy = place.folder.path().join("copy");
    let refused = place.run(&["backup", copy.to_str().unwrap()]).ends(DAMAGED);
    assert!(refused.stderr.contains("segments/"), "{}", refused.stderr);
    assert!(!copy.join("catalog.redb").exists());
    on(&copy, &["repos"]).ends(DAMAGED);
}

#[test]
fn settings_that_are_there_are_not_replaced() {
    let place = Place::new();
    place.run(&["repos"]).ends(OK);
    let copy = place.folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("config.toml"), "workers = 2\n").unwrap();
    let refused = place.run(&["backup", copy.to_str().unwrap()]).ends(USAGE);
    assert!(refused.stderr.contains("config.toml"), "{}", refused.stderr);
    let config = std::fs::read_to_string(copy.join("config.toml")).unwrap();
    assert_eq!(config, "workers = 2\n");
}

#[test]
fn a_killed_backup_is_whole_or_none_and_the_next_goes_on() {
    const KILLS: u32 = 12;
    let place = Place::new();
    let mut version = repo(2_000, 36);
    for seed in 0..3 {
        place
            .run(&["import", &place.file("a.car", &version.car(Order::Pds))])
            .ends(OK);
        let changes = Changes {
            added: 900,
            changed: 500,
            deleted: 100,
        };
        version = version.next_version(&version.random_edits(seed, changes));
    }
    let mut serving = Serving::start(&place, &[]);
    serving.address();
    let folder = |name: String| place.folder.path().join(name);
    // Each is killed when such a file is there, or when it has ended.
    let is_there = |copy: &Path, kill| match kill % 3 {
        0 => copy.join("backup.partial").exists(),
        1 => has_files(&copy.join("tmp")),
        _ => has_files(&copy.join("segments")),
    };
    let mut half = 0;
    for kill in 0..KILLS {
        let copy = folder(format!("copy-{kill}"));
        let mut backup = command(&place.data())
            .args(["backup", copy.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let far = Instant::now() + Duration::from_secs(60);
        while !is_there(&copy, kill) && backup.try_wait().unwrap().is_none() {
            assert!(Instant::now() < far, "it hangs");
            std::thread::yield_now();
        }
        backup.kill().unwrap();
        backup.wait().unwrap();
        if copy.join("backup.partial").exists() {
            half += 1;
            on(&copy, &["repos"]).ends(DAMAGED);
            place.run(&["backup", copy.to_str().unwrap()]).ends(OK);
        }
        on(&copy, &["check", "--quick"]).ends(OK);
        assert_eq!(on(&copy, &["repos", "--json"]).objects().len(), 1);
    }
    assert!(half > 0, "no kill came in the middle");
    // The server goes on as if nobody had come.
    place.run(&["check"]).ends(OK);
    serving.end(Signal::TERM);
    assert!(!has_files(&place.data().join("tmp")));
}

#[test]
fn backups_and_imports_go_on_side_by_side() {
    let place = Place::new();
    let mut version = repo(200, 37);
    place
        .run(&["import", &place.file("v.car", &version.car(Order::Pds))])
        .ends(OK);
    let mut serving = Serving::start(&place, &[]);
    serving.address();
    for at in 0..4 {
        version = version.next_version(&version.random_edits(
            at,
            Changes {
                added: 20,
                changed: 5,
                deleted: 5,
            },
        ));
        let car = place.file("v.car", &version.car(Order::Pds));
        let mut import = command(&place.data())
            .args(["import", &car])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let copy = place.folder.path().join(format!("copy-{at}"));
        place.run(&["backup", copy.to_str().unwrap()]).ends(OK);
        assert!(import.wait().unwrap().success());
        on(&copy, &["check"]).ends(OK);
    }
    serving.end(Signal::TERM);
}
