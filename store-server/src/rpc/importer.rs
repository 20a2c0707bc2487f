//! [`Importer`] and its sink: a CAR streamed in, progress reported out.
//!
//! The import itself runs on a thread of its own ([`Store::import`]); the sink feeds it through a bounded channel, so
//! a slow disk holds back the sender. Dropping the sink before `done` closes the channel, which the import takes as
//! an abort. After `done` the thread goes on though the caller may leave: a commit is whole or absent.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::{Rc, Weak};
use std::time::Duration;

use capnp_rpc::new_client;
use carrack_schema::Code;
use carrack_schema::limits::{
    CAR_BYTES_MAX, CHUNK_BYTES_MAX, IMPORT_CHUNKS_QUEUED_MAX, IMPORT_IDLE_SECONDS_MAX,
};
use carrack_schema::wire::store_capnp::{
    car_sink, import_options, import_report, importer, progress,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::caller::{Call, Caller};
use super::error::{Failure, answer, exception};
use super::view;
use crate::auth::{Authority, Operation};
use crate::error::{Error, Result};
use crate::ingest::{ImportRequest, Outcome, Phase, Progress, Report};

pub(super) struct Importer {
    caller: Caller,
}

impl Importer {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }
}

impl importer::Server for Importer {
    async fn import_car(
        self: Rc<Self>,
        params: importer::ImportCarParams,
        mut results: importer::ImportCarResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let caller = self.caller.hop_for(Operation::Import)?;
            let params = params.get()?;
            let sink = Sink {
                caller,
                progress: if params.has_progress() {
                    Some(params.get_progress()?)
                } else {
                    None
                },
                state: RefCell::new(State::Waiting(Box::new(request(params.get_options()?)?))),
                last_write: Cell::new(Instant::now()),
            };
            results.get().set_sink(new_client(sink));
            Ok(())
        })
    }
}

/// Reads an import's options off the wire; what is empty there is not given.
fn request(options: import_options::Reader<'_>) -> Result<ImportRequest, Failure> {
    let document = options.get_did_document()?;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let did = given(options.get_did()?.to_str()?)
        .map(|did| did.parse())
        .transpose()?;
    let status = given(options.get_status()?.to_str()?)
        .map(|status| status.parse())
        .transpose();
    Ok(ImportRequest {
        did,
        size: None,
        did_document: (!document.is_empty()).then(|| document.to_vec()),
        require_signature: options.get_require_signature(),
        allow_partial: options.get_allow_partial(),
        status: status.map_err(|error| Error::because(Code::InvalidArgument, "status", error))?,
    })
}

/// A part of the CAR on its way to the import's thread. A channel that closes without `Done` is an abort.
enum Piece {
    Bytes(Vec<u8>),
    Done,
}

struct Sink {
    caller: Caller,
    progress: Option<progress::Client>,
    state: RefCell<State>,
    last_write: Cell<Instant>,
}

enum State {
    /// Nothing has been written.
    Waiting(Box<ImportRequest>),
    /// The thread runs.
    Running(Running),
    /// A method has the thread's channels and will say how it ended.
    Ending,
    /// The import is over; the error is for whoever asks next.
    Ended(capnp::Error),
}

struct Running {
    pieces: mpsc::Sender<Piece>,
    outcome: oneshot::Receiver<Result<Outcome>>,
    /// Reports progress, watches for silence; they end with this.
    _tasks: JoinSet<()>,
}

impl car_sink::Server for Sink {
    async fn write(self: Rc<Self>, params: car_sink::WriteParams) -> capnp::Result<()> {
        let bytes = params.get()?.get_bytes()?;
        if bytes.len() > CHUNK_BYTES_MAX {
            let words = format!(
                "a chunk of {} bytes; at most {CHUNK_BYTES_MAX} go in one write",
                bytes.len()
            );
            return Err(exception(&Error::new(Code::LimitExceeded, words)));
        }
        // What breaks the stream here is no fault of the bytes: an authority that ended or is used up.
        let call = self.admit().and_then(|call| {
            call.authority().charge(bytes.len())?;
            Ok(call)
        });
        let call = call.map_err(|error| self.abort(&error))?;
        let piece = Piece::Bytes(bytes.to_vec());
        self.last_write.set(Instant::now());
        // An error here would break the stream, and `done` could not say why the import ended.
        if let Ok(pieces) = Sink::running(&self, &call) {
            let _ended_early = pieces.send(piece).await;
        }
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _params: car_sink::DoneParams,
        mut results: car_sink::DoneResults,
    ) -> capnp::Result<()> {
        let call = self.admit().map_err(|error| self.abort(&error))?;
        let _started = Sink::running(&self, &call)?;
        let mut running = match self.state.replace(State::Ending) {
            State::Running(running) => running,
            other => {
                self.state.replace(other);
                return Err(ended());
            }
        };
        // An import that ended early has closed the channel, and its outcome waits.
        let _ended_early = running.pieces.send(Piece::Done).await;
        let outcome = (&mut running.outcome).await;
        self.state.replace(State::Ended(ended()));
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Error::new(
                Code::Internal,
                "the import's thread ended without an outcome",
            ))
        });
        answer(|| {
            let mut result = results.get().init_result();
            match outcome {
                Ok(Outcome::Imported(report)) => fill(result.init_imported(), &report),
                Ok(Outcome::Unchanged(report)) => fill(result.init_unchanged(), &report),
                Err(error) if error.code().exit() == carrack_schema::codes::Exit::Refused => {
                    let mut rejection = result.reborrow().init_rejected();
                    rejection.set_code(error.code().as_str());
                    rejection.set_words(error.chain());
                }
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })
    }

    async fn expect_size(
        self: Rc<Self>,
        params: car_sink::ExpectSizeParams,
        _results: car_sink::ExpectSizeResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let _call = self.admit()?;
            let size = params.get()?.get_bytes();
            if size > CAR_BYTES_MAX {
                let words = format!("a CAR of {size} bytes; at most {CAR_BYTES_MAX} are taken");
                return Err(Error::new(Code::LimitExceeded, words).into());
            }
            if let State::Waiting(request) = &mut *self.state.borrow_mut() {
                request.size = Some(size);
            }
            Ok(())
        })
    }
}

impl Sink {
    /// Lets in a call on this sink.
    fn admit(&self) -> Result<Call> {
        self.caller.enter()
    }

    /// Returns the way to the import's thread, starting it at the first call.
    fn running(self: &Rc<Self>, call: &Call) -> capnp::Result<mpsc::Sender<Piece>> {
        let mut state = self.state.borrow_mut();
        if let State::Waiting(request) = &mut *state {
            let request = std::mem::take(&mut **request);
            *state = match start(self, call, request) {
                Ok(running) => State::Running(running),
                Err(error) => State::Ended(exception(&error)),
            };
        }
        match &*state {
            State::Running(running) => Ok(running.pieces.clone()),
            State::Ended(error) => Err(error.clone()),
            State::Waiting(_) | State::Ending => Err(ended()),
        }
    }

    /// Ends an import that nobody has asked to be done: dropping its channels aborts it. Returns why.
    fn abort(&self, error: &Error) -> capnp::Error {
        let error = exception(error);
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Waiting(_) | State::Running(_)) {
            *state = State::Ended(error.clone());
        }
        error
    }
}

/// Aborts an upload that sends nothing for too long, whose authority ends, or that the store is closing under.
async fn watch(sink: Weak<Sink>, authority: Authority, mut closing: watch::Receiver<bool>) {
    const IDLE: Duration = Duration::from_secs(IMPORT_IDLE_SECONDS_MAX);
    loop {
        let Some(deadline) = sink.upgrade().map(|sink| sink.last_write.get() + IDLE) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                let Some(sink) = sink.upgrade() else { return };
                if sink.last_write.get() + IDLE <= Instant::now() {
                    let words = format!("the upload sent nothing for {IMPORT_IDLE_SECONDS_MAX} seconds");
                    sink.abort(&Error::new(Code::Unavailable, words));
                    return;
                }
            }
            ended = authority.ended() => {
                if let Some(sink) = sink.upgrade() {
                    sink.abort(&ended);
                }
                return;
            }
            _ = closing.wait_for(|closing| *closing) => {
                let Some(sink) = sink.upgrade() else { return };
                let words = "the store is shutting down; import again";
                sink.abort(&Error::new(Code::Unavailable, words));
                return;
            }
        }
    }
}

fn ended() -> capnp::Error {
    exception(&Error::new(
        Code::InvalidArgument,
        "this import is over; ask the importer for another sink",
    ))
}

/// Starts the thread of one import and the tasks beside it.
fn start(sink: &Rc<Sink>, call: &Call, request: ImportRequest) -> Result<Running> {
    let store = call.store();
    let permit = store.admit_import()?;
    let (pieces, incoming) = mpsc::channel(IMPORT_CHUNKS_QUEUED_MAX);
    let (answer, outcome) = oneshot::channel();
    let first = Progress {
        phase: Phase::Receiving,
        done: 0,
        total: request.size.unwrap_or(0),
    };
    let (reports, watcher) = watch::channel(first);
    let store = store.clone();
    let import = move || {
        let feed = Feed {
            incoming,
            piece: Vec::new(),
            read: 0,
            done: false,
        };
        let result = store.import(feed, &request, |progress| {
            reports.send_replace(progress);
        });
        // Free before the answer goes out: whoever has it may import again.
        drop(permit);
        // A caller that left does not hear how it ended.
        let _left = answer.send(result);
    };
    std::thread::Builder::new()
        .name("carrack-import".into())
        .spawn(import)
        .map_err(|error| Error::because(Code::Overloaded, "no thread for another import", error))?;
    let mut tasks = JoinSet::new();
    let (authority, closing) = (call.authority().clone(), call.store().closing());
    tasks.spawn_local(watch(Rc::downgrade(sink), authority, closing));
    if let Some(client) = sink.progress.clone() {
        tasks.spawn_local(report(client, watcher));
    }
    Ok(Running {
        pieces,
        outcome,
        _tasks: tasks,
    })
}

/// Passes progress on, one call at a time: while one is outstanding newer figures replace each other.
async fn report(client: progress::Client, mut watcher: watch::Receiver<Progress>) {
    while watcher.changed().await.is_ok() {
        let Progress { phase, done, total } = *watcher.borrow_and_update();
        let mut request = client.report_request();
        let mut params = request.get();
        params.set_phase(match phase {
            Phase::Receiving => progress::Phase::Receiving,
            Phase::Packing => progress::Phase::Packing,
            Phase::Committing => progress::Phase::Committing,
        });
        params.set_done(done);
        params.set_total(total);
        if request.send().promise.await.is_err() {
            return;
        }
    }
}

/// The import's end of the channel, as a reader.
struct Feed {
    incoming: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    read: usize,
    done: bool,
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() && !self.done {
            match self.incoming.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    self.piece = bytes;
                    self.read = 0;
                }
                Some(Piece::Done) => self.done = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the sender left",
                    ));
                }
            }
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

fn fill(mut wire: import_report::Builder<'_>, report: &Report) {
    view::repo_info(wire.reborrow().init_info(), &report.summary);
    wire.set_blocks(report.summary.blocks);
    let count = view::count(report.collections.len());
    view::collections(wire.init_collections(count), &report.collections);
}
