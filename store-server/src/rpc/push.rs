//! [`Push`]: writing into a sink that a client implements, no faster than the client takes it.
//!
//! What is on the way is bounded, and so is the time in which nothing is acknowledged: a snapshot, with the segments it
//! holds, is not kept for a client that has gone to sleep. The library's own flow control would tell of the window, but
//! not of when something was last acknowledged; on the wire there is no difference.

use std::pin::Pin;
use std::time::Duration;

use capnp::capability::StreamingRequest;
use carrack_schema::Code;
use carrack_schema::limits::{PUSH_SECONDS_MAX, STREAM_WINDOW_BYTES};
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use super::error::exception;
use crate::error::Error;

/// Time without an acknowledgement after which a client has given up.
const DEADLINE: Duration = Duration::from_secs(PUSH_SECONDS_MAX);

type Acknowledgement = Pin<Box<dyn Future<Output = capnp::Result<usize>>>>;

/// Writes on their way into one sink.
#[derive(Default)]
pub(super) struct Push {
    /// Of each write that was not acknowledged yet; its bytes come back with it.
    waiting: FuturesUnordered<Acknowledgement>,
    bytes: usize,
}

impl Push {
    /// Sends a write of so many bytes, and waits until there is room for another.
    ///
    /// # Errors
    /// What the sink answers to any write, or `unavailable` if it answers nothing.
    pub(super) async fn write<P>(
        &mut self,
        request: StreamingRequest<P>,
        bytes: usize,
    ) -> capnp::Result<()> {
        let sent = request.hook.send().promise;
        self.bytes = self.bytes.saturating_add(bytes);
        self.waiting.push(Box::pin(async move {
            sent.await?;
            Ok(bytes)
        }));
        while let Some(Some(acknowledged)) = self.waiting.next().now_or_never() {
            self.bytes = self.bytes.saturating_sub(acknowledged?);
        }
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
        in_time(done).await.map(|_| ())
    }

    /// Waits for one write's answer.
    async fn acknowledged(&mut self) -> capnp::Result<()> {
        if let Some(bytes) = in_time(self.waiting.next().map(Option::transpose)).await? {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// Waits for a client's answer to a push, for so long.
///
/// # Errors
/// What the client answers; `unavailable` if it does not.
pub(super) async fn in_time<T>(answer: impl Future<Output = capnp::Result<T>>) -> capnp::Result<T> {
    tokio::time::timeout(DEADLINE, answer)
        .await
        .unwrap_or_else(|_| {
            let words = format!("the receiver took nothing for {PUSH_SECONDS_MAX} seconds");
            Err(exception(&Error::new(Code::Unavailable, words)))
        })
}
