//! Who shares a server's threads does not wait for others' work.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use carrack_client::{Absent, Address, Body, Client, PageRequest, Range, Session, Want};
use carrack_schema::Code;
use carrack_schema::limits::{EXPORTS_MAX, FIELDS_BYTES_MAX, MST_KEY_BYTES_MAX};
use carrack_schema::names::DID_BYTES_MAX;
use carrack_store::{DataFolder, Owner, Settings};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kit::{Order, RepoSpec};

use crate::door::must_import;

/// Far away: it only catches what hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Starts a store of one worker and one thread in its pool.
fn start(folder: &Path) -> Owner {
    Owner::start(&DataFolder::new(folder), &Settings::default()).unwrap()
}

/// Returns a session on a connection of its own.
async fn connect(owner: &Owner) -> Session {
    let address = owner
        .addresses()
        .iter()
        .find(|address| matches!(address, Address::Unix(_)));
    Client::connect(address.unwrap()).await.unwrap().login("")
}

fn run(body: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(HANGS, body).await.expect("it hangs") });
}

#[test]
fn a_thousand_heavy_calls_delay_another_connection_by_a_few() {
    const HEAVY: usize = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path());
    let repo = RepoSpec {
        records: 20_000,
        seed: 301,
        ..RepoSpec::default()
    }
    .build();
    run(async {
        let other = connect(&owner).await;
        must_import(&other, &repo.car(Order::Pds)).await;
        let path = |i: usize| &*repo.records[i * 7 % repo.records.len()].path;
        let other = other.store().repo(repo.did.as_str());
        let greedy = connect(&owner).await.store().repo(repo.did.as_str());
        let mut proofs: FuturesUnordered<_> = (0..HEAVY)
            .map(|i| {
                let record = greedy.record(path(i));
                async move { record.prove().await }
            })
            .collect();
        // All are sent, and the first is done.
        proofs.next().await.unwrap().unwrap().unwrap();
        let done = Cell::new(1);
        let light = async {
            let record = other.record(path(1));
            record.read(Want::value()).await.unwrap().unwrap();
            let page = PageRequest {
                limit: 1,
                ..PageRequest::default()
            };
            let list = other.list(Range::default(), Want::value());
            list.page(page).await.unwrap().unwrap();
        };
        let heavy = async {
            while let Some(proof) = proofs.next().await {
                proof.unwrap().unwrap();
                done.set(done.get() + 1);
            }
        };
        tokio::select! {
            biased;
            () = light => {}
            () = heavy => panic!("the other connection waited for all {HEAVY}"),
        }
        // Each of the two waits for the proof that the thread is at, and for one more where it comes just after a turn;
        // done where they are asked for, some sixty proofs came first.
        assert!(
            done.get() <= 16,
            "the other connection waited for {} of {HEAVY}",
            done.get()
        );
    });
    owner.shutdown();
}

/// Returns a record of a megabyte of noise.
fn large(number: u64) -> (String, Vec<u8>) {
    const BYTES: u32 = 1_000_000;
    let mut rng = kit::rng::Rng::new(number);
    // A map of one key, `b`, whose value is a byte string with a length of four bytes.
    let mut record = vec![0xa1, 0x61, b'b', 0x5a];
    record.extend(BYTES.to_be_bytes());
    record.extend((0..BYTES).map(|_| rng.below(256) as u8));
    (format!("com.example.large/{number}"), record)
}

#[test]
fn exports_run_side_by_side_up_to_their_limit() {
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path());
    // More than what is on its way to a client that takes nothing.
    let repo = RepoSpec {
        records: 0,
        seed: 302,
        extra: (0..8).map(large).collect(),
        ..RepoSpec::default()
    }
    .build();
    run(async {
        let session = connect(&owner).await;
        must_import(&session, &repo.car(Order::Pds)).await;
        let repo = session.store().repo(repo.did.as_str());
        let mut running = Vec::new();
        for _ in 0..EXPORTS_MAX {
            let mut export = repo.export();
            assert!(export.next().await.is_some(), "it runs");
            running.push(export);
        }
        let beyond = repo.export().done().await;
        assert_eq!(beyond.unwrap_err().code(), Code::Overloaded);
        // One that is dropped makes room, as soon as its thread has noticed.
        drop(running.pop());
        loop {
            let mut export = repo.export();
            while export.next().await.is_some() {}
            match export.done().await {
                Ok(exported) => break assert!(exported.is_ok()),
                Err(error) => assert_eq!(error.code(), Code::Overloaded),
            }
            tokio::task::yield_now().await;
        }
    });
    owner.shutdown();
}

#[test]
fn reads_that_take_long_answer_as_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path());
    let first = RepoSpec {
        records: 300,
        seed: 303,
        ..RepoSpec::default()
    }
    .build();
    let second = {
        let changes = kit::Changes {
            added: 5,
            changed: 5,
            deleted: 5,
        };
        first.next_version(&first.random_edits(304, changes))
    };
    run(async {
        let session = connect(&owner).await;
        let repo = session.store().repo(first.did.as_str());
        let check = async || {
            for each in second.records.iter().step_by(17) {
                let record = repo.record(&each.path);
                let read = record.read(Want::dag_cbor().with_cid()).await;
                let (_, data) = read.unwrap().unwrap();
                assert_eq!(data.cid, Some(each.cid));
                let Body::DagCbor(bytes) = data.body else {
                    panic!("not bytes")
                };
                assert_eq!(bytes, each.bytes[..]);
            }
            let nsid = second.records[0].path.split_once('/').unwrap().0;
            for (path, absent) in [
                (format!("{nsid}/none"), Absent::Record),
                ("com.example.none/none".to_owned(), Absent::Collection),
            ] {
                let read = repo.record(&path).read(Want::value()).await;
                assert_eq!(read.unwrap().unwrap_err(), absent);
            }
        };
        // Of two extents; then in compressed pages.
        must_import(&session, &first.car(Order::Pds)).await;
        must_import(&session, &second.car(Order::Pds)).await;
        check().await;
        session.keeper().compact(None, true).await.unwrap().unwrap();
        let stats = session.store().stats().await.unwrap();
        assert!(stats.segments_cold > 0);
        check().await;
    });
    owner.shutdown();
}

#[test]
fn what_waits_for_a_thread_has_a_longest_length() {
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path());
    let repo = RepoSpec {
        records: 5,
        seed: 305,
        ..RepoSpec::default()
    }
    .build();
    run(async {
        let session = connect(&owner).await;
        must_import(&session, &repo.car(Order::Pds)).await;
        let repo = session.store().repo(repo.did.as_str());
        for beyond in [0, 1] {
            let refused = |code| (beyond > 0).then_some(code);
            let code = |error: carrack_client::Error| error.code();
            let keys = "x".repeat(MST_KEY_BYTES_MAX + beyond);
            for range in [
                Range {
                    from: keys.clone(),
                    ..Range::default()
                },
                Range {
                    before: keys.clone(),
                    ..Range::default()
                },
            ] {
                let listing = repo.list(range, Want::value());
                let listed = listing.page(PageRequest::default()).await;
                let listed = listed.err().map(code);
                assert_eq!(listed, refused(Code::InvalidArgument));
            }
            let want = Want {
                fields: vec!["x".into(), "x".repeat(FIELDS_BYTES_MAX - 1 + beyond)],
                ..Want::value()
            };
            let listing = repo.list(Range::default(), want);
            let listed = listing.page(PageRequest::default()).await;
            let listed = listed.err().map(code);
            assert_eq!(listed, refused(Code::LimitExceeded));
            let after = "x".repeat(DID_BYTES_MAX + beyond);
            let repos = session.store().repos(&after, 1).await.err().map(code);
            assert_eq!(repos, refused(Code::InvalidArgument));
        }
    });
    owner.shutdown();
}
