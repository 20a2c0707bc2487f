//! The crate's one error: what the caller can do about it, in words, and what lay beneath.

use std::io;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller of a failed function can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The file does not exist.
    NotFound,
    /// The bytes on disk are not what was sealed: restore or rebuild them. Other sections stay readable.
    Corrupt,
    /// The file is sound as far as can be told, but of a version or kind this program does not read.
    Unsupported,
    /// The call breaks this crate's contract: fix the call.
    Invalid,
    /// A limit of the format was passed: give less.
    LimitExceeded,
    /// The operating system refused or failed; the source says how.
    Io,
}

/// Why a segment could not be written, opened or read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn io(what: &str, file: &str, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self {
            kind,
            message: format!("{what} failed: file=`{file}`"),
            source: Some(source),
        }
    }

    /// Says of which extent it is.
    pub(crate) fn in_extent(mut self, key: &[u8]) -> Self {
        self.message = format!("{} extent=`{}`", self.message, key.escape_ascii());
        self
    }

    /// Returns what the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
