//! [`CarBlocks`]: the blocks of a CAR version 1, one after the other, as the file has them.
//!
//! Framing is iroh-car's; this wrapper closes its gaps (rules CA4, CA6, CA7): it looks at every length before
//! iroh-car allocates for it, counts bytes, and knows a cut from an end. It must never judge what a block is or
//! hash it, and never seek. The importer calls it on its own thread.
//!
//! A CAR that is cut exactly between two blocks looks whole here. Only the [walk](crate::walk()) shows it.

mod header;
mod source;
pub mod write;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;
use carrack_schema::limits::{CAR_BLOCKS_MAX, CAR_BYTES_MAX, CAR_SECTION_BYTES_MAX, MIB};
use iroh_car::CarReader;

use self::source::{Length, Section, SharedSource};
use crate::block::RawBlock;
use crate::error::{Error, ErrorKind, Result};

/// What iroh-car itself refuses to read above.
const FRAMING_SECTION_BYTES_MAX: usize = 4 * MIB;
const _: () = assert!(CAR_SECTION_BYTES_MAX <= FRAMING_SECTION_BYTES_MAX);

/// How much of a CAR is read before it is refused with [`ErrorKind::LimitExceeded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarLimits {
    /// Longest CAR.
    pub bytes_max: u64,
    /// Most blocks, ignored ones too.
    pub blocks_max: usize,
    /// Longest section: a CID and its block. iroh-car reads none above 4 MiB, whatever this says.
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
    source: SharedSource<R>,
    reader: CarReader<SharedSource<R>>,
    limits: CarLimits,
    root: Cid,
    roots_count: usize,
    blocks_count: usize,
    ignored_count: usize,
    refused: bool,
}

impl<R: Read> CarBlocks<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ErrorKind::BadStructure`] if it is not the header of a CAR version 1, or its first root is not a
    /// commit's CID; [`ErrorKind::Incomplete`] if the CAR ends inside it; [`ErrorKind::Io`] if `reader` fails.
    pub fn open(reader: R, limits: CarLimits) -> Result<Self> {
        let source = SharedSource::new(reader);
        let (roots, end) = {
            let mut source = source.lock();
            let section = header::section(&mut source, limits.bytes_max)?;
            let roots = header::roots(source.peek_section(&section)?)?;
            (roots, section.end)
        };
        let reader = match poll_ready(CarReader::new(source.clone()))? {
            Ok(reader) => reader,
            // Our own reading of the header was stricter than iroh-car's, so this is a form it alone refuses.
            Err(error) => {
                let message = format!("not a CAR file: its header is refused ({error})");
                return Err(Error::structure(message).with_car_offset(0));
            }
        };
        if source.lock().position() != end {
            return Err(Error::new(
                ErrorKind::Internal,
                "the CAR header was not read to its end",
            ));
        }
        Ok(Self {
            source,
            reader,
            limits,
            root: roots.first,
            roots_count: roots.count,
            blocks_count: 0,
            ignored_count: 0,
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
    /// The reader may be up to 64 KiB ahead; at the end it is not.
    pub fn bytes_read(&self) -> u64 {
        self.source.lock().position()
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
        if self.refused {
            let message = "a CAR that was refused cannot be read on";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let block = self.next_known_block();
        self.refused = block.is_err();
        block
    }

    fn next_known_block(&mut self) -> Result<Option<RawBlock>> {
        loop {
            let Some(section) = self.next_section()? else {
                return Ok(None);
            };
            let (cid, bytes) = self.read_section(&section)?;
            if let Some(cid) = cid {
                self.blocks_count = self.blocks_count.saturating_add(1);
                return Ok(Some(RawBlock {
                    cid,
                    bytes,
                    offset: section.start,
                }));
            }
            self.ignored_count = self.ignored_count.saturating_add(1);
        }
    }

    /// Looks at the next length, and judges it before iroh-car sees it.
    fn next_section(&mut self) -> Result<Option<Section>> {
        let mut source = self.source.lock();
        let start = source.position();
        let refuse = |error: Error| error.with_car_offset(start);
        let section = match source.peek_length()? {
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

    /// Lets iroh-car read a section; the CID is `None` if it is not a [`Cid`].
    fn read_section(&mut self, section: &Section) -> Result<(Option<Cid>, Vec<u8>)> {
        let start = section.start;
        let read = poll_ready(self.reader.next_block())?;
        let mut source = self.source.lock();
        let position = source.position();
        if let Some(error) = source.take_error() {
            return Err(error);
        }
        if position < section.end && source.at_end() {
            let message = format!("CAR ends inside the block at byte {start}, at byte {position}");
            return Err(Error::new(ErrorKind::Incomplete, message).with_car_offset(position));
        }
        let (cid, bytes) = match read {
            Ok(Some(block)) if position == section.end => block,
            Ok(_) => {
                let message = format!("the block at byte {start} was not read to its end");
                return Err(Error::new(ErrorKind::Internal, message).with_car_offset(start));
            }
            Err(error) => {
                let message =
                    format!("the block at byte {start} does not begin with a CID ({error})");
                return Err(Error::structure(message).with_car_offset(start));
            }
        };
        let mut binary = [0; CID_BYTES];
        // A longer CID does not fit; a shorter one leaves zeros, and no legal CID of 36 bytes is cut short.
        let known = match cid.write_bytes(&mut binary[..]) {
            Ok(CID_BYTES) => Cid::from_bytes(&binary).ok(),
            _ => None,
        };
        Ok((known, bytes))
    }
}

/// Runs one of iroh-car's futures. The source is always ready, so they have nothing to wait for.
fn poll_ready<F: Future>(future: F) -> Result<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(Error::new(
            ErrorKind::Internal,
            "the CAR framing waits for nothing",
        )),
    }
}
