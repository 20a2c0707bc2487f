//! [`write`]: the messages of a connection on their way out, in order. A peer that takes none of them for a while is
//! taken for gone; one that hoards them while others' wait must take some.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::Code;
use carrack_schema::limits::{IO_BUFFER_BYTES, WRITE_BYTES_MIN};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

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
/// If the stream fails, or the peer takes nothing or too little for as long as it may; or with what the connection ended with.
pub(super) async fn write(
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    stream: impl AsyncWrite + Unpin,
    connection: Rc<Connection>,
) -> capnp::Result<()> {
    let mut writer = Writer {
        peer: Peer {
            stream,
            connection: connection.clone(),
            pace: None,
        },
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
    peer: Peer<W>,
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
            return self.peer.take(bytes).await;
        }
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
            self.buffer.reserve_exact(IO_BUFFER_BYTES);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    async fn write_buffer(&mut self) -> io::Result<()> {
        self.peer.take(&self.buffer).await?;
        self.buffer.clear();
        self.buffered = None;
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write_buffer().await?;
        if self.buffer.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.buffer));
        }
        self.peer.flush().await
    }
}

/// The peer's end, and how it takes what is written.
struct Peer<W> {
    stream: W,
    connection: Rc<Connection>,
    /// Since when it hoards, or last had taken as much as it must, and what it took since.
    pace: Option<(Instant, usize)>,
}

impl<W: AsyncWrite + Unpin> Peer<W> {
    /// Has the peer take all of `bytes`.
    async fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let patience = self.connection.bounds().write_time;
        while !bytes.is_empty() {
            let write = timeout(patience, self.stream.write(bytes));
            let written = write.await.unwrap_or_else(|_| Err(slow("nothing")))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.took(written)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Looks at how fast it takes what it hoards. One that takes nothing at all has its own deadline.
    fn took(&mut self, written: usize) -> io::Result<()> {
        if !self.connection.hoards() {
            self.pace = None;
            return Ok(());
        }
        let now = Instant::now();
        let (since, taken) = match self.pace {
            Some((since, taken)) => (since, taken + written),
            None => (now, 0),
        };
        if now - since > self.connection.bounds().write_time {
            return Err(slow("too little"));
        }
        let took_enough = taken >= WRITE_BYTES_MIN;
        self.pace = Some(match took_enough {
            true => (now, 0),
            false => (since, taken),
        });
        Ok(())
    }

    /// Has the peer take what is on its way, which is all there is for it.
    async fn flush(&mut self) -> io::Result<()> {
        self.pace = None;
        let flush = timeout(self.connection.bounds().write_time, self.stream.flush());
        flush.await.unwrap_or_else(|_| Err(slow("nothing")))
    }
}

fn slow(what: &str) -> io::Error {
    let words = format!(
        "{}: the peer takes {what} of what is sent to it",
        Code::Unavailable
    );
    io::Error::new(io::ErrorKind::ConnectionAborted, words)
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
    use carrack_schema::limits::{REPLY_BYTES_MIN, REPLY_COST_BYTES};
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

    /// Has a peer with much to take do so, in steps of half the time that it may take nothing. Returns how writing to it
    /// ended, if it did.
    fn take_slowly(bounds: Bounds, message_bytes: usize, steps: &[usize]) -> Option<String> {
        const DUPLEX_BYTES: usize = 16;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let step = bounds.write_time / 2;
            let totals = Arc::new(Totals::new(&bounds));
            let connection = Connection::new(Arc::new(bounds), totals);
            let (mut ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
            let (sender, queue) = mpsc::unbounded();
            let mut message = Builder::new_default();
            message.initn_root::<capnp::data::Builder<'_>>(u32::try_from(message_bytes).unwrap());
            let queued = connection.queue(message_bytes);
            let outgoing = Outgoing::Message(Rc::new(message), queued);
            sender.unbounded_send(outgoing).ok().unwrap();
            let writing = write(queue, theirs, connection);
            let taking = async {
                for &bytes in steps {
                    tokio::time::sleep(step).await;
                    ours.read_exact(&mut vec![0; bytes]).await.unwrap();
                }
                // What it has room for then is written, too.
                tokio::time::sleep(step / 2).await;
            };
            tokio::select! {
                ended = writing => Some(ended.unwrap_err().extra),
                () = taking => None,
            }
        })
    }

    #[test]
    fn who_hoards_must_take_some_in_time() {
        const MUCH: usize = 1 << 20;
        let scarce = || Bounds {
            reply_bytes_total: 0,
            ..Bounds::default()
        };
        let half = WRITE_BYTES_MIN / 2;
        let slow: Vec<_> = [half, half].repeat(5);
        assert_eq!(take_slowly(scarce(), MUCH, &slow), None, "at the limit");
        let slower = [half, half, half, half - 1, half];
        let ended = take_slowly(scarce(), MUCH, &slower).expect("one beyond it");
        assert!(ended.contains("unavailable: the peer takes too little"));
        // Who has little to take, or keeps nobody from anything, may take it byte by byte.
        let slowest = [1; 100];
        assert!(take_slowly(scarce(), MUCH, &slowest).is_some());
        let little = REPLY_BYTES_MIN - REPLY_COST_BYTES;
        assert_eq!(take_slowly(scarce(), little, &slowest), None);
        assert!(take_slowly(scarce(), little + 1, &slowest).is_some());
        assert_eq!(take_slowly(Bounds::default(), MUCH, &slowest), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_had_nothing_to_take_was_not_slow() {
        let bounds = Bounds {
            reply_bytes_total: 0,
            ..Bounds::default()
        };
        let pause = 2 * bounds.write_time;
        let totals = Arc::new(Totals::new(&bounds));
        let connection = Connection::new(Arc::new(bounds), totals);
        let _queued = connection.queue(REPLY_BYTES_MIN);
        let mut peer = Peer {
            stream: tokio::io::sink(),
            connection,
            pace: None,
        };
        peer.take(b"some").await.unwrap();
        peer.flush().await.unwrap();
        tokio::time::sleep(pause).await;
        peer.take(b"some").await.unwrap();
        tokio::time::sleep(pause).await;
        assert!(peer.take(b"too little").await.is_err());
    }

    #[test]
    fn a_phone_is_not_taken_for_one_that_hoards() {
        // 16 KiB a second, all that came in half the time at once.
        const LUMP: usize = 15 * (16 << 10);
        let scarce = Bounds {
            reply_bytes_total: 0,
            ..Bounds::default()
        };
        assert_eq!(take_slowly(scarce, 8 << 20, &[LUMP; 30]), None);
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
