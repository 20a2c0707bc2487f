//! `carrack repos`: what is in the store.

use carrack_client::{Session, Verdict};
use carrack_schema::codes::Exit;
use carrack_schema::time::rfc3339;

use super::Result;
use super::output::Output;

pub(super) async fn run(session: &Session, output: &mut Output) -> Result<Exit> {
    let store = session.store();
    let mut after = String::new();
    loop {
        let list = store.repos(&after, 0).await?;
        for repo in &list.repos {
            let source = &repo.source;
            let imported = rfc3339(repo.imported);
            if output.is_json() {
                // Only whole repos are taken in, and nothing hides one yet; a handle comes from a DID document.
                output.object(&serde_json::json!({
                    "did": source.did,
                    "handle": null,
                    "rev": source.rev,
                    "commit": source.commit.to_string(),
                    "records": repo.records,
                    "bytes": repo.bytes_stored,
                    "imported": imported,
                    "complete": true,
                    "active": true,
                    "verdict": source.verdict.as_str(),
                }))?;
            } else {
                output.line(&format!(
                    "{}  rev {}  {} records  {} bytes  imported {imported}  {}",
                    source.did,
                    source.rev,
                    repo.records,
                    repo.bytes_stored,
                    verdict(source.verdict),
                ))?;
            }
        }
        match list.repos.last() {
            Some(last) if list.more => after.clone_from(&last.source.did),
            _ => return Ok(Exit::Ok),
        }
    }
}

/// Returns a verdict in a person's words.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unchecked => "signature unchecked",
    }
}
