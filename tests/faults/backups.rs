//! A backup meets crashes and errors at every step of its I/O, on either side: what it leaves is the whole copy or none, one that
//! was acknowledged is whole, the store it was made of is as before, and the next backup into the same folder is whole.

use std::sync::Arc;

use carrack_schema::Code;
use carrack_segment::Directory;
use carrack_segment::directory::faulty::{Failure, Fault, Faulty, Op, Plan, Span, Step};
use carrack_segment::directory::mem::Mem;
use carrack_store::{BackupFolder, Error, Store};

use crate::crash::{recover, sample};
use crate::model::{Model, STRICT, Version};
use crate::operation::{Account, Operation};
use crate::report::Report;
use crate::workload::Workload;
use crate::worlds::{DISK_CODES, Worlds};
use crate::{DEFAULT_SIZES, open, takes_all};

/// Bytes that come at a time.
const CHUNK_BYTES: usize = 3_000;

const PLANS: [(Span, Fault); 5] = [
    (Span::Once, Fault::Crash),
    (Span::Once, Fault::Fail(Failure::Broken)),
    (Span::Once, Fault::Short(Failure::Full)),
    (Span::Onwards, Fault::Fail(Failure::Full)),
    (Span::Onwards, Fault::Short(Failure::Broken)),
];

/// Returns a store's disk with revisions, several segments, a handle and a deletion on it, and settings.
fn source() -> (Mem, Model) {
    let (one, two) = (Version::first(20, 51), Version::first(9, 52));
    let newer = one.remarked(1);
    let known = Account {
        document: true,
        status: None,
    };
    let before = [
        Operation::import_as(&one, known),
        Operation::import(&two),
        Operation::compact(false),
        Operation::import(&newer),
        Operation::delete_record(&one, false),
    ];
    let (disk, model) = Workload::before("a backup", before).prepare();
    let config = disk.create("config.toml").expect("the disk works");
    config.write_at(b"workers = 3\n", 0).expect("it works");
    config.sync().expect("it works");
    disk.sync_dir("").expect("it works");
    (disk, model)
}

/// Makes a backup as the command does, without the way between.
fn back_up(store: &Store, target: impl Directory + 'static) -> Result<(), Error> {
    let mut folder = BackupFolder::open(Arc::new(target))?;
    let there = folder.segments()?;
    let backup = store.backup()?;
    for file in &backup.files {
        let bytes = file.bytes.len() as u64;
        if file.is_segment() && there.contains(&(file.name.clone(), bytes)) {
            folder.keep(&file.name)?;
            continue;
        }
        folder.begin(&file.name, bytes)?;
        for chunk in file.bytes.chunks(CHUNK_BYTES) {
            folder.write(chunk)?;
        }
    }
    folder.finish()
}

/// Says whether a folder is the whole copy, or no store, which it must not be if the backup was acknowledged.
fn judge(disk: &Mem, worlds: &Worlds, is_acknowledged: bool) -> Result<bool, String> {
    let files = disk.list("").map_err(|error| error.to_string())?;
    let has = |name| files.iter().any(|file| file == name);
    let is_begun = has("backup.partial");
    let is_whole = has("catalog.redb") && !is_begun;
    let opened = open(disk.copy(), DEFAULT_SIZES, worlds.now());
    if is_whole {
        let config = disk.map("config.toml").map_err(|error| error.to_string())?;
        if &*config != b"workers = 3\n" {
            return Err("other settings".into());
        }
        let store = opened.map_err(|error| format!("a copy does not open: {}", error.chain()))?;
        worlds.clone().compare(&store, STRICT)?;
    } else if is_acknowledged {
        return Err("an acknowledged backup is none".into());
    } else {
        // Where nothing was written yet, nor said so, the folder is as an empty one.
        let is_empty = disk.files().iter().all(|(name, _)| name == "lock");
        match opened {
            Err(error) if is_begun && error.chain().contains("a backup that did not end") => {
                if error.code() != Code::Damaged {
                    return Err(error.chain());
                }
            }
            Ok(_) if is_empty => {}
            Ok(_) => return Err("half a copy opens".into()),
            Err(error) => return Err(error.chain()),
        }
        let again = disk.copy();
        let store = open(source().0, DEFAULT_SIZES, worlds.now()).map_err(|e| e.chain())?;
        back_up(&store, again.clone()).map_err(|e| format!("the next backup: {}", e.chain()))?;
        judge(&again.crash(1), worlds, true).map_err(|words| format!("the next one: {words}"))?;
    }
    Ok(is_whole)
}

/// Returns the steps of a backup on its folder, and on the store's.
fn undisturbed(disk: &Mem, now: i64) -> (Vec<Step>, Vec<Step>) {
    let from = Faulty::new(Arc::new(disk.copy()), 0);
    let to = Faulty::new(Arc::new(Mem::new()), 0);
    let store = open(from.clone(), DEFAULT_SIZES, now).expect("the disk works");
    let opening = from.steps();
    back_up(&store, to.clone()).expect("the disks work");
    let made = from.log().split_off(opening);
    (to.log(), made)
}

fn is_the_disks(answer: &Result<(), Error>) -> Result<bool, String> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if DISK_CODES.contains(&error.code()) => Ok(false),
        Err(error) => Err(format!("{}: {}", error.code(), error.chain())),
    }
}

/// Says whether a step has its turn with a plan: each step fails in some way, and each way at some steps.
fn is_due(number: usize, plan: usize) -> bool {
    takes_all() || (number + plan).is_multiple_of(2)
}

#[test]
fn a_folder_that_fails_at_any_step_holds_the_whole_copy_or_none() {
    let mut report = Report::new("backups, the folder fails");
    let (disk, model) = source();
    let worlds = Worlds::one(model);
    let (steps, _) = undisturbed(&disk, worlds.now());
    let mut due = sample(&steps, |_| true);
    // And when all is done.
    due.extend(steps.last().map(|step| (usize::MAX, step)));
    for (number, (at, step)) in due.into_iter().enumerate() {
        for (i, (span, fault)) in PLANS.into_iter().enumerate() {
            if !is_due(number, i) {
                continue;
            }
            let label = format!(
                "step {at} ({:?} {}), {fault:?} {span:?}",
                step.op, step.name
            );
            report.case(&label, |report| {
                let store = open(disk.copy(), DEFAULT_SIZES, worlds.now()).expect("it works");
                let target = Mem::new();
                let faulty = Faulty::new(Arc::new(target.clone()), at as u64);
                faulty.plan(Plan { at, span, fault });
                let is_done = is_the_disks(&back_up(&store, faulty.clone()))?;
                report.count("acknowledged", usize::from(is_done));
                if let Some(promise) = faulty.broken_promises().first() {
                    return Err(promise.clone());
                }
                let mut images = vec![("killed", target.copy())];
                images.extend((0..4).map(|seed| ("crashed", target.crash(seed))));
                for (how, image) in images {
                    let is_whole = judge(&image, &worlds, is_done);
                    let is_whole = is_whole.map_err(|words| format!("{how}: {words}"))?;
                    report.count(if is_whole { "whole" } else { "none" }, 1);
                }
                worlds.clone().compare(&store, STRICT)?;
                Ok(())
            });
        }
    }
    assert!(report.counted("none") > 100);
    assert!(report.counted("acknowledged") > 0);
    report.finish();
}

#[test]
fn a_store_that_fails_at_any_step_loses_nothing_and_gives_no_half_copy() {
    let mut report = Report::new("backups, the store fails");
    let (disk, model) = source();
    let worlds = Worlds::one(model);
    let (_, steps) = undisturbed(&disk, worlds.now());
    let opening = {
        let from = Faulty::new(Arc::new(disk.copy()), 0);
        let _store = open(from.clone(), DEFAULT_SIZES, worlds.now()).expect("it works");
        from.steps()
    };
    for (number, (at, step)) in sample(&steps, |_| true).into_iter().enumerate() {
        for (i, (span, fault)) in PLANS.into_iter().enumerate() {
            if !is_due(number, i) {
                continue;
            }
            let label = format!(
                "step {at} ({:?} {}), {fault:?} {span:?}",
                step.op, step.name
            );
            report.case(&label, |report| {
                let from = disk.copy();
                let faulty = Faulty::new(Arc::new(from.clone()), at as u64);
                let store = open(faulty.clone(), DEFAULT_SIZES, worlds.now()).expect("it works");
                let at = opening + at;
                faulty.plan(Plan { at, span, fault });
                let target = Mem::new();
                let is_done = is_the_disks(&back_up(&store, target.clone()))?;
                let is_whole = judge(&target, &worlds, is_done)?;
                report.count(if is_whole { "whole" } else { "none" }, 1);
                drop(store);
                // The probe and the tidiness of the crash suite know nothing of settings.
                let image = from.crash(at as u64);
                image.unlink("config.toml").map_err(|e| e.to_string())?;
                image.sync_dir("").map_err(|e| e.to_string())?;
                recover(image, worlds.clone())
            });
        }
    }
    assert!(report.counted("none") > 10);
    report.finish();
}

#[test]
fn a_folder_that_is_a_store_is_not_written_to() {
    let (disk, model) = source();
    let store = open(disk.copy(), DEFAULT_SIZES, model.now).expect("it works");
    let (other, _) = source();
    let before = other.files();
    let refused = back_up(&store, other.clone()).expect_err("it is a store");
    assert_eq!(refused.code(), Code::InvalidArgument, "{}", refused.chain());
    assert_eq!(other.files(), before);
    // Nor into one that another backup is made in.
    let target = Mem::new();
    let _held = BackupFolder::open(Arc::new(target.clone())).expect("it is empty");
    let refused = back_up(&store, target).expect_err("it is held");
    assert_eq!(refused.code(), Code::Overloaded);
}

#[test]
fn a_folder_with_anything_of_a_store_is_left_as_it_is() {
    let (disk, model) = source();
    let store = open(disk.copy(), DEFAULT_SIZES, model.now).expect("it works");
    let remove = |disk: &Mem, name: &str| disk.unlink(name).expect("it is there");
    // A store that lost its catalog, and settings that somebody wrote.
    for (lost, words) in [
        (&["catalog.redb", "config.toml"][..], "lost its catalog"),
        (&["catalog.redb"], "config.toml"),
    ] {
        let folder = disk.copy();
        lost.iter().for_each(|name| remove(&folder, name));
        let before = folder.files();
        let refused = back_up(&store, folder.clone()).expect_err("it is no backup's");
        assert_eq!(refused.code(), Code::InvalidArgument, "{}", refused.chain());
        assert!(refused.chain().contains(words), "{}", refused.chain());
        assert_eq!(folder.files(), before);
    }
}

#[test]
fn a_backup_that_failed_before_its_first_file_is_no_store() {
    let target = Mem::new();
    drop(BackupFolder::open(Arc::new(target.clone())).expect("it is empty"));
    for image in [target.copy(), target.crash(1), target.crash(2)] {
        let before = image.files();
        let refused = open(image.clone(), DEFAULT_SIZES, 0).map(drop);
        let refused = refused.expect_err("it is none");
        assert_eq!(refused.code(), Code::Damaged);
        assert!(refused.chain().contains("`carrack backup`"), "{refused}");
        assert_eq!(image.files(), before);
    }
}

#[test]
fn settings_of_a_backup_that_did_not_end_are_not_in_the_next() {
    let (disk, model) = source();
    let target = Mem::new();
    let mut half = BackupFolder::open(Arc::new(target.clone())).expect("it is empty");
    half.begin("config.toml", 2).expect("it works");
    half.write(b"\n\n").expect("it works");
    // The next file ends it.
    half.begin("catalog.redb", 1).expect("it works");
    drop(half);
    assert!(target.map("config.toml").is_ok());
    disk.unlink("config.toml").expect("it is there");
    let store = open(disk, DEFAULT_SIZES, model.now).expect("it works");
    back_up(&store, target.clone()).expect("it works");
    assert!(target.map("config.toml").is_err());
    open(target, DEFAULT_SIZES, model.now).expect("it is a store");
}

#[test]
fn a_segment_that_is_there_and_wrong_or_not_durable_is_not_trusted() {
    let (disk, model) = source();
    let worlds = Worlds::one(model);
    let store = open(disk.copy(), DEFAULT_SIZES, worlds.now()).expect("it works");
    let segments = disk.list("segments").expect("it works");
    let last = segments.len() - 1;
    for wrong in [Some(0), Some(last), None] {
        let target = Mem::new();
        let half = BackupFolder::open(Arc::new(target.clone())).expect("it is empty");
        for (number, file) in segments.iter().enumerate() {
            let name = format!("segments/{file}");
            let mut bytes = disk.map(&name).expect("it is there").to_vec();
            if wrong == Some(number) {
                // Of the same length and name, and its header is well.
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            // As a file that is linked from a folder which was never synced.
            let file = target.create(&name).expect("it works");
            file.write_at(&bytes, 0).expect("it works");
        }
        // And what goes by the name of another.
        let other = segments[0].replace(".cseg", "");
        let other = format!("segments/{}0.cseg", &other[..other.len() - 1]);
        let bytes = disk
            .map(&format!("segments/{}", segments[0]))
            .expect("it is there");
        let file = target.create(&other).expect("it works");
        file.write_at(&bytes, 0).expect("it works");
        let there = half.segments().expect("it works");
        assert_eq!(there.len(), segments.len() - usize::from(wrong.is_some()));
        drop(half);
        back_up(&store, target.clone()).expect("it works");
        for image in [target.copy(), target.crash(1), target.crash(2)] {
            assert!(judge(&image, &worlds, true).unwrap_or_else(|words| panic!("{words}")));
            let store = open(image, DEFAULT_SIZES, worlds.now()).expect("it is a store");
            let report = store.check(false, &mut |_| true).expect("it works");
            assert_eq!(report.findings, 0);
        }
    }
}

#[test]
fn a_segment_that_may_only_be_read_is_copied_anew() {
    let (disk, model) = source();
    let store = open(disk.copy(), DEFAULT_SIZES, model.now).expect("it works");
    let segments = disk.list("segments").expect("it works");
    let name = format!("segments/{}", segments[0]);
    let target = Mem::new();
    drop(BackupFolder::open(Arc::new(target.clone())).expect("it is empty"));
    let bytes = disk.map(&name).expect("it is there");
    let file = target.create(&name).expect("it works");
    file.write_at(&bytes, 0).expect("it works");
    drop(file);
    let read_only = Faulty::new(Arc::new(target.clone()), 0).before_each(move |op, file| {
        match op == Op::Open && file == name {
            true => Err(std::io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    });
    back_up(&store, read_only).expect("it works");
    let worlds = Worlds::one(model);
    for image in [target.copy(), target.crash(1), target.crash(2)] {
        assert_eq!(judge(&image, &worlds, true), Ok(true));
    }
}

#[test]
fn a_long_file_is_made_durable_while_it_comes() {
    const MIB: u64 = 1 << 20;
    let segment = "segments/01ARZ3NDEKTSV4RRFFQ69G5FAV.cseg";
    let syncs = |log: &[Step]| {
        let is_sync = |step: &&Step| step.op == Op::Sync && step.name.ends_with(".cseg");
        log.iter().filter(is_sync).count()
    };
    let begin = || {
        let to = Faulty::new(Arc::new(Mem::new()), 0);
        let mut folder = BackupFolder::open(Arc::new(to.clone())).expect("it is empty");
        folder.begin(segment, 100 * MIB).expect("it works");
        (to, folder)
    };
    let chunk = vec![7; MIB as usize];
    let (to, mut folder) = begin();
    let most = (0..100)
        .map(|_| {
            folder.write(&chunk).expect("it works");
            syncs(&to.log())
        })
        .collect::<Vec<_>>();
    assert_eq!((most[30], most[31], most[63], most[99]), (0, 1, 2, 3));
    // One that fails is the end of the file.
    let (to, mut folder) = begin();
    let at = to.steps() + 32;
    let (span, fault) = (Span::Once, Fault::Fail(Failure::Broken));
    to.plan(Plan { at, span, fault });
    let refused = (0..40).find_map(|_| folder.write(&chunk).err());
    assert_eq!(refused.expect("the sync fails").code(), Code::Unavailable);
    assert_eq!(syncs(&to.log()), 1);
    folder.write(&chunk).expect_err("it has ended");
    assert_eq!(to.broken_promises(), [""; 0]);
}

#[test]
fn what_no_copy_has_is_refused() {
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let folder = || BackupFolder::open(Arc::new(Mem::new())).expect("it is empty");
    for name in [
        "",
        "lock",
        "/etc/passwd",
        "../catalog.redb",
        "segments/../catalog.redb",
        "segments/x.cseg",
        "segments/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "audit/audit.jsonl",
    ] {
        let refused = folder().begin(name, 1).expect_err(name);
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
    let segment = format!("segments/{id}.cseg");
    type Try<'a> = &'a dyn Fn(&mut BackupFolder) -> Result<(), Error>;
    let refusals: [Try<'_>; 3] = [
        &|folder| folder.write(b"of no file"),
        &|folder| {
            folder
                .begin(&segment, 2)
                .and_then(|()| folder.write(b"abc"))
        },
        &|folder| {
            folder.begin(&segment, 2)?;
            folder.write(b"a")?;
            folder.begin("catalog.redb", 1)
        },
    ];
    for refusal in refusals {
        let refused = refusal(&mut folder()).expect_err("it is odd");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    // An end without a catalog, or behind one.
    for files in [&[segment.as_str()][..], &["catalog.redb", &segment]] {
        let disk = Mem::new();
        let mut folder = BackupFolder::open(Arc::new(disk.clone())).expect("it is empty");
        for file in files {
            folder.begin(file, 0).expect("it is a name");
        }
        let refused = folder.finish().expect_err("it is odd");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(disk.map("catalog.redb").is_err());
    }
}

#[test]
fn a_segment_that_is_missing_or_short_is_named_and_nothing_becomes_a_copy() {
    for cut in [true, false] {
        let (disk, model) = source();
        let segments = disk.list("segments").expect("it works");
        let name = format!("segments/{}", segments[0]);
        let store = open(disk.clone(), DEFAULT_SIZES, model.now).expect("it works");
        if cut {
            disk.unlink(&name).expect("it is there");
            disk.create(&name).expect("it is not");
        } else {
            disk.unlink(&name).expect("it is there");
        }
        let target = Mem::new();
        let error = back_up(&store, target.clone()).expect_err("a file is missing");
        assert_eq!(error.code(), Code::Damaged);
        assert!(error.chain().contains(&name), "{}", error.chain());
        assert!(target.map("catalog.redb").is_err());
    }
}
