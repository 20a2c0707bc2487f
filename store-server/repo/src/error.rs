//! [`Error`]: why input was refused, in words for people and as a [`Code`] for programs.
//!
//! It must never hold unbounded text of the input: what is quoted is cut and escaped. Every module here makes
//! it; the importer turns it into an exception by [`Error::code`].

use std::io;

use carrack_schema::{Cid, Code};

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of fault it is, and so whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller's reader or block source failed; [`source`](std::error::Error::source) is its own error.
    Io,
    /// A block's bytes do not hash to its CID.
    BadHash,
    /// The CAR, commit, MST or DAG-CBOR breaks a rule of its format.
    BadStructure,
    /// The input ends early, or a reachable block is not in it.
    Incomplete,
    /// The commit names another DID than the one expected.
    WrongDid,
    /// A named limit was passed.
    LimitExceeded,
    /// The caller broke this crate's contract.
    InvalidArgument,
    /// A fault of Carrack's own.
    Internal,
}

/// Why input was refused.
///
/// The text is lower case without a full stop and names the place: a block's CID, a byte offset in the CAR,
/// an MST key. CID and offset are also there as values.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    cid: Option<Cid>,
    car_offset: Option<u64>,
    #[source]
    source: Option<io::Error>,
}

impl Error {
    /// Makes an error of this kind with these words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            cid: None,
            car_offset: None,
            source: None,
        }
    }

    /// Makes an [`ErrorKind::Io`] error that keeps `source`; the words should not repeat it.
    pub fn io(message: impl Into<String>, source: io::Error) -> Self {
        Self {
            source: Some(source),
            ..Self::new(ErrorKind::Io, message)
        }
    }

    pub(crate) fn structure(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadStructure, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }

    pub(crate) fn with_cid(mut self, cid: Cid) -> Self {
        self.cid = Some(cid);
        self
    }

    pub(crate) fn with_car_offset(mut self, offset: u64) -> Self {
        self.car_offset = Some(offset);
        self
    }

    /// Puts `place: ` before the words.
    pub(crate) fn within(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the block at fault or missing, if one is known.
    pub fn cid(&self) -> Option<&Cid> {
        self.cid.as_ref()
    }

    /// Returns the byte offset in the CAR, if one is known.
    pub fn car_offset(&self) -> Option<u64> {
        self.car_offset
    }

    /// Returns the code this error is reported by.
    pub fn code(&self) -> Code {
        match self.kind {
            ErrorKind::Io => Code::Unavailable,
            ErrorKind::BadHash => Code::BadHash,
            ErrorKind::BadStructure => Code::BadStructure,
            ErrorKind::Incomplete => Code::Incomplete,
            ErrorKind::WrongDid => Code::WrongDid,
            ErrorKind::LimitExceeded => Code::LimitExceeded,
            ErrorKind::InvalidArgument => Code::InvalidArgument,
            ErrorKind::Internal => Code::Internal,
        }
    }
}

/// Returns hostile bytes as short, printable text for a message.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    const CHARS_MAX: usize = 80;
    // Four bytes a character at most: converting no more than is shown keeps a megabyte key cheap.
    let shown = bytes.get(..CHARS_MAX.saturating_mul(4)).unwrap_or(bytes);
    let text = String::from_utf8_lossy(shown);
    let mut quoted: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if shown.len() < bytes.len() || text.chars().nth(CHARS_MAX).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn every_kind_has_its_code() {
        for (kind, code) in [
            (ErrorKind::Io, Code::Unavailable),
            (ErrorKind::BadHash, Code::BadHash),
            (ErrorKind::BadStructure, Code::BadStructure),
            (ErrorKind::Incomplete, Code::Incomplete),
            (ErrorKind::WrongDid, Code::WrongDid),
            (ErrorKind::LimitExceeded, Code::LimitExceeded),
            (ErrorKind::InvalidArgument, Code::InvalidArgument),
            (ErrorKind::Internal, Code::Internal),
        ] {
            assert_eq!(Error::new(kind, "x").code(), code);
        }
    }

    #[test]
    fn io_errors_keep_their_source() {
        let error = Error::io("reading failed", io::Error::other("aborted"));
        assert_eq!(error.to_string(), "reading failed");
        assert_eq!(error.source().unwrap().to_string(), "aborted");
    }

    #[test]
    fn quoted_text_is_cut_and_escaped() {
        assert_eq!(quoted(b"a/b"), "`a/b`");
        assert_eq!(quoted(b"a\n\x1b\xff"), "`a\\n\\u{1b}\u{fffd}`");
        assert_eq!(quoted(&[b'x'; 80]), format!("`{}`", "x".repeat(80)));
        for bytes in [81, 320, 321, 1 << 20] {
            assert_eq!(quoted(&vec![b'x'; bytes]), format!("`{}…`", "x".repeat(80)));
        }
    }
}
