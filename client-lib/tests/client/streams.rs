//! Listings and exports as streams.

use carrack_client::{PageRequest, Range, Want};
use carrack_schema::Code;
use futures::{StreamExt, TryStreamExt};
use kit::Order;

use crate::kit::{import, owner, repo, run};

#[test]
fn records_come_one_by_one_over_all_pages() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = owner(folder.path());
        let session = store.client().login("");
        let repo = repo(350);
        import(&session, &repo).await;
        let reader = session.store().repo(repo.did.as_str());
        let listing = reader.list(Range::default(), Want::default());
        let pages: Vec<_> = listing.clone().pages(None).try_collect().await.unwrap();
        assert!(pages.len() > 3, "{} pages", pages.len());
        let records: Vec<_> = listing.clone().records(None).try_collect().await.unwrap();
        assert_eq!(records.len(), 350);
        let of_pages: Vec<_> = pages.into_iter().flat_map(|page| page.records).collect();
        assert_eq!(records, of_pages);

        let first = PageRequest {
            cursor: None,
            limit: 40,
        };
        let cursor = listing.page(first).await.unwrap().unwrap().next;
        let rest: Vec<_> = listing.records(cursor).try_collect().await.unwrap();
        assert_eq!(rest, records[40..]);
        store.shutdown();
    });
}

#[test]
fn a_repo_that_is_not_held_is_the_streams_one_item() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = owner(folder.path());
        let session = store.client().login("");
        let absent = session.store().repo("did:plc:ewvi7nxzyoun6zhxrhs64oiz");
        let listing = absent.list(Range::default(), Want::default());
        let items: Vec<_> = listing.records(None).collect().await;
        let [Err(error)] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(error.code(), Code::NotFound);
        let items: Vec<_> = absent.export().collect().await;
        let [Err(error)] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(error.code(), Code::NotFound);
        store.shutdown();
    });
}

#[test]
fn an_export_is_a_stream_and_still_says_how_it_ended() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = owner(folder.path());
        let session = store.client().login("");
        let repo = repo(2_000);
        import(&session, &repo).await;
        let mut export = session.store().repo(repo.did.as_str()).export();
        let mut chunks = Vec::new();
        while let Some(chunk) = StreamExt::next(&mut export).await {
            chunks.push(chunk.unwrap());
        }
        assert!(StreamExt::next(&mut export).await.is_none());
        let report = export.done().await.unwrap().unwrap();
        assert!(chunks.len() > 1, "{} chunks", chunks.len());
        assert_eq!(report.bytes, chunks.concat().len() as u64);
        assert_eq!(chunks.concat(), repo.car(Order::PreOrder));
        store.shutdown();
    });
}
