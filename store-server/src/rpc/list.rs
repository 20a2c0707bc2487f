//! Listings: one page of a repo's or a collection's records.

use carrack_repack::head::rev_text;
use carrack_schema::limits::{LIST_BYTES_MAX, LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX};
use carrack_schema::wire::record_capnp;
use carrack_schema::wire::store_capnp::{Absent, list_result, page_request, range};
use carrack_schema::{Did, Nsid};

use super::caller::Call;
use super::error::Failure;
use super::view::{self, Answer, Want};
use crate::cursor::Cursor;
use crate::store::Keys;

/// A listing's call, read off the wire.
pub(super) struct Request<'a> {
    collection: Option<&'a Nsid>,
    from: &'a str,
    before: &'a str,
    reverse: bool,
    want: Want<'a>,
    cursor: &'a [u8],
    limit: u32,
}

impl<'a> Request<'a> {
    pub(super) fn read(
        collection: Option<&'a Nsid>,
        range: range::Reader<'a>,
        want: record_capnp::want::Reader<'a>,
        page: page_request::Reader<'a>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            collection,
            from: range.get_from()?.to_str()?,
            before: range.get_before()?.to_str()?,
            reverse: range.get_reverse(),
            want: Want::read(want)?,
            cursor: page.get_cursor()?,
            limit: match page.get_limit() {
                0 => LIST_RECORDS_DEFAULT,
                limit => limit.min(LIST_RECORDS_MAX),
            },
        })
    }

    /// Says whether it is of a repo's records whatever their collection.
    pub(super) fn is_of_all_collections(&self) -> bool {
        self.collection.is_none()
    }

    /// Returns what a cursor of this listing is sealed to: whose it is, and everything that filters.
    fn scope<'b>(&'b self, grant: &'b str, did: &'b Did) -> [&'b str; 6] {
        let collection = self.collection.map_or("", Nsid::as_str);
        let direction = if self.reverse { "reverse" } else { "forward" };
        [
            grant,
            did.as_str(),
            collection,
            self.from,
            self.before,
            direction,
        ]
    }
}

/// Answers with one page: up to the limit of records or of bytes, whichever comes first.
///
/// A page that a cursor asks for is of the cursor's revision while that is retained, else of the current one after the
/// same key. Either way it is less what was deleted since.
pub(super) fn answer(
    call: &Call,
    did: &Did,
    request: &Request<'_>,
    mut results: list_result::Builder<'_>,
) -> Result<(), Failure> {
    let store = call.store();
    let scope = request.scope(call.authority().id(), did);
    let cursor = match request.cursor {
        [] => None,
        sealed => Some(Cursor::open(store.cursor_key(), &scope, sealed)?),
    };
    let opened = match &cursor {
        None => store.repo(did)?,
        Some(cursor) => store.repo_at_or_head(did, cursor.rev)?,
    };
    let repo = match opened {
        Ok(repo) => repo,
        Err(absence) => {
            results.set_absent(view::absent(absence));
            return Ok(());
        }
    };
    let keys = Keys {
        collection: request.collection,
        from: request.from,
        before: request.before,
        reverse: request.reverse,
        after: cursor.as_ref().map(|cursor| cursor.after.as_str()),
    };
    let Some(rows) = repo.rows(&keys)? else {
        results.set_absent(Absent::Collection);
        return Ok(());
    };
    let all = rows.len();
    let (mut records, mut bytes) = (Vec::new(), 0);
    for row in repo.read(rows).take(request.limit as usize) {
        let record = Answer::of(row?, &request.want)?;
        bytes += record.wire_bytes();
        records.push(record);
        if bytes >= LIST_BYTES_MAX {
            break;
        }
    }

    call.charge(bytes)?;
    let whole_repo = request.is_of_all_collections();
    let rev = repo.summary().rev;
    let mut page = results.init_page();
    view::source(page.reborrow().init_source(), repo.summary());
    if let Some(cursor) = cursor.filter(|cursor| cursor.rev != rev) {
        page.set_moved_from(rev_text(cursor.rev));
    }
    if let Some(last) = records.last().filter(|_| records.len() < all) {
        let next = Cursor {
            rev,
            after: last.key(whole_repo),
        };
        page.set_next(&next.seal(store.cursor_key(), &scope));
    }
    let mut list = page.init_records(view::count(records.len()));
    for (i, record) in (0..).zip(&records) {
        record.write(list.reborrow().get(i), whole_repo);
    }
    Ok(())
}
