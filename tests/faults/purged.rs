//! What is off the disk for good: texts that only one record holds, looked for in every byte of every file.
//!
//! The kit gives the text of a note a random number of 16 hexadecimal digits, behind a space: its [`mark`]. Columns hold
//! texts as they are, and the pages of cold segments are looked at decompressed.

use std::collections::BTreeSet;

use carrack_segment::directory::mem::Mem;
use carrack_segment::{Directory, PageCache, Segment};

/// Digits of a mark.
const DIGITS: usize = 16;

/// What names a record among all bytes.
pub(crate) type Mark = [u8; DIGITS];

/// Returns what names a record, if it has such a text.
pub(crate) fn mark(record: &[u8]) -> Option<Mark> {
    marks(record).next()
}

fn marks(bytes: &[u8]) -> impl Iterator<Item = Mark> {
    bytes.windows(DIGITS + 1).filter_map(|window| {
        let (space, digits) = window.split_first()?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (*space == b' ' && digits.iter().all(is_digit)).then(|| digits.try_into().ok())?
    })
}

/// Returns every mark in any file of a disk.
pub(crate) fn marks_on(disk: &Mem) -> BTreeSet<Mark> {
    let mut found = BTreeSet::new();
    // A copy, because files that are mapped cannot be written any more.
    let disk = &disk.copy();
    for (name, _) in disk.files() {
        let file = disk.map(&name).expect("it is listed");
        found.extend(marks(&file));
        if name.ends_with(".cseg") {
            // One that does not open has no bytes but those above.
            if let Ok(segment) = Segment::open(disk, &name, &PageCache::new(0)) {
                let pages = (0..segment.page_count()).filter_map(|page| segment.page(page).ok());
                pages.for_each(|page| found.extend(marks(&page)));
                if let Ok(Some(dictionary)) = segment.dictionary() {
                    found.extend(marks(dictionary));
                }
            }
        }
    }
    found
}

#[test]
fn what_is_stored_is_found() {
    use crate::model::{Model, Version};
    use crate::operation::Operation;
    use crate::worlds::{NO_CODES, Worlds};
    use crate::{DEFAULT_SIZES, START, open};

    let version = Version::first(20, 71);
    let newer = version.next(1);
    let disk = Mem::new();
    let store = open(disk.clone(), DEFAULT_SIZES, START).unwrap();
    let mut worlds = Worlds::one(Model::default());
    for operation in [
        Operation::import(&version),
        Operation::import(&newer),
        Operation::compact(false),
        Operation::compact(true),
    ] {
        worlds.run(&operation, &store, NO_CODES).unwrap().unwrap();
        let records = worlds.models()[0].repos.values().flat_map(|stored| {
            let revisions = stored.revisions.iter();
            revisions.flat_map(|each| &each.version.repo.records)
        });
        let expected: BTreeSet<Mark> = records.filter_map(|each| mark(&each.bytes)).collect();
        assert!(!expected.is_empty(), "{operation:?}");
        assert!(expected.is_subset(&marks_on(&disk)), "{operation:?}");
    }
}
