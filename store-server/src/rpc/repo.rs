//! [`RepoObject`] and [`CollectionObject`]: one repo, and one collection of it, at the current revision or a pinned one.

use std::rc::Rc;
use std::sync::Arc;

use capnp_rpc::new_client;
use carrack_repack::head::rev_of;
use carrack_schema::limits::RECORD_FRAME_BYTES_MAX;
use carrack_schema::names::RepoName;
use carrack_schema::wire::store_capnp::{collection, repo};
use carrack_schema::{Did, Nsid, RecordPath, Tid};

use super::caller::{Call, Caller};
use super::error::{Failure, answer, answer_async};
use super::export;
use super::record::{self, RecordObject};
use super::{list, scan, view, visible};
use crate::auth::Operation;
use crate::error::Result;
use crate::store::{Absence, Repo, Store};

/// A repo by the name it was asked for. A handle is resolved by each leaf, because hops do not touch the disk.
pub(super) struct RepoRef {
    caller: Caller,
    name: RepoName,
    at: At,
}

/// Which revision of a repo is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The current one, whichever that is when a leaf is called.
    Head,
    /// This one; none is that of a commit that has none.
    Rev(Option<Tid>),
}

impl RepoRef {
    /// Names a repo.
    ///
    /// # Errors
    /// `denied` for one outside the scope, whether or not the store holds it.
    pub(super) fn new(caller: Caller, name: RepoName) -> Result<Self> {
        if let RepoName::Did(did) = &name {
            caller.check_repo(did)?;
        }
        let at = At::Head;
        Ok(Self { caller, name, at })
    }

    /// Lets in a call that gives out another object of this repo, and returns what that one holds.
    fn hop(&self) -> Result<Self> {
        Ok(Self {
            caller: self.caller.hop()?,
            name: self.name.clone(),
            at: self.at,
        })
    }

    /// Lets in a call that does `operation`.
    pub(super) fn begin(&self, operation: Operation) -> Result<Call> {
        self.caller.begin(operation)
    }

    pub(super) fn did(&self, call: &Call) -> Result<Did> {
        call.resolve(&self.name)
    }

    pub(super) fn at(&self) -> At {
        self.at
    }

    /// Takes the snapshot that a leaf reads.
    ///
    /// # Errors
    /// As [`did`](Self::did); `revNotRetained`; `damaged`.
    pub(super) fn open(&self, call: &Call) -> Result<Result<Repo, Absence>> {
        self.at.open(call.store(), &self.did(call)?)
    }

    /// As [`open`](Self::open), for a leaf that reads little: of the current revision it gets the snapshot that whoever
    /// read last has.
    pub(super) fn shared(&self, call: &Call) -> Result<Result<Arc<Repo>, Absence>> {
        self.at.shared(call.store(), &self.did(call)?)
    }

    /// As [`shared`](Self::shared), with its rows in order at hand. Of a repo of many extents this takes long, so it is
    /// for the pool, unless whoever read last has them.
    async fn open_rows(&self, call: &Call) -> Result<Result<Arc<Repo>, Absence>, Failure> {
        let (store, did, at) = (call.store().clone(), self.did(call)?, self.at);
        if at == At::Head
            && let Ok(repo) = store.current(&did)?
            && repo.has_rows()
        {
            return Ok(Ok(repo));
        }
        let open = move || {
            let opened = at.shared(&store, &did)?;
            if let Ok(repo) = &opened {
                repo.shown()?;
            }
            Ok(opened)
        };
        Ok(call.work(open).await?)
    }
}

impl At {
    /// Takes a snapshot of a repo at this revision.
    ///
    /// # Errors
    /// `revNotRetained`; `damaged`.
    pub(super) fn open(self, store: &Store, did: &Did) -> Result<Result<Repo, Absence>> {
        match self {
            Self::Head => store.repo(did),
            Self::Rev(rev) => store.pinned(did, rev),
        }
    }

    /// As [`open`](Self::open); of the current revision, the snapshot that whoever read last has.
    ///
    /// # Errors
    /// As there.
    pub(super) fn shared(self, store: &Store, did: &Did) -> Result<Result<Arc<Repo>, Absence>> {
        match self {
            Self::Head => store.current(did),
            Self::Rev(_) => Ok(self.open(store, did)?.map(Arc::new)),
        }
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
        answer_async(async {
            let call = self.repo.begin(Operation::Read)?;
            // Who may see some collections only is told of these, which are counted.
            let opened = match call.authority().sees_all_collections() {
                true => self.repo.shared(&call)?,
                false => self.repo.open_rows(&call).await?,
            };
            match opened {
                Err(absence) => results.get().set_absent(view::absent(absence)),
                Ok(repo) => {
                    let summary = visible::summary(call.authority(), &repo)?;
                    view::repo_info(results.get().init_info(), &summary);
                }
            }
            Ok(())
        })
        .await
    }

    async fn collections(
        self: Rc<Self>,
        _params: repo::CollectionsParams,
        mut results: repo::CollectionsResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.repo.begin(Operation::List)?;
            let repo = match self.repo.open_rows(&call).await? {
                Ok(repo) => repo,
                Err(absence) => {
                    results.get().set_absent(view::absent(absence));
                    return Ok(());
                }
            };
            let collections = visible::collections(call.authority(), &repo)?;
            let _answering = call
                .room_for(collections.len() * RECORD_FRAME_BYTES_MAX)
                .await?;
            let mut found = results.get().init_found();
            view::source(found.reborrow().init_source(), repo.summary());
            view::collections(
                found.init_collections(view::count(collections.len())),
                &collections,
            );
            Ok(())
        })
        .await
    }

    async fn collection(
        self: Rc<Self>,
        params: repo::CollectionParams,
        mut results: repo::CollectionResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let nsid = params.get()?.get_nsid()?.to_str()?.parse()?;
            self.repo.caller.check_collection(&nsid)?;
            let repo = self.repo.hop()?;
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
            let path: RecordPath = params.get()?.get_path()?.to_str()?.parse()?;
            self.repo.caller.check_collection(&path.collection)?;
            let record = RecordObject::new(self.repo.hop()?, path);
            results.get().set_record(new_client(record));
            Ok(())
        })
    }

    async fn list(
        self: Rc<Self>,
        params: repo::ListParams,
        mut results: repo::ListResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let request = {
                let params = params.get()?;
                let (range, want) = (params.get_range()?, params.get_want()?);
                list::Request::read(None, range, want, params.get_page()?)?.into_owned()
            };
            // What it asks for was copied out of it.
            drop(params);
            list::answer(&self.repo, request, results.get()).await
        })
        .await
    }

    async fn export(
        self: Rc<Self>,
        params: repo::ExportParams,
        mut results: repo::ExportResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let sink = params.get()?.get_sink()?;
            let call = self.repo.begin(Operation::Export)?;
            call.check_all_collections("an export is of the whole repository")?;
            match self.repo.open(&call)? {
                Err(absence) => {
                    call.ends("absent");
                    results.get().set_absent(view::absent(absence));
                }
                Ok(repo) => {
                    let repo = Arc::new(repo);
                    let pushing = export::push(&call, repo.clone(), sink);
                    let stats = call.ended(call.while_allowed(pushing).await)?;
                    let mut exported = results.get().init_exported();
                    view::source(exported.reborrow().init_source(), repo.summary());
                    exported.set_bytes(stats.bytes);
                    exported.set_blocks(stats.blocks_count as u64);
                    exported.set_records(stats.records_count as u64);
                }
            }
            Ok(())
        })
        .await
    }

    async fn at(
        self: Rc<Self>,
        params: repo::AtParams,
        mut results: repo::AtResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let rev = rev_of(params.get()?.get_rev()?.to_str()?)?;
            let mut repo = self.repo.hop()?;
            repo.at = At::Rev(rev);
            results.get().set_repo(new_client(Self::new(repo)));
            Ok(())
        })
    }

    async fn scan(
        self: Rc<Self>,
        params: repo::ScanParams,
        mut results: repo::ScanResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let params = params.get()?;
            let (range, want) = (params.get_range()?, params.get_want()?);
            let request = list::Request::read_all(None, range, want)?.into_owned();
            scan::answer(&self.repo, request, params.get_sink()?, results.get()).await
        })
        .await
    }
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
            let record = RecordObject::new(self.repo.hop()?, path);
            results.get().set_record(new_client(record));
            Ok(())
        })
    }

    async fn get(
        self: Rc<Self>,
        params: collection::GetParams,
        mut results: collection::GetResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let params = params.get()?;
            let path = RecordPath {
                collection: self.nsid.clone(),
                rkey: params.get_rkey()?.to_str()?.parse()?,
            };
            record::read(&self.repo, &path, params.get_want()?, results.get()).await
        })
        .await
    }

    async fn list(
        self: Rc<Self>,
        params: collection::ListParams,
        mut results: collection::ListResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let request = {
                let params = params.get()?;
                let (range, want) = (params.get_range()?, params.get_want()?);
                list::Request::read(Some(&self.nsid), range, want, params.get_page()?)?.into_owned()
            };
            // What it asks for was copied out of it.
            drop(params);
            list::answer(&self.repo, request, results.get()).await
        })
        .await
    }

    async fn scan(
        self: Rc<Self>,
        params: collection::ScanParams,
        mut results: collection::ScanResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let params = params.get()?;
            let (range, want) = (params.get_range()?, params.get_want()?);
            let request = list::Request::read_all(Some(&self.nsid), range, want)?.into_owned();
            scan::answer(&self.repo, request, params.get_sink()?, results.get()).await
        })
        .await
    }
}
