//! [`Route`]: how a connection is made.

use std::path::Path;
use std::time::Duration;

use carrack_schema::Code;
use carrack_schema::limits::{
    KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES,
};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};

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
            Address::Tcp(address) => Box::new(tcp(address).await?),
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

/// Connects by TCP.
pub(super) async fn tcp(address: impl ToSocketAddrs) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A pipelined call is a small write whose answer is waited for: never hold it back.
    stream.set_nodelay(true)?;
    // Nor wait for ever for an answer of a store that has gone without a word.
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(KEEPALIVE_IDLE_SECONDS))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(KEEPALIVE_INTERVAL_SECONDS))?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_store_is_asked_whether_it_is_there() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = tcp(listener.local_addr().unwrap()).await.unwrap();
            assert!(stream.nodelay().unwrap());
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            let seconds = |time: rustix::io::Result<Duration>| time.unwrap().as_secs();
            let idle = seconds(sockopt::tcp_keepidle(&stream));
            let interval = seconds(sockopt::tcp_keepintvl(&stream));
            let probes = sockopt::tcp_keepcnt(&stream).unwrap();
            assert_eq!(
                (idle, interval, probes),
                (
                    KEEPALIVE_IDLE_SECONDS,
                    KEEPALIVE_INTERVAL_SECONDS,
                    KEEPALIVE_PROBES
                )
            );
        });
    }
}
