//! The RPC objects: one interface a file. Each method unmarshals, calls the store, marshals; nothing is decided
//! here but the shape of an answer.

mod ancestors;
mod backup;
mod bounds;
mod caller;
mod connection;
mod drive;
mod error;
mod export;
mod feed;
mod gate;
mod grants;
mod importer;
mod keeper;
mod list;
mod message;
mod network;
mod push;
mod query;
mod questions;
mod record;
mod repo;
mod scan;
mod store;
mod thread;
mod view;
mod visible;
mod watch;
mod writing;

use std::rc::Rc;
use std::sync::Arc;

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client};
use carrack_schema::wire::store_capnp::gate as gate_capnp;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::bounds::Bounds;
use self::connection::{Connection, Totals};
use self::network::Network;
use crate::server::Entrance;
use crate::store::Store;

/// What connections are served with: a store, and what all of them may use together.
#[derive(Clone)]
pub struct Service {
    store: Store,
    bounds: Arc<Bounds>,
    totals: Arc<Totals>,
}

impl Service {
    /// Serves `store`, each connection within `bounds`.
    pub fn new(store: Store, bounds: Bounds) -> Self {
        Self {
            store,
            totals: Arc::new(Totals::new(&bounds)),
            bounds: Arc::new(bounds),
        }
    }

    /// Makes the RPC system that serves one connection that came in at `entrance`; it is driven by polling it on a
    /// [`LocalSet`](tokio::task::LocalSet), and ends with the connection.
    pub fn system(
        &self,
        entrance: Entrance,
        stream: impl AsyncRead + AsyncWrite + 'static,
    ) -> RpcSystem<Side> {
        let connection = self.connection();
        let gate = gate::Gate::new(self.store.clone(), entrance, connection.clone());
        let gate: gate_capnp::Client = new_client(gate);
        RpcSystem::new(
            Box::new(Network::new(stream, connection)),
            Some(gate.client),
        )
    }

    /// Serves one connection until its peer leaves, it fails, or `stop` is there. A panic in it stays in it.
    ///
    /// # Errors
    /// If the connection ended otherwise than by its peer's leaving or by `stop`.
    pub async fn serve(
        &self,
        entrance: Entrance,
        stream: impl AsyncRead + AsyncWrite + 'static,
        stop: impl Future<Output = ()>,
    ) -> capnp::Result<()> {
        drive::drive(self.system(entrance, stream), stop).await
    }

    fn connection(&self) -> Rc<Connection> {
        Connection::new(self.bounds.clone(), self.totals.clone())
    }
}

/// Makes the RPC system that serves `store` on one connection that came in at `entrance`, within the default bounds.
pub fn serve(
    store: Store,
    entrance: Entrance,
    stream: impl AsyncRead + AsyncWrite + 'static,
) -> RpcSystem<Side> {
    Service::new(store, Bounds::default()).system(entrance, stream)
}
