//! [`Caller`]: who calls a method. Every object holds one, and can reach the store through it only.

use std::rc::Rc;

use carrack_schema::names::RepoName;
use carrack_schema::{Code, Did, Nsid};

use super::connection::{CallPermit, Calls, Connection, Seat};
use super::error::exception;
use crate::auth::{Authority, Operation};
use crate::error::{Error, Result};
use crate::store::Store;

/// Who calls: whose authority it is, over which connection. Each object has its own, and with it a seat.
pub(super) struct Caller {
    session: Rc<Session>,
    _seat: Seat,
}

/// What all objects of a session share.
struct Session {
    store: Store,
    authority: Authority,
    calls: Calls,
    connection: Rc<Connection>,
}

/// A call under way; what it needs it asks here, so that nothing is done before the call was let in.
pub(super) struct Call {
    session: Rc<Session>,
    _permit: CallPermit,
}

impl Caller {
    /// Begins a session.
    ///
    /// # Errors
    /// `overloaded` if the connection holds too many objects.
    pub(super) fn login(
        store: Store,
        authority: Authority,
        connection: &Rc<Connection>,
    ) -> Result<Self> {
        Ok(Self {
            _seat: connection.seat()?,
            session: Rc::new(Session {
                store,
                authority,
                calls: Calls::new(),
                connection: connection.clone(),
            }),
        })
    }

    /// Lets in a call that gives out another object, and returns what that one holds.
    ///
    /// # Errors
    /// As [`Authority::enter`]; `overloaded` if the connection holds too many objects.
    pub(super) fn hop(&self) -> Result<Self> {
        self.session.authority.enter()?;
        self.seat()
    }

    /// As [`hop`](Self::hop), to an object that is of no use without `operation`.
    ///
    /// # Errors
    /// As [`hop`](Self::hop), and `denied`.
    pub(super) fn hop_for(&self, operation: Operation) -> Result<Self> {
        self.session.authority.begin(operation)?;
        self.seat()
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
        self.session.authority.begin(operation)?;
        self.call()
    }

    /// Lets in a call that any holder may make.
    ///
    /// # Errors
    /// As [`Authority::enter`]; `overloaded` if too many calls of the session are under way.
    pub(super) fn enter(&self) -> Result<Call> {
        self.session.authority.enter()?;
        self.call()
    }

    fn call(&self) -> Result<Call> {
        Ok(Call {
            _permit: self.session.calls.begin()?,
            session: self.session.clone(),
        })
    }
}

impl Caller {
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
}

impl Session {
    fn check_repo(&self, did: &Did) -> Result<()> {
        if self.authority.sees_repo(did) {
            return Ok(());
        }
        Err(denied(format!("the repository {did}")))
    }

    fn check_collection(&self, nsid: &Nsid) -> Result<()> {
        if self.authority.sees_collection(nsid) {
            return Ok(());
        }
        Err(denied(format!("the collection {nsid}")))
    }
}

fn denied(what: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Denied,
        format!("{what} is outside what this session may reach"),
    )
}

impl Call {
    /// Returns which repo a name is of.
    ///
    /// # Errors
    /// `denied` for a DID outside the scope, whether or not the store holds it; `unknownHandle` for a handle that is
    /// nobody's, or of somebody outside the scope.
    pub(super) fn resolve(&self, name: &RepoName) -> Result<Did> {
        match name {
            RepoName::Did(did) => {
                self.session.check_repo(did)?;
                Ok(did.clone())
            }
            RepoName::Handle(handle) => self
                .store()
                .resolve(handle, |did| self.authority().sees_repo(did)),
        }
    }

    /// # Errors
    /// `denied` if a collection is outside the scope.
    pub(super) fn check_collection(&self, nsid: &Nsid) -> Result<()> {
        self.session.check_collection(nsid)
    }

    /// # Errors
    /// `denied`, with the reason, if the scope leaves out any collection.
    pub(super) fn check_all_collections(&self, why: &str) -> Result<()> {
        if self.authority().sees_all_collections() {
            return Ok(());
        }
        let words = format!("this session may reach some collections only, and {why}");
        Err(Error::new(Code::Denied, words))
    }

    /// # Errors
    /// `denied`, with the reason, if the scope leaves out any repo or collection.
    pub(super) fn check_whole_store(&self, why: &str) -> Result<()> {
        self.check_all_collections(why)?;
        if self.authority().sees_all_repos() {
            return Ok(());
        }
        let words = format!("this session may reach some repositories only, and {why}");
        Err(Error::new(Code::Denied, words))
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

    pub(super) fn store(&self) -> &Store {
        &self.session.store
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.session.authority
    }
}
