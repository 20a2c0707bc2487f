//! Tests of the audit log: what its lines say, that they are bounded, and what becomes of a disk that fails.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_schema::limits::{AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX};
use carrack_segment::Fs;
use carrack_segment::directory::faulty::{Faulty, Op};
use serde_json::Value;

use super::*;
use crate::auth::kit::{SECOND, START, TestClock, World, scope};

fn audit(folder: &Path, clock: &Arc<TestClock>) -> Audit {
    let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder).unwrap());
    let clock: Arc<dyn Clock> = clock.clone();
    Audit::new(&directory, &clock)
}

/// Returns the lines of a file of the audit log.
fn lines(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("audit").join(name)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn did(number: usize) -> Did {
    format!("did:plc:{number}").parse().unwrap()
}

#[test]
fn reads_are_summed_up_and_deeds_are_told() {
    let world = World::new();
    let store = world.store();
    let owner = Authority::owner();
    let parent = store.issue(&owner, scope(|_| {}), "the parent").unwrap();
    let parent = Authority::of(parent);
    let child = Authority::of(
        store
            .issue(&parent, scope(|_| {}), "the \"child\"")
            .unwrap(),
    );
    let audit = &store.inner().audit;
    for _ in 0..50_000 {
        audit.read(&child, Operation::Read, Some(&did(1)), 10);
    }
    audit.read(&child, Operation::List, Some(&did(1)), 7);
    audit.read(&owner, Operation::List, None, 0);
    let deed = Deed {
        what: "delete",
        repo: Some("did:plc:1"),
        object: Some("app.bsky.feed.post/1"),
        calls: 1,
        bytes: 0,
        outcome: "ok",
    };
    audit.tell(&child, deed);
    audit.write();
    let mut told = lines(world.folder.path(), "audit.jsonl");
    assert_eq!(told.len(), 4);
    told.sort_by_key(|line| line["calls"].as_u64());
    let read = told.pop().unwrap();
    let expected = serde_json::json!({
        "at": "2027-01-15T08:00:00Z",
        "grant": child.id(),
        "label": "the \"child\"",
        "chain": [parent.id()],
        "what": "read",
        "repo": "did:plc:1",
        "calls": 50_000,
        "bytes": 500_000,
        "outcome": "ok",
    });
    assert_eq!(read, expected);
    let of = |what: &str, grant: Value| {
        told.iter()
            .any(|line| line["what"] == what && line["grant"] == grant)
    };
    assert!(of("list", Value::Null));
    assert!(of("list", child.id().into()));
    assert!(of("delete", child.id().into()));
    // Nothing new, nothing written.
    audit.write();
    assert_eq!(lines(world.folder.path(), "audit.jsonl").len(), 4);
}

#[test]
fn repos_are_named_up_to_the_limit_and_the_rest_is_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(folder.path(), &TestClock::new());
    let owner = Authority::owner();
    for number in 0..=AUDIT_READS_MAX {
        audit.read(&owner, Operation::Read, Some(&did(number)), 1);
    }
    // One that is named already is still counted by itself.
    audit.read(&owner, Operation::Read, Some(&did(0)), 1);
    audit.read(&owner, Operation::Read, Some(&did(AUDIT_READS_MAX + 7)), 1);
    audit.write();
    let told = lines(folder.path(), "audit.jsonl");
    assert_eq!(told.len(), AUDIT_READS_MAX + 1);
    let calls = |repo: Value| {
        let line = told.iter().find(|line| line["repo"] == repo).unwrap();
        line["calls"].as_u64().unwrap()
    };
    assert_eq!(calls("did:plc:0".into()), 2);
    assert_eq!(calls(Value::Null), 2);
    // The next few seconds start anew.
    audit.read(&owner, Operation::Read, Some(&did(AUDIT_READS_MAX + 7)), 1);
    audit.write();
    let told = lines(folder.path(), "audit.jsonl");
    assert_eq!(
        told.last().unwrap()["repo"],
        did(AUDIT_READS_MAX + 7).as_str()
    );
}

#[test]
fn refusals_and_logins_are_told_up_to_the_limit_each_second_and_then_counted() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let audit = audit(folder.path(), &clock);
    for _ in 0..AUDIT_REFUSALS_PER_SECOND + 3 {
        audit.tell_refusal(None, "login", Code::BadCredential);
    }
    audit.tell_login(&Authority::owner(), "login");
    audit.write();
    let told = lines(folder.path(), "audit.jsonl");
    assert_eq!(told.len() as u64, AUDIT_REFUSALS_PER_SECOND + 1);
    assert_eq!(told[0]["outcome"], "badCredential");
    let last = told.last().unwrap();
    assert_eq!(
        (&last["what"], &last["calls"]),
        (&"further logins and refusals".into(), &4.into())
    );
    clock.pass(SECOND);
    audit.tell_login(&Authority::owner(), "login");
    audit.write();
    let last = lines(folder.path(), "audit.jsonl").pop().unwrap();
    assert_eq!(
        (&last["what"], &last["outcome"]),
        (&"login".into(), &"ok".into())
    );
}

/// Tells something long; returns how many bytes its line has.
fn tell_much(audit: &Audit) -> u64 {
    let object = "x".repeat(60_000);
    let deed = Deed {
        what: "delete",
        object: Some(&object),
        ..Deed::default()
    };
    audit.tell(&Authority::owner(), deed);
    audit.line(Some(&Authority::owner()), deed).len() as u64
}

#[test]
fn lines_that_wait_are_bounded_and_what_is_lost_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(folder.path(), &TestClock::new());
    let fit = AUDIT_QUEUED_BYTES_MAX as u64 / tell_much(&audit);
    for _ in 1..fit + 5 {
        tell_much(&audit);
    }
    assert!(lock(&audit.lines).waiting.len() <= AUDIT_QUEUED_BYTES_MAX);
    audit.write();
    let told = lines(folder.path(), "audit.jsonl");
    assert_eq!(told.len() as u64, fit + 1);
    let last = told.last().unwrap();
    assert_eq!(
        (&last["what"], &last["calls"]),
        (&"lost lines".into(), &5.into())
    );
}

#[test]
fn full_files_are_set_aside_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let names = || {
        let files = std::fs::read_dir(folder.path().join("audit")).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    // The clock stands still: names differ all the same.
    let audit = audit(folder.path(), &TestClock::new());
    let line = tell_much(&audit);
    let a_file = AUDIT_FILE_BYTES_MAX.div_ceil(line);
    for count in 1..(AUDIT_FILES_MAX as u64 + 1) * a_file + 1 {
        if count % 32 == 0 {
            audit.write();
        }
        tell_much(&audit);
    }
    audit.write();
    let names = names();
    assert_eq!(names.len(), AUDIT_FILES_MAX, "{names:?}");
    assert_eq!(names.last().unwrap(), "audit.jsonl");
    assert!(
        !names.contains(&format!("audit-{START:016}.jsonl")),
        "the oldest is gone"
    );
    for name in &names {
        let length = std::fs::metadata(folder.path().join("audit").join(name))
            .unwrap()
            .len();
        assert!(length < AUDIT_FILE_BYTES_MAX + AUDIT_QUEUED_BYTES_MAX as u64);
    }
}

#[test]
fn a_line_that_a_crash_cut_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    audit(folder.path(), &clock).tell_login(&Authority::owner(), "login");
    std::fs::create_dir(folder.path().join("audit")).unwrap();
    let path = folder.path().join("audit/audit.jsonl");
    std::fs::write(&path, "{\"at\":\"20").unwrap();
    for _ in 0..2 {
        let audit = audit(folder.path(), &clock);
        audit.tell_login(&Authority::owner(), "login");
        audit.write();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let told: Vec<_> = text.lines().collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], "{\"at\":\"20");
    for line in &told[1..] {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["what"], "login");
    }
}

#[test]
fn a_disk_that_fails_loses_lines_and_they_are_counted_when_it_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let disk = Arc::new(Fs::open(folder.path()).unwrap());
    let told = fails.clone();
    let failing = Faulty::new(disk, 0).before_each(move |op, _| {
        match op == Op::Write && told.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let directory: Arc<dyn Directory> = Arc::new(failing);
    let clock: Arc<dyn Clock> = TestClock::new();
    let audit = Audit::new(&directory, &clock);
    for _ in 0..3 {
        audit.tell_login(&Authority::owner(), "login");
        audit.read(&Authority::owner(), Operation::Read, None, 1);
        audit.write();
        assert!(lock(&audit.file).is_failing());
    }
    fails.store(false, Ordering::SeqCst);
    audit.tell_login(&Authority::owner(), "restore");
    audit.write();
    assert!(!lock(&audit.file).is_failing());
    let told = lines(folder.path(), "audit.jsonl");
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["what"], "restore");
    // Two each time, and what said how many were lost.
    assert_eq!(told[1]["what"], "lost lines");
    assert_eq!(told[1]["calls"], 6);
}
