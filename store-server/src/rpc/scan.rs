//! Scans: all records that a listing would page through, pushed into a client's sink from one snapshot.
//!
//! A write is a page of a listing. Between two pages the thread's other calls get their turn. The snapshot, and with it
//! the segments it holds, is let go when the scan ends, however it ends.

use carrack_schema::limits::LIST_RECORDS_MAX;
use carrack_schema::wire::store_capnp::{Absent, record_sink, scan_result};
use futures::TryFutureExt;

use super::caller::Call;
use super::error::Failure;
use super::list::{Page, Request};
use super::repo::RepoRef;
use super::view;
use crate::auth::Operation;
use crate::store::{Repo, Rows};

/// Bytes that a record takes on the wire beside its own, rounded up: the struct, its pointers, padding.
const RECORD_FRAME_BYTES: usize = 64;

/// What went into a sink.
#[derive(Default)]
struct Totals {
    records: u64,
    bytes: u64,
}

/// Pushes all records of a listing into a sink, and answers when the sink has taken them.
pub(super) async fn answer(
    named: &RepoRef,
    request: &Request<'_>,
    sink: record_sink::Client,
    mut results: scan_result::Builder<'_>,
) -> Result<(), Failure> {
    let call = named.begin(Operation::List)?;
    request.check_scope(&call)?;
    let repo = match named.open(&call)? {
        Ok(repo) => repo,
        Err(absence) => {
            results.set_absent(view::absent(absence));
            return Ok(());
        }
    };
    let Some(rows) = repo.rows(&request.keys(None))? else {
        results.set_absent(Absent::Collection);
        return Ok(());
    };
    let pushing = push(&call, &repo, rows, request, &sink);
    let pushing = pushing.map_err(Failure::into_exception);
    let totals = call.while_allowed(pushing).await?;
    let mut scanned = results.init_scanned();
    view::source(scanned.reborrow().init_source(), repo.summary());
    scanned.set_records(totals.records);
    scanned.set_bytes(totals.bytes);
    Ok(())
}

async fn push(
    call: &Call,
    repo: &Repo,
    rows: Rows,
    request: &Request<'_>,
    sink: &record_sink::Client,
) -> Result<Totals, Failure> {
    let mut push = call.push()?;
    let mut totals = Totals::default();
    let mut rows = repo.read(rows);
    loop {
        let page = Page::take(&mut rows, request, LIST_RECORDS_MAX)?;
        let (records, bytes) = (page.len(), page.bytes);
        if records == 0 {
            break;
        }
        call.charge_paced(bytes).await?;
        let mut write = sink.write_request();
        page.write(request, write.get().init_records(view::count(records)));
        totals.records += records as u64;
        totals.bytes += bytes as u64;
        push.write(write, bytes + records * RECORD_FRAME_BYTES)
            .await?;
        tokio::task::yield_now().await;
    }
    push.done(sink.done_request().send().promise).await?;
    Ok(totals)
}
