//! Queries the obvious way: every record decoded to a tree, every step a list of rows.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use carrack_repo::cbor::{Reader, Token};
use carrack_schema::names::Tid;
use carrack_schema::{AtUri, Value};

/// What the model knows of a store: records by repo and path, and repos that are hidden.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub(crate) hidden: BTreeSet<String>,
    /// Repos and collections that may be seen; all if there are none.
    pub(crate) scope: Option<(BTreeSet<String>, BTreeSet<String>)>,
}

/// A step as text, and what the model needs of it.
#[derive(Clone, Debug)]
pub(crate) enum MStep {
    Get(Vec<String>),
    List {
        repos: MRepos,
        collection: String,
        from: String,
        before: String,
        reverse: bool,
        since: Option<i64>,
        until: Option<i64>,
    },
    Filter(Vec<MTest>),
    Among(String, usize, String, bool),
    Map(String),
    Project(MForm),
    Count,
    Group(String),
    Top(u32, Option<String>, bool),
    Distinct(String),
    First(u32),
}

#[derive(Clone, Debug)]
pub(crate) enum MRepos {
    Named(Vec<String>),
    At(String),
    All,
}

#[derive(Clone, Debug)]
pub(crate) struct MTest {
    pub(crate) path: String,
    pub(crate) negate: bool,
    pub(crate) op: MOp,
}

#[derive(Clone, Debug)]
pub(crate) enum MOp {
    Exists,
    Equals(Value),
    Prefix(String),
    Contains(String),
    AtLeast(Value),
    Below(Value),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MForm {
    None,
    Value(Vec<String>),
    DagCbor,
}

/// A row of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MRow {
    pub(crate) count: u64,
    pub(crate) form: MForm,
    pub(crate) what: MWhat,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MWhat {
    Count,
    Record {
        did: String,
        path: String,
        bytes: Vec<u8>,
    },
    Absent(String),
    Value(Value),
}

impl Model {
    fn sees(&self, did: &str) -> bool {
        !self.hidden.contains(did)
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| scope.0.contains(did))
    }

    fn sees_collection(&self, nsid: &str) -> bool {
        self.scope
            .as_ref()
            .is_none_or(|scope| scope.1.contains(nsid))
    }

    /// Returns the rows of each step; `from` is an index.
    pub(crate) fn run(&self, steps: &[(Option<usize>, MStep)]) -> Vec<Vec<MRow>> {
        let mut all: Vec<Vec<MRow>> = Vec::new();
        for (from, step) in steps {
            let input = from.map(|from| all[from].clone()).unwrap_or_default();
            let rows = self.step(step, input, &all);
            all.push(rows);
        }
        all
    }

    fn step(&self, step: &MStep, input: Vec<MRow>, all: &[Vec<MRow>]) -> Vec<MRow> {
        match step {
            MStep::Get(uris) => {
                let mut seen = BTreeSet::new();
                let once = uris.iter().filter(|uri| seen.insert(uri.to_string()));
                once.map(|uri| self.look_up(uri, 0)).collect()
            }
            MStep::List { repos, .. } => {
                let dids = match repos {
                    MRepos::Named(dids) => once(dids.iter().cloned()),
                    MRepos::All => self.repos.keys().cloned().collect(),
                    MRepos::At(path) => once(input.iter().flat_map(|row| texts(values(row, path)))),
                };
                dids.iter().flat_map(|did| self.list(did, step)).collect()
            }
            MStep::Filter(tests) => {
                let passes = |row: &MRow| tests.iter().all(|test| test.passes(row));
                input.into_iter().filter(passes).collect()
            }
            MStep::Among(path, step, of, negate) => {
                let others: Vec<Value> =
                    all[*step].iter().flat_map(|row| values(row, of)).collect();
                let is_among = |row: &MRow| values(row, path).iter().any(|v| others.contains(v));
                input
                    .into_iter()
                    .filter(|row| is_among(row) != *negate)
                    .collect()
            }
            MStep::Map(path) => {
                let mut seen = BTreeSet::new();
                let mut rows = Vec::new();
                for row in &input {
                    for text in texts(values(row, path)) {
                        let names_record =
                            text.parse::<AtUri>().is_ok_and(|uri| uri.rkey.is_some());
                        if names_record && seen.insert(text.clone()) {
                            rows.push(self.look_up(&text, row.count));
                        }
                    }
                }
                rows
            }
            MStep::Project(form) => input
                .into_iter()
                .map(|row| MRow {
                    form: form.clone(),
                    ..row
                })
                .collect(),
            MStep::Count => vec![row(input.len() as u64, MWhat::Count)],
            MStep::Group(path) => group(&input, path),
            MStep::Top(count, by, ascending) => top(input, *count, by.as_deref(), *ascending),
            MStep::Distinct(path) => {
                let mut seen: Vec<Value> = Vec::new();
                let mut rows = Vec::new();
                for row in input {
                    let before = seen.len();
                    for value in values(&row, path) {
                        if !seen.contains(&value) {
                            seen.push(value);
                        }
                    }
                    if seen.len() > before {
                        rows.push(row);
                    }
                }
                rows
            }
            MStep::First(count) => input.into_iter().take(*count as usize).collect(),
        }
    }

    fn look_up(&self, uri: &str, count: u64) -> MRow {
        let name: AtUri = uri.parse().unwrap();
        let path = name.path().unwrap();
        let did = name.did.as_str();
        let found = self
            .repos
            .get(did)
            .and_then(|repo| repo.get(&path.to_string()));
        let visible = self.sees(did) && self.sees_collection(path.collection.as_str());
        match found.filter(|_| visible) {
            Some(bytes) => row(
                count,
                MWhat::Record {
                    did: did.to_owned(),
                    path: path.to_string(),
                    bytes: bytes.clone(),
                },
            ),
            None => row(count, MWhat::Absent(uri.to_owned())),
        }
    }

    fn list(&self, did: &str, step: &MStep) -> Vec<MRow> {
        let MStep::List {
            collection,
            from,
            before,
            reverse,
            since,
            until,
            ..
        } = step
        else {
            unreachable!("only lists are listed")
        };
        let Some(records) = self.repos.get(did).filter(|_| self.sees(did)) else {
            return Vec::new();
        };
        let in_range = |rkey: &str| {
            let tid = rkey.parse::<Tid>().ok().map(|tid| tid.micros() as i64);
            let after = since.is_none_or(|since| tid.is_some_and(|micros| micros >= since));
            let until = until.is_none_or(|until| tid.is_some_and(|micros| micros < until));
            rkey >= from.as_str() && (before.is_empty() || rkey < before.as_str()) && after && until
        };
        let mut rows: Vec<MRow> = records
            .iter()
            .filter(|(path, _)| {
                let (of, rkey) = path.split_once('/').unwrap();
                of == collection && in_range(rkey)
            })
            .map(|(path, bytes)| {
                let what = MWhat::Record {
                    did: did.to_owned(),
                    path: path.clone(),
                    bytes: bytes.clone(),
                };
                row(0, what)
            })
            .collect();
        if *reverse {
            rows.reverse();
        }
        rows
    }
}

fn row(count: u64, what: MWhat) -> MRow {
    MRow {
        count,
        form: MForm::Value(vec![]),
        what,
    }
}

fn once(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    all.filter(|each| seen.insert(each.clone())).collect()
}

fn texts(values: Vec<Value>) -> Vec<String> {
    let text = |value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    values.into_iter().filter_map(text).collect()
}

fn group(rows: &[MRow], path: &str) -> Vec<MRow> {
    let mut groups: Vec<(Value, u64)> = Vec::new();
    for row in rows {
        let mut own: Vec<Value> = Vec::new();
        for value in values(row, path) {
            if !own.contains(&value) {
                own.push(value);
            }
        }
        for value in own {
            match groups.iter_mut().find(|(known, _)| *known == value) {
                Some((_, count)) => *count += 1,
                None => groups.push((value, 1)),
            }
        }
    }
    groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| order(&a.0, &b.0)));
    groups
        .into_iter()
        .map(|(value, count)| row(count, MWhat::Value(value)))
        .collect()
}

fn top(rows: Vec<MRow>, count: u32, by: Option<&str>, ascending: bool) -> Vec<MRow> {
    let mut keyed: Vec<(Value, MRow)> = Vec::new();
    for row in rows {
        let mut values = values(&row, by.unwrap_or("@count"));
        values.sort_by(order);
        let value = if ascending {
            values.first()
        } else {
            values.last()
        };
        if let Some(value) = value {
            keyed.push((value.clone(), row));
        }
    }
    keyed.sort_by(|a, b| match ascending {
        true => order(&a.0, &b.0),
        false => order(&b.0, &a.0),
    });
    keyed.truncate(count as usize);
    keyed.into_iter().map(|(_, row)| row).collect()
}

impl MTest {
    fn passes(&self, row: &MRow) -> bool {
        let found = values(row, &self.path);
        let any = |test: &dyn Fn(&Value) -> bool| found.iter().any(test);
        let text = |test: &dyn Fn(&str) -> bool| any(&|v| v.as_text().is_some_and(test));
        let hit = match &self.op {
            MOp::Exists if self.path.starts_with('@') || self.path.contains('#') => any(&|_| true),
            MOp::Exists => {
                let path = self.path.replace("[]", "");
                let is_here = |at: &str| at == path || at.starts_with(&format!("{path}."));
                leaves(row).iter().any(|(at, _)| is_here(at))
            }
            MOp::Equals(value) => any(&|v| v == value),
            MOp::Prefix(start) => text(&|t| t.starts_with(start.as_str())),
            MOp::Contains(part) => text(&|t| t.to_lowercase().contains(&part.to_lowercase())),
            MOp::AtLeast(value) => any(&|v| kind(v) == kind(value) && order(v, value).is_ge()),
            MOp::Below(value) => any(&|v| kind(v) == kind(value) && order(v, value).is_lt()),
        };
        hit != self.negate
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Text(_) => 3,
        Value::Bytes(_) => 4,
        Value::Link(_) => 5,
        Value::List(_) | Value::Map(_) => 6,
    }
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) | (Value::Link(a), Value::Link(b)) => a.cmp(b),
        (a, b) => kind(a).cmp(&kind(b)),
    }
}

/// Returns what a row has at a path.
fn values(row: &MRow, path: &str) -> Vec<Value> {
    let (base, part) = match path.rsplit_once('#') {
        None => (path, None),
        Some((base, part)) => (base, Some(part)),
    };
    let whole: Vec<Value> = if base.starts_with('@') {
        of_row(row, base).into_iter().collect()
    } else {
        let base = base.replace("[]", "");
        let at = |(at, value): (String, Value)| (at == base).then_some(value);
        leaves(row).into_iter().filter_map(at).collect()
    };
    match part {
        None => whole,
        Some(part) => whole.iter().filter_map(|value| made(value, part)).collect(),
    }
}

fn of_row(row: &MRow, base: &str) -> Option<Value> {
    let uri = match &row.what {
        MWhat::Record { did, path, .. } => Some(format!("at://{did}/{path}")),
        MWhat::Absent(uri) => Some(uri.clone()),
        MWhat::Value(_) | MWhat::Count => None,
    };
    let part = |at: usize| Some(uri.as_ref()?.split('/').nth(at)?.to_owned());
    match base {
        "@uri" => uri.map(Value::Text),
        "@did" => part(2).map(Value::Text),
        "@collection" => part(3).map(Value::Text),
        "@rkey" => part(4).map(Value::Text),
        "@time" => {
            let tid: Tid = part(4)?.parse().ok()?;
            Some(Value::Int(tid.micros() as i64))
        }
        "@held" => uri.map(|_| Value::Bool(matches!(row.what, MWhat::Record { .. }))),
        "@value" => match &row.what {
            MWhat::Value(value) => Some(value.clone()),
            _ => None,
        },
        "@count" => {
            let counts = matches!(row.what, MWhat::Value(_) | MWhat::Count) || row.count > 0;
            counts.then_some(Value::Int(row.count as i64))
        }
        other => panic!("no such path {other}"),
    }
}

fn made(value: &Value, part: &str) -> Option<Value> {
    if part == "length" {
        return match value {
            Value::Text(text) => Some(Value::Int(text.chars().count() as i64)),
            Value::Bytes(bytes) => Some(Value::Int(bytes.len() as i64)),
            _ => None,
        };
    }
    let text = value.as_text()?;
    let of_uri = |at: usize| {
        let part = text
            .strip_prefix("at://did:")
            .map(|_| text)?
            .split('/')
            .nth(at)?;
        (!part.is_empty()).then(|| Value::Text(part.to_owned()))
    };
    let time = || match text.parse::<Tid>() {
        Ok(tid) => Some(carrack_schema::time::rfc3339(tid.micros() as i64)),
        Err(_) => carrack_schema::time::parse_rfc3339(text).map(carrack_schema::time::rfc3339),
    };
    match part {
        "did" => of_uri(2),
        "collection" => of_uri(3),
        "rkey" => of_uri(4),
        "year" => Some(Value::Text(time()?[..4].to_owned())),
        "month" => Some(Value::Text(time()?[..7].to_owned())),
        "day" => Some(Value::Text(time()?[..10].to_owned())),
        "time" => match text.parse::<Tid>() {
            Ok(tid) => Some(Value::Int(tid.micros() as i64)),
            Err(_) => carrack_schema::time::parse_rfc3339(text).map(Value::Int),
        },
        "host" => {
            let (_, rest) = text.split_once("://")?;
            let host = rest.split(['/', '?', '#', ':']).next()?;
            (!host.is_empty() && text.starts_with("http"))
                .then(|| Value::Text(host.to_ascii_lowercase()))
        }
        other => panic!("no such part {other}"),
    }
}

/// Returns the values of a record that have no parts, each with the keys to it.
fn leaves(row: &MRow) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let MWhat::Record { bytes, .. } = &row.what
        && let Some(value) = decode(bytes)
    {
        collect(&value, String::new(), &mut found);
    }
    found
}

fn collect(value: &Value, at: String, found: &mut Vec<(String, Value)>) {
    match value {
        Value::List(items) => items
            .iter()
            .for_each(|item| collect(item, at.clone(), found)),
        Value::Map(entries) => {
            for (key, value) in entries {
                let dot = if at.is_empty() { "" } else { "." };
                collect(value, format!("{at}{dot}{key}"), found);
            }
        }
        leaf => found.push((at, leaf.clone())),
    }
}

/// Decodes a record; none if it breaks the data model.
pub(crate) fn decode(record: &[u8]) -> Option<Value> {
    let mut reader = Reader::new(record);
    let value = value(&mut reader)?;
    reader.finish().ok()?;
    Some(value)
}

fn value(reader: &mut Reader<'_>) -> Option<Value> {
    Some(match reader.token().ok()? {
        Token::Null => Value::Null,
        Token::Bool(value) => Value::Bool(value),
        Token::Int(value) => Value::Int(value),
        Token::Text(text) => Value::Text(text.to_owned()),
        Token::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Token::Link(cid) => Value::Link(cid.to_vec()),
        Token::List(length) => {
            Value::List((0..length).map(|_| value(reader)).collect::<Option<_>>()?)
        }
        Token::Map(length) => {
            let mut entries = Vec::new();
            for _ in 0..length {
                let Token::Key(key) = reader.token().ok()? else {
                    return None;
                };
                entries.push((key.to_owned(), value(reader)?));
            }
            Value::Map(entries)
        }
        Token::Key(_) => return None,
    })
}

/// Keeps of a value what paths lead to.
pub(crate) fn keep(of: &Value, paths: &[String]) -> Value {
    match of {
        Value::List(items) => Value::List(items.iter().map(|item| keep(item, paths)).collect()),
        Value::Map(entries) => {
            let mut kept = Vec::new();
            for (key, value) in entries {
                if paths.contains(key) {
                    kept.push((key.clone(), value.clone()));
                    continue;
                }
                let start = format!("{key}.");
                let below = paths.iter().filter_map(|path| path.strip_prefix(&start));
                let below: Vec<String> = below.map(str::to_owned).collect();
                if !below.is_empty() {
                    kept.push((key.clone(), keep(value, &below)));
                }
            }
            Value::Map(kept)
        }
        leaf => leaf.clone(),
    }
}
