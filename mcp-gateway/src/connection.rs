//! [`Connection`]: the gateway's session with a store, made again when it is lost.
//!
//! Whoever owns a data folder may end while the gateway runs. A call that meets the loss is repeated once on a new
//! session if it only reads; a write is not, since it may have taken effect.
//!
//! A connection has one authority: that of the gateway itself, or that of a token which was given to it. Over HTTP each
//! live grant has its own, so no agent can hold up another one's answers, or reach what another one may.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use carrack_client::{About, Client, Connect, Error, Scope, Session, Store};
use carrack_schema::Code;
use tokio::sync::Mutex;

#[cfg(feature = "embedded")]
use crate::embedded::Folder;
use crate::lately::Lately;

/// Where the store is.
#[derive(Debug)]
pub enum Backend {
    /// It listens there.
    Listening(Connect),
    /// In a data folder, served by whoever owns it: another process, or this one.
    #[cfg(feature = "embedded")]
    Folder(Folder),
}

/// A session with the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Arc<Backend>,
    authority: Authority,
    /// Held while connecting, so that many calls that meet a loss make one new session.
    live: Mutex<Live>,
    /// Calls that were answered: each shows that the authority was good at that time.
    answered: AtomicU64,
}

/// As whom the gateway talks to the store.
enum Authority {
    /// As what its way to the store makes it; by the folder's own socket that is the owner.
    Own,
    /// As the holder of a token.
    Token(String),
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token opens its grant for whoever reads it in a log.
        f.write_str(match self {
            Self::Own => "Own",
            Self::Token(_) => "Token",
        })
    }
}

/// A session and its store, which is named once, so that no call has to send that hop again; with what is in it, see
/// [`Lately`].
#[derive(Clone, Debug)]
struct Open {
    session: Session,
    lately: Lately,
    /// Whether a call on what is named here came to no good end. Its error may be of a hop, and would be that of every call
    /// that names the same; so the next one names all anew.
    is_doubtful: Arc<AtomicBool>,
}

impl Open {
    fn of(session: Session) -> Self {
        let lately = Lately::new(session.store());
        Self {
            session,
            lately,
            is_doubtful: Arc::default(),
        }
    }

    /// Asks, and doubts what is named here unless the answer is a good one: also if the caller leaves before there is any.
    async fn ask<T, F>(self, ask: impl Fn(Self) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let doubt = Doubt(Some(self.is_doubtful.clone()));
        let answer = ask(self).await;
        if answer.is_ok() {
            doubt.clear();
        }
        answer
    }
}

/// Doubts what was named, unless it is cleared.
struct Doubt(Option<Arc<AtomicBool>>);

impl Doubt {
    fn clear(mut self) {
        self.0 = None;
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some(is_doubtful) = &self.0 {
            is_doubtful.store(true, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct Live {
    open: Option<Open>,
    /// Counts sessions: a call may only give up the session it used, not its successor.
    generation: u64,
    /// What that session may do, once it was asked.
    scope: Option<Arc<Scope>>,
}

impl Connection {
    /// Names a store; nothing is opened before [`session`](Self::session).
    pub fn new(backend: Backend) -> Self {
        Self::of(Arc::new(backend), Authority::Own)
    }

    fn of(backend: Arc<Backend>, authority: Authority) -> Self {
        Self(Arc::new(Inner {
            backend,
            authority,
            live: Mutex::default(),
            answered: AtomicU64::new(0),
        }))
    }

    /// Names the same store for the holder of a token, over an RPC connection of its own; nothing is opened yet.
    #[must_use]
    pub fn restored(&self, token: &str) -> Self {
        Self::of(self.0.backend.clone(), Authority::Token(token.to_owned()))
    }

    /// Returns the session, made now if there is none.
    ///
    /// # Errors
    /// If the store cannot be reached or opened.
    pub async fn session(&self) -> Result<Session, Error> {
        Ok(self.current().await?.0.session)
    }

    async fn current(&self) -> Result<(Open, u64), Error> {
        let mut live = self.0.live.lock().await;
        let generation = live.generation;
        if let Some(open) = &mut live.open {
            if open.is_doubtful.load(Ordering::Relaxed) {
                *open = Open::of(open.session.clone());
            }
            return Ok((open.clone(), generation));
        }
        let client = self.0.backend.client().await?;
        let session = match &self.0.authority {
            Authority::Own => client.login(""),
            Authority::Token(token) => client.restore(token),
        };
        let open = Open::of(session);
        live.open = Some(open.clone());
        live.generation += 1;
        Ok((open, live.generation))
    }

    async fn give_up(&self, generation: u64) {
        let mut live = self.0.live.lock().await;
        if live.generation == generation {
            live.open = None;
            live.scope = None;
        }
    }

    /// Returns what the store is and what this connection's authority may.
    ///
    /// # Errors
    /// `badCredential`, `revoked` or `expired` if that authority is none any more, and if the store cannot be reached.
    pub async fn about(&self) -> Result<About, Error> {
        self.ask(|session| async move { session.about().await })
            .await
    }

    /// Reads, and reads again on a new session if this one turns out to be lost.
    ///
    /// # Errors
    /// Those of `read`, and if the store cannot be reached.
    pub(crate) async fn read<T, F>(&self, read: impl Fn(Store) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.with(|open| read(open.lately.store().clone())).await
    }

    /// As [`read`](Self::read), with what was named lately.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn read_lately<T, F>(&self, read: impl Fn(Lately) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.with(|open| read(open.lately)).await
    }

    /// As [`read`](Self::read), of the session.
    ///
    /// # Errors
    /// Those of `ask`, and if the store cannot be reached.
    pub(crate) async fn ask<T, F>(&self, ask: impl Fn(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.with(|open| ask(open.session)).await
    }

    async fn with<T, F>(&self, ask: impl Fn(Open) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (open, generation) = self.current().await?;
        let answer = match open.ask(&ask).await {
            Err(error) if error.code() == Code::Unavailable => {
                tracing::info!(%error, "the store is gone; connecting again");
                self.give_up(generation).await;
                self.current().await?.0.ask(&ask).await
            }
            answer => answer,
        };
        self.note(&answer);
        answer
    }

    /// Writes once. A lost session is given up, so that the next call makes a new one.
    ///
    /// # Errors
    /// Those of `write`, and if the store cannot be reached.
    pub(crate) async fn write<T, F>(&self, write: impl FnOnce(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (open, generation) = self.current().await?;
        let answer = write(open.session).await;
        if let Err(error) = &answer
            && error.code() == Code::Unavailable
        {
            self.give_up(generation).await;
        }
        self.note(&answer);
        answer
    }

    fn note<T>(&self, answer: &Result<T, Error>) {
        if answer.is_ok() {
            self.0.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many calls were answered. If there are more than before, the authority was good in between.
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Closes the session and, if this process owns the store, ends serving it. Blocks until that is done.
    pub async fn shutdown(&self) {
        self.0.live.lock().await.open = None;
        match &*self.0.backend {
            Backend::Listening(_) => {}
            #[cfg(feature = "embedded")]
            Backend::Folder(folder) => folder.shutdown().await,
        }
    }
}

impl Connection {
    /// Returns what the session may do. It is asked once a session: what a grant allows never changes.
    ///
    /// # Errors
    /// If the grant is over, or the store cannot be reached.
    pub(crate) async fn scope(&self) -> Result<Arc<Scope>, Error> {
        if let Some(scope) = &self.0.live.lock().await.scope {
            return Ok(scope.clone());
        }
        let scope = Arc::new(self.about().await?.scope);
        // Every session of this connection has its one authority; only one that is lost is asked again.
        let mut live = self.0.live.lock().await;
        if live.open.is_some() {
            live.scope = Some(scope.clone());
        }
        Ok(scope)
    }

    /// Names a session that is there already, for tests of what its holder meets.
    #[cfg(test)]
    pub(crate) async fn holding(backend: Backend, session: Session) -> Self {
        let connection = Self::new(backend);
        connection.0.live.lock().await.open = Some(Open::of(session));
        connection
    }
}

impl Backend {
    async fn client(&self) -> Result<Client, Error> {
        match self {
            Self::Listening(connect) => connect.clone().open().await,
            #[cfg(feature = "embedded")]
            Self::Folder(folder) => folder.client().await,
        }
    }
}

#[cfg(all(test, feature = "embedded"))]
mod naming {
    use futures::FutureExt;

    use super::*;
    use crate::resources::granted::{ACTOR, Archive};

    /// A hop may be refused that nobody hears of, since its caller has left.
    #[tokio::test(flavor = "multi_thread")]
    async fn all_is_named_anew_after_a_caller_left() {
        let archive = Archive::new().await;
        let owner = archive.owner();
        let named = async || owner.current().await.unwrap().0.is_doubtful;
        let first = named().await;
        let read = |lately: Lately| async move { lately.repo(ACTOR, None).info().await };
        owner.read_lately(read).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &named().await), "a good answer");
        let waiting = |_| std::future::pending::<Result<(), Error>>();
        assert!(owner.read_lately(waiting).now_or_never().is_none());
        assert!(!Arc::ptr_eq(&first, &named().await), "a caller left");
        owner.read_lately(read).await.unwrap().unwrap();
        archive.end().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let backend = Backend::Listening(Connect::to(&"127.0.0.1:1".parse().unwrap()));
        let connection = Connection::new(backend).restored("carrack_secret");
        let shown = format!("{connection:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
