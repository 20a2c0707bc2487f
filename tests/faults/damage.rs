//! Files that changed while nobody looked: a bit, a sector, a length, anywhere in a segment or the catalog. The store says
//! `damaged` or answers right; other repos stay readable; and importing the repo again heals it.

use std::collections::BTreeSet;

use carrack_schema::{Code, Did};
use carrack_segment::directory::mem::{Mem, SECTOR_BYTES};
use carrack_segment::{Directory, PageCache, Segment};

use crate::model::{Model, STRICT, Version};
use crate::operation::{Account, Operation};
use crate::report::Report;
use crate::worlds::{NO_CODES, Worlds};
use crate::{open, takes_all, workload};

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
        let store = open(disk.clone(), workload::MEMORY).unwrap();
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

/// Returns damages all over a file: flips where there is anything, about `flips` of them, and the coarse ones.
fn damages(file: &[u8], flips: usize) -> Vec<Damage> {
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
    let bits = if takes_all() { 1 } else { 3 };
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
    for damage in damages(&file, 400) {
        let Some(disk) = damage.to(&base.disk, &base.segment) else {
            continue;
        };
        sections.extend(damaged_sections(&disk, &base.segment));
        report.count("damages", 1);
        report.case(&format!("{damage:?}"), |report| {
            let store = open(disk.clone(), workload::MEMORY).map_err(|error| error.chain())?;
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
            let store = open(disk.copy(), workload::MEMORY).map_err(|error| error.chain())?;
            worlds
                .compare(&store, STRICT)
                .map_err(|words| format!("imported again and reopened: {words}"))?;
            Ok(())
        });
    }
    for section in [
        "header",
        "page 0",
        "dictionary",
        "index",
        "footer",
        "trailer",
    ] {
        assert!(
            sections.contains(section),
            "{section} was not hit: {sections:?}"
        );
    }
    report.finish();
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
    for damage in damages(&file, 700) {
        let Some(disk) = damage.to(&base.disk, "catalog.redb") else {
            continue;
        };
        report.count("damages", 1);
        report.case(&format!("{damage:?}"), |report| {
            let segments = disk.list("segments").unwrap();
            match open(disk.clone(), workload::MEMORY) {
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
