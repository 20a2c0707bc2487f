//! A server that hangs up on every call: what is repeated, how often, and what is not.

use carrack_client::{Client, Connect, Error, ImportOptions, Kind};
use carrack_schema::Code;

use crate::kit::{HangsUp, run};

/// What a call that was sent once says; one that was repeated says that the connection is closed.
fn was_not_repeated(error: &Error) -> bool {
    assert_eq!(
        (error.code(), error.kind()),
        (Code::Unavailable, Kind::Disconnected)
    );
    error.words().contains("not repeated")
}

#[test]
fn a_read_is_sent_twice_and_no_more() {
    run(async {
        let server = HangsUp::start();
        let client = server.client().await;
        let error = client.login("").store().stats().await.unwrap_err();
        assert!(!was_not_repeated(&error), "{error}");
        assert_eq!(server.calls(), 2);
    });
}

#[test]
fn reads_that_fail_together_share_the_next_connection() {
    run(async {
        let server = HangsUp::start();
        let client = server.client().await;
        let store = client.login("").store();
        let reads = futures::future::join_all((0..50).map(|_| store.stats())).await;
        assert!(reads.iter().all(Result::is_err));
        assert!(server.calls() <= 3, "{} connections", server.calls());
    });
}

#[test]
fn what_may_have_taken_effect_is_sent_once() {
    run(async {
        type Leaf = fn(Client) -> futures::future::BoxFuture<'static, Option<Error>>;
        let leaves: [(&str, Leaf); 5] = [
            ("delete", |client| {
                Box::pin(async move {
                    let keeper = client.login("").keeper();
                    keeper.delete("did:plc:a", None, false).await.err()
                })
            }),
            ("compact", |client| {
                Box::pin(async move { client.login("").keeper().compact(None, false).await.err() })
            }),
            ("check", |client| {
                Box::pin(async move { client.login("").keeper().check(true).done().await.err() })
            }),
            ("export", |client| {
                Box::pin(async move {
                    let repo = client.login("").store().repo("did:plc:a");
                    repo.export().done().await.err()
                })
            }),
            ("import", |client| {
                Box::pin(async move {
                    let importer = client.login("").importer();
                    let upload = importer.import(ImportOptions::default());
                    upload.write(b"some").await;
                    upload.done().await.err()
                })
            }),
        ];
        for (name, leaf) in leaves {
            let server = HangsUp::start();
            let error = leaf(server.client().await).await.unwrap();
            assert!(was_not_repeated(&error), "{name}: {error}");
            assert_eq!(server.calls(), 1, "{name}");
        }
    });
}

#[test]
fn grants_are_never_made_twice() {
    run(async {
        type Leaf = fn(Client) -> futures::future::BoxFuture<'static, Option<Error>>;
        let leaves: [(&str, Leaf); 4] = [
            ("issue", |client| {
                Box::pin(async move {
                    let grants = client.login("").grants();
                    grants.issue(carrack_client::Scope::none(), "").await.err()
                })
            }),
            ("save", |client| {
                Box::pin(async move { client.login("").grants().grant("g").save("").await.err() })
            }),
            ("revoke", |client| {
                Box::pin(async move { client.login("").grants().grant("g").revoke().await.err() })
            }),
            ("forget", |client| {
                Box::pin(async move { client.login("").grants().grant("g").forget(1).await.err() })
            }),
        ];
        for (name, leaf) in leaves {
            let server = HangsUp::start();
            let error = leaf(server.client().await).await.unwrap();
            assert!(was_not_repeated(&error), "{name}: {error}");
            assert_eq!(server.calls(), 1, "{name}");
        }
    });
}

#[test]
fn a_client_that_should_not_reconnect_does_not() {
    run(async {
        let server = HangsUp::start();
        let connect = Connect::to(&server.address()).reconnect(false);
        let store = connect.open().await.unwrap().login("").store();
        for _ in 0..3 {
            let error = store.stats().await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
        }
        assert_eq!(server.calls(), 1);
    });
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        let error = Client::connect(&carrack_client::Address::Unix(path))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(
            error.words().contains("no store answers at unix:"),
            "{error}"
        );
    });
}
