//! Prompts and the completion of their arguments and of templates, through every door.

use kit::repo::RepoSpec;
use serde_json::{Value, json};

use crate::kit::{ACTOR, Agent, Door, FRIEND, folder};

const RECORD: &str = "at://{did}/{collection}/{rkey}";

/// Asks what an argument may be.
fn complete(door: &mut Door, reference: &Value, name: &str, value: &str, filled: Value) -> Value {
    let params = json!({
        "ref": reference,
        "argument": { "name": name, "value": value },
        "context": { "arguments": filled },
    });
    door.ask("completion/complete", params)
}

fn values(answer: &Value) -> Vec<&str> {
    let values = answer["result"]["completion"]["values"].as_array();
    let values = values.unwrap_or_else(|| panic!("{answer}"));
    values.iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn arguments_are_completed_from_what_is_held() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    let template = json!({ "type": "ref/resource", "uri": RECORD });
    let page = json!({ "type": "ref/resource", "uri": "at://{did}/{collection}{?cursor,limit}" });
    let prompt = |name: &str| json!({ "type": "ref/prompt", "name": name });
    Door::each(data.path(), |door, _| {
        // The larger account first.
        let mut check =
            |reference: &Value, name: &str, value: &str, filled: Value, expected: &[&str]| {
                let answer = complete(door, reference, name, value, filled);
                assert_eq!(values(&answer), expected, "{name}={value}");
                assert_eq!(answer["result"]["completion"]["hasMore"], false);
            };
        check(&template, "did", "", json!({}), &[ACTOR, FRIEND]);
        check(&template, "did", "did:plc:4la", json!({}), &[FRIEND]);
        check(&template, "did", ACTOR, json!({}), &[ACTOR]);
        check(&template, "did", "did:plc:zzz", json!({}), &[]);
        check(&template, "did", "x\u{202e}", json!({}), &[]);
        check(
            &prompt("compare_actors"),
            "b",
            "did:plc:r",
            json!({ "a": FRIEND }),
            &[ACTOR],
        );
        let feed = [
            "app.bsky.feed.post",
            "app.bsky.feed.like",
            "app.bsky.feed.repost",
        ];
        let did = json!({ "did": ACTOR });
        check(
            &template,
            "collection",
            "app.bsky.feed.",
            did.clone(),
            &feed,
        );
        check(&template, "collection", "po", did.clone(), &feed[..1]);
        check(&template, "collection", "", json!({}), &[]);
        check(&page, "limit", "1", did.clone(), &[]);
        let profile = json!({ "did": ACTOR, "collection": "app.bsky.actor.profile" });
        check(&template, "rkey", "se", profile.clone(), &["self"]);
        check(&template, "rkey", "x", profile, &[]);
        let uri = format!("at://{ACTOR}/app.bsky.actor.profile/self");
        let trace = prompt("trace_thread");
        check(
            &trace,
            "uri",
            "at:",
            json!({}),
            &[&format!("at://{ACTOR}"), &format!("at://{FRIEND}")],
        );
        check(
            &trace,
            "uri",
            "did:plc:4",
            json!({}),
            &[&format!("at://{FRIEND}")],
        );
        check(&trace, "uri", &uri[..52], json!({}), &[&uri[..60]]);
        check(&trace, "uri", &uri[..63], json!({}), &[&uri]);
        for (reference, name) in [
            (&template, "limit"),
            (
                &json!({ "type": "ref/resource", "uri": "x://{did}" }),
                "did",
            ),
            (&prompt("nothing"), "uri"),
            (&trace, "actor"),
        ] {
            let answer = complete(door, reference, name, "", json!({}));
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
            assert_eq!(answer["error"]["data"]["code"], "invalidArgument");
            let words = answer["error"]["message"].as_str().unwrap();
            assert!(words.contains("prompts/list"), "{words}");
        }
    });
}

#[test]
fn keys_are_the_latest_hundred() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let records = (0..150).map(|i| (format!("com.example.thing/k{i:03}"), vec![0xa0]));
    let spec = RepoSpec {
        records: 0,
        extra: records.collect(),
        ..RepoSpec::default()
    };
    let did = crate::resources::import(&mut gateway, &spec.build());
    let params = json!({
        "ref": { "type": "ref/resource", "uri": RECORD },
        "argument": { "name": "rkey", "value": "" },
        "context": { "arguments": { "did": did, "collection": "com.example.thing" } },
    });
    let answer = gateway.request("completion/complete", params);
    let found = values(&answer);
    assert_eq!((found.len(), found[0], found[99]), (100, "k149", "k050"));
    assert_eq!(answer["result"]["completion"]["hasMore"], true);
}

#[test]
fn accounts_are_the_hundred_largest() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let mut largest = Vec::new();
    for seed in 0..102 {
        // The sizes are in no order that DIDs have.
        let records = if seed < 5 {
            10 + (7 * seed as usize + 3) % 5
        } else {
            1
        };
        let spec = RepoSpec {
            records,
            seed,
            ..RepoSpec::default()
        };
        let did = crate::resources::import(&mut gateway, &spec.build());
        if seed < 5 {
            largest.push((records, did));
        }
    }
    largest.sort_by_key(|(records, _)| std::cmp::Reverse(*records));
    let params = json!({
        "ref": { "type": "ref/prompt", "name": "summarise_actor" },
        "argument": { "name": "actor", "value": "did:" },
    });
    let answer = gateway.request("completion/complete", params);
    let found = values(&answer);
    let first: Vec<_> = largest.iter().map(|(_, did)| did.as_str()).collect();
    assert_eq!((&found[..5], found.len()), (&first[..], 100));
    let completion = &answer["result"]["completion"];
    assert_eq!(
        (&completion["total"], &completion["hasMore"]),
        (&json!(102), &json!(true))
    );
}

/// An account that claims a handle is found by it.
#[test]
fn accounts_are_found_by_their_handles() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let repo = RepoSpec::default().build();
    let did = crate::resources::import(&mut gateway, &repo);
    let list = gateway.request("resources/list", json!({}));
    let name = list["result"]["resources"][0]["name"].as_str().unwrap();
    assert_eq!(name, did, "nothing claims a handle yet");
    gateway.end();
    let mut document: Value = serde_json::from_str(&repo.did_doc_legacy()).unwrap();
    document["alsoKnownAs"] = json!(["at://kit.example.org"]);
    claim(
        data.path(),
        &repo.car(kit::order::Order::PreOrder),
        &document,
    );
    let mut gateway = Agent::start(data.path(), &[]);
    let list = gateway.request("resources/list", json!({}));
    assert_eq!(list["result"]["resources"][0]["name"], "kit.example.org");
    for text in ["kit", "@Kit.example", "kit.example.org"] {
        let params = json!({
            "ref": { "type": "ref/prompt", "name": "summarise_actor" },
            "argument": { "name": "actor", "value": text },
        });
        let answer = gateway.request("completion/complete", params);
        assert_eq!(values(&answer), [did.as_str()], "{text}");
    }
}

/// Imports a CAR with its account's DID document, which tools do not take.
pub(crate) fn claim(data: &std::path::Path, car: &[u8], document: &Value) {
    use carrack_gateway::connection::{Backend, Connection};
    use carrack_gateway::embedded::Folder;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let folder = Folder::new(Some(data.to_owned())).unwrap();
        let connection = Connection::new(Backend::Folder(folder));
        let options = carrack_client::ImportOptions {
            did_document: Some(document.to_string().into_bytes()),
            ..Default::default()
        };
        let upload = connection
            .session()
            .await
            .unwrap()
            .importer()
            .import(options);
        upload.write(car).await;
        let outcome = upload.done().await.unwrap();
        assert!(
            !matches!(outcome, carrack_client::ImportOutcome::Rejected(_)),
            "{outcome:?}"
        );
        connection.shutdown().await;
    });
}

#[test]
fn prompts_are_listed_and_filled_in_through_every_door() {
    let data = folder();
    Agent::with_samples(data.path()).end();
    Door::each(data.path(), |door, _| {
        let answer = door.ask("prompts/list", json!({}));
        let prompts = answer["result"]["prompts"].as_array().unwrap();
        let names: Vec<_> = prompts
            .iter()
            .map(|prompt| prompt["name"].as_str().unwrap())
            .collect();
        let expected = [
            "summarise_actor",
            "trace_thread",
            "compare_actors",
            "fact_check_with_proof",
            "archive_health",
        ];
        assert_eq!(names, expected);
        assert_eq!(answer["result"]["cacheScope"], "private");
        let arguments = json!({ "actor": ACTOR });
        let answer = door.ask(
            "prompts/get",
            json!({ "name": "summarise_actor", "arguments": arguments }),
        );
        let message = &answer["result"]["messages"][0];
        assert_eq!(message["role"], "user");
        let text = message["content"]["text"].as_str().unwrap();
        assert!(
            text.contains(&format!("1. at_overview {{\"actor\":\"{ACTOR}\"}}")),
            "{text}"
        );
        for params in [
            json!({ "name": "nothing" }),
            json!({ "name": "trace_thread" }),
        ] {
            let answer = door.ask("prompts/get", params);
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
        }
    });
}
