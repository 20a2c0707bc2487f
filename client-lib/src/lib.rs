//! Client of a Carrack store.
//!
//! ```no_run
//! # async fn example() -> Result<(), carrack_client::Error> {
//! use carrack_client::{Address, Client, Want};
//!
//! let client = Client::connect(&"unix:/run/carrack/carrack.sock".parse::<Address>()?).await?;
//! let store = client.login("").store();
//! // Four hops and a read: one round trip, because a handle names what was promised.
//! let record = store
//!     .repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
//!     .collection("app.bsky.actor.profile")
//!     .record("self")
//!     .read(Want::value())
//!     .await??;
//! # let _ = record; Ok(())
//! # }
//! ```
//!
//! Cap'n Proto capabilities may not leave their thread. The handles here may: each is a name for a capability
//! that the connection's *actor* holds, a task on a thread of its own ([`Client::connect`]) or of your own
//! ([`Client::local`]). Hops (`login`, `store`, `repo`, …) send their call and return at once, without waiting
//! for the capability they name; only leaves (`read`, `list`, `done`, …) await. Dropping the last clone of a
//! handle releases its capability; dropping the future of a leaf cancels its call.

mod actor;
mod address;
mod ancestors;
mod check;
mod connect;
mod download;
mod error;
mod grants;
mod handle;
mod keeper;
mod listing;
mod permits;
mod push;
pub mod query;
mod read;
mod repo;
mod scan;
mod scope;
mod session;
mod store;
mod types;
mod upload;
mod verify;
mod watch;

pub use address::{Address, AddressError};
pub use ancestors::{Ancestors, AncestorsEnd};
pub use check::Check;
pub use connect::{Client, Connect, Connection};
pub use download::Download;
pub use error::{Error, Kind, Result};
pub use grants::{Grant, Grants, Issued};
pub use keeper::Keeper;
pub use listing::Listing;
pub use repo::{Collection, Record, Repo};
pub use scan::{Scan, ScanReport};
pub use scope::{
    Budget, GrantInfo, GrantList, Limit, Operations, Scope, Selection, TokenInfo, Usage,
};
pub use session::Session;
pub use store::Store;
pub use types::{
    About, Absent, Body, CheckFinding, CheckPhase, CheckProgress, CheckReport, CollectionInfo,
    Compacted, Cursor, Deleted, ExportReport, Form, Found, ImportOptions, ImportOutcome,
    ImportReport, Page, PageRequest, Phase, Progress, Proof, Range, RecordData, Rejection,
    RepoInfo, RepoList, Source, StoreStats, Verdict, Want,
};
pub use upload::{Importer, Upload};
pub use verify::{Signature, Verification, Verified};
pub use watch::{Change, ChangeKind, Changes, Watch};

const _: () = {
    const fn send_sync_clone<T: Send + Sync + Clone + 'static>() {}
    send_sync_clone::<Client>();
    send_sync_clone::<Session>();
    send_sync_clone::<Store>();
    send_sync_clone::<Repo>();
    send_sync_clone::<Collection>();
    send_sync_clone::<Record>();
    send_sync_clone::<Listing>();
    send_sync_clone::<Importer>();
    send_sync_clone::<Keeper>();
    send_sync_clone::<Grants>();
    send_sync_clone::<Grant>();

    const fn send<T: Send + 'static>() {}
    send::<Upload>();
    send::<Download>();
    send::<Check>();
    send::<Scan>();
    send::<Watch>();
};
