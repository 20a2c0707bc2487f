//! Resources: what there is to read, what comes back, and what does not.

use std::fmt::Write;

use kit::cbor;
use kit::content::Mix;
use kit::order::Order;
use kit::repo::{Repo, RepoSpec};
use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, Door, FRIEND, folder, redact, sample};

const NOBODY: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const POST: &str = "app.bsky.feed.post/3n2v4jzbfzp2x";

/// Asks for a list or a resource.
fn ask(door: &mut Door, text: &str) -> Value {
    match text {
        "list" => door.ask("resources/list", json!({})),
        "templates" => door.ask("resources/templates/list", json!({})),
        uri => door.ask("resources/read", json!({ "uri": uri })),
    }
}

/// Shows an answer, of bytes their length.
fn shown(asked: &str, answer: &Value) -> String {
    let mut answer = answer.clone();
    if let Some(blob) = answer.pointer_mut("/result/contents/0/blob") {
        *blob = json!(format!("{} characters", blob.as_str().unwrap().len()));
    }
    let mut out = String::new();
    writeln!(out, "{}\n{answer}\n", asked.escape_debug()).unwrap();
    redact_time(&redact(&out))
}

/// Replaces the time of an import, in the JSON that a text is.
fn redact_time(text: &str) -> String {
    let mark = "imported\\\":\\\"";
    match text.split_once(mark) {
        Some((before, rest)) => format!("{before}{mark}TIME{}", &rest[20..]),
        None => text.to_owned(),
    }
}

fn golden() -> Vec<String> {
    let mut asked = vec!["list".to_owned(), "templates".to_owned()];
    for (scheme, rest) in [
        ("at", ""),
        ("at", "/app.bsky.feed.post?limit=2"),
        ("at", "/app.bsky.feed.post/3n2v4jzbfzp2x"),
        ("at-proof", "/app.bsky.feed.post/3n2v4jzbfzp2x"),
        ("at-proof", "/app.bsky.feed.post/none"),
        ("at-car", ""),
        ("at-car", "?rev=3n2v4k6owr72x"),
        // What is not there, and what is not understood.
        ("at", "/app.bsky.feed.post/none"),
        ("at", "/com.example.none"),
        ("at", "?limit=1"),
        ("at", "/app.bsky.feed.post?limit=0"),
        ("at", "/app.bsky.feed.post?cursor=c1_AAAA"),
        ("at-car", "?rev=3aaaaaaaaaa2x"),
        ("at-car", "?since=3n2v4k6owr72x"),
        ("at-blob", "/bafy"),
    ] {
        asked.push(format!("{scheme}://{ACTOR}{rest}"));
    }
    asked.push(format!("at://{NOBODY}"));
    asked.push(format!("at-car://{NOBODY}"));
    asked.push("at://alice.test".to_owned());
    asked.push("file:///etc/passwd".to_owned());
    asked.push("at://did:plc:\u{202e}evil\n".to_owned());
    asked
}

/// All doors give the same answers, but for the code of what is not found, which each era has of its own.
#[test]
fn lists_reads_and_errors_are_these_through_every_door() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let mut seen: Option<String> = None;
    Door::each(data.path(), |door, is_modern| {
        let mut all = String::new();
        for text in golden() {
            // A header cannot carry it, so a client of the newer era cannot ask for it over HTTP.
            if matches!(
                door,
                Door::Http {
                    is_modern: true,
                    ..
                }
            ) && !text.is_ascii()
            {
                all.push_str(&hidden_name(&text));
                continue;
            }
            let mut answer = ask(door, &text);
            let code = answer.pointer("/error/code").cloned();
            if answer.pointer("/error/data/code") == Some(&json!("notFound")) {
                assert_eq!(code, Some(json!(if is_modern { -32602 } else { -32002 })));
            }
            if code.is_some() {
                answer["error"]["code"] = json!("of its era");
            }
            all.push_str(&shown(&text, &answer));
        }
        match &seen {
            Some(first) => {
                for (line, first) in all.lines().zip(first.lines()) {
                    assert_eq!(line, first);
                }
                assert_eq!(all.len(), first.len());
            }
            None => seen = Some(all),
        }
    });
    insta::assert_snapshot!(seen.unwrap());
}

/// What the other doors say of a name that has no place in a header.
fn hidden_name(text: &str) -> String {
    let shown_name = "at://did:plc:\\u202eevil ⏎ ";
    let answer = json!({ "error": {
        "code": "of its era",
        "message": format!("no resource has this form; resources/templates/list names those there are, and accounts are named by DID > {shown_name}"),
        "data": { "code": "notFound", "uri": shown_name },
    }});
    shown(text, &answer)
}

#[test]
fn pages_of_a_collection_hold_each_record_once() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let mut next = Some(format!("at://{ACTOR}/app.bsky.feed.post?limit=5"));
    let mut keys = Vec::new();
    while let Some(uri) = next {
        let answer = gateway.request("resources/read", json!({ "uri": uri }));
        let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
        let page: Value = serde_json::from_str(text).unwrap();
        for record in page["records"].as_array().unwrap() {
            keys.push(record["uri"].as_str().unwrap().to_owned());
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(keys.len(), 12);
    let mut sorted = keys.clone();
    sorted.sort();
    sorted.dedup();
    sorted.reverse();
    assert_eq!(keys, sorted, "newest first, each once");
}

fn bytes(gateway: &mut Agent, uri: &str) -> Vec<u8> {
    let answer = gateway.request("resources/read", json!({ "uri": uri }));
    let blob = answer["result"]["contents"][0]["blob"].as_str();
    let blob = blob.unwrap_or_else(|| panic!("{answer}"));
    data_encoding::BASE64.decode(blob.as_bytes()).unwrap()
}

#[test]
fn an_export_is_the_car_that_came_in() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let mut sent = kit::car::blocks(&std::fs::read(sample("varied.car")).unwrap());
    let mut came = kit::car::blocks(&bytes(&mut gateway, &format!("at-car://{ACTOR}")));
    for blocks in [&mut sent, &mut came] {
        blocks.sort_by_key(|block| block.cid.to_string());
    }
    let cids = |blocks: &[kit::car::Section]| -> Vec<String> {
        blocks.iter().map(|block| block.cid.to_string()).collect()
    };
    assert_eq!(cids(&came), cids(&sent));
    let proof = bytes(&mut gateway, &format!("at-proof://{ACTOR}/{POST}"));
    assert!(kit::car::blocks(&proof).len() < came.len());
}

/// Imports a repo that the kit made, and returns its DID.
pub(crate) fn import(gateway: &mut Agent, repo: &Repo) -> String {
    let folder = folder();
    let path = folder.path().join("repo.car");
    std::fs::write(&path, repo.car(Order::PreOrder)).unwrap();
    gateway.text("at_import", json!({ "source": path }));
    repo.did.to_string()
}

/// Returns a repo whose CAR is this long.
fn repo_of(car_bytes: usize) -> Repo {
    // Equal blocks would be one.
    let letter = |i: usize| char::from(b'a' + i as u8).to_string();
    let spec = |sizes: &[usize]| {
        let extra = sizes.iter().enumerate().map(|(i, size)| {
            let value = cbor::Value::map([
                ("$type", cbor::Value::text("com.example.blob")),
                ("text", cbor::Value::text(letter(i).repeat(*size))),
            ]);
            (format!("com.example.blob/k{i}"), value.encode())
        });
        let extra = extra.collect();
        let records = 0;
        RepoSpec {
            records,
            extra,
            mix: Mix::SOCIAL,
            ..RepoSpec::default()
        }
        .build()
    };
    let mut sizes = vec![900_000; car_bytes / 900_000];
    // Longer than 65,535 bytes, so that its own length takes as many bytes however it is filled up.
    sizes.push(70_000);
    let short = spec(&sizes).car(Order::PreOrder).len();
    *sizes.last_mut().unwrap() += car_bytes - short;
    let repo = spec(&sizes);
    assert_eq!(repo.car(Order::PreOrder).len(), car_bytes);
    repo
}

#[test]
fn an_export_beyond_the_limit_is_refused_with_the_way_to_get_it() {
    let limit = carrack_schema::limits::RESOURCE_BYTES_MAX;
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let repo = repo_of(limit);
    import(&mut gateway, &repo);
    let uri = format!("at-car://{}", repo.did);
    assert_eq!(bytes(&mut gateway, &uri).len(), limit);
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let repo = repo_of(limit + 1);
    import(&mut gateway, &repo);
    let answer = gateway.request("resources/read", json!({ "uri": uri }));
    assert_eq!(answer["error"]["data"]["code"], "limitExceeded", "{answer}");
    let words = answer["error"]["message"].as_str().unwrap();
    for part in [
        "4 MiB",
        "at_export",
        &format!("or carrack export {}", repo.did),
    ] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn a_record_that_breaks_the_data_model_is_read_as_its_bytes() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    // A float, which no record may hold.
    let block = [&[0xa1, 0x61, b'f', 0xfb][..], &1.5_f64.to_be_bytes()].concat();
    let path = "com.example.thing/float".to_owned();
    let extra = vec![(path.clone(), block.clone())];
    let repo = RepoSpec {
        extra,
        ..RepoSpec::default()
    }
    .build();
    import(&mut gateway, &repo);
    let uri = format!("at://{}/{path}", repo.did);
    assert_eq!(bytes(&mut gateway, &uri), block);
}

#[test]
fn hidden_characters_are_escaped_and_the_json_is_the_same() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let hidden = "a\u{202e}b\u{2028}\u{e0041}\u{200b}\u{7}";
    let value = cbor::Value::map([("text", cbor::Value::text(hidden))]);
    let path = "com.example.thing/hidden".to_owned();
    let extra = vec![(path.clone(), value.encode())];
    let repo = RepoSpec {
        extra,
        ..RepoSpec::default()
    }
    .build();
    let did = import(&mut gateway, &repo);
    for uri in [
        format!("at://{did}/{path}"),
        format!("at://{did}/com.example.thing"),
    ] {
        let answer = gateway.request("resources/read", json!({ "uri": uri }));
        let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
        assert!(text.chars().all(|c| !c.is_control()), "{text}");
        for c in ['\u{202e}', '\u{2028}', '\u{e0041}', '\u{200b}'] {
            assert!(!text.contains(c), "{text}");
        }
        let value: Value = serde_json::from_str(text).unwrap();
        let read = value.pointer("/records/0/value/text");
        assert_eq!(read.unwrap_or(&value["text"]), hidden);
    }
}

#[test]
fn repos_are_listed_page_by_page() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    for seed in 0..100 {
        let repo = RepoSpec {
            records: 1,
            seed,
            ..RepoSpec::default()
        }
        .build();
        import(&mut gateway, &repo);
    }
    let (mut uris, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let params = match &cursor {
            Value::Null => json!({}),
            cursor => json!({ "cursor": cursor }),
        };
        let answer = gateway.request("resources/list", params);
        for resource in answer["result"]["resources"].as_array().unwrap() {
            uris.push(resource["uri"].as_str().unwrap().to_owned());
        }
        pages += 1;
        cursor = answer["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((uris.len(), pages), (102, 2));
    assert!(uris.is_sorted() && uris.contains(&format!("at://{FRIEND}")));
    let answer = gateway.request("resources/list", json!({ "cursor": "c1_x" }));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}
