//! [`Store::check`]: reads all that a store holds and says what is damaged, whom it touches, and what is left.
//!
//! It goes through the files the catalog names, then through the repos. It must never write, nor stop at damage: each
//! damaged part is a [`Finding`], told as soon as it is known. Imports, merges and deletions go on meanwhile; what went
//! away under the check is no damage. Memory is bounded by the largest repo (36 bytes a row of its revisions) and by
//! the repos that damage touches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use carrack_repack::head::{extent_key, split_extent_key};
use carrack_repack::{Dictionary, RepoHead, Vocabulary};
use carrack_repo::commit::AnyCommit;
use carrack_repo::{ErrorKind, Rows, TreePlan, VerifiedRef};
use carrack_schema::limits::FINDING_REPOS_MAX;
use carrack_schema::{Cid, Code, Did};
use carrack_segment::{Directory, Extent, Fault, PageCache, Part, Segment};

use crate::catalog::{ExtentEntry, RepoEntry, SegmentEntry, SegmentId};
use crate::chain::{Chain, Link, RowTable};
use crate::error::{Error, Result, damaged};
use crate::store::Store;

/// Records between two looks at whether the check should go on.
const RECORDS_A_LOOK: u64 = 1_024;
/// Repos that are taken from the catalog in one go.
const REPOS_A_READ: usize = 256;
/// Bytes of decompressed pages that the check of a file keeps: it reads each page once.
const CACHE_BYTES: usize = 1 << 20;

/// A damaged part of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, by its name in the data folder.
    pub file: String,
    /// Which part: `file`, `dictionary`, `page N`, `index`; or of a revision in it: `extent`, `rows`, `tree`, `commit`,
    /// `nodes`.
    pub section: String,
    /// What is wrong.
    pub words: String,
    /// The repos it touches, ascending, up to [`FINDING_REPOS_MAX`].
    pub repos: Vec<Did>,
    /// How many it touches.
    pub repos_count: u64,
    /// What can still be read.
    pub readable: String,
}

/// What a check went through; all is well if there are no findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Segment files.
    pub segments: u64,
    /// Repos.
    pub repos: u64,
    /// Revisions whose trees were rebuilt; 0 if the check was quick.
    pub revisions: u64,
    /// Records that were decoded; 0 if the check was quick.
    pub records: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Damaged parts.
    pub findings: u64,
    /// Repos they touch.
    pub repos_damaged: u64,
}

/// What a check goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckPhase {
    /// Segment files.
    Segments,
    /// Repos.
    Repos,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckProgress {
    /// What it goes through.
    pub phase: CheckPhase,
    /// How many it is done with.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Records that were decoded.
    pub records: u64,
}

/// What a check tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckEvent {
    /// How far it is.
    Progress(CheckProgress),
    /// What it found.
    Found(Finding),
}

impl Store {
    /// Reads everything and tells what is damaged: of each file its frame, all checksums, indexes, dictionary and shapes;
    /// of each repo that its revisions are where the catalog says. Unless it is `quick`, also decodes every row, rebuilds
    /// the tree of each revision that is retained and compares its root with the one that the commit signs, and the
    /// commit's hash with its CID. Trees of repos that a damaged file touches are not rebuilt.
    ///
    /// `tell` is called often, and stops the check by saying false.
    ///
    /// # Errors
    /// Damage is none, unless it is the catalog's. `unavailable` if the check was stopped or the store is closing; the
    /// disk's.
    pub fn check(
        &self,
        quick: bool,
        tell: &mut dyn FnMut(CheckEvent) -> bool,
    ) -> Result<CheckReport> {
        let mut check = Check {
            store: self,
            tell,
            report: CheckReport::default(),
            touched: HashSet::new(),
            progress: CheckProgress {
                phase: CheckPhase::Segments,
                done: 0,
                total: 0,
                records: 0,
            },
        };
        check.segments()?;
        check.repos(quick)?;
        check.report.records = check.progress.records;
        check.report.repos_damaged = check.touched.len() as u64;
        Ok(check.report)
    }
}

struct Check<'a> {
    store: &'a Store,
    tell: &'a mut dyn FnMut(CheckEvent) -> bool,
    report: CheckReport,
    /// Repos that findings name.
    touched: HashSet<Did>,
    progress: CheckProgress,
}

/// The repos that a finding touches.
#[derive(Default)]
struct Touched(BTreeSet<Did>);

impl Check<'_> {
    /// Says how far the check is, and whether it should go on.
    fn look(&mut self) -> Result<()> {
        self.store.check_open()?;
        self.tell(CheckEvent::Progress(self.progress))
    }

    fn tell(&mut self, event: CheckEvent) -> Result<()> {
        if (self.tell)(event) {
            return Ok(());
        }
        Err(Error::new(Code::Unavailable, "the check was stopped"))
    }

    fn found(
        &mut self,
        file: String,
        section: &str,
        words: String,
        touched: Touched,
        readable: &str,
    ) -> Result<()> {
        let Touched(repos) = touched;
        self.touched.extend(repos.iter().cloned());
        self.report.findings += 1;
        self.tell(CheckEvent::Found(Finding {
            file,
            section: section.to_owned(),
            words,
            repos_count: repos.len() as u64,
            repos: repos.into_iter().take(FINDING_REPOS_MAX).collect(),
            readable: readable.to_owned(),
        }))
    }

    // --- files

    fn segments(&mut self) -> Result<()> {
        let segments = self.store.inner().catalog.segments()?;
        self.progress.total = segments.len() as u64;
        let mut lost = BTreeMap::new();
        for (id, entry) in &segments {
            self.look()?;
            match self.open(*id, entry) {
                Ok(segment) => self.segment(*id, &segment)?,
                Err(error) if error.code() != Code::Damaged => return Err(error),
                Err(error) if self.store.inner().catalog.names(*id)? => {
                    lost.insert(*id, error.chain());
                }
                // A merge replaced it meanwhile.
                Err(_) => {}
            }
            self.progress.done += 1;
        }
        self.look()?;
        self.lost(lost)
    }

    /// Opens a file anew: what was checked when a reader opened it may be damaged by now.
    fn open(&mut self, id: SegmentId, entry: &SegmentEntry) -> Result<Segment> {
        let (file, cache) = (id.file(), PageCache::new(CACHE_BYTES));
        let segment = Segment::open(&*self.store.inner().directory, &file, &cache);
        let segment = segment.map_err(|error| match error.kind() {
            // The catalog names no file of another version, so it is one that was sound before.
            carrack_segment::ErrorKind::Unsupported => damaged("segment", error),
            _ => error.into(),
        })?;
        if segment.id() != id.0.to_bytes() || segment.bytes() != entry.bytes {
            let words = format!("{file} is another file than the catalog says");
            return Err(Error::new(Code::Damaged, words));
        }
        self.report.segments += 1;
        self.report.bytes += segment.bytes();
        Ok(segment)
    }

    /// Tells of files that cannot be opened.
    fn lost(&mut self, lost: BTreeMap<SegmentId, String>) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        let mut touched: HashMap<SegmentId, Touched> = HashMap::new();
        self.store.inner().catalog.repos_after("", |did, entry| {
            for extent in &entry.extents {
                if lost.contains_key(&extent.segment)
                    && let Ok(did) = did.parse()
                {
                    touched.entry(extent.segment).or_default().0.insert(did);
                }
            }
            true
        })?;
        for (id, words) in lost {
            let touched = touched.remove(&id).unwrap_or_default();
            let readable = "other files; of these repos what is in them";
            self.report.segments += 1;
            self.found(id.file(), "file", words, touched, readable)?;
        }
        Ok(())
    }

    /// Checks all parts of a file.
    fn segment(&mut self, id: SegmentId, segment: &Segment) -> Result<()> {
        let faults = segment.check();
        if faults.is_empty() {
            return match unreadable_shape(segment)? {
                None => Ok(()),
                Some(words) => self.dictionary(id, segment, words),
            };
        }
        let mut pages = BTreeMap::new();
        for fault in faults {
            let words = own_words(&fault, segment.name());
            match fault.part {
                Part::Dictionary => self.dictionary(id, segment, words)?,
                Part::Index(key) => {
                    let touched = self.named(id, segment.extent(&key))?;
                    let readable =
                        "the other repos of the file; of this one revisions that do not need this";
                    self.found(id.file(), "index", words, touched, readable)?;
                }
                Part::Page(number) => {
                    pages.insert(number, words);
                }
            }
        }
        self.pages(id, segment, pages)
    }

    fn dictionary(&mut self, id: SegmentId, segment: &Segment, words: String) -> Result<()> {
        let touched = self.named(id, segment.extents())?;
        let readable = "records that are kept as they are; names and CIDs of missing records";
        self.found(id.file(), "dictionary", words, touched, readable)
    }

    /// Tells of damaged pages, once all extents were asked which of them they touch.
    fn pages(
        &mut self,
        id: SegmentId,
        segment: &Segment,
        pages: BTreeMap<u32, String>,
    ) -> Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        let mut touched: BTreeMap<u32, Touched> = BTreeMap::new();
        let mut node_pages: BTreeSet<u32> = BTreeSet::new();
        for extent in segment.extents() {
            let Touched(dids) = self.named(id, [extent])?;
            let Some(did) = dids.into_iter().next() else {
                continue;
            };
            // Whose head does not parse is found with its repo.
            let nodes = RepoHead::decode(extent.head()).map_or(0..0, |head| {
                head.first_node_page..head.first_node_page.saturating_add(head.node_pages)
            });
            let mut hit: BTreeSet<u32> = pages
                .keys()
                .copied()
                .filter(|page| nodes.contains(page))
                .collect();
            node_pages.extend(&hit);
            match extent.index() {
                Ok(index) => hit.extend(
                    index
                        .places()
                        .map(|place| place.page)
                        .filter(|page| pages.contains_key(page)),
                ),
                // It may be in any.
                Err(_) => hit.extend(pages.keys()),
            }
            for page in hit {
                touched.entry(page).or_default().0.insert(did.clone());
            }
        }
        for (page, words) in pages {
            let touched = touched.remove(&page).unwrap_or_default();
            let readable = if touched.0.is_empty() {
                "everything: no repo needs this page any more"
            } else if node_pages.contains(&page) {
                "all records; proofs of these repos cannot be made"
            } else {
                "the other pages: all other repos, and the other records of these"
            };
            self.found(id.file(), &format!("page {page}"), words, touched, readable)?;
        }
        Ok(())
    }

    /// Returns the repos of those extents of a file that the catalog names.
    fn named<'e>(
        &self,
        id: SegmentId,
        extents: impl IntoIterator<Item = Extent<'e>>,
    ) -> Result<Touched> {
        let mut touched = Touched::default();
        for extent in extents {
            let Some((did, rev)) = split_extent_key(extent.key()) else {
                continue;
            };
            let Ok(did) = did.parse::<Did>() else {
                continue;
            };
            let is_it = |each: &ExtentEntry| each.segment == id && each.rev == rev;
            let row = self.store.inner().catalog.repo(&did)?;
            if row.is_some_and(|row| row.extents.iter().any(is_it)) {
                touched.0.insert(did);
            }
        }
        Ok(touched)
    }

    // --- repos

    fn repos(&mut self, quick: bool) -> Result<()> {
        let mut total = 0;
        self.store.inner().catalog.repos_after("", |_, _| {
            total += 1;
            true
        })?;
        self.progress = CheckProgress {
            phase: CheckPhase::Repos,
            done: 0,
            total,
            records: 0,
        };
        let mut after = String::new();
        loop {
            let mut dids = Vec::with_capacity(REPOS_A_READ);
            self.store.inner().catalog.repos_after(&after, |did, _| {
                dids.push(did.to_owned());
                dids.len() < REPOS_A_READ
            })?;
            let Some(last) = dids.last() else {
                return self.look();
            };
            after.clone_from(last);
            for did in dids {
                self.look()?;
                let did = did
                    .parse()
                    .map_err(|error| damaged("a repo's key in the catalog", error))?;
                self.repo(&did, quick)?;
                self.progress.done += 1;
            }
        }
    }

    fn repo(&mut self, did: &Did, quick: bool) -> Result<()> {
        let touched_by_a_file = self.touched.contains(did);
        // Imports and merges replace what is read; then the newer row counts.
        while let Some(entry) = self.store.inner().catalog.repo(did)? {
            let mut repo = RepoCheck {
                did,
                entry: &entry,
                cids: Vec::new(),
                revisions: 0,
                findings: Vec::new(),
            };
            if !touched_by_a_file {
                repo.run(self, quick)?;
            }
            let RepoCheck {
                findings,
                revisions,
                ..
            } = repo;
            let is_same = findings.is_empty()
                || self.store.inner().catalog.repo(did)?.as_ref() == Some(&entry);
            if !is_same {
                continue;
            }
            for (file, section, words) in findings {
                let readable = match section {
                    "extent" => "other repos; of this one revisions that do not need this",
                    "rows" => "the other records",
                    "nodes" => "all records; proofs of this repo cannot be made",
                    _ => "the records one by one, without proof that they are the signed ones",
                };
                let touched = Touched(BTreeSet::from([did.clone()]));
                self.found(file, section, words, touched, readable)?;
            }
            self.report.repos += 1;
            self.report.revisions += revisions;
            return Ok(());
        }
        Ok(())
    }
}

/// Returns the words of a fault, without the file and the section, which its finding names.
fn own_words(fault: &Fault, file: &str) -> String {
    let section = match &fault.part {
        Part::Dictionary => "dictionary".to_owned(),
        Part::Page(number) => format!("page {number}"),
        Part::Index(_) => "index".to_owned(),
    };
    let place = format!(" file=`{file}` section=`{section}`");
    let words = fault.error.to_string().replace(&place, "");
    words.trim_end_matches(':').to_owned()
}

/// Returns the length of a segment file if it is the one of its name and all is well with it, as far as a quick check reads it.
///
/// # Errors
/// The disk's.
pub(crate) fn whole(directory: &dyn Directory, name: &str) -> Result<Option<u64>> {
    let segment = match Segment::open(directory, name, &PageCache::new(CACHE_BYTES)) {
        Err(error) if error.kind() == carrack_segment::ErrorKind::Io => return Err(error.into()),
        Err(_) => return Ok(None),
        Ok(segment) => segment,
    };
    let id = SegmentId(ulid::Ulid::from_bytes(segment.id()));
    let is_whole =
        id.file() == name && segment.check().is_empty() && unreadable_shape(&segment)?.is_none();
    Ok(is_whole.then_some(segment.bytes()))
}

/// Returns what is wrong with a dictionary whose checksum is right.
fn unreadable_shape(segment: &Segment) -> Result<Option<String>> {
    let Some(bytes) = segment.dictionary()? else {
        return Ok(None);
    };
    let table = match Dictionary::parse(bytes) {
        Ok(table) => table,
        Err(error) => return Ok(Some(format!("it does not parse: {error}"))),
    };
    let words = table.over(bytes);
    let [shapes, ..] = table.counts();
    let bad = (0..)
        .take(shapes)
        .find(|&number| words.shape(number).is_none());
    Ok(bad.map(|number| format!("shape {number} is none")))
}

/// The check of one repo, as of one row of the catalog.
struct RepoCheck<'a> {
    did: &'a Did,
    entry: &'a RepoEntry,
    /// Of each extent, the CIDs of its rows once they were decoded.
    cids: Vec<Vec<Option<Cid>>>,
    revisions: u64,
    /// File, section, and what is wrong.
    findings: Vec<(String, &'static str, String)>,
}

impl RepoCheck<'_> {
    fn run(&mut self, check: &mut Check<'_>, quick: bool) -> Result<()> {
        let mut links = Vec::with_capacity(self.entry.extents.len());
        for extent in &self.entry.extents {
            let link = self.link(check, extent);
            links.push(self.kept(extent, "extent", link)?);
        }
        if quick || links.iter().any(Option::is_none) {
            return Ok(());
        }
        let rows = self.entry.extents.iter().map(|extent| {
            let rows = extent.rows.saturating_add(extent.tombstones);
            vec![None; rows as usize]
        });
        self.cids = rows.collect();
        let retained = check.store.retention().retained(&self.entry.extents);
        for (at, extent) in self.entry.extents.iter().enumerate().take(retained) {
            self.revision(check, at, extent)?;
        }
        for (at, link) in links.into_iter().flatten().enumerate() {
            let left = self.left(check, at, &link);
            self.kept(link.entry(), "rows", left)?;
        }
        Ok(())
    }

    /// Keeps what is damaged as a finding; any other error ends the check.
    fn kept<T>(
        &mut self,
        extent: &ExtentEntry,
        section: &'static str,
        result: Result<T>,
    ) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Code::Damaged => {
                self.finding(extent, section, error.chain());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn finding(&mut self, extent: &ExtentEntry, section: &'static str, words: String) {
        let rev = carrack_repack::head::rev_text(extent.rev);
        let words = format!("rev {rev}: {words}");
        self.findings.push((extent.segment.file(), section, words));
    }

    /// Opens an extent, which is what the catalog says.
    fn link(&self, check: &Check<'_>, extent: &ExtentEntry) -> Result<Link> {
        let segment = check.store.inner().segments.get(extent.segment)?;
        let key = extent_key(self.did.as_str(), extent.rev);
        let rows = segment.file().extent(&key).map(|found| found.rows());
        let link = Link::new(self.did, extent.clone(), segment)?;
        let expected = extent.rows.saturating_add(extent.tombstones);
        if rows != Some(expected) {
            let words = format!(
                "the extent has {} rows, the catalog says {expected}",
                rows.unwrap_or(0)
            );
            return Err(Error::new(Code::Damaged, words));
        }
        Ok(link)
    }

    /// Rebuilds the tree of a revision and compares it with what its commit signs.
    fn revision(&mut self, check: &mut Check<'_>, at: usize, extent: &ExtentEntry) -> Result<()> {
        let chain = check.store.open_chain(self.did, self.entry, at);
        let Some(chain) = self.kept(extent, "extent", chain)? else {
            return Ok(());
        };
        let table = RowTable::of(&chain);
        let Some(table) = self.kept(extent, "rows", table)? else {
            return Ok(());
        };
        if table.rows() != extent.records {
            let (rows, records) = (table.rows(), extent.records);
            let words = format!("its extents give {rows} records, the catalog says {records}");
            self.finding(extent, "rows", words);
            return Ok(());
        }
        let mut rows = CheckedRows {
            chain: &chain,
            table: &table,
            from: at,
            cids: &mut self.cids,
            check,
            fault: None,
        };
        let plan = TreePlan::build(&mut rows);
        let plan = match (plan, rows.fault.take()) {
            (Ok(plan), _) => plan,
            (Err(_), Some(fault)) => return self.kept::<()>(extent, "rows", Err(fault)).map(drop),
            (Err(error), None) => {
                self.finding(extent, "tree", error.to_string());
                return Ok(());
            }
        };
        self.revisions += 1;
        if let Some(words) = self.unsigned(&chain, extent, plan.root())? {
            self.findings.push(words);
        }
        match chain.node_digests(0) {
            Ok(digests) if digests == plan.digests() => {}
            Ok(_) => {
                let words = "the digests of its nodes are not those of its tree";
                self.finding(extent, "nodes", words.to_owned());
            }
            Err(error) => drop(self.kept::<()>(extent, "nodes", Err(error))?),
        }
        Ok(())
    }

    /// Returns what is wrong with a commit, or with a tree that is not the one it signs.
    fn unsigned(
        &self,
        chain: &Chain,
        extent: &ExtentEntry,
        root: Cid,
    ) -> Result<Option<(String, &'static str, String)>> {
        let finding = |section, words: String| {
            let rev = carrack_repack::head::rev_text(extent.rev);
            Ok(Some((
                extent.segment.file(),
                section,
                format!("rev {rev}: {words}"),
            )))
        };
        let bytes = chain.head()?.commit();
        let commit = VerifiedRef::check(extent.commit, bytes);
        let commit = match commit.and_then(|block| AnyCommit::parse(block.bytes())) {
            Ok(commit) => commit,
            Err(error) => return finding("commit", error.to_string()),
        };
        if (commit.did(), commit.rev()) != (self.did, extent.rev) {
            let words = "the commit is of another repo or revision".to_owned();
            return finding("commit", words);
        }
        if commit.data() != root {
            let data = commit.data();
            let words = format!("its rows give a tree with root {root}, the commit's is {data}");
            return finding("tree", words);
        }
        Ok(None)
    }

    /// Decodes the rows of an extent that no retained revision shows.
    fn left(&self, check: &mut Check<'_>, at: usize, link: &Link) -> Result<()> {
        let cids = self.cids.get(at).map_or(&[][..], Vec::as_slice);
        let index = link.index()?;
        for (number, cid) in (0..).zip(cids) {
            if cid.is_none() {
                let place = index.row(number).map(|row| row.place);
                let row = place.map(|place| link.stored_row(place)).transpose()?;
                row.map(|row| row.content()).transpose()?;
                check.decoded()?;
            }
        }
        Ok(())
    }
}

impl Check<'_> {
    /// Counts a record, and looks now and then.
    fn decoded(&mut self) -> Result<()> {
        self.progress.records += 1;
        if self.progress.records.is_multiple_of(RECORDS_A_LOOK) {
            self.look()?;
        }
        Ok(())
    }
}

/// The rows of a revision, each decoded once for all revisions of its repo.
struct CheckedRows<'a, 'c> {
    chain: &'a Chain,
    table: &'a RowTable,
    /// Which of the repo's extents is the chain's newest.
    from: usize,
    cids: &'a mut [Vec<Option<Cid>>],
    check: &'a mut Check<'c>,
    /// The store's error, while the tree's builder passes on its own.
    fault: Option<Error>,
}

impl CheckedRows<'_, '_> {
    fn read(&mut self, index: usize) -> Result<Cid> {
        let at = u32::try_from(index).ok().and_then(|n| self.table.at(n));
        let at = at.ok_or_else(|| Error::new(Code::Damaged, format!("there is no row {index}")))?;
        let extent = self.from.saturating_add(at.link);
        let slot = self.cids.get_mut(extent);
        let slot = slot.and_then(|cids| cids.get_mut(at.row as usize));
        if let Some(Some(cid)) = slot {
            return Ok(*cid);
        }
        let cid = self.chain.row(at)?.row.cid()?;
        if let Some(slot) = slot {
            *slot = Some(cid);
        }
        self.check.decoded()?;
        Ok(cid)
    }

    fn keep(&mut self, error: Error) -> carrack_repo::Error {
        let passed_on = carrack_repo::Error::new(ErrorKind::Internal, error.to_string());
        self.fault = Some(error);
        passed_on
    }
}

impl Rows for CheckedRows<'_, '_> {
    fn rows_count(&self) -> usize {
        self.table.rows() as usize
    }

    fn key(&mut self, index: usize, out: &mut Vec<u8>) -> carrack_repo::Result<()> {
        let at = u32::try_from(index).ok().and_then(|n| self.table.at(n));
        let missing = || Error::new(Code::Damaged, format!("there is no row {index}"));
        let key = at
            .ok_or_else(missing)
            .and_then(|at| self.chain.key(at, out));
        key.map_err(|error| self.keep(error))
    }

    fn cid(&mut self, index: usize) -> carrack_repo::Result<Cid> {
        self.read(index).map_err(|error| self.keep(error))
    }
}

#[cfg(test)]
mod tests;
