//! [`RepoObject`] and [`CollectionObject`]: one repo, and one collection of it, at the current revision.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::wire::store_capnp::{Absent, collection, repo};
use carrack_schema::{Did, Nsid, RecordPath};

use super::error::answer;
use super::record::RecordObject;
use super::{list, view};
use crate::store::Store;

pub(super) struct RepoObject {
    store: Store,
    did: Did,
}

impl RepoObject {
    pub(super) fn new(store: Store, did: Did) -> Self {
        Self { store, did }
    }
}

impl repo::Server for RepoObject {
    async fn info(
        self: Rc<Self>,
        _params: repo::InfoParams,
        mut results: repo::InfoResults,
    ) -> capnp::Result<()> {
        answer(|| {
            match self.store.repo(&self.did)? {
                None => results.get().set_absent(Absent::Repo),
                Some(repo) => view::repo_info(results.get().init_info(), repo.summary()),
            }
            Ok(())
        })
    }

    async fn collections(
        self: Rc<Self>,
        _params: repo::CollectionsParams,
        mut results: repo::CollectionsResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let Some(repo) = self.store.repo(&self.did)? else {
                results.get().set_absent(Absent::Repo);
                return Ok(());
            };
            let collections = repo.collections()?;
            let mut found = results.get().init_found();
            view::source(found.reborrow().init_source(), repo.summary());
            view::collections(
                found.init_collections(view::count(collections.len())),
                &collections,
            );
            Ok(())
        })
    }

    async fn collection(
        self: Rc<Self>,
        params: repo::CollectionParams,
        mut results: repo::CollectionResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let nsid = params.get()?.get_nsid()?.to_str()?.parse()?;
            let (store, did) = (self.store.clone(), self.did.clone());
            results
                .get()
                .set_collection(new_client(CollectionObject { store, did, nsid }));
            Ok(())
        })
    }

    async fn record(
        self: Rc<Self>,
        params: repo::RecordParams,
        mut results: repo::RecordResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let path = params.get()?.get_path()?.to_str()?.parse()?;
            let record = RecordObject::new(self.store.clone(), self.did.clone(), path);
            results.get().set_record(new_client(record));
            Ok(())
        })
    }

    async fn list(
        self: Rc<Self>,
        params: repo::ListParams,
        mut results: repo::ListResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let params = params.get()?;
            let request = list::Request::read(
                None,
                params.get_range()?,
                params.get_want()?,
                params.get_page()?,
            )?;
            list::answer(&self.store, &self.did, &request, results.get())
        })
    }
}

struct CollectionObject {
    store: Store,
    did: Did,
    nsid: Nsid,
}

impl collection::Server for CollectionObject {
    async fn record(
        self: Rc<Self>,
        params: collection::RecordParams,
        mut results: collection::RecordResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let rkey = params.get()?.get_rkey()?.to_str()?.parse()?;
            let path = RecordPath {
                collection: self.nsid.clone(),
                rkey,
            };
            let record = RecordObject::new(self.store.clone(), self.did.clone(), path);
            results.get().set_record(new_client(record));
            Ok(())
        })
    }

    async fn list(
        self: Rc<Self>,
        params: collection::ListParams,
        mut results: collection::ListResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let params = params.get()?;
            let request = list::Request::read(
                Some(&self.nsid),
                params.get_range()?,
                params.get_want()?,
                params.get_page()?,
            )?;
            list::answer(&self.store, &self.did, &request, results.get())
        })
    }
}
