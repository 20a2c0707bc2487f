//! [`Scan`]: all records of a listing, pushed by the server.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use capnp::capability::{FromClientHook, RemotePromise};
use capnp_rpc::new_client;
use carrack_schema::wire::store_capnp as wire;
use tokio::sync::mpsc;

use crate::error::Result;
use crate::handle::Handle;
use crate::push::Push;
use crate::read;
use crate::types::{Found, RecordData, Source};

/// Pages that wait between the connection and the reader: each is at most what one page of a listing may be.
const PAGES_QUEUED_MAX: usize = 2;

/// All records of a listing, from one snapshot: a stream that ends after the last record or with an error.
///
/// One round trip to the first records, then they flow as fast as they are taken, and one more to the end. Memory is
/// bounded by some pages and the stream's window. It begins with the first poll; dropping it stops it. An absent repo or
/// collection is its one item, an error with code `notFound`. It is not begun again if the connection is lost; a server
/// that is not read from for a minute ends it with `unavailable`.
#[derive(Debug)]
pub struct Scan {
    pages: Push<Vec<RecordData>, Found<ScanReport>>,
    page: std::vec::IntoIter<RecordData>,
    state: State,
}

#[derive(Debug)]
enum State {
    Running,
    /// There are no more pages.
    Ending,
    Ended(Option<ScanReport>),
}

/// What a whole scan was of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanReport {
    /// Where its records are from.
    pub source: Source,
    /// How many there were.
    pub records: u64,
    /// Their bytes on the wire, beside a fixed part for each.
    pub bytes: u64,
}

impl Scan {
    /// Starts with the call that `send` makes on `on`.
    pub(crate) fn new<C: FromClientHook + 'static>(
        on: &Handle<C>,
        send: impl FnOnce(C, wire::record_sink::Client) -> RemotePromise<wire::scan_result::Owned>
        + Send
        + 'static,
    ) -> Self {
        let pages = on.push(PAGES_QUEUED_MAX, async |on, pages| {
            let sent = send(on, new_client(Sink { pages }));
            Ok(read::reading::scan(&sent.promise.await?)?)
        });
        Self {
            pages,
            page: Vec::new().into_iter(),
            state: State::Running,
        }
    }

    /// Returns what the scan was of, once the stream has ended without an error.
    pub fn report(&self) -> Option<&ScanReport> {
        match &self.state {
            State::Ended(report) => report.as_ref(),
            State::Running | State::Ending => None,
        }
    }
}

impl futures::Stream for Scan {
    type Item = Result<RecordData>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let scan = self.get_mut();
        loop {
            if let Some(record) = scan.page.next() {
                return Poll::Ready(Some(Ok(record)));
            }
            match scan.state {
                State::Running => match ready!(scan.pages.poll_next(context)) {
                    Some(page) => scan.page = page.into_iter(),
                    None => scan.state = State::Ending,
                },
                State::Ending => {
                    let outcome = ready!(scan.pages.poll_outcome(context));
                    let (report, error) = match outcome {
                        Ok(Ok(report)) => (Some(report), None),
                        Ok(Err(absent)) => (None, Some(absent.into())),
                        Err(error) => (None, Some(error)),
                    };
                    scan.state = State::Ended(report);
                    return Poll::Ready(error.map(Err));
                }
                State::Ended(_) => return Poll::Ready(None),
            }
        }
    }
}

/// Passes pages on. A write is answered when there is room, which holds back the server.
struct Sink {
    pages: mpsc::Sender<Vec<RecordData>>,
}

impl wire::record_sink::Server for Sink {
    async fn write(self: Rc<Self>, params: wire::record_sink::WriteParams) -> capnp::Result<()> {
        let page = read::reading::records(params.get()?.get_records()?)?;
        let left = |_| capnp::Error::disconnected("the receiver left".into());
        self.pages.send(page).await.map_err(left)
    }

    async fn done(
        self: Rc<Self>,
        _params: wire::record_sink::DoneParams,
        _results: wire::record_sink::DoneResults,
    ) -> capnp::Result<()> {
        // The end is the answer to the scan itself.
        Ok(())
    }
}
