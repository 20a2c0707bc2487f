//! Something comes between two steps of the disk's, always there: what took files away is no damage.

use std::sync::{Arc, Mutex};

use carrack_segment::directory::faulty::{Faulty, Op};
use carrack_segment::directory::mem::Mem;

use crate::model::{Model, STRICT, Version};
use crate::operation::Operation;
use crate::worlds::{NO_CODES, Worlds};
use crate::{DEFAULT_SIZES, Opened, START, open};

/// Does something before a file is mapped, once. Cheap to clone.
#[derive(Clone, Default)]
struct BeforeMap(Arc<Mutex<Option<Hook>>>);

/// How many maps come before, and what is done then.
type Hook = (usize, Box<dyn FnOnce() + Send>);

impl BeforeMap {
    fn after(&self, maps: usize, hook: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((maps, Box::new(hook)));
    }

    fn map(&self) {
        let mut slot = self.0.lock().unwrap();
        let due = match slot.take() {
            Some((0, hook)) => Some(hook),
            Some((left, hook)) => {
                *slot = Some((left - 1, hook));
                None
            }
            None => None,
        };
        drop(slot);
        if let Some(hook) = due {
            hook();
        }
    }

    /// Takes back a hook that was not reached; says whether it was.
    fn was_reached(&self) -> bool {
        self.0.lock().unwrap().take().is_none()
    }
}

#[test]
fn a_deletion_before_any_map_of_a_merge_leaves_every_segment_mergeable() {
    let (one, two) = (Version::first(20, 61), Version::first(9, 62));
    let newer = one.remarked(1);
    let compact_one = Operation::Compact {
        cold: false,
        did: Some(one.repo.did.clone()),
    };
    for merge in [
        compact_one,
        Operation::compact(false),
        Operation::delete_record(&two, true),
    ] {
        let mut maps = 0;
        loop {
            let disk = Mem::new();
            let mut worlds = Worlds::one(Model::default());
            let mut ask = |store: &Opened, operation: &Operation| {
                let answer = worlds.run(operation, store, NO_CODES).unwrap();
                answer.unwrap_or_else(|error| panic!("{operation:?}: {}", error.chain()));
            };
            // One segment of both, and one of the first repo alone.
            let store = open(disk.clone(), DEFAULT_SIZES, START).unwrap();
            ask(&store, &Operation::import(&one));
            ask(&store, &Operation::import(&two));
            ask(&store, &Operation::compact(false));
            ask(&store, &Operation::import(&newer));
            drop(store);
            let before_map = BeforeMap::default();
            let hooked = Faulty::new(Arc::new(disk.clone()), 0).before_each({
                let before_map = before_map.clone();
                move |op, _| {
                    if op == Op::Map {
                        before_map.map();
                    }
                    Ok(())
                }
            });
            let store = Arc::new(open(hooked, DEFAULT_SIZES, START).unwrap());
            let delete = Operation::delete_repo(&one, false);
            let (other, also) = (Arc::downgrade(&store), delete.clone());
            before_map.after(maps, move || {
                let store = other.upgrade().expect("it is open");
                also.run(&store).expect("the repo is there");
            });
            // What it answers is between the two; that it does not hang or panic is seen here.
            let answer = merge.run(&store);
            if !before_map.was_reached() {
                break;
            }
            answer.unwrap_or_else(|error| {
                panic!("{merge:?}, map {maps}: {}: {}", error.code(), error.chain())
            });
            let mut after = delete.expect(&worlds.models()[0]).remove(0).unwrap();
            if let Operation::Delete { .. } = merge {
                after = merge.expect(&after).remove(0).unwrap();
                // Of the repo's own bytes nothing was asked but that they go in time.
                let one = &one.repo.records;
                after.gone.retain(|mark| {
                    !one.iter()
                        .any(|each| crate::purged::mark(&each.bytes) == Some(*mark))
                });
            }
            worlds = Worlds::one(after);
            worlds.compare(&store, STRICT).unwrap();
            // And whatever must be rewritten can be.
            let again = match merge {
                Operation::Delete { .. } => Operation::delete_repo(&two, true),
                _ => Operation::delete_record(&two, true),
            };
            let answer = worlds.run(&again, &store, NO_CODES).unwrap();
            answer.unwrap_or_else(|error| panic!("{merge:?}, map {maps}: {}", error.chain()));
            worlds.look_for_purged(&disk).unwrap();
            worlds.compare(&store, STRICT).unwrap();
            maps += 1;
        }
        assert!(maps > 0, "{merge:?} maps nothing");
    }
}
