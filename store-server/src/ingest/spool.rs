//! [`Spool`]: the verified blocks of one import, until the walk asks for them.
//!
//! Up to a bound they stay in memory; the rest goes to a file in `DATA/tmp` that no crash outlives. What is read
//! back from the file is hashed again, because a disk is not memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use carrack_repo::{BlockSet, BlockSource, VerifiedBlock, VerifiedRef};
use carrack_schema::limits::IMPORT_MEMORY_BYTES;
use carrack_schema::{Cid, Code};
use carrack_segment::{Directory, File};

use crate::entropy::random;
use crate::error::{Error, Result};
use crate::store::TMP;

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

pub(super) struct Spool {
    memory: BlockSet,
    memory_bytes_max: usize,
    directory: Arc<dyn Directory>,
    overflow: Option<Overflow>,
}

/// The part of a spool that is in a file.
struct Overflow {
    directory: Arc<dyn Directory>,
    name: String,
    file: Box<dyn File>,
    places: HashMap<Cid, Place>,
    /// The file's next bytes, not written yet.
    buffer: Vec<u8>,
    written: u64,
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    length: usize,
}

impl Spool {
    pub(super) fn new(directory: &Arc<dyn Directory>) -> Self {
        Self::with_memory(directory, IMPORT_MEMORY_BYTES)
    }

    fn with_memory(directory: &Arc<dyn Directory>, memory_bytes_max: usize) -> Self {
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
        if self.memory.get(block.cid()).is_some() {
            return Ok(());
        }
        let overflow = match &mut self.overflow {
            Some(overflow) => overflow,
            none => none.insert(Overflow::create(&self.directory)?),
        };
        overflow.insert(block)
    }

    /// Ends taking in: now blocks can be got.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(super) fn finish(mut self) -> Result<Self> {
        if let Some(overflow) = &mut self.overflow {
            overflow.flush()?;
        }
        Ok(self)
    }

    /// Returns a block, from memory or through `scratch`.
    ///
    /// # Errors
    /// If the file gives other bytes than were put in.
    pub(super) fn get<'a>(
        &'a self,
        cid: &Cid,
        scratch: &'a mut Vec<u8>,
    ) -> carrack_repo::Result<Option<VerifiedRef<'a>>> {
        if let Some(block) = self.memory.get(cid) {
            return Ok(Some(block));
        }
        let Some(overflow) = &self.overflow else {
            return Ok(None);
        };
        let Some(place) = overflow.places.get(cid) else {
            return Ok(None);
        };
        scratch.clear();
        scratch.resize(place.length, 0);
        overflow
            .file
            .read_at(scratch, place.offset)
            .map_err(|error| {
                carrack_repo::Error::io(format!("reading {} failed", overflow.name), error)
            })?;
        VerifiedRef::check(*cid, scratch).map(Some)
    }
}

impl BlockSource for &Spool {
    fn get<'a>(
        &'a mut self,
        cid: &Cid,
        scratch: &'a mut Vec<u8>,
    ) -> carrack_repo::Result<Option<VerifiedRef<'a>>> {
        Spool::get(self, cid, scratch)
    }
}

impl Overflow {
    fn create(directory: &Arc<dyn Directory>) -> Result<Self> {
        let name = format!("{TMP}/{:032x}.spool", u128::from_be_bytes(random()?));
        let file = directory.create(&name).map_err(full)?;
        let directory = directory.clone();
        Ok(Self {
            directory,
            name,
            file,
            places: HashMap::new(),
            buffer: Vec::new(),
            written: 0,
        })
    }

    fn insert(&mut self, block: &VerifiedBlock) -> Result<()> {
        let Entry::Vacant(place) = self.places.entry(*block.cid()) else {
            return Ok(());
        };
        let offset = self.written + self.buffer.len() as u64;
        place.insert(Place {
            offset,
            length: block.bytes().len(),
        });
        self.buffer.extend_from_slice(block.bytes());
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(full)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Overflow {
    fn drop(&mut self) {
        if let Err(error) = self.directory.unlink(&self.name) {
            // Harmless: the next opening empties the folder.
            tracing::warn!(%error, file = self.name, "cannot remove a spool file");
        }
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
        let mut spool = Spool::with_memory(&directory, 500_000);
        for i in (0..BLOCKS).chain(0..BLOCKS) {
            spool.insert(&block(i)).unwrap();
        }
        let spool = spool.finish().unwrap();
        assert!(spool.memory.bytes() <= 500_000);
        assert_eq!(directory.list(TMP).unwrap().len(), 1);
        let mut scratch = Vec::new();
        for i in 0..BLOCKS {
            let expected = block(i);
            let got = spool.get(expected.cid(), &mut scratch).unwrap().unwrap();
            assert_eq!(got.bytes(), expected.bytes());
        }
        assert_eq!(spool.get(block(BLOCKS).cid(), &mut scratch).unwrap(), None);
        drop(spool);
        assert!(directory.list(TMP).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_changed_is_noticed() {
        let (_folder, directory) = directory();
        let mut spool = Spool::with_memory(&directory, 0);
        spool.insert(&block(1)).unwrap();
        let spool = spool.finish().unwrap();
        let name = format!("{TMP}/{}", directory.list(TMP).unwrap()[0]);
        directory.open(&name).unwrap().write_at(b"?", 17).unwrap();
        let error = spool.get(block(1).cid(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), carrack_repo::ErrorKind::BadHash);
    }
}
