//! [`GrantsObject`] and [`GrantObject`]: handing on a part of what a session may do, and taking it back.
//!
//! A change waits for the disk, so it runs off the connection's thread. One that has begun goes on though the caller
//! leaves: it is whole or absent.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use capnp_rpc::new_client;
use carrack_schema::Code;
use carrack_schema::limits::{
    LIST_BYTES_MAX, LIST_RECORDS_DEFAULT, LIST_RECORDS_MAX, RECORD_FRAME_BYTES_MAX,
};
use carrack_schema::wire::grant_capnp::{grant, grant_info, grants, usage as wire_usage};

use super::caller::{Call, Caller};
use super::error::{answer, answer_async, exception};
use super::gate::Session;
use super::view;
use crate::auth::grant::{Grant, GrantId, Usage};
use crate::auth::scope::Scope;
use crate::auth::{Authority, Operation, grants::not_found};
use crate::error::{Error, Result};
use crate::store::Store;

pub(super) struct GrantsObject {
    caller: Caller,
}

impl GrantsObject {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }
}

impl grants::Server for GrantsObject {
    async fn issue(
        self: Rc<Self>,
        params: grants::IssueParams,
        mut results: grants::IssueResults,
    ) -> capnp::Result<()> {
        let (call, scope, label, seat) = answer(|| {
            let call = self.caller.begin(Operation::Grant)?;
            let params = params.get()?;
            let label = params.get_label()?.to_str()?.to_owned();
            call.does("issue", "");
            let scope = Scope::read(params.get_scope()?)?;
            // What the caller is to hold has its place before anything is made.
            Ok((call, scope, label, self.caller.hop()?))
        })?;
        let holder = call.authority().clone();
        let work = move |store: &Store| store.issue(&holder, scope, &label);
        let issued = call.ended(change(&call, work).await)?;
        answer(|| {
            call.does("issue", issued.id_text());
            let session = self.caller.with(Authority::of(issued.clone()))?;
            let grant = GrantObject {
                caller: seat,
                id: issued.id_text().to_owned(),
            };
            let mut results = results.get();
            results.set_session(new_client(Session::new(session)));
            results.set_grant(new_client(grant));
            Ok(())
        })
    }

    async fn list(
        self: Rc<Self>,
        params: grants::ListParams,
        mut results: grants::ListResults,
    ) -> capnp::Result<()> {
        answer_async(async {
            let call = self.caller.begin(Operation::Grant)?;
            let params = params.get()?;
            let after = match params.get_after()?.to_str()? {
                "" => None,
                after => Some(parse(after)?),
            };
            let limit = match params.get_limit() {
                0 => LIST_RECORDS_DEFAULT,
                limit => limit.min(LIST_RECORDS_MAX),
            };
            let known = &call.store().inner().grants;
            let (mut grants, mut more) = known.after(call.authority(), after, limit as usize);
            // The page ends behind the scope that crosses the limit, as a listing of records does.
            let mut bytes = 0;
            let fitting = grants.iter().take_while(|grant| {
                let fits = bytes < LIST_BYTES_MAX;
                bytes += grant.scope().wire_bytes();
                fits
            });
            let fitting = fitting.count();
            more |= fitting < grants.len();
            grants.truncate(fitting);
            let _answering = call
                .room_for(bytes + grants.len() * RECORD_FRAME_BYTES_MAX)
                .await?;
            let mut results = results.get();
            results.set_more(more);
            let mut list = results.init_grants(view::count(grants.len()));
            for (i, grant) in (0..).zip(&grants) {
                info(list.reborrow().get(i), grant);
            }
            Ok(())
        })
        .await
    }

    async fn grant(
        self: Rc<Self>,
        params: grants::GrantParams,
        mut results: grants::GrantResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let id = params.get()?.get_id()?.to_str()?.to_owned();
            let caller = self.caller.hop_for(Operation::Grant)?;
            results
                .get()
                .set_grant(new_client(GrantObject { caller, id }));
            Ok(())
        })
    }
}

/// Reads a grant's id. A text that is none names none that there is.
fn parse(id: &str) -> Result<GrantId> {
    let shown = || -> String { id.chars().take(40).flat_map(char::escape_debug).collect() };
    ulid::Ulid::from_string(id)
        .map(GrantId)
        .map_err(|_| not_found(shown()))
}

/// Makes a change off this thread; they take turns.
async fn change<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
) -> capnp::Result<T> {
    let lost = || exception(&Error::new(Code::Internal, "the change's thread has ended"));
    let turn = call.store().inner().grants.turn.clone();
    let turn = turn.acquire_owned().await.map_err(|_| lost())?;
    let store = call.store().clone();
    let changed = tokio::task::spawn_blocking(move || {
        let changed = work(&store);
        drop((turn, store));
        changed
    });
    changed
        .await
        .map_err(|_| lost())?
        .map_err(|error| exception(&error))
}

/// The issuer's end of a grant, by the id that it was asked for.
struct GrantObject {
    caller: Caller,
    id: String,
}

impl GrantObject {
    fn begin(&self) -> Result<(Call, Arc<Grant>)> {
        let call = self.caller.begin(Operation::Grant)?;
        let id = parse(&self.id)?;
        let grant = call.store().inner().grants.find(call.authority(), id)?;
        Ok((call, grant))
    }
}

impl grant::Server for GrantObject {
    async fn info(
        self: Rc<Self>,
        _params: grant::InfoParams,
        mut results: grant::InfoResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let (_call, grant) = self.begin()?;
            info(results.get().init_info(), &grant);
            Ok(())
        })
    }

    async fn revoke(
        self: Rc<Self>,
        _params: grant::RevokeParams,
        mut results: grant::RevokeResults,
    ) -> capnp::Result<()> {
        let (call, id) = answer(|| {
            let (call, grant) = self.begin()?;
            call.does("revoke", grant.id_text());
            // At once; it is made to last next.
            call.store().inner().grants.end(grant.id());
            Ok((call, grant.id()))
        })?;
        let revoked = change(&call, move |store| store.revoke(id)).await;
        results.get().set_revoked(call.ended(revoked)?);
        Ok(())
    }

    async fn save(
        self: Rc<Self>,
        params: grant::SaveParams,
        mut results: grant::SaveResults,
    ) -> capnp::Result<()> {
        let (call, grant, label) = answer(|| {
            let (call, grant) = self.begin()?;
            call.does("save", grant.id_text());
            let label = params.get()?.get_label()?.to_str()?.to_owned();
            Ok((call, grant, label))
        })?;
        let saved = change(&call, move |store| store.save_token(&grant, &label)).await;
        let (token, id) = call.ended(saved)?;
        results.get().set_token(token.text());
        results.get().set_id(id);
        Ok(())
    }

    async fn tokens(
        self: Rc<Self>,
        _params: grant::TokensParams,
        mut results: grant::TokensResults,
    ) -> capnp::Result<()> {
        answer(|| {
            let (_call, grant) = self.begin()?;
            let tokens = grant.tokens();
            let count = view::count(tokens.by_id.len());
            let mut list = results.get().init_tokens(count);
            for (i, token) in (0..).zip(tokens.by_id.values()) {
                let mut wire = list.reborrow().get(i);
                wire.set_id(token.id);
                wire.set_label(&token.label);
                wire.set_created(token.created);
                wire.set_last_used(token.last_used.load(Ordering::Relaxed));
            }
            Ok(())
        })
    }

    async fn forget(
        self: Rc<Self>,
        params: grant::ForgetParams,
        mut results: grant::ForgetResults,
    ) -> capnp::Result<()> {
        let (call, grant, token) = answer(|| {
            let (call, grant) = self.begin()?;
            call.does("forget", grant.id_text());
            Ok((call, grant, params.get()?.get_id()))
        })?;
        let known = change(&call, move |store| store.forget_token(&grant, token)).await;
        results.get().set_known(call.ended(known)?);
        Ok(())
    }
}

fn info(mut wire: grant_info::Builder<'_>, grant: &Grant) {
    wire.set_id(grant.id_text());
    wire.set_parent(grant.parent().map_or("", |parent| parent.id_text()));
    wire.set_label(&grant.facts.label);
    grant.scope().write(wire.reborrow().init_scope());
    wire.set_created(grant.facts.created);
    usage(wire.reborrow().init_usage(), grant.usage());
    wire.set_tokens(view::count(grant.tokens().by_id.len()));
    wire.set_sessions(grant.sessions());
}

pub(super) fn usage(mut wire: wire_usage::Builder<'_>, usage: Usage) {
    wire.set_calls(usage.calls);
    wire.set_bytes(usage.bytes);
    wire.set_last_used(usage.last_used);
    wire.set_refused(usage.refused);
}
