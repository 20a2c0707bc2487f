//! [`Holder`]: a live grant, with the one RPC connection that serves it; [`Holders`]: all of them.
//!
//! A holder's gateway has its connection and no other, so that nothing behind a tool leads further than the token which
//! the request showed. A gateway of one's own also means that no agent waits for what another one does not read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use carrack_client::{Error, Operations, Scope};
use carrack_schema::Code;
use carrack_schema::limits::{
    CONNECTION_IDLE_SECONDS_MAX, CONNECTIONS_PER_GATEWAY_MAX, HTTP_BYTES_PER_SECOND,
    HTTP_REQUESTS_PER_SECOND, HTTP_UNDER_WAY_MAX, RESTORE_SECONDS_MAX, RESTORES_MAX,
    RESTORES_WAITING_MAX,
};
use data_encoding::BASE64URL_NOPAD;
#[cfg(feature = "conformance-fixtures")]
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager as Sessions;
#[cfg(not(feature = "conformance-fixtures"))]
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager as Sessions;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::meter::Connections;
use super::rate::Rate;
use super::refusal::{Refusal, SCOPE};
use super::table::{Key, Table};
use crate::calls::Calls;
use crate::connection::Connection;
#[cfg(feature = "conformance-fixtures")]
use crate::fixtures::Fixtures;
use crate::server::{Gateway, Policy};

/// What answers: the gateway, in a test build with the conformance suite's own tools beside its own.
#[cfg(not(feature = "conformance-fixtures"))]
type Served = Gateway;
#[cfg(feature = "conformance-fixtures")]
type Served = Fixtures;

/// Whoever shows the token of a live grant, or is the owner.
pub(super) struct Holder {
    pub(super) connection: Connection,
    service: StreamableHttpService<Served, Sessions>,
    /// None for the owner.
    grant: Option<Held>,
}

struct Held {
    key: Key,
    /// None if the store did not say: its calls are spent.
    scope: Option<Scope>,
    limits: Arc<Limits>,
}

/// What all holders of one grant have together: with a second token nobody has more.
struct Limits {
    /// The grant's id; empty for all together of whom the store did not say, since their calls are spent: with a further
    /// token of such a grant nobody has more either.
    grant: String,
    rates: Mutex<Rates>,
    under_way: Arc<Semaphore>,
}

struct Rates {
    requests: Rate,
    bytes: Rate,
}

/// A request's place among those of its holder that are under way; kept until its answer is given.
pub(super) struct Place {
    holder: Arc<Holder>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Holder {
    /// Lets in a request.
    ///
    /// # Errors
    /// If the holder has asked for too much lately, or may not do anything.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, Refusal> {
        let permit = match &self.grant {
            None => None,
            Some(held) => Some(held.enter(Instant::now())?),
        };
        Ok(Place {
            holder: self.clone(),
            _permit: permit,
        })
    }

    /// Returns the limits of this grant, if it is what this one holds.
    fn limits_of(&self, grant: &str) -> Option<&Arc<Limits>> {
        let limits = &self.grant.as_ref()?.limits;
        (limits.grant == grant).then_some(limits)
    }

    /// Says whether this holder may see how the gateway and its store are, which is of all holders and repos.
    pub(super) fn maintains(&self) -> bool {
        let Some(held) = &self.grant else { return true };
        held.scope.as_ref().is_some_and(|scope| scope.may.maintain)
    }

    /// Serves an MCP request.
    pub(super) async fn serve(&self, request: Request) -> Response {
        self.service.handle(request).await.map(Body::new)
    }
}

impl Limits {
    fn new(grant: String, now: Instant) -> Self {
        let rates = Rates {
            requests: Rate::new(HTTP_REQUESTS_PER_SECOND, now),
            bytes: Rate::new(HTTP_BYTES_PER_SECOND, now),
        };
        Self {
            grant,
            rates: Mutex::new(rates),
            under_way: Arc::new(Semaphore::new(HTTP_UNDER_WAY_MAX)),
        }
    }
}

impl Held {
    fn enter(&self, now: Instant) -> Result<OwnedSemaphorePermit, Refusal> {
        if self
            .scope
            .as_ref()
            .is_some_and(|scope| scope.may == Operations::default())
        {
            return Err(Refusal::TooLittle(SCOPE));
        }
        {
            let mut rates = lock(&self.limits.rates);
            rates.bytes.is_paid(now).map_err(Refusal::TooMuch)?;
            rates.requests.take(now).map_err(Refusal::TooMuch)?;
        }
        let under_way = self.limits.under_way.clone();
        under_way
            .try_acquire_owned()
            .map_err(|_| Refusal::TooMuch(Duration::from_secs(1)))
    }
}

impl Place {
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Charges bytes of the answer.
    pub(super) fn charge(&self, bytes: usize) {
        if let Some(held) = &self.holder.grant {
            lock(&held.limits.rates).bytes.charge(bytes);
        }
    }
}

/// All holders that are live, and the way to new ones.
pub(super) struct Holders {
    root: Connection,
    policy: Policy,
    config: StreamableHttpServerConfig,
    calls: Arc<Calls>,
    owner: Option<Owner>,
    table: Mutex<Table<Holder>>,
    /// Requests that show a token for the first time, waiting or not.
    waiting: Semaphore,
    restores: Semaphore,
    restored: AtomicU64,
    refused: AtomicU64,
}

/// Who the gateway's own authority is for.
struct Owner {
    /// Of the token that was made for this run.
    key: Key,
    holder: Arc<Holder>,
}

/// The token that opens the gateway's own authority, as long as the process lives. It is kept nowhere.
pub(super) struct RunToken(String);

impl RunToken {
    /// # Errors
    /// If the operating system gives no random bytes.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        let mut filled = 0;
        while let Some(rest) = secret.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        let text = BASE64URL_NOPAD.encode(&secret);
        Ok(Self(format!("carrack_run_{text}")))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl Holders {
    /// Serves holders of tokens by the store that `root` names; whoever shows `owner` has `root`'s own authority.
    pub(super) fn new(
        root: Connection,
        policy: Policy,
        config: StreamableHttpServerConfig,
        owner: Option<&RunToken>,
    ) -> Self {
        let mut holders = Self {
            root,
            policy,
            config,
            calls: Arc::default(),
            owner: None,
            table: Mutex::new(Table::new(CONNECTIONS_PER_GATEWAY_MAX)),
            waiting: Semaphore::new(RESTORES_MAX + RESTORES_WAITING_MAX),
            restores: Semaphore::new(RESTORES_MAX),
            restored: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        holders.owner = owner.map(|token| Owner {
            key: key(token.text()),
            holder: Arc::new(holders.holder(holders.root.clone(), None)),
        });
        holders
    }

    fn holder(&self, connection: Connection, grant: Option<Held>) -> Holder {
        let gateway =
            Gateway::counting(connection.clone(), self.policy.clone(), self.calls.clone());
        let config = self.config.clone();
        // Some of the suite's older scenarios have the server ask its client, which takes a session.
        #[cfg(feature = "conformance-fixtures")]
        let (gateway, config) = (
            Fixtures::new(gateway),
            config.with_legacy_session_mode(true),
        );
        let sessions = Arc::new(Sessions::default());
        let service = StreamableHttpService::new(move || Ok(gateway.clone()), sessions, config);
        Holder {
            connection,
            service,
            grant,
        }
    }

    /// Returns the owner, for those who need not show a token.
    pub(super) fn owner(&self) -> Option<Arc<Holder>> {
        Some(self.owner.as_ref()?.holder.clone())
    }

    /// Returns the holder of a token, restored by the store if it is not live.
    ///
    /// # Errors
    /// If the token opens nothing, or no further one can be served now.
    pub(super) async fn of(&self, token: &str) -> Result<Arc<Holder>, Refusal> {
        let key = key(token);
        // Comparing hashes: what can be learnt of one by trying does not help to find another token of it.
        if let Some(owner) = self.owner.as_ref().filter(|owner| owner.key == key) {
            return Ok(owner.holder.clone());
        }
        if let Some(live) = lock(&self.table).get(&key, Instant::now()) {
            return Ok(live);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        let end = Instant::now() + Duration::from_secs(RESTORE_SECONDS_MAX);
        let Ok(turn) = timeout_at(end, self.restores.acquire()).await else {
            return self.counted(Err(Refusal::NoStore));
        };
        let _turn = turn.map_err(|_| Refusal::Busy)?;
        if let Some(live) = lock(&self.table).get(&key, Instant::now()) {
            return Ok(live);
        }
        let restored = timeout_at(end, self.restore(token, key)).await;
        self.counted(restored.unwrap_or(Err(Refusal::NoStore)))
    }

    fn counted(&self, restored: Result<Arc<Holder>, Refusal>) -> Result<Arc<Holder>, Refusal> {
        let counter = match restored {
            Ok(_) => &self.restored,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        restored
    }

    async fn restore(&self, token: &str, key: Key) -> Result<Arc<Holder>, Refusal> {
        let connection = self.root.restored(token);
        let (scope, grant) = match connection.about().await {
            Ok(about) => (Some(about.scope), about.grant),
            // The tools say so, each in its answer.
            Err(error) if error.code() == Code::BudgetSpent => (None, String::new()),
            Err(error) => return Err(refusal(&error)),
        };
        let now = Instant::now();
        // Locked until it is in there, or two tokens of a grant that come together would not find each other.
        let mut table = lock(&self.table);
        let live = table
            .values()
            .find_map(|holder| holder.limits_of(&grant).cloned());
        let limits = live.unwrap_or_else(|| Arc::new(Limits::new(grant, now)));
        let held = Held { key, scope, limits };
        let holder = self.holder(connection, Some(held));
        table.insert(key, holder, now).ok_or(Refusal::Busy)
    }

    /// Makes sure that a holder's grant was live after `before` calls were answered, and lets go of one that was not.
    ///
    /// Most requests make a call of the store, whose answer shows it; others, such as the list of tools, cost one here.
    ///
    /// # Errors
    /// If its token opens nothing any more.
    pub(super) async fn confirm(&self, holder: &Arc<Holder>, before: u64) -> Result<(), Refusal> {
        let Some(held) = &holder.grant else {
            return Ok(());
        };
        if holder.connection.answered() > before {
            return Ok(());
        }
        match holder
            .connection
            .about()
            .await
            .map_err(|error| refusal(&error))
        {
            Err(Refusal::BadToken) => {
                lock(&self.table).remove(&held.key, holder);
                Err(Refusal::BadToken)
            }
            // Anything else is told by the tool that meets it.
            _ => Ok(()),
        }
    }

    /// Returns how often tools were called, by all holders.
    pub(super) fn calls(&self) -> Vec<(String, &'static str, u64)> {
        self.calls.counts()
    }

    /// Returns what showing tokens came to.
    pub(super) fn connections(&self) -> Connections {
        Connections {
            live: lock(&self.table).len(),
            restored: self.restored.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Closes connections that nobody uses, for ever.
    pub(super) async fn sweep(&self) {
        let idle = Duration::from_secs(CONNECTION_IDLE_SECONDS_MAX);
        let mut ticks = tokio::time::interval(idle / 10);
        loop {
            ticks.tick().await;
            lock(&self.table).sweep(idle, Instant::now());
        }
    }

    /// Closes all connections that are not in use.
    pub(super) fn close(&self) {
        lock(&self.table).clear();
    }
}

fn refusal(error: &Error) -> Refusal {
    match error.code() {
        Code::BadCredential | Code::Revoked | Code::Expired => Refusal::BadToken,
        Code::Overloaded => Refusal::Busy,
        _ => {
            tracing::warn!(%error, "a token cannot be shown to the store");
            Refusal::NoStore
        }
    }
}

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

/// A panic while it was held left counts and tables that are whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use carrack_client::Connect;

    use super::*;
    use crate::connection::Backend;
    use crate::server::ImportRule;

    fn held(scope: Scope) -> (Held, Instant) {
        let now = Instant::now();
        (held_by(0, Some(scope), "grant", now), now)
    }

    fn held_by(key: u8, scope: Option<Scope>, grant: &str, now: Instant) -> Held {
        let limits = Arc::new(Limits::new(grant.to_owned(), now));
        let key = [key; 32];
        Held { key, scope, limits }
    }

    #[test]
    fn requests_of_one_grant_are_bounded_in_number_and_at_once() {
        let (held, now) = held(Scope::none().read());
        let mut under_way = Vec::new();
        for _ in 0..HTTP_UNDER_WAY_MAX {
            under_way.push(held.enter(now).unwrap());
        }
        assert!(matches!(held.enter(now), Err(Refusal::TooMuch(_))));
        under_way.pop();
        assert!(held.enter(now).is_ok());
        drop(under_way);
        let left = (0..HTTP_REQUESTS_PER_SECOND).filter(|_| held.enter(now).is_ok());
        assert_eq!(
            left.count(),
            HTTP_REQUESTS_PER_SECOND as usize - HTTP_UNDER_WAY_MAX - 2
        );
    }

    #[test]
    fn bytes_are_paid_for() {
        let (held, now) = held(Scope::none().read());
        let charge = |bytes| lock(&held.limits.rates).bytes.charge(bytes);
        charge(HTTP_BYTES_PER_SECOND as usize);
        assert!(held.enter(now).is_ok());
        charge(1);
        assert!(matches!(held.enter(now), Err(Refusal::TooMuch(_))));
        assert!(held.enter(now + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_grant_of_nothing_is_too_little() {
        let (held, now) = held(Scope::none());
        let refused = held.enter(now);
        assert_eq!(refused.err(), Some(Refusal::TooLittle(SCOPE)));
    }

    /// Two tokens of a grant have what one has; with another grant's they share nothing.
    #[cfg(feature = "embedded")]
    #[tokio::test(flavor = "multi_thread")]
    async fn tokens_of_one_grant_share_its_limits() {
        use crate::resources::granted::{ACTOR, Archive};

        let archive = Archive::new().await;
        let holders = holders_of(archive.owner().clone());
        let grants = archive.owner().session().await.unwrap().grants();
        let scope = || {
            let scope = Scope::none().repo(ACTOR).all_collections().read();
            scope.unlimited_calls().unlimited_bytes().never_expires()
        };
        let one = grants.issue(scope(), "one").await.unwrap().grant;
        let other = grants.issue(scope(), "other").await.unwrap().grant;
        let mut held = Vec::new();
        for grant in [&one, &one, &other] {
            let (token, _) = grant.save("").await.unwrap();
            held.push(holders.of(&token).await.unwrap());
        }
        assert_eq!(holders.connections().live, 3);
        let now = Instant::now();
        let enter = |at: usize| held[at].grant.as_ref().unwrap().enter(now);
        // As many as may be, by both in turn; then neither may, and the other grant's may.
        for turn in 0..HTTP_REQUESTS_PER_SECOND {
            assert!(enter(turn as usize % 2).is_ok(), "{turn}");
        }
        for at in [0, 1] {
            assert!(matches!(enter(at), Err(Refusal::TooMuch(_))), "{at}");
        }
        assert!(enter(2).is_ok());
        // What one was sent, the other waits for.
        let later = now + Duration::from_secs(1);
        lock(&held[0].grant.as_ref().unwrap().limits.rates)
            .bytes
            .charge(2 * HTTP_BYTES_PER_SECOND as usize + 1);
        let second = held[1].grant.as_ref().unwrap();
        assert!(matches!(second.enter(later), Err(Refusal::TooMuch(_))));
        assert!(second.enter(later + Duration::from_secs(1)).is_ok());
        drop(held);
        holders.close();
        archive.end().await;
    }

    /// The store does not say of which grant a token is whose calls are spent.
    #[cfg(feature = "embedded")]
    #[tokio::test(flavor = "multi_thread")]
    async fn tokens_of_a_spent_grant_share_limits() {
        use crate::resources::granted::{ACTOR, Archive};

        let archive = Archive::new().await;
        let holders = holders_of(archive.owner().clone());
        let grants = archive.owner().session().await.unwrap().grants();
        let scope = Scope::none().repo(ACTOR).all_collections().read();
        let scope = scope.calls(1).unlimited_bytes().never_expires();
        let issued = grants.issue(scope, "spent").await.unwrap();
        issued.session.about().await.unwrap();
        let mut held = Vec::new();
        for _ in 0..2 {
            let (token, _) = issued.grant.save("").await.unwrap();
            held.push(holders.of(&token).await.unwrap());
        }
        let held: Vec<_> = held
            .iter()
            .map(|held| held.grant.as_ref().unwrap())
            .collect();
        assert!(held.iter().all(|held| held.scope.is_none()));
        assert!(Arc::ptr_eq(&held[0].limits, &held[1].limits));
        holders.close();
        archive.end().await;
    }

    fn holders(listener: &std::net::TcpListener) -> Holders {
        let address = listener.local_addr().unwrap().to_string();
        holders_of(Connection::new(Backend::Listening(Connect::to(
            &address.parse().unwrap(),
        ))))
    }

    fn holders_of(root: Connection) -> Holders {
        let policy = Policy {
            read_only: false,
            import: ImportRule::Nothing,
            tools: None,
        };
        Holders::new(root, policy, StreamableHttpServerConfig::default(), None)
    }

    fn listener() -> std::net::TcpListener {
        std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap()
    }

    /// A store that takes connections and says nothing: as many tokens wait for it as may, and none of them for ever.
    #[tokio::test(start_paused = true)]
    async fn tokens_wait_for_the_store_in_bounded_number_and_time() {
        let listener = listener();
        let holders = &holders(&listener);
        let waiting = RESTORES_MAX + RESTORES_WAITING_MAX;
        let shown = (0..=waiting).map(|i| async move {
            let refused = holders.of(&format!("carrack_{i}")).await.err();
            refused.unwrap()
        });
        let refused = futures::future::join_all(shown).await;
        let count = |refusal| refused.iter().filter(|seen| **seen == refusal).count();
        assert_eq!(
            (count(Refusal::NoStore), count(Refusal::Busy)),
            (waiting, 1)
        );
        assert_eq!(holders.connections().refused, waiting as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_uses_is_closed() {
        let listener = listener();
        let holders = holders(&listener);
        let held = held_by(0, None, "", Instant::now());
        let holder = holders.holder(holders.root.restored("carrack_a"), Some(held));
        let used = lock(&holders.table).insert([0; 32], holder, Instant::now());
        let idle = Duration::from_secs(CONNECTION_IDLE_SECONDS_MAX);
        let sweep_for = async |time| {
            tokio::time::timeout(time, holders.sweep())
                .await
                .unwrap_err()
        };
        sweep_for(2 * idle).await;
        assert_eq!(holders.connections().live, 1, "it is in use");
        drop(used);
        sweep_for(idle / 5).await;
        assert_eq!(holders.connections().live, 0);
    }

    #[test]
    fn run_tokens_differ() {
        let (one, other) = (RunToken::new().unwrap(), RunToken::new().unwrap());
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), "carrack_run_".len() + 43);
    }
}
