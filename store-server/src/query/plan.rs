//! [`Plan`]: what a query does, checked: every step looks back only, and every list in it has its limit.

use carrack_schema::limits::{
    QUERY_BYTES_DEFAULT, QUERY_BYTES_MAX, QUERY_MILLIS_DEFAULT, QUERY_MILLIS_MAX,
    QUERY_REPOS_NAMED_MAX, QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX, QUERY_STEPS_MAX, QUERY_TESTS_MAX,
    QUERY_URIS_MAX, QUERY_WORK_DEFAULT, QUERY_WORK_MAX,
};
use carrack_schema::time::{parse_day, parse_rfc3339};
use carrack_schema::{AtUri, Code, Did, Nsid, Value};

use super::key::{self, Key};
use super::path::Path;
use crate::error::Error;

/// Why a plan, or a part of one, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// It has no legal form.
    Illegal(String),
    /// It passes a limit.
    TooMany(String),
}

impl PlanError {
    /// Returns the error, which names the step it is in, counted from 1.
    pub fn in_step(self, number: usize) -> Error {
        match self {
            Self::Illegal(words) => {
                Error::new(Code::InvalidArgument, format!("step {number}: {words}"))
            }
            Self::TooMany(words) => {
                Error::new(Code::LimitExceeded, format!("step {number}: {words}"))
            }
        }
    }
}

/// What a query does.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<Step>,
    answer: usize,
    budget: Budget,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which step's rows it takes; none of one that takes no rows.
    pub(super) from: Option<usize>,
    /// What it does.
    pub(super) op: Op,
}

/// What a step does; see `query.capnp`.
#[derive(Clone, Debug)]
pub enum Op {
    /// Records by name.
    Get(Vec<AtUri>),
    /// Records of one collection.
    List(ListRange),
    /// The rows that pass every test.
    Filter(Vec<Test>),
    /// The rows that have a value which a row of another step has too.
    Among {
        /// Where a row has the value.
        path: Path,
        /// The other step, from 0.
        step: usize,
        /// Where its rows have it.
        of: Path,
        /// The rows that have no such value instead.
        negate: bool,
    },
    /// The records that at-URIs at this path name.
    Map(Path),
    /// How records are answered.
    Project(Want),
    /// How many rows there are.
    Count,
    /// The values at this path, with how many rows have each.
    Group(Path),
    /// The first rows in an order.
    Top(Top),
    /// The rows with a value at this path that no row before them had.
    Distinct(Path),
    /// So many rows.
    First(u32),
}

/// Which records a list gives.
#[derive(Clone, Debug)]
pub struct ListRange {
    /// Of which repos.
    pub repos: Repos,
    /// Of which collection.
    pub collection: Nsid,
    /// First key, inclusive; empty means open.
    pub from: String,
    /// End, exclusive; empty means open.
    pub before: String,
    /// From the last to the first.
    pub reverse: bool,
    /// Only keys that are TIDs of this time or later, in microseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Only keys that are TIDs of an earlier time.
    pub until: Option<i64>,
}

/// Repos that are listed.
#[derive(Clone, Debug)]
pub enum Repos {
    /// These.
    Named(Vec<Did>),
    /// Those whose DIDs are at this path of each row.
    At(Path),
    /// All.
    All,
}

/// A test of a row.
#[derive(Clone, Debug)]
pub struct Test {
    pub(super) path: Path,
    pub(super) negate: bool,
    pub(super) op: TestOp,
}

/// What a test asks of a value.
#[derive(Clone, Debug)]
pub enum TestOp {
    /// That there is one.
    Exists,
    /// That it is this one.
    Equals(Value),
    /// That it is a text that begins so.
    Prefix(String),
    /// That it is a text with this in it, without regard to case.
    Contains(String),
    /// That it is of the same kind and not smaller.
    AtLeast(Value),
    /// That it is of the same kind and smaller.
    Below(Value),
}

/// The first rows in an order.
#[derive(Clone, Debug)]
pub struct Top {
    /// So many.
    pub count: u32,
    /// By the value there; none: by count.
    pub by: Option<Path>,
    /// The smallest first.
    pub ascending: bool,
}

/// How a record is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// In which form.
    pub form: Form,
    /// With its CID.
    pub cid: bool,
    /// Of a value, only these paths; empty keeps all.
    pub fields: Vec<String>,
}

/// A form of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Only its names.
    #[default]
    None,
    /// Its value.
    Value,
    /// Its bytes.
    DagCbor,
}

/// The hop at which a record was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The repo.
    Repo,
    /// The repo's account is not active.
    Inactive,
    /// The collection.
    Collection,
    /// The record.
    Record,
}

/// What a list names and the store does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The list's step, from 0.
    pub step: usize,
    /// The repo.
    pub repo: Did,
    /// What of it is missing.
    pub hop: Hop,
}

/// What a plan may cost; 0 means the default, and what is above the most is that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Rows of the answer.
    pub rows: u32,
    /// Bytes of the answer on the wire.
    pub bytes: u32,
    /// Rows that steps look at.
    pub work: u64,
    /// Milliseconds.
    pub millis: u32,
}

impl Budget {
    fn cut(self) -> Self {
        let or = |asked: u32, default: u32, most: u32| match asked {
            0 => default,
            asked => asked.min(most),
        };
        Self {
            rows: or(self.rows, QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX),
            bytes: or(self.bytes, QUERY_BYTES_DEFAULT, QUERY_BYTES_MAX),
            work: match self.work {
                0 => QUERY_WORK_DEFAULT,
                asked => asked.min(QUERY_WORK_MAX),
            },
            millis: or(self.millis, QUERY_MILLIS_DEFAULT, QUERY_MILLIS_MAX),
        }
    }
}

impl Plan {
    /// Makes a plan. `from` of a step is the number of another from 1, or 0: the one before it; so is `answer`, or 0: the
    /// last.
    ///
    /// # Errors
    /// `invalidArgument` or `limitExceeded`, naming the step: if there are no steps or too many, if one takes the rows
    /// of a step that is not before it, or none where it needs some, or if a list in it is too long.
    pub fn new(steps: Vec<(u16, Op)>, answer: u16, budget: Budget) -> Result<Self, Error> {
        let count = steps.len();
        if count == 0 {
            return Err(Error::new(Code::InvalidArgument, "the plan has no steps"));
        }
        check_steps(count)?;
        let answer = match usize::from(answer) {
            0 => count - 1,
            number if number <= count => number - 1,
            number => {
                let words = format!("the answer is of step {number}, and there are {count}");
                return Err(Error::new(Code::InvalidArgument, words));
            }
        };
        let step = |(at, (from, op)): (usize, (u16, Op))| {
            Step::new(at, from, op).map_err(|error| error.in_step(at + 1))
        };
        let steps = steps.into_iter().enumerate().map(step);
        Ok(Self {
            steps: steps.collect::<Result<_, _>>()?,
            answer,
            budget: budget.cut(),
        })
    }

    /// Says whether it reads records by their names.
    pub(crate) fn reads_by_name(&self) -> bool {
        let by_name = |step: &Step| matches!(step.op, Op::Get(_) | Op::Map(_));
        self.steps.iter().any(by_name)
    }

    /// Returns the steps in order.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn answer(&self) -> usize {
        self.answer
    }

    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }
}

/// Checks the number of steps, before they are read.
///
/// # Errors
/// `limitExceeded` if they are too many.
pub(crate) fn check_steps(count: usize) -> Result<(), Error> {
    if count <= QUERY_STEPS_MAX {
        return Ok(());
    }
    let words = format!("{count} steps are more than the {QUERY_STEPS_MAX} a plan may have");
    Err(Error::new(Code::LimitExceeded, words))
}

/// Checks the length of a list in a step.
pub(crate) fn check_length(what: &str, length: usize, most: usize) -> Result<(), PlanError> {
    if length <= most {
        return Ok(());
    }
    let words = format!("{length} {what} are more than the {most} a step may have");
    Err(PlanError::TooMany(words))
}

impl Step {
    fn new(at: usize, from: u16, op: Op) -> Result<Self, PlanError> {
        op.check(at)?;
        let from = match (op.takes_rows(), usize::from(from)) {
            (false, 0) => None,
            (false, _) => return Err(illegal("it takes no rows, so it is from no step")),
            (true, 0) => Some(at.checked_sub(1).ok_or_else(|| {
                illegal("it takes the rows of the step before it, and there is none")
            })?),
            (true, number) => Some(look_back(at, number)?),
        };
        Ok(Self { from, op })
    }

    /// Returns which steps' rows it takes.
    pub(super) fn inputs(&self) -> impl Iterator<Item = usize> + use<> {
        let among = match &self.op {
            Op::Among { step, .. } => Some(*step),
            _ => None,
        };
        self.from.into_iter().chain(among)
    }

    /// Returns what it does.
    pub(super) fn op(&self) -> &Op {
        &self.op
    }
}

/// Returns the index of a step by its number, which must be of one before `at`.
fn look_back(at: usize, number: usize) -> Result<usize, PlanError> {
    match number.checked_sub(1) {
        Some(index) if index < at => Ok(index),
        _ => Err(illegal(format!(
            "it looks at step {number}, and may only look at those before it"
        ))),
    }
}

fn illegal(words: impl Into<String>) -> PlanError {
    PlanError::Illegal(words.into())
}

impl Op {
    /// Makes an `among`; `step` is a number from 1.
    ///
    /// # Errors
    /// If it is 0.
    pub fn among(path: Path, step: u16, of: Path, negate: bool) -> Result<Self, PlanError> {
        let step = usize::from(step)
            .checked_sub(1)
            .ok_or_else(|| illegal("it does not say among the values of which step"))?;
        Ok(Self::Among {
            path,
            step,
            of,
            negate,
        })
    }

    fn takes_rows(&self) -> bool {
        match self {
            Self::Get(_) => false,
            Self::List(range) => matches!(range.repos, Repos::At(_)),
            _ => true,
        }
    }

    fn check(&self, at: usize) -> Result<(), PlanError> {
        match self {
            Self::Get(uris) => {
                check_length("at-URIs", uris.len(), QUERY_URIS_MAX)?;
                match uris.iter().find(|uri| uri.rkey.is_none()) {
                    Some(uri) => Err(illegal(format!("{uri} names no record"))),
                    None => Ok(()),
                }
            }
            Self::List(range) => match &range.repos {
                Repos::Named(dids) => {
                    check_length("repositories", dids.len(), QUERY_REPOS_NAMED_MAX)
                }
                Repos::At(_) | Repos::All => Ok(()),
            },
            Self::Filter(tests) => check_length("tests", tests.len(), QUERY_TESTS_MAX),
            Self::Among { step, .. } => look_back(at, step + 1).map(drop),
            Self::Top(top) => check_length("rows", top.count as usize, QUERY_ROWS_MAX as usize),
            Self::Map(_)
            | Self::Project(_)
            | Self::Count
            | Self::Group(_)
            | Self::Distinct(_)
            | Self::First(_) => Ok(()),
        }
    }
}

impl Test {
    /// Makes a test.
    ///
    /// # Errors
    /// If its operand has parts, or no order where it needs one, or is no time where it is compared with times.
    pub fn new(path: Path, negate: bool, op: TestOp) -> Result<Self, PlanError> {
        let op = match op {
            TestOp::AtLeast(operand) => TestOp::AtLeast(bound(&path, operand)?),
            TestOp::Below(operand) => TestOp::Below(bound(&path, operand)?),
            other => other,
        };
        if let TestOp::Equals(operand) | TestOp::AtLeast(operand) | TestOp::Below(operand) = &op
            && key::of_value(operand).is_none()
        {
            return Err(illegal("a list or a map cannot be compared with"));
        }
        Ok(Self { path, negate, op })
    }
}

/// Returns what values are compared with: a text that says a time, where they are times, as a number.
fn bound(path: &Path, operand: Value) -> Result<Value, PlanError> {
    match operand {
        Value::Text(text) if path.is_time() => {
            let micros = parse_rfc3339(&text).or_else(|| parse_day(&text));
            let words = format!("`{text}` is no time of RFC 3339 and no day, such as 2026-10-31");
            micros.map(Value::Int).ok_or_else(|| illegal(words))
        }
        operand => Ok(operand),
    }
}

impl TestOp {
    /// Returns the key of what values are compared with, if there is one.
    pub(super) fn operand(&self) -> Key {
        match self {
            Self::Equals(value) | Self::AtLeast(value) | Self::Below(value) => {
                key::of_value(value).unwrap_or_default()
            }
            Self::Prefix(text) => text.as_bytes().into(),
            Self::Contains(text) => text.to_lowercase().into_bytes().into(),
            Self::Exists => Key::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: u32, bytes: u32, work: u64, millis: u32) -> Budget {
        Budget {
            rows,
            bytes,
            work,
            millis,
        }
    }

    #[test]
    fn a_budget_has_its_defaults_and_its_most() {
        let defaults = of(
            QUERY_ROWS_DEFAULT,
            QUERY_BYTES_DEFAULT,
            QUERY_WORK_DEFAULT,
            QUERY_MILLIS_DEFAULT,
        );
        assert_eq!(Budget::default().cut(), defaults);
        let most = of(
            QUERY_ROWS_MAX,
            QUERY_BYTES_MAX,
            QUERY_WORK_MAX,
            QUERY_MILLIS_MAX,
        );
        assert_eq!(most.cut(), most);
        let beyond = of(
            QUERY_ROWS_MAX + 1,
            QUERY_BYTES_MAX + 1,
            QUERY_WORK_MAX + 1,
            QUERY_MILLIS_MAX + 1,
        );
        assert_eq!(beyond.cut(), most);
        let least = of(1, 1, 1, 1);
        assert_eq!(least.cut(), least);
    }
}
