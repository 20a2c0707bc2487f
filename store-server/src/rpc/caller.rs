//! [`Caller`]: who calls a method. Every object holds one, and can reach the store through it only.
//!
//! A call is let in, charged and checked here, and what it did is told to the audit log when it is over.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use carrack_schema::names::RepoName;
use carrack_schema::{Code, Did, Nsid};

use super::connection::{Answering, Calls, Connection, Permit};
use super::error::exception;
use super::push::Push;
use crate::auth::audit::{Audit, Deed};
use crate::auth::grant::OpenSession;
use crate::auth::{Authority, Operation};
use crate::error::{Error, Result};
use crate::pool::Lane;
use crate::store::Store;

/// Who calls: whose authority it is, over which connection. Each object has its own, and with it a seat.
pub(super) struct Caller {
    session: Rc<Session>,
    _seat: Permit,
}

/// What all objects of a session share.
struct Session {
    store: Store,
    authority: Authority,
    calls: Calls,
    connection: Rc<Connection>,
    lane: Lane,
    _open: Option<OpenSession>,
}

/// A call under way; what it needs it asks here, so that nothing is done before the call was let in.
pub(super) struct Call {
    session: Rc<Session>,
    _permit: Permit,
    /// None for one that any holder may make; the audit log does not tell of those.
    operation: Option<Operation>,
    deed: OnceCell<&'static str>,
    repo: OnceCell<Did>,
    object: OnceCell<String>,
    bytes: Cell<u64>,
    outcome: OnceCell<&'static str>,
}

/// The outcome of a call that nobody waited for, or that failed before it did anything.
const ENDED_EARLY: &str = "ended early";

impl Caller {
    /// Begins a session.
    ///
    /// # Errors
    /// `overloaded` if the connection holds too many objects.
    pub(super) fn login(
        store: Store,
        authority: Authority,
        connection: &Rc<Connection>,
        lane: &Lane,
    ) -> Result<Self> {
        let open = authority.grant().cloned().map(OpenSession::new);
        let seat = connection.seat()?;
        connection.logged_in();
        Ok(Self {
            _seat: seat,
            session: Rc::new(Session {
                store,
                authority,
                calls: connection.calls(),
                connection: connection.clone(),
                lane: lane.clone(),
                _open: open,
            }),
        })
    }

    /// Begins a session of another authority on the same connection.
    ///
    /// # Errors
    /// As [`login`](Self::login).
    pub(super) fn with(&self, authority: Authority) -> Result<Self> {
        let session = &self.session;
        let store = session.store.clone();
        Self::login(store, authority, &session.connection, &session.lane)
    }

    /// Lets in a call that gives out another object, and returns what that one holds.
    ///
    /// # Errors
    /// As [`Authority::enter`]; `overloaded` if the connection holds too many objects.
    pub(super) fn hop(&self) -> Result<Self> {
        self.session.admit(None)?;
        self.seat()
    }

    /// As [`hop`](Self::hop), to an object that is of no use without `operation`.
    ///
    /// # Errors
    /// As [`hop`](Self::hop), and `denied`.
    pub(super) fn hop_for(&self, operation: Operation) -> Result<Self> {
        self.session.admit(Some(operation))?;
        self.seat()
    }

    /// Returns what another object holds that the answer of a call gives out beside what was asked for: the call was
    /// counted.
    ///
    /// # Errors
    /// `overloaded` if the connection holds too many objects.
    pub(super) fn beside(&self) -> Result<Self> {
        self.seat()
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.session.connection
    }

    fn seat(&self) -> Result<Self> {
        Ok(Self {
            session: self.session.clone(),
            _seat: self.session.connection.seat()?,
        })
    }

    /// Lets in a call that does `operation`.
    ///
    /// # Errors
    /// As [`Authority::begin`]; `overloaded` if too many calls of the session are under way.
    pub(super) fn begin(&self, operation: Operation) -> Result<Call> {
        self.session.admit(Some(operation))?;
        self.call(Some(operation))
    }

    /// Lets in a call that any holder may make.
    ///
    /// # Errors
    /// As [`Authority::enter`]; `overloaded` if too many calls of the session are under way.
    pub(super) fn enter(&self) -> Result<Call> {
        self.session.admit(None)?;
        self.call(None)
    }

    fn call(&self, operation: Option<Operation>) -> Result<Call> {
        Ok(Call {
            _permit: self.session.calls.begin()?,
            session: self.session.clone(),
            operation,
            deed: OnceCell::new(),
            repo: OnceCell::new(),
            object: OnceCell::new(),
            bytes: Cell::new(0),
            outcome: OnceCell::new(),
        })
    }

    /// # Errors
    /// `denied` if a repo is outside the scope, whether or not the store holds it.
    pub(super) fn check_repo(&self, did: &Did) -> Result<()> {
        self.session.check_repo(did)
    }

    /// # Errors
    /// `denied` if a collection is outside the scope.
    pub(super) fn check_collection(&self, nsid: &Nsid) -> Result<()> {
        self.session.check_collection(nsid)
    }

    /// # Errors
    /// `denied`, with the reason, if the scope leaves out any collection.
    pub(super) fn check_all_collections(&self, why: &str) -> Result<()> {
        self.session.check_all_collections(why)
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.session.authority
    }

    /// Tells the audit log what was done in many calls.
    pub(super) fn tell(&self, deed: Deed<'_>) {
        self.session.audit().tell(&self.session.authority, deed);
    }
}

impl Session {
    fn audit(&self) -> &Audit {
        &self.store.inner().audit
    }

    /// Counts a call.
    fn admit(&self, operation: Option<Operation>) -> Result<()> {
        let admitted = match operation {
            None => self.authority.enter(),
            Some(operation) => self.authority.begin(operation),
        };
        let what = operation.map_or("hop", Operation::as_str);
        admitted.map_err(|error| self.refused(what, error))
    }

    /// Notes that something was not allowed, and returns why.
    fn refused(&self, what: &str, error: Error) -> Error {
        if let Some(grant) = self.authority.grant() {
            grant.count_refusal();
        }
        self.audit()
            .tell_refusal(Some(&self.authority), what, error.code());
        error
    }

    fn denied(&self, what: &str, words: String) -> Error {
        self.refused(what, Error::new(Code::Denied, words))
    }

    fn check_repo(&self, did: &Did) -> Result<()> {
        if self.authority.sees_repo(did) {
            return Ok(());
        }
        let words = format!("the repository {did} is outside what this session may reach");
        Err(self.denied("repository", words))
    }

    fn check_collection(&self, nsid: &Nsid) -> Result<()> {
        if self.authority.sees_collection(nsid) {
            return Ok(());
        }
        let words = format!("the collection {nsid} is outside what this session may reach");
        Err(self.denied("collection", words))
    }

    fn check_all_collections(&self, why: &str) -> Result<()> {
        if self.authority.sees_all_collections() {
            return Ok(());
        }
        let words = format!("this session may reach some collections only, and {why}");
        Err(self.denied("all collections", words))
    }

    fn check_owner(&self, why: &str) -> Result<()> {
        if self.authority.grant().is_none() {
            return Ok(());
        }
        let words =
            format!("this is for the store's owner alone, on the data folder's socket: {why}");
        Err(self.denied("the owner", words))
    }

    fn check_all_repos(&self, why: &str) -> Result<()> {
        if self.authority.sees_all_repos() {
            return Ok(());
        }
        let words = format!("this session may reach some repositories only, and {why}");
        Err(self.denied("all repositories", words))
    }
}

impl Call {
    /// Returns which repo a name is of.
    ///
    /// # Errors
    /// `denied` for a DID outside the scope, whether or not the store holds it; `unknownHandle` for a handle that is
    /// nobody's, or of somebody outside the scope.
    pub(super) fn resolve(&self, name: &RepoName) -> Result<Did> {
        let did = match name {
            RepoName::Did(did) => {
                self.noting(self.session.check_repo(did))?;
                did.clone()
            }
            RepoName::Handle(handle) => self
                .store()
                .resolve(handle, |did| self.authority().sees_repo(did))?,
        };
        // A call that is about several is told of its first.
        let _first = self.repo.set(did.clone());
        Ok(did)
    }

    /// # Errors
    /// `denied` if the scope does not allow what else the call does.
    pub(super) fn check_may(&self, operation: Operation) -> Result<()> {
        let allowed = self.session.authority.check_may(operation);
        let refused = |error| self.session.refused(operation.as_str(), error);
        self.noting(allowed.map_err(refused))
    }

    /// # Errors
    /// `denied` if a collection is outside the scope.
    pub(super) fn check_collection(&self, nsid: &Nsid) -> Result<()> {
        self.noting(self.session.check_collection(nsid))
    }

    /// # Errors
    /// `denied`, with the reason, if the scope leaves out any collection.
    pub(super) fn check_all_collections(&self, why: &str) -> Result<()> {
        self.noting(self.session.check_all_collections(why))
    }

    /// # Errors
    /// `denied`, with the reason, if the scope leaves out any repo or collection.
    pub(super) fn check_whole_store(&self, why: &str) -> Result<()> {
        self.check_all_collections(why)?;
        self.noting(self.session.check_all_repos(why))
    }

    /// # Errors
    /// `denied`, with the reason, to whoever is not the store's owner.
    pub(super) fn check_owner(&self, why: &str) -> Result<()> {
        self.noting(self.session.check_owner(why))
    }

    /// Notes an error that ends the call.
    fn noting<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.ends(error.code().as_str()))
    }

    /// Counts bytes that go out with this call, before they do.
    ///
    /// # Errors
    /// As [`Authority::charge`].
    pub(super) fn charge(&self, bytes: usize) -> Result<()> {
        let charged = self.session.authority.charge(bytes);
        self.charged(bytes, charged)
    }

    /// As [`charge`](Self::charge) for what goes through piece by piece: it waits where the grant has a rate.
    ///
    /// # Errors
    /// As [`Authority::charge_paced`].
    pub(super) async fn charge_paced(&self, bytes: usize) -> Result<()> {
        let charged = self.session.authority.charge_paced(bytes).await;
        self.charged(bytes, charged)
    }

    fn charged(&self, bytes: usize, charged: Result<()>) -> Result<()> {
        self.noting(charged.map_err(|error| self.session.refused("bytes", error)))?;
        self.bytes.set(self.bytes.get() + bytes as u64);
        Ok(())
    }

    /// Says what this call does, and to what, for the audit log: it has a line of its own.
    pub(super) fn does(&self, deed: &'static str, object: impl Into<String>) {
        let _first = self.deed.set(deed);
        let object = object.into();
        if !object.is_empty() {
            let _first = self.object.set(object);
        }
    }

    /// Notes how the call ended, for the audit log.
    pub(super) fn ended<T>(&self, result: capnp::Result<T>) -> capnp::Result<T> {
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) => Code::split(&error.extra).0.as_str(),
        };
        self.ends(outcome);
        result
    }

    /// As [`ended`](Self::ended), in a word.
    pub(super) fn ends(&self, outcome: &'static str) {
        let _first = self.outcome.set(outcome);
    }

    /// Awaits `work` as long as the authority lasts; then `work` is dropped.
    ///
    /// # Errors
    /// As `work`; `revoked` or `expired`.
    pub(super) async fn while_allowed<T>(
        &self,
        work: impl Future<Output = capnp::Result<T>>,
    ) -> capnp::Result<T> {
        tokio::select! {
            biased;
            ended = self.session.authority.ended() => Err(exception(&ended)),
            done = work => done,
        }
    }

    /// Takes a place for something that is pushed to the caller, for as long as that lasts.
    ///
    /// # Errors
    /// `overloaded` if all are taken.
    pub(super) fn push(&self) -> Result<Push> {
        Push::begin(&self.session.connection)
    }

    /// Awaits the caller's answer to a call of ours, but not for ever.
    ///
    /// # Errors
    /// As the answer; `unavailable` if there is none in time.
    pub(super) async fn answered<T>(
        &self,
        answer: impl Future<Output = capnp::Result<T>>,
    ) -> capnp::Result<T> {
        self.session.connection.answered(answer).await
    }

    /// Does work that takes long on the pool's threads, in which connections take turns. `work` owns what it needs.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> capnp::Result<T> {
        self.make(work).await.map(|(done, _answering)| done)
    }

    /// As [`work`](Self::work), for what is much of an answer. It is written afterwards, because a message may not leave
    /// its thread; what is set aside for it is to be held until then. Nothing is begun while the peer does not read: calls
    /// that came in together would else pile their answers up.
    ///
    /// # Errors
    /// As `work`; `revoked` or `expired`, as [`while_allowed`](Self::while_allowed); `overloaded` if too many calls of
    /// the connection wait.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> capnp::Result<(T, Answering)> {
        let session = &self.session;
        let made = async {
            let turn = session.lane.turn().await?;
            let answering = session.connection.room_to_answer(0).await?;
            Ok((turn.run(work).await?, answering))
        };
        // Boxed for the sake of calls that are done with at once: the futures of their methods stay small.
        let made = async { made.await.map_err(|error: Error| exception(&error)) };
        Box::pin(self.while_allowed(made)).await
    }

    /// Waits for room for an answer of so many bytes, as a rule not at all. It is to be held until that is written.
    ///
    /// # Errors
    /// As [`Connection::room_to_answer`]; `revoked` or `expired`.
    pub(super) async fn room_for(&self, bytes: usize) -> capnp::Result<Option<Answering>> {
        let connection = &self.session.connection;
        if connection.has_room_at_once(bytes) {
            return Ok(None);
        }
        let room = async {
            let room = connection.room_to_answer(bytes).await;
            room.map_err(|error| exception(&error))
        };
        Box::pin(self.while_allowed(room)).await.map(Some)
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.session.connection
    }

    pub(super) fn store(&self) -> &Store {
        &self.session.store
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.session.authority
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(operation) = self.operation else {
            return;
        };
        let (audit, authority) = (self.session.audit(), &self.session.authority);
        let is_read = match operation {
            Operation::Read | Operation::List | Operation::Search | Operation::Blobs => true,
            Operation::Prove => true,
            // Looking at grants changes none.
            Operation::Grant => self.deed.get().is_none(),
            Operation::Export | Operation::Import | Operation::Delete | Operation::Maintain => {
                false
            }
        };
        if is_read {
            audit.read(authority, operation, self.repo.get(), self.bytes.get());
            return;
        }
        if self.outcome.get() == Some(&Code::Denied.as_str()) {
            // It was told as a refusal, and did nothing.
            return;
        }
        let deed = Deed {
            what: self.deed.get().copied().unwrap_or(operation.as_str()),
            repo: self.repo.get().map(Did::as_str),
            object: self.object.get().map(String::as_str),
            calls: 1,
            bytes: self.bytes.get(),
            outcome: self.outcome.get().copied().unwrap_or(ENDED_EARLY),
        };
        audit.tell(authority, deed);
    }
}
