//! Tests of the grants of a store: issuing, finding, taking back, tokens, use that outlives the process, limits.

use std::collections::BTreeSet;

use std::time::{Duration, Instant};

use carrack_schema::Did;
use carrack_segment::Directory;
use carrack_segment::directory::mem::Mem;

use super::*;
use crate::auth::Operation;
use crate::auth::kit::{SECOND, START, TestClock, World, scope};
use crate::auth::scope::{Budget, Limit, Selection};

fn owner() -> Authority {
    Authority::owner()
}

fn issue(world: &World, holder: &Authority, change: impl FnOnce(&mut Scope)) -> Authority {
    Authority::of(world.store().issue(holder, scope(change), "x").unwrap())
}

fn grant(authority: &Authority) -> &Arc<Grant> {
    authority.grant().unwrap()
}

fn ids(world: &World, holder: &Authority) -> Vec<GrantId> {
    let (grants, more) = world.store().grants().after(holder, None, usize::MAX);
    assert!(!more);
    grants.iter().map(|grant| grant.id()).collect()
}

fn dids(texts: &[&str]) -> Selection<BTreeSet<Did>> {
    Selection::Only(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[test]
fn a_grant_is_as_it_was_after_reopening() {
    let mut world = World::new();
    let parent = issue(&world, &owner(), |scope| {
        scope.repos = dids(&["did:plc:a", "did:plc:b"]);
        scope.calls.total = Limit::AtMost(7);
        scope.expires = START + 1_000 * SECOND;
    });
    let child = issue(&world, &parent, |scope| scope.repos = dids(&["did:plc:a"]));
    let (token, token_id) = world
        .store()
        .save_token(grant(&child), "for a friend")
        .unwrap();
    let before: Vec<_> = [&parent, &child]
        .map(|authority| format!("{:?}", grant(authority).facts))
        .to_vec();
    assert_eq!(
        ids(&world, &owner()),
        [&parent, &child].map(|each| grant(each).id())
    );
    assert_eq!(grant(&child).scope().expires, START + 1_000 * SECOND);

    drop((parent, child));
    world.reopen();
    let (grants, _) = world.store().grants().after(&owner(), None, 10);
    let after: Vec<_> = grants
        .iter()
        .map(|grant| format!("{:?}", grant.facts))
        .collect();
    assert_eq!(after, before);
    assert!(grants[1].descends_from(grants[0].id()));
    let opened = world.store().grants().open(&token.text()).unwrap();
    assert_eq!(grant(&opened).id(), grants[1].id());
    let tokens = grants[1].tokens();
    assert_eq!(tokens.by_id[&token_id].label, "for a friend");
    assert_eq!(
        tokens.by_id[&token_id].last_used.load(Ordering::Relaxed),
        START
    );
}

#[test]
fn ids_grow_though_the_clock_goes_back() {
    let world = World::new();
    let made: Vec<_> = (0..20)
        .map(|_| {
            world.clock.pass(-SECOND);
            grant(&issue(&world, &owner(), |_| {})).id()
        })
        .collect();
    assert!(made.is_sorted());
    assert_eq!(ids(&world, &owner()), made);
}

#[test]
fn a_holder_finds_what_descends_from_its_own_and_nothing_else() {
    let world = World::new();
    let ours = issue(&world, &owner(), |_| {});
    let theirs = issue(&world, &owner(), |_| {});
    let child = issue(&world, &ours, |_| {});
    let grandchild = issue(&world, &child, |_| {});
    let id = |authority: &Authority| grant(authority).id();
    assert_eq!(
        ids(&world, &owner()),
        [&ours, &theirs, &child, &grandchild].map(id)
    );
    assert_eq!(ids(&world, &ours), [&child, &grandchild].map(id));
    assert_eq!(ids(&world, &grandchild), []);
    let grants = world.store().grants();
    let unknown = GrantId(ulid::Ulid(1));
    let said = grants.find(&ours, unknown).unwrap_err();
    for hidden in [&ours, &theirs] {
        let error = grants.find(&ours, id(hidden)).unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        let words = error
            .chain()
            .replace(&id(hidden).to_string(), &unknown.to_string());
        assert_eq!(words, said.chain());
    }
    assert!(grants.find(&ours, id(&grandchild)).is_ok());

    let (page, more) = grants.after(&owner(), Some(id(&ours)), 2);
    assert_eq!(
        page.iter().map(|grant| grant.id()).collect::<Vec<_>>(),
        [&theirs, &child].map(id)
    );
    assert!(more);
    let (page, more) = grants.after(&owner(), Some(id(&child)), 1);
    assert_eq!((page.len(), more), (1, false));
}

#[test]
fn what_is_taken_back_takes_its_descendants_with_it_and_stays_so() {
    let mut world = World::new();
    let ours = issue(&world, &owner(), |_| {});
    let child = issue(&world, &ours, |_| {});
    let grandchild = issue(&world, &child, |_| {});
    let theirs = issue(&world, &owner(), |_| {});
    let (token, _) = world.store().save_token(grant(&grandchild), "").unwrap();
    assert_eq!(world.store().revoke(grant(&child).id()).unwrap(), 2);
    for gone in [&child, &grandchild] {
        assert_eq!(gone.enter().unwrap_err().code(), Code::Revoked);
        assert_eq!(
            gone.begin(Operation::Read).unwrap_err().code(),
            Code::Revoked
        );
        assert_eq!(gone.charge(1).unwrap_err().code(), Code::Revoked);
        let refused = world.store().issue(gone, scope(|_| {}), "").unwrap_err();
        assert_eq!(refused.code(), Code::Revoked);
        let refused = world
            .store()
            .save_token(grant(gone), "")
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.code(), Code::Revoked);
    }
    for held in [&ours, &theirs] {
        held.enter().unwrap();
    }
    let refused = |world: &World| world.store().grants().open(&token.text()).map(|_| ());
    assert_eq!(refused(&world).unwrap_err().code(), Code::BadCredential);
    let again = world.store().revoke(grant(&child).id()).unwrap_err();
    assert_eq!(again.code(), Code::NotFound);

    let left = [&ours, &theirs].map(|authority| grant(authority).id());
    world.reopen();
    assert_eq!(ids(&world, &owner()), left);
    assert_eq!(refused(&world).unwrap_err().code(), Code::BadCredential);
}

#[test]
fn a_token_that_is_forgotten_opens_nothing_and_its_id_is_not_given_again() {
    let mut world = World::new();
    let authority = issue(&world, &owner(), |_| {});
    let store = world.store();
    let (one, first) = store.save_token(grant(&authority), "one").unwrap();
    let (other, second) = store.save_token(grant(&authority), "other").unwrap();
    assert_eq!((first, second), (1, 2));
    assert!(store.forget_token(grant(&authority), second).unwrap());
    assert!(!store.forget_token(grant(&authority), second).unwrap());
    assert!(!store.forget_token(grant(&authority), 9).unwrap());
    let id = grant(&authority).id();
    drop(authority);
    world.reopen();
    let grants = world.store().grants();
    assert!(grants.open(&one.text()).is_ok());
    let refused = grants.open(&other.text()).unwrap_err();
    assert_eq!(refused.code(), Code::BadCredential);
    let (_, third) = world
        .store()
        .save_token(&grants.find(&owner(), id).unwrap(), "")
        .unwrap();
    assert_eq!(third, 3);
    for empty in ["", " "] {
        assert_eq!(grants.open(empty).unwrap_err().code(), Code::BadCredential);
    }
    // Neither what is stored nor what is logged shows a token.
    let bytes = std::fs::read(world.folder.path().join("catalog.redb")).unwrap();
    let secret = one.text();
    let secret = &secret.as_bytes()["carrack_".len()..][..20];
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
}

#[test]
fn a_token_of_a_grant_that_expired_opens_nothing() {
    let world = World::new();
    let authority = issue(&world, &owner(), |scope| scope.expires = START + SECOND);
    let (token, _) = world.store().save_token(grant(&authority), "").unwrap();
    world.clock.pass(SECOND);
    let refused = world.store().grants().open(&token.text()).unwrap_err();
    assert_eq!(refused.code(), Code::BadCredential);
    assert!(refused.chain().contains("over"), "{}", refused.chain());
}

#[test]
fn use_outlives_the_process_once_it_is_written_down() {
    let mut world = World::new();
    let budget = Budget {
        total: Limit::AtMost(10),
        per_second: Limit::Unlimited,
    };
    let parent = issue(&world, &owner(), |scope| scope.calls = budget);
    let child = issue(&world, &parent, |_| {});
    for _ in 0..6 {
        child.enter().unwrap();
    }
    child.charge(1_000).unwrap();
    world.store().write_use().unwrap();
    // These are the last seconds that a crash loses.
    child.enter().unwrap();
    let id = |authority: &Authority| grant(authority).id();
    let (parent_id, child_id) = (id(&parent), id(&child));
    drop((parent, child));
    world.reopen();
    let find = |id| world.store().grants().find(&owner(), id).unwrap();
    let (parent, child) = (find(parent_id), find(child_id));
    for grant in [&parent, &child] {
        let used = Usage {
            calls: 6,
            bytes: 1_000,
            last_used: START,
            refused: 0,
        };
        assert_eq!(grant.usage(), used);
    }
    // The budget is what it was.
    let child = Authority::of(child);
    for _ in 0..4 {
        child.enter().unwrap();
    }
    assert_eq!(child.enter().unwrap_err().code(), Code::BudgetSpent);
    assert_eq!(parent.usage().calls, 10);
}

#[test]
fn what_was_answered_survives_a_crash_and_use_up_to_when_it_was_written_down() {
    for seed in 0..16 {
        let disk = Mem::new();
        let clock = TestClock::new();
        let open = |disk: &Mem| {
            let directory: Arc<dyn Directory> = Arc::new(disk.clone());
            Store::open(directory, clock.clone()).unwrap()
        };
        let store = open(&disk);
        let make = |label| store.issue(&owner(), scope(|_| {}), label).unwrap();
        let (kept, gone) = (make("kept"), make("gone"));
        let (token, _) = store.save_token(&kept, "").unwrap();
        let (forgotten, id) = store.save_token(&kept, "").unwrap();
        assert!(store.forget_token(&kept, id).unwrap());
        let holder = Authority::of(kept.clone());
        (0..3).for_each(|_| holder.enter().unwrap());
        store.write_use().unwrap();
        (0..2).for_each(|_| holder.enter().unwrap());
        store.revoke(gone.id()).unwrap();

        let after = open(&disk.crash(seed));
        let (grants, _) = after.grants().after(&owner(), None, 10);
        let labels: Vec<_> = grants.iter().map(|grant| &*grant.facts.label).collect();
        assert_eq!(labels, ["kept"], "seed {seed}");
        assert_eq!(grants[0].usage().calls, 3, "seed {seed}");
        assert!(after.grants().open(&token.text()).is_ok(), "seed {seed}");
        let refused = after.grants().open(&forgotten.text());
        assert_eq!(code(refused), Code::BadCredential, "seed {seed}");
    }
}

#[test]
fn what_was_used_is_written_down_in_time_without_being_asked() {
    /// Far away: it only catches a thread that never writes.
    const HANGS: Duration = Duration::from_secs(120);
    let world = World::new();
    world.store().start_books().unwrap();
    let authority = issue(&world, &owner(), |_| {});
    authority.enter().unwrap();
    let stored = || {
        world.store().inner().catalog.grants().unwrap().grants[0]
            .2
            .calls
    };
    let start = Instant::now();
    while stored() == 0 {
        assert!(start.elapsed() < HANGS, "nothing was written down");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(stored(), 1);
    world.store().close();
}

#[test]
fn nothing_is_written_when_nothing_was_used() {
    let world = World::new();
    let authority = issue(&world, &owner(), |_| {});
    let length = || std::fs::read(world.folder.path().join("catalog.redb")).unwrap();
    let before = length();
    world.store().write_use().unwrap();
    assert!(before == length());
    authority.enter().unwrap();
    world.store().write_use().unwrap();
    assert!(before != length());
}

#[test]
fn an_expired_grant_is_listed_for_a_while_and_then_forgotten() {
    let mut world = World::new();
    let short = issue(&world, &owner(), |scope| scope.expires = START + SECOND);
    let child = issue(&world, &short, |_| {});
    world.store().save_token(grant(&child), "").unwrap();
    let kept = issue(&world, &owner(), |_| {});
    world
        .clock
        .pass(SECOND + GRANT_EXPIRED_HOURS * 3_600 * SECOND - 1);
    world.store().write_use().unwrap();
    assert_eq!(ids(&world, &owner()).len(), 3);
    world.clock.pass(1);
    world.store().write_use().unwrap();
    assert_eq!(ids(&world, &owner()), [grant(&kept).id()]);
    let kept = grant(&kept).id();
    world.reopen();
    assert_eq!(ids(&world, &owner()), [kept]);
    assert!(world.store().grants().read().tokens.is_empty());
}

fn code<T>(result: Result<T>) -> Code {
    result.map(|_| ()).unwrap_err().code()
}

#[test]
fn an_expiry_must_be_and_lie_ahead_and_is_cut_to_the_issuers() {
    let world = World::new();
    let store = world.store();
    for expires in [0, START - 1, START, i64::MIN] {
        let refused = store.issue(&owner(), scope(|scope| scope.expires = expires), "");
        assert_eq!(code(refused), Code::InvalidArgument, "{expires}");
    }
    let parent = issue(&world, &owner(), |scope| scope.expires = START + 1);
    assert_eq!(
        grant(&issue(&world, &parent, |_| {})).scope().expires,
        START + 1
    );
}

#[test]
fn labels_are_bounded_and_are_one_line() {
    let world = World::new();
    let store = world.store();
    let longest = "x".repeat(GRANT_LABEL_BYTES_MAX);
    let all = || scope(|_| {});
    let made = store.issue(&owner(), all(), &longest).unwrap();
    store.save_token(&made, &longest).unwrap();
    let beyond = format!("{longest}x");
    assert_eq!(
        code(store.issue(&owner(), all(), &beyond)),
        Code::LimitExceeded
    );
    assert_eq!(code(store.save_token(&made, &beyond)), Code::LimitExceeded);
    for label in ["a\nb", "\u{1b}[31m", "\0"] {
        assert_eq!(
            code(store.issue(&owner(), all(), label)),
            Code::InvalidArgument
        );
    }
}

#[test]
fn a_grant_is_handed_on_so_often_and_no_more() {
    let world = World::new();
    let mut holder = owner();
    for _ in 0..GRANT_DEPTH_MAX {
        holder = issue(&world, &holder, |_| {});
    }
    let refused = world.store().issue(&holder, scope(|_| {}), "");
    assert_eq!(code(refused), Code::LimitExceeded);
}

#[test]
fn so_many_tokens_open_a_grant_and_no_more() {
    let world = World::new();
    let authority = issue(&world, &owner(), |_| {});
    let save = || world.store().save_token(grant(&authority), "");
    for _ in 0..GRANT_TOKENS_MAX {
        save().unwrap();
    }
    assert_eq!(code(save()), Code::LimitExceeded);
    assert!(world.store().forget_token(grant(&authority), 1).unwrap());
    save().unwrap();
}

/// Puts grants in as the catalog would, without a commit each.
fn fill(world: &World, parent: Option<&Arc<Grant>>, count: usize) {
    let grants = world.store().grants();
    let clock = grants.clock.clone();
    for _ in 0..count {
        let mut state = grants.write();
        let facts = GrantFacts {
            id: state.new_id(START).unwrap(),
            label: String::new(),
            scope: scope(|_| {}),
            created: START,
        };
        let id = facts.id;
        let grant = Grant::new(facts, parent.cloned(), Usage::default(), 0, &clock);
        state.grants.insert(id, Arc::new(grant));
    }
}

#[test]
fn a_store_holds_so_many_grants_and_no_more() {
    let world = World::new();
    fill(&world, None, GRANTS_MAX - 1);
    issue(&world, &owner(), |_| {});
    let refused = world.store().issue(&owner(), scope(|_| {}), "");
    assert_eq!(code(refused), Code::LimitExceeded);
}

#[test]
fn so_many_grants_descend_from_one_and_no_more() {
    let world = World::new();
    let top = issue(&world, &owner(), |_| {});
    let child = issue(&world, &top, |_| {});
    fill(&world, Some(grant(&child)), GRANT_DESCENDANTS_MAX - 2);
    // The last of the top's; the child has room still.
    issue(&world, &child, |_| {});
    for holder in [&top, &child] {
        let refused = world.store().issue(holder, scope(|_| {}), "");
        assert_eq!(code(refused), Code::LimitExceeded);
    }
    issue(&world, &owner(), |_| {});
}

#[test]
fn grants_are_made_and_taken_back_by_many_threads_at_once() {
    let mut world = World::new();
    let top = issue(&world, &owner(), |_| {});
    std::thread::scope(|threads| {
        let (store, top) = (world.store(), &top);
        let making = (0..4).map(|_| {
            threads.spawn(move || {
                (0..20)
                    .filter_map(|_| store.issue(top, scope(|_| {}), "").ok())
                    .collect::<Vec<_>>()
            })
        });
        let making: Vec<_> = making.collect();
        store.revoke(grant(top).id()).unwrap();
        for made in making.into_iter().flat_map(|thread| thread.join().unwrap()) {
            // Made before, during or after: none of them allows anything.
            assert_eq!(made.check().unwrap_err().code(), Code::Revoked);
        }
    });
    assert_eq!(ids(&world, &owner()), []);
    world.reopen();
    assert_eq!(ids(&world, &owner()), []);
}
