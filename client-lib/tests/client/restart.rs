//! A store that is shut down and started again under a client.

use carrack_client::{Absent, Client, Connect, ImportOptions, Want};
use carrack_schema::Code;
use kit::Order;

use crate::kit::{address, import, owner, repo, run};

#[test]
fn handles_go_on_with_the_next_server() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let first = owner(folder.path());
        let client = Client::connect(&address(&first)).await.unwrap();
        let session = client.login("");
        let repo = repo(20);
        import(&session, &repo).await;
        let store = session.store();
        let record = store.repo(repo.did.as_str()).record(&repo.records[3].path);
        let listing = store
            .repo(repo.did.as_str())
            .list(Default::default(), Want::default());
        record.read(Want::value()).await.unwrap().unwrap();
        // All but these handles is gone: they know the way by themselves.
        drop((session, store, client));

        first.shutdown();
        let second = owner(folder.path());
        let (_, data) = record
            .read(Want::value().with_cid())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(data.cid, Some(repo.records[3].cid));
        let page = listing.page(Default::default()).await.unwrap().unwrap();
        assert_eq!(page.records.len(), 20);
        second.shutdown();
    });
}

#[test]
fn a_read_waits_for_a_server_that_is_starting() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let first = owner(folder.path());
        let client = Client::connect(&address(&first)).await.unwrap();
        let store = client.login("").store();
        store.stats().await.unwrap();
        first.shutdown();
        // Under way before there is a server again.
        let read = tokio::spawn(async move { store.stats().await });
        tokio::task::yield_now().await;
        let second = owner(folder.path());
        assert_eq!(read.await.unwrap().unwrap().repos, 0);
        second.shutdown();
    });
}

#[test]
fn attempts_come_to_an_end() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let first = owner(folder.path());
        let client = Client::connect(&address(&first)).await.unwrap();
        let store = client.login("").store();
        first.shutdown();
        let reads = futures::future::join_all((0..20).map(|_| store.stats())).await;
        for read in reads {
            let error = read.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            // One row of attempts for all of them.
            assert!(error.words().ends_with("8 attempts failed"), "{error}");
        }
    });
}

#[test]
fn an_upload_in_flight_fails_and_leaves_nothing() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let first = owner(folder.path());
        let client = Client::connect(&address(&first)).await.unwrap();
        let session = client.login("");
        let repo = repo(50);
        let car = repo.car(Order::Pds);
        let upload = session.importer().import(ImportOptions::default());
        assert!(upload.write(&car[..car.len() / 2]).await);
        // Its first half has arrived, by an answer that came after it.
        session.about().await.unwrap();

        first.shutdown();
        let second = owner(folder.path());
        upload.write(&car[car.len() / 2..]).await;
        let error = upload.done().await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        let held = session.store().repo(repo.did.as_str()).info().await;
        assert_eq!(held.unwrap().unwrap_err(), Absent::Repo);
        // The same session takes the next one.
        import(&session, &repo).await;
        second.shutdown();
    });
}

#[test]
fn without_a_way_back_a_lost_store_is_the_end() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let first = owner(folder.path());
        let over = first.client().login("").store();
        let off = Connect::to(&address(&first)).reconnect(false);
        let off = off.open().await.unwrap().login("").store();
        over.stats().await.unwrap();
        off.stats().await.unwrap();
        first.shutdown();
        let second = owner(folder.path());
        for store in [over, off] {
            let error = store.stats().await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{error}");
        }
        second.shutdown();
    });
}
