//! The keeper's facet: how many of its calls run at once, and that a check which nobody waits for ends.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use carrack_client::{Check, Session};
use carrack_schema::Code;
use carrack_schema::limits::{FINDINGS_QUEUED_MAX, KEEPERS_MAX};
use carrack_segment::format::{HEADER_BYTES, TRAILER_BYTES};
use carrack_segment::{Fs, PageCache, Segment};
use kit::{Order, RepoSpec};

use crate::door::{self, Door, Store, must_import};

/// More findings than have room on their way: here, in the connection, there, and one that waits at each border.
const REPOS: usize = 4 * FINDINGS_QUEUED_MAX;
/// How often a place is asked for that must become free, and after which pause: ten seconds in all.
const ATTEMPTS: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(10);

/// Fills a store with repos that share a file, and damages all of it but what says where things are: each repo's index
/// is a finding of its own.
async fn fill_and_damage(store: &Store) {
    for seed in 0..REPOS {
        let spec = RepoSpec {
            records: 3,
            seed: seed as u64,
            ..RepoSpec::default()
        };
        must_import(&store.session, &spec.build().car(Order::Pds)).await;
    }
    let compacted = store.session.keeper().compact(None, false).await;
    assert_eq!(compacted.unwrap().unwrap().after.segments, 1);
    let folder = store.folder.path().join("segments");
    let name = std::fs::read_dir(&folder).unwrap().next().unwrap();
    let name = name.unwrap().file_name().into_string().unwrap();
    let path = folder.join(&name);
    let segment = Segment::open(&Fs::open(&folder).unwrap(), &name, &PageCache::new(0)).unwrap();
    let bytes = segment.bytes() - segment.footer_bytes() - (HEADER_BYTES + TRAILER_BYTES) as u64;
    // In place: the store has it mapped.
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let noise = vec![0xa5; usize::try_from(bytes).unwrap()];
    file.write_all_at(&noise, HEADER_BYTES as u64).unwrap();
}

/// Starts a check and waits until it has told something. It cannot end while nobody takes the rest.
async fn running(session: &Session) -> Check {
    let mut check = session.keeper().check(true);
    assert!(check.next().await.is_some(), "{:?}", check.done().await);
    check
}

#[test]
fn no_more_checks_run_than_may_and_one_that_is_dropped_makes_room() {
    for door in [Door::InProcess, Door::Unix] {
        door::through(door, &async |store| {
            fill_and_damage(&store).await;
            let mut checks = Vec::new();
            for _ in 0..KEEPERS_MAX {
                checks.push(running(&store.session).await);
            }
            let one_more = store.session.keeper().check(true).done().await;
            assert_eq!(one_more.unwrap_err().code(), Code::Overloaded);
            // Readers do not wait for them.
            let stats = store.session.store().stats().await.unwrap();
            assert_eq!(stats.repos, REPOS as u64);

            drop(checks.pop());
            let mut found = 0;
            for attempt in 0.. {
                let mut check = store.session.keeper().check(true);
                while check.next().await.is_some() {
                    found += 1;
                }
                match check.done().await {
                    Ok(report) => {
                        assert_eq!(report.findings, found);
                        assert_eq!(report.repos_damaged, REPOS as u64);
                        break;
                    }
                    Err(error) => assert_eq!(error.code(), Code::Overloaded),
                }
                assert!(attempt < ATTEMPTS, "no place became free");
                tokio::time::sleep(PAUSE).await;
            }
            assert!(found >= REPOS as u64, "{found} findings");
            // The others wait still, and do not hold up the end: the folder is free for its next owner.
            let store = store.reopen(door).await;
            assert_eq!(checks.len(), KEEPERS_MAX - 1);
            store.owner.shutdown();
        });
    }
}
