//! What the crate promises of whole segments: round trips against a model, damage, limits, and `FORMAT.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use carrack_segment::{
    Directory, Error, ErrorKind, Fs, Map, Place, Sealed, Segment, SegmentWriter, Target, format,
    message,
};
use proptest::prelude::*;

const PUBLISHED: &str = "segments/a.cseg";
const TEMPORARY: &str = "tmp/a";

fn folder() -> (tempfile::TempDir, Arc<dyn Directory>) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Fs::open(folder.path()).unwrap();
    directory.create_dir("tmp").unwrap();
    directory.create_dir("segments").unwrap();
    (folder, Arc::new(directory))
}

fn create(directory: &Arc<dyn Directory>) -> SegmentWriter {
    let target = Target {
        temporary: TEMPORARY,
        published: PUBLISHED,
        id: *b"0123456789abcdef",
        writer_epoch: 3,
    };
    SegmentWriter::create(directory, target).unwrap()
}

/// An extent's rows by group and name; a row's value is what its page must say at its place.
type Rows = BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>;

fn rows(keys: &[(&str, &str)]) -> Rows {
    keys.iter()
        .map(|(group, name)| {
            let key = format!("{group}/{name}").into_bytes();
            (key, (group.as_bytes().to_vec(), name.as_bytes().to_vec()))
        })
        .collect()
}

/// The page in which row `i` of `page` is the word `page << 12 | i`.
fn page_bytes(page: u32, rows: u32) -> Vec<u8> {
    (0..rows)
        .flat_map(|i| u64::from(page << 12 | i).to_le_bytes())
        .collect()
}

/// Writes each extent's rows, `per_page` of them to a page.
fn write(directory: &Arc<dyn Directory>, extents: &[(&str, Rows)], per_page: usize) -> Sealed {
    let mut writer = create(directory);
    for (key, rows) in extents {
        writer.begin_extent(key.as_bytes()).unwrap();
        let rows: Vec<_> = rows.values().collect();
        for (page, chunk) in (0..).zip(rows.chunks(per_page)) {
            let count = chunk.len() as u32;
            assert_eq!(writer.page(count, &page_bytes(page, count)).unwrap(), page);
            for (ordinal, (group, name)) in (0..).zip(chunk) {
                writer.row(group, name, Place { page, ordinal }).unwrap();
            }
        }
        writer
            .end_extent(format!("head of {key}").as_bytes())
            .unwrap();
    }
    writer.seal().unwrap()
}

/// Everything a segment says, read through every call; or the first error.
fn read(segment: &Segment) -> Result<String, Error> {
    let mut out = format!("{:?} {}\n", segment.id(), segment.writer_epoch());
    for extent in segment.extents() {
        writeln!(out, "{extent:?} {}", extent.head().escape_ascii()).unwrap();
        let again = segment
            .extent(extent.key())
            .expect("an extent that is listed is found");
        assert_eq!(again.rows(), extent.rows());
        let index = extent.index()?;
        let groups: Vec<_> = index.groups().collect();
        for (number, row) in (0..).zip(index.range(0..index.rows())) {
            let group = groups[row.group].name;
            assert_eq!(index.find(group, &row.name), Some(row.place));
            assert_eq!(index.lower_bound(group, &row.name), number);
            assert_eq!(index.row(number), Some(row));
            let page = extent.page(row.place.page)?;
            let value = page.chunks(8).nth(row.place.ordinal as usize);
            writeln!(
                out,
                "{}/{:?} {:?} {value:?}",
                group.escape_ascii(),
                row.name,
                row.place
            )
            .unwrap();
        }
        for number in 0..extent.page_count() {
            writeln!(
                out,
                "{:?} {:?}",
                extent.page_rows(number),
                extent.page(number)?
            )
            .unwrap();
        }
    }
    Ok(out)
}

fn small() -> Vec<(&'static str, Rows)> {
    vec![
        (
            "did:b",
            rows(&[
                ("sh.tangled.repo", "3jzfcijpj2z2a"),
                ("sh.tangled.repo", "3jzfcijpj2z2b"),
                ("sh.tangled.repo.issue", "self"),
                ("sh.tangled.repo-x", "3jzfcijpj2z2a"),
                ("sh.tangled.repo-x", "a~b"),
            ]),
        ),
        ("did:a", rows(&[("g", "n")])),
        ("did:c", rows(&[])),
    ]
}

fn small_bytes() -> Vec<u8> {
    let (_guard, directory) = folder();
    write(&directory, &small(), 2);
    directory.map(PUBLISHED).unwrap().to_vec()
}

fn open(bytes: &[u8]) -> Result<Segment, Error> {
    Segment::from_map("x.cseg", Map::owned(bytes))
}

#[test]
fn what_was_written_is_read_in_order() {
    let (_guard, directory) = folder();
    let sealed = write(&directory, &small(), 2);
    let segment = Segment::open(&*directory, PUBLISHED).unwrap();
    assert_eq!(
        sealed,
        Sealed {
            bytes: segment.bytes(),
            extents: 3,
            pages: 4,
            rows: 6
        }
    );
    let keys: Vec<_> = segment.extents().map(|extent| extent.key()).collect();
    assert_eq!(keys, [b"did:a", b"did:b", b"did:c"]);
    assert!(segment.extent(b"did").is_none());
    let extent = segment.extent(b"did:b").unwrap();
    assert_eq!(extent.head(), b"head of did:b");
    assert_eq!(extent.head().as_ptr().addr() % 8, 0);
    let index = extent.index().unwrap();
    let groups: Vec<_> = index
        .groups()
        .map(|group| (group.name, group.rows()))
        .collect();
    assert_eq!(
        groups,
        [
            (&b"sh.tangled.repo-x"[..], 0..2),
            (b"sh.tangled.repo.issue", 2..3),
            (b"sh.tangled.repo", 3..5)
        ]
    );
    assert_eq!(index.group(b"sh.tangled.repo").unwrap().first_row, 3);
    assert_eq!(index.find(b"sh.tangled", b"self"), None);
    assert_eq!(index.lower_bound(b"sh.tangled", b""), 5);
    assert_eq!(index.lower_bound(b"sh.tangled.repo", b""), 3);
    assert_eq!(index.lower_bound(b"sh.tangled.repo/3jzfcijpj2z2b", b""), 5);
    assert_eq!(segment.extent(b"did:c").unwrap().index().unwrap().rows(), 0);
    assert_eq!(extent.page(3).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(segment.check().is_empty());
    read(&segment).unwrap();
}

#[test]
fn an_unlinked_segment_is_read_to_its_end() {
    let (_guard, directory) = folder();
    write(&directory, &small(), 2);
    let segment = Segment::open(&*directory, PUBLISHED).unwrap();
    directory.unlink(PUBLISHED).unwrap();
    read(&segment).unwrap();
    let gone = Segment::open(&*directory, PUBLISHED).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(gone.to_string().contains(PUBLISHED), "{gone}");
}

#[test]
fn an_empty_segment_is_sound() {
    let (_guard, directory) = folder();
    create(&directory).seal().unwrap();
    let segment = Segment::open(&*directory, PUBLISHED).unwrap();
    assert_eq!(segment.extents().len(), 0);
    assert!(segment.extent(b"").is_none());
}

#[test]
fn an_unsealed_writer_leaves_nothing() {
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    writer.begin_extent(b"k").unwrap();
    assert_eq!(directory.list("tmp").unwrap(), ["a"]);
    drop(writer);
    assert!(directory.list("tmp").unwrap().is_empty());
    // A seal that is refused leaves nothing either.
    let mut writer = create(&directory);
    writer.begin_extent(b"k").unwrap();
    assert_eq!(writer.seal().unwrap_err().kind(), ErrorKind::Invalid);
    assert!(directory.list("tmp").unwrap().is_empty());
    assert!(directory.list("segments").unwrap().is_empty());
    // So does one whose published folder is missing.
    let target = Target {
        temporary: TEMPORARY,
        published: "gone/a",
        id: [0; 16],
        writer_epoch: 0,
    };
    let writer = SegmentWriter::create(&directory, target).unwrap();
    assert_eq!(writer.seal().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(directory.list("tmp").unwrap().is_empty());
}

#[test]
fn a_sealed_segment_has_left_its_temporary_name() {
    let (_guard, directory) = folder();
    write(&directory, &small(), 2);
    assert!(directory.list("tmp").unwrap().is_empty());
    assert_eq!(directory.list("segments").unwrap(), ["a.cseg"]);
}

#[test]
fn calls_out_of_order_are_refused() {
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    let place = |page, ordinal| Place { page, ordinal };
    let invalid =
        |result: Result<(), Error>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    invalid(writer.page(1, &[0; 8]).map(drop));
    invalid(writer.row(b"g", b"n", place(0, 0)));
    invalid(writer.end_extent(b""));
    writer.begin_extent(b"k").unwrap();
    invalid(writer.begin_extent(b"l"));
    invalid(writer.page(1, &[0; 7]).map(drop));
    invalid(writer.page(1, &[]).map(drop));
    writer.row(b"g", b"n", place(0, 0)).unwrap();
    invalid(writer.row(b"g", b"n", place(0, 0)));
    // The row came before its page, which is allowed.
    writer.page(1, &[0; 8]).unwrap();
    writer.end_extent(b"").unwrap();
    invalid(writer.begin_extent(b"k"));
    // A row in no page loses the extent, and the writer with it.
    writer.begin_extent(b"l").unwrap();
    writer.page(1, &[0; 8]).unwrap();
    writer.row(b"g", b"n", place(0, 1)).unwrap();
    invalid(writer.end_extent(b""));
    invalid(writer.begin_extent(b"m"));
    invalid(writer.seal().map(drop));
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond() {
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    let beyond = |result: Result<(), Error>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::LimitExceeded);
    };
    beyond(writer.begin_extent(&vec![0; format::KEY_BYTES_MAX + 1]));
    writer
        .begin_extent(&vec![0; format::KEY_BYTES_MAX])
        .unwrap();
    let mut page = vec![1; format::PAGE_BYTES_MAX];
    writer.page(format::PAGE_ROWS_MAX, &page).unwrap();
    beyond(writer.page(format::PAGE_ROWS_MAX + 1, &page).map(drop));
    page.extend([0; 8]);
    beyond(writer.page(1, &page).map(drop));
    let last = Place {
        page: 0,
        ordinal: format::PAGE_ROWS_MAX - 1,
    };
    let name = vec![b'n'; format::NAME_BYTES_MAX];
    writer
        .row(&vec![b'g'; format::GROUP_BYTES_MAX], &name, last)
        .unwrap();
    beyond(writer.end_extent(&vec![0; format::HEAD_BYTES_MAX + 1]));
    writer.end_extent(&vec![0; format::HEAD_BYTES_MAX]).unwrap();
    writer.seal().unwrap();

    let segment = Segment::open(&*directory, PUBLISHED).unwrap();
    let extent = segment.extents().next().unwrap();
    assert_eq!(extent.page(0).unwrap().len(), format::PAGE_BYTES_MAX);
    let row = extent.index().unwrap().row(0).unwrap();
    assert_eq!((row.name.len(), row.place), (format::NAME_BYTES_MAX, last));
}

/// 2^20 pages of one word each: 8 MiB of pages, 24 MiB of footer.
#[test]
fn an_extent_holds_as_many_pages_as_a_place_can_say() {
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    writer.begin_extent(b"k").unwrap();
    for number in 0..format::EXTENT_PAGES_MAX {
        assert_eq!(
            writer.page(1, &u64::from(number).to_le_bytes()).unwrap(),
            number
        );
    }
    let beyond = writer.page(1, &[0; 8]).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::LimitExceeded);
    let last = Place {
        page: format::EXTENT_PAGES_MAX - 1,
        ordinal: 0,
    };
    writer.row(b"g", b"n", last).unwrap();
    writer.end_extent(b"").unwrap();
    writer.seal().unwrap();
    let segment = Segment::open(&*directory, PUBLISHED).unwrap();
    let extent = segment.extent(b"k").unwrap();
    assert_eq!(extent.index().unwrap().find(b"g", b"n"), Some(last));
    assert_eq!(
        extent.page(last.page).unwrap(),
        u64::from(last.page).to_le_bytes()
    );
}

#[test]
fn any_flipped_byte_is_an_error_or_changes_nothing() {
    let good = small_bytes();
    let expect = read(&open(&good).unwrap()).unwrap();
    let mut bytes = good.clone();
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            match open(&bytes).and_then(|segment| read(&segment)) {
                Ok(answer) => assert_eq!(answer, expect, "byte {at} flipped by {flip:#x}"),
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported),
                        "{error}"
                    );
                    assert!(error.to_string().contains("file=`x.cseg`"), "{error}");
                }
            }
            bytes[at] ^= flip;
        }
    }
}

/// The checksums say who is careless, not who is hostile: here each byte is changed and every checksum made right again.
#[test]
fn any_changed_byte_with_right_checksums_never_panics() {
    let good = small_bytes();
    let u64_at =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let end = good.len() - format::TRAILER_BYTES;
    let footer = u64_at(&good, end) as usize;
    let sum_at = |bytes: &mut [u8], at: usize, of: std::ops::Range<usize>| {
        let sum = crc32c_of(&bytes[of]);
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    };
    // The sections' table entries are {offset, bytes, checksum, rows}: found by their offset and length.
    let entries: Vec<(usize, std::ops::Range<usize>)> = (footer..=end - 24)
        .step_by(8)
        .filter_map(|at| {
            let (offset, bytes) = (u64_at(&good, at) as usize, u64_at(&good, at + 8) as usize);
            let range = offset..offset.checked_add(bytes)?;
            let sound = offset >= format::HEADER_BYTES && bytes > 0 && range.end <= footer;
            (sound && crc32c_of(&good[range.clone()]).to_le_bytes() == good[at + 16..at + 20])
                .then_some((at + 16, range))
        })
        .collect();
    assert_eq!(entries.len(), 4 + 3);
    for at in format::HEADER_BYTES..end {
        for flip in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            for (sum, section) in &entries {
                if section.contains(&at) {
                    sum_at(&mut bytes, *sum, section.clone());
                }
            }
            sum_at(&mut bytes, end + 40, footer..end);
            sum_at(&mut bytes, end + 52, end..end + 52);
            let Ok(segment) = open(&bytes) else { continue };
            for extent in segment.extents() {
                let Ok(index) = extent.index() else { continue };
                for row in index.range(0..u32::MAX) {
                    assert!(extent.page_rows(row.place.page).unwrap() > row.place.ordinal);
                    drop(extent.page(row.place.page));
                }
            }
            drop(segment.check());
        }
    }
}

fn crc32c_of(bytes: &[u8]) -> u32 {
    // Bit by bit, so that the test does not trust what it tests.
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            sum >> 1 ^ (0x82f6_3b78 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}

#[test]
fn any_truncation_or_lengthening_is_an_error() {
    let good = small_bytes();
    for len in 0..good.len() {
        let error = open(&good[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}: {error}");
    }
    for more in 1..100 {
        let long = [&good[..], &vec![0; more]].concat();
        assert_eq!(open(&long).unwrap_err().kind(), ErrorKind::Corrupt);
        let long = [&good[..], &good[good.len() - more..]].concat();
        assert_eq!(open(&long).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_frame_that_says_what_is_not_so_is_refused() {
    let good = small_bytes();
    let check = |expect: &str, spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        // The checksums are right, so that it is the content which is refused.
        let sum = crc32c_of(&bytes[..44]);
        bytes[44..48].copy_from_slice(&sum.to_le_bytes());
        let end = bytes.len() - format::TRAILER_BYTES;
        let sum = crc32c_of(&bytes[end..end + 52]);
        bytes[end + 52..end + 56].copy_from_slice(&sum.to_le_bytes());
        let error = open(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(expect), "{error}");
    };
    let end = good.len() - format::TRAILER_BYTES;
    check("must be zero are not", &|bytes| bytes[40] = 1);
    check("must be zero are not", &|bytes| bytes[48] = 1);
    check("must be zero are not", &|bytes| bytes[4_095] = 1);
    check("must be zero are not", &|bytes| bytes[end + 44] = 1);
    check("must be zero are not", &|bytes| bytes[end + 51] = 1);
    check("it says the file has", &|bytes| bytes[end + 16] ^= 1);
    check("its id is not the header's", &|bytes| bytes[16] ^= 1);
    check("does not end at the trailer", &|bytes| bytes[end] ^= 8);
    check("does not end at the trailer", &|bytes| bytes[end + 8] ^= 8);
    check("does not end at the trailer", &|bytes| {
        bytes[end..end + 8].fill(0xff)
    });
}

#[test]
fn a_damaged_section_leaves_the_others_readable() {
    let good = small_bytes();
    let bytes_of = |part: &[u8]| {
        let at = good
            .windows(part.len())
            .position(|window| window == part)
            .unwrap();
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    // The second page of did:b, which was written first.
    let segment = open(&bytes_of(&page_bytes(1, 2))).unwrap();
    let extent = segment.extent(b"did:b").unwrap();
    for _ in 0..2 {
        let error = extent.page(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(
            error.to_string(),
            "damaged, its checksum does not match: file=`x.cseg` section=`page 1` extent=`did:b`"
        );
    }
    assert_eq!(extent.page(0).unwrap(), page_bytes(0, 2));
    assert_eq!(extent.page(2).unwrap(), page_bytes(2, 1));
    assert_eq!(extent.index().unwrap().rows(), 5);
    assert_eq!(segment.check().len(), 1);

    let segment = open(&bytes_of(b"sh.tangled.repo.issue")).unwrap();
    let extent = segment.extent(b"did:b").unwrap();
    let error = extent.index().unwrap_err().to_string();
    assert!(error.contains("section=`index` extent=`did:b`"), "{error}");
    assert_eq!(extent.page(1).unwrap(), page_bytes(1, 2));
    assert_eq!(segment.extent(b"did:a").unwrap().index().unwrap().rows(), 1);

    let error = open(&bytes_of(b"head of did:b")).unwrap_err().to_string();
    assert!(error.contains("section=`footer`"), "{error}");
}

#[test]
fn another_version_is_unsupported_and_says_so() {
    let mut bytes = small_bytes();
    bytes[8] = 2;
    let error = open(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "the file's format is newer than this program reads: version=2 reads=1: file=`x.cseg`"
    );
}

#[test]
fn a_segment_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let segment = open(&small_bytes()).unwrap();
    shared(&segment);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| read(&segment).unwrap());
        }
    });
}

fn group() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "a", "a.b", "a-b", "a.b.c", "a.b-c", "ab", "a0", "", "b",
    ])
    .prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[2-7a-j][2-7a-z]{12}",
        1 => "3jzf[27az]{9}",
        1 => "[2-7a-z]{12,14}",
        1 => "[k-z][2-7a-z]{12}",
        2 => "[A-Za-z0-9.~_:-]{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_segment_is_a_sorted_map(
        tids in proptest::collection::vec((group(), "3jzf[27az]{9}"), 0..60),
        mixed in proptest::collection::vec((group(), name()), 0..60),
        probes in proptest::collection::vec((group(), name()), 40),
        per_page in 1_usize..20,
        tids_only in any::<bool>(),
    ) {
        let keys = if tids_only { tids } else { [tids, mixed].concat() };
        let keys: Vec<_> = keys.iter().map(|(group, name)| (group.as_str(), name.as_str())).collect();
        let model = rows(&keys);
        let (_guard, directory) = folder();
        write(&directory, &[("k", model.clone())], per_page);
        let segment = Segment::open(&*directory, PUBLISHED).unwrap();
        let extent = segment.extent(b"k").unwrap();
        let index = extent.index().unwrap();
        prop_assert_eq!(index.rows() as usize, model.len());

        let groups: Vec<_> = index.groups().collect();
        let full: Vec<_> = index
            .range(0..index.rows())
            .map(|row| [groups[row.group].name, b"/", &row.name].concat())
            .collect();
        prop_assert!(full.iter().eq(model.keys()));
        let mut back: Vec<_> = index.range(0..u32::MAX).rev().collect();
        back.reverse();
        prop_assert!(back.into_iter().eq(index.range(0..u32::MAX)));

        let probes = probes.iter().map(|(group, name)| (group.as_str(), name.as_str())).chain(keys.iter().copied());
        for (group, name) in probes {
            let key = format!("{group}/{name}").into_bytes();
            let expect = model.range(..key.clone()).count();
            prop_assert_eq!(index.lower_bound(group.as_bytes(), name.as_bytes()) as usize, expect);
            let found = model.contains_key(&key).then(|| Place {
                page: (expect / per_page) as u32,
                ordinal: (expect % per_page) as u32,
            });
            prop_assert_eq!(index.find(group.as_bytes(), name.as_bytes()), found);
            // A name that begins inside the group's place, as a sealed cursor may.
            let inside = index.lower_bound(format!("{group}/{name}").as_bytes(), b"x");
            let key = format!("{group}/{name}/x").into_bytes();
            prop_assert_eq!(inside as usize, model.range(..key).count());
        }
        prop_assert!(segment.check().is_empty());
    }
}

// --- FORMAT.md

const FORMAT: &str = include_str!("../FORMAT.md");

/// Returns the example's text, between the lines that fence it.
fn listing(text: &str) -> std::ops::Range<usize> {
    let start = text.find("```hex\n").expect("FORMAT.md has an example") + "```hex\n".len();
    start..start + text[start..].find("```").expect("the example ends")
}

/// Reads `address  16 bytes in hex  ;comment` lines; what no line shows is zero.
fn parse_listing(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let line = line.split(';').next().unwrap();
        let mut parts = line.split_whitespace();
        let Some(address) = parts.next() else {
            continue;
        };
        let address = usize::from_str_radix(address, 16).unwrap();
        assert!(address >= bytes.len(), "lines ascend: {line}");
        bytes.resize(address, 0);
        bytes.extend(parts.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

fn print_listing(bytes: &[u8]) -> String {
    let end = bytes.len() - format::TRAILER_BYTES;
    let footer = u64::from_le_bytes(bytes[end..end + 8].try_into().unwrap()) as usize;
    let remarks = BTreeMap::from([
        (0, "header: magic, version 1, kind 1"),
        (0x10, "the id"),
        (0x20, "writer epoch 3, zero, checksum"),
        (format::HEADER_BYTES, "page 0: root pointer, Page"),
        (
            format::HEADER_BYTES + 0x30,
            "index: root pointer, four lists",
        ),
        (footer, "footer: root pointer, two lists"),
        (end, "trailer: footer offset, footer bytes"),
        (end + 0x10, "file bytes, the id"),
        (end + 0x20, "the id, footer checksum, zero"),
        (end + 0x30, "zero, checksum, magic"),
    ]);
    let mut out = String::new();
    for (i, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|&byte| byte != 0) {
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let remark = remarks
                .range(i * 16..i * 16 + 16)
                .map(|(_, remark)| format!("  ; {remark}"));
            writeln!(
                out,
                "{:08x}  {}{}",
                i * 16,
                hex.join(" "),
                remark.collect::<String>()
            )
            .unwrap();
        }
    }
    out
}

fn example() -> Vec<u8> {
    use carrack_schema::wire::segment_capnp::page;
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    writer.begin_extent(b"did:web:a").unwrap();
    let mut message = message::builder(16).unwrap();
    let mut verbatim = message.init_root::<page::Builder<'_>>().init_verbatim();
    let mut ends = verbatim.reborrow().init_ends(2);
    ends.set(0, 1);
    ends.set(1, 2);
    verbatim.set_heap(&[0xa0, 0xf6]);
    writer
        .page(2, &message::flatten(&message).unwrap())
        .unwrap();
    writer
        .row(
            b"a.b.c",
            b"self",
            Place {
                page: 0,
                ordinal: 0,
            },
        )
        .unwrap();
    writer
        .row(
            b"a.b.d",
            b"3jzfcijpj2z2a",
            Place {
                page: 0,
                ordinal: 1,
            },
        )
        .unwrap();
    writer.end_extent(b"head").unwrap();
    writer.seal().unwrap();
    directory.map(PUBLISHED).unwrap().to_vec()
}

#[test]
fn the_example_in_format_md_is_a_segment() {
    let written = example();
    if std::env::var_os("CARRACK_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FORMAT.md");
        let mut text = std::fs::read_to_string(path).unwrap();
        text.replace_range(listing(&text), &print_listing(&written));
        std::fs::write(path, text).unwrap();
        return;
    }
    let bytes = parse_listing(&FORMAT[listing(FORMAT)]);
    assert_eq!(
        print_listing(&bytes),
        print_listing(&written),
        "the writer and FORMAT.md differ"
    );
    assert_eq!(bytes, written);
    let segment = open(&bytes).unwrap();
    let extent = segment.extent(b"did:web:a").unwrap();
    assert_eq!(extent.head(), b"head");
    let index = extent.index().unwrap();
    assert_eq!(
        index.find(b"a.b.d", b"3jzfcijpj2z2a"),
        Some(Place {
            page: 0,
            ordinal: 1
        })
    );
    assert_eq!(
        index.find(b"a.b.c", b"self"),
        Some(Place {
            page: 0,
            ordinal: 0
        })
    );
    let page = message::flat(extent.page(0).unwrap());
    let page = page
        .get_root::<carrack_schema::wire::segment_capnp::page::Reader<'_>>()
        .unwrap();
    assert_eq!(
        page.get_verbatim().unwrap().get_heap().unwrap(),
        [0xa0, 0xf6]
    );
}

/// Prints nothing in an ordinary run: `cargo test --release -p carrack-segment -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement, not a test"]
#[expect(clippy::print_stderr, reason = "the numbers are what it is for")]
fn speed() {
    use std::hint::black_box;
    use std::time::Instant;
    const ROWS: u32 = 1_000_000;
    const FINDS: u32 = 1_000_000;
    let digits = b"234567abcdefghijklmnopqrstuvwxyz";
    let tid = |i: u32| {
        let word = 0x6d4a_0000_0000_0000
            + u64::from(i) * 0x039d_2171
            + u64::from(i.wrapping_mul(2_654_435_761) >> 12);
        let mut name = [0; 13];
        for (place, char) in name.iter_mut().rev().enumerate() {
            *char = digits[(word >> (5 * place) & 31) as usize];
        }
        name
    };
    for text in [false, true] {
        // Names of one length in one piece, so that the measurement itself misses the cache but once a lookup.
        let name = |i: u32| {
            let mut name = [b'-'; 14];
            name[..13].copy_from_slice(&tid(i));
            name
        };
        let bytes = if text { 14 } else { 13 };
        let names: Vec<_> = (0..ROWS).map(name).collect();
        let (_guard, directory) = folder();
        let start = Instant::now();
        let mut writer = create(&directory);
        writer.begin_extent(b"k").unwrap();
        let page = vec![1; 256 << 10];
        for (i, name) in (0..).zip(&names) {
            if i % 4_096 == 0 {
                writer.page(4_096, &page).unwrap();
            }
            writer
                .row(
                    b"app.bsky.feed.post",
                    &name[..bytes],
                    Place {
                        page: i / 4_096,
                        ordinal: i % 4_096,
                    },
                )
                .unwrap();
        }
        writer.end_extent(b"").unwrap();
        let sealed = writer.seal().unwrap();
        eprintln!(
            "text={text}: wrote {} bytes in {:?}",
            sealed.bytes,
            start.elapsed()
        );
        let start = Instant::now();
        let segment = Segment::open(&*directory, PUBLISHED).unwrap();
        eprintln!("  open {:?}", start.elapsed());
        let extent = segment.extent(b"k").unwrap();
        let start = Instant::now();
        drop(extent.index());
        eprintln!("  first touch of the index {:?}", start.elapsed());
        let random = || {
            let mut at = 1_u32;
            (0..FINDS).map(move |_| {
                at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((u64::from(at) * u64::from(ROWS)) >> 32) as u32
            })
        };
        for round in 0..3 {
            let start = Instant::now();
            for i in random() {
                black_box(names[i as usize]);
            }
            let idle = start.elapsed() / FINDS;
            let index = extent.index().unwrap();
            let start = Instant::now();
            for i in random() {
                black_box(index.find(b"app.bsky.feed.post", &names[i as usize][..bytes]));
            }
            let find = start.elapsed() / FINDS;
            let start = Instant::now();
            for i in random() {
                let extent = segment.extent(b"k").unwrap();
                let index = extent.index().unwrap();
                let name = &names[i as usize][..bytes];
                let place = index.find(b"app.bsky.feed.post", name).unwrap();
                assert_eq!(place.page << 12 | place.ordinal, i);
                black_box(extent.page(place.page).unwrap());
            }
            let all = start.elapsed() / FINDS;
            eprintln!(
                "  round {round}: find {find:?}, extent + find + page {all:?}, loop alone {idle:?}"
            );
        }
        let start = Instant::now();
        let index = extent.index().unwrap();
        assert_eq!(
            index
                .range(0..ROWS)
                .map(|row| row.name.len())
                .sum::<usize>(),
            names.len() * bytes
        );
        eprintln!("  iterating {:?} a row", start.elapsed() / ROWS);
    }
}
