//! [`CarBlocks`]: the blocks of a CAR version 1, one after the other, as the file has them.
//!
//! The header is decoded by iroh-car, after a stricter look at it. Sections are framed here, in place and many at a
//! time, where iroh-car would allocate for each: this looks at every length before it makes room for it, counts bytes,
//! and knows a cut from an end (rules CA4, CA6, CA7). It must never judge what a block is or hash it, and never seek.
//! The importer calls it on its own thread. Tests hold it against iroh-car's framing.
//!
//! A CAR that is cut exactly between two blocks looks whole here. Only the [walk](crate::walk()) shows it.

mod header;
mod source;
pub mod write;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::ops::Range;

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;
use carrack_schema::limits::{CAR_BLOCKS_MAX, CAR_BYTES_MAX, CAR_SECTION_BYTES_MAX, MIB};

use self::source::{Length, Section, Source, VARINT_BYTES_MAX};
use crate::block::{BlockAt, ChunkMemory, RawBlock, RawChunk};
use crate::error::{Error, ErrorKind, Result};

/// Longest section that is ever read: places in a chunk have 24 bits.
const FRAMING_SECTION_BYTES_MAX: usize = 4 * MIB;
const _: () = assert!(CAR_SECTION_BYTES_MAX <= FRAMING_SECTION_BYTES_MAX);

/// How much of a CAR is read before it is refused with [`ErrorKind::LimitExceeded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarLimits {
    /// Longest CAR.
    pub bytes_max: u64,
    /// Most blocks, ignored ones too.
    pub blocks_max: usize,
    /// Longest section: a CID and its block. None above 4 MiB is read, whatever this says.
    pub section_bytes_max: usize,
}

impl Default for CarLimits {
    fn default() -> Self {
        Self {
            bytes_max: CAR_BYTES_MAX,
            blocks_max: CAR_BLOCKS_MAX,
            section_bytes_max: CAR_SECTION_BYTES_MAX,
        }
    }
}

/// The blocks of a CAR, read from `R` from its start to its end.
pub struct CarBlocks<R> {
    source: Source<R>,
    limits: CarLimits,
    root: Cid,
    roots_count: usize,
    blocks_count: usize,
    ignored_count: usize,
    spare: ChunkMemory,
    /// Why the CAR is refused, while the blocks before that place are still on their way.
    fault: Option<Error>,
    refused: bool,
}

/// A block in the source's buffer.
struct Framed {
    cid: Cid,
    bytes: Range<usize>,
    offset: u64,
}

/// What comes next in a CAR.
enum Next {
    Block(Framed),
    /// A section for which the buffer has no room behind the blocks in it.
    Full,
    End,
}

impl<R: Read> CarBlocks<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`] if it is not the header of a CAR version 1, or its first root is not a
    /// commit's CID; [`ErrorKind::Incomplete`] if the CAR ends inside it; [`ErrorKind::Io`] if `reader` fails.
    pub fn open(reader: R, limits: CarLimits) -> Result<Self> {
        let mut source = Source::new(reader);
        let roots = header::read(&mut source, limits.bytes_max)?;
        Ok(Self {
            source,
            limits,
            root: roots.first,
            roots_count: roots.count,
            blocks_count: 0,
            ignored_count: 0,
            spare: ChunkMemory::default(),
            fault: None,
            refused: false,
        })
    }

    /// Returns the first root: the commit's CID.
    pub fn root(&self) -> Cid {
        self.root
    }

    /// Returns how many roots the header names, one at least (CA1).
    pub fn roots_count(&self) -> usize {
        self.roots_count
    }

    /// Returns how many bytes of the CAR have been used: the header and whole sections.
    ///
    /// The reader may be ahead by as much as is read at a time; at the end it is not.
    pub fn bytes_read(&self) -> u64 {
        self.source.position()
    }

    /// Returns how many blocks have been read, without the ignored ones.
    pub fn blocks_count(&self) -> usize {
        self.blocks_count
    }

    /// Returns how many blocks were passed over because their CID is not a [`Cid`].
    ///
    /// Nothing Carrack follows names a block by such a CID, so no walk reaches one; and its hash may be one
    /// Carrack does not know, so it cannot be verified.
    pub fn ignored_count(&self) -> usize {
        self.ignored_count
    }

    /// Reads the next block; `None` where the CAR ends.
    ///
    /// May block as the reader does.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] if the CAR ends inside a length or a block, [`ErrorKind::LimitExceeded`] before
    /// anything is allocated for what passes a limit, [`ErrorKind::BadStructure`] for a length or CID of no
    /// legal form, [`ErrorKind::Io`] if the reader fails. After an error there is nothing more to read.
    pub fn next_block(&mut self) -> Result<Option<RawBlock>> {
        self.check_usable()?;
        let next = self.next_framed(false);
        self.refused = next.is_err();
        let Next::Block(Framed { cid, bytes, offset }) = next? else {
            return Ok(None);
        };
        let bytes = self.source.part(bytes).to_vec();
        Ok(Some(RawBlock { cid, bytes, offset }))
    }

    /// Reads the next blocks, up to two megabytes of them; `None` where the CAR ends.
    ///
    /// The same blocks and the same errors as from [`next_block`](Self::next_block), and an error only after the blocks
    /// before it: so whoever verifies each chunk as it comes finds the first fault of the CAR first. May block as the
    /// reader does.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub fn next_chunk(&mut self) -> Result<Option<RawChunk>> {
        self.check_usable()?;
        let ChunkMemory {
            bytes: spare,
            mut blocks,
        } = std::mem::take(&mut self.spare);
        blocks.clear();
        loop {
            match self.next_framed(!blocks.is_empty()) {
                Ok(Next::Block(Framed { bytes, .. })) => blocks.push(BlockAt::of(bytes)?),
                Ok(Next::Full | Next::End) => break,
                Err(error) if blocks.is_empty() => {
                    self.refused = true;
                    return Err(error);
                }
                Err(error) => {
                    self.fault = Some(error);
                    break;
                }
            }
        }
        if blocks.is_empty() {
            return Ok(None);
        }
        let used = self.source.start();
        let offset = self.source.position().saturating_sub(used as u64);
        Ok(Some(RawChunk {
            bytes: self.source.take_buffer(spare),
            used,
            offset,
            blocks,
        }))
    }

    /// Takes the memory of a chunk for one that follows.
    pub fn reuse(&mut self, memory: ChunkMemory) {
        self.spare = memory;
    }

    fn check_usable(&mut self) -> Result<()> {
        if let Some(error) = self.fault.take() {
            self.refused = true;
            return Err(error);
        }
        if self.refused {
            let message = "a CAR that was refused cannot be read on";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }

    /// Uses the next section that holds a known block. If used bytes are kept, the buffer they are in stays.
    fn next_framed(&mut self, keep: bool) -> Result<Next> {
        loop {
            if !self.has_room(VARINT_BYTES_MAX, keep) {
                return Ok(Next::Full);
            }
            let Some(section) = self.next_section()? else {
                return Ok(Next::End);
            };
            // Within its limit, so it is no more than some megabytes.
            let length = usize::try_from(section.length).unwrap_or(usize::MAX);
            let whole = section.varint_bytes.saturating_add(length);
            if !self.has_room(whole, keep) {
                return Ok(Next::Full);
            }
            if !self.source.buffer_whole(whole)? {
                return Err(cut_inside(&section, self.source.read_to()));
            }
            let body = self.source.buffered().get(section.varint_bytes..whole);
            let cid = known_cid(&section, body.unwrap_or_default())?;
            let used = self.source.advance(whole);
            if let Some(cid) = cid {
                self.blocks_count = self.blocks_count.saturating_add(1);
                let before = section.varint_bytes.saturating_add(CID_BYTES);
                return Ok(Next::Block(Framed {
                    cid,
                    bytes: used.start.saturating_add(before)..used.end,
                    offset: section.start,
                }));
            }
            self.ignored_count = self.ignored_count.saturating_add(1);
        }
    }

    fn has_room(&mut self, bytes: usize, keep: bool) -> bool {
        if !keep {
            self.source.make_room(bytes);
        }
        self.source.room() >= bytes
    }

    /// Looks at the next length, and judges it before there is room for it.
    fn next_section(&mut self) -> Result<Option<Section>> {
        let start = self.source.position();
        let refuse = |error: Error| error.with_car_offset(start);
        let section = match self.source.peek_length()? {
            Length::End => return Ok(None),
            Length::Cut { end } => {
                let message = format!("CAR ends inside the length of a block at byte {end}");
                return Err(Error::new(ErrorKind::Incomplete, message).with_car_offset(end));
            }
            Length::Bad(why) => {
                let message = format!("the length of the block at byte {start} {why}");
                return Err(refuse(Error::structure(message)));
            }
            Length::Of(section) => section,
        };
        let CarLimits {
            bytes_max,
            blocks_max,
            section_bytes_max,
        } = self.limits;
        let section_bytes_max = section_bytes_max.min(FRAMING_SECTION_BYTES_MAX);
        if section.length == 0 {
            return Err(refuse(Error::structure(format!(
                "the block at byte {start} is empty"
            ))));
        }
        if section.length > section_bytes_max as u64 {
            let message = format!(
                "the block at byte {start} is {} bytes long with its CID, more than {section_bytes_max}",
                section.length
            );
            return Err(refuse(Error::limit(message)));
        }
        if section.end > bytes_max {
            let message =
                format!("CAR is longer than {bytes_max} bytes: the block at byte {start}");
            return Err(refuse(Error::limit(message)));
        }
        if self.blocks_count.saturating_add(self.ignored_count) >= blocks_max {
            let message =
                format!("CAR has more than {blocks_max} blocks: the block at byte {start}");
            return Err(refuse(Error::limit(message)));
        }
        Ok(Some(section))
    }
}

fn cut_inside(section: &Section, end: u64) -> Error {
    let start = section.start;
    let message = format!("CAR ends inside the block at byte {start}, at byte {end}");
    Error::new(ErrorKind::Incomplete, message).with_car_offset(end)
}

/// Returns the CID a section begins with; `None` if it is of another form than a [`Cid`].
fn known_cid(section: &Section, body: &[u8]) -> Result<Option<Cid>> {
    // A legal CID of 36 bytes is the only one that begins like one.
    if let Some(first) = body.first_chunk::<CID_BYTES>()
        && let Ok(cid) = Cid::from_bytes(first)
    {
        return Ok(Some(cid));
    }
    match cid::Cid::read_bytes(body) {
        Ok(_) => Ok(None),
        Err(error) => {
            let start = section.start;
            let message = format!("the block at byte {start} does not begin with a CID ({error})");
            Err(Error::structure(message).with_car_offset(start))
        }
    }
}
