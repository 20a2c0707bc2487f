//! CARs built here: whole, cut at every byte, at each limit and beyond, and things that are no CAR.

use std::error::Error as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use carrack_schema::Code;
use carrack_schema::limits::CAR_HEADER_BYTES_MAX;
use proptest::prelude::*;

use super::*;
use crate::kit::{Value, car, car_block, car_header, cid_of, encode, map, section, varint};

type Found = (Vec<RawBlock>, u64);

fn read_with(reader: impl Read, limits: CarLimits) -> Result<Found> {
    let mut car = CarBlocks::open(reader, limits)?;
    let mut blocks = Vec::new();
    while let Some(block) = car.next_block()? {
        blocks.push(block);
    }
    assert_eq!(car.blocks_count(), blocks.len());
    Ok((blocks, car.bytes_read()))
}

/// Reads by the block, by the chunk, and lets iroh-car say what it makes of what was accepted.
fn read(bytes: &[u8]) -> Result<Found> {
    let found = read_with(bytes, CarLimits::default());
    check_chunks(bytes, &found);
    if let Ok((blocks, _)) = &found {
        check_with_iroh_car(bytes, blocks);
    }
    found
}

/// Chunks hold the same blocks, and the CAR's error comes after them.
fn check_chunks(bytes: &[u8], found: &Result<Found>) {
    let Ok(mut by_block) = CarBlocks::open(bytes, CarLimits::default()) else {
        return;
    };
    let mut expected = Vec::new();
    while let Ok(Some(block)) = by_block.next_block() {
        expected.push(block);
    }
    let mut car = CarBlocks::open(bytes, CarLimits::default()).unwrap();
    let mut blocks = Vec::new();
    let error = loop {
        match car.next_chunk() {
            Ok(Some(chunk)) => blocks.extend(blocks_of(&chunk)),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(blocks, expected);
    assert_eq!(car.blocks_count(), expected.len());
    match (found, error) {
        (Ok((_, bytes_read)), None) => assert_eq!(car.bytes_read(), *bytes_read),
        (Err(expected), Some(error)) => {
            assert_eq!(error.to_string(), expected.to_string());
            assert_eq!(error.kind(), expected.kind());
            let again = car.next_chunk().unwrap_err();
            assert_eq!(again.kind(), ErrorKind::InvalidArgument);
        }
        other => panic!("{other:?}"),
    }
}

/// Takes a chunk apart.
fn blocks_of(chunk: &RawChunk) -> Vec<RawBlock> {
    let block = |at: &BlockAt| {
        let start = at.start as usize;
        RawBlock {
            cid: Cid::from_bytes(&chunk.bytes[start - CID_BYTES..start]).unwrap(),
            bytes: chunk.bytes[start..start + at.length as usize].to_vec(),
            offset: chunk.offset + at.section_start(),
        }
    };
    chunk.blocks.iter().map(block).collect()
}

/// iroh-car frames what it accepts in the same way.
fn check_with_iroh_car(bytes: &[u8], blocks: &[RawBlock]) {
    let ready = |found: &mut iroh_car::CarReader<&[u8]>| {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(block) = pin!(found.next_block()).poll(&mut context) else {
            panic!("bytes in memory are always ready");
        };
        block.unwrap()
    };
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(reader) = pin!(iroh_car::CarReader::new(bytes)).poll(&mut context) else {
        panic!("bytes in memory are always ready");
    };
    let mut reader = reader.unwrap();
    let framed = std::iter::from_fn(|| ready(&mut reader));
    let known =
        framed.filter_map(|(cid, bytes)| Some((Cid::from_bytes(&cid.to_bytes()).ok()?, bytes)));
    let ours = blocks.iter().map(|block| (block.cid, block.bytes.clone()));
    assert!(known.eq(ours));
}

fn refused(bytes: &[u8], code: Code) -> String {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

/// A reader that gives few bytes at a time and is interrupted now and then.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = out.len().min(self.1 % 5 + 1).min(self.0.len());
        self.0.read(&mut out[..length])
    }
}

fn three() -> [Vec<u8>; 3] {
    // The last block's length takes two bytes.
    [b"commit".to_vec(), b"a".to_vec(), vec![b'b'; 300]]
}

#[test]
fn blocks_come_as_they_stand_with_their_offsets() {
    let contents = three();
    let bytes = car(&[&contents[0], &contents[1], &contents[2]]);
    let open = CarBlocks::open(&bytes[..], CarLimits::default()).unwrap();
    assert_eq!((open.root(), open.roots_count()), (cid_of(b"commit"), 1));
    let header_bytes = car_header(&[cid_of(b"commit").as_bytes()]).len() as u64;
    assert_eq!(open.bytes_read(), header_bytes);

    let (blocks, bytes_read) = read(&bytes).unwrap();
    assert_eq!(bytes_read, bytes.len() as u64);
    let mut offset = header_bytes;
    for (block, content) in blocks.iter().zip(&contents) {
        let expected = RawBlock {
            cid: cid_of(content),
            bytes: content.clone(),
            offset,
        };
        assert_eq!(*block, expected);
        offset += car_block(content).len() as u64;
        block.clone().verify().unwrap();
    }
    assert_eq!(
        read_with(Slow(&bytes, 0), CarLimits::default()).unwrap(),
        (blocks, bytes_read)
    );
}

#[test]
fn blocks_larger_than_the_buffer_are_read() {
    let contents = [
        vec![1; 64 << 10],
        vec![2; 200_000],
        vec![3; 1 << 20],
        vec![4; 3],
    ];
    let bytes = car(&[&contents[0], &contents[1], &contents[2], &contents[3]]);
    let (blocks, bytes_read) = read(&bytes).unwrap();
    assert!(blocks.iter().map(|block| &block.bytes).eq(&contents));
    assert_eq!(bytes_read, bytes.len() as u64);
}

#[test]
fn chunks_hold_all_blocks_whatever_their_sizes() {
    // Lengths about the sizes of buffers, and many blocks that fill them.
    let mut contents: Vec<Vec<u8>> = (0..3_000_u32)
        .map(|i| vec![i as u8; (i as usize * 37) % 1_500])
        .collect();
    for bytes in [
        65_400,
        65_500,
        131_000,
        1 << 20,
        (2 << 20) - 36,
        1,
        (1 << 20) - 40,
    ] {
        contents.push(vec![5; bytes]);
    }
    let blocks: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let bytes = car(&blocks);
    assert_eq!(read(&bytes).unwrap().0.len(), contents.len());

    // However they arrive, and with memory given back or not.
    for is_reused in [false, true] {
        let mut car = CarBlocks::open(Slow(&bytes, 0), CarLimits::default()).unwrap();
        let mut found = Vec::new();
        while let Some(chunk) = car.next_chunk().unwrap() {
            assert!(chunk.bytes.len() <= 4 << 20);
            found.extend(blocks_of(&chunk).into_iter().map(|block| block.bytes));
            let memory = chunk.verify().unwrap().into_memory();
            if is_reused {
                car.reuse(memory);
            }
        }
        assert!(found == contents);
    }
}

#[test]
fn the_first_bad_block_of_the_car_is_told_with_its_offset() {
    let contents: Vec<Vec<u8>> = (0..2_000_u32)
        .map(|i| i.to_string().repeat(40).into_bytes())
        .collect();
    let blocks: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let good = car(&blocks);
    let framed = read(&good).unwrap().0;
    // The second fault is an unfinished block far behind.
    for at in [0, 1, 700, 1_998] {
        let RawBlock { cid, offset, bytes } = &framed[at];
        let mut bad = good[..good.len() - 3].to_vec();
        let varint_bytes = varint(bytes.len() as u64 + 36).len();
        bad[*offset as usize + varint_bytes + CID_BYTES] ^= 1;
        let second = framed[1_999.min(at + 5)].offset as usize + 40;
        bad[second] ^= 1;

        let mut car = CarBlocks::open(&bad[..], CarLimits::default()).unwrap();
        let error = loop {
            match car.next_chunk().unwrap().unwrap().verify() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), error.cid()), (ErrorKind::BadHash, Some(cid)));
        assert_eq!(error.car_offset(), Some(*offset));
        let expected = format!("block {cid} at byte {offset} does not hash to its CID");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn sections_that_are_passed_over_take_no_memory() {
    let mut blake3 = *cid_of(b"x").as_bytes();
    blake3[2] = 0x1e;
    let mut bytes = car(&[b"commit"]);
    for _ in 0..100 {
        bytes.extend(section(&[&blake3[..], &vec![0; 60_000]].concat()));
    }
    bytes.extend(car_block(b"last"));
    let mut car = CarBlocks::open(&bytes[..], CarLimits::default()).unwrap();
    let mut memory = 0;
    while let Some(chunk) = car.next_chunk().unwrap() {
        memory += chunk.bytes.len();
    }
    assert_eq!((car.blocks_count(), car.ignored_count()), (2, 100));
    assert!(memory <= 4 << 20, "{memory}");
}

#[test]
fn a_cut_anywhere_but_between_blocks_is_an_error() {
    let contents = three();
    let bytes = car(&[&contents[0], &contents[1], &contents[2]]);
    let mut border = car_header(&[cid_of(b"commit").as_bytes()]).len();
    let header_bytes = border;
    let mut borders = vec![border];
    for content in &contents {
        border += car_block(content).len();
        borders.push(border);
    }
    for length in 1..bytes.len() {
        for result in [
            read(&bytes[..length]),
            read_with(Slow(&bytes[..length], 0), CarLimits::default()),
        ] {
            // Framing cannot see a cut between two blocks: the walk does.
            if let Some(whole) = borders.iter().position(|&border| border == length) {
                assert_eq!(result.unwrap().0.len(), whole);
                continue;
            }
            let error = result.unwrap_err();
            assert_eq!(error.code(), Code::Incomplete, "{length}");
            assert_eq!(error.car_offset(), Some(length as u64));
            let place = if length < header_bytes {
                "its header"
            } else {
                "the "
            };
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("CAR ends inside {place}")),
                "{error}"
            );
            assert!(
                error.to_string().ends_with(&format!("at byte {length}")),
                "{error}"
            );
        }
    }
    let in_varint = borders[2] + 1;
    assert_eq!(
        refused(&bytes[..in_varint], Code::Incomplete),
        format!("CAR ends inside the length of a block at byte {in_varint}")
    );
    let in_block = bytes.len() - 1;
    assert_eq!(
        refused(&bytes[..in_block], Code::Incomplete),
        format!(
            "CAR ends inside the block at byte {}, at byte {in_block}",
            borders[2]
        )
    );
}

#[test]
fn what_is_no_car_is_told_clearly() {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0];
    for (bytes, expected) in [
        (&b""[..], "it is empty"),
        (b"\0", "its header is empty"),
        (b"Dear reader,\n", "its header is not a DAG-CBOR map"),
        (
            "\u{feff}{\"text\": true}".as_bytes(),
            "its header is not a DAG-CBOR map",
        ),
        (
            b"{\"did\":\"did:plc:x\"}",
            "its header is not a DAG-CBOR map",
        ),
        (b"<!doctype html>", "its header is not a DAG-CBOR map"),
        (&gzip, "its header is not a DAG-CBOR map"),
        (
            &[0xff; 20],
            "the length of its header is a varint of more than 9 bytes",
        ),
        (
            &[0x81, 0x00, 0xa0],
            "the length of its header is a varint of more bytes than it needs",
        ),
        (
            &[3, 0xa1, 0x80, 0],
            "its header: bytes end inside the value at byte 0 of the block",
        ),
        (
            &[4, 0xa1, 0x80, 0, 0],
            "its header: map key that is not text at byte 1 of the block",
        ),
        (
            &[2, 0xa0, 0xa0],
            "its header: bytes follow the value at byte 1 of the block",
        ),
        (&[1, 0xa0], "its header has no `version`"),
    ] {
        let error = read(bytes).unwrap_err();
        assert_eq!(
            (error.code(), error.car_offset()),
            (Code::BadStructure, Some(0))
        );
        assert_eq!(error.to_string(), format!("not a CAR file: {expected}"));
    }
}

fn header(roots: Value, version: Value) -> Vec<u8> {
    section(&encode(&map([("roots", roots), ("version", version)])))
}

#[test]
fn headers_of_odd_form_are_refused() {
    let root = || Value::Link(cid_of(b"x").as_bytes().to_vec());
    let mut raw = cid_of(b"x").as_bytes().to_vec();
    raw[1] = 0x55;
    let v2 = section(&encode(&map([("version", Value::Int(2))])));
    let unversioned = section(&encode(&map([("roots", Value::List(vec![root()]))])));
    let unrooted = section(&encode(&map([("version", Value::Int(1))])));
    let list = |value: Value| Value::List(vec![value]);
    for (bytes, expected) in [
        (v2, "CAR version 2 is not supported, only version 1"),
        (unversioned, "not a CAR file: its header has no `version`"),
        (unrooted, "not a CAR file: its header has no `roots`"),
        (
            header(list(root()), Value::Int(0)),
            "CAR version 0 is not supported, only version 1",
        ),
        (
            header(list(root()), Value::Null),
            "not a CAR file: the `version` of its header is not",
        ),
        (
            header(root(), Value::Int(1)),
            "not a CAR file: the `roots` of its header are not a list",
        ),
        (
            header(list(Value::Int(1)), Value::Int(1)),
            "not a CAR file: a root in its header is not",
        ),
        (
            header(Value::List(vec![]), Value::Int(1)),
            "CAR names no root, so it holds no repository",
        ),
        (
            header(list(Value::Link(raw)), Value::Int(1)),
            "CAR root bafkrei",
        ),
        (
            header(list(Value::Link(vec![7; 5])), Value::Int(1)),
            "CAR root ba4dqobyh is not the CID",
        ),
        // A second root that only iroh-car looks at.
        (
            header(
                Value::List(vec![root(), Value::Link(vec![9])]),
                Value::Int(1),
            ),
            "not a CAR file: its header is refused (",
        ),
    ] {
        let error = refused(&bytes, Code::BadStructure);
        assert!(error.starts_with(expected), "{error}");
    }

    let two = car_header(&[cid_of(b"x").as_bytes(), cid_of(b"y").as_bytes()]);
    let open = CarBlocks::open(&two[..], CarLimits::default()).unwrap();
    assert_eq!((open.root(), open.roots_count()), (cid_of(b"x"), 2));
}

#[test]
fn lengths_of_odd_form_are_refused() {
    let start = car(&[b"commit"]);
    let at = start.len();
    for (tail, expected) in [
        (&[0][..], format!("the block at byte {at} is empty")),
        (
            &[0x80, 0],
            format!("the length of the block at byte {at} is a varint of more bytes"),
        ),
        (
            &[0xa5, 0x80, 0],
            format!("the length of the block at byte {at} is a varint of more bytes"),
        ),
        (
            &[0xff; 10],
            format!("the length of the block at byte {at} is a varint of more than 9"),
        ),
        (
            &[3, 1, 0x71, 0x12],
            format!("the block at byte {at} does not begin with a CID"),
        ),
        (
            &[1, 9],
            format!("the block at byte {at} does not begin with a CID"),
        ),
        (
            &[4, 1, 0x71, 0x12, 0x20],
            format!("the block at byte {at} does not begin with a CID"),
        ),
    ] {
        let bytes = [&start[..], tail].concat();
        let error = read(&bytes).unwrap_err();
        assert_eq!(
            (error.code(), error.car_offset()),
            (Code::BadStructure, Some(at as u64))
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond() {
    let default = CarLimits::default();
    let contents = three();
    let bytes = car(&[&contents[0], &contents[1], &contents[2]]);
    let code = |limits| read_with(&bytes[..], limits).unwrap_err().code();

    let length = bytes.len() as u64;
    read_with(
        &bytes[..],
        CarLimits {
            bytes_max: length,
            ..default
        },
    )
    .unwrap();
    for bytes_max in [0, 1, 57, length - 1] {
        assert_eq!(
            code(CarLimits {
                bytes_max,
                ..default
            }),
            Code::LimitExceeded
        );
    }
    read_with(
        &bytes[..],
        CarLimits {
            blocks_max: 3,
            ..default
        },
    )
    .unwrap();
    for blocks_max in 0..3 {
        assert_eq!(
            code(CarLimits {
                blocks_max,
                ..default
            }),
            Code::LimitExceeded
        );
    }
    read_with(
        &bytes[..],
        CarLimits {
            section_bytes_max: 336,
            ..default
        },
    )
    .unwrap();
    assert_eq!(
        code(CarLimits {
            section_bytes_max: 335,
            ..default
        }),
        Code::LimitExceeded
    );

    let block = vec![0; CAR_SECTION_BYTES_MAX - CID_BYTES];
    assert_eq!(read(&car(&[&block])).unwrap().0[0].bytes.len(), block.len());
    // Beyond a limit the length alone is enough: not one byte of the block is there.
    let header = car_header(&[cid_of(b"x").as_bytes()]);
    let over = |length: u64| [&header[..], &varint(length)].concat();
    for length in [CAR_SECTION_BYTES_MAX as u64 + 1, 3 << 30, u64::MAX >> 1] {
        let error = refused(&over(length), Code::LimitExceeded);
        let at = header.len();
        let expected =
            format!("the block at byte {at} is {length} bytes long with its CID, more than");
        assert!(error.starts_with(&expected), "{error}");
    }
    let unlimited = CarLimits {
        section_bytes_max: usize::MAX,
        ..default
    };
    let error = read_with(&over(4 * MIB as u64 + 1)[..], unlimited).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
}

#[test]
fn header_length_is_limited() {
    let header = |bytes: usize| {
        let fields = |pad: usize| {
            let root = Value::Link(cid_of(b"x").as_bytes().to_vec());
            map([
                ("roots", Value::List(vec![root])),
                ("version", Value::Int(1)),
                ("padding", Value::Bytes(vec![0; pad])),
            ])
        };
        let around = encode(&fields(256)).len() - 256;
        section(&encode(&fields(bytes - around)))
    };
    let at_limit = header(CAR_HEADER_BYTES_MAX);
    assert_eq!(at_limit.len(), CAR_HEADER_BYTES_MAX + 2);
    read(&at_limit).unwrap();
    let over = header(CAR_HEADER_BYTES_MAX + 1);
    for bytes in [&over[..], &over[..3]] {
        let error = refused(bytes, Code::LimitExceeded);
        assert_eq!(error, "the CAR header is 4097 bytes long, more than 4096");
    }
}

#[test]
fn blocks_under_other_cids_are_passed_over() {
    let mut blake3 = *cid_of(b"x").as_bytes();
    blake3[2] = 0x1e;
    let mut codec = *cid_of(b"x").as_bytes();
    codec[1] = 0x70;
    let v0 = [&[0x12, 0x20][..], &[5; 32]].concat();
    let long = [&[1, 0x71, 0x13, 0x40][..], &[5; 64]].concat();
    let short = [1, 0x55, 0x12, 4, 1, 2, 3, 4];
    let odd = [&blake3[..], &codec, &v0, &long, &short];

    let mut bytes = car(&[b"commit"]);
    for cid in odd {
        bytes.extend(section(&[cid, b"x"].concat()));
    }
    bytes.extend(car_block(b"last"));
    let (blocks, bytes_read) = read(&bytes).unwrap();
    assert_eq!(bytes_read, bytes.len() as u64);
    let contents: Vec<_> = blocks.iter().map(|block| &block.bytes[..]).collect();
    assert_eq!(contents, [&b"commit"[..], b"last"]);

    let mut car = CarBlocks::open(&bytes[..], CarLimits::default()).unwrap();
    while car.next_block().unwrap().is_some() {}
    assert_eq!((car.blocks_count(), car.ignored_count()), (2, 5));
    // They count for the limit.
    let limits = |blocks_max| CarLimits {
        blocks_max,
        ..CarLimits::default()
    };
    read_with(&bytes[..], limits(7)).unwrap();
    assert_eq!(
        read_with(&bytes[..], limits(6)).unwrap_err().code(),
        Code::LimitExceeded
    );
}

/// Fails after this many bytes.
struct Aborted<'a>(&'a [u8]);

impl Read for Aborted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "upload aborted",
            )),
            read => Ok(read),
        }
    }
}

#[test]
fn an_error_of_the_reader_is_kept() {
    let contents = three();
    let bytes = car(&[&contents[0], &contents[1], &contents[2]]);
    for length in 0..=bytes.len() {
        let error = read_with(Aborted(&bytes[..length]), CarLimits::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{length}: {error}");
        assert!(
            error
                .to_string()
                .starts_with("reading the CAR failed at byte ")
        );
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(source.to_string(), "upload aborted");
    }
}

/// Fails once after these bytes, and then says it has ended.
struct FailsOnce<'a>(&'a [u8], bool);

impl Read for FailsOnce<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 if !std::mem::replace(&mut self.1, true) => Err(io::ErrorKind::TimedOut.into()),
            read => Ok(read),
        }
    }
}

#[test]
fn an_error_waits_for_the_blocks_before_it_and_is_not_forgotten() {
    let contents = three();
    let bytes = car(&[&contents[0], &contents[1], &contents[2]]);
    // Where the next try would find the end of a whole CAR.
    let mut car = CarBlocks::open(FailsOnce(&bytes, false), CarLimits::default()).unwrap();
    let chunk = car.next_chunk().unwrap().unwrap();
    assert_eq!(blocks_of(&chunk).len(), 3);
    chunk.verify().unwrap();
    let error = car.next_chunk().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    let again = car.next_chunk().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn after_an_error_nothing_is_read() {
    let bytes = [car(&[b"commit"]), vec![0], car_block(b"more")].concat();
    let mut car = CarBlocks::open(&bytes[..], CarLimits::default()).unwrap();
    car.next_block().unwrap().unwrap();
    assert_eq!(
        car.next_block().unwrap_err().kind(),
        ErrorKind::BadStructure
    );
    assert_eq!(
        car.next_block().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn the_end_stays_the_end() {
    let bytes = car(&[b"commit"]);
    let mut car = CarBlocks::open(&bytes[..], CarLimits::default()).unwrap();
    car.next_block().unwrap().unwrap();
    for _ in 0..3 {
        assert_eq!(car.next_block().unwrap(), None);
    }
}

#[test]
fn it_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<CarBlocks<io::Empty>>();
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, byte: u8) {
        let contents = three();
        let mut bytes = car(&[&contents[0], &contents[1], &contents[2]]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(error) = read(&bytes) {
            prop_assert!(error.kind() != ErrorKind::Internal, "{}", error);
        }
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [tail.clone(), [car(&[b"commit"]), tail].concat()] {
            if let Err(error) = read(&bytes) {
                prop_assert!(error.kind() != ErrorKind::Internal, "{}", error);
            }
        }
    }
}
