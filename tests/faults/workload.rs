//! [`Workload`]: what a store is asked under faults. One line in [`all`] is a new one.

use std::sync::Arc;

use carrack_segment::directory::mem::Mem;

use crate::model::{Model, Version};
use crate::operation::{Account, Operation};
use crate::worlds::{NO_CODES, Worlds};
use crate::{DEFAULT_SIZES, HOUR, Sizes, open};

/// Operations, and those that come before without any fault.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Done before, on a disk that works; the store is closed in between. Nothing means that there is no store yet.
    pub(crate) before: Vec<Operation>,
    /// Whether the process before was killed instead of closing the store: then opening it recovers the catalog.
    pub(crate) was_killed: bool,
    /// Done under faults.
    pub(crate) operations: Vec<Operation>,
    pub(crate) sizes: Sizes,
}

impl Workload {
    fn new(
        name: &'static str,
        before: impl Into<Vec<Operation>>,
        operations: impl Into<Vec<Operation>>,
    ) -> Self {
        Self {
            name,
            before: before.into(),
            was_killed: false,
            operations: operations.into(),
            sizes: DEFAULT_SIZES,
        }
    }

    /// What comes before alone: for those who bring operations of their own.
    pub(crate) fn before(name: &'static str, before: impl Into<Vec<Operation>>) -> Self {
        Self::new(name, before, [])
    }

    /// Makes the disk that the operations start from, and what is on it.
    pub(crate) fn prepare(&self) -> (Mem, Model) {
        let disk = Mem::new();
        let mut worlds = Worlds::one(Model::default());
        if !self.before.is_empty() {
            let store = open(disk.clone(), self.sizes, worlds.now()).expect("the disk works");
            for operation in &self.before {
                let answer = worlds.run(operation, &store, NO_CODES);
                answer.expect("it is as expected").expect("it is done");
            }
            if self.was_killed {
                return (disk.copy(), worlds.models()[0].clone());
            }
        }
        (disk.copy(), worlds.models()[0].clone())
    }
}

/// Returns every workload. The suites run each of them under each kind of fault.
pub(crate) fn all() -> Vec<Workload> {
    let one = Version::first(24, 1);
    let newer = one.next(1);
    let newest = newer.next(2);
    let two = Version::first(9, 2);
    let import = Operation::import;
    let hidden = Account {
        document: true,
        status: Some("takendown"),
    };
    let active = Account {
        status: Some("active"),
        ..Account::default()
    };
    let known = Account {
        document: true,
        status: None,
    };
    let fork = Version::new(one.repo.fork(&one.repo.random_edits(
        5,
        kit::Changes {
            added: 1,
            ..kit::Changes::default()
        },
    )));
    let mut all = vec![
        Workload::new("a new store", [], []),
        Workload::new("opening and closing", [import(&one)], []),
        Workload::new("the first import", [], [import(&one)]),
        Workload::new("another repo", [import(&one)], [import(&two)]),
        Workload::new(
            "a newer revision",
            [import(&two), import(&one)],
            [import(&newer)],
        ),
        Workload::new(
            "a since diff",
            [import(&one)],
            [Operation::import_since(&newer, &one)],
        ),
        Workload::new(
            "what is learnt of an account",
            [import(&two), import(&one)],
            [
                Operation::import_as(&one, hidden),
                Operation::import_as(&one, active),
                Operation::import_as(&two, known),
            ],
        ),
        Workload {
            was_killed: true,
            ..Workload::new(
                "recovering after a kill",
                [
                    import(&two),
                    import(&one),
                    Operation::import_as(&one, known),
                ],
                [import(&newer)],
            )
        },
        Workload {
            sizes: Sizes {
                memory: 2_000,
                ..DEFAULT_SIZES
            },
            ..Workload::new(
                "an import that spills",
                [import(&two)],
                [import(&Version::first(60, 3))],
            )
        },
        Workload::new(
            "refused ones",
            [import(&two), import(&newer)],
            [import(&one), import(&newer), import(&fork)],
        ),
        Workload::new(
            "several in a row",
            [Operation::import_as(&two, known)],
            [
                import(&one),
                Operation::import_since(&newer, &one),
                import(&two.next(7)),
                import(&newest),
            ],
        ),
    ];
    all.extend(merges());
    all.extend(deletions());
    all
}

/// Repos of a few records each.
fn few(count: u64) -> Vec<Arc<Version>> {
    (0..count)
        .map(|seed| Version::first(3, 40 + seed))
        .collect()
}

/// Returns a repo's revisions, each with small changes.
fn chain(records: usize, revisions: u64) -> Vec<Arc<Version>> {
    let mut chain = vec![Version::first(records, 30)];
    for seed in 1..revisions {
        chain.push(chain[chain.len() - 1].next(seed));
    }
    chain
}

fn merges() -> Vec<Workload> {
    let import = Operation::import;
    let (one, two) = (Version::first(20, 21), Version::first(9, 22));
    let newer = one.next(1);
    let stored = [import(&one), import(&two), import(&newer)];
    let many: Vec<Operation> = few(8).iter().map(import).collect();
    let long = chain(30, 9);
    let (last, older) = long.split_last().expect("it has some");
    let older: Vec<Operation> = older.iter().map(import).collect();
    vec![
        Workload::new("a merge", many, [Operation::Merge]),
        Workload {
            // Each of the new segments is full with its second repo.
            sizes: Sizes {
                segment: 9_000,
                ..DEFAULT_SIZES
            },
            ..Workload::new(
                "a merge into several",
                stored.clone(),
                [Operation::Merge, Operation::compact(false)],
            )
        },
        Workload::new(
            "a cold compaction",
            stored.clone(),
            [Operation::compact(true), import(&newer.next(2))],
        ),
        Workload::new(
            "a compaction of one repo",
            stored,
            [Operation::Compact {
                cold: false,
                did: Some(one.repo.did.clone()),
            }],
        ),
        Workload::new(
            "the fold of a long chain",
            older,
            [Operation::Tick(2 * HOUR), import(last), Operation::Merge],
        ),
    ]
}

fn deletions() -> Vec<Workload> {
    let import = Operation::import;
    let (one, two) = (Version::first(20, 23), Version::first(9, 24));
    let newer = one.remarked(1);
    let stored = [
        Operation::import_as(
            &one,
            Account {
                document: true,
                status: None,
            },
        ),
        import(&two),
        import(&newer),
    ];
    let merged = [&stored[..], &[Operation::compact(false)]].concat();
    let cold = [&stored[..], &[Operation::compact(true)]].concat();
    let delete_record = |purge| Operation::delete_record(&one, purge);
    let delete_repo = |purge| Operation::delete_repo(&one, purge);
    vec![
        Workload::new(
            "a deletion, and a revision later",
            stored.clone(),
            [delete_record(false), import(&newer.next(3))],
        ),
        Workload::new(
            "a deletion whose time comes",
            merged.clone(),
            [
                delete_record(false),
                Operation::Tick(13 * HOUR),
                Operation::Merge,
            ],
        ),
        Workload::new("a purge of a record", merged.clone(), [delete_record(true)]),
        Workload::new(
            "a purge of a record in the cold",
            cold,
            [delete_record(true)],
        ),
        Workload::new("a purge of a repo", merged, [delete_repo(true)]),
        Workload::new(
            "a repo that goes and comes",
            stored,
            [delete_repo(false), import(&one)],
        ),
    ]
}

/// A repo that no workload has: what a store must still be able to take in.
pub(crate) fn probe() -> Operation {
    static PROBE: std::sync::OnceLock<Arc<Version>> = std::sync::OnceLock::new();
    Operation::import(PROBE.get_or_init(|| Version::first(3, 99)))
}
