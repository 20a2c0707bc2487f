//! Queries over RPC: what the client makes of them, what a grant allows, what is refused, and what ends one that runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use carrack_client::query::{Ended, List, Plan, Repos, Test, What};
use carrack_client::{Absent, Body, Client, Scope, Session, Want};
use carrack_schema::limits::{QUERIES_MAX, QUERY_BYTES_MAX, QUERY_STEPS_MAX};
use carrack_schema::wire::query_capnp::plan as wire_plan;
use carrack_schema::wire::store_capnp as wire;
use carrack_schema::{Code, Value};
use carrack_segment::{Directory, Fs};
use carrack_store::{Clock, Door as ServerDoor, Entrance, ImportRequest, Store, rpc};
use kit::cbor::Value as Cbor;
use kit::{Mix, Order, RepoSpec};

use crate::door::{each, must_import};
use crate::raw;

const LIKE: &str = "app.bsky.feed.like";
const POST: &str = "app.bsky.feed.post";

fn social(seed: u64, records: usize) -> kit::Repo {
    RepoSpec {
        records,
        seed,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
    .build()
}

/// Returns a repo that likes each post of another so often as its number says.
fn likes_of(posts: &kit::Repo, seed: u64) -> (kit::Repo, Vec<String>) {
    let posts = posts
        .records
        .iter()
        .filter(|record| record.path.starts_with(POST));
    let did = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
    let author = social(71, 60).did;
    let uris: Vec<String> = posts
        .take(5)
        .map(|post| format!("at://{author}/{}", post.path))
        .collect();
    let mut extra = Vec::new();
    for (number, uri) in uris.iter().enumerate() {
        for i in 0..=number {
            let like = Cbor::map([("subject", Cbor::map([("uri", Cbor::text(uri.clone()))]))]);
            extra.push((format!("{LIKE}/{number}-{i}"), like.encode()));
        }
    }
    let repo = RepoSpec {
        records: 0,
        seed,
        did: Some(did.parse().unwrap()),
        extra,
        ..RepoSpec::default()
    };
    (repo.build(), uris)
}

#[test]
fn a_plan_answers_through_every_door() {
    let posts = social(71, 60);
    let (likes, uris) = likes_of(&posts, 72);
    each(async |store| {
        for repo in [&posts, &likes] {
            must_import(&store.session, &repo.car(Order::Pds)).await;
        }
        let reader = store.session.store();
        let plan = Plan::new()
            .list(likes.did.as_str(), LIKE)
            .group("subject.uri")
            .filter([Test::at_least("@count", Value::Int(2))])
            .top(3)
            .map("@value")
            .project(Want::value().with_cid());
        let answer = reader.query(&plan).await.unwrap();
        assert_eq!(answer.ended, Ended::Complete);
        let found: Vec<_> = answer
            .rows
            .iter()
            .map(|row| (row.count, answer.uri(row)))
            .collect();
        let expected = |number: usize| (number as u64 + 1, Some(uris[number].clone()));
        assert_eq!(found, [expected(4), expected(3), expected(2)]);
        for row in &answer.rows {
            let record = row.record().unwrap();
            let path = format!("{}/{}", record.collection, record.rkey);
            assert_eq!(record.cid, Some(posts.record(&path).unwrap().cid));
            assert!(matches!(record.body, Body::Value(_)));
        }
        // Rows name the repo they are of first; the one that was listed was read as well.
        let sources: Vec<_> = answer
            .sources
            .iter()
            .map(|source| source.did.as_str())
            .collect();
        assert_eq!(sources, [posts.did.as_str(), likes.did.as_str()]);
        assert_eq!(answer.repos, 2);
        let rows: Vec<_> = answer
            .steps
            .iter()
            .map(|cost| (cost.rows_in, cost.rows_out))
            .collect();
        assert_eq!(rows, [(0, 15), (15, 5), (5, 4), (4, 3), (3, 3), (3, 3)]);

        let absent = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
        let plan = Plan::new().list_of(List::in_repos(Repos::Named(vec![absent.into()]), LIKE));
        let answer = reader.query(&plan.count()).await.unwrap();
        assert_eq!(
            (answer.rows[0].count, &answer.rows[0].what),
            (0, &What::Count)
        );
        assert_eq!(
            (answer.absent[0].step, answer.absent[0].hop),
            (1, Absent::Repo)
        );
    });
}

#[test]
fn a_plan_is_refused_before_it_runs() {
    let repo = social(73, 20);
    each(async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let reader = store.session.store();
        let refused = async |plan: &Plan| reader.query(plan).await.unwrap_err();
        let likes = || Plan::new().list(repo.did.as_str(), LIKE);
        for (plan, code, words) in [
            (Plan::new(), Code::InvalidArgument, "no steps"),
            (
                likes().first(1).from(2),
                Code::InvalidArgument,
                "step 2: it looks at step 2",
            ),
            (
                likes().among("a", 2, "a"),
                Code::InvalidArgument,
                "step 2: it looks at step 2",
            ),
            (
                likes().group("@nothing"),
                Code::InvalidArgument,
                "step 2: `@nothing`",
            ),
            (
                likes().group(&"x".repeat(2_000)),
                Code::LimitExceeded,
                "step 2: a path of 2000 bytes",
            ),
            (
                Plan::new().list("did:plc:UP", "no"),
                Code::InvalidArgument,
                "step 1: ",
            ),
            (
                Plan::new().get(["at://alice.example/a.b.c/d"]),
                Code::InvalidArgument,
                "step 1: ",
            ),
            (
                Plan::new().list("no.such.example", LIKE),
                Code::UnknownHandle,
                "nobody",
            ),
        ] {
            let error = refused(&plan).await;
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let tests = (0..10_000).map(|_| Test::exists("a"));
        let error = refused(&likes().filter(tests)).await;
        assert_eq!(error.code(), Code::LimitExceeded);
        assert!(error.to_string().contains("step 2: 10000 tests"), "{error}");
        let mut long = likes();
        for _ in 0..QUERY_STEPS_MAX {
            long = long.first(1);
        }
        assert_eq!(refused(&long).await.code(), Code::LimitExceeded);
        // The connection is none the worse.
        assert!(reader.query(&likes().count()).await.unwrap().rows[0].count > 0);
    });
}

/// Sends a plan that is written by hand, and returns what refused it.
async fn refusal(
    session: &wire::session::Client,
    write: impl FnOnce(wire_plan::Builder<'_>),
) -> String {
    let store = session.store_request().send().pipeline.get_store();
    let mut request = store.query_request();
    write(request.get().init_plan());
    match request.send().promise.await {
        Ok(_) => String::new(),
        Err(error) => error.extra.replace("remote exception: ", ""),
    }
}

#[test]
fn what_no_client_of_ours_sends_is_refused() {
    raw::paused(async |folder| {
        let session = folder.login();
        let unset = refusal(&session, |plan| {
            plan.init_steps(1);
        });
        assert_eq!(
            unset.await,
            "invalidArgument: step 1: it does not say what it does"
        );
        let no_repos = refusal(&session, |plan| {
            plan.init_steps(1).get(0).init_list().set_collection(LIKE);
        });
        assert_eq!(
            no_repos.await,
            "invalidArgument: step 1: it does not say which repositories"
        );
        let untested = refusal(&session, |plan| {
            let mut steps = plan.init_steps(2);
            steps.reborrow().get(0).init_get(0);
            steps.get(1).init_filter(1).get(0).set_path("a");
        });
        assert_eq!(
            untested.await,
            "invalidArgument: step 2: a test does not say what it asks"
        );
        let bad_text = refusal(&session, |plan| {
            let mut steps = plan.init_steps(2);
            steps.reborrow().get(0).init_get(0);
            let text = steps.get(1).init_group(2);
            text.as_bytes_mut().copy_from_slice(&[0xff, 0xfe]);
        });
        assert_eq!(
            bad_text.await,
            "invalidArgument: step 2: a text is not UTF-8"
        );
        let no_value = refusal(&session, |plan| {
            let mut steps = plan.init_steps(2);
            steps.reborrow().get(0).init_get(0);
            let mut test = steps.get(1).init_filter(1).get(0);
            test.set_path("a");
            test.init_equals();
        });
        assert!(no_value.await.contains("value on the wire ends early"));
        let answer = refusal(&session, |mut plan| {
            plan.set_answer(2);
            plan.init_steps(1).get(0).init_get(0);
        });
        assert_eq!(
            answer.await,
            "invalidArgument: the answer is of step 2, and there are 1"
        );
    });
}

#[test]
fn an_answer_is_no_longer_than_it_says() {
    let repo = social(74, 3_000);
    raw::paused(async |folder| {
        folder.import(&repo);
        let session = folder.login();
        let store = session.store_request().send().pipeline.get_store();
        for (collection, end) in [
            (POST, "first"),
            (LIKE, "first"),
            (LIKE, "map"),
            (LIKE, "group"),
        ] {
            let mut request = store.query_request();
            let mut plan = request.get().init_plan();
            plan.reborrow().init_budget().set_bytes(QUERY_BYTES_MAX);
            plan.reborrow().get_budget().unwrap().set_rows(u32::MAX);
            let mut steps = plan.init_steps(2);
            let mut list = steps.reborrow().get(0).init_list();
            list.set_collection(collection);
            list.init_repos().init_named(1).set(0, repo.did.as_str());
            match end {
                // Names that lead nowhere.
                "map" => steps.get(1).set_map("subject.uri"),
                "group" => steps.get(1).set_group("createdAt"),
                _ => steps.get(1).set_first(u32::MAX),
            }
            let response = request.send().promise.await.unwrap();
            let answer = response.get().unwrap().get_answer().unwrap();
            let rows = answer.get_rows().unwrap().len();
            let bytes = answer.total_size().unwrap().word_count * 8;
            let counted = u64::from(answer.get_bytes());
            assert!(rows > 500, "{rows}");
            // Beside rows and sources: the steps' costs and the answer itself.
            assert!(bytes <= counted + 512, "{bytes} bytes, {counted} counted");
            assert!(counted < bytes * 5 / 4, "{bytes} bytes, {counted} counted");
        }
    });
}

/// A clock that stops whoever runs a query at its look, until it is told to go on.
#[derive(Default)]
struct Barrier {
    looks: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_armed: bool,
    /// Queries that stand still.
    waiting: usize,
}

impl Clock for Barrier {
    fn now(&self) -> i64 {
        if std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("carrack-query"))
        {
            self.looks.fetch_add(1, Ordering::Relaxed);
            let mut state = self.state.lock().unwrap();
            state.waiting += 1;
            while state.is_armed {
                state = self.changed.wait(state).unwrap();
            }
            state.waiting -= 1;
        }
        1_800_000_000_000_000
    }
}

impl Barrier {
    fn arm(&self) {
        self.state.lock().unwrap().is_armed = true;
    }

    fn release(&self) {
        self.state.lock().unwrap().is_armed = false;
        self.changed.notify_all();
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }
}

/// A store whose queries can be stopped midway, and a plan that takes long in it.
struct Held {
    folder: tempfile::TempDir,
    clock: Arc<Barrier>,
    store: Store,
    plan: Plan,
}

impl Held {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Barrier::default());
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
        let store = Store::open(directory, clock.clone()).unwrap();
        let repo = social(75, 3_000);
        store
            .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
            .unwrap();
        let mut plan = Plan::new().list(repo.did.as_str(), LIKE);
        for _ in 0..14 {
            plan = plan.filter((0..32).map(|_| Test::exists("subject.uri#did")));
        }
        Self {
            folder,
            clock,
            store,
            plan: plan.count(),
        }
    }

    fn login(&self) -> Session {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server = rpc::serve(self.store.clone(), Entrance::new(ServerDoor::Owner), theirs);
        tokio::task::spawn_local(async move {
            let _ended = server.await;
        });
        let (client, connection) = Client::local(ours);
        tokio::task::spawn_local(connection);
        client.login("")
    }

    /// Waits until so many queries stand still.
    async fn until_held(&self, count: usize) {
        while self.clock.waiting() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Lets the query go on, and returns how often it looked at the clock until its thread had left the store.
    fn looks_until_gone(self) -> u64 {
        let Self {
            folder,
            clock,
            store,
            ..
        } = self;
        let before = clock.looks.load(Ordering::Relaxed);
        drop(store);
        clock.release();
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
        // The folder's lock is free once nobody has the store.
        while Store::open(directory.clone(), clock.clone()).is_err() {
            std::thread::yield_now();
        }
        clock.looks.load(Ordering::Relaxed) - before
    }
}

fn on_local_set(body: impl AsyncFnOnce(Held) -> Held) -> Held {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let held = Held::new();
    tokio::task::LocalSet::new().block_on(&runtime, body(held))
}

/// More looks at the clock than a query takes that was told to stop, and far fewer than the plan takes.
const LOOKS_MAX: u64 = 20;

#[test]
fn a_plan_that_takes_long_looks_often() {
    let held = on_local_set(async |held| {
        held.login().store().query(&held.plan).await.unwrap();
        held
    });
    assert!(held.clock.looks.load(Ordering::Relaxed) > 50 * LOOKS_MAX);
}

#[test]
fn dropping_the_call_stops_the_query() {
    let held = on_local_set(async |held| {
        held.clock.arm();
        let store = held.login().store();
        {
            let query = store.query(&held.plan);
            tokio::select! {
                answer = query => panic!("{answer:?}"),
                () = held.until_held(1) => {}
            }
        }
        // The server has heard of the drop before it answers what comes after.
        store.stats().await.unwrap();
        held
    });
    let looks = held.looks_until_gone();
    assert!(looks < LOOKS_MAX, "{looks}");
}

#[test]
fn so_many_queries_run_and_one_more_waits_for_its_place() {
    on_local_set(async |held| {
        held.clock.arm();
        let store = held.login().store();
        let plan = Plan::new()
            .list_of(List::in_repos(Repos::All, LIKE))
            .count();
        let ask = || {
            let (store, plan) = (store.clone(), plan.clone());
            tokio::task::spawn_local(async move { store.query(&plan).await.map(drop) })
        };
        let running: Vec<_> = (0..QUERIES_MAX).map(|_| ask()).collect();
        held.until_held(QUERIES_MAX).await;
        let next = ask();
        // The server has read the call before it answers what comes after; a thread would stand still by now.
        for _ in 0..200 {
            store.stats().await.unwrap();
        }
        assert_eq!(held.clock.waiting(), QUERIES_MAX);
        held.clock.release();
        for query in running.into_iter().chain([next]) {
            query.await.unwrap().unwrap();
        }
        drop(store);
        held
    });
}

#[test]
fn revoking_the_grant_stops_the_query() {
    let held = on_local_set(async |held| {
        let owner = held.login();
        let scope = Scope::none()
            .all_repos()
            .all_collections()
            .list()
            .unlimited_calls()
            .unlimited_bytes()
            .never_expires();
        let issued = owner.grants().issue(scope, "reader").await.unwrap();
        held.clock.arm();
        let store = issued.session.store();
        let query = store.query(&held.plan);
        let revoke = async {
            held.until_held(1).await;
            issued.grant.revoke().await.unwrap();
        };
        let (answer, ()) = tokio::join!(query, revoke);
        assert_eq!(answer.unwrap_err().code(), Code::Revoked);
        drop((store, issued, owner));
        held
    });
    let looks = held.looks_until_gone();
    assert!(looks < LOOKS_MAX, "{looks}");
}

#[test]
fn a_grant_bounds_what_a_query_sees() {
    let posts = social(71, 60);
    let (likes, _) = likes_of(&posts, 72);
    each(async |store| {
        for repo in [&posts, &likes] {
            must_import(&store.session, &repo.car(Order::Pds)).await;
        }
        let grants = store.session.grants();
        let scope = Scope::none()
            .repo(likes.did.as_str())
            .collection(LIKE)
            .read()
            .list()
            .unlimited_calls()
            .unlimited_bytes()
            .never_expires();
        let issued = grants.issue(scope, "likes").await.unwrap();
        let reader = issued.session.store();
        let code = async |plan: Plan| reader.query(&plan).await.unwrap_err().code();
        let (ours, other) = (likes.did.as_str(), posts.did.as_str());
        // What a plan names outside the scope is refused, held or not.
        assert_eq!(code(Plan::new().list(other, LIKE)).await, Code::Denied);
        assert_eq!(
            code(Plan::new().list("did:plc:none", LIKE)).await,
            Code::Denied
        );
        assert_eq!(code(Plan::new().list(ours, POST)).await, Code::Denied);
        let named = format!("at://{ours}/{POST}/x");
        assert_eq!(code(Plan::new().get([named.as_str()])).await, Code::Denied);
        // What rows lead to looks as if the store did not hold it.
        let mapped = Plan::new().list(ours, LIKE).map("subject.uri");
        let answer = reader.query(&mapped).await.unwrap();
        assert_eq!(answer.rows.len(), 5);
        for row in &answer.rows {
            let What::Absent { hop, .. } = &row.what else {
                panic!("{row:?}")
            };
            assert_eq!(*hop, Absent::Repo);
        }
        // And what is of all is of what is seen.
        let all = Plan::new()
            .list_of(List::in_repos(Repos::All, LIKE))
            .group("@did");
        let answer = reader.query(&all).await.unwrap();
        assert_eq!((answer.rows.len(), answer.repos), (1, 1));
        assert_eq!(answer.rows[0].value(), Some(&Value::Text(ours.into())));
        // Reading by name is another operation than listing.
        let only_list = Scope::none()
            .all_repos()
            .all_collections()
            .list()
            .unlimited_calls()
            .bytes(20_000)
            .never_expires();
        let issued = grants.issue(only_list, "lists").await.unwrap();
        let reader = issued.session.store();
        let error = reader.query(&mapped).await.unwrap_err();
        assert_eq!(error.code(), Code::Denied);
        let listed = reader.query(&Plan::new().list(ours, LIKE)).await.unwrap();
        let used = issued.grant.info().await.unwrap().usage.bytes;
        assert_eq!(used, u64::from(listed.bytes));
        let mut last = Ok(listed);
        for _ in 0..10 {
            last = reader.query(&Plan::new().list(ours, LIKE)).await;
        }
        assert_eq!(last.unwrap_err().code(), Code::BudgetSpent);
    });
}
