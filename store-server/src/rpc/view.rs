//! From the store's types to the wire's.

use carrack_repack::value;
use carrack_schema::Code;
use carrack_schema::limits::FIELDS_MAX;
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp::{
    Verdict, collection_info, repo_info as wire_info, source as wire_source,
};

use super::error::Failure;
use crate::error::Error;
use crate::store::{CollectionCount, RecordRef, Summary};

/// What to read of a record, read off the wire.
pub(super) struct Want<'a> {
    form: want::Form,
    cid: bool,
    fields: Vec<&'a str>,
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
            fields.push(field?.to_str()?);
        }
        Ok(Self {
            form: wire.get_form()?,
            cid: wire.get_cid(),
            fields,
        })
    }

    /// Returns about how many bytes a record takes in an answer.
    pub(super) fn bytes_of(&self, record: &RecordRef<'_>) -> usize {
        match self.form {
            want::Form::None => record.rkey.len(),
            want::Form::Value | want::Form::DagCbor => record.rkey.len() + record.bytes.len(),
        }
    }
}

/// Writes a record in the wanted form; the caller sets its collection where the answer needs it.
pub(super) fn record(
    mut wire: record_data::Builder<'_>,
    record: &RecordRef<'_>,
    want: &Want<'_>,
) -> Result<(), Failure> {
    wire.set_rkey(&*record.rkey);
    if want.cid {
        wire.set_cid(record.cid().as_bytes());
    }
    match want.form {
        want::Form::None => wire.set_none(()),
        want::Form::DagCbor => wire.set_dag_cbor(record.bytes),
        want::Form::Value => match value::Plan::of(record.bytes, &want.fields) {
            Ok(plan) => plan.write(wire.init_value()),
            Err(why) => wire.set_undecodable(why.to_string()),
        },
    }
    Ok(())
}

pub(super) fn source(mut wire: wire_source::Builder<'_>, repo: &Summary) {
    wire.set_did(repo.did.as_str());
    wire.set_rev(repo.rev.to_string());
    wire.set_commit(repo.commit.as_bytes());
    // Nothing checks signatures yet, and every answer says so.
    wire.set_verdict(Verdict::Unchecked);
}

pub(super) fn repo_info(mut wire: wire_info::Builder<'_>, repo: &Summary) {
    source(wire.reborrow().init_source(), repo);
    wire.set_records(repo.records);
    wire.set_bytes_in(repo.bytes_in);
    wire.set_bytes_stored(repo.bytes_stored);
    wire.set_imported(repo.imported);
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
