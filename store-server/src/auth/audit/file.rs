//! [`AuditFile`]: the file that the audit log is in, and its predecessors.
//!
//! `audit/audit.jsonl` is written; when it is full it becomes `audit/audit-<microseconds>.jsonl`, and the oldest of those
//! goes when they are too many.

use std::io;
use std::sync::Arc;

use carrack_schema::limits::{AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX};
use carrack_segment::Directory;
use carrack_segment::directory::File;

const FOLDER: &str = "audit";
const CURRENT: &str = "audit.jsonl";
const FULL: &str = "audit-";

/// The audit log's files.
pub(super) struct AuditFile {
    directory: Arc<dyn Directory>,
    open: Option<(Box<dyn File>, u64)>,
    is_failing: bool,
}

impl AuditFile {
    /// Touches nothing: what nobody writes to needs no folder.
    pub(super) fn new(directory: Arc<dyn Directory>) -> Self {
        Self {
            directory,
            open: None,
            is_failing: false,
        }
    }

    /// Appends lines; false, and a line in the log of the process, if that failed.
    pub(super) fn write(&mut self, lines: &[u8], now: i64) -> bool {
        let written = self.append(lines, now);
        if let Err(error) = &written {
            // What a failed write left is not known: the file is looked at anew.
            self.open = None;
            if !self.is_failing {
                tracing::error!(%error, "the audit log cannot be written; what happens now is not in it");
            }
        } else if self.is_failing {
            tracing::warn!("the audit log is written again");
        }
        self.is_failing = written.is_err();
        written.is_ok()
    }

    #[cfg(test)]
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    fn append(&mut self, lines: &[u8], now: i64) -> io::Result<()> {
        let (file, length) = match self.open.take() {
            Some(open) => open,
            None => self.open_current()?,
        };
        file.write_at(lines, length)?;
        file.sync()?;
        let length = length + lines.len() as u64;
        if length < AUDIT_FILE_BYTES_MAX {
            self.open = Some((file, length));
            return Ok(());
        }
        self.rotate(now)
    }

    fn open_current(&self) -> io::Result<(Box<dyn File>, u64)> {
        self.directory.create_dir(FOLDER)?;
        let name = format!("{FOLDER}/{CURRENT}");
        let file = match self.directory.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = self.directory.create(&name)?;
                self.directory.sync_dir(FOLDER)?;
                self.directory.sync_dir("")?;
                return Ok((file, 0));
            }
            opened => opened?,
        };
        let mut length = file.len()?;
        if let Some(before) = length.checked_sub(1) {
            let mut last = [0];
            file.read_at(&mut last, before)?;
            if last != *b"\n" {
                // A crash cut the last line; the next is one of its own.
                file.write_at(b"\n", length)?;
                length += 1;
            }
        }
        Ok((file, length))
    }

    fn rotate(&self, now: i64) -> io::Result<()> {
        let mut full = self.full()?;
        let last = full.last().and_then(|name| time_of(name)).unwrap_or(0);
        let time = u64::try_from(now).unwrap_or(0).max(last + 1);
        let name = format!("{FULL}{time:016}.jsonl");
        self.directory
            .rename(&format!("{FOLDER}/{CURRENT}"), &format!("{FOLDER}/{name}"))?;
        full.push(name);
        let surplus = full.len().saturating_sub(AUDIT_FILES_MAX - 1);
        for name in full.iter().take(surplus) {
            self.directory.unlink(&format!("{FOLDER}/{name}"))?;
        }
        self.directory.sync_dir(FOLDER)
    }

    /// Returns the names of full files, the oldest first.
    fn full(&self) -> io::Result<Vec<String>> {
        let mut names = self.directory.list(FOLDER)?;
        names.retain(|name| time_of(name).is_some());
        names.sort_by_key(|name| time_of(name));
        Ok(names)
    }
}

fn time_of(name: &str) -> Option<u64> {
    let time = name.strip_prefix(FULL)?.strip_suffix(".jsonl")?;
    time.parse().ok()
}
