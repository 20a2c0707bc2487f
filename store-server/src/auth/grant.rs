//! [`Grant`]: one grant as it is used: what it allows, what was used of it, and that it can end at any moment.
//!
//! All threads share it. What its holder uses is charged to it and to every grant above it, to all of them or none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrack_schema::Code;
use tokio::sync::watch;

use super::rate::Rate;
use super::scope::{Budget, Limit, Scope};
use super::token::TokenHash;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Longest time between two looks at the clock of whoever waits for an expiry: the clock may be set.
const EXPIRY_LOOK: Duration = Duration::from_secs(1);

/// Names a grant: a ULID, larger than those of all that were made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GrantId(pub(crate) ulid::Ulid);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a grant is from its making on.
#[derive(Clone, Debug)]
pub(crate) struct GrantFacts {
    pub(crate) id: GrantId,
    pub(crate) label: String,
    pub(crate) scope: Scope,
    /// In microseconds since the Unix epoch.
    pub(crate) created: i64,
}

/// What was used of a grant, by its holder and by all that descend from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
    /// In microseconds since the Unix epoch; 0: never.
    pub(crate) last_used: i64,
    pub(crate) refused: u64,
}

/// One grant.
pub(crate) struct Grant {
    pub(crate) facts: GrantFacts,
    id_text: String,
    parent: Option<Arc<Self>>,
    clock: Arc<dyn Clock>,
    calls: Meter,
    bytes: Meter,
    last_used: AtomicI64,
    refused: AtomicU64,
    sessions: AtomicU32,
    /// Whether there is use that is not on the disk.
    is_changed: AtomicBool,
    is_revoked: watch::Sender<bool>,
    tokens: Mutex<Tokens>,
}

/// The tokens that open a grant.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) by_id: BTreeMap<u64, Arc<TokenRow>>,
    /// How many were ever made: ids are not given twice.
    pub(crate) made: u64,
}

/// What is known of a token; not the token.
#[derive(Debug)]
pub(crate) struct TokenRow {
    pub(crate) hash: TokenHash,
    pub(crate) grant: GrantId,
    pub(crate) id: u64,
    pub(crate) label: String,
    /// In microseconds since the Unix epoch.
    pub(crate) created: i64,
    /// As above; 0: never.
    pub(crate) last_used: AtomicI64,
    pub(crate) is_changed: AtomicBool,
}

/// Why a grant does not let something through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Revoked,
    Expired,
    /// There is none left of what is named, for good.
    Spent(&'static str),
    /// There is none left of what is named for so many microseconds.
    Wait(&'static str, u64),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Revoked => Self::new(
                Code::Revoked,
                "the grant that this session is of was taken back",
            ),
            Refusal::Expired => Self::new(
                Code::Expired,
                "the time of the grant that this session is of is over",
            ),
            Refusal::Spent(what) => Self::new(
                Code::BudgetSpent,
                format!("too few {what} are left of this grant, or of one that it was made from"),
            ),
            Refusal::Wait(what, micros) => {
                let millis = micros.div_ceil(1_000);
                let words = format!(
                    "this grant, or one that it was made from, has a limit of {what} per second; go on in {millis} ms"
                );
                Self::new(Code::Overloaded, words)
            }
        }
    }
}

impl Grant {
    pub(crate) fn new(
        facts: GrantFacts,
        parent: Option<Arc<Self>>,
        used: Usage,
        tokens_made: u64,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let now = clock.now();
        Self {
            id_text: facts.id.to_string(),
            parent,
            clock: clock.clone(),
            calls: Meter::new("calls", facts.scope.calls, used.calls, now),
            bytes: Meter::new("bytes", facts.scope.bytes, used.bytes, now),
            last_used: AtomicI64::new(used.last_used),
            refused: AtomicU64::new(0),
            sessions: AtomicU32::new(0),
            is_changed: AtomicBool::new(false),
            is_revoked: watch::Sender::new(false),
            tokens: Mutex::new(Tokens {
                made: tokens_made,
                ..Tokens::default()
            }),
            facts,
        }
    }

    pub(crate) fn id(&self) -> GrantId {
        self.facts.id
    }

    pub(crate) fn id_text(&self) -> &str {
        &self.id_text
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.facts.scope
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Goes from this grant up to the one that the owner made.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |grant| grant.parent.as_deref())
    }

    /// Says whether it was made from another, through however many hands.
    pub(crate) fn descends_from(&self, other: GrantId) -> bool {
        self.chain().skip(1).any(|above| above.id() == other)
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            calls: self.calls.used.load(Ordering::Relaxed),
            bytes: self.bytes.used.load(Ordering::Relaxed),
            last_used: self.last_used.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether it allows anything still.
    ///
    /// # Errors
    /// `revoked` or `expired`.
    pub(crate) fn check(&self) -> Result<()> {
        let now = self.clock.now();
        // A child may be made while its parent is taken back; it is no better than that.
        let ended = self.chain().find_map(|grant| grant.ended_at(now));
        ended.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    fn ended_at(&self, now: i64) -> Option<Refusal> {
        if *self.is_revoked.borrow() {
            return Some(Refusal::Revoked);
        }
        (now >= self.facts.scope.expires).then_some(Refusal::Expired)
    }

    /// Says whether its time is over.
    pub(crate) fn is_expired_at(&self, now: i64) -> bool {
        now >= self.facts.scope.expires
    }

    /// Charges calls and bytes to this grant and to all above it, or to none of them.
    pub(super) fn charge(&self, calls: u64, bytes: u64) -> Result<(), Refusal> {
        let now = self.clock.now();
        for (charged, grant) in self.chain().enumerate() {
            if let Err(refusal) = grant.charge_this(calls, bytes, now) {
                let paid = self.chain().take(charged);
                paid.for_each(|grant| grant.give_back(calls, bytes));
                return Err(refusal);
            }
        }
        for grant in self.chain() {
            grant.last_used.fetch_max(now, Ordering::Relaxed);
            grant.is_changed.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn charge_this(&self, calls: u64, bytes: u64, now: i64) -> Result<(), Refusal> {
        if let Some(refusal) = self.ended_at(now) {
            return Err(refusal);
        }
        self.calls.take(calls, now)?;
        self.bytes
            .take(bytes, now)
            .inspect_err(|_| self.calls.give_back(calls))
    }

    fn give_back(&self, calls: u64, bytes: u64) {
        self.calls.give_back(calls);
        self.bytes.give_back(bytes);
    }

    /// Counts a call that was not allowed.
    pub(crate) fn count_refusal(&self) {
        for grant in self.chain() {
            grant.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns what was used, if it is not on the disk yet; from now on it counts as being there.
    pub(super) fn take_change(&self) -> Option<Usage> {
        self.is_changed
            .swap(false, Ordering::AcqRel)
            .then(|| self.usage())
    }

    /// Says that what was used is not on the disk after all.
    pub(super) fn put_change(&self) {
        self.is_changed.store(true, Ordering::Release);
    }

    /// Ends it: whoever waits for that hears of it at once.
    pub(super) fn revoke(&self) {
        self.is_revoked.send_replace(true);
    }

    /// Waits until it ends, and says why.
    pub(super) async fn ended(&self) -> Error {
        let mut revoked = self.is_revoked.subscribe();
        loop {
            let now = self.clock.now();
            if let Some(refusal) = self.ended_at(now) {
                return refusal.into();
            }
            let left = self.facts.scope.expires.saturating_sub(now);
            let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
            tokio::select! {
                // The sender is this grant's own.
                _ = revoked.wait_for(|revoked| *revoked) => {}
                () = tokio::time::sleep(left.min(EXPIRY_LOOK)), if self.facts.scope.expires != i64::MAX => {}
            }
        }
    }

    pub(crate) fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({})", self.id_text)
    }
}

/// An open session of a grant; counted as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenSession(Arc<Grant>);

impl OpenSession {
    pub(crate) fn new(grant: Arc<Grant>) -> Self {
        grant.sessions.fetch_add(1, Ordering::Relaxed);
        Self(grant)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much of one thing was used, and how much may be.
struct Meter {
    what: &'static str,
    used: AtomicU64,
    most: Option<u64>,
    rate: Option<Rate>,
    /// There is no second in which any may be used.
    has_no_rate: bool,
}

impl Meter {
    fn new(what: &'static str, budget: Budget, used: u64, now: i64) -> Self {
        let per_second = budget.per_second.most();
        Self {
            what,
            used: AtomicU64::new(used),
            most: budget.total.most(),
            rate: per_second
                .filter(|most| *most > 0)
                .map(|most| Rate::new(most, now)),
            has_no_rate: matches!(budget.per_second, Limit::None | Limit::AtMost(0)),
        }
    }

    fn take(&self, amount: u64, now: i64) -> Result<(), Refusal> {
        if amount == 0 {
            return Ok(());
        }
        if self.has_no_rate {
            return Err(Refusal::Spent(self.what));
        }
        let most = self.most.unwrap_or(u64::MAX);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(amount).filter(|used| *used <= most)
            });
        taken.map_err(|_| Refusal::Spent(self.what))?;
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        rate.take(amount, now).map_err(|wait| {
            self.used.fetch_sub(amount, Ordering::Relaxed);
            Refusal::Wait(self.what, wait)
        })
    }

    fn give_back(&self, amount: u64) {
        if amount == 0 {
            return;
        }
        self.used.fetch_sub(amount, Ordering::Relaxed);
        if let Some(rate) = &self.rate {
            rate.give_back(amount);
        }
    }
}

#[cfg(test)]
mod tests;
