//! The tools: one a file. Each parses its arguments, sends one flight of RPC, and renders the answer.
//!
//! [`definitions`] and [`call`] are the whole list, in the order clients see it. What a caller may not do is absent
//! from both.

mod common;
mod get;
mod import;
mod list;
mod listing;
mod overview;
mod query;
mod rows;
mod thread;
mod verify;

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
    ];
    if policy.imports() {
        tools.push(import::definition());
    }
    tools
}

/// Calls a tool; none if there is no such tool for this policy.
pub(crate) async fn call(
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
