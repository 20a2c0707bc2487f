//! Cap'n Proto by hand, without the client library: what the schema says, and clients that do not do as ours does.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use carrack_schema::wire::store_capnp as wire;
use carrack_segment::{Directory, Fs};
use carrack_store::{Door as ServerDoor, Entrance, ImportRequest, Outcome, SystemClock, rpc};
use futures::AsyncReadExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::door::{Door, Store};

/// Runs a body with a connection to the unix socket of a store.
pub(crate) fn through(body: impl AsyncFn(&Store, wire::session::Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = Store::open(Door::Unix).await;
        let socket = store.folder.path().join("carrack.sock");
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        body(&store, login(stream)).await;
        store.owner.shutdown();
    });
}

/// Runs a body on a paused clock with a store and a way to connect to it.
pub(crate) fn paused(body: impl AsyncFn(Folder)) {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, body(folder));
}

/// A store of this process.
pub(crate) struct Folder {
    pub(crate) store: carrack_store::Store,
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
        let store = carrack_store::Store::open(directory, Arc::new(SystemClock)).unwrap();
        Self { store, folder }
    }

    pub(crate) fn import(&self, repo: &kit::Repo) {
        assert!(matches!(self.import_any(repo), Outcome::Imported(_)));
    }

    /// Imports a repo that may be there.
    pub(crate) fn import_any(&self, repo: &kit::Repo) -> Outcome {
        let car = repo.car(kit::Order::Pds);
        self.store
            .import(&car[..], &ImportRequest::default(), |_| ())
            .unwrap()
    }

    /// Logs in on a connection of its own.
    pub(crate) fn login(&self) -> wire::session::Client {
        self.login_counted().0
    }

    /// As [`login`](Self::login), and counts the bytes that come from the server.
    pub(crate) fn login_counted(&self) -> (wire::session::Client, Rc<Cell<usize>>) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server = rpc::serve(self.store.clone(), Entrance::new(ServerDoor::Owner), theirs);
        tokio::task::spawn_local(async move {
            let _ended = server.await;
        });
        let count = Rc::new(Cell::new(0));
        let (input, output) = tokio::io::split(ours);
        let input = Counted {
            input,
            count: count.clone(),
        };
        (login(tokio::io::join(input, output)), count)
    }

    /// Says whether this process has a segment in memory that is gone from the folder: somebody reads on in a snapshot.
    pub(crate) fn has_pinned(&self) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let folder = self.folder.path().to_str().unwrap();
        maps.lines()
            .any(|map| map.contains(folder) && map.ends_with(".cseg (deleted)"))
    }
}

/// Bytes on their way in, counted.
struct Counted<R> {
    input: R,
    count: Rc<Cell<usize>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.input).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.count.set(self.count.get() + read);
        polled
    }
}

fn login(stream: impl AsyncRead + AsyncWrite + 'static) -> wire::session::Client {
    let (input, output) = stream.compat().split();
    let network = VatNetwork::new(input, output, Side::Client, Default::default());
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate: wire::gate::Client = system.bootstrap(Side::Server);
    tokio::task::spawn_local(async move {
        let _ended = system.await;
    });
    gate.login_request().send().pipeline.get_session()
}

/// Names a repo.
pub(crate) fn repo(session: &wire::session::Client, did: &str) -> wire::repo::Client {
    let store = session.store_request().send().pipeline.get_store();
    let mut request = store.repo_request();
    request.get().set_did(did);
    request.send().pipeline.get_repo()
}
