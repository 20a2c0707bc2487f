//! The load: keys asked for on some connections at some depth, and what the server spent on it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use carrack_schema::{Did, RecordPath};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};

use super::door::Place;
use super::server::Server;

/// How long the first call of a slice may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record to ask for, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) did: Did,
    pub(crate) path: RecordPath,
    /// Its DAG-CBOR.
    pub(crate) value: Vec<u8>,
}

/// A peer's client: one connection.
pub(crate) trait Getter: Sized + 'static {
    /// Whether one connection takes several calls at a time.
    const MULTIPLEXES: bool = true;

    /// Connects, and does once what is done once a connection.
    async fn connect(place: &Place, keys: Rc<[Key]>) -> Result<Self>;

    /// Asks for a key, which is the one at `at`, and appends the answer.
    async fn get(&self, key: &Key, at: usize, out: &mut Vec<u8>) -> Result<()>;

    /// Says whether an answer is right.
    fn check(key: &Key, out: &[u8]) -> Result<bool> {
        Ok(out == key.value)
    }
}

/// How many calls are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// On each connection.
    pub(crate) depth: usize,
}

impl Shape {
    pub(crate) const fn new(connections: usize, depth: usize) -> Self {
        Self { connections, depth }
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Before anything counts.
    pub(crate) warm: Duration,
    pub(crate) counted: Duration,
}

/// What a slice showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Of the server, user and system, all threads, in microseconds a call.
    pub(crate) cpu_us: f64,
    /// Calls a second.
    pub(crate) rate: f64,
}

/// Runs something on a thread's own runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}

async fn connections<G: Getter>(
    place: &Place,
    shape: Shape,
    keys: &Rc<[Key]>,
) -> Result<Vec<Rc<G>>> {
    let count = match G::MULTIPLEXES {
        true => shape.connections,
        false => shape.connections * shape.depth,
    };
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Rc::new(G::connect(place, keys.clone()).await?));
    }
    Ok(clients)
}

/// Asks for every key once and compares the answers.
pub(crate) fn check<G: Getter>(place: &Place, keys: &[Key]) -> Result<()> {
    block_on(async {
        let client = G::connect(place, keys.into()).await?;
        for (at, key) in keys.iter().enumerate() {
            let mut out = Vec::new();
            client.get(key, at, &mut out).await?;
            ensure!(
                G::check(key, &out)?,
                "{place:?} gave something else for {}",
                key.path
            );
        }
        Ok(())
    })
}

/// Keeps calls under way for a slice of time.
pub(crate) fn drive<G: Getter>(
    server: &Server,
    place: &Place,
    shape: Shape,
    slice: Slice,
    keys: &[Key],
) -> Result<Load> {
    block_on(async {
        let mut callers = Callers::start::<G>(place, shape, keys, None).await?;
        tokio::time::sleep(slice.warm).await;
        let (cpu, calls, start) = (server.cpu()?, callers.done.get(), Instant::now());
        tokio::time::sleep(slice.counted).await;
        // A short slice and a slow machine: one call must be in it.
        while callers.done.get() == calls && start.elapsed() < PATIENCE {
            tokio::time::sleep(slice.counted).await;
        }
        let cpu_s = (server.cpu()? - cpu).as_secs_f64();
        let seconds = start.elapsed().as_secs_f64();
        let calls = (callers.done.get() - calls) as f64;
        callers.stop.set(true);
        callers.join().await?;
        ensure!(calls > 0.0, "no call was answered in {PATIENCE:?}");
        Ok(Load {
            cpu_us: cpu_s * 1e6 / calls,
            rate: calls / seconds,
        })
    })
}

/// Makes a number of calls.
pub(crate) fn make<G: Getter>(
    place: &Place,
    shape: Shape,
    calls: usize,
    keys: &[Key],
) -> Result<()> {
    block_on(async {
        let mut callers = Callers::start::<G>(place, shape, keys, Some(calls)).await?;
        callers.join().await
    })
}

/// Tasks that each make one call after the other.
struct Callers {
    tasks: JoinSet<Result<()>>,
    done: Rc<Cell<usize>>,
    stop: Rc<Cell<bool>>,
}

impl Callers {
    async fn start<G: Getter>(
        place: &Place,
        shape: Shape,
        keys: &[Key],
        calls: Option<usize>,
    ) -> Result<Self> {
        let keys: Rc<[Key]> = keys.into();
        let clients = connections::<G>(place, shape, &keys).await?;
        let mut callers = Self {
            tasks: JoinSet::new(),
            done: Rc::default(),
            stop: Rc::default(),
        };
        let begun = Rc::new(Cell::new(0));
        for number in 0..shape.connections * shape.depth {
            let client = clients[number % clients.len()].clone();
            let (keys, begun) = (keys.clone(), begun.clone());
            let (done, stop) = (callers.done.clone(), callers.stop.clone());
            callers.tasks.spawn_local(async move {
                let mut out = Vec::new();
                while !stop.get() && calls.is_none_or(|calls| begun.get() < calls) {
                    let at = begun.replace(begun.get() + 1) % keys.len();
                    out.clear();
                    client.get(&keys[at], at, &mut out).await?;
                    ensure!(!out.is_empty(), "an empty answer");
                    done.set(done.get() + 1);
                }
                Ok(())
            });
        }
        Ok(callers)
    }

    async fn join(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a caller panicked")??;
        }
        Ok(())
    }
}
