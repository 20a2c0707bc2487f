//! Opening: what a crash left goes, what another version made is refused, and many segments cost little.

use carrack_store::StoreSettings;
use kit::RepoSpec;

use crate::world::{World, check, import_all, open};

#[test]
fn files_that_a_crash_left_are_removed() {
    let mut world = World::new();
    let repo = RepoSpec::default().build();
    import_all(world.store(), &repo);
    let known = world.segments();
    for file in ["segments/01ARZ3NDEKTSV4RRFFQ69G5FAV.cseg", "tmp/x.cseg"] {
        std::fs::write(world.folder.path().join(file), b"half a segment").unwrap();
    }
    world.reopen();
    assert_eq!(world.segments(), known);
    let tmp = std::fs::read_dir(world.folder.path().join("tmp")).unwrap();
    assert_eq!(tmp.count(), 0);
    check(&open(world.store(), &repo.did), &repo, &[]);
}

#[test]
fn more_segments_than_may_be_open_are_read_all_the_same() {
    let world = World::with(StoreSettings {
        segments_open_max: 3,
        ..StoreSettings::default()
    });
    let repos: Vec<kit::Repo> = (0..12)
        .map(|seed| {
            let spec = RepoSpec {
                records: 4,
                seed,
                ..RepoSpec::default()
            };
            spec.build()
        })
        .collect();
    for repo in &repos {
        import_all(world.store(), repo);
    }
    let held: Vec<_> = repos
        .iter()
        .map(|repo| open(world.store(), &repo.did))
        .collect();
    for (snapshot, repo) in held.iter().zip(&repos) {
        check(snapshot, repo, &[]);
        check(&open(world.store(), &repo.did), repo, &[]);
    }
}
