//! [`CarWriter`]: a CAR version 1 with one root, section by section.
//!
//! It must never write a block nobody has hashed, or a length in more bytes than it needs. The export and the maker
//! of proofs write through it.

use std::io::Write;

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;

use crate::block::VerifiedRef;
use crate::cbor::write::{LIST, MAP, put_head, put_link};
use crate::error::{Error, Result};

/// A CAR that is being written to `W`.
#[derive(Debug)]
pub struct CarWriter<W> {
    out: W,
    bytes: u64,
    blocks_count: usize,
}

impl<W: Write> CarWriter<W> {
    /// Writes the header, which names one root.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if `out` fails.
    pub fn begin(out: W, root: &Cid) -> Result<Self> {
        let mut header = Vec::new();
        put_head(&mut header, MAP, 2);
        header.extend_from_slice(b"\x65roots");
        put_head(&mut header, LIST, 1);
        put_link(&mut header, Some(root));
        header.extend_from_slice(b"\x67version\x01");
        let mut writer = Self {
            out,
            bytes: 0,
            blocks_count: 0,
        };
        writer.write_varint(header.len() as u64)?;
        writer.write(&header)?;
        Ok(writer)
    }

    /// Writes a block.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the output fails. Then a part of the block may be out.
    pub fn block(&mut self, block: VerifiedRef<'_>) -> Result<()> {
        self.write_varint((block.bytes().len() as u64).saturating_add(CID_BYTES as u64))?;
        self.write(block.cid().as_bytes())?;
        self.write(block.bytes())?;
        self.blocks_count = self.blocks_count.saturating_add(1);
        Ok(())
    }

    /// Returns how many bytes were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns how many blocks were written.
    pub fn blocks_count(&self) -> usize {
        self.blocks_count
    }

    /// Flushes the output and gives it back.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the output fails.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }

    fn write_varint(&mut self, mut number: u64) -> Result<()> {
        const MORE: u8 = 0x80;
        let mut varint = [0; 10];
        let mut length: usize = 0;
        for slot in &mut varint {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            length = length.saturating_add(1);
            if number == 0 {
                *slot = low;
                break;
            }
            *slot = low | MORE;
        }
        self.write(varint.get(..length).unwrap_or_default())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("writing the CAR failed", error)
}

#[cfg(test)]
mod tests {
    use carrack_schema::Code;
    use carrack_schema::cid::Codec;

    use super::*;
    use crate::kit;

    #[test]
    fn the_reader_finds_what_was_written() {
        let blocks: Vec<Vec<u8>> = [0, 1, 91, 92, 16_347, 16_348].map(|n| vec![7; n]).into();
        let refs: Vec<&[u8]> = blocks.iter().map(|block| &block[..]).collect();
        let mut writer = CarWriter::begin(Vec::new(), &kit::cid_of(&blocks[0])).unwrap();
        for block in &refs {
            writer
                .block(VerifiedRef::of(Codec::DagCbor, block))
                .unwrap();
        }
        assert_eq!(writer.blocks_count(), blocks.len());
        let bytes = writer.bytes();
        let car = writer.finish().unwrap();
        assert_eq!(bytes, car.len() as u64);
        // The kit writes CARs with code of its own; 127, 128, 16,383 and 16,384 are where varints grow.
        assert_eq!(car, kit::car(&refs));
    }

    #[test]
    fn an_output_that_fails_is_named() {
        let cid = kit::cid_of(b"x");
        for room in [0, 1, 58, 59, 60, 95] {
            let mut memory = vec![0; room];
            let written = CarWriter::begin(&mut memory[..], &cid)
                .and_then(|mut writer| writer.block(VerifiedRef::of(Codec::DagCbor, b"x")));
            let error = written.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            assert_eq!(error.to_string(), "writing the CAR failed");
        }
    }
}
