//! Handles: `Send + Clone` names of capabilities that the actor holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::actor::{Call, Command, Hop, Reply};
use crate::check::Check;
use crate::download::Download;
use crate::error::{Error, Result};
use crate::types::{
    About, CollectionInfo, Compacted, Cursor, Deleted, Found, ImportOptions, Page, PageRequest,
    Proof, Range, RecordData, RepoInfo, RepoList, Source, StoreStats, Want,
};
use crate::upload::Upload;

/// What all handles of a connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) next_id: AtomicU64,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Call { .. } => "Call",
            Self::Release(_) => "Release",
        })
    }
}

/// The name of one promised capability; released with its last clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A closed channel means that the actor, and the capability with it, is gone already.
        let _closed = self.shared.commands.send(Command::Release(self.id));
    }
}

impl Handle {
    pub(crate) fn open(shared: Arc<Shared>, parent: u64, hop: Hop) -> Self {
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let _closed = shared.commands.send(Command::Open { id, parent, hop });
        Self(Arc::new(Slot { id, shared }))
    }

    fn hop(&self, hop: Hop) -> Self {
        // The channel keeps order, so a parent that is released next has carried its hop.
        Self::open(self.0.shared.clone(), self.0.id, hop)
    }

    pub(crate) fn call(&self, call: Call) {
        let _closed = self.0.shared.commands.send(Command::Call {
            on: self.0.id,
            call,
        });
    }

    /// Calls a leaf and awaits its answer. Dropping the future cancels the call.
    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.call(call(reply));
        answer.await.unwrap_or_else(|_| Err(Error::gone()))
    }
}

/// All that one holder may do.
#[derive(Clone, Debug)]
pub struct Session(pub(crate) Handle);

impl Session {
    /// Returns what the server is and what it takes.
    ///
    /// # Errors
    /// As every leaf: if the login was refused or the connection is gone.
    pub async fn about(&self) -> Result<About> {
        self.0.ask(Call::About).await
    }

    /// Names the store: reading.
    pub fn store(&self) -> Store {
        Store(self.0.hop(Hop::Store))
    }

    /// Names the importer: writing.
    pub fn importer(&self) -> Importer {
        Importer(self.0.hop(Hop::Importer))
    }

    /// Names the keeper: deleting, compacting, checking.
    pub fn keeper(&self) -> Keeper {
        Keeper(self.0.hop(Hop::Keeper))
    }
}

/// Reading, over all repos.
#[derive(Clone, Debug)]
pub struct Store(Handle);

impl Store {
    /// Names a repo by its DID, or by a handle that a DID document given with an import claims.
    pub fn repo(&self, did: &str) -> Repo {
        Repo(self.0.hop(Hop::Repo {
            did: did.to_owned(),
        }))
    }

    /// Returns up to `limit` repos (0: the server's default) in order of DID, those above `after`.
    ///
    /// # Errors
    /// As every leaf.
    pub async fn repos(&self, after: &str, limit: u32) -> Result<RepoList> {
        let after = after.to_owned();
        self.0
            .ask(|reply| Call::Repos {
                after,
                limit,
                reply,
            })
            .await
    }

    /// Returns totals over all repos.
    ///
    /// # Errors
    /// As every leaf.
    pub async fn stats(&self) -> Result<StoreStats> {
        self.0.ask(Call::Stats).await
    }
}

/// One repo at its current revision.
#[derive(Clone, Debug)]
pub struct Repo(Handle);

impl Repo {
    /// Returns what is known of the repo as a whole.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` if the DID it was named by is none.
    pub async fn info(&self) -> Result<Found<RepoInfo>> {
        self.0.ask(Call::Info).await
    }

    /// Returns the repo's collections in order.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn collections(&self) -> Result<Found<Vec<CollectionInfo>>> {
        self.0.ask(Call::Collections).await
    }

    /// Names a collection.
    pub fn collection(&self, nsid: &str) -> Collection {
        Collection(self.0.hop(Hop::Collection {
            nsid: nsid.to_owned(),
        }))
    }

    /// Names a record by its path, `collection/rkey`.
    pub fn record(&self, path: &str) -> Record {
        Record(self.0.hop(Hop::Record {
            path: path.to_owned(),
        }))
    }

    /// Starts an export: the repo as a CAR.
    pub fn export(&self) -> Download {
        Download::start(self.0.clone())
    }

    /// Lists all records in order of path; the range is of paths.
    pub fn list(&self, range: Range, want: Want) -> Listing {
        Listing {
            on: self.0.clone(),
            range,
            want,
        }
    }
}

/// One collection of a repo.
#[derive(Clone, Debug)]
pub struct Collection(Handle);

impl Collection {
    /// Names a record by its key.
    pub fn record(&self, rkey: &str) -> Record {
        Record(self.0.hop(Hop::RecordOf {
            rkey: rkey.to_owned(),
        }))
    }

    /// Lists the records in order of key; the range is of keys.
    pub fn list(&self, range: Range, want: Want) -> Listing {
        Listing {
            on: self.0.clone(),
            range,
            want,
        }
    }
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record(Handle);

impl Record {
    /// Reads the record, and says where it comes from.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` if the path it was named by is none.
    pub async fn read(&self, want: Want) -> Result<Found<(Source, RecordData)>> {
        self.0.ask(|reply| Call::Read { want, reply }).await
    }

    /// Returns the proof that the record is in the repo, or that there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `incomplete` if the record's block is not held.
    pub async fn prove(&self) -> Result<Found<Proof>> {
        self.0.ask(Call::Prove).await
    }
}

/// A listing: which records, in which form; read page by page.
#[derive(Clone, Debug)]
pub struct Listing {
    on: Handle,
    range: Range,
    want: Want,
}

impl Listing {
    /// Returns one page.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` for a cursor of another listing or an altered one.
    pub async fn page(&self, page: PageRequest) -> Result<Found<Page>> {
        let (range, want) = (self.range.clone(), self.want.clone());
        self.on
            .ask(|reply| Call::List {
                range,
                want,
                page,
                reply,
            })
            .await
    }

    /// Returns all pages from a cursor (none: the start) as a stream. An absent repo or collection is the
    /// stream's one item, an error with code `notFound`.
    pub fn pages(self, from: Option<Cursor>) -> impl futures::Stream<Item = Result<Page>> {
        let first = Some(PageRequest {
            cursor: from,
            limit: 0,
        });
        futures::stream::try_unfold((self, first), |(listing, request)| async move {
            let Some(request) = request else {
                return Ok(None);
            };
            let page = listing.page(request).await??;
            let next = page.next.clone().map(|cursor| PageRequest {
                cursor: Some(cursor),
                limit: 0,
            });
            Ok(Some((page, (listing, next))))
        })
    }
}

/// Writing.
#[derive(Clone, Debug)]
pub struct Importer(Handle);

impl Importer {
    /// Starts the upload of one CAR.
    pub fn import(&self, options: ImportOptions) -> Upload {
        Upload::start(self.0.clone(), options)
    }
}

/// Looking after the store. A call takes as long as its work.
#[derive(Clone, Debug)]
pub struct Keeper(Handle);

impl Keeper {
    /// Deletes a record (`path`: collection/rkey) or a whole repo, named by DID or handle. When this returns it is hidden
    /// at every revision, for good; with `purge` its bytes are off the disk as well. One round trip.
    ///
    /// # Errors
    /// As every leaf; `unknownOutcome`; with `purge`, `damaged` or `overloaded` if it is hidden and its bytes could not
    /// be removed yet. What has begun goes on though this future is dropped.
    pub async fn delete(
        &self,
        repo: &str,
        path: Option<&str>,
        purge: bool,
    ) -> Result<Found<Deleted>> {
        let (repo, path) = (repo.to_owned(), path.unwrap_or_default().to_owned());
        let call = |reply| Call::Delete {
            repo,
            path,
            purge,
            reply,
        };
        self.0.ask(call).await
    }

    /// Merges all of the store, or of one repo, into as few segments and revisions as retention allows; `cold` asks for
    /// pages that are smaller and slower to read. One round trip.
    ///
    /// # Errors
    /// As every leaf; what was merged before stays so. What has begun goes on though this future is dropped.
    pub async fn compact(&self, repo: Option<&str>, cold: bool) -> Result<Found<Compacted>> {
        let repo = repo.unwrap_or_default().to_owned();
        self.0
            .ask(|reply| Call::Compact { repo, cold, reply })
            .await
    }

    /// Starts a check: of all checksums if it is `quick`, else of every row and tree as well. One round trip, and one more
    /// for each finding and each report of progress; neither is waited for here.
    pub fn check(&self, quick: bool) -> Check {
        Check::start(self.0.clone(), quick)
    }
}

const _: () = {
    const fn send_sync_clone<T: Send + Sync + Clone + 'static>() {}
    send_sync_clone::<crate::Client>();
    send_sync_clone::<Session>();
    send_sync_clone::<Store>();
    send_sync_clone::<Repo>();
    send_sync_clone::<Collection>();
    send_sync_clone::<Record>();
    send_sync_clone::<Listing>();
    send_sync_clone::<Importer>();
    send_sync_clone::<Keeper>();
};
