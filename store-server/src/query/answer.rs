//! [`Answer`]: the rows that a plan came to, read in the form that was asked for, up to the answer's rows and bytes.

use std::collections::HashMap;

use carrack_repack::value::Plan as ValuePlan;
use carrack_schema::limits::QUERY_SOURCES_MAX;
use carrack_schema::{Cid, Code, Value};

use super::budget::{Cost, Ended};
use super::columns::split_path;
use super::key;
use super::plan::{Form, Hop, Missing, Op, Plan, Want};
use super::run::{Input, Row, Run, What};
use crate::error::{Error, Result};
use crate::row::{Content, cid_of};
use crate::store::{RecordRef, Summary};
use crate::verdict::Verdict;

/// What a plan came to.
#[derive(Debug)]
pub struct Answer {
    /// The rows.
    pub rows: Vec<AnswerRow>,
    /// Why there are not more.
    pub ended: Ended,
    /// Repos that were read: those that rows name, and some of the others.
    pub sources: Vec<Summary>,
    /// How many were read.
    pub repos: usize,
    /// What lists name and the store does not hold, the first of them.
    pub missing: Vec<Missing>,
    /// What each step cost.
    pub costs: Vec<Cost>,
    /// Bytes on the wire, as the budget counts them.
    pub bytes: usize,
}

/// A row of an answer.
#[derive(Debug)]
pub struct AnswerRow {
    /// As `@count`; 0 where there is none.
    pub count: u64,
    /// What it is.
    pub body: RowBody,
}

/// What a row of an answer is.
#[derive(Debug)]
pub enum RowBody {
    /// A count, no more.
    Count,
    /// A record.
    Record {
        /// Index of its repo among the answer's sources.
        source: usize,
        /// Its collection.
        collection: String,
        /// Its key.
        rkey: String,
        /// Its CID, if it was asked for or is all that is held.
        cid: Option<Cid>,
        /// What was asked for of it.
        body: Body,
    },
    /// A record that is not held.
    Absent {
        /// Its name.
        uri: String,
        /// What of it is missing.
        hop: Hop,
    },
    /// The value of a group.
    Value(Value),
}

/// A record in the form that was asked for.
#[derive(Debug)]
pub enum Body {
    /// Nothing was.
    None,
    /// Its value, ready to be written.
    Value(ValuePlan<'static>),
    /// Its bytes.
    DagCbor(Vec<u8>),
    /// Why it has no value.
    Undecodable(String),
    /// Its block is not held.
    Missing,
}

/// Bytes that a row takes, without what it points to.
const ROW_BYTES: usize = 32;
/// Bytes that a record's frame takes.
const RECORD_BYTES: usize = 40;
/// Bytes that a value's frame takes: its three lists, and the tag of one of them.
const VALUE_BYTES: usize = 32;
/// Bytes that a value without parts takes beside its frame: a node, and the pointer to its text.
const SCALAR_BYTES: usize = 24;
/// Bytes that a source takes beside its texts.
const SOURCE_BYTES: usize = 160;

/// Pulls the rows of an answer.
pub(super) fn make(mut run: Run<'_>, plan: &Plan, mut input: Input) -> Result<Answer> {
    let budget = plan.budget();
    let mut draft = Draft {
        plan,
        rows: Vec::new(),
        sources: Vec::new(),
        numbers: HashMap::new(),
        bytes: 0,
        bytes_max: budget.bytes as usize,
    };
    let mut ended = Ended::Complete;
    'all: while let Some(rows) = input.pull(&mut run, None)? {
        for row in &rows {
            if draft.rows.len() == budget.rows as usize {
                ended = Ended::Rows;
                break 'all;
            }
            run.meter.tick()?;
            if !draft.add(&run, row)? {
                ended = Ended::Bytes;
                break 'all;
            }
        }
    }
    draft.add_sources(&run);
    let missing = run.missing.iter().take(QUERY_SOURCES_MAX).cloned();
    Ok(Answer {
        ended: run.meter.ended().unwrap_or(ended),
        repos: run.opened.all().len(),
        missing: missing.collect(),
        rows: draft.rows,
        sources: draft.sources,
        bytes: draft.bytes,
        costs: run.meter.into_costs(),
    })
}

/// An answer that grows.
struct Draft<'p> {
    plan: &'p Plan,
    rows: Vec<AnswerRow>,
    sources: Vec<Summary>,
    /// Where in `sources` an opened repo is.
    numbers: HashMap<u32, usize>,
    bytes: usize,
    bytes_max: usize,
}

impl Draft<'_> {
    /// Adds a row; false if there is no room for it.
    fn add(&mut self, run: &Run<'_>, row: &Row) -> Result<bool> {
        let body = match &row.what {
            What::Count => RowBody::Count,
            What::Value(value) => RowBody::Value(key::to_value(value)),
            What::Absent(absent) => RowBody::Absent {
                uri: absent.uri.to_string(),
                hop: absent.hop,
            },
            What::Record { repo, number } => return self.add_record(run, row, *repo, *number),
        };
        let bytes = ROW_BYTES
            + match &body {
                RowBody::Absent { uri, .. } => padded(uri.len()),
                RowBody::Value(value) => {
                    VALUE_BYTES
                        + SCALAR_BYTES
                        + match value {
                            Value::Text(text) => padded(text.len()),
                            Value::Bytes(bytes) | Value::Link(bytes) => padded(bytes.len()),
                            _ => 0,
                        }
                }
                RowBody::Count | RowBody::Record { .. } => 0,
            };
        if self.bytes + bytes > self.bytes_max {
            return Ok(false);
        }
        self.bytes += bytes;
        let count = row.count;
        self.rows.push(AnswerRow { count, body });
        Ok(true)
    }

    fn add_record(&mut self, run: &Run<'_>, row: &Row, repo: u32, number: u32) -> Result<bool> {
        let lost = || Error::new(Code::Internal, "a row is of no repo that was opened");
        let opened = run.opened.get(repo).ok_or_else(lost)?;
        let mut path = Vec::new();
        opened.path_of(number, &mut path)?;
        let (collection, rkey) = split_path(&path);
        let (cid, body) = read(&opened.shown_row(number)?, &self.want(row))?;
        let known = self.numbers.get(&repo).copied();
        let new_source = match known {
            Some(_) => 0,
            None => source_bytes(opened.summary()),
        };
        let bytes = ROW_BYTES
            + RECORD_BYTES
            + new_source
            + padded(collection.len())
            + padded(rkey.len())
            + cid.map_or(0, |cid| padded(cid.as_bytes().len()))
            + match &body {
                Body::None | Body::Missing => 0,
                Body::Value(plan) => VALUE_BYTES + plan.wire_bytes(),
                Body::DagCbor(bytes) => padded(bytes.len()),
                Body::Undecodable(why) => padded(why.len()),
            };
        if self.bytes + bytes > self.bytes_max {
            return Ok(false);
        }
        self.bytes += bytes;
        let source = known.unwrap_or(self.sources.len());
        if known.is_none() {
            self.sources.push(opened.summary().clone());
            self.numbers.insert(repo, source);
        }
        self.rows.push(AnswerRow {
            count: row.count,
            body: RowBody::Record {
                source,
                collection: collection.into_owned(),
                rkey: rkey.into_owned(),
                cid,
                body,
            },
        });
        Ok(true)
    }

    /// Returns how a row's record is answered.
    fn want(&self, row: &Row) -> Want {
        let step = row.form.and_then(|at| self.plan.steps().get(at));
        match step.map(|step| step.op()) {
            Some(Op::Project(want)) => want.clone(),
            _ => Want {
                form: Form::Value,
                ..Want::default()
            },
        }
    }

    /// Adds repos that no row names, as far as there is room.
    fn add_sources(&mut self, run: &Run<'_>) {
        let most = self.sources.len() + QUERY_SOURCES_MAX;
        for (number, repo) in (0..).zip(run.opened.all()) {
            let bytes = source_bytes(repo.summary());
            let is_full = self.sources.len() == most || self.bytes + bytes > self.bytes_max;
            if self.numbers.contains_key(&number) || is_full {
                continue;
            }
            self.bytes += bytes;
            self.sources.push(repo.summary().clone());
        }
    }
}

/// Reads a record in the form that was asked for.
fn read(record: &RecordRef<'_>, want: &Want) -> Result<(Option<Cid>, Body)> {
    if want.form == Form::None && !want.cid {
        return Ok((None, Body::None));
    }
    let bytes = match record.content()? {
        Content::DagCbor(bytes) => bytes,
        Content::Missing(cid) if want.form == Form::None => return Ok((Some(cid), Body::None)),
        // Its CID is all there is of it.
        Content::Missing(cid) => return Ok((Some(cid), Body::Missing)),
        Content::Gone => return Err(Error::new(Code::Damaged, "a row is of no record")),
    };
    let cid = want.cid.then(|| cid_of(&bytes));
    let body = match want.form {
        Form::None => Body::None,
        Form::DagCbor => Body::DagCbor(bytes.into_owned()),
        Form::Value => {
            let fields: Vec<&str> = want.fields.iter().map(String::as_str).collect();
            match ValuePlan::of(bytes.into_owned(), &fields) {
                Ok(plan) => Body::Value(plan),
                Err(why) => Body::Undecodable(why.to_string()),
            }
        }
    };
    Ok((cid, body))
}

/// Returns what a text takes in a message, with its zero byte and padding.
fn padded(length: usize) -> usize {
    (length + 1).next_multiple_of(8)
}

fn source_bytes(summary: &Summary) -> usize {
    let key = match &summary.verdict {
        Verdict::Valid { key, .. } => padded(key.len()) + 32,
        Verdict::Unchecked | Verdict::LegacyCommit => 0,
    };
    SOURCE_BYTES + padded(summary.did.as_str().len()) + key
}
