//! [`Operation`]: what can be asked of a store, and what it makes of a model.
//!
//! A new ability is a variant here: [`Operation::run`] asks it of the store, [`Operation::expect`] says what the store
//! holds afterwards, or which error it must answer. Both are short, and neither knows of faults.

use std::fmt;
use std::sync::Arc;

use carrack_schema::{Cid, Code, Did, Tid};
use carrack_store::{DeleteTarget, Error, ImportRequest};

use crate::model::{Model, Revision, Stored, Version};
use crate::{HOUR, Opened, purged};

/// The handle that the kit's DID documents claim.
pub(crate) const HANDLE: &str = "kit.example.com";

/// Within which time a deletion is off the disk, and the half of it after which a merge sees to it.
const PURGE: i64 = carrack_schema::limits::PURGE_HOURS as i64 * HOUR;

/// What can be asked of a store.
#[derive(Clone)]
pub(crate) enum Operation {
    /// Import a full export, or what changed since a revision.
    Import {
        version: Arc<Version>,
        since: Option<Tid>,
        account: Account,
    },
    /// Merge as long as a merge is due.
    Merge,
    /// Merge all, or all of a repo.
    Compact { cold: bool, did: Option<Did> },
    /// Delete a repo, or the record at a path.
    Delete {
        did: Did,
        path: Option<String>,
        purge: bool,
    },
    /// Time passes, in microseconds.
    Tick(i64),
}

/// What is said of the account with an import.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Account {
    /// Its DID document: the signature is checked and the handle kept.
    pub(crate) document: bool,
    /// Its status.
    pub(crate) status: Option<&'static str>,
}

impl Operation {
    /// Imports a full export, nothing said of the account.
    pub(crate) fn import(version: &Arc<Version>) -> Self {
        Self::import_as(version, Account::default())
    }

    pub(crate) fn import_as(version: &Arc<Version>, account: Account) -> Self {
        Self::Import {
            version: version.clone(),
            since: None,
            account,
        }
    }

    /// Imports what changed since an older version.
    pub(crate) fn import_since(version: &Arc<Version>, since: &Version) -> Self {
        Self::Import {
            version: version.clone(),
            since: Some(since.repo.rev),
            account: Account::default(),
        }
    }

    /// Merges all.
    pub(crate) fn compact(cold: bool) -> Self {
        Self::Compact { cold, did: None }
    }

    /// Deletes a version's record that the kit gave a mark.
    pub(crate) fn delete_record(of: &Version, purge: bool) -> Self {
        Self::Delete {
            did: of.repo.did.clone(),
            path: Some(crate::model::MARKED.into()),
            purge,
        }
    }

    pub(crate) fn delete_repo(of: &Version, purge: bool) -> Self {
        Self::Delete {
            did: of.repo.did.clone(),
            path: None,
            purge,
        }
    }

    /// Asks it of the store.
    pub(crate) fn run(&self, store: &Opened) -> Result<(), Error> {
        match self {
            Self::Import {
                version,
                since,
                account,
            } => {
                let request = ImportRequest {
                    did_document: account
                        .document
                        .then(|| version.repo.did_doc.clone().into_bytes()),
                    status: account
                        .status
                        .map(|status| status.parse().expect("it is a status")),
                    ..ImportRequest::default()
                };
                let car = car(version, *since);
                store.import(&car[..], &request, |_| {}).map(|_| ())
            }
            Self::Merge => store.merge_all(),
            Self::Compact { cold, did } => store.compact(*cold, did.as_ref()),
            Self::Delete { did, path, purge } => {
                let target = match path {
                    None => DeleteTarget::Repo(did.clone()),
                    Some(path) => {
                        let path = path.parse().expect("the kit's paths are paths");
                        DeleteTarget::Record(did.clone(), path)
                    }
                };
                store.delete(&target, *purge).map(|_| ())
            }
            Self::Tick(micros) => {
                store.pass(*micros);
                Ok(())
            }
        }
    }

    /// Returns what a store that holds `model` may hold afterwards, or which code it may refuse with; it then holds
    /// what it held. More than one only where the store is free.
    pub(crate) fn expect(&self, model: &Model) -> Vec<Result<Model, Code>> {
        match self {
            Self::Import {
                version,
                since,
                account,
            } => vec![expect_import(model, version, *since, *account)],
            Self::Merge => {
                let mut after = model.clone();
                // Half of the time is left for what else is deleted, and for a merge that fails.
                after.purge(|by| by <= model.now + PURGE / 2);
                vec![Ok(after)]
            }
            Self::Compact { did: Some(did), .. } => match model.repos.contains_key(did) {
                true => vec![Ok(model.clone())],
                false => vec![Err(Code::NotFound)],
            },
            Self::Compact { did: None, .. } => {
                let mut after = model.clone();
                after.purge(|_| true);
                vec![Ok(after)]
            }
            Self::Delete { did, path, purge } => {
                let mut expected = match path {
                    None => expect_delete_repo(model, did),
                    Some(path) => expect_delete_record(model, did, path),
                };
                for after in expected.iter_mut().flatten().filter(|_| *purge) {
                    after.purge(|_| true);
                }
                expected
            }
            Self::Tick(micros) => vec![Ok(Model {
                now: model.now + micros,
                ..model.clone()
            })],
        }
    }

    /// Returns what a store that holds `model` may hold beside it after an error of the disk's: a purge that fails has
    /// hidden already.
    pub(crate) fn expect_half(&self, model: &Model) -> Vec<Model> {
        match self {
            Self::Delete { did, path, .. } => {
                let hiding = Self::Delete {
                    did: did.clone(),
                    path: path.clone(),
                    purge: false,
                };
                match self {
                    Self::Delete { purge: true, .. } => {
                        hiding.expect(model).into_iter().flatten().collect()
                    }
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}

fn expect_import(
    model: &Model,
    version: &Arc<Version>,
    since: Option<Tid>,
    account: Account,
) -> Result<Model, Code> {
    let did = &version.repo.did;
    let old = model.repos.get(did);
    let head = old.map(Stored::head);
    let is_same = head.is_some_and(|head| head.version == *version);
    let bytes = car(version, since);
    match head {
        Some(_) if is_same => {}
        Some(head) if version.repo.rev < head.version.repo.rev => return Err(Code::OlderRev),
        Some(head) if version.repo.rev == head.version.repo.rev => return Err(Code::Fork),
        _ if version.is_whole(&bytes, head.map(|head| &*head.version)) => {}
        _ => return Err(Code::Incomplete),
    }
    let mut stored = old.cloned().unwrap_or_default();
    match stored.revisions.first_mut().filter(|_| is_same) {
        Some(head) => head.verified |= account.document,
        None => stored.revisions.insert(
            0,
            Revision {
                version: version.clone(),
                bytes_in: bytes.len() as u64,
                verified: account.document,
                imported: model.now,
            },
        ),
    }
    match account.status {
        Some("active") => stored.status.clear(),
        Some(status) => status.clone_into(&mut stored.status),
        None => {}
    }
    let mut after = model.clone();
    // Who comes with a document claims the handle in it, whoever had it.
    if account.document {
        HANDLE.clone_into(&mut stored.handle);
        after.handles.insert(HANDLE.to_owned(), did.clone());
    }
    // What comes again after its repo was deleted is there again.
    for record in stored.head().visible(&stored.deleted) {
        if let Some(mark) = purged::mark(&record.bytes) {
            after.pending.remove(&mark);
            after.gone.remove(&mark);
        }
    }
    after.repos.insert(did.clone(), stored);
    Ok(after)
}

fn expect_delete_repo(model: &Model, did: &Did) -> Vec<Result<Model, Code>> {
    let mut after = model.clone();
    let Some(stored) = after.repos.remove(did) else {
        return vec![Err(Code::NotFound)];
    };
    after.handles.retain(|_, of| of != did);
    let versions = stored.revisions.iter().map(|each| &each.version);
    for record in versions.flat_map(|version| &version.repo.records) {
        after.delete_mark(&record.bytes, model.now + PURGE);
    }
    vec![Ok(after)]
}

fn expect_delete_record(model: &Model, did: &Did, path: &str) -> Vec<Result<Model, Code>> {
    let mut after = model.clone();
    let Some(stored) = after.repos.get_mut(did) else {
        return vec![Err(Code::NotFound)];
    };
    let readable = stored.retained(model.now);
    // Revisions that cannot be read any more may be there still; then what they have at the path is deleted as well.
    let (mut is_readable, mut may_be_there) = (false, false);
    let mut texts = Vec::new();
    for (at, revision) in stored.revisions.iter().enumerate() {
        let Some(record) = revision.version.repo.record(path) else {
            continue;
        };
        texts.push(record.bytes.clone());
        let pair: (String, Cid) = (path.to_owned(), record.cid);
        if !stored.deleted.contains(&pair) {
            is_readable |= at < readable;
            may_be_there |= at >= readable;
        }
    }
    for revision in &stored.revisions {
        if let Some(record) = revision.version.repo.record(path) {
            stored.deleted.insert((path.to_owned(), record.cid));
        }
    }
    for text in texts {
        after.delete_mark(&text, model.now + PURGE);
    }
    match (is_readable, may_be_there) {
        (true, _) => vec![Ok(after)],
        (false, true) => vec![Ok(after), Err(Code::NotFound)],
        (false, false) => vec![Err(Code::NotFound)],
    }
}

fn car(version: &Version, since: Option<Tid>) -> Vec<u8> {
    match since {
        None => version.car.clone(),
        Some(since) => version.repo.car_since(since),
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Import {
                version,
                since,
                account,
            } => {
                let repo = &version.repo;
                write!(f, "import {} at {}", repo.did, repo.rev)?;
                if let Some(since) = since {
                    write!(f, " since {since}")?;
                }
                if *account != Account::default() {
                    write!(f, " {account:?}")?;
                }
                Ok(())
            }
            Self::Merge => write!(f, "merge"),
            Self::Compact { cold, did } => {
                let cold = if *cold { " cold" } else { "" };
                let did = did.as_ref().map(|did| format!(" {did}"));
                write!(f, "compact{cold}{}", did.unwrap_or_default())
            }
            Self::Delete { did, path, purge } => {
                let path = path.as_ref().map(|path| format!("/{path}"));
                let purge = if *purge { " and purge" } else { "" };
                write!(f, "delete {did}{}{purge}", path.unwrap_or_default())
            }
            Self::Tick(micros) => write!(f, "{} minutes pass", micros / (HOUR / 60)),
        }
    }
}
