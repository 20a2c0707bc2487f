//! CARs that somebody made to do harm: each has one outcome, in bounded time and memory, and what is refused leaves
//! the store as it was.
//!
//! [`kit::damage`] breaks real exports in small ways; what is here is large, deep, or a lie. All is rightly hashed and
//! signed unless it says otherwise.

use std::time::Duration;

use carrack_client::{Body, ImportOutcome, ImportReport, Want};
use carrack_schema::limits::{
    CAR_HEADER_BYTES_MAX, CAR_SECTION_BYTES_MAX, COMMIT_BYTES_MAX, MST_NODE_ENTRIES_MAX,
};
use carrack_schema::{Cid, Code};
use kit::cbor::{Value, cid_of};
use kit::key::Key;
use kit::rng::Rng;
use kit::{Curve, Order, Repo, RepoSpec, car, commit, mst};

use crate::door::{self, Door, Store, import};

const DID: &str = "did:plc:hostilehostilehostileaaa";
const REV: &str = "3jzfcijpj2z2a";

/// How much the process may grow while it looks at hostile input. What runs beside this test counts too, so it is far
/// above what an import takes, and far below what is claimed.
const MEMORY_BYTES_MAX: u64 = 768 << 20;
/// When an import that does not end counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A block and its CID, right or not.
#[derive(Clone)]
struct Block {
    cid: Cid,
    bytes: Vec<u8>,
}

fn block(bytes: Vec<u8>) -> Block {
    Block {
        cid: cid_of(&bytes),
        bytes,
    }
}

fn record(text: &str) -> Block {
    block(
        Value::map([
            ("$type", Value::text("com.example.thing")),
            ("text", Value::text(text)),
        ])
        .encode(),
    )
}

fn commit_of(data: Value) -> Block {
    let key = Key::random(Curve::K256, &mut Rng::new(1));
    let mut fields = commit::fields(DID, REV, cid_of(b""));
    for (name, value) in &mut fields {
        if name == "data" {
            *value = data.clone();
        }
    }
    block(commit::signed(fields, &key))
}

/// An entry of a node: how much of the key before it shares, the rest of its key, its record, the subtree after it.
fn entry(prefix: usize, suffix: &[u8], record: Value, tree: Value) -> Value {
    Value::map([
        ("p", Value::Int(prefix as i64)),
        ("k", Value::Bytes(suffix.to_vec())),
        ("v", record),
        ("t", tree),
    ])
}

fn node(left: Value, entries: Vec<Value>) -> Block {
    block(Value::map([("l", left), ("e", Value::List(entries))]).encode())
}

/// A node of these keys, all with one record and no subtrees.
fn node_of<'k>(keys: impl IntoIterator<Item = &'k str>, record: &Block) -> Block {
    let mut last = "";
    let entries = keys.into_iter().map(|key| {
        let shared = mst::common_prefix_len(last.as_bytes(), key.as_bytes());
        last = key;
        entry(
            shared,
            &key.as_bytes()[shared..],
            Value::Link(record.cid),
            Value::Null,
        )
    });
    node(Value::Null, entries.collect())
}

/// Returns keys of one depth, ascending.
fn keys(depth: u32) -> impl Iterator<Item = String> {
    let all = (0..).map(|number| format!("com.example.thing/{number:09}"));
    all.filter(move |key| mst::height(key.as_bytes()) == depth)
}

fn key(depth: u32) -> String {
    keys(depth).next().expect("there are keys without end")
}

fn car_of(roots: &[Cid], blocks: &[Block]) -> Vec<u8> {
    let mut file = car::header(roots);
    for block in blocks {
        file.extend(car::section(&block.cid, &block.bytes));
    }
    file
}

/// Returns a repo with this tree: the commit, then the blocks, the first of which is the root.
fn repo_of(blocks: &[Block]) -> Vec<u8> {
    let commit = commit_of(Value::Link(blocks[0].cid));
    car_of(&[commit.cid], &[&[commit], blocks].concat())
}

/// Returns a section whose CID has any form.
fn section_of(cid: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    car::put_varint(&mut section, (cid.len() + bytes.len()) as u64);
    [&section, cid, bytes].concat()
}

/// Returns the most memory this process had so far; nothing where the system does not tell.
fn memory_bytes_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Imports with a bound on time and memory.
async fn bounded(store: &Store, name: &str, car: &[u8]) -> ImportOutcome {
    let before = memory_bytes_peak();
    let outcome = tokio::time::timeout(PATIENCE, import(&store.session, car)).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{name}: still not judged"));
    if let (Some(before), Some(after)) = (before, memory_bytes_peak()) {
        // The system's own count is not exact: it may go back a little.
        let grown = after.saturating_sub(before);
        assert!(grown < MEMORY_BYTES_MAX, "{name}: {grown} bytes more");
    }
    outcome
}

/// Checks that each CAR is refused with its code and that nothing stays of it.
fn refused(cases: Vec<(&str, Code, Vec<u8>)>) {
    door::through(Door::InProcess, &async |store| {
        for (name, code, car) in &cases {
            match bounded(&store, name, car).await {
                ImportOutcome::Rejected(rejection) => {
                    assert_eq!(rejection.code, *code, "{name}: {}", rejection.words);
                    assert!(rejection.words.len() < 1_000, "{name}");
                }
                other => panic!("{name} was not refused: {other:?}"),
            }
            let stats = store.session.store().stats().await.unwrap();
            assert_eq!((stats.repos, stats.records), (0, 0), "{name}");
            assert!(store.files().is_empty(), "{name}: {:?}", store.files());
        }
        store.owner.shutdown();
    });
}

/// Checks that a CAR is imported, and looks at what came of it.
fn accepted(name: &str, car: &[u8], look: impl AsyncFn(&Store, ImportReport)) {
    door::through(Door::InProcess, &async |store| {
        match bounded(&store, name, car).await {
            ImportOutcome::Imported(report) => look(&store, report).await,
            other => panic!("{name} was refused: {other:?}"),
        }
        store.owner.shutdown();
    });
}

fn small() -> Repo {
    RepoSpec {
        records: 40,
        seed: 91,
        ..RepoSpec::default()
    }
    .build()
}

async fn is_small(store: &Store, report: ImportReport) {
    let repo = small();
    assert_eq!(report.info.source.commit, repo.commit_cid);
    assert_eq!(report.info.records, 40);
    let listed = crate::fixtures::listing(&store.session, repo.did.as_str()).await;
    for record in &repo.records {
        assert!(listed.contains(&format!("{}\t{}\n", record.path, record.cid)));
    }
}

async fn body(store: &Store, path: &str, want: Want) -> Body {
    let record = store.session.store().repo(DID).record(path);
    record.read(want).await.unwrap().unwrap().1.body
}

#[test]
fn lengths_that_claim_what_is_not_there() {
    let whole = small().car(Order::PreOrder);
    let header = &whole[car::header_range(&whole)];
    let cid = small().commit_cid;
    let claim = |before: &[u8], length: u64, after: &[u8]| {
        let mut file = before.to_vec();
        car::put_varint(&mut file, length);
        [&file, after].concat()
    };
    let (mib, gib) = (1_u64 << 20, 1_u64 << 30);
    let overflow = [0xff; 10];
    refused(vec![
        (
            "a section of 3 GiB first",
            Code::LimitExceeded,
            claim(header, 3 * gib, cid.as_bytes()),
        ),
        (
            "a section of 3 GiB last",
            Code::LimitExceeded,
            claim(&whole, 3 * gib, cid.as_bytes()),
        ),
        (
            "a section just above the limit",
            Code::LimitExceeded,
            claim(&whole, CAR_SECTION_BYTES_MAX as u64 + 1, cid.as_bytes()),
        ),
        (
            "a section within the limit that ends early",
            Code::Incomplete,
            claim(&whole, CAR_SECTION_BYTES_MAX as u64, cid.as_bytes()),
        ),
        (
            "a section of 2^63 - 1",
            Code::LimitExceeded,
            claim(&whole, i64::MAX as u64, cid.as_bytes()),
        ),
        (
            "a section of 2^64 - 1",
            Code::BadStructure,
            claim(&whole, u64::MAX, cid.as_bytes()),
        ),
        (
            "a section's varint overflow",
            Code::BadStructure,
            [&whole, &overflow[..], &[1]].concat(),
        ),
        (
            "a section's varint without end",
            Code::BadStructure,
            [&whole[..], &vec![0x80; 100_000]].concat(),
        ),
        (
            "a header of 3 GiB",
            Code::LimitExceeded,
            claim(b"", 3 * gib, &header[1..]),
        ),
        (
            "a header of 3 GiB that is no map",
            Code::BadStructure,
            claim(b"", 3 * gib, b"text"),
        ),
        (
            "a header of 2^63 - 1",
            Code::LimitExceeded,
            claim(b"", i64::MAX as u64, &header[1..]),
        ),
        (
            "a header's varint overflow",
            Code::BadStructure,
            [&overflow[..], &whole].concat(),
        ),
        (
            "a header of 1 MiB that is there",
            Code::LimitExceeded,
            claim(
                b"",
                mib,
                &[&header[1..], &vec![0; mib as usize], &whole].concat(),
            ),
        ),
        (
            "a header with 100,000 roots",
            Code::LimitExceeded,
            car::header(&vec![cid; 100_000]),
        ),
    ]);
    // The header's own limit holds about a hundred roots; all but the first are no concern of an import.
    let roots = vec![cid; 90];
    let many = [&car::header(&roots), &whole[header.len()..]].concat();
    assert!(car::header(&roots).len() < CAR_HEADER_BYTES_MAX);
    accepted("a header with 90 roots", &many, is_small);
}

/// `[[[[…]]]]`.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x81; depth];
    bytes.push(0x80);
    bytes
}

#[test]
fn a_million_nested_lists_are_a_record_without_a_value() {
    let (deep, other) = (block(nested(1_000_000)), record("beside it"));
    let paths: Vec<_> = keys(0).take(2).collect();
    let root = node(
        Value::Null,
        vec![
            entry(0, paths[0].as_bytes(), Value::Link(deep.cid), Value::Null),
            {
                let shared = mst::common_prefix_len(paths[0].as_bytes(), paths[1].as_bytes());
                let rest = &paths[1].as_bytes()[shared..];
                entry(shared, rest, Value::Link(other.cid), Value::Null)
            },
        ],
    );
    let car = repo_of(&[root, deep.clone(), other]);
    accepted("nested lists", &car, async |store, report| {
        assert_eq!(report.info.records, 2);
        match body(store, &paths[0], Want::value()).await {
            Body::Undecodable(why) => assert!(why.contains("nesting deeper"), "{why}"),
            other => panic!("{other:?}"),
        }
        let bytes = body(store, &paths[0], Want::dag_cbor()).await;
        assert_eq!(bytes, Body::DagCbor(deep.bytes.clone()));
        let value = body(store, &paths[1], Want::value()).await;
        assert!(matches!(value, Body::Value(_)), "{value:?}");
    });
}

#[test]
fn nested_lists_are_no_commit_and_no_node() {
    let deep = block(nested(1_000_000));
    let within_limit = block(nested(COMMIT_BYTES_MAX - 1));
    let commit = |field: &'static str| {
        let fields = vec![(field.into(), Value::Null)];
        // {"x": [[[…]]]}, and not signed by anyone: it does not get that far.
        let mut bytes = Value::Map(fields).encode();
        bytes.pop();
        bytes.extend(nested(1_000));
        block(bytes)
    };
    let in_node = |field: u8| {
        let mut bytes = vec![0xa2, 0x61, b'e'];
        bytes.extend(match field {
            b'e' => nested(1_000_000),
            _ => vec![0x80],
        });
        bytes.extend([0x61, b'l']);
        bytes.extend(match field {
            b'l' => nested(1_000_000),
            _ => vec![0xf6],
        });
        block(bytes)
    };
    let alone = |block: Block| car_of(&[block.cid], &[block]);
    refused(vec![
        ("as a commit", Code::LimitExceeded, alone(deep.clone())),
        (
            "as a commit of legal length",
            Code::BadStructure,
            alone(within_limit),
        ),
        (
            "in an unknown field of a commit",
            Code::LimitExceeded,
            alone(commit("x")),
        ),
        (
            "in a known field of a commit",
            Code::LimitExceeded,
            alone(commit("data")),
        ),
        ("as the root node", Code::BadStructure, repo_of(&[deep])),
        (
            "as a node's entries",
            Code::BadStructure,
            repo_of(&[in_node(b'e')]),
        ),
        (
            "as a node's child",
            Code::BadStructure,
            repo_of(&[in_node(b'l')]),
        ),
    ]);
}

#[test]
fn links_that_go_round_are_refused() {
    let thing = record("thing");
    let (top, low) = (key(1), key(0));
    let with_left = |left: Cid| {
        let own = entry(0, top.as_bytes(), Value::Link(thing.cid), Value::Null);
        node(Value::Link(left), vec![own])
    };
    // A node cannot hold its own CID, so one that does is a lie about its hash; two that hold each other as well.
    let name = cid_of(b"any");
    let itself = Block {
        cid: name,
        ..with_left(name)
    };
    let to_name = with_left(name);
    let back = Block {
        cid: name,
        ..with_left(to_name.cid)
    };

    // A child that is there twice does not need a lie.
    let child = node_of([&*low], &thing);
    let twice = node(
        Value::Link(child.cid),
        vec![entry(
            0,
            top.as_bytes(),
            Value::Link(thing.cid),
            Value::Link(child.cid),
        )],
    );
    // The same at every layer: as many ways as two to the power of layers.
    let mut layers = vec![child.clone()];
    for depth in 1..=7 {
        let below = Value::Link(layers[0].cid);
        let own = entry(
            0,
            key(depth).as_bytes(),
            Value::Link(thing.cid),
            below.clone(),
        );
        layers.insert(0, node(below, vec![own]));
    }
    // A root that is a child of its own commit's tree, and a commit that is a node of it.
    let commit = commit_of(Value::Link(child.cid));
    let to_commit = with_left(commit.cid);
    refused(vec![
        (
            "a node that is its own child",
            Code::BadHash,
            repo_of(&[itself, thing.clone()]),
        ),
        (
            "two nodes that are each other's child",
            Code::BadHash,
            repo_of(&[to_name, back, thing.clone()]),
        ),
        (
            "a child twice",
            Code::BadStructure,
            repo_of(&[twice, child, thing.clone()]),
        ),
        (
            "a child twice in every layer",
            Code::BadStructure,
            repo_of(&[&layers[..], std::slice::from_ref(&thing)].concat()),
        ),
        (
            "a commit as a child",
            Code::BadStructure,
            repo_of(&[to_commit, commit, thing.clone()]),
        ),
    ]);
}

#[test]
fn nodes_have_a_largest_size() {
    let thing = record("thing");
    let low: Vec<_> = keys(0).take(MST_NODE_ENTRIES_MAX + 1).collect();
    let texts = |count: usize| low[..count].iter().map(String::as_str);
    // A node whose head says how many entries follow.
    let head = |count: u32, entries: &[u8]| {
        let mut bytes = vec![0xa2, 0x61, b'e', 0x9a];
        bytes.extend(count.to_be_bytes());
        bytes.extend(entries);
        bytes.extend([0x61, b'l', 0xf6]);
        block(bytes)
    };
    let one = entry(0, b"k", Value::Link(thing.cid), Value::Null).encode();
    let million = head(1_000_000, &one.repeat(1_000_000));
    assert!(million.bytes.len() > 50 << 20);
    let zeros = vec![0; 1_000_000];
    refused(vec![
        (
            "a million entries",
            Code::LimitExceeded,
            repo_of(&[million, thing.clone()]),
        ),
        (
            "a million entries of a byte",
            Code::LimitExceeded,
            repo_of(&[head(1_000_000, &zeros)]),
        ),
        (
            "a million entries that are not there",
            Code::LimitExceeded,
            repo_of(&[head(1_000_000, b"")]),
        ),
        (
            "4 G entries that are not there",
            Code::LimitExceeded,
            repo_of(&[head(u32::MAX, b"")]),
        ),
        (
            "100,000 entries of a byte",
            Code::LimitExceeded,
            repo_of(&[head(100_000, &zeros[..100_000])]),
        ),
        (
            "one entry too many",
            Code::LimitExceeded,
            repo_of(&[
                node_of(texts(MST_NODE_ENTRIES_MAX + 1), &thing),
                thing.clone(),
            ]),
        ),
        (
            "a key of a megabyte",
            Code::LimitExceeded,
            repo_of(&[node_of([&*"k".repeat(1 << 20)], &thing), thing.clone()]),
        ),
    ]);
    let most = repo_of(&[node_of(texts(MST_NODE_ENTRIES_MAX), &thing), thing]);
    accepted("as many entries as may be", &most, async |_, report| {
        assert_eq!(report.info.records, MST_NODE_ENTRIES_MAX as u64);
    });
}

#[test]
fn trees_are_as_deep_as_their_keys_say() {
    let thing = record("thing");
    let low = node_of([&*key(0)], &thing);
    // Nodes that hold nothing but the next one.
    let chain = |count: usize, end: Block| {
        let mut blocks = vec![end, thing.clone()];
        for _ in 0..count {
            let next = node(Value::Link(blocks[0].cid), vec![]);
            blocks.insert(0, next);
        }
        blocks
    };
    let under = |depth: u32, chain: Vec<Block>| {
        let own = entry(
            0,
            key(depth).as_bytes(),
            Value::Link(thing.cid),
            Value::Link(chain[0].cid),
        );
        repo_of(&[&[node(Value::Null, vec![own])], &chain[..]].concat())
    };
    // Its keys come after the root's own.
    let after = keys(0).find(|low| *low > key(5)).unwrap();
    let after = node_of([&*after], &thing);
    refused(vec![
        (
            "1,000 nodes without keys at the top",
            Code::BadStructure,
            repo_of(&chain(1_000, low.clone())),
        ),
        (
            "1,000 nodes below a key of depth 5",
            Code::BadStructure,
            under(5, chain(1_000, low.clone())),
        ),
        (
            "one node too many below a key of depth 5",
            Code::BadStructure,
            under(5, chain(5, after.clone())),
        ),
        (
            "one node too few below a key of depth 5",
            Code::BadStructure,
            under(5, chain(3, after.clone())),
        ),
        (
            "a node below depth 0",
            Code::BadStructure,
            under(0, vec![low.clone()]),
        ),
        (
            "an empty node below the root",
            Code::BadStructure,
            under(1, vec![node(Value::Null, vec![])]),
        ),
    ]);
    let right = under(5, chain(4, after));
    accepted("a chain of the right length", &right, async |_, report| {
        assert_eq!(report.info.records, 2);
    });
}

#[test]
fn keys_ascend_over_the_whole_tree() {
    let thing = record("thing");
    let low: Vec<_> = keys(0).take(3).collect();
    let thing_link = || Value::Link(thing.cid);
    // The second key as a suffix of nothing, of the whole first one, or as it should be.
    let pair = |first: &str, second: &str, prefix: usize| {
        node(
            Value::Null,
            vec![
                entry(0, first.as_bytes(), thing_link(), Value::Null),
                entry(
                    prefix,
                    &second.as_bytes()[prefix..],
                    thing_link(),
                    Value::Null,
                ),
            ],
        )
    };
    let shared = mst::common_prefix_len(low[0].as_bytes(), low[1].as_bytes());
    let refuse = |name, node: Block| (name, Code::BadStructure, repo_of(&[node, thing.clone()]));
    // A child on the left whose key comes after its parent's.
    let top = key(1);
    let late = keys(0).find(|low| *low > top).unwrap();
    let late = node_of([&*late], &thing);
    let shared_with_top = mst::common_prefix_len(low[0].as_bytes(), top.as_bytes());
    let misplaced = node(
        Value::Link(late.cid),
        vec![entry(0, top.as_bytes(), thing_link(), Value::Null)],
    );
    refused(vec![
        refuse("a key twice", pair(&low[0], &low[0], low[0].len())),
        refuse("a key twice, written whole", pair(&low[0], &low[0], 0)),
        refuse("keys out of order", pair(&low[1], &low[0], shared)),
        refuse("a prefix that is not used", pair(&low[0], &low[1], 0)),
        refuse(
            "a prefix that is not used to its end",
            pair(&low[0], &low[1], shared - 1),
        ),
        refuse("keys of two depths", pair(&low[0], &top, shared_with_top)),
        refuse(
            "a first key with a prefix",
            node(
                Value::Null,
                vec![entry(1, low[0].as_bytes(), thing_link(), Value::Null)],
            ),
        ),
        refuse(
            "a prefix of 2^62",
            node(
                Value::Null,
                vec![
                    entry(0, low[0].as_bytes(), thing_link(), Value::Null),
                    entry(1 << 62, b"k", thing_link(), Value::Null),
                ],
            ),
        ),
        (
            "a child on the wrong side",
            Code::BadStructure,
            repo_of(&[misplaced, late, thing.clone()]),
        ),
    ]);
    let right = repo_of(&[pair(&low[0], &low[1], shared), thing.clone()]);
    accepted("keys in order", &right, async |_, report| {
        assert_eq!(report.info.records, 2);
    });
}

#[test]
fn nodes_have_one_form() {
    let thing = record("thing");
    let low = key(0);
    let link = Value::Link(thing.cid);
    let legal = node_of([&*low], &thing).bytes;
    let own = |change: &dyn Fn(&mut Value)| {
        let mut own = entry(0, low.as_bytes(), link.clone(), Value::Null);
        change(&mut own);
        node(Value::Null, vec![own])
    };
    let replaced = |from: &[u8], to: &[u8]| {
        let at = legal
            .windows(from.len())
            .position(|window| window == from)
            .expect("it is in there");
        block([&legal[..at], to, &legal[at + from.len()..]].concat())
    };
    let without = |name: &'static str| {
        move |value: &mut Value| {
            if let Value::Map(entries) = value {
                entries.retain(|(key, _)| key != name);
            }
        }
    };
    let bytes = |bytes: &[u8]| block(bytes.to_vec());
    let refuse = |name, node: Block| (name, Code::BadStructure, repo_of(&[node, thing.clone()]));
    refused(vec![
        refuse("a node of no bytes", bytes(b"")),
        refuse("a node that is null", bytes(b"\xf6")),
        refuse("a node that is a list", bytes(b"\x80")),
        refuse("a node that is an empty map", bytes(b"\xa0")),
        refuse("a node without entries' field", bytes(b"\xa1\x61l\xf6")),
        refuse("a node without a left field", bytes(b"\xa1\x61e\x80")),
        refuse(
            "a node with another field",
            bytes(b"\xa3\x61e\x80\x61l\xf6\x61x\xf6"),
        ),
        refuse(
            "a node with its fields swapped",
            bytes(b"\xa2\x61l\xf6\x61e\x80"),
        ),
        refuse(
            "a node with a field twice",
            bytes(b"\xa2\x61e\x80\x61e\x80"),
        ),
        refuse(
            "a node of indefinite length",
            bytes(b"\xbf\x61e\x80\x61l\xf6\xff"),
        ),
        refuse(
            "a node with a long head",
            bytes(b"\xb8\x02\x61e\x80\x61l\xf6"),
        ),
        refuse(
            "a node and a byte more",
            bytes(b"\xa2\x61e\x80\x61l\xf6\x00"),
        ),
        refuse("an entry without a key", own(&without("k"))),
        refuse("an entry without a prefix", own(&without("p"))),
        refuse("an entry without a subtree", own(&without("t"))),
        refuse("an entry without a record", own(&without("v"))),
        refuse(
            "an entry with another field",
            own(&|entry| entry.insert("x", Value::Null)),
        ),
        refuse(
            "a prefix in two bytes",
            replaced(b"\x61p\x00", b"\x61p\x18\x00"),
        ),
        refuse("a prefix below 0", replaced(b"\x61p\x00", b"\x61p\x20")),
        refuse(
            "a prefix that is a float",
            replaced(b"\x61p\x00", b"\x61p\xfb\0\0\0\0\0\0\0\0"),
        ),
        refuse(
            "a subtree that is false",
            replaced(b"\x61t\xf6", b"\x61t\xf4"),
        ),
        refuse(
            "a subtree that is undefined",
            replaced(b"\x61t\xf6", b"\x61t\xf7"),
        ),
    ]);
    let right = repo_of(&[block(legal), thing.clone()]);
    accepted("the form itself", &right, async |_, report| {
        assert_eq!(report.info.records, 1);
    });
}

/// The same block under CIDs of forms that repositories do not use.
fn other_cids(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let sha256 = cid_of(bytes).digest().to_vec();
    // Whatever is behind it: nobody hashes with it.
    let sha512 = [&sha256[..], &sha256].concat();
    vec![
        ("CIDv0", [&b"\x12\x20"[..], &sha256].concat()),
        (
            "CIDv1 of dag-pb",
            [&b"\x01\x70\x12\x20"[..], &sha256].concat(),
        ),
        (
            "CIDv1 with sha-512",
            [&b"\x01\x71\x13\x40"[..], &sha512].concat(),
        ),
        (
            "CIDv1 with identity",
            [&b"\x01\x71\x00\x04"[..], b"\xa1\x61a\x01"].concat(),
        ),
        (
            "CIDv1 with identity of nothing",
            b"\x01\x71\x00\x00".to_vec(),
        ),
        (
            "CIDv1 with blake3",
            [&b"\x01\x71\x1e\x20"[..], &sha256].concat(),
        ),
        (
            "CIDv1 with half a sha-256",
            [&b"\x01\x71\x12\x10"[..], &sha256[..16]].concat(),
        ),
    ]
}

/// A link to any CID, as the value of a map that is encoded: the kit's own links have the one usual form.
fn link_of(cid: &[u8]) -> Vec<u8> {
    let mut link = vec![0xd8, 42, 0x58, cid.len() as u8 + 1, 0];
    if cid.len() < 23 {
        link = vec![0xd8, 42, 0x41 + cid.len() as u8, 0];
    }
    link.extend(cid);
    link
}

#[test]
fn blocks_of_other_cids_are_passed_over() {
    let repo = small();
    let mut car = repo.car(Order::PreOrder);
    for (_, cid) in other_cids(b"a stray") {
        car.extend(section_of(&cid, b"a stray"));
    }
    accepted("blocks of other CIDs", &car, is_small);
}

#[test]
fn nothing_that_counts_has_another_cid() {
    let thing = record("thing");
    let mark = cid_of(b"put another in its place");
    let usual = link_of(mark.as_bytes());
    // A block with one link put in place of another one.
    let relinked = |block: &Block, cid: &[u8]| {
        let at = block
            .bytes
            .windows(usual.len())
            .position(|window| window == usual);
        let at = at.expect("it is in there");
        let (before, after) = (&block.bytes[..at], &block.bytes[at + usual.len()..]);
        self::block([before, &link_of(cid), after].concat())
    };
    let top = key(1);
    let own = |record: Value, tree: Value| vec![entry(0, top.as_bytes(), record, tree)];
    let link = Value::Link;
    let left = node(link(mark), own(link(thing.cid), Value::Null));
    let right = node(Value::Null, own(link(thing.cid), link(mark)));
    let value = node(Value::Null, own(link(mark), Value::Null));
    let mut cases = Vec::new();
    for (_, cid) in other_cids(b"something") {
        let commit = relinked(&commit_of(Value::Link(mark)), &cid);
        let held = |block: &Block| {
            let car = repo_of(&[relinked(block, &cid), thing.clone()]);
            [&car, &section_of(&cid, b"something")[..]].concat()
        };
        let header = {
            let legal = car::header(&[mark]);
            let at = legal
                .windows(usual.len())
                .position(|window| window == usual);
            let at = at.unwrap();
            let body = [&legal[1..at], &link_of(&cid), &legal[at + usual.len()..]].concat();
            section_of(b"", &body)
        };
        cases.extend([
            ("as a root of the CAR", Code::BadStructure, header),
            (
                "as the tree of a commit",
                Code::BadStructure,
                car_of(&[commit.cid], &[commit]),
            ),
            ("as a child on the left", Code::BadStructure, held(&left)),
            ("as a child on the right", Code::BadStructure, held(&right)),
            ("as a record", Code::BadStructure, held(&value)),
        ]);
    }
    assert_eq!(cases.len(), 35);
    refused(cases);
}

#[test]
fn a_car_of_strays_holds_no_repo() {
    let strays: Vec<_> = (0..1_000).map(|i| record(&format!("stray {i}"))).collect();
    let commit = commit_of(Value::Link(strays[0].cid));
    refused(vec![
        (
            "only strays",
            Code::Incomplete,
            car_of(&[commit.cid], &strays),
        ),
        ("no blocks", Code::Incomplete, car_of(&[commit.cid], &[])),
        (
            "a commit and strays",
            Code::Incomplete,
            car_of(
                &[commit_of(Value::Link(cid_of(b"nowhere"))).cid],
                &[&[commit_of(Value::Link(cid_of(b"nowhere")))], &strays[..]].concat(),
            ),
        ),
    ]);
}

#[test]
fn blocks_without_bytes() {
    let nothing = block(Vec::new());
    let path = key(0);
    let as_record = repo_of(&[node_of([&*path], &nothing), nothing.clone()]);
    accepted("as a record", &as_record, async |store, report| {
        assert_eq!(report.info.records, 1);
        let value = body(store, &path, Want::value()).await;
        assert!(matches!(value, Body::Undecodable(_)), "{value:?}");
        let bytes = body(store, &path, Want::dag_cbor()).await;
        assert_eq!(bytes, Body::DagCbor(Vec::new()));
    });
    let mut stray = small().car(Order::Pds);
    for _ in 0..1_000 {
        stray.extend(car::section(&nothing.cid, b""));
    }
    accepted("1,000 strays", &stray, is_small);
    refused(vec![
        (
            "as a commit",
            Code::BadStructure,
            car_of(&[nothing.cid], std::slice::from_ref(&nothing)),
        ),
        ("as a node", Code::BadStructure, repo_of(&[nothing])),
        (
            "a section of nothing",
            Code::BadStructure,
            [&small().car(Order::Pds)[..], &[0]].concat(),
        ),
    ]);
}

#[test]
fn a_hundred_thousand_duplicates_are_one_block() {
    let repo = small();
    let car = repo.car(Order::PreOrder);
    let sections = car::blocks(&car);
    let longest = sections.iter().max_by_key(|section| section.range.len());
    let longest = &car[longest.unwrap().range.clone()];
    let many = [&car[..], &longest.repeat(100_000)].concat();
    accepted("100,000 duplicates", &many, async |store, report| {
        let files = store.files();
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(files[0].1 < 1 << 20, "{files:?}");
        is_small(store, report).await;
    });
}

#[test]
fn the_first_root_is_the_commit() {
    let repo = small();
    let car = repo.car(Order::PreOrder);
    let rooted = |roots: &[Cid]| {
        let body = &car[car::header_range(&car).end..];
        [&car::header(roots), body].concat()
    };
    let (commit, root, record) = (repo.commit_cid, repo.root, repo.records[0].cid);
    let raw = Cid::new(carrack_schema::cid::Codec::Raw, *commit.digest());
    refused(vec![
        ("no root", Code::BadStructure, rooted(&[])),
        ("a record", Code::BadStructure, rooted(&[record])),
        ("a node", Code::BadStructure, rooted(&[root])),
        (
            "a node, then the commit",
            Code::BadStructure,
            rooted(&[root, commit]),
        ),
        (
            "a record, then the commit",
            Code::BadStructure,
            rooted(&[record, commit]),
        ),
        (
            "the commit as raw bytes",
            Code::BadStructure,
            rooted(&[raw]),
        ),
        (
            "a block that is not there",
            Code::Incomplete,
            rooted(&[cid_of(b"nowhere")]),
        ),
    ]);
    // Lists of roots are legal, and only their first one says what the file holds.
    accepted("two roots", &rooted(&[commit, root]), is_small);
    accepted("the commit twice", &rooted(&[commit, commit]), is_small);
    accepted(
        "a second root that is not there",
        &rooted(&[commit, cid_of(b"nowhere")]),
        is_small,
    );
}
