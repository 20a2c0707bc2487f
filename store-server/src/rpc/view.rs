//! From the store's types to the wire's.

use std::borrow::Cow;

use capnp::text;
use carrack_repack::value::{Plan, Unreadable};
use carrack_schema::limits::{FIELDS_BYTES_MAX, FIELDS_MAX};
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp::{
    Absent, collection_info, repo_info as wire_info, source as wire_source, store_stats, verdict,
    verify_result,
};
use carrack_schema::{Cid, Code};

use super::error::Failure;
use crate::error::Error;
use crate::row::{Content, cid_of};
use crate::stats::Stats;
use crate::store::{Absence, CollectionCount, RecordRef, Summary};
use crate::verdict::Verdict;
use crate::verify::{Signature, Verification};

/// What to read of a record, read off the wire.
pub(super) struct Want<'a> {
    form: want::Form,
    cid: bool,
    fields: Vec<Cow<'a, str>>,
}

impl<'a> Want<'a> {
    pub(super) fn read(wire: want::Reader<'a>) -> Result<Self, Failure> {
        let list = wire.get_fields()?;
        if list.len() as usize > FIELDS_MAX {
            let words = format!(
                "{} fields are more than the {FIELDS_MAX} a projection may have",
                list.len()
            );
            return Err(Error::new(Code::LimitExceeded, words).into());
        }
        let mut fields = Vec::with_capacity(list.len() as usize);
        for field in list {
            fields.push(Cow::Borrowed(field?.to_str()?));
        }
        let bytes: usize = fields.iter().map(|field| field.len()).sum();
        if bytes > FIELDS_BYTES_MAX {
            let words = format!(
                "field paths of {bytes} bytes are longer than the {FIELDS_BYTES_MAX} of a projection"
            );
            return Err(Error::new(Code::LimitExceeded, words).into());
        }
        Ok(Self {
            form: wire.get_form()?,
            cid: wire.get_cid(),
            fields,
        })
    }

    /// Lets go of the message it was read from.
    pub(super) fn into_owned(self) -> Want<'static> {
        let owned = |field: Cow<'_, str>| Cow::Owned(field.into_owned());
        Want {
            form: self.form,
            cid: self.cid,
            fields: self.fields.into_iter().map(owned).collect(),
        }
    }
}

/// A record in the wanted form, measured and ready to be written. Borrows the stored bytes where it can.
pub(super) struct Answer<'a> {
    collection: Cow<'a, str>,
    rkey: Cow<'a, str>,
    cid: Option<Cid>,
    body: Body<'a>,
    /// Bytes of the record that were gone through for it.
    pub(super) bytes_read: usize,
}

enum Body<'a> {
    None,
    Value(Plan<'a>),
    DagCbor(Cow<'a, [u8]>),
    Undecodable(Unreadable),
    Missing,
}

impl<'a> Answer<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// `damaged` if its page is.
    pub(super) fn of(record: RecordRef<'a>, want: &Want<'_>) -> Result<Self, Error> {
        if !want.cid && want.form == want::Form::None {
            return Ok(Self::with(record, None, Body::None, 0));
        }
        let fields: Vec<&str> = want.fields.iter().map(|field| &**field).collect();
        let content = record.content()?;
        let bytes_read = match &content {
            Content::DagCbor(bytes) => bytes.len(),
            Content::Missing(_) | Content::Gone => 0,
        };
        let (cid, body) = match (content, want.form) {
            (Content::Gone, _) => {
                let words = format!("the record {} is gone", record.key(true));
                return Err(Error::new(Code::Damaged, words));
            }
            (Content::Missing(cid), want::Form::None) => (want.cid.then_some(cid), Body::None),
            // Its CID is all there is of it.
            (Content::Missing(cid), _) => (Some(cid), Body::Missing),
            (Content::DagCbor(bytes), form) => {
                let cid = want.cid.then(|| cid_of(&bytes));
                let body = match form {
                    want::Form::None => Body::None,
                    want::Form::DagCbor => Body::DagCbor(bytes),
                    want::Form::Value => match Plan::of(bytes, &fields) {
                        Ok(plan) => Body::Value(plan),
                        Err(why) => Body::Undecodable(why),
                    },
                };
                (cid, body)
            }
        };
        Ok(Self::with(record, cid, body, bytes_read))
    }

    fn with(record: RecordRef<'a>, cid: Option<Cid>, body: Body<'a>, bytes_read: usize) -> Self {
        Self {
            collection: Cow::Borrowed(record.collection),
            rkey: record.rkey,
            cid,
            body,
            bytes_read,
        }
    }

    /// Lets go of where it is stored.
    pub(super) fn into_owned(self) -> Answer<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Answer {
            collection: owned(self.collection),
            rkey: owned(self.rkey),
            cid: self.cid,
            body: match self.body {
                Body::None => Body::None,
                Body::Value(plan) => Body::Value(plan.into_owned()),
                Body::DagCbor(bytes) => Body::DagCbor(Cow::Owned(bytes.into_owned())),
                Body::Undecodable(why) => Body::Undecodable(why),
                Body::Missing => Body::Missing,
            },
            bytes_read: self.bytes_read,
        }
    }

    /// Returns how many bytes it takes on the wire, beside a fixed part.
    pub(super) fn wire_bytes(&self) -> usize {
        self.rkey.len()
            + match &self.body {
                Body::None | Body::Undecodable(_) | Body::Missing => 0,
                Body::Value(plan) => plan.wire_bytes(),
                Body::DagCbor(bytes) => bytes.len(),
            }
    }

    /// Returns the record's key in a listing of its collection, or of the whole repo.
    pub(super) fn key(&self, whole_repo: bool) -> String {
        match whole_repo {
            true => format!("{}/{}", self.collection, self.rkey),
            false => self.rkey.to_string(),
        }
    }

    pub(super) fn write(&self, mut wire: record_data::Builder<'_>, with_collection: bool) {
        if with_collection {
            wire.set_collection(&*self.collection);
        }
        wire.set_rkey(&*self.rkey);
        if let Some(cid) = &self.cid {
            wire.set_cid(cid.as_bytes());
        }
        match &self.body {
            Body::None => wire.set_none(()),
            Body::Value(plan) => plan.write(wire.init_value()),
            Body::DagCbor(bytes) => wire.set_dag_cbor(bytes),
            Body::Undecodable(why) => wire.set_undecodable(why.to_string()),
            Body::Missing => wire.set_missing(()),
        }
    }
}

pub(super) fn absent(absence: Absence) -> Absent {
    match absence {
        Absence::Unknown => Absent::Repo,
        Absence::Inactive => Absent::Inactive,
    }
}

pub(super) fn source(mut wire: wire_source::Builder<'_>, repo: &Summary) {
    wire.set_did(repo.did.as_str());
    if let Some(rev) = repo.rev {
        wire.set_rev(text::Reader(&rev.text()));
    }
    wire.set_commit(repo.commit.as_bytes());
    let mut wire = wire.init_verdict();
    match &repo.verdict {
        Verdict::Unchecked => wire.set_outcome(verdict::Outcome::Unchecked),
        Verdict::LegacyCommit => wire.set_outcome(verdict::Outcome::LegacyCommit),
        Verdict::Valid {
            key,
            document,
            checked,
        } => {
            wire.set_outcome(verdict::Outcome::Valid);
            wire.set_key(key);
            wire.set_document(document);
            wire.set_checked(*checked);
        }
    }
}

pub(super) fn verification(
    mut wire: verify_result::Builder<'_>,
    verification: &Verification,
    repo: Option<&Summary>,
) {
    let found = match verification {
        Verification::Broken(words) => return wire.set_broken(words),
        Verification::Sound(found) => found,
    };
    let mut verified = wire.init_verified();
    if let Some(repo) = repo {
        source(verified.reborrow().init_source(), repo);
    }
    verified.set_present(found.cid.is_some());
    if let Some(cid) = &found.cid {
        verified.set_cid(cid.as_bytes());
    }
    verified.set_nodes(found.nodes);
    verified.set_signature(match found.signature {
        Signature::Unchecked => verdict::Outcome::Unchecked,
        Signature::Valid => verdict::Outcome::Valid,
        Signature::LegacyCommit => verdict::Outcome::LegacyCommit,
    });
}

/// Returns how many bytes what [`repo_info`] writes takes at the most.
pub(super) fn repo_info_bytes(repo: &Summary) -> usize {
    const FRAME: usize = 384;
    repo.did.as_str().len() + repo.handle.len() + FRAME
}

pub(super) fn repo_info(mut wire: wire_info::Builder<'_>, repo: &Summary) {
    source(wire.reborrow().init_source(), repo);
    wire.set_records(repo.records);
    wire.set_bytes_in(repo.bytes_in);
    wire.set_bytes_stored(repo.bytes_stored);
    wire.set_imported(repo.imported);
    wire.set_missing(repo.missing);
    wire.set_invalid(repo.invalid);
    wire.set_handle(&repo.handle);
    wire.set_status(repo.status.as_str());
}

pub(super) fn collections(
    mut wire: capnp::struct_list::Builder<'_, collection_info::Owned>,
    collections: &[CollectionCount],
) {
    for (i, collection) in (0..wire.len()).zip(collections) {
        let mut info = wire.reborrow().get(i);
        info.set_nsid(&collection.nsid);
        info.set_records(collection.records);
    }
}

/// Returns a length as Cap'n Proto counts lists. Every list here is bounded far below its range.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("lists in answers are bounded by a page")
}

pub(super) fn stats(mut wire: store_stats::Builder<'_>, stats: &Stats) {
    wire.set_repos(stats.repos);
    wire.set_records(stats.records);
    wire.set_revisions(stats.revisions);
    wire.set_bytes_in(stats.bytes_in);
    wire.set_bytes_stored(stats.bytes_stored);
    wire.set_segments(stats.segments);
    wire.set_segments_cold(stats.segments_cold);
    wire.set_bytes_segments(stats.bytes_segments);
    wire.set_bytes_catalog(stats.bytes_catalog);
    wire.set_purges(stats.purges);
    wire.set_purge_by(stats.purge_by.unwrap_or(0));
}
