//! Schemas to Rust. The result is checked in, so that building Carrack needs no schema compiler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes `schema/src/wire/*_capnp.rs`, or with `check` compares them with what the schemas give.
pub fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace above xtask")?;
    let schemas = schema_files(&root.join("schema/capnp"))?;
    let checked_in = root.join("schema/src/wire");
    let scratch = root.join("scripts/xtask/target/codegen");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;

    let mut compiler = capnpc_embedded::CompileCommand::new();
    compiler.src_prefix(root.join("schema/capnp"));
    for schema in &schemas {
        compiler.file(schema);
    }
    let request = compiler.compile().map_err(|e| anyhow::anyhow!("{e}"))?;
    capnpc::codegen::CodeGenerationCommand::new()
        .default_parent_module(vec!["wire".into()])
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
    if check && !stale.is_empty() {
        bail!("not what the schemas give: {}; run `cargo xtask codegen` and commit", stale.join(", "));
    }
    Ok(())
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
