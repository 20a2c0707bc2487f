//! From what is on the wire to the owned types of [`crate::types`], and back for what a call sends.
//!
//! Runs in the actor: readers may not leave its thread. A peer that breaks the schema gives an error, never a
//! panic.

pub(crate) mod grant;
pub(crate) mod reading;

use capnp::Result;
use capnp::capability::Response;
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp as wire;
use carrack_schema::{Cid, Code, Value};

use crate::types::{
    About, Absent, BackupReport, Body, CheckFinding, CheckPhase, CheckProgress, CheckReport,
    CollectionInfo, Compacted, Cursor, Deleted, ExportReport, Form, Found, ImportOptions,
    ImportOutcome, ImportReport, Page, PageRequest, Phase, Progress, Proof, Range, RecordData,
    Rejection, RepoInfo, RepoList, Source, StoreStats, Verdict, Want,
};

pub(crate) fn about(response: &Response<wire::session::about_results::Owned>) -> Result<About> {
    let results = response.get()?;
    let about = results.get_about()?;
    Ok(About {
        version: about.get_version()?.to_string()?,
        message_bytes_max: about.get_message_bytes_max(),
        chunk_bytes_max: about.get_chunk_bytes_max(),
        list_records_max: about.get_list_records_max(),
        list_bytes_max: about.get_list_bytes_max(),
        calls_max: about.get_calls_max(),
        objects_max: about.get_objects_max(),
        query_steps_max: about.get_query_steps_max(),
        query_rows_max: about.get_query_rows_max(),
        query_bytes_max: about.get_query_bytes_max(),
        query_work_max: about.get_query_work_max(),
        scope: grant::scope(about.get_scope()?)?,
        label: about.get_label()?.to_string()?,
        grant: about.get_grant()?.to_string()?,
    })
}

pub(crate) fn stats(response: &Response<wire::store::stats_results::Owned>) -> Result<StoreStats> {
    let results = response.get()?;
    Ok(store_stats(results.get_stats()?))
}

fn store_stats(wire: wire::store_stats::Reader<'_>) -> StoreStats {
    StoreStats {
        repos: wire.get_repos(),
        records: wire.get_records(),
        revisions: wire.get_revisions(),
        bytes_in: wire.get_bytes_in(),
        bytes_stored: wire.get_bytes_stored(),
        segments: wire.get_segments(),
        segments_cold: wire.get_segments_cold(),
        bytes_segments: wire.get_bytes_segments(),
        bytes_catalog: wire.get_bytes_catalog(),
        purges: wire.get_purges(),
        purge_by: Some(wire.get_purge_by()).filter(|by| *by != 0),
    }
}

pub(crate) fn deleted(response: &Response<wire::delete_result::Owned>) -> Result<Found<Deleted>> {
    Ok(match response.get()?.which()? {
        wire::delete_result::Absent(hop) => Err(absent(hop)),
        wire::delete_result::Deleted(deleted) => Ok(Deleted {
            did: deleted.get_did()?.to_string()?,
            records: deleted.get_records(),
            purge_by: Some(deleted.get_purge_by()).filter(|by| *by != 0),
        }),
    })
}

pub(crate) fn compacted(
    response: &Response<wire::compact_result::Owned>,
) -> Result<Found<Compacted>> {
    Ok(match response.get()?.which()? {
        wire::compact_result::Absent(hop) => Err(absent(hop)),
        wire::compact_result::Compacted(compacted) => Ok(Compacted {
            before: store_stats(compacted.get_before()?),
            after: store_stats(compacted.get_after()?),
            damaged: compacted.get_damaged(),
        }),
    })
}

pub(crate) fn check(
    response: &Response<wire::keeper::check_results::Owned>,
) -> Result<CheckReport> {
    let report = response.get()?.get_report()?;
    Ok(CheckReport {
        segments: report.get_segments(),
        repos: report.get_repos(),
        revisions: report.get_revisions(),
        records: report.get_records(),
        bytes: report.get_bytes(),
        findings: report.get_findings(),
        repos_damaged: report.get_repos_damaged(),
    })
}

pub(crate) fn backup(
    response: &Response<wire::keeper::backup_results::Owned>,
) -> Result<BackupReport> {
    let report = response.get()?.get_report()?;
    Ok(BackupReport {
        taken: report.get_taken(),
        segments: report.get_segments(),
        bytes: report.get_bytes(),
        bytes_skipped: report.get_bytes_skipped(),
    })
}

pub(crate) fn finding(wire: wire::check_finding::Reader<'_>) -> Result<CheckFinding> {
    let repos = wire.get_repos()?.iter();
    Ok(CheckFinding {
        file: wire.get_file()?.to_string()?,
        section: wire.get_section()?.to_string()?,
        words: wire.get_words()?.to_string()?,
        repos: repos
            .map(|did| Ok(did?.to_string()?))
            .collect::<Result<_>>()?,
        repos_count: wire.get_repos_count(),
        readable: wire.get_readable()?.to_string()?,
    })
}

pub(crate) fn check_progress(
    params: wire::check_watcher::progress_params::Reader<'_>,
) -> Result<CheckProgress> {
    let phase = match params.get_phase()? {
        wire::check_watcher::Phase::Segments => CheckPhase::Segments,
        wire::check_watcher::Phase::Repos => CheckPhase::Repos,
    };
    Ok(CheckProgress {
        phase,
        done: params.get_done(),
        total: params.get_total(),
        records: params.get_records(),
    })
}

pub(crate) fn repos(response: &Response<wire::store::repos_results::Owned>) -> Result<RepoList> {
    let results = response.get()?;
    let repos = results
        .get_repos()?
        .iter()
        .map(repo_info)
        .collect::<Result<_>>()?;
    Ok(RepoList {
        repos,
        more: results.get_more(),
    })
}

pub(crate) fn info(response: &Response<wire::info_result::Owned>) -> Result<Found<RepoInfo>> {
    let results = response.get()?;
    Ok(match results.which()? {
        wire::info_result::Absent(hop) => Err(absent(hop)),
        wire::info_result::Info(info) => Ok(repo_info(info?)?),
    })
}

pub(crate) fn collections(
    response: &Response<wire::collections_result::Owned>,
) -> Result<Found<Vec<CollectionInfo>>> {
    let results = response.get()?;
    Ok(match results.which()? {
        wire::collections_result::Absent(hop) => Err(absent(hop)),
        wire::collections_result::Found(found) => Ok(collection_list(found.get_collections()?)?),
    })
}

pub(crate) fn page(response: &Response<wire::list_result::Owned>) -> Result<Found<Page>> {
    let results = response.get()?;
    let page = match results.which()? {
        wire::list_result::Absent(hop) => return Ok(Err(absent(hop))),
        wire::list_result::Page(page) => page,
    };
    let next = page.get_next()?;
    let moved_from = page.get_moved_from()?.to_str()?;
    Ok(Ok(Page {
        source: source(page.get_source()?)?,
        records: page
            .get_records()?
            .iter()
            .map(record)
            .collect::<Result<_>>()?,
        next: (!next.is_empty()).then(|| Cursor(next.to_vec())),
        moved_from: (!moved_from.is_empty()).then(|| moved_from.to_owned()),
    }))
}

pub(crate) fn read(
    response: &Response<wire::read_result::Owned>,
) -> Result<Found<(Source, RecordData)>> {
    let results = response.get()?;
    Ok(match results.which()? {
        wire::read_result::Absent(hop) => Err(absent(hop)),
        wire::read_result::Found(found) => {
            Ok((source(found.get_source()?)?, record(found.get_record()?)?))
        }
    })
}

pub(crate) fn export(
    response: &Response<wire::export_result::Owned>,
) -> Result<Found<ExportReport>> {
    Ok(match response.get()?.which()? {
        wire::export_result::Absent(hop) => Err(absent(hop)),
        wire::export_result::Exported(exported) => Ok(ExportReport {
            source: source(exported.get_source()?)?,
            bytes: exported.get_bytes(),
            blocks: exported.get_blocks(),
            records: exported.get_records(),
        }),
    })
}

pub(crate) fn proof(response: &Response<wire::proof_result::Owned>) -> Result<Found<Proof>> {
    Ok(match response.get()?.which()? {
        wire::proof_result::Absent(hop) => Err(absent(hop)),
        wire::proof_result::Proof(proof) => Ok(Proof {
            source: source(proof.get_source()?)?,
            present: proof.get_present(),
            car: proof.get_car()?.to_vec(),
        }),
    })
}

pub(crate) fn import(
    response: &Response<wire::car_sink::done_results::Owned>,
) -> Result<ImportOutcome> {
    let results = response.get()?;
    Ok(match results.get_result()?.which()? {
        wire::import_result::Imported(report) => ImportOutcome::Imported(import_report(report?)?),
        wire::import_result::Unchanged(report) => ImportOutcome::Unchanged(import_report(report?)?),
        wire::import_result::Rejected(rejection) => {
            let rejection = rejection?;
            let code = rejection.get_code()?.to_str()?;
            let known = Code::ALL.iter().find(|known| known.as_str() == code);
            ImportOutcome::Rejected(Rejection {
                code: known.copied().unwrap_or(Code::Internal),
                words: rejection.get_words()?.to_string()?,
            })
        }
    })
}

pub(crate) fn progress(params: wire::progress::report_params::Reader<'_>) -> Result<Progress> {
    let phase = match params.get_phase()? {
        wire::progress::Phase::Receiving => Phase::Receiving,
        wire::progress::Phase::Packing => Phase::Packing,
        wire::progress::Phase::Committing => Phase::Committing,
    };
    Ok(Progress {
        phase,
        done: params.get_done(),
        total: params.get_total(),
    })
}

pub(crate) fn set_import(mut wire: wire::import_options::Builder<'_>, options: &ImportOptions) {
    if let Some(did) = &options.did {
        wire.set_did(did);
    }
    if let Some(document) = &options.did_document {
        wire.set_did_document(document);
    }
    wire.set_require_signature(options.require_signature);
    wire.set_allow_partial(options.allow_partial);
    if let Some(status) = &options.status {
        wire.set_status(status);
    }
}

pub(crate) fn set_range(mut wire: wire::range::Builder<'_>, range: &Range) {
    wire.set_from(&range.from);
    wire.set_before(&range.before);
    wire.set_reverse(range.reverse);
}

pub(crate) fn set_page(mut wire: wire::page_request::Builder<'_>, page: &PageRequest) {
    if let Some(cursor) = &page.cursor {
        wire.set_cursor(&cursor.0);
    }
    wire.set_limit(page.limit);
}

pub(crate) fn set_want(mut wire: want::Builder<'_>, wanted: &Want) {
    wire.set_form(match wanted.form {
        Form::None => want::Form::None,
        Form::Value => want::Form::Value,
        Form::DagCbor => want::Form::DagCbor,
    });
    wire.set_cid(wanted.cid);
    // A list of more fields than a message can hold is cut here; the server refuses far fewer.
    let count = u32::try_from(wanted.fields.len()).unwrap_or(u32::MAX);
    let mut fields = wire.init_fields(count);
    for (i, field) in (0..count).zip(&wanted.fields) {
        fields.set(i, field);
    }
}

pub(crate) fn absent(hop: std::result::Result<wire::Absent, capnp::NotInSchema>) -> Absent {
    match hop {
        Ok(wire::Absent::Repo) => Absent::Repo,
        Ok(wire::Absent::Collection) => Absent::Collection,
        Ok(wire::Absent::Record) => Absent::Record,
        Ok(wire::Absent::Inactive) => Absent::Inactive,
        Ok(wire::Absent::Unknown) | Err(_) => Absent::Unknown,
    }
}

fn repo_info(wire: wire::repo_info::Reader<'_>) -> Result<RepoInfo> {
    Ok(RepoInfo {
        source: source(wire.get_source()?)?,
        records: wire.get_records(),
        bytes_in: wire.get_bytes_in(),
        bytes_stored: wire.get_bytes_stored(),
        imported: wire.get_imported(),
        missing: wire.get_missing(),
        invalid: wire.get_invalid(),
        handle: wire.get_handle()?.to_string()?,
        status: wire.get_status()?.to_string()?,
    })
}

pub(crate) fn source(wire: wire::source::Reader<'_>) -> Result<Source> {
    let judged = wire.get_verdict()?;
    let verdict = match judged.get_outcome()? {
        wire::verdict::Outcome::Unchecked => Verdict::Unchecked,
        wire::verdict::Outcome::LegacyCommit => Verdict::LegacyCommit,
        wire::verdict::Outcome::Valid => Verdict::Valid {
            key: judged.get_key()?.to_string()?,
            document: judged.get_document()?.to_vec(),
            checked: judged.get_checked(),
        },
    };
    Ok(Source {
        did: wire.get_did()?.to_string()?,
        rev: wire.get_rev()?.to_string()?,
        commit: cid(wire.get_commit()?)?,
        verdict,
    })
}

fn collection_list(
    wire: capnp::struct_list::Reader<'_, wire::collection_info::Owned>,
) -> Result<Vec<CollectionInfo>> {
    wire.iter()
        .map(|info| {
            Ok(CollectionInfo {
                nsid: info.get_nsid()?.to_string()?,
                records: info.get_records(),
            })
        })
        .collect()
}

fn import_report(wire: wire::import_report::Reader<'_>) -> Result<ImportReport> {
    Ok(ImportReport {
        info: repo_info(wire.get_info()?)?,
        blocks: wire.get_blocks(),
        collections: collection_list(wire.get_collections()?)?,
    })
}

pub(crate) fn record(wire: record_data::Reader<'_>) -> Result<RecordData> {
    let body = match wire.which()? {
        record_data::None(()) => Body::None,
        record_data::Value(value) => Body::Value(Value::from_wire(value?)?),
        record_data::DagCbor(bytes) => Body::DagCbor(bytes?.to_vec()),
        record_data::Undecodable(why) => Body::Undecodable(why?.to_string()?),
        record_data::Missing(()) => Body::Missing,
    };
    let hash = wire.get_cid()?;
    Ok(RecordData {
        collection: wire.get_collection()?.to_string()?,
        rkey: wire.get_rkey()?.to_string()?,
        cid: if hash.is_empty() {
            None
        } else {
            Some(cid(hash)?)
        },
        body,
    })
}

fn cid(bytes: &[u8]) -> Result<Cid> {
    Cid::from_bytes(bytes).map_err(|error| capnp::Error::failed(error.to_string()))
}
