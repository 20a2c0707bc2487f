//! What is known of a repo beside its records: [`Verdict`] on its commit's signature, [`Status`] of its account.

use std::fmt;
use std::str::FromStr;

/// Whether the signature over a repo's commit was checked. A bad signature is never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No key was given: hashes and structure are proven, the signature is not.
    #[default]
    Unchecked,
    /// The commit is signed with the key of a DID document. Not judged again when keys change (CM6).
    Valid {
        /// The key, as `did:key`.
        key: String,
        /// SHA-256 of the DID document that names it.
        document: [u8; 32],
        /// When it was checked, in microseconds since the Unix epoch.
        checked: i64,
    },
    /// A commit of version 2, from an old export: it has no revision (CM8).
    LegacyCommit,
}

/// Longest status in bytes.
const STATUS_BYTES_MAX: usize = 32;

/// An account's status: active, or one of an open set (`takendown`, `suspended`, `deactivated`, `deleted`, …) that
/// hides the repo and all that derives from it (ST1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status(String);

impl Status {
    /// Returns whether the account is active.
    pub fn is_active(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the status; nothing for an active account.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_active() { "active" } else { &self.0 })
    }
}

/// Why a text is no [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an account status: up to {STATUS_BYTES_MAX} lower-case letters, such as active, deactivated, takendown"
)]
pub struct StatusError;

impl FromStr for Status {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        if text.len() > STATUS_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(StatusError);
        }
        Ok(Self(if text == "active" {
            String::new()
        } else {
            text.to_owned()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_an_open_set_of_words() {
        assert!("active".parse::<Status>().unwrap().is_active());
        assert!("".parse::<Status>().unwrap().is_active());
        let hidden: Status = "throttled".parse().unwrap();
        assert!(!hidden.is_active());
        assert_eq!(hidden.to_string(), "throttled");
        assert!("a".repeat(STATUS_BYTES_MAX).parse::<Status>().is_ok());
        for text in [
            "Active",
            "taken down",
            "deleted!",
            &"a".repeat(STATUS_BYTES_MAX + 1),
        ] {
            assert!(text.parse::<Status>().is_err(), "{text}");
        }
    }
}
