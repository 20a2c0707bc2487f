//! MCP over standard input and output.
//!
//! stdout belongs to the protocol, but a dependency may print (capnp-rpc's task reaper does on errors). So the real
//! stdout is moved to a descriptor of ours and fd 1 is pointed at stderr before anything else runs: a stray print is
//! then a log line, not a broken message.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, stdin};
use tokio::net::unix::pipe;

use crate::server::Gateway;
use crate::transport::bounded::Bounded;
use crate::transport::told_to_end;

/// The process's real stdout, which nothing else can reach any more.
#[derive(Debug)]
pub struct Output(File);

/// Takes stdout for the protocol and leaves stderr in its place.
///
/// # Errors
/// If there is no stdout or no stderr.
pub fn take_stdout() -> io::Result<Output> {
    let real = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(Output(File::from(real)))
}

/// Serves one client until it closes stdin, or the process is told to end.
///
/// # Errors
/// If the client's first message is no MCP, or signals cannot be received.
pub async fn serve(gateway: Gateway, output: Output) -> io::Result<()> {
    gateway.serves_one_client();
    let end = told_to_end();
    tokio::pin!(end);
    let transport = AsyncRwTransport::new_server(input(), written(output));
    let starting = gateway.serve(Bounded::new(transport, has_left));
    let running = tokio::select! {
        // Signals first: they must have their handlers before the client has its first answer.
        biased;
        ended = &mut end => return ended,
        running = starting => running,
    };
    let running = match running {
        Ok(running) => running,
        // Started and closed without a word, as a health check does.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    let stop = running.cancellation_token();
    tokio::select! {
        quit = running.waiting() => quit.map(drop).map_err(io::Error::other),
        ended = &mut end => {
            stop.cancel();
            ended
        }
    }
}

/// Says whether the other end of stdin is closed. A file has none; its end is soon read.
fn has_left() -> bool {
    let closed = PollFlags::HUP | PollFlags::RDHUP;
    let stdin = rustix::stdio::stdin();
    let mut stdin = [PollFd::new(&stdin, closed)];
    let looked = poll(&mut stdin, Some(&Timespec::default()));
    looked.is_ok() && stdin.iter().any(|stdin| stdin.revents().intersects(closed))
}

type Input = Pin<Box<dyn AsyncRead + Send>>;
type Written = Pin<Box<dyn AsyncWrite + Send>>;

/// Returns standard input. A pipe, as clients start a server with, is waited for with the sockets; anything else is read
/// on a thread, to which each message would be a way there and back.
///
/// The pipe is opened anew: who else has this one does not expect it not to block.
fn input() -> Input {
    match pipe::OpenOptions::new().open_receiver("/proc/self/fd/0") {
        Ok(pipe) => Box::pin(pipe),
        Err(_) => Box::pin(stdin()),
    }
}

/// Returns the output, in the same way. Either way a client that does not read holds up nothing else.
fn written(output: Output) -> Written {
    let path = format!("/proc/self/fd/{}", output.0.as_raw_fd());
    match pipe::OpenOptions::new().open_sender(path) {
        Ok(pipe) => Box::pin(pipe),
        Err(_) => Box::pin(tokio::fs::File::from_std(output.0)),
    }
}
