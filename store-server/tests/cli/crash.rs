//! kill -9 of the real binary: an import is whole or absent, and the store opens.

use std::process::Stdio;
use std::time::Duration;

use kit::{Changes, Mix, Order, RepoSpec};

use super::{OK, Place, command};

/// Kills, in CI; `CARRACK_KILLS` runs more.
fn kills() -> u64 {
    std::env::var("CARRACK_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(25)
}

#[test]
fn a_killed_import_is_whole_or_absent() {
    let place = Place::new();
    let old = RepoSpec {
        records: 3_000,
        seed: 21,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build();
    let new = old.next_version(&old.random_edits(
        1,
        Changes {
            added: 50,
            changed: 50,
            deleted: 50,
        },
    ));
    let (old_car, new_car) = (
        place.file("old.car", &old.car(Order::Pds)),
        place.file("new.car", &new.car(Order::Pds)),
    );
    place.run(&["import", &old_car]).ends(OK);
    let whole = |rev: &str, repo: &kit::Repo| {
        assert_eq!(rev, repo.rev.to_string());
        let listed = place.run(&["list", repo.did.as_str()]).ends(OK);
        let mut expected: Vec<_> = repo
            .records
            .iter()
            .map(|record| format!("at://{}/{}\t{}", repo.did, record.path, record.cid))
            .collect();
        expected.sort();
        assert_eq!(listed.text().lines().collect::<Vec<_>>(), expected);
    };
    // How long an undisturbed import takes here; kills are spread over somewhat more than that.
    let start = std::time::Instant::now();
    let other = Place::new();
    other.run(&["import", &new_car]).ends(OK);
    let span = start.elapsed().as_micros() as u64 * 5 / 4;

    let (mut absent, mut present) = (0, 0);
    for kill in 0..kills() {
        let mut import = command(&place.data())
            .args(["import", &new_car])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(span * kill / kills()));
        import.kill().unwrap();
        import.wait().unwrap();
        let repos = place.run(&["repos", "--json"]).ends(OK).objects();
        let rev = repos[0]["rev"].as_str().unwrap();
        if rev == old.rev.to_string() {
            whole(rev, &old);
            absent += 1;
        } else {
            whole(rev, &new);
            present += 1;
            // Back to the old revision for the next round: a fresh folder, since a store never goes back.
            std::fs::remove_dir_all(place.data()).unwrap();
            place.run(&["import", &old_car]).ends(OK);
        }
        let segments = std::fs::read_dir(place.data().join("segments"))
            .unwrap()
            .count();
        assert_eq!(segments, 1, "kill {kill} left a segment behind");
        assert_eq!(
            std::fs::read_dir(place.data().join("tmp")).unwrap().count(),
            0
        );
    }
    assert_eq!(absent + present, kills());
    assert!(absent > 0, "no kill came before the commit");
}
