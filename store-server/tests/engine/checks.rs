//! A check against files whose checksums are right and whose bytes are not: what only decoding and the trees can find.

use carrack_segment::{Directory, Fs, PageCache, Segment};
use carrack_store::{CheckEvent, Store};
use kit::{Order, RepoSpec};

use super::world::{World, import};

/// Bytes of a segment's trailer, and of it those before its own checksum.
pub(crate) const TRAILER: usize = 64;
const TRAILER_SUMMED: usize = 52;

/// Puts a checksum in the place of the one that was right before.
fn resum(bytes: &mut [u8], old: u32, new: u32) {
    let (old, new) = (old.to_le_bytes(), new.to_le_bytes());
    let at = bytes.windows(4).position(|window| window == old).unwrap();
    bytes[at..at + 4].copy_from_slice(&new);
}

/// Flips a bit and makes all checksums right again. `part` is the section it is in, `footer` the footer.
pub(crate) fn forge(
    file: &[u8],
    at: usize,
    part: &std::ops::Range<usize>,
    footer: &std::ops::Range<usize>,
) -> Vec<u8> {
    let mut forged = file.to_vec();
    forged[at] ^= 1;
    let sum = |bytes: &[u8], range: &std::ops::Range<usize>| crc32c::crc32c(&bytes[range.clone()]);
    if part != footer {
        let (old, new) = (sum(file, part), sum(&forged, part));
        resum(&mut forged[footer.clone()], old, new);
    }
    let (old, new) = (sum(file, footer), sum(&forged, footer));
    let trailer = forged.len() - TRAILER;
    resum(&mut forged[trailer..], old, new);
    let sealed = crc32c::crc32c(&forged[trailer..trailer + TRAILER_SUMMED]);
    forged[trailer + TRAILER_SUMMED..][..4].copy_from_slice(&sealed.to_le_bytes());
    forged
}

/// Checks a store and returns the sections of what was found.
fn sections(store: &Store) -> Vec<String> {
    let mut sections = Vec::new();
    store
        .check(false, &mut |event| {
            if let CheckEvent::Found(finding) = event {
                assert_eq!(finding.repos_count, 1, "{finding:?}");
                sections.push(finding.section);
            }
            true
        })
        .unwrap();
    sections
}

#[test]
fn bytes_that_are_wrong_under_right_checksums_are_found_or_mean_nothing() {
    let mut world = World::new();
    let repo = RepoSpec {
        records: 300,
        seed: 5,
        ..RepoSpec::default()
    }
    .build();
    let did = import(world.store(), &repo.car(Order::Pds)).did;
    let exported = |store: &Store| {
        let mut car = Vec::new();
        let repo = store.repo(&did).unwrap().unwrap();
        repo.export(&mut car).map(|_| car)
    };
    let whole = exported(world.store()).unwrap();
    let [name] = &world.segments()[..] else {
        panic!("one import made {:?}", world.segments());
    };
    let path = world.folder.path().join("segments").join(name);
    let sound = std::fs::read(&path).unwrap();
    let folder = Fs::open(path.parent().unwrap()).unwrap();
    let segment = Segment::from_map(name, folder.map(name).unwrap(), &PageCache::new(0)).unwrap();
    let footer_end = sound.len() - TRAILER;
    let footer = footer_end - usize::try_from(segment.footer_bytes()).unwrap()..footer_end;
    let mut parts: Vec<std::ops::Range<usize>> = (0..segment.page_count())
        .map(|page| segment.page(page).unwrap().to_vec())
        .chain(segment.dictionary().unwrap().map(<[u8]>::to_vec))
        .map(|part| {
            let mut windows = sound.windows(part.len());
            let start = windows.position(|window| window == part).unwrap();
            start..start + part.len()
        })
        .collect();
    parts.push(footer.clone());
    let (mut found, mut harmless) = (std::collections::BTreeMap::new(), 0);
    for part in &parts {
        // An odd stride, so that every byte of a word comes up.
        let stride = (part.len() / 60).max(1) | 1;
        for at in part.clone().step_by(stride) {
            let forged = forge(&sound, at, part, &footer);
            drop(world.take());
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, forged).unwrap();
            world.reopen();
            let sections = sections(world.store());
            if sections.is_empty() {
                // A byte that nothing reads; then nothing is wrong.
                harmless += 1;
                assert!(
                    exported(world.store()).unwrap() == whole,
                    "at {at} of {part:?}"
                );
            }
            for section in sections {
                *found.entry(section).or_insert(0) += 1;
            }
        }
    }
    for section in ["rows", "tree", "nodes"] {
        assert!(found.contains_key(section), "no {section} in {found:?}");
    }
    let total: i32 = found.values().sum();
    assert!(
        harmless * 4 < total,
        "{harmless} flips meant nothing, {found:?} did"
    );
}
