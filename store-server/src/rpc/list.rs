//! Listings: one page of a repo's or a collection's records.

use std::borrow::Cow;
use std::sync::Arc;

use carrack_repack::head::rev_text;
use carrack_schema::limits::{
    CURSOR_BYTES_MAX, LIST_BYTES_MAX, LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX, MST_KEY_BYTES_MAX,
    RECORD_FRAME_BYTES_MAX,
};
use carrack_schema::wire::record_capnp::{self, record_data};
use carrack_schema::wire::store_capnp::{Absent, list_result, page_request, range};
use carrack_schema::{Code, Did, Nsid, Tid};

use super::caller::Call;
use super::error::Failure;
use super::repo::{At, RepoRef};
use super::view::{self, Answer, Want};
use crate::auth::Operation;
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::store::{Keys, RecordRef, Repo, Store, Summary};

/// A listing's call, read off the wire.
pub(super) struct Request<'a> {
    collection: Option<Cow<'a, Nsid>>,
    from: Cow<'a, str>,
    before: Cow<'a, str>,
    reverse: bool,
    want: Want<'a>,
    cursor: Cow<'a, [u8]>,
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
            cursor: cut(page.get_cursor()?, CURSOR_BYTES_MAX, "a cursor")?.into(),
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
            collection: collection.map(Cow::Borrowed),
            from: key(range.get_from()?)?,
            before: key(range.get_before()?)?,
            reverse: range.get_reverse(),
            want: Want::read(want)?,
            cursor: Cow::Borrowed(&[]),
            limit: LIST_RECORDS_MAX,
        })
    }

    /// Lets go of the message it was read from.
    pub(super) fn into_owned(self) -> Request<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Request {
            collection: self.collection.map(|nsid| Cow::Owned(nsid.into_owned())),
            from: owned(self.from),
            before: owned(self.before),
            reverse: self.reverse,
            want: self.want.into_owned(),
            cursor: Cow::Owned(self.cursor.into_owned()),
            limit: self.limit,
        }
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
            collection: self.collection.as_deref(),
            from: &self.from,
            before: &self.before,
            reverse: self.reverse,
            after,
        }
    }

    /// Says whether it is of a repo's records whatever their collection.
    pub(super) fn is_of_all_collections(&self) -> bool {
        self.collection.is_none()
    }
}

/// Most rows of a page that is read where it is asked for.
const ROWS_AT_ONCE: u32 = 64;
/// Bytes of records after which such a page is left to the pool. One record alone may be longer, as one that is read is.
const BYTES_AT_ONCE: usize = 64 << 10;

/// Answers with one page: up to the limit of records or of bytes, whichever comes first.
///
/// A page that a cursor asks for is of the cursor's revision while that is retained, else of the current one after the
/// same key. One of a pinned listing is of the pinned revision, or an error. All are less what was deleted since.
pub(super) async fn answer(
    named: &RepoRef,
    request: Request<'static>,
    results: list_result::Builder<'_>,
) -> Result<(), Failure> {
    let call = named.begin(Operation::List)?;
    request.check_scope(&call)?;
    let listing = Listing {
        store: call.store().clone(),
        grant: call.authority().id().to_owned(),
        did: named.did(&call)?,
        at: named.at(),
        pinned: match named.at() {
            At::Head => String::new(),
            At::Rev(rev) => format!("at {}", rev_text(rev)),
        },
        request,
    };
    if let Some(repo) = listing.at_hand()?
        && let Some(listed) = listing.page_at_once(&repo)?
    {
        let bytes = listed
            .as_ref()
            .map_or(0, |listed| listed.page.bytes_with_frames());
        let _answering = call.room_for(bytes).await?;
        return Ok(write(&call, &listing.request, listed, results)?);
    }
    let work = move || Ok((listing.read()?, listing.request));
    let ((listed, request), mut answering) = call.make(work).await?;
    if let Ok(listed) = &listed {
        answering.grow_to(listed.page.bytes_with_frames())?;
    }
    Ok(write(&call, &request, listed, results)?)
}

fn write(
    call: &Call,
    request: &Request<'_>,
    listed: Result<Listed<'_>, Absent>,
    mut results: list_result::Builder<'_>,
) -> Result<()> {
    let listed = match listed {
        Ok(listed) => listed,
        Err(absent) => {
            results.set_absent(absent);
            return Ok(());
        }
    };
    call.charge(listed.page.bytes)?;
    let mut wire = results.init_page();
    view::source(wire.reborrow().init_source(), &listed.summary);
    if let Some(rev) = listed.moved_from {
        wire.set_moved_from(rev_text(rev));
    }
    if let Some(next) = &listed.next {
        wire.set_next(next);
    }
    let records = wire.init_records(view::count(listed.page.len()));
    listed.page.write(request.is_of_all_collections(), records);
    Ok(())
}

/// A listing as the pool's threads read it, or a worker that has little to read.
struct Listing {
    store: Store,
    grant: String,
    did: Did,
    at: At,
    /// The revision of a listing that may not move to another.
    pinned: String,
    request: Request<'static>,
}

/// A page, and what goes over the wire beside it.
struct Listed<'a> {
    summary: Summary,
    page: Page<'a>,
    /// The revision of the cursor, if the listing had to leave it.
    moved_from: Option<Option<Tid>>,
    next: Option<Vec<u8>>,
}

impl Listing {
    /// Returns the repo, if a first page of it is short and the way to each of its rows too.
    fn at_hand(&self) -> Result<Option<Arc<Repo>>> {
        let request = &self.request;
        if request.limit > ROWS_AT_ONCE || !request.cursor.is_empty() || self.at != At::Head {
            return Ok(None);
        }
        let current = self.store.current(&self.did)?.ok();
        Ok(current.filter(|repo| repo.has_rows() && !repo.is_compressed()))
    }

    /// Reads the first page of a repo; none if its records turn out to be long.
    fn page_at_once<'a>(&self, repo: &'a Repo) -> Result<Option<Result<Listed<'a>, Absent>>> {
        let listed = self.page(repo, None, BYTES_AT_ONCE)?;
        let is_long = |listed: &Listed<'_>| listed.page.bytes_read >= BYTES_AT_ONCE;
        Ok(Some(listed).filter(|listed| !listed.as_ref().is_ok_and(is_long)))
    }

    fn read(&self) -> Result<Result<Listed<'static>, Absent>> {
        let Self { store, request, .. } = self;
        let cursor = match &*request.cursor {
            [] => None,
            sealed => Some(Cursor::open(store.cursor_key(), &self.scope(), sealed)?),
        };
        let opened = match (&cursor, self.at) {
            (Some(cursor), At::Head) => {
                let opened = store.repo_at_or_head(&self.did, cursor.rev)?;
                opened.map(Arc::new)
            }
            (None, At::Head) | (_, At::Rev(_)) => self.at.shared(store, &self.did)?,
        };
        let repo = match opened {
            Ok(repo) => repo,
            Err(absence) => return Ok(Err(view::absent(absence))),
        };
        let listed = self.page(&repo, cursor, usize::MAX)?;
        Ok(listed.map(Listed::into_owned))
    }

    /// Reads a page, or as much of it as is in so many bytes of records.
    fn page<'a>(
        &self,
        repo: &'a Repo,
        cursor: Option<Cursor>,
        bytes_max: usize,
    ) -> Result<Result<Listed<'a>, Absent>> {
        let request = &self.request;
        let keys = request.keys(cursor.as_ref().map(|cursor| cursor.after.as_str()));
        let Some(rows) = repo.rows(&keys)? else {
            return Ok(Err(Absent::Collection));
        };
        let all = rows.len();
        let page = Page::take(&mut repo.read(rows), request, request.limit, bytes_max)?;
        let rev = repo.summary().rev;
        let last = page.records.last().filter(|_| page.len() < all);
        let next = last.map(|last| {
            let next = Cursor {
                rev,
                after: last.key(request.is_of_all_collections()),
            };
            next.seal(self.store.cursor_key(), &self.scope())
        });
        Ok(Ok(Listed {
            summary: repo.summary().clone(),
            moved_from: cursor.map(|cursor| cursor.rev).filter(|&from| from != rev),
            next,
            page,
        }))
    }

    /// Returns what a cursor of this listing is sealed to: whose it is, and everything that filters.
    fn scope(&self) -> [&str; 7] {
        let request = &self.request;
        [
            &self.grant,
            self.did.as_str(),
            request.collection.as_deref().map_or("", Nsid::as_str),
            &request.from,
            &request.before,
            if request.reverse {
                "reverse"
            } else {
                "forward"
            },
            &self.pinned,
        ]
    }
}

impl Listed<'_> {
    /// Lets go of where the records are stored.
    fn into_owned(self) -> Listed<'static> {
        Listed {
            summary: self.summary,
            page: self.page.into_owned(),
            moved_from: self.moved_from,
            next: self.next,
        }
    }
}

/// Reads a key of a range. A longer one than a key can be is kept out of what waits for a thread.
fn key(wire: capnp::text::Reader<'_>) -> Result<Cow<'_, str>, Failure> {
    cut(wire.as_bytes(), MST_KEY_BYTES_MAX, "a key of a range")?;
    Ok(Cow::Borrowed(wire.to_str()?))
}

/// Makes sure that something is not longer than it can be.
pub(super) fn cut<'a>(bytes: &'a [u8], most: usize, what: &str) -> Result<&'a [u8]> {
    if bytes.len() > most {
        let words = format!(
            "{what} of {} bytes; none is longer than {most}",
            bytes.len()
        );
        return Err(Error::new(Code::InvalidArgument, words));
    }
    Ok(bytes)
}

/// Records of a listing that go over the wire together.
pub(super) struct Page<'a> {
    records: Vec<Answer<'a>>,
    /// Bytes on the wire, beside a fixed part for each record.
    pub(super) bytes: usize,
    /// Bytes of the records that were gone through for it.
    bytes_read: usize,
}

impl<'a> Page<'a> {
    /// Takes the next records: up to a limit of them, of bytes on the wire or of bytes that are read, whichever comes
    /// first.
    ///
    /// # Errors
    /// Of the rows; `damaged` if a record's page is.
    pub(super) fn take(
        rows: &mut impl Iterator<Item = Result<RecordRef<'a>>>,
        request: &Request<'_>,
        limit: u32,
        read_max: usize,
    ) -> Result<Self, Error> {
        let mut page = Self {
            records: Vec::new(),
            bytes: 0,
            bytes_read: 0,
        };
        for row in rows.take(limit as usize) {
            let record = Answer::of(row?, &request.want)?;
            page.bytes += record.wire_bytes();
            page.bytes_read += record.bytes_read;
            page.records.push(record);
            if page.bytes >= LIST_BYTES_MAX || page.bytes_read >= read_max {
                break;
            }
        }
        Ok(page)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns how many bytes it takes on the wire at the most.
    pub(super) fn bytes_with_frames(&self) -> usize {
        self.bytes + self.len() * RECORD_FRAME_BYTES_MAX
    }

    /// Lets go of where the records are stored.
    pub(super) fn into_owned(self) -> Page<'static> {
        Page {
            records: self.records.into_iter().map(Answer::into_owned).collect(),
            bytes: self.bytes,
            bytes_read: self.bytes_read,
        }
    }

    /// Writes the records; with their collections where these are a whole repo's.
    pub(super) fn write(
        &self,
        whole_repo: bool,
        mut wire: capnp::struct_list::Builder<'_, record_data::Owned>,
    ) {
        for (i, record) in (0..).zip(&self.records) {
            record.write(wire.reborrow().get(i), whole_repo);
        }
    }
}
