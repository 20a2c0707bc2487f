//! Many imports at once, and many of one repo.

use std::collections::HashSet;

use carrack_schema::Code;
use carrack_schema::limits::IMPORT_ATTEMPTS_MAX;
use carrack_store::{DeleteTarget, ImportRequest, Phase};
use kit::{Changes, Order, RepoSpec};

use crate::world::{World, check, import_all, open};

#[test]
fn imports_of_many_threads_are_all_there_when_they_are_acknowledged() {
    let mut world = World::new();
    let repos: Vec<kit::Repo> = (0..48)
        .map(|seed| {
            let spec = RepoSpec {
                records: 5,
                seed,
                ..RepoSpec::default()
            };
            spec.build()
        })
        .collect();
    std::thread::scope(|scope| {
        for part in repos.chunks(6) {
            let store = world.store();
            scope.spawn(move || {
                for repo in part {
                    import_all(store, repo);
                    check(&open(store, &repo.did), repo, &[]);
                }
            });
        }
        let store = world.store();
        scope.spawn(move || {
            for _ in 0..20 {
                store.merge_once().unwrap();
            }
        });
    });
    world.reopen();
    for repo in &repos {
        check(&open(world.store(), &repo.did), repo, &[]);
    }
    assert_eq!(world.store().stats().unwrap().repos, 48);
}

#[test]
fn versions_of_one_repo_that_race_end_with_the_newest() {
    let world = World::new();
    let mut versions = vec![
        RepoSpec {
            records: 80,
            seed: 5,
            ..RepoSpec::default()
        }
        .build(),
    ];
    for seed in 0..7 {
        let last = versions.last().unwrap();
        let changes = Changes {
            added: 2,
            changed: 3,
            deleted: 1,
        };
        versions.push(last.next_version(&last.random_edits(seed, changes)));
    }
    std::thread::scope(|scope| {
        for version in &versions {
            let store = world.store();
            scope.spawn(move || {
                let car = version.car(Order::Pds);
                match store.import(&car[..], &ImportRequest::default(), |_| {}) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.code(), Code::OlderRev),
                }
            });
        }
    });
    let newest = versions.last().unwrap();
    check(&open(world.store(), &newest.did), newest, &[]);
    // What was acknowledged in between is retained.
    let segments: HashSet<String> = world.segments().into_iter().collect();
    let readable = versions.iter().filter(|version| {
        let repo = world.store().repo_at(&newest.did, version.rev);
        repo.is_ok_and(|repo| {
            check(&repo.unwrap(), version, &[]);
            true
        })
    });
    assert_eq!(readable.count(), segments.len());
}

#[test]
fn an_import_starts_over_so_often() {
    // Something is deleted each time that the import is about to commit.
    let import = |deletions: usize| {
        let world = World::new();
        let first = RepoSpec {
            records: 40,
            seed: 6,
            ..RepoSpec::default()
        }
        .build();
        import_all(world.store(), &first);
        let second = first.next_version(&first.random_edits(7, Changes::default()));
        let mut victims = first.records.iter().take(deletions);
        let car = second.car(Order::Pds);
        let outcome = world
            .store()
            .import(&car[..], &ImportRequest::default(), |progress| {
                if progress.phase == Phase::Committing
                    && let Some(record) = victims.next()
                {
                    let path = record.path.parse().unwrap();
                    let target = DeleteTarget::Record(first.did.clone(), path);
                    world.store().delete(&target, false).unwrap();
                }
            });
        assert_eq!(victims.next().map(|record| &record.path), None);
        outcome.map(drop).map_err(|error| error.code())
    };
    assert_eq!(import(IMPORT_ATTEMPTS_MAX - 1), Ok(()));
    assert_eq!(import(IMPORT_ATTEMPTS_MAX), Err(Code::Overloaded));
}
