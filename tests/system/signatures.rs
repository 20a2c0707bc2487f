//! Signatures, handles and statuses: what an import says of an account.

use carrack_client::{Absent, ImportOptions, ImportOutcome, Verdict, Want};
use carrack_schema::Code;
use kit::{Curve, Expect, Order, RepoSpec, damage};

use crate::door::{self, Door, Store, import_as, must_import};
use crate::fixtures::read;

fn with_document(document: &str) -> ImportOptions {
    ImportOptions {
        did_document: Some(document.as_bytes().to_vec()),
        ..ImportOptions::default()
    }
}

async fn verdict(store: &Store, did: &str) -> Verdict {
    store
        .session
        .store()
        .repo(did)
        .info()
        .await
        .unwrap()
        .unwrap()
        .source
        .verdict
}

fn refused(outcome: ImportOutcome) -> Code {
    match outcome {
        ImportOutcome::Rejected(rejection) => rejection.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn both_curves_and_both_forms_of_documents_verify() {
    for curve in [Curve::K256, Curve::P256] {
        let repo = RepoSpec {
            records: 20,
            seed: 81,
            curve,
            ..RepoSpec::default()
        }
        .build();
        for document in [repo.did_doc.clone(), repo.did_doc_legacy()] {
            door::through(Door::Unix, &async |store| {
                let outcome = import_as(
                    &store.session,
                    &repo.car(Order::Pds),
                    with_document(&document),
                )
                .await;
                assert!(matches!(outcome, ImportOutcome::Imported(_)), "{outcome:?}");
                let Verdict::Valid {
                    key,
                    document: hash,
                    checked,
                } = verdict(&store, repo.did.as_str()).await
                else {
                    panic!("not valid");
                };
                assert_eq!(key, repo.did_key);
                assert_eq!((hash.len(), checked > 0), (32, true));
                let store = store.reopen(Door::InProcess).await;
                assert!(matches!(
                    verdict(&store, repo.did.as_str()).await,
                    Verdict::Valid { .. }
                ));
                store.owner.shutdown();
            });
        }
    }
}

#[test]
fn documents_of_a_real_pds_verify_its_exports() {
    for name in ["small", "varied", "mid", "diff-b-full", "emptied"] {
        let sidecar: serde_json::Value =
            serde_json::from_slice(&read(&format!("{name}.json"))).unwrap();
        for form in ["didDoc", "didDocLegacy"] {
            door::through(Door::InProcess, &async |store| {
                let options = with_document(&sidecar[form].to_string());
                let outcome =
                    import_as(&store.session, &read(&format!("{name}.car")), options).await;
                let ImportOutcome::Imported(report) = outcome else {
                    panic!("{name} {form}: {outcome:?}")
                };
                let Verdict::Valid { key, .. } = report.info.source.verdict else {
                    panic!("{name}")
                };
                assert_eq!(key, sidecar["signingKey"]);
                assert_eq!(report.info.handle, sidecar["handle"]);
                store.owner.shutdown();
            });
        }
    }
}

#[test]
fn bad_signatures_are_refused_and_leave_nothing() {
    for (seed, curve) in [(82, Curve::K256), (83, Curve::P256)] {
        let repo = RepoSpec {
            records: 120,
            seed,
            curve,
            ..RepoSpec::default()
        }
        .build();
        let mut count = 0;
        for damaged in damage::all(&repo) {
            if damaged.expect != Expect::BadSignature {
                continue;
            }
            count += 1;
            door::through(Door::InProcess, &async |store| {
                let outcome =
                    import_as(&store.session, &damaged.bytes, with_document(&repo.did_doc)).await;
                let code = refused(outcome);
                assert!(
                    [Code::BadSignature, Code::BadStructure].contains(&code),
                    "{}: {code}",
                    damaged.name
                );
                assert!(store.files().is_empty());
                store.owner.shutdown();
            });
        }
        assert!(count >= 4, "{count} variants have a bad signature");
    }
}

#[test]
fn a_flipped_bit_in_any_signed_field_is_no_signature() {
    let repo = RepoSpec {
        records: 0,
        seed: 84,
        ..RepoSpec::default()
    }
    .build();
    let car = repo.car(Order::PreOrder);
    let commit = kit::car::blocks(&car)
        .into_iter()
        .find(|block| block.cid == repo.commit_cid)
        .unwrap();
    door::through(Door::InProcess, &async |store| {
        let mut judged = 0;
        for offset in commit.payload.clone() {
            // The block's own CID, in the header and before the block, is made right again.
            let flipped = damage::flip_bit(&car, offset, 0);
            let cid = kit::cbor::cid_of(&flipped[commit.payload.clone()]);
            let mut rebuilt = kit::car::header(&[cid]);
            for block in kit::car::blocks(&car) {
                let bytes = &flipped[block.payload.clone()];
                rebuilt.extend(kit::car::section(&kit::cbor::cid_of(bytes), bytes));
            }
            let outcome = import_as(&store.session, &rebuilt, with_document(&repo.did_doc)).await;
            let code = refused(outcome);
            judged += u32::from(code == Code::BadSignature);
        }
        // The rest breaks the commit's form, the DID or the tree.
        assert!(judged > 60, "{judged}");
        assert!(store.files().is_empty());
        store.owner.shutdown();
    });
}

#[test]
fn a_key_can_be_required_and_a_verdict_can_be_added() {
    let repo = RepoSpec {
        records: 5,
        seed: 85,
        ..RepoSpec::default()
    }
    .build();
    let other = RepoSpec {
        records: 5,
        seed: 86,
        ..RepoSpec::default()
    }
    .build();
    let car = repo.car(Order::Pds);
    door::through(Door::Unix, &async |store| {
        let strict = ImportOptions {
            require_signature: true,
            ..ImportOptions::default()
        };
        assert_eq!(
            refused(import_as(&store.session, &car, strict).await),
            Code::BadSignature
        );
        let foreign = with_document(&other.did_doc);
        assert_eq!(
            refused(import_as(&store.session, &car, foreign).await),
            Code::WrongDid
        );
        let nonsense = with_document("{");
        assert_eq!(
            refused(import_as(&store.session, &car, nonsense).await),
            Code::BadStructure
        );
        must_import(&store.session, &car).await;
        assert_eq!(verdict(&store, repo.did.as_str()).await, Verdict::Unchecked);
        let outcome = import_as(&store.session, &car, with_document(&repo.did_doc)).await;
        assert!(
            matches!(outcome, ImportOutcome::Unchanged(_)),
            "{outcome:?}"
        );
        assert!(matches!(
            verdict(&store, repo.did.as_str()).await,
            Verdict::Valid { .. }
        ));
        // Importing it again without a key takes nothing back.
        let outcome = import_as(&store.session, &car, ImportOptions::default()).await;
        assert!(
            matches!(outcome, ImportOutcome::Unchanged(_)),
            "{outcome:?}"
        );
        assert!(matches!(
            verdict(&store, repo.did.as_str()).await,
            Verdict::Valid { .. }
        ));
        assert_eq!(store.files().len(), 1);
        store.owner.shutdown();
    });
}

#[test]
fn handles_work_as_references_and_unknown_ones_name_known_ones() {
    let sidecar: serde_json::Value = serde_json::from_slice(&read("varied.json")).unwrap();
    let (did, handle) = (
        sidecar["did"].as_str().unwrap(),
        sidecar["handle"].as_str().unwrap(),
    );
    door::each(async |store| {
        let reader = store.session.store();
        assert_eq!(
            reader.repo(handle).info().await.unwrap_err().code(),
            Code::UnknownHandle
        );
        let options = with_document(&sidecar["didDoc"].to_string());
        import_as(&store.session, &read("varied.car"), options).await;
        for name in [handle, &handle.to_ascii_uppercase(), did] {
            assert_eq!(
                reader.repo(name).info().await.unwrap().unwrap().source.did,
                did
            );
            let record = reader
                .repo(name)
                .collection("app.bsky.actor.profile")
                .record("self");
            assert!(record.read(Want::value()).await.unwrap().is_ok());
        }
        let error = reader.repo("fx-varied.tset").info().await.unwrap_err();
        assert_eq!(error.code(), Code::UnknownHandle);
        assert!(error.words().contains(handle), "{error}");
        store.owner.shutdown();
    });
}

#[test]
fn a_handle_follows_its_latest_claim() {
    let repo = RepoSpec {
        records: 3,
        seed: 87,
        ..RepoSpec::default()
    }
    .build();
    let (old, new) = (
        repo.did_doc.clone(),
        repo.did_doc.replace("at://", "at://new-"),
    );
    door::through(Door::InProcess, &async |store| {
        let car = repo.car(Order::Pds);
        let claim = async |document: &str| {
            import_as(&store.session, &car, with_document(document)).await;
            store
                .session
                .store()
                .repo(repo.did.as_str())
                .info()
                .await
                .unwrap()
                .unwrap()
                .handle
        };
        let first = claim(&old).await;
        let second = claim(&new).await;
        assert_eq!(second, format!("new-{first}"));
        let reader = store.session.store();
        assert!(reader.repo(&second).info().await.unwrap().is_ok());
        assert_eq!(
            reader.repo(&first).info().await.unwrap_err().code(),
            Code::UnknownHandle
        );
        store.owner.shutdown();
    });
}

#[test]
fn an_account_that_is_not_active_hides_its_repo() {
    let repo = RepoSpec {
        records: 30,
        seed: 88,
        ..RepoSpec::default()
    }
    .build();
    let car = repo.car(Order::Pds);
    let status = |status: &str| ImportOptions {
        status: Some(status.into()),
        ..ImportOptions::default()
    };
    door::each(async |store| {
        must_import(&store.session, &car).await;
        import_as(&store.session, &car, status("takendown")).await;
        let reader = store.session.store().repo(repo.did.as_str());
        let path = &repo.records[0].path;
        assert_eq!(reader.info().await.unwrap().unwrap_err(), Absent::Inactive);
        assert_eq!(
            reader.collections().await.unwrap().unwrap_err(),
            Absent::Inactive
        );
        assert_eq!(
            reader
                .record(path)
                .read(Want::value())
                .await
                .unwrap()
                .unwrap_err(),
            Absent::Inactive
        );
        assert_eq!(
            reader.record(path).prove().await.unwrap().unwrap_err(),
            Absent::Inactive
        );
        assert_eq!(
            reader.export().done().await.unwrap().unwrap_err(),
            Absent::Inactive
        );
        let page = reader
            .list(Default::default(), Want::default())
            .page(Default::default())
            .await;
        assert_eq!(page.unwrap().unwrap_err(), Absent::Inactive);
        let list = store.session.store().repos("", 0).await.unwrap();
        assert_eq!(list.repos[0].status, "takendown");
        // A newer revision keeps what is known of the account.
        let newer = repo.next_version(&[]);
        must_import(&store.session, &newer.car(Order::Pds)).await;
        assert_eq!(reader.info().await.unwrap().unwrap_err(), Absent::Inactive);
        import_as(&store.session, &newer.car(Order::Pds), status("active")).await;
        assert!(reader.info().await.unwrap().is_ok());
        let bad = store.session.importer().import(status("Taken Down"));
        assert_eq!(bad.done().await.unwrap_err().code(), Code::InvalidArgument);
        store.owner.shutdown();
    });
}
