//! [`Spool`]: the verified blocks of one import, until the walk asks for them.
//!
//! They stay in the chunks they were read in. Up to a bound those are in memory; the rest goes to a file in `DATA/tmp`
//! that no crash outlives, and is mapped when the last block is in. What is read back from the file is hashed again,
//! because a disk is not memory. The index takes 17 bytes a block in either case.

use std::sync::Arc;

use carrack_repo::{BlockPlace, BlockSet, ChunkMemory, Found, VerifiedChunk, VerifiedRef};
use carrack_schema::{Cid, Code};
use carrack_segment::{Directory, File, Map};

use crate::entropy::random;
use crate::error::{Error, Result};
use crate::store::TMP;

/// Takes in blocks.
pub(super) struct SpoolWriter {
    blocks: BlockSet,
    memory_bytes: usize,
    memory_bytes_max: usize,
    directory: Arc<dyn Directory>,
    overflow: Option<Overflow>,
}

/// Gives out blocks.
pub(super) struct Spool {
    blocks: BlockSet,
    overflow: Option<Map>,
}

/// The part of a spool that goes to a file.
struct Overflow {
    file: Box<dyn File>,
    name: TemporaryName,
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
        Self {
            blocks: BlockSet::default(),
            memory_bytes: 0,
            memory_bytes_max,
            directory: directory.clone(),
            overflow: None,
        }
    }

    /// Says whether a chunk will go to the file.
    pub(super) fn is_full(&self, chunk: &VerifiedChunk) -> bool {
        self.memory_bytes.saturating_add(chunk.memory_bytes()) > self.memory_bytes_max
    }

    /// Takes in a chunk of blocks, and returns the memory it took if that is free again.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(super) fn insert(&mut self, chunk: VerifiedChunk) -> Result<Option<ChunkMemory>> {
        if !self.is_full(&chunk) {
            self.memory_bytes += chunk.memory_bytes();
            self.blocks.keep(chunk);
            return Ok(None);
        }
        let overflow = match &mut self.overflow {
            Some(overflow) => overflow,
            none => none.insert(Overflow::create(&self.directory)?),
        };
        let offset = overflow.write(chunk.bytes())?;
        self.blocks.put_away(&chunk, offset);
        Ok(Some(chunk.into_memory()))
    }

    /// Ends taking in.
    ///
    /// # Errors
    /// If the file cannot be mapped.
    pub(super) fn finish(self) -> Result<Spool> {
        let mut blocks = self.blocks;
        blocks.sort();
        let overflow = self.overflow.map(Overflow::finish).transpose()?;
        Ok(Spool { blocks, overflow })
    }
}

impl Spool {
    /// Returns a block; none if the CAR did not hold it.
    ///
    /// # Errors
    /// If the file no longer holds the bytes that were put in: the disk's fault, not the CAR's.
    pub(super) fn get(&self, cid: &Cid) -> carrack_repo::Result<Option<VerifiedRef<'_>>> {
        let mut spoiled = false;
        for found in self.blocks.find(cid) {
            let place = match found {
                Found::Here(block) => return Ok(Some(block)),
                Found::Away(place) => place,
            };
            match VerifiedRef::check(*cid, self.away(place)) {
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

    /// Has blocks at hand that are asked for soon.
    pub(super) fn warm(&self, cids: &[Cid]) {
        let outside = self.overflow.as_ref().map_or(&[][..], |map| map);
        self.blocks.warm(cids, outside);
    }

    /// Returns the bytes at a place in the file.
    fn away(&self, place: BlockPlace) -> &[u8] {
        let Some(map) = &self.overflow else {
            return &[];
        };
        let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
        map.get(start..start.saturating_add(place.length))
            .unwrap_or_default()
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
            written: 0,
        })
    }

    /// Writes bytes behind those that are there, and returns where they are.
    fn write(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.written;
        self.file.write_at(bytes, offset).map_err(full)?;
        self.written += bytes.len() as u64;
        Ok(offset)
    }

    /// Maps the file, whose name goes at once.
    fn finish(self) -> Result<Map> {
        self.name.directory.map(&self.name.name).map_err(full)
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
    use carrack_repo::car::write::CarWriter;
    use carrack_repo::{CarBlocks, CarLimits};
    use carrack_schema::cid::Codec;
    use carrack_segment::Fs;

    use super::*;

    fn block(i: usize) -> (Cid, Vec<u8>) {
        let bytes = i.to_string().repeat(1_000).into_bytes();
        (*VerifiedRef::of(Codec::DagCbor, &bytes).cid(), bytes)
    }

    /// A CAR of these blocks.
    fn car(blocks: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut car = CarWriter::begin(&mut out, &block(0).0).unwrap();
        for i in blocks {
            let (_, bytes) = block(i);
            car.block(VerifiedRef::of(Codec::DagCbor, &bytes)).unwrap();
        }
        out
    }

    fn spool(car: &[u8], directory: &Arc<dyn Directory>, memory_bytes_max: usize) -> SpoolWriter {
        let mut spool = SpoolWriter::new(directory, memory_bytes_max);
        let mut blocks = CarBlocks::open(car, CarLimits::default()).unwrap();
        while let Some(chunk) = blocks.next_chunk().unwrap() {
            if let Some(memory) = spool.insert(chunk.verify().unwrap()).unwrap() {
                blocks.reuse(memory);
            }
        }
        spool
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
        let car = car((0..BLOCKS).chain(0..BLOCKS));
        let spool = spool(&car, &directory, 500_000);
        assert!(spool.memory_bytes > 0 && spool.memory_bytes <= 500_000);
        assert_eq!(directory.list(TMP).unwrap().len(), 1);
        let spool = spool.finish().unwrap();
        assert!(directory.list(TMP).unwrap().is_empty());
        for i in 0..BLOCKS {
            let (cid, bytes) = block(i);
            let found = spool.get(&cid).unwrap().unwrap();
            assert_eq!((found.cid(), found.bytes()), (&cid, &bytes[..]), "{i}");
        }
        assert_eq!(spool.get(&block(BLOCKS).0).unwrap(), None);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let (_folder, directory) = directory();
        let spool = spool(&car(0..2), &directory, 0);
        assert_eq!(directory.list(TMP).unwrap().len(), 1);
        drop(spool);
        assert!(directory.list(TMP).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_changed_is_the_disks_fault() {
        let (_folder, directory) = directory();
        let car = car(0..3);
        let spool = spool(&car, &directory, 0);
        let name = format!("{TMP}/{}", directory.list(TMP).unwrap()[0]);
        let middle = car.windows(3).position(|bytes| bytes == b"111").unwrap();
        directory
            .open(&name)
            .unwrap()
            .write_at(b"?", middle as u64)
            .unwrap();
        let spool = spool.finish().unwrap();
        let error = spool.get(&block(1).0).unwrap_err();
        assert_eq!(error.kind(), carrack_repo::ErrorKind::Io);
        assert!(spool.get(&block(2).0).unwrap().is_some());
    }
}
