//! [`World`]: a store that is served, an honest client, and the heap.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_capnp::{exception, message, return_};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use carrack_client::{Client, Session, Want};
use carrack_schema::wire::store_capnp as wire;
use carrack_segment::{Directory, Fs};
use carrack_store::rpc::{Bounds, Service};
use carrack_store::{Door, Entrance, ImportRequest, Store, StoreSettings, SystemClock};
use kit::{Order, Repo, RepoSpec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::HEAP;

/// Bytes on the way each way between a peer and the server.
const DUPLEX_BYTES: usize = 64 << 10;
/// A time that no honest answer takes; it only catches a hang.
pub(crate) const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// The heap is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store that is served on this task's `LocalSet`.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) repo: Repo,
    pub(crate) service: Service,
    _folder: tempfile::TempDir,
}

/// How a connection ended, once it has.
pub(crate) type Served = JoinHandle<capnp::Result<()>>;

/// Runs a body with a store that holds one repo, on a clock that stands still while anything is to be done.
pub(crate) fn paused(bounds: Bounds, body: impl AsyncFn(&World)) {
    let _alone = alone();
    run(true, bounds, |disk| disk, body);
}

/// As [`paused`], on the real clock: for what other threads do.
pub(crate) fn ticking(bounds: Bounds, body: impl AsyncFn(&World)) {
    let _alone = alone();
    run(false, bounds, |disk| disk, body);
}

/// As [`ticking`], on a disk that is something else.
pub(crate) fn ticking_on(
    bounds: Bounds,
    wrap: impl FnOnce(Arc<dyn Directory>) -> Arc<dyn Directory>,
    body: impl AsyncFn(&World),
) {
    let _alone = alone();
    run(false, bounds, wrap, body);
}

fn run(
    start_paused: bool,
    bounds: Bounds,
    wrap: impl FnOnce(Arc<dyn Directory>) -> Arc<dyn Directory>,
    body: impl AsyncFn(&World),
) {
    let folder = tempfile::tempdir().unwrap();
    let directory = wrap(Arc::new(Fs::open(folder.path()).unwrap()));
    let settings = StoreSettings {
        import_memory_bytes: 1 << 20,
        ..StoreSettings::default()
    };
    let store = Store::open_with(directory, Arc::new(SystemClock), settings).unwrap();
    let repo = RepoSpec {
        records: 300,
        seed: 81,
        ..RepoSpec::default()
    }
    .build();
    store
        .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
        .unwrap();
    let world = World {
        service: Service::new(store.clone(), bounds),
        store,
        repo,
        _folder: folder,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(start_paused)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let never = if start_paused { NEVER } else { NEVER / 1_000 };
        tokio::time::timeout(never, body(&world))
            .await
            .expect("nothing hangs");
    });
    drop(runtime);
    world.store.close();
}

impl World {
    /// Returns a peer's end of a connection that is served.
    pub(crate) fn connect(&self) -> (DuplexStream, Served) {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        let service = self.service.clone();
        let served = tokio::task::spawn_local(async move {
            let entrance = Entrance::new(Door::Owner);
            service
                .serve(entrance, theirs, std::future::pending())
                .await
        });
        (ours, served)
    }

    /// Returns an honest client of its own connection.
    pub(crate) fn honest(&self) -> Session {
        let (ours, _served) = self.connect();
        let (client, connection) = Client::local(ours);
        tokio::task::spawn_local(connection);
        client.login("")
    }

    /// Has a record read by an honest client that comes now.
    pub(crate) async fn serves_another(&self) {
        self.serves(&self.honest()).await;
    }

    pub(crate) async fn serves(&self, session: &Session) {
        let record = &self.repo.records[0];
        let lookup = session
            .store()
            .repo(self.repo.did.as_str())
            .record(&record.path)
            .read(Want::default())
            .await;
        assert!(
            matches!(lookup, Ok(Ok(_))),
            "another client is served: {lookup:?}"
        );
    }

    /// Does some work, and has an honest client served every second of it and at its end.
    pub(crate) async fn serves_while<T>(
        &self,
        session: &Session,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let second = tokio::time::sleep(Duration::from_secs(1));
            let done = tokio::select! {
                biased;
                done = &mut work => Some(done),
                () = second => None,
            };
            self.serves(session).await;
            if let Some(done) = done {
                return done;
            }
        }
    }

    /// Returns a client of the RPC library's own, which can be made to misbehave.
    pub(crate) fn raw(&self) -> (wire::gate::Client, Served) {
        let (ours, served) = self.connect();
        let (input, output) = tokio::io::split(ours);
        (speak(input, output), served)
    }
}

/// Speaks the protocol as the library does, on a stream with ends of one's choice.
pub(crate) fn speak(
    input: impl AsyncRead + Unpin + 'static,
    output: impl tokio::io::AsyncWrite + Unpin + 'static,
) -> wire::gate::Client {
    let network = VatNetwork::new(
        input.compat(),
        output.compat_write(),
        Side::Client,
        capnp::message::ReaderOptions::new(),
    );
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate = system.bootstrap(Side::Server);
    tokio::task::spawn_local(async move {
        let _ended = system.await;
    });
    gate
}

/// Waits until everything that can go on has gone on. On a paused clock this takes no time.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Sends bytes; whether the server took them all.
pub(crate) async fn send(peer: &mut DuplexStream, bytes: &[u8]) -> bool {
    peer.write_all(bytes).await.is_ok()
}

/// What the server said: the answers' questions, and their errors.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) answers: Vec<u32>,
    pub(crate) errors: Vec<(u32, exception::Type, String)>,
    pub(crate) abort: Option<String>,
}

/// Reads all that the server says until it closes.
pub(crate) async fn hear_all(peer: &mut DuplexStream) -> Heard {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).await.unwrap();
    heard(&bytes)
}

/// Reads what the server has to say now.
pub(crate) async fn hear(peer: &mut DuplexStream) -> Heard {
    let mut bytes = Vec::new();
    while tokio::time::timeout(Duration::from_millis(1), peer.read_buf(&mut bytes))
        .await
        .is_ok_and(|read| read.unwrap() > 0)
    {}
    heard(&bytes)
}

fn heard(mut bytes: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let mut options = capnp::message::ReaderOptions::new();
    options.traversal_limit_in_words(None);
    while let Some(reader) = capnp::serialize::try_read_message(&mut bytes, options).unwrap() {
        let message = reader.get_root::<message::Reader<'_>>().unwrap();
        match message.which().unwrap() {
            message::Return(answer) => {
                let answer = answer.unwrap();
                match answer.which().unwrap() {
                    return_::Exception(error) => {
                        let error = error.unwrap();
                        heard.errors.push((
                            answer.get_answer_id(),
                            error.get_type().unwrap(),
                            error.get_reason().unwrap().to_string().unwrap(),
                        ));
                    }
                    _ => heard.answers.push(answer.get_answer_id()),
                }
            }
            message::Abort(error) => {
                let words = error.unwrap().get_reason().unwrap();
                heard.abort = Some(words.to_string().unwrap());
            }
            _ => {}
        }
    }
    heard
}

/// Bytes of the heap that a test takes at its worst, beyond what it began with.
pub(crate) struct Heap {
    before: usize,
}

impl Heap {
    pub(crate) fn measure() -> Self {
        HEAP.reset_peak_usage();
        Self {
            before: HEAP.current_usage(),
        }
    }

    /// Returns the most bytes that were taken at a time since the measurement began.
    pub(crate) fn peak(&self) -> usize {
        HEAP.peak_usage().saturating_sub(self.before)
    }

    /// Returns the bytes that are taken now.
    pub(crate) fn now(&self) -> usize {
        HEAP.current_usage().saturating_sub(self.before)
    }

    pub(crate) fn assert_peak(&self, most: usize) {
        let peak = self.peak();
        eprintln_kib("peak", peak);
        assert!(
            peak <= most,
            "{} KiB of heap at the worst; {} KiB are allowed",
            peak >> 10,
            most >> 10
        );
    }
}

/// Shows a figure when a test is run with its output.
#[expect(clippy::print_stderr, reason = "a figure for whoever measures")]
pub(crate) fn eprintln_kib(what: &str, bytes: usize) {
    eprintln!("{what}: {} KiB", bytes >> 10);
}
