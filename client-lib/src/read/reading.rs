//! What scans, verifications, threads and watches bring, from the wire.

use capnp::Result;
use capnp::capability::Response;
use carrack_schema::wire::record_capnp::record_data;
use carrack_schema::wire::store_capnp as wire;

use super::{absent, cid, record, source};
use crate::ancestors::{Ancestors, AncestorsEnd};
use crate::scan::ScanReport;
use crate::types::{Found, RecordData};
use crate::verify::{Signature, Verification, Verified};
use crate::watch::{Change, ChangeKind, Changes};

pub(crate) fn records(
    wire: capnp::struct_list::Reader<'_, record_data::Owned>,
) -> Result<Vec<RecordData>> {
    wire.iter().map(record).collect()
}

pub(crate) fn scan(response: &Response<wire::scan_result::Owned>) -> Result<Found<ScanReport>> {
    Ok(match response.get()?.which()? {
        wire::scan_result::Absent(hop) => Err(absent(hop)),
        wire::scan_result::Scanned(scanned) => Ok(ScanReport {
            source: source(scanned.get_source()?)?,
            records: scanned.get_records(),
            bytes: scanned.get_bytes(),
        }),
    })
}

pub(crate) fn verification(
    response: &Response<wire::verify_result::Owned>,
) -> Result<Found<Verification>> {
    Ok(match response.get()?.which()? {
        wire::verify_result::Absent(hop) => Err(absent(hop)),
        wire::verify_result::Broken(words) => Ok(Verification::Broken(words?.to_string()?)),
        wire::verify_result::Verified(found) => Ok(Verification::Sound(Verified {
            source: source(found.get_source()?)?,
            cid: match found.get_present() {
                true => Some(cid(found.get_cid()?)?),
                false => None,
            },
            nodes: found.get_nodes(),
            signature: match found.get_signature()? {
                wire::verdict::Outcome::Unchecked => Signature::Unchecked,
                wire::verdict::Outcome::Valid => Signature::Valid,
                wire::verdict::Outcome::LegacyCommit => Signature::LegacyCommit,
            },
        })),
    })
}

pub(crate) fn ancestors(
    response: &Response<wire::store::ancestors_results::Owned>,
) -> Result<Ancestors> {
    let found = response.get()?.get_ancestors()?;
    let node = |node: wire::ancestors::node::Reader<'_>| {
        Ok((source(node.get_source()?)?, record(node.get_record()?)?))
    };
    Ok(Ancestors {
        nodes: found.get_nodes()?.iter().map(node).collect::<Result<_>>()?,
        end: match found.get_end() {
            Ok(wire::ancestors::End::Root) => AncestorsEnd::Root,
            Ok(wire::ancestors::End::Missing) => {
                AncestorsEnd::Missing(found.get_missing()?.to_string()?)
            }
            Ok(wire::ancestors::End::Max) => AncestorsEnd::Max,
            Ok(wire::ancestors::End::Loop) => AncestorsEnd::Loop,
            Ok(wire::ancestors::End::Absent) => AncestorsEnd::Absent,
            Ok(wire::ancestors::End::Unknown) | Err(_) => AncestorsEnd::Unknown,
        },
    })
}

pub(crate) fn changes(params: wire::listener::changed_params::Reader<'_>) -> Result<Changes> {
    Ok(Changes {
        changes: params
            .get_changes()?
            .iter()
            .map(change)
            .collect::<Result<_>>()?,
        missed: params.get_missed(),
    })
}

fn change(wire: wire::change::Reader<'_>) -> Result<Change> {
    let commit = wire.get_commit()?;
    Ok(Change {
        did: wire.get_did()?.to_string()?,
        rev: wire.get_rev()?.to_string()?,
        commit: match commit {
            [] => None,
            bytes => Some(cid(bytes)?),
        },
        kind: match wire.get_kind() {
            Ok(wire::change::Kind::Imported) => ChangeKind::Imported,
            Ok(wire::change::Kind::RecordDeleted) => ChangeKind::RecordDeleted,
            Ok(wire::change::Kind::RepoDeleted) => ChangeKind::RepoDeleted,
            Ok(wire::change::Kind::Status) => ChangeKind::Status,
            Ok(wire::change::Kind::Unknown) | Err(_) => ChangeKind::Unknown,
        },
        records: wire.get_records(),
    })
}
