//! [`Address`]: where a store listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store listens: `unix:PATH` or `IP:PORT`.
///
/// `localhost` is taken as `127.0.0.1`; other host names are not looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: `{0}`; write unix:PATH or IP:PORT, such as 127.0.0.1:7440")]
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
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(Self::Tcp).map_err(|_| error())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_round_trip() {
        for text in ["unix:/a b/c.sock", "127.0.0.1:80", "[::1]:7440"] {
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
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
