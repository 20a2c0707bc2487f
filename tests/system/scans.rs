//! Scans: everything that a listing pages through, pushed from one snapshot, no faster than it is taken.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use capnp_rpc::new_client;
use carrack_schema::limits::{
    LIST_BYTES_MAX, LIST_RECORDS_MAX, PUSH_SECONDS_MAX, STREAM_WINDOW_BYTES,
};
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp as wire;
use carrack_store::DeleteTarget;
use kit::{Mix, RepoSpec};
use tokio::time::Instant;

use crate::raw::{self, Folder, repo};

/// What a sink does before it answers its nth write; `done` is one more.
#[derive(Clone, Copy)]
enum Manner {
    Take,
    /// Take each after so long.
    Slow(Duration),
    /// Answer so many and then none.
    Sleep(usize),
}

/// A record as a sink was given it: path and bytes.
type Given = (String, Vec<u8>);

/// What a sink was given.
#[derive(Default)]
struct Taken {
    /// Of each write, its records.
    writes: RefCell<Vec<Vec<Given>>>,
    bytes: Cell<usize>,
    is_done: Cell<bool>,
    is_dropped: Cell<bool>,
}

impl Taken {
    fn records(&self) -> Vec<Given> {
        self.writes.borrow().concat()
    }
}

struct Sink {
    taken: Rc<Taken>,
    manner: Manner,
    asked: Cell<usize>,
}

impl Sink {
    fn client<C: capnp::capability::FromServer<Self>>(taken: &Rc<Taken>, manner: Manner) -> C {
        new_client(Self {
            taken: taken.clone(),
            manner,
            asked: Cell::new(0),
        })
    }

    async fn answer(&self) {
        self.asked.set(self.asked.get() + 1);
        match self.manner {
            Manner::Take => {}
            Manner::Slow(time) => tokio::time::sleep(time).await,
            Manner::Sleep(after) if self.asked.get() <= after => {}
            Manner::Sleep(_) => std::future::pending().await,
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.taken.is_dropped.set(true);
    }
}

impl wire::record_sink::Server for Sink {
    async fn write(self: Rc<Self>, params: wire::record_sink::WriteParams) -> capnp::Result<()> {
        let read = |record: record_data::Reader<'_>| {
            let collection = record.get_collection().unwrap().to_string().unwrap();
            let path = format!(
                "{collection}/{}",
                record.get_rkey().unwrap().to_str().unwrap()
            );
            let bytes = match record.which().unwrap() {
                record_data::DagCbor(bytes) => bytes.unwrap().to_vec(),
                _ => Vec::new(),
            };
            (path, bytes)
        };
        let records: Vec<_> = params.get()?.get_records()?.iter().map(read).collect();
        let bytes: usize = records.iter().map(|(_, bytes)| bytes.len()).sum();
        self.taken.bytes.set(self.taken.bytes.get() + bytes);
        self.taken.writes.borrow_mut().push(records);
        self.answer().await;
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _params: wire::record_sink::DoneParams,
        _results: wire::record_sink::DoneResults,
    ) -> capnp::Result<()> {
        self.answer().await;
        self.taken.is_done.set(true);
        Ok(())
    }
}

impl wire::byte_sink::Server for Sink {
    async fn write(self: Rc<Self>, params: wire::byte_sink::WriteParams) -> capnp::Result<()> {
        let bytes = params.get()?.get_bytes()?.len();
        self.taken.bytes.set(self.taken.bytes.get() + bytes);
        self.answer().await;
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _params: wire::byte_sink::DoneParams,
        _results: wire::byte_sink::DoneResults,
    ) -> capnp::Result<()> {
        self.answer().await;
        self.taken.is_done.set(true);
        Ok(())
    }
}

type Scan = capnp::capability::RemotePromise<wire::scan_result::Owned>;

fn scan(repo: &wire::repo::Client, taken: &Rc<Taken>, manner: Manner) -> Scan {
    let mut request = repo.scan_request();
    let mut params = request.get();
    params.reborrow().init_want().set_form(want::Form::DagCbor);
    params.set_sink(Sink::client(taken, manner));
    request.send()
}

/// Awaits a scan: records and bytes, as the answer counts them.
async fn outcome(scan: Scan) -> Result<(u64, u64), String> {
    let response = scan.promise.await.map_err(|error| error.extra)?;
    match response.get().unwrap().which().unwrap() {
        wire::scan_result::Absent(hop) => Err(format!("{:?}", hop.unwrap())),
        wire::scan_result::Scanned(scanned) => Ok((scanned.get_records(), scanned.get_bytes())),
    }
}

/// A repo whose records take more than a window of bytes, some of them more than a page.
fn large(seed: u64) -> kit::Repo {
    const LENGTH: u32 = 300_000;
    let record = |fill: u8| {
        let mut bytes = vec![0x5a];
        bytes.extend(LENGTH.to_be_bytes());
        bytes.resize(5 + LENGTH as usize, fill);
        bytes
    };
    let extra = (0..24)
        .map(|i| (format!("com.example.large/{i:02}"), record(i)))
        .collect();
    let spec = RepoSpec {
        records: 30,
        seed,
        extra,
        ..RepoSpec::default()
    };
    let repo = spec.build();
    let bytes: usize = repo.records.iter().map(|record| record.bytes.len()).sum();
    assert!(bytes > STREAM_WINDOW_BYTES + 4 * LIST_BYTES_MAX);
    repo
}

fn all(repo: &kit::Repo) -> Vec<Given> {
    let records = repo.records.iter();
    records
        .map(|record| (record.path.clone(), record.bytes.to_vec()))
        .collect()
}

/// Deletes a repo; who holds a snapshot of it reads on.
fn delete(folder: &Folder, repo: &kit::Repo) {
    let target = DeleteTarget::Repo(repo.did.clone());
    folder.store.delete(&target, true).unwrap();
}

#[test]
fn a_scan_pushes_what_a_listing_pages_through() {
    let many = RepoSpec {
        records: 2_300,
        seed: 311,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build();
    raw::paused(async |folder| {
        folder.import(&many);
        let session = folder.login();
        let named = repo(&session, many.did.as_str());
        let taken = Rc::new(Taken::default());
        let (records, bytes) = outcome(scan(&named, &taken, Manner::Take)).await.unwrap();
        let expected = all(&many);
        assert!(taken.records() == expected);
        assert!(taken.is_done.get());
        assert_eq!(records, expected.len() as u64);
        // Keys go over the wire as well.
        let wire = |(path, bytes): &Given| {
            let rkey = path.split_once('/').unwrap().1;
            rkey.len() + bytes.len()
        };
        let sum: usize = expected.iter().map(wire).sum();
        assert_eq!(bytes, sum as u64);
        for write in taken.writes.borrow().iter() {
            let last = write.last().map_or(0, wire);
            let sum: usize = write.iter().map(wire).sum();
            assert!(write.len() <= LIST_RECORDS_MAX as usize);
            assert!(sum < LIST_BYTES_MAX + last);
        }
        assert!(taken.writes.borrow().len() >= 3);
    });
}

#[test]
fn a_scan_of_a_collection_takes_its_range_and_direction() {
    let many = RepoSpec {
        records: 600,
        seed: 312,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build();
    raw::paused(async |folder| {
        folder.import(&many);
        let session = folder.login();
        let named = repo(&session, many.did.as_str());
        let collection = |nsid: &str| {
            let mut request = named.collection_request();
            request.get().set_nsid(nsid);
            request.send().pipeline.get_collection()
        };
        let nsid = "app.bsky.feed.like";
        let keys: Vec<&str> = many
            .records
            .iter()
            .filter_map(|record| record.path.strip_prefix("app.bsky.feed.like/"))
            .collect();
        let (from, before) = (keys[3], keys[keys.len() - 2]);
        let taken = Rc::new(Taken::default());
        let mut request = collection(nsid).scan_request();
        let mut params = request.get();
        let mut range = params.reborrow().init_range();
        range.set_from(from);
        range.set_before(before);
        range.set_reverse(true);
        params.set_sink(Sink::client(&taken, Manner::Take));
        let (records, _) = outcome(request.send()).await.unwrap();
        let mut expected: Vec<String> = keys[3..keys.len() - 2]
            .iter()
            .map(|rkey| format!("/{rkey}"))
            .collect();
        expected.reverse();
        let got: Vec<String> = taken.records().into_iter().map(|(path, _)| path).collect();
        assert_eq!(got, expected);
        assert_eq!(records, expected.len() as u64);

        let absent = Rc::new(Taken::default());
        let mut request = collection("com.example.none").scan_request();
        request.get().set_sink(Sink::client(&absent, Manner::Take));
        let error = outcome(request.send()).await.unwrap_err();
        assert_eq!(error, "Collection");
        let nobody = repo(&session, "did:plc:nobody");
        let error = outcome(scan(&nobody, &absent, Manner::Take))
            .await
            .unwrap_err();
        assert_eq!(error, "Repo");
        assert!(!absent.is_done.get() && absent.writes.borrow().is_empty());
    });
}

#[test]
fn a_scan_is_of_one_snapshot_and_lets_go_of_it_at_the_end() {
    let large = large(313);
    raw::paused(async |folder| {
        folder.import(&large);
        let session = folder.login();
        let named = repo(&session, large.did.as_str());
        let taken = Rc::new(Taken::default());
        let slow = Manner::Slow(Duration::from_secs(1));
        let running = scan(&named, &taken, slow);
        while taken.writes.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        delete(&folder, &large);
        assert!(folder.has_pinned());
        outcome(running).await.unwrap();
        assert!(taken.records() == all(&large));
        assert!(!folder.has_pinned());
    });
}

#[test]
fn what_is_on_the_way_is_a_window_and_a_write() {
    let large = large(314);
    raw::paused(async |folder| {
        folder.import(&large);
        let (session, received) = folder.login_counted();
        let named = repo(&session, large.did.as_str());
        named.info_request().send().promise.await.unwrap();
        let before = received.get();
        let taken = Rc::new(Taken::default());
        let asleep = scan(&named, &taken, Manner::Sleep(0));
        outcome(asleep).await.unwrap_err();
        let on_the_way = received.get() - before;
        let write = taken.bytes.get();
        assert!(write >= LIST_BYTES_MAX);
        assert!(on_the_way > STREAM_WINDOW_BYTES - write, "{on_the_way}");
        assert!(
            on_the_way < STREAM_WINDOW_BYTES + write + write / 8,
            "{on_the_way}"
        );
    });
}

#[test]
fn a_sink_that_takes_nothing_for_so_long_ends_the_push() {
    let large = large(315);
    let limit = Duration::from_secs(PUSH_SECONDS_MAX);
    let little = Duration::from_millis(1);
    raw::paused(async |folder| {
        let session = folder.login();
        let named = repo(&session, large.did.as_str());
        let all_writes = {
            folder.import(&large);
            let taken = Rc::new(Taken::default());
            outcome(scan(&named, &taken, Manner::Take)).await.unwrap();
            taken.writes.borrow().len()
        };
        // Just in time, each time.
        let taken = Rc::new(Taken::default());
        let slow = scan(&named, &taken, Manner::Slow(limit - little));
        outcome(slow).await.unwrap();
        assert!(taken.records() == all(&large));

        // The first, one on the way, the last, and the end of the stream.
        for answered in [0, 2, all_writes - 1, all_writes] {
            folder.import_any(&large);
            let taken = Rc::new(Taken::default());
            let start = Instant::now();
            let asleep = scan(&named, &taken, Manner::Sleep(answered));
            while taken.writes.borrow().len() <= answered.min(all_writes - 1) {
                tokio::task::yield_now().await;
            }
            delete(&folder, &large);
            assert!(folder.has_pinned(), "after {answered}");
            let error = outcome(asleep).await.unwrap_err();
            assert!(error.contains("unavailable: "), "{error}");
            let took = start.elapsed();
            assert!(took >= limit && took < limit + 2 * little, "{took:?}");
            assert!(!folder.has_pinned(), "after {answered}");
        }
    });
}

#[test]
fn an_export_into_a_sink_that_takes_nothing_ends_too() {
    let large = large(316);
    raw::paused(async |folder| {
        folder.import(&large);
        let session = folder.login();
        let named = repo(&session, large.did.as_str());
        for answered in [0, 3] {
            let taken = Rc::new(Taken::default());
            let mut request = named.export_request();
            request
                .get()
                .set_sink(Sink::client(&taken, Manner::Sleep(answered)));
            let ended = request.send().promise.await.map(|_| ());
            let error = ended.unwrap_err().extra;
            assert!(error.contains("unavailable: "), "{error}");
        }
        delete(&folder, &large);
        // The exporting thread ends as well, once it meets the closed channel.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while folder.has_pinned() {
            assert!(std::time::Instant::now() < deadline, "the export goes on");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_dropped_scan_stops_and_lets_go() {
    let large = large(317);
    raw::paused(async |folder| {
        folder.import(&large);
        let session = folder.login();
        let named = repo(&session, large.did.as_str());
        let taken = Rc::new(Taken::default());
        let running = scan(&named, &taken, Manner::Sleep(1));
        while taken.writes.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        delete(&folder, &large);
        assert!(folder.has_pinned());
        drop(running);
        let start = Instant::now();
        while folder.has_pinned() || !taken.is_dropped.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(start.elapsed() < Duration::from_secs(PUSH_SECONDS_MAX / 2));
        }
        assert_eq!(taken.writes.borrow().len(), 2);
    });
}

#[test]
fn a_sink_that_fails_ends_the_scan_with_its_error() {
    struct Full;
    impl wire::record_sink::Server for Full {
        async fn write(self: Rc<Self>, _: wire::record_sink::WriteParams) -> capnp::Result<()> {
            Err(capnp::Error::failed("the disk is full".into()))
        }
    }
    let large = large(318);
    raw::paused(async |folder| {
        folder.import(&large);
        let session = folder.login();
        let mut request = repo(&session, large.did.as_str()).scan_request();
        request.get().set_sink(new_client(Full));
        let error = outcome(request.send()).await.unwrap_err();
        assert!(error.contains("the disk is full"), "{error}");
    });
}
