//! [`Credential`]: whose authority a command has: the owner's, or that of a grant by its token.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use carrack_client::{Client, Session};
use carrack_schema::Code;
use clap::Args;

use super::{Failure, Result};

/// Longest file with a token; tokens have some sixty bytes.
const FILE_BYTES_MAX: u64 = 4_096;

#[derive(Args, Clone, Default)]
pub(super) struct Credential {
    /// Token of a grant; others may see it in a list of processes, so rather [env: CARRACK_TOKEN]
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// File that holds the token of a grant
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Credential {
    /// Returns the token, if there is one. A flag wins over the environment.
    pub(super) fn token(&self) -> Result<Option<String>> {
        if let Some(path) = &self.token_file {
            let read = || -> std::io::Result<String> {
                let mut text = String::new();
                let file = std::fs::File::open(path)?;
                file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
                Ok(text)
            };
            let text = read().map_err(|error| {
                let words = format!("the token cannot be read: {error}");
                Failure::new(Code::InvalidArgument, words).about(path.display())
            })?;
            let named = format!("--token-file {}", path.display());
            return some_token(text.into(), &named).map(Some);
        }
        let (text, named) = match &self.token {
            Some(token) => (Some(token.into()), "--token"),
            None => (std::env::var_os("CARRACK_TOKEN"), "CARRACK_TOKEN"),
        };
        text.map(|text| some_token(text, named)).transpose()
    }
}

/// Returns the token that a text holds. One that holds none is refused: without a token a command has the owner's authority.
fn some_token(text: OsString, named: &str) -> Result<String> {
    let text = text.into_string().unwrap_or_default();
    match text.trim() {
        "" => {
            let words = "it is given and holds no token; leave it out to be the owner";
            Err(Failure::new(Code::InvalidArgument, words).about(named))
        }
        token => Ok(token.to_owned()),
    }
}

/// Begins a session: of the token's grant, or of the owner, where only the owner comes in.
pub(super) fn login(client: &Client, token: Option<&str>) -> Session {
    match token {
        None => client.login(""),
        Some(token) => client.restore(token),
    }
}
