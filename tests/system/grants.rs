//! Grants in use: what a holder sees and spends, what is taken back under way, tokens, restarts, the audit log.

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use capnp_rpc::new_client;
use carrack_client::{
    Address, Budget, Client, ImportOptions, ImportOutcome, Limit, PageRequest, Range, Scope,
    Selection, Session, Want,
};
use carrack_schema::Code;
use carrack_schema::wire::store_capnp::{byte_sink, check_watcher, record_sink};
use carrack_segment::directory::faulty::{Faulty, Op};
use carrack_segment::{Directory, Fs};
use carrack_store::{Entrance, SystemClock, rpc};
use kit::cbor::Value;
use kit::{Order, RepoSpec};

use crate::door::{self, Door, Store, import, must_import};
use crate::wire::{self, Allowed, code};

/// Far away: it only catches what hangs.
const HANGS: Duration = Duration::from_secs(120);

const POSTS: &str = "app.bsky.feed.post";
const FOLLOWS: &str = "app.bsky.graph.follow";

/// Makes a repo with so many posts and follows.
fn spec(did: &str, posts: usize, follows: usize) -> RepoSpec {
    let record = |collection: &str, i: usize| {
        let text = Value::text(format!("record {i} of {collection} in {did}"));
        (
            format!("{collection}/{i:04}"),
            Value::map([("text", text)]).encode(),
        )
    };
    let posts = (0..posts).map(|i| record(POSTS, i));
    let follows = (0..follows).map(|i| record(FOLLOWS, i));
    RepoSpec {
        records: 0,
        did: Some(did.parse().unwrap()),
        extra: posts.chain(follows).collect(),
        ..RepoSpec::default()
    }
}

async fn put(session: &Session, spec: &RepoSpec) {
    must_import(session, &spec.build().car(Order::Pds)).await;
}

async fn restored(store: &Store, token: &str) -> Session {
    let address = store.owner.addresses().iter();
    let unix = address
        .clone()
        .find(|each| matches!(each, Address::Unix(_)));
    Client::connect(unix.unwrap()).await.unwrap().restore(token)
}

#[test]
fn a_holder_is_told_what_it_may_see_and_nothing_of_the_rest() {
    door::each(async |store| {
        let owner = &store.session;
        for (did, posts, follows) in [
            ("did:plc:a", 3, 4),
            ("did:plc:b", 5, 6),
            ("did:plc:c", 7, 8),
        ] {
            put(owner, &spec(did, posts, follows)).await;
        }
        let scope = Scope::all();
        let some_repos = Scope {
            repos: Selection::Only(vec![
                "did:plc:c".into(),
                "did:plc:a".into(),
                "did:plc:z".into(),
            ]),
            ..scope.clone()
        };
        let some_collections = Scope {
            collections: Selection::Only(vec!["app.bsky.feed.*".into()]),
            ..scope
        };
        let all = owner.store().stats().await.unwrap();
        let issued = owner.grants().issue(some_repos, "").await.unwrap();
        let of_some = issued.session.store();
        let stats = of_some.stats().await.unwrap();
        assert_eq!((stats.repos, stats.records, stats.revisions), (2, 22, 2));
        assert!(0 < stats.bytes_in && stats.bytes_in < all.bytes_in);
        assert_eq!(
            (stats.segments, stats.bytes_segments, stats.bytes_catalog),
            (0, 0, 0)
        );
        let listed = of_some.repos("", 0).await.unwrap();
        let dids: Vec<_> = listed
            .repos
            .iter()
            .map(|repo| repo.source.did.as_str())
            .collect();
        assert_eq!((dids, listed.more), (vec!["did:plc:a", "did:plc:c"], false));
        let page = of_some.repos("", 1).await.unwrap();
        assert_eq!((page.repos.len(), page.more), (1, true));
        let page = of_some.repos("did:plc:a", 1).await.unwrap();
        assert_eq!(
            (&*page.repos[0].source.did, page.more),
            ("did:plc:c", false)
        );

        let issued = owner.grants().issue(some_collections, "").await.unwrap();
        let of_posts = issued.session.store();
        let stats = of_posts.stats().await.unwrap();
        assert_eq!(
            (
                stats.repos,
                stats.records,
                stats.bytes_in,
                stats.bytes_stored
            ),
            (3, 0, 0, 0)
        );
        let info = of_posts.repo("did:plc:b").info().await.unwrap().unwrap();
        assert_eq!((info.records, info.bytes_in, info.bytes_stored), (5, 0, 0));
        let listed = of_posts.repos("", 0).await.unwrap();
        let records: Vec<_> = listed.repos.iter().map(|repo| repo.records).collect();
        assert_eq!(records, [3, 5, 7]);
        assert!(
            listed
                .repos
                .iter()
                .all(|repo| repo.bytes_in == 0 && repo.bytes_stored == 0)
        );
        let found = of_posts
            .repo("did:plc:a")
            .collections()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].nsid, found[0].records), (POSTS, 3));
        store.owner.shutdown();
    });
}

#[test]
fn a_cursor_is_of_no_use_under_another_grant() {
    door::through(Door::InProcess, &async |store| {
        put(&store.session, &spec("did:plc:a", 5, 0)).await;
        let one = store
            .session
            .grants()
            .issue(Scope::all(), "one")
            .await
            .unwrap()
            .session;
        let other = store
            .session
            .grants()
            .issue(Scope::all(), "other")
            .await
            .unwrap()
            .session;
        let listing = |session: &Session| {
            let repo = session.store().repo("did:plc:a");
            repo.collection(POSTS)
                .list(Range::default(), Want::default())
        };
        let first = PageRequest {
            cursor: None,
            limit: 2,
        };
        let page = listing(&one).page(first).await.unwrap().unwrap();
        let next = PageRequest {
            cursor: page.next,
            limit: 2,
        };
        for stranger in [&other, &store.session] {
            let refused = listing(stranger).page(next.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
        let page = listing(&one).page(next).await.unwrap().unwrap();
        assert_eq!(page.records[0].rkey, "0002");
        store.owner.shutdown();
    });
}

fn at_most(total: u64) -> Budget {
    Budget {
        total: Limit::AtMost(total),
        per_second: Limit::Unlimited,
    }
}

#[test]
fn calls_and_bytes_are_counted_before_they_are_given_and_end_the_grant_when_they_are_spent() {
    door::through(Door::Unix, &async |store| {
        let repo = spec("did:plc:a", 4, 0);
        put(&store.session, &repo).await;
        let record = repo.build().records[0].bytes.len() as u64 + "0000".len() as u64;
        let scope = Scope {
            // For two records; the third is not given in part.
            bytes: at_most(3 * record - 1),
            calls: at_most(20),
            ..Scope::all()
        };
        let issued = store.session.grants().issue(scope, "").await.unwrap();
        let holder = &issued.session;
        let read = async |rkey: &str| {
            let path = format!("{POSTS}/{rkey}");
            let record = holder.store().repo("did:plc:a").record(&path);
            record
                .read(Want::dag_cbor())
                .await
                .map(|found| found.unwrap())
        };
        read("0000").await.unwrap();
        read("0001").await.unwrap();
        let refused = read("0002").await.unwrap_err();
        assert_eq!(refused.code(), Code::BudgetSpent);
        let usage = holder.usage().await.unwrap();
        // A login is none; each read was a hop to the store, one to the repo, one to the record and the read itself.
        assert_eq!(
            (usage.calls, usage.bytes, usage.refused),
            (13, 2 * record, 1)
        );
        assert_eq!(issued.grant.info().await.unwrap().usage.bytes, 2 * record);
        // What takes no bytes still works, until the calls are spent as well.
        for _ in 0..7 {
            holder.about().await.unwrap();
        }
        let refused = holder.about().await.unwrap_err();
        assert_eq!(refused.code(), Code::BudgetSpent);
        assert_eq!(issued.grant.info().await.unwrap().usage.calls, 20);
        store.owner.shutdown();
    });
}

#[test]
fn what_is_pushed_goes_as_fast_as_the_grant_allows_instead_of_failing() {
    door::through(Door::InProcess, &async |store| {
        let repo = RepoSpec {
            records: 1_500,
            seed: 91,
            ..RepoSpec::default()
        };
        let car = repo.build().car(Order::PreOrder);
        let scope = Scope {
            bytes: Budget {
                total: Limit::Unlimited,
                // More than one second's worth each way, and less than many.
                per_second: Limit::AtMost(car.len() as u64 * 2 / 3),
            },
            ..Scope::all()
        };
        let issued = store.session.grants().issue(scope, "").await.unwrap();
        must_import(&issued.session, &car).await;
        let mut export = issued
            .session
            .store()
            .repo(repo.build().did.as_str())
            .export();
        let mut bytes = Vec::new();
        while let Some(chunk) = export.next().await {
            bytes.extend(chunk);
        }
        export.done().await.unwrap().unwrap();
        assert!(bytes == car);
        let usage = issued.grant.info().await.unwrap().usage;
        assert_eq!(usage.bytes, 2 * car.len() as u64);
        store.owner.shutdown();
    });
}

#[test]
fn a_token_opens_its_grant_on_another_connection_and_the_empty_text_opens_none() {
    door::through(Door::Unix, &async |store| {
        let scope = Scope {
            repos: Selection::Only(vec!["did:plc:a".into()]),
            ..Scope::all()
        };
        let issued = store
            .session
            .grants()
            .issue(scope.clone(), "helper")
            .await
            .unwrap();
        let (token, id) = issued.grant.save("its laptop").await.unwrap();
        assert!(token.starts_with("carrack_"));
        let holder = restored(&store, &token).await;
        let about = holder.about().await.unwrap();
        assert_eq!(
            (about.label, about.grant, about.scope),
            ("helper".into(), issued.info.id.clone(), scope)
        );
        let info = issued.grant.info().await.unwrap();
        // The one that it was issued with is open still.
        assert_eq!((info.tokens, info.sessions), (1, 2));
        let tokens = issued.grant.tokens().await.unwrap();
        assert_eq!((tokens[0].id, &*tokens[0].label), (id, "its laptop"));
        assert!(tokens[0].last_used.is_some());

        for wrong in ["", "carrack_", &token[..token.len() - 1]] {
            let refused = restored(&store, wrong).await.about().await.unwrap_err();
            assert_eq!(refused.code(), Code::BadCredential, "{wrong}");
        }
        assert!(issued.grant.forget(id).await.unwrap());
        let refused = restored(&store, &token).await.about().await.unwrap_err();
        assert_eq!(refused.code(), Code::BadCredential);
        // A session that was opened with it goes on, until the grant is taken back.
        holder.about().await.unwrap();
        assert_eq!(issued.grant.revoke().await.unwrap(), 1);
        for gone in [&holder, &issued.session] {
            assert_eq!(gone.about().await.unwrap_err().code(), Code::Revoked);
        }
        assert_eq!(
            issued.grant.info().await.unwrap_err().code(),
            Code::NotFound
        );
        store.owner.shutdown();
    });
}

#[test]
fn grants_tokens_and_use_are_there_after_a_restart() {
    door::through(Door::Unix, &async |store| {
        let scope = Scope {
            calls: at_most(10),
            ..Scope::all()
        };
        let issued = store.session.grants().issue(scope, "helper").await.unwrap();
        let (token, _) = issued.grant.save("").await.unwrap();
        for _ in 0..6 {
            issued.session.about().await.unwrap();
        }
        let before = issued.grant.info().await.unwrap();
        drop(issued);
        let store = store.reopen(Door::Unix).await;
        let list = store.session.grants().list("", 0).await.unwrap();
        assert_eq!((list.grants.len(), list.more), (1, false));
        let after = &list.grants[0];
        assert_eq!(
            (&after.id, &after.label, &after.scope),
            (&before.id, &before.label, &before.scope)
        );
        assert_eq!(after.usage.calls, 6);
        let holder = restored(&store, &token).await;
        for _ in 0..4 {
            holder.about().await.unwrap();
        }
        assert_eq!(holder.about().await.unwrap_err().code(), Code::BudgetSpent);
        store.owner.shutdown();
    });
}

#[test]
fn an_upload_whose_grant_is_taken_back_leaves_nothing() {
    door::each(async |store| {
        let issued = store
            .session
            .grants()
            .issue(Scope::all(), "")
            .await
            .unwrap();
        let car = RepoSpec {
            records: 2_000,
            seed: 92,
            ..RepoSpec::default()
        };
        let car = car.build().car(Order::Pds);
        let upload = issued.session.importer().import(ImportOptions::default());
        for chunk in car[..car.len() / 2].chunks(10_007) {
            assert!(upload.write(chunk).await);
        }
        assert_eq!(issued.grant.revoke().await.unwrap(), 1);
        let ended = upload.done().await.unwrap_err();
        assert_eq!(ended.code(), Code::Revoked);
        nothing_is_left(&store).await;
        // The place is free, and another may have it.
        must_import(&store.session, &car).await;
        store.owner.shutdown();
    });
}

async fn nothing_is_left(store: &Store) {
    // The import's thread hears of it, and ends.
    let ended = async {
        while store.owner.store().imports() > 0 || !store.files().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(HANGS, ended).await;
    assert!(ended.is_ok(), "left: {:?}", store.files());
    assert_eq!(store.session.store().stats().await.unwrap().repos, 0);
}

fn on_local_set(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = async { tokio::time::timeout(HANGS, body).await.expect("it hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, body);
}

fn files(folder: &Path) -> Vec<String> {
    let names = ["segments", "tmp"].map(|name| {
        let files = std::fs::read_dir(folder.join(name)).unwrap();
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    });
    names.concat()
}

#[test]
fn an_import_whose_grant_is_taken_back_after_done_leaves_nothing() {
    on_local_set(async {
        let folder = tempfile::tempdir().unwrap();
        let (reached, is_reached) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let disk = Arc::new(Fs::open(folder.path()).unwrap());
        let may_go = Mutex::new(may_go);
        // Whoever seals a segment stops until it is told to go on.
        let gated = Faulty::new(disk, 0).before_each(move |op, name| {
            if op == Op::Rename && name.starts_with("segments/") {
                reached.send(()).unwrap();
                may_go.lock().unwrap().recv().unwrap();
            }
            Ok(())
        });
        let directory: Arc<dyn Directory> = Arc::new(gated);
        let store = carrack_store::Store::open(directory, Arc::new(SystemClock)).unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let entrance = Entrance::new(carrack_store::Door::Owner);
        let server = rpc::serve(store.clone(), entrance, theirs);
        tokio::task::spawn_local(async move {
            let _ended = server.await;
        });
        let owner = wire::owner(&wire::over(ours));
        let (session, grant) = wire::issue(&owner, &Allowed::default(), "").await.unwrap();
        let repo = RepoSpec::default().build();
        let sink = wire::car_sink(&session);
        wire::upload(&sink, &repo.car(Order::Pds)).await.unwrap();
        let done = sink.done_request().send();
        // The thread has packed and sealed all of it, and would make it true next.
        while is_reached.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(files(folder.path()).len(), 1);
        let revoked = grant.revoke_request().send().promise.await.unwrap();
        assert_eq!(revoked.get().unwrap().get_revoked(), 1);
        go.send(()).unwrap();
        let ended = done.promise.await.err().expect("it was taken back");
        assert_eq!(code(&ended), Code::Revoked);
        assert!(store.repo(&repo.did).unwrap().is_err());
        assert_eq!(files(folder.path()), [""; 0]);
        assert_eq!(store.imports(), 0);

        // The same with nothing taken back is an import.
        let sink = wire::car_sink(&owner);
        wire::upload(&sink, &repo.car(Order::Pds)).await.unwrap();
        go.send(()).unwrap();
        sink.done_request().send().promise.await.unwrap();
        assert!(store.repo(&repo.did).unwrap().is_ok());
    });
}

/// Takes nothing, ever.
struct Deaf;

impl byte_sink::Server for Deaf {
    async fn write(self: Rc<Self>, _params: byte_sink::WriteParams) -> capnp::Result<()> {
        std::future::pending().await
    }
}

impl record_sink::Server for Deaf {
    async fn write(self: Rc<Self>, _params: record_sink::WriteParams) -> capnp::Result<()> {
        std::future::pending().await
    }
}

impl check_watcher::Server for Deaf {
    async fn progress(
        self: Rc<Self>,
        _params: check_watcher::ProgressParams,
        _results: check_watcher::ProgressResults,
    ) -> capnp::Result<()> {
        std::future::pending().await
    }
}

#[test]
fn exports_scans_and_checks_end_when_their_grant_is_taken_back() {
    wire::with_store(async |store| {
        let repo = RepoSpec {
            records: 3_000,
            seed: 93,
            ..RepoSpec::default()
        };
        let repo = repo.build();
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let owner = wire::owner(&wire::connect(&store).await);
        let (session, grant) = wire::issue(&owner, &Allowed::default(), "").await.unwrap();
        let reader = session.store_request().send().pipeline.get_store();
        let mut named = reader.repo_request();
        named.get().set_did(repo.did.as_str());
        let named = named.send().pipeline.get_repo();
        let mut export = named.export_request();
        export.get().set_sink(new_client(Deaf));
        let mut scan = named.scan_request();
        scan.get().set_sink(new_client(Deaf));
        let mut check = session
            .keeper_request()
            .send()
            .pipeline
            .get_keeper()
            .check_request();
        check.get().set_watcher(new_client(Deaf));
        let (export, scan, check) = (export.send(), scan.send(), check.send());
        // They are under way: what comes behind them is answered.
        session.about_request().send().promise.await.unwrap();
        grant.revoke_request().send().promise.await.unwrap();
        let all = async {
            assert_eq!(
                code(&export.promise.await.err().unwrap()),
                Code::Revoked,
                "export"
            );
            assert_eq!(
                code(&scan.promise.await.err().unwrap()),
                Code::Revoked,
                "scan"
            );
            assert_eq!(
                code(&check.promise.await.err().unwrap()),
                Code::Revoked,
                "check"
            );
        };
        tokio::time::timeout(HANGS, all).await.expect("they end");
        store.owner.shutdown();
    });
}

#[test]
fn an_import_of_a_repo_outside_the_grant_writes_nothing() {
    door::each(async |store| {
        let scope = Scope {
            repos: Selection::Only(vec!["did:plc:mine".into()]),
            ..Scope::all()
        };
        let holder = store
            .session
            .grants()
            .issue(scope, "")
            .await
            .unwrap()
            .session;
        let upload = holder.importer().import(ImportOptions::default());
        let car = spec("did:plc:yours", 3, 0).build().car(Order::Pds);
        assert!(upload.write(&car).await);
        assert_eq!(upload.done().await.unwrap_err().code(), Code::Denied);
        nothing_is_left(&store).await;
        put(&holder, &spec("did:plc:mine", 3, 0)).await;
        store.owner.shutdown();
    });
}

#[test]
fn an_import_takes_no_handle_from_a_repo_outside_the_grant() {
    door::through(Door::Unix, &async |store| {
        let options = |spec: &RepoSpec| ImportOptions {
            did_document: Some(spec.build().did_doc.into_bytes()),
            ..ImportOptions::default()
        };
        let theirs = spec("did:plc:theirs", 1, 0);
        let car = |spec: &RepoSpec| spec.build().car(Order::Pds);
        let outcome = door::import_as(&store.session, &car(&theirs), options(&theirs)).await;
        assert!(matches!(outcome, ImportOutcome::Imported(_)));
        let scope = Scope {
            repos: Selection::Only(vec!["did:plc:mine".into()]),
            ..Scope::all()
        };
        let holder = store
            .session
            .grants()
            .issue(scope, "")
            .await
            .unwrap()
            .session;
        let mine = spec("did:plc:mine", 1, 0);
        // Twice: the second time it is there, and only what is said of it is new.
        for _ in 0..2 {
            let outcome = door::import_as(&holder, &car(&mine), options(&mine)).await;
            let (ImportOutcome::Imported(report) | ImportOutcome::Unchanged(report)) = outcome
            else {
                panic!("{outcome:?}");
            };
            assert_eq!(report.info.handle, "");
            let named = store.session.store().repo("kit.example.com").info().await;
            assert_eq!(named.unwrap().unwrap().source.did, "did:plc:theirs");
        }
        // Whoever may do both may do this.
        let outcome = door::import_as(&store.session, &car(&mine), options(&mine)).await;
        assert!(matches!(outcome, ImportOutcome::Unchanged(_)));
        let named = store.session.store().repo("kit.example.com").info().await;
        assert_eq!(named.unwrap().unwrap().source.did, "did:plc:mine");
        store.owner.shutdown();
    });
}

#[test]
fn the_audit_log_tells_who_did_what_and_no_token() {
    door::through(Door::Unix, &async |store| {
        put(&store.session, &spec("did:plc:a", 3, 0)).await;
        let issued = store
            .session
            .grants()
            .issue(Scope::all(), "helper")
            .await
            .unwrap();
        let (token, _) = issued.grant.save("").await.unwrap();
        let holder = restored(&store, &token).await;
        let repo = holder.store().repo("did:plc:a");
        for _ in 0..5 {
            repo.record(&format!("{POSTS}/0000"))
                .read(Want::dag_cbor())
                .await
                .unwrap()
                .unwrap();
        }
        let mut export = repo.export();
        while export.next().await.is_some() {}
        let exported = export.done().await.unwrap().unwrap().bytes;
        let path = format!("{POSTS}/0001");
        holder
            .keeper()
            .delete("did:plc:a", Some(&path), false)
            .await
            .unwrap()
            .unwrap();
        let scope = Scope {
            may: carrack_client::Operations::default(),
            ..Scope::all()
        };
        let idle = holder.grants().issue(scope, "idle").await.unwrap();
        assert_eq!(
            idle.session.store().stats().await.unwrap_err().code(),
            Code::Denied
        );
        assert!(matches!(
            import(&holder, b"no car").await,
            ImportOutcome::Rejected(_)
        ));
        let refused = restored(&store, "carrack_guess").await.about().await;
        assert_eq!(refused.unwrap_err().code(), Code::BadCredential);
        issued.grant.revoke().await.unwrap();
        let (id, idle) = (issued.info.id.clone(), idle.info.id.clone());
        drop((issued, holder, repo));

        let Store {
            session,
            owner,
            folder,
            ..
        } = store;
        drop(session);
        owner.shutdown();
        let text = std::fs::read_to_string(folder.path().join("audit/audit.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let find = |what: &str, grant: Option<&str>, outcome: &str| {
            let found = lines.iter().find(|line| {
                line["what"] == what
                    && line["grant"].as_str() == grant
                    && line["outcome"] == outcome
            });
            found.unwrap_or_else(|| panic!("{what} {grant:?} {outcome} in {text}"))
        };
        assert_eq!(find("import", None, "imported")["repo"], "did:plc:a");
        assert_eq!(find("issue", None, "ok")["object"], *id);
        assert_eq!(find("save", None, "ok")["object"], *id);
        find("restore", Some(&id), "ok");
        let read = find("read", Some(&id), "ok");
        assert_eq!(
            (&read["label"], &read["repo"]),
            (&"helper".into(), &"did:plc:a".into())
        );
        assert_eq!(read["calls"], 5);
        assert_eq!(find("export", Some(&id), "ok")["bytes"], exported);
        assert_eq!(find("delete", Some(&id), "ok")["object"], *path);
        find("import", Some(&id), "badStructure");
        let denied = find("read", Some(&idle), "denied");
        assert_eq!(denied["chain"], serde_json::json!([id]));
        find("restore", None, "badCredential");
        assert_eq!(find("revoke", None, "ok")["object"], *id);

        let secret = &token.as_bytes()["carrack_".len()..];
        let mut folders = vec![folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    let bytes = std::fs::read(&path).unwrap();
                    assert!(
                        !bytes.windows(16).any(|part| part == &secret[..16]),
                        "{}",
                        path.display()
                    );
                }
            }
        }
    });
}
