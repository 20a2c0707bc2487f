//! Segment files of an enemy: opened, listed and searched, with right checksums and with the input's own.

use capnp::raw;
use carrack_repack::{RepoHead, node_page};
use carrack_schema::wire::segment_capnp::{footer, section};
use carrack_segment::format::HEADER_BYTES;
use carrack_segment::{Error, ErrorKind, Extent, Map, Segment, message};

use super::wire::check_rows;

const TRAILER_BYTES: usize = 64;
const WORD_BYTES: usize = 8;
/// Bytes at the start of an input that say where the footer begins, in words.
const FOOTER_AT_BYTES: usize = 2;
const ID: &[u8; 16] = b"0123456789abcdef";

/// Takes the input as a whole file; then as the sections of a file, to which header, trailer and right checksums are
/// added ([`file`]), so that what they guard is reached.
///
/// - A file is refused as corrupt or unsupported, or opens; then every part of it is read or refused as corrupt.
/// - Extents ascend, and each is found by its key.
/// - Rows of an index ascend by `group + '/' + name`, are found by it, and lie in a page of the extent.
/// - [`Segment::check`] finds damage if and only if reading does.
pub fn run(data: &[u8]) {
    check_file(data);
    check_file(&file(data));
}

/// Makes a file of sections and a footer: the first two bytes say, in words, how long the sections are.
pub fn file(data: &[u8]) -> Vec<u8> {
    let (at, body) = data.split_at_checked(FOOTER_AT_BYTES).unwrap_or_default();
    let body_bytes = body.len().next_multiple_of(WORD_BYTES).max(WORD_BYTES);
    let words = at
        .iter()
        .fold(0, |words, byte| words << 8 | usize::from(*byte));
    // The footer has a word at least.
    let footer_at = HEADER_BYTES + words * WORD_BYTES % body_bytes;

    let mut file = Vec::with_capacity(HEADER_BYTES + body_bytes + TRAILER_BYTES);
    file.extend_from_slice(b"CARRACKS");
    file.extend(1_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend_from_slice(ID);
    file.extend(3_u64.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    let checksum = crc32c(&file);
    file.extend(checksum.to_le_bytes());
    file.resize(HEADER_BYTES, 0);
    file.extend_from_slice(body);
    file.resize(HEADER_BYTES + body_bytes, 0);
    put_section_checksums(&mut file, footer_at);

    let footer_checksum = crc32c(&file[footer_at..]);
    let trailer_at = file.len();
    file.extend((footer_at as u64).to_le_bytes());
    file.extend(((trailer_at - footer_at) as u64).to_le_bytes());
    file.extend(((trailer_at + TRAILER_BYTES) as u64).to_le_bytes());
    file.extend_from_slice(ID);
    file.extend(footer_checksum.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    let checksum = crc32c(&file[trailer_at..]);
    file.extend(checksum.to_le_bytes());
    file.extend_from_slice(b"SKCARRAC");
    file
}

/// Puts right checksums into the footer, wherever it lists a section.
fn put_section_checksums(file: &mut [u8], footer_at: usize) {
    const CHECKSUM_AT: usize = 16;
    let words = message::words(&file[footer_at..]);
    let footer_bytes = capnp::Word::words_to_bytes(&words);
    let mut checksums = Vec::new();
    let mut put = |section: section::Reader<'_>| {
        let place = raw::get_struct_data_section(section);
        let from = place
            .as_ptr()
            .addr()
            .checked_sub(footer_bytes.as_ptr().addr());
        let end = section.get_offset().checked_add(section.get_bytes());
        if let (Some(from), Some(end)) = (from, end)
            && place.len() >= CHECKSUM_AT + 4
            && from + place.len() <= footer_bytes.len()
            && end <= footer_at as u64
            && let Some(bytes) = file.get(section.get_offset() as usize..end as usize)
        {
            checksums.push((footer_at + from + CHECKSUM_AT, crc32c(bytes)));
        }
    };
    let reader = message::flat(footer_bytes);
    let Ok(root) = reader.get_root::<footer::Reader<'_>>() else {
        return;
    };
    if let Ok(pages) = root.get_pages() {
        pages.iter().take(WORDS_MAX).for_each(&mut put);
    }
    if let Ok(extents) = root.get_extents() {
        for extent in extents.iter().take(WORDS_MAX) {
            if let Ok(index) = extent.get_index() {
                put(index);
            }
        }
    }
    for (at, checksum) in checksums {
        file[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Most sections whose checksums are put right: more than an input has words.
const WORDS_MAX: usize = 4_096;

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |checksum: u32, _| (checksum >> 1) ^ (POLYNOMIAL * (checksum & 1));
    let byte = |checksum, byte: &u8| (0..8).fold(checksum ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, byte)
}

fn check_file(file: &[u8]) {
    let segment = match Segment::from_map("fuzz.cseg", Map::owned(file)) {
        Ok(segment) => segment,
        Err(error) => {
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported),
                "{error}"
            );
            return;
        }
    };
    assert_eq!(segment.bytes(), file.len() as u64);
    let mut last: Option<&[u8]> = None;
    let mut damage_count = 0;
    for extent in segment.extents() {
        let key = extent.key();
        assert!(last.is_none_or(|last| last < key), "extents ascend");
        last = Some(key);
        let found = segment.extent(key).expect("found by its key");
        assert_eq!((found.key(), found.rows()), (key, extent.rows()));
        damage_count += check_extent(extent);
    }
    let found = segment.check();
    found.iter().for_each(check_corrupt);
    assert_eq!(found.len(), damage_count);
}

/// Reads all of an extent, and returns how many parts of it are damaged.
fn check_extent(extent: Extent<'_>) -> usize {
    let mut damage_count = 0;
    let _head_or_error = RepoHead::decode(extent.head());
    assert_eq!(extent.head().as_ptr().addr() % WORD_BYTES, 0);
    for number in 0..extent.page_count() {
        match extent.page(number) {
            Ok(page) => {
                assert_eq!(page.len() % WORD_BYTES, 0);
                assert_eq!(page.as_ptr().addr() % WORD_BYTES, 0);
                assert_eq!(extent.page(number).ok(), Some(page), "a second time");
                check_rows(page);
                let _digests_or_error = node_page::decode(page, &mut Vec::new());
            }
            Err(error) => {
                check_corrupt(&error);
                damage_count += 1;
            }
        }
    }
    let beyond = extent.page(extent.page_count()).expect_err("no such page");
    assert_eq!(beyond.kind(), ErrorKind::Invalid);
    assert!(extent.page_rows(extent.page_count()).is_none());
    match extent.index() {
        Ok(_) => check_index(extent),
        Err(error) => {
            check_corrupt(&error);
            damage_count += 1;
        }
    }
    damage_count
}

fn check_index(extent: Extent<'_>) {
    let index = extent.index().expect("it was sound");
    assert_eq!(index.rows(), extent.rows());
    let groups: Vec<_> = index.groups().collect();
    let mut last: Option<Vec<u8>> = None;
    let mut count = 0;
    for (number, row) in (0..).zip(index.range(0..u32::MAX)) {
        let group = groups[row.group];
        assert!(group.rows().contains(&number));
        let whole = [group.name, b"/", &row.name].concat();
        assert!(last.is_none_or(|last| last < whole), "rows ascend");
        last = Some(whole);
        assert_eq!(index.find(group.name, &row.name), Some(row.place));
        assert_eq!(index.lower_bound(group.name, &row.name), number);
        assert_eq!(index.row(number), Some(row));
        let page_rows = extent.page_rows(row.place.page);
        assert!(page_rows.is_some_and(|rows| row.place.ordinal < rows));
        count += 1;
    }
    assert_eq!(count, index.rows(), "every row is read");
    assert_eq!(index.row(count), None);
    for group in groups {
        assert_eq!(index.group(group.name), Some(group));
        assert_eq!(index.lower_bound(group.name, b""), group.first_row);
    }
}

fn check_corrupt(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
