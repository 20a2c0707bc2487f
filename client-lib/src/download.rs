//! [`Download`]: a CAR on its way out of the store.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use capnp_rpc::new_client;
use carrack_schema::wire::store_capnp as wire;
use futures::Stream;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::push::Push;
use crate::read;
use crate::types::{ExportReport, Found};

/// Chunks that wait between the connection and the reader.
const CHUNKS_QUEUED_MAX: usize = 4;

/// A CAR on its way out of the store: take its chunks to the last, then ask for [`done`](Self::done).
///
/// As a [`Stream`] it says itself how it failed: a last item is the error, which is `notFound` for a repo that is not
/// held. Dropping it stops the export. What came before the end was seen may end anywhere. It is not begun again if the
/// connection is lost.
#[derive(Debug)]
pub struct Download {
    chunks: Push<Vec<u8>, Found<ExportReport>>,
    /// How it ended, once the stream has seen that.
    outcome: Option<Result<Found<ExportReport>>>,
}

impl Download {
    pub(crate) fn new(repo: &Handle<wire::repo::Client>) -> Self {
        let chunks = repo.push(CHUNKS_QUEUED_MAX, async |on, chunks| {
            let mut request = on.export_request();
            request.get().set_sink(new_client(Sink { chunks }));
            let response = request.send().promise.await?;
            Ok(read::export(&response)?)
        });
        Self {
            chunks,
            outcome: None,
        }
    }

    /// Returns the next bytes; none after the last, or when the export has failed. One round trip to the first, then they
    /// flow.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.chunks.next().await
    }

    /// Returns how the export ended, whatever chunks are left. One round trip after the last bytes came.
    ///
    /// # Errors
    /// `incomplete` for a repo that was imported as partial, `damaged` if the store's files are; as every leaf.
    pub async fn done(self) -> Result<Found<ExportReport>> {
        match self.outcome {
            Some(outcome) => outcome,
            None => self.chunks.done().await,
        }
    }
}

impl Stream for Download {
    type Item = Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.outcome.is_some() {
            return Poll::Ready(None);
        }
        if let Some(chunk) = ready!(self.chunks.poll_next(context)) {
            return Poll::Ready(Some(Ok(chunk)));
        }
        let outcome = ready!(self.chunks.poll_outcome(context));
        let failed = match &outcome {
            Ok(Ok(_)) => None,
            Ok(Err(absent)) => Some(Err(Error::from(*absent))),
            Err(error) => Some(Err(error.clone())),
        };
        self.outcome = Some(outcome);
        Poll::Ready(failed)
    }
}

/// Passes an export's bytes on. A write is answered when they have room, which holds back the server.
struct Sink {
    chunks: mpsc::Sender<Vec<u8>>,
}

impl wire::byte_sink::Server for Sink {
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
