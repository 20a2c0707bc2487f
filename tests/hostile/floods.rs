//! Peers that announce, ask or send more than they should get (D1, D2, point 4 of the RPC's rules).

use carrack_client::{Address, Client, PageRequest, Range, Want};
use carrack_schema::Code;
use carrack_schema::limits::{
    ANSWER_BYTES, CALL_COST_BYTES, CHUNK_BYTES_MAX, IMPORTS_MAX, INCOMING_BYTES_MAX,
    INCOMING_BYTES_MIN, IO_BUFFER_BYTES, LANE_JOBS_MAX, LIST_BYTES_MAX, PAUSE_SECONDS_MAX,
    REPLY_BYTES_MAX, REPLY_BYTES_MIN, SERVER_MESSAGE_WORDS_MAX, WRITE_SECONDS_MAX,
};
use carrack_schema::wire::store_capnp as wire;
use carrack_store::rpc::Bounds;
use carrack_store::{DataFolder, ImportRequest, Owner, Settings};
use futures::future::join_all;
use kit::{Order, RepoSpec};
use tokio::time::Instant;

use crate::peer::{self, On};
use crate::world::{Heap, alone, hear, hear_all, paused, send, settle, ticking};

const MIB: usize = 1 << 20;

#[test]
fn headers_that_announce_much_take_little() {
    use std::io::Write;
    const PEERS: usize = 64;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::start(&DataFolder::new(folder.path()), &Settings::default()).unwrap();
    let [Address::Unix(socket)] = owner.addresses() else {
        panic!("one socket");
    };
    let heap = Heap::measure();
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            let words = u32::try_from(SERVER_MESSAGE_WORDS_MAX).unwrap();
            stream.write_all(&peer::header(words)).unwrap();
            stream.write_all(&[0; 64]).unwrap();
            stream
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Both workers are asked, each after it has seen to the peers that came before.
        for _ in 0..8 {
            let client = Client::connect(&owner.addresses()[0]).await.unwrap();
            client.login("").about().await.unwrap();
        }
    });
    // Each has its first step of memory, a buffer and its tables.
    heap.assert_peak(PEERS * 3 * IO_BUFFER_BYTES);
    drop(peers);
    owner.shutdown();
}

/// A call, on the answer to question 3, for the longest page of a repo's records.
fn list(question: u32) -> Vec<u8> {
    peer::call::<wire::repo::Client>(question, On::FieldOf(3), 4, |call| {
        let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
        let list = content.init_as::<wire::repo::list_params::Builder<'_>>();
        list.init_page().set_limit(1_000);
    })
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut peer, served) = world.connect();
        assert!(send(&mut peer, &open_repo(world.repo.did.as_str())).await);
        settle().await;
        let heap = Heap::measure();
        let begun = Instant::now();
        // Answers of some 100 KiB: all of them would be 100 MiB.
        let calls = async {
            for question in 100..1_100 {
                let list = list(question);
                if !send(&mut peer, &list).await {
                    return question;
                }
            }
            panic!("all calls were taken")
        };
        let taken = world.serves_while(&honest, calls).await;
        assert!(taken > 110, "{taken}");
        assert!(served.is_finished());
        assert_eq!(begun.elapsed().as_secs(), WRITE_SECONDS_MAX);
        heap.assert_peak(2 * (REPLY_BYTES_MAX + LIST_BYTES_MAX) + 2 * MIB);
    });
}

#[test]
fn answers_that_many_do_not_read_are_bounded_together() {
    const PEERS: usize = 16;
    /// More than a page of this repo takes.
    const PAGE_BYTES: usize = 128 << 10;
    const TOTAL: usize = 2 * MIB;
    let bounds = Bounds {
        reply_bytes_total: TOTAL,
        ..Bounds::default()
    };
    paused(bounds, async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let mut peers: Vec<_> = (0..PEERS).map(|_| world.connect()).collect();
        for (peer, _) in &mut peers {
            assert!(send(peer, &open_repo(world.repo.did.as_str())).await);
        }
        settle().await;
        let heap = Heap::measure();
        let begun = Instant::now();
        // Each may have its 8 MiB, of its own bound.
        let floods = peers.iter_mut().map(async |(peer, _)| {
            for question in 100..1_100 {
                if !send(peer, &list(question)).await {
                    return;
                }
            }
            panic!("all calls were taken");
        });
        let floods = async { join_all(floods).await };
        let honest_lists = async {
            settle().await;
            // Who reads goes on with much more than the little that each may have.
            for _ in 0..20 {
                let repo = honest.store().repo(world.repo.did.as_str());
                let listing = repo.list(Range::default(), Want::default());
                let page = PageRequest {
                    limit: 1_000,
                    ..PageRequest::default()
                };
                let page = listing.page(page).await.unwrap().unwrap();
                assert_eq!(page.records.len(), world.repo.records.len());
            }
            assert_eq!(begun.elapsed().as_secs(), 0, "it waits for nobody");
            world.serves_another().await;
        };
        let ((), _) = tokio::join!(honest_lists, world.serves_while(&honest, floods));
        // Their silence ended them.
        assert_eq!(begun.elapsed().as_secs(), WRITE_SECONDS_MAX);
        heap.assert_peak(2 * (TOTAL + PEERS * (REPLY_BYTES_MIN + PAGE_BYTES)) + 2 * MIB);
        for (_, served) in peers {
            assert!(served.is_finished());
        }
    });
}

#[test]
fn a_long_record_waits_for_others_to_read_and_one_of_a_page_s_length_does_not() {
    let bounds = Bounds {
        reply_bytes_total: 0,
        ..Bounds::default()
    };
    // The bytes as they are on the wire: a byte string's head, and the record's key.
    let record = |wire_bytes: usize| {
        let length = wire_bytes - "r".len() - 5;
        let mut bytes = vec![0x5a];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(5 + length, 7);
        bytes
    };
    let of = |wire_bytes, collection: &str| (format!("{collection}/r"), record(wire_bytes));
    let long = RepoSpec {
        records: 1,
        seed: 84,
        extra: vec![
            of(ANSWER_BYTES, "com.example.page"),
            of(ANSWER_BYTES + 1, "com.example.more"),
        ],
        ..RepoSpec::default()
    }
    .build();
    paused(bounds, async |world| {
        world
            .store
            .import(&long.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
            .unwrap();
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut hoarder, _served) = world.connect();
        let lists = (100..104).flat_map(list).collect();
        let calls = [open_repo(world.repo.did.as_str()), lists].concat();
        assert!(send(&mut hoarder, &calls).await);
        settle().await;
        let repo = honest.store().repo(long.did.as_str());
        let read = async |path: &str| {
            let begun = Instant::now();
            let read = repo.record(path).read(Want::dag_cbor()).await;
            let read = read.map(|found| assert!(found.is_ok()));
            (
                read.map_err(|error| error.code()),
                begun.elapsed().as_secs(),
            )
        };
        let served = read("com.example.page/r").await;
        assert_eq!(served, (Ok(()), 0), "at the limit");
        let refused = read("com.example.more/r").await;
        assert_eq!(refused.0, Err(Code::Overloaded), "one byte beyond");
        assert_eq!(refused.1, PAUSE_SECONDS_MAX);
        // It waits for no longer than it must.
        let leaves = async {
            settle().await;
            drop(hoarder);
        };
        let (served, ()) = tokio::join!(read("com.example.more/r"), leaves);
        assert_eq!(served, (Ok(()), 0));
    });
}

#[test]
fn answers_of_the_pool_that_nobody_reads_are_bounded() {
    use std::io::Write;
    const CALLS: u32 = 1_000;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::start(&DataFolder::new(folder.path()), &Settings::default()).unwrap();
    let [Address::Unix(socket)] = owner.addresses() else {
        panic!("one socket");
    };
    let repo = RepoSpec {
        records: 300,
        seed: 82,
        ..RepoSpec::default()
    }
    .build();
    let car = repo.car(Order::Pds);
    owner
        .store()
        .import(&car[..], &ImportRequest::default(), |_| ())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let heap = Heap::measure();
    // All calls come in together, before there is an answer to any; all answers would be 100 MiB.
    let mut calls = open_repo(repo.did.as_str());
    for question in 100..100 + CALLS {
        calls.extend(list(question));
    }
    let mut peer = std::os::unix::net::UnixStream::connect(socket).unwrap();
    peer.write_all(&calls).unwrap();
    runtime.block_on(async {
        let client = Client::connect(&owner.addresses()[0]).await.unwrap();
        let repo = client.login("").store().repo(repo.did.as_str());
        // The lanes take turns, so by then the pool has had one for each of the calls.
        for _ in 0..CALLS {
            repo.collections().await.unwrap().unwrap();
        }
    });
    heap.assert_peak(2 * (REPLY_BYTES_MAX + ANSWER_BYTES) + 4 * MIB);
    drop(peer);
    owner.shutdown();
}

#[test]
fn answers_of_the_pool_that_many_do_not_read_are_bounded_together() {
    use std::io::Write;
    const PEERS: usize = 96;
    /// A page of this repo takes less.
    const PAGE_BYTES: usize = 160 << 10;
    const TOTAL: usize = 4 * MIB;
    const WORKERS: usize = 2;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        workers: WORKERS,
        bounds: Bounds {
            reply_bytes_total: TOTAL,
            ..Bounds::default()
        },
        ..Settings::default()
    };
    let owner = Owner::start(&DataFolder::new(folder.path()), &settings).unwrap();
    let [Address::Unix(socket)] = owner.addresses() else {
        panic!("one socket");
    };
    let repo = RepoSpec {
        records: 1_000,
        seed: 83,
        ..RepoSpec::default()
    }
    .build();
    owner
        .store()
        .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let heap = Heap::measure();
    // As many calls each as the pool takes of one connection: all answers would be 100 MiB.
    let mut calls = open_repo(repo.did.as_str());
    for question in (100..).take(LANE_JOBS_MAX) {
        calls.extend(list(question));
    }
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut peer = std::os::unix::net::UnixStream::connect(socket).unwrap();
            peer.write_all(&calls).unwrap();
            peer
        })
        .collect();
    runtime.block_on(async {
        // One on each worker. The lanes take turns, so by the end the pool has had one for each of the calls.
        for _ in 0..WORKERS {
            let client = Client::connect(&owner.addresses()[0]).await.unwrap();
            let listing = client
                .login("")
                .store()
                .repo(repo.did.as_str())
                .list(Range::default(), Want::default());
            for _ in 0..2 * LANE_JOBS_MAX {
                let page = PageRequest {
                    limit: 1_000,
                    ..PageRequest::default()
                };
                let page = listing.page(page).await.unwrap().unwrap();
                assert_eq!(page.records.len(), 1_000);
            }
        }
    });
    let each = REPLY_BYTES_MIN + PAGE_BYTES;
    heap.assert_peak(2 * (TOTAL + WORKERS * ANSWER_BYTES + PEERS * each) + 4 * MIB);
    drop(peers);
    owner.shutdown();
}

/// The parameters of a write.
fn write(question: u32, sink: u32, bytes: &[u8]) -> Vec<u8> {
    peer::call::<wire::car_sink::Client>(question, On::FieldOf(sink), 0, |call| {
        let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
        content
            .init_as::<wire::car_sink::write_params::Builder<'_>>()
            .set_bytes(bytes);
    })
}

/// Logs in, asks for the importer as question 2, and for sinks from question 3 on.
fn open_sinks(count: u32) -> Vec<u8> {
    let importer = peer::call::<wire::session::Client>(2, On::FieldOf(1), 2, |call| {
        call.init_params();
    });
    let sinks = (3..3 + count).flat_map(|question| {
        peer::call::<wire::importer::Client>(question, On::FieldOf(2), 0, |call| {
            let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
            content
                .init_as::<wire::importer::import_car_params::Builder<'_>>()
                .init_options();
        })
    });
    [peer::login(), importer, sinks.collect()].concat()
}

#[test]
fn an_upload_without_end_that_ignores_its_window_is_bounded() {
    const CHUNKS: u32 = 256;
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        // All places for imports are taken by some that do not go on.
        let most = u32::try_from(IMPORTS_MAX).unwrap();
        let (mut idle, _served) = world.connect();
        let writes = (3..3 + most).flat_map(|sink| write(100 + sink, sink, b"c"));
        let said = [open_sinks(most), writes.collect()].concat();
        assert!(send(&mut idle, &said).await);
        settle().await;
        let (mut peer, served) = world.connect();
        assert!(send(&mut peer, &open_sinks(1)).await);
        settle().await;
        let chunk = vec![7; CHUNK_BYTES_MAX];
        let heap = Heap::measure();
        let upload = async {
            for question in 10..10 + CHUNKS {
                assert!(send(&mut peer, &write(question, 3, &chunk)).await);
            }
        };
        world.serves_while(&honest, upload).await;
        heap.assert_peak(INCOMING_BYTES_MAX + 3 * MIB);
        settle().await;
        let refused = hear(&mut peer).await.errors;
        let refused = refused
            .iter()
            .filter(|(_, _, words)| words.starts_with("overloaded: "))
            .count();
        let fit = INCOMING_BYTES_MAX / (CHUNK_BYTES_MAX + CALL_COST_BYTES);
        assert!((CHUNKS as usize - fit).abs_diff(refused) < 4, "{refused}");
        assert!(!served.is_finished());
    });
}

/// Calls that are made on the answer of a call that waits: they are held until it ends.
fn held(first: u32, count: u32, on: u32, bytes: usize) -> Vec<u8> {
    let did = "x".repeat(bytes);
    (first..first + count)
        .flat_map(|question| {
            peer::call::<wire::store::Client>(question, On::FieldOf(on), 0, |call| {
                let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
                content
                    .init_as::<wire::store::repo_params::Builder<'_>>()
                    .set_did(&did[..]);
            })
        })
        .collect()
}

/// Logs in, and asks for a repo as question 3.
fn open_repo(did: &str) -> Vec<u8> {
    [
        peer::login(),
        peer::call::<wire::session::Client>(2, On::FieldOf(1), 1, |call| {
            call.init_params();
        }),
        peer::call::<wire::store::Client>(3, On::FieldOf(2), 0, |call| {
            let content: capnp::any_pointer::Builder<'_> = call.init_params().get_content();
            content
                .init_as::<wire::store::repo_params::Builder<'_>>()
                .set_did(did);
        }),
    ]
    .concat()
}

/// Logs in and begins a call, as question 5, that waits for this peer's own answer: an export into its sink.
pub(crate) fn begin_waiting(did: &str) -> Vec<u8> {
    [open_repo(did), peer::export(5, 3)].concat()
}

#[test]
fn what_is_not_processed_is_bounded_and_what_cannot_wait_is_refused() {
    const CALLS: u32 = 400;
    paused(Bounds::default(), async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut peer, served) = world.connect();
        assert!(send(&mut peer, &begin_waiting(world.repo.did.as_str())).await);
        settle().await;
        let heap = Heap::measure();
        let begun = Instant::now();
        // 400 calls of 64 KiB: 25 MiB, on an answer that is not there.
        for call in 0..CALLS {
            assert!(send(&mut peer, &held(100 + call, 1, 5, 64 << 10)).await);
        }
        world.serves(&honest).await;
        heap.assert_peak(INCOMING_BYTES_MAX + 4 * MIB);
        // It paused once, for all.
        assert_eq!(begun.elapsed().as_secs(), PAUSE_SECONDS_MAX);
        settle().await;
        let heard = hear(&mut peer).await;
        let refused = heard
            .errors
            .iter()
            .filter(|(_, _, words)| words.starts_with("overloaded: "))
            .count();
        let fit = INCOMING_BYTES_MAX / ((64 << 10) + CALL_COST_BYTES);
        assert!(
            (CALLS as usize - fit).abs_diff(refused) < 8,
            "{refused} of {CALLS}"
        );
        assert!(!served.is_finished());
        // The calls that were held end when what they wait for does, and there is room again.
        drop(peer);
        let _left = served.await;
        settle().await;
        assert!(heap.now() < MIB, "{} KiB are left", heap.now() >> 10);
    });
}

#[test]
fn when_all_is_used_up_every_connection_goes_on_with_little() {
    let bounds = Bounds {
        incoming_bytes_total: 2 * MIB,
        ..Bounds::default()
    };
    paused(bounds, async |world| {
        let honest = world.honest();
        world.serves(&honest).await;
        let (mut hoarder, _served) = world.connect();
        let (mut second, _served) = world.connect();
        for peer in [&mut hoarder, &mut second] {
            assert!(send(peer, &begin_waiting(world.repo.did.as_str())).await);
        }
        settle().await;
        // It waits once, for all that does not fit.
        let begun = Instant::now();
        assert!(send(&mut hoarder, &held(100, 40, 5, 64 << 10)).await);
        assert_eq!(begun.elapsed().as_secs(), PAUSE_SECONDS_MAX);
        world.serves(&honest).await;
        // Small messages go on, and such as an upload's: one chunk at a time.
        world.serves_another().await;
        assert!(send(&mut second, &held(90, 1, 2, CHUNK_BYTES_MAX)).await);
        let [(90, _, words)] = &hear(&mut second).await.errors[..] else {
            panic!("one answer");
        };
        assert!(words.starts_with("invalidArgument: "), "{words}");
        // What is larger waits for a while, and is told.
        let begun = Instant::now();
        let large = held(100, 1, 5, 2 * INCOMING_BYTES_MIN);
        let sent = send(&mut second, &large).await;
        let heard = hear_all(&mut second).await;
        assert!(
            heard.abort.unwrap_or_default().starts_with("overloaded: "),
            "{sent}"
        );
        assert_eq!(begun.elapsed().as_secs(), PAUSE_SECONDS_MAX);
        world.serves(&honest).await;
    });
}

#[test]
fn uploads_side_by_side_are_held_back_and_not_broken() {
    ticking(Bounds::default(), async |world| {
        // Four windows are twice what one connection may have unprocessed.
        let session = world.honest();
        let uploads = (0..4_u64).map(|upload| {
            let session = &session;
            async move {
                let repo = RepoSpec {
                    records: 20_000,
                    seed: 90 + upload,
                    ..RepoSpec::default()
                }
                .build();
                let sink = session
                    .importer()
                    .import(carrack_client::ImportOptions::default());
                for chunk in repo.car(Order::Pds).chunks(CHUNK_BYTES_MAX) {
                    assert!(sink.write(chunk).await);
                }
                sink.done().await.unwrap()
            }
        });
        for outcome in join_all(uploads).await {
            assert!(matches!(
                outcome,
                carrack_client::ImportOutcome::Imported(_)
            ));
        }
    });
}
