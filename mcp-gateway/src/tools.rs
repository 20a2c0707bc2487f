//! The tools: one a file. Each parses its arguments, sends one flight of RPC, and renders the answer.
//!
//! [`definitions`] and [`call`] are the whole list, in the order clients see it. What a caller may not do, by the way
//! the gateway was started or by their grant, is absent from both.

mod common;
mod export;
mod get;
mod grant;
mod import;
mod list;
mod listing;
pub(crate) mod names;
mod overview;
mod query;
mod rows;
mod thread;
mod verify;

use carrack_client::{Scope, Selection};
pub(crate) use common::nearest;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};

use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::server::{Caller, Policy};

/// Returns the definitions of the tools that this policy offers.
pub(crate) fn definitions(policy: &Policy) -> Vec<Tool> {
    let mut tools = vec![
        overview::definition(),
        get::definition(),
        list::definition(),
        query::definition(),
        thread::definition(),
        verify::definition(),
        export::definition(policy),
    ];
    if policy.imports() {
        tools.push(import::definition());
    }
    if !policy.read_only {
        tools.push(grant::definition());
    }
    tools
}

/// Returns those of the tools that a grant allows to use.
pub(crate) fn allowed(tools: &[Tool], scope: &Scope) -> Vec<Tool> {
    let allowed = tools.iter().filter(|tool| allows(&tool.name, scope));
    allowed.cloned().collect()
}

/// Says whether a grant allows what a tool is for. One that could only fail is not shown.
fn allows(name: &str, scope: &Scope) -> bool {
    let may = scope.may;
    match name {
        overview::NAME => may.read && may.list,
        get::NAME | thread::NAME | verify::NAME => may.read,
        list::NAME | query::NAME => may.list,
        // A whole repo is of all collections.
        import::NAME => may.import && scope.collections == Selection::All,
        export::NAME => may.export && may.read && scope.collections == Selection::All,
        grant::NAME => may.grant,
        _ => false,
    }
}

/// Calls a tool; none if there is no such tool for this policy and this caller's grant.
pub(crate) async fn call(
    name: &str,
    arguments: JsonObject,
    connection: &Connection,
    policy: &Policy,
    caller: &Caller,
) -> Option<Result<Answer, Refusal>> {
    match connection.scope().await {
        Ok(scope) if allows(name, &scope) => {}
        Ok(_) => return None,
        Err(error) => return Some(Err(Refusal::of(&error, format!("calling {name}")))),
    }
    run(name, arguments, connection, policy, caller).await
}

async fn run(
    name: &str,
    arguments: JsonObject,
    connection: &Connection,
    policy: &Policy,
    caller: &Caller,
) -> Option<Result<Answer, Refusal>> {
    Some(match name {
        overview::NAME => overview::run(connection, arguments).await,
        get::NAME => get::run(connection, arguments).await,
        list::NAME => list::run(connection, arguments).await,
        query::NAME => query::run(connection, arguments).await,
        thread::NAME => thread::run(connection, arguments).await,
        verify::NAME => verify::run(connection, arguments).await,
        import::NAME if policy.imports() => {
            import::run(connection, policy, caller, arguments).await
        }
        export::NAME => export::run(connection, policy, caller, arguments).await,
        grant::NAME if !policy.read_only => grant::run(connection, arguments).await,
        _ => return None,
    })
}

/// What all reading tools are: they change nothing, and nothing outside the archive answers.
fn reading() -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false)
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use carrack_client::Session;
    use serde_json::json;

    use super::*;
    use crate::connection::Backend;
    use crate::embedded::Folder;
    use crate::source::ImportRule;

    const NAMES: [&str; 9] = [
        "at_overview",
        "at_get",
        "at_list",
        "at_query",
        "at_thread",
        "at_verify",
        "at_import",
        "at_export",
        "at_grant",
    ];

    fn scope() -> Scope {
        Scope::none()
            .all_repos()
            .all_collections()
            .unlimited_calls()
            .unlimited_bytes()
            .never_expires()
    }

    fn narrow() -> Scope {
        Scope {
            collections: Selection::Only(vec!["app.bsky.feed.post".into()]),
            ..scope()
        }
    }

    /// What the holder of a grant is offered, and which calls are answered as calls of a tool.
    async fn offered(owner: &Session, scope: Scope) -> (Vec<String>, Vec<String>) {
        let policy = Policy {
            read_only: false,
            import: ImportRule::AnyFile,
            tools: None,
        };
        let issued = owner.grants().issue(scope, "test").await.unwrap();
        let nowhere = Backend::Folder(Folder::new(Some("/nonexistent".into())).unwrap());
        let connection = Connection::holding(nowhere, issued.session).await;
        let scope = connection.scope().await.unwrap();
        let listed = allowed(&definitions(&policy), &scope);
        let mut answered = Vec::new();
        for name in NAMES {
            let arguments = json!({ "nothing": 1 }).as_object().unwrap().clone();
            let caller = Caller::default();
            if call(name, arguments, &connection, &policy, &caller)
                .await
                .is_some()
            {
                answered.push(name.to_owned());
            }
        }
        let listed = listed.iter().map(|tool| tool.name.to_string());
        (listed.collect(), answered)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_tool_that_the_grant_does_not_allow_is_neither_listed_nor_known() {
        let data = tempfile::tempdir().unwrap();
        let backend = Backend::Folder(Folder::new(Some(data.path().into())).unwrap());
        let connection = Connection::new(backend);
        let owner = connection.session().await.unwrap();
        for (scope, expected) in [
            (scope(), &[][..]),
            (scope().read(), &["at_get", "at_thread", "at_verify"]),
            (scope().list(), &["at_list", "at_query"]),
            (
                scope().read().list(),
                &[
                    "at_overview",
                    "at_get",
                    "at_list",
                    "at_query",
                    "at_thread",
                    "at_verify",
                ],
            ),
            (scope().import(), &["at_import"]),
            (scope().export(), &[]),
            (scope().grant(), &["at_grant"]),
            (
                scope().read().export(),
                &["at_get", "at_thread", "at_verify", "at_export"],
            ),
            (
                narrow().read().export(),
                &["at_get", "at_thread", "at_verify"],
            ),
            (narrow().import(), &[]),
        ] {
            let (listed, answered) = offered(&owner, scope.clone()).await;
            assert_eq!(listed, expected, "{scope:?}");
            assert_eq!(answered, expected, "{scope:?}");
        }
        connection.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_grant_that_is_over_says_so() {
        let data = tempfile::tempdir().unwrap();
        let backend = Backend::Folder(Folder::new(Some(data.path().into())).unwrap());
        let connection = Connection::new(backend);
        let owner = connection.session().await.unwrap();
        let issued = owner
            .grants()
            .issue(scope().read().list(), "test")
            .await
            .unwrap();
        let nowhere = Backend::Folder(Folder::new(Some("/nonexistent".into())).unwrap());
        let holder = Connection::holding(nowhere, issued.session).await;
        let policy = Policy {
            read_only: false,
            import: ImportRule::AnyFile,
            tools: None,
        };
        let caller = Caller::default();
        let overview = || call(overview::NAME, JsonObject::new(), &holder, &policy, &caller);
        assert!(matches!(overview().await, Some(Ok(_))));
        issued.grant.revoke().await.unwrap();
        let Some(Err(refusal)) = overview().await else {
            panic!("nothing is answered for a grant that was revoked");
        };
        assert_eq!(refusal.code(), carrack_schema::Code::Revoked);
        connection.shutdown().await;
    }

    /// The hop to the store is refused while the grant has no calls left for this second; that must not last.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_could_not_be_named_is_named_again() {
        let data = tempfile::tempdir().unwrap();
        let backend = Backend::Folder(Folder::new(Some(data.path().into())).unwrap());
        let connection = Connection::new(backend);
        let owner = connection.session().await.unwrap();
        let scope = scope().read().list().calls_per_second(4);
        let issued = owner.grants().issue(scope, "test").await.unwrap();
        let session = issued.session.clone();
        let nowhere = Backend::Folder(Folder::new(Some("/nonexistent".into())).unwrap());
        let holder = Connection::holding(nowhere, issued.session).await;
        while session.about().await.is_ok() {}
        let stats = || holder.read(|store| async move { store.stats().await });
        let refused = stats().await.unwrap_err();
        assert_eq!(refused.code(), carrack_schema::Code::Overloaded);
        // Trying takes a call, too: so seldom that some are left for the answer.
        let mut tries = tokio::time::interval(std::time::Duration::from_millis(600));
        let read = async {
            while stats().await.is_err() {
                tries.tick().await;
            }
        };
        let patience = std::time::Duration::from_secs(60);
        tokio::time::timeout(patience, read).await.unwrap();
        connection.shutdown().await;
    }
}
