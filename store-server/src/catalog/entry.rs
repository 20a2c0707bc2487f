//! What the catalog's rows hold: [`RepoEntry`], [`SegmentEntry`], [`Deletions`]; and how that is written.
//!
//! A row is a packed Cap'n Proto message: most of its numbers are small, and most repos are.

use std::collections::HashMap;

use capnp::message::{Builder, HeapAllocator, ReaderOptions};
use capnp::serialize_packed;
use carrack_schema::cid::Codec;
use carrack_schema::wire::catalog_capnp::{
    self, repo_entry, repo_extent, segment_entry, signature,
};
use carrack_schema::{Cid, Code, Tid};

use crate::error::{Error, Result, damaged};
use crate::verdict::{Status, Verdict};

/// Most words that a row unpacks to: 512 KiB, and a row of the most extents has some 12 KiB.
const ROW_WORDS_MAX: usize = 64 << 10;

/// Name of a segment file: a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentId(pub(crate) ulid::Ulid);

impl SegmentId {
    /// Returns the file's name in the data folder.
    pub(crate) fn file(self) -> String {
        format!("segments/{}.cseg", self.0)
    }
}

/// A repo's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepoEntry {
    /// Its revisions, newest first. There is at least one, and the last is no diff.
    pub(crate) extents: Vec<ExtentEntry>,
    pub(crate) handle: String,
    pub(crate) status: Status,
    /// Rows of its deleted records. Grows with each, so that it tells whether there was another.
    pub(crate) deletions: u32,
}

/// One revision of a repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtentEntry {
    pub(crate) segment: SegmentId,
    pub(crate) rev: Option<Tid>,
    pub(crate) commit: Cid,
    /// Whether its rows are what changed since the next older one.
    pub(crate) is_diff: bool,
    pub(crate) rows: u32,
    pub(crate) tombstones: u32,
    /// Records of the repo at this revision; the next three are parts of it.
    pub(crate) records: u32,
    pub(crate) missing: u32,
    pub(crate) invalid: u32,
    pub(crate) deleted: u32,
    pub(crate) blocks: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) imported: i64,
    pub(crate) verdict: Verdict,
}

impl ExtentEntry {
    /// Says whether this is the same extent: it may be known better by now, and its rows are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.segment, self.rev, self.commit) == (other.segment, other.rev, other.commit)
    }
}

impl RepoEntry {
    /// Returns the current revision.
    pub(crate) fn head(&self) -> &ExtentEntry {
        self.extents
            .first()
            .expect("a repo's row has an extent: what has none does not decode")
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<repo_entry::Builder<'_>>();
        wire.set_deletions(self.deletions);
        if !self.handle.is_empty() {
            wire.set_handle(&self.handle);
        }
        if !self.status.as_str().is_empty() {
            wire.set_status(self.status.as_str());
        }
        let mut signatures: Vec<(&str, &[u8; 32])> = Vec::new();
        let mut extents = wire.reborrow().init_extents(count(self.extents.len()));
        for (i, extent) in (0..).zip(&self.extents) {
            let at = match &extent.verdict {
                Verdict::Valid { key, document, .. } => {
                    let pair = (key.as_str(), document);
                    let known = signatures.iter().position(|known| *known == pair);
                    known.unwrap_or_else(|| {
                        signatures.push(pair);
                        signatures.len() - 1
                    })
                }
                _ => 0,
            };
            extent.write(extents.reborrow().get(i), count(at));
        }
        if !signatures.is_empty() {
            let mut list = wire.init_signatures(count(signatures.len()));
            for (i, (key, document)) in (0..).zip(signatures) {
                let mut out = list.reborrow().get(i);
                out.set_key(key);
                out.set_document(document);
            }
        }
        pack(&message)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "a repo's row in the catalog does not parse";
        let bad = |error: capnp::Error| damaged(WHAT, error);
        let message = unpack(bytes).map_err(bad)?;
        let wire = message.get_root::<repo_entry::Reader<'_>>().map_err(bad)?;
        let text = |field: capnp::Result<capnp::text::Reader<'_>>| {
            field.and_then(|text| Ok(text.to_string()?)).map_err(bad)
        };
        let signatures = wire.get_signatures().map_err(bad)?;
        let extents = wire
            .get_extents()
            .map_err(bad)?
            .iter()
            .map(|extent| ExtentEntry::read(extent, signatures).map_err(bad))
            .collect::<Result<Vec<_>>>()?;
        if extents.last().is_none_or(|last| last.is_diff) {
            let words = format!("{WHAT}: its oldest extent is missing");
            return Err(Error::new(Code::Damaged, words));
        }
        Ok(Self {
            extents,
            handle: text(wire.get_handle())?,
            status: text(wire.get_status())?
                .parse()
                .map_err(|e| damaged(WHAT, e))?,
            deletions: wire.get_deletions(),
        })
    }
}

impl ExtentEntry {
    fn write(&self, mut wire: repo_extent::Builder<'_>, signature: u32) {
        let [high, low] = halves(self.segment.0.to_bytes());
        wire.set_segment_high(high);
        wire.set_segment_low(low);
        wire.set_rev(self.rev.map_or(0, Tid::as_u64));
        wire.set_has_rev(self.rev.is_some());
        let (digest, _) = self.commit.digest().as_chunks::<8>();
        let word = |i: usize| digest.get(i).copied().map_or(0, u64::from_be_bytes);
        wire.set_commit_a(word(0));
        wire.set_commit_b(word(1));
        wire.set_commit_c(word(2));
        wire.set_commit_d(word(3));
        wire.set_is_diff(self.is_diff);
        wire.set_rows(self.rows);
        wire.set_tombstones(self.tombstones);
        wire.set_records(self.records);
        wire.set_missing(self.missing);
        wire.set_invalid(self.invalid);
        wire.set_deleted(self.deleted);
        wire.set_blocks(self.blocks);
        wire.set_bytes_in(self.bytes_in);
        wire.set_bytes_stored(self.bytes_stored);
        wire.set_imported(self.imported);
        match &self.verdict {
            Verdict::Unchecked => wire.set_verdict(catalog_capnp::Verdict::Unchecked),
            Verdict::LegacyCommit => wire.set_verdict(catalog_capnp::Verdict::LegacyCommit),
            Verdict::Valid { checked, .. } => {
                wire.set_verdict(catalog_capnp::Verdict::Valid);
                wire.set_signature(u16::try_from(signature).unwrap_or(u16::MAX));
                wire.set_checked(*checked);
            }
        }
    }

    fn read(
        wire: repo_extent::Reader<'_>,
        signatures: capnp::struct_list::Reader<'_, signature::Owned>,
    ) -> capnp::Result<Self> {
        let odd = |what: &str| capnp::Error::failed(what.into());
        let segment =
            u128::from(wire.get_segment_high()) << 64 | u128::from(wire.get_segment_low());
        let commit = [
            wire.get_commit_a(),
            wire.get_commit_b(),
            wire.get_commit_c(),
            wire.get_commit_d(),
        ];
        let mut digest = [0; 32];
        digest.copy_from_slice(commit.map(u64::to_be_bytes).as_flattened());
        let verdict = match wire.get_verdict()? {
            catalog_capnp::Verdict::Unchecked => Verdict::Unchecked,
            catalog_capnp::Verdict::LegacyCommit => Verdict::LegacyCommit,
            catalog_capnp::Verdict::Valid => {
                let signature = signatures
                    .try_get(wire.get_signature().into())
                    .ok_or_else(|| odd("no such signature"))?;
                Verdict::Valid {
                    key: signature.get_key()?.to_string()?,
                    document: signature
                        .get_document()?
                        .try_into()
                        .map_err(|_| odd("the document has no SHA-256"))?,
                    checked: wire.get_checked(),
                }
            }
        };
        Ok(Self {
            segment: SegmentId(ulid::Ulid(segment)),
            rev: wire.get_has_rev().then(|| Tid::from_u64(wire.get_rev())),
            commit: Cid::new(Codec::DagCbor, digest),
            is_diff: wire.get_is_diff(),
            rows: wire.get_rows(),
            tombstones: wire.get_tombstones(),
            records: wire.get_records(),
            missing: wire.get_missing(),
            invalid: wire.get_invalid(),
            deleted: wire.get_deleted(),
            blocks: wire.get_blocks(),
            bytes_in: wire.get_bytes_in(),
            bytes_stored: wire.get_bytes_stored(),
            imported: wire.get_imported(),
            verdict,
        })
    }
}

/// A segment's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    /// Length of the file.
    pub(crate) bytes: u64,
    /// The shares of the extents that repos name.
    pub(crate) live_bytes: u64,
    /// How many those are.
    pub(crate) extents: u32,
    /// Until when it must be rewritten, because it holds something deleted.
    pub(crate) purge_by: Option<i64>,
    pub(crate) cold: bool,
}

impl SegmentEntry {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let mut message = Builder::<HeapAllocator>::new_default();
        let mut wire = message.init_root::<segment_entry::Builder<'_>>();
        wire.set_bytes(self.bytes);
        wire.set_live_bytes(self.live_bytes);
        wire.set_extents(self.extents);
        wire.set_purge_by(self.purge_by.unwrap_or(0));
        wire.set_cold(self.cold);
        pack(&message)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "a segment's row in the catalog does not parse";
        let bad = |error: capnp::Error| damaged(WHAT, error);
        let message = unpack(bytes).map_err(bad)?;
        let wire = message
            .get_root::<segment_entry::Reader<'_>>()
            .map_err(bad)?;
        Ok(Self {
            bytes: wire.get_bytes(),
            live_bytes: wire.get_live_bytes(),
            extents: wire.get_extents(),
            purge_by: Some(wire.get_purge_by()).filter(|by| *by != 0),
            cold: wire.get_cold(),
        })
    }
}

/// The deleted records of a repo: which block at which path nobody may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deletions(HashMap<String, Vec<Cid>>);

impl Deletions {
    pub(crate) fn insert(&mut self, path: &str, cid: Cid) {
        self.0.entry(path.to_owned()).or_default().push(cid);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether a record is one of them. `cid` is asked for only where the path may be.
    ///
    /// # Errors
    /// Those of `cid`.
    pub(crate) fn hide(&self, path: &str, cid: impl FnOnce() -> Result<Cid>) -> Result<bool> {
        match self.0.get(path) {
            Some(cids) => Ok(cids.contains(&cid()?)),
            None => Ok(false),
        }
    }

    /// Returns their paths, in no certain order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

pub(super) fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(bytes);
    [
        u64::try_from(number >> 64).unwrap_or_default(),
        u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default(),
    ]
}

/// A length that limits keep far below 2^32.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(super) fn pack(message: &Builder<HeapAllocator>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    serialize_packed::write_message(&mut bytes, message)
        .map_err(|error| Error::because(Code::Internal, "a row of the catalog", error))?;
    Ok(bytes)
}

pub(super) fn unpack(
    mut bytes: &[u8],
) -> capnp::Result<capnp::message::Reader<capnp::serialize::OwnedSegments>> {
    let options = ReaderOptions {
        traversal_limit_in_words: Some(ROW_WORDS_MAX),
        nesting_limit: 8,
    };
    serialize_packed::read_message(&mut bytes, options)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn extent(number: u64) -> ExtentEntry {
        ExtentEntry {
            segment: SegmentId(ulid::Ulid(u128::from(number) << 64 | 7)),
            rev: Some(Tid::from_u64(number)),
            commit: "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"
                .parse()
                .unwrap(),
            is_diff: false,
            rows: 1,
            tombstones: 2,
            records: 3,
            missing: 4,
            invalid: 5,
            deleted: 6,
            blocks: 7,
            bytes_in: 8,
            bytes_stored: 4,
            imported: -5,
            verdict: Verdict::Valid {
                key: "did:key:z1".into(),
                document: [7; 32],
                checked: 8,
            },
        }
    }

    pub(crate) fn entry(number: u64) -> RepoEntry {
        RepoEntry {
            extents: vec![extent(number)],
            handle: "alice.test".into(),
            status: "takendown".parse().unwrap(),
            deletions: 0,
        }
    }

    #[test]
    fn rows_round_trip() {
        let mut many = entry(3);
        many.deletions = 9;
        many.extents = (0..64)
            .map(|i| ExtentEntry {
                is_diff: i < 63,
                rev: (i > 0).then(|| Tid::from_u64(u64::MAX - i)),
                verdict: match i % 3 {
                    0 => Verdict::Unchecked,
                    1 => Verdict::LegacyCommit,
                    _ => Verdict::Valid {
                        key: format!("did:key:z{}", i % 2),
                        document: [3; 32],
                        checked: i64::MIN,
                    },
                },
                ..extent(i)
            })
            .collect();
        for entry in [entry(1), many] {
            assert_eq!(RepoEntry::decode(&entry.encode().unwrap()).unwrap(), entry);
        }
        for purge_by in [None, Some(-1)] {
            let segment = SegmentEntry {
                bytes: u64::MAX,
                live_bytes: 1,
                extents: 2,
                purge_by,
                cold: true,
            };
            let bytes = segment.encode().unwrap();
            assert_eq!(SegmentEntry::decode(&bytes).unwrap(), segment);
        }
    }

    #[test]
    fn the_row_of_an_ordinary_repo_is_small() {
        let plain = RepoEntry {
            extents: vec![ExtentEntry {
                segment: SegmentId(ulid::Ulid(u128::MAX / 3)),
                rev: Some(Tid::from_u64(u64::MAX / 5)),
                records: 100_000,
                rows: 100_000,
                blocks: 120_000,
                bytes_in: 40_000_000,
                bytes_stored: 15_000_000,
                imported: 1_764_000_000_000_000,
                verdict: Verdict::Unchecked,
                ..extent(1)
            }],
            handle: String::new(),
            status: Status::default(),
            deletions: 0,
        };
        assert!(plain.encode().unwrap().len() <= 140);
        let signed = RepoEntry {
            handle: "alice.example.com".into(),
            extents: vec![ExtentEntry {
                verdict: Verdict::Valid {
                    key: "did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w".into(),
                    document: [0xa5; 32],
                    checked: 1_764_000_000_000_000,
                },
                ..plain.head().clone()
            }],
            ..plain
        };
        assert!(signed.encode().unwrap().len() <= 280);
    }

    #[test]
    fn rows_that_do_not_parse_are_damage() {
        let segment = SegmentEntry::default().encode().unwrap();
        let mut no_base = entry(1);
        no_base.extents[0].is_diff = true;
        let no_base = no_base.encode().unwrap();
        for bytes in [&[][..], &[0xff; 64], &segment, &no_base] {
            assert_eq!(RepoEntry::decode(bytes).unwrap_err().code(), Code::Damaged);
        }
        let good = entry(1).encode().unwrap();
        for length in 0..good.len() {
            let _error_or_other = RepoEntry::decode(&good[..length]);
        }
    }
}
