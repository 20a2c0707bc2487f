//! The RPC objects: one interface a file. Each method unmarshals, calls the store, marshals; nothing is decided
//! here but the shape of an answer.

mod ancestors;
mod caller;
mod connection;
mod error;
mod export;
mod feed;
mod gate;
mod grants;
mod importer;
mod keeper;
mod list;
mod push;
mod record;
mod repo;
mod scan;
mod store;
mod view;
mod visible;
mod watch;

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use carrack_schema::limits::{SERVER_MESSAGE_WORDS_MAX, STREAM_WINDOW_BYTES};
use carrack_schema::wire::store_capnp::gate as gate_capnp;
use futures::io::{AsyncReadExt, BufReader, BufWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::server::Entrance;
use crate::store::Store;

/// Buffer of each direction, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Makes the RPC system that serves `store` on one connection that came in at `entrance`; it is driven by polling it on a
/// [`LocalSet`](tokio::task::LocalSet), and ends with the connection.
pub fn serve(
    store: Store,
    entrance: Entrance,
    stream: impl AsyncRead + AsyncWrite + 'static,
) -> RpcSystem<Side> {
    let (input, output) = stream.compat().split();
    let mut options = capnp::message::ReaderOptions::new();
    options.traversal_limit_in_words(Some(SERVER_MESSAGE_WORDS_MAX));
    let mut network = VatNetwork::new(
        BufReader::with_capacity(BUFFER_BYTES, input),
        BufWriter::with_capacity(BUFFER_BYTES, output),
        Side::Server,
        options,
    );
    network.set_window_size(STREAM_WINDOW_BYTES);
    let connection = connection::Connection::new();
    let gate: gate_capnp::Client = new_client(gate::Gate::new(store, entrance, connection));
    RpcSystem::new(Box::new(network), Some(gate.client))
}
