//! [`all`]: a repo's export with one thing wrong, or unusual, in every way the kit knows.
//!
//! Damage to bytes (`container`) leaves everything else as it was. Damage to structure (`tree`, `root`) is built
//! from the inside: every hash is right and the commit is signed over the wrong tree, so that only a check of the
//! structure can find it. Some variants are odd but legal, and must be accepted.

mod container;
mod root;
mod tree;

use carrack_schema::{Cid, Code};

use crate::car;
use crate::repo::Repo;

pub use root::legacy_commit;

/// Fewest records of a repo to damage: with this many, its tree has several layers.
pub const RECORDS_MIN: usize = 100;

/// A variant of an export.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// What was done, in words joined by hyphens; unique among the variants.
    pub name: &'static str,
    /// What an importer must do with it.
    pub expect: Expect,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Damaged {
    fn new(name: &'static str, expect: Expect, bytes: Vec<u8>) -> Self {
        Self {
            name,
            expect,
            bytes,
        }
    }
}

/// What an importer must do with a file, when asked to import it as a full export of the original's DID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Accept it: commit and records are those of the original.
    Same,
    /// Accept it: it is another commit, with this many records.
    Valid {
        /// Number of records.
        records: usize,
    },
    /// Find that the commit's signature is not one by the repo's key; all else is in order.
    BadSignature,
    /// Refuse it with one of these codes; where several are named, the rule broken first is a matter of taste.
    Refused(&'static [Code]),
}

const BAD_HASH: Expect = Expect::Refused(&[Code::BadHash]);
const BAD_STRUCTURE: Expect = Expect::Refused(&[Code::BadStructure]);
const INCOMPLETE: Expect = Expect::Refused(&[Code::Incomplete]);

/// Returns every variant. The same repo gives the same variants.
///
/// # Panics
/// If the repo has fewer than [`RECORDS_MIN`] records.
pub fn all(repo: &Repo) -> Vec<Damaged> {
    assert!(
        repo.records.len() >= RECORDS_MIN,
        "damage needs a repo of at least {RECORDS_MIN} records, this one has {}",
        repo.records.len()
    );
    let mut variants = container::variants(repo);
    variants.extend(root::variants(repo));
    variants.extend(tree::variants(repo));
    variants
}

/// Returns the file with one bit of a byte inverted; bit 0 is the lowest.
///
/// # Panics
/// If the byte or the bit is not there.
pub fn flip_bit(car: &[u8], offset: usize, bit: u32) -> Vec<u8> {
    assert!(bit < 8, "a byte has bits 0 to 7");
    let mut car = car.to_vec();
    car[offset] ^= 1 << bit;
    car
}

/// Returns the file without any block of this CID.
///
/// # Panics
/// If the file is not well-formed or does not have the block.
pub fn without_block(car: &[u8], cid: &Cid) -> Vec<u8> {
    let mut rest = car[car::header_range(car)].to_vec();
    for section in car::blocks(car) {
        if section.cid != *cid {
            rest.extend_from_slice(&car[section.range]);
        }
    }
    assert!(rest.len() < car.len(), "no block of cid=`{cid}`");
    rest
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::cbor::cid_of;
    use crate::{Curve, Mix, Order, RepoSpec};

    /// Enough to meet trees of unusual forms, few enough for a debug build.
    const SEEDS: u64 = 12;

    #[test]
    fn variants_have_names_of_their_own_and_differ_from_the_original() {
        for seed in 0..SEEDS {
            for mix in [Mix::SOCIAL, Mix::VARIED] {
                let spec = RepoSpec {
                    records: RECORDS_MIN,
                    seed,
                    mix,
                    ..RepoSpec::default()
                };
                let repo = spec.build();
                let car = repo.car(Order::PreOrder);
                let (mut names, mut files) = (HashSet::new(), HashSet::from([car]));
                for damaged in all(&repo) {
                    assert!(
                        names.insert(damaged.name),
                        "two variants `{}`",
                        damaged.name
                    );
                    assert!(
                        files.insert(damaged.bytes),
                        "seed {seed}: `{}`",
                        damaged.name
                    );
                }
            }
        }
    }

    #[test]
    fn accepted_and_structural_variants_have_right_hashes() {
        let repo = RepoSpec {
            curve: Curve::P256,
            ..RepoSpec::default()
        }
        .build();
        let structural = tree::variants(&repo)
            .into_iter()
            .chain(root::variants(&repo));
        let accepted = container::variants(&repo)
            .into_iter()
            .filter(|damaged| matches!(damaged.expect, Expect::Same | Expect::Valid { .. }));
        for Damaged { name, bytes, .. } in structural.chain(accepted) {
            let sections = car::blocks(&bytes);
            let root = car::roots(&bytes)[0];
            assert!(sections.iter().any(|section| section.cid == root), "{name}");
            for section in sections {
                let hashed = Cid::new(
                    section.cid.codec(),
                    *cid_of(&bytes[section.payload]).digest(),
                );
                assert_eq!(hashed, section.cid, "{name}");
            }
        }
    }

    #[test]
    fn same_means_no_block_of_the_original_is_missing() {
        let repo = RepoSpec::default().build();
        let original = repo.blocks();
        for Damaged {
            name,
            expect,
            bytes,
        } in all(&repo)
        {
            if expect == Expect::Same {
                let have: HashSet<Cid> = car::blocks(&bytes)
                    .iter()
                    .map(|section| section.cid)
                    .collect();
                assert!(
                    original.iter().all(|block| have.contains(&block.cid)),
                    "{name}"
                );
            }
        }
    }
}
