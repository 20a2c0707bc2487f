//! Schemas to Rust. The result is checked in, so that building Carrack needs no schema compiler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where schemas are, where their Rust goes, and the module it is in.
struct Family {
    schemas: &'static str,
    rust: &'static str,
    module: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { schemas: "schema/capnp", rust: "schema/src/wire", module: "wire" },
    Family { schemas: "tests/bench/src/rpc", rust: "tests/bench/src/rpc", module: "rpc" },
];

/// Writes `*_capnp.rs` for every schema, or with `check` compares them with what the schemas give.
pub fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace above xtask")?;
    let mut stale = Vec::new();
    for family in &FAMILIES {
        stale.extend(generate(root, family, check)?);
    }
    if check && !stale.is_empty() {
        bail!("not what the schemas give: {}; run `cargo xtask codegen` and commit", stale.join(", "));
    }
    Ok(())
}

/// Returns the files that are not what the schemas give; without `check` they are now.
fn generate(root: &Path, family: &Family, check: bool) -> Result<Vec<String>> {
    let schemas = schema_files(&root.join(family.schemas))?;
    let checked_in = root.join(family.rust);
    let scratch = root.join("scripts/xtask/target/codegen").join(family.module);
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;

    let mut compiler = capnpc_embedded::CompileCommand::new();
    compiler.src_prefix(root.join(family.schemas));
    for schema in &schemas {
        compiler.file(schema);
    }
    let request = compiler.compile().map_err(|e| anyhow::anyhow!("{e}"))?;
    capnpc::codegen::CodeGenerationCommand::new()
        .default_parent_module(vec![family.module.into()])
        .output_directory(&scratch)
        .run(&request[..])
        .map_err(|e| anyhow::anyhow!("{e}"))?;

    let mut stale = Vec::new();
    for schema in &schemas {
        let stem = schema.file_stem().and_then(|s| s.to_str()).context("a schema without a name")?;
        let name = format!("{stem}_capnp.rs");
        let fresh = fs::read(scratch.join(&name))?;
        if fs::read(checked_in.join(&name)).ok().as_deref() != Some(&fresh[..]) {
            if !check {
                fs::write(checked_in.join(&name), &fresh)?;
            }
            stale.push(name);
        }
    }
    Ok(stale)
}

/// Returns the schemas of a folder by name.
pub fn schema_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "capnp") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
