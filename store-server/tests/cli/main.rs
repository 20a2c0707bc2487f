//! The `carrack` command as its user meets it: the real binary, its output, its exit codes.

mod backup;
mod commands;
mod crash;
mod grants;
mod help;
mod hostile;
mod keeping;
#[path = "../../../tests/hostile/peer.rs"]
mod peer;
mod proofs;
mod query;
mod reading;
mod serve;
mod side_by_side;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Exit codes, as the command's help lists them.
pub(crate) const OK: i32 = 0;
pub(crate) const FAILED: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const REFUSED: i32 = 3;
pub(crate) const DAMAGED: i32 = 4;
pub(crate) const NOT_FOUND: i32 = 5;

/// A data folder and files to import, gone at the end.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs `carrack --data DATA` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(command(&self.data()).args(arguments))
    }
}

/// Returns `carrack --data DATA`, with nothing of the tester's own settings.
pub(crate) fn command(data: &Path) -> Command {
    let mut command = bare();
    command.arg("--data").arg(data);
    command
}

pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carrack"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARRACK_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a command ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        Self {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr,
        }
    }

    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stderr: {}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Returns stdout as JSON objects, one a line.
    pub(crate) fn objects(&self) -> Vec<serde_json::Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub(crate) fn repo(records: usize, seed: u64) -> kit::Repo {
    kit::RepoSpec {
        records,
        seed,
        ..kit::RepoSpec::default()
    }
    .build()
}
