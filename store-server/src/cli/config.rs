//! `config.toml` in the data folder: what a flag or the environment may override.

use std::path::Path;

use carrack_schema::Code;
use serde::Deserialize;

use super::{Failure, Result};

/// The settings of `carrack serve`.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Addresses to listen on.
    #[serde(default)]
    pub(super) listen: Vec<String>,
    /// Threads that serve connections.
    pub(super) workers: Option<usize>,
    /// MiB of blocks that one import keeps in memory before it goes on in a file.
    pub(super) import_memory_mib: Option<usize>,
}

impl Config {
    /// Reads the file; one that is not there is empty.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.toml");
        let refused = |error: &dyn std::fmt::Display| {
            Failure::new(
                Code::InvalidArgument,
                format!("{}: {error}", path.display()),
            )
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| refused(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(refused(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_its_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(folder.path()).unwrap(), Config::default());
        let file = folder.path().join("config.toml");
        std::fs::write(
            &file,
            "listen = ['127.0.0.1:1']\nworkers = 3\nimport_memory_mib = 4",
        )
        .unwrap();
        let expected = Config {
            listen: vec!["127.0.0.1:1".into()],
            workers: Some(3),
            import_memory_mib: Some(4),
        };
        assert_eq!(Config::read(folder.path()).unwrap(), expected);
        std::fs::write(&file, "listne = []").unwrap();
        assert!(
            Config::read(folder.path())
                .unwrap_err()
                .words
                .contains("listne")
        );
    }
}
