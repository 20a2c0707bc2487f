//! [`Route`]: how a connection is made.

use std::path::Path;
use std::time::Duration;

use carrack_schema::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

#[cfg(feature = "tls")]
use super::tls::Tls;
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
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

/// A stream of any kind.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}

impl Route {
    /// Prepares the way. `ca_file` names whom to trust with TLS.
    ///
    /// # Errors
    /// If nobody can be trusted; or the address asks for TLS, which this was built without.
    #[cfg(feature = "tls")]
    pub(crate) fn new(address: Address, ca_file: Option<&Path>) -> Result<Self> {
        let tls = match &address {
            Address::Tls { host, .. } => Some(Tls::new(host, ca_file)?),
            Address::Unix(_) | Address::Tcp(_) => None,
        };
        Ok(Self { address, tls })
    }

    /// Prepares the way.
    ///
    /// # Errors
    /// If the address asks for TLS, which this was built without.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(address: Address, _ca_file: Option<&Path>) -> Result<Self> {
        if let Address::Tls { .. } = address {
            let words = format!("this was built without TLS, which {address} asks for");
            return Err(Error::new(Code::InvalidArgument, words));
        }
        Ok(Self { address })
    }

    /// Connects, once.
    ///
    /// # Errors
    /// `unavailable` if nothing listens there, it does not answer in time, or is not whom it should be.
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
            #[cfg(feature = "tls")]
            Address::Tls { port, .. } => match &self.tls {
                Some(tls) => Box::new(tls.connect(*port).await?),
                None => return Err(std::io::ErrorKind::Unsupported.into()),
            },
            #[cfg(not(feature = "tls"))]
            Address::Tls { .. } => return Err(std::io::ErrorKind::Unsupported.into()),
        })
    }

    fn unreachable(&self, error: &std::io::Error) -> Error {
        let address = &self.address;
        let words = match error.kind() {
            // What TLS says: a certificate of another host, an unknown issuer, no TLS at all.
            std::io::ErrorKind::InvalidData => format!("no trusted store at {address}: {error}"),
            _ => format!("no store answers at {address} ({error}); start one with `carrack serve`"),
        };
        Error::new(Code::Unavailable, words)
    }
}
