//! Queries: a [`Plan`] that the store runs next to the data, and its [`Answer`], in one round trip.
//!
//! ```no_run
//! # async fn example(store: carrack_client::Store) -> Result<(), carrack_client::Error> {
//! use carrack_client::query::{Plan, Test};
//!
//! // Whose posts somebody likes most.
//! let plan = Plan::new()
//!     .list("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "app.bsky.feed.like")
//!     .group("subject.uri#did")
//!     .top(10);
//! for row in store.query(&plan).await?.rows {
//!     println!("{:?} {}", row.value(), row.count);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What the steps do, and what a path may be, is in `schema/capnp/query.capnp`. As JSON a plan has the steps in `steps`,
//! each an object of one thing to do, with an `id` where another step names it:
//!
//! ```json
//! {"steps": [
//!   {"list": {"repo": "alice.example", "collection": "app.bsky.feed.like", "since": "2026-10-01"}},
//!   {"group": "subject.uri#did"},
//!   {"top": 10}
//! ]}
//! ```

mod answer;
mod json;
mod wire;

use carrack_schema::{Code, Value};
use serde::{Deserialize, Serialize};

pub use answer::{Answer, Cost, Ended, Missing, Row, What};

use crate::error::{Error, Result};
use crate::handle::Repeat;
use crate::store::Store;
use crate::types::Want;

impl Store {
    /// Runs a plan, on one revision of each repo: the current one when the plan first reaches it. One round trip.
    ///
    /// # Errors
    /// As every leaf; `invalidArgument` or `limitExceeded`, naming the step, if the plan is not one; `denied` if it names
    /// what this session may not reach.
    pub async fn query(&self, plan: &Plan) -> Result<Answer> {
        let plan = plan.numbered()?;
        let send = move |on: &carrack_schema::wire::store_capnp::store::Client| {
            let mut request = on.query_request();
            wire::write_plan(request.get().init_plan(), &plan);
            request.send()
        };
        self.0.ask(Repeat::Once, send, wire::answer).await
    }
}

/// What a query does, step by step. Each method but the last four adds a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The step whose rows are wanted, by id or by number from 1; none: the last.
    #[serde(default, rename = "return", skip_serializing_if = "Option::is_none")]
    pub answer: Option<StepRef>,
    /// What it may cost.
    #[serde(default, skip_serializing_if = "Budget::is_unsaid")]
    pub budget: Budget,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "json::StepForm", into = "json::StepForm")]
pub struct Step {
    /// What other steps call it.
    pub id: Option<String>,
    /// The step whose rows it takes; none: the one before it.
    pub from: Option<StepRef>,
    /// What it does.
    pub op: Op,
}

/// A name of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StepRef {
    /// Its number, from 1.
    Number(u16),
    /// Its id.
    Id(String),
}

impl From<u16> for StepRef {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for StepRef {
    fn from(id: &str) -> Self {
        Self::Id(id.to_owned())
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The records that at-URIs name.
    Get(Vec<String>),
    /// The records of a collection.
    List(List),
    /// The rows that pass every test.
    Filter(Vec<Test>),
    /// The rows that have a value which a row of another step has too.
    Among(Among),
    /// The records that at-URIs at this path name.
    Map(String),
    /// The same rows, answered in this form.
    Project(Want),
    /// How many rows there are.
    Count,
    /// The values at this path, the most frequent first.
    Group(String),
    /// The first rows in an order.
    Top(Top),
    /// The rows with a value at this path that no row before them had.
    Distinct(String),
    /// So many rows.
    First(u32),
}

/// Which records a list gives.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// Of which repos.
    pub repos: Repos,
    /// Of which collection.
    pub collection: String,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repos {
    /// These, by DID or handle.
    Named(Vec<String>),
    /// Those whose DIDs are at this path of each row.
    At(String),
    /// All of the store.
    All,
}

impl List {
    /// All records of a collection in a repo, by DID or handle.
    pub fn of(repo: &str, collection: &str) -> Self {
        Self::in_repos(Repos::Named(vec![repo.to_owned()]), collection)
    }

    /// All records of a collection in repos.
    pub fn in_repos(repos: Repos, collection: &str) -> Self {
        Self {
            repos,
            collection: collection.to_owned(),
            from: String::new(),
            before: String::new(),
            reverse: false,
            since: None,
            until: None,
        }
    }

    /// The last key first.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self {
            reverse: true,
            ..self
        }
    }

    /// Only keys that are TIDs of a time from `since` on and before `until`, in microseconds since the Unix epoch.
    #[must_use]
    pub fn between(self, since: i64, until: i64) -> Self {
        Self {
            since: Some(since),
            until: Some(until),
            ..self
        }
    }
}

/// A test of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Where the value is.
    pub path: String,
    /// The row passes if no value does.
    pub negate: bool,
    /// What it asks.
    pub ask: Ask,
}

/// What a test asks of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// That there is one, here or deeper.
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

impl Test {
    fn new(path: &str, ask: Ask) -> Self {
        Self {
            path: path.to_owned(),
            negate: false,
            ask,
        }
    }

    /// There is a value.
    pub fn exists(path: &str) -> Self {
        Self::new(path, Ask::Exists)
    }

    /// A value is this one.
    pub fn equals(path: &str, value: Value) -> Self {
        Self::new(path, Ask::Equals(value))
    }

    /// A value is a text that begins so.
    pub fn prefix(path: &str, text: &str) -> Self {
        Self::new(path, Ask::Prefix(text.to_owned()))
    }

    /// A value is a text with this in it, without regard to case.
    pub fn contains(path: &str, text: &str) -> Self {
        Self::new(path, Ask::Contains(text.to_owned()))
    }

    /// A value is not smaller than this one.
    pub fn at_least(path: &str, value: Value) -> Self {
        Self::new(path, Ask::AtLeast(value))
    }

    /// A value is smaller than this one.
    pub fn below(path: &str, value: Value) -> Self {
        Self::new(path, Ask::Below(value))
    }
}

impl std::ops::Not for Test {
    type Output = Self;

    /// The contrary: no value passes.
    fn not(self) -> Self {
        Self {
            negate: !self.negate,
            ..self
        }
    }
}

/// Which rows have a value that a row of another step has too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Among {
    /// Where the rows have it.
    pub path: String,
    /// The other step.
    pub step: StepRef,
    /// Where its rows have it.
    pub of: String,
    /// The rows that have none instead.
    #[serde(default, rename = "not", skip_serializing_if = "std::ops::Not::not")]
    pub negate: bool,
}

/// The first rows in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// So many.
    pub count: u32,
    /// By the value at this path; empty: by count.
    pub by: String,
    /// The smallest first.
    pub ascending: bool,
}

/// What a query may cost. 0 is the server's default, and what is above its most is that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budget {
    /// Rows of the answer.
    pub rows: u32,
    /// Bytes of the answer on the wire.
    pub bytes: u32,
    /// Rows that steps look at.
    pub work: u64,
    /// Milliseconds on the server.
    pub millis: u32,
}

impl Budget {
    fn is_unsaid(&self) -> bool {
        *self == Self::default()
    }
}

impl Plan {
    /// Makes a plan without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.steps.push(Step {
            id: None,
            from: None,
            op,
        });
        self
    }

    /// The records that at-URIs name.
    #[must_use]
    pub fn get<'u>(self, uris: impl IntoIterator<Item = &'u str>) -> Self {
        self.then(Op::Get(uris.into_iter().map(str::to_owned).collect()))
    }

    /// The records of a collection in a repo, by DID or handle.
    #[must_use]
    pub fn list(self, repo: &str, collection: &str) -> Self {
        self.list_of(List::of(repo, collection))
    }

    /// The records of a collection.
    #[must_use]
    pub fn list_of(self, list: List) -> Self {
        self.then(Op::List(list))
    }

    /// The rows that pass every test.
    #[must_use]
    pub fn filter(self, tests: impl IntoIterator<Item = Test>) -> Self {
        self.then(Op::Filter(tests.into_iter().collect()))
    }

    /// The rows that have a value at `path` which a row of `step` has at `of`.
    #[must_use]
    pub fn among(self, path: &str, step: impl Into<StepRef>, of: &str) -> Self {
        self.then(Op::Among(Among {
            path: path.to_owned(),
            step: step.into(),
            of: of.to_owned(),
            negate: false,
        }))
    }

    /// The rows that have no value at `path` which a row of `step` has at `of`.
    #[must_use]
    pub fn not_among(self, path: &str, step: impl Into<StepRef>, of: &str) -> Self {
        self.then(Op::Among(Among {
            path: path.to_owned(),
            step: step.into(),
            of: of.to_owned(),
            negate: true,
        }))
    }

    /// The records that at-URIs at this path name.
    #[must_use]
    pub fn map(self, path: &str) -> Self {
        self.then(Op::Map(path.to_owned()))
    }

    /// The same rows, answered in this form.
    #[must_use]
    pub fn project(self, want: Want) -> Self {
        self.then(Op::Project(want))
    }

    /// How many rows there are.
    #[must_use]
    pub fn count(self) -> Self {
        self.then(Op::Count)
    }

    /// The values at this path, the most frequent first.
    #[must_use]
    pub fn group(self, path: &str) -> Self {
        self.then(Op::Group(path.to_owned()))
    }

    /// The rows with the largest counts.
    #[must_use]
    pub fn top(self, count: u32) -> Self {
        self.top_by("", count)
    }

    /// The rows with the largest values at this path.
    #[must_use]
    pub fn top_by(self, path: &str, count: u32) -> Self {
        self.then(Op::Top(Top {
            count,
            by: path.to_owned(),
            ascending: false,
        }))
    }

    /// The rows with the smallest values at this path.
    #[must_use]
    pub fn bottom_by(self, path: &str, count: u32) -> Self {
        self.then(Op::Top(Top {
            count,
            by: path.to_owned(),
            ascending: true,
        }))
    }

    /// The rows with a value at this path that no row before them had.
    #[must_use]
    pub fn distinct(self, path: &str) -> Self {
        self.then(Op::Distinct(path.to_owned()))
    }

    /// So many rows.
    #[must_use]
    pub fn first(self, count: u32) -> Self {
        self.then(Op::First(count))
    }

    /// Gives the last step an id.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.id = Some(id.to_owned());
        }
        self
    }

    /// Says whose rows the last step takes, if not those of the step before it.
    #[must_use]
    pub fn from(mut self, step: impl Into<StepRef>) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.from = Some(step.into());
        }
        self
    }

    /// Says whose rows are wanted, if not those of the last step.
    #[must_use]
    pub fn answer(mut self, step: impl Into<StepRef>) -> Self {
        self.answer = Some(step.into());
        self
    }

    /// Says what it may cost.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Returns the plan with numbers in place of ids.
    ///
    /// # Errors
    /// `invalidArgument` if a step is named that is not there, if two have one id, or if a value to compare with has
    /// parts.
    fn numbered(&self) -> Result<Self> {
        let mut plan = self.clone();
        for (at, step) in plan.steps.iter_mut().enumerate() {
            let number = |of: &StepRef| self.number(of, &format!("step {}", at + 1));
            step.from = step.from.as_ref().map(number).transpose()?;
            if let Op::Among(among) = &mut step.op {
                among.step = number(&among.step)?;
            }
            if let Op::Filter(tests) = &step.op {
                tests.iter().try_for_each(|test| test.check(at + 1))?;
            }
        }
        let answer = self.answer.as_ref();
        plan.answer = answer.map(|of| self.number(of, "the answer")).transpose()?;
        Ok(plan)
    }

    fn number(&self, of: &StepRef, who: &str) -> Result<StepRef> {
        let StepRef::Id(id) = of else {
            return Ok(of.clone());
        };
        let mut found = (1..)
            .zip(&self.steps)
            .filter(|(_, step)| step.id.as_ref() == Some(id));
        match (found.next(), found.next()) {
            (Some((number, _)), None) => Ok(StepRef::Number(number)),
            (None, _) => Err(invalid(format!(
                "{who} names the step `{id}`, and there is none"
            ))),
            (Some(_), Some(_)) => Err(invalid(format!("two steps have the id `{id}`"))),
        }
    }
}

impl Test {
    fn check(&self, number: usize) -> Result<()> {
        let (Ask::Equals(value) | Ask::AtLeast(value) | Ask::Below(value)) = &self.ask else {
            return Ok(());
        };
        match value {
            Value::List(_) | Value::Map(_) => Err(invalid(format!(
                "step {number}: a list or a map cannot be compared with"
            ))),
            _ => Ok(()),
        }
    }
}

fn invalid(words: String) -> Error {
    Error::new(Code::InvalidArgument, words)
}
