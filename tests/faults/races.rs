//! Something comes between two steps of the disk's, always there: what took files away is no damage.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use carrack_segment::directory::mem::Mem;
use carrack_segment::directory::{File, Lock};
use carrack_segment::{Directory, Map};

use crate::model::{Model, STRICT, Version};
use crate::operation::Operation;
use crate::worlds::{NO_CODES, Worlds};
use crate::{DEFAULT_SIZES, Opened, START, open};

/// A directory in memory that does something before a file is mapped, once.
#[derive(Clone)]
struct Hooked {
    inner: Mem,
    hook: Arc<Mutex<Option<Hook>>>,
}

/// How many maps come before, and what is done then.
type Hook = (usize, Box<dyn FnOnce() + Send>);

impl Hooked {
    fn before_map(&self, maps: usize, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some((maps, Box::new(hook)));
    }

    /// Takes back a hook that was not reached; says whether it was.
    fn was_reached(&self) -> bool {
        self.hook.lock().unwrap().take().is_none()
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Directory for Hooked {
    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.inner.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.inner.create(name)
    }

    fn map(&self, name: &str) -> io::Result<Map> {
        let mut slot = self.hook.lock().unwrap();
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
        self.inner.map(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.inner.sync_dir(folder)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.inner.unlink(name)
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.inner.create_dir(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        self.inner.lock(name)
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
            let hooked = Hooked {
                inner: disk.clone(),
                hook: Arc::default(),
            };
            let store = Arc::new(open(hooked.clone(), DEFAULT_SIZES, START).unwrap());
            let delete = Operation::delete_repo(&one, false);
            let (other, also) = (Arc::downgrade(&store), delete.clone());
            hooked.before_map(maps, move || {
                let store = other.upgrade().expect("it is open");
                also.run(&store).expect("the repo is there");
            });
            // What it answers is between the two; that it does not hang or panic is seen here.
            let answer = merge.run(&store);
            if !hooked.was_reached() {
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
