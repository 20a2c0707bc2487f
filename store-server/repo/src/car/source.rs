//! [`Source`]: the caller's reader behind a buffer that can be looked into, as iroh-car reads it.
//!
//! It must never hand iroh-car an error of the reader without keeping it, since iroh-car turns errors to text.
//! Only [`CarBlocks`](super::CarBlocks) calls it: it peeks at each length, then lets iroh-car read through the
//! [`AsyncRead`] of a [`SharedSource`].

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use carrack_schema::limits::{CAR_HEADER_BYTES_MAX, KIB};
use tokio::io::{AsyncRead, ReadBuf};

use crate::error::{Error, ErrorKind, Result};

/// One read of the caller's reader. iroh-car reads lengths byte by byte; the buffer makes that cheap.
const BUFFER_BYTES: usize = 64 * KIB;
/// Longest varint of a length: 63 bits (the unsigned-varint specification).
const VARINT_BYTES_MAX: usize = 9;
// A header is looked at whole before it is read.
const _: () = assert!(CAR_HEADER_BYTES_MAX + VARINT_BYTES_MAX <= BUFFER_BYTES);

/// Where a length says its section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The first byte of the length.
    pub(super) start: u64,
    /// Bytes of the length itself.
    pub(super) varint_bytes: usize,
    /// Bytes that follow it.
    pub(super) length: u64,
    /// The byte after the section.
    pub(super) end: u64,
}

/// What comes next, where a length should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing.
    End,
    /// A part of a length.
    Cut {
        /// Where the input ends.
        end: u64,
    },
    /// No legal length.
    Bad(&'static str),
    /// A length.
    Of(Section),
}

pub(super) struct Source<R> {
    reader: R,
    buffer: Box<[u8]>,
    /// The bytes in the buffer that are not used yet.
    start: usize,
    end: usize,
    /// Bytes used since the beginning.
    position: u64,
    ended: bool,
    error: Option<io::Error>,
}

impl<R: Read> Source<R> {
    /// Returns how many bytes have been used.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether all bytes have been used and no more come.
    pub(super) fn at_end(&self) -> bool {
        self.ended && self.start == self.end
    }

    /// Returns the reader's error, if that is what iroh-car's last error was.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        let error = self.error.take()?;
        Some(self.failed(error))
    }

    /// Reads the length that comes next and leaves it where it is.
    pub(super) fn peek_length(&mut self) -> Result<Length> {
        let mut length: u64 = 0;
        for index in 0..VARINT_BYTES_MAX {
            let Some(byte) = self.peek(index)? else {
                let end = self.position.saturating_add(index as u64);
                return Ok(if index == 0 {
                    Length::End
                } else {
                    Length::Cut { end }
                });
            };
            // Nine groups of seven bits fill 63.
            length |= u64::from(byte & 0x7f) << index.saturating_mul(7);
            if byte & 0x80 != 0 {
                continue;
            }
            if byte == 0 && index > 0 {
                return Ok(Length::Bad("is a varint of more bytes than it needs"));
            }
            let varint_bytes = index.saturating_add(1);
            let end = self
                .position
                .saturating_add(varint_bytes as u64)
                .saturating_add(length);
            return Ok(Length::Of(Section {
                start: self.position,
                varint_bytes,
                length,
                end,
            }));
        }
        Ok(Length::Bad("is a varint of more than 9 bytes"))
    }

    /// Returns the byte this far ahead, if there is one.
    pub(super) fn peek(&mut self, index: usize) -> Result<Option<u8>> {
        while self.buffered().len() <= index {
            if !self.fill().map_err(|error| self.failed(error))? {
                return Ok(None);
            }
        }
        Ok(self.buffered().get(index).copied())
    }

    /// Returns a section's bytes without its length and leaves them where they are.
    ///
    /// The caller has checked that the section fits into the buffer.
    pub(super) fn peek_section(&mut self, section: &Section) -> Result<&[u8]> {
        let range = usize::try_from(section.length)
            .ok()
            .and_then(|length| section.varint_bytes.checked_add(length))
            .map(|end| section.varint_bytes..end);
        let Some(range) = range.filter(|range| range.end <= self.buffer.len()) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a section larger than the buffer",
            ));
        };
        if range.end > 0 && self.peek(range.end.saturating_sub(1))?.is_none() {
            let end = self.position.saturating_add(self.buffered().len() as u64);
            let message = format!("CAR ends inside its header at byte {end}");
            return Err(Error::new(ErrorKind::Incomplete, message).with_car_offset(end));
        }
        Ok(self.buffered().get(range).unwrap_or_default())
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Adds what one read gives to the buffer; false at the end, and from then on.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        if free.is_empty() {
            return Err(io::Error::other(
                "looked further ahead than the buffer is long",
            ));
        }
        let read = loop {
            match self.reader.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read > free.len() {
            return Err(io::Error::other(
                "the reader says it read more than it was asked for",
            ));
        }
        self.end = self.end.saturating_add(read);
        self.ended = read == 0;
        Ok(!self.ended)
    }

    fn failed(&self, error: io::Error) -> Error {
        let message = format!("reading the CAR failed at byte {}", self.position);
        Error::io(message, error).with_car_offset(self.position)
    }

    /// Uses as many bytes as are there and fit.
    fn read_into(&mut self, out: &mut ReadBuf<'_>) -> io::Result<()> {
        if self.start == self.end && !self.fill()? {
            return Ok(());
        }
        let length = self.buffered().len().min(out.remaining());
        let end = self.start.saturating_add(length);
        out.put_slice(self.buffer.get(self.start..end).unwrap_or_default());
        self.start = end;
        self.position = self.position.saturating_add(length as u64);
        Ok(())
    }
}

/// A [`Source`] that iroh-car owns and [`CarBlocks`](super::CarBlocks) looks into.
///
/// iroh-car does not lend its reader. The lock is never contended: both ends run on one thread.
pub(super) struct SharedSource<R>(Arc<Mutex<Source<R>>>);

impl<R> Clone for SharedSource<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> SharedSource<R> {
    pub(super) fn new(reader: R) -> Self {
        let source = Source {
            reader,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            position: 0,
            ended: false,
            error: None,
        };
        Self(Arc::new(Mutex::new(source)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Source<R>> {
        // Only the caller's reader can panic under the lock, and then the caller has other troubles.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Read> AsyncRead for SharedSource<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut source = self.lock();
        let read = source.read_into(out).map_err(|error| {
            let kind = error.kind();
            source.error = Some(error);
            io::Error::from(kind)
        });
        Poll::Ready(read)
    }
}
