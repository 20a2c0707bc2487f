//! What the examples share: a store to talk to.
//!
//! With an address as its first argument an example talks to the store there, as the owner or with the token in
//! `CARRACK_TOKEN`. Without one it opens a store of its own with one made-up repo in it.

#![allow(dead_code, reason = "no example uses all of it")]

use carrack_client::{Address, Client, ImportOptions, Result, Session};
use carrack_store::{DataFolder, Owner, Settings};
use kit::{Order, RepoSpec};

/// A store, and what keeps it running if it is the example's own.
pub(crate) struct Demo {
    /// A connection to it.
    pub(crate) client: Client,
    /// What may be done.
    pub(crate) session: Session,
    /// A repo in it.
    pub(crate) did: String,
    _own: Option<(Owner, tempfile::TempDir)>,
}

/// Connects to the store named on the command line, or opens one.
pub(crate) async fn demo() -> Result<Demo> {
    match std::env::args().nth(1) {
        Some(address) => {
            let client = Client::connect(&address.parse::<Address>()?).await?;
            let token = std::env::var("CARRACK_TOKEN").unwrap_or_default();
            let session = client.login(&token);
            let repos = session.store().repos("", 1).await?.repos;
            let did = repos.into_iter().next().map(|repo| repo.source.did);
            Ok(Demo {
                client,
                session,
                did: did.unwrap_or_default(),
                _own: None,
            })
        }
        None => own().await,
    }
}

async fn own() -> Result<Demo> {
    let folder = tempfile::tempdir()?;
    let owner = Owner::start(&DataFolder::new(folder.path()), &Settings::default())
        .expect("a new folder can be owned");
    let client = Client::connect(&owner.addresses()[0]).await?;
    let session = client.login("");
    let repo = made_up(1);
    let upload = session.importer().import(ImportOptions::default());
    upload.write(&repo.car(Order::PreOrder)).await;
    upload.done().await?;
    Ok(Demo {
        client,
        session,
        did: repo.did.as_str().to_owned(),
        _own: Some((owner, folder)),
    })
}

/// A signed repo that nobody has.
pub(crate) fn made_up(seed: u64) -> kit::Repo {
    RepoSpec {
        records: 2_000,
        seed,
        ..RepoSpec::default()
    }
    .build()
}
