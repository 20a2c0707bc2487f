//! The closed list of error codes, shared by RPC exceptions, the CLI's `--json` and MCP answers.
//!
//! A code is part of the contract; the words after it are not. On the wire an exception's text is
//! `code: words`.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $exit:ident;)*) => {
        /// What went wrong, for a program to act on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the code's text, camelCase.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns the exit code a command ends with when this error stopped it.
            pub const fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)* }
            }
        }
    };
}

codes! {
    /// The repo, collection or record is not in the store.
    NotFound = "notFound", NotFound;
    /// An argument has no legal form.
    InvalidArgument = "invalidArgument", Usage;
    /// The holder's authority does not cover this.
    Denied = "denied", Failed;
    /// No such credential: unknown, forgotten, expired or revoked.
    BadCredential = "badCredential", Failed;
    /// The grant that this came from was taken back.
    Revoked = "revoked", Failed;
    /// The grant that this came from was for a time that is over.
    Expired = "expired", Failed;
    /// The grant's calls or bytes are used up; waiting does not help. One that is of each second is `overloaded`.
    BudgetSpent = "budgetSpent", Failed;
    /// A limit of the server's, for now: back off and try again.
    Overloaded = "overloaded", Failed;
    /// The connection, the object or the server is gone or going.
    Unavailable = "unavailable", Failed;
    /// Bytes on disk are not what was written.
    Damaged = "damaged", Damaged;
    /// A reachable block is missing from the input, or the input ends early.
    Incomplete = "incomplete", Refused;
    /// A block's bytes do not hash to its CID.
    BadHash = "badHash", Refused;
    /// The CAR, commit, MST or DAG-CBOR breaks a rule of its format.
    BadStructure = "badStructure", Refused;
    /// The commit is not signed with the key it should be, or no key was given where one is required.
    BadSignature = "badSignature", Refused;
    /// The repo belongs to another DID than the one asked for.
    WrongDid = "wrongDid", Refused;
    /// The store holds a newer revision of this repo.
    OlderRev = "olderRev", Refused;
    /// The store holds another commit of the same revision.
    Fork = "fork", Refused;
    /// The account is deactivated, taken down or the like, so its repo is hidden.
    Inactive = "inactive", NotFound;
    /// No repo in the store claims this handle.
    UnknownHandle = "unknownHandle", NotFound;
    /// The store no longer holds this revision of the repo, or never did; the words name the oldest it does hold.
    RevNotRetained = "revNotRetained", NotFound;
    /// A write was sent to disk and it is not known whether it arrived.
    UnknownOutcome = "unknownOutcome", Failed;
    /// A named limit was passed; the words say which.
    LimitExceeded = "limitExceeded", Refused;
    /// A fault of Carrack's own.
    Internal = "internal", Failed;
}

impl Code {
    /// Splits `code: words` into its code and words.
    ///
    /// Text that starts with no known code (an older or newer peer, the library itself) is [`Code::Internal`]
    /// with all of the text as words.
    pub fn split(text: &str) -> (Self, &str) {
        if let Some((head, words)) = text.split_once(": ")
            && let Some(code) = Self::ALL.iter().find(|c| c.as_str() == head)
        {
            return (*code, words);
        }
        (Self::Internal, text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a command ends, for a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Ok = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The input was refused; the store is as before.
    Refused = 3,
    /// The store's files are damaged.
    Damaged = 4,
    /// What was asked for is not there.
    NotFound = 5,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_text() {
        for &code in Code::ALL {
            assert_eq!(Code::split(&format!("{code}: a: b")), (code, "a: b"));
        }
    }

    #[test]
    fn foreign_text_is_internal_and_kept_whole() {
        for text in ["", "notFound", "surprise: x", "Premature EOF"] {
            assert_eq!(Code::split(text), (Code::Internal, text));
        }
    }
}
