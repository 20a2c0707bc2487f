//! [`Push`]: writing into a sink that a client implements, no faster than the client takes it.
//!
//! What is on the way is bounded, and so is the time in which nothing is acknowledged: a snapshot, with the segments it
//! holds, is not kept for a client that has gone to sleep. The library's own flow control would tell of the window, but
//! not of when something was last acknowledged; on the wire there is no difference.

use std::pin::Pin;
use std::rc::Rc;

use capnp::capability::StreamingRequest;
use carrack_schema::limits::STREAM_WINDOW_BYTES;
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use super::connection::{Connection, Permit};
use crate::error::Result;

type Acknowledgement = Pin<Box<dyn Future<Output = capnp::Result<usize>>>>;

/// Writes on their way into one sink.
pub(super) struct Push {
    connection: Rc<Connection>,
    _permit: Permit,
    /// Of each write that was not acknowledged yet; its bytes come back with it.
    waiting: FuturesUnordered<Acknowledgement>,
    bytes: usize,
}

impl Push {
    /// Begins a push to the peer of a connection.
    ///
    /// # Errors
    /// `overloaded` if as many are under way as may.
    pub(super) fn begin(connection: &Rc<Connection>) -> Result<Self> {
        Ok(Self {
            _permit: connection.push()?,
            connection: connection.clone(),
            waiting: FuturesUnordered::new(),
            bytes: 0,
        })
    }

    /// Sends a write of so many bytes, and waits until the sink's window has room for another.
    ///
    /// # Errors
    /// What the sink answers to any write, or `unavailable` if it answers nothing.
    pub(super) async fn write<P>(
        &mut self,
        bytes: usize,
        request: impl FnOnce() -> StreamingRequest<P>,
    ) -> capnp::Result<()> {
        self.send(bytes, request).await?;
        self.window().await
    }

    /// Makes a write of so many bytes and sends it, once it has room among what waits for this peer. Pushes side by side
    /// would else each send one.
    ///
    /// # Errors
    /// What the sink answers to any write.
    pub(super) async fn send<P>(
        &mut self,
        bytes: usize,
        request: impl FnOnce() -> StreamingRequest<P>,
    ) -> capnp::Result<()> {
        self.connection.room_to_write().await;
        let sent = request().hook.send().promise;
        self.bytes = self.bytes.saturating_add(bytes);
        self.waiting.push(Box::pin(async move {
            sent.await?;
            Ok(bytes)
        }));
        while let Some(Some(acknowledged)) = self.waiting.next().now_or_never() {
            self.bytes = self.bytes.saturating_sub(acknowledged?);
        }
        Ok(())
    }

    /// Waits until the sink's window has room for another write.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) async fn window(&mut self) -> capnp::Result<()> {
        while self.bytes > STREAM_WINDOW_BYTES {
            self.acknowledged().await?;
        }
        Ok(())
    }

    /// Waits for the answer to the sink's `done`, which is on its way behind all writes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) async fn done<T>(
        mut self,
        done: impl Future<Output = capnp::Result<T>>,
    ) -> capnp::Result<()> {
        while !self.waiting.is_empty() {
            self.acknowledged().await?;
        }
        self.connection.answered(done).await.map(|_| ())
    }

    /// Waits for one write's answer.
    async fn acknowledged(&mut self) -> capnp::Result<()> {
        let next = self.waiting.next().map(Option::transpose);
        if let Some(bytes) = self.connection.answered(next).await? {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use carrack_schema::limits::REPLY_BYTES_MIN;
    use carrack_schema::wire::store_capnp::byte_sink;

    use super::*;
    use crate::rpc::bounds::Bounds;
    use crate::rpc::connection::Totals;

    /// A sink that counts what is written into it.
    #[derive(Clone, Default)]
    struct Sink(Rc<Cell<usize>>);

    impl byte_sink::Server for Sink {
        async fn write(self: Rc<Self>, params: byte_sink::WriteParams) -> capnp::Result<()> {
            self.0.set(self.0.get() + params.get()?.get_bytes()?.len());
            Ok(())
        }
    }

    #[test]
    fn a_write_is_made_when_it_has_room() {
        let bounds = Bounds {
            reply_bytes_total: 0,
            ..Bounds::default()
        };
        let totals = Arc::new(Totals::new(&bounds));
        let connection = Connection::new(Arc::new(bounds), totals);
        let (taken, made) = (Sink::default(), Cell::new(0));
        let sink: byte_sink::Client = capnp_rpc::new_client(taken.clone());
        let request = || {
            made.set(made.get() + 1);
            let mut request = sink.write_request();
            request.get().set_bytes(b"bytes");
            request
        };
        let much = connection.queue(REPLY_BYTES_MIN);
        let mut pushes = [(); 2].map(|()| Push::begin(&connection).unwrap());
        let [one, two] = &mut pushes;
        let mut writes = Box::pin(futures::future::join(
            one.write(5, request),
            two.write(5, request),
        ));
        assert!(writes.as_mut().now_or_never().is_none());
        assert_eq!(made.get(), 0, "one byte beyond what each may have");
        drop(much);
        let (one, two) = writes.now_or_never().expect("there is room");
        assert!(one.is_ok() && two.is_ok());
        assert_eq!((made.get(), taken.0.get()), (2, 10));
    }
}
