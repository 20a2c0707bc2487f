//! Segment files of an enemy: opened, listed and searched, with right checksums and with the input's own.

use capnp::raw;
use carrack_repack::{Dictionary, NodeScript, RepoHead};
use carrack_schema::wire::segment_capnp::footer;
use carrack_segment::format::{DICTIONARY_BYTES_MAX, HEADER_BYTES, PAGE_BYTES_MAX};
use carrack_segment::{Error, ErrorKind, Extent, Map, PageCache, Segment, message};

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
/// - Rows of an index ascend by `group + '/' + name`, are found by it, and lie in a page.
/// - Pages and the dictionary are whole words of at most their limits, whatever they decompress to.
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
    file.extend(2_u32.to_le_bytes());
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
    const SECTION_CHECKSUM_AT: usize = 16;
    const EXTENT_CHECKSUM_AT: usize = 12;
    let words = message::words(&file[footer_at..]);
    let footer_bytes = capnp::Word::words_to_bytes(&words);
    let mut checksums = Vec::new();
    let mut put = |entry: &[u8], checksum_at: usize, offset: u64, bytes: u32| {
        let from = entry
            .as_ptr()
            .addr()
            .checked_sub(footer_bytes.as_ptr().addr());
        let end = offset.checked_add(u64::from(bytes).next_multiple_of(WORD_BYTES as u64));
        if let (Some(from), Some(end)) = (from, end)
            && entry.len() >= checksum_at + 4
            && from + entry.len() <= footer_bytes.len()
            && end <= footer_at as u64
            && let Some(bytes) = file.get(offset as usize..end as usize)
        {
            checksums.push((footer_at + from + checksum_at, crc32c(bytes)));
        }
    };
    let reader = message::flat(footer_bytes);
    let Ok(root) = reader.get_root::<footer::Reader<'_>>() else {
        return;
    };
    let pages = root.get_pages().ok();
    let pages = pages.iter().flat_map(|pages| pages.iter().take(WORDS_MAX));
    for section in pages.chain(root.get_dictionary()) {
        let entry = raw::get_struct_data_section(section);
        put(
            entry,
            SECTION_CHECKSUM_AT,
            section.get_offset(),
            section.get_bytes(),
        );
    }
    if let Ok(extents) = root.get_extents() {
        for extent in extents.iter().take(WORDS_MAX) {
            let entry = raw::get_struct_data_section(extent);
            let (offset, bytes) = (extent.get_index_offset(), extent.get_index_bytes());
            put(entry, EXTENT_CHECKSUM_AT, offset, bytes);
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

/// Small, so that pages leave it.
const CACHE_BYTES: usize = 4_096;

fn check_file(file: &[u8]) {
    let cache = PageCache::new(CACHE_BYTES);
    let segment = match Segment::from_map("fuzz.cseg", Map::owned(file), &cache) {
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
    let mut damage_count = check_pages(&segment);
    assert!(cache.bytes() <= CACHE_BYTES);
    for extent in segment.extents() {
        let key = extent.key();
        assert!(last.is_none_or(|last| last < key), "extents ascend");
        last = Some(key);
        let found = segment.extent(key).expect("found by its key");
        assert_eq!((found.key(), found.rows()), (key, extent.rows()));
        damage_count += check_extent(extent);
    }
    let found = segment.check();
    found.iter().for_each(|fault| check_corrupt(&fault.error));
    assert_eq!(found.len(), damage_count);
}

/// Reads the dictionary and all pages, and returns how many of them are damaged.
fn check_pages(segment: &Segment) -> usize {
    let mut damage_count = 0;
    let mut note = |error: &Error| {
        check_corrupt(error);
        damage_count += 1;
    };
    match segment.dictionary() {
        Ok(Some(dictionary)) => check_words(dictionary, DICTIONARY_BYTES_MAX),
        Ok(None) => {}
        Err(error) => note(&error),
    }
    let bytes = segment.dictionary().ok().flatten().unwrap_or_default();
    let dictionary = Dictionary::parse(bytes).unwrap_or_default();
    for number in 0..segment.page_count() {
        match segment.page(number) {
            Ok(page) => {
                check_words(&page, PAGE_BYTES_MAX);
                assert_eq!(
                    segment.page(number).ok(),
                    Some(page.clone()),
                    "a second time"
                );
                check_rows(&page, &dictionary.over(bytes));
                let mut nodes = NodeScript::default();
                if nodes.read_page(&page).is_ok() {
                    let _digests_or_error = nodes.apply(&[[0; 32]]);
                }
            }
            Err(error) => note(&error),
        }
    }
    let beyond = segment.page_count();
    let error = segment.page(beyond).expect_err("no such page");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(segment.page_rows(beyond).is_none());
    damage_count
}

fn check_words(bytes: &[u8], bytes_max: usize) {
    assert_eq!(bytes.len() % WORD_BYTES, 0);
    assert_eq!(bytes.as_ptr().addr() % WORD_BYTES, 0);
    assert!((1..=bytes_max).contains(&bytes.len()));
}

/// Reads all of an extent, and returns how many parts of it are damaged.
fn check_extent(extent: Extent<'_>) -> usize {
    if let Ok(head) = RepoHead::decode(extent.head()) {
        let _digests_or_error = head.nodes.apply(&[]);
    }
    assert_eq!(extent.head().as_ptr().addr() % WORD_BYTES, 0);
    match extent.index() {
        Ok(_) => {
            check_index(extent);
            0
        }
        Err(error) => {
            check_corrupt(&error);
            1
        }
    }
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
        let page_rows = extent.segment().page_rows(row.place.page);
        assert!(page_rows.is_some_and(|rows| row.place.ordinal < rows));
        count += 1;
    }
    assert!(
        index
            .places()
            .eq(index.range(0..count).map(|row| row.place))
    );
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
