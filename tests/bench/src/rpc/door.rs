//! [`Door`]: unix or TCP, and how each peer listens and connects there.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Which kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Door {
    Unix,
    Tcp,
}

impl Door {
    pub(crate) const ALL: [Self; 2] = [Self::Unix, Self::Tcp];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "TCP",
        }
    }
}

/// Where a server listens: the line that it says on stdout once it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Doors {
    pub(crate) unix: PathBuf,
    pub(crate) tcp: SocketAddr,
}

impl Doors {
    pub(crate) fn place(&self, door: Door, token: &str) -> Place {
        match door {
            Door::Unix => Place::Unix(self.unix.clone()),
            Door::Tcp => Place::Tcp(self.tcp, token.to_owned()),
        }
    }
}

/// Where to connect.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Unix(PathBuf),
    /// And what to log in with there; empty at a peer that has no login.
    Tcp(SocketAddr, String),
}

impl Place {
    /// Returns it as the client library takes it.
    pub(crate) fn address(&self) -> carrack_client::Address {
        match self {
            Self::Unix(path) => carrack_client::Address::Unix(path.clone()),
            Self::Tcp(address, _) => carrack_client::Address::Tcp(*address),
        }
    }
}

/// What a connection is to a client, whose own CPU is not measured: one type for both kinds.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
pub(crate) type Stream = Box<dyn Io>;

/// Connects.
pub(crate) async fn connect(place: &Place) -> Result<Stream> {
    Ok(match place {
        Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Place::Tcp(address, _) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// Both listeners of a peer that is not ours.
pub(crate) struct Listeners {
    pub(crate) unix: UnixListener,
    pub(crate) tcp: TcpListener,
    pub(crate) doors: Doors,
}

impl Listeners {
    /// Binds a socket in `folder` and a free port; call it on the runtime that accepts.
    pub(crate) async fn bind(folder: &std::path::Path) -> Result<Self> {
        let path = folder.join("peer.sock");
        let unix = UnixListener::bind(&path)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let doors = Doors {
            unix: path,
            tcp: tcp.local_addr()?,
        };
        Ok(Self { unix, tcp, doors })
    }
}
