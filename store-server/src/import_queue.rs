//! [`ImportQueue`]: which imports run, and which wait for a place.
//!
//! An import takes memory and a thread, so few run at a time. The rest wait in a line for some time; who runs fewest
//! comes first, so that one holder's hundred do not keep out another's one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carrack_schema::Code;
use carrack_schema::limits::{IMPORTS_MAX, IMPORTS_WAITING_MAX, IMPORTS_WAITING_PER_HOLDER_MAX};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// The places of imports, and the line for them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImportQueue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whose imports run: at most [`IMPORTS_MAX`].
    running: Vec<String>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    holder: String,
    /// Where the place is sent. Whoever no longer waits has closed it.
    place: oneshot::Sender<ImportPlace>,
}

/// A place among the imports that run; the next in line has it when this is dropped.
#[derive(Debug)]
pub(crate) struct ImportPlace {
    queue: ImportQueue,
    holder: String,
}

impl ImportQueue {
    /// Waits for a place, at most as long as `patience`. Dropping the future leaves the line.
    ///
    /// # Errors
    /// `overloaded` if none is free in time, or too many wait.
    pub(crate) async fn enter(&self, holder: &str, patience: Duration) -> Result<ImportPlace> {
        let place = match self.take_or_wait(holder)? {
            Ok(place) => return Ok(place),
            Err(place) => place,
        };
        match tokio::time::timeout(patience, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::new(
                Code::Overloaded,
                format!("{IMPORTS_MAX} imports are running, try again when one is done"),
            )),
        }
    }

    /// Takes a place if one is free, else one in the line.
    fn take_or_wait(
        &self,
        holder: &str,
    ) -> Result<Result<ImportPlace, oneshot::Receiver<ImportPlace>>> {
        let mut state = self.state();
        if state.running.len() < IMPORTS_MAX {
            return Ok(Ok(self.place(&mut state, holder.to_owned())));
        }
        state.waiting.retain(|waiting| !waiting.place.is_closed());
        let own = state
            .waiting
            .iter()
            .filter(|waiting| waiting.holder == holder);
        if state.waiting.len() >= IMPORTS_WAITING_MAX
            || own.count() >= IMPORTS_WAITING_PER_HOLDER_MAX
        {
            let words = "as many imports wait for a place as may; try again when some are done";
            return Err(Error::new(Code::Overloaded, words));
        }
        let (place, receiver) = oneshot::channel();
        state.waiting.push_back(Waiting {
            holder: holder.to_owned(),
            place,
        });
        Ok(Err(receiver))
    }

    fn place(&self, state: &mut State, holder: String) -> ImportPlace {
        state.running.push(holder.clone());
        ImportPlace {
            queue: self.clone(),
            holder,
        }
    }

    /// Returns how many imports run.
    pub(crate) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Says whether anyone waits for a place.
    pub(crate) fn has_waiting(&self) -> bool {
        self.state()
            .waiting
            .iter()
            .any(|waiting| !waiting.place.is_closed())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the next out of the line: the first of those whose holder runs fewest.
    fn next(&mut self) -> Option<Waiting> {
        let runs = |waiting: &Waiting| {
            let own = self
                .running
                .iter()
                .filter(|holder| **holder == waiting.holder);
            own.count()
        };
        let (at, _) = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiting)| !waiting.place.is_closed())
            .min_by_key(|(at, waiting)| (runs(waiting), *at))?;
        self.waiting.remove(at)
    }
}

impl Drop for ImportPlace {
    fn drop(&mut self) {
        let mut next = None;
        {
            let mut state = self.queue.state();
            if let Some(at) = state
                .running
                .iter()
                .position(|holder| *holder == self.holder)
            {
                state.running.swap_remove(at);
            }
            if let Some(waiting) = state.next() {
                let place = self.queue.place(&mut state, waiting.holder);
                next = Some((waiting.place, place));
            }
        }
        if let Some((waiting, place)) = next {
            // One that left in this very moment gives the place back by dropping it, hence outside the lock.
            let _left = waiting.send(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    async fn fill(queue: &ImportQueue, holder: &str) -> Vec<ImportPlace> {
        let mut places = Vec::new();
        for _ in 0..IMPORTS_MAX {
            places.push(queue.enter(holder, Duration::ZERO).await.unwrap());
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_waits_and_gives_up_in_time() {
        let queue = ImportQueue::default();
        let places = fill(&queue, "a").await;
        let error = queue.enter("a", Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.code(), Code::Overloaded);
        assert!(!queue.has_waiting());
        drop(places);
        assert_eq!(queue.running(), 0);
    }

    #[tokio::test]
    async fn who_runs_fewest_comes_first_then_who_came_first() {
        let queue = ImportQueue::default();
        let mut places = fill(&queue, "greedy").await;
        let mut waiting: Vec<_> = ["greedy", "modest", "modest"]
            .iter()
            .map(|holder| Box::pin(queue.enter(holder, LONG)))
            .collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        assert!(queue.has_waiting());
        let mut order = Vec::new();
        for _ in 0..3 {
            places.pop();
            let at = waiting
                .iter_mut()
                .position(|one| match one.now_or_never() {
                    Some(place) => {
                        places.insert(0, place.unwrap());
                        true
                    }
                    None => false,
                })
                .unwrap();
            let holder = places[0].holder.clone();
            order.push(holder);
            drop(waiting.remove(at));
        }
        assert_eq!(order, ["modest", "modest", "greedy"]);
        assert_eq!(queue.running(), IMPORTS_MAX);
    }

    #[tokio::test]
    async fn who_leaves_the_line_is_passed_over() {
        let queue = ImportQueue::default();
        let mut places = fill(&queue, "a").await;
        let mut leaves = Box::pin(queue.enter("b", LONG));
        let mut stays = Box::pin(queue.enter("c", LONG));
        assert!((&mut leaves).now_or_never().is_none() && (&mut stays).now_or_never().is_none());
        drop(leaves);
        places.pop();
        assert_eq!(stays.now_or_never().unwrap().unwrap().holder, "c");
        assert_eq!(
            queue.running(),
            IMPORTS_MAX - 1,
            "the answer was dropped, and its place is free"
        );
    }

    #[tokio::test]
    async fn the_line_has_an_end_for_each_and_for_all() {
        let queue = ImportQueue::default();
        let _places = fill(&queue, "a").await;
        let mut line = Vec::new();
        let mut holder = 0;
        while line.len() < IMPORTS_WAITING_MAX {
            let name = holder.to_string();
            for _ in 0..IMPORTS_WAITING_PER_HOLDER_MAX.min(IMPORTS_WAITING_MAX - line.len()) {
                line.push(queue.take_or_wait(&name).unwrap().unwrap_err());
            }
            if line.len() < IMPORTS_WAITING_MAX {
                let error = queue.take_or_wait(&name).unwrap_err();
                assert_eq!(error.code(), Code::Overloaded);
            }
            holder += 1;
        }
        assert_eq!(
            queue.take_or_wait("x").unwrap_err().code(),
            Code::Overloaded
        );
        line.pop();
        assert!(
            queue.take_or_wait("x").unwrap().is_err(),
            "one that left makes room"
        );
    }
}
