//! What goes into a call and comes out of it, owned and `Send`.

use std::fmt;

use carrack_schema::{Cid, Value};

/// A leaf's answer: what was asked for, or which hop was missing.
///
/// An [`Absent`] turns into an [`Error`](crate::Error) with code `notFound`, so `read(..).await??` takes both.
pub type Found<T> = Result<T, Absent>;

/// The first thing on the way that the store does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// A server newer than this client names a hop it does not know.
    Unknown,
    /// The repo.
    Repo,
    /// The collection.
    Collection,
    /// The record.
    Record,
    /// The repo is held, but hidden: its account is not active.
    Inactive,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "not in the store",
            Self::Repo => "the store holds no such repo",
            Self::Collection => "the repo holds no such collection",
            Self::Record => "the collection holds no such record",
            Self::Inactive => "the account is not active, so its repo is hidden",
        })
    }
}

/// What a server is and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The server's version.
    pub version: String,
    /// Longest message the server reads, in bytes.
    pub message_bytes_max: u32,
    /// Longest chunk of an upload, in bytes.
    pub chunk_bytes_max: u32,
    /// Most records in one page of a listing.
    pub list_records_max: u32,
    /// Bytes of values after which a page ends.
    pub list_bytes_max: u32,
    /// Calls of one session under way; one more is answered `overloaded`. As all below 0 from a server that does not say.
    pub calls_max: u32,
    /// Capabilities of one connection; one more is answered `overloaded`.
    pub objects_max: u32,
    /// Steps of a query's plan.
    pub query_steps_max: u32,
    /// Rows of a query's answer.
    pub query_rows_max: u32,
    /// Bytes of a query's answer.
    pub query_bytes_max: u32,
    /// Rows that a query may look at.
    pub query_work_max: u64,
    /// What this session may do.
    pub scope: crate::Scope,
    /// Label of its grant; empty for the owner.
    pub label: String,
    /// Id of its grant; empty for the owner.
    pub grant: String,
}

/// Totals over all repos. What an older server does not say is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Repos held.
    pub repos: u64,
    /// Records of their current revisions.
    pub records: u64,
    /// Revisions held of all repos.
    pub revisions: u64,
    /// Bytes of the CARs the current revisions came from.
    pub bytes_in: u64,
    /// Bytes that all their revisions take in segment files.
    pub bytes_stored: u64,
    /// Segment files.
    pub segments: u64,
    /// Of them, those with compressed pages.
    pub segments_cold: u64,
    /// Length of the segment files, with what no repo needs any more.
    pub bytes_segments: u64,
    /// Length of the catalog's file.
    pub bytes_catalog: u64,
    /// Segment files that hold something deleted and will be rewritten.
    pub purges: u64,
    /// When the first of them will be at the latest, in microseconds since the Unix epoch.
    pub purge_by: Option<i64>,
}

/// What a deletion came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The repo, or the record's.
    pub did: String,
    /// Records that could be seen and cannot any more.
    pub records: u64,
    /// When the bytes will be off the disk at the latest, in microseconds since the Unix epoch; none if they are.
    pub purge_by: Option<i64>,
}

/// What a compaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The store before it.
    pub before: StoreStats,
    /// And after it.
    pub after: StoreStats,
    /// Segment files that stay as they are, because something in them is damaged.
    pub damaged: u64,
}

/// A damaged part of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    /// The file, by its name in the data folder.
    pub file: String,
    /// Which part: `file`, `dictionary`, `page N`, `index`; or of a revision in it: `extent`, `rows`, `tree`, `commit`,
    /// `nodes`.
    pub section: String,
    /// What is wrong.
    pub words: String,
    /// DIDs of repos it touches, ascending; not more than a thousand.
    pub repos: Vec<String>,
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

/// A file of a copy of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// Its name in the data folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Bytes of all files after it.
    pub left: u64,
    /// Whether its bytes do not come, because they are there.
    pub is_skipped: bool,
}

/// What a copy of the store is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// The moment, in microseconds since the Unix epoch.
    pub taken: i64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of those that were there.
    pub bytes_skipped: u64,
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

/// What is known of the signature over a commit. A bad one is never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No key was given: hashes and structure are proven, the signature is not.
    Unchecked,
    /// The commit is signed.
    Valid {
        /// With this key, a `did:key`.
        key: String,
        /// Which a DID document with this SHA-256 names.
        document: Vec<u8>,
        /// Checked then, in microseconds since the Unix epoch.
        checked: i64,
    },
    /// A commit of version 2, from an old export: it has no revision.
    LegacyCommit,
}

impl Verdict {
    /// Returns the verdict's text, camelCase.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Valid { .. } => "valid",
            Self::LegacyCommit => "legacyCommit",
        }
    }

    /// Returns the verdict in a person's words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Unchecked => "signature unchecked",
            Self::Valid { .. } => "signature valid",
            Self::LegacyCommit => "old commit without a revision",
        }
    }
}

/// Where an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The repo.
    pub did: String,
    /// Its revision, a TID; empty for a commit of version 2.
    pub rev: String,
    /// CID of the signed commit.
    pub commit: Cid,
    /// What is known of the commit's signature.
    pub verdict: Verdict,
}

/// One repo at its current revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoInfo {
    /// Where this comes from.
    pub source: Source,
    /// Records.
    pub records: u64,
    /// Bytes of the CAR it came from.
    pub bytes_in: u64,
    /// Bytes of its segment file.
    pub bytes_stored: u64,
    /// When it was imported, in microseconds since the Unix epoch.
    pub imported: i64,
    /// Records whose block is not held; 0 unless it was imported as partial.
    pub missing: u64,
    /// Records that break the data model: their bytes are kept, a value of them is [`Body::Undecodable`].
    pub invalid: u64,
    /// The first handle that a DID document claimed, unverified; may be empty.
    pub handle: String,
    /// The account's status; empty while it is active, else the repo is hidden.
    pub status: String,
}

/// A page of repos, in order of DID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoList {
    /// The repos.
    pub repos: Vec<RepoInfo>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// One collection of a repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionInfo {
    /// Its NSID.
    pub nsid: String,
    /// Its records.
    pub records: u64,
}

/// In which form a record is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Not at all: key only, and CID if wanted.
    #[default]
    None,
    /// As a [`Value`].
    Value,
    /// As its exact bytes.
    DagCbor,
}

/// What to read of a record; the server computes nothing that is not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// The form.
    pub form: Form,
    /// Also the CID, hashed from the record's bytes.
    pub cid: bool,
    /// With [`Form::Value`]: only these paths (`text`, `subject.uri`); empty means all. A projection no longer
    /// proves its CID.
    pub fields: Vec<String>,
}

impl Want {
    /// The record's value.
    pub fn value() -> Self {
        Self {
            form: Form::Value,
            ..Self::default()
        }
    }

    /// The record's exact bytes.
    pub fn dag_cbor() -> Self {
        Self {
            form: Form::DagCbor,
            ..Self::default()
        }
    }

    /// The same, with the CID.
    #[must_use]
    pub fn with_cid(self) -> Self {
        Self { cid: true, ..self }
    }
}

/// A record as far as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordData {
    /// Its collection.
    pub collection: String,
    /// Its key.
    pub rkey: String,
    /// Its CID, if wanted.
    pub cid: Option<Cid>,
    /// The rest.
    pub body: Body,
}

/// A record in the wanted form.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing was wanted.
    None,
    /// The value.
    Value(Value),
    /// The exact bytes.
    DagCbor(Vec<u8>),
    /// A value was wanted, but the bytes have none; the text says why. They can still be read as DAG-CBOR.
    Undecodable(String),
    /// The repo was imported as partial, without this record's block; its CID is known.
    Missing,
}

/// Which keys to list, in the order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First key, inclusive; empty means open.
    pub from: String,
    /// End, exclusive; empty means open.
    pub before: String,
    /// From the last to the first.
    pub reverse: bool,
}

/// Where a listing goes on: opaque, made by the store for one listing.
///
/// Its text form (`c1_…`) is for command lines and agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) Vec<u8>);

impl Cursor {
    const PREFIX: &'static str = "c1_";
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            Self::PREFIX,
            data_encoding::BASE64URL_NOPAD.encode(&self.0)
        )
    }
}

impl std::str::FromStr for Cursor {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, crate::Error> {
        text.strip_prefix(Self::PREFIX)
            .and_then(|rest| data_encoding::BASE64URL_NOPAD.decode(rest.as_bytes()).ok())
            .map(Self)
            .ok_or_else(|| {
                crate::Error::new(
                    carrack_schema::Code::InvalidArgument,
                    "not a cursor; leave it out to start from the beginning",
                )
            })
    }
}

/// Which page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Where to go on; none starts.
    pub cursor: Option<Cursor>,
    /// Most records; 0 means the server's default.
    pub limit: u32,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Where they come from.
    pub source: Source,
    /// The records, in the listing's order.
    pub records: Vec<RecordData>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
    /// The other revision that the cursor was made at, if the repo has moved since: the listing went on after
    /// the same key in today's.
    pub moved_from: Option<String>,
}

/// What an import should insist on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Refuse a repo of another DID.
    pub did: Option<String>,
    /// Length of the CAR in bytes, if known: progress then has a total.
    pub size: Option<u64>,
    /// The account's DID document, JSON: the commit's signature is checked with its key.
    pub did_document: Option<Vec<u8>>,
    /// Refuse a commit that no key was given for.
    pub require_signature: bool,
    /// Take a CAR that lacks record blocks; their CIDs are kept.
    pub allow_partial: bool,
    /// The account's status, if known, such as `active` or `takendown`.
    pub status: Option<String>,
}

/// What an import is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Taking in bytes of the CAR.
    Receiving,
    /// Verifying records along the MST and writing them.
    Packing,
    /// Making it durable.
    Committing,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes received or records packed.
    pub done: u64,
    /// Of how many, 0 while that is not known.
    pub total: u64,
}

/// How an import ended; the store is as before unless it is [`ImportOutcome::Imported`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The repo is in the store, and stays there through a crash.
    Imported(ImportReport),
    /// The store held this very commit.
    Unchanged(ImportReport),
    /// The input was refused.
    Rejected(Rejection),
}

/// Why an input was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// For programs.
    pub code: carrack_schema::Code,
    /// For people: what is wrong and where.
    pub words: String,
}

/// What an import brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// The repo.
    pub info: RepoInfo,
    /// Blocks of the CAR.
    pub blocks: u64,
    /// Its collections.
    pub collections: Vec<CollectionInfo>,
}

/// What an export brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// The repo.
    pub source: Source,
    /// Bytes of the CAR.
    pub bytes: u64,
    /// Blocks in it.
    pub blocks: u64,
    /// Records by path; several may share a block.
    pub records: u64,
}

/// A proof from the signed commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The repo.
    pub source: Source,
    /// Whether it shows the record, or that there is none.
    pub present: bool,
    /// The CAR: the commit, the nodes on the record's path, the record.
    pub car: Vec<u8>,
}
