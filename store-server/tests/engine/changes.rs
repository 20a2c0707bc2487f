//! Watches: each change is told once it is true, as what is there then, and no more is kept than was said.

use std::time::Duration;

use carrack_schema::limits::WATCH_CHANGES_MAX;
use carrack_store::{Change, ChangeKind, DeleteTarget, ImportRequest, Store, Told, Watching};
use futures::FutureExt;
use kit::{Changes, Order, RepoSpec};

use super::world::{World, import_all};

fn small(seed: u64) -> kit::Repo {
    RepoSpec {
        records: 4,
        seed,
        ..RepoSpec::default()
    }
    .build()
}

/// Takes what a watch has to tell now; nothing if it would wait.
fn news(watching: &Watching) -> Option<Told> {
    watching.next().now_or_never()
}

/// Takes the one change that a watch has to tell.
fn change(watching: &Watching) -> Change {
    let told = news(watching).expect("something changed");
    assert!(!told.missed);
    let [change] = &told.changes[..] else {
        panic!("{told:?}");
    };
    assert_eq!(news(watching), None);
    change.clone()
}

fn import_with(store: &Store, repo: &kit::Repo, status: &str) {
    let request = ImportRequest {
        status: Some(status.parse().unwrap()),
        ..ImportRequest::default()
    };
    let car = repo.car(Order::Pds);
    store.import(&car[..], &request, |_| ()).unwrap();
}

#[test]
fn every_change_that_can_be_seen_is_told_with_what_is_there_then() {
    let world = World::new();
    let store = world.store();
    let repo = small(1);
    let watching = store.watch(|_| true);
    assert_eq!(news(&watching), None);

    import_all(store, &repo);
    let first = Change {
        did: repo.did.clone(),
        kind: ChangeKind::Imported,
        commit: Some(repo.commit_cid),
        rev: Some(repo.rev),
        records: 4,
    };
    assert_eq!(change(&watching), first);
    // What is there already is no change.
    import_all(store, &repo);
    assert_eq!(news(&watching), None);
    let with_key = ImportRequest {
        did_document: Some(repo.did_doc.clone().into_bytes()),
        ..ImportRequest::default()
    };
    let car = repo.car(Order::Pds);
    store.import(&car[..], &with_key, |_| ()).unwrap();
    let kind = ChangeKind::Status;
    assert_eq!(
        change(&watching),
        Change {
            kind,
            ..first.clone()
        }
    );
    // Neither is what was refused, or what only moves bytes.
    assert!(
        store
            .import(&car[..car.len() - 1], &with_key, |_| ())
            .is_err()
    );
    store.compact(false, None).unwrap();
    assert_eq!(news(&watching), None);

    let next = repo.next_version(&repo.random_edits(
        1,
        Changes {
            added: 3,
            ..Changes::default()
        },
    ));
    import_all(store, &next);
    let second = Change {
        commit: Some(next.commit_cid),
        rev: Some(next.rev),
        records: 7,
        ..first
    };
    assert_eq!(change(&watching), second);
    let path = next.records[0].path.parse().unwrap();
    let record = DeleteTarget::Record(repo.did.clone(), path);
    store.delete(&record, false).unwrap();
    let kind = ChangeKind::RecordDeleted;
    let third = Change {
        kind,
        records: 6,
        ..second
    };
    assert_eq!(change(&watching), third);
    assert!(store.delete(&record, false).is_err());
    assert_eq!(news(&watching), None);

    let nothing = Change {
        kind: ChangeKind::Status,
        commit: None,
        rev: None,
        records: 0,
        ..third.clone()
    };
    import_with(store, &next, "takendown");
    assert_eq!(change(&watching), nothing);
    // Of a hidden repo nothing is told.
    let later = next.next_version(&next.random_edits(
        2,
        Changes {
            added: 1,
            ..Changes::default()
        },
    ));
    import_all(store, &later);
    import_with(store, &later, "suspended");
    assert_eq!(news(&watching), None);
    import_with(store, &later, "active");
    let shown = change(&watching);
    assert_eq!(
        (shown.kind, shown.rev, shown.records),
        (ChangeKind::Status, Some(later.rev), 7)
    );

    store
        .delete(&DeleteTarget::Repo(repo.did.clone()), true)
        .unwrap();
    let kind = ChangeKind::RepoDeleted;
    assert_eq!(change(&watching), Change { kind, ..nothing });
    import_with(store, &later, "takendown");
    store
        .delete(&DeleteTarget::Repo(repo.did.clone()), true)
        .unwrap();
    assert_eq!(news(&watching), None);
}

#[test]
fn only_what_is_wanted_is_told_and_only_from_then_on() {
    let world = World::new();
    let store = world.store();
    let repos: Vec<kit::Repo> = (10..14).map(small).collect();
    import_all(store, &repos[0]);
    let wanted = repos[2].did.clone();
    let one = store.watch(move |did| *did == wanted);
    let all = store.watch(|_| true);
    for repo in &repos[1..] {
        import_all(store, repo);
    }
    assert_eq!(change(&one).did, repos[2].did);
    let told = news(&all).unwrap();
    let dids: Vec<_> = told.changes.iter().map(|change| &change.did).collect();
    assert_eq!(dids, [&repos[1].did, &repos[2].did, &repos[3].did]);
}

#[test]
fn a_repo_that_changes_again_is_told_once_as_it_is() {
    let world = World::new();
    let store = world.store();
    let watching = store.watch(|_| true);
    let (repo, other) = (small(20), small(21));
    import_all(store, &repo);
    import_all(store, &other);
    let path = repo.records[0].path.parse().unwrap();
    store
        .delete(&DeleteTarget::Record(repo.did.clone(), path), false)
        .unwrap();
    let next = repo.next_version(&repo.random_edits(
        1,
        Changes {
            added: 3,
            ..Changes::default()
        },
    ));
    import_all(store, &next);
    let told = news(&watching).unwrap();
    assert_eq!(told.changes.len(), 2);
    assert_eq!(told.changes[0].did, repo.did);
    assert_eq!(told.changes[0].rev, Some(next.rev));
    assert_eq!(told.changes[0].kind, ChangeKind::Imported);
    // A change is what it came to: one that was undone before it was told is not there.
    import_all(store, &small(22));
    store
        .delete(&DeleteTarget::Repo(small(22).did), false)
        .unwrap();
    assert_eq!(change(&watching).kind, ChangeKind::RepoDeleted);
}

#[test]
fn a_watch_keeps_so_many_and_then_says_that_it_missed_some() {
    let world = World::new();
    let store = world.store();
    let watching = store.watch(|_| true);
    let repos: Vec<kit::Repo> = (0..=WATCH_CHANGES_MAX as u64)
        .map(|seed| RepoSpec {
            records: 0,
            seed: 5_000 + seed,
            ..RepoSpec::default()
        })
        .map(|spec| spec.build())
        .collect();
    let each = |repos: &[kit::Repo], act: &(dyn Fn(&kit::Repo) + Sync)| {
        // Those that come together share a commit.
        std::thread::scope(|scope| {
            for part in repos.chunks(repos.len().div_ceil(16)) {
                scope.spawn(|| part.iter().for_each(act));
            }
        });
    };
    each(&repos[..WATCH_CHANGES_MAX], &|repo| {
        import_all(store, repo);
    });
    // Of what is kept, there may be any number of changes.
    let again = repos[0].next_version(&repos[0].random_edits(
        1,
        Changes {
            added: 1,
            ..Changes::default()
        },
    ));
    import_all(store, &again);
    let told = news(&watching).unwrap();
    assert_eq!(
        (told.changes.len(), told.missed),
        (WATCH_CHANGES_MAX, false)
    );
    import_all(store, &repos[WATCH_CHANGES_MAX]);
    each(&repos[..WATCH_CHANGES_MAX], &|repo| {
        let target = DeleteTarget::Repo(repo.did.clone());
        store.delete(&target, false).unwrap();
    });
    let told = news(&watching).unwrap();
    assert_eq!((told.changes.len(), told.missed), (WATCH_CHANGES_MAX, true));
    assert_eq!(news(&watching), None);
    import_all(store, &repos[1]);
    assert_eq!(change(&watching).did, repos[1].did);
}

#[test]
fn whoever_waits_is_woken_and_a_wait_that_is_dropped_loses_nothing() {
    let world = World::new();
    let store = world.store();
    let watching = store.watch(|_| true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (repo, other) = (small(30), small(31));
    std::thread::scope(|scope| {
        scope.spawn(|| import_all(store, &repo));
        let told = runtime.block_on(async {
            let next = tokio::time::timeout(Duration::from_secs(60), watching.next());
            next.await.unwrap()
        });
        assert_eq!(told.changes[0].did, repo.did);
    });
    runtime.block_on(async {
        let mut waiting = std::pin::pin!(watching.next());
        assert!(waiting.as_mut().now_or_never().is_none());
        import_all(store, &other);
    });
    assert_eq!(change(&watching).did, other.did);
    // Nobody is told anything after the watch is gone, and the store can close.
    drop(watching);
    import_all(store, &small(32));
}

#[test]
fn changes_are_told_in_their_order_or_as_what_they_came_to() {
    // Threads tell after their commits in any order; what is told last is what is there.
    let world = World::new();
    let store = world.store();
    let watching = store.watch(|_| true);
    let mut versions = vec![small(40)];
    for i in 0..40 {
        let last = versions.last().unwrap();
        let changes = Changes {
            added: 1,
            ..Changes::default()
        };
        versions.push(last.next_version(&last.random_edits(i, changes)));
    }
    std::thread::scope(|scope| {
        for part in 0..4 {
            let versions = &versions;
            scope.spawn(move || {
                for version in versions.iter().skip(part).step_by(4) {
                    let car = version.car(Order::Pds);
                    // One that comes late is refused.
                    let _older = store.import(&car[..], &ImportRequest::default(), |_| ());
                }
            });
        }
    });
    let told = change(&watching);
    let head = store.repo(&versions[0].did).unwrap().unwrap();
    assert_eq!(told.rev, head.summary().rev);
    assert_eq!(told.rev, Some(versions.last().unwrap().rev));
}
