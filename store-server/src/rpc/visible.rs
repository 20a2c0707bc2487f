//! What a session is told of repos as a whole: no more than what it may see of them.

use carrack_schema::limits::LIST_RECORDS_DEFAULT;

use crate::auth::Authority;
use crate::error::Result;
use crate::stats::Stats;
use crate::store::{CollectionCount, Repo, Store, Summary};

/// Returns the collections of a repo that the session may see.
pub(super) fn collections(authority: &Authority, repo: &Repo) -> Result<Vec<CollectionCount>> {
    let mut collections = repo.collections()?;
    if !authority.sees_all_collections() {
        collections.retain(|each| {
            let nsid = each.nsid.parse();
            nsid.is_ok_and(|nsid| authority.sees_collection(&nsid))
        });
    }
    Ok(collections)
}

/// Returns what is known of a repo. Who may not see all of its collections is told how many records are in those that it
/// may, and of what is counted over all of them nothing.
pub(super) fn summary(authority: &Authority, repo: &Repo) -> Result<Summary> {
    let summary = repo.summary().clone();
    if authority.sees_all_collections() {
        return Ok(summary);
    }
    let records = collections(authority, repo)?
        .iter()
        .map(|each| each.records)
        .sum();
    Ok(Summary {
        records,
        bytes_in: 0,
        bytes_stored: 0,
        missing: 0,
        invalid: 0,
        ..summary
    })
}

/// Returns repos that the session may see, above `after`, and whether there are more.
pub(super) fn repos(
    authority: &Authority,
    store: &Store,
    after: &str,
    limit: u32,
) -> Result<(Vec<Summary>, bool)> {
    // Counting the records of some collections opens each repo.
    let limit = match authority.sees_all_collections() {
        true => limit,
        false => limit.min(LIST_RECORDS_DEFAULT),
    };
    let (found, more) = match authority.repos() {
        None => store.repos(after, limit as usize)?,
        Some(dids) => store.repos_among(dids, after, limit as usize)?,
    };
    if authority.sees_all_collections() {
        return Ok((found, more));
    }
    let mut seen = Vec::with_capacity(found.len());
    for repo in found {
        // One that was deleted this moment is left out.
        if let Some(repo) = store.stored(&repo.did)? {
            seen.push(summary(authority, &repo)?);
        }
    }
    Ok((seen, more))
}

/// Returns totals over the repos that the session may see. What is of the whole store, or of collections that it may not
/// see, is 0.
pub(super) fn stats(authority: &Authority, store: &Store) -> Result<Stats> {
    let stats = match authority.repos() {
        None => store.stats()?,
        Some(dids) => store.stats_among(dids)?,
    };
    if authority.sees_all_collections() {
        return Ok(stats);
    }
    Ok(Stats {
        repos: stats.repos,
        revisions: stats.revisions,
        ..Stats::default()
    })
}
