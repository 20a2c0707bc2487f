//! [`Error`]: what a call can fail with, and the way from an RPC exception to it.

use std::fmt;

use carrack_schema::Code;

use crate::AddressError;
use crate::types::Absent;

/// Result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: a stable code for programs and words for people.
///
/// [`Code::Unavailable`] means that the connection or the server is gone: connect again and repeat what is
/// idempotent. [`Code::Overloaded`] means to back off. Anything else would fail again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: Code,
    words: String,
}

impl Error {
    /// Makes an error.
    pub fn new(code: Code, words: impl Into<String>) -> Self {
        Self {
            code,
            words: words.into(),
        }
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the words: lower case, without the code.
    pub fn words(&self) -> &str {
        &self.words
    }

    pub(crate) fn gone() -> Self {
        Self::new(
            Code::Unavailable,
            "the connection to the store is closed; connect again",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.words)
    }
}

impl std::error::Error for Error {}

impl From<capnp::Error> for Error {
    fn from(error: capnp::Error) -> Self {
        // Each hop of a proxied exception adds this prefix.
        let mut text = error.extra.as_str();
        while let Some(rest) = text.strip_prefix("remote exception: ") {
            text = rest;
        }
        let (code, words) = Code::split(text);
        match (error.kind, code) {
            // The library's own words for a lost connection carry no code.
            (capnp::ErrorKind::Disconnected, Code::Internal) => Self::gone(),
            (capnp::ErrorKind::Overloaded, Code::Internal) => Self::new(Code::Overloaded, words),
            (capnp::ErrorKind::Failed, _) => Self::new(code, words),
            (_, Code::Internal) => Self::new(code, error.to_string()),
            _ => Self::new(code, words),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        let code = match absent {
            Absent::Inactive => Code::Inactive,
            _ => Code::NotFound,
        };
        Self::new(code, absent.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_crosses_the_wire() {
        for &code in Code::ALL {
            let remote = capnp::Error::failed(format!("remote exception: {code}: some words"));
            assert_eq!(Error::from(remote), Error::new(code, "some words"));
        }
    }

    #[test]
    fn the_librarys_own_errors_keep_their_kind() {
        let cases = [
            (
                capnp::Error::disconnected("Peer disconnected.".into()),
                Code::Unavailable,
            ),
            (capnp::Error::overloaded("later".into()), Code::Overloaded),
            (
                capnp::Error::unimplemented("no such method".into()),
                Code::Internal,
            ),
            (capnp::Error::failed("surprise".into()), Code::Internal),
        ];
        for (error, code) in cases {
            assert_eq!(Error::from(error).code(), code);
        }
    }
}
