//! CAR framing: `carrack_repo::CarBlocks` against a reader of a dozen lines.

use std::io::{self, Read};

use carrack_repo::{BlockSet, CarBlocks, CarLimits, Error, ErrorKind, RawBlock};
use carrack_schema::Cid;
use carrack_schema::cid::CID_BYTES;
use kit::cbor::cid_of;

/// Takes the input as a CAR.
///
/// - The sections, as a plain reader of lengths finds them, are the blocks and those passed over, in order; at the
///   end they sum up to all bytes.
/// - How the bytes arrive, at once or in drips, changes nothing, errors included.
/// - A block verifies if and only if it hashes to its CID.
/// - Reading by the chunk gives the same blocks, and the fault that comes first in the file, be it of framing or a hash.
/// - Limits hold at what the file has, and refuse one less.
pub fn run(data: &[u8]) {
    let limits = CarLimits::default();
    let whole = read(data, limits);
    let drips = Drips {
        rest: data,
        step: 1 + data.len() % 7,
    };
    let dripped = read(drips, limits);
    assert_eq!(whole, dripped, "in drips");

    check_chunks(data, &whole);
    check_chunks(
        Drips {
            rest: data,
            step: 1 + data.len() % 7,
        },
        &whole,
    );

    let sections = Sections::of(data);
    let known: Vec<RawBlock> = sections.found.iter().filter_map(Section::known).collect();
    assert!(whole.blocks.len() <= known.len());
    assert_eq!(whole.blocks[..], known[..whole.blocks.len()]);
    assert!(whole.bytes_read <= data.len() as u64);
    if whole.error.is_none() {
        assert!(sections.is_whole);
        assert_eq!(whole.blocks.len(), known.len());
        let sections_count = sections.found.len();
        assert_eq!(whole.ignored_count, sections_count - known.len());
        assert_eq!(whole.bytes_read, data.len() as u64);
        check_limits(data, sections_count, &whole);
    }
    for block in whole.blocks {
        let is_right = cid_of(&block.bytes).digest() == block.cid.digest();
        let (cid, bytes) = (block.cid, block.bytes.clone());
        match block.verify() {
            Ok(verified) => {
                assert!(is_right);
                assert_eq!((*verified.cid(), verified.into_bytes()), (cid, bytes));
            }
            Err(error) => {
                assert!(!is_right);
                assert_eq!(error.kind(), ErrorKind::BadHash);
            }
        }
    }
}

fn check_chunks(reader: impl Read, whole: &Outcome) {
    let parts = |error: &Error| (error.kind(), error.to_string(), error.car_offset());
    let Ok(mut car) = CarBlocks::open(reader, CarLimits::default()) else {
        assert_eq!(whole.root, None);
        return;
    };
    let mut blocks = BlockSet::default();
    let fault = loop {
        match car
            .next_chunk()
            .and_then(|chunk| chunk.map(|chunk| chunk.verify()).transpose())
        {
            Ok(Some(chunk)) => blocks.keep(chunk),
            Ok(None) => break None,
            Err(error) => break Some(parts(&error)),
        }
    };
    let bad_hash = whole
        .blocks
        .iter()
        .find_map(|block| block.clone().verify().err());
    assert_eq!(fault, bad_hash.as_ref().map(parts).or(whole.error.clone()));
    if fault.is_none() {
        blocks.sort();
        for block in &whole.blocks {
            let found = blocks.get(&block.cid).expect("each block is kept");
            assert_eq!(found.bytes(), block.bytes);
        }
    }
}

fn check_limits(data: &[u8], sections_count: usize, whole: &Outcome) {
    let exact = CarLimits {
        bytes_max: data.len() as u64,
        blocks_max: sections_count,
        ..CarLimits::default()
    };
    assert_eq!(read(data, exact), *whole, "limits of just its size");
    let mut less = vec![CarLimits {
        bytes_max: exact.bytes_max - 1,
        ..exact
    }];
    if let Some(blocks_max) = sections_count.checked_sub(1) {
        less.push(CarLimits {
            blocks_max,
            ..exact
        });
    }
    for limits in less {
        let (kind, _, _) = read(data, limits).error.expect("beyond a limit");
        assert_eq!(kind, ErrorKind::LimitExceeded);
    }
}

/// What reading came to. An error is its kind, its words and its place.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    root: Option<Cid>,
    roots_count: usize,
    blocks: Vec<RawBlock>,
    ignored_count: usize,
    bytes_read: u64,
    error: Option<(ErrorKind, String, Option<u64>)>,
}

fn read(reader: impl Read, limits: CarLimits) -> Outcome {
    let parts = |error: &Error| Some((error.kind(), error.to_string(), error.car_offset()));
    let mut outcome = Outcome::default();
    let mut car = match CarBlocks::open(reader, limits) {
        Ok(car) => car,
        Err(error) => {
            outcome.error = parts(&error);
            return outcome;
        }
    };
    outcome.root = Some(car.root());
    outcome.roots_count = car.roots_count();
    assert!(outcome.roots_count > 0);
    loop {
        match car.next_block() {
            Ok(Some(block)) => outcome.blocks.push(block),
            Ok(None) => break,
            Err(error) => {
                outcome.error = parts(&error);
                let again = car.next_block().expect_err("a refused CAR stays so");
                assert_eq!(again.kind(), ErrorKind::InvalidArgument);
                break;
            }
        }
    }
    assert_eq!(car.blocks_count(), outcome.blocks.len());
    outcome.ignored_count = car.ignored_count();
    outcome.bytes_read = car.bytes_read();
    outcome
}

/// A reader that gives few bytes at a time.
struct Drips<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for Drips<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(self.rest.len()).min(buffer.len());
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

struct Section<'a> {
    offset: usize,
    bytes: &'a [u8],
}

impl Section<'_> {
    /// Returns the block, if its CID is of the one form Carrack follows.
    fn known(&self) -> Option<RawBlock> {
        let (cid, bytes) = self.bytes.split_at_checked(CID_BYTES)?;
        Some(RawBlock {
            cid: Cid::from_bytes(cid).ok()?,
            bytes: bytes.to_vec(),
            offset: self.offset as u64,
        })
    }
}

/// What a plain reader finds after the header.
struct Sections<'a> {
    found: Vec<Section<'a>>,
    /// Whether the last one ends where the file does.
    is_whole: bool,
}

impl<'a> Sections<'a> {
    fn of(data: &'a [u8]) -> Self {
        let mut found = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let Some(bytes) = section(data, at) else {
                break;
            };
            found.push(Section {
                offset: at,
                bytes: &data[bytes.clone()],
            });
            at = bytes.end;
        }
        if !found.is_empty() {
            found.remove(0);
        }
        Self {
            found,
            is_whole: at == data.len(),
        }
    }
}

fn section(data: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let mut length: u64 = 0;
    for (index, byte) in data[at..].iter().take(9).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = at + index + 1;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            return (end <= data.len()).then_some(start..end);
        }
    }
    None
}
