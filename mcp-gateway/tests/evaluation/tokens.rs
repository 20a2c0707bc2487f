//! [`compare`]: twenty rows of `at_list` beside the same rows as record JSON.

use serde_json::{Value, json};

use crate::oracle::{Record, Repo};
use crate::session::{Cost, Session};

/// Rows of a listing; what most servers give a page.
const ROWS: usize = 20;

/// What is listed, and its name in the report.
const KINDS: [(&str, &str); 4] = [
    ("likes", "app.bsky.feed.like"),
    ("reposts", "app.bsky.feed.repost"),
    ("follows", "app.bsky.graph.follow"),
    ("posts", "app.bsky.feed.post"),
];

/// The cost of twenty rows, in tokens.
#[derive(Clone, Copy, Default)]
pub(crate) struct Compared {
    pub(crate) text: f64,
    pub(crate) structured: f64,
    /// The records alone.
    pub(crate) values: f64,
    /// As `com.atproto.repo.listRecords` answers: at-uri, CID and value.
    pub(crate) records: f64,
}

/// Compares the kinds of records that a repo has; the last row is their mix, in the repo's own shares.
pub(crate) fn compare(session: &mut Session, repo: &Repo) -> Vec<(&'static str, usize, Compared)> {
    let mut rows = Vec::new();
    for (name, collection) in KINDS {
        let held = repo.collection(collection).len();
        if held >= ROWS {
            rows.push((name, held, one(session, repo, collection)));
        }
    }
    let total: usize = rows.iter().map(|(_, held, _)| held).sum();
    let mut mix = Compared::default();
    for (_, held, cost) in &rows {
        let share = *held as f64 / total as f64;
        mix.text += share * cost.text;
        mix.structured += share * cost.structured;
        mix.values += share * cost.values;
        mix.records += share * cost.records;
    }
    rows.push(("the mix", total, mix));
    rows
}

fn one(session: &mut Session, repo: &Repo, collection: &str) -> Compared {
    session.cost = Cost::default();
    let arguments = json!({ "actor": repo.did, "collection": collection, "limit": ROWS });
    let reply = session.call("at_list", arguments);
    let shown = reply.structured["items"].as_array().unwrap();
    assert_eq!(shown.len(), ROWS, "{}", reply.text);
    let paths: Vec<_> = shown
        .iter()
        .map(|item| format!("{collection}/{}", item["rkey"].as_str().unwrap()))
        .collect();
    let json = |form: fn(&str, &str, &Record) -> Value| -> Value {
        let records = paths
            .iter()
            .map(|path| form(&repo.did, path, &repo.records[path]));
        json!({ "records": records.collect::<Vec<_>>() })
    };
    let values = json(|_, _, record| record.value.clone());
    let records = json(
        |did, path, record| json!({ "uri": format!("at://{did}/{path}"), "cid": record.cid, "value": record.value }),
    );
    Compared {
        text: session.cost.read as f64,
        structured: session.cost.structured as f64,
        values: session.tokens(&values.to_string()) as f64,
        records: session.tokens(&records.to_string()) as f64,
    }
}
