//! [`Error`]: what a call can fail with, and the way from an RPC exception to it.

use std::fmt;

use carrack_schema::Code;

use crate::AddressError;
use crate::types::Absent;

/// Result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: a stable code for programs, words for people, and how to react.
///
/// Match on [`code`](Self::code) for what happened and on [`kind`](Self::kind) for what to do; [`advice`](Self::advice)
/// says it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: Code,
    kind: Kind,
    words: String,
    /// The connection ended under the call; else a server or this library said something.
    is_lost: bool,
}

/// How to react to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It would fail again: stop, and show the words.
    Failed,
    /// A limit, for now: wait, then call again.
    Overloaded,
    /// The connection, the object or the server is gone. What changes nothing has been repeated once, if the client can
    /// reconnect; of anything else look whether it took effect, then call again.
    Disconnected,
    /// The server is older than this client, or built without it: take another way.
    Unimplemented,
}

impl Error {
    /// Makes an error of the kind that goes with its code.
    pub fn new(code: Code, words: impl Into<String>) -> Self {
        let kind = match code {
            Code::Overloaded => Kind::Overloaded,
            Code::Unavailable => Kind::Disconnected,
            _ => Kind::Failed,
        };
        Self {
            code,
            kind,
            words: words.into(),
            is_lost: false,
        }
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns how to react.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the words: lower case, without the code.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Returns whether the same call may work later, though nobody changes anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Overloaded | Kind::Disconnected)
    }

    /// Returns what to do about it, one sentence without a full stop.
    pub fn advice(&self) -> &'static str {
        match (self.kind, self.code) {
            (Kind::Overloaded, _) => "wait a moment, then call again with fewer calls at once",
            (Kind::Disconnected, _) => {
                "see that the server runs; of a call that changes something look whether it took effect, then call again"
            }
            (Kind::Unimplemented, _) => "ask for it in another way, or update the server",
            (Kind::Failed, code) => advice(code),
        }
    }

    pub(crate) fn gone() -> Self {
        Self {
            is_lost: true,
            ..Self::new(
                Code::Unavailable,
                "the connection to the store is closed; connect again",
            )
        }
    }

    /// Returns whether the connection ended under the call.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Returns whether another connection may help.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.kind == Kind::Disconnected
    }
}

fn advice(code: Code) -> &'static str {
    match code {
        Code::NotFound | Code::UnknownHandle => "check the name, or import the repo first",
        Code::Inactive => {
            "the account's repo is hidden; import it again once the account is active"
        }
        Code::RevNotRetained => "read the current revision, or one that the words name",
        Code::InvalidArgument => "correct the argument that the words name",
        Code::Denied => "ask the grant's issuer for a wider one",
        Code::BadCredential => "get a new token from the grant's issuer and restore it",
        Code::Revoked | Code::Expired | Code::BudgetSpent => "ask the grant's issuer for a new one",
        Code::Damaged => "check the store, and import again what is damaged",
        Code::Incomplete => "get a whole export, or allow a partial import",
        Code::BadHash | Code::BadStructure | Code::BadSignature => {
            "do not trust this input; get it from another place"
        }
        Code::WrongDid => "name the repo that the input is of",
        Code::OlderRev => "nothing to do: the store is newer",
        Code::Fork => "delete the stored repo first, if the other commit is the right one",
        Code::UnknownOutcome => "open the store anew, look whether it took effect, then call again",
        Code::LimitExceeded => "make it smaller than the limit that the words name",
        Code::Overloaded | Code::Unavailable => "call again later",
        Code::Internal => "report it, with the server's log",
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
            (capnp::ErrorKind::Disconnected, code) => Self {
                kind: Kind::Disconnected,
                ..Self::new(code, words)
            },
            (capnp::ErrorKind::Overloaded, Code::Internal) => Self::new(Code::Overloaded, words),
            (capnp::ErrorKind::Overloaded, code) => Self {
                kind: Kind::Overloaded,
                ..Self::new(code, words)
            },
            (capnp::ErrorKind::Unimplemented, code) => Self {
                kind: Kind::Unimplemented,
                ..Self::new(code, format!("the server has no such method ({words})"))
            },
            (capnp::ErrorKind::Failed, _) => Self::new(code, words),
            // Of the message itself: its kind is half of what there is to say.
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
                Kind::Disconnected,
            ),
            (
                capnp::Error::overloaded("later".into()),
                Code::Overloaded,
                Kind::Overloaded,
            ),
            (
                capnp::Error::unimplemented("no such method".into()),
                Code::Internal,
                Kind::Unimplemented,
            ),
            (
                capnp::Error::failed("surprise".into()),
                Code::Internal,
                Kind::Failed,
            ),
        ];
        for (error, code, kind) in cases {
            let error = Error::from(error);
            assert_eq!((error.code(), error.kind()), (code, kind));
        }
    }

    #[test]
    fn a_servers_kind_counts_whatever_its_code() {
        let cases = [
            (
                capnp::Error::disconnected("revoked: over".into()),
                Kind::Disconnected,
            ),
            (
                capnp::Error::overloaded("revoked: over".into()),
                Kind::Overloaded,
            ),
            (
                capnp::Error::unimplemented("revoked: over".into()),
                Kind::Unimplemented,
            ),
            (capnp::Error::failed("revoked: over".into()), Kind::Failed),
        ];
        for (error, kind) in cases {
            let error = Error::from(error);
            assert_eq!((error.code(), error.kind()), (Code::Revoked, kind));
            let retryable = matches!(kind, Kind::Disconnected | Kind::Overloaded);
            assert_eq!(error.is_retryable(), retryable);
        }
    }

    #[test]
    fn only_the_library_says_that_the_connection_ended() {
        let lost = Error::from(capnp::Error::disconnected("Peer disconnected.".into()));
        let said = Error::from(capnp::Error::disconnected("unavailable: closing".into()));
        assert!(lost.is_lost() && !said.is_lost());
        assert!(lost.is_unavailable() && said.is_unavailable());
    }

    #[test]
    fn there_is_advice_for_every_code() {
        for &code in Code::ALL {
            assert!(!Error::new(code, "").advice().is_empty());
        }
    }
}
