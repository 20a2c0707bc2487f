//! Ancestors: the posts that a post answers, from its parent up, as far as the store holds them.
//!
//! Of each record one leaf is read, `reply.parent.uri`; nothing is decoded. What a record says there is somebody's claim:
//! it may name itself, something without end, or no record at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use carrack_schema::limits::AT_URI_BYTES_MAX;
use carrack_schema::names::{RecordUri, RepoName};
use carrack_schema::{Code, Did, Nsid, RecordPath};

use crate::error::Result;
use crate::store::{Lookup, Repo, Store};

/// Where a record names what it answers.
const PARENT: &str = "reply.parent.uri";

/// The posts that a post answers.
pub struct Ancestors {
    /// The parent first.
    pub nodes: Vec<Ancestor>,
    /// Why there are not more.
    pub end: AncestorsEnd,
}

/// One record that is held, in the snapshot it was found in.
#[derive(Clone)]
pub struct Ancestor {
    /// Its repo; all records of a repo are of one snapshot.
    pub repo: Arc<Repo>,
    /// Where it is.
    pub path: RecordPath,
}

/// Why there are not more nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AncestorsEnd {
    /// The last one answers nothing.
    Root,
    /// The store does not hold the next one, or it is not to be seen: what the last one names, cut to
    /// [`AT_URI_BYTES_MAX`] bytes. That need not be a URI.
    Missing(String),
    /// There is at least one more.
    Max,
    /// The next one is a node already, or the record that was asked for.
    Loop,
    /// The record asked for is not held.
    Absent,
}

/// What is to be seen.
pub struct Sees<'a> {
    /// Whether a repo is.
    pub repo: &'a dyn Fn(&Did) -> bool,
    /// Whether a collection is, of whatever repo.
    pub collection: &'a dyn Fn(&Nsid) -> bool,
}

impl Store {
    /// Follows what a record answers upwards, at the current revisions, for at most `max` records.
    ///
    /// # Errors
    /// `damaged` if a record's segment is.
    pub fn ancestors(
        &self,
        did: &Did,
        path: &RecordPath,
        max: usize,
        sees: &Sees<'_>,
    ) -> Result<Ancestors> {
        let mut climb = Climb {
            store: self,
            sees,
            repos: HashMap::new(),
            seen: HashSet::new(),
        };
        let mut nodes = Vec::new();
        let Some(start) = climb.record(did, path)? else {
            let end = AncestorsEnd::Absent;
            return Ok(Ancestors { nodes, end });
        };
        let mut last = start;
        let end = loop {
            let next = match climb.above(&last)? {
                Above::End(end) => break end,
                Above::Record(_) if nodes.len() == max => break AncestorsEnd::Max,
                Above::Record(next) => next,
            };
            nodes.push(next.at.clone());
            last = next;
        };
        Ok(Ancestors { nodes, end })
    }
}

/// A record and what it says that it answers.
struct Held {
    at: Ancestor,
    parent: Option<String>,
}

enum Above {
    Record(Held),
    End(AncestorsEnd),
}

struct Climb<'a> {
    store: &'a Store,
    sees: &'a Sees<'a>,
    /// A snapshot of each repo that was asked for, if there is one.
    repos: HashMap<Did, Option<Arc<Repo>>>,
    seen: HashSet<(Did, RecordPath)>,
}

impl Climb<'_> {
    /// Returns what a record answers.
    fn above(&mut self, record: &Held) -> Result<Above> {
        let Some(uri) = &record.parent else {
            return Ok(Above::End(AncestorsEnd::Root));
        };
        let missing = || Ok(Above::End(AncestorsEnd::Missing(shortened(uri))));
        let Ok(RecordUri { repo, path }) = uri.parse() else {
            return missing();
        };
        let Some(did) = self.visible(&repo)? else {
            return missing();
        };
        if !(self.sees.collection)(&path.collection) {
            return missing();
        }
        if self.seen.contains(&(did.clone(), path.clone())) {
            return Ok(Above::End(AncestorsEnd::Loop));
        }
        match self.record(&did, &path)? {
            Some(held) => Ok(Above::Record(held)),
            None => missing(),
        }
    }

    /// Returns whose repo it is, if that is to be seen.
    fn visible(&self, repo: &RepoName) -> Result<Option<Did>> {
        match repo {
            RepoName::Did(did) => Ok((self.sees.repo)(did).then(|| did.clone())),
            RepoName::Handle(handle) => match self.store.resolve(handle, self.sees.repo) {
                Ok(did) => Ok(Some(did)),
                Err(error) if error.code() == Code::UnknownHandle => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Looks a record up; none if it, or its block, is not held.
    fn record(&mut self, did: &Did, path: &RecordPath) -> Result<Option<Held>> {
        let Some(repo) = self.snapshot(did)? else {
            return Ok(None);
        };
        let parent = match repo.record(path)? {
            Lookup::Found(record) if record.is_held()? => {
                let mut parent = None;
                // A path goes through lists; a post answers one post, so the first one counts.
                record.fields(PARENT, |field| {
                    let text = || Some(String::from_utf8_lossy(&field.text()?).into_owned());
                    parent = parent.take().or_else(text);
                })?;
                parent
            }
            _ => return Ok(None),
        };
        self.seen.insert((did.clone(), path.clone()));
        let path = path.clone();
        let at = Ancestor { repo, path };
        Ok(Some(Held { at, parent }))
    }

    fn snapshot(&mut self, did: &Did) -> Result<Option<Arc<Repo>>> {
        if let Some(known) = self.repos.get(did) {
            return Ok(known.clone());
        }
        let repo = self.store.repo(did)?.ok().map(Arc::new);
        self.repos.insert(did.clone(), repo.clone());
        Ok(repo)
    }
}

/// Cuts a text that somebody made to the longest that a URI of a record may have.
fn shortened(text: &str) -> String {
    text.get(..text.floor_char_boundary(AT_URI_BYTES_MAX))
        .unwrap_or_default()
        .to_owned()
}
