//! Updates: who listens to a repo, a collection or a record is told when its repo changes in the store.
//!
//! An update says "read again", not what changed: a slow listener is told less often, and never of what is older than
//! what it can read. In the newer era a stream tells of them and ends with its request; in the older one a client on
//! standard input subscribes one by one, and all of its subscriptions share one watch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carrack_client::{Change, Changes, Error, Selection, Store, Watch};
use carrack_schema::limits::{LISTENS_MAX, SUBSCRIPTION_URIS_MAX};
use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::SubscriptionContext;
use rmcp::{ErrorData, Peer, RoleServer};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::resources::uri::{Named, UriError};
use crate::resources::{failed, fault, invalid, refuse};

/// How long a subscription whose store is gone waits before it looks for it again.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns the part of a filter that there are updates for.
pub(crate) fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let uris = requested.resource_subscriptions.iter().flatten();
    let uris = uris.filter(|uri| did(uri).is_ok());
    SubscriptionFilter::builder()
        .resource_subscriptions(uris.take(SUBSCRIPTION_URIS_MAX).cloned())
        .build()
}

/// Returns the repo whose changes are a resource's.
fn did(uri: &str) -> Result<String, UriError> {
    match Named::parse(uri)? {
        Named::At(at) | Named::Page { uri: at, .. } => Ok(at.did.to_string()),
        // What is made anew at each reading changes with its repo, which can be listened to.
        Named::Car { .. } | Named::Proof(_) => Err(UriError::Form),
    }
}

/// The URIs that somebody listens to, by repo.
#[derive(Clone, Debug, Default)]
struct Interest(BTreeMap<String, BTreeSet<String>>);

impl Interest {
    fn add(&mut self, uri: &str) -> Result<(), UriError> {
        let uris = self.0.entry(did(uri)?).or_default();
        uris.insert(uri.to_owned());
        Ok(())
    }

    fn remove(&mut self, uri: &str) {
        for uris in self.0.values_mut() {
            uris.remove(uri);
        }
        self.0.retain(|_, uris| !uris.is_empty());
    }

    fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.0.values().flatten()
    }

    /// Returns those that changes are about.
    fn of(&self, changes: &Changes) -> Vec<String> {
        if changes.missed {
            return self.all().cloned().collect();
        }
        let about = |change: &Change| self.0.get(&change.did);
        let changed = changes.changes.iter().filter_map(about);
        changed.flatten().cloned().collect()
    }

    async fn watch(&self, connection: &Connection) -> Result<Watch, Error> {
        let dids: Vec<_> = self.0.keys().cloned().collect();
        let begin = |store: Store| {
            let repos = Selection::Only(dids.clone());
            async move { store.watch(repos).await }
        };
        connection.read(begin).await
    }
}

/// The streams of one caller.
#[derive(Debug)]
pub(crate) struct Listens(Semaphore);

impl Default for Listens {
    fn default() -> Self {
        Self(Semaphore::new(LISTENS_MAX))
    }
}

/// Tells a stream of updates until its caller leaves or the store is gone. One that there are no updates for is over at
/// once: it would wait for nothing, and hold up what its caller asks for.
pub(crate) async fn listen(
    listens: &Listens,
    connection: &Connection,
    context: SubscriptionContext,
) -> Result<(), ErrorData> {
    let mut interest = Interest::default();
    for uri in context.accepted().resource_subscriptions.iter().flatten() {
        interest.add(uri).map_err(|error| refuse(uri, error))?;
    }
    if interest.len() == 0 {
        return Ok(());
    }
    let Ok(_place) = listens.0.try_acquire() else {
        let words = format!(
            "a caller has {LISTENS_MAX} streams of updates at the most; end one, or name more resources in one"
        );
        return Err(invalid(words));
    };
    let telling = async {
        let mut watch = match interest.watch(connection).await {
            Ok(watch) => watch,
            Err(error) => return Err(error),
        };
        // The stream was acknowledged before the watch could begin. So each resource is told of once at the start: what
        // changed in between is in what is read then.
        let mut news: Vec<String> = interest.all().cloned().collect();
        loop {
            for uri in news {
                if let Err(error) = context.sink().notify_resource_updated(uri).await {
                    tracing::debug!(%error, "an update was not delivered");
                    return Ok(());
                }
            }
            news = match watch.next().await {
                Some(Ok(changes)) => interest.of(&changes),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            };
        }
    };
    tokio::select! {
        told = telling => told.map_err(|error| failed("the updates", &error)),
        () = context.cancelled() => Ok(()),
    }
}

/// What one client of the older era has subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    interest: Interest,
    task: Option<Task>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Subscriptions {
    /// Subscribes to a resource. What changes after this has returned is told.
    pub(crate) async fn add(
        &self,
        connection: &Connection,
        peer: &Peer<RoleServer>,
        uri: &str,
    ) -> Result<(), ErrorData> {
        let mut held = self.0.lock().await;
        let mut interest = held.interest.clone();
        interest.add(uri).map_err(|error| refuse(uri, error))?;
        if interest.len() > SUBSCRIPTION_URIS_MAX {
            let words =
                format!("a client subscribes to {SUBSCRIPTION_URIS_MAX} resources at the most");
            return Err(invalid(words));
        }
        // The watch before goes on until this one has begun.
        let begun = interest.watch(connection).await;
        let watch = begun.map_err(|error| fault(uri, &error))?;
        held.follow(interest, watch, connection, peer);
        Ok(())
    }

    /// Ends a subscription, if there is one.
    pub(crate) async fn remove(
        &self,
        connection: &Connection,
        peer: &Peer<RoleServer>,
        uri: &str,
    ) -> Result<(), ErrorData> {
        let mut held = self.0.lock().await;
        let mut interest = held.interest.clone();
        interest.remove(uri);
        if interest.len() == 0 {
            *held = Held::default();
            return Ok(());
        }
        let begun = interest.watch(connection).await;
        let watch = begun.map_err(|error| fault(uri, &error))?;
        held.follow(interest, watch, connection, peer);
        Ok(())
    }
}

impl Held {
    fn follow(
        &mut self,
        interest: Interest,
        watch: Watch,
        connection: &Connection,
        peer: &Peer<RoleServer>,
    ) {
        let task = follow(interest.clone(), watch, connection.clone(), peer.clone());
        self.task = Some(Task(tokio::spawn(task)));
        self.interest = interest;
    }
}

/// Tells a client of updates, also of those of a store that was gone for a while.
async fn follow(
    interest: Interest,
    mut watch: Watch,
    connection: Connection,
    peer: Peer<RoleServer>,
) {
    loop {
        let news = match watch.next().await {
            Some(Ok(changes)) => interest.of(&changes),
            _ => {
                watch = again(&interest, &connection).await;
                interest.all().cloned().collect()
            }
        };
        for uri in news {
            let update = ResourceUpdatedNotificationParam::new(uri);
            if let Err(error) = peer.notify_resource_updated(update).await {
                tracing::debug!(%error, "an update was not delivered");
                return;
            }
        }
    }
}

async fn again(interest: &Interest, connection: &Connection) -> Watch {
    loop {
        match interest.watch(connection).await {
            Ok(watch) => return watch,
            Err(error) => tracing::info!(%error, "the store cannot be watched; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter<'a>(uris: impl IntoIterator<Item = &'a str>) -> SubscriptionFilter {
        SubscriptionFilter::builder()
            .resource_subscriptions(uris)
            .build()
    }

    #[test]
    fn only_what_has_updates_is_accepted() {
        let good = [
            "at://did:plc:a",
            "at://did:plc:a/a.b.c",
            "at://did:plc:a/a.b.c/k",
            "at://did%3Aplc%3Aa",
        ];
        let bad = ["at-car://did:plc:a", "x://did:plc:a", "", "at://alice.test"];
        let asked = filter(good.into_iter().chain(bad));
        assert_eq!(accepted(&asked), filter(good));
        let many: Vec<_> = (0..=SUBSCRIPTION_URIS_MAX)
            .map(|i| format!("at://did:plc:a{i}"))
            .collect();
        let all = filter(many.iter().map(String::as_str));
        let most = filter(many[..SUBSCRIPTION_URIS_MAX].iter().map(String::as_str));
        assert_eq!(accepted(&most), most);
        assert_eq!(accepted(&all), most);
    }

    #[test]
    fn a_change_is_told_to_those_it_is_about() {
        let mut interest = Interest::default();
        for uri in ["at://did:plc:a", "at://did:plc:a/a.b.c", "at://did:plc:b"] {
            interest.add(uri).unwrap();
        }
        let change = Change {
            did: "did:plc:a".into(),
            rev: String::new(),
            commit: None,
            kind: carrack_client::ChangeKind::Imported,
            records: 0,
        };
        let mut changes = Changes {
            changes: vec![change],
            missed: false,
        };
        assert_eq!(
            interest.of(&changes),
            ["at://did:plc:a", "at://did:plc:a/a.b.c"]
        );
        changes.missed = true;
        assert_eq!(interest.of(&changes).len(), 3);
        interest.remove("at://did:plc:a");
        interest.remove("at://did:plc:b");
        assert_eq!(interest.of(&changes), ["at://did:plc:a/a.b.c"]);
    }
}

#[cfg(all(test, feature = "embedded"))]
mod granted {
    use carrack_client::Scope;
    use carrack_schema::Code;

    use super::*;
    use crate::resources::granted::{ACTOR, Archive, FRIEND};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repo_outside_the_grant_cannot_be_listened_to() {
        let archive = Archive::new().await;
        let scope = Scope::none().repo(ACTOR).all_collections();
        let narrow = archive.with(scope.read().list()).await;
        let mut interest = Interest::default();
        interest.add(&format!("at://{ACTOR}")).unwrap();
        interest.watch(&narrow).await.unwrap();
        interest.add(&format!("at://{FRIEND}")).unwrap();
        let error = interest.watch(&narrow).await.unwrap_err();
        assert_eq!(error.code(), Code::Denied);
        archive.end().await;
    }
}
