//! Exports made by a real PDS, with what must be in them.

use std::fmt::Write as _;
use std::path::PathBuf;

use carrack_client::{Range, Session, Want};
use futures::TryStreamExt;

use crate::door::{self, Door, must_import};

/// Full repos under `tests/fixtures/pds-made`.
const FULL: [&str; 8] = [
    "empty",
    "emptied",
    "small",
    "varied",
    "varied-friend",
    "mid",
    "diff-a-full",
    "diff-b-full",
];

pub(crate) fn read(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/pds-made")
        .join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns `path<TAB>cid` lines of everything a repo holds, in the store's order.
pub(crate) async fn listing(session: &Session, did: &str) -> String {
    let listing = session
        .store()
        .repo(did)
        .list(Range::default(), Want::default().with_cid());
    let pages: Vec<_> = listing.pages(None).try_collect().await.unwrap();
    let mut lines = String::new();
    for record in pages.into_iter().flat_map(|page| page.records) {
        let cid = record.cid.unwrap();
        writeln!(lines, "{}/{}\t{cid}", record.collection, record.rkey).unwrap();
    }
    lines
}

#[test]
fn pds_exports_hold_exactly_their_records() {
    for name in FULL {
        door::through(Door::InProcess, &async |store| {
            let expected: serde_json::Value =
                serde_json::from_slice(&read(&format!("{name}.json"))).unwrap();
            let report = must_import(&store.session, &read(&format!("{name}.car"))).await;
            let source = &report.info.source;
            assert_eq!(source.did, expected["did"], "{name}");
            assert_eq!(source.rev, expected["rev"], "{name}");
            assert_eq!(source.commit.to_string(), expected["commit"], "{name}");
            assert_eq!(
                report.info.records,
                expected["records"].as_u64().unwrap(),
                "{name}"
            );
            assert_eq!(
                report.info.bytes_in,
                expected["bytes"].as_u64().unwrap(),
                "{name}"
            );
            for collection in &report.collections {
                let count = &expected["recordsPerCollection"][&collection.nsid];
                assert_eq!(
                    Some(collection.records),
                    count.as_u64(),
                    "{name} {}",
                    collection.nsid
                );
            }
            let tsv = String::from_utf8(read(&format!("{name}.records.tsv"))).unwrap();
            let tsv = if tsv.is_empty() || tsv.ends_with('\n') {
                tsv
            } else {
                tsv + "\n"
            };
            assert_eq!(listing(&store.session, &source.did).await, tsv, "{name}");
            store.owner.shutdown();
        });
    }
}

#[test]
fn every_record_of_a_pds_export_has_the_bytes_of_its_block() {
    door::through(Door::InProcess, &async |store| {
        let car = read("mid.car");
        let blocks: std::collections::HashMap<_, _> = kit::car::blocks(&car)
            .into_iter()
            .map(|section| (section.cid, section.payload))
            .collect();
        let did = must_import(&store.session, &car).await.info.source.did;
        let listing = store
            .session
            .store()
            .repo(&did)
            .list(Range::default(), Want::dag_cbor().with_cid());
        let pages: Vec<_> = listing.pages(None).try_collect().await.unwrap();
        let mut count = 0;
        for record in pages.into_iter().flat_map(|page| page.records) {
            let block = blocks[&record.cid.unwrap()].clone();
            assert_eq!(
                record.body,
                carrack_client::Body::DagCbor(car[block].to_vec())
            );
            count += 1;
        }
        assert_eq!(count, 2_000);
        store.owner.shutdown();
    });
}

#[test]
fn a_since_export_is_no_full_repo() {
    door::through(Door::InProcess, &async |store| {
        match door::import(&store.session, &read("diff-since-a.car")).await {
            carrack_client::ImportOutcome::Rejected(rejection) => {
                assert_eq!(rejection.code, carrack_schema::Code::Incomplete);
            }
            other => panic!("{other:?}"),
        }
        assert!(store.files().is_empty());
        store.owner.shutdown();
    });
}
