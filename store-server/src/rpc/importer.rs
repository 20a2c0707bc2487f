//! [`Importer`] and its sink: a CAR streamed in, progress reported out.
//!
//! The import itself runs on a thread of its own ([`Store::import`]); the sink feeds it through a bounded channel, so
//! a slow disk holds back the sender. Dropping the sink before `done` closes the channel, which the import takes as
//! an abort. After `done` the thread goes on though the caller may leave: a commit is whole or absent.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use capnp_rpc::{new_broken_cap, new_client};
use carrack_schema::limits::{CAR_BYTES_MAX, CHUNK_BYTES_MAX, IMPORT_IDLE_SECONDS_MAX};
use carrack_schema::names::RepoName;
use carrack_schema::wire::store_capnp::{
    car_sink, import_options, import_report, importer, progress, repo,
};
use carrack_schema::{Code, Did};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::caller::{Call, Caller};
use super::error::{Failure, answer, answer_async, exception};
use super::feed::{Feed, Piece, Stall};
use super::repo::{RepoObject, RepoRef};
use super::thread::Work;
use super::view;
use crate::auth::audit::Deed;
use crate::auth::{Authority, Operation};
use crate::error::{Error, Result};
use crate::import_queue::ImportPlace;
use crate::ingest::{ImportRequest, Outcome, Phase, Progress, Report};
use crate::store::Store;

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
            caller.check_all_collections("an import is of all that a repository has")?;
            let params = params.get()?;
            let request = request(params.get_options()?, caller.authority())?;
            if let Some(did) = &request.did {
                caller.check_repo(did)?;
            }
            let sink = Sink {
                caller,
                told: Told::default(),
                progress: if params.has_progress() {
                    Some(params.get_progress()?)
                } else {
                    None
                },
                state: RefCell::new(State::Waiting(Box::new(request))),
                last_write: Cell::new(Instant::now()),
            };
            results.get().set_sink(new_client(sink));
            Ok(())
        })
    }
}

/// Reads an import's options off the wire; what is empty there is not given.
fn request(
    options: import_options::Reader<'_>,
    authority: &Authority,
) -> Result<ImportRequest, Failure> {
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
        guard: Some(Arc::new(authority.clone())),
    })
}

struct Sink {
    caller: Caller,
    progress: Option<progress::Client>,
    state: RefCell<State>,
    last_write: Cell<Instant>,
    told: Told,
}

/// What the audit log is told of the import when it is over, once.
#[derive(Default)]
struct Told {
    calls: Cell<u64>,
    bytes: Cell<u64>,
    is_over: Cell<bool>,
}

enum State {
    /// Nothing has been written.
    Waiting(Box<ImportRequest>),
    /// A method waits for a place among the imports that run.
    Admitting,
    /// The thread runs.
    Running(Running),
    /// A method has the thread's channels and will say how it ended.
    Ending,
    /// The import is over; the error is for whoever asks next.
    Ended(capnp::Error),
}

struct Running {
    pieces: mpsc::Sender<Piece>,
    work: Work<Outcome>,
    /// Reports progress, watches for silence; they end with this.
    _tasks: JoinSet<()>,
}

impl car_sink::Server for Sink {
    async fn write(self: Rc<Self>, params: car_sink::WriteParams) -> capnp::Result<()> {
        answer_async(async {
            let bytes = params.get()?.get_bytes()?;
            if bytes.len() > CHUNK_BYTES_MAX {
                let words = format!(
                    "a chunk of {} bytes; at most {CHUNK_BYTES_MAX} go in one write",
                    bytes.len()
                );
                return Err(Error::new(Code::LimitExceeded, words).into());
            }
            // What breaks the stream here is no fault of the bytes: an authority that ended or is used up.
            let call = self.admit().map_err(|error| self.abort(&error))?;
            self.last_write.set(Instant::now());
            let charged = call.charge_paced(bytes.len()).await;
            charged.map_err(|error| self.abort(&error))?;
            self.told.bytes.update(|told| told + bytes.len() as u64);
            let piece = Piece::Bytes(bytes.to_vec());
            // An error here would break the stream, and `done` could not say why the import ended.
            if let Ok(pieces) = Sink::running(&self, &call).await {
                let _ended_early = pieces.send(piece).await;
            }
            Ok(())
        })
        .await
    }

    async fn done(
        self: Rc<Self>,
        _params: car_sink::DoneParams,
        mut results: car_sink::DoneResults,
    ) -> capnp::Result<()> {
        let call = self.admit().map_err(|error| self.abort(&error))?;
        let _started = Sink::running(&self, &call).await?;
        let running = match self.state.replace(State::Ending) {
            State::Running(running) => running,
            other => {
                self.state.replace(other);
                return Err(ended());
            }
        };
        // An import that ended early has closed the channel, and its outcome waits.
        let Running {
            pieces,
            work,
            _tasks,
        } = running;
        let _ended_early = pieces.send(Piece::Done).await;
        let outcome = work.outcome().await;
        self.state.replace(State::Ended(ended()));
        match &outcome {
            Ok(Outcome::Imported(report)) => self.tell("imported", Some(&report.summary.did)),
            Ok(Outcome::Unchanged(report)) => self.tell("unchanged", Some(&report.summary.did)),
            Err(error) => self.tell(error.code().as_str(), None),
        }
        answer(|| {
            let mut results = results.get();
            results.set_repo(self.repo(&outcome));
            let mut result = results.init_result();
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
    /// Returns the repo that was imported, with the authority of who imported it; a broken capability that says why if
    /// there is none. What was imported stays so, whatever becomes of this.
    fn repo(&self, outcome: &Result<Outcome>) -> repo::Client {
        let repo = match outcome {
            Ok(Outcome::Imported(report) | Outcome::Unchanged(report)) => self
                .caller
                .beside()
                .and_then(|caller| RepoRef::new(caller, RepoName::Did(report.summary.did.clone()))),
            Err(error) => {
                let words = format!("nothing was imported: {}", error.chain());
                Err(Error::new(error.code(), words))
            }
        };
        match repo {
            Ok(repo) => new_client(RepoObject::new(repo)),
            Err(error) => FromClientHook::new(new_broken_cap(exception(&error)).hook),
        }
    }

    /// Lets in a call on this sink.
    fn admit(&self) -> Result<Call> {
        self.told.calls.update(|calls| calls + 1);
        self.caller.enter()
    }

    /// Tells the audit log how the import ended.
    fn tell(&self, outcome: &str, did: Option<&Did>) {
        if self.told.is_over.replace(true) {
            return;
        }
        self.caller.tell(Deed {
            what: "import",
            repo: did.map(Did::as_str),
            object: None,
            calls: self.told.calls.get(),
            bytes: self.told.bytes.get(),
            outcome,
        });
    }

    /// Returns the way to the import's thread, starting it at the first call.
    async fn running(self: &Rc<Self>, call: &Call) -> capnp::Result<mpsc::Sender<Piece>> {
        let request = match &mut *self.state.borrow_mut() {
            State::Waiting(request) => Some(std::mem::take(&mut **request)),
            _ => None,
        };
        if let Some(request) = request {
            self.state.replace(State::Admitting);
            let _admitting = Admitting(self);
            let admission = async {
                let place = call.store().admit_import(call.authority().id()).await;
                place.map_err(|error| exception(&error))
            };
            let place = call.while_allowed(admission).await;
            self.last_write.set(Instant::now());
            let started = place.and_then(|place| {
                start(self, call, place, request).map_err(|error| exception(&error))
            });
            self.state.replace(match started {
                Ok(running) => State::Running(running),
                Err(error) => State::Ended(error),
            });
        }
        match &*self.state.borrow() {
            State::Running(running) => Ok(running.pieces.clone()),
            State::Ended(error) => Err(error.clone()),
            State::Waiting(_) | State::Admitting | State::Ending => Err(ended()),
        }
    }

    /// Ends an import that nobody has asked to be done: dropping its channels aborts it. Returns why.
    fn abort(&self, error: &Error) -> capnp::Error {
        // One that was asked to be done may still take effect; it tells itself whether it did.
        if !matches!(*self.state.borrow(), State::Ending) {
            self.tell(error.code().as_str(), None);
        }
        let error = exception(error);
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::Waiting(_) | State::Running(_)) {
            *state = State::Ended(error.clone());
        }
        error
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // One that was never written to was no import.
        if self.told.calls.get() > 0 {
            self.tell("left", None);
        }
    }
}

/// A call that waits for its import's place. One that is dropped meanwhile ends the sink.
struct Admitting<'a>(&'a Sink);

impl Drop for Admitting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        if matches!(*state, State::Admitting) {
            *state = State::Ended(ended());
        }
    }
}

/// Aborts an upload that sends nothing for too long, whose authority ends, that keeps a place waiting which others wait
/// for, or that the store is closing under.
async fn watch(sink: Weak<Sink>, authority: Authority, store: Store, stall: Stall) {
    /// Between two looks at how long the import has waited for bytes.
    const LOOK: Duration = Duration::from_secs(1);
    let mut closing = store.closing();
    loop {
        let error = tokio::select! {
            () = tokio::time::sleep(LOOK) => {
                let Some(sink) = sink.upgrade() else { return };
                match check_pace(&store, sink.last_write.get().elapsed(), stall.waited()) {
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            ended = authority.ended() => ended,
            _ = closing.wait_for(|closing| *closing) => {
                let words = "the store is shutting down; import again";
                Error::new(Code::Unavailable, words)
            }
        };
        if let Some(sink) = sink.upgrade() {
            sink.abort(&error);
        }
        return;
    }
}

/// Says whether an upload that has sent nothing for `silent`, and has let its import wait for `stalled`, may keep its place.
fn check_pace(store: &Store, silent: Duration, stalled: Duration) -> Result<()> {
    if silent >= Duration::from_secs(IMPORT_IDLE_SECONDS_MAX) {
        let words = format!("the upload sent nothing for {IMPORT_IDLE_SECONDS_MAX} seconds");
        return Err(Error::new(Code::Unavailable, words));
    }
    if stalled >= store.inner().settings.import_stall && store.inner().imports.has_waiting() {
        let words = format!(
            "others wait for a place, and this upload let its own wait {} seconds for bytes; \
             import again when it can be sent at once",
            stalled.as_secs()
        );
        return Err(Error::new(Code::Overloaded, words));
    }
    Ok(())
}

fn ended() -> capnp::Error {
    exception(&Error::new(
        Code::InvalidArgument,
        "this import is over; ask the importer for another sink",
    ))
}

/// Starts the thread of one import and the tasks beside it.
fn start(
    sink: &Rc<Sink>,
    call: &Call,
    place: ImportPlace,
    request: ImportRequest,
) -> Result<Running> {
    let store = call.store();
    let (pieces, feed) = Feed::new();
    let stall = feed.stall();
    let first = Progress {
        phase: Phase::Receiving,
        done: 0,
        total: request.size.unwrap_or(0),
    };
    let (reports, watcher) = watch::channel(first);
    let store = store.clone();
    let import = move || {
        store.import(feed, &request, |progress| {
            reports.send_replace(progress);
        })
    };
    let work = Work::start("carrack-import", place, import)?;
    let mut tasks = JoinSet::new();
    let (authority, store) = (call.authority().clone(), call.store().clone());
    tasks.spawn_local(watch(Rc::downgrade(sink), authority, store, stall));
    if let Some(client) = sink.progress.clone() {
        tasks.spawn_local(report(client, watcher));
    }
    Ok(Running {
        pieces,
        work,
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

fn fill(mut wire: import_report::Builder<'_>, report: &Report) {
    view::repo_info(wire.reborrow().init_info(), &report.summary);
    wire.set_blocks(report.summary.blocks);
    let count = view::count(report.collections.len());
    view::collections(wire.init_collections(count), &report.collections);
}

#[cfg(test)]
mod tests {
    use carrack_schema::limits::{IMPORT_STALL_SECONDS_MAX, IMPORTS_MAX};
    use carrack_segment::Directory;
    use carrack_segment::directory::mem::Mem;
    use futures::FutureExt;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn an_upload_may_be_silent_and_slow_for_so_long() {
        let directory: Arc<dyn Directory> = Arc::new(Mem::new());
        let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
        let (idle, stall) = (
            Duration::from_secs(IMPORT_IDLE_SECONDS_MAX),
            Duration::from_secs(IMPORT_STALL_SECONDS_MAX),
        );
        let moment = Duration::from_nanos(1);
        let code = |silent, stalled| match check_pace(&store, silent, stalled) {
            Ok(()) => None,
            Err(error) => Some(error.code()),
        };
        assert_eq!(code(idle - moment, Duration::ZERO), None);
        assert_eq!(code(idle, Duration::ZERO), Some(Code::Unavailable));
        // Slow is only who lets others wait.
        assert_eq!(code(Duration::ZERO, stall), None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let mut places: Vec<_> = (0..=IMPORTS_MAX)
            .map(|_| Box::pin(store.admit_import("somebody")))
            .collect();
        let entered: Vec<_> = places.iter_mut().map(FutureExt::now_or_never).collect();
        assert!(matches!(entered[..], [Some(Ok(_)), .., None]));
        assert_eq!(code(Duration::ZERO, stall - moment), None);
        assert_eq!(code(Duration::ZERO, stall), Some(Code::Overloaded));
    }
}
