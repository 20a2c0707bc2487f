//! Queries: a [`Plan`] of steps, run next to the data, and its [`Answer`].
//!
//! Rows are pulled from the plan's end, a few hundred at a time, so a step does no more than those behind it want, and a
//! row is two numbers: records are made for the answer alone, and what a step looks at comes out of the columns. What
//! ends a plan is in `budget.rs`; no RPC type appears here.

mod answer;
mod budget;
mod columns;
mod key;
mod path;
mod plan;
mod repos;
mod run;
mod stages;

use std::sync::atomic::AtomicBool;

use carrack_schema::{Did, Nsid};

use crate::auth::Authority;
use crate::error::Result;
use crate::store::Store;

pub(crate) use plan::{check_length, check_steps};

pub use answer::{Answer, AnswerRow, Body, RowBody};
pub use budget::{Cost, Ended};
pub use key::Key;
pub use path::Path;
pub use plan::{
    Budget, Form, Hop, ListRange, Missing, Op, Plan, PlanError, Repos, Step, Test, TestOp, Top,
    Want,
};

/// What of the store a query may see.
pub trait Scope {
    /// Says whether a repo may be read.
    fn sees_repo(&self, did: &Did) -> bool;
    /// Says whether a collection may be read.
    fn sees_collection(&self, nsid: &Nsid) -> bool;
}

impl Scope for Authority {
    fn sees_repo(&self, did: &Did) -> bool {
        self.sees_repo(did)
    }

    fn sees_collection(&self, nsid: &Nsid) -> bool {
        self.sees_collection(nsid)
    }
}

impl Store {
    /// Runs a plan, on one revision of each repo: the current one when the plan first reaches it. What `scope` does not
    /// see looks like what the store does not hold. Blocks for as long as the plan's budget allows; `stop` ends it
    /// sooner.
    ///
    /// # Errors
    /// `unavailable` if it was stopped or the store is closing; `damaged` if a segment that it reads is.
    pub fn query(&self, plan: &Plan, scope: &dyn Scope, stop: &AtomicBool) -> Result<Answer> {
        run::run(self, plan, scope, stop)
    }
}
