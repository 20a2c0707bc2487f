//! [`Backend`]: redb on a [`File`] of a directory. It remembers a checksum of each block it has seen.
//!
//! redb compares its pages' checksums when it opens a file, and later trusts what it reads; then a disk that gives other
//! bytes than before would have it miss a row, or write the wrong one back. Here such a block is read once more, and is an
//! error if it stays different. Only [`super::Catalog`] uses this.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carrack_segment::directory::File;

/// What a checksum is kept of, in bytes: redb's page. 4 bytes for 4 KiB, and the map's own.
const BLOCK_BYTES: usize = 4_096;

/// redb's file.
#[derive(Debug)]
pub(super) struct Backend {
    file: Box<dyn File>,
    /// By number of the block, of those read or written whole.
    checksums: Mutex<BTreeMap<u64, u32>>,
}

impl Backend {
    pub(super) fn new(file: Box<dyn File>) -> Self {
        Self {
            file,
            checksums: Mutex::default(),
        }
    }

    fn checksums(&self) -> MutexGuard<'_, BTreeMap<u64, u32>> {
        // Each change is one call, so the map is whole whatever its last holder did.
        self.checksums
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether these bytes are those of before, as far as there was a before, and remembers them if so.
    fn is_as_before(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut checksums = self.checksums();
        whole_blocks(offset, bytes).all(|(block, bytes)| {
            let checksum = crc32c::crc32c(bytes);
            *checksums.entry(block).or_insert(checksum) == checksum
        })
    }

    fn forget(&self, from: u64, end: u64) {
        let block = BLOCK_BYTES as u64;
        self.checksums()
            .retain(|number, _| (number + 1) * block <= from || number * block >= end);
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(out, offset)?;
        if self.is_as_before(offset, out) {
            return Ok(());
        }
        self.file.read_at(out, offset)?;
        if self.is_as_before(offset, out) {
            tracing::warn!(
                offset,
                "the disk gave other bytes of the catalog than before, once"
            );
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file changed behind the store's back: offset=`{offset}`"),
        ))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.forget(len, u64::MAX);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.forget(offset, offset.saturating_add(data.len() as u64));
        self.file.write_at(data, offset)?;
        let mut checksums = self.checksums();
        for (block, bytes) in whole_blocks(offset, data) {
            checksums.insert(block, crc32c::crc32c(bytes));
        }
        Ok(())
    }
}

/// Returns the blocks that these bytes of the file cover from end to end, by number.
fn whole_blocks(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let first = offset.div_ceil(BLOCK_BYTES as u64);
    let before = usize::try_from(first * BLOCK_BYTES as u64 - offset).unwrap_or(usize::MAX);
    let rest = bytes.get(before..).unwrap_or_default();
    (first..).zip(rest.chunks_exact(BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use carrack_segment::Directory;
    use carrack_segment::directory::mem::Mem;
    use redb::StorageBackend;

    use super::*;

    fn backend() -> (Mem, Backend) {
        let disk = Mem::new();
        let file = disk.create("a").unwrap();
        (disk, Backend::new(file))
    }

    #[test]
    fn only_whole_blocks_count() {
        let bytes = vec![0; 3 * BLOCK_BYTES];
        let numbers = |offset, bytes| {
            let blocks = whole_blocks(offset, bytes);
            blocks.map(|(block, _)| block).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0, &bytes), [0, 1, 2]);
        assert_eq!(numbers(1, &bytes), [1, 2]);
        assert_eq!(numbers(BLOCK_BYTES as u64, &bytes), [1, 2, 3]);
        assert_eq!(numbers(5, &bytes[..BLOCK_BYTES]), [0; 0]);
        assert_eq!(numbers(0, &bytes[..9]), [0; 0]);
    }

    #[test]
    fn a_block_that_changed_behind_the_back_is_an_error() {
        let (disk, backend) = backend();
        backend.write(0, &[7; 3 * BLOCK_BYTES]).unwrap();
        let mut out = vec![0; BLOCK_BYTES];
        for block in 0..3 {
            backend.read(block * BLOCK_BYTES as u64, &mut out).unwrap();
        }
        disk.open("a").unwrap().write_at(b"?", 5_000).unwrap();
        backend.read(0, &mut out).unwrap();
        let error = backend.read(BLOCK_BYTES as u64, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // Written anew, in whole or in part, it is what was written.
        backend.write(5_000, b"!").unwrap();
        backend.read(BLOCK_BYTES as u64, &mut out).unwrap();
        assert_eq!(out[5_000 - BLOCK_BYTES], b'!');
        backend.set_len(5_000).unwrap();
        backend.set_len(3 * BLOCK_BYTES as u64).unwrap();
        backend.read(BLOCK_BYTES as u64, &mut out).unwrap();
        assert_eq!(out[5_000 - BLOCK_BYTES..], [0; 2 * BLOCK_BYTES - 5_000]);
    }
}
