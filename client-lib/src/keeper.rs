//! [`Keeper`]: looking after the store.

use carrack_schema::wire::store_capnp as wire;

use crate::backup::Backup;
use crate::check::Check;
use crate::error::Result;
use crate::handle::{Handle, Repeat};
use crate::read;
use crate::types::{Compacted, Deleted, Found};

/// Looking after the store. A call takes as long as its work.
#[derive(Clone, Debug)]
pub struct Keeper(pub(crate) Handle<wire::keeper::Client>);

impl Keeper {
    /// Deletes a record (`path`: collection/rkey) or a whole repo, named by DID or handle. When this returns it is hidden
    /// at every revision, for good; with `purge` its bytes are off the disk as well. One round trip.
    ///
    /// # Errors
    /// As every leaf; `unknownOutcome`; with `purge`, `damaged` or `overloaded` if it is hidden and its bytes could not
    /// be removed yet. What has begun goes on though this future is dropped, and is not repeated if the connection is
    /// lost.
    pub async fn delete(
        &self,
        repo: &str,
        path: Option<&str>,
        purge: bool,
    ) -> Result<Found<Deleted>> {
        let (repo, path) = (repo.to_owned(), path.unwrap_or_default().to_owned());
        let send = move |on: &wire::keeper::Client| {
            let mut request = on.delete_request();
            let mut params = request.get();
            params.set_repo(&repo);
            params.set_path(&path);
            params.set_purge(purge);
            request.send()
        };
        self.0.ask(Repeat::Never, send, read::deleted).await
    }

    /// Merges all of the store, or of one repo, into as few segments and revisions as retention allows; `cold` asks for
    /// pages that are smaller and slower to read. One round trip.
    ///
    /// # Errors
    /// As every leaf; what was merged before stays so. What has begun goes on though this future is dropped, and is not
    /// repeated if the connection is lost.
    pub async fn compact(&self, repo: Option<&str>, cold: bool) -> Result<Found<Compacted>> {
        let repo = repo.unwrap_or_default().to_owned();
        let send = move |on: &wire::keeper::Client| {
            let mut request = on.compact_request();
            request.get().set_repo(&repo);
            request.get().set_cold(cold);
            request.send()
        };
        self.0.ask(Repeat::Never, send, read::compacted).await
    }

    /// Prepares a check: of all checksums if it is `quick`, else of every row and tree as well. One round trip, and one
    /// more for each finding and each report of progress; neither is waited for here. It begins with the first
    /// [`Check::next`] or [`Check::done`].
    pub fn check(&self, quick: bool) -> Check {
        Check::new(&self.0, quick)
    }

    /// Prepares a copy of the store as of when it begins, which is with the first [`Backup::next`] or [`Backup::done`]. Of
    /// segment files that are there already, by name and length in bytes, the bytes do not come. For the store's owner alone.
    pub fn backup(&self, there: impl IntoIterator<Item = (String, u64)>) -> Backup {
        Backup::new(&self.0, there.into_iter().collect())
    }
}
