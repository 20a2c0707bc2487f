//! [`drive`]: a connection from its beginning to its end, whatever happens in it.
//!
//! A method that panics is answered with an error ([`answer`](super::error::answer)); what unwinds all the same, out of
//! the RPC library itself, ends here. The library's tables hold each other, so an `RpcSystem` that is only dropped leaks
//! them and what they hold, with the sinks of uploads and the socket: it must be told to disconnect first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use carrack_schema::Code;
use futures::FutureExt;

/// How long a connection gets to take its last answers, when the server stops or a panic ended it.
const GOODBYE: Duration = Duration::from_secs(1);

/// Drives a connection until its peer leaves, it fails, or `stop` is there; then lets go of all it holds.
///
/// # Errors
/// If it ended otherwise than by its peer's leaving or by `stop`.
pub(super) async fn drive(
    mut system: RpcSystem<Side>,
    stop: impl Future<Output = ()>,
) -> capnp::Result<()> {
    let ended = {
        let mut stop = pin!(stop);
        let mut running = pin!(guarded(&mut system));
        futures::future::poll_fn(|context| {
            if let Poll::Ready(ended) = running.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            stop.as_mut().poll(context).map(|()| None)
        })
        .await
    };
    let (result, is_running) = match ended {
        Some(Ended::Returned(result)) => (result, false),
        Some(Ended::Panicked) => (Err(panicked()), true),
        None => (Ok(()), true),
    };
    let let_go = AssertUnwindSafe(let_go(&mut system, is_running)).catch_unwind();
    if let_go.await.is_err() || catch_unwind(AssertUnwindSafe(|| drop(system))).is_err() {
        tracing::error!("a connection panicked again as it ended");
    }
    result
}

/// Disconnects, which empties the library's tables. A connection that runs still has its last answers flushed; a peer
/// that takes none is not waited for.
async fn let_go(system: &mut RpcSystem<Side>, is_running: bool) {
    let mut disconnect = system.get_disconnector();
    if !is_running {
        // Its first poll does all but the waiting, and nobody drives what would be waited for.
        let _waiting = (&mut disconnect).now_or_never();
        return;
    }
    let goodbye = async {
        // What is ready is answered first.
        tokio::select! {
            biased;
            _ = guarded(system) => {}
            _ = disconnect => {}
        }
    };
    let _slow = tokio::time::timeout(GOODBYE, goodbye).await;
}

enum Ended {
    Returned(capnp::Result<()>),
    Panicked,
}

async fn guarded(system: &mut RpcSystem<Side>) -> Ended {
    match AssertUnwindSafe(system).catch_unwind().await {
        Ok(result) => Ended::Returned(result),
        Err(_) => {
            tracing::error!("a connection panicked");
            Ended::Panicked
        }
    }
}

fn panicked() -> capnp::Error {
    capnp::Error::failed(format!("{}: a connection panicked", Code::Internal))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use capnp_rpc::{new_client, twoparty};
    use carrack_schema::wire::store_capnp::{gate, session};
    use tokio::net::UnixStream;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::rpc::bounds::Bounds;
    use crate::rpc::connection::{Connection, Permit, Totals};
    use crate::rpc::network::Network;

    /// Objects that live.
    static OBJECTS: AtomicUsize = AtomicUsize::new(0);

    /// An object whose methods panic past the first net.
    struct Panics(Rc<Connection>, #[expect(dead_code, reason = "held")] Permit);

    impl Panics {
        fn new(connection: Rc<Connection>) -> Self {
            OBJECTS.fetch_add(1, Ordering::Relaxed);
            let seat = connection.seat().unwrap();
            Self(connection, seat)
        }
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            OBJECTS.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl gate::Server for Panics {
        async fn login(
            self: Rc<Self>,
            _params: gate::LoginParams,
            mut results: gate::LoginResults,
        ) -> capnp::Result<()> {
            self.0.logged_in();
            let session = Self::new(self.0.clone());
            results.get().set_session(new_client(session));
            Ok(())
        }
    }

    impl session::Server for Panics {
        async fn about(
            self: Rc<Self>,
            _params: session::AboutParams,
            _results: session::AboutResults,
        ) -> capnp::Result<()> {
            tokio::task::yield_now().await;
            panic!("past the first net")
        }
    }

    /// Returns a client, and what drives it.
    fn client(stream: UnixStream) -> (gate::Client, tokio::task::JoinHandle<()>) {
        let (input, output) = futures::AsyncReadExt::split(stream.compat());
        let options = capnp::message::ReaderOptions::new();
        let network = twoparty::VatNetwork::new(input, output, Side::Client, options);
        let mut system = RpcSystem::new(Box::new(network), None);
        let gate = system.bootstrap(Side::Server);
        (gate, tokio::task::spawn_local(system.map(drop)))
    }

    /// Returns what the process's open descriptors are; a socket has its number in its name.
    fn descriptors() -> Vec<PathBuf> {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        // One may be closed meanwhile by another test.
        open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .collect()
    }

    #[test]
    fn a_panic_past_the_first_net_ends_one_connection_and_leaks_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let bounds = Arc::new(Bounds::default());
            let totals = Arc::new(Totals::new(&bounds));
            let mut connections = Vec::new();
            let mut sockets = Vec::new();
            let mut serve = || {
                let (ours, theirs) = UnixStream::pair().unwrap();
                let fd = theirs.as_raw_fd();
                sockets.push(std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap());
                let connection = Connection::new(bounds.clone(), totals.clone());
                connections.push(Rc::downgrade(&connection));
                let gate: gate::Client = new_client(Panics::new(connection.clone()));
                let network = Network::new(theirs, connection);
                let system = RpcSystem::new(Box::new(network), Some(gate.client));
                let driven = tokio::task::spawn_local(drive(system, std::future::pending()));
                (client(ours), driven)
            };
            let ((other, leaves), other_driven) = serve();
            for _ in 0..5 {
                let ((gate, _), driven) = serve();
                let session = gate.login_request().send().pipeline.get_session();
                // What else it holds: sessions, and a call that is under way.
                let held: Vec<_> = (0..3).map(|_| gate.login_request().send()).collect();
                let answer = session.about_request().send().promise.await;
                assert_eq!(
                    answer.err().unwrap().kind,
                    capnp::ErrorKind::Disconnected,
                    "the caller hears of it"
                );
                assert!(driven.await.unwrap().is_err());
                drop(held);
            }
            let answer = other.login_request().send().promise.await;
            assert!(answer.is_ok(), "another connection is served");
            drop((answer, other));
            leaves.abort();
            other_driven.await.unwrap().unwrap();
            tokio::task::yield_now().await;
            let open = descriptors();
            assert!(sockets.iter().all(|socket| !open.contains(socket)));
            assert_eq!(OBJECTS.load(Ordering::Relaxed), 0);
            for connection in connections {
                assert_eq!(connection.strong_count(), 0);
            }
        });
    }
}
