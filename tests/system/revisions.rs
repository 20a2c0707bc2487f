//! Older revisions: a repo that is pinned to one, and the repo that an import has just made.

use carrack_schema::wire::record_capnp::want;
use carrack_schema::wire::store_capnp as wire;
use kit::{Changes, Mix, Order, RepoSpec};

use crate::raw::{self, repo};

/// Three versions of a repo.
fn versions(seed: u64) -> Vec<kit::Repo> {
    let first = RepoSpec {
        records: 240,
        seed,
        mix: Mix::VARIED,
        ..RepoSpec::default()
    };
    let mut versions = vec![first.build()];
    let changes = Changes {
        added: 5,
        changed: 9,
        deleted: 7,
    };
    while versions.len() < 3 {
        let last = versions.last().unwrap();
        versions.push(last.next_version(&last.random_edits(seed, changes)));
    }
    versions
}

fn at(repo: &wire::repo::Client, rev: &str) -> wire::repo::Client {
    let mut request = repo.at_request();
    request.get().set_rev(rev);
    request.send().pipeline.get_repo()
}

async fn must_import(session: &wire::session::Client, repo: &kit::Repo) -> wire::repo::Client {
    let (sink, done) = upload(session, &repo.car(Order::Pds)).await;
    let repo = done.pipeline.get_repo();
    let response = done.promise.await.unwrap();
    let result = response.get().unwrap().get_result().unwrap();
    assert!(matches!(
        result.which(),
        Ok(wire::import_result::Imported(_))
    ));
    drop(sink);
    repo
}

type Done = capnp::capability::RemotePromise<wire::car_sink::done_results::Owned>;

async fn upload(session: &wire::session::Client, car: &[u8]) -> (wire::car_sink::Client, Done) {
    let importer = session.importer_request().send().pipeline.get_importer();
    let sink = importer.import_car_request().send().pipeline.get_sink();
    for chunk in car.chunks(100_000) {
        let mut request = sink.write_request();
        request.get().set_bytes(chunk);
        request.send().await.unwrap();
    }
    let done = sink.done_request().send();
    (sink, done)
}

/// One page: paths, the revision, the cursor.
async fn page(
    repo: &wire::repo::Client,
    cursor: &[u8],
) -> Result<(Vec<String>, String, Vec<u8>), String> {
    let mut request = repo.list_request();
    let mut page = request.get().init_page();
    page.set_cursor(cursor);
    page.set_limit(100);
    let response = request.send().promise.await.map_err(|error| error.extra)?;
    let Ok(wire::list_result::Page(page)) = response.get().unwrap().which() else {
        panic!("no page");
    };
    assert!(page.get_moved_from().unwrap().is_empty());
    let path = |record: carrack_schema::wire::record_capnp::record_data::Reader<'_>| {
        let collection = record.get_collection().unwrap().to_string().unwrap();
        format!(
            "{collection}/{}",
            record.get_rkey().unwrap().to_str().unwrap()
        )
    };
    let records = page.get_records().unwrap().iter().map(path).collect();
    let source = page.get_source().unwrap();
    let rev = source.get_rev().unwrap().to_string().unwrap();
    Ok((records, rev, page.get_next().unwrap().to_vec()))
}

async fn all_pages(repo: &wire::repo::Client, rev: &str) -> Vec<String> {
    let (mut paths, mut cursor) = (Vec::new(), Vec::new());
    loop {
        let (more, of, next) = page(repo, &cursor).await.unwrap();
        assert_eq!(of, rev);
        paths.extend(more);
        if next.is_empty() {
            return paths;
        }
        cursor = next;
    }
}

async fn read(repo: &wire::repo::Client, path: &str) -> Result<Option<(String, Vec<u8>)>, String> {
    let mut request = repo.record_request();
    request.get().set_path(path);
    let record = request.send().pipeline.get_record();
    let mut request = record.read_request();
    request.get().init_want().set_form(want::Form::DagCbor);
    let response = request.send().promise.await.map_err(|error| error.extra)?;
    Ok(match response.get().unwrap().which().unwrap() {
        wire::read_result::Absent(_) => None,
        wire::read_result::Found(found) => {
            let source = found.get_source().unwrap();
            let record = found.get_record().unwrap();
            let carrack_schema::wire::record_capnp::record_data::DagCbor(bytes) =
                record.which().unwrap()
            else {
                panic!("not the bytes");
            };
            Some((
                source.get_rev().unwrap().to_string().unwrap(),
                bytes.unwrap().to_vec(),
            ))
        }
    })
}

#[test]
fn every_leaf_of_a_pinned_repo_is_of_its_revision() {
    let versions = versions(301);
    raw::through(async |_, session| {
        let did = versions[0].did.as_str();
        for version in &versions {
            must_import(&session, version).await;
        }
        let head = repo(&session, did);
        for version in &versions {
            let rev = version.rev.to_string();
            let pinned = at(&head, &rev);
            let paths: Vec<String> = version.records.iter().map(|r| r.path.clone()).collect();

            let info = pinned.info_request().send().promise.await.unwrap();
            let Ok(wire::info_result::Info(info)) = info.get().unwrap().which() else {
                panic!("absent");
            };
            let info = info.unwrap();
            assert_eq!(info.get_source().unwrap().get_rev().unwrap(), &*rev);
            assert_eq!(info.get_records(), paths.len() as u64);

            let found = pinned.collections_request().send().promise.await.unwrap();
            let Ok(wire::collections_result::Found(found)) = found.get().unwrap().which() else {
                panic!("absent");
            };
            let counts = found.get_collections().unwrap().iter();
            let sum: u64 = counts.map(|each| each.get_records()).sum();
            assert_eq!(sum, paths.len() as u64);

            assert_eq!(all_pages(&pinned, &rev).await, paths);
            for other in versions.iter().flat_map(|other| &other.records).step_by(17) {
                let expected = version.records.iter().find(|r| r.path == other.path);
                let expected = expected.map(|record| (rev.clone(), record.bytes.to_vec()));
                assert_eq!(read(&pinned, &other.path).await, Ok(expected));
            }
            // Pinning again is from the repo, not from what was pinned before.
            let newest = versions.last().unwrap().rev.to_string();
            all_pages(&at(&pinned, &newest), &newest).await;
        }
    });
}

#[test]
fn a_pinned_listing_stays_where_it_is_and_its_cursors_are_its_own() {
    let versions = versions(302);
    raw::through(async |_, session| {
        let head = repo(&session, versions[0].did.as_str());
        must_import(&session, &versions[0]).await;
        must_import(&session, &versions[1]).await;
        let old = at(&head, &versions[0].rev.to_string());
        let new = at(&head, &versions[1].rev.to_string());
        let (_, _, cursor) = page(&old, &[]).await.unwrap();
        must_import(&session, &versions[2]).await;
        let (records, rev, _) = page(&old, &cursor).await.unwrap();
        assert_eq!(rev, versions[0].rev.to_string());
        assert_eq!(records[0], versions[0].records[100].path);
        for (other, cursor) in [
            (&head, &cursor),
            (&new, &cursor),
            (&old, &page(&head, &[]).await.unwrap().2),
        ] {
            let error = page(other, cursor).await.unwrap_err();
            assert!(error.contains("invalidArgument: "), "{error}");
        }
    });
}

#[test]
fn a_revision_that_is_not_held_is_an_error_that_names_the_oldest() {
    let versions = versions(303);
    raw::through(async |_, session| {
        let head = repo(&session, versions[0].did.as_str());
        must_import(&session, &versions[1]).await;
        let gone = versions[0].rev.to_string();
        for rev in [&*gone, ""] {
            let error = read(&at(&head, rev), "a.b.c/d").await.unwrap_err();
            assert!(error.contains("revNotRetained: "), "{error}");
            assert!(error.ends_with(&versions[1].rev.to_string()), "{error}");
        }
        for rev in ["x", "3jzfcijpj2z2aa", "zzzzzzzzzzzzz"] {
            let error = read(&at(&head, rev), "a.b.c/d").await.unwrap_err();
            assert!(error.contains("invalidArgument: "), "{error}");
        }
        let nobody = at(&repo(&session, "did:plc:nobody"), &gone);
        assert_eq!(read(&nobody, "a.b.c/d").await, Ok(None));
    });
}

#[test]
fn what_was_deleted_is_hidden_at_every_revision() {
    let versions = versions(304);
    raw::through(async |store, session| {
        let did = versions[0].did.as_str();
        must_import(&session, &versions[0]).await;
        must_import(&session, &versions[1]).await;
        let path = &versions[0].records[3].path;
        let pinned = at(&repo(&session, did), &versions[0].rev.to_string());
        assert!(read(&pinned, path).await.unwrap().is_some());
        let keeper = store.session.keeper();
        keeper
            .delete(did, Some(path), false)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read(&pinned, path).await, Ok(None));
        let listed = all_pages(&pinned, &versions[0].rev.to_string()).await;
        assert!(!listed.contains(path));
        assert_eq!(listed.len(), versions[0].records.len() - 1);
    });
}

#[test]
fn an_import_gives_out_its_repo_to_call_in_the_same_flight() {
    let versions = versions(305);
    raw::through(async |_, session| {
        let car = versions[0].car(Order::Pds);
        let (_sink, done) = upload(&session, &car).await;
        // Nothing was awaited since the first byte went out but the stream's window.
        let path = &versions[0].records[0].path;
        let found = read(&done.pipeline.get_repo(), path).await.unwrap();
        assert_eq!(found.unwrap().1, *versions[0].records[0].bytes);
        // What was held before is given out too.
        let (_sink, done) = upload(&session, &car).await;
        let again = done.pipeline.get_repo();
        assert!(read(&again, path).await.unwrap().is_some());
        // It is the repo, not its revision.
        must_import(&session, &versions[1]).await;
        let rev = read(&again, &versions[1].records[0].path).await.unwrap();
        assert_eq!(rev.unwrap().0, versions[1].rev.to_string());
    });
}

#[test]
fn an_import_that_is_refused_gives_out_a_repo_that_says_why() {
    let repo = &versions(306)[0];
    let mut car = repo.car(Order::Pds);
    let last = car.len() - 1;
    car[last] ^= 1;
    raw::through(async |_, session| {
        let (_sink, done) = upload(&session, &car).await;
        let broken = done.pipeline.get_repo();
        let error = read(&broken, &repo.records[0].path).await.unwrap_err();
        assert!(error.contains("badHash: nothing was imported: "), "{error}");
        let response = done.promise.await.unwrap();
        let result = response.get().unwrap().get_result().unwrap();
        assert!(matches!(
            result.which(),
            Ok(wire::import_result::Rejected(_))
        ));
    });
}
