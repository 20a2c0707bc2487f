//! Ancestors: up from a post, as far as what records claim leads to something that is held.

use carrack_schema::limits::AT_URI_BYTES_MAX;
use carrack_schema::{Did, Nsid, RecordPath};
use carrack_store::{Ancestors, AncestorsEnd, DeleteTarget, ImportRequest, Sees};
use kit::cbor::Value;
use kit::{Order, RepoSpec};

use super::world::{World, import_all};

const ALICE: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const BOB: &str = "did:web:bob.test";
const POST: &str = "app.bsky.feed.post";

fn uri(did: &str, rkey: &str) -> String {
    format!("at://{did}/{POST}/{rkey}")
}

/// A post that answers another.
fn answer(parent: Value) -> Value {
    let mut reply = Value::map([]);
    reply.insert("root", Value::map([("uri", Value::text("at://no/matter"))]));
    reply.insert("parent", Value::map([("uri", parent)]));
    let mut post = post();
    post.insert("reply", reply);
    post
}

fn post() -> Value {
    Value::map([
        ("$type", Value::text(POST)),
        ("text", Value::text("said")),
        ("createdAt", Value::text("2024-05-06T07:08:09.000Z")),
    ])
}

/// A repo with these posts and some records of others.
fn repo(did: &str, seed: u64, posts: Vec<(&str, Value)>) -> kit::Repo {
    let posts = posts.into_iter();
    RepoSpec {
        records: 20,
        seed,
        did: Some(did.parse().unwrap()),
        extra: posts
            .map(|(rkey, post)| (format!("{POST}/{rkey}"), post.encode()))
            .collect(),
        ..RepoSpec::default()
    }
    .build()
}

fn path(rkey: &str) -> RecordPath {
    format!("{POST}/{rkey}").parse().unwrap()
}

fn climb(world: &World, did: &str, rkey: &str, max: usize) -> Ancestors {
    climb_within(world, did, rkey, max, &|_| true, &|_| true)
}

fn climb_within(
    world: &World,
    did: &str,
    rkey: &str,
    max: usize,
    repo: &dyn Fn(&Did) -> bool,
    collection: &dyn Fn(&Nsid) -> bool,
) -> Ancestors {
    let did = did.parse().unwrap();
    let sees = Sees { repo, collection };
    let found = world.store().ancestors(&did, &path(rkey), max, &sees);
    found.unwrap()
}

/// The nodes, as URIs.
fn nodes(found: &Ancestors) -> Vec<String> {
    let uri = |node: &carrack_store::Ancestor| {
        let did = &node.repo.summary().did;
        format!("at://{did}/{}", node.path)
    };
    found.nodes.iter().map(uri).collect()
}

#[test]
fn a_thread_is_followed_to_its_root_through_all_repos() {
    let world = World::new();
    let to = |did: &str, rkey: &str| answer(Value::text(uri(did, rkey)));
    import_all(
        world.store(),
        &repo(
            ALICE,
            1,
            vec![
                ("3aaaaaaaaaaa2", post()),
                ("c", to(BOB, "b")),
                ("e", to(BOB, "d")),
            ],
        ),
    );
    import_all(
        world.store(),
        &repo(
            BOB,
            2,
            vec![("b", to(ALICE, "3aaaaaaaaaaa2")), ("d", to(ALICE, "c"))],
        ),
    );
    let all = [
        uri(BOB, "d"),
        uri(ALICE, "c"),
        uri(BOB, "b"),
        uri(ALICE, "3aaaaaaaaaaa2"),
    ];
    for max in 0..=5 {
        let found = climb(&world, ALICE, "e", max);
        assert_eq!(nodes(&found), all[..max.min(4)]);
        let end = if max < 4 {
            AncestorsEnd::Max
        } else {
            AncestorsEnd::Root
        };
        assert_eq!(found.end, end, "{max}");
    }
    // Each repo is one snapshot.
    let found = climb(&world, ALICE, "e", 9);
    assert!(std::sync::Arc::ptr_eq(
        &found.nodes[0].repo,
        &found.nodes[2].repo
    ));
    let found = climb(&world, ALICE, "3aaaaaaaaaaa2", 9);
    assert_eq!((nodes(&found), found.end), (vec![], AncestorsEnd::Root));
    for (did, rkey) in [(ALICE, "nothing"), ("did:plc:nobody", "a")] {
        let found = climb(&world, did, rkey, 9);
        assert_eq!((nodes(&found), found.end), (vec![], AncestorsEnd::Absent));
    }
}

#[test]
fn a_thread_that_comes_back_to_itself_ends() {
    let world = World::new();
    let to = |rkey: &str| answer(Value::text(uri(ALICE, rkey)));
    let posts = vec![
        ("itself", to("itself")),
        ("one", to("two")),
        ("two", to("three")),
        ("three", to("one")),
        ("below", to("one")),
    ];
    import_all(world.store(), &repo(ALICE, 3, posts));
    for (rkey, nodes_count) in [("itself", 0), ("one", 2), ("below", 3)] {
        let found = climb(&world, ALICE, rkey, 9);
        assert_eq!(found.nodes.len(), nodes_count, "{rkey}");
        assert_eq!(found.end, AncestorsEnd::Loop);
    }
}

#[test]
fn what_is_not_held_or_not_to_be_seen_ends_a_thread() {
    let world = World::new();
    let claims = |handle: &str, repo: &kit::Repo, status: Option<&str>| {
        let mut document: serde_json::Value = serde_json::from_str(&repo.did_doc).unwrap();
        document["alsoKnownAs"] = serde_json::json!([format!("at://{handle}")]);
        let request = ImportRequest {
            did_document: Some(document.to_string().into_bytes()),
            status: status.map(|status| status.parse().unwrap()),
            ..ImportRequest::default()
        };
        let car = repo.car(Order::Pds);
        world.store().import(&car[..], &request, |_| ()).unwrap();
    };
    const HIDDEN: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
    claims(
        "bob.test",
        &repo(BOB, 4, vec![("b", post()), ("gone", post())]),
        None,
    );
    claims(
        "hidden.test",
        &repo(HIDDEN, 5, vec![("h", post())]),
        Some("takendown"),
    );
    let gone = DeleteTarget::Record(BOB.parse().unwrap(), path("gone"));
    world.store().delete(&gone, false).unwrap();

    let longest = format!("at://did:web:{}", "x".repeat(AT_URI_BYTES_MAX - 13));
    assert_eq!(longest.len(), AT_URI_BYTES_MAX);
    let accents = "é".repeat(AT_URI_BYTES_MAX);
    let missing = [
        uri(BOB, "nothing"),
        uri(BOB, "gone"),
        uri("did:plc:nobody", "a"),
        uri(HIDDEN, "h"),
        uri("hidden.test", "h"),
        uri("nobody.test", "h"),
        format!("at://{BOB}"),
        format!("at://{BOB}/{POST}"),
        format!("{}#x", uri(BOB, "b")),
        "https://bob.test/".to_owned(),
        String::new(),
        longest.clone(),
        format!("{longest}y"),
        accents.clone(),
    ];
    let rkeys: Vec<String> = (0..missing.len()).map(|i| format!("m{i}")).collect();
    let mut posts: Vec<(&str, Value)> = rkeys
        .iter()
        .zip(&missing)
        .map(|(rkey, uri)| (&**rkey, answer(Value::text(uri.clone()))))
        .collect();
    posts.push(("handle", answer(Value::text(uri("Bob.Test", "b")))));
    posts.push(("did", answer(Value::text(uri(BOB, "b")))));
    posts.push(("number", answer(Value::Int(7))));
    let two = [uri(BOB, "b"), uri(BOB, "nothing")].map(Value::Text);
    posts.push(("list", answer(Value::List(two.into()))));
    import_all(world.store(), &repo(ALICE, 6, posts));

    for (rkey, uri) in rkeys.iter().zip(&missing) {
        let found = climb(&world, ALICE, rkey, 9);
        let AncestorsEnd::Missing(named) = &found.end else {
            panic!("{uri}: {:?}", found.end);
        };
        assert!(found.nodes.is_empty());
        assert!(named.len() <= AT_URI_BYTES_MAX && uri.starts_with(&**named));
        assert_eq!(named == uri, uri.len() <= AT_URI_BYTES_MAX);
    }
    for rkey in ["handle", "did", "list"] {
        let found = climb(&world, ALICE, rkey, 9);
        assert_eq!(nodes(&found), [uri(BOB, "b")], "{rkey}");
        assert_eq!(found.end, AncestorsEnd::Root);
    }
    // What is no text names nothing.
    assert_eq!(climb(&world, ALICE, "number", 9).end, AncestorsEnd::Root);

    let bob: Did = BOB.parse().unwrap();
    for rkey in ["handle", "did"] {
        let narrow = climb_within(&world, ALICE, rkey, 9, &|did| *did != bob, &|_| true);
        assert!(matches!(narrow.end, AncestorsEnd::Missing(_)), "{rkey}");
        let narrow = climb_within(&world, ALICE, rkey, 9, &|_| true, &|_| false);
        assert!(matches!(narrow.end, AncestorsEnd::Missing(_)), "{rkey}");
    }
}

#[test]
fn a_post_whose_block_is_not_held_is_missing() {
    let world = World::new();
    let posts = vec![
        ("a", post()),
        ("b", answer(Value::text(uri(ALICE, "a")))),
        ("c", answer(Value::text(uri(ALICE, "b")))),
    ];
    let alice = repo(ALICE, 7, posts);
    let middle = alice
        .records
        .iter()
        .find(|record| record.path.ends_with("/b"));
    let car = kit::damage::without_block(&alice.car(Order::Pds), &middle.unwrap().cid);
    let partial = ImportRequest {
        allow_partial: true,
        ..ImportRequest::default()
    };
    world.store().import(&car[..], &partial, |_| ()).unwrap();
    let found = climb(&world, ALICE, "c", 9);
    assert_eq!(found.end, AncestorsEnd::Missing(uri(ALICE, "b")));
    assert!(found.nodes.is_empty());
    assert_eq!(climb(&world, ALICE, "b", 9).end, AncestorsEnd::Absent);
}
