//! The MCP gateway: what a tool call takes, beside a bare rmcp server that has the same answer at hand; and a query of
//! four hops, whose store is far away.
//!
//! Both servers are this program under other names ([`Program`]): one build, one rmcp. They are held on the first core,
//! the client has the last. In a round each is asked a number of times, one call after the other, in an order that turns
//! by one; ratios are of figures of one round.

mod bare;
mod client;
mod hops;
mod process;
pub(crate) mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use carrack_client::Scope;
use carrack_store::{DataFolder, Owner, Settings};
use kit::{Mix, Repo, RepoSpec};
use serde_json::{Map, Value, json};

use crate::measure::{Latency, nanoseconds};
use crate::note;
use crate::rpc::load::block_on;
use crate::rpc::server::{cores, pin};

use client::{Calls, Era};
use hops::Hops;
pub(crate) use process::Program;
use process::Server;

const SEED: u64 = 6;
const POSTS: &str = "app.bsky.feed.post";
/// Rows of a listing that is asked for.
const ROWS: u32 = 20;
/// Grants whose tokens HTTP requests show in turn: the gateway lets each of them ask 100 times a second.
const TOKENS: usize = 60;
/// Calls that are made before those that count.
const WARM: usize = 100;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct McpSizes {
    pub(crate) rounds: usize,
    /// Records of the repo that is read.
    pub(crate) records: usize,
    /// Calls of one kind, a round.
    pub(crate) calls: usize,
    /// Chains of hops of each kind, a round.
    pub(crate) chains: usize,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Carrack,
    Bare,
}

impl Peer {
    const ALL: [Self; 2] = [Self::Carrack, Self::Bare];

    fn program(self) -> Program {
        match self {
            Self::Carrack => Program::Gateway,
            Self::Bare => Program::Bare,
        }
    }
}

/// What carries the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Stdio,
    Http,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Stdio, Self::Http];

    fn label(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "HTTP",
        }
    }
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Get,
    List,
}

impl Tool {
    const ALL: [Self; 2] = [Self::Get, Self::List];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "at_get",
            Self::List => "at_list",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Get => "at_get of one record",
            Self::List => "at_list of 20 rows",
        }
    }
}

/// One line of the table.
pub(crate) type Point = (Transport, Era, Tool);

/// What one kind of call took, in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) latency: Latency,
    /// Of the server, user and system, all threads, in microseconds a call.
    pub(crate) cpu_us: f64,
}

/// Everything that was measured.
pub(crate) struct McpResults {
    /// By point, one a round.
    pub(crate) calls: BTreeMap<Point, Vec<BTreeMap<Peer, Took>>>,
    /// Bytes of an answer over stdio.
    pub(crate) bytes: BTreeMap<Tool, usize>,
    pub(crate) hops: Vec<Hops>,
}

/// Measures everything.
pub(crate) fn run(scratch: &Path, sizes: &McpSizes) -> Result<McpResults> {
    let corpus = Corpus::make(&scratch.join("mcp"), sizes.records)?;
    let (server_core, client_core) = cores()?;
    let (calls, bytes) = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                client_core.map_or(Ok(()), pin)?;
                measure_calls(&corpus, sizes, server_core)
            })
            .join()
            .expect("the client does not panic")
    })?;
    Ok(McpResults {
        calls,
        bytes,
        hops: hops::measure(&scratch.join("mcp-hops"), sizes)?,
    })
}

/// What is read: copies of one repo, since a data folder has one owner, and the arguments of each call.
struct Corpus {
    folder: PathBuf,
    tokens: Vec<String>,
    arguments: BTreeMap<Tool, Value>,
    /// What must be in an answer.
    key: String,
}

impl Corpus {
    fn make(folder: &Path, records: usize) -> Result<Self> {
        let spec = RepoSpec {
            records,
            seed: SEED,
            mix: Mix::SOCIAL,
            ..RepoSpec::default()
        };
        let repo = spec.build();
        let copies = Era::ALL.map(|era| stdio_folder(folder, era));
        for copy in &copies {
            hold(copy, std::slice::from_ref(&repo))?;
        }
        let served = http_folder(folder);
        hold(&served, std::slice::from_ref(&repo))?;
        let posts = repo.records.iter();
        let post = posts
            .filter_map(|record| record.path.strip_prefix("app.bsky.feed.post/"))
            .next_back()
            .context("the repo has no posts")?;
        let did = repo.did.as_str();
        let arguments = [
            (
                Tool::Get,
                json!({ "refs": [format!("at://{did}/{POSTS}/{post}")] }),
            ),
            (
                Tool::List,
                json!({ "actor": did, "collection": POSTS, "limit": ROWS }),
            ),
        ];
        Ok(Self {
            tokens: tokens(&served, TOKENS)?,
            folder: folder.to_owned(),
            arguments: arguments.into(),
            key: post.to_owned(),
        })
    }

    fn request(&self, era: Era, tool: Tool) -> client::Request {
        client::Request::new(era, tool.name(), self.arguments[&tool].clone())
    }

    /// Returns what our gateway answers, by the tools' names, for the other server to have at hand.
    fn answers(&self, core: Option<usize>) -> Result<PathBuf> {
        let data = stdio_folder(&self.folder, Era::Sessions);
        let server = Server::start(Program::Gateway, &on_data(&data), core)?;
        let mut calls = Calls::over_stdio(server, Era::Sessions)?;
        let mut answers = Map::new();
        for tool in Tool::ALL {
            let answer = calls.call(&self.request(Era::Sessions, tool))?;
            let answer: Value = serde_json::from_slice(answer)?;
            let result = &answer["result"];
            let text = result["content"][0]["text"].as_str().unwrap_or_default();
            ensure!(
                result["isError"] != true && text.contains(&self.key),
                "{} does not answer: {answer}",
                tool.name()
            );
            answers.insert(tool.name().to_owned(), result.clone());
        }
        let file = self.folder.join("answers.json");
        fs::write(&file, serde_json::to_vec(&answers)?)?;
        Ok(file)
    }
}

fn stdio_folder(folder: &Path, era: Era) -> PathBuf {
    folder.join(format!("stdio-{era:?}"))
}

fn http_folder(folder: &Path) -> PathBuf {
    folder.join("http")
}

fn on_data(folder: &Path) -> Vec<String> {
    vec!["--data".to_owned(), folder.display().to_string()]
}

/// Fills a new data folder.
fn hold(folder: &Path, repos: &[Repo]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let store = crate::engine::opened_in(folder)?;
    for repo in repos {
        let car = repo.car(kit::Order::Pds);
        store.import(&car[..], &Default::default(), |_| {})?;
    }
    Ok(store.merge_all()?)
}

/// Makes grants of all that may be read in a data folder, and returns a token of each.
fn tokens(folder: &Path, count: usize) -> Result<Vec<String>> {
    let owner = Owner::start(&DataFolder::new(folder), &Settings::default())?;
    let client = owner.client();
    let tokens = block_on(async {
        let grants = client.login("").grants();
        let scope = Scope::none()
            .all_repos()
            .all_collections()
            .read()
            .list()
            .unlimited_calls()
            .unlimited_bytes()
            .never_expires();
        let mut tokens = Vec::new();
        for _ in 0..count {
            let issued = grants.issue(scope.clone(), "bench").await?;
            tokens.push(issued.grant.save("bench").await?.0);
        }
        Ok(tokens)
    });
    drop(client);
    owner.shutdown();
    tokens
}

type Measured = (
    BTreeMap<Point, Vec<BTreeMap<Peer, Took>>>,
    BTreeMap<Tool, usize>,
);

fn measure_calls(corpus: &Corpus, sizes: &McpSizes, core: Option<usize>) -> Result<Measured> {
    let answers = corpus.answers(core)?;
    let mut clients = BTreeMap::new();
    for era in Era::ALL {
        for peer in Peer::ALL {
            let arguments = |data: &Path| match peer {
                Peer::Carrack => on_data(data),
                Peer::Bare => vec![answers.display().to_string()],
            };
            let stdio = arguments(&stdio_folder(&corpus.folder, era));
            let server = Server::start(peer.program(), &stdio, core)?;
            clients.insert(
                (Transport::Stdio, era, peer),
                Calls::over_stdio(server, era)?,
            );
        }
    }
    for peer in Peer::ALL {
        let (mut arguments, tokens) = match peer {
            Peer::Carrack => (on_data(&http_folder(&corpus.folder)), &corpus.tokens[..]),
            Peer::Bare => (vec![answers.display().to_string()], &[][..]),
        };
        arguments.extend(["--http", "127.0.0.1:0"].map(str::to_owned));
        let server = std::rc::Rc::new(Server::start(peer.program(), &arguments, core)?);
        for era in Era::ALL {
            let calls = Calls::over_http(server.clone(), tokens)?;
            clients.insert((Transport::Http, era, peer), calls);
        }
    }
    let mut bytes = BTreeMap::new();
    for (transport, era, tool) in points() {
        let request = corpus.request(era, tool);
        let mut of = |peer| -> Result<(usize, Value)> {
            let calls = clients.get_mut(&(transport, era, peer)).context("asked")?;
            let answer = calls.call(&request)?;
            if transport == Transport::Stdio {
                bytes.insert(tool, answer.len());
            }
            let items = serde_json::from_slice::<Value>(answer)?;
            Ok((
                answer.len(),
                items["result"]["structuredContent"]["items"].clone(),
            ))
        };
        // Cursors differ: each page has its own seal.
        let (ours, theirs) = (of(Peer::Carrack)?, of(Peer::Bare)?);
        ensure!(
            ours.1.is_array() && ours == theirs,
            "another answer than ours to {}: {ours:?} {theirs:?}",
            tool.name()
        );
    }
    let mut measured = BTreeMap::<Point, Vec<_>>::new();
    for round in 0..sizes.rounds {
        note(&format!("MCP: round {} of {}", round + 1, sizes.rounds));
        for (transport, era, tool) in points() {
            let request = corpus.request(era, tool);
            let mut took = BTreeMap::new();
            for turn in 0..Peer::ALL.len() {
                let peer = Peer::ALL[(turn + round) % Peer::ALL.len()];
                let calls = clients.get_mut(&(transport, era, peer)).context("asked")?;
                took.insert(peer, time(calls, &request, sizes.calls)?);
            }
            measured
                .entry((transport, era, tool))
                .or_default()
                .push(took);
        }
    }
    Ok((measured, bytes))
}

fn points() -> impl Iterator<Item = Point> {
    let eras = |transport| Era::ALL.map(|era| (transport, era));
    let of = |(transport, era)| Tool::ALL.map(|tool| (transport, era, tool));
    Transport::ALL.into_iter().flat_map(eras).flat_map(of)
}

/// Makes calls, one after the other.
fn time(calls: &mut Calls, request: &client::Request, count: usize) -> Result<Took> {
    for _ in 0..WARM.min(count) {
        calls.call(request)?;
    }
    let length = calls.call(request)?.len();
    let mut times = Vec::with_capacity(count);
    let cpu = calls.server().cpu()?;
    for _ in 0..count {
        let message = calls.next(request);
        let start = Instant::now();
        let answer = calls.exchange(&message)?;
        times.push(nanoseconds(start));
        ensure!(answer.len() == length, "an answer of another length");
    }
    let cpu = calls.server().cpu()? - cpu;
    Ok(Took {
        latency: Latency::of(times),
        cpu_us: cpu.as_secs_f64() * 1e6 / count as f64,
    })
}
