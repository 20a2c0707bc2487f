//! `TOOLS.md` says what the definitions say.

use std::path::Path;
use std::process::Command;

#[test]
fn tools_md_is_what_the_definitions_make() {
    let output = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
        .arg("tools")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let made = String::from_utf8(output.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../TOOLS.md");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        made == kept,
        "TOOLS.md is stale; in the project's folder: cargo run -p carrack-gateway -- tools > TOOLS.md"
    );
}
