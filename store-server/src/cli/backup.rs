//! `carrack backup`: a copy of the store as of one moment, while it is in use.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrack_client::{BackupPart, BackupReport};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use carrack_schema::time::rfc3339;
use carrack_segment::Fs;
use clap::Args;

use super::door::Door;
use super::output::Output;
use super::progress::Bar;
use super::{Failure, Result};
use crate::backup::BackupFolder;
use crate::owner::DataFolder;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack backup /backup/monday                             all of it, while the store is in use
  carrack backup /backup/tuesday --reuse /backup/monday     only what is new takes room
  carrack --data /backup/tuesday check                      is it whole
  cp -a /backup/tuesday /restored                           a copy of the copy,
  carrack --data /restored serve                            and use it

FOLDER becomes a data folder as of one moment: all repos at all stored revisions, what was
deleted, grants, config.toml; the audit log is not in it, nor are files that config.toml names, such
as a certificate and its key: look at it before `serve`. Until all is whole and on the disk there is
a file backup.partial: what a backup that failed leaves is refused as a store, and the same command
goes on from there. Only the store's owner can make one.

A copy knows nothing of what came after it. When it is used, records deleted since are back, and
grants revoked since are good again, unless `carrack grant revoke --all` comes before `serve`. It
keeps the bytes of what is deleted until it is removed, or until it is used as a store for a day.
Exit codes: 0 ok, 1 failed, 2 FOLDER is something else, 4 a file of the store is missing.")]
pub(super) struct Arguments {
    /// A new folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Share the segment files of an older backup on the same disk, or of the data folder itself; each
    /// is read, and comes from the store if it is damaged
    #[arg(long, value_name = "OLDER")]
    reuse: Option<PathBuf>,
}

pub(super) async fn run(
    door: &mut Door,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<Exit> {
    let shown = arguments.folder.display();
    let report = back_up(door, arguments).await;
    let report = report.map_err(|failure| failure.about(&shown))?;
    let taken = rfc3339(report.taken);
    if output.is_json() {
        output.object(&serde_json::json!({
            "folder": arguments.folder,
            "taken": taken,
            "segments": report.segments,
            "bytes": report.bytes,
            "bytesSkipped": report.bytes_skipped,
        }))?;
    } else {
        let BackupReport {
            segments, bytes, ..
        } = report;
        let shared = match report.bytes_skipped {
            0 => String::new(),
            skipped => format!(", {skipped} of them there before"),
        };
        output.line(&format!(
            "backed up the store as of {taken} to {shown}: {segments} segments, {bytes} bytes{shared}"
        ))?;
    }
    Ok(Exit::Ok)
}

async fn back_up(door: &Door, arguments: &Arguments) -> Result<BackupReport> {
    let made = missing(&arguments.folder);
    let path = DataFolder::new(&arguments.folder).prepare()?;
    let unusable = |error: io::Error| Failure::new(Code::Unavailable, error.to_string());
    for above in parents(path.path(), made) {
        let above = File::open(above).and_then(|above| above.sync_all());
        above.map_err(unusable)?;
    }
    let directory = Fs::open(path.path()).map_err(unusable)?;
    let mut folder = BackupFolder::open(Arc::new(directory))?;
    if let Some(older) = &arguments.reuse {
        share(older, path.path())?;
    }
    let there = folder.segments()?;
    let mut backup = door.session().keeper().backup(there);
    let bar = Bar::new("backup", None);
    while let Some(part) = backup.next().await {
        match part {
            BackupPart::File(file) => {
                bar.expect(file.bytes.saturating_add(file.left));
                if file.is_skipped {
                    folder.keep(&file.name)?;
                    bar.advance(file.bytes);
                } else {
                    folder.begin(&file.name, file.bytes)?;
                }
            }
            BackupPart::Bytes(bytes) => {
                folder.write(&bytes)?;
                bar.advance(bytes.len() as u64);
            }
        }
    }
    let report = backup.done().await?;
    folder.finish()?;
    Ok(report)
}

/// Returns how many folders of a path are not there, from the last one up.
fn missing(folder: &Path) -> usize {
    let levels = folder.ancestors();
    let is_missing = |level: &&Path| !level.as_os_str().is_empty() && !level.exists();
    levels.take_while(is_missing).count()
}

/// Returns the folders that hold the names of a folder and of those above it that were made with it: these must last as well.
fn parents(folder: &Path, made: usize) -> impl Iterator<Item = &Path> {
    folder.ancestors().skip(1).take(made.max(1))
}

/// Gives the segment files of one folder a name in another as well. They never change, so nobody notices.
fn share(from: &Path, to: &Path) -> Result {
    let cannot = |error: io::Error| {
        let words = format!(
            "the segments of {} cannot be shared: {error}",
            from.display()
        );
        Failure::new(Code::InvalidArgument, words)
    };
    let to = to.join("segments");
    for entry in fs::read_dir(from.join("segments")).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        // The copy has all that it needs: a link to elsewhere does not become a part of it.
        let is_file = entry.file_type().map_err(cannot)?.is_file();
        if !is_file || !name.to_string_lossy().ends_with(".cseg") {
            continue;
        }
        match fs::hard_link(entry.path(), to.join(name)) {
            // One that a merge in the folder took away meanwhile; or it is there from the last time.
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::AlreadyExists]
                    .contains(&error.kind()) => {}
            result => result.map_err(cannot)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_that_is_made_is_made_durable_up_to_the_first_that_was_there() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let parents = |folder: &Path| {
            let parents = parents(folder, missing(folder));
            parents.map(Path::to_owned).collect::<Vec<_>>()
        };
        let deep = base.join("a/b/c");
        let levels = [base.join("a/b"), base.join("a"), base.clone()];
        assert_eq!(parents(&deep), levels);
        fs::create_dir(base.join("a")).unwrap();
        assert_eq!(parents(&deep), levels[..2]);
        fs::create_dir_all(&deep).unwrap();
        // Nobody knows whether it was made just now, by a backup that failed.
        assert_eq!(parents(&deep), levels[..1]);
        assert_eq!(missing(Path::new("no-such-folder/x")), 2);
    }
}
