//! [`Credential`]: whose authority a command has: the owner's, or that of a grant by its token.

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
            return Ok(Some(text.trim().to_owned()));
        }
        let environment = || std::env::var("CARRACK_TOKEN").ok();
        let token = self.token.clone().or_else(environment);
        Ok(token.filter(|token| !token.is_empty()))
    }
}

/// Begins a session: of the token's grant, or of the owner, where only the owner comes in.
pub(super) fn login(client: &Client, token: Option<&str>) -> Session {
    match token {
        None => client.login(""),
        Some(token) => client.restore(token),
    }
}
