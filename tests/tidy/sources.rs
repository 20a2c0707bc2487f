//! What stays where in the sources.

use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// Returns the project's own Rust files, generated code left out, by their path below the root.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "wire" && name != "node_modules" {
                collect(&path, files);
            } else if name.ends_with(".rs") && !name.ends_with("_capnp.rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for folder in [
        "schema",
        "store-server",
        "client-lib",
        "mcp-gateway",
        "tests",
        "scripts",
    ] {
        collect(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50, "the walk finds the sources");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (
            path.strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned(),
            text,
        )
    };
    files.into_iter().map(read).collect()
}

/// Returns the lines of a file that are code, numbered from 1; comments are left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{path} begins with no `//!`");
    }
}

#[test]
fn unsafe_code_is_in_one_file() {
    for (path, text) in sources() {
        for (number, line) in code(&text) {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if path != "store-server/segment/src/map.rs" && !path.starts_with("tests/tidy/") {
                assert!(
                    !words.clone().any(|word| word == "unsafe"),
                    "{path}:{number}: {line}"
                );
            }
        }
    }
}

#[test]
fn the_engine_reaches_the_disk_through_its_directory_only() {
    const ENGINE: [&str; 7] = [
        "store-server/repo/src",
        "store-server/repack/src",
        "store-server/segment/src",
        "store-server/src/ingest",
        "store-server/src/catalog",
        "store-server/src/merge",
        "store-server/src/auth",
    ];
    const ENGINE_FILES: [&str; 10] = [
        "store-server/src/store.rs",
        "store-server/src/cursor.rs",
        "store-server/src/chain.rs",
        "store-server/src/delete.rs",
        "store-server/src/open_segments.rs",
        "store-server/src/packer.rs",
        "store-server/src/retention.rs",
        "store-server/src/row.rs",
        "store-server/src/catalog.rs",
        "store-server/src/snapshot.rs",
    ];
    for (path, text) in sources() {
        let in_engine = ENGINE.iter().any(|folder| path.starts_with(folder))
            || ENGINE_FILES.contains(&path.as_str());
        // Tests of the engine may use temporary folders.
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test_file = path.ends_with("/tests.rs") || path.ends_with("/kit.rs");
        if in_engine && path != "store-server/segment/src/directory/fs.rs" && !is_test_file {
            for (number, line) in code(production) {
                assert!(
                    !line.contains("std::fs") && !line.contains("File::open"),
                    "{path}:{number}: {line}"
                );
                assert!(!line.contains("SystemTime::now"), "{path}:{number}: {line}");
            }
        }
    }
}

#[test]
fn the_store_has_no_rpc_type_in_it() {
    for (path, text) in sources() {
        if ["store-server/src/store.rs", "store-server/src/ingest.rs"].contains(&path.as_str()) {
            for (number, line) in code(&text) {
                assert!(
                    !line.contains("capnp_rpc") && !line.contains("store_capnp"),
                    "{path}:{number}: {line}"
                );
            }
        }
    }
}

#[test]
fn nothing_unfinished_is_left() {
    // Written so that this file does not find itself.
    let marks = [
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["TO", "DO"].concat(),
    ];
    for (path, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            for mark in &marks {
                assert!(!line.contains(mark.as_str()), "{path}:{number}: {line}");
            }
        }
    }
}

#[test]
fn every_error_code_is_documented_where_people_look() {
    let readme = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for code in carrack_schema::Code::ALL {
        assert!(
            readme.contains(&format!("`{code}`")),
            "{code} is missing from ARCHITECTURE.md"
        );
    }
}
