//! `cargo xtask check-schema`: schemas only grow, and keep to the rules of `EVOLUTION.md`.
//!
//! The compiled schemas are looked at, not their text: comments, order and spacing are free. What a release published is
//! compared member by member ([`compare`]); what needs no history holds at any time ([`rules`]).

mod compare;
mod model;
mod rules;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::model::Schema;

/// Where the schemas are, below the root, today and in every release.
const SCHEMAS: &str = "schema/capnp";

/// Checks today's schemas, and compares them with those of `against`, or of the last release if none is named.
pub fn run(against: Option<&str>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("no workspace above xtask")?;
    let today = Schema::compile(&root.join(SCHEMAS))?;
    let mut broken = rules::check(&today);
    let release = match against {
        Some(name) => Some(name.to_owned()),
        None => last_release(root)?,
    };
    match &release {
        None => println!("no release yet (a tag v0.1.0 or later): nothing to compare with"),
        Some(name) => {
            let published = published(root, name)?;
            let since = compare::breaks(&Schema::compile(&published)?, &today);
            broken.extend(
                since
                    .into_iter()
                    .map(|what| format!("since {name}: {what}")),
            );
        }
    }
    for what in &broken {
        println!("{what}");
    }
    ensure!(
        broken.is_empty(),
        "{} against the rules; EVOLUTION.md has them, with the ways that are open",
        broken.len()
    );
    println!("{} declarations keep to the rules", today.nodes().len());
    Ok(())
}

/// Returns the tag of the newest release that today's commit comes from.
fn last_release(root: &Path) -> Result<Option<String>> {
    let tags = git(root, &["tag", "--list", "v*", "--merged", "HEAD"])?;
    let tags = String::from_utf8(tags)?;
    let released = tags.lines().filter_map(|tag| Some((version(tag)?, tag)));
    Ok(released
        .filter(|(version, _)| *version >= [0, 1, 0])
        .max()
        .map(|(_, tag)| tag.to_owned()))
}

/// Returns the numbers of a release's tag; none of a pre-release's, which promises nothing.
fn version(tag: &str) -> Option<[u32; 3]> {
    let numbers = tag
        .strip_prefix('v')?
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<_>>>()?;
    numbers.try_into().ok()
}

/// Writes the schemas of a commit to a scratch folder, and returns that.
fn published(root: &Path, commit: &str) -> Result<PathBuf> {
    let scratch = root.join("scripts/xtask/target/check-schema");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    let listed = git(
        root,
        &["ls-tree", "--name-only", commit, &format!("{SCHEMAS}/")],
    )?;
    let listed = String::from_utf8(listed)?;
    let schemas: Vec<_> = listed
        .lines()
        .filter(|path| path.ends_with(".capnp"))
        .collect();
    ensure!(!schemas.is_empty(), "{commit} has no schema in {SCHEMAS}");
    for path in schemas {
        let name = Path::new(path)
            .file_name()
            .context("a schema without a name")?;
        fs::write(
            scratch.join(name),
            git(root, &["show", &format!("{commit}:{path}")])?,
        )?;
    }
    Ok(scratch)
}

fn git(root: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .context("git does not run")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}
