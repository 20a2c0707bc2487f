//! [`Watch`]: what changes in a store, as it does.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use capnp_rpc::new_client;
use carrack_schema::wire::store_capnp as wire;
use carrack_schema::{Cid, Code};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::push::Push;
use crate::read;
use crate::scope::Selection;

/// The words of a watch that ended.
const ENDED: &str = "the watch ended: the connection was lost, the authority it was made with is over, or the store \
    shut down; watch again, and look at what changed meanwhile";

/// What changed at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Repos that changed since the last time, each once.
    pub changes: Vec<Change>,
    /// There were more than the store keeps for a slow reader: any repo may have changed.
    pub missed: bool,
}

/// A repo that changed, and what it is at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The repo.
    pub did: String,
    /// Its current revision; empty if it is not there any more, or hidden.
    pub rev: String,
    /// Its current commit.
    pub commit: Option<Cid>,
    /// The last thing that became of it.
    pub kind: ChangeKind,
    /// Its records now.
    pub records: u64,
}

/// What became of a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A revision was imported.
    Imported,
    /// A record was deleted from the store.
    RecordDeleted,
    /// The repo was deleted from the store.
    RepoDeleted,
    /// The account's status, handle or verdict is another one.
    Status,
    /// A server that is newer than this client said something else.
    Unknown,
}

impl ChangeKind {
    /// Returns its name, as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::RecordDeleted => "recordDeleted",
            Self::RepoDeleted => "repoDeleted",
            Self::Status => "status",
            Self::Unknown => "unknown",
        }
    }
}

/// What changes in a store from when this was returned, also as a stream; ends with an error, never by itself.
///
/// A reader that is slow is told less often, and of each repo the newest. Dropping it ends the watch. It is not begun
/// again if the connection is lost, because what changed meanwhile would go unnoticed.
#[derive(Debug)]
pub struct Watch {
    news: Push<Changes, ()>,
    is_over: bool,
}

impl Watch {
    /// Begins a watch, and returns once the server tells of every change.
    pub(crate) async fn begin(
        store: &Handle<wire::store::Client>,
        repos: Selection,
    ) -> Result<Self> {
        let (begun, has_begun) = oneshot::channel();
        let mut news = store.push(1, async move |on, news| {
            let (over, is_over) = oneshot::channel::<()>();
            let mut request = on.watch_request();
            let mut params = request.get();
            read::grant::set_selection(params.reborrow().init_repos(), &repos);
            params.set_listener(new_client(Listener { news, _over: over }));
            let response = request.send().promise.await?;
            let _watch = response.get()?.get_watch()?;
            // Who waits for this is gone only if all of the watch is.
            let _gone = begun.send(());
            // The server holds the listener as long as it tells it anything.
            let _over = is_over.await;
            Err(Error::new(Code::Unavailable, ENDED))
        });
        news.begin().await;
        if has_begun.await.is_err() {
            news.done().await?;
            return Err(Error::gone());
        }
        let is_over = false;
        Ok(Self { news, is_over })
    }

    /// Waits until something changed, and says what; none after the error that ended it. No round trip: what changed comes by
    /// itself.
    ///
    /// # Errors
    /// `unavailable` if the connection was lost, or the authority that the watch was made with is over.
    pub async fn next(&mut self) -> Option<Result<Changes>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Changes>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(changes) = ready!(self.news.poll_next(context)) {
            return Poll::Ready(Some(Ok(changes)));
        }
        let outcome = ready!(self.news.poll_outcome(context));
        self.is_over = true;
        Poll::Ready(outcome.err().map(Err))
    }
}

impl futures::Stream for Watch {
    type Item = Result<Changes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context)
    }
}

/// Passes news on. A call is answered when there is room, so that a slow reader is told of each repo's newest.
struct Listener {
    news: mpsc::Sender<Changes>,
    /// Closed when the server lets go of this.
    _over: oneshot::Sender<()>,
}

impl wire::listener::Server for Listener {
    async fn changed(
        self: Rc<Self>,
        params: wire::listener::ChangedParams,
        _results: wire::listener::ChangedResults,
    ) -> capnp::Result<()> {
        let changes = read::reading::changes(params.get()?)?;
        let left = |_| capnp::Error::disconnected("the receiver left".into());
        self.news.send(changes).await.map_err(left)
    }
}
