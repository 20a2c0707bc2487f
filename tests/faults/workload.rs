//! [`Workload`]: what a store is asked under faults. One line in [`all`] is a new one.

use std::sync::Arc;

use carrack_segment::directory::mem::Mem;

use crate::model::{Model, Version};
use crate::open;
use crate::operation::{Account, Operation};
use crate::worlds::{NO_CODES, Worlds};

/// What an import keeps in memory where that does not matter.
pub(crate) const MEMORY: usize = carrack_schema::limits::IMPORT_MEMORY_BYTES;

/// Operations, and those that come before without any fault.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Done before, on a disk that works; the store is closed in between. Nothing means that there is no store yet.
    pub(crate) before: Vec<Operation>,
    /// Whether the process before was killed instead of closing the store: then opening it recovers the catalog.
    pub(crate) was_killed: bool,
    /// Done under faults.
    pub(crate) operations: Vec<Operation>,
    /// What an import keeps in memory, in bytes.
    pub(crate) memory: usize,
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
            memory: MEMORY,
        }
    }

    /// Makes the disk that the operations start from, and what is on it.
    pub(crate) fn prepare(&self) -> (Mem, Model) {
        let disk = Mem::new();
        let mut worlds = Worlds::one(Model::default());
        if !self.before.is_empty() {
            let store = open(disk.clone(), self.memory).expect("the disk works");
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
    vec![
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
            memory: 2_000,
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
    ]
}

/// A repo that no workload has: what a store must still be able to take in.
pub(crate) fn probe() -> Operation {
    static PROBE: std::sync::OnceLock<Arc<Version>> = std::sync::OnceLock::new();
    Operation::import(PROBE.get_or_init(|| Version::first(3, 99)))
}
