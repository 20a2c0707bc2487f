//! Updates: `since` exports applied to the stored revision, and old commits.

use carrack_client::{ImportOptions, ImportOutcome, Verdict};
use carrack_schema::Code;
use kit::{Changes, Mix, Order, RepoSpec, damage};

use crate::door::{self, Door, import, import_as, must_import};
use crate::fixtures::{listing, read};

#[test]
fn a_since_export_of_a_real_pds_gives_the_full_one() {
    let expected = String::from_utf8(read("diff-b-full.records.tsv")).unwrap();
    door::each(async |store| {
        let full: serde_json::Value = serde_json::from_slice(&read("diff-b-full.json")).unwrap();
        let options = ImportOptions {
            did_document: Some(full["didDoc"].to_string().into_bytes()),
            ..ImportOptions::default()
        };
        must_import(&store.session, &read("diff-a-full.car")).await;
        let outcome = import_as(&store.session, &read("diff-since-a.car"), options).await;
        let ImportOutcome::Imported(report) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(report.info.source.commit.to_string(), full["commit"]);
        assert!(matches!(report.info.source.verdict, Verdict::Valid { .. }));
        let did = &report.info.source.did;
        assert_eq!(
            listing(&store.session, did).await.trim_end(),
            expected.trim_end()
        );
        assert_eq!(
            store.files().len(),
            2,
            "the old revision and what changed since"
        );
        // The same commit as a full export is the same repo.
        let outcome = import(&store.session, &read("diff-b-full.car")).await;
        assert!(
            matches!(outcome, ImportOutcome::Unchanged(_)),
            "{outcome:?}"
        );
        store.owner.shutdown();
    });
}

#[test]
fn random_since_exports_give_the_full_ones() {
    for seed in 0..8 {
        let records = [1, 40, 700, 3_000][seed as usize % 4];
        let old = RepoSpec {
            records,
            seed: 200 + seed,
            mix: Mix::VARIED,
            ..RepoSpec::default()
        }
        .build();
        let changes = Changes {
            added: records / 3 + 1,
            changed: records / 5,
            deleted: records / 4,
        };
        let new = old.next_version(&old.random_edits(seed, changes));
        door::through(Door::InProcess, &async |store| {
            must_import(&store.session, &old.car(Order::Pds)).await;
            must_import(&store.session, &new.car_since(old.rev)).await;
            let mut download = store.session.store().repo(new.did.as_str()).export();
            let mut car = Vec::new();
            while let Some(bytes) = download.next().await {
                car.extend(bytes);
            }
            download.done().await.unwrap().unwrap();
            assert!(car == new.car(Order::PreOrder), "seed {seed}");
            store.owner.shutdown();
        });
    }
}

#[test]
fn a_since_export_needs_its_own_base() {
    let first = RepoSpec {
        records: 400,
        seed: 211,
        ..RepoSpec::default()
    }
    .build();
    let edit = |repo: &kit::Repo, seed| {
        repo.next_version(&repo.random_edits(
            seed,
            Changes {
                added: 30,
                changed: 30,
                deleted: 30,
            },
        ))
    };
    let second = edit(&first, 1);
    let third = edit(&second, 2);
    let since_second = third.car_since(second.rev);
    door::through(Door::Unix, &async |store| {
        for base in [None, Some(&first)] {
            if let Some(base) = base {
                must_import(&store.session, &base.car(Order::Pds)).await;
            }
            let ImportOutcome::Rejected(rejection) = import(&store.session, &since_second).await
            else {
                panic!("not refused");
            };
            assert_eq!(rejection.code, Code::Incomplete);
        }
        must_import(&store.session, &third.car_since(first.rev)).await;
        let rev = store
            .session
            .store()
            .repo(first.did.as_str())
            .info()
            .await
            .unwrap()
            .unwrap()
            .source
            .rev;
        assert_eq!(rev, third.rev.to_string());
        store.owner.shutdown();
    });
}

#[test]
fn an_old_commit_is_taken_but_never_in_the_place_of_a_newer_kind() {
    let repo = RepoSpec {
        records: 100,
        seed: 212,
        ..RepoSpec::default()
    }
    .build();
    let legacy = damage::legacy_commit(&repo);
    door::through(Door::Unix, &async |store| {
        let report = must_import(&store.session, &legacy).await;
        assert_eq!(report.info.source.verdict, Verdict::LegacyCommit);
        assert_eq!(report.info.source.rev, "");
        assert!(matches!(
            import(&store.session, &legacy).await,
            ImportOutcome::Unchanged(_)
        ));
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let ImportOutcome::Rejected(rejection) = import(&store.session, &legacy).await else {
            panic!("not refused");
        };
        assert_eq!(rejection.code, Code::OlderRev);
        store.owner.shutdown();
    });
}

#[test]
fn a_stored_repo_that_is_damaged_is_mended_by_importing_it_again() {
    let repo = RepoSpec {
        records: 300,
        seed: 213,
        ..RepoSpec::default()
    }
    .build();
    let car = repo.car(Order::Pds);
    for (offset, length) in [(8_192, 1), (0, 0)] {
        door::through(Door::InProcess, &async |store| {
            must_import(&store.session, &car).await;
            let file = store.folder.path().join(&store.files()[0].0);
            let mut bytes = std::fs::read(&file).unwrap();
            if length == 0 {
                std::fs::remove_file(&file).unwrap();
            } else {
                bytes[offset] ^= 1;
                // A new file: the old one may be mapped.
                std::fs::remove_file(&file).unwrap();
                std::fs::write(&file, &bytes).unwrap();
            }
            let store = store.reopen(Door::InProcess).await;
            let broken = store.session.store().repo(repo.did.as_str()).export();
            assert_eq!(broken.done().await.unwrap_err().code(), Code::Damaged);
            must_import(&store.session, &car).await;
            assert_eq!(store.files().len(), 1);
            assert!(
                listing(&store.session, repo.did.as_str())
                    .await
                    .lines()
                    .count()
                    == repo.records.len()
            );
            store.owner.shutdown();
        });
    }
}
