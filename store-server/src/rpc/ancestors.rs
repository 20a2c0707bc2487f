//! Ancestors: the posts that a post answers, in one answer.

use std::sync::Arc;

use carrack_schema::limits::{
    ANCESTORS_DEFAULT, ANCESTORS_MAX, LIST_BYTES_MAX, RECORD_FRAME_BYTES_MAX,
};
use carrack_schema::names::RecordUri;
use carrack_schema::wire::store_capnp::{ancestors, store};
use carrack_schema::{Code, Did, RecordPath};

use super::caller::{Call, Caller};
use super::error::Failure;
use super::view::{self, Answer, Want};
use crate::ancestors::{AncestorsEnd, Sees};
use crate::auth::{Authority, Operation};
use crate::error::{Error, Result};
use crate::store::{Lookup, Repo, Store};

/// What to look for.
struct Request {
    of: RecordPath,
    did: Did,
    max: usize,
    want: Want<'static>,
}

/// What goes over the wire.
struct Chain {
    nodes: Vec<(Arc<Repo>, Answer<'static>)>,
    end: AncestorsEnd,
    bytes: usize,
}

/// What a post takes on the wire beside its record and its repo's DID at the most: its collection, its CID, a commit,
/// times.
const NODE_FRAME_BYTES: usize = RECORD_FRAME_BYTES_MAX + 256;

/// Answers with what a post answers, up to a limit of records or of bytes, whichever comes first.
pub(super) async fn answer(
    caller: &Caller,
    params: store::AncestorsParams,
    mut wire: ancestors::Builder<'_>,
) -> Result<(), Failure> {
    let call = caller.begin(Operation::Read)?;
    let request = Request::read(&call, params.get()?)?;
    // What it asks for was copied out of it.
    drop(params);
    let (authority, store) = (call.authority().clone(), call.store().clone());
    let find = move || request.find(&authority, &store);
    let (chain, mut answering) = call.make(find).await?;
    answering.grow_to(chain.bytes_with_frames())?;
    call.charge(chain.bytes)?;
    chain.write(wire.reborrow());
    Ok(())
}

impl Request {
    fn read(call: &Call, params: store::ancestors_params::Reader<'_>) -> Result<Self, Failure> {
        let of: RecordUri = params.get_uri()?.to_str()?.parse()?;
        let did = call.resolve(&of.repo)?;
        call.check_collection(&of.path.collection)?;
        let max = match params.get_max() {
            0 => ANCESTORS_DEFAULT,
            max => max.min(ANCESTORS_MAX),
        };
        Ok(Self {
            of: of.path,
            did,
            max: max as usize,
            want: Want::read(params.get_want()?)?.into_owned(),
        })
    }

    fn find(&self, authority: &Authority, store: &Store) -> Result<Chain> {
        let sees = Sees {
            repo: &|did| authority.sees_repo(did),
            collection: &|nsid| authority.sees_collection(nsid),
        };
        let found = store.ancestors(&self.did, &self.of, self.max, &sees)?;
        let mut chain = Chain {
            nodes: Vec::with_capacity(found.nodes.len()),
            end: found.end,
            bytes: 0,
        };
        for node in found.nodes {
            if chain.bytes >= LIST_BYTES_MAX {
                chain.end = AncestorsEnd::Max;
                break;
            }
            let Lookup::Found(record) = node.repo.record(&node.path)? else {
                let words = format!("record {} left its snapshot", node.path);
                return Err(Error::new(Code::Internal, words));
            };
            let record = Answer::of(record, &self.want)?.into_owned();
            chain.bytes += record.wire_bytes();
            chain.nodes.push((node.repo.clone(), record));
        }
        Ok(chain)
    }
}

impl Chain {
    /// Returns how many bytes it takes on the wire at the most.
    fn bytes_with_frames(&self) -> usize {
        let dids = self
            .nodes
            .iter()
            .map(|(repo, _)| repo.summary().did.as_str().len());
        self.bytes + dids.map(|did| did + NODE_FRAME_BYTES).sum::<usize>()
    }

    fn write(&self, mut wire: ancestors::Builder<'_>) {
        let mut nodes = wire.reborrow().init_nodes(view::count(self.nodes.len()));
        for (i, (repo, record)) in (0..).zip(&self.nodes) {
            let mut wire = nodes.reborrow().get(i);
            view::source(wire.reborrow().init_source(), repo.summary());
            record.write(wire.init_record(), true);
        }
        wire.set_end(match self.end {
            AncestorsEnd::Root => ancestors::End::Root,
            AncestorsEnd::Missing(_) => ancestors::End::Missing,
            AncestorsEnd::Max => ancestors::End::Max,
            AncestorsEnd::Loop => ancestors::End::Loop,
            AncestorsEnd::Absent => ancestors::End::Absent,
        });
        if let AncestorsEnd::Missing(uri) = &self.end {
            wire.set_missing(uri);
        }
    }
}
