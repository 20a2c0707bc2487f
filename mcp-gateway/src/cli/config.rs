//! [`Config`]: the gateway's options in a file, for one that is started the same way again and again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use carrack_client::{Address, Error};
use carrack_schema::Code;
use serde::{Deserialize, Deserializer};

/// What stands in a file of `--config`; its keys are the options' names.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) data: Option<PathBuf>,
    #[serde(deserialize_with = "address")]
    pub(super) store: Option<Address>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) http: Option<SocketAddr>,
    pub(super) allowed_host: Vec<String>,
    pub(super) allowed_origin: Vec<String>,
    pub(super) tokenless: bool,
    pub(super) read_only: bool,
    pub(super) tools: Option<Vec<String>>,
    pub(super) import_root: Option<PathBuf>,
}

fn address<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(source)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Config {
    /// Reads a file. Paths in it are from the folder that it is in.
    ///
    /// # Errors
    /// If it cannot be read or understood; the words name it.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let refused = |why: &dyn std::fmt::Display| {
            let words = format!("--config {}: {why}", path.display());
            Error::new(Code::InvalidArgument, words)
        };
        let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| refused(&error))?;
        if config.data.is_some() && config.store.is_some() {
            return Err(refused(&"`data` and `store` are two places; name one"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut config.data,
            &mut config.ca_file,
            &mut config.token_file,
            &mut config.import_root,
        ];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_its_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Config::read(&file)
        };
        assert_eq!(read("").unwrap(), Config::default());
        let text = "data = 'd'\nca_file = 'ca.pem'\ntoken_file = '/t'\nhttp = '127.0.0.1:1'\nallowed_host = ['h']\nallowed_origin = ['o']\n\
                    tokenless = true\nread_only = true\ntools = ['at_get']\nimport_root = 'cars'";
        let expected = Config {
            data: Some(folder.path().join("d")),
            store: None,
            ca_file: Some(folder.path().join("ca.pem")),
            token_file: Some("/t".into()),
            http: Some("127.0.0.1:1".parse().unwrap()),
            allowed_host: vec!["h".into()],
            allowed_origin: vec!["o".into()],
            tokenless: true,
            read_only: true,
            tools: Some(vec!["at_get".into()]),
            import_root: Some(folder.path().join("cars")),
        };
        assert_eq!(read(text).unwrap(), expected);
        let store = read("store = '127.0.0.1:7440'").unwrap().store;
        assert_eq!(store, Some("127.0.0.1:7440".parse().unwrap()));
        for (text, named) in [
            ("read-only = true", "read-only"),
            ("store = 'here'", "unix:PATH"),
            ("http = '8080'", "http"),
            ("data = 'd'\nstore = 'unix:s'", "two places"),
        ] {
            let words = read(text).unwrap_err().words().to_owned();
            assert!(
                words.contains(named) && words.contains("gateway.toml"),
                "{words}"
            );
        }
        let words = Config::read(Path::new("/no/such")).unwrap_err();
        assert!(words.words().contains("/no/such"), "{words}");
    }
}
