//! check, compact, stats, inspect, delete.

use std::collections::BTreeSet;
use std::path::PathBuf;

use carrack_schema::time::rfc3339;
use carrack_segment::{Fs, PageCache, Part, Segment};
use kit::{Changes, Order};
use serde_json::Value;

use super::serve::Serving;
use super::{DAMAGED, FAILED, NOT_FOUND, OK, Place, REFUSED, Run, USAGE, command, repo};

impl Place {
    fn import(&self, cars: &[Vec<u8>]) {
        let files: Vec<String> = (0..)
            .zip(cars)
            .map(|(i, car)| self.file(&format!("{i}.car"), car))
            .collect();
        let mut arguments = vec!["import"];
        arguments.extend(files.iter().map(String::as_str));
        self.run(&arguments).ends(OK);
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.data().join("segments")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    fn the_segment(&self) -> PathBuf {
        let [file] = &self.segments()[..] else {
            panic!("{:?}", self.segments());
        };
        file.clone()
    }

    fn stats(&self) -> Value {
        self.run(&["stats", "--json"]).ends(OK).objects().remove(0)
    }

    /// Checks the store and returns the findings and the totals.
    fn check(&self, arguments: &[&str]) -> (Vec<Value>, Value) {
        let run = self.run(&[&["check", "--json"], arguments].concat());
        let mut objects = run.objects();
        let totals = objects.pop().unwrap();
        assert_eq!(totals["findings"], objects.len(), "{}", run.text());
        run.ends(if objects.is_empty() { OK } else { DAMAGED });
        (objects, totals)
    }

    /// Returns the files of the data folder that hold these bytes.
    fn files_with(&self, needle: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.data()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_type().unwrap().is_file() {
                    let bytes = std::fs::read(entry.path()).unwrap();
                    if bytes.windows(needle.len()).any(|w| w == needle.as_bytes()) {
                        found.push(entry.path());
                    }
                }
            }
        }
        found
    }
}

fn open(file: &std::path::Path) -> Segment {
    try_open(file).unwrap()
}

fn try_open(file: &std::path::Path) -> carrack_segment::Result<Segment> {
    let folder = Fs::open(file.parent().unwrap()).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    Segment::open(&folder, name, &PageCache::new(1 << 20))
}

/// Returns where a part of a file is.
fn position(file: &[u8], part: &[u8]) -> usize {
    let mut places = file.windows(part.len()).enumerate();
    places.find(|(_, window)| *window == part).unwrap().0
}

fn flip(file: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn what_is_sound_is_found_sound_after_imports_merges_and_cold_compaction() {
    let place = Place::new();
    let first = repo(400, 21);
    let second = first.next_version(&first.random_edits(
        3,
        Changes {
            added: 20,
            changed: 20,
            deleted: 20,
        },
    ));
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/pds-made");
    let names = ["diff-a-full", "diff-since-a", "mid", "varied", "emptied"];
    let mut cars = vec![first.car(Order::Pds), second.car(Order::PreOrder)];
    cars.push(repo(30, 22).car(Order::Pds));
    cars.extend(names.map(|name| std::fs::read(format!("{fixtures}/{name}.car")).unwrap()));
    place.import(&cars);
    let exported = |place: &Place| place.run(&["export", first.did.as_str()]).ends(OK).stdout;
    let before = exported(&place);
    let stats = place.stats();
    assert_eq!(stats["repos"], 6);
    assert_eq!(stats["revisions"], 8);
    assert_eq!(stats["segmentsCold"], 0);

    let (_, full) = place.check(&[]);
    assert_eq!((&full["repos"], &full["revisions"]), (&6.into(), &8.into()));
    assert!(
        full["records"].as_u64() >= stats["records"].as_u64(),
        "{full}"
    );
    let (_, quick) = place.check(&["--quick"]);
    assert_eq!((&quick["repos"], &quick["records"]), (&6.into(), &0.into()));

    let compacted = place
        .run(&["compact", "--json"])
        .ends(OK)
        .objects()
        .remove(0);
    assert_eq!(compacted["after"]["segments"], 1);
    assert_eq!(compacted["before"]["segments"], stats["segments"]);
    let (_, merged) = place.check(&[]);
    assert_eq!(
        (&merged["segments"], &merged["revisions"]),
        (&1.into(), &full["revisions"])
    );

    let run = place.run(&["compact", "--cold"]).ends(OK);
    assert!(
        run.text().contains("after:  1 segments (1 cold)"),
        "{}",
        run.text()
    );
    let cold = place.stats();
    assert_eq!(
        (&cold["segmentsWarm"], &cold["segmentsCold"]),
        (&0.into(), &1.into())
    );
    assert!(
        cold["bytesSegments"].as_u64() < compacted["after"]["bytesSegments"].as_u64(),
        "{cold} {compacted}"
    );
    let file = place.the_segment();
    assert_eq!(cold["bytesSegments"], file.metadata().unwrap().len());
    let (_, again) = place.check(&[]);
    assert_eq!(again["records"], merged["records"]);
    assert_eq!(exported(&place), before);
    let run = place.run(&["check"]).ends(OK);
    let expected = format!(
        "1 segments, 6 repos at 8 revisions, {} records checked; no damage\n",
        again["records"]
    );
    assert_eq!(run.text(), expected);

    place.run(&["compact", "did:plc:nobody"]).ends(NOT_FOUND);
    place.run(&["compact", "alice"]).ends(USAGE);
}

#[test]
fn a_damaged_page_names_the_repos_it_touches_and_the_others_are_read() {
    let place = Place::new();
    let repos: Vec<kit::Repo> = (31..35).map(|seed| repo(1_500, seed)).collect();
    let cars: Vec<Vec<u8>> = repos.iter().map(|repo| repo.car(Order::Pds)).collect();
    place.import(&cars);
    place.run(&["compact"]).ends(OK);
    let file = place.the_segment();
    let name = format!("segments/{}", file.file_name().unwrap().to_str().unwrap());
    let sound = std::fs::read(&file).unwrap();
    let segment = open(&file);
    let pages = segment.page_count();
    let mut named_some = 0;
    for page in 0..pages {
        let at = position(&sound, &segment.page(page).unwrap());
        flip(&file, at + 40);
        let modes = [&[][..], &["--quick"]];
        for mode in &modes[usize::from(page % 3 != 0)..] {
            let (findings, totals) = place.check(mode);
            assert_eq!(findings.len(), 1, "{findings:?}");
            let finding = &findings[0];
            assert_eq!(finding["file"], name.as_str());
            assert_eq!(finding["section"], format!("page {page}"));
            assert_eq!(finding["reposCount"], totals["reposDamaged"]);
            let named: BTreeSet<&str> = finding["repos"]
                .as_array()
                .unwrap()
                .iter()
                .map(|did| did.as_str().unwrap())
                .collect();
            let of_nodes = finding["readable"].as_str().unwrap().contains("proofs");
            named_some += usize::from(named.len() < repos.len());
            for repo in &repos {
                let did = repo.did.as_str();
                let run = place.run(&["list", did, "--json"]);
                let is_touched = named.contains(did) && !of_nodes;
                let run = run.ends(if is_touched { DAMAGED } else { OK });
                if !is_touched {
                    assert_eq!(run.objects().len(), repo.records.len(), "{did}");
                }
            }
        }
        std::fs::write(&file, &sound).unwrap();
    }
    assert!(named_some > 0, "every page is of every repo: {pages} pages");
    assert_eq!(place.check(&[]).1["findings"], 0);
    // A repo that is damaged stays where it is when the others are merged, and the command says so.
    flip(&file, position(&sound, &segment.page(0).unwrap()));
    let run = place.run(&["compact"]).ends(DAMAGED);
    assert!(run.stderr.contains("carrack check"), "{}", run.stderr);
    assert_eq!(place.segments().len(), 2);
    // Imported again, it does not need what is damaged.
    let named = place.check(&[]).0[0]["repos"].as_array().unwrap().clone();
    let again = repos
        .iter()
        .filter(|repo| named.contains(&repo.did.as_str().into()));
    let cars: Vec<Vec<u8>> = again.map(|repo| repo.car(Order::Pds)).collect();
    assert!(!cars.is_empty() && cars.len() < repos.len());
    place.import(&cars);
    let (_, totals) = place.check(&[]);
    assert_eq!(
        (&totals["findings"], &totals["repos"]),
        (&0.into(), &4.into())
    );
    place.run(&["compact"]).ends(OK);
}

#[test]
fn every_other_part_that_is_damaged_is_named() {
    let place = Place::new();
    let repos = [repo(200, 41), repo(200, 42)];
    place.import(&repos.each_ref().map(|repo| repo.car(Order::Pds)));
    place.run(&["compact"]).ends(OK);
    let file = place.the_segment();
    let sound = std::fs::read(&file).unwrap();
    let dictionary = open(&file).dictionary().unwrap().unwrap().to_vec();
    let dids = [repos[0].did.to_string(), repos[1].did.to_string()];
    let both = {
        let mut both = dids.to_vec();
        both.sort();
        both
    };
    let footer = sound.len() - 100;
    for (at, section) in [
        (position(&sound, &dictionary) + 9, "dictionary"),
        (20, "file"),
        (footer, "file"),
        (sound.len() - 60, "file"),
    ] {
        flip(&file, at);
        let (findings, _) = place.check(&["--quick"]);
        assert_eq!(findings.len(), 1, "{section} at {at}: {findings:?}");
        assert_eq!(findings[0]["section"], section, "at {at}");
        assert_eq!(findings[0]["repos"], serde_json::json!(both), "at {at}");
        std::fs::write(&file, &sound).unwrap();
    }
    // An index is of one revision of one repo.
    let is_index = |at: &usize| {
        flip(&file, *at);
        let segment = try_open(&file);
        let is_index = segment.is_ok_and(|segment| {
            let faults = segment.check();
            faults
                .iter()
                .any(|fault| matches!(fault.part, Part::Index(_)))
        });
        flip(&file, *at);
        is_index
    };
    let at = (0..sound.len()).rev().step_by(64).find(is_index).unwrap();
    flip(&file, at);
    for mode in [&[][..], &["--quick"]] {
        let (findings, totals) = place.check(mode);
        assert_eq!(
            (&findings[0]["section"], findings.len()),
            (&"index".into(), 1)
        );
        assert_eq!(totals["reposDamaged"], 1);
        for did in &dids {
            let is_touched = findings[0]["repos"][0] == did.as_str();
            let run = place.run(&["list", did]);
            run.ends(if is_touched { DAMAGED } else { OK });
        }
    }
    flip(&file, at);
    std::fs::remove_file(&file).unwrap();
    let (findings, totals) = place.check(&[]);
    assert_eq!(findings[0]["section"], "file");
    assert_eq!(totals["reposDamaged"], 2);
    let run = place.run(&["check"]).ends(DAMAGED);
    assert!(
        run.text()
            .ends_with("1 damaged parts, which touch 2 repos\n"),
        "{}",
        run.text()
    );
    std::fs::write(&file, &sound).unwrap();
    assert_eq!(place.check(&[]).1["findings"], 0);
}

#[test]
fn a_catalog_that_cannot_be_opened_is_damage_and_the_words_say_what_to_do() {
    let place = Place::new();
    place.import(&[repo(20, 51).car(Order::Pds)]);
    let segments = place.segments();
    let catalog = place.data().join("catalog.redb");
    // The roots are in the first page.
    let mut bytes = std::fs::read(&catalog).unwrap();
    bytes[..400].fill(0xa5);
    std::fs::write(&catalog, bytes).unwrap();
    let run = place.run(&["check"]).ends(DAMAGED);
    assert!(
        run.stderr.contains("backup") && run.stderr.contains("carrack inspect"),
        "{}",
        run.stderr
    );
    assert_eq!(place.segments(), segments);
    // A store that is only not there cannot be checked.
    let mut check = super::bare();
    Run::of(check.env("CARRACK_STORE", "127.0.0.1:1").arg("check")).ends(FAILED);
}

#[test]
fn inspect_accounts_for_every_byte_and_refuses_what_is_no_segment() {
    let place = Place::new();
    let (one, two) = (repo(900, 61), repo(40, 62));
    place.import(&[one.car(Order::Pds), two.car(Order::Pds)]);
    for cold in [false, true] {
        let compact: &[&str] = if cold {
            &["compact", "--cold"]
        } else {
            &["compact"]
        };
        place.run(compact).ends(OK);
        let file = place.the_segment();
        let file = file.to_str().unwrap();
        let run = place
            .run(&["inspect", file, "--json", "--pages", "--shapes"])
            .ends(OK);
        let object = &run.objects()[0];
        let number = |pointer: &str| object.pointer(pointer).unwrap().as_u64().unwrap();
        let length = std::fs::metadata(file).unwrap().len();
        let sections = number("/sections/header")
            + number("/sections/recordPages/bytes")
            + number("/sections/nodePages/bytes")
            + number("/sections/dictionary/bytes")
            + number("/sections/indexes/bytes")
            + number("/sections/footer/bytes")
            + number("/sections/trailer");
        assert_eq!(
            (number("/bytes"), sections),
            (length, length),
            "cold: {cold}"
        );
        assert_eq!(number("/rows"), 940);
        let parts = ["heaps", "entries", "columns", "frames"];
        let parts = parts.map(|part| number(&format!("/recordPageBytes/{part}")));
        assert_eq!(
            parts.iter().sum::<u64>(),
            number("/sections/recordPages/plainBytes")
        );
        assert_eq!(number("/sections/compressedPages") > 0, cold);
        let dids: Vec<&Value> = object["extents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["did"])
            .collect();
        assert!(dids.contains(&&Value::from(one.did.as_str())), "{dids:?}");
        let rows = |list: &str, key: &str| -> u64 {
            let list = object[list].as_array().unwrap();
            list.iter().map(|each| each[key].as_u64().unwrap()).sum()
        };
        assert_eq!(rows("pages", "rows"), 940);
        let shaped = rows("shapes", "rows") + number("/rowsAsTheyAre") + number("/rowsMissing");
        assert_eq!(shaped, 940);
        let shapes = object["shapes"].to_string();
        assert!(
            shapes.contains(r#"["createdAt","time (.000Z)"]"#),
            "{shapes}"
        );

        let text = place
            .run(&["inspect", file, "--pages", "--shapes"])
            .ends(OK);
        assert!(
            text.text().contains("  $type  = app.bsky"),
            "{}",
            text.text()
        );
        assert!(text.text().contains("\npage 0   "), "{}", text.text());
    }
    let file = place.the_segment();
    let sound = std::fs::read(&file).unwrap();
    let run = |name: &str, bytes: &[u8]| place.run(&["inspect", &place.file(name, bytes)]);
    run("text.cseg", b"This is no segment.").ends(REFUSED);
    run("empty.cseg", b"").ends(REFUSED);
    let mut newer = sound.clone();
    newer[8] = 99;
    run("newer.cseg", &newer).ends(REFUSED);
    run("cut.cseg", &sound[..sound.len() - 8]).ends(DAMAGED);
    let mut flipped = sound.clone();
    flipped[5_000] ^= 1;
    let flipped = run("flipped.cseg", &flipped).ends(DAMAGED);
    assert!(flipped.stderr.contains("page 0"), "{}", flipped.stderr);
    assert!(
        flipped.text().contains(one.did.as_str()),
        "the rest is shown"
    );
    place.run(&["inspect", "no/such/file.cseg"]).ends(NOT_FOUND);
    assert!(!place.folder.path().join("no").exists());
}

/// Returns the URIs of records, and of each words that are in no other.
fn words(place: &Place, did: &str) -> Vec<(String, String)> {
    let listed = place.run(&["list", did, "--json"]).ends(OK).objects();
    let texts = listed.iter().filter_map(|object| {
        let text = object["value"]["text"].as_str()?;
        let words: String = text.chars().skip(3).take(40).collect();
        let uri = object["uri"].as_str()?.to_owned();
        (words.chars().count() == 40).then_some((uri, words))
    });
    texts.collect()
}

#[test]
fn what_is_purged_is_off_the_disk_and_what_is_only_deleted_is_hidden() {
    let place = Place::new();
    let (keep, lose) = (repo(300, 71), repo(300, 72));
    place.import(&[keep.car(Order::Pds), lose.car(Order::Pds)]);
    let texts = words(&place, keep.did.as_str());
    let [(uri, words_of_it), (other, words_of_other), ..] = &texts[..] else {
        panic!("{texts:?}");
    };
    for words in [words_of_it, words_of_other] {
        assert_eq!(place.files_with(words).len(), 1, "`{words}`");
    }

    // Nobody can be asked here.
    let refused = place.run(&["delete", uri]).ends(USAGE);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    place.run(&["get", uri]).ends(OK);

    let deleted = place.run(&["delete", uri, "--yes"]).ends(OK);
    let start =
        format!("deleted {uri}: hidden at every revision, the bytes are off the disk by 20");
    assert!(deleted.text().starts_with(&start), "{}", deleted.text());
    place.run(&["get", uri]).ends(NOT_FOUND);
    place.run(&["delete", uri, "--yes"]).ends(NOT_FOUND);
    let purged = &place
        .run(&["delete", other, "--yes", "--purge", "--json"])
        .ends(OK)
        .objects()[0];
    assert_eq!(
        (&purged["records"], &purged["purged"], &purged["purgeBy"]),
        (&1.into(), &true.into(), &Value::Null)
    );
    // The bytes of both went.
    for words in [words_of_it, words_of_other] {
        assert_eq!(place.files_with(words), Vec::<PathBuf>::new(), "`{words}`");
    }
    assert_eq!(place.stats()["pendingPurges"], 0);
    // The tree still gives the signed root.
    assert_eq!(place.check(&[]).1["findings"], 0);

    let (_, words) = words(&place, lose.did.as_str()).swap_remove(0);
    assert_eq!(place.files_with(&words).len(), 1);
    let run = place
        .run(&["delete", lose.did.as_str(), "--yes", "--purge"])
        .ends(OK);
    assert_eq!(
        run.text(),
        format!(
            "deleted {} (300 records): hidden at every revision, the bytes are off the disk\n",
            lose.did
        )
    );
    for gone in [&words, &lose.did.to_string()] {
        let files = place.files_with(gone);
        // The catalog's file keeps what a transaction freed until it is written over.
        let segments = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "cseg"));
        assert_eq!(segments.count(), 0, "`{gone}` in {files:?}");
    }
    assert_eq!(place.files_with(&words), Vec::<PathBuf>::new());
    place
        .run(&["delete", lose.did.as_str(), "--yes"])
        .ends(NOT_FOUND);
    let listed = place.run(&["list", keep.did.as_str(), "--json"]).ends(OK);
    assert_eq!(listed.objects().len(), 298);
    place
        .run(&["delete", "did:plc:a/app.bsky.feed.post", "--yes"])
        .ends(USAGE);
    place
        .run(&["delete", "nobody.example", "--yes"])
        .ends(NOT_FOUND);
}

/// Runs a command whose stdin is a terminal, types an answer, and returns how it ended.
fn on_terminal(place: &Place, arguments: &[&str], answer: &str) -> Run {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    let name = ptsname(&keyboard, Vec::new()).unwrap();
    let terminal = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    rustix::io::write(&keyboard, answer.as_bytes()).unwrap();
    Run::of(command(&place.data()).args(arguments).stdin(terminal))
}

#[test]
fn on_a_terminal_only_a_yes_deletes() {
    let place = Place::new();
    let repo = repo(20, 74);
    place.import(&[repo.car(Order::Pds)]);
    let did = repo.did.as_str();
    for answer in ["n\n", "\n", "yesterday\n"] {
        let run = on_terminal(&place, &["delete", did], answer).ends(FAILED);
        let question =
            format!("Delete the repo {did} with 20 records and all of its revisions? [y/N] ");
        assert_eq!(run.stderr, format!("{question}nothing was deleted\n"));
        assert_eq!(place.stats()["repos"], 1);
    }
    let uri = format!("at://{did}/{}", repo.records[3].path);
    let run = on_terminal(&place, &["delete", &uri], "y\n").ends(OK);
    assert!(
        run.stderr
            .starts_with(&format!("Delete the record {uri}? ")),
        "{}",
        run.stderr
    );
    on_terminal(&place, &["delete", did], "yes\n").ends(OK);
    on_terminal(&place, &["delete", did], "yes\n").ends(NOT_FOUND);
    assert_eq!(place.stats()["repos"], 0);
}

#[test]
fn a_handle_names_what_to_delete_and_to_compact() {
    let place = Place::new();
    let repo = repo(20, 73);
    let car = place.file("a.car", &repo.car(Order::Pds));
    let document = place.file("a.json", repo.did_doc.as_bytes());
    place
        .run(&["import", &car, "--did-doc", &document])
        .ends(OK);
    let repos = place.run(&["repos", "--json"]).ends(OK).objects();
    let handle = repos[0]["handle"].as_str().unwrap().to_owned();
    place.run(&["compact", &handle]).ends(OK);
    let uri = format!("at://{handle}/{}", repo.records[0].path);
    let deleted = &place
        .run(&["delete", &uri, "-y", "--json"])
        .ends(OK)
        .objects()[0];
    assert_eq!(deleted["did"], repo.did.as_str());
    assert_eq!(deleted["path"], repo.records[0].path.to_string());
    place.run(&["delete", &handle, "-y"]).ends(OK);
    assert_eq!(place.stats()["repos"], 0);
}

#[test]
fn a_running_server_does_the_work() {
    let place = Place::new();
    let mut server = Serving::start(&place, &[]);
    server.address();
    let repo = repo(200, 81);
    place.import(&[repo.car(Order::Pds)]);
    assert_eq!(place.check(&[]).1["records"], 200);
    place.run(&["compact", "--cold"]).ends(OK);
    assert_eq!(place.stats()["segmentsCold"], 1);
    // What was sound when the server opened it is read again.
    let file = place.the_segment();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    // Written in place: the server has it mapped.
    use std::os::unix::fs::FileExt;
    let open = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&file)
        .unwrap();
    let mut byte = [0];
    for at in [5_000, length as u64 - 100] {
        open.read_exact_at(&mut byte, at).unwrap();
        open.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert_eq!(place.check(&["--quick"]).0.len(), 1, "at {at}");
        open.write_all_at(&byte, at).unwrap();
    }
    place
        .run(&["delete", repo.did.as_str(), "--yes", "--purge"])
        .ends(OK);
    assert_eq!(place.stats()["segments"], 0);
    assert_eq!(server.end(rustix::process::Signal::TERM), OK);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let place = Place::new();
    let repo = repo(20, 91);
    place.import(&[repo.car(Order::Pds)]);
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_micros()).unwrap()
    };
    let mut paths = repo.records.iter().map(|record| record.path.to_string());
    let mut hours = |environment: Option<&str>, expected: i64| {
        let uri = format!("at://{}/{}", repo.did, paths.next().unwrap());
        let mut delete = command(&place.data());
        if let Some(hours) = environment {
            delete.env("CARRACK_PURGE_HOURS", hours);
        }
        let by = |start: i64| rfc3339(start + expected * 3_600_000_000);
        let before = by(now());
        let run = Run::of(delete.args(["delete", &uri, "--yes", "--json"])).ends(OK);
        let purge_by = run.objects()[0]["purgeBy"].as_str().unwrap().to_owned();
        assert!(
            before <= purge_by && purge_by <= by(now()),
            "{purge_by}, not in {expected} h"
        );
    };
    hours(None, 24);
    std::fs::write(place.data().join("config.toml"), "purge_hours = 7").unwrap();
    hours(None, 7);
    hours(Some("5"), 5);
    let mut server = Serving::start_in(&place, &[], &[("CARRACK_PURGE_HOURS", "5")]);
    server.address();
    hours(None, 5);
    assert_eq!(server.end(rustix::process::Signal::TERM), OK);
    let flags = ["--purge-hours", "3"];
    let mut server = Serving::start_in(&place, &flags, &[("CARRACK_PURGE_HOURS", "5")]);
    server.address();
    hours(Some("9"), 3);
    assert_eq!(server.end(rustix::process::Signal::TERM), OK);
    let mut wrong = command(&place.data());
    let run = Run::of(wrong.env("CARRACK_RETENTION_REVS", "0").arg("stats")).ends(USAGE);
    assert!(
        run.stderr.contains("CARRACK_RETENTION_REVS") || run.stderr.contains("retention-revs"),
        "{}",
        run.stderr
    );
}

/// Puts an N in the place of every number, and of a segment's name.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split(' ').map(|word| {
            let is_id = word.len() == 26 && !word.contains(|c: char| c.is_lowercase());
            if is_id { "ID" } else { word }
        });
        let mut in_number = false;
        for c in words.collect::<Vec<_>>().join(" ").chars() {
            if !c.is_ascii_digit() {
                out.push(c);
            } else if !in_number {
                out.push('N');
            }
            in_number = c.is_ascii_digit();
        }
        out.push('\n');
    }
    out
}

#[test]
fn what_people_read_is_as_recorded() {
    let place = Place::new();
    let repo = repo(50, 75);
    place.import(&[repo.car(Order::Pds)]);
    let file = place.the_segment();
    let inspected = place.run(&["inspect", file.to_str().unwrap()]).ends(OK);
    let inspected = without_numbers(inspected.text()).replace(repo.did.as_str(), "DID");
    let did = without_numbers(repo.did.as_str());
    let rev = without_numbers(&repo.rev.to_string());
    let inspected = inspected
        .replace(did.trim(), "DID")
        .replace(rev.trim(), "REV");
    insta::assert_snapshot!("inspect", inspected);
    let uri = format!("at://{}/{}", repo.did, repo.records[0].path);
    place.run(&["delete", &uri, "--yes"]).ends(OK);
    let stats = place.run(&["stats"]).ends(OK);
    insta::assert_snapshot!("stats", without_numbers(stats.text()));
    let compacted = place.run(&["compact"]).ends(OK);
    insta::assert_snapshot!("compact", without_numbers(compacted.text()));
    let file = place.the_segment();
    flip(&file, 5_000);
    let checked = place.run(&["check"]).ends(DAMAGED);
    let name = file.file_name().unwrap().to_str().unwrap();
    let checked = checked
        .text()
        .replace(name, "ID.cseg")
        .replace(repo.did.as_str(), "DID");
    insta::assert_snapshot!("check", without_numbers(&checked));
}
