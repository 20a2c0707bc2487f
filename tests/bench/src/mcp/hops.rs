//! Four dependent hops to a store behind a slow line: by one `at_query`, and by four tool calls, each of what the one
//! before brought.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use carrack_schema::Did;
use carrack_schema::limits::ANSWER_BYTES_MAX;
use kit::cbor::Value as Cbor;
use kit::rng::Rng;
use kit::text::plc_did;
use kit::{Mix, Repo, RepoSpec};
use serde_json::{Value, json};

use super::client::{Calls, Era, Request};
use super::process::{Program, Server};
use super::{McpSizes, POSTS, ROWS, SEED, hold};
use crate::note;
use crate::rpc::door::Place;
use crate::rpc::{self, server};

const LIKES: &str = "app.bsky.feed.like";
const PROFILES: &str = "app.bsky.actor.profile";

/// Milliseconds of each kind, one a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hops {
    /// One `at_query`.
    pub(crate) query_ms: Vec<f64>,
    /// Four calls in a row.
    pub(crate) calls_ms: Vec<f64>,
    /// One `at_get` of one record: what the line and the gateway take.
    pub(crate) one_call_ms: Vec<f64>,
}

/// Runs each kind some times a round, with a gateway of its own.
pub(super) fn measure(folder: &Path, sizes: &McpSizes) -> Result<Vec<Hops>> {
    let world = World::make(sizes.records / 100 + 10);
    hold(folder, &world.repos)?;
    let mut rounds = Vec::new();
    for round in 0..sizes.rounds {
        note(&format!(
            "MCP: hops, round {} of {}",
            round + 1,
            sizes.rounds
        ));
        rounds.push(world.measure(folder, sizes.chains)?);
    }
    Ok(rounds)
}

/// Somebody who likes a post of each of some others, and those others, each with a post that they pinned.
struct World {
    repos: Vec<Repo>,
    reader: Did,
    pinned: BTreeSet<String>,
}

impl World {
    fn make(records: usize) -> Self {
        let mut rng = Rng::new(SEED);
        let mut did = || -> Did { plc_did(&mut rng).parse().expect("made in a DID's form") };
        let reader = did();
        let mut world = Self {
            repos: Vec::new(),
            reader: reader.clone(),
            pinned: BTreeSet::new(),
        };
        let mut likes = Vec::new();
        for number in 0..ROWS {
            let author = did();
            let post = |key: &str| format!("at://{author}/{POSTS}/{key}");
            likes.push((format!("{LIKES}/{number:02}"), like(&post("liked"))));
            world.pinned.insert(post("pinned"));
            let extra = vec![
                (format!("{POSTS}/liked"), text("liked")),
                (format!("{POSTS}/pinned"), text("pinned")),
                (format!("{PROFILES}/self"), profile(&post("pinned"))),
            ];
            world.repos.push(spec(author, records, extra).build());
        }
        world.repos.push(spec(reader, records, likes).build());
        world
    }

    fn measure(&self, folder: &Path, chains: usize) -> Result<Hops> {
        let store = server::Server::start(server::Program::Carrack, folder, None)?;
        let Place::Tcp(address, token) = rpc::slow_line(&store)? else {
            unreachable!("a slow line is TCP")
        };
        let arguments = ["--http", "127.0.0.1:0", "--store", &address.to_string()];
        let gateway = Server::start(Program::Gateway, &arguments.map(str::to_owned), None)?;
        let mut agent = Agent(Calls::over_http(Rc::new(gateway), &[token])?);
        // The first call also opens the connection.
        self.by_query(&mut agent)?;
        let mut hops = Hops::default();
        for _ in 0..chains {
            hops.query_ms.push(millis(|| self.by_query(&mut agent))?);
            hops.calls_ms.push(millis(|| self.by_calls(&mut agent))?);
            hops.one_call_ms.push(millis(|| {
                let first: Vec<_> = self.pinned.iter().take(1).collect();
                agent.call("at_get", json!({ "refs": first })).map(drop)
            })?);
        }
        Ok(hops)
    }

    fn by_query(&self, agent: &mut Agent) -> Result<()> {
        let answer = agent.call(
            "at_query",
            json!({ "steps": [
                { "list": { "repo": self.reader.as_str(), "collection": LIKES } },
                { "map": "subject.uri" },
                { "list": { "at": "@did", "collection": PROFILES } },
                { "map": "pinnedPost.uri" },
            ] }),
        )?;
        self.check(names(&answer, "uri"))
    }

    fn by_calls(&self, agent: &mut Agent) -> Result<()> {
        let likes = agent.call(
            "at_list",
            json!({ "actor": self.reader.as_str(), "collection": LIKES, "fields": ["subject.uri"] }),
        )?;
        let posts = agent.call("at_get", json!({ "refs": uris(&likes) }))?;
        let authors: BTreeSet<_> = names(&posts, "ref")
            .iter()
            .filter_map(|uri| Some(uri.strip_prefix("at://")?.split('/').next()?.to_owned()))
            .collect();
        let profiles = agent.call(
            "at_get",
            json!({ "refs": authors, "fields": ["pinnedPost.uri"] }),
        )?;
        let mut pinned = uris(&profiles);
        pinned.retain(|uri| !uri.contains(PROFILES));
        let found = agent.call("at_get", json!({ "refs": pinned }))?;
        self.check(names(&found, "ref"))
    }

    fn check(&self, found: BTreeSet<String>) -> Result<()> {
        ensure!(found == self.pinned, "other posts are pinned: {found:?}");
        Ok(())
    }
}

fn spec(did: Did, records: usize, extra: Vec<(String, Vec<u8>)>) -> RepoSpec {
    let mix = Mix {
        // Theirs are in `extra`.
        profile: false,
        likes: 0,
        ..Mix::SOCIAL
    };
    RepoSpec {
        records,
        mix,
        did: Some(did),
        extra,
        ..RepoSpec::default()
    }
}

fn like(uri: &str) -> Vec<u8> {
    let subject = Cbor::map([("uri", Cbor::text(uri))]);
    Cbor::map([("$type", Cbor::text(LIKES)), ("subject", subject)]).encode()
}

fn text(words: &str) -> Vec<u8> {
    Cbor::map([("$type", Cbor::text(POSTS)), ("text", Cbor::text(words))]).encode()
}

fn profile(pinned: &str) -> Vec<u8> {
    let pinned = Cbor::map([("uri", Cbor::text(pinned))]);
    Cbor::map([("$type", Cbor::text(PROFILES)), ("pinnedPost", pinned)]).encode()
}

/// Whoever calls tools and reads their answers.
struct Agent(Calls);

impl Agent {
    fn call(&mut self, tool: &'static str, mut arguments: Value) -> Result<Value> {
        // All rows at once, whatever way they are asked for.
        arguments["max_bytes"] = ANSWER_BYTES_MAX.into();
        let request = Request::new(Era::Sessions, tool, arguments);
        let answer: Value = serde_json::from_slice(self.0.call(&request)?)?;
        let result = answer.get("result").context("a tool is unknown")?;
        ensure!(result["isError"] != true, "{tool} failed: {result}");
        Ok(result.clone())
    }
}

/// Returns what the items of an answer name.
fn names(result: &Value, field: &str) -> BTreeSet<String> {
    let items = result["structuredContent"]["items"].as_array();
    let names = items.into_iter().flatten();
    names
        .filter_map(|item| item[field].as_str().map(str::to_owned))
        .collect()
}

/// Returns the at-URIs in the text of an answer.
fn uris(result: &Value) -> BTreeSet<String> {
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let ends = |c: char| c.is_whitespace() || c == '"';
    let uris = text.match_indices("at://").map(|(at, _)| &text[at..]);
    uris.filter_map(|rest| rest.split(ends).next().map(str::to_owned))
        // The header names the collection that is listed.
        .filter(|uri| uri.matches('/').count() == 4 && !uri.ends_with('/'))
        .collect()
}

fn millis(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
