//! [`write`]: the messages of a connection on their way out, in order. A peer that takes none of them for a while is
//! taken for gone.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::Code;
use carrack_schema::limits::IO_BUFFER_BYTES;
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::connection::{Connection, Queued};

thread_local! {
    /// A buffer for the connection that writes next, so that one with nothing on its way has none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What goes out.
pub(super) enum Outgoing {
    /// A message, and its bytes.
    Message(Rc<Builder<HeapAllocator>>, Queued),
    /// The end of the connection, and who wants to know when all before it is written.
    End(capnp::Result<()>, oneshot::Sender<()>),
}

/// Writes what comes until the end of the connection. What is there together is written together, and so are the answers
/// to what came in together.
///
/// # Errors
/// If the stream fails, or the peer takes nothing for as long as it may; or with what the connection ended with.
pub(super) async fn write(
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    stream: impl AsyncWrite + Unpin,
    connection: Rc<Connection>,
) -> capnp::Result<()> {
    let mut writer = Writer {
        stream,
        patience: connection.bounds().write_time,
        buffer: Vec::new(),
        buffered: None,
    };
    loop {
        let next = match outgoing.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                writer.flush().await?;
                let next = outgoing.next().await;
                if connection.gathers() {
                    // The library takes one message each time it is polled. Let it answer the others that came with it.
                    tokio::task::yield_now().await;
                }
                next
            }
        };
        match next {
            None => return Ok(()),
            Some(Outgoing::Message(message, queued)) => {
                writer.message(&message).await?;
                writer.keep(queued);
            }
            Some(Outgoing::End(result, written)) => {
                writer.flush().await?;
                let _nobody = written.send(());
                return result;
            }
        }
    }
}

struct Writer<W> {
    stream: W,
    patience: Duration,
    buffer: Vec<u8>,
    /// Of the messages that have an end in the buffer.
    buffered: Option<Queued>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn message(&mut self, message: &Builder<HeapAllocator>) -> capnp::Result<()> {
        let segments = message.get_segments_for_output();
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData);
        let count = length(segments.len().saturating_sub(1)).map_err(io::Error::from)?;
        self.bytes(&count.to_le_bytes()).await?;
        for segment in segments.iter() {
            let words = length(segment.len() / 8).map_err(io::Error::from)?;
            self.bytes(&words.to_le_bytes()).await?;
        }
        if segments.len().is_multiple_of(2) {
            // The table ends with a word.
            self.bytes(&[0; 4]).await?;
        }
        for segment in segments.iter() {
            self.bytes(segment).await?;
        }
        Ok(())
    }

    /// Has a message count until its end is written.
    fn keep(&mut self, queued: Queued) {
        match &mut self.buffered {
            _ if self.buffer.is_empty() => {}
            Some(buffered) => buffered.absorb(queued),
            buffered => *buffered = Some(queued),
        }
    }

    /// Collects bytes; many go out at once.
    async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > IO_BUFFER_BYTES {
            self.write_buffer().await?;
        }
        if bytes.len() >= IO_BUFFER_BYTES {
            return write_all(&mut self.stream, bytes, self.patience).await;
        }
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
            self.buffer.reserve_exact(IO_BUFFER_BYTES);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    async fn write_buffer(&mut self) -> io::Result<()> {
        write_all(&mut self.stream, &self.buffer, self.patience).await?;
        self.buffer.clear();
        self.buffered = None;
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write_buffer().await?;
        if self.buffer.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.buffer));
        }
        in_time(self.patience, self.stream.flush()).await
    }
}

async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    patience: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = in_time(patience, stream.write(bytes)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

async fn in_time<T>(
    patience: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_| {
        let words = format!(
            "{}: the peer takes nothing of what is sent to it",
            Code::Unavailable
        );
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, words))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use capnp::message::ReaderOptions;
    use capnp::serialize::{read_message, write_message_to_words};
    use capnp_rpc::RpcSystem;
    use capnp_rpc::rpc_capnp::message;
    use futures::FutureExt;
    use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream, ReadBuf};

    use super::*;
    use crate::rpc::bounds::Bounds;
    use crate::rpc::connection::Totals;
    use crate::rpc::network::Network;

    /// A stream that counts how often it is written to.
    struct Counted(DuplexStream, Rc<Cell<u32>>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, into)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1.set(self.1.get() + 1);
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    fn connection() -> Rc<Connection> {
        let bounds = Bounds::default();
        let totals = Arc::new(Totals::new(&bounds));
        Connection::new(Arc::new(bounds), totals)
    }

    fn bootstrap(question: u32) -> Vec<u8> {
        let mut builder = Builder::new_default();
        let root = builder.init_root::<message::Builder<'_>>();
        root.init_bootstrap().set_question_id(question);
        write_message_to_words(&builder)
    }

    /// Counts the answers in what came, each to the question after the one before.
    fn answers(mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        while let Ok(answer) = read_message(&mut bytes, ReaderOptions::new()) {
            match answer.get_root::<message::Reader<'_>>().unwrap().which() {
                Ok(message::Return(Ok(answer))) => assert_eq!(answer.get_answer_id(), count),
                _ => panic!("not an answer"),
            }
            count += 1;
        }
        count
    }

    #[test]
    fn what_is_large_does_not_wait_for_more() {
        let connection = connection();
        connection.set_more_at_hand(true);
        let small = connection.queue(300);
        assert!(connection.gathers());
        let large = connection.queue(IO_BUFFER_BYTES);
        assert!(!connection.gathers());
        drop((small, large));
        connection.set_more_at_hand(false);
        assert!(!connection.gathers());
    }

    #[test]
    fn what_is_collected_counts_until_it_is_written() {
        const MESSAGES: usize = 3;
        const DUPLEX_BYTES: usize = 16;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let bounds = Bounds {
                reply_bytes: 0,
                ..Bounds::default()
            };
            let totals = Arc::new(Totals::new(&bounds));
            let connection = Connection::new(Arc::new(bounds), totals);
            let (mut ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
            let (sender, queue) = mpsc::unbounded();
            let mut bytes = 0;
            for _ in 0..MESSAGES {
                let mut message = Builder::new_default();
                message.init_root::<message::Builder<'_>>().init_bootstrap();
                bytes += write_message_to_words(&message).len();
                let queued = connection.queue(0);
                let outgoing = Outgoing::Message(Rc::new(message), queued);
                sender.unbounded_send(outgoing).ok().unwrap();
            }
            let mut writing = Box::pin(write(queue, theirs, connection.clone()));
            let mut read = vec![0; bytes - DUPLEX_BYTES - 1];
            tokio::select! {
                _ = &mut writing => panic!("there may be more to come"),
                all = ours.read_exact(&mut read) => all.unwrap(),
            };
            assert!(!connection.has_room_to_write(), "a byte is left");
            tokio::select! {
                _ = &mut writing => panic!("there may be more to come"),
                last = ours.read_exact(&mut read[..=DUPLEX_BYTES]) => last.unwrap(),
            };
            assert!((&mut writing).now_or_never().is_none());
            assert!(connection.has_room_to_write());
        });
    }

    #[test]
    fn what_is_asked_together_is_answered_together() {
        const QUESTIONS: u32 = 20;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (mut ours, theirs) = tokio::io::duplex(IO_BUFFER_BYTES);
            let writes = Rc::new(Cell::new(0));
            let network = Network::new(Counted(theirs, writes.clone()), connection());
            drop(tokio::task::spawn_local(RpcSystem::new(
                Box::new(network),
                None,
            )));
            let asked: Vec<u8> = (0..QUESTIONS).flat_map(bootstrap).collect();
            ours.write_all(&asked).await.unwrap();
            let mut bytes = Vec::new();
            while answers(&bytes) < QUESTIONS {
                assert_ne!(ours.read_buf(&mut bytes).await.unwrap(), 0);
            }
            assert_eq!(writes.get(), 1);
        });
    }
}
