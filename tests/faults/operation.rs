//! [`Operation`]: what can be asked of a store, and what it makes of a model.
//!
//! A new ability is a variant here: [`Operation::run`] asks it of the store, [`Operation::expect`] says what the store
//! holds afterwards, or which error it must answer. Both are short, and neither knows of faults.

use std::fmt;
use std::sync::Arc;

use carrack_schema::{Code, Tid};
use carrack_store::{Error, ImportRequest, Store};

use crate::model::{Model, Stored, Version};

/// The handle that the kit's DID documents claim.
const HANDLE: &str = "kit.example.com";

/// What can be asked of a store.
#[derive(Clone)]
pub(crate) enum Operation {
    /// Import a full export, or what changed since a revision.
    Import {
        version: Arc<Version>,
        since: Option<Tid>,
        account: Account,
    },
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

    /// Asks it of the store.
    pub(crate) fn run(&self, store: &Store) -> Result<(), Error> {
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
        }
    }

    /// Returns what a store that holds `model` holds afterwards.
    ///
    /// # Errors
    /// The code it must refuse with; it then holds what it held.
    pub(crate) fn expect(&self, model: &Model) -> Result<Model, Code> {
        match self {
            Self::Import {
                version,
                since,
                account,
            } => expect_import(model, version, *since, *account),
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
    let is_same = old.is_some_and(|old| old.version == *version);
    let bytes = car(version, since);
    match old {
        Some(_) if is_same => {}
        Some(old) if version.repo.rev < old.version.repo.rev => return Err(Code::OlderRev),
        Some(old) if version.repo.rev == old.version.repo.rev => return Err(Code::Fork),
        _ if version.is_whole(&bytes, old.map(|old| &*old.version)) => {}
        _ => return Err(Code::Incomplete),
    }
    let known = |of: fn(&Stored) -> &String| old.map(|old| of(old).clone()).unwrap_or_default();
    let stored = Stored {
        version: version.clone(),
        bytes_in: match old {
            Some(old) if is_same => old.bytes_in,
            _ => bytes.len() as u64,
        },
        status: match account.status {
            Some("active") => String::new(),
            Some(status) => status.to_owned(),
            None => known(|old| &old.status),
        },
        handle: match account.document {
            true => HANDLE.to_owned(),
            false => known(|old| &old.handle),
        },
        verified: account.document || (is_same && old.is_some_and(|old| old.verified)),
        revisions: old.map_or(1, |old| old.revisions + usize::from(!is_same)),
    };
    let mut after = model.clone();
    // Who comes with a document claims the handle in it, whoever had it.
    if account.document {
        after.handles.insert(stored.handle.clone(), did.clone());
    }
    after.repos.insert(did.clone(), stored);
    Ok(after)
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
        }
    }
}
