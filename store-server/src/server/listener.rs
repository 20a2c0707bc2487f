//! [`Listener`]: where a server listens, and how what comes in there is made ready for its worker.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use carrack_client::Address;
use carrack_schema::Code;
use carrack_schema::limits::{
    KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES,
};
use rustix::net::sockopt;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::door::Door;
use super::tls::{Certificate, TlsFiles};
use crate::error::{Error, Result};

const KEEPALIVE_IDLE: Duration = Duration::from_secs(KEEPALIVE_IDLE_SECONDS);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(KEEPALIVE_INTERVAL_SECONDS);

/// Where a server is to listen.
#[derive(Debug, Default)]
pub(crate) struct Listen {
    /// Unix sockets that are bound already.
    pub(crate) unix: Vec<(PathBuf, std::os::unix::net::UnixListener)>,
    /// TCP addresses that speak plainly, unless there is a certificate.
    pub(crate) tcp: Vec<SocketAddr>,
    /// TCP addresses that must have a certificate.
    pub(crate) tls: Vec<SocketAddr>,
    /// What TLS shows. Where it is given, every TCP address speaks TLS.
    pub(crate) certificate: Option<TlsFiles>,
    /// Whether an address that is not loopback may speak plainly.
    pub(crate) insecure: bool,
}

/// What a server listens on.
pub(super) struct Listening {
    pub(super) bound: Vec<Bound>,
    pub(super) addresses: Vec<Address>,
    /// What TLS shows, if any address speaks it.
    pub(super) certificate: Option<Certificate>,
}

/// A socket that listens, not yet of any runtime.
pub(super) enum Bound {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener, Option<Certificate>),
}

/// A socket that listens.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener, Option<Certificate>),
}

/// What came in, on its way to its worker.
pub(super) enum Socket {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream, Option<TlsAcceptor>),
}

impl Listen {
    /// Binds everything, and says where it listens; a port that was asked for as 0 is the one it got.
    ///
    /// # Errors
    /// If an address cannot be bound, or may not be served as it was asked for.
    pub(super) fn bind(self) -> Result<Listening> {
        let certificate = self.read_certificate()?;
        let (mut bound, mut addresses) = (Vec::new(), Vec::new());
        for (path, listener) in self.unix {
            listener.set_nonblocking(true).map_err(super::not_started)?;
            addresses.push(Address::Unix(path));
            bound.push(Bound::Unix(listener));
        }
        for address in self.tcp.into_iter().chain(self.tls) {
            let listener = bind_tcp(address)?;
            let address = listener.local_addr().map_err(super::not_started)?;
            addresses.push(match certificate {
                None => Address::Tcp(address),
                Some(_) => Address::Tls {
                    host: address.ip().to_string(),
                    port: address.port(),
                },
            });
            bound.push(Bound::Tcp(listener, certificate.clone()));
        }
        Ok(Listening {
            bound,
            addresses,
            certificate,
        })
    }

    /// Reads the certificate, or makes sure that none is needed.
    fn read_certificate(&self) -> Result<Option<Certificate>> {
        let contradiction = |words: String| Err(Error::new(Code::InvalidArgument, words));
        match &self.certificate {
            Some(_) if self.insecure => {
                contradiction("a TLS certificate and --insecure exclude each other".into())
            }
            Some(files) => Certificate::read(files).map(Some),
            None => {
                if let Some(address) = self.tls.first() {
                    return contradiction(format!("tls:{address} needs --tls-cert and --tls-key"));
                }
                self.tcp
                    .iter()
                    .try_for_each(|&address| self.check_plain(address))?;
                Ok(None)
            }
        }
    }

    fn check_plain(&self, address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        if self.insecure {
            tracing::warn!(%address, "anyone on the way can read and change what passes, tokens among it");
            return Ok(());
        }
        let words = format!(
            "{address} is not a loopback address, and without TLS anyone on the way could read the tokens that pass: \
             give --tls-cert and --tls-key; or listen on 127.0.0.1 and bring others in through a tunnel; or say \
             --insecure if the way itself is trusted"
        );
        Err(Error::new(Code::Denied, words))
    }
}

fn bind_tcp(address: SocketAddr) -> Result<std::net::TcpListener> {
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error: io::Error| {
        Error::because(
            Code::Unavailable,
            format!("cannot listen on {address}"),
            error,
        )
    })
}

impl Listener {
    /// Makes a bound socket one of this runtime's.
    pub(super) fn adopt(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
            Bound::Tcp(listener, certificate) => {
                Self::Tcp(TcpListener::from_std(listener)?, certificate)
            }
        })
    }

    /// Waits for a connection; says by which door it came in, and from where if that door is public.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Door, Option<IpAddr>)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let ours = rustix::process::geteuid().as_raw();
                let door = Door::of_unix_peer(stream.peer_cred()?.uid(), ours);
                Ok((Socket::Unix(stream.into_std()?), door, None))
            }
            Self::Tcp(listener, certificate) => {
                let (stream, peer) = listener.accept().await?;
                let stream = stream.into_std()?;
                Ok((
                    Socket::Tcp(stream, certificate.as_ref().map(Certificate::acceptor)),
                    Door::Public,
                    Some(peer.ip()),
                ))
            }
        }
    }
}

impl Socket {
    /// Sets what a connection wants: no small answer is held back, and a peer that is gone is noticed though nothing
    /// is sent to it. An idle one that is there may stay: whoever holds a session may wait for hours.
    pub(super) fn tune(&self) -> io::Result<()> {
        let Self::Tcp(stream, _) = self else {
            return Ok(());
        };
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_tcp_peer_is_asked_whether_it_is_there() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let bound = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = bound.local_addr().unwrap();
            let listener = Listener::adopt(Bound::Tcp(bound, None)).unwrap();
            let _client = std::net::TcpStream::connect(address).unwrap();
            let (socket, door, peer) = listener.accept().await.unwrap();
            assert_eq!((door, peer), (Door::Public, Some(address.ip())));
            socket.tune().unwrap();
            let Socket::Tcp(stream, _) = socket else {
                panic!("a TCP listener gives TCP sockets")
            };
            assert!(stream.nodelay().unwrap());
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEPALIVE_IDLE);
            assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEPALIVE_PROBES);
        });
    }
}
