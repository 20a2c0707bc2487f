//! The Carrack store: verified AT Protocol repositories behind a capability RPC.
//!
//! [`Store`] is one data folder's repos; [`Owner`] is the process that holds such a folder and serves it; `carrack`
//! is the command line. Data flows one way: CAR → verified blocks → rows → sealed segment → catalog → RPC.

mod ancestors;
mod auth;
mod backup;
mod catalog;
mod chain;
mod changes;
mod check;
pub mod cli;
mod clock;
mod commit_queue;
mod cursor;
mod delete;
mod entropy;
mod error;
mod import_queue;
mod ingest;
mod merge;
mod open_segments;
mod owner;
mod packer;
mod pool;
pub mod query;
mod retention;
mod row;
pub mod rpc;
mod scan;
mod server;
mod settings;
mod snapshot;
mod snapshots;
mod stats;
mod store;
mod throttle;
mod tree;
mod verdict;
mod verify;

pub use ancestors::{Ancestor, Ancestors, AncestorsEnd, Sees};
pub use backup::{Backup, BackupFile, BackupFolder};
pub use carrack_repack::{Field, TimeForm};
pub use changes::{Change, ChangeKind, Told, Watching};
pub use check::{CheckEvent, CheckPhase, CheckProgress, CheckReport, Finding};
pub use clock::{Clock, SystemClock};
pub use delete::{DeleteTarget, Deleted};
pub use error::{Error, Result};
pub use ingest::{ImportGuard, ImportRequest, Outcome, Phase, Progress, Report};
pub use owner::{DataFolder, Opened, Owner, Settings, default_folder, open};
pub use row::Content;
pub use scan::Matches;
pub use server::{Door, Entrance, TlsFiles};
pub use settings::StoreSettings;
pub use stats::Stats;
pub use store::{Absence, CollectionCount, Keys, Lookup, RecordRef, Repo, Rows, Store, Summary};
pub use tree::RecordProof;
pub use verdict::{Status, StatusError, Verdict};
pub use verify::{Signature, Verification, Verified};
