//! Exports and proofs: every byte comes back, and what is shown is shown from the signed commit.

use std::collections::BTreeSet;

use carrack_client::{Body, ImportOptions, ImportOutcome, Session, Want};
use carrack_schema::{Code, RecordPath};
use kit::{Curve, Mix, Order, RepoSpec};

use crate::door::{self, Door, import_as, must_import};
use crate::fixtures::{listing, read};

async fn export(session: &Session, repo: &str) -> Vec<u8> {
    let mut download = session.store().repo(repo).export();
    let mut car = Vec::new();
    while let Some(bytes) = download.next().await {
        car.extend(bytes);
    }
    let report = download.done().await.unwrap().unwrap();
    assert_eq!(report.bytes, car.len() as u64);
    car
}

/// Returns each block of a CAR as CID and bytes; one that is there twice counts once.
fn blocks(car: &[u8]) -> BTreeSet<(String, Vec<u8>)> {
    kit::car::blocks(car)
        .into_iter()
        .map(|b| (b.cid.to_string(), car[b.payload].to_vec()))
        .collect()
}

#[test]
fn an_export_holds_exactly_the_reachable_blocks_in_pre_order() {
    let specs = [
        RepoSpec {
            records: 0,
            seed: 91,
            ..RepoSpec::default()
        },
        RepoSpec {
            records: 1,
            seed: 92,
            curve: Curve::P256,
            ..RepoSpec::default()
        },
        RepoSpec {
            records: 4_000,
            seed: 93,
            mix: Mix::VARIED,
            ..RepoSpec::default()
        },
    ];
    for spec in specs {
        let repo = spec.build();
        door::each(async |store| {
            must_import(&store.session, &repo.car(Order::Shuffled(3))).await;
            let car = export(&store.session, repo.did.as_str()).await;
            // The kit writes this order by itself, from the specification.
            assert!(
                car == repo.car(Order::PreOrder),
                "{} records",
                repo.records.len()
            );
            store.owner.shutdown();
        });
    }
}

#[test]
fn an_exported_repo_imports_and_exports_to_the_same_bytes() {
    for name in [
        "empty",
        "emptied",
        "small",
        "varied",
        "varied-friend",
        "mid",
        "diff-a-full",
        "diff-b-full",
    ] {
        door::through(Door::InProcess, &async |store| {
            let original = read(&format!("{name}.car"));
            let did = must_import(&store.session, &original).await.info.source.did;
            let first = export(&store.session, &did).await;
            assert_eq!(blocks(&first), blocks(&original), "{name}");
            let lines = listing(&store.session, &did).await;
            store.owner.shutdown();
            door::through_new(Door::InProcess, async |other| {
                must_import(&other.session, &first).await;
                assert_eq!(listing(&other.session, &did).await, lines, "{name}");
                assert!(export(&other.session, &did).await == first, "{name}");
                other.owner.shutdown();
            })
            .await;
        });
    }
}

#[test]
fn a_dropped_download_stops_the_export_and_harms_nothing() {
    let repo = RepoSpec {
        records: 20_000,
        seed: 94,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build();
    door::through(Door::Unix, &async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        for _ in 0..3 {
            let mut download = store.session.store().repo(repo.did.as_str()).export();
            assert!(download.next().await.is_some());
        }
        assert!(export(&store.session, repo.did.as_str()).await == repo.car(Order::PreOrder));
        store.owner.shutdown();
    });
}

#[test]
fn proofs_show_what_is_there_and_what_is_not() {
    use carrack_repo::proof::{Finding, ProofQuestion, verify_proof};
    for curve in [Curve::K256, Curve::P256] {
        let repo = RepoSpec {
            records: 600,
            seed: 95,
            curve,
            ..RepoSpec::default()
        }
        .build();
        let key = carrack_repo::DidDocument::parse(repo.did_doc.as_bytes())
            .unwrap()
            .signing_key
            .unwrap();
        door::each(async |store| {
            must_import(&store.session, &repo.car(Order::Pds)).await;
            let reader = store.session.store().repo(repo.did.as_str());
            for record in repo.records.iter().step_by(37) {
                let absent = format!("{}x", record.path);
                for (text, expected) in [(record.path.as_str(), Some(record)), (&absent, None)] {
                    let proof = reader.record(text).prove().await.unwrap().unwrap();
                    assert_eq!(proof.present, expected.is_some());
                    let path: RecordPath = text.parse().unwrap();
                    let question = ProofQuestion {
                        path: &path,
                        did: Some(&repo.did),
                        key: Some(&key),
                    };
                    let outcome = verify_proof(&proof.car, question).unwrap();
                    assert!(outcome.signature.unwrap().is_valid());
                    match (outcome.finding, expected) {
                        (Finding::Present { cid, record: bytes }, Some(record)) => {
                            assert_eq!((cid, &bytes[..]), (record.cid, &record.bytes[..]));
                        }
                        (Finding::Absent, None) => {}
                        other => panic!("{text}: {other:?}"),
                    }
                    // It is a slice: a handful of the repo's own blocks.
                    let slice = blocks(&proof.car);
                    assert!(slice.len() < 20 && slice.is_subset(&blocks(&repo.car(Order::Pds))));
                }
            }
            store.owner.shutdown();
        });
    }
}

#[test]
fn a_proof_of_another_record_or_a_flipped_one_shows_nothing() {
    use carrack_repo::proof::{ProofQuestion, verify_proof};
    let repo = RepoSpec {
        records: 300,
        seed: 96,
        ..RepoSpec::default()
    }
    .build();
    door::through(Door::InProcess, &async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let path: RecordPath = repo.records[5].path.parse().unwrap();
        let reader = store.session.store().repo(repo.did.as_str());
        let car = reader
            .record(&repo.records[5].path)
            .prove()
            .await
            .unwrap()
            .unwrap()
            .car;
        let question = ProofQuestion {
            path: &path,
            did: None,
            key: None,
        };
        assert!(verify_proof(&car, question).is_ok());
        for bit in (0..car.len() * 8).step_by(11) {
            let flipped = kit::damage::flip_bit(&car, bit / 8, (bit % 8) as u32);
            // A length in the framing may break; a block never passes for another.
            assert!(verify_proof(&flipped, question).is_err(), "bit {bit}");
        }
        store.owner.shutdown();
    });
}

#[test]
fn partial_repos_keep_cids_and_refuse_to_pretend() {
    let repo = RepoSpec {
        records: 200,
        seed: 97,
        ..RepoSpec::default()
    }
    .build();
    let gone = &repo.records[17];
    let car = kit::damage::without_block(&repo.car(Order::Pds), &gone.cid);
    let missing = repo
        .records
        .iter()
        .filter(|record| record.cid == gone.cid)
        .count() as u64;
    let partial = || ImportOptions {
        allow_partial: true,
        ..ImportOptions::default()
    };
    door::each(async |store| {
        let ImportOutcome::Rejected(rejection) =
            import_as(&store.session, &car, ImportOptions::default()).await
        else {
            panic!("not refused");
        };
        assert_eq!(rejection.code, Code::Incomplete);
        assert!(
            rejection.words.contains(&gone.cid.to_string()),
            "{}",
            rejection.words
        );
        let outcome = import_as(&store.session, &car, partial()).await;
        let ImportOutcome::Imported(report) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (report.info.records, report.info.missing),
            (repo.records.len() as u64, missing)
        );

        let reader = store.session.store().repo(repo.did.as_str());
        let (_, data) = reader
            .record(&gone.path)
            .read(Want::value())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((data.cid, data.body), (Some(gone.cid), Body::Missing));
        let other = &repo
            .records
            .iter()
            .find(|record| record.cid != gone.cid)
            .unwrap()
            .path;
        assert!(reader.record(other).prove().await.unwrap().is_ok());
        assert_eq!(
            reader.record(&gone.path).prove().await.unwrap_err().code(),
            Code::Incomplete
        );
        assert_eq!(
            reader.export().done().await.unwrap_err().code(),
            Code::Incomplete
        );
        let lines = listing(&store.session, repo.did.as_str()).await;
        assert!(lines.contains(&format!("{}\t{}\n", gone.path, gone.cid)));

        // The full export of the same commit completes it.
        must_import(&store.session, &repo.car(Order::Pds)).await;
        assert_eq!(reader.info().await.unwrap().unwrap().missing, 0);
        assert!(export(&store.session, repo.did.as_str()).await == repo.car(Order::PreOrder));
        store.owner.shutdown();
    });
}

#[test]
fn a_missing_node_is_refused_even_as_partial() {
    let repo = RepoSpec {
        records: 200,
        seed: 98,
        ..RepoSpec::default()
    }
    .build();
    let car = kit::damage::without_block(&repo.car(Order::Pds), &repo.root);
    door::through(Door::InProcess, &async |store| {
        let partial = ImportOptions {
            allow_partial: true,
            ..ImportOptions::default()
        };
        let ImportOutcome::Rejected(rejection) = import_as(&store.session, &car, partial).await
        else {
            panic!("not refused");
        };
        assert_eq!(rejection.code, Code::Incomplete);
        assert!(
            rejection.words.contains(&repo.root.to_string()),
            "{}",
            rejection.words
        );
        store.owner.shutdown();
    });
}

/// Returns records at paths that stand at these depths, `count` of each, in descending depth: a tree in which the path to
/// the last is through all of them.
fn wide(levels: std::ops::Range<u32>, count: usize) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    for (order, depth) in levels.rev().enumerate() {
        let paths = (0_u64..).map(|i| format!("com.example.wide/{order}-{i}"));
        let fitting = paths.filter(|path| kit::mst::height(path.as_bytes()) == depth);
        records.extend(fitting.take(count).map(|path| (path, b"\xa0".to_vec())));
    }
    records
}

#[test]
fn a_proof_hashes_so_many_records_and_no_more() {
    use carrack_schema::limits::{MST_NODE_ENTRIES_MAX, PROOF_RECORDS_MAX};
    assert_eq!(PROOF_RECORDS_MAX, 4 * MST_NODE_ENTRIES_MAX as u64);
    for (levels, fits) in [(0..4, true), (0..5, false)] {
        let extra = wide(levels, MST_NODE_ENTRIES_MAX);
        let last = extra.iter().map(|(path, _)| path).max().unwrap().clone();
        let repo = RepoSpec {
            records: 0,
            seed: 99,
            extra,
            ..RepoSpec::default()
        }
        .build();
        door::through(Door::InProcess, &async |store| {
            must_import(&store.session, &repo.car(Order::Pds)).await;
            let proof = store
                .session
                .store()
                .repo(repo.did.as_str())
                .record(&last)
                .prove()
                .await;
            match proof {
                Ok(proof) => assert!(fits && proof.unwrap().present),
                Err(error) => assert!(!fits && error.code() == Code::LimitExceeded, "{error}"),
            }
            let path = last.parse().unwrap();
            let stored = store.owner.store().repo(&repo.did).unwrap().unwrap();
            if let Ok(proof) = stored.prove(&path, &mut Vec::new()) {
                assert_eq!(proof.hashed, PROOF_RECORDS_MAX);
            }
            store.owner.shutdown();
        });
    }
    // What nobody made on purpose is far from it.
    let repo = RepoSpec {
        records: 20_000,
        seed: 100,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build();
    door::through(Door::InProcess, &async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let stored = store.owner.store().repo(&repo.did).unwrap().unwrap();
        for record in repo.records.iter().step_by(1_000) {
            let proof = stored
                .prove(&record.path.parse().unwrap(), &mut Vec::new())
                .unwrap();
            assert!(proof.hashed < 200, "{proof:?}");
        }
        drop(stored);
        store.owner.shutdown();
    });
}
