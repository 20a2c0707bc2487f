//! Rules about the code itself that no compiler checks: who may see whom, and what stays where.

mod layering;
mod sources;

use std::path::{Path, PathBuf};

/// Returns the project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
