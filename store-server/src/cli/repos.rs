//! `carrack repos`: what is in the store.

use carrack_client::RepoInfo;
use carrack_schema::codes::Exit;
use carrack_schema::time::rfc3339;

use super::Result;
use super::door::Door;
use super::output::Output;

pub(super) async fn run(door: &mut Door, output: &mut Output) -> Result<Exit> {
    let mut after = String::new();
    let mut is_empty = true;
    loop {
        let list = door
            .call(async |session| Ok(session.store().repos(&after, 0).await?))
            .await?;
        for repo in &list.repos {
            print(repo, output)?;
        }
        is_empty &= list.repos.is_empty();
        match list.repos.last() {
            Some(last) if list.more && !output.is_closed() => after.clone_from(&last.source.did),
            _ => break,
        }
    }
    if is_empty && !output.is_json() {
        output.note("none; `carrack import` brings some in");
    }
    Ok(Exit::Ok)
}

fn print(repo: &RepoInfo, output: &mut Output) -> Result {
    let source = &repo.source;
    let imported = rfc3339(repo.imported);
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if output.is_json() {
        return output.object(&serde_json::json!({
            "did": source.did,
            "handle": given(&repo.handle),
            "rev": given(&source.rev),
            "commit": source.commit.to_string(),
            "records": repo.records,
            "bytes": repo.bytes_stored,
            "imported": imported,
            "complete": repo.missing == 0,
            "active": repo.status.is_empty(),
            "status": given(&repo.status),
            "verdict": source.verdict.as_str(),
        }));
    }
    let mut parts = vec![source.did.clone()];
    parts.extend(given(&repo.handle));
    parts.extend(given(&source.rev).map(|rev| format!("rev {rev}")));
    parts.push(format!("{} records", repo.records));
    parts.push(format!("{} bytes", repo.bytes_stored));
    parts.push(format!("imported {imported}"));
    parts.push(source.verdict.words().to_owned());
    if repo.missing > 0 {
        parts.push(format!("partial: {} records missing", repo.missing));
    }
    parts.extend(given(&repo.status).map(|status| format!("hidden: {status}")));
    output.line(&parts.join("  "))
}
