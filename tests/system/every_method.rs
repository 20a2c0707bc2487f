//! Every method of the schema, under a narrowed grant: none of them reaches anything outside it.
//!
//! The methods are read off the schema's files, so that one without a row here fails. A row says which operation the method
//! needs and what comes of it where the grant leaves out the repo or the collection it is about; its probe calls the method
//! over a real connection. All that a grant must not see has `secret` in it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_client::{ImportOptions, ImportOutcome};
use carrack_schema::Code;
use carrack_schema::wire::grant_capnp::grant;
use carrack_schema::wire::store_capnp::{
    backup_sink, check_watcher, collection, gate, importer, keeper, listener, record_cap,
    record_sink, repo, session, store,
};
use carrack_schema::wire::{grant_capnp, record_capnp};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kit::cbor::Value;
use kit::{Order, RepoSpec};

use crate::door::{self, Door, Store};
use crate::wire::{self, Allowed, Counting, code, names};

/// What comes of a call that is about something outside the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// `denied`, or `unknownHandle` where a handle was asked for.
    Denied,
    /// `notFound`: as if there were none.
    NotFound,
    /// An answer that says nothing of it.
    Hidden,
    /// Either of the two.
    DeniedOrHidden,
    /// The call is about nothing in particular.
    Free,
}

/// How a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It answers.
    Leaf,
    /// It gives out another object, whose leaves find out whose handle it was.
    Hop,
    /// It answers the owner, and no grant whatever that allows.
    Owner,
    /// It is called without a session.
    Outside,
}

struct Row {
    method: &'static str,
    needs: Option<&'static str>,
    /// The grant leaves out the repo.
    repo: Then,
    /// It leaves out the collection.
    collection: Then,
    kind: Kind,
    probe: for<'a> fn(&'a Target) -> LocalBoxFuture<'a, Answer>,
}

type Answer = capnp::Result<String>;

macro_rules! row {
    ($method:literal, $needs:expr, $repo:ident, $collection:ident, $kind:ident, $probe:ident) => {
        Row {
            method: $method,
            needs: $needs,
            repo: Then::$repo,
            collection: Then::$collection,
            kind: Kind::$kind,
            probe: |target| $probe(target).boxed_local(),
        }
    };
}

/// Interfaces that the client implements: the server calls them.
const OF_THE_CLIENT: [&str; 6] = [
    "ByteSink",
    "BackupSink",
    "RecordSink",
    "Progress",
    "CheckWatcher",
    "Listener",
];

fn rows() -> Vec<Row> {
    let (read, list) = (Some("read"), Some("list"));
    let (prove, export, import) = (Some("prove"), Some("export"), Some("import"));
    let (delete, grant, maintain) = (Some("delete"), Some("grant"), Some("maintain"));
    vec![
        row!("Gate.login", None, Free, Free, Outside, gate_login),
        row!("Gate.restore", None, Free, Free, Outside, gate_restore),
        row!("Session.about", None, Free, Free, Leaf, session_about),
        row!("Session.store", None, Free, Free, Hop, session_store),
        row!(
            "Session.importer",
            import,
            Free,
            Free,
            Hop,
            session_importer
        ),
        row!("Session.keeper", None, Free, Free, Hop, session_keeper),
        row!("Session.grants", grant, Free, Free, Hop, session_grants),
        row!("Session.usage", None, Free, Free, Leaf, session_usage),
        row!("Store.repo", None, Denied, Free, Hop, store_repo),
        row!("Store.repos", list, Hidden, Free, Leaf, store_repos),
        row!("Store.stats", read, Hidden, Hidden, Leaf, store_stats),
        row!(
            "Store.query",
            list,
            DeniedOrHidden,
            DeniedOrHidden,
            Leaf,
            store_query
        ),
        row!(
            "Store.ancestors",
            read,
            DeniedOrHidden,
            DeniedOrHidden,
            Leaf,
            store_ancestors
        ),
        row!("Store.watch", list, DeniedOrHidden, Free, Leaf, store_watch),
        row!("Repo.info", read, Denied, Hidden, Leaf, repo_info),
        row!(
            "Repo.collections",
            list,
            Denied,
            Hidden,
            Leaf,
            repo_collections
        ),
        row!(
            "Repo.collection",
            None,
            Denied,
            Denied,
            Hop,
            repo_collection
        ),
        row!("Repo.record", None, Denied, Denied, Hop, repo_record),
        row!("Repo.list", list, Denied, Denied, Leaf, repo_list),
        row!("Repo.export", export, Denied, Denied, Leaf, repo_export),
        row!("Repo.at", None, Denied, Free, Hop, repo_at),
        row!("Repo.scan", list, Denied, Denied, Leaf, repo_scan),
        row!(
            "Collection.record",
            None,
            Denied,
            Denied,
            Hop,
            collection_record
        ),
        row!(
            "Collection.list",
            list,
            Denied,
            Denied,
            Leaf,
            collection_list
        ),
        row!(
            "Collection.scan",
            list,
            Denied,
            Denied,
            Leaf,
            collection_scan
        ),
        row!("Collection.get", read, Denied, Denied, Leaf, collection_get),
        row!("RecordCap.read", read, Denied, Denied, Leaf, record_read),
        row!("RecordCap.prove", prove, Denied, Denied, Leaf, record_prove),
        row!(
            "RecordCap.verify",
            read,
            Denied,
            Denied,
            Leaf,
            record_verify
        ),
        row!(
            "Importer.importCar",
            import,
            Denied,
            Denied,
            Leaf,
            importer_import_car
        ),
        row!("CarSink.write", import, Free, Denied, Leaf, car_sink_write),
        row!("CarSink.done", import, Denied, Denied, Leaf, car_sink_done),
        row!(
            "CarSink.expectSize",
            import,
            Free,
            Denied,
            Leaf,
            car_sink_expect_size
        ),
        row!("Keeper.delete", delete, Denied, Denied, Leaf, keeper_delete),
        row!(
            "Keeper.compact",
            maintain,
            Denied,
            Denied,
            Leaf,
            keeper_compact
        ),
        row!("Keeper.check", maintain, Denied, Denied, Leaf, keeper_check),
        row!(
            "Keeper.backup",
            maintain,
            Denied,
            Denied,
            Owner,
            keeper_backup
        ),
        row!("Grants.issue", grant, Denied, Denied, Leaf, grants_issue),
        row!("Grants.list", grant, Hidden, Hidden, Leaf, grants_list),
        row!("Grants.grant", grant, Free, Free, Hop, grants_grant),
        row!("Grant.info", grant, NotFound, NotFound, Leaf, grant_info),
        row!(
            "Grant.revoke",
            grant,
            NotFound,
            NotFound,
            Leaf,
            grant_revoke
        ),
        row!("Grant.save", grant, NotFound, NotFound, Leaf, grant_save),
        row!(
            "Grant.tokens",
            grant,
            NotFound,
            NotFound,
            Leaf,
            grant_tokens
        ),
        row!(
            "Grant.forget",
            grant,
            NotFound,
            NotFound,
            Leaf,
            grant_forget
        ),
    ]
}

/// Returns `Interface.method` for each method of the schema's files.
fn methods() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/capnp");
    let mut methods = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut interface = None;
        for line in text.lines() {
            let code = line.split('#').next().unwrap_or_default();
            if let Some(rest) = code.strip_prefix("interface ") {
                interface = rest.split([' ', '{']).next();
            } else if code.starts_with('}') {
                interface = None;
            }
            let Some(interface) = interface.filter(|name| !OF_THE_CLIENT.contains(name)) else {
                continue;
            };
            // `name @n (parameters) -> ...`; what is deeper than the interface itself is a struct or an enum.
            let member = code
                .strip_prefix("  ")
                .filter(|code| !code.starts_with(' '));
            if let Some((name, rest)) = member.and_then(|member| member.split_once(" @"))
                && rest
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .starts_with(" (")
            {
                methods.insert(format!("{interface}.{name}"));
            }
        }
    }
    methods
}

#[test]
fn every_method_has_a_row() {
    let methods = methods();
    assert!(methods.len() > 40, "the schema was read: {methods:?}");
    let rows: BTreeSet<String> = rows().iter().map(|row| row.method.to_owned()).collect();
    assert_eq!(methods, rows);
}

/// What a probe has to do with.
struct Target {
    gate: gate::Client,
    session: session::Client,
    /// The owner's end of the session's grant.
    grant: grant::Client,
    /// A token of it.
    token: String,
    did: String,
    /// How the repo is named: by its DID or its handle.
    repo: String,
    collection: String,
    rkey: String,
    /// A newer version of the repo.
    car: Vec<u8>,
    /// Of a grant that the session may look at, or of another's.
    grant_id: String,
    /// Whether the grant is taken back once everything is there for the call.
    revokes: bool,
    calls_before: Cell<u64>,
}

impl Target {
    /// The call comes next.
    async fn now(&self) -> capnp::Result<()> {
        let info = self.grant.info_request().send().promise.await?;
        let usage = info.get()?.get_info()?.get_usage()?;
        self.calls_before.set(usage.get_calls());
        if self.revokes {
            self.grant.revoke_request().send().promise.await?;
        }
        Ok(())
    }

    fn store(&self) -> store::Client {
        self.session.store_request().send().pipeline.get_store()
    }

    fn repo(&self) -> repo::Client {
        let mut request = self.store().repo_request();
        request.get().set_did(&*self.repo);
        request.send().pipeline.get_repo()
    }

    fn collection(&self) -> collection::Client {
        let mut request = self.repo().collection_request();
        request.get().set_nsid(&*self.collection);
        request.send().pipeline.get_collection()
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection, self.rkey)
    }

    fn record(&self) -> record_cap::Client {
        let mut request = self.repo().record_request();
        request.get().set_path(self.path());
        request.send().pipeline.get_record()
    }

    fn importer(&self) -> importer::Client {
        self.session
            .importer_request()
            .send()
            .pipeline
            .get_importer()
    }

    fn keeper(&self) -> keeper::Client {
        self.session.keeper_request().send().pipeline.get_keeper()
    }

    fn grants(&self) -> grant_capnp::grants::Client {
        self.session.grants_request().send().pipeline.get_grants()
    }

    fn grant(&self) -> grant::Client {
        let mut request = self.grants().grant_request();
        request.get().set_id(&*self.grant_id);
        request.send().pipeline.get_grant()
    }
}

/// Sends a request once all before it is there, and shows its answer.
macro_rules! ask {
    ($target:expr, $request:expr) => {{
        let request = $request;
        $target.now().await?;
        let response = request.send().promise.await?;
        Ok(format!("{:?}", response.get()?))
    }};
}

/// As `ask`, of an answer that has a capability in it, which does not show.
macro_rules! hop {
    ($target:expr, $request:expr) => {{
        let request = $request;
        $target.now().await?;
        request.send().promise.await?.get()?;
        Ok(String::new())
    }};
}

async fn gate_login(target: &Target) -> Answer {
    let mut request = target.gate.login_request();
    request.get().set_credential(&*target.token);
    hop!(target, request)
}

async fn gate_restore(target: &Target) -> Answer {
    let mut request = target.gate.restore_request();
    request.get().set_token(&*target.token);
    hop!(target, request)
}

async fn session_about(target: &Target) -> Answer {
    ask!(target, target.session.about_request())
}

async fn session_store(target: &Target) -> Answer {
    hop!(target, target.session.store_request())
}

async fn session_importer(target: &Target) -> Answer {
    hop!(target, target.session.importer_request())
}

async fn session_keeper(target: &Target) -> Answer {
    hop!(target, target.session.keeper_request())
}

async fn session_grants(target: &Target) -> Answer {
    hop!(target, target.session.grants_request())
}

async fn session_usage(target: &Target) -> Answer {
    ask!(target, target.session.usage_request())
}

async fn store_repo(target: &Target) -> Answer {
    let mut request = target.store().repo_request();
    request.get().set_did(&*target.did);
    hop!(target, request)
}

async fn store_repos(target: &Target) -> Answer {
    ask!(target, target.store().repos_request())
}

async fn store_stats(target: &Target) -> Answer {
    ask!(target, target.store().stats_request())
}

async fn store_query(target: &Target) -> Answer {
    let mut request = target.store().query_request();
    let steps = request.get().init_plan().init_steps(1);
    let mut range = steps.get(0).init_list();
    range.set_collection(&*target.collection);
    range.init_repos().init_named(1).set(0, &*target.repo);
    ask!(target, request)
}

async fn store_ancestors(target: &Target) -> Answer {
    let mut request = target.store().ancestors_request();
    let uri = format!("at://{}/{}", target.repo, target.path());
    request.get().set_uri(uri);
    want_all(request.get().init_want());
    ask!(target, request)
}

/// Keeps what it is told.
struct Heard(Rc<RefCell<String>>);

impl listener::Server for Heard {
    async fn changed(
        self: Rc<Self>,
        params: listener::ChangedParams,
        _results: listener::ChangedResults,
    ) -> capnp::Result<()> {
        let told = format!("{:?}", params.get()?.get_changes()?);
        self.0.borrow_mut().push_str(&told);
        Ok(())
    }
}

async fn store_watch(target: &Target) -> Answer {
    let heard = Rc::new(RefCell::new(String::new()));
    let mut request = target.store().watch_request();
    request.get().set_listener(new_client(Heard(heard.clone())));
    let mut only = request.get().init_repos().init_only(1);
    only.set(0, &*target.did);
    target.now().await?;
    request.send().promise.await?;
    let heard = heard.borrow().clone();
    Ok(heard)
}

fn want_all(mut want: record_capnp::want::Builder<'_>) {
    want.set_form(record_capnp::want::Form::Value);
    want.set_cid(true);
}

async fn repo_info(target: &Target) -> Answer {
    ask!(target, target.repo().info_request())
}

async fn repo_collections(target: &Target) -> Answer {
    ask!(target, target.repo().collections_request())
}

async fn repo_collection(target: &Target) -> Answer {
    let mut request = target.repo().collection_request();
    request.get().set_nsid(&*target.collection);
    hop!(target, request)
}

async fn repo_record(target: &Target) -> Answer {
    let mut request = target.repo().record_request();
    request.get().set_path(target.path());
    hop!(target, request)
}

async fn repo_list(target: &Target) -> Answer {
    let mut request = target.repo().list_request();
    want_all(request.get().init_want());
    ask!(target, request)
}

async fn repo_export(target: &Target) -> Answer {
    let bytes = Rc::new(Cell::new(0));
    let mut request = target.repo().export_request();
    request.get().set_sink(new_client(Counting(bytes.clone())));
    let answer: Answer = ask!(target, request);
    if answer.is_err() {
        assert_eq!(bytes.get(), 0, "nothing was pushed before it was refused");
    }
    answer
}

async fn repo_at(target: &Target) -> Answer {
    let mut request = target.repo().at_request();
    request.get().set_rev("3jzfcijpj2z2a");
    hop!(target, request)
}

/// Keeps what it is sent.
struct Scanned(Rc<RefCell<String>>);

impl record_sink::Server for Scanned {
    async fn write(self: Rc<Self>, params: record_sink::WriteParams) -> capnp::Result<()> {
        let told = format!("{:?}", params.get()?.get_records()?);
        self.0.borrow_mut().push_str(&told);
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _params: record_sink::DoneParams,
        _results: record_sink::DoneResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}

async fn repo_scan(target: &Target) -> Answer {
    let scanned = Rc::new(RefCell::new(String::new()));
    let mut request = target.repo().scan_request();
    want_all(request.get().init_want());
    request.get().set_sink(new_client(Scanned(scanned.clone())));
    let answer: Answer = ask!(target, request);
    assert!(
        answer.is_ok() || scanned.borrow().is_empty(),
        "nothing was pushed"
    );
    answer
}

async fn collection_record(target: &Target) -> Answer {
    let mut request = target.collection().record_request();
    request.get().set_rkey(&*target.rkey);
    hop!(target, request)
}

async fn collection_list(target: &Target) -> Answer {
    let mut request = target.collection().list_request();
    want_all(request.get().init_want());
    ask!(target, request)
}

async fn collection_scan(target: &Target) -> Answer {
    let scanned = Rc::new(RefCell::new(String::new()));
    let mut request = target.collection().scan_request();
    want_all(request.get().init_want());
    request.get().set_sink(new_client(Scanned(scanned.clone())));
    let answer: Answer = ask!(target, request);
    assert!(
        answer.is_ok() || scanned.borrow().is_empty(),
        "nothing was pushed"
    );
    answer
}

async fn collection_get(target: &Target) -> Answer {
    let mut request = target.collection().get_request();
    want_all(request.get().init_want());
    request.get().set_rkey(&*target.rkey);
    ask!(target, request)
}

async fn record_read(target: &Target) -> Answer {
    let mut request = target.record().read_request();
    want_all(request.get().init_want());
    ask!(target, request)
}

async fn record_prove(target: &Target) -> Answer {
    ask!(target, target.record().prove_request())
}

async fn record_verify(target: &Target) -> Answer {
    ask!(target, target.record().verify_request())
}

async fn importer_import_car(target: &Target) -> Answer {
    let mut request = target.importer().import_car_request();
    request.get().init_options().set_did(&*target.did);
    hop!(target, request)
}

async fn car_sink_write(target: &Target) -> Answer {
    let sink = wire::car_sink(&target.session);
    let mut request = sink.write_request();
    request.get().set_bytes(b"x");
    target.now().await?;
    request.send().await?;
    // A stream's failure shows on it or on what comes next.
    match sink.done_request().send().promise.await {
        Ok(_) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

async fn car_sink_done(target: &Target) -> Answer {
    let sink = wire::car_sink(&target.session);
    wire::upload(&sink, &target.car).await?;
    let request = sink.done_request();
    target.now().await?;
    let response = request.send().promise.await?;
    Ok(format!("{:?}", response.get()?.get_result()?))
}

async fn car_sink_expect_size(target: &Target) -> Answer {
    let mut request = wire::car_sink(&target.session).expect_size_request();
    request.get().set_bytes(9);
    ask!(target, request)
}

async fn keeper_delete(target: &Target) -> Answer {
    let mut request = target.keeper().delete_request();
    request.get().set_repo(&*target.repo);
    request.get().set_path(target.path());
    ask!(target, request)
}

async fn keeper_compact(target: &Target) -> Answer {
    let mut request = target.keeper().compact_request();
    request.get().set_repo(&*target.repo);
    ask!(target, request)
}

/// Takes findings.
struct Watcher;

impl check_watcher::Server for Watcher {
    async fn found(
        self: Rc<Self>,
        _params: check_watcher::FoundParams,
        _results: check_watcher::FoundResults,
    ) -> capnp::Result<()> {
        Ok(())
    }

    async fn progress(
        self: Rc<Self>,
        _params: check_watcher::ProgressParams,
        _results: check_watcher::ProgressResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}

async fn keeper_check(target: &Target) -> Answer {
    let mut request = target.keeper().check_request();
    request.get().set_watcher(new_client(Watcher));
    ask!(target, request)
}

/// Takes a copy, or a part of one.
struct Copy;

impl backup_sink::Server for Copy {
    async fn file(
        self: Rc<Self>,
        _params: backup_sink::FileParams,
        _results: backup_sink::FileResults,
    ) -> capnp::Result<()> {
        Ok(())
    }

    async fn write(self: Rc<Self>, _params: backup_sink::WriteParams) -> capnp::Result<()> {
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _params: backup_sink::DoneParams,
        _results: backup_sink::DoneResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}

async fn keeper_backup(target: &Target) -> Answer {
    let mut request = target.keeper().backup_request();
    request.get().set_sink(new_client(Copy));
    ask!(target, request)
}

async fn grants_issue(target: &Target) -> Answer {
    let mut request = target.grants().issue_request();
    let allowed = Allowed {
        repos: names(&[&target.did]),
        collections: names(&[&target.collection]),
        ..Allowed::default()
    };
    wire::fill(request.get().init_scope(), &allowed);
    hop!(target, request)
}

async fn grants_list(target: &Target) -> Answer {
    ask!(target, target.grants().list_request())
}

async fn grants_grant(target: &Target) -> Answer {
    let mut request = target.grants().grant_request();
    request.get().set_id(&*target.grant_id);
    hop!(target, request)
}

async fn grant_info(target: &Target) -> Answer {
    ask!(target, target.grant().info_request())
}

async fn grant_revoke(target: &Target) -> Answer {
    ask!(target, target.grant().revoke_request())
}

async fn grant_save(target: &Target) -> Answer {
    hop!(target, target.grant().save_request())
}

async fn grant_tokens(target: &Target) -> Answer {
    ask!(target, target.grant().tokens_request())
}

async fn grant_forget(target: &Target) -> Answer {
    let mut request = target.grant().forget_request();
    request.get().set_id(1);
    ask!(target, request)
}

// --- the world

const SEEN: &str = "did:plc:seen";
const SECRET: &str = "did:plc:secret";
const SECRET_HANDLE: &str = "secret.example";
const POSTS: &str = "app.bsky.feed.post";
const FOLLOWS: &str = "app.bsky.secret.follow";

fn text(words: &str) -> Vec<u8> {
    Value::map([("text", Value::text(words))]).encode()
}

/// Makes a repo with a post and a follow; of the repo that is not seen, both are secret.
fn spec(did: &str, version: &str) -> RepoSpec {
    let post = if did == SEEN { "a post" } else { "a secret" };
    RepoSpec {
        records: 0,
        did: Some(did.parse().unwrap()),
        extra: vec![
            (format!("{POSTS}/one"), text(&format!("{post} {version}"))),
            (format!("{FOLLOWS}/one"), text("a secret friend")),
        ],
        ..RepoSpec::default()
    }
}

async fn fill_store(store: &Store) -> (Vec<u8>, Vec<u8>) {
    let mut newer = Vec::new();
    for did in [SEEN, SECRET] {
        let repo = spec(did, "").build();
        let handle = if did == SEEN {
            "seen.example"
        } else {
            SECRET_HANDLE
        };
        let options = ImportOptions {
            did_document: Some(repo.did_doc.replace("kit.example.com", handle).into_bytes()),
            ..ImportOptions::default()
        };
        let imported = door::import_as(&store.session, &repo.car(Order::Pds), options).await;
        assert!(
            matches!(imported, ImportOutcome::Imported(_)),
            "{imported:?}"
        );
        let edits = repo.random_edits(
            1,
            kit::Changes {
                added: 1,
                changed: 0,
                deleted: 0,
            },
        );
        newer.push(repo.next_version(&edits).car(Order::Pds));
    }
    let secret = newer.pop().unwrap();
    (newer.pop().unwrap(), secret)
}

/// What a grant of a probe leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    Operation(&'static str),
    /// The repo, named by DID.
    Repo,
    /// The repo, named by its handle.
    RepoByHandle,
    Collection,
    /// Nothing at first; it is taken back before the call.
    Itself,
}

async fn probe(row: &Row, without: Without) -> (Answer, u64) {
    let store = Store::open(Door::Unix).await;
    let (seen, secret) = fill_store(&store).await;
    let gate = wire::connect(&store).await;
    let owner = wire::owner(&gate);
    let mut allowed = Allowed::default();
    match without {
        Without::Nothing | Without::Itself => {}
        Without::Operation(operation) => allowed.but.push(operation),
        Without::Repo | Without::RepoByHandle => allowed.repos = names(&[SEEN]),
        Without::Collection => allowed.collections = names(&["app.bsky.feed.*"]),
    }
    let (session, grant) = wire::issue(&owner, &allowed, "a holder").await.unwrap();
    let (_, strangers) = wire::issue(&owner, &Allowed::default(), "a secret holder")
        .await
        .unwrap();
    let saved = grant.save_request().send().promise.await.unwrap();
    let is_outside = matches!(
        without,
        Without::Repo | Without::RepoByHandle | Without::Collection
    );
    let looked_at = match wire::issue(&session, &allowed, "a friend").await {
        Ok((_, grant)) if !is_outside => grant,
        // Without the operation it has none of its own.
        _ => strangers,
    };
    let id = looked_at.info_request().send().promise.await.unwrap();
    let in_secret_repo = matches!(without, Without::Repo | Without::RepoByHandle);
    let did = if in_secret_repo { SECRET } else { SEEN };
    let target = Target {
        gate: gate.clone(),
        session,
        grant: grant.clone(),
        token: saved
            .get()
            .unwrap()
            .get_token()
            .unwrap()
            .to_string()
            .unwrap(),
        did: did.to_owned(),
        repo: match without {
            Without::RepoByHandle => SECRET_HANDLE.to_owned(),
            _ => did.to_owned(),
        },
        collection: match without {
            Without::Collection => FOLLOWS.to_owned(),
            _ => POSTS.to_owned(),
        },
        rkey: "one".to_owned(),
        car: if in_secret_repo { secret } else { seen },
        grant_id: id
            .get()
            .unwrap()
            .get_info()
            .unwrap()
            .get_id()
            .unwrap()
            .to_string()
            .unwrap(),
        revokes: without == Without::Itself,
        calls_before: Cell::new(0),
    };
    let answer = (row.probe)(&target).await;
    let charged = match grant.info_request().send().promise.await {
        Ok(info) => {
            let usage = info.get().unwrap().get_info().unwrap().get_usage().unwrap();
            usage.get_calls() - target.calls_before.get()
        }
        Err(_) => 0,
    };
    drop(target);
    store.owner.shutdown();
    (answer, charged)
}

fn is_unimplemented(answer: &Answer) -> bool {
    matches!(answer, Err(error) if error.kind == capnp::ErrorKind::Unimplemented)
}

fn each_row(check: impl AsyncFn(&Row)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        for row in rows() {
            check(&row).await;
        }
    });
}

#[test]
fn what_a_grant_allows_works_and_is_charged() {
    each_row(async |row| {
        let (answer, charged) = probe(row, Without::Nothing).await;
        if is_unimplemented(&answer) {
            return;
        }
        if row.kind == Kind::Owner {
            assert_eq!(answer.map_err(|error| code(&error)), Err(Code::Denied));
            return;
        }
        // The probe is a real one: it gets what it asks for.
        let shown = answer.unwrap_or_else(|error| panic!("{}: {error}", row.method));
        assert!(
            row.kind == Kind::Outside || charged > 0,
            "{} is not charged",
            row.method
        );
        if ["Store.repos", "Repo.collections", "Repo.list"].contains(&row.method) {
            assert!(shown.contains("secret"), "{}: {shown}", row.method);
        }
    });
}

#[test]
fn without_the_operation_a_method_is_denied() {
    each_row(async |row| {
        let Some(operation) = row.needs else {
            return;
        };
        let (answer, _) = probe(row, Without::Operation(operation)).await;
        if !is_unimplemented(&answer) {
            let code = answer.map_err(|error| code(&error));
            assert_eq!(code, Err(Code::Denied), "{}", row.method);
        }
    });
}

#[test]
fn a_repo_outside_the_grant_is_out_of_reach() {
    each_row(async |row| {
        expect(row, row.repo, &probe(row, Without::Repo).await.0);
    });
}

#[test]
fn a_repo_outside_the_grant_is_out_of_reach_by_its_handle() {
    each_row(async |row| {
        if matches!(row.kind, Kind::Leaf | Kind::Owner) {
            expect(row, row.repo, &probe(row, Without::RepoByHandle).await.0);
        }
    });
}

#[test]
fn a_collection_outside_the_grant_is_out_of_reach() {
    each_row(async |row| {
        expect(
            row,
            row.collection,
            &probe(row, Without::Collection).await.0,
        );
    });
}

#[test]
fn a_grant_that_was_taken_back_allows_no_method() {
    each_row(async |row| {
        let (answer, _) = probe(row, Without::Itself).await;
        if is_unimplemented(&answer) {
            return;
        }
        let expected = match row.kind {
            Kind::Outside => Code::BadCredential,
            Kind::Leaf | Kind::Hop | Kind::Owner => Code::Revoked,
        };
        let code = answer.map_err(|error| code(&error));
        assert_eq!(code, Err(expected), "{}", row.method);
    });
}

#[track_caller]
fn expect(row: &Row, then: Then, answer: &Answer) {
    if is_unimplemented(answer) {
        return;
    }
    let refused = answer.as_ref().err().map(code);
    let is_denied = matches!(refused, Some(Code::Denied | Code::UnknownHandle));
    let is_hidden = answer.as_ref().is_ok_and(|shown| !shown.contains("secret"));
    let is_met = match then {
        Then::Denied => is_denied,
        Then::NotFound => refused == Some(Code::NotFound),
        Then::Hidden => is_hidden,
        Then::DeniedOrHidden => is_denied || is_hidden,
        Then::Free => answer.is_ok(),
    };
    assert!(is_met, "{}: {then:?}, got {answer:?}", row.method);
}
