//! `agents`: many agents at once over HTTP against a running `carrack-mcp`, each with a grant of its own.
//!
//! `cargo run --release -p carrack-tests --example agents -- --gateway target/release/carrack-mcp
//! --carrack target/release/carrack --seconds 60`
//!
//! Each agent may reach some repos and some of their collections. It calls tools inside its grant, where every answer is
//! compared with what the repo holds, and outside, where it must be refused in the store's words. Every record says whose
//! it is, so that anything of another repo shows. At the end nothing may have failed, memory and file descriptors must be
//! what they were, and `carrack check` must find nothing.

#![expect(clippy::print_stdout, reason = "a program that says what it did")]

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use carrack_client::{Address, Client, Grant, ImportOptions, ImportOutcome, Scope, Session};
use clap::Parser;
use kit::cbor::Value as Cbor;
use kit::rng::Rng;
use kit::{Order, Repo, RepoSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

mod process;

use process::{Process, bytes_at_most, check, mib};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Lets many agents call tools at once, and compares every answer.
#[derive(Parser)]
struct Options {
    /// The binary `carrack-mcp`
    #[arg(long)]
    gateway: PathBuf,
    /// The binary `carrack`, which checks the store at the end
    #[arg(long)]
    carrack: PathBuf,
    /// Agents at once
    #[arg(long, default_value_t = 100)]
    agents: usize,
    /// Repos that the archive holds
    #[arg(long, default_value_t = 24)]
    repos: usize,
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of everything random but time
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What every repo has records in.
const COLLECTIONS: [&str; 3] = ["app.bsky.feed.post", "com.example.note", "com.example.page"];
/// Records of a collection, at least.
const RECORDS_MIN: usize = 30;
/// Most repos of one grant.
const REPOS_MAX: usize = 5;
/// How long anything may take before it is called lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Agents for each repo, at most: of 6 repos there are 434 different grants, half of which are soon drawn, and of more
/// repos many more.
const AGENTS_PER_REPO_MAX: usize = 36;

impl Options {
    /// Refuses what would have no end: each grant must leave a repo out, and no two may be the same.
    fn check(&self) -> Result<()> {
        if self.repos <= REPOS_MAX {
            return Err(format!("--repos is more than {REPOS_MAX}, as a grant may have").into());
        }
        if self.agents > self.repos * AGENTS_PER_REPO_MAX {
            return Err(format!("--agents is {AGENTS_PER_REPO_MAX} a repo at most").into());
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    options.check()?;
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (gateway, tally) = LocalSet::new().block_on(&runtime, run(&options, folder.path()))?;
    drop(runtime);
    gateway.process.stop()?;
    check(&options.carrack, folder.path())?;
    println!(
        "{} agents over {} repos, {} s, seed {}: {} answers inside grants ({}), {} refusals outside, {} told to wait; \
         all right, the check is clean",
        options.agents,
        options.repos,
        options.seconds,
        options.seed,
        tally.answers.iter().sum::<u64>(),
        tally.by_tool(),
        tally.refusals,
        tally.waits,
    );
    Ok(())
}

async fn run(options: &Options, folder: &Path) -> Result<(Gateway, Tally)> {
    let gateway = Gateway::start(&options.gateway, folder).await?;
    let owner = gateway.owner(folder).await?;
    let archive: Rc<Vec<Held>> = Rc::new((0..options.repos).map(Held::make).collect());
    for held in &*archive {
        import(&owner, &held.repo).await?;
    }
    let before = gateway.process.descriptors()?;
    let mut rng = Rng::new(options.seed);
    let mut agents = Vec::new();
    let mut scopes = BTreeSet::new();
    while agents.len() < options.agents {
        let may = May::random(&mut rng, archive.len());
        // No two have the same grant.
        if scopes.insert(may.clone()) {
            agents.push(Agent::new(&owner, &gateway, &archive, may, rng.next_u64()).await?);
        }
    }
    // A first part fills caches and buffers, and makes the connections of all grants; what comes later must not take
    // more for good.
    let part = Duration::from_secs(options.seconds) / 3;
    let mut agents = crowd(agents, part).await?;
    let idle = settled(&gateway.process, usize::MAX).await?;
    let warm = gateway.process.anonymous_bytes()?;
    agents = crowd(agents, part * 2).await?;
    let after = settled(&gateway.process, idle).await?;
    let end = gateway.process.anonymous_bytes()?;
    println!(
        "anonymous memory: {:.1} MiB after the first third, {:.1} MiB at the end; descriptors: {before} before the first \
         agent, {idle} with all grants live, {after} at the end",
        mib(warm),
        mib(end)
    );
    if end > bytes_at_most(warm) {
        return Err("the gateway's memory grew".into());
    }
    let mut tally = Tally::default();
    for agent in &mut agents {
        tally.add(&agent.tally);
        agent.grant.revoke().await?;
        agent.is_over().await?;
    }
    drop(agents);
    // With its grant went each agent's connection to the store; the audit log is opened at its first line.
    settled(&gateway.process, before + 1).await?;
    Ok((gateway, tally))
}

/// Waits until no more than so many descriptors are open, and returns how many are.
async fn settled(process: &Process, most: usize) -> Result<usize> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let open = process.descriptors()?;
        if open <= most {
            return Ok(open);
        }
        if Instant::now() > patience {
            return Err(format!("{open} descriptors are open, {most} were").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lets all agents work for a time, on HTTP connections that end with it.
async fn crowd(agents: Vec<Agent>, time: Duration) -> Result<Vec<Agent>> {
    let deadline = Instant::now() + time;
    let mut working = JoinSet::new();
    for mut agent in agents {
        working.spawn_local(async move {
            let work = agent.work(deadline).await;
            let done = work.map_err(|error| format!("{:?}: {error}", agent.may));
            agent.stream = None;
            done.map(|()| agent)
        });
    }
    let mut agents = Vec::new();
    while let Some(ended) = working.join_next().await {
        agents.push(ended??);
    }
    Ok(agents)
}

async fn import(owner: &Session, repo: &Repo) -> Result<()> {
    let upload = owner.importer().import(ImportOptions::default());
    upload.write(&repo.car(Order::Pds)).await;
    match upload.done().await? {
        ImportOutcome::Imported(_) => Ok(()),
        other => Err(format!("{}: {other:?}", repo.did).into()),
    }
}

/// A repo, and the mark that is in all of its records and in no other's.
struct Held {
    repo: Repo,
    mark: String,
}

impl Held {
    fn make(number: usize) -> Self {
        let mark = mark(number);
        let mut extra = Vec::new();
        for (at, collection) in COLLECTIONS.iter().enumerate() {
            for key in 0..RECORDS_MIN + (number * 7 + at * 3) % 20 {
                let text = format!("{mark} record {key} of {collection}");
                let record = Cbor::map([
                    ("$type", Cbor::text(*collection)),
                    ("text", Cbor::text(text)),
                    ("createdAt", Cbor::text("2026-01-31T12:00:00.000Z")),
                    ("even", Cbor::Bool(key % 2 == 0)),
                ]);
                extra.push((format!("{collection}/k{key:03}"), record.encode()));
            }
        }
        let spec = RepoSpec {
            records: 0,
            seed: number as u64 + 1,
            extra,
            ..RepoSpec::default()
        };
        Self {
            repo: spec.build(),
            mark,
        }
    }

    fn did(&self) -> &str {
        self.repo.did.as_str()
    }

    /// Returns the keys of a collection, in their order.
    fn keys(&self, collection: &str) -> Vec<&str> {
        let in_it = |path: &'_ str| {
            path.split_once('/')
                .is_some_and(|(nsid, _)| nsid == collection)
        };
        let records = self.repo.records.iter();
        let paths = records.map(|record| record.path.as_str());
        let mine = paths.filter(|path| in_it(path));
        mine.filter_map(|path| Some(path.split_once('/')?.1))
            .collect()
    }

    fn cid(&self, collection: &str, key: &str) -> Result<String> {
        let record = self.repo.record(&format!("{collection}/{key}"));
        Ok(record.ok_or("the repo has no such record")?.cid.to_string())
    }
}

fn mark(number: usize) -> String {
    format!("mark{number:03}x")
}

/// What a grant allows, by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct May {
    repos: BTreeSet<usize>,
    collections: BTreeSet<usize>,
}

impl May {
    fn random(rng: &mut Rng, repos: usize) -> Self {
        let some = |rng: &mut Rng, count: usize, of: usize| -> BTreeSet<usize> {
            (0..count).map(|_| rng.index(of)).collect()
        };
        let repos_count = 1 + rng.index(REPOS_MAX);
        let collections_count = 1 + rng.index(COLLECTIONS.len() + 1);
        Self {
            repos: some(rng, repos_count, repos),
            collections: some(rng, collections_count, COLLECTIONS.len()),
        }
    }

    fn scope(&self, archive: &[Held]) -> Scope {
        let mut scope = Scope::none()
            .read()
            .list()
            .unlimited_calls()
            .unlimited_bytes()
            .never_expires();
        for repo in &self.repos {
            scope = scope.repo(archive[*repo].did());
        }
        if self.collections.len() == COLLECTIONS.len() {
            return scope.all_collections();
        }
        for collection in &self.collections {
            scope = scope.collection(COLLECTIONS[*collection]);
        }
        scope
    }
}

/// A `carrack-mcp` of our own.
struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Gateway {
    async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let mut child = process::command(binary)
            .args(["--http", "127.0.0.1:0", "--data"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().ok_or("no stderr")?;
        let process = Process(child);
        let (said, listening) = tokio::sync::oneshot::channel();
        // To the end, and shown: what a gateway warns of belongs to what went wrong.
        std::thread::spawn(move || {
            let mut said = Some(said);
            let lines = std::io::BufRead::lines(std::io::BufReader::new(log));
            for line in lines.map_while(|line| line.ok()) {
                let url = line.strip_prefix("listening on http://");
                match (url.and_then(|url| url.strip_suffix("/mcp")), said.take()) {
                    // Nobody waits for it any more after an error.
                    (Some(address), Some(said)) => drop(said.send(address.to_owned())),
                    (_, left) => said = left,
                }
                if line.contains("WARN") || line.contains("ERROR") {
                    println!("{line}");
                }
            }
        });
        let address = tokio::time::timeout(PATIENCE, listening).await??;
        Ok(Self {
            process,
            address: address.parse()?,
        })
    }

    /// Logs in as the owner of the folder that it serves.
    async fn owner(&self, folder: &Path) -> Result<Session> {
        let socket = Address::Unix(folder.join("carrack.sock"));
        Ok(Client::connect(&socket).await?.login(""))
    }
}

/// What was called.
#[derive(Clone, Copy)]
enum Tool {
    Overview,
    List,
    Get,
    Query,
    Verify,
}

impl Tool {
    const ALL: [Self; 5] = [
        Self::Overview,
        Self::List,
        Self::Get,
        Self::Query,
        Self::Verify,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Overview => "at_overview",
            Self::List => "at_list",
            Self::Get => "at_get",
            Self::Query => "at_query",
            Self::Verify => "at_verify",
        }
    }
}

#[derive(Default)]
struct Tally {
    /// By tool.
    answers: [u64; Tool::ALL.len()],
    refusals: u64,
    waits: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for (sum, more) in self.answers.iter_mut().zip(other.answers) {
            *sum += more;
        }
        self.refusals += other.refusals;
        self.waits += other.waits;
    }

    fn by_tool(&self) -> String {
        let each = Tool::ALL.iter().zip(self.answers);
        let each = each.map(|(tool, count)| format!("{} {count}", tool.name()));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// One agent, with its token.
struct Agent {
    archive: Rc<Vec<Held>>,
    may: May,
    grant: Grant,
    token: String,
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    rng: Rng,
    id: u64,
    tally: Tally,
}

impl Agent {
    async fn new(
        owner: &Session,
        gateway: &Gateway,
        archive: &Rc<Vec<Held>>,
        may: May,
        seed: u64,
    ) -> Result<Self> {
        let issued = owner.grants().issue(may.scope(archive), "agent").await?;
        let (token, _) = issued.grant.save("agent").await?;
        Ok(Self {
            archive: archive.clone(),
            may,
            grant: issued.grant,
            token,
            address: gateway.address,
            stream: None,
            rng: Rng::new(seed),
            // Answers to another agent would have another number.
            id: seed >> 16,
            tally: Tally::default(),
        })
    }

    async fn work(&mut self, deadline: Instant) -> Result<()> {
        while Instant::now() < deadline {
            let tool = self.rng.index(Tool::ALL.len());
            let tool = Tool::ALL[tool];
            if self.rng.chance(200) {
                self.outside(tool).await?;
            } else {
                self.inside(tool).await?;
            }
        }
        Ok(())
    }

    /// Returns one of the repos that it may reach, and its number.
    fn repo(&mut self) -> usize {
        let repos: Vec<_> = self.may.repos.iter().copied().collect();
        *self.rng.pick(&repos)
    }

    fn collection(&mut self) -> &'static str {
        let collections: Vec<_> = self.may.collections.iter().copied().collect();
        COLLECTIONS[*self.rng.pick(&collections)]
    }

    async fn inside(&mut self, tool: Tool) -> Result<()> {
        let archive = self.archive.clone();
        let number = self.repo();
        let (held, collection) = (&archive[number], self.collection());
        let keys = held.keys(collection);
        match tool {
            Tool::Overview if self.rng.chance(500) => self.archive_overview().await?,
            Tool::Overview => self.repo_overview(number).await?,
            Tool::List => self.list(number, collection, &keys).await?,
            Tool::Get => {
                let key = *self.rng.pick(&keys);
                let uri = format!("at://{}/{collection}/{key}", held.did());
                let result = self.call(tool, json!({ "refs": [uri] })).await?;
                let cid = held.cid(collection, key)?;
                let items = json!([{ "ref": uri, "cid": cid }]);
                expect(&result, "items", &items)?;
                let words = words(held, collection, key);
                self.own(&result, &[number], &[&words])?;
            }
            Tool::Query => {
                let dids = json!([held.did()]);
                let steps = json!([
                    { "list": { "repos": dids, "collection": collection } },
                    { "filter": [{ "path": "text", "contains": held.mark }, { "path": "even", "equals": true }] },
                    { "first": 3 },
                ]);
                let result = self.call(tool, json!({ "steps": steps })).await?;
                let even = keys.iter().step_by(2).take(3);
                let words: Vec<_> = even.map(|key| words(held, collection, key)).collect();
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                self.own(&result, &[number], &words)?;
            }
            Tool::Verify => {
                let key = *self.rng.pick(&keys);
                let uri = format!("at://{}/{collection}/{key}", held.did());
                let result = self.call(tool, json!({ "uri": uri })).await?;
                expect(&result, "finding", &json!("sound"))?;
                expect(&result, "cid", &json!(held.cid(collection, key)?))?;
                self.own(&result, &[number], &[])?;
            }
        }
        self.tally.answers[tool as usize] += 1;
        Ok(())
    }

    /// The archive is what the grant allows, and nothing else.
    async fn archive_overview(&mut self) -> Result<()> {
        let result = self.call(Tool::Overview, json!({})).await?;
        let items = result["structuredContent"]["items"].as_array();
        let shown: BTreeSet<_> = items
            .into_iter()
            .flatten()
            .filter_map(|item| Some((item["did"].as_str()?.to_owned(), item["records"].as_u64()?)))
            .collect();
        let may = self.may.repos.iter();
        let expected = may.map(|repo| {
            let held = &self.archive[*repo];
            let counts = self.may.collections.iter();
            let counts = counts.map(|at| held.keys(COLLECTIONS[*at]).len() as u64);
            (held.did().to_owned(), counts.sum())
        });
        if shown != expected.collect() {
            return Err(format!("another archive: {result}").into());
        }
        Ok(())
    }

    async fn repo_overview(&mut self, number: usize) -> Result<()> {
        let archive = self.archive.clone();
        let held = &archive[number];
        let result = self
            .call(Tool::Overview, json!({ "actor": held.did() }))
            .await?;
        let collections = self.may.collections.iter();
        let items = collections.map(|at| {
            let collection = COLLECTIONS[*at];
            json!({ "collection": collection, "records": held.keys(collection).len() })
        });
        expect(&result, "items", &items.collect())?;
        self.own(&result, &[number], &[])
    }

    /// Two pages, the second by the first one's cursor.
    async fn list(&mut self, number: usize, collection: &str, keys: &[&str]) -> Result<()> {
        let archive = self.archive.clone();
        let held = &archive[number];
        let limit = 1 + self.rng.index(20);
        let mut arguments = json!({ "actor": held.did(), "collection": collection, "limit": limit, "max_bytes": 65_536 });
        let newest: Vec<_> = keys.iter().rev().copied().collect();
        for page in newest.chunks(limit).take(2) {
            let result = self.call(Tool::List, arguments.clone()).await?;
            let items = page.iter().map(|key| json!({ "rkey": key }));
            expect(&result, "items", &items.collect())?;
            expect(&result, "total", &json!(keys.len()))?;
            let words: Vec<_> = page
                .iter()
                .map(|key| words(held, collection, key))
                .collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            self.own(&result, &[number], &words)?;
            arguments["cursor"] = result["structuredContent"]["next"].clone();
        }
        Ok(())
    }

    /// Calls a tool on a repo, or a collection, that the grant does not allow.
    async fn outside(&mut self, tool: Tool) -> Result<()> {
        let archive = self.archive.clone();
        let others = (0..COLLECTIONS.len()).filter(|at| !self.may.collections.contains(at));
        let others: Vec<_> = others.map(|at| COLLECTIONS[at]).collect();
        let (held, collection) = match self.rng.chance(500) && !others.is_empty() {
            true => (&archive[self.repo()], *self.rng.pick(&others)),
            false => {
                let others = (0..archive.len()).filter(|at| !self.may.repos.contains(at));
                let others: Vec<_> = others.collect();
                (&archive[*self.rng.pick(&others)], self.collection())
            }
        };
        let is_theirs = self
            .may
            .repos
            .iter()
            .any(|at| archive[*at].did() == held.did());
        let did = held.did();
        let uri = format!("at://{did}/{collection}/k000");
        let arguments = match tool {
            // Of a repo that it may reach, its own collections are shown.
            Tool::Overview if is_theirs => return Ok(()),
            Tool::Overview => json!({ "actor": did }),
            Tool::List => json!({ "actor": did, "collection": collection }),
            Tool::Get => json!({ "refs": [uri] }),
            Tool::Query => {
                json!({ "steps": [{ "list": { "repo": did, "collection": collection } }] })
            }
            Tool::Verify => json!({ "uri": uri }),
        };
        let result = self.ask(tool, arguments).await?;
        let code = &result["structuredContent"]["code"];
        if result["isError"] != true || code != "denied" {
            return Err(format!("{} outside the grant: {result}", tool.name()).into());
        }
        self.own(&result, &[], &[])?;
        self.tally.refusals += 1;
        Ok(())
    }

    /// Looks for words that must be in a result, and for marks that must not.
    fn own(&self, result: &Value, repos: &[usize], words: &[&str]) -> Result<()> {
        let text = result.to_string();
        for (at, _) in text.match_indices("mark") {
            let is_own = |repo: &usize| text[at..].starts_with(&mark(*repo));
            if !repos.iter().any(is_own) {
                return Err(format!("something of another repo: {result}").into());
            }
        }
        match words.iter().find(|words| !text.contains(**words)) {
            Some(words) => Err(format!("no `{words}` in {result}").into()),
            None => Ok(()),
        }
    }

    /// Calls a tool and returns its result, which is no error.
    async fn call(&mut self, tool: Tool, arguments: Value) -> Result<Value> {
        let result = self.ask(tool, arguments).await?;
        match result["isError"] == true {
            true => Err(format!("{} failed: {result}", tool.name()).into()),
            false => Ok(result),
        }
    }

    async fn ask(&mut self, tool: Tool, arguments: Value) -> Result<Value> {
        loop {
            let answer = self.post(tool, &arguments).await?;
            match answer.status {
                200 => {
                    let body: Value = serde_json::from_slice(&answer.body)?;
                    if body["id"] != self.id {
                        return Err(format!("an answer to another request: {body}").into());
                    }
                    return Ok(body["result"].clone());
                }
                429 => {
                    self.tally.waits += 1;
                    let time = answer.retry_after.ok_or("429 without a time")?;
                    tokio::time::sleep(Duration::from_secs(time)).await;
                }
                status => return Err(format!("{} got {status}", tool.name()).into()),
            }
        }
    }

    /// Makes sure that its token opens nothing any more.
    async fn is_over(&mut self) -> Result<()> {
        let answer = self.post(Tool::Overview, &json!({})).await?;
        self.stream = None;
        match answer.status {
            401 => Ok(()),
            status => Err(format!("a revoked grant got {status}").into()),
        }
    }

    async fn post(&mut self, tool: Tool, arguments: &Value) -> Result<Answer> {
        self.id += 1;
        let body = json!({
            "jsonrpc": "2.0", "id": self.id, "method": "tools/call",
            "params": { "name": tool.name(), "arguments": arguments },
        })
        .to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n\
             Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let exchange = async {
            stream.get_mut().write_all(request.as_bytes()).await?;
            Answer::read(&mut stream).await
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await??;
        self.stream = Some(stream);
        Ok(answer)
    }
}

/// Returns what a record says.
fn words(held: &Held, collection: &str, key: &str) -> String {
    let number: usize = key[1..].parse().expect("made as a number");
    format!("{} record {number} of {collection}", held.mark)
}

/// Compares a field of the structured half.
fn expect(result: &Value, field: &str, expected: &Value) -> Result<()> {
    match &result["structuredContent"][field] {
        found if found == expected => Ok(()),
        _ => Err(format!("{field} is not {expected}: {result}").into()),
    }
}

/// An HTTP answer.
struct Answer {
    status: u16,
    /// Seconds.
    retry_after: Option<u64>,
    body: Vec<u8>,
}

impl Answer {
    async fn read(stream: &mut BufReader<TcpStream>) -> Result<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).ok_or("the gateway has gone")?;
        let status = status.parse()?;
        let (mut length, mut retry_after) = (0, None);
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse()?,
                "retry-after" => retry_after = Some(value.parse()?),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Self {
            status,
            retry_after,
            body,
        })
    }
}
