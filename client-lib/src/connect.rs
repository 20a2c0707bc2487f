//! [`Client`]: a connection to a store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::actor::{self, Command, GATE, Hop};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::handle::{Handle, Session, Shared};

/// A connection to a store. Cheap to clone; the connection closes when the last clone and the last handle made
/// from it are gone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// The task that drives a connection made by [`Client::local`]; poll it on a [`LocalSet`].
pub type Connection = std::pin::Pin<Box<dyn Future<Output = ()>>>;

impl Client {
    /// Connects to a listening store; the connection gets a thread of its own.
    ///
    /// # Errors
    /// If nothing listens there.
    pub async fn connect(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|e| unreachable(address, &e))?;
                Self::over(stream.into_std()?, UnixStream::from_std)
            }
            Address::Tcp(tcp) => {
                let stream = TcpStream::connect(tcp)
                    .await
                    .map_err(|e| unreachable(address, &e))?;
                // A pipelined call is a small write whose answer is waited for: never hold it back.
                stream.set_nodelay(true)?;
                Self::over(stream.into_std()?, TcpStream::from_std)
            }
        }
    }

    /// Talks to a store over a stream that `adopt` makes out of `source` on the connection's own thread.
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("carrack-client".into())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, async move {
                    match adopt(source) {
                        Ok(stream) => actor::run(stream, commands).await,
                        Err(error) => {
                            tracing::warn!(%error, "cannot use the connection to the store")
                        }
                    }
                });
            })?;
        Ok(client)
    }

    /// Talks to a store over `stream`; the caller drives the connection on a [`LocalSet`] of its own.
    pub fn local(stream: impl AsyncRead + AsyncWrite + 'static) -> (Self, Connection) {
        let (client, commands) = Self::new();
        (client, Box::pin(actor::run(stream, commands)))
    }

    fn new() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            commands,
            next_id: AtomicU64::new(GATE + 1),
        });
        (Self { shared }, inbox)
    }

    /// Logs in. The credential of a local store's owner is the empty text.
    ///
    /// A refused credential shows as an error of the first leaf that is called on what this returns.
    pub fn login(&self, credential: &str) -> Session {
        Session(Handle::open(
            self.shared.clone(),
            GATE,
            Hop::Session {
                credential: credential.to_owned(),
            },
        ))
    }
}

fn unreachable(address: &Address, error: &std::io::Error) -> Error {
    Error::new(
        carrack_schema::Code::Unavailable,
        format!("no store answers at {address} ({error}); start one with `carrack serve`"),
    )
}
