//! Verifying records: all of a sound store, and nothing that is damaged.

use carrack_schema::{Code, RecordPath};
use carrack_segment::{Directory, Fs, PageCache, Segment};
use carrack_store::{
    DeleteTarget, ImportRequest, Outcome, Signature, Store, Verification, Verified,
};
use kit::{Changes, Curve, Mix, Order, RepoSpec};

use super::checks::{TRAILER, forge};
use super::world::{World, import_all, open};

fn path(text: &str) -> RecordPath {
    text.parse().unwrap()
}

/// Verifies a record that must be sound.
fn sound(repo: &carrack_store::Repo, text: &str) -> Verified {
    match repo.verify(&path(text)).unwrap() {
        Verification::Sound(verified) => verified,
        Verification::Broken(words) => panic!("{text}: {words}"),
    }
}

#[test]
fn every_record_of_every_revision_is_verified_and_so_is_every_gap() {
    for (curve, seed) in [(Curve::K256, 41), (Curve::P256, 42)] {
        let first = RepoSpec {
            records: 220,
            seed,
            curve,
            mix: Mix::VARIED,
            ..RepoSpec::default()
        }
        .build();
        let changes = Changes {
            added: 9,
            changed: 9,
            deleted: 9,
        };
        let second = first.next_version(&first.random_edits(seed, changes));
        let world = World::new();
        let with_key = ImportRequest {
            did_document: Some(first.did_doc.clone().into_bytes()),
            ..ImportRequest::default()
        };
        let car = first.car(Order::Pds);
        let imported = world.store().import(&car[..], &with_key, |_| ());
        assert!(matches!(imported, Ok(Outcome::Imported(_))));
        import_all(world.store(), &second);
        for (version, signature) in [(&first, Signature::Valid), (&second, Signature::Unchecked)] {
            let repo = world.store().repo_at(&version.did, version.rev);
            let repo = repo.unwrap().unwrap();
            for record in &version.records {
                let verified = sound(&repo, &record.path);
                assert_eq!(verified.cid, Some(record.cid));
                assert_eq!(verified.signature, signature);
                let mut car = Vec::new();
                repo.prove(&path(&record.path), &mut car).unwrap();
                // A proof is the commit, the nodes and the record.
                let blocks = kit::car::blocks(&car).len();
                assert_eq!(verified.nodes as usize, blocks - 2);
                let gap = format!("{}x", record.path);
                // The longest key has none behind it.
                if gap.parse::<RecordPath>().is_ok() {
                    assert_eq!(sound(&repo, &gap).cid, None);
                }
            }
            assert_eq!(sound(&repo, "com.example.none/self").cid, None);
        }
    }
}

#[test]
fn what_is_not_held_cannot_be_verified() {
    let world = World::new();
    let repo = RepoSpec {
        records: 60,
        seed: 43,
        ..RepoSpec::default()
    }
    .build();
    import_all(world.store(), &repo);
    let gone = path(&repo.records[5].path);
    let target = DeleteTarget::Record(repo.did.clone(), gone.clone());
    world.store().delete(&target, false).unwrap();
    let error = open(world.store(), &repo.did).verify(&gone).unwrap_err();
    assert_eq!(error.code(), Code::Incomplete);
    // Its neighbours are as before.
    for record in [&repo.records[4], &repo.records[6]] {
        let verified = sound(&open(world.store(), &repo.did), &record.path);
        assert_eq!(verified.cid, Some(record.cid));
    }
}

#[test]
fn a_record_without_its_block_cannot_be_verified() {
    let world = World::new();
    let repo = RepoSpec {
        records: 60,
        seed: 44,
        ..RepoSpec::default()
    }
    .build();
    let record = &repo.records[7];
    let car = kit::damage::without_block(&repo.car(Order::Pds), &record.cid);
    let partial = ImportRequest {
        allow_partial: true,
        ..ImportRequest::default()
    };
    world.store().import(&car[..], &partial, |_| ()).unwrap();
    let held = open(world.store(), &repo.did);
    let error = held.verify(&path(&record.path)).unwrap_err();
    assert_eq!(error.code(), Code::Incomplete);
    assert_eq!(
        sound(&held, &repo.records[8].path).cid,
        Some(repo.records[8].cid)
    );
}

/// Writes another file in the place of a world's only segment.
fn replace(world: &mut World, bytes: &[u8]) {
    let [name] = &world.segments()[..] else {
        panic!("one import made {:?}", world.segments());
    };
    let file = world.folder.path().join("segments").join(name);
    drop(world.take());
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    world.reopen();
}

/// Verifies records of a damaged store; returns how many are broken. One that is not has the right CID.
fn broken(store: &Store, version: &kit::Repo) -> usize {
    let repo = match store.repo(&version.did) {
        Ok(repo) => repo.unwrap(),
        Err(error) => {
            assert_eq!(error.code(), Code::Damaged);
            return version.records.len();
        }
    };
    let mut broken = 0;
    for record in version.records.iter().step_by(3) {
        match repo.verify(&path(&record.path)).unwrap() {
            Verification::Sound(verified) => {
                assert_eq!(verified.cid, Some(record.cid));
                assert_eq!(verified.signature, Signature::Valid);
            }
            Verification::Broken(words) => {
                broken += 1;
                for other in &version.records {
                    assert!(
                        other.path == record.path || !words.contains(&other.path),
                        "{words} says of {} when asked for {}",
                        other.path,
                        record.path
                    );
                }
            }
        }
    }
    broken
}

#[test]
fn damage_is_found_and_told_whether_or_not_checksums_show_it() {
    let mut world = World::new();
    let version = RepoSpec {
        records: 90,
        seed: 45,
        ..RepoSpec::default()
    }
    .build();
    let with_key = ImportRequest {
        did_document: Some(version.did_doc.clone().into_bytes()),
        ..ImportRequest::default()
    };
    let car = version.car(Order::Pds);
    world.store().import(&car[..], &with_key, |_| ()).unwrap();
    assert_eq!(broken(world.store(), &version), 0);
    let name = world.segments().remove(0);
    let folder = world.folder.path().join("segments");
    let file = std::fs::read(folder.join(&name)).unwrap();

    let segment = Fs::open(&folder).unwrap().map(&name).unwrap();
    let segment = Segment::from_map(&name, segment, &PageCache::new(0)).unwrap();
    let footer_end = file.len() - TRAILER;
    let footer = footer_end - usize::try_from(segment.footer_bytes()).unwrap()..footer_end;
    let page = segment.page(0).unwrap();
    let start = file.windows(page.len()).position(|part| part == &page[..]);
    let page = start.unwrap()..start.unwrap() + page.len();

    let mut found = 0;
    // As a disk does it: no checksum fits.
    for at in (0..file.len()).step_by((file.len() / 40) | 1) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        replace(&mut world, &damaged);
        found += usize::from(broken(world.store(), &version) > 0);
    }
    assert!(found >= 30, "{found} of 40");
    // As somebody would do it who wants to be believed: only hashes can tell.
    for part in [&page, &footer] {
        let mut found = 0;
        for at in part.clone().step_by((part.len() / 40) | 1) {
            replace(&mut world, &forge(&file, at, part, &footer));
            found += usize::from(broken(world.store(), &version) > 0);
        }
        assert!(found >= 20, "{found} of 40 in {part:?}");
    }
    replace(&mut world, &file);
    assert_eq!(broken(world.store(), &version), 0);
}
