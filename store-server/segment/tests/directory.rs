//! What every directory does, as the trait says: one body, run on the real disk, in memory, and behind faults that never
//! come.

use std::io;
use std::sync::Arc;

use carrack_segment::directory::faulty::Faulty;
use carrack_segment::directory::mem::Mem;
use carrack_segment::{Directory, File, Fs};

/// Runs a body once for each implementation.
fn each(body: impl Fn(&str, Arc<dyn Directory>)) {
    let folder = tempfile::tempdir().unwrap();
    let fs = |name: &str| Arc::new(Fs::open(folder.path().join(name)).unwrap());
    body("Fs", fs("plain"));
    body("Mem", Arc::new(Mem::new()));
    body("Faulty over Fs", Arc::new(Faulty::new(fs("faulty"), 1)));
    body(
        "Faulty over Mem",
        Arc::new(Faulty::new(Arc::new(Mem::new()), 1)),
    );
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

fn write(dir: &dyn Directory, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = dir.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

#[test]
fn files_hold_what_is_written() {
    each(|door, dir| {
        let file = dir.create("a").unwrap();
        assert_eq!(file.len().unwrap(), 0, "{door}");
        assert_eq!(dir.map("a").unwrap().len(), 0, "{door}");
        let file = dir.create("b").unwrap();
        file.write_at(b"xyz", 2).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 5, "{door}");
        let mut out = [9; 5];
        file.read_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"\0\0xyz", "{door}: a gap reads as zeros");
        let short = file.read_at(&mut out, 1);
        assert_eq!(kind(short), io::ErrorKind::UnexpectedEof, "{door}");
        file.read_at(&mut [], 5).unwrap();
        file.write_at(b"Y", 3).unwrap();
        file.set_len(4).unwrap();
        file.set_len(6).unwrap();
        let second = dir.open("b").unwrap();
        let mut out = [9; 6];
        second.read_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"\0\0xY\0\0", "{door}: lengthened by zeros");
        second.write_at(b"!", 0).unwrap();
        let mut first = [0];
        file.read_at(&mut first, 0).unwrap();
        assert_eq!(&first, b"!", "{door}: handles of one file see one content");
    });
}

#[test]
fn names_are_taken_given_and_freed() {
    each(|door, dir| {
        dir.create_dir("f").unwrap();
        dir.create_dir("f").unwrap();
        assert_eq!(kind(dir.open("f/a")), io::ErrorKind::NotFound, "{door}");
        assert_eq!(kind(dir.map("f/a")), io::ErrorKind::NotFound, "{door}");
        assert_eq!(kind(dir.unlink("f/a")), io::ErrorKind::NotFound, "{door}");
        assert_eq!(kind(dir.create("g/a")), io::ErrorKind::NotFound, "{door}");
        assert_eq!(
            kind(dir.create_dir("g/h")),
            io::ErrorKind::NotFound,
            "{door}"
        );
        write(&*dir, "f/a", b"x");
        assert_eq!(
            kind(dir.create("f/a")),
            io::ErrorKind::AlreadyExists,
            "{door}"
        );
        assert_eq!(
            kind(dir.create_dir("f/a")),
            io::ErrorKind::AlreadyExists,
            "{door}"
        );
        assert_eq!(
            kind(dir.create("f")),
            io::ErrorKind::AlreadyExists,
            "{door}"
        );
        dir.unlink("f/a").unwrap();
        assert_eq!(kind(dir.open("f/a")), io::ErrorKind::NotFound, "{door}");
        drop(dir.create("f/a").unwrap());
        dir.sync_dir("f").unwrap();
        dir.sync_dir("").unwrap();
        assert_eq!(kind(dir.sync_dir("g")), io::ErrorKind::NotFound, "{door}");
    });
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    each(|door, dir| {
        for name in ["", "../a", "/a", "a//b", "a/.", "a\0"] {
            let refused = io::ErrorKind::InvalidInput;
            assert_eq!(kind(dir.open(name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.create(name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.map(name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.unlink(name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.create_dir(name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.lock(name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.rename("a", name)), refused, "{door} `{name}`");
            assert_eq!(kind(dir.rename(name, "a")), refused, "{door} `{name}`");
            if !name.is_empty() {
                assert_eq!(kind(dir.list(name)), refused, "{door} `{name}`");
                assert_eq!(kind(dir.sync_dir(name)), refused, "{door} `{name}`");
            }
        }
        assert!(dir.list("").unwrap().is_empty(), "{door}");
    });
}

#[test]
fn a_rename_replaces_and_what_was_open_stays_good() {
    each(|door, dir| {
        dir.create_dir("f").unwrap();
        let new = write(&*dir, "new", b"new");
        let old = write(&*dir, "f/a", b"old");
        let map = dir.map("f/a").unwrap();
        dir.rename("new", "f/a").unwrap();
        assert_eq!(dir.list("").unwrap(), [""; 0], "{door}");
        assert_eq!(dir.list("f").unwrap(), ["a"], "{door}");
        assert_eq!(&*dir.map("f/a").unwrap(), b"new", "{door}");
        assert_eq!(&*map, b"old", "{door}");
        let mut out = [0; 3];
        old.read_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"old", "{door}");
        new.read_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"new", "{door}");
        assert_eq!(
            kind(dir.rename("new", "b")),
            io::ErrorKind::NotFound,
            "{door}"
        );
        assert_eq!(
            kind(dir.rename("f/a", "g/a")),
            io::ErrorKind::NotFound,
            "{door}"
        );
        dir.rename("f/a", "f/a").unwrap();
        dir.unlink("f/a").unwrap();
        new.read_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"new", "{door}: an unlinked file is readable");
    });
}

#[test]
fn a_listing_is_of_one_folder_ascending_and_of_files() {
    each(|door, dir| {
        for folder in ["f", "f/g", "h"] {
            dir.create_dir(folder).unwrap();
        }
        for name in ["z", "f/b", "f/a", "f/g/c", "fa"] {
            drop(dir.create(name).unwrap());
        }
        assert_eq!(dir.list("").unwrap(), ["fa", "z"], "{door}");
        assert_eq!(dir.list("f").unwrap(), ["a", "b"], "{door}");
        assert_eq!(dir.list("f/g").unwrap(), ["c"], "{door}");
        assert!(dir.list("h").unwrap().is_empty(), "{door}");
        assert_eq!(kind(dir.list("i")), io::ErrorKind::NotFound, "{door}");
    });
}

#[test]
fn a_lock_is_exclusive_until_dropped_and_leaves_its_file() {
    each(|door, dir| {
        let held = dir.lock("lock").unwrap();
        assert_eq!(kind(dir.lock("lock")), io::ErrorKind::WouldBlock, "{door}");
        drop(dir.lock("other").unwrap());
        drop(held);
        drop(dir.lock("lock").unwrap());
        assert_eq!(dir.list("").unwrap(), ["lock", "other"], "{door}");
    });
}

#[test]
fn one_file_may_be_used_by_several_threads() {
    each(|door, dir| {
        let file: Arc<dyn File> = Arc::from(dir.create("a").unwrap());
        std::thread::scope(|scope| {
            for i in 0..8_u8 {
                let file = file.clone();
                scope.spawn(move || file.write_at(&[i; 100], u64::from(i) * 100).unwrap());
            }
        });
        let mut out = [9; 800];
        file.read_at(&mut out, 0).unwrap();
        let expected: Vec<u8> = (0..8).flat_map(|i| [i; 100]).collect();
        assert_eq!(&out[..], expected, "{door}");
    });
}
