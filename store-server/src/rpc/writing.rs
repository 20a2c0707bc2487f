//! [`write`]: the messages of a connection on their way out, in order. A peer that takes none of them for a while is
//! taken for gone.

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

use super::connection::Queued;

/// A buffer that is kept while nothing is on its way, in bytes.
const BUFFER_KEPT: usize = 1 << 10;

/// What goes out.
pub(super) enum Outgoing {
    /// A message, its bytes, and who wants to know when it is written.
    Message(Rc<Builder<HeapAllocator>>, Queued, oneshot::Sender<()>),
    /// The end of the connection, and who wants to know when all before it is written.
    End(capnp::Result<()>, oneshot::Sender<()>),
}

/// Writes what comes until the end of the connection. What is there together is written together.
///
/// # Errors
/// If the stream fails, or the peer takes nothing for `patience`; or with what the connection ended with.
pub(super) async fn write(
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    stream: impl AsyncWrite + Unpin,
    patience: Duration,
) -> capnp::Result<()> {
    let mut writer = Writer {
        stream,
        patience,
        buffer: Vec::new(),
    };
    loop {
        let next = match outgoing.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                writer.flush().await?;
                outgoing.next().await
            }
        };
        match next {
            None => return Ok(()),
            Some(Outgoing::Message(message, queued, written)) => {
                writer.message(&message).await?;
                drop(queued);
                // Nobody waits for most messages.
                let _nobody = written.send(());
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
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn message(&mut self, message: &Builder<HeapAllocator>) -> capnp::Result<()> {
        let segments = message.get_segments_for_output();
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData);
        let count = length(segments.len().saturating_sub(1)).map_err(io::Error::from)?;
        let mut table = Vec::with_capacity(segments.len() * 4 + 8);
        table.extend_from_slice(&count.to_le_bytes());
        for segment in segments.iter() {
            let words = length(segment.len() / 8).map_err(io::Error::from)?;
            table.extend_from_slice(&words.to_le_bytes());
        }
        table.resize(table.len().next_multiple_of(8), 0);
        self.bytes(&table).await?;
        for segment in segments.iter() {
            self.bytes(segment).await?;
        }
        Ok(())
    }

    /// Collects bytes; many go out at once.
    async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > IO_BUFFER_BYTES {
            self.write_buffer().await?;
        }
        if bytes.len() >= IO_BUFFER_BYTES {
            write_all(&mut self.stream, bytes, self.patience).await
        } else {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        }
    }

    async fn write_buffer(&mut self) -> io::Result<()> {
        write_all(&mut self.stream, &self.buffer, self.patience).await?;
        self.buffer.clear();
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write_buffer().await?;
        self.buffer.shrink_to(BUFFER_KEPT);
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
