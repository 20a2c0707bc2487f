//! [`Session`]: all that one holder may do.

use carrack_schema::wire::store_capnp as wire;

use crate::error::Result;
use crate::grants::Grants;
use crate::handle::{Handle, Repeat};
use crate::keeper::Keeper;
use crate::read;
use crate::scope::Usage;
use crate::store::Store;
use crate::types::About;
use crate::upload::Importer;

/// All that one holder may do, in facets: a part can be passed on without the rest.
#[derive(Clone, Debug)]
pub struct Session(pub(crate) Handle<wire::session::Client>);

impl Session {
    /// Returns what the server is and what it takes. One round trip.
    ///
    /// The client keeps below the number of calls that this names, from then on.
    ///
    /// # Errors
    /// As every leaf: if the login was refused or the connection is gone.
    pub async fn about(&self) -> Result<About> {
        let about = self
            .0
            .ask(Repeat::Once, |on| on.about_request().send(), read::about)
            .await?;
        self.0.shared().permits.adapt(about.calls_max);
        Ok(about)
    }

    /// Returns what this session's grant has used, with its descendants. One round trip.
    ///
    /// # Errors
    /// As every leaf.
    pub async fn usage(&self) -> Result<Usage> {
        let send = |on: &wire::session::Client| on.usage_request().send();
        self.0.ask(Repeat::Once, send, read::grant::used).await
    }

    /// Names the grants that descend from this session's: handing on a part of what it may do.
    pub fn grants(&self) -> Grants {
        Grants(
            self.0
                .hop(|on| on.grants_request().send().pipeline.get_grants()),
        )
    }

    /// Names the store: reading.
    pub fn store(&self) -> Store {
        Store(
            self.0
                .hop(|on: wire::session::Client| on.store_request().send().pipeline.get_store()),
        )
    }

    /// Names the importer: writing.
    pub fn importer(&self) -> Importer {
        Importer(
            self.0
                .hop(|on| on.importer_request().send().pipeline.get_importer()),
        )
    }

    /// Names the keeper: deleting, compacting, checking.
    pub fn keeper(&self) -> Keeper {
        Keeper(
            self.0
                .hop(|on| on.keeper_request().send().pipeline.get_keeper()),
        )
    }
}
