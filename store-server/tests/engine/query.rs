//! Queries against a model that decodes everything, and what ends them.

mod model;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use capnp::message::{Builder, HeapAllocator};
use carrack_schema::limits::{
    QUERY_FINISH_LOOKUPS, QUERY_MEMORY_BYTES, QUERY_REPO_WORK, QUERY_REPOS_MAX,
    QUERY_REPOS_NAMED_MAX, QUERY_ROWS_MAX, QUERY_SOURCES_MAX, QUERY_STEPS_MAX, QUERY_TESTS_MAX,
    QUERY_URIS_MAX,
};
use carrack_schema::wire::record_capnp::value as wire_value;
use carrack_schema::{Code, Did, Nsid, RecordPath, Tid, Value};
use carrack_segment::Directory;
use carrack_segment::directory::mem::Mem;
use carrack_store::query::{
    Answer, AnswerRow, Body, Budget, Ended, Form, Hop, ListRange, Op, Path, Plan, Repos, RowBody,
    Scope, Test, TestOp, Top, Want,
};
use carrack_store::{DeleteTarget, ImportRequest, Result, Status, Store, SystemClock};
use kit::cbor::Value as Cbor;
use kit::content::Mix;
use kit::edit::Edit;
use kit::rng::Rng;
use kit::{Order, RepoSpec};
use model::{MForm, MOp, MRepos, MRow, MStep, MTest, MWhat, Model, decode, keep};

use super::world::{World, import_all};

/// Who sees everything.
struct Owner;

impl Scope for Owner {
    fn sees_repo(&self, _: &Did) -> bool {
        true
    }

    fn sees_collection(&self, _: &Nsid) -> bool {
        true
    }
}

/// Who sees some.
struct Sees<'a>(&'a (BTreeSet<String>, BTreeSet<String>));

impl Scope for Sees<'_> {
    fn sees_repo(&self, did: &Did) -> bool {
        self.0.0.contains(did.as_str())
    }

    fn sees_collection(&self, nsid: &Nsid) -> bool {
        self.0.1.contains(nsid.as_str())
    }
}

const LIKE: &str = "app.bsky.feed.like";
const POST: &str = "app.bsky.feed.post";
const FOLLOW: &str = "app.bsky.graph.follow";

fn most() -> Budget {
    Budget {
        rows: u32::MAX,
        bytes: u32::MAX,
        work: u64::MAX,
        millis: u32::MAX,
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn list(dids: &[&str], collection: &str) -> Op {
    let dids = dids.iter().map(|did| did.parse().unwrap());
    list_in(Repos::Named(dids.collect()), collection)
}

fn list_in(repos: Repos, collection: &str) -> Op {
    Op::List(ListRange {
        repos,
        collection: collection.parse().unwrap(),
        from: String::new(),
        before: String::new(),
        reverse: false,
        since: None,
        until: None,
    })
}

/// Makes a plan in which each step takes the rows of the one before it.
fn plan(ops: Vec<Op>, budget: Budget) -> Result<Plan> {
    Plan::new(ops.into_iter().map(|op| (0, op)).collect(), 0, budget)
}

fn ask(store: &Store, ops: Vec<Op>, budget: Budget) -> Answer {
    let plan = plan(ops, budget).unwrap();
    store.query(&plan, &Owner, &AtomicBool::new(false)).unwrap()
}

/// A store of repos that refer to each other, and its model.
struct Web {
    world: World,
    model: Model,
    /// DIDs: two that refer to each other, one with awkward records, one that is hidden, one that is not held.
    dids: Vec<String>,
}

impl Web {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let world = World::new();
        let specs = [
            (90, Mix::VARIED),
            (70, Mix::SOCIAL),
            (25, Mix::VARIED),
            (20, Mix::SOCIAL),
        ];
        let mut repos: Vec<kit::Repo> = (0..)
            .zip(specs)
            .map(|(i, (records, mix))| {
                let spec = RepoSpec {
                    records,
                    mix,
                    seed: seed.wrapping_mul(8).wrapping_add(i),
                    extra: if i == 2 { awkward() } else { Vec::new() },
                    ..RepoSpec::default()
                };
                spec.build()
            })
            .collect();
        let mut dids: Vec<String> = repos.iter().map(|repo| repo.did.to_string()).collect();
        dids.push("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".into());
        for repo in &repos {
            import_all(world.store(), repo);
        }
        for at in 0..2 {
            let edits = references(&mut rng, &repos, &dids);
            repos[at] = repos[at].next_version(&edits);
            import_all(world.store(), &repos[at]);
        }
        let mut model = Model::default();
        for repo in &repos {
            let records = repo.records.iter();
            let records = records.map(|record| (record.path.clone(), record.bytes.to_vec()));
            model.repos.insert(repo.did.to_string(), records.collect());
        }
        hide(world.store(), &repos[3]);
        model.hidden.insert(dids[3].clone());
        for at in 0..2 {
            for _ in 0..5 {
                let records = model.repos.get_mut(&dids[at]).unwrap();
                let paths: Vec<String> = records.keys().cloned().collect();
                let path = rng.pick(&paths).clone();
                records.remove(&path);
                delete(world.store(), &repos[at].did, &path);
            }
        }
        Self { world, model, dids }
    }

    fn store(&self) -> &Store {
        self.world.store()
    }
}

fn hide(store: &Store, repo: &kit::Repo) {
    let request = ImportRequest {
        status: Some("takendown".parse::<Status>().unwrap()),
        ..ImportRequest::default()
    };
    store
        .import(&repo.car(Order::Pds)[..], &request, |_| {})
        .unwrap();
}

fn delete(store: &Store, did: &Did, path: &str) {
    let path: RecordPath = path.parse().unwrap();
    store
        .delete(&DeleteTarget::Record(did.clone(), path), false)
        .unwrap();
}

/// Records that are kept as they are: one with more values than a shape may have, one that breaks the data model, and one
/// that is empty.
fn awkward() -> Vec<(String, Vec<u8>)> {
    let many = (0..300).map(|i| Cbor::text(format!("tag{}", i % 7)));
    let wide = Cbor::map([
        ("tags", Cbor::List(many.collect())),
        ("text", Cbor::text("WIDE ÄÖ")),
        ("nothing", Cbor::Null),
        ("empty", Cbor::List(vec![])),
    ]);
    let nested = Cbor::map([(
        "embed",
        Cbor::List(vec![
            Cbor::map([("alt", Cbor::text("x")), ("n", Cbor::Int(3))]),
            Cbor::map([("alt", Cbor::text("y")), ("n", Cbor::Int(3))]),
            Cbor::Null,
        ]),
    )]);
    // {"text": 1.0}
    let float = b"\xa1\x64text\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00".to_vec();
    vec![
        (format!("{POST}/wide"), wide.encode()),
        (format!("{POST}/nested"), nested.encode()),
        (format!("{POST}/float"), float),
        (format!("{POST}/empty"), Cbor::Map(vec![]).encode()),
    ]
}

/// Likes and follows of what is in the store, and of what is not.
fn references(rng: &mut Rng, repos: &[kit::Repo], dids: &[String]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for i in 0..30 {
        let repo = rng.pick(repos);
        let record = rng.pick(&repo.records);
        let uri = match rng.below(6) {
            0 => format!("at://{}/{POST}/nothing", repo.did),
            1 => format!("at://{}/{POST}/3jzfcijpj2z2a", rng.pick(dids)),
            2 => format!("at://{}/not.a.collection/x", repo.did),
            _ => format!("at://{}/{}", repo.did, record.path),
        };
        let created = format!("202{}-0{}-11T00:00:0{}Z", i % 6, 1 + i % 9, i % 10);
        let like = Cbor::map([
            ("$type", Cbor::text(LIKE)),
            ("subject", Cbor::map([("uri", Cbor::text(uri))])),
            ("createdAt", Cbor::text(created)),
        ]);
        let key = Tid::from_u64((1_750_000_000_000_000 + i * 1_000) << 10);
        edits.push(Edit::Put(format!("{LIKE}/{key}"), like.encode()));
        if i < dids.len() as u64 {
            let follow = Cbor::map([("subject", Cbor::text(dids[i as usize].clone()))]);
            edits.push(Edit::Put(format!("{FOLLOW}/{key}"), follow.encode()));
        }
    }
    edits
}

/// A plan at random: what the model runs, and whose rows are the answer.
fn random_plan(rng: &mut Rng, web: &Web) -> (Vec<(Option<usize>, MStep)>, usize) {
    let mut steps: Vec<(Option<usize>, MStep)> = Vec::new();
    let count = 1 + rng.index(6);
    while steps.len() < count {
        let before = steps.len();
        let from = before.checked_sub(1).map(|last| match rng.chance(700) {
            true => last,
            false => rng.index(before),
        });
        let step = match (from, rng.below(20)) {
            (None, 0..=2) => MStep::Get(random_uris(rng, web)),
            (None, _) | (_, 0..=1) => random_list(rng, web, false),
            (Some(_), 2) => random_list(rng, web, true),
            (Some(_), 3..=6) => {
                let count = 1 + rng.index(3);
                MStep::Filter((0..count).map(|_| random_test(rng, web)).collect())
            }
            (Some(_), 7) => MStep::Among(
                random_path(rng),
                rng.index(before),
                random_path(rng),
                rng.chance(300),
            ),
            (Some(_), 8..=10) => {
                let paths = [
                    "subject.uri",
                    "@value",
                    "@uri",
                    "reply.parent.uri",
                    "embed.record.uri",
                ];
                MStep::Map((*rng.pick(&paths)).into())
            }
            (Some(_), 11) => MStep::Project(random_form(rng)),
            (Some(_), 12) => MStep::Count,
            (Some(_), 13..=15) => MStep::Group(random_path(rng)),
            (Some(_), 16..=17) => {
                let by = rng.chance(700).then(|| random_path(rng));
                MStep::Top(rng.below(12) as u32, by, rng.chance(400))
            }
            (Some(_), 18) => MStep::Distinct(random_path(rng)),
            (Some(_), _) => MStep::First(rng.below(50) as u32),
        };
        let takes = !matches!(&step, MStep::Get(_))
            && !matches!(&step, MStep::List { repos, .. } if !matches!(repos, MRepos::At(_)));
        steps.push((from.filter(|_| takes), step));
    }
    let answer = match rng.chance(800) {
        true => count - 1,
        false => rng.index(count),
    };
    (steps, answer)
}

fn random_path(rng: &mut Rng) -> String {
    const PATHS: [&str; 34] = [
        "text",
        "createdAt",
        "subject",
        "subject.uri",
        "subject.uri#did",
        "subject.uri#collection",
        "subject.uri#rkey",
        "createdAt#time",
        "createdAt#year",
        "createdAt#month",
        "createdAt#day",
        "$type",
        "langs",
        "langs[]",
        "reply.parent.uri",
        "reply",
        "embed",
        "embed.n",
        "embed.alt",
        "tags",
        "text#length",
        "facets.features.uri#host",
        "facets.features.tag",
        "nothing",
        "empty",
        "zzz",
        "@uri",
        "@did",
        "@collection",
        "@rkey",
        "@time",
        "@held",
        "@value",
        "@count",
    ];
    const MORE: [&str; 4] = ["@value#did", "@rkey#time", "@uri#rkey", "@value#length"];
    // Half of the time one that most records have something at.
    const COMMON: [&str; 6] = [
        "createdAt",
        "@uri",
        "$type",
        "subject.uri",
        "createdAt#day",
        "@rkey",
    ];
    match rng.below(20) {
        0 => (*rng.pick(&MORE)).into(),
        1..=10 => (*rng.pick(&COMMON)).into(),
        _ => (*rng.pick(&PATHS)).into(),
    }
}

fn random_uris(rng: &mut Rng, web: &Web) -> Vec<String> {
    let mut uris = Vec::new();
    for _ in 0..rng.index(8) {
        let did = rng.pick(&web.dids).clone();
        let path = match web.model.repos.get(&did) {
            Some(records) if rng.chance(800) && !records.is_empty() => {
                let paths: Vec<&String> = records.keys().collect();
                (*rng.pick(&paths)).clone()
            }
            _ => format!("{POST}/none"),
        };
        uris.push(format!("at://{did}/{path}"));
    }
    uris
}

fn random_list(rng: &mut Rng, web: &Web, at: bool) -> MStep {
    let collection = (*rng.pick(&[
        LIKE,
        LIKE,
        POST,
        POST,
        FOLLOW,
        "sh.tangled.repo",
        "no.such.thing",
    ]))
    .to_owned();
    let keys: Vec<String> = (web.model.repos.values())
        .flat_map(|records| records.keys())
        .filter_map(|path| path.strip_prefix(&format!("{collection}/")))
        .map(str::to_owned)
        .collect();
    let key = |rng: &mut Rng| match keys.is_empty() || rng.chance(850) {
        true => String::new(),
        false => rng.pick(&keys).clone(),
    };
    let time = |rng: &mut Rng| {
        let key = rng.chance(250).then(|| key(rng))?;
        let tid: Tid = key.parse().ok()?;
        Some(tid.micros() as i64 + rng.below(3) as i64 - 1)
    };
    let repos = match rng.below(4) {
        _ if at => {
            MRepos::At((*rng.pick(&["subject", "subject.uri#did", "@did", "@value"])).into())
        }
        0 => MRepos::All,
        _ => {
            let count = 1 + rng.index(3);
            MRepos::Named((0..count).map(|_| rng.pick(&web.dids).clone()).collect())
        }
    };
    MStep::List {
        repos,
        from: key(rng),
        before: key(rng),
        since: time(rng),
        until: time(rng),
        collection,
        reverse: rng.chance(300),
    }
}

fn random_test(rng: &mut Rng, web: &Web) -> MTest {
    let path = random_path(rng);
    let operand = |rng: &mut Rng| match rng.below(8) {
        0 => Value::Int(rng.below(5) as i64),
        1 => Value::Bool(rng.chance(500)),
        2 => Value::Null,
        3 => Value::Int(1_700_000_000_000_000),
        4 => Value::Text(rng.pick(&web.dids).clone()),
        5 => Value::Text("2024-06".into()),
        6 => Value::Text(POST.into()),
        _ => Value::Text("x".into()),
    };
    // A text where times are compared is one of a time, and is tested by itself.
    let bound = |rng: &mut Rng| match operand(rng) {
        Value::Text(_) if path.ends_with("#time") || path == "@time" => Value::Int(7),
        other => other,
    };
    let text =
        |rng: &mut Rng| (*rng.pick(&["", "at://", "a", "E", "é", "Ä", "the", "2024"])).to_owned();
    let op = match rng.below(6) {
        0 => MOp::Exists,
        1 => MOp::Equals(operand(rng)),
        2 => MOp::Prefix(text(rng)),
        3 => MOp::Contains(text(rng)),
        4 => MOp::AtLeast(bound(rng)),
        _ => MOp::Below(bound(rng)),
    };
    MTest {
        negate: rng.chance(400),
        path,
        op,
    }
}

fn random_form(rng: &mut Rng) -> MForm {
    match rng.below(4) {
        0 => MForm::None,
        1 => MForm::DagCbor,
        2 => MForm::Value(vec![]),
        _ => MForm::Value(vec![
            "text".into(),
            "subject.uri".into(),
            "embed.alt".into(),
        ]),
    }
}

/// Returns the engine's step.
fn op(step: &MStep) -> Op {
    match step.clone() {
        MStep::Get(uris) => Op::Get(uris.iter().map(|uri| uri.parse().unwrap()).collect()),
        MStep::List {
            repos,
            collection,
            from,
            before,
            reverse,
            since,
            until,
        } => Op::List(ListRange {
            repos: match repos {
                MRepos::Named(dids) => {
                    Repos::Named(dids.iter().map(|did| did.parse().unwrap()).collect())
                }
                MRepos::At(at) => Repos::At(path(&at)),
                MRepos::All => Repos::All,
            },
            collection: collection.parse().unwrap(),
            from,
            before,
            reverse,
            since,
            until,
        }),
        MStep::Filter(tests) => {
            let test = |test: MTest| {
                let op = match test.op {
                    MOp::Exists => TestOp::Exists,
                    MOp::Equals(value) => TestOp::Equals(value),
                    MOp::Prefix(text) => TestOp::Prefix(text),
                    MOp::Contains(text) => TestOp::Contains(text),
                    MOp::AtLeast(value) => TestOp::AtLeast(value),
                    MOp::Below(value) => TestOp::Below(value),
                };
                Test::new(path(&test.path), test.negate, op).unwrap()
            };
            Op::Filter(tests.into_iter().map(test).collect())
        }
        MStep::Among(at, step, of, negate) => {
            Op::among(path(&at), step as u16 + 1, path(&of), negate).unwrap()
        }
        MStep::Map(at) => Op::Map(path(&at)),
        MStep::Project(form) => Op::Project(Want {
            form: match form {
                MForm::None => Form::None,
                MForm::Value(_) => Form::Value,
                MForm::DagCbor => Form::DagCbor,
            },
            cid: false,
            fields: match form {
                MForm::Value(fields) => fields,
                _ => Vec::new(),
            },
        }),
        MStep::Count => Op::Count,
        MStep::Group(at) => Op::Group(path(&at)),
        MStep::Top(count, by, ascending) => Op::Top(Top {
            count,
            by: by.map(|by| path(&by)),
            ascending,
        }),
        MStep::Distinct(at) => Op::Distinct(path(&at)),
        MStep::First(count) => Op::First(count),
    }
}

/// Says in words what a row is, so that rows of both sides compare and a difference can be read.
fn words(answer: &Answer, row: &AnswerRow) -> String {
    let what = match &row.body {
        RowBody::Count => "count".to_owned(),
        RowBody::Value(value) => format!("{value:?}"),
        RowBody::Absent { uri, .. } => format!("absent {uri}"),
        RowBody::Record {
            source,
            collection,
            rkey,
            body,
            ..
        } => {
            let did = &answer.sources[*source].did;
            let body = match body {
                Body::None => "none".to_owned(),
                Body::Undecodable(_) => "undecodable".to_owned(),
                Body::Missing => "missing".to_owned(),
                Body::DagCbor(bytes) => format!("{bytes:?}"),
                Body::Value(plan) => {
                    let mut message = Builder::<HeapAllocator>::new_default();
                    plan.write(message.init_root::<wire_value::Builder<'_>>());
                    let value = Value::from_wire(message.get_root_as_reader().unwrap());
                    format!("{:?}", value.unwrap())
                }
            };
            format!("at://{did}/{collection}/{rkey} {body}")
        }
    };
    format!("{} × {what}", row.count)
}

fn model_words(row: &MRow) -> String {
    let what = match &row.what {
        MWhat::Count => "count".to_owned(),
        MWhat::Value(value) => format!("{value:?}"),
        MWhat::Absent(uri) => format!("absent {uri}"),
        MWhat::Record { did, path, bytes } => {
            let body = match (&row.form, decode(bytes)) {
                (MForm::None, _) => "none".to_owned(),
                (MForm::DagCbor, _) => format!("{bytes:?}"),
                (MForm::Value(_), None) => "undecodable".to_owned(),
                (MForm::Value(fields), Some(value)) if fields.is_empty() => format!("{value:?}"),
                (MForm::Value(fields), Some(value)) => format!("{:?}", keep(&value, fields)),
            };
            format!("at://{did}/{path} {body}")
        }
    };
    format!("{} × {what}", row.count)
}

fn compare(web: &Web, seed: u64, plans: usize) {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut with_rows = 0;
    for number in 0..plans {
        let (steps, answer) = random_plan(&mut rng, web);
        let ops = steps
            .iter()
            .map(|(from, step)| (from.map_or(0, |from| from as u16 + 1), op(step)));
        let plan = Plan::new(ops.collect(), answer as u16 + 1, most()).unwrap();
        let stop = AtomicBool::new(false);
        let got = match &web.model.scope {
            None => web.store().query(&plan, &Owner, &stop),
            Some(scope) => web.store().query(&plan, &Sees(scope), &stop),
        };
        let got = got.unwrap();
        let expected: Vec<String> = web.model.run(&steps)[answer]
            .iter()
            .map(model_words)
            .collect();
        let rows: Vec<String> = got.rows.iter().map(|row| words(&got, row)).collect();
        assert!(
            rows == expected && got.ended == Ended::Complete,
            "seed {seed}, plan {number}: {steps:#?}\nanswer of {answer}, ended {:?}\n{rows:#?}\nexpected\n{expected:#?}",
            got.ended
        );
        with_rows += usize::from(!rows.is_empty());
    }
    assert!(
        with_rows > plans / 4,
        "{with_rows} of {plans} plans have an answer"
    );
}

/// Seeds of this run: one by the environment, or some.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("CARRACK_QUERY_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn plans_answer_as_the_model_does() {
    for seed in seeds(6) {
        compare(&Web::new(seed), seed, 250);
    }
}

#[test]
fn what_is_outside_the_scope_looks_absent() {
    for seed in seeds(3) {
        let mut web = Web::new(seed);
        let repos = [web.dids[0].clone(), web.dids[2].clone()].into();
        let collections = [LIKE, POST, "no.such.thing"].map(str::to_owned).into();
        web.model.scope = Some((repos, collections));
        // Whoever names what it may not see is refused before the plan is made, so plans list what is seen.
        let mut rng = Rng::new(seed);
        for number in 0..300 {
            let (mut steps, answer) = random_plan(&mut rng, &web);
            let scope = web.model.scope.clone().unwrap();
            for (_, step) in &mut steps {
                if let MStep::List { collection, .. } = step
                    && !scope.1.contains(collection)
                {
                    *collection = LIKE.to_owned();
                }
            }
            let ops = steps
                .iter()
                .map(|(from, step)| (from.map_or(0, |from| from as u16 + 1), op(step)));
            let plan = Plan::new(ops.collect(), answer as u16 + 1, most()).unwrap();
            let got = web
                .store()
                .query(&plan, &Sees(&scope), &AtomicBool::new(false));
            let got = got.unwrap();
            let expected: Vec<String> = web.model.run(&steps)[answer]
                .iter()
                .map(model_words)
                .collect();
            let rows: Vec<String> = got.rows.iter().map(|row| words(&got, row)).collect();
            assert!(
                rows == expected,
                "seed {seed}, plan {number}: {steps:#?}\n{rows:#?}\n{expected:#?}"
            );
            for source in &got.sources {
                assert!(scope.0.contains(source.did.as_str()), "{}", source.did);
            }
        }
    }
}

/// A store of one small repo, and its DID.
fn small() -> (World, String, kit::Repo) {
    let world = World::new();
    let repo = RepoSpec {
        records: 200,
        mix: Mix::SOCIAL,
        seed: 9,
        ..RepoSpec::default()
    }
    .build();
    import_all(world.store(), &repo);
    let did = repo.did.to_string();
    (world, did, repo)
}

fn likes_of(repo: &kit::Repo) -> u64 {
    let likes = repo.records.iter();
    let likes = likes.filter(|record| record.path.starts_with("app.bsky.feed.like/"));
    likes.count() as u64
}

#[test]
fn a_plan_looks_back_only() {
    let refused = |steps: Vec<(u16, Op)>, answer: u16, words: &str| {
        let error = Plan::new(steps, answer, Budget::default()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{}", error.chain());
        assert!(error.chain().contains(words), "{}", error.chain());
    };
    let likes = || list(&["did:plc:abc"], LIKE);
    refused(vec![], 0, "no steps");
    refused(vec![(0, likes())], 2, "step 2, and there are 1");
    refused(vec![(1, likes())], 0, "step 1: it takes no rows");
    refused(
        vec![(0, Op::Count)],
        0,
        "step 1: it takes the rows of the step before it",
    );
    refused(
        vec![(0, likes()), (2, Op::Count)],
        0,
        "step 2: it looks at step 2",
    );
    refused(
        vec![(0, likes()), (3, Op::Count)],
        0,
        "step 2: it looks at step 3",
    );
    let among = |step| Op::among(path("a"), step, path("a"), false).unwrap();
    refused(
        vec![(0, likes()), (0, among(2))],
        0,
        "step 2: it looks at step 2",
    );
    assert!(Op::among(path("a"), 0, path("a"), false).is_err());
    let at = Op::List(ListRange {
        repos: Repos::At(path("subject")),
        collection: LIKE.parse().unwrap(),
        from: String::new(),
        before: String::new(),
        reverse: false,
        since: None,
        until: None,
    });
    refused(
        vec![(0, at)],
        0,
        "step 1: it takes the rows of the step before it",
    );
    refused(
        vec![(0, Op::Get(vec!["at://did:plc:abc/a.b.c".parse().unwrap()]))],
        0,
        "names no record",
    );
}

#[test]
fn lists_in_a_plan_have_their_limits() {
    let check = |name: &str, make: &dyn Fn(usize) -> Vec<Op>, most: usize| {
        assert!(plan(make(most), Budget::default()).is_ok(), "{name}");
        let error = plan(make(most + 1), Budget::default()).unwrap_err();
        assert_eq!(error.code(), Code::LimitExceeded, "{name}");
    };
    let likes = || list(&["did:plc:abc"], LIKE);
    let steps = |count: usize| {
        let mut steps = vec![likes()];
        steps.resize_with(count, || Op::First(1));
        steps
    };
    check("steps", &steps, QUERY_STEPS_MAX);
    let tests = |count: usize| {
        let test = Test::new(path("a"), false, TestOp::Exists).unwrap();
        vec![likes(), Op::Filter(vec![test; count])]
    };
    check("tests", &tests, QUERY_TESTS_MAX);
    let uri = "at://did:plc:abc/a.b.c/d"
        .parse::<carrack_schema::AtUri>()
        .unwrap();
    check(
        "at-URIs",
        &|count| vec![Op::Get(vec![uri.clone(); count])],
        QUERY_URIS_MAX,
    );
    let named = |count: usize| vec![list(&vec!["did:plc:abc"; count], LIKE)];
    check("repos", &named, QUERY_REPOS_NAMED_MAX);
    let top = |count: usize| {
        let top = Top {
            count: count as u32,
            by: None,
            ascending: false,
        };
        vec![likes(), Op::Top(top)]
    };
    check("rows of a top", &top, QUERY_ROWS_MAX as usize);
}

#[test]
fn operands_are_checked() {
    let refused = |at: &str, op: TestOp| assert!(Test::new(path(at), false, op).is_err(), "{at}");
    refused("a", TestOp::Equals(Value::List(vec![])));
    refused("a", TestOp::AtLeast(Value::Map(vec![])));
    refused("a#time", TestOp::Below(Value::Text("soon".into())));
    refused("@time", TestOp::AtLeast(Value::Text("2026-13-01".into())));
    for (at, text) in [
        ("a#time", "2026-10-01"),
        ("@time", "2026-10-01T00:00:00+02:00"),
        ("a", "soon"),
    ] {
        let op = TestOp::AtLeast(Value::Text(text.into()));
        assert!(Test::new(path(at), false, op).is_ok(), "{at}");
    }
}

#[test]
fn the_answer_ends_at_its_rows() {
    let (world, did, repo) = small();
    let likes = likes_of(&repo) as u32;
    let ask = |rows: u32| {
        let budget = Budget { rows, ..most() };
        ask(world.store(), vec![list(&[&did], LIKE)], budget)
    };
    assert_eq!(
        (ask(likes).ended, ask(likes).rows.len()),
        (Ended::Complete, likes as usize)
    );
    let cut = ask(likes - 1);
    assert_eq!(
        (cut.ended, cut.rows.len()),
        (Ended::Rows, likes as usize - 1)
    );
    // Without a budget the default is what it says, and no budget is above the most.
    assert_eq!(ask(0).rows.len(), 100.min(likes as usize));
}

#[test]
fn the_answer_ends_at_its_bytes() {
    let (world, did, _) = small();
    let ask = |bytes: u32| {
        let budget = Budget { bytes, ..most() };
        let first = Op::First(10);
        ask(world.store(), vec![list(&[&did], POST), first], budget)
    };
    let whole = ask(u32::MAX);
    assert_eq!((whole.ended, whole.rows.len()), (Ended::Complete, 10));
    let bytes = whole.bytes as u32;
    assert_eq!(
        (ask(bytes).ended, ask(bytes).rows.len()),
        (Ended::Complete, 10)
    );
    let cut = ask(bytes - 1);
    assert_eq!((cut.ended, cut.rows.len()), (Ended::Bytes, 9));
    assert!(cut.bytes < bytes as usize);
    assert_eq!(
        (ask(1).ended, ask(1).rows.len(), ask(1).bytes),
        (Ended::Bytes, 0, 0)
    );
}

#[test]
fn the_plan_ends_at_its_work_and_answers_what_it_found() {
    let (world, did, repo) = small();
    let likes = likes_of(&repo);
    let grouped = || vec![list(&[&did], LIKE), Op::Group(path("$type"))];
    let ask = |work: u64| ask(world.store(), grouped(), Budget { work, ..most() });
    let whole = ask(u64::MAX);
    let cost: u64 = whole.costs.iter().map(|cost| cost.work).sum();
    // A repo opened, its likes listed, and looked at once.
    assert_eq!(cost, QUERY_REPO_WORK + 2 * likes);
    assert_eq!(
        (ask(cost).ended, ask(cost).rows[0].count),
        (Ended::Complete, likes)
    );
    assert_eq!(ask(cost - 1).ended, Ended::Work);
    let half = ask(QUERY_REPO_WORK + likes);
    assert_eq!(half.ended, Ended::Work);
    let counted = half.rows[0].count;
    assert!(0 < counted && counted < likes, "{counted} of {likes}");
    let spent: u64 = half.costs.iter().map(|cost| cost.work).sum();
    assert!(spent <= QUERY_REPO_WORK + 2 * likes);
}

#[test]
fn groups_that_were_counted_are_still_looked_up() {
    let (world, did, repo) = small();
    let post = repo
        .records
        .iter()
        .find(|record| record.path.starts_with("app.bsky.feed.post/"));
    let uri = format!("at://{did}/{}", post.unwrap().path);
    let likes: Vec<Edit> = (0..500)
        .map(|i| {
            let like = Cbor::map([("uri", Cbor::text(uri.clone())), ("n", Cbor::Int(i))]);
            Edit::Put(format!("com.example.like/{i}"), like.encode())
        })
        .collect();
    import_all(world.store(), &repo.next_version(&likes));
    let ops = vec![
        list(&[&did], "com.example.like"),
        Op::Group(path("uri")),
        Op::Map(path("@value")),
    ];
    let got = ask(
        world.store(),
        ops,
        Budget {
            work: 300,
            ..most()
        },
    );
    assert_eq!((got.ended, got.rows.len()), (Ended::Work, 1));
    assert!(matches!(got.rows[0].body, RowBody::Record { .. }));
    assert!(
        got.rows[0].count > 0,
        "a mapped record keeps its group's count"
    );
}

#[test]
fn a_plan_that_is_over_looks_up_so_many_records() {
    let most = QUERY_FINISH_LOOKUPS as usize;
    let (world, did, repo) = small();
    // More likes than that, each of another post that is not held.
    let likes: Vec<Edit> = (0..2 * most)
        .map(|i| {
            let uri = format!("at://{did}/{POST}/none{i}");
            let like = Cbor::map([("uri", Cbor::text(uri))]);
            Edit::Put(format!("com.example.like/{i:05}"), like.encode())
        })
        .collect();
    import_all(world.store(), &repo.next_version(&likes));
    let mut seen = Vec::new();
    for groups in [most, most + 1] {
        let listed = || list(&[&did], "com.example.like");
        let ops = vec![
            listed(),
            Op::First(groups as u32),
            Op::Group(path("uri")),
            Op::Map(path("@value")),
        ];
        // Listed, passed on and grouped; the work that mapping takes is too much.
        let budget = |work: u64| Budget {
            work,
            rows: u32::MAX,
            ..self::most()
        };
        let whole = ask(world.store(), ops.clone(), budget(u64::MAX));
        assert_eq!((whole.ended, whole.rows.len()), (Ended::Complete, groups));
        let gathered: u64 = whole.costs[..3].iter().map(|cost| cost.work).sum();
        let cut = ask(world.store(), ops, budget(gathered));
        assert_eq!(cut.ended, Ended::Work);
        seen.push(cut.rows.len());
    }
    assert_eq!(seen, [most, most]);
}

/// Imports so many repos of one record each, into memory.
fn crowd(count: usize) -> Store {
    let directory: Arc<dyn Directory> = Arc::new(Mem::new());
    let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
    for seed in 0..count as u64 {
        let repo = RepoSpec {
            records: 0,
            seed,
            extra: vec![(format!("{POST}/one"), Cbor::Map(vec![]).encode())],
            ..RepoSpec::default()
        };
        import_all(&store, &repo.build());
    }
    store
}

#[test]
fn a_plan_reaches_so_many_repos() {
    let all = || vec![list_in(Repos::All, POST), Op::Count];
    let store = crowd(QUERY_REPOS_MAX);
    let got = ask(&store, all(), most());
    assert_eq!((got.ended, got.repos), (Ended::Complete, QUERY_REPOS_MAX));
    assert_eq!(got.rows[0].count, QUERY_REPOS_MAX as u64);
    let more = RepoSpec {
        records: 3,
        seed: QUERY_REPOS_MAX as u64,
        ..RepoSpec::default()
    };
    import_all(&store, &more.build());
    let got = ask(&store, all(), most());
    assert_eq!((got.ended, got.repos), (Ended::Repos, QUERY_REPOS_MAX));
    // They are not all named.
    assert_eq!(got.sources.len(), QUERY_SOURCES_MAX);
}

#[test]
fn an_answer_names_so_many_repos_that_are_not_in_its_rows() {
    let store = crowd(QUERY_SOURCES_MAX + 2);
    let (repos, _) = store.repos("", usize::MAX).unwrap();
    let dids: Vec<&str> = repos.iter().map(|repo| repo.did.as_str()).collect();
    let lists = |dids: &[&str], end: Op| {
        let uri = |did: &&str| format!("at://{did}/{POST}/one").parse().unwrap();
        let get = Op::Get(dids.iter().map(uri).collect());
        let of_them = list_in(Repos::At(path("@did")), POST);
        ask(&store, vec![get, of_them, end], most())
    };
    for count in [QUERY_SOURCES_MAX, QUERY_SOURCES_MAX + 1] {
        let got = lists(&dids[..count], Op::Count);
        assert_eq!((got.repos, got.sources.len()), (count, QUERY_SOURCES_MAX));
        // Those that rows are of are named beside them.
        let got = lists(&dids[..=count], Op::First(1));
        assert_eq!(got.sources.len(), 1 + QUERY_SOURCES_MAX);
    }
}

#[test]
fn an_answer_says_of_so_many_repos_that_they_are_not_held() {
    let world = World::new();
    let dids: Vec<String> = (0..=QUERY_SOURCES_MAX)
        .map(|i| format!("did:web:r{i}.test"))
        .collect();
    for count in [QUERY_SOURCES_MAX, QUERY_SOURCES_MAX + 1] {
        let dids: Vec<&str> = dids[..count].iter().map(String::as_str).collect();
        // Two lists, because one names fewer.
        let (first, rest) = dids.split_at(QUERY_SOURCES_MAX / 2);
        let among = Op::among(path("@did"), 1, path("@did"), true).unwrap();
        let ops = vec![list(first, POST), list(rest, POST), among];
        let got = ask(world.store(), ops, most());
        assert_eq!(got.missing.len(), QUERY_SOURCES_MAX, "of {count}");
    }
}

#[test]
fn the_plan_ends_at_its_time() {
    let (world, did, repo) = small();
    let likes = likes_of(&repo);
    let clock = world.clock.clone();
    // The budget is a second, and a few looks at the clock later two have passed.
    world.clock.at_look(6, move || clock.pass(2_000_000));
    let budget = Budget {
        millis: 1_000,
        ..most()
    };
    let got = ask(world.store(), vec![list(&[&did], LIKE), Op::Count], budget);
    assert_eq!(got.ended, Ended::Time);
    assert!(got.rows[0].count < likes);
}

#[test]
fn a_stopped_query_is_an_error() {
    let (world, did, _) = small();
    let plan = plan(vec![list(&[&did], LIKE)], most()).unwrap();
    let stopped = world.store().query(&plan, &Owner, &AtomicBool::new(true));
    assert_eq!(stopped.unwrap_err().code(), Code::Unavailable);
}

/// Who sees nothing, and has the query stopped at the first look.
#[derive(Default)]
struct Blind {
    stop: AtomicBool,
    looks: AtomicUsize,
}

impl Scope for Blind {
    fn sees_repo(&self, _: &Did) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn sees_collection(&self, _: &Nsid) -> bool {
        true
    }
}

#[test]
fn a_query_is_stopped_among_repos_that_it_does_not_see() {
    let store = crowd(5);
    let plan = plan(vec![list_in(Repos::All, POST)], most()).unwrap();
    let scope = Blind::default();
    let stopped = store.query(&plan, &scope, &scope.stop);
    assert_eq!(stopped.unwrap_err().code(), Code::Unavailable);
    assert_eq!(scope.looks.into_inner(), 1);
}

#[test]
fn the_plan_ends_at_its_memory() {
    let world = World::new();
    // Each value takes a KiB and its overhead, and a group keeps it twice.
    let big = |i: usize| format!("{i:01000}");
    let values = QUERY_MEMORY_BYTES / 2_000;
    let records = (0..values + 100).map(|i| {
        let record = Cbor::map([("v", Cbor::text(big(i)))]);
        (format!("com.example.big/{i:06}"), record.encode())
    });
    let repo = RepoSpec {
        records: 0,
        extra: records.collect(),
        ..RepoSpec::default()
    }
    .build();
    import_all(world.store(), &repo);
    let did = repo.did.to_string();
    for op in [
        Op::Group(path("v")),
        Op::Distinct(path("v")),
        Op::among(path("v"), 1, path("v"), false).unwrap(),
        Op::Top(Top {
            count: QUERY_ROWS_MAX,
            by: Some(path("v")),
            ascending: false,
        }),
    ] {
        let name = format!("{op:?}");
        let is_once = matches!(op, Op::Distinct(_) | Op::Among { .. } | Op::Top(_));
        let ops = vec![list(&[&did], "com.example.big"), op, Op::Count];
        let got = ask(world.store(), ops, most());
        let expected = if is_once {
            Ended::Complete
        } else {
            Ended::Memory
        };
        assert_eq!(got.ended, expected, "{name}");
        if got.ended == Ended::Memory {
            let held = got.rows[0].count * 2_000;
            assert!(
                held < QUERY_MEMORY_BYTES as u64 && got.rows[0].count > 1_000,
                "{name}"
            );
        }
    }
}

#[test]
fn what_a_list_names_and_the_store_does_not_hold_is_said() {
    let web = Web::new(4);
    let dids: Vec<&str> = web.dids.iter().map(String::as_str).collect();
    let got = ask(
        web.store(),
        vec![list(&dids, "no.such.thing"), Op::Count],
        most(),
    );
    assert_eq!(got.rows[0].count, 0);
    let hops: Vec<Hop> = got.missing.iter().map(|missing| missing.hop).collect();
    assert_eq!(
        hops,
        [
            Hop::Collection,
            Hop::Collection,
            Hop::Collection,
            Hop::Inactive,
            Hop::Repo
        ]
    );
    // The hidden one and the one that is not held were not read.
    assert_eq!((got.repos, got.sources.len()), (3, 3));
}

#[test]
fn a_plan_does_only_what_its_end_wants() {
    let (world, did, _) = small();
    let first = ask(
        world.store(),
        vec![list(&[&did], LIKE), Op::First(5)],
        most(),
    );
    assert_eq!(first.rows.len(), 5);
    assert!(
        first.costs[0].work < QUERY_REPO_WORK + 40,
        "{:?}",
        first.costs
    );
    // A step that leads nowhere does not run.
    let steps = vec![(0, list(&[&did], LIKE)), (0, Op::Count), (1, Op::First(1))];
    let plan = Plan::new(steps, 0, most()).unwrap();
    let got = world
        .store()
        .query(&plan, &Owner, &AtomicBool::new(false))
        .unwrap();
    assert_eq!((got.costs[1].work, got.costs[1].rows_in), (0, 0));
}

#[test]
fn every_row_of_an_answer_is_of_one_revision() {
    let (world, did, repo) = small();
    let store = world.store().clone();
    let next = repo.next_version(&repo.random_edits(
        3,
        kit::edit::Changes {
            added: 50,
            changed: 50,
            deleted: 50,
        },
    ));
    let expected = ask(&store, vec![list(&[&did], LIKE)], most());
    let expected: Vec<String> = expected
        .rows
        .iter()
        .map(|row| words(&expected, row))
        .collect();
    // While the plan runs the repo moves on.
    let importer = store.clone();
    world.clock.at_look(5, move || {
        import_all(&importer, &next);
    });
    let got = ask(&store, vec![list(&[&did], LIKE)], most());
    let rows: Vec<String> = got.rows.iter().map(|row| words(&got, row)).collect();
    assert!(world.clock.was_reached());
    assert_eq!(got.sources[0].rev, Some(repo.rev));
    assert_eq!(rows, expected);
    let moved = ask(&store, vec![list(&[&did], LIKE)], most());
    assert_ne!(moved.sources[0].rev, Some(repo.rev));
}

#[test]
fn cold_and_merged_rows_answer_the_same() {
    let web = Web::new(5);
    let before = web.world.segments();
    web.store().compact(true, None).unwrap();
    assert_ne!(web.world.segments(), before);
    compare(&web, 5, 150);
}

#[test]
fn what_is_not_known_whole_is_not_subtracted() {
    let (world, did, repo) = small();
    let posts = repo
        .records
        .iter()
        .filter(|record| record.path.starts_with(POST));
    let uris = posts.map(|post| format!("at://{did}/{}", post.path).parse().unwrap());
    let get = Op::Get(uris.take(5).collect());
    let negated = Op::among(path("@uri"), 1, path("subject.uri"), true).unwrap();
    let ops = || vec![list(&[&did], LIKE), get.clone(), negated.clone()];
    let whole = ask(world.store(), ops(), most());
    assert_eq!((whole.ended, whole.rows.len()), (Ended::Complete, 5));
    // A plan that is over may look up some more, and these rows would be taken for what nobody likes.
    let budget = Budget {
        work: QUERY_REPO_WORK + 40,
        ..most()
    };
    let cut = ask(world.store(), ops(), budget);
    assert_eq!((cut.ended, cut.rows.len()), (Ended::Work, 0));
}
