//! [`Worker`]: a thread that serves the connections it is dealt.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use carrack_client::Start;
use carrack_schema::limits::LOGIN_SECONDS_MAX;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsAcceptor;

use super::Stage;
use super::door::{Door, Entrance};
use super::listener::Socket;
use super::places::Place;
use crate::pool::Lanes;
use crate::rpc::Service;

pub(super) struct Worker {
    pub(super) inbox: mpsc::UnboundedSender<Incoming>,
    pub(super) thread: JoinHandle<()>,
}

/// A connection on its way to its worker.
pub(super) struct Incoming {
    pub(super) arrival: Arrival,
    pub(super) door: Door,
    /// Held as long as the connection; one from within this process needs none.
    pub(super) _place: Option<Place>,
}

pub(super) enum Arrival {
    Socket(Socket),
    /// From this process, and its client's side.
    Inside(DuplexStream, Start),
}

impl Worker {
    pub(super) fn start(
        number: usize,
        service: Service,
        lanes: Lanes,
        stages: watch::Receiver<Stage>,
    ) -> io::Result<Self> {
        let (inbox, incoming) = mpsc::unbounded_channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name(format!("carrack-worker-{number}"))
            .spawn(move || {
                LocalSet::new().block_on(&runtime, work(service, lanes, incoming, stages))
            })?;
        Ok(Self { inbox, thread })
    }
}

/// Serves the connections a worker is dealt until told to stop.
async fn work(
    service: Service,
    lanes: Lanes,
    mut incoming: mpsc::UnboundedReceiver<Incoming>,
    mut stages: watch::Receiver<Stage>,
) {
    let mut connections = JoinSet::new();
    let leaving = stages.clone();
    loop {
        tokio::select! {
            connection = incoming.recv() => {
                let Some(connection) = connection else { break };
                let guest = Guest {
                    service: service.clone(),
                    entrance: Entrance::with_lane(connection.door, lanes.open()),
                    stages: leaving.clone(),
                };
                connections.spawn_local(async move {
                    let Incoming { arrival, _place, .. } = connection;
                    if let Err(error) = guest.adopt(arrival).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
            _ = stages.wait_for(|stage| *stage == Stage::Stopping) => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

/// What serving one connection takes.
struct Guest {
    service: Service,
    entrance: Entrance,
    stages: watch::Receiver<Stage>,
}

impl Guest {
    /// Makes a dealt socket one of this worker's and serves it.
    async fn adopt(mut self, arrival: Arrival) -> capnp::Result<()> {
        match arrival {
            Arrival::Inside(stream, start) => {
                let client = tokio::task::spawn_local(start());
                let served = self.serve(stream).await;
                // Its stream has ended, and so does it; a panic of its own has been reported.
                let _ended = client.await;
                served
            }
            Arrival::Socket(Socket::Unix(stream)) => {
                self.serve(UnixStream::from_std(stream)?).await
            }
            Arrival::Socket(Socket::Tcp(stream, None)) => {
                self.serve(TcpStream::from_std(stream)?).await
            }
            Arrival::Socket(Socket::Tcp(stream, Some(acceptor))) => {
                let shaken = shake_hands(TcpStream::from_std(stream)?, acceptor);
                let stream = tokio::select! {
                    stream = shaken => stream?,
                    () = stopping(&mut self.stages) => return Ok(()),
                };
                self.serve(stream).await
            }
        }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + 'static) -> capnp::Result<()> {
        let entrance = self.entrance.clone();
        let stop = async {
            tokio::select! {
                () = stopping(&mut self.stages) => {}
                () = entrance.turned_away() => tracing::info!("too many logins failed"),
            }
        };
        self.service.serve(self.entrance, stream, stop).await
    }
}

async fn stopping(stages: &mut watch::Receiver<Stage>) {
    // A server that is gone stops too.
    let _gone = stages.wait_for(|stage| *stage == Stage::Stopping).await;
}

/// Makes a TLS connection, in the time that a login may take.
async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    acceptor: TlsAcceptor,
) -> io::Result<tokio_rustls::server::TlsStream<S>> {
    let deadline = Duration::from_secs(LOGIN_SECONDS_MAX);
    tokio::time::timeout(deadline, acceptor.accept(stream))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tls::{Certificate, TlsFiles};
    use super::*;

    #[test]
    fn a_handshake_that_stalls_ends_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let acceptor = Certificate::read(&files).unwrap().acceptor();
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (_silent, theirs) = tokio::io::duplex(1 << 10);
            let start = tokio::time::Instant::now();
            // Far later than the deadline, on a clock that does not wait.
            let shaken = shake_hands(theirs, acceptor);
            let ended = tokio::time::timeout(Duration::from_secs(3_600), shaken).await;
            let shaken = ended.expect("it ends");
            assert!(shaken.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
            assert_eq!(start.elapsed().as_secs(), LOGIN_SECONDS_MAX);
        });
    }
}
