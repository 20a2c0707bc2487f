//! [`Pool`]: threads for work that hashes, decompresses or goes through many rows, so that no worker waits for it.
//!
//! Each connection has a [`Lane`], and the lanes take turns: whoever queues a thousand calls delays another's by one of
//! them. A lane has few jobs in the pool at a time; the rest of its calls wait on their own worker, where they cost what
//! a call under way costs. Nothing of RPC is known here, and a job knows no connection: it owns what it needs and
//! returns what it made.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use carrack_schema::Code;
use carrack_schema::limits::{LANE_CALLS_MAX, LANE_JOBS_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::{Error, Result};

/// Threads and their queue. Dropping it without [`shutdown`](Self::shutdown) leaves the threads to the process's end.
#[derive(Debug)]
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that wait, by lane.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Told when there is a job, or no more will come.
    came: Condvar,
}

#[derive(Default)]
struct State {
    /// Those with a job, and no others.
    lanes: HashMap<u64, VecDeque<Job>>,
    /// The same lanes, the one whose turn is next in front.
    turns: VecDeque<u64>,
    lanes_made: u64,
    is_closed: bool,
}

/// A connection's place in the queue, on the connection's own thread. Its clones are one lane.
#[derive(Clone, Debug)]
pub(crate) struct Lane(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None does its work at once, where it is asked for.
    queue: Option<(Arc<Queue>, u64)>,
    places: Arc<Semaphore>,
    waiting: Cell<u32>,
}

/// A place among the jobs that a lane has in the pool; free again when dropped.
pub(crate) struct Turn {
    lane: Lane,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// If one cannot be started.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let start = |number| {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(format!("carrack-pool-{number}"))
                .spawn(move || queue.work())
        };
        let threads = (0..threads.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { queue, threads })
    }

    /// Returns what makes lanes of this pool, on any thread.
    pub(crate) fn lanes(&self) -> Lanes {
        Lanes(self.queue.clone())
    }

    /// Drops the jobs that wait, whose calls fail with `unavailable`, waits for those under way and joins the threads.
    pub(crate) fn shutdown(self) {
        let left = {
            let mut state = self.queue.state();
            state.is_closed = true;
            state.turns.clear();
            std::mem::take(&mut state.lanes)
        };
        drop(left);
        self.queue.came.notify_all();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the pool panicked");
            }
        }
    }
}

/// Makes lanes of a pool. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Lanes(Arc<Queue>);

impl Lanes {
    /// Opens a lane for a connection of this thread.
    pub(crate) fn open(&self) -> Lane {
        let mut state = self.0.state();
        state.lanes_made += 1;
        Lane::new(Some((self.0.clone(), state.lanes_made)))
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Jobs run outside of it, so nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job; gives it back if nobody would do it.
    fn push(&self, lane: u64, job: Job) -> Result<(), Job> {
        let mut state = self.state();
        if state.is_closed {
            return Err(job);
        }
        let state = &mut *state;
        let jobs = state.lanes.entry(lane).or_default();
        if jobs.is_empty() {
            state.turns.push_back(lane);
        }
        jobs.push_back(job);
        self.came.notify_one();
        Ok(())
    }

    /// Takes a job of the lane whose turn it is, and waits for one; none when the pool is closed.
    fn take(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.next() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state = self
                .came
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self) {
        while let Some(job) = self.take() {
            job();
        }
    }
}

impl State {
    fn next(&mut self) -> Option<Job> {
        let lane = self.turns.pop_front()?;
        let jobs = self.lanes.get_mut(&lane)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        job
    }
}

impl Lane {
    fn new(queue: Option<(Arc<Queue>, u64)>) -> Self {
        Self(Rc::new(Inner {
            queue,
            places: Arc::new(Semaphore::new(LANE_JOBS_MAX)),
            waiting: Cell::new(0),
        }))
    }

    /// Makes a lane of no pool, whose work is done at once: for a connection that shares its thread's paused clock.
    pub(crate) fn inline() -> Self {
        Self::new(None)
    }

    /// Waits until the pool may be given another job. Who is first here is done first.
    ///
    /// # Errors
    /// `overloaded` if too many wait already.
    pub(crate) async fn turn(&self) -> Result<Turn> {
        let waiting = self.0.waiting.get();
        if waiting >= LANE_CALLS_MAX {
            let words = format!(
                "{LANE_CALLS_MAX} calls of this connection wait for a thread; await some first"
            );
            return Err(Error::new(Code::Overloaded, words));
        }
        self.0.waiting.set(waiting + 1);
        // A call that is dropped while it waits is not counted any more.
        let _counted = Waits(&self.0);
        let place = self.0.places.clone().acquire_owned().await;
        let lane = self.clone();
        Ok(Turn {
            lane,
            _place: place.map_err(|_| closed())?,
        })
    }
}

struct Waits<'a>(&'a Inner);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Turn {
    /// Does work on a thread of the pool. Dropping this takes a job that nobody has begun out of the pool's hands; one
    /// under way goes on, and nobody hears how it ended.
    ///
    /// # Errors
    /// As the work; `internal` if it panics; `unavailable` if the pool is closed.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some((queue, lane)) = &self.lane.0.queue else {
            return caught(work);
        };
        let (reply, outcome) = oneshot::channel();
        let job = move || {
            if !reply.is_closed() {
                // A call that was dropped does not hear how it ended.
                let _left = reply.send(caught(work));
            }
        };
        queue.push(*lane, Box::new(job)).map_err(|_| closed())?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Does work whose panic is its own error.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a method panicked");
        Err(Error::new(Code::Internal, "a method panicked"))
    })
}

fn closed() -> Error {
    Error::new(
        Code::Unavailable,
        "the store is shutting down; try again when it is up",
    )
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.state().turns.len();
        f.debug_struct("Queue")
            .field("lanes_waiting", &waiting)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt;
    use futures::future::{join, join_all};

    use super::*;

    fn run<T>(body: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(body)
    }

    async fn job<T: Send + 'static>(
        lane: &Lane,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        lane.turn().await?.run(work).await
    }

    fn queued(pool: &Pool) -> usize {
        pool.queue.state().lanes.values().map(VecDeque::len).sum()
    }

    /// Holds up the only thread of a pool until it is told to go on.
    fn hold(lanes: &Lanes) -> (impl Future<Output = Result<()>>, mpsc::Sender<()>) {
        let (go, gone) = mpsc::channel();
        let lane = lanes.open();
        let held = async move {
            job(&lane, move || {
                gone.recv().unwrap();
                Ok(())
            })
            .await
        };
        (held, go)
    }

    #[test]
    fn lanes_take_turns_whatever_they_have_queued() {
        let pool = Pool::start(1).unwrap();
        let lanes = pool.lanes();
        let (greedy, other) = (lanes.open(), lanes.open());
        let done = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let done = done.clone();
            move || {
                done.lock().unwrap().push(name);
                Ok(())
            }
        };
        let (held, go) = hold(&lanes);
        run(async {
            // All are in the queue, in this order, before the thread is let go.
            let greedy = join_all((0..LANE_JOBS_MAX).map(|_| job(&greedy, note("greedy"))));
            let other = join_all((0..2).map(|_| job(&other, note("other"))));
            let go = async {
                while queued(&pool) < LANE_JOBS_MAX + 2 {
                    tokio::task::yield_now().await;
                }
                go.send(()).unwrap();
            };
            let ((held, ()), (greedy, other)) = join(join(held, go), join(greedy, other)).await;
            held.unwrap();
            assert!(greedy.into_iter().chain(other).all(|done| done.is_ok()));
        });
        let done = done.lock().unwrap();
        assert_eq!(done[..5], ["greedy", "other", "greedy", "other", "greedy"]);
        pool.shutdown();
    }

    #[test]
    fn a_lane_has_few_jobs_in_the_pool_and_many_calls_that_wait() {
        let pool = Pool::start(1).unwrap();
        let lanes = pool.lanes();
        let (held, go) = hold(&lanes);
        let greedy = lanes.open();
        run(async {
            let most = LANE_JOBS_MAX + LANE_CALLS_MAX as usize;
            let calls = async {
                let calls = join_all((0..most).map(|_| job(&greedy, || Ok(()))));
                let beyond = async {
                    let refused = greedy.turn().now_or_never();
                    let error = refused.expect("it does not wait").err().unwrap();
                    assert_eq!(error.code(), Code::Overloaded);
                    let queued = pool.queue.state().lanes.values().map(VecDeque::len).max();
                    assert_eq!(queued, Some(LANE_JOBS_MAX));
                    go.send(()).unwrap();
                };
                join(calls, beyond).await.0
            };
            let (held, calls) = join(held, calls).await;
            held.unwrap();
            assert!(calls.into_iter().all(|call| call.is_ok()));
            assert!(job(&greedy, || Ok(())).await.is_ok(), "there is room again");
        });
        pool.shutdown();
    }

    #[test]
    fn a_job_nobody_waits_for_is_not_done() {
        let pool = Pool::start(1).unwrap();
        let lanes = pool.lanes();
        let (held, go) = hold(&lanes);
        let lane = lanes.open();
        let (done, was_done) = mpsc::channel();
        run(async {
            let mut dropped = Box::pin(job(&lane, move || {
                done.send(()).unwrap();
                Ok(())
            }));
            let held = async {
                let (held, ()) = join(held, async {
                    assert!(futures::poll!(&mut dropped).is_pending());
                    drop(dropped);
                    go.send(()).unwrap();
                })
                .await;
                held
            };
            held.await.unwrap();
            // After it, on the same thread.
            assert_eq!(job(&lane, || Ok(7)).await.unwrap(), 7);
        });
        assert!(was_done.try_recv().is_err());
        pool.shutdown();
    }

    #[test]
    fn a_panic_is_its_jobs_error() {
        let pool = Pool::start(1).unwrap();
        for lane in [pool.lanes().open(), Lane::inline()] {
            run(async {
                let error = job(&lane, || -> Result<()> { panic!("inside") }).await;
                assert_eq!(error.unwrap_err().code(), Code::Internal);
                assert_eq!(job(&lane, || Ok(7)).await.unwrap(), 7);
            });
        }
        pool.shutdown();
    }

    #[test]
    fn a_pool_that_ends_lets_nobody_wait() {
        let pool = Pool::start(1).unwrap();
        let lanes = pool.lanes();
        let (held, go) = hold(&lanes);
        let lane = lanes.open();
        run(async {
            let mut held = Box::pin(held);
            let mut waits = Box::pin(job(&lane, || Ok(())));
            assert!(futures::poll!(&mut held).is_pending());
            // The thread has the first, so that it is the second that is left in the queue.
            while !pool.queue.state().turns.is_empty() {
                std::thread::yield_now();
            }
            assert!(futures::poll!(&mut waits).is_pending());
            let ends = std::thread::spawn(move || pool.shutdown());
            assert_eq!(waits.await.unwrap_err().code(), Code::Unavailable);
            go.send(()).unwrap();
            held.await.unwrap();
            ends.join().unwrap();
            let late = job(&lane, || Ok(())).now_or_never();
            let error = late.expect("it does not wait").unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
        });
    }
}
