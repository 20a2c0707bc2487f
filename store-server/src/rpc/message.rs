//! [`Reading`]: messages as they come in on a stream. Memory is taken as a message's bytes come, never as its header
//! announces, and counted with its [`Connection`]; what came in of a message is there within a time, or the connection
//! ends.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use capnp::message::{Reader, ReaderOptions, ReaderSegments};
use capnp::{Word, any_pointer};
use carrack_schema::Code;
use carrack_schema::limits::{IO_BUFFER_BYTES, SERVER_MESSAGE_WORDS_MAX};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Unprocessed};
use super::error::exception;
use crate::error::Error;

/// Bytes of a word.
const WORD: usize = 8;
/// Most segments of a message, as in the library.
const SEGMENTS_MAX: usize = 511;
/// Words that are taken for a message before any of them came; then as many again as have come.
const WORDS_FIRST: usize = IO_BUFFER_BYTES / WORD;
/// Words that looking at a message may cost in addition to reading all of it once.
const LOOKING_WORDS: usize = 4_096;

thread_local! {
    /// What is read at once goes here first, so that an idle connection has no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; IO_BUFFER_BYTES].into());
}

/// The messages that come in on a stream.
pub(super) struct Reading<R> {
    stream: R,
    connection: Rc<Connection>,
    /// Bytes that were read and not used, from `start` on.
    buffer: Vec<u8>,
    start: usize,
}

/// A message that came in; its bytes are counted until it is dropped.
pub(super) struct Message {
    reader: Reader<Segments>,
    _count: Unprocessed,
}

struct Segments {
    words: Vec<Word>,
    /// Where the first segment ends, in words.
    first: usize,
    /// Where the others end; most messages have none.
    others: Vec<usize>,
}

impl ReaderSegments for Segments {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let end = |index: usize| match index.checked_sub(1) {
            None => Some(self.first),
            Some(other) => self.others.get(other).copied(),
        };
        let start = index.checked_sub(1).map_or(Some(0), end)?;
        let words = self.words.get(start..end(index)?)?;
        Some(Word::words_to_bytes(words))
    }

    fn len(&self) -> usize {
        1 + self.others.len()
    }
}

impl capnp_rpc::IncomingMessage for Message {
    fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.reader.get_root()
    }
}

impl<R: AsyncRead + Unpin> Reading<R> {
    pub(super) fn new(stream: R, connection: Rc<Connection>) -> Self {
        Self {
            stream,
            connection,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Reads the next message; none if the peer has said all.
    ///
    /// # Errors
    /// If the stream fails or ends within a message, a message is not well formed or too large, or it does not come in
    /// time.
    pub(super) async fn message(&mut self) -> capnp::Result<Option<Message>> {
        if !self.has_begun().await? {
            return Ok(None);
        }
        let deadline = Instant::now() + self.connection.bounds().message_time;
        let message = timeout_at(deadline, self.rest())
            .await
            .unwrap_or_else(|_| Err(late("a message did not come to its end in time")));
        self.connection.set_more_at_hand(self.is_filled());
        message.map(Some)
    }

    /// Waits for the first byte of a message. Only who has not logged in must be quick.
    async fn has_begun(&mut self) -> capnp::Result<bool> {
        loop {
            let Some(deadline) = self.connection.login_deadline() else {
                return Ok(self.is_filled() || self.fill().await? > 0);
            };
            if deadline <= Instant::now() {
                return Err(late("nobody logged in on this connection in time"));
            }
            if self.is_filled() {
                return Ok(true);
            }
            // Who logged in while we waited has no deadline any more.
            if let Ok(read) = timeout_at(deadline, self.fill()).await {
                return Ok(read? > 0);
            }
        }
    }

    async fn rest(&mut self) -> capnp::Result<Message> {
        let mut head = [0; WORD];
        self.read(&mut head).await?;
        let (count, first) = halves(head);
        let others = (count as usize).min(SEGMENTS_MAX + 1);
        if others >= SEGMENTS_MAX {
            let words =
                format!("a message of {count} segments and one; at most {SEGMENTS_MAX} are taken");
            return Err(exception(&Error::new(Code::LimitExceeded, words)));
        }
        let mut segments = Segments {
            words: Vec::new(),
            first: first as usize,
            others: Vec::with_capacity(others),
        };
        let mut words = first as usize;
        while segments.others.len() < others {
            let mut pair = [0; WORD];
            self.read(&mut pair).await?;
            let (one, two) = halves(pair);
            for length in [one, two] {
                // The last half may be padding.
                if segments.others.len() < others {
                    words = words.saturating_add(length as usize);
                    segments.others.push(words);
                }
            }
        }
        if words > SERVER_MESSAGE_WORDS_MAX {
            let words =
                format!("a message of {words} words; at most {SERVER_MESSAGE_WORDS_MAX} are taken");
            return Err(exception(&Error::new(Code::LimitExceeded, words)));
        }
        let mut count = self.connection.unprocessed();
        segments.words = self.body(words, &mut count).await?;
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(SERVER_MESSAGE_WORDS_MAX + LOOKING_WORDS));
        Ok(Message {
            reader: Reader::new(segments, options),
            _count: count,
        })
    }

    /// Reads a message's words, taking memory as they come.
    async fn body(&mut self, length: usize, count: &mut Unprocessed) -> capnp::Result<Vec<Word>> {
        let mut taken = length.min(WORDS_FIRST);
        count
            .grow(taken * WORD)
            .await
            .map_err(|error| exception(&error))?;
        let mut words = Word::allocate_zeroed_vec(taken);
        let mut read = 0;
        loop {
            let rest = words.get_mut(read..).unwrap_or_default();
            self.read(Word::words_to_bytes_mut(rest)).await?;
            read = taken;
            if taken == length {
                return Ok(words);
            }
            taken = length.min(2 * taken);
            let more = (taken - read) * WORD;
            count.grow(more).await.map_err(|error| exception(&error))?;
            words.reserve_exact(taken - read);
            words.resize(taken, capnp::word(0, 0, 0, 0, 0, 0, 0, 0));
        }
    }

    /// Fills `bytes`.
    async fn read(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if !self.is_filled() {
                // A large part goes where it belongs at once.
                let read = if bytes.len() >= IO_BUFFER_BYTES {
                    let read = self.read_into(bytes).await?;
                    bytes = bytes.get_mut(read..).unwrap_or_default();
                    read
                } else {
                    self.fill().await?
                };
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let count = rest.len().min(bytes.len());
            let (now, later) = bytes.split_at_mut(count);
            now.copy_from_slice(rest.get(..count).unwrap_or_default());
            bytes = later;
            self.start += count;
        }
        Ok(())
    }

    fn is_filled(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Reads what has come into the empty buffer, and says how much it was. Waiting holds no memory.
    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.clear();
        self.start = 0;
        std::future::poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut read = ReadBuf::new(scratch);
                match Pin::new(&mut self.stream).poll_read(context, &mut read) {
                    Poll::Ready(Ok(())) => {
                        self.buffer.extend_from_slice(read.filled());
                        Poll::Ready(Ok(read.filled().len()))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.buffer = Vec::new();
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }

    async fn read_into(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|context| {
            let mut read = ReadBuf::new(bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }
}

/// Splits a word of a segment table.
fn halves(word: [u8; WORD]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word;
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

fn late(words: &str) -> capnp::Error {
    capnp::Error::disconnected(format!("{}: {words}", Code::Unavailable))
}
