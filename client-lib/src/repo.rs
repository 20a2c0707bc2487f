//! [`Repo`], [`Collection`], [`Record`]: reading one repo.

use carrack_schema::wire::store_capnp as wire;

use crate::download::Download;
use crate::error::Result;
use crate::handle::{Handle, Repeat};
use crate::listing::{Listed, Listing};
use crate::read;
use crate::types::{CollectionInfo, Found, Proof, Range, RecordData, RepoInfo, Source, Want};
use crate::verify::Verification;

/// One repo at its current revision, or pinned to another by [`at`](Self::at).
#[derive(Clone, Debug)]
pub struct Repo(pub(crate) Handle<wire::repo::Client>);

impl Repo {
    /// Returns what is known of the repo as a whole. One round trip.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` if the DID it was named by is none.
    pub async fn info(&self) -> Result<Found<RepoInfo>> {
        let send = |on: &wire::repo::Client| on.info_request().send();
        self.0.ask(Repeat::Once, send, read::info).await
    }

    /// Returns the repo's collections in order. One round trip.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn collections(&self) -> Result<Found<Vec<CollectionInfo>>> {
        let send = |on: &wire::repo::Client| on.collections_request().send();
        self.0.ask(Repeat::Once, send, read::collections).await
    }

    /// Names the repo pinned to a revision, as a [`Source`] says it. What is read of it is of that revision, less what was
    /// deleted since, or fails with `revNotRetained`, whose words name the oldest revision that is there.
    pub fn at(&self, rev: &str) -> Self {
        let rev = rev.to_owned();
        Self(self.0.hop(move |on| {
            let mut request = on.at_request();
            request.get().set_rev(&rev);
            request.send().pipeline.get_repo()
        }))
    }

    /// Names a collection.
    pub fn collection(&self, nsid: &str) -> Collection {
        let nsid = nsid.to_owned();
        Collection(self.0.hop(move |on| {
            let mut request = on.collection_request();
            request.get().set_nsid(&nsid);
            request.send().pipeline.get_collection()
        }))
    }

    /// Names a record by its path, `collection/rkey`.
    pub fn record(&self, path: &str) -> Record {
        let path = path.to_owned();
        Record(self.0.hop(move |on| {
            let mut request = on.record_request();
            request.get().set_path(&path);
            request.send().pipeline.get_record()
        }))
    }

    /// Prepares an export: the repo as a CAR. One round trip to its first bytes, then they flow; it begins when they are
    /// first asked for.
    pub fn export(&self) -> Download {
        Download::new(&self.0)
    }

    /// Lists all records in order of path; the range is of paths.
    pub fn list(&self, range: Range, want: Want) -> Listing {
        Listing::new(Listed::Repo(self.0.clone()), range, want)
    }
}

/// One collection of a repo.
#[derive(Clone, Debug)]
pub struct Collection(pub(crate) Handle<wire::collection::Client>);

impl Collection {
    /// Names a record by its key.
    pub fn record(&self, rkey: &str) -> Record {
        let rkey = rkey.to_owned();
        Record(self.0.hop(move |on| {
            let mut request = on.record_request();
            request.get().set_rkey(&rkey);
            request.send().pipeline.get_record()
        }))
    }

    /// Reads the record of a key, and says where it comes from: what [`Record::read`] answers, for half of the server's
    /// work. One round trip.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` if this is no record key.
    pub async fn get(&self, rkey: &str, want: Want) -> Result<Found<(Source, RecordData)>> {
        let rkey = rkey.to_owned();
        let send = move |on: &wire::collection::Client| {
            let mut request = on.get_request();
            let mut params = request.get();
            params.set_rkey(&rkey);
            read::set_want(params.init_want(), &want);
            request.send()
        };
        self.0.ask(Repeat::Once, send, read::read).await
    }

    /// Lists the records in order of key; the range is of keys.
    pub fn list(&self, range: Range, want: Want) -> Listing {
        Listing::new(Listed::Collection(self.0.clone()), range, want)
    }
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record(pub(crate) Handle<wire::record_cap::Client>);

impl Record {
    /// Reads the record, and says where it comes from. One round trip.
    ///
    /// # Errors
    /// As every leaf, and `invalidArgument` if the path it was named by is none.
    pub async fn read(&self, want: Want) -> Result<Found<(Source, RecordData)>> {
        let send = move |on: &wire::record_cap::Client| {
            let mut request = on.read_request();
            read::set_want(request.get().init_want(), &want);
            request.send()
        };
        self.0.ask(Repeat::Once, send, read::read).await
    }

    /// Returns the proof that the record is in the repo, or that there is none. One round trip.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `incomplete` if the record's block is not held.
    pub async fn prove(&self) -> Result<Found<Proof>> {
        let send = |on: &wire::record_cap::Client| on.prove_request().send();
        self.0.ask(Repeat::Once, send, read::proof).await
    }

    /// Has the store look at the record again: its bytes, the tree's nodes above it, the commit and its signature. That
    /// there is no such record is looked at as well. One round trip.
    ///
    /// # Errors
    /// As [`prove`](Self::prove). Damage is no error but a [`Verification::Broken`].
    pub async fn verify(&self) -> Result<Found<Verification>> {
        let send = |on: &wire::record_cap::Client| on.verify_request().send();
        self.0
            .ask(Repeat::Once, send, read::reading::verification)
            .await
    }
}
