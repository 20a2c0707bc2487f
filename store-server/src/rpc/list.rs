//! Listings: one page of a repo's or a collection's records.

use carrack_repack::head::rev_text;
use carrack_schema::limits::{LIST_BYTES_MAX, LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX};
use carrack_schema::wire::record_capnp::{self, record_data};
use carrack_schema::wire::store_capnp::{Absent, list_result, page_request, range};
use carrack_schema::{Did, Nsid};

use super::caller::Call;
use super::error::Failure;
use super::repo::{At, RepoRef};
use super::view::{self, Answer, Want};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::store::{Keys, RecordRef};

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
            cursor: page.get_cursor()?,
            limit: match page.get_limit() {
                0 => LIST_RECORDS_DEFAULT,
                limit => limit.min(LIST_RECORDS_MAX),
            },
            ..Self::read_all(collection, range, want)?
        })
    }

    /// Reads the call of a listing that is not cut into pages.
    pub(super) fn read_all(
        collection: Option<&'a Nsid>,
        range: range::Reader<'a>,
        want: record_capnp::want::Reader<'a>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            collection,
            from: range.get_from()?.to_str()?,
            before: range.get_before()?.to_str()?,
            reverse: range.get_reverse(),
            want: Want::read(want)?,
            cursor: &[],
            limit: LIST_RECORDS_MAX,
        })
    }

    /// # Errors
    /// `denied` for a listing of all collections, if the scope leaves out any.
    pub(super) fn check_scope(&self, call: &Call) -> Result<()> {
        if self.collection.is_some() {
            return Ok(());
        }
        call.check_all_collections("this lists all of them; list one that it does allow")
    }

    /// Returns which records to list, those after a key.
    pub(super) fn keys<'b>(&'b self, after: Option<&'b str>) -> Keys<'b> {
        Keys {
            collection: self.collection,
            from: self.from,
            before: self.before,
            reverse: self.reverse,
            after,
        }
    }

    /// Says whether it is of a repo's records whatever their collection.
    fn is_of_all_collections(&self) -> bool {
        self.collection.is_none()
    }

    /// Returns what a cursor of this listing is sealed to: whose it is, and everything that filters. `pinned` is the
    /// revision of a listing that may not move to another.
    fn scope<'b>(&'b self, grant: &'b str, did: &'b Did, pinned: &'b str) -> [&'b str; 7] {
        let collection = self.collection.map_or("", Nsid::as_str);
        let direction = if self.reverse { "reverse" } else { "forward" };
        [
            grant,
            did.as_str(),
            collection,
            self.from,
            self.before,
            direction,
            pinned,
        ]
    }
}

/// Answers with one page: up to the limit of records or of bytes, whichever comes first.
///
/// A page that a cursor asks for is of the cursor's revision while that is retained, else of the current one after the
/// same key. One of a pinned listing is of the pinned revision, or an error. All are less what was deleted since.
pub(super) fn answer(
    call: &Call,
    named: &RepoRef,
    request: &Request<'_>,
    mut results: list_result::Builder<'_>,
) -> Result<(), Failure> {
    let store = call.store();
    let did = named.did(call)?;
    let pinned = match named.at() {
        At::Head => String::new(),
        At::Rev(rev) => format!("at {}", rev_text(rev)),
    };
    let scope = request.scope(call.authority().id(), &did, &pinned);
    let cursor = match request.cursor {
        [] => None,
        sealed => Some(Cursor::open(store.cursor_key(), &scope, sealed)?),
    };
    let opened = match (&cursor, named.at()) {
        (Some(cursor), At::Head) => store.repo_at_or_head(&did, cursor.rev)?,
        (None, At::Head) | (_, At::Rev(_)) => named.open(call)?,
    };
    let repo = match opened {
        Ok(repo) => repo,
        Err(absence) => {
            results.set_absent(view::absent(absence));
            return Ok(());
        }
    };
    let keys = request.keys(cursor.as_ref().map(|cursor| cursor.after.as_str()));
    let Some(rows) = repo.rows(&keys)? else {
        results.set_absent(Absent::Collection);
        return Ok(());
    };
    let all = rows.len();
    let page = Page::take(&mut repo.read(rows), request, request.limit)?;
    call.charge(page.bytes)?;
    let rev = repo.summary().rev;
    let mut wire = results.init_page();
    view::source(wire.reborrow().init_source(), repo.summary());
    if let Some(cursor) = cursor.filter(|cursor| cursor.rev != rev) {
        wire.set_moved_from(rev_text(cursor.rev));
    }
    if let Some(last) = page.records.last().filter(|_| page.len() < all) {
        let next = Cursor {
            rev,
            after: last.key(request.is_of_all_collections()),
        };
        wire.set_next(&next.seal(store.cursor_key(), &scope));
    }
    page.write(request, wire.init_records(view::count(page.len())));
    Ok(())
}

/// Records of a listing that go over the wire together.
pub(super) struct Page<'a> {
    records: Vec<Answer<'a>>,
    /// Bytes on the wire, beside a fixed part for each record.
    pub(super) bytes: usize,
}

impl<'a> Page<'a> {
    /// Takes the next records: up to a limit of them or of bytes, whichever comes first.
    ///
    /// # Errors
    /// Of the rows; `damaged` if a record's page is.
    pub(super) fn take(
        rows: &mut impl Iterator<Item = Result<RecordRef<'a>>>,
        request: &Request<'_>,
        limit: u32,
    ) -> Result<Self, Error> {
        let mut page = Self {
            records: Vec::new(),
            bytes: 0,
        };
        for row in rows.take(limit as usize) {
            let record = Answer::of(row?, &request.want)?;
            page.bytes += record.wire_bytes();
            page.records.push(record);
            if page.bytes >= LIST_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Writes the records.
    pub(super) fn write(
        &self,
        request: &Request<'_>,
        mut wire: capnp::struct_list::Builder<'_, record_data::Owned>,
    ) {
        for (i, record) in (0..).zip(&self.records) {
            record.write(wire.reborrow().get(i), request.is_of_all_collections());
        }
    }
}
