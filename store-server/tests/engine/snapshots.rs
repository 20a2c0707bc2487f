//! Repos that are kept open for whoever reads next: never older than what was acknowledged, never in the way of a purge.

use std::sync::Arc;

use carrack_store::{DeleteTarget, Repo};
use kit::{Changes, RepoSpec};

use crate::world::{World, check, import_all};

fn current(world: &World, repo: &kit::Repo) -> Arc<Repo> {
    world.store().current(&repo.did).unwrap().ok().unwrap()
}

#[test]
fn whoever_reads_next_gets_the_same_until_something_is_committed() {
    let world = World::new();
    let old = RepoSpec::default().build();
    let changes = Changes {
        added: 2,
        changed: 1,
        deleted: 1,
    };
    let new = old.next_version(&old.random_edits(1, changes));
    import_all(world.store(), &old);
    let first = current(&world, &old);
    assert!(Arc::ptr_eq(&first, &current(&world, &old)));
    import_all(world.store(), &new);
    let second = current(&world, &old);
    check(&second, &new, &[]);
    check(&first, &old, &[]);

    let gone = new.records[3].clone();
    let target = DeleteTarget::Record(new.did.clone(), gone.path.parse().unwrap());
    world.store().delete(&target, false).unwrap();
    check(&current(&world, &new), &new, &[(gone.path, gone.cid)]);
    let target = DeleteTarget::Repo(new.did.clone());
    world.store().delete(&target, false).unwrap();
    assert!(world.store().current(&new.did).unwrap().is_err());
}

#[test]
fn what_is_kept_holds_no_file_that_the_store_let_go_of() {
    let world = World::new();
    let repo = RepoSpec::default().build();
    import_all(world.store(), &repo);
    let kept = Arc::downgrade(&current(&world, &repo));
    assert!(kept.upgrade().is_some());
    world
        .store()
        .delete(&DeleteTarget::Repo(repo.did.clone()), true)
        .unwrap();
    assert!(kept.upgrade().is_none());
}
