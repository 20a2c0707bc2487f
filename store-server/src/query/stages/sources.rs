//! Steps that bring records in: [`Get`], [`List`] and [`Map`]. They stop when the plan is over.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use carrack_schema::{AtUri, Did, Tid};

use super::Stage;
use crate::error::Result;
use crate::query::columns::split_path;
use crate::query::key;
use crate::query::path::Path;
use crate::query::plan::{Hop, ListRange, Missing};
use crate::query::repos::Opening;
use crate::query::run::{BATCH_ROWS_FIRST, BATCH_ROWS_MAX, Input, Row, Run, What, kept_bytes};
use crate::snapshot::Keys;

/// Repos that are looked for in the catalog at once.
const REPOS_AT_ONCE: usize = 100;

/// Records by name.
pub(super) struct Get {
    uris: VecDeque<AtUri>,
    seen: HashSet<AtUri>,
}

impl Get {
    pub(super) fn new(uris: &[AtUri]) -> Self {
        Self {
            uris: uris.iter().cloned().collect(),
            seen: HashSet::new(),
        }
    }
}

impl Stage for Get {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        let mut rows = Vec::new();
        while let Some(uri) = self.uris.pop_front() {
            if self.seen.insert(uri.clone()) {
                rows.extend(run.opened.look_up(&uri, None, 0, &mut run.meter)?);
            }
        }
        Ok((!rows.is_empty()).then_some(rows))
    }
}

/// Records that at-URIs in rows name.
pub(super) struct Map {
    at: usize,
    input: Input,
    path: Path,
    seen: HashSet<Box<[u8]>>,
}

impl Map {
    pub(super) fn new(at: usize, input: Input, path: &Path) -> Self {
        Self {
            at,
            input,
            path: path.clone(),
            seen: HashSet::new(),
        }
    }

    /// Returns the names that rows have and none before them had, each with its row's count.
    fn names(&mut self, run: &mut Run<'_>, rows: &[Row]) -> Result<Vec<(AtUri, u64)>> {
        let mut names = Vec::new();
        let seen = &mut self.seen;
        run.each_row(rows, &self.path, |meter, row, values| {
            for value in values.iter() {
                let text = key::text(value).and_then(|text| std::str::from_utf8(text).ok());
                let Some(Ok(uri)) = text.map(str::parse::<AtUri>) else {
                    continue;
                };
                if uri.rkey.is_none() || seen.contains(value) {
                    continue;
                }
                if !meter.hold(kept_bytes(value)) {
                    return false;
                }
                seen.insert(value.into());
                names.push((uri, row.count));
            }
            true
        })?;
        Ok(names)
    }
}

impl Stage for Map {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        while let Some(rows) = self.input.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            let names = self.names(run, &rows)?;
            let mut records = Vec::with_capacity(names.len());
            for (uri, count) in names {
                records.extend(run.opened.look_up(&uri, None, count, &mut run.meter)?);
            }
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }
}

/// The repos that a list is of, one after the other.
pub(super) struct Queue {
    next: VecDeque<Did>,
    more: More,
}

enum More {
    None,
    /// Of rows.
    At {
        input: Input,
        path: Path,
        seen: HashSet<Box<[u8]>>,
    },
    /// Of the store, those above this DID.
    All(String),
}

impl Queue {
    pub(super) fn named(dids: &[Did]) -> Self {
        let mut seen = HashSet::new();
        let once = dids.iter().filter(|did| seen.insert((*did).clone()));
        Self {
            next: once.cloned().collect(),
            more: More::None,
        }
    }

    pub(super) fn at(input: Input, path: &Path) -> Self {
        Self {
            next: VecDeque::new(),
            more: More::At {
                input,
                path: path.clone(),
                seen: HashSet::new(),
            },
        }
    }

    pub(super) fn all() -> Self {
        Self {
            next: VecDeque::new(),
            more: More::All(String::new()),
        }
    }

    /// Says whether the plan names the repos itself.
    fn is_named(&self) -> bool {
        matches!(self.more, More::None)
    }

    fn pop(&mut self, run: &mut Run<'_>, step: usize) -> Result<Option<Did>> {
        while self.next.is_empty() && !run.meter.is_over() {
            match &mut self.more {
                More::None => break,
                More::All(after) => {
                    let (repos, more) = run.opened.store().repos(after, REPOS_AT_ONCE)?;
                    self.next.extend(repos.into_iter().map(|repo| repo.did));
                    match self.next.back().filter(|_| more) {
                        Some(last) => last.as_str().clone_into(after),
                        None => self.more = More::None,
                    }
                }
                More::At { input, path, seen } => {
                    let Some(rows) = input.pull(run, Some(step))? else {
                        self.more = More::None;
                        break;
                    };
                    run.meter.charge(rows.len() as u64);
                    let next = &mut self.next;
                    run.each_row(&rows, path, |meter, _, values| {
                        for value in values.iter().filter(|value| key::text(value).is_some()) {
                            if seen.contains(value) {
                                continue;
                            }
                            if !meter.hold(kept_bytes(value)) {
                                return false;
                            }
                            seen.insert(value.into());
                            let text = key::text(value).unwrap_or_default();
                            let did = std::str::from_utf8(text).ok().map(str::parse::<Did>);
                            next.extend(did.and_then(Result::ok));
                        }
                        true
                    })?;
                }
            }
        }
        Ok(self.next.pop_front())
    }
}

/// Records of one collection.
pub(super) struct List {
    at: usize,
    range: ListRange,
    queue: Queue,
    is_named: bool,
    walk: Option<Walk>,
    batch: usize,
}

/// The rows of one repo that are left.
struct Walk {
    repo: u32,
    numbers: Range<u32>,
}

impl List {
    pub(super) fn new(at: usize, range: &ListRange, queue: Queue) -> Self {
        Self {
            at,
            range: range.clone(),
            is_named: queue.is_named(),
            queue,
            walk: None,
            batch: BATCH_ROWS_FIRST,
        }
    }

    /// Begins the next repo; false if there is none.
    fn begin(&mut self, run: &mut Run<'_>) -> Result<bool> {
        while let Some(did) = self.queue.pop(run, self.at)? {
            if run.meter.is_over() {
                return Ok(false);
            }
            let hop = match run.opened.open(&did, &mut run.meter)? {
                Opening::Refused => return Ok(false),
                Opening::Absent(hop) => hop,
                Opening::Repo(repo) => match self.rows(run, repo)? {
                    Some(numbers) => {
                        self.walk = Some(Walk { repo, numbers });
                        return Ok(true);
                    }
                    None => Hop::Collection,
                },
            };
            if self.is_named {
                run.missing.push(Missing {
                    step: self.at,
                    repo: did,
                    hop,
                });
            }
        }
        Ok(false)
    }

    /// Returns the rows of a repo that are in the range; none if it has no such collection.
    fn rows(&self, run: &Run<'_>, repo: u32) -> Result<Option<Range<u32>>> {
        let Some(repo) = run.opened.get(repo) else {
            return Ok(None);
        };
        let tid = |micros: Option<i64>| micros.map(|micros| text_of(first_tid(micros)));
        let from = tid(self.range.since).filter(|since| *since > self.range.from);
        let until = tid(self.range.until)
            .filter(|until| self.range.before.is_empty() || *until < self.range.before);
        let rows = repo.rows(&Keys {
            collection: Some(&self.range.collection),
            from: from.as_ref().unwrap_or(&self.range.from),
            before: until.as_ref().unwrap_or(&self.range.before),
            reverse: false,
            after: None,
        })?;
        Ok(rows.map(|rows| rows.numbers()))
    }

    /// Takes rows off the range that is left.
    fn take(&mut self, count: usize) -> Option<(u32, Vec<u32>)> {
        let walk = self.walk.as_mut()?;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Range { start, end } = walk.numbers;
        let numbers: Vec<u32> = if self.range.reverse {
            walk.numbers.end = end.saturating_sub(count).max(start);
            (walk.numbers.end..end).rev().collect()
        } else {
            walk.numbers.start = start.saturating_add(count).min(end);
            (start..walk.numbers.start).collect()
        };
        let repo = walk.repo;
        if walk.numbers.is_empty() {
            self.walk = None;
        }
        Some((repo, numbers))
    }

    /// Keeps those numbers whose rows have a key that is a TID, if times are asked for.
    fn keep_times(&self, run: &Run<'_>, repo: u32, numbers: &mut Vec<u32>) -> Result<()> {
        if self.range.since.is_none() && self.range.until.is_none() {
            return Ok(());
        }
        let Some(repo) = run.opened.get(repo) else {
            return Ok(());
        };
        let (mut path, mut kept) = (Vec::new(), Vec::with_capacity(numbers.len()));
        for &number in &*numbers {
            repo.path_of(number, &mut path)?;
            if split_path(&path).1.parse::<Tid>().is_ok() {
                kept.push(number);
            }
        }
        *numbers = kept;
        Ok(())
    }
}

impl Stage for List {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        loop {
            let Some(walk) = &self.walk else {
                match self.begin(run)? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let left = walk.numbers.len();
            if left == 0 {
                self.walk = None;
                continue;
            }
            let taken = run.meter.take(left.min(self.batch));
            if taken == 0 {
                return Ok(None);
            }
            self.batch = (self.batch * 2).min(BATCH_ROWS_MAX);
            let Some((repo, mut numbers)) = self.take(taken) else {
                continue;
            };
            self.keep_times(run, repo, &mut numbers)?;
            if !numbers.is_empty() {
                let row = |number| Row {
                    what: What::Record { repo, number },
                    count: 0,
                    form: None,
                };
                return Ok(Some(numbers.into_iter().map(row).collect()));
            }
            run.meter.tick()?;
        }
    }
}

/// Returns the first TID of a time.
fn first_tid(micros: i64) -> Tid {
    const CLOCK_BITS: u32 = 10;
    let micros = u64::try_from(micros).unwrap_or(0);
    // TIDs end with the 54 bits that times have in them.
    Tid::from_u64(micros.min(u64::MAX >> CLOCK_BITS) << CLOCK_BITS)
}

fn text_of(tid: Tid) -> String {
    tid.to_string()
}
