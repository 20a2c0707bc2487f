//! The servers, which are this program under another name, and the parent's [`Server`], which reads their clock.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::rpc::server::pin;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `carrack-mcp`, with everything that the shipped binary has.
    Gateway,
    /// An rmcp server with constants.
    Bare,
}

impl Program {
    const ALL: [Self; 2] = [Self::Gateway, Self::Bare];

    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "carrack-mcp",
            Self::Bare => "bare-mcp",
        }
    }

    /// Returns the server that this process was started as, if it is one.
    pub(crate) fn of_this_process() -> Option<Self> {
        let path = std::env::args_os().next()?;
        let name = Path::new(&path).file_name()?;
        let named = |program: &Self| name == program.name();
        Self::ALL.into_iter().find(named)
    }

    /// Serves until the client has gone, or until it is told to end.
    pub(crate) fn serve(self) -> Result<ExitCode> {
        match self {
            Self::Gateway => Ok(carrack_gateway::cli::main()),
            Self::Bare => super::bare::main().map(|()| ExitCode::SUCCESS),
        }
    }
}

/// A server in a child process. Dropping it ends the process.
pub(super) struct Server {
    child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<BufReader<ChildStdout>>,
    /// Where it listens, if it does.
    pub(super) address: Option<SocketAddr>,
    /// Open until the end: what it logs goes there.
    _stderr: Option<BufReader<ChildStderr>>,
    clock: ClockId,
}

impl Server {
    /// Starts one, on a core of its own if one is named, and waits for it to listen if it is to.
    pub(super) fn start(
        program: Program,
        arguments: &[String],
        core: Option<usize>,
    ) -> Result<Self> {
        let is_http = arguments.iter().any(|argument| argument == "--http");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg0(program.name())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // What is measured is not to hang on who measures.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARRACK_") {
                command.env_remove(name);
            }
        }
        if is_http {
            command.stderr(Stdio::piped());
        }
        let mut child = spawn(command, core)?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let mut server = Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            address: None,
            _stderr: None,
            clock: ClockId::pid_cpu_clock_id(pid)?,
            child,
        };
        if let Some(stderr) = server.child.stderr.take() {
            let mut stderr = BufReader::new(stderr);
            server.address = Some(listening(&mut stderr)?);
            server._stderr = Some(stderr);
        }
        Ok(server)
    }

    /// Returns the CPU time of all its threads so far, those that have ended among them.
    pub(super) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }
}

/// Starts a process that stays on a core with all its threads: a child has the cores of the thread that starts it.
fn spawn(mut command: Command, core: Option<usize>) -> Result<Child> {
    let started = std::thread::spawn(move || {
        core.map_or(Ok(()), pin)?;
        Ok(command.spawn()?)
    });
    started.join().expect("starting a process does not panic")
}

/// Reads what a server says until it has said where it listens.
fn listening(stderr: &mut impl BufRead) -> Result<SocketAddr> {
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(stderr.read_line(&mut line)? > 0, "a server did not start");
        if let Some(url) = line.trim().strip_prefix("listening on http://") {
            let address = url.strip_suffix("/mcp").context("another path")?;
            return Ok(address.parse()?);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended with its stdin.
            let _told = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        // Nothing is left to do about one that cannot be waited for.
        let _ended = self.child.wait();
    }
}
