//! [`Source`]: the caller's reader behind a buffer in which whole sections stand.
//!
//! It must never grow for a length nobody has judged, and never give a byte twice. Only
//! [`CarBlocks`](super::CarBlocks) calls it: it peeks at each length, has the section [buffered](Source::buffer_whole),
//! and takes it, or takes the buffer with all the sections in it.

use std::io::{self, Read};
use std::ops::Range;

use carrack_schema::limits::{CAR_HEADER_BYTES_MAX, KIB, MIB};

use crate::block::Memory;
use crate::error::{Error, ErrorKind, Result};

/// The first buffer; each that follows is larger by [`BUFFER_GROWTH`], up to [`BUFFER_BYTES_MAX`], so that a tiny CAR
/// takes little memory and a large one few reads.
const BUFFER_BYTES_MIN: usize = 64 * KIB;
const BUFFER_GROWTH: usize = 4;
/// The largest buffer, unless a section needs more: one large page.
const BUFFER_BYTES_MAX: usize = 2 * MIB;
/// Longest varint of a length: 63 bits (the unsigned-varint specification).
pub(super) const VARINT_BYTES_MAX: usize = 9;
// A header is looked at whole before it is read.
const _: () = assert!(CAR_HEADER_BYTES_MAX + VARINT_BYTES_MAX <= BUFFER_BYTES_MIN);

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
    buffer: Memory,
    /// The bytes in the buffer that are not used yet.
    start: usize,
    end: usize,
    /// Bytes used since the beginning.
    position: u64,
    ended: bool,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Memory::new(BUFFER_BYTES_MIN),
            start: 0,
            end: 0,
            position: 0,
            ended: false,
        }
    }

    /// Returns how many bytes have been used.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns where in the buffer the next byte is.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Returns where the input ends, as far as it was read.
    pub(super) fn read_to(&self) -> u64 {
        self.position.saturating_add(self.buffered().len() as u64)
    }

    /// Returns how many bytes the buffer has for what is not used yet.
    pub(super) fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }

    /// Makes the buffer long enough for this many bytes that are not used yet, over those that are.
    pub(super) fn make_room(&mut self, bytes: usize) {
        if self.room() >= bytes {
            return;
        }
        if self.buffer.len() < bytes {
            let larger = self.with_the_rest(Memory::new(bytes));
            self.replace_buffer(larger);
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end = self.buffered().len();
            self.start = 0;
        }
    }

    /// Takes the buffer with the bytes that are used, leaving another one with those that are not.
    pub(super) fn take_buffer(&mut self, spare: Memory) -> Memory {
        let rest = self.buffered().len();
        let grown = self.buffer.len().saturating_mul(BUFFER_GROWTH);
        let grown = grown.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
        let bytes = if self.ended { rest } else { grown.max(rest) };
        let next = match spare.len() >= bytes {
            true => spare,
            false => Memory::new(bytes),
        };
        let next = self.with_the_rest(next);
        self.replace_buffer(next)
    }

    /// Copies the bytes that are not used yet to the start of another buffer.
    fn with_the_rest(&self, mut next: Memory) -> Memory {
        let rest = self.buffered();
        if let Some(front) = next.get_mut(..rest.len()) {
            front.copy_from_slice(rest);
        }
        next
    }

    fn replace_buffer(&mut self, next: Memory) -> Memory {
        (self.start, self.end) = (0, self.buffered().len());
        std::mem::replace(&mut self.buffer, next)
    }

    /// Reads the length that comes next and leaves it where it is. There is room for it.
    pub(super) fn peek_length(&mut self) -> Result<Length> {
        loop {
            if let Some(length) = self.buffered_length() {
                return Ok(length);
            }
            if !self.fill()? {
                return Ok(match self.buffered() {
                    [] => Length::End,
                    _ => Length::Cut {
                        end: self.read_to(),
                    },
                });
            }
        }
    }

    /// Returns the length that comes next; `None` if more bytes are needed to tell.
    fn buffered_length(&self) -> Option<Length> {
        let mut length: u64 = 0;
        for (index, byte) in self.buffered().iter().take(VARINT_BYTES_MAX).enumerate() {
            // Nine groups of seven bits fill 63.
            length |= u64::from(byte & 0x7f) << index.saturating_mul(7);
            if byte & 0x80 != 0 {
                continue;
            }
            if *byte == 0 && index > 0 {
                return Some(Length::Bad("is a varint of more bytes than it needs"));
            }
            let varint_bytes = index.saturating_add(1);
            let end = self
                .position
                .saturating_add(varint_bytes as u64)
                .saturating_add(length);
            return Some(Length::Of(Section {
                start: self.position,
                varint_bytes,
                length,
                end,
            }));
        }
        let is_long = self.buffered().len() >= VARINT_BYTES_MAX;
        is_long.then_some(Length::Bad("is a varint of more than 9 bytes"))
    }

    /// Returns the byte this far ahead, if there is one.
    pub(super) fn peek(&mut self, index: usize) -> Result<Option<u8>> {
        while self.buffered().len() <= index {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(self.buffered().get(index).copied())
    }

    /// Reads until this many bytes are buffered; false if the input ends before. There is room for them.
    pub(super) fn buffer_whole(&mut self, bytes: usize) -> Result<bool> {
        while self.buffered().len() < bytes {
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the bytes that are not used yet, as far as they are read.
    pub(super) fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Uses this many buffered bytes and returns where in the buffer they are.
    pub(super) fn advance(&mut self, bytes: usize) -> Range<usize> {
        let start = self.start;
        self.start = start.saturating_add(bytes).min(self.end);
        self.position = self.position.saturating_add(bytes as u64);
        start..self.start
    }

    /// Returns a part of the buffer.
    pub(super) fn part(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Adds what one read gives to the buffer; false at the end, and from then on.
    fn fill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        if free.is_empty() {
            let words = "looked further ahead than the buffer is long";
            return Err(Error::new(ErrorKind::Internal, words));
        }
        let read = loop {
            match self.reader.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
                Ok(read) if read > free.len() => {
                    let words = "the reader says it read more than it was asked for";
                    return Err(self.failed(io::Error::other(words)));
                }
                Ok(read) => break read,
            }
        };
        self.end = self.end.saturating_add(read);
        self.ended = read == 0;
        Ok(!self.ended)
    }

    fn failed(&self, error: io::Error) -> Error {
        let message = format!("reading the CAR failed at byte {}", self.position);
        Error::io(message, error).with_car_offset(self.position)
    }
}
