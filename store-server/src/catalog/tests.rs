//! Tests of the catalog: rows, changes, formats, failed commits.

use carrack_segment::directory::faulty::{Faulty, Op};
use carrack_segment::directory::fs::Fs;

use super::entry::tests::{entry, extent};
use super::*;

fn directory() -> (tempfile::TempDir, Arc<dyn Directory>) {
    let folder = tempfile::tempdir().unwrap();
    let directory = Arc::new(Fs::open(folder.path()).unwrap());
    (folder, directory)
}

fn did(name: &str) -> Did {
    format!("did:plc:{name}").parse().unwrap()
}

/// Puts a repo with one new segment in, as an import does.
fn put(catalog: &Catalog, name: &str, entry: &RepoEntry) -> Result<Changed<()>> {
    let (did, entry) = (did(name), entry.clone());
    catalog.change(move |tables| {
        let old = tables.repo(&did)?;
        let segment = SegmentEntry {
            bytes: 9,
            live_bytes: 9,
            extents: 1,
            ..SegmentEntry::default()
        };
        tables.put_segment(entry.head().segment, &segment)?;
        tables.put_repo(&did, old.as_ref(), &entry)?;
        for extent in old.iter().flat_map(|old| &old.extents) {
            tables.drop_extent(extent)?;
        }
        Ok(())
    })
}

fn segments(catalog: &Catalog) -> Vec<SegmentId> {
    let segments = catalog.segments().unwrap();
    segments.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn rows_survive_reopening_and_replace_each_other() {
    let (_folder, directory) = directory();
    let key = {
        let catalog = Catalog::open(&directory, false).unwrap();
        assert!(put(&catalog, "a", &entry(1)).unwrap().1.is_empty());
        let (_, retired) = put(&catalog, "a", &entry(2)).unwrap();
        assert_eq!(retired, [entry(1).head().segment]);
        *catalog.cursor_key()
    };
    let catalog = Catalog::open(&directory, true).unwrap();
    assert_eq!(catalog.repo(&did("a")).unwrap(), Some(entry(2)));
    assert_eq!(catalog.repo(&did("b")).unwrap(), None);
    assert_eq!(segments(&catalog), [entry(2).head().segment]);
    assert_eq!(*catalog.cursor_key(), key);
}

#[test]
fn a_refused_change_changes_nothing_and_the_others_stand() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    let refused: Result<Changed<()>> = catalog.change(|_| Err(Error::new(Code::Fork, "no")));
    assert_eq!(refused.map(|_| ()).unwrap_err().code(), Code::Fork);
    assert!(segments(&catalog).is_empty());
    put(&catalog, "a", &entry(1)).unwrap();
    assert_eq!(catalog.repo(&did("a")).unwrap(), Some(entry(1)));
}

#[test]
fn many_threads_at_once_each_get_their_own_answer() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let catalog = &catalog;
            scope.spawn(move || {
                for i in 0..20_u64 {
                    let number = thread * 20 + i;
                    if i % 5 == 4 {
                        let refused: Result<Changed<()>> = catalog
                            .change(move |_| Err(Error::new(Code::Fork, number.to_string())));
                        let error = refused.map(|_| ()).unwrap_err();
                        assert_eq!(error.to_string(), number.to_string());
                        continue;
                    }
                    put(catalog, &number.to_string(), &entry(number)).unwrap();
                    let stored = catalog.repo(&did(&number.to_string())).unwrap();
                    assert_eq!(stored, Some(entry(number)), "acknowledged is visible");
                }
            });
        }
    });
    let mut repos = 0;
    let count = |_: &str, _| {
        repos += 1;
        true
    };
    catalog.repos_after("", count).unwrap();
    assert_eq!(repos, 8 * 16);
}

#[test]
fn a_change_that_fails_half_way_is_not_committed() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    put(&catalog, "a", &entry(1)).unwrap();
    let torn: Result<Changed<()>> = catalog.change(|tables| {
        tables.put_repo(&did("b"), None, &entry(2))?;
        Err(Error::new(Code::Fork, "after a write"))
    });
    assert_eq!(torn.map(|_| ()).unwrap_err().code(), Code::Fork);
    assert_eq!(catalog.repo(&did("b")).unwrap(), None);
    put(&catalog, "b", &entry(2)).unwrap();
}

#[test]
fn handles_and_deletions_go_with_their_repo() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    let path: RecordPath = "a.b.c/self".parse().unwrap();
    let cid = entry(1).head().commit;
    for name in ["a", "ab"] {
        let counted = RepoEntry {
            deletions: 1,
            handle: format!("{name}.test"),
            ..entry(1)
        };
        put(&catalog, name, &counted).unwrap();
        let path = path.clone();
        let (is_new, _) = catalog
            .change(move |tables| tables.add_deletion(&did(name), &path, &cid, 7))
            .unwrap();
        assert!(is_new);
    }
    let (_, deletions) = catalog.repo_and_deletions(&did("a")).unwrap().unwrap();
    assert!(deletions.hide("a.b.c/self", || Ok(cid)).unwrap());
    assert!(!deletions.hide("a.b.c/other", || Ok(cid)).unwrap());
    catalog
        .change(|tables| {
            let old = tables.repo(&did("a"))?.expect("it was put in");
            tables.remove_repo(&did("a"), &old)
        })
        .unwrap();
    assert_eq!(catalog.did_of_handle("a.test").unwrap(), None);
    assert_eq!(catalog.did_of_handle("ab.test").unwrap(), Some(did("ab")));
    let (_, other) = catalog.repo_and_deletions(&did("ab")).unwrap().unwrap();
    assert!(!other.is_empty());
}

#[test]
fn a_segment_goes_with_its_last_extent() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    let two = [extent(1), extent(1)];
    let id = two[0].segment;
    let (_, retired) = catalog
        .change(move |tables| {
            let segment = SegmentEntry {
                bytes: 9,
                live_bytes: 9,
                extents: 2,
                ..SegmentEntry::default()
            };
            tables.put_segment(id, &segment)?;
            tables.must_purge(id, 5)?;
            tables.must_purge(id, 7)?;
            tables.drop_extent(&two[0])
        })
        .unwrap();
    assert!(retired.is_empty());
    let (_, left) = catalog.segments().unwrap()[0];
    assert_eq!(
        (left.extents, left.live_bytes, left.purge_by),
        (1, 5, Some(5))
    );
    let (_, retired) = catalog
        .change(move |tables| tables.drop_extent(&extent(1)))
        .unwrap();
    assert_eq!(retired, [id]);
    assert!(catalog.segments().unwrap().is_empty());
}

#[test]
fn another_format_is_refused() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    {
        let transaction = catalog.database().begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert(META_FORMAT, &1_u32.to_le_bytes()[..]).unwrap();
        drop(meta);
        transaction.commit().unwrap();
    }
    drop(catalog);
    let error = Catalog::open(&directory, false).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains("format 3"), "{error}");
}

#[test]
fn a_catalog_that_is_gone_beside_segments_is_damage() {
    let (folder, directory) = directory();
    let refused = |directory| {
        Catalog::open(directory, true)
            .map(|_| ())
            .unwrap_err()
            .code()
    };
    assert_eq!(refused(&directory), Code::Damaged);
    assert!(directory.list("").unwrap().is_empty(), "nothing was made");
    drop(Catalog::open(&directory, false).unwrap());
    assert!(Catalog::open(&directory, true).is_ok());
    std::fs::write(folder.path().join(FILE), b"").unwrap();
    assert_eq!(refused(&directory), Code::Damaged);
}

#[test]
fn a_catalog_gives_back_what_its_rows_do_not_need() {
    let (folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    for number in 0..1_000 {
        put(&catalog, &number.to_string(), &entry(number)).unwrap();
    }
    let length = || std::fs::metadata(folder.path().join(FILE)).unwrap().len();
    for number in 0..990 {
        catalog
            .change(move |tables| {
                let did = did(&number.to_string());
                let old = tables.repo(&did)?.expect("it was put in");
                tables.remove_repo(&did, &old)?;
                tables.drop_extent(old.head())
            })
            .unwrap();
    }
    let before = length();
    catalog.compact().unwrap();
    assert!(length() < before / 2, "{} of {before}", length());
    assert_eq!(catalog.repo(&did("995")).unwrap(), Some(entry(995)));
    put(&catalog, "new", &entry(5)).unwrap();
}

#[test]
fn after_a_failed_commit_reads_go_on_and_writes_are_refused_until_it_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(Fs::open(folder.path()).unwrap());
    let told = fails.clone();
    let failing = Faulty::new(disk, 0).before_each(move |op, _| {
        match op == Op::Sync && told.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the disk is gone")),
            false => Ok(()),
        }
    });
    let directory: Arc<dyn Directory> = Arc::new(failing);
    let catalog = Catalog::open(&directory, false).unwrap();
    for number in 0..2_000 {
        put(&catalog, &number.to_string(), &entry(number)).unwrap();
    }
    // With nothing in memory, so that reads have to read.
    drop(catalog);
    let catalog = Catalog::open(&directory, true).unwrap();
    fails.store(true, Ordering::Relaxed);
    let mut codes = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|thread: u64| {
                let catalog = &catalog;
                scope.spawn(move || {
                    let failed = put(catalog, &format!("new{thread}"), &entry(thread));
                    failed.map(|_| ()).unwrap_err().code()
                })
            })
            .collect();
        codes.extend(writers.into_iter().map(|writer| writer.join().unwrap()));
    });
    assert!(codes.contains(&Code::UnknownOutcome), "{codes:?}");
    assert!(
        codes
            .iter()
            .all(|code| matches!(code, Code::UnknownOutcome | Code::Unavailable))
    );
    fails.store(false, Ordering::Relaxed);
    let refused = put(&catalog, "x", &entry(1)).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let before = std::fs::read(folder.path().join(FILE)).unwrap();
    for number in 0..2_000 {
        let stored = catalog.repo(&did(&number.to_string())).unwrap();
        assert_eq!(stored, Some(entry(number)));
    }
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), before);
    drop(catalog);
    assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), before);
    let catalog = Catalog::open(&directory, true).unwrap();
    assert_eq!(catalog.repo(&did("7")).unwrap(), Some(entry(7)));
    put(&catalog, "x", &entry(1)).unwrap();
}

#[test]
fn a_table_that_no_copy_has_is_noticed() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    let copy = |name| catalog.moment()?.write(directory.create(name).unwrap());
    copy("one").unwrap();
    let transaction = catalog.database().begin_write().unwrap();
    let table: TableDefinition<'_, u8, u8> = TableDefinition::new("new");
    transaction.open_table(table).unwrap();
    transaction.commit().unwrap();
    let error = copy("two").unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(error.chain().contains("`new`"), "{}", error.chain());
}

#[test]
fn a_copy_is_at_most_twice_as_long() {
    let (_folder, directory) = directory();
    let catalog = Catalog::open(&directory, false).unwrap();
    for round in 0..4 {
        catalog
            .change(move |tables| {
                for number in 0..500_u32 {
                    // In no order, as DIDs come.
                    let name = format!("{:08x}", (number * 4 + round).wrapping_mul(2_654_435_761));
                    tables.put_repo(&did(&name), None, &entry(1))?;
                }
                Ok(())
            })
            .unwrap();
        catalog.compact().unwrap();
        let name = format!("copy{round}");
        let file = directory.create(&name).unwrap();
        catalog.moment().unwrap().write(file).unwrap();
        let copy = directory.open(&name).unwrap().len().unwrap();
        let catalog = catalog.bytes().unwrap();
        assert!(copy <= 2 * catalog, "{copy} {catalog}");
    }
}
