//! The actor: the one task that owns a client's connection and every `!Send` capability on it.
//!
//! Its inbox is [`Command`]. Calls run as tasks that the actor owns; they end with it. A connection is a [`Link`]: when
//! one is lost, the next call makes another if the client knows the way, and handles are opened on it anew.

mod link;
mod route;
#[cfg(feature = "tls")]
mod tls;

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use carrack_schema::Code;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::handle::Job;

pub(crate) use link::Link;
pub(crate) use route::{Route, Stream};

/// All that can happen to the actor.
pub(crate) enum Command {
    /// Run a call's job.
    Run(Job),
    /// The last handle with this number is gone.
    Release(u64),
}

/// How often a new connection is tried before the calls that wait for it fail: with the pauses below some seven seconds,
/// in which a server can be started again.
pub(crate) const ATTEMPTS_MAX: u32 = 8;
/// The pause after the first connection that brought nothing, doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// And its end.
const PAUSE_MAX: Duration = Duration::from_secs(2);

type Connecting = Shared<LocalBoxFuture<'static, Result<Rc<Link>>>>;

/// What the tasks of a client share.
pub(crate) struct Actor {
    /// The way to another connection; none if the first is all there is.
    route: Option<Route>,
    current: RefCell<Option<Rc<Link>>>,
    /// The attempt that all calls wait for which need a connection now.
    connecting: RefCell<Option<Connecting>>,
    pauses: RefCell<Pauses>,
    /// Tasks that drive connections.
    drivers: RefCell<Vec<JoinHandle<()>>>,
}

/// Runs a client until its last handle is gone; without a way to another connection also until the first is lost.
pub(crate) async fn run(
    stream: impl Stream,
    route: Option<Route>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let (link, mut driver) = Link::start(stream);
    let actor = Rc::new(Actor {
        route,
        current: RefCell::new(Some(Rc::new(link))),
        connecting: RefCell::default(),
        pauses: RefCell::new(Pauses::new(Instant::now())),
        drivers: RefCell::default(),
    });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Run(job)) => {
                    tasks.spawn_local(job(actor.clone()));
                }
                Some(Command::Release(id)) => actor.release(id),
                None => break,
            },
            Some(_) = tasks.join_next() => {}
            _ = &mut driver, if actor.route.is_none() => return,
        }
    }
    // Nobody holds a handle: what was sent (releases, an abort) is flushed, and connections close.
    drop(tasks);
    actor.current.take();
    actor.connecting.take();
    if !driver.is_finished() {
        let _ended = driver.await;
    }
    for driver in actor.drivers.take() {
        let _ended = driver.await;
    }
}

impl Actor {
    /// Returns the live connection, made now if there is none and the client knows the way.
    ///
    /// # Errors
    /// `unavailable` if there is no way, or all attempts failed.
    pub(crate) async fn link(self: &Rc<Self>) -> Result<Rc<Link>> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let connecting = self.connecting.borrow().clone();
        let connecting = match connecting {
            Some(connecting) => connecting,
            None => {
                let route = self.route.clone().ok_or_else(Error::gone)?;
                let connecting = reconnect(Rc::downgrade(self), route).boxed_local().shared();
                self.connecting.replace(Some(connecting.clone()));
                connecting
            }
        };
        connecting.await
    }

    fn live(&self) -> Option<Rc<Link>> {
        let current = self.current.borrow();
        current.as_ref().filter(|link| link.is_alive()).cloned()
    }

    fn release(&self, id: u64) {
        let released = match &*self.current.borrow() {
            Some(link) => link.release(id),
            None => None,
        };
        drop(released);
    }

    /// Takes a connection out of use that brought an error, and returns whether another can be made.
    pub(crate) fn gives_up(&self, link: &Rc<Link>, error: &Error) -> bool {
        if self.route.is_none() {
            return false;
        }
        let is_current = |current: &Rc<Link>| Rc::ptr_eq(current, link);
        if self.current.borrow().as_ref().is_some_and(is_current) {
            tracing::info!(%error, "the connection to the store is lost; the next call makes another");
            let given_up = self.current.take();
            drop(given_up);
        }
        true
    }

    /// Notes what a connection brought: an answer proves that it was worth making.
    pub(crate) fn note<T>(&self, link: &Link, result: &Result<T>) {
        let is_answer = match result {
            Ok(_) => true,
            Err(error) => !error.is_unavailable(),
        };
        if is_answer && !link.was_proven() {
            self.pauses.replace(Pauses::new(Instant::now()));
        }
    }
}

/// Makes a new connection, by a bounded number of attempts.
async fn reconnect(actor: Weak<Actor>, route: Route) -> Result<Rc<Link>> {
    let gone = Error::gone;
    let mut last = Error::gone();
    let mut made = None;
    let mut attempts = 0;
    while made.is_none() && attempts < ATTEMPTS_MAX {
        attempts += 1;
        let due = {
            let actor = actor.upgrade().ok_or_else(gone)?;
            actor.pauses.borrow().due
        };
        tokio::time::sleep_until(due).await;
        actor
            .upgrade()
            .ok_or_else(gone)?
            .pauses
            .borrow_mut()
            .attempted(Instant::now());
        match route.open().await {
            Ok(stream) => made = Some(stream),
            Err(error) => last = error,
        }
    }
    let actor = actor.upgrade().ok_or_else(gone)?;
    actor.connecting.take();
    let stream = made.ok_or_else(|| {
        let words = format!("{}; {attempts} attempts failed", last.words());
        Error::new(Code::Unavailable, words)
    })?;
    let (link, driver) = Link::start(stream);
    let link = Rc::new(link);
    actor.current.replace(Some(link.clone()));
    let mut drivers = actor.drivers.borrow_mut();
    drivers.retain(|driver| !driver.is_finished());
    drivers.push(driver);
    Ok(link)
}

/// When the next connection may be tried. Pauses grow with every attempt until a connection brings an answer; so a
/// server that takes connections and ends them is not asked more often than one that takes none.
struct Pauses {
    attempts: u32,
    due: Instant,
}

impl Pauses {
    fn new(now: Instant) -> Self {
        Self {
            attempts: 0,
            due: now,
        }
    }

    fn attempted(&mut self, now: Instant) {
        let doubled = PAUSE_MIN.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        // Between half and all of it, so that the clients of a server that fell do not come back in step.
        self.due = now + doubled.min(PAUSE_MAX).mul_f64(0.5 + 0.5 * fraction());
    }
}

/// Returns a number from 0 to 1 that differs between clients: the standard library seeds each hasher at random.
fn fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let bits = RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_end_and_no_further() {
        let start = Instant::now();
        let mut pauses = Pauses::new(start);
        assert_eq!(pauses.due, start);
        for attempt in 0..40 {
            pauses.attempted(start);
            let full = PAUSE_MIN * (1 << attempt.min(10));
            let full = full.min(PAUSE_MAX);
            let pause = pauses.due - start;
            assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
        }
    }
}
