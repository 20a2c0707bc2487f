//! [`Store`]: reading, over all repos.

use carrack_schema::wire::store_capnp as wire;

use crate::error::Result;
use crate::handle::{Handle, Repeat};
use crate::read;
use crate::repo::Repo;
use crate::types::{RepoList, StoreStats};

/// Reading, over all repos.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Handle<wire::store::Client>);

impl Store {
    /// Names a repo by its DID, or by a handle that a DID document given with an import claims.
    pub fn repo(&self, did: &str) -> Repo {
        let did = did.to_owned();
        Repo(self.0.hop(move |on| {
            let mut request = on.repo_request();
            request.get().set_did(&did);
            request.send().pipeline.get_repo()
        }))
    }

    /// Returns up to `limit` repos (0: the server's default) in order of DID, those above `after`. One round trip.
    ///
    /// # Errors
    /// As every leaf.
    pub async fn repos(&self, after: &str, limit: u32) -> Result<RepoList> {
        let after = after.to_owned();
        let send = move |on: &wire::store::Client| {
            let mut request = on.repos_request();
            request.get().set_after(&after);
            request.get().set_limit(limit);
            request.send()
        };
        self.0.ask(Repeat::Once, send, read::repos).await
    }

    /// Returns totals over all repos. One round trip.
    ///
    /// # Errors
    /// As every leaf.
    pub async fn stats(&self) -> Result<StoreStats> {
        let send = |on: &wire::store::Client| on.stats_request().send();
        self.0.ask(Repeat::Once, send, read::stats).await
    }
}
