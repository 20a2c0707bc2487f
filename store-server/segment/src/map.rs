//! A read-only view of a whole file: mapped, or held in aligned words. All of the crate's `unsafe` is here.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::BorrowedFd;

use capnp::Word;
use memmap2::{Mmap, MmapOptions};

use crate::message;

/// The bytes of a file that no longer changes. They start at a multiple of 8 in memory.
///
/// A mapped file stays readable after it was unlinked, for as long as the map lives.
pub struct Map(Inner);

enum Inner {
    Mapped(Mmap),
    Owned { words: Vec<Word>, bytes: usize },
}

impl Map {
    /// Copies bytes into aligned words; what a directory in memory, or a cache without files, maps with.
    pub fn owned(bytes: &[u8]) -> Self {
        let words = message::words(bytes);
        Self(Inner::Owned {
            words,
            bytes: bytes.len(),
        })
    }

    /// Maps the first `bytes` bytes of an open file, which must be at least that long and never be written
    /// or truncated again. The file may be closed afterwards.
    pub(crate) fn of_file(file: BorrowedFd<'_>, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is longer than memory can be addressed",
            )
        })?;
        if bytes == 0 {
            // The kernel refuses to map nothing.
            return Ok(Self::owned(&[]));
        }
        let mut options = MmapOptions::new();
        options.len(bytes);
        #[expect(
            unsafe_code,
            reason = "mapping a file is unsafe, and reading in place is this crate's purpose"
        )]
        // SAFETY: the mapped bytes must not change and the file must not shrink while the map lives. Only
        // `Directory::map` calls this, and its contract is that a mapped name is a published file: published files
        // are only ever unlinked (`Directory` has no call that shortens one by name, `SegmentWriter` writes under
        // a temporary name and holds the only handle), and the folder belongs to one process by `Directory::lock`
        // and mode 0700. `tests/segment.rs` maps a file, unlinks it and reads on. A process of the same user that
        // truncates the file by hand gets this one a SIGBUS; that cannot be prevented from here.
        let map = unsafe { options.map(&file) }?;
        Ok(Self(Inner::Mapped(map)))
    }
}

impl Deref for Map {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Mapped(map) => map,
            Inner::Owned { words, bytes } => Word::words_to_bytes(words)
                .get(..*bytes)
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &self.0 {
            Inner::Mapped(_) => "mapped",
            Inner::Owned { .. } => "owned",
        };
        write!(f, "Map({form}, {} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_bytes_are_aligned_and_of_their_length() {
        for len in [0, 1, 7, 8, 9, 4_097] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let map = Map::owned(&bytes);
            assert_eq!(&*map, &bytes[..]);
            assert_eq!(map.as_ptr().addr() % 8, 0);
        }
    }
}
