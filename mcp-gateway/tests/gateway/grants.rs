//! `at_grant`: the token that it shows opens what was asked for and no more, until it is taken back.

use carrack_client::{Address, Client, Want};
use carrack_schema::Code;
use serde_json::json;

use crate::kit::{ACTOR, Agent, FRIEND, address, folder, text};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

#[test]
fn a_token_opens_what_was_asked_for_until_it_is_revoked() {
    let data = folder();
    let mut gateway = Agent::with_samples(data.path());
    let result = gateway.call(
        "at_grant",
        json!({ "action": "create", "repos": [format!("https://bsky.app/profile/{ACTOR}")], "label": "summariser\u{202e} of posts" }),
    );
    let structured = &result["structuredContent"];
    let (token, id) = (
        structured["token"].as_str().unwrap(),
        structured["items"][0]["id"].as_str().unwrap(),
    );
    let until = structured["items"][0]["until"].as_str().unwrap();
    let shown = text(&result)
        .replace(token, "TOKEN")
        .replace(id, "ID")
        .replace(until, "TIME");
    insta::assert_snapshot!(shown, @r#"
    created ID · may read, list · did:plc:rilb2cohzwgttp7xjllpyq2i · all collections · until TIME · used 0 of 5,000 calls, 0 of 10,485,760 bytes > summariser\u202e of posts
    token, shown this once: TOKEN
    warning: the token has passed through this conversation and whatever logs it. Give it to its one holder; when they are done: at_grant {"action":"revoke","id":"ID"}
    "#);
    let address: Address = address(data.path()).parse().unwrap();
    let list = || json!({ "action": "list" });
    block_on(async {
        let client = Client::connect(&address).await.unwrap();
        let store = client.restore(token).store();
        let repos = store.repos("", 0).await.unwrap().repos;
        assert_eq!(repos.len(), 1);
        let profile = |did: &str| store.repo(did).record("app.bsky.actor.profile/self");
        profile(ACTOR).read(Want::value()).await.unwrap().unwrap();
        let other = profile(FRIEND).read(Want::value()).await;
        assert!(!matches!(other, Ok(Ok(_))), "{other:?}");
        let export = store.repo(ACTOR).export().done().await.unwrap_err();
        assert_eq!(export.code(), Code::Denied);
        let listed = gateway.text("at_grant", list());
        assert!(
            listed.starts_with("1 grant\n") && listed.contains(id),
            "{listed}"
        );
        assert!(!listed.contains(token), "{listed}");
        let revoked = gateway.text("at_grant", json!({ "action": "revoke", "id": id }));
        assert!(
            revoked.starts_with(&format!("revoked {id}: 1 grant ended")),
            "{revoked}"
        );
        let error = profile(ACTOR).read(Want::value()).await.unwrap_err();
        assert_eq!(error.code(), Code::Revoked);
        let error = client.restore(token).about().await.unwrap_err();
        assert_eq!(error.code(), Code::BadCredential);
    });
    assert!(gateway.text("at_grant", list()).starts_with("none"));
}

/// A token is for its holder alone.
#[test]
fn no_token_is_logged() {
    let data = folder();
    let mut gateway = Agent::spawn(data.path(), &[], &[("CARRACK_LOG", "trace")]);
    gateway.initialize();
    let create = json!({ "action": "create", "repos": ["*"], "minutes": 1 });
    let result = gateway.call("at_grant", create);
    let token = result["structuredContent"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    gateway.close();
    let log = gateway.log();
    assert!(!log.is_empty());
    assert!(!log.contains(&token));
}
