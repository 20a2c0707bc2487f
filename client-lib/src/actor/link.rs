//! [`Link`]: one connection, and the capabilities that are open on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use capnp::capability::Client as Untyped;
use capnp::message::ReaderOptions;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use carrack_schema::limits::{CLIENT_MESSAGE_WORDS_MAX, STREAM_WINDOW_BYTES};
use futures::io::{AsyncReadExt, BufReader, BufWriter};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::Stream;
use crate::error::Result;
use crate::handle::Node;

/// Buffer of each direction, in bytes. Unbuffered costs up to twice the CPU a call (measured upstream of us).
const BUFFER_BYTES: usize = 64 << 10;
/// How long a peer that reads nothing may hold up closing.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection. Dropping it releases what is open on it, flushes and closes.
pub(crate) struct Link {
    gate: Untyped,
    /// By the numbers of their nodes.
    open: RefCell<HashMap<u64, Untyped>>,
    is_alive: Rc<Cell<bool>>,
    is_proven: Cell<bool>,
    /// Closed with the link, which its driver takes as the goodbye.
    _goodbye: oneshot::Sender<()>,
}

impl Link {
    /// Starts a connection over `stream`; the task drives it.
    pub(crate) fn start(stream: impl Stream) -> (Self, JoinHandle<()>) {
        let (input, output) = stream.compat().split();
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(CLIENT_MESSAGE_WORDS_MAX));
        let mut network = VatNetwork::new(
            BufReader::with_capacity(BUFFER_BYTES, input),
            BufWriter::with_capacity(BUFFER_BYTES, output),
            Side::Client,
            options,
        );
        network.set_window_size(STREAM_WINDOW_BYTES);
        let mut system = RpcSystem::new(Box::new(network), None);
        let gate = system.bootstrap(Side::Server);
        let is_alive = Rc::new(Cell::new(true));
        let (goodbye, closed) = oneshot::channel();
        let driver = tokio::task::spawn_local(drive(system, closed, Mark(is_alive.clone())));
        let link = Self {
            gate,
            open: RefCell::default(),
            is_alive,
            is_proven: Cell::new(false),
            _goodbye: goodbye,
        };
        (link, driver)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.is_alive.get()
    }

    /// Returns whether this has been asked before.
    pub(super) fn was_proven(&self) -> bool {
        self.is_proven.replace(true)
    }

    /// Returns the promised capability that a node names, sending the hops on the way that have not been sent.
    ///
    /// # Errors
    /// `unavailable` if it came with an answer on another connection.
    pub(crate) fn open(&self, node: &Arc<Node>) -> Result<Untyped> {
        let mut hops = Vec::new();
        let mut next = Some(node);
        let mut capability = self.gate.clone();
        while let Some(node) = next {
            if let Some(open) = self.open.borrow().get(&node.id()) {
                capability = open.clone();
                break;
            }
            next = node.parent()?;
            hops.push(node);
        }
        for node in hops.into_iter().rev() {
            capability = node.hop(capability);
            self.keep(node, capability.clone());
        }
        Ok(capability)
    }

    /// Keeps a node's capability open as long as there are handles that name it.
    pub(crate) fn keep(&self, node: &Node, capability: Untyped) {
        if node.keep() {
            self.open.borrow_mut().insert(node.id(), capability);
        }
    }

    /// Takes out a capability; whoever drops it releases it.
    pub(crate) fn release(&self, id: u64) -> Option<Untyped> {
        self.open.borrow_mut().remove(&id)
    }
}

#[cfg(test)]
impl Link {
    /// Returns how many capabilities are kept open.
    pub(crate) fn open_count(&self) -> usize {
        self.open.borrow().len()
    }
}

/// Says that a connection is lost, however its driver ends.
struct Mark(Rc<Cell<bool>>);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Drives a connection until its link is dropped or the peer is gone.
async fn drive(mut system: RpcSystem<Side>, closed: oneshot::Receiver<()>, _mark: Mark) {
    let disconnect = system.get_disconnector();
    tokio::select! {
        ended = &mut system => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection to the store ended");
            }
            return;
        }
        _ = closed => {}
    }
    let goodbye = async {
        tokio::select! {
            _ = disconnect => {}
            _ = system => {}
        }
    };
    if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
        tracing::debug!("the store did not take the goodbye");
    }
}
