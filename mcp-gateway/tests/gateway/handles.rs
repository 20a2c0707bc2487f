//! Handles: known for accounts that were imported with a DID document, and good wherever a DID is.

use carrack_client::{Address, Client, ImportOptions, ImportOutcome};
use kit::{Order, RepoSpec};
use serde_json::json;

use crate::kit::{Agent, address, folder};

/// The handle that the kit's documents claim.
const HANDLE: &str = "kit.example.com";

fn import(address: &Address, repo: &kit::Repo) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::connect(address).await.unwrap();
        let upload = client.login("").importer().import(ImportOptions {
            did_document: Some(repo.did_doc.clone().into_bytes()),
            ..ImportOptions::default()
        });
        upload.write(&repo.car(Order::PreOrder)).await;
        let outcome = upload.done().await.unwrap();
        assert!(matches!(outcome, ImportOutcome::Imported(_)), "{outcome:?}");
    });
}

#[test]
fn a_known_handle_is_good_wherever_a_did_is() {
    let data = folder();
    let mut gateway = Agent::start(data.path(), &[]);
    let repo = RepoSpec::default().build();
    gateway.text("at_overview", json!({}));
    import(&address(data.path()).parse().unwrap(), &repo);
    let did = repo.did.as_str();
    let path = &repo
        .records
        .iter()
        .find(|record| record.path.starts_with("app.bsky.feed.post/"))
        .unwrap()
        .path;
    let rkey = path.split('/').next_back().unwrap();
    let list = |repo: &str| json!({ "list": { "repo": repo, "collection": "app.bsky.feed.post" } });
    for (tool, by_handle, by_did) in [
        (
            "at_overview",
            json!({ "actor": format!("@{HANDLE}") }),
            json!({ "actor": did }),
        ),
        (
            "at_list",
            json!({ "actor": HANDLE, "collection": "app.bsky.feed.post" }),
            json!({ "actor": did, "collection": "app.bsky.feed.post" }),
        ),
        (
            "at_get",
            json!({ "refs": [format!("https://bsky.app/profile/{HANDLE}/post/{rkey}"), did] }),
            json!({ "refs": [format!("at://{did}/{path}"), did] }),
        ),
        (
            "at_thread",
            json!({ "uri": format!("at://{HANDLE}/{path}") }),
            json!({ "uri": format!("at://{did}/{path}") }),
        ),
        (
            "at_query",
            json!({ "steps": [list("Kit.Example.com"), { "count": {} }] }),
            json!({ "steps": [list(did), { "count": {} }] }),
        ),
        (
            "at_verify",
            json!({ "actor": HANDLE }),
            json!({ "actor": did }),
        ),
        (
            "at_export",
            json!({ "actor": HANDLE }),
            json!({ "actor": did }),
        ),
    ] {
        assert_eq!(
            gateway.call(tool, by_handle),
            gateway.call(tool, by_did),
            "{tool}"
        );
    }
    let verified = gateway.text(
        "at_verify",
        json!({ "uri": format!("{HANDLE},{}", path.replace('/', ",")) }),
    );
    assert!(
        verified.starts_with("sound · ") && verified.contains("signature valid: of did:key:"),
        "{verified}"
    );
}
