//! The client's ways of reading: older revisions, scans, verification, threads, watches, and an import's own repo; each
//! with its round trips.

use std::time::Duration;

use carrack_client::{
    AncestorsEnd, Body, ChangeKind, ImportOptions, ImportOutcome, Operations, Range, Scope,
    Selection, Session, Signature, Verification, Want,
};
use carrack_schema::Code;
use carrack_store::{DeleteTarget, ImportRequest};
use futures::{FutureExt, StreamExt};
use kit::cbor::Value;
use kit::{Changes, Mix, Order, RepoSpec};

use crate::door::{self, Door, must_import};
use crate::round_trips::{connect, count, with_store};

fn versions(seed: u64) -> [kit::Repo; 2] {
    let first = RepoSpec {
        records: 200,
        seed,
        mix: Mix::VARIED,
        ..RepoSpec::default()
    }
    .build();
    let changes = Changes {
        added: 7,
        changed: 7,
        deleted: 7,
    };
    let second = first.next_version(&first.random_edits(seed, changes));
    [first, second]
}

async fn export(repo: &carrack_client::Repo) -> Vec<u8> {
    let mut download = repo.export();
    let mut car = Vec::new();
    while let Some(bytes) = download.next().await {
        car.extend(bytes);
    }
    download.done().await.unwrap().unwrap();
    car
}

#[test]
fn an_older_revision_is_exported_proven_and_verified() {
    let versions = versions(341);
    door::each(async |store| {
        for version in &versions {
            must_import(&store.session, &version.car(Order::Pds)).await;
        }
        let head = store.session.store().repo(versions[0].did.as_str());
        for version in &versions {
            let pinned = head.at(&version.rev.to_string());
            assert!(export(&pinned).await == version.car(Order::PreOrder));
            for record in version.records.iter().step_by(23) {
                let named = pinned.record(&record.path);
                assert!(named.prove().await.unwrap().unwrap().present);
                let Verification::Sound(verified) = named.verify().await.unwrap().unwrap() else {
                    panic!("broken");
                };
                assert_eq!(verified.cid, Some(record.cid));
                assert_eq!(verified.signature, Signature::Unchecked);
                assert_eq!(verified.source.rev, version.rev.to_string());
                assert!(verified.nodes > 0);
                let (collection, rkey) = record.path.split_once('/').unwrap();
                let gap = pinned.collection(collection).record(&format!("{rkey}~"));
                // The longest key has none behind it.
                if rkey.len() < 512 {
                    let Verification::Sound(gap) = gap.verify().await.unwrap().unwrap() else {
                        panic!("broken");
                    };
                    assert_eq!(gap.cid, None);
                }
            }
        }
        let error = head.at("3jzfcijpj2z2a").info().await.unwrap_err();
        assert_eq!(error.code(), Code::RevNotRetained);
        let nobody = store.session.store().repo("did:plc:nobody");
        let absent = nobody.record("a.b.c/d").verify().await.unwrap();
        assert_eq!(absent, Err(carrack_client::Absent::Repo));
        store.owner.shutdown();
    });
}

#[test]
fn damage_is_what_a_verification_says_and_not_an_error() {
    let [repo, _] = versions(342);
    door::through(Door::Unix, &async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let segment = store.files().remove(0).0;
        let store = {
            let file = store.folder.path().join(&segment);
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 3;
            bytes[middle] ^= 1;
            store.owner.shutdown();
            let folder = store.folder;
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, bytes).unwrap();
            door::Store::on(folder, Door::Unix).await
        };
        let named = store.session.store().repo(repo.did.as_str());
        let mut broken = 0;
        for record in repo.records.iter().step_by(5) {
            match named.record(&record.path).verify().await.unwrap().unwrap() {
                Verification::Sound(verified) => assert_eq!(verified.cid, Some(record.cid)),
                Verification::Broken(words) => {
                    assert!(!words.is_empty());
                    broken += 1;
                }
            }
        }
        assert!(broken > 0);
        store.owner.shutdown();
    });
}

#[test]
fn a_scan_is_a_stream_of_all_records() {
    let repo = RepoSpec {
        records: 3_000,
        seed: 343,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build();
    door::each(async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let named = store.session.store().repo(repo.did.as_str());
        let mut scan = named.list(Range::default(), Want::dag_cbor()).scan();
        let mut records = repo.records.iter();
        while let Some(record) = scan.next().await {
            let (record, expected) = (record.unwrap(), records.next().unwrap());
            assert_eq!(
                format!("{}/{}", record.collection, record.rkey),
                expected.path
            );
            assert_eq!(record.body, Body::DagCbor(expected.bytes.to_vec()));
            assert!(scan.report().is_none());
        }
        assert!(records.next().is_none() && scan.next().await.is_none());
        let report = scan.report().unwrap();
        assert_eq!(report.records, 3_000);
        assert_eq!(report.source.rev, repo.rev.to_string());

        let nsid = "app.bsky.feed.like";
        let likes = named.collection(nsid);
        let want = Want::default();
        let all = likes.list(Range::default(), want.clone()).scan();
        let all: Vec<String> = all.map(|record| record.unwrap().rkey).collect().await;
        let expected = repo.records.iter();
        let expected: Vec<&str> = expected
            .filter_map(|record| record.path.strip_prefix("app.bsky.feed.like/"))
            .collect();
        assert_eq!(all, expected);
        // What is not read to its end stops.
        let mut cut = likes.list(Range::default(), want.clone()).scan();
        assert!(cut.next().await.unwrap().is_ok());
        drop(cut);

        let none = named.collection("com.example.none");
        let none = none.list(Range::default(), want.clone()).scan();
        let none: Vec<_> = none.collect().await;
        assert_eq!(none.len(), 1);
        assert_eq!(none[0].as_ref().unwrap_err().code(), Code::NotFound);
        let long = Want {
            fields: vec!["x".into(); carrack_schema::limits::FIELDS_MAX + 1],
            ..want
        };
        let refused = named.list(Range::default(), long).scan();
        let refused: Vec<_> = refused.collect().await;
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].as_ref().unwrap_err().code(), Code::LimitExceeded);
        store.owner.shutdown();
    });
}

/// A repo with a post and one that answers it, which is answered in turn.
fn thread() -> kit::Repo {
    let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let post = |rkey: &str, parent: Option<&str>| {
        let mut post = Value::map([("text", Value::text(rkey))]);
        if let Some(parent) = parent {
            let uri = Value::text(format!("at://{did}/app.bsky.feed.post/{parent}"));
            post.insert(
                "reply",
                Value::map([("parent", Value::map([("uri", uri)]))]),
            );
        }
        (format!("app.bsky.feed.post/{rkey}"), post.encode())
    };
    RepoSpec {
        records: 10,
        seed: 344,
        did: Some(did.parse().unwrap()),
        extra: vec![
            post("a", None),
            post("b", Some("a")),
            post("c", Some("b")),
            post("d", Some("gone")),
        ],
        ..RepoSpec::default()
    }
    .build()
}

#[test]
fn a_thread_comes_with_the_reason_for_its_end() {
    let repo = thread();
    door::each(async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let reader = store.session.store();
        let uri = |rkey: &str| format!("at://{}/app.bsky.feed.post/{rkey}", repo.did);
        let ask = async |rkey: &str, max| {
            let found = reader
                .ancestors(&uri(rkey), max, Want::value())
                .await
                .unwrap();
            let rkeys = found.nodes.into_iter().map(|(source, record)| {
                assert_eq!(source.did, repo.did.as_str());
                assert!(matches!(record.body, Body::Value(_)));
                record.rkey
            });
            (rkeys.collect::<Vec<_>>().join(" "), found.end)
        };
        assert_eq!(ask("c", 0).await, ("b a".into(), AncestorsEnd::Root));
        assert_eq!(ask("c", 1).await, ("b".into(), AncestorsEnd::Max));
        let missing = AncestorsEnd::Missing(uri("gone"));
        assert_eq!(ask("d", 0).await, (String::new(), missing));
        assert_eq!(ask("e", 0).await, (String::new(), AncestorsEnd::Absent));
        let error = reader.ancestors("c", 0, Want::value()).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        store.owner.shutdown();
    });
}

#[test]
fn a_watch_tells_of_changes_as_they_are_made() {
    let [first, second] = versions(345);
    door::each(async |store| {
        let reader = store.session.store();
        let only = Selection::Only(vec![first.did.to_string()]);
        let mut watch = reader.watch(only).await.unwrap();
        let mut other = reader
            .watch(Selection::Only(vec!["did:plc:nobody".into()]))
            .await
            .unwrap();
        for version in [&first, &second] {
            must_import(&store.session, &version.car(Order::Pds)).await;
            let changes = watch.next().await.unwrap().unwrap();
            assert!(!changes.missed);
            let [change] = &changes.changes[..] else {
                panic!("{changes:?}");
            };
            assert_eq!(change.did, version.did.as_str());
            assert_eq!(change.rev, version.rev.to_string());
            assert_eq!(change.commit, Some(version.commit_cid));
            assert_eq!(change.kind, ChangeKind::Imported);
            assert_eq!(change.records, version.records.len() as u64);
        }
        assert!(other.next().now_or_never().is_none());
        let error = reader.watch(Selection::None).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);

        // When the store goes, so does the watch, and says so once.
        store.owner.shutdown();
        let error = watch.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(watch.next().await.is_none());
    });
}

#[test]
fn what_an_import_made_is_read_in_the_same_flight() {
    let [first, second] = versions(346);
    door::each(async |store| {
        let upload = async |session: &Session, car: &[u8]| {
            let upload = session.importer().import(ImportOptions::default());
            upload.write(car).await;
            upload
        };
        let path = &first.records[0].path;
        let started = upload(&store.session, &first.car(Order::Pds)).await;
        let (outcome, read) = started
            .done_and(async |repo| repo.record(path).read(Want::dag_cbor()).await)
            .await;
        assert!(matches!(outcome.unwrap(), ImportOutcome::Imported(_)));
        let (source, record) = read.unwrap().unwrap();
        assert_eq!(source.rev, first.rev.to_string());
        assert_eq!(record.body, Body::DagCbor(first.records[0].bytes.to_vec()));

        // The repo can be kept, and is the repo at whatever revision there is.
        let started = upload(&store.session, &second.car(Order::Pds)).await;
        let (outcome, kept) = started.done_and(async |repo| repo).await;
        outcome.unwrap();
        let info = kept.info().await.unwrap().unwrap();
        assert_eq!(info.source.rev, second.rev.to_string());

        let car = first.car(Order::Pds);
        let started = upload(&store.session, &car[..car.len() - 1]).await;
        let (outcome, read) = started.done_and(async |repo| repo.info().await).await;
        assert!(matches!(outcome.unwrap(), ImportOutcome::Rejected(_)));
        let error = read.unwrap_err();
        assert_eq!(error.code(), Code::Incomplete);
        assert!(error.words().starts_with("nothing was imported: "));
        store.owner.shutdown();
    });
}

#[test]
fn taking_a_grant_back_ends_its_scans_and_watches() {
    let records = |fill: u8| {
        let mut bytes = vec![0x5a, 0, 4, 0, 0];
        bytes.resize(5 + 0x40000, fill);
        (format!("com.example.large/{fill:03}"), bytes)
    };
    // More than can be on its way.
    let large = RepoSpec {
        records: 0,
        seed: 347,
        extra: (0..40).map(records).collect(),
        ..RepoSpec::default()
    }
    .build();
    let [other, next] = versions(348);
    door::each(async |store| {
        must_import(&store.session, &large.car(Order::Pds)).await;
        let scope = Scope {
            repos: Selection::All,
            collections: Selection::All,
            may: Operations {
                read: true,
                list: true,
                ..Operations::default()
            },
            ..Scope::default()
        };
        let scope = scope.unlimited_calls().unlimited_bytes().never_expires();
        let issued = store.session.grants().issue(scope, "reader").await.unwrap();
        let reader = issued.session.store();
        let mut watch = reader.watch(Selection::All).await.unwrap();
        must_import(&store.session, &other.car(Order::Pds)).await;
        assert_eq!(watch.next().await.unwrap().unwrap().changes.len(), 1);
        let named = reader.repo(large.did.as_str());
        let mut scan = named.list(Range::default(), Want::dag_cbor()).scan();
        assert!(scan.next().await.unwrap().is_ok());

        issued.grant.revoke().await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), watch.next());
        let error = ended
            .await
            .expect("the watch goes on")
            .unwrap()
            .unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        must_import(&store.session, &next.car(Order::Pds)).await;
        let rest: Vec<_> = scan.by_ref().collect().await;
        assert!(rest.len() < 39, "{}", rest.len());
        let error = rest.last().unwrap().as_ref().unwrap_err();
        assert_eq!(error.code(), Code::Revoked);
        assert!(scan.report().is_none());
        assert!(watch.next().await.is_none());
        store.owner.shutdown();
    });
}

#[test]
fn round_trips() {
    with_store(async |store, repo| {
        let (did, path) = (repo.did.as_str(), &repo.records[7].path);
        let reader = || connect(&store).store();
        let (trips, found) = count(async {
            let pinned = reader().repo(did).at(&repo.rev.to_string());
            pinned.record(path).read(Want::value()).await
        })
        .await;
        assert!(found.unwrap().is_ok());
        assert_eq!(trips, 1.0, "a read at a revision");
        let (trips, found) = count(reader().repo(did).record(path).verify()).await;
        assert!(found.unwrap().is_ok());
        assert_eq!(trips, 1.0, "verify");
        let uri = format!("at://{did}/{path}");
        let (trips, found) = count(reader().ancestors(&uri, 0, Want::value())).await;
        assert!(!matches!(found.unwrap().end, AncestorsEnd::Absent));
        assert_eq!(trips, 1.0, "ancestors");

        let mut scan = reader()
            .repo(did)
            .list(Range::default(), Want::value())
            .scan();
        let (trips, first) = count(scan.next()).await;
        assert!(first.unwrap().is_ok());
        assert_eq!(trips, 1.0, "the first record of a scan");
        let rest = scan.by_ref().map(Result::unwrap).count();
        let (trips, rest) = count(rest).await;
        assert_eq!(rest, repo.records.len() - 1);
        assert_eq!(trips, 1.0, "the end of a scan");

        let reader = reader();
        let (trips, watch) = count(reader.watch(Selection::All)).await;
        let mut watch = watch.unwrap();
        assert_eq!(trips, 1.0, "a watch");
        let target = DeleteTarget::Record(repo.did.clone(), path.parse().unwrap());
        store.delete(&target, false).unwrap();
        let (trips, told) = count(watch.next()).await;
        assert_eq!(told.unwrap().unwrap().changes.len(), 1);
        assert_eq!(trips, 0.5, "a change");

        // As of imports in general: what a paused clock can count is one that needs no thread's work.
        store.close();
        let session = connect(&store);
        let import = async {
            let upload = session.importer().import(ImportOptions::default());
            assert!(upload.write(&[0; 100_000]).await);
            upload.done_and(async |repo| repo.info().await).await
        };
        let (trips, (outcome, info)) = count(import).await;
        assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
        assert_eq!(info.unwrap_err().code(), Code::Unavailable);
        assert_eq!(trips, 1.0, "an import, and a leaf of its repo");
    });
}

#[test]
fn a_slow_reader_of_a_watch_is_told_of_each_repo_once() {
    with_store(async |store, repo| {
        let mut watch = connect(&store).store().watch(Selection::All).await.unwrap();
        let mut last = repo;
        for i in 0..20 {
            let changes = Changes {
                added: 1,
                ..Changes::default()
            };
            last = last.next_version(&last.random_edits(i, changes));
            let car = last.car(Order::Pds);
            store
                .import(&car[..], &ImportRequest::default(), |_| ())
                .unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // One waits here, one is on its way, and all others became one.
        let mut told = Vec::new();
        while told.last() != Some(&last.rev.to_string()) {
            let changes = watch.next().await.unwrap().unwrap();
            told.extend(changes.changes.into_iter().map(|change| change.rev));
        }
        assert!(told.len() <= 4, "{told:?}");
    });
}
