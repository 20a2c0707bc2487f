//! [`Changes`]: telling whoever watches that a repo changed, and [`Watching`], one who does.
//!
//! A change is told once the catalog's commit has made it true, never before. What is kept for a watcher is which repos
//! changed and how; what they are at is read when it is told, so that it is never older than what was told before. A
//! watcher that is slow keeps a bounded list, one entry a repo, and no thread waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrack_schema::limits::WATCH_CHANGES_MAX;
use carrack_schema::{Cid, Did, Tid};
use tokio::sync::Notify;

use crate::catalog::RepoEntry;
use crate::error::Result;
use crate::store::Store;

/// What became of a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A revision was imported.
    Imported,
    /// A record was deleted from the store.
    RecordDeleted,
    /// The repo was deleted from the store.
    RepoDeleted,
    /// The account's status, handle or verdict is another one.
    Status,
}

/// A repo that changed, and what it is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The repo.
    pub did: Did,
    /// The last thing that became of it.
    pub kind: ChangeKind,
    /// Its current commit; none if the repo is not there any more, or hidden.
    pub commit: Option<Cid>,
    /// The commit's revision, if it has one.
    pub rev: Option<Tid>,
    /// Records that can be seen.
    pub records: u64,
}

/// What a watcher is told at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Repos that changed since it was last told, each once, those that changed first in front.
    pub changes: Vec<Change>,
    /// There were more than could be kept: any repo may have changed.
    pub missed: bool,
}

/// Who watches a store.
#[derive(Default)]
pub(crate) struct Changes(Mutex<Vec<Arc<Watcher>>>);

struct Watcher {
    wants: Box<dyn Fn(&Did) -> bool + Send + Sync>,
    queue: Mutex<Queue>,
    has_news: Notify,
}

#[derive(Default)]
struct Queue {
    changed: Vec<(Arc<Did>, ChangeKind)>,
    missed: bool,
}

/// A watch of a store; dropping it ends it.
pub struct Watching {
    store: Store,
    watcher: Arc<Watcher>,
}

impl Store {
    /// Watches the repos that `wants` picks: what changes from now on is told by [`Watching::next`].
    pub fn watch(&self, wants: impl Fn(&Did) -> bool + Send + Sync + 'static) -> Watching {
        let watcher = Arc::new(Watcher {
            wants: Box::new(wants),
            queue: Mutex::default(),
            has_news: Notify::new(),
        });
        lock(&self.inner().changes.0).push(watcher.clone());
        Watching {
            store: self.clone(),
            watcher,
        }
    }

    /// Tells watchers what a change of the catalog made of a repo's row. Called when the change is true.
    pub(crate) fn tell(
        &self,
        did: &Did,
        kind: ChangeKind,
        before: Option<&RepoEntry>,
        after: Option<&RepoEntry>,
    ) {
        if let Some(kind) = seen(kind, before, after) {
            self.inner().changes.tell(did, kind);
        }
    }
}

/// Returns how a change of a repo's row looks from outside; none if nothing is to be seen of it.
fn seen(
    kind: ChangeKind,
    before: Option<&RepoEntry>,
    after: Option<&RepoEntry>,
) -> Option<ChangeKind> {
    let is_shown = |row: Option<&RepoEntry>| row.is_some_and(|row| row.status.is_active());
    match (is_shown(before), is_shown(after)) {
        (false, false) => None,
        // Hidden by its status: to the watcher that is all there is to know.
        (true, false) if after.is_some() => Some(ChangeKind::Status),
        _ => Some(kind),
    }
}

impl Changes {
    fn tell(&self, did: &Did, kind: ChangeKind) {
        let mut shared = None;
        let watchers = lock(&self.0);
        for watcher in watchers.iter().filter(|watcher| (watcher.wants)(did)) {
            let did = shared.get_or_insert_with(|| Arc::new(did.clone()));
            lock(&watcher.queue).add(did, kind);
            watcher.has_news.notify_one();
        }
    }
}

impl Queue {
    fn add(&mut self, did: &Arc<Did>, kind: ChangeKind) {
        if let Some(known) = self.changed.iter_mut().find(|(known, _)| known == did) {
            known.1 = kind;
        } else if self.changed.len() < WATCH_CHANGES_MAX {
            self.changed.push((did.clone(), kind));
        } else {
            self.missed = true;
        }
    }

    fn is_empty(&self) -> bool {
        self.changed.is_empty() && !self.missed
    }
}

impl Watching {
    /// Waits until something changed, and says what. Dropping the future loses nothing.
    pub async fn next(&self) -> Told {
        loop {
            let news = {
                let mut queue = lock(&self.watcher.queue);
                (!queue.is_empty()).then(|| std::mem::take(&mut *queue))
            };
            match news {
                Some(queue) => return self.told(queue),
                None => self.watcher.has_news.notified().await,
            }
        }
    }

    fn told(&self, queue: Queue) -> Told {
        let mut told = Told {
            changes: Vec::with_capacity(queue.changed.len()),
            missed: queue.missed,
        };
        for (did, kind) in queue.changed {
            match self.change(&did, kind) {
                Ok(change) => told.changes.push(change),
                Err(error) => {
                    tracing::warn!(error = error.chain(), %did, "what a repo is at cannot be told");
                    told.missed = true;
                }
            }
        }
        told
    }

    /// Looks up what a repo is at now. Two changes are not always told in the order in which they became true; what is
    /// there counts.
    fn change(&self, did: &Did, kind: ChangeKind) -> Result<Change> {
        let row = self.store.inner().catalog.repo(did)?;
        let kind = match (&row, kind) {
            (None, _) => ChangeKind::RepoDeleted,
            (Some(row), _) if !row.status.is_active() => ChangeKind::Status,
            (Some(_), ChangeKind::RepoDeleted) => ChangeKind::Imported,
            (Some(_), kind) => kind,
        };
        let head = row.as_ref().filter(|row| row.status.is_active());
        let head = head.map(RepoEntry::head);
        Ok(Change {
            did: did.clone(),
            kind,
            commit: head.map(|head| head.commit),
            rev: head.and_then(|head| head.rev),
            records: head.map_or(0, |head| head.records.saturating_sub(head.deleted).into()),
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mine = Arc::as_ptr(&self.watcher);
        lock(&self.store.inner().changes.0).retain(|watcher| Arc::as_ptr(watcher) != mine);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use carrack_segment::Directory;
    use carrack_segment::directory::mem::Mem;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_dropped_watch_leaves_nothing_behind() {
        let directory: Arc<dyn Directory> = Arc::new(Mem::new());
        let store = Store::open(directory, Arc::new(SystemClock)).unwrap();
        let watchers = || lock(&store.inner().changes.0).len();
        let (first, second) = (store.watch(|_| true), store.watch(|_| true));
        assert_eq!(watchers(), 2);
        drop(first);
        assert_eq!(watchers(), 1);
        let did = "did:plc:a".parse().unwrap();
        store.inner().changes.tell(&did, ChangeKind::Imported);
        assert_eq!(lock(&second.watcher.queue).changed.len(), 1);
        drop(second);
        assert_eq!(watchers(), 0);
        assert!(store.is_last());
    }
}
