//! Steps that take all rows before they give one: [`Count`], [`Group`] and [`Top`].

use std::cmp::Reverse;

use foldhash::HashMap;

use super::Stage;
use crate::error::Result;
use crate::query::key::Key;
use crate::query::path::Path;
use crate::query::plan;
use crate::query::run::{BATCH_ROWS_MAX, Input, ROW_BYTES, Row, Run, What, kept_bytes};

/// How many rows there are.
pub(super) struct Count {
    at: usize,
    input: Option<Input>,
}

impl Count {
    pub(super) fn new(at: usize, input: Input) -> Self {
        Self {
            at,
            input: Some(input),
        }
    }
}

impl Stage for Count {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        let Some(mut input) = self.input.take() else {
            return Ok(None);
        };
        let mut count = 0;
        while let Some(rows) = input.pull(run, Some(self.at))? {
            count += rows.len() as u64;
        }
        Ok(Some(vec![Row {
            what: What::Count,
            count,
            form: None,
        }]))
    }
}

/// Rows that were gathered, given out piece by piece.
struct Gathered(std::vec::IntoIter<Row>);

impl Gathered {
    fn next(&mut self) -> Option<Vec<Row>> {
        let rows: Vec<Row> = self.0.by_ref().take(BATCH_ROWS_MAX).collect();
        (!rows.is_empty()).then_some(rows)
    }
}

/// The values at a path, with how many rows have each.
pub(super) struct Group {
    at: usize,
    input: Input,
    path: Path,
    groups: Option<Gathered>,
}

impl Group {
    pub(super) fn new(at: usize, input: Input, path: &Path) -> Self {
        Self {
            at,
            input,
            path: path.clone(),
            groups: None,
        }
    }

    fn gather(&mut self, run: &mut Run<'_>) -> Result<Gathered> {
        let mut counts: HashMap<Key, u64> = HashMap::default();
        let mut is_full = false;
        while !is_full && let Some(rows) = self.input.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            run.each_row(&rows, &self.path, |meter, _, values| {
                for value in values.distinct() {
                    if let Some(count) = counts.get_mut(value) {
                        *count += 1;
                        continue;
                    }
                    // The group's row keeps the value once more.
                    if !meter.hold(kept_bytes(value) + ROW_BYTES + value.len()) {
                        is_full = true;
                        return false;
                    }
                    counts.insert(value.into(), 1);
                }
                true
            })?;
        }
        let mut groups: Vec<(Key, u64)> = counts.into_iter().collect();
        groups.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let row = |(value, count): (Key, u64)| Row {
            what: What::Value(value.into()),
            count,
            form: None,
        };
        let groups: Vec<Row> = groups.into_iter().map(row).collect();
        Ok(Gathered(groups.into_iter()))
    }
}

impl Stage for Group {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        let mut groups = match self.groups.take() {
            Some(groups) => groups,
            None => self.gather(run)?,
        };
        let rows = groups.next();
        self.groups = Some(groups);
        Ok(rows)
    }
}

/// The first rows in an order.
pub(super) struct Top {
    at: usize,
    input: Input,
    top: plan::Top,
    rows: Option<Gathered>,
}

impl Top {
    pub(super) fn new(at: usize, input: Input, top: &plan::Top) -> Self {
        Self {
            at,
            input,
            top: top.clone(),
            rows: None,
        }
    }

    fn gather(&mut self, run: &mut Run<'_>) -> Result<Gathered> {
        let by = match &self.top.by {
            Some(path) => path.clone(),
            None => Path::count(),
        };
        let mut best = Best {
            count: self.top.count as usize,
            ascending: self.top.ascending,
            rows: Vec::new(),
            last: None,
        };
        let mut is_full = best.count == 0;
        while !is_full && let Some(rows) = self.input.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            run.each_row(&rows, &by, |meter, row, values| {
                let value = match best.ascending {
                    true => values.iter().min(),
                    false => values.iter().max(),
                };
                let Some(value) = value.filter(|value| best.may_enter(value)) else {
                    return true;
                };
                if !meter.hold(kept_bytes(value) + ROW_BYTES) {
                    is_full = true;
                    return false;
                }
                best.rows.push((value.into(), row.clone()));
                if best.rows.len() >= best.count.saturating_mul(2).max(BATCH_ROWS_MAX) {
                    meter.release(best.cut());
                }
                true
            })?;
        }
        run.meter.release(best.cut());
        let rows: Vec<Row> = best.rows.into_iter().map(|(_, row)| row).collect();
        Ok(Gathered(rows.into_iter()))
    }
}

/// The best rows so far, and some that may be none.
struct Best {
    count: usize,
    ascending: bool,
    rows: Vec<(Key, Row)>,
    /// The value of the last of the best, once there have been so many.
    last: Option<Key>,
}

impl Best {
    /// Says whether a value may be among the best: not if as many are better, or equal and came earlier.
    fn may_enter(&self, value: &[u8]) -> bool {
        match (&self.last, self.ascending) {
            (None, _) => true,
            (Some(last), true) => *value < **last,
            (Some(last), false) => *value > **last,
        }
    }

    /// Puts the rows in order, keeps the best, and returns the bytes that the others took.
    fn cut(&mut self) -> usize {
        // Stable, so equals stay in the order they came in.
        match self.ascending {
            true => self.rows.sort_by(|a, b| a.0.cmp(&b.0)),
            false => self.rows.sort_by(|a, b| Reverse(&a.0).cmp(&Reverse(&b.0))),
        }
        let rest = self.rows.drain(self.count.min(self.rows.len())..);
        let freed = rest.map(|(value, _)| kept_bytes(&value) + ROW_BYTES).sum();
        if self.rows.len() == self.count {
            self.last = self.rows.last().map(|(value, _)| value.clone());
        }
        freed
    }
}

impl Stage for Top {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        let mut rows = match self.rows.take() {
            Some(rows) => rows,
            None => self.gather(run)?,
        };
        let next = rows.next();
        self.rows = Some(rows);
        Ok(next)
    }
}

impl Path {
    /// Returns the path of a row's count.
    fn count() -> Self {
        Self {
            base: crate::query::path::Base::Count,
            part: None,
        }
    }
}
