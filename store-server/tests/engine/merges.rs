//! Merges: the same bytes afterwards, in fewer files; and whatever comes between their steps wins.

use std::sync::{Arc, Mutex};

use carrack_store::{DeleteTarget, Store, StoreSettings};
use kit::{Changes, Order, RepoSpec};

use crate::world::{HOUR, World, check, import, import_all, open, spoken, spoken_if};

fn repos(count: u64, records: usize) -> Vec<kit::Repo> {
    (0..count)
        .map(|seed| {
            let spec = RepoSpec {
                records,
                seed,
                ..RepoSpec::default()
            };
            spec.build()
        })
        .collect()
}

fn next(repo: &kit::Repo, seed: u64) -> kit::Repo {
    let changes = Changes {
        added: 2,
        changed: 1,
        deleted: 1,
    };
    repo.next_version(&repo.random_edits(seed, changes))
}

#[test]
fn a_cold_compaction_keeps_columns_and_every_byte() {
    let mut world = World::new();
    // Records of many shapes, which all come into a few large pages.
    let repo = repos(1, 8_000).remove(0);
    import_all(world.store(), &repo);
    let warm = world.store().stats().unwrap().bytes_stored;
    world.store().compact(true, None).unwrap();
    let cold = world.store().stats().unwrap().bytes_stored;
    assert!(cold * 4 < warm * 3, "{cold} bytes after {warm}");
    check(&open(world.store(), &repo.did), &repo, &[]);
    world.reopen();
    check(&open(world.store(), &repo.did), &repo, &[]);
    world.store().compact(false, None).unwrap();
    assert_eq!(world.store().stats().unwrap().bytes_stored, warm);
    check(&open(world.store(), &repo.did), &repo, &[]);
}

#[test]
fn many_small_segments_become_one_and_a_snapshot_survives_it() {
    let mut world = World::new();
    let repos = repos(30, 10);
    for repo in &repos {
        import_all(world.store(), repo);
    }
    let before: Vec<_> = repos
        .iter()
        .map(|repo| open(world.store(), &repo.did))
        .collect();
    assert_eq!(world.segments().len(), 30);
    let stats = world.store().stats().unwrap();
    world.store().merge_all().unwrap();
    assert_eq!(world.segments().len(), 1);
    let merged = world.store().stats().unwrap();
    assert_eq!((merged.repos, merged.records), (stats.repos, stats.records));
    let file = world
        .folder
        .path()
        .join("segments")
        .join(&world.segments()[0]);
    assert_eq!(merged.bytes_stored, std::fs::metadata(file).unwrap().len());
    for (snapshot, repo) in before.iter().zip(&repos) {
        check(snapshot, repo, &[]);
        check(&open(world.store(), &repo.did), repo, &[]);
    }
    world.reopen();
    for repo in &repos {
        check(&open(world.store(), &repo.did), repo, &[]);
    }
}

#[test]
fn few_segments_are_left_alone_until_they_are_compacted() {
    let world = World::new();
    let repos = repos(7, 10);
    for repo in &repos {
        import_all(world.store(), repo);
    }
    assert!(!world.store().merge_once().unwrap());
    world.store().compact(false, Some(&repos[3].did)).unwrap();
    assert_eq!(world.segments().len(), 7);
    world.store().compact(false, None).unwrap();
    assert_eq!(world.segments().len(), 1);
    for repo in &repos {
        check(&open(world.store(), &repo.did), repo, &[]);
    }
}

#[test]
fn a_merge_fills_segments_up_to_their_target() {
    let world = World::with(StoreSettings {
        segment_bytes_target: 100_000,
        ..StoreSettings::default()
    });
    let repos = repos(40, 30);
    for repo in &repos {
        import_all(world.store(), repo);
    }
    world.store().merge_all().unwrap();
    world.store().compact(false, None).unwrap();
    let sizes: Vec<u64> = world
        .segments()
        .iter()
        .map(|name| {
            let path = world.folder.path().join("segments").join(name);
            std::fs::metadata(path).unwrap().len()
        })
        .collect();
    assert!(sizes.len() > 2 && sizes.len() < 20, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 160_000), "{sizes:?}");
    for repo in &repos {
        check(&open(world.store(), &repo.did), repo, &[]);
    }
}

/// What may come between the steps of a merge.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    ImportFull,
    ImportSince,
    DeleteRecord,
    DeleteRepo,
    DeleteAndImport,
    LateTime,
}

const BETWEEN: [Between; 6] = [
    Between::ImportFull,
    Between::ImportSince,
    Between::DeleteRecord,
    Between::DeleteRepo,
    Between::DeleteAndImport,
    Between::LateTime,
];

/// How a merge is started.
#[derive(Clone, Copy, Debug)]
enum Merge {
    Due,
    Compact,
    OneRepo,
}

#[test]
fn whatever_comes_between_the_steps_of_a_merge_wins() {
    for merge in [Merge::Due, Merge::Compact, Merge::OneRepo] {
        for between in BETWEEN {
            let mut looks = 0;
            while interleaved(merge, between, looks) {
                looks += 1;
            }
            assert!(
                looks >= 3,
                "{merge:?} has steps for {between:?} to come between"
            );
        }
    }
}

/// Runs a merge with something between its steps; false if the merge has not so many.
fn interleaved(merge: Merge, between: Between, looks: u32) -> bool {
    let mut world = World::new();
    let mut repos = repos(9, 12);
    for repo in &repos {
        import_all(world.store(), repo);
    }
    let newer = next(&repos[4], 1);
    import_all(world.store(), &newer);
    let did = newer.did.clone();
    let newest = next(&newer, 2);
    let store = world.store().clone();
    let (hook_newer, hook_newest) = (newer.clone(), newest.clone());
    let clock = world.clock.clone();
    let act = move || act(between, &store, &hook_newer, &hook_newest, &clock);
    world.clock.at_look(looks, act);
    match merge {
        Merge::Due => world.store().merge_all().unwrap(),
        Merge::Compact => world.store().compact(false, None).unwrap(),
        Merge::OneRepo => {
            // A repo that was deleted before the merge looked is not there.
            let _absent = world.store().compact(false, Some(&did));
        }
    }
    if !world.clock.was_reached() {
        return false;
    }
    repos[4] = match between {
        Between::ImportFull | Between::ImportSince => newest,
        _ => newer.clone(),
    };
    check_all(&world, &repos, between, &newer);
    world.reopen();
    check_all(&world, &repos, between, &newer);
    // Whatever the merge had written before it was deleted is off the disk in time; what was imported anew is not.
    world.clock.pass(23 * HOUR);
    world.store().merge_all().unwrap();
    let copies = match between {
        Between::DeleteRecord | Between::DeleteRepo => 0,
        _ => 1,
    };
    let files = world.files_with(spoken(&newer).1.as_bytes());
    if between != Between::LateTime {
        assert_eq!(files.len(), copies, "{merge:?} {between:?} at look {looks}");
    }
    world.store().compact(false, None).unwrap();
    check_all(&world, &repos, between, &newer);
    true
}

fn check_all(world: &World, repos: &[kit::Repo], between: Between, newer: &kit::Repo) {
    // The one in question and one of those it shares segments with.
    for repo in &repos[3..5] {
        let deleted = match between {
            Between::DeleteRecord if repo.did == newer.did => {
                vec![(spoken(newer).0.path.clone(), spoken(newer).0.cid)]
            }
            _ => Vec::new(),
        };
        match world.store().repo(&repo.did).unwrap() {
            Ok(stored) => check(&stored, repo, &deleted),
            Err(_) => {
                assert!(between == Between::DeleteRepo && repo.did == newer.did);
            }
        }
    }
}

fn act(
    between: Between,
    store: &Store,
    newer: &kit::Repo,
    newest: &kit::Repo,
    clock: &crate::world::TestClock,
) {
    let did = newer.did.clone();
    match between {
        Between::ImportFull => {
            import_all(store, newest);
        }
        Between::ImportSince => {
            import(store, &newest.car_since(newer.rev));
        }
        Between::DeleteRecord => {
            let path = spoken(newer).0.path.parse().unwrap();
            let target = DeleteTarget::Record(did, path);
            store.delete(&target, false).unwrap();
        }
        Between::DeleteRepo => {
            store.delete(&DeleteTarget::Repo(did), false).unwrap();
        }
        Between::DeleteAndImport => {
            store.delete(&DeleteTarget::Repo(did), false).unwrap();
            import_all(store, newer);
        }
        Between::LateTime => clock.pass(30 * HOUR),
    }
}

#[test]
fn whatever_comes_between_the_steps_of_an_import_is_seen() {
    for between in BETWEEN {
        for is_since in [false, true] {
            let mut looks = 0;
            while import_interleaved(between, is_since, looks) {
                looks += 1;
            }
            assert!(
                looks >= 3,
                "an import has steps for {between:?} to come between"
            );
        }
    }
}

/// Imports with something between the steps; false if the import has not so many.
fn import_interleaved(between: Between, is_since: bool, looks: u32) -> bool {
    let world = World::new();
    let old = repos(1, 40).remove(0);
    let newer = next(&old, 1);
    import_all(world.store(), &old);
    let coming = next(&newer, 7);
    import_all(world.store(), &newer);
    let (deleted, words) = spoken_if(&newer, |record| {
        let stays = coming.record(&record.path);
        stays.is_some_and(|new| new.cid == record.cid)
    });
    let store = world.store().clone();
    let (clock, hook_newer, hook_coming) = (world.clock.clone(), newer.clone(), coming.clone());
    let path = deleted.path.clone();
    let failed = Arc::new(Mutex::new(false));
    let act = move || match between {
        Between::DeleteRecord => {
            let did = hook_newer.did.clone();
            let target = DeleteTarget::Record(did, path.parse().unwrap());
            store.delete(&target, true).unwrap();
        }
        // Merges, where an import would be another of the same.
        Between::ImportFull => store.compact(false, None).unwrap(),
        other => act(other, &store, &hook_newer, &hook_coming, &clock),
    };
    world.clock.at_look(looks, act);
    let car = match is_since {
        true => coming.car_since(newer.rev),
        false => coming.car(Order::Pds),
    };
    let request = carrack_store::ImportRequest::default();
    let outcome = world.store().import(&car[..], &request, |_| {});
    if !world.clock.was_reached() {
        return false;
    }
    if let Err(error) = &outcome {
        // What a since export leaves out went with the repo.
        assert!(
            is_since && matches!(between, Between::DeleteRepo),
            "{}",
            error.chain()
        );
        *failed.lock().unwrap() = true;
    }
    let hidden = match between {
        Between::DeleteRecord => vec![(deleted.path.clone(), deleted.cid)],
        _ => Vec::new(),
    };
    match world.store().repo(&old.did).unwrap() {
        Ok(stored) => check(&stored, &coming, &hidden),
        Err(_) => assert!(*failed.lock().unwrap() || matches!(between, Between::DeleteRepo)),
    }
    if let Between::DeleteRecord = between {
        assert_eq!(world.files_with(words.as_bytes()), [""; 0]);
    }
    true
}

#[test]
fn a_crash_between_the_steps_of_a_merge_loses_nothing() {
    for is_purge in [false, true] {
        let mut looks = 0;
        while crash_at(looks, is_purge) {
            looks += 1;
        }
        assert!(looks >= 3);
    }
}

/// Copies the folder between the steps of a merge, as a crash would leave it; false if there are not so many steps.
fn crash_at(looks: u32, is_purge: bool) -> bool {
    let world = World::new();
    let repos = repos(9, 12);
    for repo in &repos {
        import_all(world.store(), repo);
    }
    let (deleted, words) = spoken(&repos[4]);
    let path = deleted.path.parse().unwrap();
    let target = DeleteTarget::Record(repos[4].did.clone(), path);
    let mut crashed = World::new();
    drop(crashed.take());
    let (from, to) = (
        world.folder.path().to_owned(),
        crashed.folder.path().to_owned(),
    );
    let copy = move || {
        for folder in ["", "segments", "tmp"] {
            for file in std::fs::read_dir(from.join(folder)).unwrap() {
                let file = file.unwrap();
                if file.file_type().unwrap().is_file() {
                    std::fs::copy(file.path(), to.join(folder).join(file.file_name())).unwrap();
                }
            }
        }
    };
    if is_purge {
        // The first look is the deletion's own.
        world.clock.at_look(looks + 1, copy);
        world.store().delete(&target, true).unwrap();
    } else {
        world.clock.at_look(looks, copy);
        world.store().merge_all().unwrap();
    }
    if !world.clock.was_reached() {
        return false;
    }
    crashed.reopen();
    for repo in &repos {
        let hidden = match is_purge && repo.did == repos[4].did {
            true => vec![(deleted.path.clone(), deleted.cid)],
            false => Vec::new(),
        };
        check(&open(crashed.store(), &repo.did), repo, &hidden);
    }
    if is_purge {
        // The obligation has survived.
        crashed.clock.pass(23 * HOUR);
        crashed.store().merge_all().unwrap();
        assert_eq!(crashed.files_with(words.as_bytes()), [""; 0]);
    }
    true
}

#[test]
fn a_damaged_repo_stays_where_it_is_and_the_others_are_merged() {
    let mut world = World::new();
    let repos = repos(12, 30);
    for repo in &repos {
        import_all(world.store(), repo);
    }
    let files = world.segments();
    let path = world.folder.path().join("segments").join(&files[5]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    world.reopen();
    world.store().merge_all().unwrap();
    assert_eq!(world.segments().len(), 2);
    let damaged = repos.iter().filter(|repo| {
        let stored = open(world.store(), &repo.did);
        let mut car = Vec::new();
        match stored.export(&mut car) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.code(), carrack_schema::Code::Damaged);
                true
            }
        }
    });
    assert_eq!(damaged.count(), 1);
}

#[test]
fn the_background_thread_merges_and_ends_with_the_store() {
    let mut world = World::new();
    for repo in repos(9, 5) {
        import_all(world.store(), &repo);
    }
    world.store().start_background().unwrap();
    while world.segments().len() > 1 {
        std::thread::yield_now();
    }
    world.store().close();
    // Opening waits for nobody: the thread must have let go of the folder.
    let folder = world.folder.path().to_owned();
    let store = world.take();
    drop(store);
    loop {
        let directory = Arc::new(carrack_segment::Fs::open(&folder).unwrap());
        match Store::open(directory, world.clock.clone()) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), carrack_schema::Code::Overloaded),
        }
        std::thread::yield_now();
    }
}
