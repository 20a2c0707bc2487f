//! The store's error: a code for programs, words for people, and what lay beneath.

use carrack_schema::Code;

/// Result of the store's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Error {
    code: Code,
    words: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error.
    pub fn new(code: Code, words: impl Into<String>) -> Self {
        Self {
            code,
            words: words.into(),
            source: None,
        }
    }

    /// Makes an error that keeps what it came from; the words should not repeat it.
    pub fn because(
        code: Code,
        words: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            code,
            words: words.into(),
            source: Some(Box::new(source)),
        }
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the words with those of every error beneath, as one line.
    pub fn chain(&self) -> String {
        let mut line = self.words.clone();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            line = format!("{line}: {error}");
            next = error.source();
        }
        line
    }
}

impl From<carrack_repo::Error> for Error {
    fn from(error: carrack_repo::Error) -> Self {
        let code = error.code();
        match std::error::Error::source(&error) {
            Some(_) => Self::because(code, "the CAR could not be read", error),
            None => Self::new(code, error.to_string()),
        }
    }
}

impl From<carrack_segment::Error> for Error {
    fn from(error: carrack_segment::Error) -> Self {
        use carrack_segment::ErrorKind;
        let code = match error.kind() {
            // The catalog names every file it needs, so one that is missing is damage.
            ErrorKind::Corrupt | ErrorKind::NotFound => Code::Damaged,
            ErrorKind::LimitExceeded => Code::LimitExceeded,
            ErrorKind::Unsupported | ErrorKind::Io => Code::Unavailable,
            ErrorKind::Invalid => Code::Internal,
        };
        Self::because(code, "segment", error)
    }
}

impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Self {
        let code = match &error {
            redb::Error::Corrupted(_) => Code::Damaged,
            // A file that is none, or shorter than it says.
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                Code::Damaged
            }
            _ => Code::Unavailable,
        };
        Self::because(code, "catalog", error)
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Error {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_redb! { DatabaseError TransactionError TableError StorageError CommitError }

/// A catalog value or a segment's head that does not parse.
pub(crate) fn damaged(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::because(Code::Damaged, what, error)
}
