//! [`Gate`] and [`Session`]: the way in.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::Code;
use carrack_schema::limits::{
    CALLS_MAX, CHUNK_BYTES_MAX, LIST_BYTES_MAX, LIST_RECORDS_MAX, OBJECTS_MAX,
    SERVER_MESSAGE_WORDS_MAX,
};
use carrack_schema::wire::store_capnp::{gate, session};

use super::caller::Caller;
use super::connection::Connection;
use super::error::answer;
use super::importer::Importer;
use super::keeper::Keeper;
use super::store::StoreObject;
use crate::auth::{Authority, Operation};
use crate::error::Error;
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
            if !self.entrance.is_owners(credential) {
                self.entrance.login_failed();
                let words = "this server knows no such credential; the empty one is the owner's, on a unix socket";
                return Err(Error::new(Code::BadCredential, words).into());
            }
            let caller = Caller::login(self.store.clone(), Authority::owner(), &self.connection)?;
            results.get().set_session(new_client(Session { caller }));
            Ok(())
        })
    }
}

struct Session {
    caller: Caller,
}

impl session::Server for Session {
    async fn about(
        self: Rc<Self>,
        _params: session::AboutParams,
        mut results: session::AboutResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let _call = self.caller.enter()?;
            let bytes = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
            let mut about = results.get().init_about();
            about.set_version(env!("CARGO_PKG_VERSION"));
            about.set_message_bytes_max(bytes(SERVER_MESSAGE_WORDS_MAX * 8));
            about.set_chunk_bytes_max(bytes(CHUNK_BYTES_MAX));
            about.set_list_records_max(LIST_RECORDS_MAX);
            about.set_list_bytes_max(bytes(LIST_BYTES_MAX));
            about.set_calls_max(CALLS_MAX);
            about.set_objects_max(OBJECTS_MAX);
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
}
