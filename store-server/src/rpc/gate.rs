//! [`Gate`] and [`Session`]: the way in.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::Code;
use carrack_schema::limits::{
    CHUNK_BYTES_MAX, LIST_BYTES_MAX, LIST_RECORDS_MAX, SERVER_MESSAGE_WORDS_MAX,
};
use carrack_schema::wire::store_capnp::{gate, session};

use super::error::answer;
use super::importer::Importer;
use super::keeper::Keeper;
use super::store::StoreObject;
use crate::error::Error;
use crate::store::Store;

/// The bootstrap of a connection.
pub(super) struct Gate {
    store: Store,
}

impl Gate {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }
}

impl gate::Server for Gate {
    async fn login(
        self: Rc<Self>,
        params: gate::LoginParams,
        mut results: gate::LoginResults,
    ) -> capnp::Result<()> {
        answer(|| {
            // Until there are grants, who can reach the socket is its owner: a unix socket of mode 0600, or loopback.
            if !params.get()?.get_credential()?.is_empty() {
                return Err(Error::new(
                    Code::Denied,
                    "this server knows no such credential; the local owner's is empty",
                )
                .into());
            }
            results.get().set_session(new_client(Session {
                store: self.store.clone(),
            }));
            Ok(())
        })
    }
}

struct Session {
    store: Store,
}

impl session::Server for Session {
    async fn about(
        self: Rc<Self>,
        _params: session::AboutParams,
        mut results: session::AboutResults,
    ) -> capnp::Result<()> {
        let bytes = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let mut about = results.get().init_about();
        about.set_version(env!("CARGO_PKG_VERSION"));
        about.set_message_bytes_max(bytes(SERVER_MESSAGE_WORDS_MAX * 8));
        about.set_chunk_bytes_max(bytes(CHUNK_BYTES_MAX));
        about.set_list_records_max(LIST_RECORDS_MAX);
        about.set_list_bytes_max(bytes(LIST_BYTES_MAX));
        Ok(())
    }

    async fn store(
        self: Rc<Self>,
        _params: session::StoreParams,
        mut results: session::StoreResults,
    ) -> capnp::Result<()> {
        results
            .get()
            .set_store(new_client(StoreObject::new(self.store.clone())));
        Ok(())
    }

    async fn importer(
        self: Rc<Self>,
        _params: session::ImporterParams,
        mut results: session::ImporterResults,
    ) -> capnp::Result<()> {
        results
            .get()
            .set_importer(new_client(Importer::new(self.store.clone())));
        Ok(())
    }

    async fn keeper(
        self: Rc<Self>,
        _params: session::KeeperParams,
        mut results: session::KeeperResults,
    ) -> capnp::Result<()> {
        results
            .get()
            .set_keeper(new_client(Keeper::new(self.store.clone())));
        Ok(())
    }
}
