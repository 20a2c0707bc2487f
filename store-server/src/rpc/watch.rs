//! Watches: telling a client's listener which repos change.
//!
//! At most one call to the listener is outstanding. One that takes its time, or never answers, is told less often and of
//! each repo the newest only; what is kept for it meanwhile is bounded, and so are the watches of a connection, so it need
//! not be ended: a listener may read the repos that changed before it answers.

use std::collections::HashSet;

use capnp_rpc::new_client;
use carrack_repack::head::rev_text;
use carrack_schema::limits::WATCH_REPOS_MAX;
use carrack_schema::wire::grant_capnp::selection;
use carrack_schema::wire::store_capnp::listener::{self, changed_params};
use carrack_schema::wire::store_capnp::{change, store, watch};
use carrack_schema::{Code, Did};
use tokio::task::JoinSet;

use super::caller::{Call, Caller};
use super::connection::Permit;
use super::error::{Failure, exception};
use super::view;
use crate::auth::Operation;
use crate::changes::{Change, ChangeKind, Told, Watching};
use crate::error::{Error, Result};

/// The watch that its client holds; with it the telling ends.
struct WatchObject {
    _caller: Caller,
    _place: Permit,
    _telling: JoinSet<()>,
}

impl watch::Server for WatchObject {}

/// Which repos to tell of, within the scope.
enum Wanted {
    All,
    Only(HashSet<Did>),
}

/// Starts a watch of what changes from now on.
pub(super) fn start(
    caller: &Caller,
    params: store::watch_params::Reader<'_>,
) -> Result<watch::Client, Failure> {
    let call = caller.begin(Operation::List)?;
    let wanted = Wanted::read(caller, params.get_repos()?)?;
    let listener = params.get_listener()?;
    let place = caller.connection().watch()?;
    let authority = call.authority().clone();
    let watching = call.store().watch(move |did| {
        let is_wanted = match &wanted {
            Wanted::All => true,
            Wanted::Only(dids) => dids.contains(did),
        };
        is_wanted && authority.sees_repo(did)
    });
    let caller = caller.beside()?;
    let mut telling = JoinSet::new();
    telling.spawn_local(tell(call, watching, listener));
    Ok(new_client(WatchObject {
        _caller: caller,
        _place: place,
        _telling: telling,
    }))
}

impl Wanted {
    fn read(caller: &Caller, wire: selection::Reader<'_>) -> Result<Self, Failure> {
        let dids = match wire.which()? {
            selection::All(()) => return Ok(Self::All),
            selection::Only(dids) => dids?,
            selection::None(()) => {
                let words = "a watch of no repository: name some, or all";
                return Err(Error::new(Code::InvalidArgument, words).into());
            }
        };
        if dids.len() > WATCH_REPOS_MAX {
            let words = format!(
                "{} repositories are more than the {WATCH_REPOS_MAX} a watch may name; watch all",
                dids.len()
            );
            return Err(Error::new(Code::LimitExceeded, words).into());
        }
        let mut only = HashSet::new();
        for did in dids {
            let did = did?.to_str()?.parse()?;
            caller.check_repo(&did)?;
            only.insert(did);
        }
        Ok(Self::Only(only))
    }
}

/// Tells a listener until it fails, its connection ends, or the authority does.
async fn tell(call: Call, watching: Watching, listener: listener::Client) {
    let telling = async {
        loop {
            let told = watching.next().await;
            let bytes = told.changes.iter().map(|change| change.did.as_str().len());
            let charged = call.charge_paced(bytes.sum()).await;
            charged.map_err(|error| exception(&error))?;
            call.connection().room_to_write().await;
            let mut request = listener.changed_request();
            write(&call, request.get(), &told);
            request.send().promise.await?;
        }
    };
    let ended: capnp::Result<()> = call.while_allowed(telling).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a watch ended");
    }
}

fn write(call: &Call, mut wire: changed_params::Builder<'_>, told: &Told) {
    wire.set_missed(told.missed);
    let mut changes = wire.init_changes(view::count(told.changes.len()));
    for (i, change) in (0..).zip(&told.changes) {
        let mut wire = changes.reborrow().get(i);
        write_change(wire.reborrow(), change);
        if !call.authority().sees_all_collections() {
            // How many there are of all collections.
            wire.set_records(0);
        }
    }
}

fn write_change(mut wire: change::Builder<'_>, change: &Change) {
    wire.set_did(change.did.as_str());
    wire.set_rev(rev_text(change.rev));
    if let Some(commit) = &change.commit {
        wire.set_commit(commit.as_bytes());
    }
    wire.set_kind(match change.kind {
        ChangeKind::Imported => change::Kind::Imported,
        ChangeKind::RecordDeleted => change::Kind::RecordDeleted,
        ChangeKind::RepoDeleted => change::Kind::RepoDeleted,
        ChangeKind::Status => change::Kind::Status,
    });
    wire.set_records(change.records);
}
