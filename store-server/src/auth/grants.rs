//! [`Grants`]: the grants of a store, and what can be done to them.
//!
//! They are in memory, because every call is charged to one, and in the catalog. What is changed here is durable when it
//! is answered; a grant that is taken back ends at once, before that is written down. What was used is written down every
//! few seconds ([`books`](super::books)).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use carrack_schema::Code;
use carrack_schema::limits::{
    GRANT_DEPTH_MAX, GRANT_DESCENDANTS_MAX, GRANT_EXPIRED_HOURS, GRANT_LABEL_BYTES_MAX,
    GRANT_TOKENS_MAX, GRANTS_MAX,
};

use super::Authority;
use super::grant::{Grant, GrantFacts, GrantId, TokenRow, Usage};
use super::scope::Scope;
use super::token::{Token, TokenHash};
use crate::catalog::{GrantEntry, GrantUse, StoredGrants, TokenEntry};
use crate::clock::Clock;
use crate::entropy::random;
use crate::error::{Error, Result};
use crate::store::Store;

/// The grants of a store.
pub(crate) struct Grants {
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    /// Held by whoever changes them, until the change is on the disk.
    changes: Mutex<()>,
    /// Passed on by calls that wait for a change, so that they do not wait on a thread each.
    pub(crate) turn: Arc<tokio::sync::Semaphore>,
}

#[derive(Default)]
struct State {
    grants: BTreeMap<GrantId, Arc<Grant>>,
    tokens: HashMap<TokenHash, Arc<TokenRow>>,
}

impl Grants {
    /// Takes over what the catalog knows.
    ///
    /// # Errors
    /// `damaged` if a grant's parent is missing: without it, nobody knows what it may be charged to.
    pub(crate) fn load(stored: StoredGrants, clock: &Arc<dyn Clock>) -> Result<Self> {
        let mut state = State::default();
        for (id, entry, used) in stored.grants {
            let parent = entry.parent.map(|parent| {
                let found = state.grants.get(&GrantId(parent)).cloned();
                found.ok_or_else(|| {
                    let words = format!("the catalog has the grant {id} and not its parent");
                    Error::new(Code::Damaged, words)
                })
            });
            let facts = GrantFacts {
                id: GrantId(id),
                label: entry.label,
                scope: entry.scope,
                created: entry.created,
            };
            let used = Usage {
                calls: used.calls,
                bytes: used.bytes,
                last_used: used.last_used,
                refused: 0,
            };
            let parent = parent.transpose()?;
            let grant = Grant::new(facts, parent, used, entry.tokens_made, clock);
            state.grants.insert(GrantId(id), Arc::new(grant));
        }
        for (hash, entry) in stored.tokens {
            let row = TokenRow {
                hash,
                grant: GrantId(entry.grant),
                id: entry.id,
                label: entry.label,
                created: entry.created,
                last_used: AtomicI64::new(entry.last_used),
                is_changed: AtomicBool::new(false),
            };
            state.add_token(Arc::new(row));
        }
        Ok(Self {
            clock: clock.clone(),
            state: RwLock::new(state),
            changes: Mutex::new(()),
            turn: Arc::new(tokio::sync::Semaphore::new(1)),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the authority that a token opens.
    ///
    /// # Errors
    /// `badCredential` if the text is no token, or none that opens a grant that allows anything still.
    pub(crate) fn open(&self, token: &str) -> Result<Authority> {
        let hash = Token::parse(token)?.hash();
        let state = self.read();
        let row = state.tokens.get(&hash);
        let grant = row.and_then(|row| state.grants.get(&row.grant));
        let (Some(row), Some(grant)) = (row, grant) else {
            let words =
                "no such token: it was forgotten, or its grant was taken back; ask for another";
            return Err(Error::new(Code::BadCredential, words));
        };
        grant.check().map_err(|ended| {
            let words = format!("this token opens nothing any more: {}", ended.chain());
            Error::new(Code::BadCredential, words)
        })?;
        row.last_used.fetch_max(self.clock.now(), Ordering::Relaxed);
        row.is_changed.store(true, Ordering::Release);
        Ok(Authority::of(grant.clone()))
    }

    /// Returns up to `limit` grants that descend from a holder's, above `after` in order of id, and whether there are more.
    pub(crate) fn after(
        &self,
        holder: &Authority,
        after: Option<GrantId>,
        limit: usize,
    ) -> (Vec<Arc<Grant>>, bool) {
        let state = self.read();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut below = state
            .grants
            .range((start, Bound::Unbounded))
            .map(|(_, grant)| grant)
            .filter(|grant| is_below(grant, holder));
        let grants = below.by_ref().take(limit).cloned().collect();
        (grants, below.next().is_some())
    }

    /// Returns one of the grants that descend from a holder's. Of any other grant a holder hears what it would hear of
    /// none.
    ///
    /// # Errors
    /// `notFound`.
    pub(crate) fn find(&self, holder: &Authority, id: GrantId) -> Result<Arc<Grant>> {
        let state = self.read();
        let found = state.grants.get(&id);
        found
            .filter(|grant| is_below(grant, holder))
            .cloned()
            .ok_or_else(|| not_found(id))
    }

    /// Ends a grant and all that descend from it, in memory. Returns them, the grant first.
    pub(crate) fn end(&self, id: GrantId) -> Vec<Arc<Grant>> {
        let state = self.read();
        let ending: Vec<_> = state
            .grants
            .range(id..)
            .map(|(_, grant)| grant)
            .filter(|grant| grant.id() == id || grant.descends_from(id))
            .cloned()
            .collect();
        ending.iter().for_each(|grant| grant.revoke());
        ending
    }
}

pub(crate) fn not_found(id: impl std::fmt::Display) -> Error {
    let words = format!("no grant {id} was made from this session's; list those that were");
    Error::new(Code::NotFound, words)
}

fn is_below(grant: &Grant, holder: &Authority) -> bool {
    holder
        .grant()
        .is_none_or(|holder| grant.descends_from(holder.id()))
}

impl State {
    fn add_token(&mut self, row: Arc<TokenRow>) {
        if let Some(grant) = self.grants.get(&row.grant) {
            grant.tokens().by_id.insert(row.id, row.clone());
            self.tokens.insert(row.hash, row);
        }
    }

    /// Returns a new id, larger than all there are: a parent comes before its children whatever the clock says.
    fn new_id(&self, now: i64) -> Result<GrantId> {
        let millis = u64::try_from(now / 1_000).unwrap_or(0);
        let mut bytes = [0; 16];
        bytes[6..].copy_from_slice(&random::<10>()?);
        let by_time = ulid::Ulid::from_parts(millis, u128::from_be_bytes(bytes));
        let last = self.grants.last_key_value();
        let next = last.map_or(by_time, |(last, _)| {
            by_time.max(ulid::Ulid(last.0.0.saturating_add(1)))
        });
        Ok(GrantId(next))
    }

    /// Says whether there is room for one more grant below a parent.
    fn check_room(&self, parent: Option<&Arc<Grant>>) -> Result<()> {
        if self.grants.len() >= GRANTS_MAX {
            let words =
                format!("the store holds {GRANTS_MAX} grants; revoke some that are not needed");
            return Err(Error::new(Code::LimitExceeded, words));
        }
        let Some(parent) = parent else {
            return Ok(());
        };
        if parent.chain().count() >= GRANT_DEPTH_MAX {
            let words = format!("a grant is handed on at most {GRANT_DEPTH_MAX} times");
            return Err(Error::new(Code::LimitExceeded, words));
        }
        for above in parent.chain() {
            let below = self.grants.values();
            let below = below.filter(|grant| grant.descends_from(above.id()));
            if below.count() >= GRANT_DESCENDANTS_MAX {
                let words = format!(
                    "{GRANT_DESCENDANTS_MAX} grants descend from this one, or from one that it was made from; \
                     revoke some that are not needed"
                );
                return Err(Error::new(Code::LimitExceeded, words));
            }
        }
        Ok(())
    }
}

fn check_label(label: &str) -> Result<()> {
    if label.len() > GRANT_LABEL_BYTES_MAX {
        let words = format!(
            "a label of {} bytes; at most {GRANT_LABEL_BYTES_MAX} are taken",
            label.len()
        );
        return Err(Error::new(Code::LimitExceeded, words));
    }
    if label.chars().any(char::is_control) {
        let words = "a label holds control characters; write it in one line";
        return Err(Error::new(Code::InvalidArgument, words));
    }
    Ok(())
}

fn entry_of(grant: &Grant, tokens_made: u64) -> GrantEntry {
    GrantEntry {
        parent: grant.parent().map(|parent| parent.id().0),
        label: grant.facts.label.clone(),
        scope: grant.scope().clone(),
        created: grant.facts.created,
        tokens_made,
    }
}

fn token_entry(row: &TokenRow) -> TokenEntry {
    TokenEntry {
        grant: row.grant.0,
        id: row.id,
        label: row.label.clone(),
        created: row.created,
        last_used: row.last_used.load(Ordering::Relaxed),
    }
}

impl Store {
    fn grants(&self) -> &Grants {
        &self.inner().grants
    }

    /// Makes a grant: a part of what a holder may do. When this returns it survives a crash.
    ///
    /// # Errors
    /// `denied` if more is asked for than the holder may do, `invalidArgument` if it expires before it begins or has no
    /// legal label; `limitExceeded`; `revoked` or `expired` if the holder's own has ended.
    pub(crate) fn issue(
        &self,
        holder: &Authority,
        asked: Scope,
        label: &str,
    ) -> Result<Arc<Grant>> {
        check_label(label)?;
        let grants = self.grants();
        let now = grants.clock.now();
        if asked.expires <= now {
            let words = match asked.expires {
                0 => "a grant needs an expiry; the largest integer says never",
                _ => "the grant would expire before it begins",
            };
            return Err(Error::new(Code::InvalidArgument, words));
        }
        let scope = asked.narrow(holder.scope())?;
        let _changing = grants.changing();
        holder.check()?;
        let id = {
            let state = grants.read();
            state.check_room(holder.grant())?;
            state.new_id(now)?
        };
        let facts = GrantFacts {
            id,
            label: label.to_owned(),
            scope,
            created: now,
        };
        let parent = holder.grant().cloned();
        let grant = Grant::new(facts, parent, Usage::default(), 0, &grants.clock);
        let entry = entry_of(&grant, 0);
        self.change(move |tables| tables.put_grant(id.0, &entry))?;
        let grant = Arc::new(grant);
        grants.write().grants.insert(id, grant.clone());
        Ok(grant)
    }

    /// Ends a grant and all that descend from it, and says how many that were. They have ended, whatever this returns;
    /// when it returns `Ok` they stay so through a crash.
    ///
    /// # Errors
    /// `notFound` if it has been ended before; those of a commit.
    pub(crate) fn revoke(&self, id: GrantId) -> Result<u32> {
        let grants = self.grants();
        grants.end(id);
        let _changing = grants.changing();
        // Another may have been made from one of them meanwhile, and is known now.
        let ended = grants.end(id);
        if ended.is_empty() {
            return Err(not_found(id));
        }
        self.remove(&ended)?;
        Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX))
    }

    /// Removes grants that allow nothing any more, with their tokens; whoever calls this is the one that changes them.
    fn remove(&self, ended: &[Arc<Grant>]) -> Result<()> {
        let rows: Vec<(GrantId, Vec<TokenHash>)> = ended
            .iter()
            .map(|grant| {
                let tokens = grant.tokens();
                let hashes = tokens.by_id.values().map(|row| row.hash).collect();
                (grant.id(), hashes)
            })
            .collect();
        let gone = rows.clone();
        self.change(move |tables| {
            let mut rows = rows.iter();
            rows.try_for_each(|(id, tokens)| tables.remove_grant(id.0, tokens))
        })?;
        let mut state = self.grants().write();
        for (id, tokens) in gone {
            state.grants.remove(&id);
            for token in tokens {
                state.tokens.remove(&token);
            }
        }
        Ok(())
    }

    /// Makes a token that opens a grant, and returns it with its id. It is known to nobody else, and not kept.
    ///
    /// # Errors
    /// `revoked` or `expired`; `invalidArgument` or `limitExceeded` for the label; `limitExceeded` if there are too many;
    /// those of a commit.
    pub(crate) fn save_token(&self, grant: &Arc<Grant>, label: &str) -> Result<(Token, u64)> {
        check_label(label)?;
        let grants = self.grants();
        let token = Token::new()?;
        let _changing = grants.changing();
        grant.check()?;
        let id = {
            let tokens = grant.tokens();
            if tokens.by_id.len() >= GRANT_TOKENS_MAX {
                let words = format!(
                    "{GRANT_TOKENS_MAX} tokens open this grant; forget some that are not needed"
                );
                return Err(Error::new(Code::LimitExceeded, words));
            }
            tokens.made + 1
        };
        let row = TokenRow {
            hash: token.hash(),
            grant: grant.id(),
            id,
            label: label.to_owned(),
            created: grants.clock.now(),
            last_used: AtomicI64::new(0),
            is_changed: AtomicBool::new(false),
        };
        let (entry, of_grant) = (token_entry(&row), entry_of(grant, id));
        let (hash, grant_id) = (row.hash, grant.id());
        self.change(move |tables| {
            tables.put_grant(grant_id.0, &of_grant)?;
            tables.put_token(&hash, &entry)
        })?;
        grant.tokens().made = id;
        grants.write().add_token(Arc::new(row));
        Ok((token, id))
    }

    /// Ends a token; false if there is none of that id. Sessions that were opened with it go on.
    ///
    /// # Errors
    /// Those of a commit; the token opens nothing any more, but may again after a crash.
    pub(crate) fn forget_token(&self, grant: &Arc<Grant>, id: u64) -> Result<bool> {
        let grants = self.grants();
        let _changing = grants.changing();
        let Some(row) = grant.tokens().by_id.remove(&id) else {
            return Ok(false);
        };
        let hash = row.hash;
        grants.write().tokens.remove(&hash);
        self.change(move |tables| tables.remove_token(&hash))
    }

    /// Writes down what was used since the last time, and forgets grants that expired long ago.
    ///
    /// # Errors
    /// Those of a commit; then it counts as not written down.
    pub(crate) fn write_use(&self) -> Result<()> {
        self.forget_expired()?;
        let grants = self.grants();
        let mut used = Vec::new();
        let mut touched = Vec::new();
        {
            let state = grants.read();
            for grant in state.grants.values() {
                used.extend(grant.take_change().map(|used| (grant.clone(), used)));
            }
            for row in state.tokens.values() {
                if row.is_changed.swap(false, Ordering::AcqRel) {
                    touched.push(row.clone());
                }
            }
        }
        if used.is_empty() && touched.is_empty() {
            return Ok(());
        }
        let uses: Vec<_> = used
            .iter()
            .map(|(grant, used)| {
                let used = GrantUse {
                    calls: used.calls,
                    bytes: used.bytes,
                    last_used: used.last_used,
                };
                (grant.id(), used)
            })
            .collect();
        let rows: Vec<_> = touched
            .iter()
            .map(|row| (row.hash, token_entry(row)))
            .collect();
        let written = self.change(move |tables| {
            for (id, used) in &uses {
                tables.put_use(id.0, *used)?;
            }
            let mut rows = rows.iter();
            rows.try_for_each(|(hash, entry)| tables.touch_token(hash, entry))
        });
        if written.is_err() {
            used.iter().for_each(|(grant, _)| grant.put_change());
            touched
                .iter()
                .for_each(|row| row.is_changed.store(true, Ordering::Release));
        }
        written
    }

    fn forget_expired(&self) -> Result<()> {
        const KEPT: i64 = GRANT_EXPIRED_HOURS * 3_600 * 1_000_000;
        let grants = self.grants();
        let before = grants.clock.now().saturating_sub(KEPT);
        // A child expires no later than its parent, so whole families go.
        let is_old = |grant: &&Arc<Grant>| grant.is_expired_at(before);
        if !grants.read().grants.values().any(|grant| is_old(&grant)) {
            return Ok(());
        }
        let _changing = grants.changing();
        let old: Vec<_> = {
            let state = grants.read();
            state.grants.values().filter(is_old).cloned().collect()
        };
        old.iter().for_each(|grant| grant.revoke());
        self.remove(&old)
    }
}

#[cfg(test)]
mod tests;
