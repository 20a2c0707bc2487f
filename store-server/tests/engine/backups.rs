//! Backups of a store that is in use: each is the store as it was at one acknowledged moment, and stays so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use carrack_segment::Fs;
use carrack_store::{Backup, BackupFolder, DeleteTarget, Store, SystemClock};
use kit::{Changes, Order, RepoSpec};

use crate::world::{World, check, import, import_all, open, spoken};

/// Makes a backup as the command does, without the way between.
fn back_up(store: &Store, path: &Path) {
    keep(&store.backup().unwrap(), path);
}

fn keep(backup: &Backup, path: &Path) {
    let mut folder = BackupFolder::open(Arc::new(Fs::open(path).unwrap())).unwrap();
    for file in &backup.files {
        folder.begin(&file.name, file.bytes.len() as u64).unwrap();
        folder.write(&file.bytes).unwrap();
    }
    folder.finish().unwrap();
}

/// Opens a copy, which must be sound.
fn restore(path: &Path) -> Store {
    let directory = Arc::new(Fs::open(path).unwrap());
    let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
    let report = store.check(false, &mut |_| true).unwrap();
    assert_eq!(report.findings, 0);
    store
}

fn versions(seed: u64, count: u64) -> Vec<kit::Repo> {
    let spec = RepoSpec {
        records: 30,
        seed,
        ..RepoSpec::default()
    };
    let mut versions = vec![spec.build()];
    for seed in 1..count {
        let last = versions.last().unwrap();
        let changes = Changes {
            added: 2,
            changed: 2,
            deleted: 1,
        };
        versions.push(last.next_version(&last.random_edits(seed, changes)));
    }
    versions
}

#[test]
fn a_backup_of_a_busy_store_is_the_store_at_an_acknowledged_moment() {
    const VERSIONS: u64 = 24;
    let world = World::new();
    let repos = [versions(1, VERSIONS), versions(2, VERSIONS)];
    // Step by step a version of one repo, then of the other.
    let steps: Vec<&kit::Repo> = (0..VERSIONS as usize)
        .flat_map(|at| repos.iter().map(move |versions| &versions[at]))
        .collect();
    let (begun, done, is_over) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    let mut moments = Vec::new();
    std::thread::scope(|scope| {
        let store = world.store();
        scope.spawn(|| {
            for step in &steps {
                begun.fetch_add(1, Ordering::SeqCst);
                import_all(store, step);
                done.fetch_add(1, Ordering::SeqCst);
            }
            is_over.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                store.compact(false, None).unwrap();
            }
        });
        let mut is_last = false;
        while !is_last {
            is_last = is_over.load(Ordering::SeqCst);
            let folder = tempfile::tempdir().unwrap();
            let least = done.load(Ordering::SeqCst);
            back_up(store, folder.path());
            let most = begun.load(Ordering::SeqCst);
            let restored = restore(folder.path());
            let found = repos.each_ref().map(|versions| {
                let repo = restored.repo(&versions[0].did).unwrap().ok()?;
                let rev = repo.summary().rev.unwrap();
                let at = versions.iter().position(|v| v.rev == rev).unwrap();
                check(&repo, &versions[at], &[]);
                Some(at)
            });
            let held = found.map(|at| at.map_or(0, |at| at + 1));
            let moment = held[0] + held[1];
            assert!(held[0] == held[1] || held[0] == held[1] + 1, "{held:?}");
            assert!((least..=most).contains(&moment), "{least} {moment} {most}");
            moments.push(moment);
        }
    });
    assert_eq!(moments.last(), Some(&steps.len()));
    assert!(moments.len() > 2, "{moments:?}");
}

#[test]
fn a_backup_has_older_revisions_and_deletions_and_goes_on_by_itself() {
    let world = World::new();
    let chain = versions(3, 3);
    for version in &chain {
        import_all(world.store(), version);
    }
    let did = &chain[0].did;
    let (record, _) = spoken(&chain[2]);
    let deleted = [(record.path.clone(), record.cid)];
    let target = DeleteTarget::Record(did.clone(), record.path.parse().unwrap());
    world.store().delete(&target, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    back_up(world.store(), folder.path());
    // What comes after it is not in it, neither good nor bad.
    let other = versions(4, 1).remove(0);
    import_all(world.store(), &other);
    world
        .store()
        .delete(&DeleteTarget::Repo(did.clone()), true)
        .unwrap();

    let restored = restore(folder.path());
    check(&open(&restored, did), &chain[2], &deleted);
    let older = restored.repo_at(did, chain[1].rev).unwrap().unwrap();
    assert_eq!(older.summary().rev, Some(chain[1].rev));
    assert!(restored.repo(&other.did).unwrap().is_err());
    // A deleted record does not come back by importing there either.
    import(&restored, &chain[2].car(Order::Pds));
    check(&open(&restored, did), &chain[2], &deleted);
    import_all(&restored, &other);
    check(&open(&restored, &other.did), &other, &[]);
}

#[test]
fn what_a_merge_takes_away_stays_readable_in_a_copy_under_way() {
    let world = World::new();
    let repos = [versions(5, 1).remove(0), versions(6, 1).remove(0)];
    for repo in &repos {
        import_all(world.store(), repo);
    }
    let before = world.segments();
    let backup = world.store().backup().unwrap();
    world.store().compact(true, None).unwrap();
    assert!(before.iter().all(|name| !world.segments().contains(name)));
    let names: Vec<&str> = backup.files.iter().map(|file| &*file.name).collect();
    let expected: Vec<String> = before
        .iter()
        .map(|name| format!("segments/{name}"))
        .collect();
    assert_eq!(names[..2], expected);
    assert_eq!(names[2..], ["catalog.redb"]);
    let folder = tempfile::tempdir().unwrap();
    keep(&backup, folder.path());
    let restored = restore(folder.path());
    for repo in &repos {
        check(&open(&restored, &repo.did), repo, &[]);
    }
    // The catalog of a copy is a file that nobody else knows.
    assert_eq!(
        std::fs::read_dir(world.folder.path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn what_was_true_when_a_backup_was_taken_is_in_it() {
    let world = World::new();
    let repo = versions(7, 1).remove(0);
    let (store, car, clock) = (
        world.store().clone(),
        repo.car(Order::Pds),
        world.clock.clone(),
    );
    // It looks at the clock for that first. What comes at that moment is in it.
    world.clock.at_look(0, move || {
        import(&store, &car);
        clock.pass(1);
    });
    let backup = world.store().backup().unwrap();
    assert!(world.clock.was_reached());
    let folder = tempfile::tempdir().unwrap();
    keep(&backup, folder.path());
    check(&open(&restore(folder.path()), &repo.did), &repo, &[]);
}
