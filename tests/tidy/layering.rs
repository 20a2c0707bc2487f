//! The direction between crates, and what the portable gateway must not pull in.

use std::collections::BTreeSet;
use std::process::Command;

use super::root;

/// Which of our crates each may see when it is used. The drawing of this table is in ARCHITECTURE.md.
const MAY_SEE: [(&str, &[&str]); 8] = [
    ("carrack-schema", &[]),
    ("carrack-repo", &["carrack-schema"]),
    ("carrack-segment", &["carrack-schema"]),
    (
        "carrack-repack",
        &["carrack-repo", "carrack-schema", "carrack-segment"],
    ),
    ("carrack-client", &["carrack-schema"]),
    (
        "carrack-store",
        &[
            "carrack-client",
            "carrack-repack",
            "carrack-repo",
            "carrack-schema",
            "carrack-segment",
        ],
    ),
    // carrack-store only behind the feature `embedded`: see the next test.
    (
        "carrack-gateway",
        &["carrack-client", "carrack-schema", "carrack-store"],
    ),
    // The kit is an oracle of its own: of Carrack it knows the vocabulary.
    ("carrack-tests", &["carrack-schema"]),
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn crates_see_only_what_is_below_them() {
    let metadata = cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<_> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        MAY_SEE.iter().map(|(name, _)| *name).collect(),
        "every crate has its row"
    );
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = MAY_SEE.iter().find(|(row, _)| *row == name).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let seen = dependency["name"].as_str().unwrap();
            // Tests may look anywhere.
            let is_test = dependency["kind"] == "dev";
            if seen.starts_with("carrack-") && !is_test {
                assert!(allowed.contains(&seen), "{name} must not see {seen}");
            }
        }
    }
}

#[test]
fn the_portable_gateway_pulls_in_nothing_native() {
    let tree = cargo(&[
        "tree",
        "-p",
        "carrack-gateway",
        "--no-default-features",
        "--features",
        "wasi",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--offline",
        "--target",
        "all",
    ]);
    let crates: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        crates.contains("carrack-client"),
        "the tree is that of the gateway: {tree}"
    );
    for native in [
        "axum",
        "reqwest",
        "ring",
        "redb",
        "memmap2",
        "carrack-store",
        "carrack-segment",
    ] {
        assert!(!crates.contains(native), "{native} came in");
    }
}
