//! `at_overview`: what the archive holds, or one account of it.

use carrack_client::{CollectionInfo, RepoInfo, RepoList, Source, Store, StoreStats};
use carrack_schema::time::rfc3339;
use carrack_schema::{Code, Did, Nsid};
use rmcp::model::{JsonObject, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::{self, Format};
use crate::answer::{Answer, Refusal};
use crate::connection::Connection;
use crate::render::Budget;
use crate::render::frame::{count, counted, provenance};
use crate::schema;

pub(crate) const NAME: &str = "at_overview";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Account: DID, known handle, at-uri or bsky.app URL. Without it: the whole archive
    actor: Option<String>,
    /// Most rows
    #[serde(default = "common::limit_default")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
    /// `next` of the page before
    cursor: Option<String>,
    /// full adds commit, sizes and import time
    #[serde(default)]
    format: Format,
    /// Most bytes of the answer
    #[serde(default = "common::max_bytes_default")]
    #[schemars(range(min = 1024, max = 65536))]
    max_bytes: u32,
}

/// The structured half.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    truncated: bool,
}

/// A repo of the archive, or a collection of a repo.
#[derive(Debug, Serialize, JsonSchema)]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    records: u64,
}

pub(crate) fn definition() -> Tool {
    Tool::new(
        NAME,
        "What the archive holds: accounts with record counts; with `actor`, that account's collections. Start here. \
         Not for records: use at_list or at_get. \
         Example: {\"actor\":\"did:plc:ewvi7nxzyoun6zhxrhs64oiz\"}",
        schema::input::<Arguments>(),
    )
    .with_raw_output_schema(schema::output::<Output>("items"))
    .with_annotations(super::reading())
}

pub(crate) async fn run(connection: &Connection, arguments: JsonObject) -> Result<Answer, Refusal> {
    let example = json!({ "actor": "did:plc:ewvi7nxzyoun6zhxrhs64oiz" });
    let arguments: Arguments = common::arguments(NAME, arguments, &example)?;
    let page = PageOf {
        limit: common::limit(arguments.limit)?,
        bytes_max: common::max_bytes(arguments.max_bytes)?,
        format: arguments.format,
    };
    match &arguments.actor {
        None => archive(connection, arguments.cursor.as_deref(), page).await,
        Some(actor) => account(connection, actor, arguments.cursor, page).await,
    }
}

/// How much to show, and how.
#[derive(Clone, Copy)]
struct PageOf {
    limit: u32,
    bytes_max: usize,
    format: Format,
}

/// A page goes on after a name, so its cursor is that name: exact at any row, and no secret.
fn cursor<T: std::str::FromStr>(text: Option<&str>) -> Result<(), Refusal> {
    match text {
        Some(text) if text.parse::<T>().is_err() => Err(Refusal::new(
            Code::InvalidArgument,
            "going on from this cursor",
            "it is not one of this listing",
        )
        .hint("leave the cursor out to start from the beginning")),
        _ => Ok(()),
    }
}

async fn archive(
    connection: &Connection,
    after: Option<&str>,
    page: PageOf,
) -> Result<Answer, Refusal> {
    cursor::<Did>(after)?;
    let read = |store: Store| async move {
        let repos = store.repos(after.unwrap_or_default(), page.limit);
        futures::try_join!(store.stats(), repos)
    };
    let (stats, list) = connection
        .read(read)
        .await
        .map_err(|error| Refusal::of(&error, "reading the archive's totals"))?;
    Ok(render_archive(&stats, &list, page))
}

fn render_archive(stats: &StoreStats, list: &RepoList, page: PageOf) -> Answer {
    // Totals over collections that a session may not see are not told, and would be zeros.
    let is_told = stats.bytes_in > 0 || stats.repos == 0;
    let mut header = counted(stats.repos, "repo");
    if is_told {
        header.push_str(" · ");
        header.push_str(&counted(stats.records, "record"));
    } else {
        header.push_str(" · of each, the records in collections that this session may see");
    }
    if page.format == Format::Full {
        header.push_str(&sizes(stats.bytes_in, stats.bytes_stored));
    }
    if stats.repos == 0 {
        header =
            "none: the archive is empty; `carrack import FILE.car` adds an account, as does at_import where offered"
                .to_owned();
    }
    let rows = list.repos.iter().map(|repo| Row {
        line: repo_row(repo, page.format),
        name: &repo.source.did,
        item: Item {
            did: Some(repo.source.did.clone()),
            rev: Some(repo.source.rev.clone()),
            verdict: Some(repo.source.verdict.as_str()),
            collection: None,
            records: repo.records,
        },
    });
    let output = Output {
        repos: Some(stats.repos),
        records: is_told.then_some(stats.records),
        ..Output::default()
    };
    assemble(header, rows, list.more, output, page)
}

fn repo_row(repo: &RepoInfo, format: Format) -> String {
    let mut line = format!(
        "{} · {} · {}",
        repo.source.did,
        counted(repo.records, "record"),
        provenance(&repo.source)
    );
    if format == Format::Full {
        line.push_str(&details(repo));
    }
    line
}

fn details(repo: &RepoInfo) -> String {
    format!(
        " · commit {}{} · imported {}",
        repo.source.commit,
        sizes(repo.bytes_in, repo.bytes_stored),
        rfc3339(repo.imported)
    )
}

/// Returns what follows on sizes; nothing where they are not told.
fn sizes(bytes_in: u64, bytes_stored: u64) -> String {
    if bytes_in == 0 {
        return String::new();
    }
    format!(
        " · {} bytes of CAR, {} stored",
        count(bytes_in),
        count(bytes_stored)
    )
}

async fn account(
    connection: &Connection,
    actor: &str,
    after: Option<String>,
    page: PageOf,
) -> Result<Answer, Refusal> {
    cursor::<Nsid>(after.as_deref())?;
    let reference = common::reference(connection, actor).await?;
    let did = reference.did().as_str();
    let read = |store: Store| async move {
        let repo = store.repo(did);
        futures::try_join!(repo.info(), repo.collections())
    };
    let (info, collections) = connection
        .read(read)
        .await
        .map_err(|error| Refusal::of(&error, format!("reading {did}")))?;
    let (info, collections) = match (info, collections) {
        (Ok(info), Ok(collections)) => (info, collections),
        (Err(absent), _) | (_, Err(absent)) => {
            return Err(common::no_repo(connection, did, absent).await);
        }
    };
    let account = Account {
        source: &info.source,
        records: info.records,
        details: details(&info),
    };
    Ok(render_account(
        &account,
        &collections,
        after.as_deref(),
        page,
    ))
}

/// What is said of an account as a whole.
struct Account<'a> {
    source: &'a Source,
    records: u64,
    /// For the full format.
    details: String,
}

fn render_account(
    account: &Account<'_>,
    collections: &[CollectionInfo],
    after: Option<&str>,
    page: PageOf,
) -> Answer {
    let mut header = format!(
        "{} · {} in {}",
        common::repo_line(account.source),
        counted(account.records, "record"),
        counted(collections.len() as u64, "collection")
    );
    if page.format == Format::Full {
        header.push_str(&account.details);
    }
    let mut left = collections
        .iter()
        .filter(|collection| after.is_none_or(|after| collection.nsid.as_str() > after));
    let rows = left
        .by_ref()
        .take(page.limit as usize)
        .map(|collection| Row {
            line: format!("{} · {}", collection.nsid, count(collection.records)),
            name: &collection.nsid,
            item: Item {
                did: None,
                rev: None,
                verdict: None,
                collection: Some(collection.nsid.clone()),
                records: collection.records,
            },
        });
    let rows: Vec<_> = rows.collect();
    let more = left.next().is_some();
    let output = Output {
        did: Some(account.source.did.clone()),
        rev: Some(account.source.rev.clone()),
        verdict: Some(account.source.verdict.as_str()),
        records: Some(account.records),
        ..Output::default()
    };
    assemble(header, rows.into_iter(), more, output, page)
}

struct Row<'a> {
    line: String,
    /// What a page that ends here goes on after.
    name: &'a str,
    item: Item,
}

fn assemble<'a>(
    header: String,
    rows: impl Iterator<Item = Row<'a>>,
    more: bool,
    mut output: Output,
    page: PageOf,
) -> Answer {
    let rows: Vec<_> = rows.collect();
    let longest = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let frame = header.len() + common::json_bytes(&output) + common::next_bytes(longest);
    let mut budget = Budget::new(page.bytes_max, frame);
    let mut body = String::new();
    let mut last = None;
    let count = rows.len();
    for row in rows {
        let cost = row.line.len() + common::json_bytes(&row.item) + 2;
        // One row is always shown: a page without any would go on nowhere.
        if !budget.take(cost) && last.is_some() {
            break;
        }
        body.push('\n');
        body.push_str(&row.line);
        output.items.push(row.item);
        last = Some(row.name);
    }
    output.truncated = output.items.len() < count;
    if more || output.truncated {
        output.next = last.map(str::to_owned);
    }
    let next = common::next_note(output.next.as_deref(), output.truncated);
    Answer::new(format!("{header}{next}{body}"), &output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collections(count: u64) -> Vec<CollectionInfo> {
        (0..count)
            .map(|i| CollectionInfo {
                nsid: format!("com.example.c{i:03}"),
                records: i,
            })
            .collect()
    }

    fn source() -> Source {
        Source {
            did: "did:plc:a".into(),
            rev: "3n2v4k6owr72x".into(),
            commit: carrack_schema::Cid::new(carrack_schema::cid::Codec::DagCbor, [7; 32]),
            verdict: carrack_client::Verdict::Unchecked,
        }
    }

    #[test]
    fn pages_of_collections_hold_each_once() {
        let source = source();
        for (limit, bytes_max) in [(25, 8_192), (1_000, 1_024), (7, 1_024), (1, 65_536)] {
            let page = PageOf {
                limit,
                bytes_max,
                format: Format::Compact,
            };
            let (all, mut after, mut seen) = (collections(100), None::<String>, Vec::new());
            loop {
                let account = Account {
                    source: &source,
                    records: 7,
                    details: String::new(),
                };
                let answer = render_account(&account, &all, after.as_deref(), page);
                let size = answer.text.len() + answer.structured.to_string().len();
                assert!(size <= bytes_max, "{size} > {bytes_max}");
                assert!(answer.text.contains("signature unchecked"));
                let items = answer.structured["items"].as_array().unwrap().clone();
                assert_eq!(answer.text.lines().count(), items.len() + 1);
                seen.extend(
                    items
                        .iter()
                        .map(|item| item["collection"].as_str().unwrap().to_owned()),
                );
                match answer.structured["next"].as_str() {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            let expected: Vec<_> = all.into_iter().map(|collection| collection.nsid).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn an_empty_archive_says_none() {
        let page = PageOf {
            limit: 25,
            bytes_max: 8_192,
            format: Format::Compact,
        };
        let list = RepoList {
            repos: Vec::new(),
            more: false,
        };
        let answer = render_archive(&StoreStats::default(), &list, page);
        assert!(answer.text.starts_with("none: "), "{}", answer.text);
        assert_eq!(answer.structured["items"], json!([]));
    }
}
