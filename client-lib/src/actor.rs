//! The actor: the one task that owns a connection and every `!Send` capability on it.
//!
//! Its inbox is [`Command`]. A handle chooses the id of what it opens and never waits for a reply, so a chain of
//! hops leaves in one flight: the actor keeps, under each id, the *promised* capability that the hop's pipeline
//! gave. Calls run as tasks that the actor owns; they end with it.

use std::collections::HashMap;
use std::rc::Rc;

use capnp::capability::{RemotePromise, Response};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use carrack_schema::limits::{CLIENT_MESSAGE_WORDS_MAX, STREAM_WINDOW_BYTES};
use carrack_schema::wire::store_capnp as wire;
use futures::io::{AsyncReadExt, BufReader, BufWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::error::{Error, Result};
use crate::read;
use crate::types::{
    About, CheckFinding, CheckProgress, CheckReport, CollectionInfo, Compacted, Deleted,
    ExportReport, Found, ImportOptions, ImportOutcome, Page, PageRequest, Progress, Proof, Range,
    RecordData, RepoInfo, RepoList, Source, StoreStats, Want,
};

/// Id of the bootstrap capability.
pub(crate) const GATE: u64 = 0;

/// Buffer of each direction, in bytes. Unbuffered costs up to twice the CPU a call (measured upstream of us).
const BUFFER_BYTES: usize = 64 << 10;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// All that can happen to the actor.
pub(crate) enum Command {
    /// Send a hop's call on `parent` and keep the capability it promises as `id`.
    Open { id: u64, parent: u64, hop: Hop },
    /// Call a leaf.
    Call { on: u64, call: Call },
    /// The last handle of `id` is gone.
    Release(u64),
}

pub(crate) enum Hop {
    Session { credential: String },
    Store,
    Importer,
    Keeper,
    Repo { did: String },
    Collection { nsid: String },
    Record { path: String },
    RecordOf { rkey: String },
}

pub(crate) enum Call {
    About(Reply<About>),
    Stats(Reply<StoreStats>),
    Repos {
        after: String,
        limit: u32,
        reply: Reply<RepoList>,
    },
    Info(Reply<Found<RepoInfo>>),
    Collections(Reply<Found<Vec<CollectionInfo>>>),
    List {
        range: Range,
        want: Want,
        page: PageRequest,
        reply: Reply<Found<Page>>,
    },
    Read {
        want: Want,
        reply: Reply<Found<(Source, RecordData)>>,
    },
    Prove(Reply<Found<Proof>>),
    Export {
        chunks: mpsc::Sender<Vec<u8>>,
        reply: Reply<Found<ExportReport>>,
    },
    Import {
        options: ImportOptions,
        progress: Option<watch::Sender<Progress>>,
        pieces: mpsc::Receiver<Piece>,
        reply: Reply<ImportOutcome>,
    },
    Delete {
        repo: String,
        path: String,
        purge: bool,
        reply: Reply<Found<Deleted>>,
    },
    Compact {
        repo: String,
        cold: bool,
        reply: Reply<Found<Compacted>>,
    },
    Check {
        quick: bool,
        findings: mpsc::Sender<CheckFinding>,
        progress: watch::Sender<CheckProgress>,
        reply: Reply<CheckReport>,
    },
}

/// A part of an upload. A channel that closes without [`Piece::Done`] aborts it.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    Done,
}

enum Capability {
    Gate(wire::gate::Client),
    Session(wire::session::Client),
    Store(wire::store::Client),
    Repo(wire::repo::Client),
    Collection(wire::collection::Client),
    Record(wire::record_cap::Client),
    Importer(wire::importer::Client),
    Keeper(wire::keeper::Client),
}

/// Drives a connection until its last handle is gone or the peer is.
pub(crate) async fn run(
    stream: impl AsyncRead + AsyncWrite + 'static,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let (input, output) = stream.compat().split();
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(CLIENT_MESSAGE_WORDS_MAX));
    let mut network = VatNetwork::new(
        BufReader::with_capacity(BUFFER_BYTES, input),
        BufWriter::with_capacity(BUFFER_BYTES, output),
        Side::Client,
        options,
    );
    network.set_window_size(STREAM_WINDOW_BYTES);
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate = system.bootstrap(Side::Server);
    let disconnect = system.get_disconnector();
    let mut actor = Actor {
        capabilities: HashMap::from([(GATE, Capability::Gate(gate))]),
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => actor.handle(command),
                None => break,
            },
            Some(_) = actor.tasks.join_next() => {}
            ended = &mut system => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection to the store ended");
                }
                return;
            }
        }
    }
    // Nobody holds a handle: flush what was sent (releases, an abort) and close.
    drop(actor);
    let goodbye = async {
        tokio::select! {
            _ = disconnect => {}
            _ = system => {}
        }
    };
    if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
        tracing::debug!("the store did not take the goodbye");
    }
}

/// How long a peer that reads nothing may hold up closing.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

struct Actor {
    capabilities: HashMap<u64, Capability>,
    tasks: JoinSet<()>,
}

impl Actor {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Open { id, parent, hop } => {
                // Without its parent the id stays empty, and calls on it answer that the connection is gone.
                if let Some(parent) = self.capabilities.get(&parent)
                    && let Some(opened) = open(parent, hop)
                {
                    self.capabilities.insert(id, opened);
                }
            }
            Command::Call { on, call } => {
                if let Some(capability) = self.capabilities.get(&on) {
                    start(&mut self.tasks, capability, call);
                }
            }
            Command::Release(id) => {
                self.capabilities.remove(&id);
            }
        }
    }
}

/// Sends a hop and returns what it promises; none if the parent has no such hop.
fn open(parent: &Capability, hop: Hop) -> Option<Capability> {
    Some(match (parent, hop) {
        (Capability::Gate(gate), Hop::Session { credential }) => {
            let mut request = gate.login_request();
            request.get().set_credential(&credential);
            Capability::Session(request.send().pipeline.get_session())
        }
        (Capability::Session(session), Hop::Store) => {
            Capability::Store(session.store_request().send().pipeline.get_store())
        }
        (Capability::Session(session), Hop::Importer) => {
            Capability::Importer(session.importer_request().send().pipeline.get_importer())
        }
        (Capability::Session(session), Hop::Keeper) => {
            Capability::Keeper(session.keeper_request().send().pipeline.get_keeper())
        }
        (Capability::Store(store), Hop::Repo { did }) => {
            let mut request = store.repo_request();
            request.get().set_did(&did);
            Capability::Repo(request.send().pipeline.get_repo())
        }
        (Capability::Repo(repo), Hop::Collection { nsid }) => {
            let mut request = repo.collection_request();
            request.get().set_nsid(&nsid);
            Capability::Collection(request.send().pipeline.get_collection())
        }
        (Capability::Repo(repo), Hop::Record { path }) => {
            let mut request = repo.record_request();
            request.get().set_path(&path);
            Capability::Record(request.send().pipeline.get_record())
        }
        (Capability::Collection(collection), Hop::RecordOf { rkey }) => {
            let mut request = collection.record_request();
            request.get().set_rkey(&rkey);
            Capability::Record(request.send().pipeline.get_record())
        }
        _ => return None,
    })
}

/// Sends a leaf's call and spawns the task that answers it.
fn start(tasks: &mut JoinSet<()>, on: &Capability, call: Call) {
    match (on, call) {
        (Capability::Session(session), Call::About(reply)) => {
            answer(tasks, session.about_request().send(), reply, read::about);
        }
        (Capability::Store(store), Call::Stats(reply)) => {
            answer(tasks, store.stats_request().send(), reply, read::stats);
        }
        (
            Capability::Store(store),
            Call::Repos {
                after,
                limit,
                reply,
            },
        ) => {
            let mut request = store.repos_request();
            request.get().set_after(&after);
            request.get().set_limit(limit);
            answer(tasks, request.send(), reply, read::repos);
        }
        (Capability::Repo(repo), Call::Info(reply)) => {
            answer(tasks, repo.info_request().send(), reply, read::info);
        }
        (Capability::Repo(repo), Call::Collections(reply)) => {
            answer(
                tasks,
                repo.collections_request().send(),
                reply,
                read::collections,
            );
        }
        (
            Capability::Repo(repo),
            Call::List {
                range,
                want,
                page,
                reply,
            },
        ) => {
            let mut request = repo.list_request();
            let mut params = request.get();
            read::set_range(params.reborrow().init_range(), &range);
            read::set_want(params.reborrow().init_want(), &want);
            read::set_page(params.init_page(), &page);
            answer(tasks, request.send(), reply, read::page);
        }
        (
            Capability::Collection(collection),
            Call::List {
                range,
                want,
                page,
                reply,
            },
        ) => {
            let mut request = collection.list_request();
            let mut params = request.get();
            read::set_range(params.reborrow().init_range(), &range);
            read::set_want(params.reborrow().init_want(), &want);
            read::set_page(params.init_page(), &page);
            answer(tasks, request.send(), reply, read::page);
        }
        (Capability::Record(record), Call::Read { want, reply }) => {
            let mut request = record.read_request();
            read::set_want(request.get().init_want(), &want);
            answer(tasks, request.send(), reply, read::read);
        }
        (Capability::Record(record), Call::Prove(reply)) => {
            answer(tasks, record.prove_request().send(), reply, read::proof);
        }
        (Capability::Repo(repo), Call::Export { chunks, reply }) => {
            let mut request = repo.export_request();
            request.get().set_sink(new_client(ChunkSink { chunks }));
            answer(tasks, request.send(), reply, read::export);
        }
        (
            Capability::Importer(importer),
            Call::Import {
                options,
                progress,
                pieces,
                reply,
            },
        ) => {
            let sink = open_sink(importer, &options, progress);
            tasks.spawn_local(async move {
                respond(upload(sink, options.size, pieces), reply).await;
            });
        }
        (
            Capability::Keeper(keeper),
            Call::Delete {
                repo,
                path,
                purge,
                reply,
            },
        ) => {
            let mut request = keeper.delete_request();
            let mut params = request.get();
            params.set_repo(&repo);
            params.set_path(&path);
            params.set_purge(purge);
            answer(tasks, request.send(), reply, read::deleted);
        }
        (Capability::Keeper(keeper), Call::Compact { repo, cold, reply }) => {
            let mut request = keeper.compact_request();
            request.get().set_repo(&repo);
            request.get().set_cold(cold);
            answer(tasks, request.send(), reply, read::compacted);
        }
        (
            Capability::Keeper(keeper),
            Call::Check {
                quick,
                findings,
                progress,
                reply,
            },
        ) => {
            let mut request = keeper.check_request();
            request.get().set_quick(quick);
            let watcher = CheckWatcher { findings, progress };
            request.get().set_watcher(new_client(watcher));
            answer(tasks, request.send(), reply, read::check);
        }
        // A handle's type allows only the calls of its own capability; dropping the reply answers "gone".
        _ => {}
    }
}

/// Awaits a call's answer and passes it on; a caller that stopped waiting cancels the call.
fn answer<R, T>(
    tasks: &mut JoinSet<()>,
    sent: RemotePromise<R>,
    reply: Reply<T>,
    read: fn(&Response<R>) -> capnp::Result<T>,
) where
    R: capnp::traits::Pipelined + capnp::traits::Owned + Unpin + 'static,
    T: 'static,
{
    let call = async move {
        let response = sent.promise.await?;
        Ok(read(&response)?)
    };
    tasks.spawn_local(respond(call, reply));
}

async fn respond<T>(call: impl Future<Output = Result<T>>, mut reply: Reply<T>) {
    tokio::select! {
        result = call => {
            // The caller may have gone in this very moment; then nobody wants the result.
            let _gone = reply.send(result);
        }
        () = reply.closed() => {}
    }
}

fn open_sink(
    importer: &wire::importer::Client,
    options: &ImportOptions,
    progress: Option<watch::Sender<Progress>>,
) -> wire::car_sink::Client {
    let mut request = importer.import_car_request();
    let mut params = request.get();
    read::set_import(params.reborrow().init_options(), options);
    if let Some(watcher) = progress {
        params.set_progress(new_client(ProgressSink { watcher }));
    }
    request.send().pipeline.get_sink()
}

/// Feeds a sink. Each `write` resolves when the stream's window has room, which holds back the caller.
async fn upload(
    sink: wire::car_sink::Client,
    size: Option<u64>,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<ImportOutcome> {
    if let Some(bytes) = size {
        let mut request = sink.expect_size_request();
        request.get().set_bytes(bytes);
        request.send().promise.await?;
    }
    loop {
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => {
                let mut request = sink.write_request();
                request.get().set_bytes(&bytes);
                // A failed write has ended the import; `done` says why.
                if request.send().await.is_err() {
                    break;
                }
            }
            Some(Piece::Done) => break,
            // The upload was dropped before it was done; dropping the sink aborts the import.
            None => return Err(Error::gone()),
        }
    }
    // From here on the writer is not listened to: its next chunk meets a closed channel.
    drop(pieces);
    let response = sink.done_request().send().promise.await?;
    Ok(read::import(&response)?)
}

struct ProgressSink {
    watcher: watch::Sender<Progress>,
}

impl wire::progress::Server for ProgressSink {
    async fn report(
        self: Rc<Self>,
        params: wire::progress::ReportParams,
        _results: wire::progress::ReportResults,
    ) -> capnp::Result<()> {
        // A watcher that is gone does not stop the import.
        self.watcher.send_replace(read::progress(params.get()?)?);
        Ok(())
    }
}

/// Passes an export's bytes on. A write is answered when they have room, which holds back the server.
struct ChunkSink {
    chunks: mpsc::Sender<Vec<u8>>,
}

impl wire::byte_sink::Server for ChunkSink {
    async fn write(self: Rc<Self>, params: wire::byte_sink::WriteParams) -> capnp::Result<()> {
        let bytes = params.get()?.get_bytes()?.to_vec();
        let left = |_| capnp::Error::disconnected("the receiver left".into());
        self.chunks.send(bytes).await.map_err(left)
    }

    async fn done(
        self: Rc<Self>,
        _params: wire::byte_sink::DoneParams,
        _results: wire::byte_sink::DoneResults,
    ) -> capnp::Result<()> {
        // The end is the answer to the export itself.
        Ok(())
    }
}

/// Passes on what a check tells. A finding is answered when it has room, which holds back the server.
struct CheckWatcher {
    findings: mpsc::Sender<CheckFinding>,
    progress: watch::Sender<CheckProgress>,
}

impl wire::check_watcher::Server for CheckWatcher {
    async fn found(
        self: Rc<Self>,
        params: wire::check_watcher::FoundParams,
        _results: wire::check_watcher::FoundResults,
    ) -> capnp::Result<()> {
        let finding = read::finding(params.get()?.get_finding()?)?;
        let left = |_| capnp::Error::disconnected("the receiver left".into());
        self.findings.send(finding).await.map_err(left)
    }

    async fn progress(
        self: Rc<Self>,
        params: wire::check_watcher::ProgressParams,
        _results: wire::check_watcher::ProgressResults,
    ) -> capnp::Result<()> {
        // A check that nobody watches still tells what it finds.
        self.progress
            .send_replace(read::check_progress(params.get()?)?);
        Ok(())
    }
}
