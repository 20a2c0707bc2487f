//! CAR files: a writer of their parts and a reader for tests that look at bytes.
//!
//! The reader is for files that are well-formed, such as the kit's and Carrack's own exports: it panics at
//! anything else and checks no hashes.

use std::io::{self, Write};
use std::ops::Range;

use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;

use crate::cbor::Value;

/// Where a block is in a CAR file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The whole section: length, CID and payload.
    pub range: Range<usize>,
    /// The block's CID, as the file says.
    pub cid: Cid,
    /// The block's bytes.
    pub payload: Range<usize>,
}

impl Section {
    /// Returns where the CID is.
    pub fn cid_range(&self) -> Range<usize> {
        self.payload.start - CID_BYTES..self.payload.start
    }
}

/// Returns the sections of a CAR file in the order they have there.
///
/// # Panics
/// If the file is not well-formed.
pub fn blocks(car: &[u8]) -> Vec<Section> {
    let mut at = header_range(car).end;
    let mut sections = Vec::new();
    while at < car.len() {
        let (len, start) = varint(car, at);
        let payload = start + CID_BYTES..start + len;
        assert!(
            payload.start <= payload.end,
            "section at {at} is shorter than a CID"
        );
        assert!(
            payload.end <= car.len(),
            "section at {at} goes on after the end of the file"
        );
        let cid = Cid::from_bytes(&car[start..payload.start]).expect("a CID of a usual form");
        sections.push(Section {
            range: at..payload.end,
            cid,
            payload: payload.clone(),
        });
        at = payload.end;
    }
    sections
}

/// Returns the roots a CAR file names.
///
/// # Panics
/// If the header is not a canonical version 1 header with fewer than 24 roots.
pub fn roots(car: &[u8]) -> Vec<Cid> {
    // {"roots": [...], "version": 1}
    const BEFORE: &[u8] = b"\xa2\x65roots";
    const LINK: &[u8] = b"\xd8\x2a\x58\x25\x00";
    const AFTER: &[u8] = b"\x67version\x01";
    let (_, start) = varint(car, 0);
    let header = &car[start..header_range(car).end];
    let (count, mut rest) = header
        .strip_prefix(BEFORE)
        .and_then(<[u8]>::split_first)
        .expect("the header starts with the roots");
    assert!(
        (0x80..0x98).contains(count),
        "the roots are a list of fewer than 24"
    );
    let mut roots = Vec::new();
    for _ in 0x80..*count {
        let link = rest.strip_prefix(LINK).expect("a root is a link");
        let (cid, after) = link.split_at(CID_BYTES);
        roots.push(Cid::from_bytes(cid).expect("a CID of a usual form"));
        rest = after;
    }
    assert_eq!(rest, AFTER, "the header ends with version 1");
    roots
}

/// Returns where the header is, with its length.
///
/// # Panics
/// If the file ends before it does.
pub fn header_range(car: &[u8]) -> Range<usize> {
    let (len, start) = varint(car, 0);
    assert!(start + len <= car.len(), "the file ends inside the header");
    0..start + len
}

/// Returns a version 1 header with its length.
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let roots = roots.iter().map(|cid| Value::Link(*cid)).collect();
    let body = Value::map([("roots", Value::List(roots)), ("version", Value::Int(1))]).encode();
    let mut header = Vec::with_capacity(2 + body.len());
    put_varint(&mut header, body.len() as u64);
    header.extend(body);
    header
}

/// Returns the section of a block.
pub fn section(cid: &Cid, bytes: &[u8]) -> Vec<u8> {
    let mut section = Vec::with_capacity(4 + CID_BYTES + bytes.len());
    write_section(&mut section, cid, bytes).expect("memory takes all writes");
    section
}

/// Writes the section of a block.
///
/// # Errors
/// If the writer fails.
pub fn write_section(out: &mut impl Write, cid: &Cid, bytes: &[u8]) -> io::Result<()> {
    let mut length = Vec::with_capacity(4);
    put_varint(&mut length, (CID_BYTES + bytes.len()) as u64);
    out.write_all(&length)?;
    out.write_all(cid.as_bytes())?;
    out.write_all(bytes)
}

/// Appends an unsigned LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number. Returns it and where it ends.
fn varint(bytes: &[u8], start: usize) -> (usize, usize) {
    let mut number = 0;
    for (i, byte) in bytes[start..].iter().enumerate() {
        assert!(i < 5, "the number at {start} is too long");
        number |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (number, start + i + 1);
        }
    }
    panic!("the file ends inside the number at {start}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::cid_of;

    #[test]
    fn reader_finds_what_the_writer_wrote() {
        let payloads: Vec<Vec<u8>> = [0, 1, 91, 92, 20_000].map(|len| vec![7; len]).into();
        let root = cid_of(&payloads[0]);
        let mut car = header(&[root, root]);
        for payload in &payloads {
            car.extend(section(&cid_of(payload), payload));
        }
        assert_eq!(roots(&car), [root, root]);
        let sections = blocks(&car);
        assert!(
            sections
                .windows(2)
                .all(|pair| pair[0].range.end == pair[1].range.start)
        );
        for (section, payload) in sections.iter().zip(&payloads) {
            assert_eq!(car[section.payload.clone()], payload[..]);
            assert_eq!(car[section.cid_range()], cid_of(payload).as_bytes()[..]);
        }
        assert_eq!(sections.len(), payloads.len());
        assert_eq!(roots(&header(&[])), []);
    }
}
