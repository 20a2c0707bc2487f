//! Files that changed while nobody looked: a bit, a sector, a length, anywhere in a segment or the catalog. The store says
//! `damaged` or answers right; other repos stay readable; and importing the repo again heals it.

use std::collections::BTreeSet;

use carrack_schema::{Code, Did};
use carrack_segment::directory::mem::{Mem, SECTOR_BYTES};
use carrack_segment::{Directory, PageCache, Part, Segment};

use crate::model::{Model, STRICT, Version};
use crate::operation::{Account, Operation};
use crate::report::Report;
use crate::worlds::{NO_CODES, Worlds};
use crate::{DEFAULT_SIZES, START, open, takes_all};

/// A closed store of three repos, one of them hidden and one known by its handle.
struct Base {
    disk: Mem,
    model: Model,
    victim: Operation,
    did: Did,
    /// The victim's segment.
    segment: String,
}

fn base() -> Base {
    let disk = Mem::new();
    let victim = Version::first(60, 11);
    let did = victim.repo.did.clone();
    let account = |document, status| Account { document, status };
    let victim = Operation::import_as(&victim, account(true, None));
    let (hidden, other) = (Version::first(5, 12), Version::first(5, 13));
    let mut worlds = Worlds::one(Model::default());
    let run = |worlds: &mut Worlds, operation: &Operation| {
        let store = open(disk.clone(), DEFAULT_SIZES, START).unwrap();
        worlds.run(operation, &store, NO_CODES).unwrap().unwrap();
    };
    run(&mut worlds, &victim);
    let segment = format!("segments/{}", disk.list("segments").unwrap()[0]);
    run(
        &mut worlds,
        &Operation::import_as(&hidden, account(false, Some("takendown"))),
    );
    run(&mut worlds, &Operation::import(&other));
    Base {
        disk: disk.copy(),
        model: worlds.models()[0].clone(),
        victim,
        did,
        segment,
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { at: usize, bit: u32 },
    Zero { sector: usize },
    Length(usize),
    Gone,
}

impl Damage {
    /// Does it to a copy; none if that changes nothing.
    fn to(self, disk: &Mem, name: &str) -> Option<Mem> {
        let before = disk.map(name).unwrap();
        let disk = disk.copy();
        let file = disk.open(name).unwrap();
        match self {
            Self::Flip { at, bit } => {
                let byte = before[at] ^ 1 << bit;
                file.write_at(&[byte], at as u64).unwrap();
            }
            Self::Zero { sector } => {
                let start = sector * SECTOR_BYTES;
                let end = before.len().min(start + SECTOR_BYTES);
                file.write_at(&vec![0; end - start], start as u64).unwrap();
            }
            Self::Length(bytes) => file.set_len(bytes as u64).unwrap(),
            Self::Gone => disk.unlink(name).unwrap(),
        }
        let after = disk.copy();
        let same = after.map(name).is_ok_and(|map| *map == *before);
        (!same).then_some(after.copy())
    }
}

/// Returns damages all over a file: flips where there is anything, about `flips` of them, and the coarse ones. At both
/// ends it is every `bits`th bit.
fn damages(file: &[u8], flips: usize, bits: usize) -> Vec<Damage> {
    let used: Vec<usize> = (0..file.len()).filter(|&at| file[at] != 0).collect();
    let step = if takes_all() {
        1
    } else {
        (used.len() / flips).max(1)
    };
    let unused = (0..file.len()).step_by((file.len() / 40).max(1));
    let flips = used
        .into_iter()
        .step_by(step)
        .chain(unused)
        .map(|at| Damage::Flip {
            at,
            bit: (at % 8) as u32,
        });
    // What a file begins and ends with says how to read the rest: every byte of it.
    let bits = if takes_all() { 1 } else { bits };
    let ends = (0..64).chain(file.len().saturating_sub(64)..file.len());
    let ends = ends.flat_map(|at| {
        (0..8)
            .step_by(bits)
            .map(move |bit| Damage::Flip { at, bit })
    });
    flips
        .chain(ends)
        .chain((0..file.len().div_ceil(SECTOR_BYTES)).map(|sector| Damage::Zero { sector }))
        .chain(
            [
                0,
                1,
                64,
                4_095,
                4_096,
                file.len() / 2,
                file.len() - 64,
                file.len() - 1,
                file.len() + 8,
            ]
            .map(Damage::Length),
        )
        .chain([Damage::Gone])
        .collect()
}

#[test]
fn damage_in_a_segment_is_named_kept_to_its_repo_and_healed() {
    let base = base();
    let mut report = Report::new("damaged segments");
    let mut sections = BTreeSet::new();
    let file = base.disk.map(&base.segment).unwrap();
    for damage in damages(&file, 400, 3) {
        let Some(disk) = damage.to(&base.disk, &base.segment) else {
            continue;
        };
        sections.extend(damaged_sections(&disk, &base.segment));
        report.count("damages", 1);
        report.case(&format!("{damage:?}"), |report| {
            let store = open(disk.clone(), DEFAULT_SIZES, START).map_err(|error| error.chain())?;
            // A flipped version is another version: the one field that is read before its checksum.
            let is_version = matches!(damage, Damage::Flip { at: 8..12, .. });
            let tolerance = |did: Option<&Did>, code| {
                did == Some(&base.did)
                    && (code == Code::Damaged || (is_version && code == Code::Unavailable))
            };
            let errors = base.model.compare(&store, &tolerance)?;
            report.count("damages found by reading", usize::from(errors > 0));
            let mut worlds = Worlds::one(base.model.clone());
            let healed = worlds.run(&base.victim, &store, NO_CODES)?;
            healed.map_err(|error| error.chain())?;
            worlds
                .compare(&store, STRICT)
                .map_err(|words| format!("imported again: {words}"))?;
            drop(store);
            let store = open(disk.copy(), DEFAULT_SIZES, START).map_err(|error| error.chain())?;
            worlds
                .compare(&store, STRICT)
                .map_err(|words| format!("imported again and reopened: {words}"))?;
            Ok(())
        });
    }
    for section in SECTIONS {
        assert!(
            sections.contains(section),
            "{section} was not hit: {sections:?}"
        );
    }
    report.finish();
}

#[test]
fn damage_in_a_segment_of_many_repos_is_kept_to_those_it_touches_and_healed() {
    let mut report = Report::new("damaged merged segments");
    for cold in [false, true] {
        let base = merged(cold);
        let mut sections = BTreeSet::new();
        let mut untouched = 0;
        let file = base.disk.map(&base.segment).unwrap();
        // Each is many imports: of all damages every sixteenth takes minutes.
        let every = if takes_all() { 16 } else { 4 };
        for damage in damages(&file, 200, 8).into_iter().step_by(every) {
            let Some(disk) = damage.to(&base.disk, &base.segment) else {
                continue;
            };
            sections.extend(damaged_sections(&disk, &base.segment));
            let touched = touched(&disk, &base.segment);
            if touched
                .as_ref()
                .is_some_and(|dids| dids.len() < base.model.repos.len())
            {
                untouched += 1;
            }
            report.count("damages", 1);
            report.case(&format!("cold: {cold}, {damage:?}"), |report| {
                damage_merged(&base, &disk, damage, touched.as_ref(), report)
            });
        }
        for section in SECTIONS {
            assert!(
                sections.contains(section),
                "{section} was not hit: {sections:?}"
            );
        }
        assert!(untouched > 3, "{untouched} damages left some repos alone");
        report.count("damages that left repos alone", untouched);
    }
    report.finish();
}

const SECTIONS: [&str; 6] = [
    "header",
    "page 0",
    "dictionary",
    "index",
    "footer",
    "trailer",
];

/// As [`base`], with all repos in one segment, and one that has two revisions there.
fn merged(cold: bool) -> Base {
    let mut base = base();
    let (one, many) = (Version::first(30, 14), Version::first(90, 15));
    let mut worlds = Worlds::one(base.model.clone());
    let store = open(base.disk.clone(), DEFAULT_SIZES, START).unwrap();
    for operation in [
        Operation::import(&one),
        Operation::import(&one.next(1)),
        Operation::import(&many),
        Operation::compact(cold),
    ] {
        worlds.run(&operation, &store, NO_CODES).unwrap().unwrap();
    }
    drop(store);
    base.disk = base.disk.copy();
    let segments = base.disk.list("segments").unwrap();
    assert_eq!(segments.len(), 1);
    base.segment = format!("segments/{}", segments[0]);
    base.model = worlds.models()[0].clone();
    base
}

fn damage_merged(
    base: &Base,
    disk: &Mem,
    damage: Damage,
    touched: Option<&BTreeSet<Did>>,
    report: &mut Report,
) -> Result<(), String> {
    let is_version = matches!(damage, Damage::Flip { at: 8..12, .. });
    let tolerance = |did: Option<&Did>, code| {
        did.is_some_and(|did| touched.is_none_or(|touched| touched.contains(did)))
            && (code == Code::Damaged || (is_version && code == Code::Unavailable))
    };
    let store = open(disk.clone(), DEFAULT_SIZES, START).map_err(|error| error.chain())?;
    let errors = base.model.compare(&store, &tolerance)?;
    report.count("damages found by reading", usize::from(errors > 0));
    if errors == 0 && touched.is_none_or(|touched| !touched.is_empty()) {
        report.count("damages found by the check alone", 1);
    }
    // A compaction saves the others, and is stopped by none.
    if let Err(error) = store.compact(false, None)
        && error.code() != Code::Damaged
        && !is_version
    {
        return Err(format!("compact: {}: {}", error.code(), error.chain()));
    }
    base.model
        .compare(&store, &tolerance)
        .map_err(|words| format!("compacted: {words}"))?;
    // An import over a revision that cannot be read lets go of it, and of those below.
    let healed = |did: Option<&Did>, code| did.is_some() && code == Code::RevNotRetained;
    let mut worlds = Worlds::one(base.model.clone());
    for stored in base.model.repos.values() {
        let head = stored.head();
        let account = Account {
            document: head.verified,
            status: None,
        };
        let import = Operation::import_as(&head.version, account);
        let answer = worlds.run(&import, &store, NO_CODES)?;
        answer.map_err(|error| error.chain())?;
    }
    // The oldest of two may be in the damaged part although the newest is not.
    let either = |did: Option<&Did>, code| healed(did, code) || tolerance(did, code);
    let heads = heads(&base.model);
    heads
        .compare(&store, STRICT)
        .map_err(|words| format!("imported again: {words}"))?;
    drop(store);
    let store = open(disk.copy(), DEFAULT_SIZES, START).map_err(|error| error.chain())?;
    heads
        .compare(&store, STRICT)
        .map_err(|words| format!("imported again and reopened: {words}"))?;
    base.model.compare(&store, &either).map(|_| ())
}

/// Returns a model without its older revisions.
fn heads(model: &Model) -> Model {
    let mut heads = model.clone();
    for stored in heads.repos.values_mut() {
        stored.revisions.truncate(1);
    }
    heads
}

/// Returns the repos that the damage in a segment may touch, by its own check; none if it may be all of them.
fn touched(disk: &Mem, name: &str) -> Option<BTreeSet<Did>> {
    let segment = Segment::open(disk, name, &PageCache::new(0)).ok()?;
    let mut dids = BTreeSet::new();
    let did_of = |key: &[u8]| {
        let did = key.split(|&byte| byte == 0).next().unwrap_or_default();
        std::str::from_utf8(did).unwrap().parse::<Did>().unwrap()
    };
    for fault in segment.check() {
        match fault.part {
            Part::Dictionary => return None,
            Part::Index(key) => {
                dids.insert(did_of(&key));
            }
            Part::Page(page) => {
                let extents = segment.extents();
                let touching: Vec<_> = extents
                    .filter(|extent| extent.touches(page).unwrap_or(true))
                    .collect();
                // Nodes are of no row.
                if touching.is_empty() {
                    return None;
                }
                dids.extend(touching.iter().map(|extent| did_of(extent.key())));
            }
        }
    }
    Some(dids)
}

/// Returns what the segment's own check names.
fn damaged_sections(disk: &Mem, name: &str) -> Vec<String> {
    let errors = match Segment::open(disk, name, &PageCache::new(0)) {
        Ok(segment) => segment
            .check()
            .into_iter()
            .map(|fault| fault.error)
            .collect(),
        Err(error) => vec![error],
    };
    let section = |error: carrack_segment::Error| {
        let words = error.to_string();
        let (_, rest) = words.split_once("section=`")?;
        Some(rest.split_once('`')?.0.to_owned())
    };
    errors.into_iter().filter_map(section).collect()
}

#[test]
fn damage_in_the_catalog_is_found_or_harmless() {
    let base = base();
    let mut report = Report::new("damaged catalogs");
    let file = base.disk.map("catalog.redb").unwrap();
    for damage in damages(&file, 700, 3) {
        let Some(disk) = damage.to(&base.disk, "catalog.redb") else {
            continue;
        };
        report.count("damages", 1);
        report.case(&format!("{damage:?}"), |report| {
            let segments = disk.list("segments").unwrap();
            match open(disk.clone(), DEFAULT_SIZES, START) {
                Err(error) if error.code() == Code::Damaged => {
                    report.count("openings that found it", 1);
                }
                // The versions of redb's two commit slots, which it reads before their checksums.
                Err(error)
                    if error.code() == Code::Unavailable
                        && matches!(damage, Damage::Flip { at: 64 | 192, .. }) => {}
                Err(error) => return Err(format!("{}: {}", error.code(), error.chain())),
                Ok(store) => {
                    let errors = base
                        .model
                        .compare(&store, &|_, code| code == Code::Damaged)?;
                    report.count("damages found by reading", usize::from(errors > 0));
                }
            }
            // Whatever became of the catalog, the records are there to be saved.
            if disk.list("segments").unwrap() != segments {
                return Err("segments were removed for a damaged catalog".into());
            }
            Ok(())
        });
    }
    report.finish();
}
