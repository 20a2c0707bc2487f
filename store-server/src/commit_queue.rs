//! [`CommitQueue`]: many changes at once share one commit, because a commit costs the disk a sync, not a change.
//!
//! Whoever comes while nobody commits leads: it takes every change that waits, commits them together, and wakes those
//! who wait. Whoever comes meanwhile waits for the next commit. There is no thread and no delay: one change alone is
//! committed at once. It must never let anyone go before the commit that holds its change is over.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Changes that wait for a commit.
#[derive(Debug)]
pub(crate) struct CommitQueue<J> {
    state: Mutex<State<J>>,
    over: Condvar,
}

#[derive(Debug)]
struct State<J> {
    waiting: Vec<J>,
    /// Changes that were ever put in, and of how many the commit is over. Commits take them in their order.
    put_in: u64,
    done: u64,
    is_led: bool,
}

impl<J> Default for CommitQueue<J> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Vec::new(),
                put_in: 0,
                done: 0,
                is_led: false,
            }),
            over: Condvar::new(),
        }
    }
}

impl<J> CommitQueue<J> {
    /// Puts a change in and returns when a `commit` with it in it is over: this call's, or that of another thread.
    pub(crate) fn submit(&self, change: J, commit: impl Fn(Vec<J>)) {
        let mut state = self.lock();
        state.waiting.push(change);
        state.put_in += 1;
        let mine = state.put_in;
        while state.done < mine {
            if state.is_led {
                state = self
                    .over
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_led = true;
            let (batch, last) = (std::mem::take(&mut state.waiting), state.put_in);
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(|| commit(batch)));
            state = self.lock();
            state.is_led = false;
            state.done = last;
            self.over.notify_all();
            if let Err(panic) = outcome {
                drop(state);
                resume_unwind(panic);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // Each holder leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn those_who_come_during_a_commit_share_the_next() {
        let queue = CommitQueue::default();
        let batches = Mutex::new(Vec::new());
        let (leading, is_leading) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                queue.submit(0, |batch| {
                    leading.send(()).unwrap();
                    may_go.lock().unwrap().recv().unwrap();
                    batches.lock().unwrap().push(batch);
                });
            });
            is_leading.recv().unwrap();
            for change in 1..=3 {
                let (queue, batches) = (&queue, &batches);
                scope.spawn(move || {
                    queue.submit(change, |batch| batches.lock().unwrap().push(batch));
                });
            }
            while queue.lock().waiting.len() < 3 {
                std::thread::yield_now();
            }
            go.send(()).unwrap();
        });
        let mut batches = batches.into_inner().unwrap();
        assert_eq!(batches.len(), 2);
        batches[1].sort_unstable();
        assert_eq!(batches, [vec![0], vec![1, 2, 3]]);
    }

    #[test]
    fn a_commit_that_panics_holds_up_nobody() {
        let queue = CommitQueue::default();
        let lead = || queue.submit(1, |_| panic!("in a commit"));
        assert!(catch_unwind(AssertUnwindSafe(lead)).is_err());
        let mut seen = Mutex::new(Vec::new());
        queue.submit(2, |batch| seen.lock().unwrap().extend(batch));
        assert_eq!(*seen.get_mut().unwrap(), [2]);
    }
}
