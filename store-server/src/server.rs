//! [`Server`]: listeners, worker threads and their connections.
//!
//! Cap'n Proto objects may not leave their thread, so a connection lives on one worker: a thread with a
//! current-thread runtime and a `LocalSet`. One thread accepts for all listeners and deals connections out in turn:
//! unlike a listening socket per worker this also works for unix sockets, and one limit covers all.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use carrack_client::Address;
use carrack_schema::Code;
use carrack_schema::limits::CONNECTIONS_MAX;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::error::{Error, Result};
use crate::rpc;
use crate::store::Store;

/// Bytes on the way each way between an in-process client and its worker.
const DUPLEX_BYTES: usize = 256 << 10;
/// How long shutting down waits for imports that are past their last check.
const IMPORTS_GRACE: Duration = Duration::from_secs(30);
/// How long a command that has done its own work still serves others on its folder's socket.
const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// How long a connection gets to take its last answers at shutdown.
const GOODBYE: Duration = Duration::from_secs(1);

/// A running server. Dropping it without [`shutdown`](Self::shutdown) leaves its threads to the process's end.
pub struct Server {
    store: Store,
    workers: Vec<Worker>,
    acceptor: JoinHandle<()>,
    stage: watch::Sender<Stage>,
    permits: Arc<Semaphore>,
    addresses: Vec<Address>,
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

struct Worker {
    inbox: mpsc::UnboundedSender<Incoming>,
    thread: JoinHandle<()>,
}

/// A connection on its way to its worker.
enum Incoming {
    Tcp(std::net::TcpStream, OwnedSemaphorePermit),
    Unix(std::os::unix::net::UnixStream, OwnedSemaphorePermit),
    /// From this process; it does not count against the limit on peers.
    Duplex(DuplexStream),
}

impl Server {
    /// Starts serving on unix sockets that are bound already and on TCP addresses.
    ///
    /// # Errors
    /// If an address cannot be bound or is not loopback, or no thread can be started.
    pub fn start(
        store: &Store,
        unix: Vec<(PathBuf, std::os::unix::net::UnixListener)>,
        tcp: &[SocketAddr],
        workers: usize,
    ) -> Result<Self> {
        let mut addresses = Vec::new();
        let mut unix_listeners = Vec::new();
        for (path, listener) in unix {
            listener.set_nonblocking(true).map_err(not_started)?;
            addresses.push(Address::Unix(path));
            unix_listeners.push(listener);
        }
        let mut tcp_listeners = Vec::new();
        for address in tcp {
            let listener = bind_tcp(*address)?;
            addresses.push(Address::Tcp(listener.local_addr().map_err(not_started)?));
            tcp_listeners.push(listener);
        }
        let (stage, stages) = watch::channel(Stage::Serving);
        let workers = (0..workers.max(1))
            .map(|number| Worker::start(number, store.clone(), stages.clone()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(not_started)?;
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let dealer = Dealer {
            inboxes: workers.iter().map(|worker| worker.inbox.clone()).collect(),
            next: 0,
            permits: permits.clone(),
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(not_started)?;
        let acceptor = std::thread::Builder::new()
            .name("carrack-accept".into())
            .spawn(move || {
                if let Err(error) =
                    runtime.block_on(accept(tcp_listeners, unix_listeners, dealer, stages))
                {
                    tracing::error!(%error, "no longer accepting connections");
                }
            })
            .map_err(not_started)?;
        Ok(Self {
            store: store.clone(),
            workers,
            acceptor,
            stage,
            permits,
            addresses,
        })
    }

    /// Returns where it listens; a TCP port that was asked for as 0 is the one it got.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Returns a connection from within this process, served like any other.
    pub fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
        if let Some(worker) = self.workers.first() {
            // A worker that is gone has closed its inbox; then `theirs` is dropped, and ours ends at once.
            let _closed = worker.inbox.send(Incoming::Duplex(theirs));
        }
        ours
    }

    /// Stops accepting, and waits until those who are connected have left, for some time.
    pub fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
        let gone = || self.permits.available_permits() == CONNECTIONS_MAX;
        if !wait_until(DRAIN_GRACE, gone) {
            tracing::debug!("others are still connected; they will find the folder's next owner");
        }
    }

    /// Stops accepting, ends imports that are not yet committing, waits for those that are, lets each connection take
    /// its last answers, and joins all threads.
    pub fn shutdown(self) {
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

fn bind_tcp(address: SocketAddr) -> Result<std::net::TcpListener> {
    if !address.ip().is_loopback() {
        let words = format!(
            "{address} is not a loopback address; without grants anyone who reaches it would own the store, so \
             listen on 127.0.0.1 and bring others in through a tunnel"
        );
        return Err(Error::new(Code::Denied, words));
    }
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: io::Error| {
        Error::because(
            Code::Unavailable,
            format!("cannot listen on {address}"),
            error,
        )
    })
}

fn not_started(error: io::Error) -> Error {
    Error::because(Code::Unavailable, "the server cannot start", error)
}

/// Deals connections out to workers in turn.
struct Dealer {
    inboxes: Vec<mpsc::UnboundedSender<Incoming>>,
    next: usize,
    permits: Arc<Semaphore>,
}

impl Dealer {
    fn deal(&mut self, incoming: Incoming) {
        let Some(inbox) = self.inboxes.get(self.next) else {
            return;
        };
        // A worker that is gone closes what it is sent.
        let _closed = inbox.send(incoming);
        self.next = (self.next + 1) % self.inboxes.len();
    }

    fn tcp(&mut self, stream: TcpStream) -> io::Result<()> {
        // Beyond the limit the connection is closed at once, which its peer sees.
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "too many connections");
            return Ok(());
        };
        stream.set_nodelay(true)?;
        self.deal(Incoming::Tcp(stream.into_std()?, permit));
        Ok(())
    }

    fn unix(&mut self, stream: UnixStream) -> io::Result<()> {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "too many connections");
            return Ok(());
        };
        self.deal(Incoming::Unix(stream.into_std()?, permit));
        Ok(())
    }
}

/// Accepts on all listeners until told to stop.
async fn accept(
    tcp: Vec<std::net::TcpListener>,
    unix: Vec<std::os::unix::net::UnixListener>,
    dealer: Dealer,
    mut stages: watch::Receiver<Stage>,
) -> io::Result<()> {
    let tcp: Vec<_> = tcp
        .into_iter()
        .map(TcpListener::from_std)
        .collect::<io::Result<_>>()?;
    let unix: Vec<_> = unix
        .into_iter()
        .map(UnixListener::from_std)
        .collect::<io::Result<_>>()?;
    let dealer = std::cell::RefCell::new(dealer);
    let accepting = async {
        let tcp = tcp.iter().map(|listener| {
            let dealer = &dealer;
            let one: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
                loop {
                    let accepted = listener.accept().await;
                    let dealt = accepted.and_then(|(stream, _)| dealer.borrow_mut().tcp(stream));
                    after(dealt).await;
                }
            });
            one
        });
        let unix = unix.iter().map(|listener| {
            let dealer = &dealer;
            let one: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
                loop {
                    let accepted = listener.accept().await;
                    let dealt = accepted.and_then(|(stream, _)| dealer.borrow_mut().unix(stream));
                    after(dealt).await;
                }
            });
            one
        });
        futures::future::join_all(tcp.chain(unix)).await;
    };
    tokio::select! {
        _ = stages.wait_for(|stage| *stage > Stage::Serving) => {}
        () = accepting => {}
    }
    Ok(())
}

/// A failed accept is the peer's fault or a lack of file descriptors; the latter passes, so wait and go on.
async fn after(dealt: io::Result<()>) {
    if let Err(error) = dealt {
        tracing::warn!(%error, "a connection was not accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Worker {
    fn start(number: usize, store: Store, stages: watch::Receiver<Stage>) -> io::Result<Self> {
        let (inbox, incoming) = mpsc::unbounded_channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("carrack-worker-{number}"))
            .spawn(move || LocalSet::new().block_on(&runtime, work(store, incoming, stages)))?;
        Ok(Self { inbox, thread })
    }
}

/// Serves the connections a worker is dealt until told to stop.
async fn work(
    store: Store,
    mut incoming: mpsc::UnboundedReceiver<Incoming>,
    mut stages: watch::Receiver<Stage>,
) {
    let mut connections = JoinSet::new();
    let leaving = stages.clone();
    loop {
        tokio::select! {
            connection = incoming.recv() => {
                let Some(connection) = connection else { break };
                let (store, stages) = (store.clone(), leaving.clone());
                connections.spawn_local(async move {
                    if let Err(error) = adopt(store, connection, stages).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
            _ = stages.wait_for(|stage| *stage == Stage::Stopping) => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Makes a dealt socket one of this worker's and serves it. The permit is held as long as the connection.
async fn adopt(
    store: Store,
    incoming: Incoming,
    stages: watch::Receiver<Stage>,
) -> capnp::Result<()> {
    match incoming {
        Incoming::Tcp(stream, _permit) => serve(store, TcpStream::from_std(stream)?, stages).await,
        Incoming::Unix(stream, _permit) => {
            serve(store, UnixStream::from_std(stream)?, stages).await
        }
        Incoming::Duplex(stream) => serve(store, stream, stages).await,
    }
}

async fn serve(
    store: Store,
    stream: impl AsyncRead + AsyncWrite + 'static,
    mut stages: watch::Receiver<Stage>,
) -> capnp::Result<()> {
    let mut system = rpc::serve(store, stream);
    tokio::select! {
        ended = &mut system => return ended,
        _ = stages.wait_for(|stage| *stage == Stage::Stopping) => {}
    }
    // Disconnecting flushes the answers that are on their way; a peer that takes none is not waited for.
    let disconnect = system.get_disconnector();
    let goodbye = async {
        tokio::select! {
            biased;
            ended = system => ended,
            ended = disconnect => ended,
        }
    };
    tokio::time::timeout(GOODBYE, goodbye)
        .await
        .unwrap_or(Ok(()))
}
