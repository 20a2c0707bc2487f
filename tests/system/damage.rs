//! Damaged exports: each is refused with an error that says what is wrong, and changes nothing.

use carrack_client::ImportOutcome;
use kit::{Curve, Expect, Order, RepoSpec, damage};

use crate::door::{self, Door, import, must_import};
use crate::fixtures::listing;

#[test]
fn every_damaged_export_is_judged_as_it_should_be() {
    for (seed, curve) in [(21, Curve::K256), (22, Curve::P256)] {
        let repo = RepoSpec {
            records: 150,
            seed,
            curve,
            ..RepoSpec::default()
        }
        .build();
        for damaged in damage::all(&repo) {
            door::through(Door::InProcess, &async |store| {
                let name = damaged.name;
                let outcome = import(&store.session, &damaged.bytes).await;
                match (&damaged.expect, &outcome) {
                    (Expect::Same, ImportOutcome::Imported(report)) => {
                        assert_eq!(report.info.records, repo.records.len() as u64, "{name}");
                    }
                    (Expect::Valid { records }, ImportOutcome::Imported(report)) => {
                        assert_eq!(report.info.records, *records as u64, "{name}");
                    }
                    // No key was given, so a signature is not judged, and every answer says so.
                    (Expect::BadSignature, ImportOutcome::Imported(_)) => {}
                    // One that is not 64 bytes is refused without a key.
                    (Expect::BadSignature, ImportOutcome::Rejected(rejection)) => {
                        assert!(
                            rejection.words.contains("`sig` is"),
                            "{name}: {rejection:?}"
                        );
                    }
                    (Expect::Refused(codes), outcome) => {
                        // Without an expected DID a commit of another one is simply another repo.
                        if name == "commit-did-of-another" {
                            return store.owner.shutdown();
                        }
                        let ImportOutcome::Rejected(rejection) = outcome else {
                            panic!("{name} was not refused: {outcome:?}");
                        };
                        assert!(codes.contains(&rejection.code), "{name}: {rejection:?}");
                        assert!(rejection.words.len() > 10, "{name}: {rejection:?}");
                        assert_eq!(
                            store.session.store().stats().await.unwrap().repos,
                            0,
                            "{name}"
                        );
                        assert!(store.files().is_empty(), "{name}: {:?}", store.files());
                    }
                    (expected, outcome) => panic!("{name}: expected {expected:?}, got {outcome:?}"),
                }
                store.owner.shutdown();
            });
        }
    }
}

#[test]
fn a_damaged_update_is_refused_or_completed_from_the_stored_revision() {
    let old = RepoSpec {
        records: 120,
        seed: 23,
        ..RepoSpec::default()
    }
    .build();
    let new = old.next_version(&old.random_edits(
        1,
        kit::Changes {
            added: 5,
            changed: 5,
            deleted: 5,
        },
    ));
    let lines = |repo: &kit::Repo| {
        let sorted: std::collections::BTreeMap<_, _> = repo
            .records
            .iter()
            .map(|record| (record.path.clone(), record.cid))
            .collect();
        sorted
            .iter()
            .map(|(path, cid)| format!("{path}\t{cid}\n"))
            .collect::<String>()
    };
    let (refused, completed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    for damaged in damage::all(&new) {
        if !matches!(damaged.expect, Expect::Refused(_)) || damaged.name == "commit-did-of-another"
        {
            continue;
        }
        door::through(Door::Unix, &async |store| {
            must_import(&store.session, &old.car(Order::Pds)).await;
            let before = store.files();
            let outcome = import(&store.session, &damaged.bytes).await;
            let after = listing(&store.session, old.did.as_str()).await;
            match outcome {
                ImportOutcome::Rejected(_) => {
                    refused.set(refused.get() + 1);
                    assert_eq!(
                        (after, store.files()),
                        (lines(&old), before),
                        "{}",
                        damaged.name
                    );
                }
                // What a cut took away was in the stored revision: the tree is whole, and proven.
                ImportOutcome::Imported(_) => {
                    completed.set(completed.get() + 1);
                    assert_eq!(after, lines(&new), "{}", damaged.name);
                }
                ImportOutcome::Unchanged(_) => panic!("{} changed nothing", damaged.name),
            }
            store.owner.shutdown();
        });
    }
    assert!(
        refused.get() > 50 && completed.get() > 0,
        "{refused:?} {completed:?}"
    );
}

#[test]
fn one_flipped_bit_in_any_block_is_refused() {
    let repo = RepoSpec {
        records: 60,
        seed: 24,
        ..RepoSpec::default()
    }
    .build();
    let car = repo.car(Order::Pds);
    door::through(Door::InProcess, &async |store| {
        for (i, section) in kit::car::blocks(&car).iter().enumerate() {
            let middle = section.payload.start + section.payload.len() / 2;
            let flipped = damage::flip_bit(&car, middle, (i % 8) as u32);
            match import(&store.session, &flipped).await {
                ImportOutcome::Rejected(rejection) => {
                    assert_eq!(rejection.code, carrack_schema::Code::BadHash);
                    assert!(
                        rejection.words.contains(&section.cid.to_string()),
                        "{}",
                        rejection.words
                    );
                }
                other => panic!("block {i}: {other:?}"),
            }
        }
        assert!(store.files().is_empty());
        store.owner.shutdown();
    });
}

#[test]
fn a_car_cut_anywhere_is_refused() {
    let repo = RepoSpec {
        records: 12,
        seed: 25,
        ..RepoSpec::default()
    }
    .build();
    // In pre-order every block is reachable, so every cut loses something that is needed.
    let car = repo.car(Order::PreOrder);
    door::through(Door::InProcess, &async |store| {
        for length in (0..car.len())
            .step_by(7)
            .chain(kit::car::blocks(&car).iter().map(|s| s.range.start))
        {
            let outcome = import(&store.session, &car[..length]).await;
            assert!(
                matches!(outcome, ImportOutcome::Rejected(_)),
                "{length}: {outcome:?}"
            );
        }
        assert!(store.files().is_empty());
        must_import(&store.session, &car).await;
        store.owner.shutdown();
    });
}
