//! Round trips, counted exactly for every method of the client; the counts stand in the methods' documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use carrack_client::query::Plan;
use carrack_client::{
    BackupPart, Error, ImportOptions, PageRequest, Range, Repo, Scope, Selection, Session, Want,
};
use carrack_segment::{Directory, Fs};
use carrack_store::{ImportRequest, Store, SystemClock};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use kit::{Order, RepoSpec};

use crate::line::{Line, StoreWaits};

pub(crate) use crate::line::count;

/// Returns a session over a line on which time passes once the store waits for the client.
pub(crate) fn connect(store: &Store) -> Session {
    Line::new(store, StoreWaits::ForClient(1)).session
}

pub(crate) fn with_store(body: impl AsyncFn(Store, kit::Repo)) {
    let folder = tempfile::tempdir().unwrap();
    let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
    let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
    let repo = RepoSpec {
        records: 300,
        seed: 61,
        ..RepoSpec::default()
    }
    .build();
    store
        .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, body(store, repo));
}

#[test]
fn a_chain_from_bootstrap_to_record_is_one_round_trip() {
    with_store(async |store, repo| {
        let (collection, rkey) = repo.records[7].path.split_once('/').unwrap();
        let read = async {
            let session = connect(&store);
            let record = session
                .store()
                .repo(repo.did.as_str())
                .collection(collection)
                .record(rkey);
            record
                .read(Want::value().with_cid())
                .await
                .unwrap()
                .unwrap()
        };
        let (trips, (_, data)) = count(read).await;
        assert_eq!(data.cid, Some(repo.records[7].cid));
        assert_eq!(trips, 1.0);
    });
}

/// What the rows of the table need to know.
#[derive(Clone)]
struct Facts {
    did: String,
    collection: String,
    /// Paths, each for one record.
    paths: Vec<String>,
    /// A CAR of another repo.
    car: Vec<u8>,
    /// Id of a grant.
    grant: String,
}

/// A leaf, and how many round trips it takes.
struct Row {
    leaf: &'static str,
    trips: f64,
    waits: StoreWaits,
    call: Call,
}

type Call = for<'a> fn(&'a Session, &'a Facts) -> LocalBoxFuture<'a, Result<(), Error>>;

/// A row for a leaf that is one round trip, answered by the store's work alone.
macro_rules! one {
    ($leaf:literal, $call:expr) => {
        Row {
            leaf: $leaf,
            trips: 1.0,
            waits: StoreWaits::ForItself,
            call: |session, facts| Box::pin(async move { $call(session, facts).await }),
        }
    };
}

/// Leaves of connecting: their trips are the transport's.
const OF_THE_TRANSPORT: [&str; 2] = ["Client::connect", "Connect::open"];

fn rows() -> Vec<Row> {
    vec![
        one!("Session::about", async |session: &Session, _: &Facts| {
            session.about().await.map(drop)
        }),
        one!("Session::usage", async |session: &Session, _: &Facts| {
            session.usage().await.map(drop)
        }),
        one!("Store::repos", async |session: &Session, _: &Facts| {
            session.store().repos("", 10).await.map(drop)
        }),
        one!("Store::stats", async |session: &Session, _: &Facts| {
            session.store().stats().await.map(drop)
        }),
        one!("Repo::info", async |session: &Session, facts: &Facts| {
            session.store().repo(&facts.did).info().await?.map(drop)?;
            Ok(())
        }),
        one!(
            "Repo::collections",
            async |session: &Session, facts: &Facts| {
                let repo = session.store().repo(&facts.did);
                repo.collections().await?.map(drop)?;
                Ok(())
            }
        ),
        one!("Listing::page", async |session: &Session, facts: &Facts| {
            let collection = session
                .store()
                .repo(&facts.did)
                .collection(&facts.collection);
            let listing = collection.list(Range::default(), Want::value());
            listing.page(PageRequest::default()).await?.map(drop)?;
            Ok(())
        }),
        one!(
            "Listing::pages",
            async |session: &Session, facts: &Facts| {
                let repo = session.store().repo(&facts.did);
                let pages = repo.list(Range::default(), Want::value()).pages(None);
                first(pages).await
            }
        ),
        one!(
            "Listing::records",
            async |session: &Session, facts: &Facts| {
                let repo = session.store().repo(&facts.did);
                let records = repo.list(Range::default(), Want::value()).records(None);
                first(records).await
            }
        ),
        one!("Record::read", async |session: &Session, facts: &Facts| {
            let record = session.store().repo(&facts.did).record(&facts.paths[0]);
            record.read(Want::value().with_cid()).await?.map(drop)?;
            Ok(())
        }),
        one!(
            "Collection::get",
            async |session: &Session, facts: &Facts| {
                let (collection, rkey) = facts.paths[0].split_once('/').unwrap();
                let named = session.store().repo(&facts.did).collection(collection);
                named.get(rkey, Want::value()).await?.map(drop)?;
                Ok(())
            }
        ),
        one!("Record::prove", async |session: &Session, facts: &Facts| {
            let record = session.store().repo(&facts.did).record(&facts.paths[0]);
            record.prove().await?.map(drop)?;
            Ok(())
        }),
        Row {
            leaf: "Download::next",
            trips: 1.0,
            waits: StoreWaits::ForClient(1),
            call: |session, facts| {
                Box::pin(async move {
                    let mut export = session.store().repo(&facts.did).export();
                    assert!(export.next().await.is_some());
                    Ok(())
                })
            },
        },
        // The CAR is one chunk; that it is taken, and the end with it, is the second.
        Row {
            leaf: "Download::done",
            trips: 2.0,
            waits: StoreWaits::ForClient(2),
            call: |session, facts| {
                Box::pin(async move {
                    let mut export = session.store().repo(&facts.did).export();
                    while export.next().await.is_some() {}
                    export.done().await?.map(drop)?;
                    Ok(())
                })
            },
        },
        Row {
            leaf: "Upload::write",
            trips: 0.0,
            waits: StoreWaits::ForItself,
            call: |session, facts| {
                Box::pin(async move {
                    let upload = session.importer().import(ImportOptions::default());
                    assert!(upload.write(&facts.car).await);
                    Ok(())
                })
            },
        },
        one!("Upload::done", async |session: &Session, facts: &Facts| {
            let options = ImportOptions {
                size: Some(facts.car.len() as u64),
                ..ImportOptions::default()
            };
            let upload = session.importer().import(options);
            assert!(upload.write(&facts.car).await);
            upload.done().await.map(drop)
        }),
        one!("Store::query", async |session: &Session, facts: &Facts| {
            let plan = Plan::new().list(&facts.did, &facts.collection).count();
            session.store().query(&plan).await.map(drop)
        }),
        one!(
            "Store::ancestors",
            async |session: &Session, facts: &Facts| {
                let uri = format!("at://{}/{}", facts.did, facts.paths[0]);
                let store = session.store();
                store.ancestors(&uri, 10, Want::default()).await.map(drop)
            }
        ),
        one!("Store::watch", async |session: &Session, _: &Facts| {
            session.store().watch(Selection::All).await.map(drop)
        }),
        one!(
            "Record::verify",
            async |session: &Session, facts: &Facts| {
                let record = session.store().repo(&facts.did).record(&facts.paths[0]);
                record.verify().await?.map(drop)?;
                Ok(())
            }
        ),
        Row {
            leaf: "Listing::scan",
            trips: 1.0,
            waits: StoreWaits::ForClient(1),
            call: |session, facts| {
                Box::pin(async move {
                    let repo = session.store().repo(&facts.did);
                    first(repo.list(Range::default(), Want::value()).scan()).await
                })
            },
        },
        one!(
            "Upload::done_and",
            async |session: &Session, facts: &Facts| {
                let upload = session.importer().import(ImportOptions::default());
                assert!(upload.write(&facts.car).await);
                let next = async |repo: Repo| repo.info().await;
                let (outcome, info) = upload.done_and(next).await;
                info?.map(drop)?;
                outcome.map(drop)
            }
        ),
        one!(
            "Keeper::delete",
            async |session: &Session, facts: &Facts| {
                let keeper = session.keeper();
                let deleted = keeper
                    .delete(&facts.did, Some(&facts.paths[1]), true)
                    .await?;
                deleted.map(drop).or(Ok(()))
            }
        ),
        one!("Keeper::compact", async |session: &Session, _: &Facts| {
            session.keeper().compact(None, false).await?.map(drop)?;
            Ok(())
        }),
        one!("Grants::issue", async |session: &Session, _: &Facts| {
            session.grants().issue(scope(), "here").await.map(drop)
        }),
        one!("Grants::list", async |session: &Session, _: &Facts| {
            session.grants().list("", 10).await.map(drop)
        }),
        one!("Grant::info", async |session: &Session, facts: &Facts| {
            session.grants().grant(&facts.grant).info().await.map(drop)
        }),
        one!("Grant::save", async |session: &Session, facts: &Facts| {
            session
                .grants()
                .grant(&facts.grant)
                .save("")
                .await
                .map(drop)
        }),
        one!("Grant::tokens", async |session: &Session, facts: &Facts| {
            session
                .grants()
                .grant(&facts.grant)
                .tokens()
                .await
                .map(drop)
        }),
        one!("Grant::forget", async |session: &Session, facts: &Facts| {
            session
                .grants()
                .grant(&facts.grant)
                .forget(1)
                .await
                .map(drop)
        }),
        one!("Grant::revoke", async |session: &Session, facts: &Facts| {
            session
                .grants()
                .grant(&facts.grant)
                .revoke()
                .await
                .map(drop)
        }),
    ]
}

async fn first<T>(stream: impl futures::Stream<Item = Result<T, Error>>) -> Result<(), Error> {
    let mut stream = std::pin::pin!(stream);
    stream.next().await.expect("there is one").map(drop)
}

/// What is taken back once is not there the second time; an error is an answer too.
fn may_fail(leaf: &str) -> bool {
    leaf == "Grant::revoke"
}

/// The narrowest grant that is one.
fn scope() -> Scope {
    let scope = Scope::none().all_repos().read().unlimited_calls();
    scope.unlimited_bytes().never_expires()
}

fn facts(repo: &kit::Repo, grant: String) -> Facts {
    let other = RepoSpec {
        records: 40,
        seed: 62,
        ..RepoSpec::default()
    };
    let path = &repo.records[0].path;
    Facts {
        did: repo.did.as_str().to_owned(),
        collection: path.split_once('/').unwrap().0.to_owned(),
        paths: repo.records.iter().map(|r| r.path.clone()).collect(),
        car: other.build().car(Order::Pds),
        grant,
    }
}

#[test]
fn every_leaf_takes_what_its_documentation_says_cold_and_warm() {
    with_store(async |store, repo| {
        let issued = connect(&store).grants().issue(scope(), "").await;
        let facts = facts(&repo, issued.unwrap().info.id);
        for row in rows() {
            // Cold: the bootstrap, the login and all hops are in the count.
            let line = Line::new(&store, row.waits);
            let (trips, answer) = count((row.call)(&line.session, &facts)).await;
            assert!(
                answer.is_ok() || may_fail(row.leaf),
                "{}: {answer:?}",
                row.leaf
            );
            assert_eq!(trips, row.trips, "{} on a cold connection", row.leaf);

            let line = Line::new(&store, row.waits);
            line.session.about().await.unwrap();
            let (trips, answer) = count((row.call)(&line.session, &facts)).await;
            assert!(
                answer.is_ok() || may_fail(row.leaf),
                "{}: {answer:?}",
                row.leaf
            );
            assert_eq!(trips, row.trips, "{} on a warm connection", row.leaf);
        }
    });
}

#[test]
fn a_check_is_one_round_trip_and_one_for_each_report() {
    with_store(async |store, _| {
        let line = Line::new(&store, StoreWaits::ForClient(1));
        let check = async {
            let mut check = line.session.keeper().check(false);
            assert_eq!(check.next().await, None);
            check.done().await.unwrap()
        };
        let (trips, report) = count(check).await;
        assert_eq!(report.repos, 1);
        assert_eq!(trips, 1.0 + line.calls_back() as f64);
    });
}

#[test]
fn a_backup_is_one_round_trip_and_one_for_each_file() {
    with_store(async |store, _| {
        let line = Line::new(&store, StoreWaits::ForClient(1));
        let backup = async {
            let mut backup = line.session.keeper().backup([]);
            let mut files = 0;
            while let Some(part) = backup.next().await {
                files += usize::from(matches!(part, BackupPart::File(_)));
            }
            (files, backup.done().await.unwrap())
        };
        let (trips, (files, report)) = count(backup).await;
        // The bytes flow, and the last answer comes behind the sink's `done`.
        assert_eq!((files, report.segments), (2, 1));
        assert_eq!(trips, 1.0 + files as f64 + 1.0);
    });
}

#[test]
fn absence_takes_no_more() {
    with_store(async |store, _| {
        let record = connect(&store).store().repo("did:plc:no").record("a.b.c/d");
        let (trips, absent) = count(record.read(Want::value())).await;
        assert!(absent.unwrap().is_err());
        assert_eq!(trips, 1.0);
    });
}

/// Returns the leaves of the client's handles with their documentation, from its source.
fn leaves() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-lib/src");
    let mut leaves = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let (mut on, mut docs) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("impl ") {
                on = rest.trim_end_matches([' ', '{', '}']).to_owned();
            }
            match line.trim().strip_prefix("///") {
                Some(text) => docs += text,
                None => {
                    if let Some(rest) = line.strip_prefix("    pub async fn ") {
                        let name = rest.split(['(', '<']).next().unwrap();
                        leaves.push((format!("{on}::{name}"), std::mem::take(&mut docs)));
                    }
                    docs.clear();
                }
            }
        }
    }
    leaves
}

#[test]
fn every_leaf_is_in_the_table_and_says_its_count() {
    let mut counted: BTreeSet<_> = rows().iter().map(|row| row.leaf.to_owned()).collect();
    // Of a check the reports are counted too and of a backup the files, which are tests of their own; what a watch tells
    // comes by itself.
    let others = ["Check::next", "Check::done", "Backup::next", "Backup::done"];
    counted.extend(others.map(str::to_owned));
    counted.insert("Watch::next".to_owned());
    counted.extend(OF_THE_TRANSPORT.map(str::to_owned));
    let leaves = leaves();
    assert!(leaves.len() > 20, "the walk finds them");
    for (leaf, docs) in leaves {
        assert!(counted.contains(&leaf), "{leaf} has no row in the table");
        assert!(docs.contains("round trip"), "{leaf} does not say its count");
    }
}

#[test]
fn a_hundred_reads_at_once_are_one_round_trip() {
    with_store(async |store, repo| {
        let reader = connect(&store).store().repo(repo.did.as_str());
        let reads = repo.records[..100]
            .iter()
            .map(|record| reader.record(&record.path))
            .map(|record| async move { record.read(Want::value()).await.unwrap().unwrap() });
        let (trips, read) = count(futures::future::join_all(reads)).await;
        assert_eq!((trips, read.len()), (1.0, 100));
    });
}

#[test]
fn awaiting_each_hop_would_be_more() {
    // The measure can tell: two leaves, one after the other, are two round trips.
    with_store(async |store, repo| {
        let reader = connect(&store).store().repo(repo.did.as_str());
        let twice = async {
            reader.info().await.unwrap().unwrap();
            reader.collections().await.unwrap().unwrap();
        };
        assert_eq!(count(twice).await.0, 2.0);
    });
}

#[test]
fn an_import_of_more_than_the_window_takes_more() {
    // The measure can tell: beyond the stream's window the sender waits for what it sent.
    let window = carrack_schema::limits::STREAM_WINDOW_BYTES;
    with_store(async |store, _| {
        store.close();
        for (bytes, more) in [(window / 2, false), (3 * window, true)] {
            let session = Line::new(&store, StoreWaits::ForItself).session;
            let import = async {
                let upload = session.importer().import(ImportOptions::default());
                for _ in 0..bytes / 65_536 {
                    upload.write(&[0; 65_536]).await;
                }
                upload.done().await.unwrap_err()
            };
            let (trips, _) = count(import).await;
            assert_eq!(trips > 1.0, more, "{bytes} bytes: {trips}");
        }
    });
}
