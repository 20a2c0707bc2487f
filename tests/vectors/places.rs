//! Where vectors are.

use std::path::PathBuf;

use serde_json::Value;

use crate::tally::{Tally, say};

fn here(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// Returns the path of a vector file in the project.
pub(crate) fn committed(file: &str) -> PathBuf {
    here("fixtures/interop").join(file)
}

/// Returns the path of a file among the fixtures beside the project; says that `family` is skipped if it is not there.
pub(crate) fn beside(family: &str, file: &str) -> Option<PathBuf> {
    let path = here("../../shared/fixtures").join(file);
    if path.exists() {
        return Some(path);
    }
    say(&format!(
        "{family}: skipped, there are no fixtures beside the project"
    ));
    None
}

pub(crate) fn bytes(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn text(path: PathBuf) -> String {
    String::from_utf8(bytes(path)).unwrap()
}

pub(crate) fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&bytes(path)).unwrap()
}

/// Returns the elements of a JSON list in a file.
pub(crate) fn list(path: PathBuf) -> Vec<Value> {
    match json(path) {
        Value::Array(list) => list,
        other => panic!("not a list: {other}"),
    }
}

#[test]
fn copies_are_as_published() {
    let family = "copies of vectors";
    let Some(originals) = beside(family, "interop") else {
        return;
    };
    let mut folders = vec![PathBuf::new()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(committed("").join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let file = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(file);
            } else if file != *"README.md" {
                let copy = bytes(entry.path());
                assert!(copy == bytes(originals.join(&file)), "{}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count}");
    say(&format!("{family}: {count} files are as published"));
}

#[test]
fn other_projects_have_the_same_vectors() {
    let family = "vectors that others copied";
    let Some(root) = beside(family, "interop") else {
        return;
    };
    let ours = root.join("atproto-interop-tests");
    let indigo = root.join("indigo/atproto");
    let packages = root.join("atproto-packages/packages");
    let mut same = 0;
    let pairs = [
        (indigo.join("repo/mst/testdata"), "mst"),
        (indigo.join("repo/testdata"), "firehose"),
        (indigo.join("atcrypto/testdata"), "crypto"),
        (indigo.join("atdata/testdata"), "data-model"),
        (indigo.join("syntax/testdata"), "syntax"),
        (packages.join("repo/tests"), "firehose"),
        (packages.join("lex/lex-cbor/tests"), "data-model"),
    ];
    for (folder, name) in pairs {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let original = ours.join(name).join(entry.file_name());
            // An older list of languages, of which Carrack parses none.
            if !original.exists() || entry.file_name() == "language_syntax_valid.txt" {
                continue;
            }
            let same_text = bytes(entry.path()) == bytes(original.clone());
            // White space is a matter of taste.
            let is_json = original.extension().is_some_and(|name| name == "json");
            assert!(
                same_text || is_json && json(entry.path()) == json(original),
                "{}",
                entry.path().display()
            );
            same += 1;
        }
    }
    say(&format!(
        "{family}: {same} files are the same, and so run once"
    ));
    assert_eq!(same, 32);
}

/// Who reads the files of a folder, or why nobody does. The first folder that fits counts.
const FOLDERS: [(&str, Result<(), &str>); 13] = [
    ("atproto-interop-tests/lexicon", Err(NO_LEXICONS)),
    ("atproto-interop-tests", Ok(())),
    ("atproto-packages", Ok(())),
    ("dasl-testing", Ok(())),
    ("mst-test-suite.tar.gz", Ok(())),
    ("indigo/atproto/syntax", Ok(())),
    ("indigo/atproto/atcrypto", Ok(())),
    ("indigo/atproto/atdata", Ok(())),
    ("indigo/atproto/identity", Ok(())),
    ("indigo/atproto/repo", Ok(())),
    (
        "indigo/atproto/auth",
        Err("OAuth and permission scopes: Carrack logs in nowhere"),
    ),
    ("indigo/atproto/lexicon", Err(NO_LEXICONS)),
    ("indigo", Ok(())),
];

const NO_LEXICONS: &str = "an import judges no record by a Lexicon, RC3";

#[test]
fn every_file_is_run_or_has_a_reason() {
    let family = "files beside the project that some family reads";
    let Some(root) = beside(family, "interop") else {
        return;
    };
    let mut tally = Tally::new(family);
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let words = ["README.md", "LICENSE", "LICENSE-CC0", "LICENSE-MIT"];
            if words.contains(&&*name) || [".gitignore", "gen_keys.py"].contains(&&*name) {
                continue;
            }
            let file = path.strip_prefix(&root).unwrap();
            let row = FOLDERS.iter().find(|(folder, _)| file.starts_with(folder));
            match row
                .unwrap_or_else(|| panic!("who reads {}?", file.display()))
                .1
            {
                Ok(()) => tally.pass(),
                Err(reason) => tally.set_aside(reason),
            }
        }
    }
    tally.finish(104, 39);
}
