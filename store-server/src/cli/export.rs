//! `carrack export`: a repo given back.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use carrack_client::{Range, Want};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use carrack_schema::names::RepoName;
use clap::{Args, ValueEnum};
use futures::TryStreamExt;

use super::door::Door;
use super::list::object;
use super::output::Output;
use super::{Failure, Result};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack export did:plc:… -o alice.car          the repo, byte for byte what its commit signs
  carrack export alice.example > alice.car
  carrack export alice.example --format jsonl    uri, cid and value of each record, for people

The tree is rebuilt and its root compared with the signed commit before the first byte is written. A file appears
under its name only when it is whole.")]
pub(super) struct Arguments {
    /// DID or HANDLE
    #[arg(value_name = "REPO")]
    repo: RepoName,
    /// Write this file; - or nothing means stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As a CAR, or as JSON lines
    #[arg(long, value_enum, default_value_t = Format::Car)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Car,
    Jsonl,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let about = |failure: Failure| failure.about(&arguments.repo);
    // A store that goes away meanwhile is not asked again: part of the file may be out.
    match arguments
        .output
        .as_ref()
        .filter(|path| path.as_os_str() != "-")
    {
        None => write(door, arguments, &mut |bytes| output.bytes(bytes))
            .await
            .map_err(about)?,
        Some(path) => {
            let mut file = NewFile::create(path)?;
            write(door, arguments, &mut |bytes| file.write(bytes))
                .await
                .map_err(about)?;
            file.publish()?;
        }
    }
    Ok(Exit::Ok)
}

type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result;

async fn write(door: &Door, arguments: &Arguments, sink: Sink<'_>) -> Result {
    let repo = door.session().store().repo(&arguments.repo.to_string());
    match arguments.format {
        Format::Car => {
            let mut download = repo.export();
            while let Some(bytes) = download.next().await {
                sink(&bytes)?;
            }
            download.done().await??;
        }
        Format::Jsonl => {
            let pages = repo
                .list(Range::default(), Want::value().with_cid())
                .pages(None);
            let mut pages = std::pin::pin!(pages);
            while let Some(page) = pages.try_next().await? {
                for record in &page.records {
                    let uri = format!(
                        "at://{}/{}/{}",
                        page.source.did, record.collection, record.rkey
                    );
                    sink(format!("{}\n", object(&uri, record)).as_bytes())?;
                }
            }
        }
    }
    Ok(())
}

/// A file that takes its name only when it is whole, and goes if it never is.
pub(super) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    published: bool,
}

impl NewFile {
    pub(super) fn create(path: &std::path::Path) -> Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create_new(&temporary).map_err(|error| unwritable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file,
            published: false,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result {
        self.file
            .write_all(bytes)
            .map_err(|error| unwritable(&self.path, &error))
    }

    pub(super) fn publish(mut self) -> Result {
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.temporary, &self.path))
            .map_err(|error| unwritable(&self.path, &error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed is named so that nobody takes it for whole.
            let _kept = std::fs::remove_file(&self.temporary);
        }
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Code::Unavailable,
        format!("cannot write {}: {error}", path.display()),
    )
}
