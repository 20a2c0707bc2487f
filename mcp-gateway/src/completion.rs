//! Completion of what prompts and templates are filled in with, from what the caller may list.

use std::cmp::Reverse;

use carrack_client::{CollectionInfo, Error, PageRequest, Range, RepoInfo, Store, Want};
use carrack_schema::limits::{COMPLETION_REPOS_MAX, LIST_RECORDS_MAX};
use carrack_schema::{Code, Did, Nsid};
use rmcp::ErrorData;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference};

use crate::connection::Connection;
use crate::resources::{self, invalid};

/// Completes an argument of a prompt or of a template. `is_argument` says whether a prompt has one of that name.
pub(crate) async fn complete(
    connection: &Connection,
    request: &CompleteRequestParams,
    is_argument: impl Fn(&str, &str) -> bool,
) -> Result<CompleteResult, ErrorData> {
    let name = request.argument.name.as_str();
    let known = match &request.r#ref {
        Reference::Prompt(prompt) => is_argument(&prompt.name, name),
        Reference::Resource(template) => resources::has_variable(&template.uri, name),
        _ => false,
    };
    if !known {
        return Err(invalid(
            "there is no such argument to complete: prompts/list and resources/templates/list name those there are",
        ));
    }
    let filled = |name: &str| -> &str {
        let context = request.context.as_ref();
        let value = context.and_then(|context| context.get_argument(name));
        value.map_or("", String::as_str)
    };
    let text = request.argument.value.as_str();
    let found = match name {
        "did" | "actor" | "a" | "b" => accounts(connection, text).await,
        "collection" => collections(connection, filled("did"), text).await,
        "rkey" => keys(connection, filled("did"), filled("collection"), text).await,
        "uri" => uris(connection, text).await,
        // Times, cursors and numbers.
        _ => Ok(Values::default()),
    };
    match found {
        Ok(values) => Ok(CompleteResult::new(values.info())),
        // Whoever may not list is told of no names.
        Err(error) if error.code() == Code::Denied => Ok(CompleteResult::default()),
        Err(error) => Err(resources::failed("the completion", &error)),
    }
}

/// Values in their order.
#[derive(Default)]
struct Values {
    values: Vec<String>,
    /// There are more, of which nobody knows how many.
    more: bool,
}

impl Values {
    fn info(mut self) -> CompletionInfo {
        let total = self.values.len();
        self.values.truncate(CompletionInfo::MAX_VALUES);
        let mut info = CompletionInfo::default();
        info.has_more = Some(self.more || total > self.values.len());
        info.total = match self.more {
            true => None,
            false => u32::try_from(total).ok(),
        };
        info.values = self.values;
        info
    }
}

/// Returns the DIDs of accounts whose DID or handle begins with a text, the largest first.
async fn accounts(connection: &Connection, text: &str) -> Result<Values, Error> {
    accounts_among(connection, text, COMPLETION_REPOS_MAX).await
}

/// Looks at so many accounts at the most; if there are others, it is not known how many of them fit.
async fn accounts_among(connection: &Connection, text: &str, most: usize) -> Result<Values, Error> {
    let handle = text.trim_start_matches('@').to_ascii_lowercase();
    let mut after = below(text);
    let mut found: Vec<(u64, String)> = Vec::new();
    let (mut looked_at, mut more) = (0, true);
    while more && looked_at < most {
        let limit = u32::try_from(most - looked_at).unwrap_or(u32::MAX);
        let limit = limit.min(LIST_RECORDS_MAX);
        let last = after.as_str();
        let read = |store: Store| async move { store.repos(last, limit).await };
        let page = connection.read(read).await?;
        looked_at += page.repos.len();
        let next = page.repos.last().map(|repo| repo.source.did.clone());
        // Beyond the DIDs that begin so there is none that does.
        let is_past = |did: &String| text.starts_with("did:") && *did > format!("{text}~");
        more = page.more && next.as_ref().is_some_and(|did| !is_past(did));
        after = next.unwrap_or_default();
        let begins = |repo: &RepoInfo| {
            repo.source.did.starts_with(text)
                || (!repo.handle.is_empty() && repo.handle.starts_with(&handle))
        };
        let matching = page.repos.into_iter();
        let matching = matching.filter(|repo| repo.status.is_empty() && begins(repo));
        found.extend(matching.map(|repo| (repo.records, repo.source.did)));
    }
    found.sort_by_key(|(records, did)| (Reverse(*records), did.clone()));
    Ok(Values {
        values: found.into_iter().map(|(_, did)| did).collect(),
        more,
    })
}

/// Returns a text that sorts before all DIDs that begin so, and after nearly all others that do.
fn below(text: &str) -> String {
    if !text.starts_with("did:") {
        return String::new();
    }
    let mut bytes = text.as_bytes().to_vec();
    match bytes.last_mut() {
        // `~` is above every character of a DID.
        Some(last) if last.is_ascii_graphic() => {
            *last -= 1;
            bytes.push(b'~');
            String::from_utf8(bytes).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// Returns an account's collections whose name, or its last part, begins with a text, the largest first.
async fn collections(connection: &Connection, did: &str, text: &str) -> Result<Values, Error> {
    if did.parse::<Did>().is_err() {
        return Ok(Values::default());
    }
    let read = |store: Store| async move { store.repo(did).collections().await };
    let Ok(mut held) = connection.read(read).await? else {
        return Ok(Values::default());
    };
    let begins = |each: &CollectionInfo| {
        let name = each.nsid.rsplit('.').next();
        each.nsid.starts_with(text) || name.is_some_and(|name| name.starts_with(text))
    };
    held.retain(begins);
    held.sort_by_key(|each| (Reverse(each.records), each.nsid.clone()));
    Ok(Values {
        values: held.into_iter().map(|each| each.nsid).collect(),
        more: false,
    })
}

/// Returns the latest keys of a collection that begin with a text.
async fn keys(
    connection: &Connection,
    did: &str,
    collection: &str,
    text: &str,
) -> Result<Values, Error> {
    if did.parse::<Did>().is_err() || collection.parse::<Nsid>().is_err() || !text.is_ascii() {
        return Ok(Values::default());
    }
    let read = |store: Store| async move {
        let range = Range {
            from: text.to_owned(),
            // Keys are ASCII, so DEL is above every character that can follow.
            before: match text {
                "" => String::new(),
                text => format!("{text}\u{7f}"),
            },
            reverse: true,
        };
        let request = PageRequest {
            limit: CompletionInfo::MAX_VALUES as u32,
            cursor: None,
        };
        let listing = store.repo(did).collection(collection);
        listing.list(range, Want::default()).page(request).await
    };
    let Ok(page) = connection.read(read).await? else {
        return Ok(Values::default());
    };
    Ok(Values {
        more: page.next.is_some(),
        values: page.records.into_iter().map(|row| row.rkey).collect(),
    })
}

/// Returns at-URIs that go one part further than a text: an account, one of its collections, one of its records.
async fn uris(connection: &Connection, text: &str) -> Result<Values, Error> {
    let rest = text.strip_prefix("at://").unwrap_or(text);
    let parts: Vec<_> = rest.split('/').collect();
    let (start, mut found) = match parts.as_slice() {
        [actor] => (
            "at://".to_owned(),
            // What is still on its way to `at://`.
            match "at://".starts_with(actor) {
                true => accounts(connection, "").await?,
                false => accounts(connection, actor).await?,
            },
        ),
        [did, collection] => (
            format!("at://{did}/"),
            collections(connection, did, collection).await?,
        ),
        [did, collection, rkey] => (
            format!("at://{did}/{collection}/"),
            keys(connection, did, collection, rkey).await?,
        ),
        _ => return Ok(Values::default()),
    };
    for value in &mut found.values {
        value.insert_str(0, &start);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_at_most_a_hundred() {
        for (count, more, has_more, total) in [
            (100, false, false, Some(100)),
            (101, false, true, Some(101)),
            (5, true, true, None),
            (0, false, false, Some(0)),
        ] {
            let values = vec!["x".to_owned(); count];
            let info = Values { values, more }.info();
            assert_eq!(info.values.len(), count.min(100));
            assert_eq!((info.has_more, info.total), (Some(has_more), total));
        }
    }

    #[test]
    fn the_start_is_below_every_did_that_begins_so() {
        let start = below("did:plc:b");
        for (did, is_after) in [
            ("did:plc:a", false),
            ("did:plc:azzz", false),
            ("did:plc:b", true),
            ("did:plc:b0", true),
            ("did:plc:c", true),
        ] {
            assert_eq!(did > start.as_str(), is_after, "{did}");
        }
        assert_eq!(below("ali"), "");
        assert_eq!(below("did:é"), "");
    }
}

#[cfg(all(test, feature = "embedded"))]
mod granted {
    use carrack_client::Scope;
    use rmcp::model::{ArgumentInfo, CompletionContext};

    use super::*;
    use crate::resources::granted::{ACTOR, Archive, FRIEND};

    async fn values(
        connection: &Connection,
        argument: (&str, &str),
        filled: &[(&str, &str)],
    ) -> Vec<String> {
        let argument = ArgumentInfo::new(argument.0, argument.1);
        let template = Reference::for_resource("at://{did}/{collection}/{rkey}");
        let filled = filled
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let request = CompleteRequestParams::new(template, argument)
            .with_context(CompletionContext::with_arguments(filled.collect()));
        let none = |_: &str, _: &str| false;
        let result = complete(connection, &request, none).await.unwrap();
        result.completion.values
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn so_many_accounts_are_looked_at() {
        let archive = Archive::new().await;
        let owner = archive.owner();
        for (text, most, dids, more) in [
            ("", 1, &[FRIEND][..], true),
            ("", 2, &[ACTOR, FRIEND], false),
            // Of a DID's start only those from there on are looked at.
            ("did:plc:r", 1, &[ACTOR], false),
            ("did:plc:4", 1, &[FRIEND], true),
            ("did:plc:4", 2, &[FRIEND], false),
        ] {
            let found = accounts_among(owner, text, most).await.unwrap();
            assert_eq!(
                (found.values, found.more),
                (dids.iter().map(ToString::to_string).collect(), more),
                "{text} {most}"
            );
        }
        archive.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_may_not_be_listed_is_not_completed() {
        let archive = Archive::new().await;
        let owner = archive.owner();
        assert_eq!(
            values(owner, ("did", "did:plc"), &[]).await,
            [ACTOR, FRIEND]
        );
        let scope = Scope::none().repo(ACTOR).collection("app.bsky.feed.*");
        let narrow = archive.with(scope.read().list()).await;
        assert_eq!(values(&narrow, ("did", ""), &[]).await, [ACTOR]);
        let mine = [("did", ACTOR)];
        let feed = [
            "app.bsky.feed.post",
            "app.bsky.feed.like",
            "app.bsky.feed.repost",
        ];
        assert_eq!(values(&narrow, ("collection", ""), &mine).await, feed);
        assert!(values(owner, ("collection", ""), &mine).await.len() > 3);
        for filled in [
            [("did", FRIEND), ("collection", "app.bsky.feed.post")],
            [("did", ACTOR), ("collection", "app.bsky.actor.profile")],
        ] {
            assert!(values(&narrow, ("rkey", ""), &filled).await.is_empty());
            assert!(!values(owner, ("rkey", ""), &filled).await.is_empty());
        }
        assert!(
            values(&narrow, ("collection", ""), &[("did", FRIEND)])
                .await
                .is_empty()
        );
        let reader = archive
            .with(Scope::none().all_repos().all_collections().read())
            .await;
        for (name, filled) in [
            ("did", &[][..]),
            ("collection", &mine),
            (
                "rkey",
                &[("did", ACTOR), ("collection", "app.bsky.feed.post")],
            ),
        ] {
            assert!(
                values(&reader, (name, ""), filled).await.is_empty(),
                "{name}"
            );
        }
        archive.end().await;
    }
}
