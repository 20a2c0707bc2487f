//! What a command is about, as a person names it: a repo by DID or handle, with or without `at://` in front.

use std::fmt;
use std::str::FromStr;

use carrack_client::{Repo, Session};
use carrack_schema::names::RepoName;
use carrack_schema::{Nsid, RecordPath, Tid};
use clap::Args;

/// A repo, or one of its collections: `REPO[/COLLECTION]`.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) repo: RepoName,
    pub(super) collection: Option<Nsid>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("at://").unwrap_or(text);
        if bare.matches('/').count() > 1 {
            return Err(format!(
                "`{text}` names a record; print it with `carrack get at://{bare}`"
            ));
        }
        let (repo, collection) = match bare.split_once('/') {
            None => (bare, None),
            Some((repo, collection)) => (repo, Some(collection)),
        };
        Ok(Self {
            repo: repo
                .parse()
                .map_err(|error| format!("{error}; write DID or HANDLE"))?,
            collection: collection
                .map(|nsid| nsid.parse().map_err(|error| format!("{error}")))
                .transpose()?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at://{}", self.repo)?;
        self.collection
            .as_ref()
            .map_or(Ok(()), |collection| write!(f, "/{collection}"))
    }
}

/// One record: `at://REPO/COLLECTION/RKEY`.
#[derive(Clone, Debug)]
pub(super) struct RecordTarget {
    pub(super) repo: RepoName,
    pub(super) path: RecordPath,
}

impl FromStr for RecordTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("at://").unwrap_or(text);
        let Some((repo, path)) = bare.split_once('/') else {
            return Err(format!(
                "`{text}` names no record; `carrack list {bare}` shows what is below it"
            ));
        };
        Ok(Self {
            repo: repo
                .parse()
                .map_err(|error| format!("{error}; write at://DID/COLLECTION/RKEY"))?,
            path: path
                .parse()
                .map_err(|error| format!("{error}; write at://DID/COLLECTION/RKEY"))?,
        })
    }
}

impl fmt::Display for RecordTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at://{}/{}", self.repo, self.path)
    }
}

/// At which revision to read a repo.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct At {
    /// At this revision, as long as the store keeps it
    #[arg(long, value_name = "REV")]
    rev: Option<Tid>,
}

impl At {
    /// Names the repo at the revision that was asked for.
    pub(super) fn repo(self, session: &Session, repo: &RepoName) -> Repo {
        let repo = session.store().repo(&repo.to_string());
        match self.rev {
            None => repo,
            Some(rev) => repo.at(&rev.to_string()),
        }
    }
}
