//! Running a plan: rows, how they are pulled through the steps, and what they have at a path.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use carrack_schema::AtUri;

use super::answer::{self, Answer};
use super::budget::Meter;
use super::columns::{Asked, split_path};
use super::key::{self, BOOL, Key, TEXT};
use super::path::{Base, Path};
use super::plan::{Hop, Missing, Plan};
use super::repos::Opened;
use super::stages::{self, Stage};
use super::{Scope, path};
use crate::error::Result;
use crate::store::{Repo, Store};

/// Most rows that are pulled at once. The first time fewer are, for the plan that needs a few.
pub(super) const BATCH_ROWS_MAX: usize = 1_024;
pub(super) const BATCH_ROWS_FIRST: usize = 32;
/// Bytes of values that are kept at once to be gone through row by row, unless one row has more.
const VALUES_BYTES: usize = 4 << 20;
/// Bytes that a row takes where it is kept.
pub(super) const ROW_BYTES: usize = size_of::<Row>();

/// A row on its way.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) what: What,
    /// As `@count`; 0 where there is none.
    pub(super) count: u64,
    /// The step that says in which form it is answered.
    pub(super) form: Option<usize>,
}

/// What a row is of.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A record: an opened repo, and the number among its rows that may be seen.
    Record { repo: u32, number: u32 },
    /// A record that is not held.
    Absent(Arc<Absent>),
    /// A group's value.
    Value(Arc<[u8]>),
    /// Nothing but a count.
    Count,
}

/// A record that is not held.
#[derive(Debug)]
pub(super) struct Absent {
    pub(super) uri: AtUri,
    pub(super) hop: Hop,
}

/// What the steps of a running plan share.
pub(super) struct Run<'a> {
    pub(super) meter: Meter<'a>,
    pub(super) opened: Opened<'a>,
    pub(super) missing: Vec<Missing>,
    shared: Vec<Shared>,
}

/// A step whose rows are wanted by several.
enum Shared {
    /// It is wanted by one or none.
    No,
    NotRun(Box<dyn Stage>),
    Rows(Rc<[Row]>),
}

/// Where a step takes its rows from.
pub(super) enum Input {
    /// A step of its own.
    Own { step: usize, stage: Box<dyn Stage> },
    /// A step that others want too, from this row on.
    Shared { step: usize, next: usize },
}

/// Runs a plan.
pub(super) fn run(
    store: &Store,
    plan: &Plan,
    scope: &dyn Scope,
    stop: &AtomicBool,
) -> Result<Answer> {
    let steps = plan.steps();
    let mut uses = vec![0_usize; steps.len()];
    let mut wanted = vec![plan.answer()];
    while let Some(step) = wanted.pop() {
        if let Some(count) = uses.get_mut(step) {
            *count += 1;
            // What a step takes is wanted once, however often the step is.
            if *count == 1 {
                wanted.extend(steps.get(step).into_iter().flat_map(|step| step.inputs()));
            }
        }
    }
    let mut run = Run {
        meter: Meter::new(store, stop, plan.budget(), steps.len()),
        opened: Opened::new(store, scope),
        missing: Vec::new(),
        shared: Vec::with_capacity(steps.len()),
    };
    let mut own: Vec<Option<Box<dyn Stage>>> = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let mut input = |step: usize| match own.get_mut(step).and_then(Option::take) {
            Some(stage) => Input::Own { step, stage },
            None => Input::Shared { step, next: 0 },
        };
        let (stage, shared) = match uses.get(at) {
            None | Some(0) => (None, Shared::No),
            Some(1) => (Some(stages::of(at, step, &mut input)), Shared::No),
            Some(_) => (None, Shared::NotRun(stages::of(at, step, &mut input))),
        };
        own.push(stage);
        run.shared.push(shared);
    }
    let step = plan.answer();
    let input = match own.get_mut(step).and_then(Option::take) {
        Some(stage) => Input::Own { step, stage },
        None => Input::Shared { step, next: 0 },
    };
    answer::make(run, plan, input)
}

impl Input {
    /// Pulls the next rows; none at the end. `to` is the step that takes them.
    pub(super) fn pull(
        &mut self,
        run: &mut Run<'_>,
        to: Option<usize>,
    ) -> Result<Option<Vec<Row>>> {
        run.meter.tick()?;
        let (step, rows) = match self {
            Self::Own { step, stage } => {
                let before = run.meter.switch(*step);
                let rows = stage.next(run);
                run.meter.switch(before);
                (*step, rows?)
            }
            Self::Shared { step, next } => {
                let all = run.shared_rows(*step)?;
                let end = all.len().min(*next + BATCH_ROWS_MAX);
                let rows = all.get(*next..end).unwrap_or_default().to_vec();
                *next = end;
                (*step, (!rows.is_empty()).then_some(rows))
            }
        };
        if let Some(rows) = &rows {
            run.meter.passed(step, to, rows.len());
        }
        Ok(rows)
    }
}

impl Run<'_> {
    /// Returns the rows of a step that several want, running it for the first.
    fn shared_rows(&mut self, step: usize) -> Result<Rc<[Row]>> {
        let Some(slot) = self.shared.get_mut(step) else {
            return Ok(Rc::new([]));
        };
        let mut stage = match std::mem::replace(slot, Shared::No) {
            Shared::Rows(rows) => {
                *slot = Shared::Rows(rows.clone());
                return Ok(rows);
            }
            Shared::NotRun(stage) => stage,
            // A step is wanted only by those after it, so it does not want itself.
            Shared::No => return Ok(Rc::new([])),
        };
        let before = self.meter.switch(step);
        let mut all = Vec::new();
        while let Some(rows) = stage.next(self)? {
            if !self.meter.hold(rows.len() * ROW_BYTES) {
                break;
            }
            all.extend(rows);
        }
        self.meter.switch(before);
        let rows: Rc<[Row]> = all.into();
        if let Some(slot) = self.shared.get_mut(step) {
            *slot = Shared::Rows(rows.clone());
        }
        Ok(rows)
    }

    /// Calls `visit` with the index of a row and the key of each value that it has at a path, in no order of rows.
    pub(super) fn visit(
        &mut self,
        rows: &[Row],
        path: &Path,
        mut visit: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        let Base::Field(field) = &path.base else {
            return self.visit_names(rows, path, visit);
        };
        let mut out = Vec::new();
        let meter = &mut self.meter;
        each_repo(&self.opened, rows, |repo, asked| {
            repo.visit_fields(
                asked,
                field,
                || meter.tick(),
                |row, field| {
                    if path.of_field(field, &mut out) {
                        visit(row as usize, &out);
                    }
                },
            )
        })
    }

    /// Calls `visit` with the index of each row that has a value at a path or below it.
    pub(super) fn visit_having(
        &mut self,
        rows: &[Row],
        path: &Path,
        mut visit: impl FnMut(usize),
    ) -> Result<()> {
        match path {
            Path {
                base: Base::Field(field),
                part: None,
            } => {
                let meter = &mut self.meter;
                each_repo(&self.opened, rows, |repo, asked| {
                    repo.visit_having(asked, field, || meter.tick(), |row| visit(row as usize))
                })
            }
            path => self.visit(rows, path, |row, _| visit(row)),
        }
    }

    /// As [`visit`](Self::visit), for what is of the row itself.
    fn visit_names(
        &self,
        rows: &[Row],
        path: &Path,
        mut visit: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        let (mut name, mut whole, mut part) = (Vec::new(), Vec::new(), Vec::new());
        for (i, row) in rows.iter().enumerate() {
            if self.name_of(row, &path.base, &mut name, &mut whole)?
                && let Some(key) = path.of_key(&whole, &mut part)
            {
                visit(i, key);
            }
        }
        Ok(())
    }

    /// Puts the key of what is of the row itself into `out`; false if there is none.
    fn name_of(
        &self,
        row: &Row,
        base: &Base,
        name: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        match (base, &row.what) {
            (Base::Count, What::Value(_) | What::Count) => {
                key::put_int(row.count.cast_signed(), out)
            }
            (Base::Count, _) if row.count > 0 => key::put_int(row.count.cast_signed(), out),
            (Base::Value, What::Value(value)) => {
                out.clear();
                out.extend_from_slice(value);
            }
            (Base::Held, What::Record { .. }) => *out = vec![BOOL, 1],
            (Base::Held, What::Absent(_)) => *out = vec![BOOL, 0],
            (base, What::Record { repo, number }) => {
                let Some(repo) = self.opened.get(*repo) else {
                    return Ok(false);
                };
                if *base != Base::Did {
                    repo.path_of(*number, name)?;
                }
                let (collection, rkey) = split_path(name);
                return Ok(put_name(
                    base,
                    repo.summary().did.as_str(),
                    &collection,
                    &rkey,
                    out,
                ));
            }
            (base, What::Absent(absent)) => {
                let uri = &absent.uri;
                let collection = uri.collection.as_ref().map_or("", |nsid| nsid.as_str());
                let rkey = uri.rkey.as_ref().map_or("", |rkey| rkey.as_str());
                return Ok(put_name(base, uri.did.as_str(), collection, rkey, out));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Calls `visit` with each row in order and the keys of the values that it has at a path, until it says false.
    pub(super) fn each_row(
        &mut self,
        rows: &[Row],
        path: &Path,
        mut visit: impl FnMut(&mut Meter<'_>, &Row, &Values<'_>) -> bool,
    ) -> Result<()> {
        let (mut start, mut length) = (0, rows.len());
        let mut buffer = Vec::new();
        let mut parts: Vec<(usize, usize, usize)> = Vec::new();
        while start < rows.len() {
            let slice = rows
                .get(start..rows.len().min(start + length))
                .unwrap_or_default();
            buffer.clear();
            parts.clear();
            let mut is_full = false;
            self.visit(slice, path, |row, key| {
                let kept = buffer.len() + parts.len() * size_of::<(usize, usize, usize)>();
                if kept + key.len() > VALUES_BYTES && slice.len() > 1 {
                    is_full = true;
                    return;
                }
                let at = buffer.len();
                buffer.extend_from_slice(key);
                parts.push((row, at, buffer.len()));
            })?;
            if is_full {
                length = slice.len().div_ceil(2);
                continue;
            }
            // Stable, so a row's values keep their order.
            if !parts.is_sorted_by_key(|part| part.0) {
                parts.sort_by_key(|part| part.0);
            }
            let mut rest = &parts[..];
            for (i, row) in slice.iter().enumerate() {
                let own = rest.partition_point(|part| part.0 <= i);
                let (own, after) = rest.split_at(own);
                rest = after;
                let values = Values {
                    buffer: &buffer,
                    parts: own,
                };
                if !visit(&mut self.meter, row, &values) {
                    return Ok(());
                }
            }
            start += slice.len();
        }
        Ok(())
    }
}

/// The values of one row, in order.
pub(super) struct Values<'b> {
    buffer: &'b [u8],
    parts: &'b [(usize, usize, usize)],
}

impl<'b> Values<'b> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let buffer = self.buffer;
        let part = |&(_, start, end): &(usize, usize, usize)| buffer.get(start..end);
        self.parts.iter().filter_map(part)
    }

    /// Returns each of them once.
    pub(super) fn distinct(&self) -> Vec<&'b [u8]> {
        let mut values: Vec<_> = self.iter().collect();
        if values.len() > 1 {
            values.sort_unstable();
            values.dedup();
        }
        values
    }
}

/// Calls `visit` with each repo that rows are of, and those rows by their index.
fn each_repo(
    opened: &Opened<'_>,
    rows: &[Row],
    mut visit: impl FnMut(&Repo, &[Asked]) -> Result<()>,
) -> Result<()> {
    let mut asked: Vec<(u32, Asked)> = Vec::with_capacity(rows.len());
    for (i, row) in (0..).zip(rows) {
        if let What::Record { repo, number } = row.what {
            asked.push((repo, (i, number)));
        }
    }
    if !asked.is_sorted_by_key(|row| row.0) {
        asked.sort_by_key(|row| row.0);
    }
    let mut of_repo = Vec::with_capacity(asked.len());
    for run in asked.chunk_by(|a, b| a.0 == b.0) {
        of_repo.clear();
        of_repo.extend(run.iter().map(|row| row.1));
        let repo = run.first().and_then(|row| opened.get(row.0));
        if let Some(repo) = repo {
            visit(repo, &of_repo)?;
        }
    }
    Ok(())
}

fn put_name(base: &Base, did: &str, collection: &str, rkey: &str, out: &mut Vec<u8>) -> bool {
    match base {
        Base::Did => key::put(TEXT, did.as_bytes(), out),
        Base::Collection => key::put(TEXT, collection.as_bytes(), out),
        Base::Rkey => key::put(TEXT, rkey.as_bytes(), out),
        Base::Uri => {
            let uri = format!("at://{did}/{collection}/{rkey}");
            key::put(TEXT, uri.as_bytes(), out);
        }
        Base::Time => match path::tid_micros(rkey) {
            Some(micros) => key::put_int(micros, out),
            None => return false,
        },
        _ => return false,
    }
    true
}

/// Returns a key to keep, if there is memory for it.
pub(super) fn keep(meter: &mut Meter<'_>, key: &[u8]) -> Option<Key> {
    meter.hold(kept_bytes(key)).then(|| key.into())
}

/// Returns what keeping a key takes, with its place in a table.
pub(super) fn kept_bytes(key: &[u8]) -> usize {
    const OVERHEAD: usize = 64;
    key.len() + OVERHEAD
}
