//! [`Listing`]: which records, in which form, read page by page.

use carrack_schema::wire::store_capnp as wire;
use futures::{Stream, TryStreamExt, stream};

use crate::error::Result;
use crate::handle::{Handle, Repeat};
use crate::read;
use crate::scan::Scan;

use crate::types::{Cursor, Found, Page, PageRequest, Range, RecordData, Want};

/// A listing: which records, in which form; read page by page.
#[derive(Clone, Debug)]
pub struct Listing {
    on: Listed,
    range: Range,
    want: Want,
}

/// What is listed.
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    Repo(Handle<wire::repo::Client>),
    Collection(Handle<wire::collection::Client>),
}

impl Listing {
    pub(crate) fn new(on: Listed, range: Range, want: Want) -> Self {
        Self { on, range, want }
    }

    /// Returns one page. One round trip.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` for a cursor of another listing or an altered one.
    pub async fn page(&self, page: PageRequest) -> Result<Found<Page>> {
        let (range, want) = (self.range.clone(), self.want.clone());
        match &self.on {
            Listed::Repo(repo) => {
                let send = move |on: &wire::repo::Client| {
                    let mut request = on.list_request();
                    let mut params = request.get();
                    read::set_range(params.reborrow().init_range(), &range);
                    read::set_want(params.reborrow().init_want(), &want);
                    read::set_page(params.init_page(), &page);
                    request.send()
                };
                repo.ask(Repeat::Once, send, read::page).await
            }
            Listed::Collection(collection) => {
                let send = move |on: &wire::collection::Client| {
                    let mut request = on.list_request();
                    let mut params = request.get();
                    read::set_range(params.reborrow().init_range(), &range);
                    read::set_want(params.reborrow().init_want(), &want);
                    read::set_page(params.init_page(), &page);
                    request.send()
                };
                collection.ask(Repeat::Once, send, read::page).await
            }
        }
    }

    /// Prepares a scan: all records, pushed from one snapshot. What takes more than a few pages is faster by this.
    pub fn scan(self) -> Scan {
        let Self { on, range, want } = self;
        match on {
            Listed::Repo(repo) => Scan::new(&repo, move |on, sink| {
                let mut request = on.scan_request();
                let mut params = request.get();
                read::set_range(params.reborrow().init_range(), &range);
                read::set_want(params.reborrow().init_want(), &want);
                params.set_sink(sink);
                request.send()
            }),
            Listed::Collection(collection) => Scan::new(&collection, move |on, sink| {
                let mut request = on.scan_request();
                let mut params = request.get();
                read::set_range(params.reborrow().init_range(), &range);
                read::set_want(params.reborrow().init_want(), &want);
                params.set_sink(sink);
                request.send()
            }),
        }
    }

    /// Returns all pages from a cursor (none: the start) as a stream. One round trip a page, none of them ahead of the
    /// reader. An absent repo or collection is the stream's one item, an error with code `notFound`.
    pub fn pages(self, from: Option<Cursor>) -> impl Stream<Item = Result<Page>> {
        let first = Some(PageRequest {
            cursor: from,
            limit: 0,
        });
        stream::try_unfold((self, first), |(listing, request)| async move {
            let Some(request) = request else {
                return Ok(None);
            };
            let page = listing.page(request).await??;
            let next = page.next.clone().map(|cursor| PageRequest {
                cursor: Some(cursor),
                limit: 0,
            });
            Ok(Some((page, (listing, next))))
        })
    }

    /// Returns all records from a cursor (none: the start) as a stream. One round trip a page, which is all that waits
    /// here. An absent repo or collection is the stream's one item, an error with code `notFound`.
    ///
    /// A record of a later page may be of a later revision, if the store no longer holds the first page's; whoever cares
    /// takes [`pages`](Self::pages).
    pub fn records(self, from: Option<Cursor>) -> impl Stream<Item = Result<RecordData>> {
        let records = |page: Page| stream::iter(page.records.into_iter().map(Ok));
        self.pages(from).map_ok(records).try_flatten()
    }
}
