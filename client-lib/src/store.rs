//! [`Store`]: reading, over all repos.

use carrack_schema::wire::store_capnp as wire;

use crate::ancestors::Ancestors;
use crate::error::Result;
use crate::handle::{Handle, Repeat};
use crate::read;
use crate::repo::Repo;
use crate::scope::Selection;
use crate::types::{RepoList, StoreStats, Want};
use crate::watch::Watch;

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

    /// Returns the posts that a post answers, from its parent up, at most `max` (0: the server's default), as far as the
    /// store holds them. `uri` is the post's, with a DID or a handle. One round trip.
    ///
    /// # Errors
    /// As every leaf; `invalidArgument` for what is no URI of a record, `unknownHandle` for a handle that is nobody's.
    pub async fn ancestors(&self, uri: &str, max: u32, want: Want) -> Result<Ancestors> {
        let uri = uri.to_owned();
        let send = move |on: &wire::store::Client| {
            let mut request = on.ancestors_request();
            let mut params = request.get();
            params.set_uri(&uri);
            params.set_max(max);
            read::set_want(params.init_want(), &want);
            request.send()
        };
        self.0
            .ask(Repeat::Once, send, read::reading::ancestors)
            .await
    }

    /// Watches repos: what changes in them after this has returned is told. `Selection::Only` names DIDs. One round trip,
    /// and half of one to each change.
    ///
    /// # Errors
    /// As every leaf; `invalidArgument` for no repos, `denied` for a DID outside the scope, `overloaded` for more watches
    /// than a connection may have.
    pub async fn watch(&self, repos: Selection) -> Result<Watch> {
        Watch::begin(&self.0, repos).await
    }
}
