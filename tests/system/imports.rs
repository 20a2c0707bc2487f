//! Imports: what becomes of valid repos, newer and older ones, and uploads that end early.

use std::collections::BTreeMap;
use std::time::Duration;

use carrack_client::{ImportOptions, ImportOutcome, Phase};
use carrack_schema::Code;
use carrack_schema::limits::IMPORTS_MAX;
use carrack_store::StoreSettings;
use kit::{Changes, Curve, Mix, Order, RepoSpec};

use crate::door::{self, Door, Store, import, import_as, must_import};
use crate::fixtures::listing;

fn expected(repo: &kit::Repo) -> String {
    let sorted: BTreeMap<_, _> = repo
        .records
        .iter()
        .map(|r| (r.path.to_string(), r.cid))
        .collect();
    sorted
        .iter()
        .map(|(path, cid)| format!("{path}\t{cid}\n"))
        .collect()
}

fn spec(records: usize, seed: u64) -> RepoSpec {
    RepoSpec {
        records,
        seed,
        ..RepoSpec::default()
    }
}

/// A store that closes under an import ends it or lets it be made; the log says which of them, whatever was told on the way.
#[test]
fn the_log_tells_what_became_of_an_import_under_a_closing_store() {
    let repo = spec(900, 7).build();
    let car = repo.car(Order::PreOrder);
    for _ in 0..20 {
        door::through(Door::Unix, &async |store| {
            let Store {
                session,
                owner,
                folder,
                ..
            } = store;
            let upload = session.importer().import(ImportOptions::default());
            for chunk in car.chunks(10_007) {
                assert!(upload.write(chunk).await);
            }
            let mut reports = upload.progress();
            let close = async {
                // Until the import commits, or has ended.
                while reports.borrow_and_update().phase == Phase::Receiving
                    && reports.changed().await.is_ok()
                {}
                tokio::task::spawn_blocking(move || owner.shutdown()).await
            };
            // The answer may be lost with the connection.
            let (_answer, closed) = tokio::join!(upload.done(), close);
            closed.unwrap();
            let log = std::fs::read_to_string(folder.path().join("audit/audit.jsonl"));
            let log = log.unwrap_or_default();
            let store = Store::on(folder, Door::InProcess).await;
            let held = store
                .session
                .store()
                .repo(repo.did.as_str())
                .info()
                .await
                .unwrap();
            assert_eq!(held.is_ok(), log.contains("\"imported\""), "{log}");
            store.owner.shutdown();
        });
    }
}

#[test]
fn generated_repos_come_back_whole_in_every_order() {
    let specs = [
        RepoSpec {
            curve: Curve::K256,
            mix: Mix::VARIED,
            ..spec(0, 1)
        },
        RepoSpec {
            curve: Curve::P256,
            mix: Mix::VARIED,
            ..spec(1, 2)
        },
        RepoSpec {
            curve: Curve::K256,
            mix: Mix::VARIED,
            ..spec(3_000, 3)
        },
        RepoSpec {
            curve: Curve::P256,
            mix: Mix::SOCIAL,
            ..spec(10_000, 4)
        },
    ];
    for spec in specs {
        let repo = spec.build();
        for order in [Order::PreOrder, Order::Pds, Order::Shuffled(7)] {
            door::through(Door::InProcess, &async |store| {
                let report = must_import(&store.session, &repo.car(order)).await;
                assert_eq!(report.info.source.commit, repo.commit_cid);
                assert_eq!(report.info.records, repo.records.len() as u64);
                assert_eq!(
                    listing(&store.session, repo.did.as_str()).await,
                    expected(&repo)
                );
                store.owner.shutdown();
            });
        }
    }
}

#[test]
fn an_import_survives_reopening() {
    door::through(Door::Unix, &async |store| {
        let repo = spec(500, 5).build();
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let store = store.reopen(Door::Unix).await;
        assert_eq!(
            listing(&store.session, repo.did.as_str()).await,
            expected(&repo)
        );
        let again = import(&store.session, &repo.car(Order::PreOrder)).await;
        assert!(matches!(again, ImportOutcome::Unchanged(_)), "{again:?}");
        store.owner.shutdown();
    });
}

fn refused(outcome: ImportOutcome) -> Code {
    match outcome {
        ImportOutcome::Rejected(rejection) => rejection.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn only_a_newer_revision_replaces_a_repo() {
    door::each(async |store| {
        let old = spec(300, 6).build();
        let edits = old.random_edits(
            1,
            Changes {
                added: 20,
                changed: 10,
                deleted: 30,
            },
        );
        let new = old.next_version(&edits);
        let fork = new.fork(&new.random_edits(
            2,
            Changes {
                added: 1,
                changed: 0,
                deleted: 0,
            },
        ));
        must_import(&store.session, &old.car(Order::Pds)).await;
        must_import(&store.session, &new.car(Order::Pds)).await;
        assert_eq!(
            listing(&store.session, new.did.as_str()).await,
            expected(&new)
        );
        assert_eq!(
            store.files().len(),
            2,
            "the old revision is retained, the new one is a diff: {:?}",
            store.files()
        );
        for (car, code) in [
            (old.car(Order::Pds), Code::OlderRev),
            (fork.car(Order::Pds), Code::Fork),
        ] {
            assert_eq!(refused(import(&store.session, &car).await), code);
            assert_eq!(
                listing(&store.session, new.did.as_str()).await,
                expected(&new)
            );
        }
        store.owner.shutdown();
    });
}

#[test]
fn another_did_than_the_expected_one_is_refused() {
    door::through(Door::InProcess, &async |store| {
        let repo = spec(10, 7).build();
        let car = repo.car(Order::Pds);
        let other = ImportOptions {
            did: Some("did:plc:other".into()),
            size: None,
            ..ImportOptions::default()
        };
        assert_eq!(
            refused(import_as(&store.session, &car, other).await),
            Code::WrongDid
        );
        let own = ImportOptions {
            did: Some(repo.did.to_string()),
            size: Some(car.len() as u64),
            ..ImportOptions::default()
        };
        assert!(matches!(
            import_as(&store.session, &car, own).await,
            ImportOutcome::Imported(_)
        ));
        store.owner.shutdown();
    });
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    door::each(async |store| {
        let car = spec(2_000, 8).build().car(Order::Pds);
        for cut in [0, 1, car.len() / 2, car.len()] {
            let upload = store.session.importer().import(ImportOptions::default());
            assert!(upload.write(&car[..cut]).await);
            drop(upload);
        }
        // The server hears of a dropped sink some time later; its import thread then ends by itself.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while store.owner.store().imports() > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "an aborted import still runs"
            );
            tokio::task::yield_now().await;
        }
        assert_eq!(store.session.store().stats().await.unwrap().repos, 0);
        assert!(store.files().is_empty(), "{:?}", store.files());
        // Nothing is stuck: the next one works.
        must_import(&store.session, &car).await;
        store.owner.shutdown();
    });
}

#[test]
fn progress_is_reported() {
    door::through(Door::Unix, &async |store| {
        let car = RepoSpec {
            mix: Mix::SOCIAL,
            ..spec(20_000, 9)
        }
        .build()
        .car(Order::Pds);
        let options = ImportOptions {
            did: None,
            size: Some(car.len() as u64),
            ..ImportOptions::default()
        };
        let upload = store.session.importer().import(options);
        let mut reports = upload.progress();
        let watch = async {
            let mut seen = Vec::new();
            while reports.changed().await.is_ok() {
                seen.push(*reports.borrow_and_update());
            }
            seen
        };
        let send = async {
            assert!(upload.write(&car).await);
            upload.done().await.unwrap()
        };
        let (seen, outcome) = tokio::join!(watch, send);
        assert!(matches!(outcome, ImportOutcome::Imported(_)), "{outcome:?}");
        // Newer figures replace unsent ones, so which are seen is a matter of time; that they grow is not.
        let receiving: Vec<_> = seen
            .iter()
            .filter(|p| p.phase == Phase::Receiving)
            .collect();
        assert!(!receiving.is_empty());
        assert!(receiving.is_sorted_by_key(|p| p.done), "{seen:?}");
        assert!(
            receiving
                .iter()
                .all(|p| p.total == car.len() as u64 && p.done <= p.total)
        );
        store.owner.shutdown();
    });
}

/// Starts as many imports as may run; their CARs are sent but for the word that they are done.
async fn fill(store: &Store, repos: &[kit::Repo]) -> Vec<carrack_client::Upload> {
    let mut running = Vec::new();
    for repo in repos {
        let upload = store.session.importer().import(ImportOptions::default());
        assert!(upload.write(&repo.car(Order::Pds)).await);
        running.push(upload);
    }
    // All are admitted once the server has seen their first chunk.
    while store.owner.store().imports() < repos.len() {
        tokio::task::yield_now().await;
    }
    running
}

fn one_more_than_may_run() -> Vec<kit::Repo> {
    (0..=IMPORTS_MAX as u64)
        .map(|i| spec(50, 100 + i).build())
        .collect()
}

#[test]
fn imports_run_side_by_side_and_one_more_waits_for_its_place() {
    door::through(Door::Unix, &async |store| {
        let repos = one_more_than_may_run();
        let running = fill(&store, &repos[..IMPORTS_MAX]).await;
        let one_more = store.session.importer().import(ImportOptions::default());
        assert!(one_more.write(&repos[IMPORTS_MAX].car(Order::Pds)).await);
        let one_more = one_more.done();
        let rest = async {
            for upload in running {
                assert!(matches!(
                    upload.done().await.unwrap(),
                    ImportOutcome::Imported(_)
                ));
            }
        };
        let (waited, ()) = tokio::join!(one_more, rest);
        assert!(matches!(waited.unwrap(), ImportOutcome::Imported(_)));
        assert_eq!(
            store.session.store().stats().await.unwrap().repos,
            repos.len() as u64
        );
        store.owner.shutdown();
    });
}

#[test]
fn one_import_too_many_is_refused_where_none_may_wait() {
    let settings = StoreSettings {
        import_wait: Duration::ZERO,
        ..StoreSettings::default()
    };
    door::with_settings(settings, async |store| {
        let repos = one_more_than_may_run();
        let running = fill(&store, &repos[..IMPORTS_MAX]).await;
        let one_more = store.session.importer().import(ImportOptions::default());
        assert!(one_more.write(&repos[IMPORTS_MAX].car(Order::Pds)).await);
        assert_eq!(one_more.done().await.unwrap_err().code(), Code::Overloaded);
        drop(running);
        while store.owner.store().imports() > 0 {
            tokio::task::yield_now().await;
        }
        must_import(&store.session, &repos[IMPORTS_MAX].car(Order::Pds)).await;
        store.owner.shutdown();
    });
}

#[test]
fn an_upload_that_dawdles_makes_room_for_who_waits() {
    let settings = StoreSettings {
        import_wait: Duration::from_secs(300),
        import_stall: Duration::from_millis(10),
        ..StoreSettings::default()
    };
    door::with_settings(settings, async |store| {
        let repos = one_more_than_may_run();
        let running = fill(&store, &repos[..IMPORTS_MAX]).await;
        // None of those sends more. Without the rule this one would wait as long as they are silent, which is longer.
        must_import(&store.session, &repos[IMPORTS_MAX].car(Order::Pds)).await;
        let mut refused = 0;
        for upload in running {
            match upload.done().await {
                Ok(ImportOutcome::Imported(_)) => {}
                Err(error) if error.code() == Code::Overloaded => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(refused > 0);
        store.owner.shutdown();
    });
}

#[test]
fn imports_leave_room_on_the_disk() {
    let settings = StoreSettings {
        disk_floor_bytes: u64::MAX,
        ..StoreSettings::default()
    };
    door::with_settings(settings, async |store| {
        let car = spec(50, 120).build().car(Order::Pds);
        let upload = store.session.importer().import(ImportOptions::default());
        upload.write(&car).await;
        let error = upload.done().await.unwrap_err();
        assert_eq!(error.code(), Code::Overloaded);
        assert!(error.words().contains("--disk-floor"), "{error}");
        assert!(store.files().is_empty(), "{:?}", store.files());
        store.owner.shutdown();
    });
}
