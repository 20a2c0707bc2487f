//! The Carrack store: verified AT Protocol repositories behind a capability RPC.
//!
//! [`Store`] is one data folder's repos; [`Owner`] is the process that holds such a folder and serves it; `carrack`
//! is the command line. Data flows one way: CAR → verified blocks → rows → sealed segment → catalog → RPC.

mod catalog;
pub mod cli;
mod clock;
mod cursor;
mod entropy;
mod error;
mod ingest;
mod owner;
pub mod rpc;
mod server;
mod store;
mod tree;
mod verdict;

pub use clock::{Clock, SystemClock};
pub use error::{Error, Result};
pub use ingest::{ImportRequest, Outcome, Phase, Progress, Report};
pub use owner::{DataFolder, Opened, Owner, Settings, default_folder, open};
pub use server::Server;
pub use store::{
    Absence, CollectionCount, Keys, Lookup, RecordRef, Repo, Rows, Stats, Store, Summary,
};
pub use tree::RecordProof;
pub use verdict::{Status, StatusError, Verdict};
