//! [`StoreOptions`]: what an owner may choose about its store. A flag wins over the environment, that over `config.toml`.
//!
//! Commands have no such flags; where one of them owns the folder, environment and file still count, so that retention
//! does not hang on who happens to come first.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use carrack_schema::Code;
use carrack_schema::limits::{
    DISK_FLOOR_BYTES, IMPORT_MEMORY_BYTES, IMPORT_WAIT_SECONDS_MAX, MERGE_BYTES_PER_SECOND, MIB,
    PURGE_HOURS, RETENTION_HOURS, RETENTION_REVS,
};
use clap::{Args, Parser};

use super::config::Config;
use super::{Failure, Result};
use crate::owner::DataFolder;
use crate::settings::StoreSettings;

// The help says so.
const _: () = assert!(
    IMPORT_MEMORY_BYTES == 64 * MIB
        && IMPORT_WAIT_SECONDS_MAX == 30
        && DISK_FLOOR_BYTES == 256 << 20
        && RETENTION_REVS == 4
        && RETENTION_HOURS == 1
        && PURGE_HOURS == 24
        && MERGE_BYTES_PER_SECOND == 16 << 20
);

/// What may be chosen about a store; nothing leaves it to who is asked next.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreOptions {
    /// MiB of blocks that one import keeps in memory before it goes on in a file [default: 64]
    #[arg(
        long = "import-memory",
        value_name = "MIB",
        env = "CARRACK_IMPORT_MEMORY",
        hide_env_values = true
    )]
    pub(super) import_memory_mib: Option<u32>,
    /// Seconds an import waits for a place when as many run as may [default: 30]
    #[arg(
        long = "import-wait",
        value_name = "SECONDS",
        env = "CARRACK_IMPORT_WAIT",
        hide_env_values = true
    )]
    pub(super) import_wait_seconds: Option<u32>,
    /// MiB of the disk that imports and backups leave free [default: 256]
    #[arg(
        long = "disk-floor",
        value_name = "MIB",
        env = "CARRACK_DISK_FLOOR",
        hide_env_values = true
    )]
    pub(super) disk_floor_mib: Option<u64>,
    /// Revisions of a repo that stay readable, the current one among them [default: 4]
    #[arg(
        long,
        value_name = "N",
        env = "CARRACK_RETENTION_REVS",
        hide_env_values = true
    )]
    pub(super) retention_revs: Option<NonZeroU32>,
    /// Hours in which a revision stays readable, however many came after [default: 1]
    #[arg(
        long,
        value_name = "HOURS",
        env = "CARRACK_RETENTION_HOURS",
        hide_env_values = true
    )]
    pub(super) retention_hours: Option<u32>,
    /// Hours after a deletion within which the bytes are off the disk [default: 24]
    #[arg(
        long,
        value_name = "HOURS",
        env = "CARRACK_PURGE_HOURS",
        hide_env_values = true
    )]
    pub(super) purge_hours: Option<u32>,
    /// MiB a second that merging in the background may write [default: 16]
    #[arg(
        long = "merge-rate",
        value_name = "MIB",
        env = "CARRACK_MERGE_RATE",
        hide_env_values = true
    )]
    pub(super) merge_mib_per_second: Option<NonZeroU64>,
}

/// The environment, read as flags are.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Environment {
    #[command(flatten)]
    options: StoreOptions,
}

impl StoreOptions {
    /// Returns what is chosen about a folder's store, for a command that may own it.
    pub(super) fn of(folder: &DataFolder) -> Result<Self> {
        Ok(Self::environment()?.or(Config::read(folder.path())?.store()))
    }

    /// Returns what the environment says.
    pub(super) fn environment() -> Result<Self> {
        let none: [&str; 0] = [];
        match Environment::try_parse_from(none) {
            Ok(environment) => Ok(environment.options),
            Err(error) => Err(Failure::new(
                Code::InvalidArgument,
                error.to_string().trim_start_matches("error: ").trim_end(),
            )),
        }
    }

    /// Returns the options with those of `below` in the place of what is not given.
    pub(super) fn or(self, below: Self) -> Self {
        Self {
            import_memory_mib: self.import_memory_mib.or(below.import_memory_mib),
            import_wait_seconds: self.import_wait_seconds.or(below.import_wait_seconds),
            disk_floor_mib: self.disk_floor_mib.or(below.disk_floor_mib),
            retention_revs: self.retention_revs.or(below.retention_revs),
            retention_hours: self.retention_hours.or(below.retention_hours),
            purge_hours: self.purge_hours.or(below.purge_hours),
            merge_mib_per_second: self.merge_mib_per_second.or(below.merge_mib_per_second),
        }
    }

    /// Returns the settings, with the defaults for what is not given.
    pub(super) fn settings(&self) -> StoreSettings {
        let default = StoreSettings::default();
        let mib = MIB as u64;
        StoreSettings {
            import_memory_bytes: self
                .import_memory_mib
                .map_or(default.import_memory_bytes, |n| {
                    (n as usize).saturating_mul(MIB)
                }),
            import_wait: self
                .import_wait_seconds
                .map_or(default.import_wait, |n| Duration::from_secs(n.into())),
            disk_floor_bytes: self
                .disk_floor_mib
                .map_or(default.disk_floor_bytes, |n| n.saturating_mul(mib)),
            retention_revs: self
                .retention_revs
                .map_or(default.retention_revs, |n| n.get() as usize),
            retention_hours: self.retention_hours.unwrap_or(default.retention_hours),
            purge_hours: self.purge_hours.unwrap_or(default.purge_hours),
            merge_bytes_per_second: self
                .merge_mib_per_second
                .map_or(default.merge_bytes_per_second, |n| {
                    n.get().saturating_mul(mib)
                }),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins_and_the_rest_is_as_below() {
        let above = StoreOptions {
            retention_revs: NonZeroU32::new(2),
            purge_hours: Some(0),
            ..StoreOptions::default()
        };
        let below = StoreOptions {
            import_memory_mib: Some(3),
            import_wait_seconds: Some(0),
            disk_floor_mib: Some(5),
            retention_revs: NonZeroU32::new(9),
            retention_hours: Some(48),
            purge_hours: Some(7),
            merge_mib_per_second: NonZeroU64::new(5),
        };
        let settings = above.or(below).settings();
        assert_eq!(settings.import_memory_bytes, 3 << 20);
        assert_eq!(settings.import_wait, Duration::ZERO);
        assert_eq!(settings.disk_floor_bytes, 5 << 20);
        assert_eq!((settings.retention_revs, settings.retention_hours), (2, 48));
        assert_eq!(settings.purge_hours, 0);
        assert_eq!(settings.merge_bytes_per_second, 5 << 20);
    }
}
