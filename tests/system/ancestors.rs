//! Ancestors over RPC: how much one answer holds, and what the question may be.

use carrack_schema::limits::{ANCESTORS_DEFAULT, ANCESTORS_MAX, LIST_BYTES_MAX};
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp::{self as wire, ancestors::End};
use kit::RepoSpec;
use kit::cbor::Value;

use crate::raw;

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const POST: &str = "app.bsky.feed.post";

/// A repo with posts that each answer the one before, with so many bytes of text.
fn thread(posts: usize, text_bytes: usize) -> kit::Repo {
    let post = |i: usize| {
        let text = format!("{i} {}", "x".repeat(text_bytes));
        let mut post = Value::map([("$type", Value::text(POST)), ("text", Value::text(text))]);
        if i > 0 {
            let uri = Value::text(format!("at://{DID}/{POST}/{}", i - 1));
            post.insert(
                "reply",
                Value::map([("parent", Value::map([("uri", uri)]))]),
            );
        }
        (format!("{POST}/{i}"), post.encode())
    };
    RepoSpec {
        records: 0,
        seed: 321,
        did: Some(DID.parse().unwrap()),
        extra: (0..posts).map(post).collect(),
        ..RepoSpec::default()
    }
    .build()
}

/// Asks for what a post answers: the keys that came, and the end.
async fn ask(
    session: &wire::session::Client,
    uri: &str,
    max: u32,
) -> Result<(Vec<usize>, End, usize), String> {
    let store = session.store_request().send().pipeline.get_store();
    let mut request = store.ancestors_request();
    let mut params = request.get();
    params.set_uri(uri);
    params.set_max(max);
    params.init_want().set_form(want::Form::DagCbor);
    let response = request.send().promise.await.map_err(|error| error.extra)?;
    let found = response.get().unwrap().get_ancestors().unwrap();
    let mut bytes = 0;
    let read = |node: wire::ancestors::node::Reader<'_>| {
        assert_eq!(node.get_source().unwrap().get_did().unwrap(), DID);
        let record = node.get_record().unwrap();
        assert_eq!(record.get_collection().unwrap(), POST);
        let record_data::DagCbor(value) = record.which().unwrap() else {
            panic!("not bytes");
        };
        bytes += value.unwrap().len();
        record
            .get_rkey()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    let keys = found.get_nodes().unwrap().iter().map(read).collect();
    Ok((keys, found.get_end().unwrap(), bytes))
}

#[test]
fn an_answer_holds_so_many_ancestors() {
    raw::paused(async |folder| {
        let posts = ANCESTORS_MAX as usize + 2;
        folder.import(&thread(posts, 3));
        let session = folder.login();
        let of = |i: u32| format!("at://{DID}/{POST}/{i}");
        for (i, max, count, end) in [
            (0, 0, 0, End::Root),
            (ANCESTORS_DEFAULT, 0, ANCESTORS_DEFAULT, End::Root),
            (ANCESTORS_DEFAULT + 1, 0, ANCESTORS_DEFAULT, End::Max),
            (9, 8, 8, End::Max),
            (9, 9, 9, End::Root),
            (ANCESTORS_MAX, ANCESTORS_MAX, ANCESTORS_MAX, End::Root),
            (ANCESTORS_MAX + 1, ANCESTORS_MAX, ANCESTORS_MAX, End::Max),
            (ANCESTORS_MAX + 1, u32::MAX, ANCESTORS_MAX, End::Max),
        ] {
            let (keys, ended, _) = ask(&session, &of(i), max).await.unwrap();
            assert_eq!(ended, end, "{i}, at most {max}");
            let expected: Vec<usize> = (0..i as usize).rev().take(count as usize).collect();
            assert_eq!(keys, expected);
        }
    });
}

#[test]
fn an_answer_holds_so_many_bytes() {
    raw::paused(async |folder| {
        // Three of them just pass the limit; three that are a little smaller do not, and the fourth is still in.
        for (bytes, nodes) in [(LIST_BYTES_MAX / 3, 3), (LIST_BYTES_MAX / 3 - 120, 4)] {
            folder.import(&thread(8, bytes));
            let session = folder.login();
            let of = format!("at://{DID}/{POST}/7");
            let (keys, end, sent) = ask(&session, &of, 0).await.unwrap();
            assert_eq!((keys.len(), end), (nodes, End::Max));
            assert!(sent >= LIST_BYTES_MAX);
            let target = carrack_store::DeleteTarget::Repo(DID.parse().unwrap());
            folder.store.delete(&target, false).unwrap();
        }
    });
}

#[test]
fn a_question_names_a_record() {
    raw::paused(async |folder| {
        folder.import(&thread(2, 3));
        let session = folder.login();
        for uri in [
            "",
            DID,
            &format!("at://{DID}"),
            &format!("at://{DID}/{POST}"),
            &format!("at://{DID}/{POST}/1/"),
            "at://no handle/a.b.c/d",
        ] {
            let error = ask(&session, uri, 0).await.unwrap_err();
            assert!(error.contains("invalidArgument: "), "{error}");
        }
        let error = ask(&session, "at://nobody.test/a.b.c/d", 0).await;
        assert!(error.unwrap_err().contains("unknownHandle: "));
        let absent = format!("at://{DID}/{POST}/9");
        let (keys, end, _) = ask(&session, &absent, 0).await.unwrap();
        assert_eq!((keys, end), (vec![], End::Absent));
    });
}
