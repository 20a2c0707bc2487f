//! [`StoreObject`]: reading, over all repos.

use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::limits::{LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX};
use carrack_schema::names::DID_BYTES_MAX;
use carrack_schema::wire::store_capnp::store;

use super::caller::Caller;
use super::error::{answer, answer_async};
use super::list::cut;
use super::repo::{RepoObject, RepoRef};
use super::{ancestors, query, view, visible, watch};
use crate::auth::Operation;

pub(super) struct StoreObject {
    caller: Caller,
}

impl StoreObject {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }
}

impl store::Server for StoreObject {
    async fn repo(
        self: Rc<Self>,
        params: store::RepoParams,
        mut results: store::RepoResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let name = params.get()?.get_did()?.to_str()?.parse()?;
            let repo = RepoRef::new(self.caller.hop()?, name)?;
            results.get().set_repo(new_client(RepoObject::new(repo)));
            Ok(())
        })
    }

    async fn repos(
        self: Rc<Self>,
        params: store::ReposParams,
        mut results: store::ReposResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.caller.begin(Operation::List)?;
            let params = params.get()?;
            let limit = match params.get_limit() {
                0 => LIST_RECORDS_DEFAULT,
                limit => limit.min(LIST_RECORDS_MAX),
            };
            let after = params.get_after()?.to_str()?;
            cut(after.as_bytes(), DID_BYTES_MAX, "a DID to go on after")?;
            let after = after.to_owned();
            let (authority, store) = (call.authority().clone(), call.store().clone());
            let work = move || visible::repos(&authority, &store, &after, limit);
            let ((repos, more), mut answering) = call.make(work).await?;
            answering.grow_to(repos.iter().map(view::repo_info_bytes).sum())?;
            let mut results = results.get();
            results.set_more(more);
            let mut list = results.init_repos(view::count(repos.len()));
            for (i, repo) in (0..).zip(&repos) {
                view::repo_info(list.reborrow().get(i), repo);
            }
            Ok(())
        })
        .await
    }

    async fn stats(
        self: Rc<Self>,
        _params: store::StatsParams,
        mut results: store::StatsResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.caller.begin(Operation::Read)?;
            let (authority, store) = (call.authority().clone(), call.store().clone());
            let work = move || visible::stats(&authority, &store);
            let stats = call.work(work).await?;
            view::stats(results.get().init_stats(), &stats);
            Ok(())
        })
        .await
    }

    async fn ancestors(
        self: Rc<Self>,
        params: store::AncestorsParams,
        mut results: store::AncestorsResults,
    ) -> capnp::Result<()> {
        let answering = ancestors::answer(&self.caller, params, results.get().init_ancestors());
        answer_async(answering).await
    }

    async fn watch(
        self: Rc<Self>,
        params: store::WatchParams,
        mut results: store::WatchResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let watch = watch::start(&self.caller, params.get()?)?;
            results.get().set_watch(watch);
            Ok(())
        })
    }

    async fn query(
        self: Rc<Self>,
        params: store::QueryParams,
        mut results: store::QueryResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.caller.begin(Operation::List)?;
            let plan = query::read(&call, params.get()?.get_plan()?)?;
            let (answered, _answering) = query::run(&call, plan).await?;
            query::write(results.get().init_answer(), &answered);
            Ok(())
        })
        .await
    }
}
