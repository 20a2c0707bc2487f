//! Steps that let rows pass one by one: [`Filter`], [`Among`], [`Distinct`], [`First`] and [`Project`].

use foldhash::HashSet;

use super::Stage;
use crate::error::Result;
use crate::query::key::{self, Key};
use crate::query::path::Path;
use crate::query::plan::{Test, TestOp};
use crate::query::run::{Input, Row, Run, keep};

/// The rows that pass every test.
pub(super) struct Filter {
    at: usize,
    input: Input,
    tests: Vec<(Test, Key)>,
}

impl Filter {
    pub(super) fn new(at: usize, input: Input, tests: &[Test]) -> Self {
        let with_operand = |test: &Test| (test.clone(), test.op.operand());
        Self {
            at,
            input,
            tests: tests.iter().map(with_operand).collect(),
        }
    }
}

impl Stage for Filter {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        while let Some(mut rows) = self.input.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            for (test, operand) in &self.tests {
                let passes = judge(run, &rows, test, operand)?;
                retain(&mut rows, &passes);
                if rows.is_empty() {
                    break;
                }
            }
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }
}

/// Says of each row whether it passes a test.
fn judge(run: &mut Run<'_>, rows: &[Row], test: &Test, operand: &[u8]) -> Result<Vec<bool>> {
    let mut passes = vec![test.negate; rows.len()];
    let mut hit = |row: usize| {
        if let Some(passes) = passes.get_mut(row) {
            *passes = !test.negate;
        }
    };
    let path = &test.path;
    match &test.op {
        TestOp::Exists => run.visit_having(rows, path, &mut hit)?,
        TestOp::Contains(_) => {
            let needle = std::str::from_utf8(operand).unwrap_or_default();
            let mut lower = String::new();
            run.visit(rows, path, |row, value| {
                if contains(value, needle, &mut lower) {
                    hit(row);
                }
            })?;
        }
        op => run.visit(rows, path, |row, value| {
            if is_hit(op, value, operand) {
                hit(row);
            }
        })?,
    }
    Ok(passes)
}

fn is_hit(op: &TestOp, value: &[u8], operand: &[u8]) -> bool {
    match op {
        TestOp::Equals(_) => value == operand,
        TestOp::Prefix(_) => key::text(value).is_some_and(|text| text.starts_with(operand)),
        TestOp::AtLeast(_) => key::same_kind(value, operand) && value >= operand,
        TestOp::Below(_) => key::same_kind(value, operand) && value < operand,
        TestOp::Exists | TestOp::Contains(_) => false,
    }
}

/// Says whether a text has another in it, which is in lower case.
fn contains(value: &[u8], needle: &str, lower: &mut String) -> bool {
    let Some(Ok(text)) = key::text(value).map(std::str::from_utf8) else {
        return false;
    };
    if text.is_ascii() {
        lower.clear();
        lower.push_str(text);
        lower.make_ascii_lowercase();
        return lower.contains(needle);
    }
    text.to_lowercase().contains(needle)
}

fn retain(rows: &mut Vec<Row>, keep: &[bool]) {
    let mut keep = keep.iter();
    rows.retain(|_| keep.next().copied().unwrap_or(false));
}

/// The rows that have a value which a row of another step has too, or those that have none.
pub(super) struct Among {
    at: usize,
    input: Input,
    path: Path,
    others: Option<(Input, Path)>,
    values: HashSet<Key>,
    negate: bool,
    is_known: bool,
}

impl Among {
    pub(super) fn new(
        at: usize,
        input: Input,
        path: &Path,
        others: Input,
        of: &Path,
        negate: bool,
    ) -> Self {
        Self {
            at,
            input,
            path: path.clone(),
            others: Some((others, of.clone())),
            values: HashSet::default(),
            negate,
            is_known: true,
        }
    }

    fn gather(&mut self, run: &mut Run<'_>, mut others: Input, of: &Path) -> Result<()> {
        let values = &mut self.values;
        let mut is_full = false;
        while !is_full && let Some(rows) = others.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            run.each_row(&rows, of, |meter, _, row| {
                for value in row.iter() {
                    if values.contains(value) {
                        continue;
                    }
                    let Some(kept) = keep(meter, value) else {
                        is_full = true;
                        return false;
                    };
                    values.insert(kept);
                }
                true
            })?;
        }
        Ok(())
    }
}

impl Stage for Among {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        if let Some((others, of)) = self.others.take() {
            self.gather(run, others, &of)?;
            // Of values that are not all there nobody can say that something is not among them.
            self.is_known = !(self.negate && run.meter.is_over());
        }
        if !self.is_known {
            return Ok(None);
        }
        while let Some(mut rows) = self.input.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            let mut passes = vec![self.negate; rows.len()];
            let (values, negate) = (&self.values, self.negate);
            run.visit(&rows, &self.path, |row, value| {
                if let Some(passes) = passes.get_mut(row)
                    && values.contains(value)
                {
                    *passes = !negate;
                }
            })?;
            retain(&mut rows, &passes);
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }
}

/// The rows with a value that no row before them had.
pub(super) struct Distinct {
    at: usize,
    input: Input,
    path: Path,
    seen: HashSet<Key>,
}

impl Distinct {
    pub(super) fn new(at: usize, input: Input, path: &Path) -> Self {
        Self {
            at,
            input,
            path: path.clone(),
            seen: HashSet::default(),
        }
    }
}

impl Stage for Distinct {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        while let Some(rows) = self.input.pull(run, Some(self.at))? {
            run.meter.charge(rows.len() as u64);
            let seen = &mut self.seen;
            let mut passed = Vec::new();
            run.each_row(&rows, &self.path, |meter, row, values| {
                let mut is_new = false;
                for value in values.iter() {
                    if seen.contains(value) {
                        continue;
                    }
                    let Some(kept) = keep(meter, value) else {
                        return false;
                    };
                    seen.insert(kept);
                    is_new = true;
                }
                if is_new {
                    passed.push(row.clone());
                }
                true
            })?;
            if !passed.is_empty() {
                return Ok(Some(passed));
            }
        }
        Ok(None)
    }
}

/// So many rows.
pub(super) struct First {
    at: usize,
    input: Input,
    left: usize,
}

impl First {
    pub(super) fn new(at: usize, input: Input, count: u32) -> Self {
        Self {
            at,
            input,
            left: count as usize,
        }
    }
}

impl Stage for First {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(mut rows) = self.input.pull(run, Some(self.at))? else {
            return Ok(None);
        };
        rows.truncate(self.left);
        self.left -= rows.len();
        Ok(Some(rows))
    }
}

/// The same rows, answered in another form.
pub(super) struct Project {
    at: usize,
    input: Input,
}

impl Project {
    pub(super) fn new(at: usize, input: Input) -> Self {
        Self { at, input }
    }
}

impl Stage for Project {
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>> {
        let mut rows = self.input.pull(run, Some(self.at))?;
        for row in rows.iter_mut().flatten() {
            row.form = Some(self.at);
        }
        Ok(rows)
    }
}
