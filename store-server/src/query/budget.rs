//! [`Meter`]: what a query has used, what it may, and what ended it.
//!
//! A source of rows asks before it gives some; a step that only passes rows on is charged for them, and what passes the
//! budget there ends the sources. So a plan ends soon after its budget does, and what it has found by then is answered.

use std::sync::atomic::{AtomicBool, Ordering};

use carrack_schema::Code;
use carrack_schema::limits::{QUERY_FINISH_LOOKUPS, QUERY_MEMORY_BYTES};

use super::plan::Budget;
use crate::error::{Error, Result};
use crate::store::Store;

/// Why there are not more rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// These are all.
    Complete,
    /// The answer may have so many rows.
    Rows,
    /// The answer may have so many bytes.
    Bytes,
    /// The steps may look at so many rows.
    Work,
    /// The plan may take so long.
    Time,
    /// The plan may keep so many values and rows apart.
    Memory,
    /// The plan may reach so many repos.
    Repos,
}

/// What a step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows it took.
    pub rows_in: u64,
    /// Rows it gave.
    pub rows_out: u64,
    /// Rows it looked at or up.
    pub work: u64,
    /// Microseconds, without the steps it takes rows from.
    pub micros: u64,
}

/// What a query uses.
pub(super) struct Meter<'a> {
    store: &'a Store,
    stop: &'a AtomicBool,
    deadline: i64,
    work: u64,
    work_max: u64,
    lookups_left: u64,
    held: usize,
    ended: Option<Ended>,
    costs: Vec<Cost>,
    /// The step that runs, and since when.
    step: usize,
    since: i64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(
        store: &'a Store,
        stop: &'a AtomicBool,
        budget: Budget,
        steps: usize,
    ) -> Self {
        let now = store.inner().clock.now();
        Self {
            store,
            stop,
            deadline: now.saturating_add(i64::from(budget.millis) * 1_000),
            work: 0,
            work_max: budget.work,
            lookups_left: QUERY_FINISH_LOOKUPS,
            held: 0,
            ended: None,
            costs: vec![Cost::default(); steps],
            step: 0,
            since: now,
        }
    }

    /// Looks whether the query is to go on; called at least once a page that is read.
    ///
    /// # Errors
    /// `unavailable` if it was stopped or the store is closing.
    pub(super) fn tick(&mut self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Unavailable, "the query was stopped"));
        }
        self.store.check_open()?;
        if self.store.inner().clock.now() > self.deadline {
            self.end(Ended::Time);
        }
        Ok(())
    }

    /// Ends the plan's sources; the first reason counts, but for time, after which nothing more is looked up.
    pub(super) fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        if why == Ended::Time {
            self.lookups_left = 0;
        }
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Says whether sources are to give no more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Charges a source for as many of `rows` as there is work left for, and returns how many that are: none is the end.
    pub(super) fn take(&mut self, rows: usize) -> usize {
        if self.is_over() {
            return 0;
        }
        let left = usize::try_from(self.work_max.saturating_sub(self.work)).unwrap_or(usize::MAX);
        let taken = rows.min(left);
        if taken == 0 && rows > 0 {
            self.end(Ended::Work);
        }
        self.charge(taken as u64);
        taken
    }

    /// Charges a lookup of a record, and says whether it may be done: some may though the plan is over.
    pub(super) fn look_up(&mut self) -> bool {
        if !self.is_over() {
            return self.take(1) == 1 || self.look_up();
        }
        let may = self.lookups_left > 0;
        self.lookups_left = self.lookups_left.saturating_sub(1);
        may
    }

    /// Charges what was looked at.
    pub(super) fn charge(&mut self, rows: u64) {
        self.work = self.work.saturating_add(rows);
        if let Some(cost) = self.costs.get_mut(self.step) {
            cost.work = cost.work.saturating_add(rows);
        }
        if self.work > self.work_max {
            self.end(Ended::Work);
        }
    }

    /// Counts what a step keeps, and says whether it may.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        if self.held.saturating_add(bytes) > QUERY_MEMORY_BYTES {
            self.end(Ended::Memory);
            return false;
        }
        self.held += bytes;
        true
    }

    /// Counts what a step keeps no more.
    pub(super) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// Says that another step runs now, and returns which one did.
    pub(super) fn switch(&mut self, step: usize) -> usize {
        let now = self.store.inner().clock.now();
        let spent = u64::try_from(now.saturating_sub(self.since)).unwrap_or(0);
        if let Some(cost) = self.costs.get_mut(self.step) {
            cost.micros = cost.micros.saturating_add(spent);
        }
        self.since = now;
        std::mem::replace(&mut self.step, step)
    }

    /// Counts rows that one step gave to another.
    pub(super) fn passed(&mut self, from: usize, to: Option<usize>, rows: usize) {
        if let Some(cost) = self.costs.get_mut(from) {
            cost.rows_out = cost.rows_out.saturating_add(rows as u64);
        }
        if let Some(cost) = to.and_then(|to| self.costs.get_mut(to)) {
            cost.rows_in = cost.rows_in.saturating_add(rows as u64);
        }
    }

    pub(super) fn into_costs(self) -> Vec<Cost> {
        self.costs
    }
}
