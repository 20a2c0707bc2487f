//! [`RepoObject`] and [`CollectionObject`]: one repo, and one collection of it, at the current revision.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::names::RepoName;
use carrack_schema::wire::store_capnp::{collection, repo};
use carrack_schema::{Did, Nsid, RecordPath};

use super::error::{Failure, answer};
use super::export;
use super::record::RecordObject;
use super::{list, view};
use crate::error::Result;
use crate::store::{Absence, Repo, Store};

/// A repo by the name it was asked for. A handle is resolved by each leaf, because hops do not touch the disk.
#[derive(Clone)]
pub(super) struct RepoRef {
    store: Store,
    name: RepoName,
}

impl RepoRef {
    pub(super) fn new(store: Store, name: RepoName) -> Self {
        Self { store, name }
    }

    fn did(&self) -> Result<Did> {
        match &self.name {
            RepoName::Did(did) => Ok(did.clone()),
            RepoName::Handle(handle) => self.store.resolve(handle),
        }
    }

    pub(super) fn open(&self) -> Result<Result<Repo, Absence>> {
        self.store.repo(&self.did()?)
    }
}

pub(super) struct RepoObject {
    repo: RepoRef,
}

impl RepoObject {
    pub(super) fn new(repo: RepoRef) -> Self {
        Self { repo }
    }
}

impl repo::Server for RepoObject {
    async fn info(
        self: Rc<Self>,
        _params: repo::InfoParams,
        mut results: repo::InfoResults,
    ) -> capnp::Result<()> {
        answer(|| {
            match self.repo.open()? {
                Err(absence) => results.get().set_absent(view::absent(absence)),
                Ok(repo) => view::repo_info(results.get().init_info(), repo.summary()),
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
            let repo = match self.repo.open()? {
                Ok(repo) => repo,
                Err(absence) => {
                    results.get().set_absent(view::absent(absence));
                    return Ok(());
                }
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
            let repo = self.repo.clone();
            results
                .get()
                .set_collection(new_client(CollectionObject { repo, nsid }));
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
            results
                .get()
                .set_record(new_client(RecordObject::new(self.repo.clone(), path)));
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
            list_in(&self.repo, &request, results.get())
        })
    }

    async fn export(
        self: Rc<Self>,
        params: repo::ExportParams,
        mut results: repo::ExportResults,
    ) -> capnp::Result<()> {
        let sink = params.get()?.get_sink()?;
        // The answer to a failed opening is made like any other; the export itself waits for the sink.
        let opened = answer(|| Ok(self.repo.open()?))?;
        match opened {
            Err(absence) => results.get().set_absent(view::absent(absence)),
            Ok(repo) => {
                let repo = std::sync::Arc::new(repo);
                let stats = export::push(repo.clone(), sink).await?;
                let mut exported = results.get().init_exported();
                view::source(exported.reborrow().init_source(), repo.summary());
                exported.set_bytes(stats.bytes);
                exported.set_blocks(stats.blocks_count as u64);
                exported.set_records(stats.records_count as u64);
            }
        }
        Ok(())
    }
}

fn list_in(
    repo: &RepoRef,
    request: &list::Request<'_>,
    results: carrack_schema::wire::store_capnp::list_result::Builder<'_>,
) -> Result<(), Failure> {
    list::answer(&repo.store, &repo.did()?, request, results)
}

struct CollectionObject {
    repo: RepoRef,
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
            results
                .get()
                .set_record(new_client(RecordObject::new(self.repo.clone(), path)));
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
            list_in(&self.repo, &request, results.get())
        })
    }
}
