//! [`Memory`]: the bytes of a chunk, in pages as large as the system gives.
//!
//! It must never hold anything a file could change. The CAR reader fills it, a chunk owns it.

use std::ops::{Deref, DerefMut};

use carrack_schema::limits::MIB;
use memmap2::MmapMut;

/// From this size on, large pages are asked for: the size of one on x86-64, and on ARM with small base pages.
const PAGE_BYTES: usize = 2 * MIB;

/// Bytes that are zero at first.
///
/// A CAR fills all of them once, and then is read in the order of a hash. With pages of 4 KiB the system spends as long
/// on making them as the CPU on hashing what is in them, and each block read misses the CPU's table of pages.
#[derive(Debug)]
pub(crate) enum Memory {
    /// From the allocator.
    Heap(Vec<u8>),
    /// From the system, of no file.
    Pages(MmapMut),
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        if bytes.is_multiple_of(PAGE_BYTES)
            && bytes > 0
            && let Ok(pages) = MmapMut::map_anon(bytes)
        {
            // Advice; where it is not taken, these are pages like others.
            #[cfg(target_os = "linux")]
            let _not_taken = pages.advise(memmap2::Advice::HugePage);
            return Self::Pages(pages);
        }
        Self::Heap(vec![0; bytes])
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(bytes) => bytes,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_asked_and_zero() {
        for bytes in [
            0,
            1,
            PAGE_BYTES - 1,
            PAGE_BYTES,
            PAGE_BYTES + 1,
            2 * PAGE_BYTES,
        ] {
            let mut memory = Memory::new(bytes);
            assert_eq!(memory.len(), bytes);
            assert!(memory.iter().all(|&byte| byte == 0));
            let is_large = bytes == PAGE_BYTES || bytes == 2 * PAGE_BYTES;
            assert_eq!(matches!(memory, Memory::Pages(_)), is_large, "{bytes}");
            if let Some(last) = memory.last_mut() {
                *last = 7;
                assert_eq!(memory[bytes - 1], 7);
            }
        }
    }
}
