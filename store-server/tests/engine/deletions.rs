//! Deletions: hidden at once at every revision, off the disk by the deadline, and never back by themselves.

use carrack_schema::{Code, Handle};
use carrack_store::{DeleteTarget, ImportRequest, Keys, StoreSettings};
use kit::{Changes, Edit, Order, RepoSpec};

use crate::world::{HOUR, World, check, import_all, open, read};

/// Text that is in one record only.
const SECRET: &[u8] = b"the secret of the lighthouse keeper";

const PATH: &str = "com.example.secret/self";

fn note(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [b"\xa1\x64text\x78", &[length][..], text].concat()
}

fn secret_repo(seed: u64) -> kit::Repo {
    let spec = RepoSpec {
        records: 40,
        seed,
        extra: vec![(PATH.into(), note(SECRET))],
        ..RepoSpec::default()
    };
    spec.build()
}

fn record(repo: &kit::Repo) -> DeleteTarget {
    DeleteTarget::Record(repo.did.clone(), PATH.parse().unwrap())
}

fn pair(repo: &kit::Repo) -> Vec<(String, carrack_schema::Cid)> {
    let record = repo.record(PATH).unwrap();
    vec![(record.path.clone(), record.cid)]
}

fn small(repo: &kit::Repo, seed: u64) -> kit::Repo {
    let changes = Changes {
        added: 2,
        changed: 0,
        deleted: 0,
    };
    repo.next_version(&repo.random_edits(seed, changes))
}

#[test]
fn a_deleted_record_is_hidden_at_every_revision_and_purged_in_time() {
    let mut world = World::new();
    let old = secret_repo(1);
    let new = small(&old, 1);
    import_all(world.store(), &old);
    import_all(world.store(), &new);
    let deleted = world.store().delete(&record(&old), false).unwrap();
    assert_eq!(deleted.records, 1);
    assert!(deleted.purge_by.is_some());
    for round in 0..3 {
        for version in [&old, &new] {
            let repo = world.store().repo_at(&old.did, version.rev).unwrap();
            let repo = repo.unwrap();
            assert_eq!(repo.summary().deleted, 1);
            check(&repo, version, &pair(&old));
        }
        match round {
            0 => world.reopen(),
            _ => {
                assert!(!world.files_with(SECRET).is_empty());
                world.clock.pass(12 * HOUR);
                world.store().merge_all().unwrap();
                assert_eq!(world.files_with(SECRET), [""; 0]);
                break;
            }
        }
    }
    check(&open(world.store(), &new.did), &new, &pair(&old));
    let again = world.store().delete(&record(&old), false).unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[test]
fn purging_is_done_when_the_call_returns_and_touches_nobody_else() {
    let mut world = World::new();
    let (repo, other) = (secret_repo(1), secret_repo(2));
    import_all(world.store(), &repo);
    import_all(world.store(), &other);
    world.store().compact(false, None).unwrap();
    assert_eq!(world.segments().len(), 1);
    let purged = world.store().delete(&record(&repo), true).unwrap();
    assert_eq!(purged.purge_by, None);
    let stored = open(world.store(), &repo.did);
    check(&stored, &repo, &pair(&repo));
    check(&open(world.store(), &other.did), &other, &[]);
    world
        .store()
        .delete(&DeleteTarget::Repo(other.did.clone()), true)
        .unwrap();
    assert_eq!(world.files_with(SECRET), [""; 0]);
    world.reopen();
    check(&open(world.store(), &repo.did), &repo, &pair(&repo));
    assert!(world.store().repo(&other.did).unwrap().is_err());
}

#[test]
fn a_deleted_record_does_not_come_back_and_another_at_its_path_does() {
    for purge in [false, true] {
        let mut world = World::new();
        let old = secret_repo(3);
        import_all(world.store(), &old);
        world.store().delete(&record(&old), purge).unwrap();
        // A full export of a later version brings the same record.
        let new = small(&old, 2);
        let summary = import_all(world.store(), &new);
        assert_eq!((summary.deleted, summary.missing), (1, 0));
        check(&open(world.store(), &new.did), &new, &pair(&old));
        // So does one that is stored in full.
        let many = Changes {
            added: 60,
            changed: 0,
            deleted: 0,
        };
        let large = new.next_version(&new.random_edits(3, many));
        import_all(world.store(), &large);
        check(&open(world.store(), &new.did), &large, &pair(&old));
        if purge {
            assert_eq!(world.files_with(SECRET), [""; 0]);
        }
        let changed = large.next_version(&[Edit::Put(PATH.into(), note(b"harmless"))]);
        import_all(world.store(), &changed);
        check(&open(world.store(), &new.did), &changed, &pair(&old));
        assert_eq!(open(world.store(), &new.did).summary().deleted, 0);
        // And the old one once more.
        let back = changed.next_version(&[Edit::Put(PATH.into(), note(SECRET))]);
        import_all(world.store(), &back);
        check(&open(world.store(), &new.did), &back, &pair(&old));
        // The other is deleted as well, while it is an older revision's.
        world.store().delete(&record(&old), purge).unwrap();
        let both = [pair(&old), pair(&changed)].concat();
        let before = world.store().repo_at(&old.did, changed.rev).unwrap();
        check(&before.unwrap(), &changed, &both);
        world.store().compact(false, None).unwrap();
        world.reopen();
        check(&open(world.store(), &new.did), &back, &both);
        assert_eq!(world.files_with(SECRET), [""; 0]);
        assert_eq!(world.files_with(b"harmless"), [""; 0]);
    }
}

#[test]
fn a_deleted_repo_is_gone_with_its_handle_and_may_come_again() {
    let mut world = World::new();
    let repo = secret_repo(4);
    let request = ImportRequest {
        did_document: Some(repo.did_doc.clone().into_bytes()),
        ..ImportRequest::default()
    };
    let car = repo.car(Order::Pds);
    world.store().import(&car[..], &request, |_| {}).unwrap();
    let handle: Option<Handle> = open(world.store(), &repo.did).summary().handle.parse().ok();
    world.store().delete(&record(&repo), false).unwrap();
    let held = open(world.store(), &repo.did);
    let target = DeleteTarget::Repo(repo.did.clone());
    let deleted = world.store().delete(&target, true).unwrap();
    assert_eq!(deleted.records, repo.records.len() as u64 - 1);
    assert!(world.store().repo(&repo.did).unwrap().is_err());
    assert!(world.store().repo_at(&repo.did, repo.rev).unwrap().is_err());
    if let Some(handle) = handle {
        let unknown = world.store().resolve(&handle, |_| true).unwrap_err();
        assert_eq!(unknown.code(), Code::UnknownHandle);
    }
    assert_eq!(world.segments(), [""; 0]);
    assert_eq!(world.files_with(SECRET), [""; 0]);
    check(&held, &repo, &pair(&repo));
    let again = world.store().delete(&target, false).unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    world.reopen();
    // It starts afresh: nothing is known of what was deleted before.
    import_all(world.store(), &repo);
    check(&open(world.store(), &repo.did), &repo, &[]);
}

#[test]
fn copies_that_older_revisions_left_in_shared_segments_are_purged_too() {
    for whole_repo in [false, true] {
        let world = World::with(StoreSettings {
            retention_revs: 1,
            retention_hours: 0,
            ..StoreSettings::default()
        });
        let (repo, other) = (secret_repo(7), secret_repo(8));
        let plain = other.next_version(&[Edit::Put(PATH.into(), note(b"nothing"))]);
        import_all(world.store(), &repo);
        import_all(world.store(), &plain);
        world.store().compact(false, None).unwrap();
        // So many changes that the next version is stored in full, and the first one is dead where it is.
        let many = Changes {
            added: 80,
            changed: 0,
            deleted: 0,
        };
        let next = repo.next_version(&repo.random_edits(1, many));
        import_all(world.store(), &next);
        assert_eq!(world.files_with(SECRET).len(), 2);
        let target = match whole_repo {
            true => DeleteTarget::Repo(repo.did.clone()),
            false => record(&repo),
        };
        world.store().delete(&target, true).unwrap();
        assert_eq!(world.files_with(SECRET), [""; 0]);
        check(&open(world.store(), &plain.did), &plain, &[]);
    }
}

#[test]
fn what_a_deletion_may_name() {
    let target = |uri: &str| DeleteTarget::of(&uri.parse().unwrap());
    assert!(matches!(
        target("at://did:plc:a"),
        Ok(DeleteTarget::Repo(_))
    ));
    assert!(matches!(
        target("at://did:plc:a/a.b.c/self"),
        Ok(DeleteTarget::Record(..))
    ));
    let refused = target("at://did:plc:a/a.b.c").unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let world = World::new();
    for uri in ["at://did:plc:a", "at://did:plc:a/a.b.c/self"] {
        let error = world.store().delete(&target(uri).unwrap(), true);
        assert_eq!(error.unwrap_err().code(), Code::NotFound);
    }
    let repo = secret_repo(5);
    import_all(world.store(), &repo);
    let uri = format!("at://{}/com.example.secret/other", repo.did);
    let error = world.store().delete(&target(&uri).unwrap(), true);
    assert_eq!(error.unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_collection_goes_with_its_last_record() {
    let world = World::new();
    let repo = secret_repo(6);
    import_all(world.store(), &repo);
    world.store().delete(&record(&repo), false).unwrap();
    let nsid = "com.example.secret".parse().unwrap();
    let keys = Keys {
        collection: Some(&nsid),
        ..Keys::default()
    };
    let stored = open(world.store(), &repo.did);
    assert!(stored.rows(&keys).unwrap().is_none());
    assert!(read(&stored, &keys).is_empty());
}
