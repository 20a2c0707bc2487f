//! [`Route`]: how a connection is made.

use std::time::Duration;

use carrack_schema::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::error::{Error, Result};

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + 'static {}

impl<S: AsyncRead + AsyncWrite + 'static> Stream for S {}

/// The way to a store.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    address: Address,
}

impl Route {
    pub(crate) fn new(address: Address) -> Self {
        Self { address }
    }

    /// Connects, once.
    ///
    /// # Errors
    /// `unavailable` if nothing listens there, or does not answer in time.
    pub(crate) async fn open(&self) -> Result<Box<dyn Wire>> {
        let connected = tokio::time::timeout(ATTEMPT, self.connect()).await;
        connected
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|error| self.unreachable(&error))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Wire>> {
        Ok(match &self.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // A pipelined call is a small write whose answer is waited for: never hold it back.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Address::Tls { .. } => return Err(std::io::ErrorKind::Unsupported.into()),
        })
    }

    fn unreachable(&self, error: &std::io::Error) -> Error {
        let address = &self.address;
        Error::new(
            Code::Unavailable,
            format!("no store answers at {address} ({error}); start one with `carrack serve`"),
        )
    }
}

/// A stream of any kind.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}
