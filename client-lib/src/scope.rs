//! [`Scope`]: what a grant allows, with its parts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a grant allows. It begins with nothing, and each call adds one thing:
///
/// ```
/// # use std::time::Duration;
/// # use carrack_client::Scope;
/// let scope = Scope::none()
///     .repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
///     .collection("app.bsky.feed.*")
///     .read()
///     .list()
///     .calls(1_000)
///     .bytes(10 << 20)
///     .expires_in(Duration::from_secs(3_600));
/// ```
///
/// Calls, bytes and a time are needed too: a grant without them allows no call. [`Grants::issue`](crate::Grants::issue)
/// refuses a scope that is wider than the issuer's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of which repos, by DID.
    pub repos: Selection,
    /// Of which collections, by NSID; `app.bsky.feed.*` is all below `app.bsky.feed`.
    pub collections: Selection,
    /// What may be done.
    pub may: Operations,
    /// Methods called, hops among them.
    pub calls: Budget,
    /// Bytes of records, proofs and CARs, in and out.
    pub bytes: Budget,
    /// When it ends, in microseconds since the Unix epoch; [`Scope::NEVER`]: not by itself. 0 is refused.
    pub expires: i64,
}

/// Which of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// None.
    #[default]
    None,
    /// Those that are named.
    Only(Vec<String>),
    /// All that the issuer may.
    All,
}

/// What may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Records by name, and what is known of a repo.
    pub read: bool,
    /// Which repos, collections and records there are; queries.
    pub list: bool,
    /// Full text; no method needs it yet.
    pub search: bool,
    /// Blobs; no method needs it yet.
    pub blobs: bool,
    /// Proofs; all collections must be allowed too, for a proof shows a record's neighbours.
    pub prove: bool,
    /// Whole repos; all collections must be allowed too.
    pub export: bool,
    /// New revisions of the repos.
    pub import: bool,
    /// Deleting.
    pub delete: bool,
    /// Handing on a part of this.
    pub grant: bool,
    /// Compacting and checking the store.
    pub maintain: bool,
}

impl Operations {
    /// Returns the names of those that are allowed, as the schema has them, in its order.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            ("read", self.read),
            ("list", self.list),
            ("search", self.search),
            ("blobs", self.blobs),
            ("prove", self.prove),
            ("export", self.export),
            ("import", self.import),
            ("delete", self.delete),
            ("grant", self.grant),
            ("maintain", self.maintain),
        ];
        let held = all.iter().filter(|(_, is_held)| *is_held);
        held.map(|(name, _)| *name).collect()
    }
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Over the grant's life.
    pub total: Limit,
    /// In each second.
    pub per_second: Limit,
}

/// An upper end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Nothing at all.
    #[default]
    None,
    /// So many.
    AtMost(u64),
    /// As much as the issuer may.
    Unlimited,
}

impl Budget {
    /// As much as the issuer may.
    pub const UNLIMITED: Self = Self {
        total: Limit::Unlimited,
        per_second: Limit::Unlimited,
    };

    fn total(self, most: u64) -> Self {
        let total = Limit::AtMost(most);
        let per_second = self.per_second.or_unlimited();
        Self { total, per_second }
    }

    fn per_second(self, most: u64) -> Self {
        let per_second = Limit::AtMost(most);
        let total = self.total.or_unlimited();
        Self { total, per_second }
    }
}

impl Limit {
    fn or_unlimited(self) -> Self {
        match self {
            Self::None => Self::Unlimited,
            chosen => chosen,
        }
    }
}

impl Selection {
    /// One more by name; no change to all.
    fn and(self, name: &str) -> Self {
        match self {
            Self::All => Self::All,
            Self::None => Self::Only(vec![name.to_owned()]),
            Self::Only(mut names) => {
                names.push(name.to_owned());
                Self::Only(names)
            }
        }
    }
}

/// Methods that allow one operation more.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl Scope {
            $($(#[$doc])* #[must_use] pub fn $name(mut self) -> Self {
                self.may.$name = true;
                self
            })*
        }
    };
}

operations! {
    /// Allows records by name, and what is known of a repo.
    read;
    /// Allows listings and queries.
    list;
    /// Allows full text, which no method needs yet.
    search;
    /// Allows blobs, which no method needs yet.
    blobs;
    /// Allows proofs; all collections must be allowed too.
    prove;
    /// Allows exports of whole repos; all collections must be allowed too.
    export;
    /// Allows imports.
    import;
    /// Allows deleting.
    delete;
    /// Allows handing on a part of this.
    grant;
    /// Allows compacting and checking the store.
    maintain;
}

impl Scope {
    /// The time of a grant that does not end by itself.
    pub const NEVER: i64 = i64::MAX;

    /// Nothing at all; what to begin with.
    pub fn none() -> Self {
        Self::default()
    }

    /// All that the issuer may, as long as the issuer may.
    pub fn all() -> Self {
        Self {
            repos: Selection::All,
            collections: Selection::All,
            may: Operations {
                read: true,
                list: true,
                search: true,
                blobs: true,
                prove: true,
                export: true,
                import: true,
                delete: true,
                grant: true,
                maintain: true,
            },
            calls: Budget::UNLIMITED,
            bytes: Budget::UNLIMITED,
            expires: Self::NEVER,
        }
    }

    /// One repo more, by its DID.
    #[must_use]
    pub fn repo(mut self, did: &str) -> Self {
        self.repos = self.repos.and(did);
        self
    }

    /// All repos that the issuer may.
    #[must_use]
    pub fn all_repos(mut self) -> Self {
        self.repos = Selection::All;
        self
    }

    /// One collection more, by its NSID, or all below a name: `app.bsky.feed.*`.
    #[must_use]
    pub fn collection(mut self, nsid: &str) -> Self {
        self.collections = self.collections.and(nsid);
        self
    }

    /// All collections that the issuer may.
    #[must_use]
    pub fn all_collections(mut self) -> Self {
        self.collections = Selection::All;
        self
    }

    /// So many calls in all, hops among them; in each second as many as the issuer may, unless that is chosen too.
    #[must_use]
    pub fn calls(mut self, most: u64) -> Self {
        self.calls = self.calls.total(most);
        self
    }

    /// So many calls in each second; in all as many as the issuer may, unless that is chosen too.
    #[must_use]
    pub fn calls_per_second(mut self, most: u64) -> Self {
        self.calls = self.calls.per_second(most);
        self
    }

    /// As many calls as the issuer may.
    #[must_use]
    pub fn unlimited_calls(mut self) -> Self {
        self.calls = Budget::UNLIMITED;
        self
    }

    /// So many bytes in all; in each second as many as the issuer may, unless that is chosen too.
    #[must_use]
    pub fn bytes(mut self, most: u64) -> Self {
        self.bytes = self.bytes.total(most);
        self
    }

    /// So many bytes in each second; in all as many as the issuer may, unless that is chosen too.
    #[must_use]
    pub fn bytes_per_second(mut self, most: u64) -> Self {
        self.bytes = self.bytes.per_second(most);
        self
    }

    /// As many bytes as the issuer may.
    #[must_use]
    pub fn unlimited_bytes(mut self) -> Self {
        self.bytes = Budget::UNLIMITED;
        self
    }

    /// Until this much time from now has passed, by this machine's clock; never, if it is longer than a clock can tell.
    #[must_use]
    pub fn expires_in(self, time: Duration) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = since_epoch.unwrap_or_default().saturating_add(time);
        self.expires_at(i64::try_from(micros.as_micros()).unwrap_or(Self::NEVER))
    }

    /// Until then, in microseconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(mut self, micros: i64) -> Self {
        self.expires = micros;
        self
    }

    /// Until it is revoked, or its issuer's grant ends.
    #[must_use]
    pub fn never_expires(self) -> Self {
        self.expires_at(Self::NEVER)
    }
}

/// A grant, as its issuer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantInfo {
    /// Its id.
    pub id: String,
    /// Id of the grant it was made from; empty for the owner.
    pub parent: String,
    /// What it was named.
    pub label: String,
    /// What it allows, as it was cut to its issuer's.
    pub scope: Scope,
    /// When it was made, in microseconds since the Unix epoch.
    pub created: i64,
    /// What it has used.
    pub usage: Usage,
    /// Tokens that open it.
    pub tokens: u32,
    /// Sessions that are open now.
    pub sessions: u32,
}

/// What a grant has used, with its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Methods called.
    pub calls: u64,
    /// Bytes of records, proofs and CARs, in and out.
    pub bytes: u64,
    /// When it was last used, in microseconds since the Unix epoch; none: never.
    pub last_used: Option<i64>,
    /// Calls that its scope or its budget did not allow, since the server started.
    pub refused: u64,
}

/// A page of grants, in order of id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantList {
    /// The grants.
    pub grants: Vec<GrantInfo>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A token of a grant; the token itself was shown once and is not known any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its number, for [`Grant::forget`](crate::Grant::forget).
    pub id: u64,
    /// What it was named.
    pub label: String,
    /// When it was made, in microseconds since the Unix epoch.
    pub created: i64,
    /// When a session was last opened with it; none: never.
    pub last_used: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_adds_one_thing() {
        let scope = Scope::none().repo("did:a").repo("did:b").read().calls(7);
        let expected = Scope {
            repos: Selection::Only(vec!["did:a".into(), "did:b".into()]),
            may: Operations {
                read: true,
                ..Operations::default()
            },
            calls: Budget {
                total: Limit::AtMost(7),
                per_second: Limit::Unlimited,
            },
            ..Scope::default()
        };
        assert_eq!(scope, expected);
        // In either order, and naming one does not narrow all.
        let scope = Scope::none().calls(9).calls_per_second(2);
        assert_eq!(scope, Scope::none().calls_per_second(2).calls(9));
        assert_eq!(scope.calls.total, Limit::AtMost(9));
        let scope = Scope::none().all_repos().repo("did:a");
        assert_eq!(scope.repos, Selection::All);
    }

    #[test]
    fn a_time_is_never_before_now() {
        let soon = Scope::none().expires_in(Duration::from_secs(60)).expires;
        let later = Scope::none().expires_in(Duration::from_secs(120)).expires;
        assert!(soon > 60_000_000 && later >= soon + 60_000_000);
        assert_eq!(
            Scope::none().expires_in(Duration::MAX).expires,
            Scope::NEVER
        );
    }
}
