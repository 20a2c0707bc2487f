//! Watches: what a listener is told, when, and how little it can cost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use capnp_rpc::new_client;
use carrack_schema::limits::{WATCH_REPOS_MAX, WATCHES_MAX};
use carrack_schema::wire::store_capnp::{self as wire, change::Kind};
use carrack_store::DeleteTarget;
use kit::{Changes, RepoSpec};
use tokio::sync::Notify;

use crate::raw::{self, Folder};

/// A change as a listener was told it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    did: String,
    rev: String,
    kind: Kind,
    commit: Vec<u8>,
    records: u64,
}

/// What a listener was told.
#[derive(Default)]
struct Heard {
    calls: RefCell<Vec<(Vec<Change>, bool)>>,
    outstanding: Cell<u32>,
    is_busy: Cell<bool>,
    is_free: Notify,
    is_dropped: Cell<bool>,
}

impl Heard {
    fn calls(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Takes what was told since the last time, once there is so much of it.
    async fn take(&self, calls: usize) -> Vec<(Vec<Change>, bool)> {
        while self.calls() < calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.calls.take()
    }
}

struct Listener(Rc<Heard>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.is_dropped.set(true);
    }
}

impl wire::listener::Server for Listener {
    async fn changed(
        self: Rc<Self>,
        params: wire::listener::ChangedParams,
        _results: wire::listener::ChangedResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let read = |change: wire::change::Reader<'_>| Change {
            did: change.get_did().unwrap().to_string().unwrap(),
            rev: change.get_rev().unwrap().to_string().unwrap(),
            kind: change.get_kind().unwrap(),
            commit: change.get_commit().unwrap().to_vec(),
            records: change.get_records(),
        };
        let changes = params.get_changes()?.iter().map(read).collect();
        self.0
            .calls
            .borrow_mut()
            .push((changes, params.get_missed()));
        self.0.outstanding.set(self.0.outstanding.get() + 1);
        assert_eq!(self.0.outstanding.get(), 1, "one call at a time");
        while self.0.is_busy.get() {
            self.0.is_free.notified().await;
        }
        self.0.outstanding.set(0);
        Ok(())
    }
}

type Watch = capnp::capability::RemotePromise<wire::store::watch_results::Owned>;

/// Watches these repos, or all.
fn watch(session: &wire::session::Client, repos: Option<&[&str]>, heard: &Rc<Heard>) -> Watch {
    let store = session.store_request().send().pipeline.get_store();
    let mut request = store.watch_request();
    let mut params = request.get();
    let mut selection = params.reborrow().init_repos();
    match repos {
        None => selection.set_all(()),
        Some(repos) => {
            let mut only = selection.init_only(u32::try_from(repos.len()).unwrap());
            for (i, did) in (0..).zip(repos) {
                only.set(i, did);
            }
        }
    }
    params.set_listener(new_client(Listener(heard.clone())));
    request.send()
}

async fn started(watch: Watch) -> Result<wire::watch::Client, String> {
    let response = watch.promise.await.map_err(|error| error.extra)?;
    Ok(response.get().unwrap().get_watch().unwrap())
}

fn small(seed: u64) -> kit::Repo {
    RepoSpec {
        records: 5,
        seed,
        ..RepoSpec::default()
    }
    .build()
}

fn next(repo: &kit::Repo) -> kit::Repo {
    let changes = Changes {
        added: 1,
        ..Changes::default()
    };
    repo.next_version(&repo.random_edits(1, changes))
}

fn imported(repo: &kit::Repo) -> Change {
    Change {
        did: repo.did.to_string(),
        rev: repo.rev.to_string(),
        kind: Kind::Imported,
        commit: repo.commit_cid.as_bytes().to_vec(),
        records: repo.records.len() as u64,
    }
}

fn delete(folder: &Folder, repo: &kit::Repo, path: Option<&str>) {
    let did = repo.did.clone();
    let target = match path {
        None => DeleteTarget::Repo(did),
        Some(path) => DeleteTarget::Record(did, path.parse().unwrap()),
    };
    folder.store.delete(&target, false).unwrap();
}

#[test]
fn a_listener_hears_of_what_it_asked_for() {
    let (one, other) = (small(331), small(332));
    raw::paused(async |folder| {
        let session = folder.login();
        let (heard, heard_all) = (Rc::<Heard>::default(), Rc::<Heard>::default());
        let only = [one.did.as_str(), "did:plc:nobody"];
        let _watch = started(watch(&session, Some(&only), &heard)).await.unwrap();
        let _all = started(watch(&session, None, &heard_all)).await.unwrap();
        folder.import(&one);
        assert_eq!(heard.take(1).await, [(vec![imported(&one)], false)]);
        folder.import(&other);
        let all = heard_all.take(2).await;
        assert_eq!(all[1], (vec![imported(&other)], false));
        delete(&folder, &one, Some(&one.records[0].path));
        let less = Change {
            kind: Kind::RecordDeleted,
            records: 4,
            ..imported(&one)
        };
        assert_eq!(heard.take(1).await, [(vec![less.clone()], false)]);
        delete(&folder, &one, None);
        let gone = Change {
            kind: Kind::RepoDeleted,
            rev: String::new(),
            commit: Vec::new(),
            records: 0,
            ..less
        };
        assert_eq!(heard.take(1).await, [(vec![gone], false)]);
    });
}

#[test]
fn a_busy_listener_is_told_of_each_repo_once_when_it_is_free() {
    let (one, other) = (small(333), small(334));
    raw::paused(async |folder| {
        let session = folder.login();
        let heard = Rc::<Heard>::default();
        let _watch = started(watch(&session, None, &heard)).await.unwrap();
        heard.is_busy.set(true);
        folder.import(&one);
        assert_eq!(heard.take(1).await, [(vec![imported(&one)], false)]);
        folder.import(&other);
        let (second, third) = (next(&one), next(&next(&one)));
        folder.import(&second);
        folder.import(&third);
        // It may take as long as it likes: a watch costs what is kept for it, and no more.
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert_eq!(heard.calls(), 0);
        heard.is_busy.set(false);
        heard.is_free.notify_one();
        let told = heard.take(1).await;
        assert_eq!(told, [(vec![imported(&other), imported(&third)], false)]);
    });
}

#[test]
fn a_dropped_watch_ends_the_telling_at_once() {
    let repo = small(335);
    raw::paused(async |folder| {
        let session = folder.login();
        for is_busy in [false, true] {
            let heard = Rc::<Heard>::default();
            heard.is_busy.set(is_busy);
            let watch = started(watch(&session, None, &heard)).await.unwrap();
            folder.import_any(&repo);
            heard.take(1).await;
            drop(watch);
            while !heard.is_dropped.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                // A call under way is the client's own to end.
                heard.is_busy.set(false);
                heard.is_free.notify_one();
            }
            folder.import(&next(&repo));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(heard.calls(), 0);
            delete(&folder, &repo, None);
        }
    });
}

#[test]
fn a_listener_that_fails_is_told_nothing_more() {
    struct Failing(Rc<Heard>);
    impl wire::listener::Server for Failing {
        async fn changed(
            self: Rc<Self>,
            _params: wire::listener::ChangedParams,
            _results: wire::listener::ChangedResults,
        ) -> capnp::Result<()> {
            self.0.calls.borrow_mut().push((Vec::new(), false));
            Err(capnp::Error::failed("not now".into()))
        }
    }
    let repo = small(336);
    raw::paused(async |folder| {
        let session = folder.login();
        let heard = Rc::<Heard>::default();
        let store = session.store_request().send().pipeline.get_store();
        let mut request = store.watch_request();
        request.get().init_repos().set_all(());
        request
            .get()
            .set_listener(new_client(Failing(heard.clone())));
        let _watch = started(request.send()).await.unwrap();
        folder.import(&repo);
        heard.take(1).await;
        folder.import(&next(&repo));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(heard.calls(), 0);
    });
}

#[test]
fn a_connection_has_so_many_watches() {
    raw::paused(async |folder| {
        let session = folder.login();
        let heard = Rc::<Heard>::default();
        let mut watches = Vec::new();
        for _ in 0..WATCHES_MAX {
            watches.push(started(watch(&session, None, &heard)).await.unwrap());
        }
        let error = started(watch(&session, None, &heard)).await.err().unwrap();
        assert!(error.contains("overloaded: "), "{error}");
        // Another connection has its own.
        started(watch(&folder.login(), None, &heard)).await.unwrap();
        watches.pop();
        watches.push(started(watch(&session, None, &heard)).await.unwrap());
        assert!(started(watch(&session, None, &heard)).await.is_err());
    });
}

#[test]
fn a_watch_names_so_many_repos_and_at_least_one() {
    raw::paused(async |folder| {
        let session = folder.login();
        let heard = Rc::<Heard>::default();
        let dids: Vec<String> = (0..=WATCH_REPOS_MAX)
            .map(|i| format!("did:plc:{i}"))
            .collect();
        let dids: Vec<&str> = dids.iter().map(String::as_str).collect();
        started(watch(&session, Some(&dids[1..]), &heard))
            .await
            .unwrap();
        let error = started(watch(&session, Some(&dids), &heard)).await;
        assert!(error.err().unwrap().contains("limitExceeded: "));
        let error = started(watch(&session, Some(&["alice.test"]), &heard)).await;
        assert!(error.err().unwrap().contains("invalidArgument: "));
        let store = session.store_request().send().pipeline.get_store();
        let mut request = store.watch_request();
        request.get().set_listener(new_client(Listener(heard)));
        let error = started(request.send()).await.err().unwrap();
        assert!(error.contains("invalidArgument: "), "{error}");
    });
}
