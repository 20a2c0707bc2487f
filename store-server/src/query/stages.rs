//! [`Stage`]: a step that runs. Sources are in [`sources`], what lets rows pass in [`pass`], what gathers them first in
//! [`gather`].

mod gather;
mod pass;
mod sources;

use super::plan::{Op, Repos, Step};
use super::run::{Input, Row, Run};
use crate::error::Result;

/// A step that runs.
pub(super) trait Stage {
    /// Returns the next rows, at least one; none at the end.
    fn next(&mut self, run: &mut Run<'_>) -> Result<Option<Vec<Row>>>;
}

/// Makes the stage of a step; `input` gives what another step feeds it with.
pub(super) fn of(at: usize, step: &Step, input: &mut impl FnMut(usize) -> Input) -> Box<dyn Stage> {
    // A checked plan has it wherever rows are taken.
    let mut from = || input(step.from.unwrap_or(usize::MAX));
    match &step.op {
        Op::Get(uris) => Box::new(sources::Get::new(uris)),
        Op::List(range) => match &range.repos {
            Repos::Named(dids) => {
                let queue = sources::Queue::named(dids);
                Box::new(sources::List::new(at, range, queue))
            }
            Repos::At(path) => {
                let queue = sources::Queue::at(from(), path);
                Box::new(sources::List::new(at, range, queue))
            }
            Repos::All => Box::new(sources::List::new(at, range, sources::Queue::all())),
        },
        Op::Map(path) => Box::new(sources::Map::new(at, from(), path)),
        Op::Filter(tests) => Box::new(pass::Filter::new(at, from(), tests)),
        Op::Among {
            path,
            step: of_step,
            of,
            negate,
        } => {
            let rows = from();
            Box::new(pass::Among::new(
                at,
                rows,
                path,
                input(*of_step),
                of,
                *negate,
            ))
        }
        Op::Distinct(path) => Box::new(pass::Distinct::new(at, from(), path)),
        Op::First(count) => Box::new(pass::First::new(at, from(), *count)),
        Op::Project(_) => Box::new(pass::Project::new(at, from())),
        Op::Count => Box::new(gather::Count::new(at, from())),
        Op::Group(path) => Box::new(gather::Group::new(at, from(), path)),
        Op::Top(top) => Box::new(gather::Top::new(at, from(), top)),
    }
}
