//! `config.toml` in the data folder: what a flag or the environment may override.

use std::io::ErrorKind;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use carrack_schema::Code;
use serde::Deserialize;

use super::store_options::StoreOptions;
use super::{Failure, Result};
use crate::store::CONFIG;

/// The settings of `carrack serve`; those of the store count for every command that owns the folder.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Addresses to listen on.
    #[serde(default)]
    pub(super) listen: Vec<String>,
    /// The certificate that TCP ports show; from the file's folder, as the next.
    pub(super) tls_cert: Option<PathBuf>,
    /// Its private key.
    pub(super) tls_key: Option<PathBuf>,
    /// Whether ports that other machines reach may speak plainly.
    #[serde(default)]
    pub(super) insecure: bool,
    /// Threads that serve connections.
    pub(super) workers: Option<usize>,
    /// MiB of blocks that one import keeps in memory before it goes on in a file.
    import_memory_mib: Option<u32>,
    /// Seconds an import waits for a place when as many run as may.
    import_wait_seconds: Option<u32>,
    /// MiB of the disk that imports and backups leave free.
    disk_floor_mib: Option<u64>,
    /// Revisions of a repo that stay readable, the current one among them.
    retention_revs: Option<NonZeroU32>,
    /// Hours in which a revision stays readable, however many came after.
    retention_hours: Option<u32>,
    /// Hours after a deletion within which the bytes are off the disk.
    purge_hours: Option<u32>,
    /// MiB a second that merging in the background may write.
    merge_mib_per_second: Option<NonZeroU64>,
}

impl Config {
    /// Returns what it says of the store.
    pub(super) fn store(&self) -> StoreOptions {
        StoreOptions {
            import_memory_mib: self.import_memory_mib,
            import_wait_seconds: self.import_wait_seconds,
            disk_floor_mib: self.disk_floor_mib,
            retention_revs: self.retention_revs,
            retention_hours: self.retention_hours,
            purge_hours: self.purge_hours,
            merge_mib_per_second: self.merge_mib_per_second,
        }
    }

    /// Reads the file; one that is not there is empty.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let refused = |error: &dyn std::fmt::Display| {
            Failure::new(
                Code::InvalidArgument,
                format!("{}: {error}", path.display()),
            )
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| refused(&error)),
            // What is no folder is refused by whoever opens it, in better words.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(Self::default())
            }
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
        let file = folder.path().join(CONFIG);
        std::fs::write(
            &file,
            "listen = ['127.0.0.1:1']\nworkers = 3\nimport_memory_mib = 4\nretention_revs = 5\n\
             retention_hours = 6\npurge_hours = 7\nmerge_mib_per_second = 8\nimport_wait_seconds = 9\n\
             disk_floor_mib = 10\ntls_cert = 'c'\ntls_key = '/k'\ninsecure = true",
        )
        .unwrap();
        let expected = Config {
            listen: vec!["127.0.0.1:1".into()],
            tls_cert: Some("c".into()),
            tls_key: Some("/k".into()),
            insecure: true,
            workers: Some(3),
            import_memory_mib: Some(4),
            retention_revs: NonZeroU32::new(5),
            retention_hours: Some(6),
            purge_hours: Some(7),
            merge_mib_per_second: NonZeroU64::new(8),
            import_wait_seconds: Some(9),
            disk_floor_mib: Some(10),
        };
        assert_eq!(Config::read(folder.path()).unwrap(), expected);
        for (text, named) in [("listne = []", "listne"), ("retention_revs = 0", "nonzero")] {
            std::fs::write(&file, text).unwrap();
            let words = Config::read(folder.path()).unwrap_err().words;
            assert!(words.contains(named), "{words}");
        }
    }
}
