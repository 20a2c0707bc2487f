//! [`Bounded`]: a transport that takes no more from its client while much of what the client asked for is under way.
//!
//! The library reads requests as fast as they come, answers each in a task of its own and queues what it answers. So a
//! client that asks and does not read would pile up answers here, and one that asks faster than it is answered, requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrack_schema::limits::{STDIO_LEFT_SECONDS, STDIO_UNDER_WAY_MAX};
use futures::FutureExt;
use rmcp::RoleServer;
use rmcp::model::{GetExtensions, JsonRpcMessage};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::Notify;

/// A transport of one client, with at most [`STDIO_UNDER_WAY_MAX`] requests and messages to the client under way. While
/// there are as many nothing is read, a request's cancellation neither; that the client has gone is noticed all the same.
pub(super) struct Bounded<T> {
    transport: T,
    /// Says whether the client has closed its end, whatever of it is still to be read.
    has_left: fn() -> bool,
    under_way: Arc<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    count: AtomicUsize,
    /// Told when it falls.
    fell: Notify,
}

/// A request until its handler has ended, or a message until it is written.
#[derive(Debug)]
struct Held(Arc<UnderWay>);

impl UnderWay {
    fn hold(self: &Arc<Self>) -> Held {
        self.count.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }

    async fn room(&self) {
        loop {
            // Whoever ends between the look and the wait is heard.
            let fell = self.fell.notified();
            if self.count.load(Ordering::Relaxed) < STDIO_UNDER_WAY_MAX {
                return;
            }
            fell.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.fell.notify_waiters();
    }
}

impl<T> Bounded<T> {
    pub(super) fn new(transport: T, has_left: fn() -> bool) -> Self {
        Self {
            transport,
            has_left,
            under_way: Arc::default(),
        }
    }
}

/// Waits until the client has left for a while. This begins anew with whatever happens: a client may close its end and
/// read on.
async fn left(has_left: fn() -> bool) {
    loop {
        tokio::time::sleep(Duration::from_secs(STDIO_LEFT_SECONDS)).await;
        if has_left() {
            return;
        }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Bounded<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let held = self.under_way.hold();
        let sending = self.transport.send(message);
        async move {
            let _held = held;
            sending.await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        tokio::select! {
            biased;
            () = self.under_way.room() => {}
            () = left(self.has_left) => return None,
        }
        let mut message = self.transport.receive().await?;
        if let JsonRpcMessage::Request(request) = &mut message {
            // They are the handler's as long as it runs.
            let held = Arc::new(self.under_way.hold());
            request.request.extensions_mut().insert(held);
        }
        Some(message)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        // What was written is out. A message that nobody reads holds the output, and is not waited for.
        self.transport.close().now_or_never().unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use rmcp::model::{
        ClientRequest, EmptyResult, JsonRpcRequest, PingRequest, RequestId, ServerResult,
    };
    use rmcp::transport::async_rw::AsyncRwTransport;
    use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

    use super::*;

    type Pipe = AsyncRwTransport<RoleServer, ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

    /// Returns a transport whose client has asked for much and reads nothing, and the client.
    async fn asked(requests: usize) -> (Bounded<Pipe>, DuplexStream) {
        let (mut client, ours) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(ours);
        let transport = Bounded::new(AsyncRwTransport::new_server(input, output), || true);
        for id in 0..requests {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n");
            client.write_all(line.as_bytes()).await.unwrap();
        }
        (transport, client)
    }

    /// Begins to answer a request.
    fn answer_to<T: Transport<RoleServer>>(
        transport: &mut T,
        id: i64,
    ) -> BoxFuture<'static, Result<(), T::Error>> {
        let nothing = ServerResult::EmptyResult(EmptyResult {});
        let answer = JsonRpcMessage::response(nothing, RequestId::Number(id));
        Box::pin(transport.send(answer))
    }

    #[tokio::test]
    async fn as_many_requests_as_may_be_are_read_until_one_is_done_with() {
        let (mut transport, _client) = asked(STDIO_UNDER_WAY_MAX + 1).await;
        let mut handled = Vec::new();
        for _ in 0..STDIO_UNDER_WAY_MAX {
            handled.push(transport.receive().await.unwrap());
        }
        assert!(transport.receive().now_or_never().is_none());
        handled.pop();
        let JsonRpcMessage::Request(JsonRpcRequest { id, request, .. }) =
            transport.receive().await.unwrap()
        else {
            panic!("not a request");
        };
        assert_eq!(id, RequestId::Number(STDIO_UNDER_WAY_MAX as i64));
        assert!(matches!(
            request,
            ClientRequest::PingRequest(PingRequest { .. })
        ));
    }

    #[tokio::test]
    async fn nothing_is_read_while_too_much_is_unwritten() {
        let (mut transport, _client) = asked(1).await;
        let mut unwritten: Vec<_> = (0..STDIO_UNDER_WAY_MAX as i64)
            .map(|id| answer_to(&mut transport, id))
            .collect();
        assert!(transport.receive().now_or_never().is_none());
        unwritten.pop().unwrap().await.unwrap();
        assert!(transport.receive().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_left_is_noticed_while_nothing_is_read() {
        let (mut transport, _client) = asked(STDIO_UNDER_WAY_MAX + 1).await;
        let mut handled = Vec::new();
        for _ in 0..STDIO_UNDER_WAY_MAX {
            handled.push(transport.receive().await.unwrap());
        }
        let a_day = Duration::from_secs(86_400);
        let ended = tokio::time::timeout(a_day, transport.receive()).await;
        assert!(ended.is_ok_and(|message| message.is_none()));
        transport.has_left = || false;
        let waited = tokio::time::timeout(a_day, transport.receive()).await;
        assert!(waited.is_err(), "a client that is there is waited for");
    }

    #[tokio::test]
    async fn a_message_that_nobody_reads_does_not_hold_up_the_end() {
        let (ours, _client) = tokio::io::duplex(1);
        let (input, output) = tokio::io::split(ours);
        let mut transport = Bounded::new(AsyncRwTransport::new_server(input, output), || true);
        let mut unread = answer_to(&mut transport, 1);
        assert!((&mut unread).now_or_never().is_none());
        assert!(transport.close().now_or_never().is_some());
    }
}
