//! `at_export`: a repo or records in full, as resources to read, or for the local user as a file.

mod file;
mod write;

use carrack_client::{Absent, Found, RecordData, RepoInfo, Source, Store, Want};
use carrack_schema::limits::REFS_MAX;
use carrack_schema::{AtUri, Code};
use futures::future;
use rmcp::model::{JsonObject, Resource, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common;
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::frame::{count, counted};
use crate::schema;
use crate::server::{Caller, Policy};
use crate::source::ImportRule;

pub(crate) const NAME: &str = "at_export";

/// The media type of a CAR.
const CAR: &str = "application/vnd.ipld.car";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Account, whole
    actor: Option<String>,
    /// Or up to 50 records, each with its proof
    #[serde(default)]
    #[schemars(extend("default" = null))]
    uris: Vec<String>,
    /// jsonl needs path
    #[serde(default, rename = "as")]
    form: As,
    /// File to write
    path: Option<String>,
    /// Replace a file that is there
    #[serde(default)]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum As {
    #[default]
    Car,
    Jsonl,
}

/// The structured half.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Output {
    /// Resources to read
    links: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
}

/// Says whether this gateway writes files: only for the user who started it, and whom nobody held to a folder.
fn writes(policy: &Policy) -> bool {
    policy.import == ImportRule::AnyFile && !policy.read_only
}

pub(crate) fn definition(policy: &Policy) -> Tool {
    let mut input = schema::input::<Arguments>();
    let (how, annotations) = if writes(policy) {
        let annotations = ToolAnnotations::new()
            .read_only(false)
            // It replaces a file if it is told to.
            .destructive(true)
            .idempotent(true)
            .open_world(false);
        (
            "; with `path`, writes a CAR or JSON lines there",
            annotations,
        )
    } else {
        let input = std::sync::Arc::make_mut(&mut input);
        if let Some(serde_json::Value::Object(properties)) = input.get_mut("properties") {
            properties.retain(|name, _| ["actor", "uris"].contains(&name.as_str()));
        }
        ("", super::reading())
    };
    let description = format!(
        "Exports an account as a CAR, or records with their proofs: gives links to resources{how}. Not for reading \
         in an answer: use at_list or at_get. Example: {{\"actor\":\"did:plc:ewvi7nxzyoun6zhxrhs64oiz\"}}"
    );
    Tool::new(NAME, description, input)
        .with_raw_output_schema(schema::output::<Output>("links"))
        .with_annotations(annotations)
}

fn example() -> serde_json::Value {
    json!({ "actor": "did:plc:ewvi7nxzyoun6zhxrhs64oiz" })
}

pub(crate) async fn run(
    connection: &Connection,
    policy: &Policy,
    caller: &Caller,
    arguments: JsonObject,
) -> Result<Answer, Refusal> {
    let arguments: Arguments = common::arguments(NAME, arguments, &example())?;
    let invalid = |what: &str, why: &str| {
        Refusal::new(Code::InvalidArgument, what, why).example(NAME, &example())
    };
    if arguments.path.is_some() && !writes(policy) {
        let why = "this gateway writes no files; without path the answer links to a resource";
        return Err(invalid("writing to path", why));
    }
    if arguments.form == As::Jsonl && arguments.path.is_none() {
        let refusal = invalid(
            "exporting JSON lines",
            "they go to a file: path is needed, and only stdio has it",
        );
        return Err(
            refusal.hint("at_list with format=full pages through the same records; or as=car")
        );
    }
    let asked = asked(connection, &arguments).await?;
    match &arguments.path {
        None => links(connection, &asked).await,
        Some(path) => {
            let to = write::To {
                path,
                overwrite: arguments.overwrite,
            };
            write::run(connection, caller, &asked, arguments.form == As::Jsonl, to).await
        }
    }
}

/// What is to be exported.
enum Asked {
    Repo(AtUri),
    Records(Vec<AtUri>),
}

async fn asked(connection: &Connection, arguments: &Arguments) -> Result<Asked, Refusal> {
    match (&arguments.actor, arguments.uris.len()) {
        (Some(actor), 0) => {
            let uri = common::reference(connection, actor).await?.0;
            if arguments.form == As::Car && uri.collection.is_some() {
                let what = format!("exporting {uri} as a CAR");
                let why = "a CAR is of a whole account";
                return Err(Refusal::new(Code::InvalidArgument, what, why)
                    .example(NAME, &json!({ "actor": uri.did.as_str() })));
            }
            Ok(Asked::Repo(uri))
        }
        (None, 1..=REFS_MAX) => {
            let mut uris = Vec::new();
            for text in &arguments.uris {
                let reference = common::reference(connection, text).await?;
                let Some(uri) = reference.record() else {
                    let what = format!("exporting {}", reference.0);
                    let why = "it names a collection, not a record";
                    return Err(Refusal::new(Code::InvalidArgument, what, why)
                        .example(NAME, &json!({ "actor": reference.did().as_str() })));
                };
                uris.push(uri);
            }
            Ok(Asked::Records(uris))
        }
        _ => Err(Refusal::new(
            Code::InvalidArgument,
            "choosing what to export",
            format!("either actor or from 1 to {REFS_MAX} uris are needed, and not both"),
        )
        .example(NAME, &example())),
    }
}

async fn links(connection: &Connection, asked: &Asked) -> Result<Answer, Refusal> {
    match asked {
        Asked::Repo(uri) => {
            let info = common::repo_info(connection, uri.did.as_str()).await?;
            Ok(repo_link(&info))
        }
        Asked::Records(uris) => {
            let uris = uris.as_slice();
            let read = |store: Store| async move { names(&store, uris).await };
            let found = connection
                .read(read)
                .await
                .map_err(|error| Refusal::of(&error, "reading the records"))?;
            Ok(proof_links(uris, &found))
        }
    }
}

fn repo_link(info: &RepoInfo) -> Answer {
    let did = &info.source.did;
    let link = format!("at-car://{did}");
    let text = format!(
        "{link} · {} · about {} bytes\nrepo {}\nread that resource for the CAR: the signed commit, the tree and all \
         records",
        counted(info.records, "record"),
        count(info.bytes_in),
        common::repo_line(&info.source)
    );
    let resource = Resource::new(link.clone(), format!("{did}.car")).with_mime_type(CAR);
    let output = Output {
        links: vec![link],
        records: Some(info.records),
        ..Output::default()
    };
    Answer::new(text, &output).links(vec![resource])
}

/// Looks up whether the records are there, in one flight; their bytes are not read.
async fn names(
    store: &Store,
    uris: &[AtUri],
) -> carrack_client::Result<Vec<Found<(Source, RecordData)>>> {
    let reads = uris.iter().map(|uri| {
        let path = uri.path().map(|path| path.to_string()).unwrap_or_default();
        let record = store.repo(uri.did.as_str()).record(&path);
        async move { record.read(Want::default()).await }
    });
    future::try_join_all(reads).await
}

/// A record that is not there has a proof of that; a repo that is not held has none.
fn proof_links(uris: &[AtUri], found: &[Found<(Source, RecordData)>]) -> Answer {
    let (mut output, mut resources) = (Output::default(), Vec::new());
    let mut body = String::new();
    for (uri, found) in uris.iter().zip(found) {
        if let Err(absent @ (Absent::Repo | Absent::Inactive | Absent::Unknown)) = found {
            body.extend(["\n", &uri.to_string(), " · none: ", &absent.to_string()]);
            output.missing.push(uri.to_string());
            continue;
        }
        let note = if found.is_err() {
            " · proves that there is no such record"
        } else {
            ""
        };
        let link = uri.to_string().replacen("at://", "at-proof://", 1);
        body.extend(["\n", &link, note]);
        let name = uri
            .rkey
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        resources.push(Resource::new(link.clone(), format!("{name}.car")).with_mime_type(CAR));
        output.links.push(link);
    }
    let header = format!(
        "{} of {}: read these resources, each a small CAR with the signed commit, the tree's nodes and the record",
        output.links.len(),
        counted(uris.len() as u64, "proof"),
    );
    Answer::new(format!("{header}{body}"), &output).links(resources)
}
