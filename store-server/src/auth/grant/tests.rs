//! Tests of one grant in use: budgets, rates, chains, ends.

use std::sync::Arc;
use std::task::Poll;

use carrack_schema::Code;
use futures::FutureExt;

use super::*;
use crate::auth::kit::{SECOND, START, TestClock, scope};

fn id(number: u128) -> GrantId {
    GrantId(ulid::Ulid(number))
}

fn made(
    clock: &Arc<TestClock>,
    number: u128,
    parent: Option<&Arc<Grant>>,
    change: impl FnOnce(&mut Scope),
) -> Arc<Grant> {
    let facts = GrantFacts {
        id: id(number),
        label: format!("grant {number}"),
        scope: scope(change),
        created: START,
    };
    let clock: Arc<dyn Clock> = clock.clone();
    let grant = Grant::new(facts, parent.cloned(), Usage::default(), 0, &clock);
    Arc::new(grant)
}

fn at_most(total: u64) -> Budget {
    Budget {
        total: Limit::AtMost(total),
        per_second: Limit::Unlimited,
    }
}

fn each_second(most: u64) -> Budget {
    Budget {
        total: Limit::Unlimited,
        per_second: Limit::AtMost(most),
    }
}

fn used(grant: &Grant) -> (u64, u64) {
    (grant.usage().calls, grant.usage().bytes)
}

#[test]
fn a_budget_is_spent_to_the_last_and_no_further() {
    let clock = TestClock::new();
    let grant = made(&clock, 1, None, |scope| {
        scope.calls = at_most(3);
        scope.bytes = at_most(100);
    });
    for _ in 0..3 {
        grant.charge(1, 0).unwrap();
    }
    assert_eq!(grant.charge(1, 0), Err(Refusal::Spent("calls")));
    grant.charge(0, 60).unwrap();
    assert_eq!(grant.charge(0, 41), Err(Refusal::Spent("bytes")));
    grant.charge(0, 40).unwrap();
    assert_eq!(grant.charge(0, 1), Err(Refusal::Spent("bytes")));
    grant.charge(0, 0).unwrap();
    assert_eq!(used(&grant), (3, 100));
    assert_eq!(
        Error::from(Refusal::Spent("calls")).code(),
        Code::BudgetSpent
    );
    // Time does not help.
    clock.pass(1_000 * SECOND);
    assert_eq!(grant.charge(1, 0), Err(Refusal::Spent("calls")));
}

#[test]
fn nothing_at_all_is_nothing_and_the_largest_is_no_overflow() {
    let clock = TestClock::new();
    for budget in [
        Budget {
            total: Limit::None,
            per_second: Limit::Unlimited,
        },
        Budget {
            total: Limit::Unlimited,
            per_second: Limit::None,
        },
        each_second(0),
    ] {
        let grant = made(&clock, 1, None, |scope| scope.calls = budget);
        assert_eq!(grant.charge(1, 0), Err(Refusal::Spent("calls")));
        assert_eq!(used(&grant), (0, 0));
    }
    let grant = made(&clock, 1, None, |_| {});
    grant.charge(u64::MAX, 0).unwrap();
    assert_eq!(grant.charge(1, 0), Err(Refusal::Spent("calls")));
}

#[test]
fn a_rate_is_refused_for_now_and_comes_back_by_the_clock() {
    let clock = TestClock::new();
    let grant = made(&clock, 1, None, |scope| scope.calls = each_second(2));
    grant.charge(1, 0).unwrap();
    grant.charge(1, 0).unwrap();
    assert_eq!(grant.charge(1, 0), Err(Refusal::Wait("calls", 500_000)));
    assert_eq!(
        Error::from(Refusal::Wait("calls", 1)).code(),
        Code::Overloaded
    );
    clock.pass(500_000);
    grant.charge(1, 0).unwrap();
    assert_eq!(used(&grant), (3, 0));
}

#[test]
fn what_one_above_refuses_is_given_back_below() {
    let clock = TestClock::new();
    let top = made(&clock, 1, None, |scope| {
        scope.calls = at_most(2);
        scope.bytes = each_second(10);
    });
    let middle = made(&clock, 2, Some(&top), |scope| scope.calls = each_second(5));
    let bottom = made(&clock, 3, Some(&middle), |scope| scope.calls = at_most(10));
    let all = [&top, &middle, &bottom];

    bottom.charge(1, 4).unwrap();
    assert!(all.iter().all(|grant| used(grant) == (1, 4)));
    // The bytes of the top are too few; its calls are given back, and so is everything below.
    assert_eq!(bottom.charge(1, 7), Err(Refusal::Wait("bytes", 100_000)));
    assert!(all.iter().all(|grant| used(grant) == (1, 4)));
    // So is what the rate lent: four of five are there, and the top has one call left.
    bottom.charge(1, 0).unwrap();
    for _ in 0..20 {
        assert_eq!(bottom.charge(1, 0), Err(Refusal::Spent("calls")));
    }
    assert!(all.iter().all(|grant| used(grant) == (2, 4)));
    assert_eq!(middle.calls.rate.as_ref().unwrap().take(3, START), Ok(()));
    // A sibling's use counts above, not beside.
    let sibling = made(&clock, 4, Some(&middle), |_| {});
    sibling.charge(0, 1).unwrap();
    assert_eq!((used(&bottom), used(&top)), ((2, 4), (2, 5)));
}

#[test]
fn threads_that_spend_at_once_get_no_more_than_there_is() {
    let clock = TestClock::new();
    let top = made(&clock, 1, None, |scope| scope.calls = at_most(1_000));
    let below: Vec<_> = (2..6)
        .map(|i| made(&clock, i, Some(&top), |_| {}))
        .collect();
    let through: u64 = std::thread::scope(|scope| {
        let spend = |grant: &Arc<Grant>| (0..500).filter(|_| grant.charge(1, 0).is_ok()).count();
        let threads: Vec<_> = below
            .iter()
            .map(|grant| scope.spawn(move || spend(grant) as u64))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(through, 1_000);
    assert_eq!(used(&top), (1_000, 0));
    assert_eq!(below.iter().map(|grant| used(grant).0).sum::<u64>(), 1_000);
}

#[test]
fn it_ends_at_its_expiry_and_not_before() {
    let clock = TestClock::new();
    let grant = made(&clock, 1, None, |scope| scope.expires = START + SECOND);
    clock.pass(SECOND - 1);
    grant.charge(1, 0).unwrap();
    clock.pass(1);
    assert_eq!(grant.charge(1, 0), Err(Refusal::Expired));
    assert_eq!(grant.check().unwrap_err().code(), Code::Expired);
}

#[test]
fn a_child_of_one_that_was_taken_back_allows_nothing() {
    let clock = TestClock::new();
    let top = made(&clock, 1, None, |_| {});
    top.revoke();
    // As when it is made while its parent is taken back.
    let child = made(&clock, 2, Some(&top), |_| {});
    assert_eq!(child.charge(1, 0), Err(Refusal::Revoked));
    assert_eq!(child.check().unwrap_err().code(), Code::Revoked);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_at_once_that_it_was_taken_back_by_another_thread() {
    let clock = TestClock::new();
    let grant = made(&clock, 1, None, |scope| {
        scope.expires = START + 1_000 * SECOND
    });
    let mut ended = Box::pin(grant.ended());
    assert!(matches!(futures::poll!(&mut ended), Poll::Pending));
    std::thread::scope(|scope| scope.spawn(|| grant.revoke()).join().unwrap());
    // Without any time.
    let ended = ended.now_or_never().expect("it is over");
    assert_eq!(ended.code(), Code::Revoked);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_of_the_expiry_by_the_stores_clock() {
    let clock = TestClock::new();
    let grant = made(&clock, 1, None, |scope| scope.expires = START + 3 * SECOND);
    let waiting = grant.clone();
    let waiting = tokio::spawn(async move { waiting.ended().await });
    // The clock of the store stands still, whatever the runtime's does.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    clock.pass(3 * SECOND);
    assert_eq!(waiting.await.unwrap().code(), Code::Expired);
}
