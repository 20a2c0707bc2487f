//! What the catalog says that the files do not: only the crate itself can make it say so.

use std::sync::Arc;

use carrack_segment::Directory;
use carrack_segment::directory::mem::Mem;
use kit::{Changes, Order, RepoSpec};

use super::*;
use crate::clock::SystemClock;
use crate::ingest::ImportRequest;

/// A store with a repo of three revisions, which have as many records each, and another.
fn store() -> (Store, Did) {
    let directory: Arc<dyn Directory> = Arc::new(Mem::new());
    let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
    let spec = |seed| RepoSpec {
        records: 60,
        seed,
        ..RepoSpec::default()
    };
    let first = spec(1).build();
    let changes = Changes {
        changed: 5,
        ..Changes::default()
    };
    let second = first.next_version(&first.random_edits(2, changes));
    let third = second.next_version(&second.random_edits(3, changes));
    for repo in [&first, &second, &third, &spec(4).build()] {
        let car = repo.car(Order::Pds);
        store
            .import(&car[..], &ImportRequest::default(), |_| {})
            .unwrap();
    }
    let did: Did = first.did.as_str().parse().unwrap();
    let extents = store.inner().catalog.repo(&did).unwrap().unwrap().extents;
    assert_eq!(
        extents.iter().map(|e| e.is_diff).collect::<Vec<_>>(),
        [true, true, false]
    );
    (store, did)
}

/// Checks the store, and returns each finding's section and the repos it touches.
fn check(store: &Store, quick: bool) -> (Vec<(String, Vec<Did>)>, CheckReport) {
    let mut findings = Vec::new();
    let report = store.check(quick, &mut |event| {
        if let CheckEvent::Found(finding) = event {
            assert!(!finding.words.is_empty() && !finding.readable.is_empty());
            findings.push((finding.section, finding.repos));
        }
        true
    });
    let report = report.unwrap();
    assert_eq!(report.findings, findings.len() as u64);
    (findings, report)
}

/// Changes a repo's row.
fn tamper(store: &Store, did: &Did, change: impl FnOnce(&mut RepoEntry)) {
    let old = store.inner().catalog.repo(did).unwrap().unwrap();
    let mut new = old.clone();
    change(&mut new);
    let did = did.clone();
    store
        .change(move |tables| tables.put_repo(&did, Some(&old), &new))
        .unwrap();
}

#[test]
fn what_is_sound_has_no_findings_and_each_row_is_decoded_once() {
    let (store, _) = store();
    let (findings, report) = check(&store, false);
    assert_eq!(findings, []);
    // The full extents' 60 rows each and the 5 of each diff.
    assert_eq!(
        (report.repos, report.revisions, report.records),
        (2, 4, 130)
    );
    let (findings, report) = check(&store, true);
    assert_eq!((findings, report.records), (Vec::new(), 0));
}

#[test]
fn a_row_of_the_catalog_that_the_files_belie_is_found() {
    type Tamper = fn(&mut RepoEntry);
    let cases: [(&str, bool, Tamper); 5] = [
        ("extent", true, |row| row.extents[0].rows += 1),
        ("extent", true, |row| row.extents[1].records += 1),
        ("extent", true, |row| {
            row.extents[0].segment = row.extents[1].segment
        }),
        ("commit", false, |row| {
            row.extents[0].commit = row.extents[1].commit;
        }),
        // Without the revision between, the diff is over other rows than it was made for.
        ("tree", false, |row| drop(row.extents.remove(1))),
    ];
    for (section, in_quick, change) in cases {
        let (store, did) = store();
        tamper(&store, &did, change);
        let (findings, report) = check(&store, false);
        assert!(
            findings.iter().any(|(found, _)| found == section),
            "{section}: {findings:?}"
        );
        assert!(findings.iter().all(|(_, repos)| *repos == [did.clone()]));
        assert_eq!((report.repos, report.repos_damaged), (2, 1));
        assert_eq!(!check(&store, true).0.is_empty(), in_quick, "{section}");
    }
}

#[test]
fn a_check_ends_when_nobody_listens_or_the_store_closes() {
    let (store, _) = store();
    let mut events = 0;
    let stopped = store.check(false, &mut |_| {
        events += 1;
        events < 3
    });
    assert_eq!(stopped.unwrap_err().code(), Code::Unavailable);
    assert_eq!(events, 3);
    let closed = store.check(false, &mut |_| {
        store.close();
        true
    });
    assert_eq!(closed.unwrap_err().code(), Code::Unavailable);
}

#[test]
fn what_a_merge_takes_away_meanwhile_is_no_damage() {
    let (store, did) = store();
    for at in 0..12 {
        let mut events = 0;
        let report = store.check(false, &mut |event| {
            assert!(matches!(event, CheckEvent::Progress(_)), "{event:?}");
            if events == at {
                store.compact(at % 2 == 1, None).unwrap();
            }
            events += 1;
            true
        });
        let report = report.unwrap();
        assert_eq!((report.findings, report.repos), (0, 2), "at event {at}");
    }
    assert!(store.repo(&did).unwrap().is_ok());
}

#[test]
fn a_finding_names_so_many_repos_and_counts_all() {
    let (store, _) = store();
    for count in [FINDING_REPOS_MAX, FINDING_REPOS_MAX + 1] {
        let mut found = None;
        let mut check = Check {
            store: &store,
            tell: &mut |event| {
                found = Some(event);
                true
            },
            report: CheckReport::default(),
            touched: HashSet::new(),
            progress: CheckProgress {
                phase: CheckPhase::Segments,
                done: 0,
                total: 0,
                records: 0,
            },
        };
        let did = |i: usize| format!("did:web:r{i}.test").parse().unwrap();
        let touched = Touched((0..count).map(did).collect());
        let file = "segments/x".to_owned();
        check
            .found(file, "index", "it is cut".into(), touched, "the others")
            .unwrap();
        assert_eq!(check.touched.len(), count);
        let Some(CheckEvent::Found(finding)) = found else {
            panic!("a finding");
        };
        assert_eq!(finding.repos_count, count as u64);
        assert_eq!(finding.repos.len(), FINDING_REPOS_MAX);
    }
}
