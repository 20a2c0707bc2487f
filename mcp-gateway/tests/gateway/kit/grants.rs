//! Grants of a store that a gateway serves, made over the folder's own socket as `carrack grant` does.

use std::path::Path;

use carrack_client::{Client, Grant, Scope, Session};
use tokio::runtime::Runtime;

/// Whoever makes grants: the owner.
pub(crate) struct Issuer {
    runtime: Runtime,
    session: Session,
}

impl Issuer {
    pub(crate) fn of(data: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = format!("unix:{}", data.join("carrack.sock").display());
        let client = runtime.block_on(Client::connect(&address.parse().unwrap()));
        let session = client.unwrap().login("");
        Self { runtime, session }
    }

    /// Returns a grant and a token of it.
    pub(crate) fn issue(&self, scope: Scope, label: &str) -> (Grant, String) {
        self.runtime.block_on(async {
            let issued = self.session.grants().issue(scope, label).await.unwrap();
            let (token, _) = issued.grant.save("a test's").await.unwrap();
            (issued.grant, token)
        })
    }

    /// Returns a further token.
    pub(crate) fn save(&self, grant: &Grant) -> String {
        self.runtime.block_on(grant.save("another")).unwrap().0
    }

    /// Returns how many calls a grant has made, and how many bytes it has been given.
    pub(crate) fn used(&self, grant: &Grant) -> (u64, u64) {
        let usage = self.runtime.block_on(grant.info()).unwrap().usage;
        (usage.calls, usage.bytes)
    }

    pub(crate) fn revoke(&self, grant: &Grant) {
        self.runtime.block_on(grant.revoke()).unwrap();
    }

    /// Ends every grant there is, whoever made it.
    pub(crate) fn revoke_all(&self) {
        self.runtime.block_on(async {
            let grants = self.session.grants();
            for info in grants.list("", 0).await.unwrap().grants {
                grants.grant(&info.id).revoke().await.unwrap();
            }
        });
    }

    /// Returns a token that may read and list one repo.
    pub(crate) fn reader(&self, did: &str) -> (Grant, String) {
        self.issue(reading().repo(did), did)
    }
}

/// Reading and listing all that a repo holds, of no repo yet.
pub(crate) fn reading() -> Scope {
    Scope::none()
        .all_collections()
        .read()
        .list()
        .unlimited_calls()
        .unlimited_bytes()
        .never_expires()
}
