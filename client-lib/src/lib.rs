//! Client of a Carrack store.
//!
//! # Connecting and reading
//!
//! ```no_run
//! # async fn example() -> Result<(), carrack_client::Error> {
//! use carrack_client::{Address, Client, Want};
//!
//! // `unix:PATH`, `IP:PORT` or `tls:HOST:PORT`; the token may be empty on a store's own unix socket.
//! let client = Client::connect(&"unix:/run/carrack/carrack.sock".parse::<Address>()?).await?;
//! let store = client.login("").store();
//! // Four hops and a read: one round trip, because a handle names what was promised.
//! let (source, record) = store
//!     .repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
//!     .collection("app.bsky.actor.profile")
//!     .record("self")
//!     .read(Want::value())
//!     .await??;
//! println!("{:?} at {}", record.body, source.rev);
//! # Ok(())
//! # }
//! ```
//!
//! *Hops* (`login`, `store`, `repo`, …) name something; they send nothing and wait for nothing. *Leaves* (`read`, `list`,
//! `done`, …) are `async`: they send the hops that are still missing together with themselves. How many round trips a leaf
//! takes stands in its documentation. Leaves that do not depend on each other go out together with `join!`. Dropping the
//! future of a leaf cancels its call; dropping the last clone of a handle releases what it names.
//!
//! A leaf's first `?` is for what went wrong, an [`Error`]; its second, where the answer is [`Found`], for what is not in
//! the store, an [`Absent`]. The second turns into the first, with code `notFound`.
//!
//! # Listing
//!
//! ```no_run
//! # async fn example(store: carrack_client::Store) -> Result<(), carrack_client::Error> {
//! use carrack_client::{Range, Want};
//! use futures::TryStreamExt;
//!
//! let posts = store
//!     .repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
//!     .collection("app.bsky.feed.post");
//! let mut records = std::pin::pin!(posts.list(Range::default(), Want::value()).records(None));
//! while let Some(record) = records.try_next().await? {
//!     println!("{}", record.rkey);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Importing and exporting
//!
//! ```no_run
//! # async fn example(session: carrack_client::Session, car: Vec<u8>) -> Result<(), carrack_client::Error> {
//! use carrack_client::ImportOptions;
//!
//! let upload = session.importer().import(ImportOptions::default());
//! upload.write(&car).await;
//! // A refused input is an outcome; an error is that it could not be judged.
//! let outcome = upload.done().await?;
//!
//! let mut export = session.store().repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz").export();
//! while let Some(bytes) = export.next().await {
//!     // write them somewhere
//! #   drop(bytes);
//! }
//! export.done().await??;
//! # drop(outcome); Ok(())
//! # }
//! ```
//!
//! An upload or an export that is dropped before `done` is cancelled. [`Download`] is a [`Stream`](futures::Stream) too.
//!
//! # Handing on a part of what you may do
//!
//! ```no_run
//! # async fn example(session: carrack_client::Session) -> Result<(), carrack_client::Error> {
//! use std::time::Duration;
//! use carrack_client::Scope;
//!
//! let scope = Scope::none()
//!     .repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
//!     .all_collections()
//!     .read()
//!     .list()
//!     .calls(1_000)
//!     .bytes(10 << 20)
//!     .expires_in(Duration::from_secs(3_600));
//! let issued = session.grants().issue(scope, "summariser").await?;
//! let (token, _) = issued.grant.save("its token").await?;
//! // Give the token away: `client.restore(&token)` opens a session that may do this and no more.
//! # drop(token);
//! issued.grant.revoke().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # When something fails
//!
//! [`Error::code`] says what happened, [`Error::kind`] how to react, [`Error::advice`] that in words. A client made with
//! [`Client::connect`] or [`Connect`] makes a lost connection again when the next call needs it, by a bounded number of
//! attempts with growing pauses, and logs in again; handles go on working. A leaf that changes nothing and met the loss is
//! sent once more by itself. Anything else is never repeated and fails with `unavailable`: uploads, exports and checks
//! under way, and calls that may have taken effect (`delete`, `compact`, `issue`, `save`, `revoke`, `forget`). A session
//! from [`Grants::issue`] ends with its connection; save a token to be able to restore it.
//!
//! # How much at once
//!
//! At most 256 calls of a client are under way, or as many as the server said in [`Session::about`]; further ones wait.
//! Uploads, exports and checks have 32 places of their own. So memory stays bounded however much is asked for, and calls
//! made while a stream is read never wait for that stream; but whoever holds 32 streams and reads none of them waits
//! for ever for the next.
//!
//! # Threads
//!
//! Cap'n Proto capabilities may not leave their thread. The handles here may: each is a name for a capability
//! that the connection's *actor* holds, a task on a thread of its own ([`Client::connect`]), of your own
//! ([`Client::local`]), or of whoever answers it in the same process ([`Client::elsewhere`]).
//!
//! # Features
//!
//! `tls` (on by default): addresses of the form `tls:HOST:PORT`.

mod actor;
mod address;
mod ancestors;
mod backup;
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
mod token;
mod types;
mod upload;
mod verify;
mod watch;

pub use address::{Address, AddressError};
pub use ancestors::{Ancestors, AncestorsEnd};
pub use backup::{Backup, BackupPart};
pub use check::Check;
pub use connect::{Client, Connect, Connection, Start};
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
pub use token::{token_in, token_in_file};
pub use types::{
    About, Absent, BackupFile, BackupReport, Body, CheckFinding, CheckPhase, CheckProgress,
    CheckReport, CollectionInfo, Compacted, Cursor, Deleted, ExportReport, Form, Found,
    ImportOptions, ImportOutcome, ImportReport, Page, PageRequest, Phase, Progress, Proof, Range,
    RecordData, Rejection, RepoInfo, RepoList, Source, StoreStats, Verdict, Want,
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
    send::<Backup>();
    send::<Check>();
    send::<Scan>();
    send::<Watch>();
};
