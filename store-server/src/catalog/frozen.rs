//! [`Frozen`]: redb on a file that is not written any more, for reading what is there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carrack_segment::directory::File;

/// Bytes that are kept together of what is written.
const BLOCK_BYTES: usize = 4_096;

/// redb on a file that must not be written any more: what redb writes to repair it stays in memory.
#[derive(Debug)]
pub(super) struct Frozen {
    file: Box<dyn File>,
    file_len: u64,
    over: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    len: u64,
    /// By number.
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Frozen {
    pub(super) fn new(file: Box<dyn File>) -> io::Result<Self> {
        let len = file.len()?;
        let blocks = HashMap::new();
        Ok(Self {
            file,
            file_len: len,
            over: Mutex::new(Overlay { len, blocks }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Overlay> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a block as the file has it; zeros behind its end.
    fn block_of_file(&self, number: u64) -> io::Result<Box<[u8]>> {
        let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
        let start = number * BLOCK_BYTES as u64;
        let there = self.file_len.saturating_sub(start).min(BLOCK_BYTES as u64) as usize;
        if let Some(part) = block.get_mut(..there) {
            self.file.read_at(part, start)?;
        }
        Ok(block)
    }
}

/// Calls `each` with the blocks that so many bytes from an offset on are in: number, start within it, bytes.
fn blocks(
    offset: u64,
    length: usize,
    mut each: impl FnMut(u64, usize, usize, usize) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let start = (at % BLOCK_BYTES as u64) as usize;
        let count = (BLOCK_BYTES - start).min(length - done);
        each(at / BLOCK_BYTES as u64, start, done, count)?;
        done += count;
    }
    Ok(())
}

impl redb::StorageBackend for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        blocks(offset, out.len(), |number, start, done, count| {
            let from_file;
            let block = match over.blocks.get(&number) {
                Some(block) => block,
                None => {
                    from_file = self.block_of_file(number)?;
                    &from_file
                }
            };
            out[done..done + count].copy_from_slice(&block[start..start + count]);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        blocks(offset, data.len(), |number, start, done, count| {
            let block = match over.blocks.entry(number) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(self.block_of_file(number)?),
            };
            block[start..start + count].copy_from_slice(&data[done..done + count]);
            Ok(())
        })
    }
}
