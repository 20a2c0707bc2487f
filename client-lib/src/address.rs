//! [`Address`]: where a store listens.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store listens: `unix:PATH`, `IP:PORT` or `tls:HOST:PORT`.
///
/// `localhost` is taken as `127.0.0.1`; the host names of other TCP addresses are not looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A TCP socket that speaks TLS.
    Tls {
        /// A name or an address; one of IPv6 is without its brackets here.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: `{0}`; write unix:PATH, IP:PORT or tls:HOST:PORT, such as 127.0.0.1:7440")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(error())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if let Some(text) = text.strip_prefix("tls:") {
            return parse_tls(text).ok_or_else(error);
        }
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(Self::Tcp).map_err(|_| error())
    }
}

fn parse_tls(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_sound = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    let host = in_brackets.unwrap_or(host).to_owned();
    let port = port.parse().ok()?;
    is_sound.then_some(Address::Tls { host, port })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
            Self::Tls { host, port } if host.contains(':') => write!(f, "tls:[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "tls:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "unix:/a b/c.sock",
            "127.0.0.1:80",
            "[::1]:7440",
            "tls:store.example:7440",
            "tls:192.0.2.1:443",
            "tls:[2001:db8::1]:443",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(
            "localhost:80".parse::<Address>().unwrap().to_string(),
            "127.0.0.1:80"
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "unix:",
            "/a/b.sock",
            "127.0.0.1",
            "example.com:80",
            "localhost:x",
            ":80",
            "tls:",
            "tls:store.example",
            "tls::7440",
            "tls:a b:7440",
            "tls:2001:db8::1:443",
            "tls:[store]:443",
            "tls:store.example:65536",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
