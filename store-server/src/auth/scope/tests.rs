//! Tests of scopes: what they hold, and that narrowing never widens.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

fn did(name: &str) -> Did {
    format!("did:plc:{name}").parse().unwrap()
}

fn nsids(texts: &[&str]) -> Selection<Nsids> {
    let mut nsids = Nsids::default();
    for text in texts {
        nsids.insert(text).unwrap();
    }
    Selection::Only(nsids)
}

fn sees(scope: &Selection<Nsids>, nsid: &str) -> bool {
    let scope = Scope {
        collections: scope.clone(),
        ..Scope::everything()
    };
    scope.sees_collection(&nsid.parse().unwrap())
}

#[test]
fn a_tree_is_what_is_below_a_name() {
    let feed = nsids(&["app.bsky.feed.*", "app.bsky.actor.profile"]);
    for inside in [
        "app.bsky.feed.post",
        "app.bsky.feed.post.draft",
        "app.bsky.actor.profile",
    ] {
        assert!(sees(&feed, inside), "{inside}");
    }
    for outside in [
        "app.bsky.feed",
        "app.bsky.feeds.post",
        "app.bsky.feedgen",
        "app.bsky.actor.status",
        "app.bsky.actor.profile.x",
        "com.app.bsky.feed.post",
    ] {
        assert!(!sees(&feed, outside), "{outside}");
    }
    assert!(sees(&nsids(&["app.*"]), "app.bsky.feed.post"));
    for malformed in [
        "",
        "*",
        ".*",
        "app.bsky.feed.**",
        "app.*.post",
        "app bsky.*",
        "app..*",
    ] {
        let mut nsids = Nsids::default();
        let refused = nsids.insert(malformed).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{malformed}");
    }
}

#[test]
fn wider_is_denied_and_all_means_the_issuers() {
    let parent = Scope {
        repos: Selection::Only([did("a"), did("b")].into()),
        collections: nsids(&["app.bsky.feed.*", "app.bsky.graph.follow"]),
        may: [Operation::Read, Operation::Grant].into_iter().collect(),
        calls: Budget {
            total: Limit::AtMost(100),
            per_second: Limit::None,
        },
        bytes: Budget::UNLIMITED,
        expires: 1_000,
    };
    let all = Scope {
        may: parent.may,
        calls: Budget {
            total: Limit::Unlimited,
            per_second: Limit::Unlimited,
        },
        ..Scope::everything()
    };
    assert_eq!(all.clone().narrow(&parent).unwrap(), parent);

    let wider = |change: fn(&mut Scope)| {
        let mut scope = all.clone();
        change(&mut scope);
        scope
            .narrow(&parent)
            .map(|_| ())
            .map_err(|error| error.code())
    };
    let denied = Err(Code::Denied);
    assert_eq!(
        wider(|s| s.repos = Selection::Only([did("a")].into())),
        Ok(())
    );
    assert_eq!(
        wider(|s| s.repos = Selection::Only([did("c")].into())),
        denied
    );
    assert_eq!(
        wider(|s| s.collections = nsids(&["app.bsky.feed.post"])),
        Ok(())
    );
    assert_eq!(
        wider(|s| s.collections = nsids(&["app.bsky.feed.x.*"])),
        Ok(())
    );
    assert_eq!(wider(|s| s.collections = nsids(&["app.bsky.*"])), denied);
    assert_eq!(
        wider(|s| s.collections = nsids(&["app.bsky.graph.*"])),
        denied
    );
    assert_eq!(
        wider(|s| s.collections = nsids(&["app.bsky.graph.block"])),
        denied
    );
    assert_eq!(wider(|s| s.may.insert(Operation::List)), denied);
    assert_eq!(wider(|s| s.calls.total = Limit::AtMost(100)), Ok(()));
    assert_eq!(wider(|s| s.calls.total = Limit::AtMost(101)), denied);
    assert_eq!(wider(|s| s.calls.per_second = Limit::AtMost(1)), denied);
    assert_eq!(wider(|s| s.calls.per_second = Limit::AtMost(0)), Ok(()));
    assert_eq!(wider(|s| s.bytes.total = Limit::AtMost(u64::MAX)), Ok(()));
}

#[test]
fn selections_are_counted_at_the_limit_and_one_beyond() {
    let mut size = SelectionSize::default();
    for _ in 0..SELECTION_ENTRIES_MAX {
        size.count("did:plc:234567abcdefghijklmnopqr").unwrap();
    }
    let beyond = size.count("x").unwrap_err();
    assert_eq!(beyond.code(), Code::LimitExceeded);

    let mut size = SelectionSize::default();
    size.count(&"x".repeat(SELECTION_BYTES_MAX)).unwrap();
    assert_eq!(size.count("x").unwrap_err().code(), Code::LimitExceeded);
}

const DIDS: [&str; 3] = ["did:plc:a", "did:plc:b", "did:web:c.example"];
const NAMES: [&str; 8] = [
    "a.b.c",
    "a.b.c.d",
    "a.b.cd",
    "a.b.x.y",
    "z.b.c",
    "a.b.c.d.e",
    "a.q.r",
    "a.b.c.f",
];
const PATTERNS: [&str; 8] = [
    "a.b.c",
    "a.b.c.d",
    "a.*",
    "a.b.*",
    "a.b.c.*",
    "a.b.x.*",
    "z.b.c",
    "a.b.c.d.e",
];

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        Just(Limit::None),
        (0..4u64).prop_map(Limit::AtMost),
        Just(Limit::Unlimited)
    ]
}

fn budget() -> impl Strategy<Value = Budget> {
    (limit(), limit()).prop_map(|(total, per_second)| Budget { total, per_second })
}

fn scope() -> impl Strategy<Value = Scope> {
    let repos = prop_oneof![
        Just(Selection::None),
        subsequence(&DIDS[..], 0..=3).prop_map(|dids| Selection::Only(
            dids.iter().map(|did| did.parse().unwrap()).collect()
        )),
        Just(Selection::All)
    ];
    let collections = prop_oneof![
        Just(Selection::None),
        subsequence(&PATTERNS[..], 0..=4).prop_map(|texts| nsids(&texts)),
        Just(Selection::All)
    ];
    let may = subsequence(Operation::ALL, 0..=Operation::ALL.len())
        .prop_map(|may| may.into_iter().collect());
    let expires = select(&[1, 2, 3, i64::MAX][..]);
    (repos, collections, may, budget(), budget(), expires).prop_map(
        |(repos, collections, may, calls, bytes, expires)| Scope {
            repos,
            collections,
            may,
            calls,
            bytes,
            expires,
        },
    )
}

/// All that can be asked of a scope, over a small world: what it allows, one bit each, and its bounds.
fn allows(scope: &Scope) -> (Vec<bool>, [u64; 4], i64) {
    let most = |limit: Limit| limit.most().unwrap_or(u64::MAX);
    let repos = DIDS
        .iter()
        .map(|did| scope.sees_repo(&did.parse().unwrap()));
    let names = NAMES
        .iter()
        .map(|name| scope.sees_collection(&name.parse().unwrap()));
    let may = Operation::ALL.iter().map(|each| scope.may.contains(*each));
    let whole = [
        matches!(scope.repos, Selection::All),
        matches!(scope.collections, Selection::All),
    ];
    (
        repos.chain(names).chain(may).chain(whole).collect(),
        [
            most(scope.calls.total),
            most(scope.calls.per_second),
            most(scope.bytes.total),
            most(scope.bytes.per_second),
        ],
        scope.expires,
    )
}

proptest! {
    /// Whatever the end of a chain of narrowings allows, each scope on the way allows; and a narrowing that was not
    /// denied allows all that was asked for by name.
    #[test]
    fn a_chain_of_narrowings_never_widens(chain in proptest::collection::vec(scope(), 1..6)) {
        let mut ancestors = vec![Scope::everything()];
        for asked in chain {
            let parent = ancestors.last().unwrap();
            let Ok(child) = asked.clone().narrow(parent) else {
                // Only what is wider is denied.
                let (asked, parent) = (allows_by_name(&asked), allows(parent));
                prop_assert!(!is_within(&asked, &parent));
                continue;
            };
            ancestors.push(child);
            let end = allows(ancestors.last().unwrap());
            for ancestor in &ancestors {
                prop_assert!(is_within(&end, &allows(ancestor)), "{ancestors:?}");
            }
            prop_assert!(is_within(&allows_by_name(&asked), &end));
        }
    }
}

type Allowed = (Vec<bool>, [u64; 4], i64);

fn is_within(child: &Allowed, parent: &Allowed) -> bool {
    let bits = child
        .0
        .iter()
        .zip(&parent.0)
        .all(|(child, parent)| !child || *parent);
    let bounds = child
        .1
        .iter()
        .zip(&parent.1)
        .all(|(child, parent)| child <= parent);
    bits && bounds && child.2 <= parent.2
}

/// As [`allows`], where all that says "as much as the issuer may" asks for nothing by itself.
fn allows_by_name(scope: &Scope) -> Allowed {
    let own = |limit: Limit| match limit {
        Limit::Unlimited => Limit::None,
        own => own,
    };
    let budget = |budget: Budget| Budget {
        total: own(budget.total),
        per_second: own(budget.per_second),
    };
    let mut scope = scope.clone();
    if matches!(scope.repos, Selection::All) {
        scope.repos = Selection::None;
    }
    if matches!(scope.collections, Selection::All) {
        scope.collections = Selection::None;
    }
    (scope.calls, scope.bytes) = (budget(scope.calls), budget(scope.bytes));
    scope.expires = 0;
    allows(&scope)
}
