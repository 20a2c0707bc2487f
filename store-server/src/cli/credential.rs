//! [`Credential`]: whose authority a command has: the owner's, or that of a grant by its token.

use std::path::PathBuf;

use carrack_client::{Client, Session, token_in, token_in_file};
use carrack_schema::Code;
use clap::Args;

use super::{Failure, Result};

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
            let token = token_in_file(path).map_err(|error| {
                let words = format!("the token cannot be read: {error}");
                Failure::new(Code::InvalidArgument, words).about(path.display())
            })?;
            return match token {
                Some(token) => Ok(Some(token)),
                None => Err(holds_none(&format!("--token-file {}", path.display()))),
            };
        }
        let (text, named) = match &self.token {
            Some(token) => (Some(token.into()), "--token"),
            None => (std::env::var_os("CARRACK_TOKEN"), "CARRACK_TOKEN"),
        };
        let token = |text| token_in(text).ok_or_else(|| holds_none(named));
        text.map(token).transpose()
    }
}

/// Without a token a command has the owner's authority, so one that is given and is none is refused.
fn holds_none(named: &str) -> Failure {
    let words = "it is given and holds no token; leave it out to be the owner";
    Failure::new(Code::InvalidArgument, words).about(named)
}

/// Begins a session: of the token's grant, or of the owner, where only the owner comes in.
pub(super) fn login(client: &Client, token: Option<&str>) -> Session {
    match token {
        None => client.login(""),
        Some(token) => client.restore(token),
    }
}
