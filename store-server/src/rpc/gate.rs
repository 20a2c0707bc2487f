//! [`Gate`] and [`Session`]: the way in.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::Code;
use carrack_schema::limits::{
    CALLS_MAX, CHUNK_BYTES_MAX, LIST_BYTES_MAX, LIST_RECORDS_MAX, OBJECTS_MAX, QUERY_BYTES_MAX,
    QUERY_ROWS_MAX, QUERY_STEPS_MAX, QUERY_WORK_MAX, SERVER_MESSAGE_WORDS_MAX,
};
use carrack_schema::wire::store_capnp::{gate, session};

use super::caller::Caller;
use super::connection::Connection;
use super::error::answer;
use super::grants::{self, GrantsObject};
use super::importer::Importer;
use super::keeper::Keeper;
use super::store::StoreObject;
use crate::auth::{Authority, Operation};
use crate::error::{Error, Result};
use crate::server::Entrance;
use crate::store::Store;

/// The bootstrap of a connection.
pub(super) struct Gate {
    store: Store,
    entrance: Entrance,
    connection: Rc<Connection>,
}

impl Gate {
    pub(super) fn new(store: Store, entrance: Entrance, connection: Rc<Connection>) -> Self {
        Self {
            store,
            entrance,
            connection,
        }
    }
}

impl gate::Server for Gate {
    async fn login(
        self: Rc<Self>,
        params: gate::LoginParams,
        mut results: gate::LoginResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let credential = params.get()?.get_credential()?.to_str()?;
            let authority = if self.entrance.is_owners(credential) {
                Ok(Authority::owner())
            } else {
                self.open(credential)
            };
            let session = self.enter("login", authority)?;
            results.get().set_session(new_client(session));
            Ok(())
        })
    }

    async fn restore(
        self: Rc<Self>,
        params: gate::RestoreParams,
        mut results: gate::RestoreResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let token = params.get()?.get_token()?.to_str()?;
            let session = self.enter("restore", self.open(token))?;
            results.get().set_session(new_client(session));
            Ok(())
        })
    }
}

impl Gate {
    /// Returns the authority that a token opens; the empty text is none.
    fn open(&self, token: &str) -> Result<Authority> {
        if token.is_empty() {
            let words = "this asks for a token; the empty text is the owner's, to log in on the store's own unix socket";
            return Err(Error::new(Code::BadCredential, words));
        }
        self.store.inner().grants.open(token)
    }

    fn enter(&self, what: &str, authority: Result<Authority>) -> Result<Session> {
        let audit = &self.store.inner().audit;
        let authority = authority.inspect_err(|error| {
            self.entrance.login_failed();
            audit.tell_refusal(None, what, error.code());
        })?;
        let (store, lane) = (self.store.clone(), self.entrance.lane());
        let caller = Caller::login(store, authority.clone(), &self.connection, lane)?;
        audit.tell_login(&authority, what);
        Ok(Session::new(caller))
    }
}

pub(super) struct Session {
    caller: Caller,
}

impl Session {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }
}

impl session::Server for Session {
    async fn about(
        self: Rc<Self>,
        _params: session::AboutParams,
        mut results: session::AboutResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let call = self.caller.enter()?;
            let bytes = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
            let mut about = results.get().init_about();
            about.set_version(env!("CARGO_PKG_VERSION"));
            about.set_message_bytes_max(bytes(SERVER_MESSAGE_WORDS_MAX * 8));
            about.set_chunk_bytes_max(bytes(CHUNK_BYTES_MAX));
            about.set_list_records_max(LIST_RECORDS_MAX);
            about.set_list_bytes_max(bytes(LIST_BYTES_MAX));
            about.set_calls_max(CALLS_MAX);
            about.set_objects_max(OBJECTS_MAX);
            about.set_query_steps_max(bytes(QUERY_STEPS_MAX));
            about.set_query_rows_max(QUERY_ROWS_MAX);
            about.set_query_bytes_max(QUERY_BYTES_MAX);
            about.set_query_work_max(QUERY_WORK_MAX);
            let authority = call.authority();
            about.set_label(authority.label());
            about.set_grant(authority.id());
            authority.scope().write(about.init_scope());
            Ok(())
        })
    }

    async fn store(
        self: Rc<Self>,
        _params: session::StoreParams,
        mut results: session::StoreResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let store = StoreObject::new(self.caller.hop()?);
            results.get().set_store(new_client(store));
            Ok(())
        })
    }

    async fn importer(
        self: Rc<Self>,
        _params: session::ImporterParams,
        mut results: session::ImporterResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let importer = Importer::new(self.caller.hop_for(Operation::Import)?);
            results.get().set_importer(new_client(importer));
            Ok(())
        })
    }

    async fn keeper(
        self: Rc<Self>,
        _params: session::KeeperParams,
        mut results: session::KeeperResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let keeper = Keeper::new(self.caller.hop()?);
            results.get().set_keeper(new_client(keeper));
            Ok(())
        })
    }

    async fn grants(
        self: Rc<Self>,
        _params: session::GrantsParams,
        mut results: session::GrantsResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let grants = GrantsObject::new(self.caller.hop_for(Operation::Grant)?);
            results.get().set_grants(new_client(grants));
            Ok(())
        })
    }

    async fn usage(
        self: Rc<Self>,
        _params: session::UsageParams,
        mut results: session::UsageResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let call = self.caller.enter()?;
            let usage = call.authority().grant().map(|grant| grant.usage());
            grants::usage(results.get().init_usage(), usage.unwrap_or_default());
            Ok(())
        })
    }
}
