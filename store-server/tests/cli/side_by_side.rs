//! Many commands on one folder at once, damaged folders, and readers and writers that leave.

use std::process::Stdio;

use kit::Order;

use super::{FAILED, NOT_FOUND, OK, Place, Run, USAGE, bare, command, repo};

/// Exit code for damage, as the command's help lists it.
const DAMAGED: i32 = 4;

#[test]
fn commands_on_one_folder_work_side_by_side() {
    let place = Place::new();
    let repos: Vec<_> = (0..10).map(|i| repo(300, 100 + i)).collect();
    let cars: Vec<_> = repos
        .iter()
        .enumerate()
        .map(|(i, repo)| place.file(&format!("{i}.car"), &repo.car(Order::Pds)))
        .collect();
    std::thread::scope(|scope| {
        for car in &cars {
            scope.spawn(|| place.run(&["import", car]).ends(OK));
        }
    });
    assert_eq!(
        place.run(&["repos", "--json"]).ends(OK).objects().len(),
        repos.len()
    );
    std::thread::scope(|scope| {
        for repo in &repos {
            let place = &place;
            scope.spawn(move || {
                for _ in 0..4 {
                    let run = place.run(&["list", repo.did.as_str()]).ends(OK);
                    assert_eq!(run.text().lines().count(), repo.records.len());
                }
            });
        }
    });
}

#[test]
fn the_same_folder_is_found_under_every_name() {
    let place = Place::new();
    let deep = place.folder.path().join("d".repeat(100)).join("store");
    std::fs::create_dir_all(deep.parent().unwrap()).unwrap();
    let mut serve = command(&deep);
    let mut server = serve
        .arg("serve")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.as_mut().unwrap()),
        &mut line,
    )
    .unwrap();
    assert!(line.starts_with("listening on unix:"), "{line}");
    let mut near = bare();
    near.current_dir(deep.parent().unwrap())
        .args(["--data", "store", "repos"]);
    Run::of(&mut near).ends(OK);
    server.kill().unwrap();
    server.wait().unwrap();
    // The dead one's pointer is no obstacle under either name.
    Run::of(&mut near).ends(OK);
    Run::of(command(&deep).arg("repos")).ends(OK);
}

#[test]
fn a_lost_catalog_is_damage_and_takes_nothing_with_it() {
    let place = Place::new();
    place
        .run(&[
            "import",
            &place.file("a.car", &repo(50, 41).car(Order::Pds)),
        ])
        .ends(OK);
    let catalog = place.data().join("catalog.redb");
    let kept = std::fs::read(&catalog).unwrap();
    let segments = || {
        std::fs::read_dir(place.data().join("segments"))
            .unwrap()
            .count()
    };
    for lost in [None, Some(&b""[..]), Some(&[7; 4_096])] {
        std::fs::remove_file(&catalog).unwrap();
        if let Some(bytes) = lost {
            std::fs::write(&catalog, bytes).unwrap();
        }
        place.run(&["repos"]).ends(DAMAGED);
        assert_eq!(segments(), 1);
        std::fs::write(&catalog, &kept).unwrap();
        assert_eq!(place.run(&["repos", "--json"]).ends(OK).objects().len(), 1);
    }
}

#[test]
fn a_damaged_catalog_is_a_typed_error_or_right_but_never_a_panic() {
    let place = Place::new();
    let repo = repo(20, 42);
    place
        .run(&["import", &place.file("a.car", &repo.car(Order::Pds))])
        .ends(OK);
    let catalog = place.data().join("catalog.redb");
    let kept = std::fs::read(&catalog).unwrap();
    let mut rng = kit::rng::Rng::new(43);
    for _ in 0..60 {
        let mut bytes = kept.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        std::fs::write(&catalog, &bytes).unwrap();
        let run = place.run(&["repos", "--json"]);
        let is_typed = [OK, FAILED, DAMAGED, NOT_FOUND].contains(&run.code);
        assert!(is_typed, "exit code {}: {}", run.code, run.stderr);
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    place
        .run(&["import", &place.file("a.car", &repo(5, 44).car(Order::Pds))])
        .ends(OK);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut repos = command(&place.data());
    let status = repos
        .arg("repos")
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(FAILED));
}

#[test]
fn an_import_goes_on_when_its_reader_leaves() {
    let place = Place::new();
    let folder = place.folder.path().join("cars");
    std::fs::create_dir(&folder).unwrap();
    for i in 0..30 {
        std::fs::write(
            folder.join(format!("{i:02}.car")),
            repo(5, 200 + i).car(Order::Pds),
        )
        .unwrap();
    }
    let mut import = command(&place.data());
    let mut child = import
        .arg("import")
        .arg(&folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(OK));
    assert_eq!(place.run(&["repos", "--json"]).ends(OK).objects().len(), 30);
}

#[test]
fn a_flag_wins_over_the_environment() {
    let place = Place::new();
    let mut run = command(&place.data());
    run.env("CARRACK_STORE", "127.0.0.1:1").arg("repos");
    Run::of(&mut run).ends(OK);
    let mut run = bare();
    run.env("CARRACK_DATA", place.data())
        .args(["--store", "127.0.0.1:1", "repos"]);
    Run::of(&mut run).ends(FAILED);
    let mut run = command(&place.data());
    run.args(["--store", "127.0.0.1:1", "repos"]);
    Run::of(&mut run).ends(USAGE);
    let mut run = bare();
    run.env("CARRACK_STORE", "nowhere").arg("repos");
    Run::of(&mut run).ends(USAGE);
}

#[test]
fn settings_may_be_there_before_the_store_is() {
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    std::fs::write(place.data().join("config.toml"), "workers = 1").unwrap();
    place.run(&["repos"]).ends(OK);
}
