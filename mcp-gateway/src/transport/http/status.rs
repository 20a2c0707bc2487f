//! The pages for whoever runs the gateway: `/` for people, `/metrics` for Prometheus.
//!
//! They show what the session of the token that asks may see, and are given only where it may maintain the store: the
//! counts of the gateway are of all agents.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use carrack_client::{Error, GrantInfo, RepoInfo, RepoList, Session, StoreStats};
use carrack_schema::Code;
use carrack_schema::limits::LIST_RECORDS_MAX;

use super::credential::Credential;
use super::holder::Place;
use super::page::{self, ROWS_MAX, Status};
use super::refusal::Refusal;
use super::{Site, refused, resource};

/// Pages of repos that are looked at for the newest: ten thousand repos, some milliseconds of the store's.
const PAGES_MAX: usize = 10;

pub(super) async fn status(State(site): State<Arc<Site>>, request: Request) -> Response {
    let metadata = resource(request.uri(), request.headers());
    let place = match enter(&site, request.headers()).await {
        Ok(place) => place,
        Err(refusal) => return refused(refusal, request, true).await,
    };
    let ask = |session: Session| async move { seen(&session).await };
    let mut status = match place.holder().connection.ask(ask).await {
        Ok(status) => status,
        Err(error) => return lost(&error).response(&metadata, true),
    };
    status.calls = site.holders.calls();
    status.connections = site.holders.connections().live;
    let policy = HeaderValue::from_str(&page::policy());
    let mut response = page::html(&status).into_response();
    let headers = response.headers_mut();
    // Without its policy a page is not given.
    let Ok(policy) = policy else {
        return Refusal::Busy.response(&metadata, true);
    };
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(super) async fn metrics(State(site): State<Arc<Site>>, request: Request) -> Response {
    let metadata = resource(request.uri(), request.headers());
    let place = match enter(&site, request.headers()).await {
        Ok(place) => place,
        Err(refusal) => return refused(refusal, request, true).await,
    };
    let ask = |session: Session| async move { allowed(session.store().stats().await) };
    let stats = match place.holder().connection.ask(ask).await {
        Ok(stats) => stats,
        Err(error) => return lost(&error).response(&metadata, true),
    };
    let text = site.meter.text(
        &site.holders.calls(),
        site.holders.connections(),
        stats.as_ref(),
    );
    let headers = [
        (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

/// Lets in whoever may maintain the store.
async fn enter(site: &Site, headers: &HeaderMap) -> Result<Place, Refusal> {
    let holder = site.holder(Credential::bearer_or_basic(headers)).await?;
    if !holder.maintains() {
        return Err(Refusal::TooLittle("at:maintain"));
    }
    holder.enter()
}

fn lost(error: &Error) -> Refusal {
    match error.code() {
        Code::BadCredential | Code::Revoked | Code::Expired => Refusal::BadToken,
        _ => {
            tracing::warn!(%error, "the store's state cannot be read");
            Refusal::NoStore
        }
    }
}

/// Takes what a session may not see as nothing.
fn allowed<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Code::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns what a session sees of its store.
async fn seen(session: &Session) -> Result<Status, Error> {
    let store = &session.store();
    let page = |after: String| async move { store.repos(&after, LIST_RECORDS_MAX).await };
    let (about, stats, repos, grants): (_, Option<StoreStats>, _, _) = futures::try_join!(
        session.about(),
        async { allowed(store.stats().await) },
        async { allowed(newest(page).await) },
        async { allowed(grants(session).await) },
    )?;
    let (repos, more_repos) = repos.unwrap_or_default();
    let (grants, more_grants) = match grants {
        Some((grants, more)) => (Some(grants), more),
        None => (None, false),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Status {
        version: about.version,
        stats,
        repos,
        more_repos,
        grants,
        more_grants,
        now: i64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(i64::MAX),
        ..Status::default()
    })
}

/// Returns the repos that were imported last, and whether some were not looked at. `page` is the one after a DID.
async fn newest<F>(page: impl Fn(String) -> F) -> Result<(Vec<RepoInfo>, bool), Error>
where
    F: Future<Output = Result<RepoList, Error>>,
{
    let (mut newest, mut after, mut more) = (Vec::new(), String::new(), true);
    for _ in 0..PAGES_MAX {
        let page = page(after.clone()).await?;
        more = page.more;
        let Some(last) = page.repos.last() else { break };
        after.clone_from(&last.source.did);
        newest.extend(page.repos);
        newest.sort_by_key(|repo| std::cmp::Reverse(repo.imported));
        newest.truncate(ROWS_MAX);
        if !more {
            break;
        }
    }
    Ok((newest, more))
}

/// Returns the grants that descend from this session's, the newest first, and whether there are more.
async fn grants(session: &Session) -> Result<(Vec<GrantInfo>, bool), Error> {
    let list = session.grants();
    let (mut newest, mut after, mut more) = (Vec::new(), String::new(), true);
    let mut cut = false;
    while more {
        let page = list.list(&after, 0).await?;
        let Some(last) = page.grants.last() else {
            break;
        };
        after.clone_from(&last.id);
        more = page.more;
        newest.extend(page.grants);
        newest.sort_by_key(|grant| std::cmp::Reverse(grant.created));
        cut |= newest.len() > ROWS_MAX;
        newest.truncate(ROWS_MAX);
    }
    Ok((newest, cut))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use carrack_client::{Source, Verdict};
    use carrack_schema::cid::{Cid, Codec};

    use super::*;

    fn repo(imported: i64) -> RepoInfo {
        RepoInfo {
            source: Source {
                did: format!("did:plc:{imported}"),
                rev: String::new(),
                commit: Cid::new(Codec::DagCbor, [7; 32]),
                verdict: Verdict::Unchecked,
            },
            records: 0,
            bytes_in: 0,
            bytes_stored: 0,
            imported,
            missing: 0,
            invalid: 0,
            handle: String::new(),
            status: String::new(),
        }
    }

    /// Returns the newest of so many pages of one repo, and how many were asked for.
    async fn of(pages: usize) -> (Vec<i64>, bool, usize) {
        let asked = Cell::new(0);
        let page = |_| {
            asked.set(asked.get() + 1);
            let list = RepoList {
                repos: vec![repo(asked.get() as i64)],
                more: asked.get() < pages,
            };
            async move { Ok(list) }
        };
        let (newest, more) = newest(page).await.unwrap();
        let newest = newest.iter().map(|repo| repo.imported).collect();
        (newest, more, asked.get())
    }

    #[tokio::test]
    async fn repos_are_looked_at_up_to_a_number() {
        assert_eq!(of(2).await, (vec![2, 1], false, 2));
        let all: Vec<_> = (1..=PAGES_MAX as i64).rev().collect();
        assert_eq!(of(PAGES_MAX).await, (all.clone(), false, PAGES_MAX));
        assert_eq!(of(PAGES_MAX + 1).await, (all, true, PAGES_MAX));
    }
}
