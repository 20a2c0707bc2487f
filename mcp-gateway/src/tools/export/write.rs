//! Exports to a file of the local user.

use carrack_client::{Absent, Body, Error, Range, RecordData, Session, Source, Want};
use carrack_schema::{AtUri, Code};
use futures::StreamExt;
use serde_json::json;

use super::file::NewFile;
use super::{Asked, Output};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::frame::{count, counted};
use crate::render::quote;
use crate::server::Caller;
use crate::tools::common;

/// Which file.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) path: &'a str,
    pub(super) overwrite: bool,
}

/// What was written.
struct Written {
    source: Option<Source>,
    records: u64,
    bytes: u64,
}

/// Why it was not.
enum Failed {
    Store(Error),
    Disk(std::io::Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<Absent> for Failed {
    fn from(absent: Absent) -> Self {
        Self::Store(absent.into())
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

pub(super) async fn run(
    connection: &Connection,
    caller: &Caller,
    asked: &Asked,
    as_lines: bool,
    to: To<'_>,
) -> Result<Answer, Refusal> {
    let what = "writing a file";
    let file = NewFile::create(to.path, to.overwrite)
        .await
        .map_err(|error| unwritable(to.path, &error))?;
    let work = |session: Session| async move {
        let written = match (asked, as_lines) {
            (Asked::Repo(uri), false) => car(&session, uri, file, caller).await,
            (Asked::Repo(uri), true) => lines(&session, uri, file, caller).await,
            (Asked::Records(uris), true) => records(&session, uris, file).await,
            (Asked::Records(uris), false) => proof(&session, uris, file).await,
        };
        // A full disk is no fault of the session's.
        match written {
            Ok(written) => Ok(Ok(written)),
            Err(Failed::Disk(error)) => Ok(Err(error)),
            Err(Failed::Store(error)) => Err(error),
        }
    };
    match connection.write(work).await {
        Ok(Ok(written)) => Ok(render(&written, to.path)),
        Ok(Err(error)) => Err(unwritable(to.path, &error)),
        Err(error) if error.code() == Code::NotFound => Err(Refusal::of(&error, what)
            .about(to.path)
            .hint("at_overview {} lists the accounts in the archive; nothing was written")
            .candidates(common::held(connection).await)),
        Err(error) => Err(Refusal::of(&error, what).about(to.path)),
    }
}

fn unwritable(path: &str, error: &std::io::Error) -> Refusal {
    let (code, hint) = match error.kind() {
        std::io::ErrorKind::AlreadyExists => (
            Code::InvalidArgument,
            "another path; or overwrite=true, if the user wants that file replaced",
        ),
        std::io::ErrorKind::NotFound => (Code::NotFound, "a path in a folder that is there"),
        std::io::ErrorKind::PermissionDenied => (Code::Denied, "a path that the user may write to"),
        std::io::ErrorKind::InvalidInput => (Code::InvalidArgument, "the path of a new file"),
        _ => (
            Code::Unavailable,
            "tell the user; no part of a file was left behind",
        ),
    };
    let why = format!("the file cannot be written: {error}");
    Refusal::new(code, "writing a file", why)
        .about(path)
        .hint(hint)
}

/// Writes a repo's CAR.
async fn car(
    session: &Session,
    uri: &AtUri,
    mut file: NewFile,
    caller: &Caller,
) -> Result<Written, Failed> {
    let repo = session.store().repo(uri.did.as_str());
    let total = repo.info().await??.bytes_in;
    let mut export = repo.export();
    let mut progress = Progress::new(caller, total);
    while let Some(chunk) = export.next().await {
        file.write(chunk).await?;
        progress.tell(file.bytes, "bytes").await;
    }
    let report = export.done().await??;
    let bytes = file.bytes;
    file.finish().await?;
    Ok(Written {
        source: Some(report.source),
        records: report.records,
        bytes,
    })
}

/// Bytes of JSON lines that are collected before they are written.
const LINES_BYTES: usize = 64 << 10;

/// Writes a repo's or a collection's records as JSON lines, of one snapshot.
async fn lines(
    session: &Session,
    uri: &AtUri,
    mut file: NewFile,
    caller: &Caller,
) -> Result<Written, Failed> {
    let did = uri.did.as_str();
    let repo = session.store().repo(did);
    let total = repo.info().await??.records;
    let want = Want::value().with_cid();
    let listing = match &uri.collection {
        Some(collection) => repo
            .collection(collection.as_str())
            .list(Range::default(), want),
        None => repo.list(Range::default(), want),
    };
    let mut progress = Progress::new(caller, total);
    let (mut scan, mut waiting, mut records) = (listing.scan(), Vec::new(), 0);
    while let Some(record) = scan.next().await {
        let mut record = record?;
        if let Some(collection) = &uri.collection {
            record.collection = collection.to_string();
        }
        push_line(&mut waiting, did, &record);
        records += 1;
        if waiting.len() >= LINES_BYTES {
            file.write(std::mem::take(&mut waiting)).await?;
            progress.tell(records, "records").await;
        }
    }
    file.write(waiting).await?;
    let bytes = file.bytes;
    file.finish().await?;
    Ok(Written {
        source: scan.report().map(|report| report.source.clone()),
        records,
        bytes,
    })
}

/// Writes some records as JSON lines.
async fn records(session: &Session, uris: &[AtUri], mut file: NewFile) -> Result<Written, Failed> {
    let store = session.store();
    let reads = uris.iter().map(|uri| {
        let path = uri.path().map(|path| path.to_string()).unwrap_or_default();
        let record = store.repo(uri.did.as_str()).record(&path);
        async move { record.read(Want::value().with_cid()).await }
    });
    let read = futures::future::try_join_all(reads).await?;
    let mut waiting = Vec::new();
    for found in read {
        let (source, record) = found?;
        push_line(&mut waiting, &source.did, &record);
    }
    file.write(waiting).await?;
    let bytes = file.bytes;
    file.finish().await?;
    Ok(Written {
        source: None,
        records: uris.len() as u64,
        bytes,
    })
}

/// Writes the proof of one record; a CAR has one root.
async fn proof(session: &Session, uris: &[AtUri], mut file: NewFile) -> Result<Written, Failed> {
    let [uri] = uris else {
        let words = "a CAR file holds the proof of one record; leave path out for a link to each, or take as=jsonl";
        return Err(Error::new(Code::InvalidArgument, words).into());
    };
    let path = uri.path().map(|path| path.to_string()).unwrap_or_default();
    let record = session.store().repo(uri.did.as_str()).record(&path);
    let proof = record.prove().await??;
    file.write(proof.car).await?;
    let bytes = file.bytes;
    file.finish().await?;
    Ok(Written {
        source: Some(proof.source),
        records: u64::from(proof.present),
        bytes,
    })
}

fn push_line(lines: &mut Vec<u8>, did: &str, record: &RecordData) {
    let mut line = json!({
        "uri": format!("at://{did}/{}/{}", record.collection, record.rkey),
        "cid": record.cid.map(|cid| cid.to_string()),
    });
    match &record.body {
        Body::Value(value) => line["value"] = json!(value),
        Body::Undecodable(why) => line["error"] = json!(why),
        _ => line["error"] = json!("the archive does not hold this record's block"),
    }
    lines.extend(line.to_string().into_bytes());
    lines.push(b'\n');
}

/// Tells the caller of each new percent; the hundredth is the answer.
struct Progress<'a> {
    caller: &'a Caller,
    total: u64,
    told: u8,
}

impl<'a> Progress<'a> {
    fn new(caller: &'a Caller, total: u64) -> Self {
        Self {
            caller,
            total,
            told: 0,
        }
    }

    async fn tell(&mut self, done: u64, what: &str) {
        let part = (u128::from(done) * 100).checked_div(u128::from(self.total));
        let percent = part.unwrap_or(0).min(99) as u8;
        if percent > self.told {
            self.told = percent;
            let words = format!(
                "wrote {} of about {} {what}",
                count(done),
                count(self.total)
            );
            self.caller.progress(percent, words).await;
        }
    }
}

fn render(written: &Written, path: &str) -> Answer {
    let mut text = format!(
        "wrote {} · {} · {} bytes",
        quote::inline(path),
        counted(written.records, "record"),
        count(written.bytes)
    );
    if let Some(source) = &written.source {
        text.push_str("\nrepo ");
        text.push_str(&common::repo_line(source));
    }
    let output = Output {
        path: Some(path.to_owned()),
        bytes: Some(written.bytes),
        records: Some(written.records),
        ..Output::default()
    };
    Answer::new(text, &output)
}
