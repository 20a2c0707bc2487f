//! Ancestors: the posts that a post answers, in one answer.

use carrack_schema::Code;
use carrack_schema::limits::{ANCESTORS_DEFAULT, ANCESTORS_MAX, LIST_BYTES_MAX};
use carrack_schema::names::RecordUri;
use carrack_schema::wire::store_capnp::{ancestors, store};

use super::caller::Caller;
use super::error::Failure;
use super::view::{self, Answer, Want};
use crate::ancestors::{AncestorsEnd, Sees};
use crate::auth::Operation;
use crate::error::Error;
use crate::store::Lookup;

/// Answers with what a post answers, up to a limit of records or of bytes, whichever comes first.
pub(super) fn answer(
    caller: &Caller,
    params: store::ancestors_params::Reader<'_>,
    mut wire: ancestors::Builder<'_>,
) -> Result<(), Failure> {
    let call = caller.begin(Operation::Read)?;
    let of: RecordUri = params.get_uri()?.to_str()?.parse()?;
    let want = Want::read(params.get_want()?)?;
    let max = match params.get_max() {
        0 => ANCESTORS_DEFAULT,
        max => max.min(ANCESTORS_MAX),
    };
    let did = call.resolve(&of.repo)?;
    call.check_collection(&of.path.collection)?;
    let sees = Sees {
        repo: &|did| call.authority().sees_repo(did),
        collection: &|nsid| call.authority().sees_collection(nsid),
    };
    let found = call
        .store()
        .ancestors(&did, &of.path, max as usize, &sees)?;
    let mut end = &found.end;

    let (mut records, mut bytes) = (Vec::with_capacity(found.nodes.len()), 0);
    for node in &found.nodes {
        if bytes >= LIST_BYTES_MAX {
            end = &AncestorsEnd::Max;
            break;
        }
        let Lookup::Found(record) = node.repo.record(&node.path)? else {
            let words = format!("record {} left its snapshot", node.path);
            return Err(Error::new(Code::Internal, words).into());
        };
        let record = Answer::of(record, &want)?;
        bytes += record.wire_bytes();
        records.push((node, record));
    }
    call.charge(bytes)?;

    let mut nodes = wire.reborrow().init_nodes(view::count(records.len()));
    for (i, (node, record)) in (0..).zip(&records) {
        let mut wire = nodes.reborrow().get(i);
        view::source(wire.reborrow().init_source(), node.repo.summary());
        record.write(wire.init_record(), true);
    }
    wire.set_end(match end {
        AncestorsEnd::Root => ancestors::End::Root,
        AncestorsEnd::Missing(_) => ancestors::End::Missing,
        AncestorsEnd::Max => ancestors::End::Max,
        AncestorsEnd::Loop => ancestors::End::Loop,
        AncestorsEnd::Absent => ancestors::End::Absent,
    });
    if let AncestorsEnd::Missing(uri) = end {
        wire.set_missing(uri);
    }
    Ok(())
}
