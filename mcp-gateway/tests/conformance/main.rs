//! The conformance suite's fixtures stay in the tests: `run.sh` beside this file is where they are used.
//!
//! That an optimised build refuses them is a `compile_error!` in `src/fixtures.rs`.

use std::fs;
use std::path::Path;

/// Without the feature, nothing of the fixtures is in the program: neither their names nor their texts.
#[cfg(not(feature = "conformance-fixtures"))]
#[test]
fn an_ordinary_build_has_no_fixtures() {
    let binary = fs::read(env!("CARGO_BIN_EXE_carrack-mcp")).unwrap();
    let has = |name: &str| {
        binary
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    // What is in it is found.
    assert!(has("at_overview"));
    for name in ["test_simple_text", "test://static-text", "fixtures.json"] {
        assert!(!has(name), "{name}");
    }
}

/// No other feature, and so not the default ones, turns the fixtures on.
#[test]
fn no_feature_leads_to_the_fixtures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lines = 0;
    for manifest in [
        "Cargo.toml",
        "../Cargo.toml",
        "../tests/Cargo.toml",
        "../client-lib/Cargo.toml",
        "../store-server/Cargo.toml",
    ] {
        let text = fs::read_to_string(root.join(manifest)).unwrap();
        lines += text
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains("conformance-fixtures"))
            .count();
    }
    assert_eq!(
        lines, 1,
        "the feature is named where it is made, and nowhere else"
    );
}
