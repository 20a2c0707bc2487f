//! Round trips, counted exactly: server and client share a paused clock, joined by pumps that hold each piece of
//! bytes for a fixed time; what passes on the clock, divided by there-and-back, is the number of round trips.

use std::sync::Arc;
use std::time::Duration;

use carrack_client::query::Plan;
use carrack_client::{Client, ImportOptions, PageRequest, Range, Session, Want};
use carrack_segment::{Directory, Fs};
use carrack_store::{Door, Entrance, ImportRequest, Store, SystemClock, rpc};
use kit::{Order, RepoSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::Instant;

const ONE_WAY: Duration = Duration::from_millis(50);

/// Moves bytes and holds each piece for [`ONE_WAY`]; pieces follow each other, as on a real line.
async fn pump(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
    let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let deliver = async move {
        while let Some((due, bytes)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let collect = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender
                .send((Instant::now() + ONE_WAY, buffer[..count].to_vec()))
                .is_err()
            {
                return;
            }
        }
    };
    tokio::join!(deliver, collect);
}

/// Connects a client to `store` over a line with delay, on this task's `LocalSet`.
pub(crate) fn connect(store: &Store) -> Session {
    let (ours, near) = tokio::io::duplex(1 << 20);
    let (far, theirs) = tokio::io::duplex(1 << 20);
    let ((near_read, near_write), (far_read, far_write)) =
        (tokio::io::split(near), tokio::io::split(far));
    tokio::task::spawn_local(pump(near_read, far_write));
    tokio::task::spawn_local(pump(far_read, near_write));
    let server = rpc::serve(store.clone(), Entrance::new(Door::Owner), theirs);
    tokio::task::spawn_local(async move {
        let _ended = server.await;
    });
    let (client, connection) = Client::local(ours);
    tokio::task::spawn_local(connection);
    client.login("")
}

pub(crate) async fn count<T>(work: impl Future<Output = T>) -> (f64, T) {
    let start = Instant::now();
    let result = work.await;
    (
        start.elapsed().as_secs_f64() / (2.0 * ONE_WAY.as_secs_f64()),
        result,
    )
}

pub(crate) fn with_store(body: impl AsyncFn(Store, kit::Repo)) {
    let folder = tempfile::tempdir().unwrap();
    let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
    let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
    let repo = RepoSpec {
        records: 300,
        seed: 61,
        ..RepoSpec::default()
    }
    .build();
    store
        .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, body(store, repo));
}

#[test]
fn a_chain_from_bootstrap_to_record_is_one_round_trip() {
    with_store(async |store, repo| {
        let (collection, rkey) = repo.records[7].path.split_once('/').unwrap();
        let read = async {
            let session = connect(&store);
            let record = session
                .store()
                .repo(repo.did.as_str())
                .collection(collection)
                .record(rkey);
            record
                .read(Want::value().with_cid())
                .await
                .unwrap()
                .unwrap()
        };
        let (trips, (_, data)) = count(read).await;
        assert_eq!(data.cid, Some(repo.records[7].cid));
        assert_eq!(trips, 1.0);
    });
}

#[test]
fn every_leaf_is_one_round_trip_on_a_cold_connection() {
    with_store(async |store, repo| {
        let did = repo.did.as_str();
        let page = PageRequest::default;
        let one = |name: &'static str, trips: f64| assert_eq!(trips, 1.0, "{name}");
        one(
            "about",
            count(async { connect(&store).about().await.unwrap() })
                .await
                .0,
        );
        let reader = || connect(&store).store();
        one(
            "stats",
            count(async { reader().stats().await.unwrap() }).await.0,
        );
        one(
            "repos",
            count(async { reader().repos("", 0).await.unwrap() })
                .await
                .0,
        );
        one(
            "info",
            count(async { reader().repo(did).info().await.unwrap().unwrap() })
                .await
                .0,
        );
        let collections = async { reader().repo(did).collections().await.unwrap().unwrap() };
        one("collections", count(collections).await.0);
        let list = async {
            reader()
                .repo(did)
                .list(Range::default(), Want::value())
                .page(page())
                .await
        };
        one("list", count(list).await.0);
        let absent = async {
            reader()
                .repo("did:plc:no")
                .record("a.b.c/d")
                .read(Want::value())
                .await
        };
        one("absent", count(absent).await.0);
    });
}

#[test]
fn a_query_is_one_round_trip() {
    with_store(async |store, repo| {
        let plan = || {
            Plan::new()
                .list(repo.did.as_str(), "app.bsky.feed.like")
                .group("subject.uri#did")
                .top(10)
        };
        // On a cold connection, one that is refused: a plan runs on a real thread, which a paused clock does not wait for
        // while the answers of hops are on the line.
        let refused = plan().group("@nothing");
        let query = async { connect(&store).store().query(&refused).await.unwrap_err() };
        let (trips, error) = count(query).await;
        assert_eq!(
            (trips, error.code()),
            (1.0, carrack_schema::Code::InvalidArgument)
        );
        // And on a line where nothing else is, one that runs.
        let reader = connect(&store).store();
        reader.stats().await.unwrap();
        let (trips, answer) = count(async { reader.query(&plan()).await.unwrap() }).await;
        assert_eq!((trips, answer.rows.len()), (1.0, 10));
    });
}

#[test]
fn a_hundred_reads_at_once_are_one_round_trip() {
    with_store(async |store, repo| {
        let reader = connect(&store).store().repo(repo.did.as_str());
        let reads = repo.records[..100]
            .iter()
            .map(|record| reader.record(&record.path))
            .map(|record| async move { record.read(Want::value()).await.unwrap().unwrap() });
        let (trips, read) = count(futures::future::join_all(reads)).await;
        assert_eq!((trips, read.len()), (1.0, 100));
    });
}

#[test]
fn awaiting_each_hop_would_be_more() {
    // The measure can tell: two leaves, one after the other, are two round trips.
    with_store(async |store, repo| {
        let reader = connect(&store).store().repo(repo.did.as_str());
        let twice = async {
            reader.info().await.unwrap().unwrap();
            reader.collections().await.unwrap().unwrap();
        };
        assert_eq!(count(twice).await.0, 2.0);
    });
}

#[test]
fn an_import_within_the_window_is_one_round_trip() {
    // The import itself runs on a real thread, which a paused clock does not wait for: it jumps ahead to the next
    // timer. So this counts what the wire needs, by feeding a CAR that is refused without a thread's work.
    with_store(async |store, _| {
        store.close();
        let session = connect(&store);
        let import = async {
            let upload = session.importer().import(ImportOptions::default());
            assert!(upload.write(&[0; 100_000]).await);
            upload.done().await.unwrap_err()
        };
        let (trips, error) = count(import).await;
        assert_eq!(error.code(), carrack_schema::Code::Unavailable);
        assert_eq!(trips, 1.0);
    });
}
