//! [`Server`]: listeners, worker threads and their connections.
//!
//! Cap'n Proto objects may not leave their thread, so a connection lives on one worker: a thread with a
//! current-thread runtime and a `LocalSet`. One thread accepts for all listeners and deals connections out in turn:
//! unlike a listening socket per worker this also works for unix sockets, and one limit covers all. What takes long goes
//! from the workers to the threads of a pool, in which connections take turns.

mod dealer;
mod door;
mod listener;
mod places;
mod tls;
mod worker;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use carrack_client::{Address, Client};
use carrack_schema::Code;
use tokio::runtime;
use tokio::sync::watch;

use self::dealer::{Dealer, accept};
pub use self::door::{Door, Entrance};
pub(crate) use self::listener::Listen;
use self::listener::Listening;
use self::places::Places;
use self::tls::Certificate;
pub use self::tls::TlsFiles;
use self::worker::{Arrival, Incoming, Worker};
use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::rpc;
use crate::store::Store;

/// Bytes on the way each way between an in-process client and its worker.
const DUPLEX_BYTES: usize = 256 << 10;
/// How long shutting down waits for imports that are past their last check.
const IMPORTS_GRACE: Duration = Duration::from_secs(30);
/// How long a command that has done its own work still serves others on its folder's socket.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// A running server. Dropping it without [`shutdown`](Self::shutdown) leaves its threads to the process's end.
pub(crate) struct Server {
    store: Store,
    workers: Vec<Worker>,
    pool: Pool,
    acceptor: JoinHandle<()>,
    stage: watch::Sender<Stage>,
    places: Places,
    addresses: Vec<Address>,
    certificate: Option<Certificate>,
    /// Clients within this process so far: they are dealt out in turn.
    connected: AtomicUsize,
}

/// How far a server is with ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// No new connections.
    Draining,
    /// No connections.
    Stopping,
}

impl Server {
    /// Starts serving.
    ///
    /// # Errors
    /// If an address cannot be bound or may not be served as it was asked for, or no thread can be started.
    pub(crate) fn start(
        store: &Store,
        listen: Listen,
        workers: usize,
        bounds: rpc::Bounds,
    ) -> Result<Self> {
        let Listening {
            bound,
            addresses,
            certificate,
        } = listen.bind()?;
        let (stage, stages) = watch::channel(Stage::Serving);
        let service = rpc::Service::new(store.clone(), bounds);
        let pool = Pool::start(workers).map_err(not_started)?;
        let workers = (0..workers.max(1))
            .map(|number| Worker::start(number, service.clone(), pool.lanes(), stages.clone()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(not_started)?;
        let places = Places::default();
        let inboxes = workers.iter().map(|worker| worker.inbox.clone()).collect();
        let dealer = Dealer::new(inboxes, places.clone());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(not_started)?;
        let acceptor = std::thread::Builder::new()
            .name("carrack-accept".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(accept(bound, dealer, stages)) {
                    tracing::error!(%error, "no longer accepting connections");
                }
            })
            .map_err(not_started)?;
        Ok(Self {
            store: store.clone(),
            workers,
            pool,
            acceptor,
            stage,
            places,
            addresses,
            certificate,
            connected: AtomicUsize::new(0),
        })
    }

    /// Returns where it listens; a TCP port that was asked for as 0 is the one it got.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Reads the certificate anew for connections to come, if one is shown.
    ///
    /// # Errors
    /// If the new one is of no use; then the one before is shown.
    pub(crate) fn reload_certificate(&self) -> Result<()> {
        match &self.certificate {
            Some(certificate) => certificate.reload(),
            None => Ok(()),
        }
    }

    /// Returns a client within this process, served like any other. The worker that serves it drives it, too.
    pub(crate) fn connect(&self) -> Client {
        let (ours, stream) = tokio::io::duplex(DUPLEX_BYTES);
        let (client, start) = Client::elsewhere(ours);
        let turn = self.connected.fetch_add(1, Ordering::Relaxed);
        if let Some(worker) = self.workers.get(turn % self.workers.len().max(1)) {
            // A worker that is gone has closed its inbox; then the stream is dropped, and the client with it.
            let _closed = worker.inbox.send(Incoming {
                arrival: Arrival::Inside(stream, start),
                door: Door::Owner,
                _place: None,
            });
        }
        client
    }

    /// Stops accepting, and waits until those who are connected have left, for some time.
    pub(crate) fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
        if !wait_until(DRAIN_GRACE, || self.places.are_free()) {
            tracing::debug!("others are still connected; they will find the folder's next owner");
        }
    }

    /// Stops accepting, ends imports that are not yet committing, waits for those that are, lets each connection take
    /// its last answers, and joins all threads.
    pub(crate) fn shutdown(self) {
        self.stage.send_replace(Stage::Draining);
        self.store.close();
        if !wait_until(IMPORTS_GRACE, || self.store.imports() == 0) {
            tracing::warn!(
                "an import did not end in time; its data folder stays locked until it does"
            );
        }
        self.stage.send_replace(Stage::Stopping);
        for thread in self
            .workers
            .into_iter()
            .map(|worker| worker.thread)
            .chain([self.acceptor])
        {
            if thread.join().is_err() {
                tracing::error!("a server thread panicked");
            }
        }
        // Nobody is left who waits for its jobs.
        self.pool.shutdown();
    }
}

/// Waits for something that other threads bring about, and says whether it came before the deadline.
pub(crate) fn wait_until(grace: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = std::time::Instant::now() + grace;
    while !done() {
        if std::time::Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn not_started(error: io::Error) -> Error {
    Error::because(Code::Unavailable, "the server cannot start", error)
}
