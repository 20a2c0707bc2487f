//! Scans: all records that a listing would page through, pushed into a client's sink from one snapshot.
//!
//! A write is a page of a listing, which a thread of the pool makes. The snapshot, and with it
//! the segments it holds, is let go when the scan ends, however it ends.

use std::sync::Arc;

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
    request: Request<'static>,
    sink: record_sink::Client,
    mut results: scan_result::Builder<'_>,
) -> Result<(), Failure> {
    let call = named.begin(Operation::List)?;
    request.check_scope(&call)?;
    let did = named.did(&call)?;
    let (store, at, request) = (call.store().clone(), named.at(), Arc::new(request));
    let open = {
        let request = request.clone();
        move || {
            let repo = match at.open(&store, &did)? {
                Ok(repo) => repo,
                Err(absence) => return Ok(Err(view::absent(absence))),
            };
            let rows = repo.rows(&request.keys(None))?;
            Ok(rows
                .map(|rows| (Arc::new(repo), rows))
                .ok_or(Absent::Collection))
        }
    };
    let (repo, rows) = match call.work(open).await? {
        Ok(opened) => opened,
        Err(absent) => {
            results.set_absent(absent);
            return Ok(());
        }
    };
    let pushing = push(&call, &repo, rows, &request, &sink);
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
    repo: &Arc<Repo>,
    mut rows: Rows,
    request: &Arc<Request<'static>>,
    sink: &record_sink::Client,
) -> Result<Totals, Failure> {
    let mut push = call.push()?;
    let mut totals = Totals::default();
    loop {
        let (repo, request, left) = (repo.clone(), request.clone(), rows.clone());
        let whole_repo = request.is_of_all_collections();
        let take = move || {
            let page = Page::take(&mut repo.read(left), &request, LIST_RECORDS_MAX, usize::MAX)?;
            Ok(page.into_owned())
        };
        let (page, mut answering) = call.make(take).await?;
        let (records, bytes) = (page.len(), page.bytes);
        if records == 0 {
            break;
        }
        answering.grow_to(page.bytes_with_frames())?;
        call.charge_paced(bytes).await?;
        rows = rows.after(records);
        totals.records += records as u64;
        totals.bytes += bytes as u64;
        let write = || {
            let mut write = sink.write_request();
            page.write(whole_repo, write.get().init_records(view::count(records)));
            write
        };
        push.send(bytes + records * RECORD_FRAME_BYTES, write)
            .await?;
        // Not while the sink takes its time, in which it may ask for answers.
        drop(answering);
        push.window().await?;
    }
    push.done(sink.done_request().send().promise).await?;
    Ok(totals)
}
