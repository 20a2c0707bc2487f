//! [`Importer`], [`Upload`]: a CAR on its way into the store.

use std::rc::Rc;

use capnp::capability::RemotePromise;
use capnp_rpc::new_client;
use carrack_schema::limits::CHUNK_BYTES_MAX;
use carrack_schema::wire::store_capnp as wire;
use futures::FutureExt;
use futures::future::{Fuse, FusedFuture, LocalBoxFuture};
use tokio::sync::{OnceCell, mpsc, oneshot, watch};

use crate::actor::Link;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::read;
use crate::repo::Repo;
use crate::types::{ImportOptions, ImportOutcome, Phase, Progress};

/// Chunks that wait between the writer and the connection.
const PIECES_QUEUED_MAX: usize = 4;

/// Writing.
#[derive(Clone, Debug)]
pub struct Importer(pub(crate) Handle<wire::importer::Client>);

impl Importer {
    /// Prepares the upload of one CAR; it begins with the first bytes.
    pub fn import(&self, options: ImportOptions) -> Upload {
        let none_yet = Progress {
            phase: Phase::Receiving,
            done: 0,
            total: 0,
        };
        Upload {
            importer: self.0.clone(),
            options,
            progress: watch::channel(none_yet).0,
            running: OnceCell::new(),
        }
    }
}

/// A CAR on its way into the store: write all of it, then ask for [`done`](Self::done).
///
/// Dropped before that, the import is aborted and leaves nothing behind. It is never begun again by itself: if the
/// connection is lost, `done` fails with `unavailable`.
#[derive(Debug)]
pub struct Upload {
    importer: Handle<wire::importer::Client>,
    options: ImportOptions,
    progress: watch::Sender<Progress>,
    running: OnceCell<Running>,
}

#[derive(Debug)]
struct Running {
    pieces: mpsc::Sender<Piece>,
    next: oneshot::Sender<Next>,
    outcome: oneshot::Receiver<Result<ImportOutcome>>,
}

/// A part of an upload. A channel that closes without [`Piece::Done`] aborts it.
enum Piece {
    Bytes(Vec<u8>),
    Done,
}

/// What is to be called on the imported repo in the same flight.
#[derive(Debug)]
struct Next {
    repo: Handle<wire::repo::Client>,
    /// Told when the repo may be called.
    is_named: oneshot::Sender<()>,
}

/// What a repo says that came with an import on another connection.
const IMPORTED_AND_LOST: &str =
    "the repo came with an import on a connection which is gone; name it by its DID instead";

impl Upload {
    /// Returns the newest report of how far the import is; it changes while the upload runs.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Sends the next bytes, of any length. Waits while the store is behind, so memory stays bounded; no round trip
    /// within the stream's window.
    ///
    /// Returns false when the import has ended early: no more bytes are needed, and [`done`](Self::done) says
    /// why.
    pub async fn write(&self, bytes: &[u8]) -> bool {
        let Ok(running) = self.running().await else {
            return false;
        };
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            let piece = Piece::Bytes(chunk.to_vec());
            if running.pieces.send(piece).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends the CAR, waits for verification and commit, and returns how the import ended. One round trip, with all that
    /// was written within the stream's window.
    ///
    /// # Errors
    /// If the connection is lost (whether the import took effect is then unknown: ask for the repo's rev), or
    /// the server is at a limit. An input that was refused is an outcome, not an error.
    pub async fn done(self) -> Result<ImportOutcome> {
        self.end(None).await
    }

    /// As [`done`](Self::done), and does with the imported repo what `next` does: both in the same round trip, if that is
    /// one leaf. If the input was refused, or the import failed, calls on the repo fail and say so.
    ///
    /// # Errors
    /// As [`done`](Self::done); the answer of `next` stands by itself.
    pub async fn done_and<T>(
        self,
        next: impl AsyncFnOnce(Repo) -> T,
    ) -> (Result<ImportOutcome>, T) {
        let repo = self.importer.given(IMPORTED_AND_LOST);
        let (is_named, named) = oneshot::channel();
        let end = self.end(Some(Next {
            repo: repo.clone(),
            is_named,
        }));
        let next = async {
            // What never came to its end has no repo; then the call says so.
            let _named = named.await;
            next(Repo(repo)).await
        };
        tokio::join!(end, next)
    }

    async fn end(mut self, next: Option<Next>) -> Result<ImportOutcome> {
        self.running().await?;
        let running = self.running.take().ok_or_else(Error::gone)?;
        match next {
            // An import that was given up has closed this, and its outcome waits.
            Some(next) => drop(running.next.send(next)),
            None => drop(running.next),
        }
        // One that ended early has closed the channel.
        let _ended_early = running.pieces.send(Piece::Done).await;
        running.outcome.await.unwrap_or_else(|_| Err(Error::gone()))
    }

    async fn running(&self) -> Result<&Running> {
        let start = async || {
            let permit = self.importer.shared().permits.stream().await?;
            let (pieces, incoming) = mpsc::channel(PIECES_QUEUED_MAX);
            let (next, is_next) = oneshot::channel();
            let (options, progress) = (self.options.clone(), self.progress.clone());
            let outcome = self.importer.run(permit, async move |actor, importer| {
                let job = async move |on, link: &_| {
                    let sink = open_sink(&on, &options, progress);
                    let mut sized = expect_size(&sink, options.size);
                    let done = upload(sink, &mut sized, incoming).await?;
                    finish(link, sized, done, is_next).await
                };
                importer.once(&actor, job).await
            });
            Ok(Running {
                pieces,
                next,
                outcome,
            })
        };
        self.running.get_or_try_init(start).await
    }
}

type Done = RemotePromise<wire::car_sink::done_results::Owned>;

/// The answer to how long the CAR will be; ready at once if that was not said.
type Sized = Fuse<LocalBoxFuture<'static, capnp::Result<()>>>;

/// Says how long the CAR will be. Not waited for: the writes follow in the same flight.
fn expect_size(sink: &wire::car_sink::Client, size: Option<u64>) -> Sized {
    let Some(bytes) = size else {
        return Fuse::terminated();
    };
    let mut request = sink.expect_size_request();
    request.get().set_bytes(bytes);
    let sent = request.send();
    async { sent.promise.await.map(drop) }.boxed_local().fuse()
}

/// Feeds a sink to its end. Each `write` resolves when the stream's window has room, which holds back the caller. A length
/// that was refused ends it early.
async fn upload(
    sink: wire::car_sink::Client,
    sized: &mut Sized,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Done> {
    loop {
        let piece = tokio::select! {
            biased;
            refused = &mut *sized, if !sized.is_terminated() => {
                refused?;
                continue;
            }
            piece = pieces.recv() => piece,
        };
        match piece {
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
    Ok(sink.done_request().send())
}

/// Awaits how an import ended, and names its repo for who wants to call it before that.
async fn finish(
    link: &Link,
    sized: Sized,
    done: Done,
    next: oneshot::Receiver<Next>,
) -> Result<ImportOutcome> {
    let name = async {
        if let Ok(Next { repo, is_named }) = next.await {
            repo.adopt(link, done.pipeline.get_repo());
            // Who does not wait for it does not call it.
            let _gone = is_named.send(());
        }
    };
    let sized = async {
        if sized.is_terminated() {
            return Ok(());
        }
        sized.await
    };
    let (response, (), sized) = tokio::join!(done.promise, name, sized);
    sized?;
    Ok(read::import(&response?)?)
}

fn open_sink(
    importer: &wire::importer::Client,
    options: &ImportOptions,
    progress: watch::Sender<Progress>,
) -> wire::car_sink::Client {
    let mut request = importer.import_car_request();
    let mut params = request.get();
    read::set_import(params.reborrow().init_options(), options);
    params.set_progress(new_client(Watcher { progress }));
    request.send().pipeline.get_sink()
}

/// Passes on how far an import is.
struct Watcher {
    progress: watch::Sender<Progress>,
}

impl wire::progress::Server for Watcher {
    async fn report(
        self: Rc<Self>,
        params: wire::progress::ReportParams,
        _results: wire::progress::ReportResults,
    ) -> capnp::Result<()> {
        // A watcher that is gone does not stop the import.
        self.progress.send_replace(read::progress(params.get()?)?);
        Ok(())
    }
}
