//! Servers as child processes: what the child does, and the parent's [`Server`], which reads its clock and memory.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use carrack_client::Address;
use carrack_store::{DataFolder, Owner, Settings};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use super::carrack::issue_token;
use super::door::{Door, Doors, Listeners, Place};
use super::load::block_on;
use super::{echo, grpc, http};
use crate::engine::opened_in;
use crate::task::Task;
use crate::{child, say};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Program {
    Carrack,
    Echo,
    Grpc,
    Http,
}

impl Program {
    pub(crate) const ALL: [Self; 4] = [Self::Carrack, Self::Echo, Self::Grpc, Self::Http];
}

/// What a server's process does: it serves the store in `folder` until its stdin ends.
pub(crate) fn serve(program: Program, folder: &Path, core: Option<usize>) -> Result<()> {
    if let Some(core) = core {
        pin(core)?;
    }
    if program == Program::Carrack {
        return serve_carrack(folder);
    }
    let sockets = tempfile::tempdir()?;
    let (ready, doors) = std::sync::mpsc::channel();
    let (folder, place) = (folder.to_owned(), sockets.path().to_owned());
    std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let served = LocalSet::new().block_on(&runtime, async {
            let listeners = Listeners::bind(&place).await?;
            ready.send(listeners.doors.clone())?;
            match program {
                Program::Grpc => grpc::serve(listeners, opened_in(&folder)?).await,
                Program::Http => http::serve(listeners, opened_in(&folder)?).await,
                Program::Echo | Program::Carrack => echo::serve(listeners).await,
            }
        });
        if let Err(error) = &served {
            crate::note(&format!("{program:?} ended: {error:#}"));
        }
        served
    });
    announce(&doors.recv().context("the server did not start")?)
}

/// One worker thread, like the others; the port is one more door of a whole server, with all its threads.
fn serve_carrack(folder: &Path) -> Result<()> {
    let settings = Settings {
        listen: vec!["127.0.0.1:0".parse()?],
        workers: 1,
        ..Settings::default()
    };
    let owner = Owner::start(&DataFolder::new(folder), &settings)?;
    let (mut unix, mut tcp) = (None, None);
    for address in owner.addresses() {
        if let Address::Unix(path) = address {
            unix = Some(path.clone());
        } else if let Address::Tcp(address) = address {
            tcp = Some(*address);
        }
    }
    announce(&Doors {
        unix: unix.context("our server has no unix socket")?,
        tcp: tcp.context("our server has no port")?,
    })?;
    owner.shutdown();
    Ok(())
}

/// Says where it listens and waits for the parent to let go.
fn announce(doors: &Doors) -> Result<()> {
    say(&serde_json::to_string(doors)?)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Returns the cores of servers and of the load: the load has the last to itself, and the servers the first; the rest
/// runs where it may.
pub(crate) fn cores() -> Result<(Option<usize>, Option<usize>)> {
    Ok(match std::thread::available_parallelism()?.get() {
        1 => (None, None),
        cores => (Some(0), Some(cores - 1)),
    })
}

/// Keeps this thread, and those it starts, on one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

/// Lets this process and its children open as many files as it may.
pub(crate) fn raise_file_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// A server in a child process. Dropping it ends the process.
pub(crate) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Open until the end: its last line goes there.
    _stdout: BufReader<ChildStdout>,
    doors: Doors,
    /// For its port, where it asks for one.
    token: String,
    clock: ClockId,
}

impl Server {
    /// Starts one, on a core of its own if one is named.
    pub(crate) fn start(program: Program, folder: &Path, core: Option<usize>) -> Result<Self> {
        Self::start_below(&[], program, folder, core)
    }

    /// Starts one below another program, such as valgrind.
    pub(crate) fn start_below(
        below: &[&str],
        program: Program,
        folder: &Path,
        core: Option<usize>,
    ) -> Result<Self> {
        let task = Task::Serve {
            program,
            folder: folder.to_owned(),
            core,
        };
        let mut child = child::start_below(below, &task)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a child without stdout")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Ok(doors) = serde_json::from_str::<Doors>(&line) else {
            drop(stdin);
            bail!("{program:?} did not start ({})", child.wait()?);
        };
        let token = match program {
            Program::Carrack => {
                let unix = doors.place(Door::Unix, "");
                block_on(async { issue_token(&unix).await })?
            }
            _ => String::new(),
        };
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Self {
            clock: ClockId::pid_cpu_clock_id(pid)?,
            child,
            stdin,
            _stdout: stdout,
            doors,
            token,
        })
    }

    pub(crate) fn place(&self, door: Door) -> Place {
        self.doors.place(door, &self.token)
    }

    /// Returns the CPU time of all its threads so far, those that have ended among them.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }

    /// Returns the bytes of its memory that are resident.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        crate::measure::status_bytes(&status, "VmRSS:")
    }

    /// Ends it and returns what it said on stderr.
    pub(crate) fn end(mut self) -> Result<String> {
        drop(self.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a server failed ({status}): {said}");
        Ok(said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Nothing is left to do about one that cannot be waited for.
        let _ended = self.child.wait();
    }
}
