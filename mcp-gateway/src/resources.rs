//! Resources: repos, pages, records, exports and proofs by URI, for programs that read without a model.
//!
//! The list names repos alone; all else is reached by the templates. What a caller's grant does not allow is missing
//! from both, and reading it fails like a name that is nobody's.

pub(crate) mod uri;

use carrack_client::{
    Absent, Body, CollectionInfo, Cursor, Download, Error, Found, Page, PageRequest, Proof, Range,
    RecordData, RepoInfo, Scope, Selection, Source, Store, Want,
};
use carrack_schema::limits::{LIST_RECORDS_DEFAULT, MIB, RESOURCE_BYTES_MAX};
use carrack_schema::time::rfc3339;
use carrack_schema::{AtUri, Code, Did};
use data_encoding::BASE64;
use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, ListResourceTemplatesResult, ListResourcesResult, MetaObject, ReadResourceResult,
    Resource, ResourceContents, ResourceTemplate,
};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::render::frame::{counted, provenance};
use crate::render::quote;
use uri::{Named, UriError};

/// How long a client may keep what it read: a record may change or be deleted at any time, and must then be gone
/// everywhere soon.
const TTL_MS: u64 = 30_000;
/// How long a client may keep the templates, which depend on its grant alone.
const TEMPLATES_TTL_MS: u64 = 300_000;

const JSON: &str = "application/json";
const CAR: &str = "application/vnd.ipld.car";
const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";

/// A template, and whether a scope has what it needs.
struct Template {
    uri: &'static str,
    name: &'static str,
    description: &'static str,
    mime_type: &'static str,
    may: fn(&Scope) -> bool,
}

const TEMPLATES: [Template; 5] = [
    Template {
        uri: "at://{did}",
        name: "repo",
        description: "An account: revision, signature verdict, its collections and their sizes",
        mime_type: JSON,
        may: |scope| scope.may.read,
    },
    Template {
        uri: "at://{did}/{collection}{?cursor,limit}",
        name: "collection",
        description: "One page of a collection, newest key first; `next` is the URI of the page after it",
        mime_type: JSON,
        may: |scope| scope.may.list,
    },
    Template {
        uri: "at://{did}/{collection}/{rkey}",
        name: "record",
        description: "A record as JSON, whole; its CID, revision and signature verdict are in _meta",
        mime_type: JSON,
        may: |scope| scope.may.read,
    },
    Template {
        uri: "at-proof://{did}/{collection}/{rkey}",
        name: "proof",
        description: "A CAR that proves the record, or its absence, from the signed commit",
        mime_type: CAR,
        may: |scope| scope.may.prove && sees_all_collections(scope),
    },
    Template {
        uri: "at-car://{did}{?rev}",
        name: "export",
        description: "The account's repository as a CAR, at a revision that is still held if one is named; 4 MiB at the most",
        mime_type: CAR,
        may: |scope| scope.may.export && sees_all_collections(scope),
    },
];

fn sees_all_collections(scope: &Scope) -> bool {
    scope.collections == Selection::All
}

/// Returns the templates that the caller may use.
pub(crate) async fn templates(
    connection: &Connection,
) -> Result<ListResourceTemplatesResult, ErrorData> {
    let about = connection.about().await;
    let about = about.map_err(|error| failed("the templates", &error))?;
    let list = offered(&about.scope);
    Ok(ListResourceTemplatesResult::with_all_items(list)
        .with_ttl_ms(TEMPLATES_TTL_MS)
        .with_cache_scope(CacheScope::Private))
}

/// Says whether there is a template that has this variable.
pub(crate) fn has_variable(template: &str, name: &str) -> bool {
    let known = TEMPLATES.iter().any(|known| known.uri == template);
    let mut groups = template.split('{').skip(1);
    known
        && groups.any(|group| {
            let names = group.split('}').next().unwrap_or_default();
            names
                .trim_start_matches('?')
                .split(',')
                .any(|variable| variable == name)
        })
}

/// Returns all templates.
pub(crate) fn all() -> Vec<ResourceTemplate> {
    offered(&Scope::all())
}

fn offered(scope: &Scope) -> Vec<ResourceTemplate> {
    TEMPLATES
        .iter()
        .filter(|template| (template.may)(scope))
        .map(|template| {
            ResourceTemplate::new(template.uri, template.name)
                .with_description(template.description)
                .with_mime_type(template.mime_type)
        })
        .collect()
}

/// Returns a page of the repos that the caller may list.
pub(crate) async fn list(
    connection: &Connection,
    cursor: Option<&str>,
) -> Result<ListResourcesResult, ErrorData> {
    let after = cursor.unwrap_or_default();
    // A page goes on after a name, so its cursor is that name.
    if cursor.is_some() && after.parse::<Did>().is_err() {
        return Err(invalid(
            "the cursor is not one of this list; leave it out to start from the beginning",
        ));
    }
    let read = |store: Store| async move { store.repos(after, LIST_RECORDS_DEFAULT).await };
    let (repos, more) = match connection.read(read).await {
        Ok(page) => (page.repos, page.more),
        // Who may not list sees nothing to list.
        Err(error) if error.code() == Code::Denied => (Vec::new(), false),
        Err(error) => return Err(failed("the list of repos", &error)),
    };
    let next = repos.last().filter(|_| more);
    let next = next.map(|repo| repo.source.did.clone());
    let shown = repos.iter().filter(|repo| repo.status.is_empty());
    let mut list = ListResourcesResult::with_all_items(shown.map(resource).collect())
        .with_ttl_ms(TTL_MS)
        .with_cache_scope(CacheScope::Private);
    list.next_cursor = next;
    Ok(list)
}

fn resource(repo: &RepoInfo) -> Resource {
    let did = &repo.source.did;
    let name = match repo.handle.is_empty() {
        true => did,
        // The account's own claim, which nobody has verified; its form is checked.
        false => &repo.handle,
    };
    let description = format!(
        "{} · {}",
        counted(repo.records, "record"),
        provenance(&repo.source)
    );
    Resource::new(format!("at://{did}"), name.clone())
        .with_description(description)
        .with_mime_type(JSON)
        .with_meta(meta(&repo.source, None))
}

/// What was read, and what is known of it.
struct Reading {
    source: Source,
    /// Of the record that this is about.
    cid: Option<String>,
    content: Content,
}

enum Content {
    Json(Value),
    Bytes(Vec<u8>, &'static str),
}

/// Reads a resource.
pub(crate) async fn read(
    connection: &Connection,
    text: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let named = Named::parse(text).map_err(|error| refuse(text, error))?;
    let reading = match &named {
        Named::At(uri) if uri.rkey.is_some() => record(connection, uri).await,
        Named::At(uri) => repo(connection, uri).await,
        Named::Page { uri, limit, cursor } => page(connection, uri, *limit, cursor.as_ref()).await,
        Named::Car { uri, rev } => {
            let rev = rev.map(|rev| rev.to_string());
            export(connection, uri, rev.as_deref()).await
        }
        Named::Proof(uri) => proof(connection, uri).await,
    };
    let Reading {
        source,
        cid,
        content,
    } = match reading {
        Ok(Ok(reading)) => reading,
        Ok(Err(absent)) => return Err(not_found(text, absent)),
        Err(error) => return Err(fault(text, &error)),
    };
    let contents = match content {
        // The same JSON, without characters that a reader could not see.
        Content::Json(value) => {
            ResourceContents::text(quote::json(&value.to_string()), text).with_mime_type(JSON)
        }
        Content::Bytes(bytes, mime_type) => {
            ResourceContents::blob(BASE64.encode(&bytes), text).with_mime_type(mime_type)
        }
    };
    let contents = contents.with_meta(meta(&source, cid));
    Ok(ReadResourceResult::new(vec![contents])
        .with_ttl_ms(TTL_MS)
        .with_cache_scope(CacheScope::Private))
}

type Read = Result<Found<Reading>, Error>;

async fn record(connection: &Connection, uri: &AtUri) -> Read {
    let found = record_as(connection, uri, Want::value().with_cid()).await?;
    let (source, record) = match found {
        Ok(found) => found,
        Err(absent) => return Ok(Err(absent)),
    };
    let (source, record) = match record.body {
        // What is no legal value is still the record: its bytes are.
        Body::Undecodable(_) => {
            match record_as(connection, uri, Want::dag_cbor().with_cid()).await? {
                Ok(found) => found,
                Err(absent) => return Ok(Err(absent)),
            }
        }
        _ => (source, record),
    };
    let content = match record.body {
        Body::Value(value) => Content::Json(json!(value)),
        Body::DagCbor(bytes) => Content::Bytes(bytes, DAG_CBOR),
        _ => {
            let words = "the archive does not hold this record's block";
            return Err(Error::new(Code::Incomplete, words));
        }
    };
    Ok(Ok(Reading {
        source,
        cid: record.cid.map(|cid| cid.to_string()),
        content,
    }))
}

async fn record_as(
    connection: &Connection,
    uri: &AtUri,
    want: Want,
) -> Result<Found<(Source, RecordData)>, Error> {
    let (did, path) = (uri.did.as_str(), path(uri));
    let (path, want) = (path.as_str(), &want);
    let read = |store: Store| async move { store.repo(did).record(path).read(want.clone()).await };
    connection.read(read).await
}

/// Returns the path of a record's URI.
fn path(uri: &AtUri) -> String {
    uri.path().map(|path| path.to_string()).unwrap_or_default()
}

async fn repo(connection: &Connection, uri: &AtUri) -> Read {
    let did = uri.did.as_str();
    let read = |store: Store| async move {
        let repo = store.repo(did);
        futures::try_join!(repo.info(), repo.collections())
    };
    let (info, collections) = match connection.read(read).await? {
        (Ok(info), Ok(collections)) => (info, collections),
        (Err(absent), _) | (_, Err(absent)) => return Ok(Err(absent)),
    };
    Ok(Ok(Reading {
        content: Content::Json(card(&info, &collections)),
        source: info.source,
        cid: None,
    }))
}

fn card(info: &RepoInfo, collections: &[CollectionInfo]) -> Value {
    let collections: Vec<_> = collections
        .iter()
        .map(|each| json!({ "collection": each.nsid, "records": each.records }))
        .collect();
    let mut card = json!({
        "did": info.source.did,
        "rev": info.source.rev,
        "commit": info.source.commit.to_string(),
        "verdict": info.source.verdict.as_str(),
        "records": info.records,
        "imported": rfc3339(info.imported),
        "complete": info.missing == 0,
        "collections": collections,
    });
    if !info.handle.is_empty() {
        // As its DID document says; nobody has verified it.
        card["handleClaimed"] = json!(info.handle);
    }
    card
}

async fn page(connection: &Connection, uri: &AtUri, limit: u32, cursor: Option<&Cursor>) -> Read {
    let collection = uri.collection.as_ref().map(ToString::to_string);
    let (did, collection) = (uri.did.as_str(), collection.unwrap_or_default());
    let nsid = collection.as_str();
    let read = |store: Store| async move {
        let range = Range {
            reverse: true,
            ..Range::default()
        };
        let request = PageRequest {
            cursor: cursor.cloned(),
            limit,
        };
        let listing = store.repo(did).collection(nsid);
        listing
            .list(range, Want::value().with_cid())
            .page(request)
            .await
    };
    let page = match connection.read(read).await? {
        Ok(page) => page,
        Err(absent) => return Ok(Err(absent)),
    };
    Ok(Ok(Reading {
        content: Content::Json(rows(&page, uri, limit)),
        source: page.source,
        cid: None,
    }))
}

fn rows(page: &Page, uri: &AtUri, limit: u32) -> Value {
    let records: Vec<_> = page
        .records
        .iter()
        .map(|record| {
            let mut row = json!({ "uri": format!("{uri}/{}", record.rkey) });
            row["cid"] = json!(record.cid.as_ref().map(ToString::to_string));
            match &record.body {
                Body::Value(value) => row["value"] = json!(value),
                Body::Undecodable(why) => row["undecodable"] = json!(why),
                _ => row["missing"] = json!(true),
            }
            row
        })
        .collect();
    let mut rows = json!({
        "did": page.source.did,
        "rev": page.source.rev,
        "verdict": page.source.verdict.as_str(),
        "records": records,
    });
    if let Some(next) = &page.next {
        rows["next"] = json!(format!("{uri}?cursor={next}&limit={limit}"));
    }
    if let Some(rev) = &page.moved_from {
        rows["movedFrom"] = json!(rev);
    }
    rows
}

async fn proof(connection: &Connection, uri: &AtUri) -> Read {
    let (did, path) = (uri.did.as_str(), path(uri));
    let path = path.as_str();
    let read = |store: Store| async move { store.repo(did).record(path).prove().await };
    let found = connection.read(read).await?;
    Ok(found.map(|Proof { source, car, .. }| Reading {
        source,
        cid: None,
        content: Content::Bytes(car, CAR),
    }))
}

async fn export(connection: &Connection, uri: &AtUri, rev: Option<&str>) -> Read {
    let did = uri.did.as_str();
    let read = |store: Store| async move {
        let repo = match rev {
            Some(rev) => store.repo(did).at(rev),
            None => store.repo(did),
        };
        collect(repo.export(), did, RESOURCE_BYTES_MAX).await
    };
    let found = connection.read(read).await?;
    Ok(found.map(|(source, car)| Reading {
        source,
        cid: None,
        content: Content::Bytes(car, CAR),
    }))
}

/// Takes an export in, which stops when it turns out too long to be a resource.
async fn collect(
    mut export: Download,
    did: &str,
    bytes_max: usize,
) -> Result<Found<(Source, Vec<u8>)>, Error> {
    let mut car = Vec::new();
    while let Some(bytes) = export.next().await {
        if car.len() + bytes.len() > bytes_max {
            let words = format!(
                "the export is longer than the {} MiB that a resource may be: use the tool at_export, or carrack export {did}",
                bytes_max / MIB
            );
            return Err(Error::new(Code::LimitExceeded, words));
        }
        car.extend_from_slice(&bytes);
    }
    Ok(export.done().await?.map(|report| (report.source, car)))
}

fn meta(source: &Source, cid: Option<String>) -> MetaObject {
    let mut meta = MetaObject::new();
    if let Some(cid) = cid {
        meta.0.insert("cid".into(), json!(cid));
    }
    meta.0.insert("rev".into(), json!(source.rev));
    meta.0
        .insert("commit".into(), json!(source.commit.to_string()));
    meta.0
        .insert("verdict".into(), json!(source.verdict.as_str()));
    meta
}

/// Returns what a caller named as it may stand in an error, at its end, where it is quoted as third parties' words are: a
/// hostile one may be megabytes long.
pub(crate) fn start(text: &str) -> String {
    quote::shorten(text, 200)
}

pub(crate) fn invalid(words: impl Into<String>) -> ErrorData {
    ErrorData::invalid_params(
        words.into(),
        Some(json!({ "code": Code::InvalidArgument.as_str() })),
    )
}

/// Returns the error of a URI that names nothing.
pub(crate) fn refuse(text: &str, error: UriError) -> ErrorData {
    match error {
        UriError::Query(why) => invalid(format!("{why} > {}", start(text))),
        UriError::Form => {
            let words = format!(
                "no resource has this form; resources/templates/list names those there are, and accounts are named by DID > {}",
                start(text)
            );
            let data = json!({ "code": Code::NotFound.as_str(), "uri": start(text) });
            ErrorData::resource_not_found(words, Some(data))
        }
    }
}

fn not_found(text: &str, absent: Absent) -> ErrorData {
    let data = json!({ "code": Code::NotFound.as_str(), "uri": start(text) });
    ErrorData::resource_not_found(format!("{absent} > {}", start(text)), Some(data))
}

/// Returns the error of a read that the store refused.
///
/// The store refuses what is outside the caller's grant whether it is there or not, so the words tell nothing of it.
pub(crate) fn fault(text: &str, error: &Error) -> ErrorData {
    let data = json!({ "code": error.code().as_str(), "uri": start(text) });
    refused(error, format!("{} > {}", words(error), start(text)), data)
}

/// Returns the error of anything else that the store refused.
pub(crate) fn failed(what: &str, error: &Error) -> ErrorData {
    let data = json!({ "code": error.code().as_str() });
    refused(error, format!("{what}: {}", words(error)), data)
}

fn words(error: &Error) -> String {
    quote::shorten(&quote::apart(error.words()), WORDS_CHARS_MAX)
}

/// Most characters of an error's words.
const WORDS_CHARS_MAX: usize = 1_000;

fn refused(error: &Error, words: String, data: Value) -> ErrorData {
    let data = Some(data);
    match error.code() {
        Code::NotFound
        | Code::Denied
        | Code::Inactive
        | Code::UnknownHandle
        | Code::RevNotRetained
        | Code::Incomplete => ErrorData::resource_not_found(words, data),
        Code::InvalidArgument | Code::LimitExceeded => ErrorData::invalid_params(words, data),
        _ => ErrorData::internal_error(words, data),
    }
}

#[cfg(all(test, feature = "embedded"))]
pub(crate) mod granted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_offered_with_what_it_needs() {
        let names = |scope: &Scope| -> Vec<String> {
            offered(scope).into_iter().map(|each| each.name).collect()
        };
        assert_eq!(
            names(&Scope::all()),
            ["repo", "collection", "record", "proof", "export"]
        );
        let reader = Scope::none().all_repos().all_collections().read();
        assert_eq!(names(&reader), ["repo", "record"]);
        assert_eq!(
            names(&reader.clone().list()),
            ["repo", "collection", "record"]
        );
        // A proof and an export show what is in the other collections.
        let narrow = Scope::none().all_repos().collection("a.b.c");
        assert!(names(&narrow.prove().export()).is_empty());
        assert_eq!(names(&reader.prove().export()).len(), 4);
    }

    #[test]
    fn variables_of_templates_are_known() {
        let page = "at://{did}/{collection}{?cursor,limit}";
        for name in ["did", "collection", "cursor", "limit"] {
            assert!(has_variable(page, name), "{name}");
        }
        assert!(!has_variable(page, "rkey") && !has_variable(page, ""));
        assert!(!has_variable("x://{did}", "did"));
    }

    #[test]
    fn errors_repeat_no_long_or_hidden_text() {
        let text = format!("at://{}\n\u{202e}", "x".repeat(100_000));
        let error = refuse(&text, UriError::Form);
        let shown = serde_json::to_string(&error).unwrap();
        assert!(
            shown.len() < 1_000 && !shown.contains('\u{202e}'),
            "{shown}"
        );
    }
}
