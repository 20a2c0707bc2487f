//! Stores to talk to, and servers that take a call and hang up.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carrack_client::{Address, Client, ImportOptions, ImportOutcome, Session};
use carrack_store::{DataFolder, Owner, Settings};
use kit::{Order, Repo, RepoSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// Far away: it only catches what hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Runs a test on a runtime of its own.
pub(crate) fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(HANGS, body)
            .await
            .expect("it does not hang");
    });
}

pub(crate) fn owner(folder: &Path) -> Owner {
    Owner::start(&DataFolder::new(folder), &Settings::default()).unwrap()
}

/// The folder's own socket.
pub(crate) fn address(owner: &Owner) -> Address {
    owner.addresses()[0].clone()
}

pub(crate) fn repo(records: usize) -> Repo {
    RepoSpec {
        records,
        seed: 71,
        ..RepoSpec::default()
    }
    .build()
}

pub(crate) async fn import(session: &Session, repo: &Repo) {
    let upload = session.importer().import(ImportOptions::default());
    assert!(upload.write(&repo.car(Order::Pds)).await);
    let outcome = upload.done().await.unwrap();
    assert!(matches!(outcome, ImportOutcome::Imported(_)), "{outcome:?}");
}

/// A server that takes connections, reads what comes in first, and hangs up.
pub(crate) struct HangsUp {
    folder: tempfile::TempDir,
    /// Connections that brought a call.
    pub(crate) calls: Arc<AtomicUsize>,
}

impl HangsUp {
    /// Starts one. The bytes of one connection's calls come in one piece: they are written in one flush.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let mut bytes = [0; 4_096];
                    if matches!(stream.read(&mut bytes).await, Ok(1..)) {
                        // One connection, however many calls are in it.
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    let _gone = stream.shutdown().await;
                });
            }
        });
        Self { folder, calls }
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("s"))
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.address()).await.unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
