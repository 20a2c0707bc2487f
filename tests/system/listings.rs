//! Listings against a model: every range, direction and page size gives exactly the keys a sorted map gives.

use std::collections::BTreeMap;

use carrack_client::{Absent, Cursor, Listing, PageRequest, Range, RecordData, Want};
use carrack_schema::Code;
use carrack_schema::limits::LIST_RECORDS_MAX;
use carrack_store::DeleteTarget;
use kit::cbor::Value as Cbor;
use kit::{Changes, Mix, Order, RepoSpec, rng::Rng};

use crate::door::{self, Door, must_import};

/// Pages through a listing and returns its keys.
async fn keys(listing: &Listing, limit: u32, whole_repo: bool) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = listing
            .page(PageRequest { cursor, limit })
            .await
            .unwrap()
            .unwrap();
        assert!(page.records.len() <= limit as usize);
        keys.extend(page.records.iter().map(|record| {
            if whole_repo {
                format!("{}/{}", record.collection, record.rkey)
            } else {
                record.rkey.clone()
            }
        }));
        match page.next {
            None => return keys,
            // A cursor goes through its text, as on a command line.
            next => cursor = next.map(|cursor| cursor.to_string().parse().unwrap()),
        }
    }
}

fn model<'a>(keys: impl Iterator<Item = &'a str>, range: &Range) -> Vec<String> {
    let mut keys: Vec<_> = keys
        .filter(|key| {
            *key >= range.from.as_str() && (range.before.is_empty() || *key < range.before.as_str())
        })
        .map(str::to_owned)
        .collect();
    keys.sort();
    if range.reverse {
        keys.reverse();
    }
    keys
}

#[test]
fn listings_agree_with_a_sorted_map() {
    let repo = RepoSpec {
        records: 900,
        seed: 41,
        mix: Mix::VARIED,
        ..RepoSpec::default()
    }
    .build();
    let mut collections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in &repo.records {
        let (collection, rkey) = record.path.split_once('/').unwrap();
        collections.entry(collection).or_default().push(rkey);
    }
    door::through(Door::InProcess, &async |store| {
        let mut rng = Rng::new(42);
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let reader = store.session.store().repo(repo.did.as_str());
        // Ends of ranges: keys that exist, keys that do not, and what lies between collections.
        let mut ends: Vec<String> = [
            "",
            "a",
            "z",
            "app.bsky.feed",
            "sh.tangled.repo",
            "sh.tangled.repo/",
            "~",
        ]
        .map(str::to_owned)
        .to_vec();
        ends.extend((0..20).map(|_| repo.records[rng.below(900) as usize].path.clone()));
        for round in 0..60 {
            let pick = |rng: &mut Rng| ends[rng.below(ends.len() as u64) as usize].clone();
            let range = Range {
                from: pick(&mut rng),
                before: pick(&mut rng),
                reverse: round % 2 == 0,
            };
            let expected = model(repo.records.iter().map(|record| &*record.path), &range);
            let listing = reader.list(range.clone(), Want::default());
            let limit = [1_000, 97, 7][round % 3];
            assert_eq!(keys(&listing, limit, true).await, expected, "{range:?}");
        }
        for (collection, rkeys) in &collections {
            for reverse in [false, true] {
                let from = rkeys[rng.below(rkeys.len() as u64) as usize].to_owned();
                for range in [
                    Range {
                        reverse,
                        ..Range::default()
                    },
                    Range {
                        from,
                        before: String::new(),
                        reverse,
                    },
                ] {
                    let expected = model(rkeys.iter().copied(), &range);
                    let listing = reader.collection(collection).list(range, Want::default());
                    assert_eq!(keys(&listing, 13, false).await, expected, "{collection}");
                }
            }
        }
        store.owner.shutdown();
    });
}

/// A page of few records is whole however long they are, also where the rows are at hand because others were read.
#[test]
fn a_page_of_long_records_is_as_long_as_was_asked_for() {
    let long = |number: usize| {
        let text = Cbor::text("x".repeat(4 << 10));
        let path = format!("com.example.long/{number:02}");
        (path, Cbor::map([("text", text)]).encode())
    };
    let repo = RepoSpec {
        records: 10,
        seed: 46,
        extra: (0..50).map(long).collect(),
        ..RepoSpec::default()
    }
    .build();
    door::each(async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let reader = store.session.store().repo(repo.did.as_str());
        for want in [Want::value(), Want::dag_cbor(), Want::default()] {
            for limit in [2, 15, 16, 40] {
                let listing = reader.collection("com.example.long");
                let listing = listing.list(Range::default(), want.clone());
                let cursor = None;
                let page = listing.page(PageRequest { cursor, limit }).await;
                let page = page.unwrap().unwrap();
                assert_eq!(page.records.len(), limit as usize, "{want:?}");
                assert!(page.next.is_some());
            }
        }
        store.owner.shutdown();
    });
}

#[test]
fn a_cursor_works_for_its_own_listing_only() {
    let repo = RepoSpec {
        records: 200,
        seed: 43,
        ..RepoSpec::default()
    }
    .build();
    let other = RepoSpec {
        records: 200,
        seed: 44,
        ..RepoSpec::default()
    }
    .build();
    door::each(async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        must_import(&store.session, &other.car(Order::Pds)).await;
        let reader = store.session.store();
        let list = |did: &str, range: Range| reader.repo(did).list(range, Want::default());
        let (did, forward) = (repo.did.as_str(), Range::default);
        let request = |cursor: &Cursor| PageRequest {
            cursor: Some(cursor.clone()),
            limit: 10,
        };
        let first = PageRequest {
            cursor: None,
            limit: 10,
        };
        let page = list(did, forward()).page(first).await.unwrap().unwrap();
        let cursor = page.next.unwrap();
        assert!(
            list(did, forward())
                .page(request(&cursor))
                .await
                .unwrap()
                .is_ok()
        );
        let foreign = [
            list(other.did.as_str(), forward()),
            list(
                did,
                Range {
                    reverse: true,
                    ..forward()
                },
            ),
            list(
                did,
                Range {
                    from: "a".into(),
                    ..forward()
                },
            ),
            reader
                .repo(did)
                .collection("app.bsky.feed.like")
                .list(forward(), Want::default()),
        ];
        for listing in foreign {
            let error = listing.page(request(&cursor)).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
        }
        // Sealed in the catalog's name: it works after reopening as well.
        let store = store.reopen(Door::Unix).await;
        let listing = store
            .session
            .store()
            .repo(did)
            .list(forward(), Want::default());
        assert!(listing.page(request(&cursor)).await.unwrap().is_ok());
        store.owner.shutdown();
    });
}

#[test]
fn a_listing_goes_on_in_its_revision_when_the_repo_moves() {
    let old = RepoSpec {
        records: 300,
        seed: 45,
        ..RepoSpec::default()
    }
    .build();
    let new = old.next_version(&old.random_edits(
        1,
        Changes {
            added: 40,
            changed: 10,
            deleted: 60,
        },
    ));
    for reverse in [false, true] {
        door::through(Door::InProcess, &async |store| {
            must_import(&store.session, &old.car(Order::Pds)).await;
            let range = Range {
                reverse,
                ..Range::default()
            };
            let listing = store
                .session
                .store()
                .repo(old.did.as_str())
                .list(range.clone(), Want::default());
            let first = listing
                .page(PageRequest {
                    cursor: None,
                    limit: 100,
                })
                .await
                .unwrap()
                .unwrap();
            assert_eq!(first.moved_from, None);
            must_import(&store.session, &new.car(Order::Pds)).await;
            let request = PageRequest {
                cursor: first.next.clone(),
                limit: 1_000,
            };
            let rest = listing.page(request).await.unwrap().unwrap();
            assert_eq!(rest.moved_from, None);
            assert_eq!(rest.source.rev, old.rev.to_string());
            let last = first
                .records
                .last()
                .map(|r| format!("{}/{}", r.collection, r.rkey))
                .unwrap();
            let mut expected = model(old.records.iter().map(|record| &*record.path), &range);
            expected.retain(|key| if reverse { *key < last } else { *key > last });
            let got: Vec<_> = rest
                .records
                .iter()
                .map(|r| format!("{}/{}", r.collection, r.rkey))
                .collect();
            assert_eq!(got, expected);
            store.owner.shutdown();
        });
    }
}

/// What may happen to a repo between two pages of a listing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    NewerAndMerged,
    RecordDeleted,
    DeletedAndNewer,
}

#[test]
fn a_cursor_goes_on_through_merges_deletions_and_lost_revisions() {
    let old = RepoSpec {
        records: 200,
        seed: 48,
        ..RepoSpec::default()
    }
    .build();
    let changes = Changes {
        added: 20,
        changed: 10,
        deleted: 20,
    };
    let new = old.next_version(&old.random_edits(1, changes));
    for between in [
        Between::NewerAndMerged,
        Between::RecordDeleted,
        Between::DeletedAndNewer,
    ] {
        for reverse in [false, true] {
            door::through(Door::Unix, &async |store| {
                must_import(&store.session, &old.car(Order::Pds)).await;
                let range = Range {
                    reverse,
                    ..Range::default()
                };
                let reader = store.session.store().repo(old.did.as_str());
                let listing = reader.list(range.clone(), Want::default());
                let page = async |cursor: Option<Cursor>| {
                    let request = PageRequest { cursor, limit: 70 };
                    listing.page(request).await.unwrap().unwrap()
                };
                let keys = |records: &[RecordData]| -> Vec<String> {
                    let key = |r: &RecordData| format!("{}/{}", r.collection, r.rkey);
                    records.iter().map(key).collect()
                };
                let first = page(None).await;
                let mut seen = keys(&first.records);
                let mut expected = model(old.records.iter().map(|record| &*record.path), &range);
                let engine = store.owner.store();
                match between {
                    Between::NewerAndMerged => {
                        must_import(&store.session, &new.car(Order::Pds)).await;
                        engine.compact(false, None).unwrap();
                    }
                    Between::RecordDeleted => {
                        for at in [10, 100, 150] {
                            let path = expected[at].parse().unwrap();
                            let target = DeleteTarget::Record(old.did.clone(), path);
                            engine.delete(&target, at == 100).unwrap();
                        }
                        // What was seen was seen.
                        for at in [150, 100] {
                            expected.remove(at);
                        }
                    }
                    Between::DeletedAndNewer => {
                        let target = DeleteTarget::Repo(old.did.clone());
                        engine.delete(&target, true).unwrap();
                        must_import(&store.session, &new.car(Order::Pds)).await;
                        let all = model(new.records.iter().map(|record| &*record.path), &range);
                        let last = seen.last().unwrap().clone();
                        expected = seen.clone();
                        let is_after =
                            |key: &String| if reverse { *key < last } else { *key > last };
                        expected.extend(all.into_iter().filter(is_after));
                    }
                }
                let mut next = first.next;
                let mut moved = Vec::new();
                while next.is_some() {
                    let more = page(next).await;
                    seen.extend(keys(&more.records));
                    moved.extend(more.moved_from);
                    next = more.next;
                }
                assert_eq!(seen, expected, "{between:?}, reverse: {reverse}");
                let expected_moves = match between {
                    Between::DeletedAndNewer => vec![old.rev.to_string()],
                    _ => Vec::new(),
                };
                assert_eq!(moved, expected_moves, "{between:?}");
                store.owner.shutdown();
            });
        }
    }
}

#[test]
fn a_page_ends_at_its_limits() {
    let records = LIST_RECORDS_MAX as usize + 1;
    let large = (0..8).map(|i| {
        (
            format!("com.example.large/{i}"),
            [&[0x5a, 0, 2, 0, 0][..], &[i; 0x2_0000]].concat(),
        )
    });
    let repo = RepoSpec {
        records,
        seed: 46,
        extra: large.collect(),
        ..RepoSpec::default()
    }
    .build();
    door::through(Door::Unix, &async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let reader = store.session.store().repo(repo.did.as_str());
        let page = async |listing: Listing, limit| {
            listing
                .page(PageRequest {
                    cursor: None,
                    limit,
                })
                .await
                .unwrap()
                .unwrap()
        };
        for (limit, expected) in [
            (0, 100),
            (1, 1),
            (LIST_RECORDS_MAX, 1_000),
            (LIST_RECORDS_MAX + 1, 1_000),
        ] {
            let page = page(reader.list(Range::default(), Want::default()), limit).await;
            assert_eq!(page.records.len(), expected, "limit {limit}");
            assert!(page.next.is_some());
        }
        // 128 KiB each: the fourth reaches 512 KiB.
        let large = reader.collection("com.example.large");
        let with_bytes = page(large.list(Range::default(), Want::dag_cbor()), 0).await;
        assert_eq!(
            (with_bytes.records.len(), with_bytes.next.is_some()),
            (4, true)
        );
        let keys_only = page(large.list(Range::default(), Want::default()), 0).await;
        assert_eq!(
            (keys_only.records.len(), keys_only.next.is_some()),
            (8, false)
        );
        store.owner.shutdown();
    });
}

#[test]
fn what_is_not_there_is_absent_and_what_is_empty_is_empty() {
    let repo = RepoSpec {
        records: 0,
        seed: 47,
        ..RepoSpec::default()
    }
    .build();
    door::each(async |store| {
        must_import(&store.session, &repo.car(Order::Pds)).await;
        let reader = store.session.store();
        let list = |did: &str| reader.repo(did).list(Range::default(), Want::default());
        let page = list(repo.did.as_str())
            .page(PageRequest::default())
            .await
            .unwrap()
            .unwrap();
        assert!(page.records.is_empty() && page.next.is_none());
        let absent = list("did:plc:nobody")
            .page(PageRequest::default())
            .await
            .unwrap();
        assert_eq!(absent.unwrap_err(), Absent::Repo);
        let collection = reader
            .repo(repo.did.as_str())
            .collection("com.example.none");
        let absent = collection
            .list(Range::default(), Want::default())
            .page(PageRequest::default())
            .await;
        assert_eq!(absent.unwrap().unwrap_err(), Absent::Collection);
        store.owner.shutdown();
    });
}

#[test]
fn repos_are_listed_in_order_page_by_page() {
    door::through(Door::Unix, &async |store| {
        let mut dids = Vec::new();
        for seed in 50..57 {
            let repo = RepoSpec {
                records: 3,
                seed,
                ..RepoSpec::default()
            }
            .build();
            must_import(&store.session, &repo.car(Order::Pds)).await;
            dids.push(repo.did.to_string());
        }
        dids.sort();
        let reader = store.session.store();
        for limit in [1, 3, 7, 8] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let list = reader.repos(&after, limit).await.unwrap();
                seen.extend(list.repos.iter().map(|repo| repo.source.did.clone()));
                if !list.more {
                    break;
                }
                after = seen.last().unwrap().clone();
            }
            assert_eq!(seen, dids, "limit {limit}");
        }
        let stats = reader.stats().await.unwrap();
        assert_eq!((stats.repos, stats.records), (7, 21));
        store.owner.shutdown();
    });
}
