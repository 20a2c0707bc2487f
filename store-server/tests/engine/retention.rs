//! Old revisions: readable for as long as the settings say, and then an error that says what is.

use carrack_schema::Code;
use carrack_schema::limits::{EXTENTS_FOLDED_TO, EXTENTS_MAX, EXTENTS_UNRETAINED_MAX};
use kit::{Changes, RepoSpec};

use crate::world::{HOUR, World, check, import, import_all};

/// Makes so many versions of a repo, each with a small change.
fn versions(records: usize, count: usize) -> Vec<kit::Repo> {
    let first = RepoSpec {
        records,
        seed: 9,
        ..RepoSpec::default()
    };
    let mut versions = vec![first.build()];
    let changes = Changes {
        added: 1,
        changed: 1,
        deleted: 1,
    };
    while versions.len() < count {
        let last = versions.last().unwrap();
        let next = last.next_version(&last.random_edits(versions.len() as u64, changes));
        versions.push(next);
    }
    versions
}

fn readable(world: &World, versions: &[kit::Repo]) -> Vec<bool> {
    let read = |version: &kit::Repo| match world.store().repo_at(&version.did, version.rev) {
        Ok(repo) => {
            check(&repo.unwrap(), version, &[]);
            true
        }
        Err(error) => {
            assert_eq!(error.code(), Code::RevNotRetained);
            false
        }
    };
    versions.iter().map(read).collect()
}

#[test]
fn an_old_revision_is_readable_for_four_revisions_or_an_hour() {
    let world = World::new();
    let versions = versions(100, 7);
    for version in &versions {
        import_all(world.store(), version);
    }
    assert_eq!(readable(&world, &versions), [true; 7]);
    world.clock.pass(HOUR - 1);
    assert_eq!(readable(&world, &versions), [true; 7]);
    world.clock.pass(1);
    let last_four = [false, false, false, true, true, true, true];
    assert_eq!(readable(&world, &versions), last_four);
    let error = world
        .store()
        .repo_at(&versions[0].did, versions[0].rev)
        .map(|_| ())
        .unwrap_err();
    let oldest = versions[3].rev.to_string();
    assert!(error.to_string().contains(&oldest), "{error}");
    world.store().compact(false, None).unwrap();
    assert_eq!(readable(&world, &versions), last_four);
    // One that never was is as far away as one that went.
    let unknown = world
        .store()
        .repo_at(&versions[0].did, "3aaaaaaaaaaaa".parse().unwrap());
    assert_eq!(
        unknown.map(|_| ()).unwrap_err().code(),
        Code::RevNotRetained
    );
}

#[test]
fn revisions_that_are_not_retained_are_folded() {
    let world = World::new();
    let versions = versions(300, 12);
    let mut since = versions[0].rev;
    for version in &versions {
        import_all(world.store(), version);
        world.clock.pass(2 * HOUR);
    }
    assert_eq!(world.segments().len(), 12);
    world.store().merge_all().unwrap();
    assert!(world.segments().len() <= 4 + EXTENTS_UNRETAINED_MAX);
    let mut expected = [false; 12];
    expected[8..].fill(true);
    assert_eq!(readable(&world, &versions), expected);
    // And the chain goes on from there.
    let mut last = versions[11].clone();
    for i in 0..20 {
        let changes = Changes {
            added: 2,
            changed: 1,
            deleted: 1,
        };
        since = last.rev;
        last = last.next_version(&last.random_edits(100 + i, changes));
        import(world.store(), &last.car_since(since));
        world.clock.pass(2 * HOUR);
        world.store().merge_all().unwrap();
        assert!(world.segments().len() <= 5 + EXTENTS_UNRETAINED_MAX);
    }
    assert_eq!(readable(&world, &[last]), [true]);
    assert!(since > versions[0].rev);
}

#[test]
fn there_are_never_more_extents_than_a_row_may_name() {
    let world = World::new();
    let versions = versions(120, EXTENTS_MAX + 10);
    let mut since = None;
    for version in &versions {
        match since {
            None => import_all(world.store(), version),
            Some(since) => import(world.store(), &version.car_since(since)),
        };
        since = Some(version.rev);
        assert!(world.segments().len() <= EXTENTS_MAX);
    }
    // All of them are young; the oldest were folded nevertheless, but for the first: it is what they were diffs over.
    let readable = readable(&world, &versions);
    assert!(readable.iter().rev().take(EXTENTS_FOLDED_TO).all(|&is| is));
    assert!(!readable[5] && !readable[10]);
}
