//! [`Spool`]: the verified blocks of one import, until the walk asks for them.
//!
//! Up to a bound they stay in memory; the rest goes to a file in `DATA/tmp` that no crash outlives, and is mapped when
//! the last block is in. What is read back from the file is hashed again, because a disk is not memory. The index takes
//! 16 bytes a block in either case.

use std::sync::Arc;

use carrack_repo::{BlockIndex, BlockPlace, BlockSet, VerifiedBlock, VerifiedRef};
use carrack_schema::{Cid, Code};
use carrack_segment::{Directory, File, Map};

use crate::entropy::random;
use crate::error::{Error, Result};
use crate::store::TMP;

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Takes in blocks.
pub(super) struct SpoolWriter {
    memory: BlockSet,
    memory_bytes_max: usize,
    directory: Arc<dyn Directory>,
    overflow: Option<Overflow>,
}

/// Gives out blocks.
pub(super) struct Spool {
    memory: BlockSet,
    overflow: Option<(BlockIndex, Map)>,
}

/// The part of a spool that goes to a file.
struct Overflow {
    file: Box<dyn File>,
    name: TemporaryName,
    index: BlockIndex,
    /// The file's next bytes, not written yet.
    buffer: Vec<u8>,
    written: u64,
}

/// A file in `DATA/tmp`, removed when this goes; a map of it stays good.
struct TemporaryName {
    directory: Arc<dyn Directory>,
    name: String,
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        if let Err(error) = self.directory.unlink(&self.name) {
            // Harmless: the next opening empties the folder.
            tracing::warn!(%error, file = self.name, "cannot remove a spool file");
        }
    }
}

impl SpoolWriter {
    pub(super) fn new(directory: &Arc<dyn Directory>, memory_bytes_max: usize) -> Self {
        let (memory, directory) = (BlockSet::default(), directory.clone());
        Self {
            memory,
            memory_bytes_max,
            directory,
            overflow: None,
        }
    }

    /// Takes in a block.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(super) fn insert(&mut self, block: &VerifiedBlock) -> Result<()> {
        if self.memory.bytes() + block.bytes().len() <= self.memory_bytes_max {
            self.memory.insert(block);
            return Ok(());
        }
        let overflow = match &mut self.overflow {
            Some(overflow) => overflow,
            none => none.insert(Overflow::create(&self.directory)?),
        };
        overflow.insert(block)
    }

    /// Ends taking in.
    ///
    /// # Errors
    /// If the disk takes no more, or the file cannot be mapped.
    pub(super) fn finish(self) -> Result<Spool> {
        let mut memory = self.memory;
        memory.sort();
        let overflow = self.overflow.map(Overflow::finish).transpose()?;
        Ok(Spool { memory, overflow })
    }
}

impl Spool {
    /// Returns a block; none if the CAR did not hold it.
    ///
    /// # Errors
    /// If the file no longer holds the bytes that were put in: the disk's fault, not the CAR's.
    pub(super) fn get(&self, cid: &Cid) -> carrack_repo::Result<Option<VerifiedRef<'_>>> {
        if let Some(block) = self.memory.get(cid) {
            return Ok(Some(block));
        }
        let Some((index, map)) = &self.overflow else {
            return Ok(None);
        };
        let mut spoiled = false;
        for place in index.find(cid) {
            let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
            let bytes = map
                .get(start..start.saturating_add(place.length))
                .unwrap_or_default();
            match VerifiedRef::check(*cid, bytes) {
                Ok(block) => return Ok(Some(block)),
                Err(_) => spoiled = true,
            }
        }
        if spoiled {
            // Another block whose digest begins alike would need 2^64 hashes to find.
            let error = std::io::Error::other("the bytes are not those that were written");
            return Err(carrack_repo::Error::io(
                format!("reading block {cid} back from tmp failed"),
                error,
            ));
        }
        Ok(None)
    }
}

impl Overflow {
    fn create(directory: &Arc<dyn Directory>) -> Result<Self> {
        let name = format!("{TMP}/{:032x}.spool", u128::from_be_bytes(random()?));
        let file = directory.create(&name).map_err(full)?;
        let name = TemporaryName {
            directory: directory.clone(),
            name,
        };
        Ok(Self {
            file,
            name,
            index: BlockIndex::default(),
            buffer: Vec::new(),
            written: 0,
        })
    }

    fn insert(&mut self, block: &VerifiedBlock) -> Result<()> {
        let offset = self.written + self.buffer.len() as u64;
        self.index.push(
            block.cid(),
            BlockPlace {
                offset,
                length: block.bytes().len(),
            },
        );
        self.buffer.extend_from_slice(block.bytes());
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(full)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest and maps the file, whose name goes at once.
    fn finish(mut self) -> Result<(BlockIndex, Map)> {
        self.flush()?;
        self.index.sort();
        let map = self.name.directory.map(&self.name.name).map_err(full)?;
        Ok((self.index, map))
    }
}

fn full(error: std::io::Error) -> Error {
    Error::because(
        Code::Unavailable,
        "an import's blocks do not fit on the disk",
        error,
    )
}

#[cfg(test)]
mod tests {
    use carrack_repo::RawBlock;
    use carrack_schema::cid::Codec;
    use carrack_segment::Fs;

    use super::*;

    fn block(i: usize) -> VerifiedBlock {
        let bytes = i.to_string().repeat(1_000).into_bytes();
        let cid = *VerifiedRef::of(Codec::DagCbor, &bytes).cid();
        RawBlock {
            cid,
            bytes,
            offset: 0,
        }
        .verify()
        .unwrap()
    }

    fn directory() -> (tempfile::TempDir, Arc<dyn Directory>) {
        let folder = tempfile::tempdir().unwrap();
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
        directory.create_dir(TMP).unwrap();
        (folder, directory)
    }

    #[test]
    fn blocks_come_back_from_memory_and_file_and_nothing_stays() {
        const BLOCKS: usize = 2_000;
        let (_folder, directory) = directory();
        let mut spool = SpoolWriter::new(&directory, 500_000);
        for i in (0..BLOCKS).chain(0..BLOCKS) {
            spool.insert(&block(i)).unwrap();
        }
        assert!(spool.memory.bytes() <= 500_000);
        assert_eq!(directory.list(TMP).unwrap().len(), 1);
        let spool = spool.finish().unwrap();
        assert!(directory.list(TMP).unwrap().is_empty());
        for i in 0..BLOCKS {
            let expected = block(i);
            assert_eq!(
                spool.get(expected.cid()).unwrap(),
                Some(VerifiedRef::from(&expected)),
                "{i}"
            );
        }
        assert_eq!(spool.get(block(BLOCKS).cid()).unwrap(), None);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let (_folder, directory) = directory();
        let mut spool = SpoolWriter::new(&directory, 0);
        spool.insert(&block(1)).unwrap();
        assert_eq!(directory.list(TMP).unwrap().len(), 1);
        drop(spool);
        assert!(directory.list(TMP).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_changed_is_the_disks_fault() {
        let (_folder, directory) = directory();
        let mut spool = SpoolWriter::new(&directory, 0);
        spool.insert(&block(1)).unwrap();
        spool.insert(&block(2)).unwrap();
        spool.overflow.as_mut().unwrap().flush().unwrap();
        let name = format!("{TMP}/{}", directory.list(TMP).unwrap()[0]);
        directory.open(&name).unwrap().write_at(b"?", 17).unwrap();
        let spool = spool.finish().unwrap();
        let error = spool.get(block(1).cid()).unwrap_err();
        assert_eq!(error.kind(), carrack_repo::ErrorKind::Io);
        assert!(spool.get(block(2).cid()).unwrap().is_some());
    }
}
