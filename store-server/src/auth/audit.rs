//! [`Audit`]: who did what, how much of it, and how it ended: JSON lines in `DATA/audit/`.
//!
//! What reads come to is summed up by grant, operation and repo for a few seconds; whatever changes something, hands
//! something on or takes whole repos out has a line of its own; so have logins and refusals, as long as they are not too
//! many. Nobody waits for the disk here: lines are kept until the store's books are written
//! ([`books`](super::books)). A token is in none of them.

mod file;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrack_schema::limits::{AUDIT_QUEUED_BYTES_MAX, AUDIT_READS_MAX, AUDIT_REFUSALS_PER_SECOND};
use carrack_schema::time::rfc3339;
use carrack_schema::{Code, Did};
use carrack_segment::Directory;
use serde::Serialize;

use self::file::AuditFile;
use super::grant::{Grant, GrantId};
use super::rate::Rate;
use super::{Authority, Operation};
use crate::clock::Clock;

/// What was done, as it is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deed<'a> {
    pub(crate) what: &'a str,
    pub(crate) repo: Option<&'a str>,
    /// What of it: a record's path, a grant's id.
    pub(crate) object: Option<&'a str>,
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
    pub(crate) outcome: &'a str,
}

/// The audit log.
pub(crate) struct Audit {
    clock: Arc<dyn Clock>,
    reads: Mutex<Reads>,
    lines: Mutex<Lines>,
    file: Mutex<AuditFile>,
}

#[derive(Default)]
struct Reads {
    of: HashMap<(Option<GrantId>, Operation), ReadsOf>,
    /// Repos that are named in all of them.
    named: usize,
}

struct ReadsOf {
    holder: Authority,
    by_repo: HashMap<Did, Count>,
    /// Of no repo in particular, or of one too many.
    other: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    calls: u64,
    bytes: u64,
}

impl Count {
    /// Counts a call.
    fn add(&mut self, bytes: u64) {
        self.calls += 1;
        self.bytes += bytes;
    }
}

struct Lines {
    waiting: Vec<u8>,
    /// Lines that there was no room for.
    lost: u64,
    refusals: Rate,
    /// Refusals and logins that were not told one by one.
    uncounted: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    /// None is the owner, or somebody who did not get in.
    grant: Option<&'a str>,
    label: Option<&'a str>,
    /// The grants it was made from, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chain: Vec<&'a str>,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    calls: u64,
    bytes: u64,
    outcome: &'a str,
}

impl Audit {
    pub(crate) fn new(directory: &Arc<dyn Directory>, clock: &Arc<dyn Clock>) -> Self {
        let lines = Lines {
            waiting: Vec::new(),
            lost: 0,
            refusals: Rate::new(AUDIT_REFUSALS_PER_SECOND, clock.now()),
            uncounted: 0,
        };
        Self {
            clock: clock.clone(),
            reads: Mutex::default(),
            lines: Mutex::new(lines),
            file: Mutex::new(AuditFile::new(directory.clone())),
        }
    }

    /// Counts a call that read something.
    pub(crate) fn read(
        &self,
        holder: &Authority,
        operation: Operation,
        repo: Option<&Did>,
        bytes: u64,
    ) {
        let key = (holder.grant().map(|grant| grant.id()), operation);
        let mut guard = lock(&self.reads);
        let Reads { of, named } = &mut *guard;
        let reads = of.entry(key).or_insert_with(|| ReadsOf {
            holder: holder.clone(),
            by_repo: HashMap::new(),
            other: Count::default(),
        });
        if let Some(count) = repo.and_then(|repo| reads.by_repo.get_mut(repo)) {
            return count.add(bytes);
        }
        let count = match repo {
            Some(repo) if *named < AUDIT_READS_MAX => {
                *named += 1;
                reads.by_repo.entry(repo.clone()).or_default()
            }
            _ => &mut reads.other,
        };
        count.add(bytes);
    }

    /// Tells what somebody did.
    pub(crate) fn tell(&self, holder: &Authority, deed: Deed<'_>) {
        let line = self.line(Some(holder), deed);
        lock(&self.lines).push(&line);
    }

    /// Tells of a login, if there are not too many.
    pub(crate) fn tell_login(&self, holder: &Authority, what: &str) {
        let deed = Deed {
            what,
            calls: 1,
            outcome: "ok",
            ..Deed::default()
        };
        self.tell_some(Some(holder), deed);
    }

    /// Tells of a call that was not allowed, or of somebody who did not get in, if there are not too many.
    pub(crate) fn tell_refusal(&self, holder: Option<&Authority>, what: &str, code: Code) {
        let deed = Deed {
            what,
            calls: 1,
            outcome: code.as_str(),
            ..Deed::default()
        };
        self.tell_some(holder, deed);
    }

    fn tell_some(&self, holder: Option<&Authority>, deed: Deed<'_>) {
        let mut lines = lock(&self.lines);
        match lines.refusals.take(1, self.clock.now()) {
            Ok(()) => {
                let line = self.line(holder, deed);
                lines.push(&line);
            }
            Err(_) => lines.uncounted += 1,
        }
    }

    fn line(&self, holder: Option<&Authority>, deed: Deed<'_>) -> Vec<u8> {
        let grant = holder.and_then(Authority::grant);
        let chain = grant.map(|grant| grant.chain().skip(1).map(Grant::id_text).collect());
        let line = Line {
            at: rfc3339(self.clock.now()),
            grant: grant.map(|grant| grant.id_text()),
            label: grant.map(|grant| grant.facts.label.as_str()),
            chain: chain.unwrap_or_default(),
            what: deed.what,
            repo: deed.repo,
            object: deed.object,
            calls: deed.calls,
            bytes: deed.bytes,
            outcome: deed.outcome,
        };
        let mut bytes = serde_json::to_vec(&line).expect("texts and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Turns what reads came to into lines.
    fn sum_up(&self) {
        let reads = std::mem::take(&mut *lock(&self.reads));
        for ((_, operation), reads) in reads.of {
            let tell = |repo: Option<&Did>, count: Count| {
                let deed = Deed {
                    what: operation.as_str(),
                    repo: repo.map(Did::as_str),
                    calls: count.calls,
                    bytes: count.bytes,
                    outcome: "ok",
                    ..Deed::default()
                };
                self.tell(&reads.holder, deed);
            };
            if reads.other.calls > 0 {
                tell(None, reads.other);
            }
            for (repo, count) in &reads.by_repo {
                tell(Some(repo), *count);
            }
        }
    }

    /// Writes what waits to the disk. Where that fails the log of the process says so, once until it works again, and the
    /// lines are counted as lost: nobody is kept from reading.
    pub(crate) fn write(&self) {
        self.sum_up();
        let (mut taken, lost, uncounted) = {
            let mut lines = lock(&self.lines);
            (
                std::mem::take(&mut lines.waiting),
                std::mem::take(&mut lines.lost),
                std::mem::take(&mut lines.uncounted),
            )
        };
        let told = taken.iter().filter(|byte| **byte == b'\n').count() as u64;
        for (count, what) in [
            (uncounted, "further logins and refusals"),
            (lost, "lost lines"),
        ] {
            if count > 0 {
                let deed = Deed {
                    what,
                    calls: count,
                    outcome: "not told",
                    ..Deed::default()
                };
                taken.extend_from_slice(&self.line(None, deed));
            }
        }
        if !taken.is_empty() && !lock(&self.file).write(&taken, self.clock.now()) {
            let mut lines = lock(&self.lines);
            lines.lost += lost + told;
            lines.uncounted += uncounted;
        }
    }
}

impl Lines {
    fn push(&mut self, line: &[u8]) {
        if self.waiting.len() + line.len() > AUDIT_QUEUED_BYTES_MAX {
            self.lost += 1;
            return;
        }
        self.waiting.extend_from_slice(line);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
