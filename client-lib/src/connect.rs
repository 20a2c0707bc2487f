//! [`Client`]: a way to a store; [`Connect`]: how it is found.

use std::path::PathBuf;
use std::sync::Arc;

use carrack_schema::wire::store_capnp as wire;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::actor::{self, Command, Route};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::handle::{Handle, Shared};
use crate::session::Session;

/// A way to a store. Cheap to clone; the connection closes when the last clone and the last handle made from it are
/// gone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// The task that drives a client made by [`Client::local`]; poll it on a [`LocalSet`]. It ends when the last handle is
/// gone or the connection is.
pub type Connection = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Starts the task that drives a client made by [`Client::elsewhere`]; call it on a [`LocalSet`] of the thread that is to
/// drive it.
pub type Start = Box<dyn FnOnce() -> Connection + Send>;

/// How to connect to a listening store.
#[derive(Clone, Debug)]
pub struct Connect {
    address: Address,
    ca_file: Option<PathBuf>,
    reconnect: bool,
}

/// Environment variable that names a file of certificate authorities, as [`Connect::ca_file`] does.
const CA_FILE: &str = "CARRACK_TLS_CA";

impl Connect {
    /// Names where the store listens.
    pub fn to(address: &Address) -> Self {
        Self {
            address: address.clone(),
            ca_file: std::env::var_os(CA_FILE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            reconnect: true,
        }
    }

    /// Names a PEM file of the certificate authorities to trust, of a `tls:` address. Else it is the one that the
    /// environment's `CARRACK_TLS_CA` names, else those that the platform trusts.
    #[must_use]
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        Self {
            ca_file: Some(path.into()),
            ..self
        }
    }

    /// Chooses whether a lost connection is made again by the next call; it is unless this says no.
    #[must_use]
    pub fn reconnect(self, reconnect: bool) -> Self {
        Self { reconnect, ..self }
    }

    /// Connects; the connection gets a thread of its own. One round trip of the transport, two with TLS, none of the
    /// protocol's.
    ///
    /// # Errors
    /// `unavailable` if nothing listens there, or if it is not whom it should be; `invalidArgument` for a CA file that
    /// cannot be used, and for a `tls:` address if this was built without TLS.
    pub async fn open(self) -> Result<Client> {
        let route = Route::new(self.address, self.ca_file.as_deref())?;
        let again = self.reconnect.then(|| route.clone());
        let (client, commands) = Client::new();
        let (reply, opened) = oneshot::channel();
        spawn(async move || {
            match route.open().await {
                Ok(stream) => {
                    // Whoever asked may have left; then the client is gone too, and this ends at once.
                    let _left = reply.send(Ok(()));
                    actor::run(stream, again, commands).await;
                }
                Err(error) => {
                    let _left = reply.send(Err(error));
                }
            }
        })?;
        opened.await.unwrap_or_else(|_| Err(Error::gone()))?;
        Ok(client)
    }
}

impl Client {
    /// Connects to a listening store, as [`Connect`] does with nothing further chosen. One round trip of the transport,
    /// two with TLS, none of the protocol's.
    ///
    /// # Errors
    /// `unavailable` if nothing listens there.
    pub async fn connect(address: &Address) -> Result<Self> {
        Connect::to(address).open().await
    }

    /// Talks to a store over a stream that `adopt` makes out of `source` on the connection's own thread. There is no way
    /// to make another, so a lost connection is the end of this client.
    ///
    /// Sockets belong to the runtime they were made on, and the connection has a runtime of its own; so the
    /// stream itself is made there.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn over<S, T>(
        source: S,
        adopt: impl FnOnce(S) -> std::io::Result<T> + Send + 'static,
    ) -> Result<Self>
    where
        S: Send + 'static,
        T: AsyncRead + AsyncWrite + 'static,
    {
        let (client, commands) = Self::new();
        spawn(async move || match adopt(source) {
            Ok(stream) => actor::run(stream, None, commands).await,
            Err(error) => {
                tracing::warn!(%error, "cannot use the connection to the store");
            }
        })?;
        Ok(client)
    }

    /// Talks to a store over `stream`; the caller drives the connection on a [`LocalSet`] of its own. A lost connection
    /// is the end of this client.
    pub fn local(stream: impl AsyncRead + AsyncWrite + 'static) -> (Self, Connection) {
        let (client, commands) = Self::new();
        (client, Box::pin(actor::run(stream, None, commands)))
    }

    /// As [`local`](Self::local), with the connection to be started on another thread: on that of whoever answers, no call
    /// waits for one thread to wake another.
    pub fn elsewhere(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> (Self, Start) {
        let (client, commands) = Self::new();
        let start = move || Box::pin(actor::run(stream, None, commands)) as Connection;
        (client, Box::new(start))
    }

    fn new() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let shared = Shared::new(commands);
        (Self { shared }, inbox)
    }

    /// Logs in with a token, or with the empty text where the store's own socket makes whoever opens it its owner.
    ///
    /// A refused credential shows as an error of the first leaf that is called on what this returns. Nothing is sent
    /// before that; after the connection was lost, the next call logs in again.
    pub fn login(&self, credential: &str) -> Session {
        let credential = credential.to_owned();
        Session(Handle::root(
            &self.shared,
            move |gate: wire::gate::Client| {
                let mut request = gate.login_request();
                request.get().set_credential(&credential);
                request.send().pipeline.get_session()
            },
        ))
    }

    /// Opens a session with a token that was given to this program. As [`login`](Self::login), but the empty text is never
    /// the owner's authority.
    pub fn restore(&self, token: &str) -> Session {
        let token = token.to_owned();
        Session(Handle::root(
            &self.shared,
            move |gate: wire::gate::Client| {
                let mut request = gate.restore_request();
                request.get().set_token(&token);
                request.send().pipeline.get_session()
            },
        ))
    }
}

/// Runs a task that may not leave its thread on one of its own.
fn spawn<F: Future<Output = ()>>(task: impl FnOnce() -> F + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("carrack-client".into())
        .spawn(move || LocalSet::new().block_on(&runtime, task()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Calls that are under way at once unless the server says otherwise.
    const CALLS: usize = 256;

    #[test]
    fn what_waits_for_the_actor_is_bounded_by_permits() {
        // Nobody takes anything out.
        let (client, inbox) = Client::new();
        let store = client.login("").store();
        let hops: Vec<_> = (0..1_000).map(|i| store.repo(&i.to_string())).collect();
        assert_eq!(inbox.len(), 0, "hops are not sent");
        let mut leaves: Vec<_> = (0..1_000).map(|_| Box::pin(store.stats())).collect();
        for leaf in &mut leaves {
            assert!(leaf.now_or_never().is_none());
        }
        assert_eq!(inbox.len(), CALLS);
        drop(leaves);
        drop((hops, store));
        assert_eq!(inbox.len(), CALLS, "what was not opened is not released");
    }

    #[test]
    fn streams_do_not_take_the_permits_of_calls() {
        let (client, inbox) = Client::new();
        let store = client.login("").store();
        let mut exports: Vec<_> = (0..100).map(|_| store.repo("a").export()).collect();
        assert_eq!(inbox.len(), 0, "nothing begins before it is asked for");
        for export in &mut exports {
            assert!(export.next().now_or_never().is_none());
        }
        let streams = inbox.len();
        assert!(streams < exports.len());
        assert!(store.stats().now_or_never().is_none());
        assert_eq!(inbox.len(), streams + 1);
    }
}
