//! What the crate promises of whole segments: round trips against a model, damage, limits, and `FORMAT.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use carrack_segment::{
    Codec, Directory, Error, ErrorKind, Fs, Map, PageCache, Part, Place, Sealed, Segment,
    SegmentWriter, Target, format, message,
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
    create_with(directory, Codec::Plain)
}

fn create_with(directory: &Arc<dyn Directory>, codec: Codec) -> SegmentWriter {
    let target = Target {
        temporary: TEMPORARY,
        published: PUBLISHED,
        id: *b"0123456789abcdef",
        writer_epoch: 3,
        codec,
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

/// Slots that are pages.
fn pages_as_slots(writer: &SegmentWriter) -> Vec<Place> {
    (0..writer.page_count())
        .map(|page| Place { page, ordinal: 0 })
        .collect()
}

/// Writes each extent's rows, `per_page` of them to a page.
fn write(directory: &Arc<dyn Directory>, extents: &[(&str, Rows)], per_page: usize) -> Sealed {
    let mut writer = create(directory);
    for (key, rows) in extents {
        writer.begin_extent(key.as_bytes()).unwrap();
        let rows: Vec<_> = rows.values().collect();
        for chunk in rows.chunks(per_page) {
            let (page, count) = (writer.page_count(), chunk.len() as u32);
            for (ordinal, (group, name)) in (0..).zip(chunk) {
                writer.row(group, name, page, ordinal).unwrap();
            }
            assert_eq!(writer.page(count, &page_bytes(page, count)).unwrap(), page);
        }
        writer
            .end_extent(format!("head of {key}").as_bytes())
            .unwrap();
    }
    let slots = pages_as_slots(&writer);
    writer.seal(&slots).unwrap()
}

/// Writes each extent's rows as a merge would: the rows of all of them dealt out to three kinds of pages, placed late,
/// with a dictionary; a page's rows are those of several extents.
fn write_shared(directory: &Arc<dyn Directory>, extents: &[(&str, Rows)], codec: Codec) -> Sealed {
    const KINDS: usize = 3;
    let mut writer = create_with(directory, codec);
    // The rows of each kind; a slot is an extent's rows of a kind, and begins where these begin.
    let mut rows_of_kind = [0_u32; KINDS];
    let mut slots = Vec::new();
    for (key, rows) in extents {
        writer.begin_extent(key.as_bytes()).unwrap();
        let first_slot = slots.len() as u32;
        slots.extend(rows_of_kind);
        for (i, (group, name)) in rows.values().enumerate() {
            let kind = i % KINDS;
            let ordinal = rows_of_kind[kind] - slots[first_slot as usize + kind];
            rows_of_kind[kind] += 1;
            writer
                .row(group, name, first_slot + kind as u32, ordinal)
                .unwrap();
        }
        writer
            .end_extent(format!("head of {key}").as_bytes())
            .unwrap();
    }
    writer.dictionary(&[7; 800]).unwrap();
    for (page, &count) in (0..).zip(&rows_of_kind) {
        assert_eq!(
            writer.page(count, &page_bytes(page, count.max(1))).unwrap(),
            page
        );
    }
    let slots: Vec<_> = slots
        .iter()
        .enumerate()
        .map(|(i, &ordinal)| Place {
            page: (i % KINDS) as u32,
            ordinal,
        })
        .collect();
    writer.seal(&slots).unwrap()
}

/// Everything a segment says, read through every call; or the first error.
fn read(segment: &Segment) -> Result<String, Error> {
    let mut out = format!("{:?} {}\n", segment.id(), segment.writer_epoch());
    writeln!(out, "{:?}", segment.dictionary()?).unwrap();
    for number in 0..segment.page_count() {
        let page = segment.page(number)?;
        assert_eq!((page.as_ptr().addr() % 8, page.len() % 8), (0, 0));
        writeln!(out, "{:?} {:?}", segment.page_rows(number), &*page).unwrap();
    }
    for extent in segment.extents() {
        writeln!(out, "{extent:?} {}", extent.head().escape_ascii()).unwrap();
        let again = segment
            .extent(extent.key())
            .expect("an extent that is listed is found");
        assert_eq!(again.rows(), extent.rows());
        let index = extent.index()?;
        let groups: Vec<_> = index.groups().collect();
        let mut places = index.places();
        for (number, row) in (0..).zip(index.range(0..index.rows())) {
            let group = groups[row.group].name;
            assert_eq!(index.find(group, &row.name), Some(row.place));
            assert_eq!(index.lower_bound(group, &row.name), number);
            assert_eq!(index.row(number), Some(row));
            assert_eq!(places.next(), Some(row.place));
            let page = segment.page(row.place.page)?;
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

/// The same extents in shared, compressed pages.
fn small_cold_bytes() -> Vec<u8> {
    let (_guard, directory) = folder();
    write_shared(&directory, &small_cold(), Codec::Zstd { level: 3 });
    directory.map(PUBLISHED).unwrap().to_vec()
}

fn small_cold() -> Vec<(&'static str, Rows)> {
    let mut extents = small();
    let names: Vec<_> = (0..60)
        .map(|i| format!("3jzfcijpj2{:03}", 222 + i % 6 + i / 6 * 10))
        .collect();
    let keys: Vec<_> = names
        .iter()
        .map(|name| ("sh.tangled.repo", name.as_str()))
        .collect();
    extents.push(("did:d", rows(&keys)));
    extents
}

fn open_in(directory: &Arc<dyn Directory>) -> Result<Segment, Error> {
    Segment::open(&**directory, PUBLISHED, &PageCache::new(1 << 20))
}

fn open(bytes: &[u8]) -> Result<Segment, Error> {
    Segment::from_map("x.cseg", Map::owned(bytes), &PageCache::new(1 << 20))
}

#[test]
fn what_was_written_is_read_in_order() {
    let (_guard, directory) = folder();
    let sealed = write(&directory, &small(), 2);
    let segment = open_in(&directory).unwrap();
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
    assert_eq!(segment.page_count(), 4);
    assert_eq!(segment.page(4).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(segment.page_rows(4), None);
    assert_eq!(segment.dictionary().unwrap(), None);
    assert!(segment.check().is_empty());
    read(&segment).unwrap();
}

#[test]
fn an_unlinked_segment_is_read_to_its_end() {
    let (_guard, directory) = folder();
    write(&directory, &small(), 2);
    let segment = open_in(&directory).unwrap();
    directory.unlink(PUBLISHED).unwrap();
    read(&segment).unwrap();
    let gone = open_in(&directory).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(gone.to_string().contains(PUBLISHED), "{gone}");
}

#[test]
fn an_empty_segment_is_sound() {
    let (_guard, directory) = folder();
    create(&directory).seal(&[]).unwrap();
    let segment = open_in(&directory).unwrap();
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
    assert_eq!(writer.seal(&[]).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(directory.list("tmp").unwrap().is_empty());
    assert!(directory.list("segments").unwrap().is_empty());
    // So does one whose published folder is missing.
    let target = Target {
        temporary: TEMPORARY,
        published: "gone/a",
        id: [0; 16],
        writer_epoch: 0,
        codec: Codec::Plain,
    };
    let writer = SegmentWriter::create(&directory, target).unwrap();
    assert_eq!(writer.seal(&[]).unwrap_err().kind(), ErrorKind::NotFound);
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
    let invalid =
        |result: Result<(), Error>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    invalid(writer.row(b"g", b"n", 0, 0));
    invalid(writer.end_extent(b""));
    writer.begin_extent(b"k").unwrap();
    invalid(writer.begin_extent(b"l"));
    invalid(writer.page(1, &[0; 7]).map(drop));
    invalid(writer.page(1, &[]).map(drop));
    invalid(writer.dictionary(&[0; 7]));
    invalid(writer.dictionary(&[]));
    writer.row(b"g", b"n", 0, 0).unwrap();
    invalid(writer.row(b"g", b"n", 0, 0));
    // The row came before its page, which is allowed.
    writer.page(1, &[0; 8]).unwrap();
    writer.end_extent(b"").unwrap();
    invalid(writer.begin_extent(b"k"));
    writer.dictionary(&[0; 8]).unwrap();
    invalid(writer.dictionary(&[0; 8]));
    writer
        .seal(&[Place {
            page: 0,
            ordinal: 0,
        }])
        .unwrap();
}

#[test]
fn rows_without_a_place_are_refused_and_nothing_is_left() {
    let (_guard, directory) = folder();
    let place = |page, ordinal| Place { page, ordinal };
    let seal = |slot, ordinal, slots: &[Place]| {
        let mut writer = create(&directory);
        writer.begin_extent(b"key").unwrap();
        writer.row(b"g", b"n", slot, ordinal).unwrap();
        writer.end_extent(b"").unwrap();
        writer.page(2, &[0; 8]).unwrap();
        writer.page(0, &[0; 8]).unwrap();
        writer.seal(slots)
    };
    let refused = |slot, ordinal, slots: &[Place], expect: &str| {
        let error = seal(slot, ordinal, slots).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(expect), "{error}");
        assert!(error.to_string().contains("extent=`key`"), "{error}");
        assert!(directory.list("tmp").unwrap().is_empty());
        assert!(directory.list("segments").unwrap().is_empty());
    };
    refused(0, 0, &[], "in a slot that has no place");
    refused(u32::MAX, 0, &[place(0, 0)], "in a slot that has no place");
    refused(0, 2, &[place(0, 0)], "placed where no row is");
    refused(0, 1, &[place(0, 1)], "placed where no row is");
    refused(0, 0, &[place(0, u32::MAX)], "placed where no row is");
    refused(0, 0, &[place(1, 0)], "placed where no row is");
    refused(0, 0, &[place(2, 0)], "placed where no row is");
    seal(1, 1, &[place(9, 9), place(0, 0)]).unwrap();
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
    let group = vec![b'g'; format::GROUP_BYTES_MAX];
    writer.row(&group, &name, 0, last.ordinal).unwrap();
    beyond(writer.row(&group, &[name, vec![0]].concat(), 0, 0));
    beyond(writer.end_extent(&vec![0; format::HEAD_BYTES_MAX + 1]));
    writer.end_extent(&vec![0; format::HEAD_BYTES_MAX]).unwrap();
    let slots = pages_as_slots(&writer);
    writer.seal(&slots).unwrap();

    let segment = open_in(&directory).unwrap();
    let extent = segment.extents().next().unwrap();
    assert_eq!(segment.page(0).unwrap().len(), format::PAGE_BYTES_MAX);
    let row = extent.index().unwrap().row(0).unwrap();
    assert_eq!((row.name.len(), row.place), (format::NAME_BYTES_MAX, last));
}

/// Pages whose numbers have 20 bits and more: 8 MiB of pages, 24 MiB of footer.
#[test]
fn a_place_names_any_page() {
    const PAGES: u32 = (1 << 20) + 1;
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    writer.begin_extent(b"k").unwrap();
    for number in 0..PAGES {
        assert_eq!(
            writer.page(1, &u64::from(number).to_le_bytes()).unwrap(),
            number
        );
    }
    let last = Place {
        page: PAGES - 1,
        ordinal: 0,
    };
    writer.row(b"g", b"n", 1, 0).unwrap();
    writer.row(b"g", b"o", 0, 0).unwrap();
    writer.end_extent(b"").unwrap();
    writer.begin_extent(b"l").unwrap();
    writer.row(b"g", b"n", 1, 0).unwrap();
    writer.end_extent(b"").unwrap();
    writer
        .seal(&[
            Place {
                page: 0,
                ordinal: 0,
            },
            last,
        ])
        .unwrap();
    let segment = open_in(&directory).unwrap();
    let index = segment.extent(b"k").unwrap().index().unwrap();
    assert_eq!(index.find(b"g", b"n"), Some(last));
    assert_eq!(index.find(b"g", b"o").map(|place| place.page), Some(0));
    let index = segment.extent(b"l").unwrap().index().unwrap();
    assert_eq!(index.find(b"g", b"n"), Some(last));
    assert_eq!(
        *segment.page(last.page).unwrap(),
        u64::from(last.page).to_le_bytes()
    );
}

#[test]
fn extents_are_found_by_the_beginning_of_their_keys() {
    let (_guard, directory) = folder();
    let extents: Vec<_> = ["a", "did:b", "did:b\0one", "did:b\0two", "did:bb", "did:c"]
        .map(|key| (key, rows(&[])))
        .to_vec();
    write(&directory, &extents, 1);
    let segment = open_in(&directory).unwrap();
    let found = |prefix: &str| {
        let keys = segment
            .extents_of(prefix.as_bytes())
            .map(|extent| extent.key());
        keys.map(|key| String::from_utf8(key.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("did:b\0"), ["did:b\0one", "did:b\0two"]);
    assert_eq!(
        found("did:b"),
        ["did:b", "did:b\0one", "did:b\0two", "did:bb"]
    );
    assert_eq!(found("").len(), 6);
    assert_eq!(found("did:b\0two").len(), 1);
    assert!(found("did:ba").is_empty() && found("\u{7f}").is_empty() && found("A").is_empty());
    let newest = segment.extents_of(b"did:b\0").next_back().unwrap();
    assert_eq!(newest.key(), b"did:b\0two");
}

#[test]
fn extents_share_pages_and_the_dictionary() {
    for codec in [Codec::Plain, Codec::Zstd { level: 3 }] {
        let (_guard, directory) = folder();
        let sealed = write_shared(&directory, &small_cold(), codec);
        assert_eq!((sealed.extents, sealed.pages, sealed.rows), (4, 3, 66));
        let segment = open_in(&directory).unwrap();
        assert_eq!(segment.dictionary().unwrap(), Some(&[7; 800][..]));
        assert_eq!(
            segment.dictionary().unwrap().unwrap().as_ptr().addr() % 8,
            0
        );
        for number in 0..3 {
            let (page, rows) = (
                segment.page(number).unwrap(),
                segment.page_rows(number).unwrap(),
            );
            assert_eq!(*page, page_bytes(number, rows));
            assert_eq!(page.mapped().is_some(), codec == Codec::Plain);
        }
        // Each row of each page is the place of one row.
        let mut places: Vec<_> = segment
            .extents()
            .flat_map(|extent| extent.index().unwrap().places())
            .collect();
        places.sort_unstable();
        let expect = (0..3).flat_map(|page| {
            let rows = 0..segment.page_rows(page).unwrap();
            rows.map(move |ordinal| Place { page, ordinal })
        });
        assert!(places.into_iter().eq(expect));
        let touches = |key: &[u8], page| segment.extent(key).unwrap().touches(page).unwrap();
        assert_eq!(
            [0, 1, 2, 3].map(|page| touches(b"did:a", page)),
            [true, false, false, false]
        );
        assert!((0..3).all(|page| touches(b"did:d", page) && !touches(b"did:c", page)));
        assert!(segment.check().is_empty());
        read(&segment).unwrap();
    }
}

#[test]
fn any_flipped_byte_is_an_error_or_changes_nothing() {
    for good in [small_bytes(), small_cold_bytes()] {
        any_flipped_byte(good);
    }
}

fn any_flipped_byte(good: Vec<u8>) {
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
    // A plain segment has sections of each kind but a dictionary, and one of four extents.
    let flips = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff];
    any_changed_byte(&small_bytes(), 4 + 3, &flips);
    any_changed_byte(&small_cold_bytes(), 3 + 1 + 4, &flips[6..]);
}

fn any_changed_byte(good: &[u8], sections: usize, flips: &[u8]) {
    let end = good.len() - format::TRAILER_BYTES;
    let footer = u64_at(good, end) as usize;
    let entries = section_entries(good);
    assert_eq!(entries.len(), sections);
    for at in format::HEADER_BYTES..end {
        for flip in flips {
            let mut bytes = good.to_vec();
            bytes[at] ^= flip;
            for (sum, section) in &entries {
                if section.contains(&at) {
                    sum_at(&mut bytes, *sum, section.clone());
                }
            }
            sum_at(&mut bytes, end + 40, footer..end);
            sum_at(&mut bytes, end + 52, end..end + 52);
            let Ok(segment) = open(&bytes) else { continue };
            let found = segment.check().len();
            let mut damaged = usize::from(segment.dictionary().is_err());
            damaged += (0..segment.page_count())
                .filter(|&page| segment.page(page).is_err())
                .count();
            for extent in segment.extents() {
                let Ok(index) = extent.index() else {
                    damaged += 1;
                    continue;
                };
                let mut last = None;
                for row in index.range(0..u32::MAX) {
                    assert!(segment.page_rows(row.place.page).unwrap() > row.place.ordinal);
                    let key = (row.group, row.name.to_vec());
                    assert!(last.is_none_or(|last| last < key));
                    last = Some(key);
                }
            }
            assert_eq!(found, damaged);
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Puts the right checksum of a part where it belongs.
fn sum_at(bytes: &mut [u8], at: usize, of: std::ops::Range<usize>) {
    let sum = crc32c_of(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Returns where the checksum of each section stands, and where the section does. In the footer's entries of pages and
/// the dictionary `{offset u64, bytes u32, plain bytes u32, checksum u32}`, in those of extents `{offset u64, bytes u32,
/// checksum u32}`: found by what they say.
fn section_entries(good: &[u8]) -> Vec<(usize, std::ops::Range<usize>)> {
    let end = good.len() - format::TRAILER_BYTES;
    let footer = u64_at(good, end) as usize;
    let candidates = (footer..=end - 24).step_by(8);
    candidates
        .filter_map(|at| {
            let (start, bytes) = (u64_at(good, at) as usize, u64_at(good, at + 8) as u32);
            let range = start..start.checked_add(bytes.next_multiple_of(8) as usize)?;
            let sound = start >= format::HEADER_BYTES && bytes > 0 && range.end <= footer;
            let sum = crc32c_of(good.get(range.clone()).filter(|_| sound)?).to_le_bytes();
            let sum_at = [at + 12, at + 16]
                .into_iter()
                .find(|&at| good[at..at + 4] == sum)?;
            Some((sum_at, range))
        })
        .collect()
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
    // The second page, of did:b, which was written first.
    let segment = open(&bytes_of(&page_bytes(1, 2))).unwrap();
    let extent = segment.extent(b"did:b").unwrap();
    for _ in 0..2 {
        let error = segment.page(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(
            error.to_string(),
            "damaged, its checksum does not match: file=`x.cseg` section=`page 1`"
        );
    }
    assert_eq!(*segment.page(0).unwrap(), page_bytes(0, 2));
    assert_eq!(*segment.page(2).unwrap(), page_bytes(2, 1));
    assert_eq!(extent.index().unwrap().rows(), 5);
    let [fault] = &segment.check()[..] else {
        panic!("one page is damaged");
    };
    assert_eq!(fault.part, Part::Page(1));
    let whose: Vec<_> = segment
        .extents()
        .filter(|extent| extent.touches(1).unwrap())
        .map(|extent| extent.key())
        .collect();
    assert_eq!(whose, [b"did:b"]);

    // The text names of did:b stand in its index only.
    let segment = open(&bytes_of(b"a~b")).unwrap();
    let extent = segment.extent(b"did:b").unwrap();
    let error = extent.index().unwrap_err().to_string();
    assert!(error.contains("section=`index` extent=`did:b`"), "{error}");
    assert_eq!(extent.touches(1).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(*segment.page(1).unwrap(), page_bytes(1, 2));
    assert_eq!(segment.extent(b"did:a").unwrap().index().unwrap().rows(), 1);
    assert_eq!(segment.check()[0].part, Part::Index(b"did:b".to_vec()));

    let error = open(&bytes_of(b"head of did:b")).unwrap_err().to_string();
    assert!(error.contains("section=`footer`"), "{error}");
}

#[test]
fn damage_to_what_is_compressed_is_named() {
    let good = small_cold_bytes();
    // Written first: the dictionary, then the pages.
    let entries = section_entries(&good);
    let mut sections: Vec<_> = entries.iter().map(|(_, range)| range.clone()).collect();
    sections.sort_by_key(|range| range.start);
    for (number, range) in sections[..4].iter().enumerate() {
        let mut bytes = good.clone();
        bytes[range.start + 9] ^= 1;
        let segment = open(&bytes).unwrap();
        let (part, words) = match number.checked_sub(1) {
            None => (Part::Dictionary, "section=`dictionary`".to_owned()),
            Some(page) => (Part::Page(page as u32), format!("section=`page {page}`")),
        };
        let faults = segment.check();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].part, part);
        assert!(
            faults[0].error.to_string().contains(&words),
            "{}",
            faults[0].error
        );
        for _ in 0..2 {
            assert_eq!(segment.dictionary().is_err(), number == 0);
            for page in 0..3 {
                assert_eq!(segment.page(page).is_err(), number == page as usize + 1);
            }
        }
    }
}

/// With right checksums: pages that decompress to another length than the footer says, or not at all.
#[test]
fn a_bomb_and_a_short_page_are_refused() {
    let good = small_cold_bytes();
    let end = good.len() - format::TRAILER_BYTES;
    let footer = u64_at(&good, end) as usize;
    let (sum, range) = section_entries(&good)[0].clone();
    // The entry of page 0 is {offset, bytes, plain bytes, checksum}.
    let plain_at = sum - 4;
    let plain = u32::from_le_bytes(good[plain_at..plain_at + 4].try_into().unwrap());
    let check = |expect: &str, spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        spoil(&mut bytes);
        sum_at(&mut bytes, sum, range.clone());
        sum_at(&mut bytes, end + 40, footer..end);
        sum_at(&mut bytes, end + 52, end..end + 52);
        let error = match open(&bytes) {
            Ok(segment) => segment.page(0).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(expect), "{error}");
    };
    let set = |value: u32| {
        move |bytes: &mut Vec<u8>| {
            bytes[plain_at..plain_at + 4].copy_from_slice(&value.to_le_bytes())
        }
    };
    check("does not decompress to the", &set(plain - 8));
    check("does not decompress to the", &set(plain + 8));
    check(
        "does not decompress to the",
        &set(format::PAGE_BYTES_MAX as u32),
    );
    check(
        "page 0 is not where",
        &set(format::PAGE_BYTES_MAX as u32 + 8),
    );
    check("page 0 is not where", &set(plain - 1));
    check("page 0 is not where", &set(8));
    check("does not decompress to the", &|bytes| {
        bytes[range.start] ^= 1
    });
    let stored = u64_at(&good, plain_at - 4) as u32 as usize;
    let zeros = range.start + stored..range.end;
    assert!(
        !zeros.is_empty(),
        "the page's stored bytes end inside a word"
    );
    check("must be zero are not", &|bytes| bytes[zeros.start] = 1);
}

#[test]
fn decompressed_pages_stay_within_the_cache() {
    let (_guard, directory) = folder();
    let mut writer = create_with(&directory, Codec::Zstd { level: 1 });
    for number in 0..10 {
        writer.page(100, &page_bytes(number, 100)).unwrap();
    }
    writer.seal(&[]).unwrap();
    let cache = PageCache::new(3 * 800);
    let one = Segment::open(&*directory, PUBLISHED, &cache).unwrap();
    let two = Segment::open(&*directory, PUBLISHED, &cache).unwrap();
    for round in 0..3 {
        for number in 0..10 {
            let page = one.page(number).unwrap();
            assert_eq!(*page, page_bytes(number, 100), "round {round}");
            assert_eq!(two.page(number).unwrap(), page);
            assert!(cache.bytes() <= 3 * 800);
        }
    }
    // The same memory, while it is held.
    let page = one.page(9).unwrap();
    assert_eq!(one.page(9).unwrap().as_ptr(), page.as_ptr());
    assert!(cache.bytes() > 0);
    drop(page);
    drop((one, two));
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn what_grows_under_zstd_is_stored_as_it_is() {
    let (_guard, directory) = folder();
    let mut writer = create_with(&directory, Codec::Zstd { level: 22 });
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..format::PAGE_BYTES_MAX / 8)
        .flat_map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state ^ state >> 31)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes()
        })
        .collect();
    writer.page(1, &noise).unwrap();
    writer.page(1, &vec![1; format::PAGE_BYTES_MAX]).unwrap();
    writer.dictionary(&noise[..8]).unwrap();
    let sealed = writer.seal(&[]).unwrap();
    assert!(sealed.bytes < format::PAGE_BYTES_MAX as u64 + 8_192);
    let segment = open_in(&directory).unwrap();
    assert_eq!(segment.page(0).unwrap().mapped(), Some(&noise[..]));
    let page = segment.page(1).unwrap();
    assert_eq!(
        (page.mapped(), &*page),
        (None, &vec![1; format::PAGE_BYTES_MAX][..])
    );
    assert_eq!(segment.dictionary().unwrap(), Some(&noise[..8]));
}

#[test]
fn another_version_is_unsupported_and_says_so() {
    let mut bytes = small_bytes();
    for (version, age) in [(1, "older"), (3, "newer")] {
        bytes[8] = version;
        let error = open(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            format!(
                "the file's format is {age} than this program reads: version={version} reads=2: file=`x.cseg`"
            )
        );
    }
}

#[test]
fn a_segment_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let segment = open(&small_cold_bytes()).unwrap();
    shared(&segment);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| read(&segment).unwrap());
        }
    });
}

/// A TID of a time in microseconds and a clock's number.
fn tid(micros: u64, clock: u64) -> String {
    let word = micros << 10 | clock & 1_023;
    let digits = b"234567abcdefghijklmnopqrstuvwxyz";
    (0..13)
        .rev()
        .map(|place| char::from(digits[(word >> (5 * place) & 31) as usize]))
        .collect()
}

/// What an index costs is what merging tiny repos, and large ones, stands on.
#[test]
fn an_index_takes_few_bytes() {
    const YEAR: u64 = 365 * 24 * 3_600 * 1_000_000;
    const START: u64 = 1_700_000_000_000_000;
    let index_bytes = |rows: &[(&str, String)], pages: u32, page_of: &dyn Fn(u32) -> Place| {
        let (_guard, directory) = folder();
        let mut writer = create(&directory);
        writer
            .begin_extent(b"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
            .unwrap();
        let mut slots = Vec::new();
        for (row, (group, name)) in (0..).zip(rows) {
            writer
                .row(group.as_bytes(), name.as_bytes(), row, 0)
                .unwrap();
            slots.push(page_of(row));
        }
        writer.end_extent(b"").unwrap();
        for _ in 0..pages {
            writer.page(4_096, &[0; 8]).unwrap();
        }
        writer.seal(&slots).unwrap();
        let segment = open_in(&directory).unwrap();
        assert!(segment.check().is_empty());
        segment.extents().next().unwrap().index_bytes()
    };

    // Ten records of a year in four collections, anywhere in the 200 pages of a merged segment.
    let mut tiny: Vec<_> = (0..9)
        .map(|i| {
            let group = [
                "app.bsky.feed.like",
                "app.bsky.feed.post",
                "app.bsky.graph.follow",
            ][i / 3];
            (
                group,
                tid(START + (i as u64 * 7_919 % 9) * YEAR / 9, i as u64 * 331),
            )
        })
        .collect();
    tiny.insert(0, ("app.bsky.actor.profile", "self".to_owned()));
    tiny.sort();
    let anywhere = |row: u32| Place {
        page: row.wrapping_mul(2_654_435_761) % 200,
        ordinal: row.wrapping_mul(40_503) % 4_096,
    };
    assert_eq!(index_bytes(&tiny, 200, &anywhere), 144);

    // 200,000 records of three years in one collection, of eight shapes, in pages of one shape each.
    const ROWS: u32 = 200_000;
    let large: Vec<_> = (0..ROWS)
        .map(|i| {
            let noise = u64::from(i.wrapping_mul(2_654_435_761) >> 4);
            let micros = START + u64::from(i) * (3 * YEAR / u64::from(ROWS)) + noise;
            ("app.bsky.feed.post", tid(micros, noise))
        })
        .collect();
    let by_shape = |row: u32| Place {
        page: row % 8 * 7 + row / 8 / 4_096,
        ordinal: row / 8 % 4_096,
    };
    let bytes = index_bytes(&large, 56, &by_shape);
    assert!(
        bytes * 10 <= u64::from(ROWS) * 85,
        "{bytes} bytes for {ROWS} rows"
    );
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
        tids in proptest::collection::vec((group(), "3jzf[27az]{9}"), 0..600),
        mixed in proptest::collection::vec((group(), name()), 0..60),
        probes in proptest::collection::vec((group(), name()), 40),
        per_page in 1_usize..200,
        tids_only in any::<bool>(),
    ) {
        let keys = if tids_only { tids } else { [tids, mixed].concat() };
        let keys: Vec<_> = keys.iter().map(|(group, name)| (group.as_str(), name.as_str())).collect();
        let model = rows(&keys);
        let (_guard, directory) = folder();
        write(&directory, &[("k", model.clone())], per_page);
        let segment = open_in(&directory).unwrap();
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
        (0, "header: magic, version 2, kind 1"),
        (0x10, "the id"),
        (0x20, "writer epoch 3, zero, checksum"),
        (
            format::HEADER_BYTES,
            "page 0: root pointer, two bytes of data",
        ),
        (format::HEADER_BYTES + 0x10, "index: root pointer, widths"),
        (footer, "footer: root pointer, four pointers"),
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
    let (_guard, directory) = folder();
    let mut writer = create(&directory);
    writer.begin_extent(b"did:web:a").unwrap();
    let mut message = message::builder(2).unwrap();
    message
        .set_root::<capnp::data::Owned>(&[0xa0, 0xf6][..])
        .unwrap();
    writer
        .page(2, &message::flatten(&message).unwrap())
        .unwrap();
    writer.row(b"a.b.c", b"self", 0, 0).unwrap();
    writer.row(b"a.b.d", b"3jzfcijpj2z2a", 0, 1).unwrap();
    writer.end_extent(b"head").unwrap();
    writer
        .seal(&[Place {
            page: 0,
            ordinal: 0,
        }])
        .unwrap();
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
    let page = segment.page(0).unwrap();
    let message = message::flat(&page);
    let rows = message.get_root::<capnp::data::Reader<'_>>().unwrap();
    assert_eq!(rows, [0xa0, 0xf6]);
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
                .row(b"app.bsky.feed.post", &name[..bytes], i / 4_096, i % 4_096)
                .unwrap();
        }
        writer.end_extent(b"").unwrap();
        let slots = pages_as_slots(&writer);
        let sealed = writer.seal(&slots).unwrap();
        eprintln!(
            "text={text}: wrote {} bytes in {:?}",
            sealed.bytes,
            start.elapsed()
        );
        let start = Instant::now();
        let segment = open_in(&directory).unwrap();
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
                black_box(segment.page(place.page).unwrap());
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
