//! [`RepoSpec`] → [`Repo`]: a signed repo made from a seed.
//!
//! A repo holds its blocks in memory: about twice the size of its export. Tests change repos by
//! [`Repo::next_version`] and [`Repo::fork`], and break them by [`crate::damage`].

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use carrack_schema::{Cid, Did, Tid};

use crate::car;
use crate::cbor::cid_of;
use crate::commit;
use crate::content::{Author, Mix};
use crate::key::{Curve, Key};
use crate::mst::{self, Item, Leaf, Tree};
use crate::order::Order;
use crate::rng::Rng;
use crate::text::{plc_did, tid};

/// When the first record is written: 2023-07-22.
const START_MICROS: u64 = 1_690_000_000_000_000;

/// Within which time all records are written: two years, so that no revision is in the future.
const SPAN_MICROS: u64 = 2 * 365 * 86_400 * 1_000_000;

/// The clock id in a generated repo's revisions.
const REV_CLOCK_ID: u64 = 7;

/// What repo to make; equal specs make equal repos.
#[derive(Clone, Debug)]
pub struct RepoSpec {
    /// Number of records; 0 makes the empty repo.
    pub records: usize,
    /// The seed of everything random: DID, key, records.
    pub seed: u64,
    /// The curve of the signing key.
    pub curve: Curve,
    /// What the records are.
    pub mix: Mix,
    /// The repo's DID; by default a `did:plc` of the seed.
    pub did: Option<Did>,
    /// Paths and blocks of records besides the random ones; need not be valid in any way but be unique.
    pub extra: Vec<(String, Vec<u8>)>,
}

impl Default for RepoSpec {
    /// A hundred records of every kind, seed 1, secp256k1.
    fn default() -> Self {
        Self {
            records: 100,
            seed: 1,
            curve: Curve::K256,
            mix: Mix::VARIED,
            did: None,
            extra: Vec::new(),
        }
    }
}

impl RepoSpec {
    /// Makes the repo.
    ///
    /// # Panics
    /// If two records have one path, or if there are records to make and the mix has no weights.
    pub fn build(&self) -> Repo {
        let mut rng = Rng::new(self.seed);
        let key = Key::random(self.curve, &mut rng);
        let did = self.did.clone();
        let did = did.unwrap_or_else(|| plc_did(&mut rng).parse().expect("made in a DID's form"));
        let mut now = START_MICROS;
        let mut records = Vec::with_capacity(self.records + self.extra.len());
        if self.records > 0 {
            let step = SPAN_MICROS / (self.records as u64 + 1);
            let mut author = Author::new(Rng::new(rng.next_u64()), self.mix, self.records);
            for _ in 0..self.records {
                now += 1 + rng.below(step);
                let (path, value) = author.write(now);
                records.push(Record::new(path, tid(now, REV_CLOCK_ID), &value.encode()));
            }
        }
        for (path, bytes) in &self.extra {
            now += 1;
            records.push(Record::new(path.clone(), tid(now, REV_CLOCK_ID), bytes));
        }
        records.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Repo::assemble(did, key, tid(now, REV_CLOCK_ID), records, &HashMap::new())
    }
}

/// A record at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `collection/rkey`.
    pub path: String,
    /// The block's CID.
    pub cid: Cid,
    /// The revision that wrote it.
    pub rev: Tid,
    /// The block.
    pub bytes: Arc<[u8]>,
}

impl Record {
    pub(crate) fn new(path: String, rev: Tid, bytes: &[u8]) -> Self {
        Self {
            path,
            cid: cid_of(bytes),
            rev,
            bytes: bytes.into(),
        }
    }
}

/// What a block of a repo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// The commit.
    Commit,
    /// A node of the tree.
    Node,
    /// A record.
    Record,
}

/// A block of a repo.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Its CID.
    pub cid: Cid,
    /// The revision that wrote it, as a PDS would remember it.
    pub rev: Tid,
    /// What it is.
    pub kind: BlockKind,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A signed repo with all its blocks.
#[derive(Clone, Debug)]
pub struct Repo {
    /// The account.
    pub did: Did,
    /// The revision.
    pub rev: Tid,
    /// The CID of the commit block: the root of an export.
    pub commit_cid: Cid,
    /// The CID of the tree's root: the commit's `data`.
    pub root: Cid,
    /// The public key as `did:key:z…`.
    pub did_key: String,
    /// The account's DID document, as JSON.
    pub did_doc: String,
    /// The records, sorted by path.
    pub records: Vec<Record>,
    pub(crate) key: Key,
    pub(crate) tree: Tree,
    commit: Vec<u8>,
    /// The revision of each node, in the order of `tree.nodes`.
    node_revs: Vec<Tid>,
}

impl Repo {
    /// Builds tree and commit over sorted records. Nodes found in `known` keep the revision they have there.
    pub(crate) fn assemble(
        did: Did,
        key: Key,
        rev: Tid,
        records: Vec<Record>,
        known: &HashMap<Cid, Tid>,
    ) -> Self {
        assert!(
            records.is_sorted_by(|a, b| a.path < b.path),
            "records are sorted and no two have one path"
        );
        let tree = mst::build(&leaves_of(&records));
        let node_revs = tree
            .nodes
            .iter()
            .map(|node| match known.get(&node.cid) {
                Some(rev) => *rev,
                None if known.is_empty() => newest_rev(&records, node).unwrap_or(rev),
                None => rev,
            })
            .collect();
        let fields = commit::fields(did.as_str(), &rev.to_string(), tree.root);
        let commit = commit::signed(fields, &key);
        Self {
            rev,
            commit_cid: cid_of(&commit),
            root: tree.root,
            did_key: key.did_key(),
            did_doc: key.did_doc(&did),
            did,
            records,
            key,
            tree,
            commit,
            node_revs,
        }
    }

    /// Returns the DID document in its older form, with an uncompressed key.
    pub fn did_doc_legacy(&self) -> String {
        self.key.did_doc_legacy(&self.did)
    }

    /// Returns the record at a path.
    pub fn record(&self, path: &str) -> Option<&Record> {
        let at = self
            .records
            .binary_search_by(|record| record.path.as_str().cmp(path))
            .ok()?;
        self.records.get(at)
    }

    /// Returns all blocks in pre-order, each once.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let commit = Block {
            cid: self.commit_cid,
            rev: self.rev,
            kind: BlockKind::Commit,
            bytes: &self.commit,
        };
        let walk = self.tree.walk.iter().map(|item| match *item {
            Item::Node(i) => {
                let node = &self.tree.nodes[i];
                let (rev, kind) = (self.node_revs[i], BlockKind::Node);
                Block {
                    cid: node.cid,
                    rev,
                    kind,
                    bytes: &node.bytes,
                }
            }
            Item::Leaf(i) => {
                let record = &self.records[i];
                let (rev, kind) = (record.rev, BlockKind::Record);
                Block {
                    cid: record.cid,
                    rev,
                    kind,
                    bytes: &record.bytes,
                }
            }
        });
        let mut seen = HashSet::with_capacity(self.tree.walk.len() + 1);
        [commit]
            .into_iter()
            .chain(walk)
            .filter(|block| seen.insert(block.cid))
            .collect()
    }

    /// Returns the full export.
    pub fn car(&self, order: Order) -> Vec<u8> {
        let mut car = Vec::new();
        self.write_car(order, &mut car)
            .expect("memory takes all writes");
        car
    }

    /// Writes the full export. Many small writes: give it a buffered writer.
    ///
    /// # Errors
    /// If the writer fails.
    pub fn write_car(&self, order: Order, out: &mut impl Write) -> io::Result<()> {
        let mut blocks = self.blocks();
        order.apply(&mut blocks);
        self.write_blocks(&blocks, out)
    }

    /// Returns what a PDS answers when asked for the changes after a revision: the blocks written since, in the
    /// order of the PDS. Not a full repo.
    pub fn car_since(&self, since: Tid) -> Vec<u8> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.rev > since);
        Order::Pds.apply(&mut blocks);
        let mut car = Vec::new();
        self.write_blocks(&blocks, &mut car)
            .expect("memory takes all writes");
        car
    }

    fn write_blocks(&self, blocks: &[Block<'_>], out: &mut impl Write) -> io::Result<()> {
        out.write_all(&car::header(&[self.commit_cid]))?;
        for block in blocks {
            car::write_section(out, &block.cid, block.bytes)?;
        }
        Ok(())
    }

    /// Returns the revision of each node.
    pub(crate) fn node_revs(&self) -> HashMap<Cid, Tid> {
        self.tree
            .nodes
            .iter()
            .map(|node| node.cid)
            .zip(self.node_revs.iter().copied())
            .collect()
    }
}

/// Returns the tree's leaves for sorted records.
pub(crate) fn leaves_of(records: &[Record]) -> Vec<Leaf<'_>> {
    records
        .iter()
        .map(|record| Leaf {
            key: record.path.as_bytes(),
            cid: record.cid,
        })
        .collect()
}

/// Returns the newest revision among the records below a node and its two neighbours, which is when a repo that
/// grew by one record a commit wrote the node last.
fn newest_rev(records: &[Record], node: &mst::Node) -> Option<Tid> {
    let first = node.span.start.saturating_sub(1);
    let end = records.len().min(node.span.end + 1);
    records[first..end].iter().map(|record| record.rev).max()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use carrack_schema::RecordPath;

    use super::*;

    #[test]
    fn same_seed_same_bytes() {
        for curve in [Curve::K256, Curve::P256] {
            let spec = RepoSpec {
                records: 300,
                seed: 5,
                curve,
                ..RepoSpec::default()
            };
            let (one, two) = (spec.build(), spec.build());
            for order in [Order::PreOrder, Order::Pds, Order::Shuffled(1)] {
                assert_eq!(one.car(order), two.car(order), "{order:?}");
            }
            assert_eq!(one.did_doc, two.did_doc);
            let other = RepoSpec { seed: 6, ..spec }.build();
            assert_ne!(one.did, other.did);
            assert_ne!(one.root, other.root);
        }
    }

    #[test]
    fn orders_have_the_same_blocks_each_once() {
        let repo = RepoSpec {
            records: 400,
            ..RepoSpec::default()
        }
        .build();
        let sections = |order| {
            let car = repo.car(order);
            assert_eq!(car::roots(&car), [repo.commit_cid]);
            let cids: Vec<Cid> = car::blocks(&car).iter().map(|block| block.cid).collect();
            let set: BTreeSet<Cid> = cids.iter().copied().collect();
            assert_eq!(cids.len(), set.len(), "{order:?} repeats a block");
            (cids, set)
        };
        let (pre, expected) = sections(Order::PreOrder);
        assert_eq!(pre[..2], [repo.commit_cid, repo.root]);
        for order in [Order::Pds, Order::Shuffled(1), Order::Shuffled(2)] {
            let (cids, set) = sections(order);
            assert_eq!(set, expected, "{order:?}");
            assert_ne!(cids, pre, "{order:?}");
        }
    }

    #[test]
    fn every_block_hashes_to_its_cid() {
        let car = RepoSpec::default().build().car(Order::Pds);
        for block in car::blocks(&car) {
            assert_eq!(cid_of(&car[block.payload]), block.cid);
        }
    }

    #[test]
    fn empty_repo_is_a_commit_and_a_node() {
        let repo = RepoSpec {
            records: 0,
            ..RepoSpec::default()
        }
        .build();
        assert_eq!(repo.blocks().len(), 2);
        assert_eq!(
            repo.root.to_string(),
            "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
        );
    }

    #[test]
    fn varied_mix_has_what_it_promises() {
        let repo = RepoSpec {
            records: 1_000,
            ..RepoSpec::default()
        }
        .build();
        assert_eq!(repo.records.len(), 1_000);
        let mut rkeys_tid = 0;
        for record in &repo.records {
            let path: RecordPath = record.path.parse().expect("generated paths are valid");
            rkeys_tid += usize::from(path.rkey.as_str().parse::<Tid>().is_ok());
        }
        assert!(
            (500..990).contains(&rkeys_tid),
            "{rkeys_tid} of 1,000 record keys are TIDs"
        );
        let cids: BTreeSet<Cid> = repo.records.iter().map(|record| record.cid).collect();
        assert!(
            cids.len() < repo.records.len(),
            "some block has several paths"
        );
        for collection in crate::content::NEIGHBOURS {
            let of_it = |record: &Record| record.path.starts_with(&format!("{collection}/"));
            assert!(repo.records.iter().any(of_it), "{collection}");
        }
    }

    #[test]
    fn small_repos_have_every_kind() {
        let repo = RepoSpec {
            records: 8,
            ..RepoSpec::default()
        }
        .build();
        let collections: BTreeSet<&str> = repo
            .records
            .iter()
            .filter_map(|record| record.path.split('/').next())
            .collect();
        assert_eq!(collections.len(), 8);
    }

    #[test]
    fn extra_records_are_kept_as_they_are() {
        let extra = vec![("com.example.odd/1".to_owned(), b"not CBOR".to_vec())];
        let repo = RepoSpec {
            records: 20,
            extra,
            ..RepoSpec::default()
        }
        .build();
        let record = repo.record("com.example.odd/1").expect("it was given");
        assert_eq!(&*record.bytes, b"not CBOR");
        assert_eq!(record.rev, repo.rev);
    }
}
