//! Imports under somebody's authority, which may end at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use carrack_schema::{Code, Did};
use carrack_store::{Error, ImportGuard, ImportRequest, Outcome, Result, StoreSettings};
use kit::{Changes, Order, RepoSpec};

use crate::world::{World, check, import_all, open};

/// Says no from some look on.
#[derive(Debug)]
struct Ends {
    after: u32,
    looks: AtomicU32,
}

impl ImportGuard for Ends {
    fn admit(&self, _did: &Did) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.looks.fetch_add(1, Ordering::SeqCst) < self.after {
            return Ok(());
        }
        Err(Error::new(Code::Revoked, "taken back"))
    }

    fn may_take_from(&self, _claimant: &Did) -> bool {
        true
    }
}

fn import_until(world: &World, car: &[u8], after: u32) -> (Result<Outcome>, u32) {
    let guard = Arc::new(Ends {
        after,
        looks: AtomicU32::new(0),
    });
    let request = ImportRequest {
        guard: Some(guard.clone()),
        ..ImportRequest::default()
    };
    let outcome = world.store().import(car, &request, |_| ());
    (outcome, guard.looks.load(Ordering::SeqCst))
}

#[test]
fn an_import_that_is_taken_back_at_any_look_leaves_everything_as_it_was() {
    // Its blocks wait in a file, which is to go as well.
    let world = World::with(StoreSettings {
        import_memory_bytes: 0,
        ..StoreSettings::default()
    });
    let first = RepoSpec {
        records: 4_200,
        seed: 41,
        ..RepoSpec::default()
    };
    let first = first.build();
    let next = first.next_version(&first.random_edits(
        1,
        Changes {
            added: 10,
            changed: 10,
            deleted: 10,
        },
    ));
    // How often is looked in all: most of it while the bytes come in.
    let looks_of = |versions: &[&kit::Repo]| {
        let world = World::new();
        versions.iter().fold(0, |_, version| {
            let (outcome, looks) = import_until(&world, &version.car(Order::Pds), u32::MAX);
            outcome.unwrap();
            looks
        })
    };
    let looks = [looks_of(&[&first]), looks_of(&[&first, &next])];
    let tmp = || {
        std::fs::read_dir(world.folder.path().join("tmp"))
            .unwrap()
            .count()
    };
    for (version, looks) in [&first, &next].into_iter().zip(looks) {
        let car = version.car(Order::Pds);
        let before = world.segments();
        // Received, packed (there are more records than between two looks), published.
        for after in [0, looks / 2, looks - 3, looks - 2, looks - 1] {
            let (outcome, _) = import_until(&world, &car, after);
            assert_eq!(tmp(), 0, "after {after} looks");
            assert_eq!(outcome.unwrap_err().code(), Code::Revoked);
            assert_eq!(world.segments(), before, "after {after} looks");
            match version.rev == first.rev {
                true => assert!(world.store().repo(&first.did).unwrap().is_err()),
                false => assert_eq!(
                    open(world.store(), &first.did).summary().rev,
                    Some(first.rev)
                ),
            }
        }
        let (outcome, _) = import_until(&world, &car, looks);
        assert!(matches!(outcome, Ok(Outcome::Imported(_))));
        assert_eq!(
            open(world.store(), &version.did).summary().rev,
            Some(version.rev)
        );
    }
}

#[test]
fn what_an_import_of_the_same_commit_says_anew_is_not_taken_either() {
    let world = World::new();
    let repo = RepoSpec::default().build();
    import_all(world.store(), &repo);
    let guard = Arc::new(Ends {
        after: 1,
        looks: AtomicU32::new(0),
    });
    let request = ImportRequest {
        guard: Some(guard),
        status: Some("takendown".parse().unwrap()),
        ..ImportRequest::default()
    };
    let ended = world
        .store()
        .import(&repo.car(Order::Pds)[..], &request, |_| ());
    assert_eq!(ended.unwrap_err().code(), Code::Revoked);
    check(&open(world.store(), &repo.did), &repo, &[]);
}
