//! The RPC: what our server spends on a call, beside a bare capnp-rpc echo, tonic and axum that read the same store.
//!
//! Every server is a process of its own on the first core, the load comes from the last. In a round each peer is asked
//! for a slice of time, one after the other, in an order that turns by one; ratios are of slices of one round.

pub(crate) mod carrack;
mod chain;
mod delay;
pub(crate) mod door;
mod echo;
mod grpc;
mod http;
mod idle;
pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod server;
mod upload;

#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; its documentation is the schema's"
)]
#[rustfmt::skip]
mod echo_capnp;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use carrack_schema::{Cid, Did, RecordPath};
use carrack_store::{Lookup, Store};
use kit::cbor::Value;
use kit::rng::Rng;
use kit::{Mix, Order, Repo, RepoSpec};

use crate::engine::{Name, opened_in};
use crate::measure::{Cost, cost_of};
use crate::note;
use crate::options::Sizes;
use crate::source::Source;

use carrack::{Bytes, CarrackClient, Decoded, Held, Hop};
use chain::Chains;
use delay::Delay;
pub(crate) use door::Door;
use door::Place;
use echo::EchoClient;
use grpc::GrpcClient;
use http::HttpClient;
use load::Key;
pub(crate) use load::{Load, Shape, Slice};
use server::{Program, Server, pin, raise_file_limit};

/// Buffer of each direction of a connection: what our server has.
const BUFFER_BYTES: usize = 64 << 10;
/// The longest record of the AT Protocol.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Round trip of the slow line.
pub(crate) const RTT: Duration = Duration::from_millis(20);
const SEED: u64 = 5;
const LARGE: &str = "com.example.large";

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RpcSizes {
    pub(crate) rounds: usize,
    pub(crate) slice: Slice,
    /// Records of the repo that is read.
    pub(crate) records: usize,
    /// Records of the repo that is streamed in.
    pub(crate) import_records: usize,
    pub(crate) connections_idle: usize,
    /// Chains of each kind, a round.
    pub(crate) chains: usize,
    /// Keys that are asked for.
    pub(crate) keys: usize,
}

/// Who is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Carrack,
    CarrackHop,
    CarrackHeld,
    CarrackValue,
    Echo,
    Tonic,
    Axum,
}

impl Peer {
    pub(crate) const ALL: [Self; 7] = [
        Self::Carrack,
        Self::CarrackHop,
        Self::CarrackHeld,
        Self::CarrackValue,
        Self::Echo,
        Self::Tonic,
        Self::Axum,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Carrack => "Carrack, by key",
            Self::CarrackHop => "Carrack, hop and read",
            Self::CarrackHeld => "Carrack, record held",
            Self::CarrackValue => "Carrack, by key, as value",
            Self::Echo => "capnp-rpc echo",
            Self::Tonic => "tonic",
            Self::Axum => "axum JSON",
        }
    }

    fn program(self) -> Program {
        match self {
            Self::Carrack | Self::CarrackHop | Self::CarrackHeld | Self::CarrackValue => {
                Program::Carrack
            }
            Self::Echo => Program::Echo,
            Self::Tonic => Program::Grpc,
            Self::Axum => Program::Http,
        }
    }
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Payload {
    Record,
    Kib64,
    Mib1,
}

impl Payload {
    const ALL: [Self; 3] = [Self::Record, Self::Kib64, Self::Mib1];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Record => "record of 300 B",
            Self::Kib64 => "record of 64 KiB",
            Self::Mib1 => "record of 1 MiB",
        }
    }

    fn shapes(self) -> &'static [Shape] {
        match self {
            Self::Record => &const { [Shape::new(1, 1), Shape::new(1, 64), Shape::new(16, 4)] },
            Self::Kib64 | Self::Mib1 => &const { [Shape::new(1, 4)] },
        }
    }

    /// The flat value is for records; what is large is read as bytes.
    fn peers(self) -> Vec<Peer> {
        let asked = |peer: &Peer| self == Self::Record || *peer != Peer::CarrackValue;
        Peer::ALL.into_iter().filter(asked).collect()
    }
}

/// One line of the table: payload, door, shape.
pub(crate) type Point = (Payload, Door, Shape);

/// Everything that was measured.
pub(crate) struct RpcResults {
    /// By point, one a round.
    pub(crate) gets: BTreeMap<Point, Vec<BTreeMap<Peer, Load>>>,
    pub(crate) imports: Vec<ImportRound>,
    pub(crate) chains: Vec<Chains>,
    pub(crate) idle: Vec<IdleRound>,
    pub(crate) connections_idle: usize,
    /// Of the small records, on average.
    pub(crate) value_bytes: f64,
}

/// One round of streamed imports, in bytes a second.
pub(crate) struct ImportRound {
    pub(crate) unix: f64,
    pub(crate) tcp: f64,
    pub(crate) slow: f64,
    /// The same CAR out of memory, in process.
    pub(crate) in_process: Cost,
    /// The CAR's length.
    pub(crate) bytes: u64,
}

/// Bytes a connection.
pub(crate) struct IdleRound {
    pub(crate) carrack: f64,
    pub(crate) echo: f64,
}

/// What the store answers, for the peers that are not ours.
struct Read {
    rev: String,
    commit: Cid,
    value: Vec<u8>,
}

fn read(store: &Store, did: &Did, path: &RecordPath) -> Result<Read> {
    let repo = store.current(did)?.ok().context("the repo is absent")?;
    let Lookup::Found(record) = repo.record(path)? else {
        bail!("no record {path}");
    };
    let summary = repo.summary();
    Ok(Read {
        rev: summary.rev.map(|rev| rev.to_string()).unwrap_or_default(),
        commit: summary.commit,
        value: record.bytes()?.into_owned(),
    })
}

/// The repo that is read, the folders of the servers that hold it, and what is asked for.
pub(crate) struct Corpus {
    folders: BTreeMap<Program, PathBuf>,
    keys: BTreeMap<Payload, Vec<Key>>,
}

impl Corpus {
    /// Makes it. Every server has a copy: a data folder has one owner.
    pub(crate) fn make(scratch: &Path, records: usize, keys: usize) -> Result<Self> {
        let large = |rkey: &str, bytes| (format!("{LARGE}/{rkey}"), large_record(bytes));
        let spec = RepoSpec {
            records,
            seed: SEED,
            mix: Mix::SOCIAL,
            extra: vec![large("kib64", 64 << 10), large("mib1", PAYLOAD_BYTES_MAX)],
            ..RepoSpec::default()
        };
        let repo = spec.build();
        let source = Source::bytes_of(repo.car(Order::Pds));
        let mut folders = BTreeMap::new();
        for program in Program::ALL {
            let folder = scratch.join(format!("rpc-{program:?}"));
            let mut engine = Name::Carrack.create(&folder)?;
            engine.import(&source)?;
            engine.settle()?;
            folders.insert(program, folder);
        }
        let keys = Payload::ALL
            .into_iter()
            .map(|payload| Ok((payload, keys_of(&repo, payload, keys)?)))
            .collect::<Result<_>>()?;
        Ok(Self { folders, keys })
    }

    fn start(&self, program: Program, core: Option<usize>) -> Result<Server> {
        Server::start(program, &self.folders[&program], core)
    }
}

fn keys_of(repo: &Repo, payload: Payload, count: usize) -> Result<Vec<Key>> {
    let asked = |path: &str, bytes: usize| match payload {
        Payload::Record => path.starts_with("app.bsky.feed.post/") && (250..350).contains(&bytes),
        Payload::Kib64 => path == format!("{LARGE}/kib64"),
        Payload::Mib1 => path == format!("{LARGE}/mib1"),
    };
    let mut keys = Vec::new();
    for record in &repo.records {
        let path = record.path.to_string();
        if asked(&path, record.bytes.len()) {
            keys.push(Key {
                did: repo.did.clone(),
                path: path.parse()?,
                value: record.bytes.to_vec(),
            });
        }
    }
    ensure!(!keys.is_empty(), "the repo has no {}", payload.label());
    let mut rng = Rng::new(SEED);
    Ok((0..count.min(keys.len()))
        .map(|_| keys[rng.index(keys.len())].clone())
        .collect())
}

/// Returns DAG-CBOR of so many bytes, or two less: a map of `$type` and a text.
fn large_record(bytes: usize) -> Vec<u8> {
    let of = |text: String| {
        let entries = [("$type", Value::text(LARGE)), ("text", Value::text(text))];
        Value::map(entries).encode()
    };
    let mut rng = Rng::new(SEED);
    let text: String = (0..bytes)
        .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz      "[rng.index(32)]))
        .collect();
    let record = of(text.clone());
    let over = record.len() - bytes;
    of(text[over..].to_owned())
}

/// Calls `$work::<G>` with the client of a peer.
macro_rules! with_client {
    ($peer:expr, $work:ident ( $($argument:expr),* )) => {
        match $peer {
            Peer::Carrack => load::$work::<CarrackClient<Bytes>>($($argument),*),
            Peer::CarrackHop => load::$work::<CarrackClient<Hop>>($($argument),*),
            Peer::CarrackHeld => load::$work::<CarrackClient<Held>>($($argument),*),
            Peer::CarrackValue => load::$work::<CarrackClient<Decoded>>($($argument),*),
            Peer::Echo => load::$work::<EchoClient>($($argument),*),
            Peer::Tonic => load::$work::<GrpcClient>($($argument),*),
            Peer::Axum => load::$work::<HttpClient>($($argument),*),
        }
    };
}

/// Measures everything.
pub(crate) fn run(scratch: &Path, sizes: &RpcSizes, import_car: &Path) -> Result<RpcResults> {
    raise_file_limit()?;
    let corpus = Corpus::make(scratch, sizes.records, sizes.keys)?;
    let mut results = RpcResults {
        gets: BTreeMap::new(),
        imports: Vec::new(),
        chains: Vec::new(),
        idle: Vec::new(),
        connections_idle: sizes.connections_idle,
        value_bytes: mean_bytes(&corpus.keys[&Payload::Record]),
    };
    let (server_core, load_core) = server::cores()?;
    let gets = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                load_core.map_or(Ok(()), pin)?;
                measure_gets(&corpus, sizes, server_core)
            })
            .join()
            .expect("the load does not panic")
    });
    results.gets = gets?;
    let car = fs::read(import_car)?;
    for round in 0..sizes.rounds {
        note(&format!("RPC: imports, chains, idle, round {}", round + 1));
        results.imports.push(imports(scratch, &car)?);
        results.chains.push(chains(&corpus, sizes)?);
        results.idle.push(idle_connections(&corpus, sizes)?);
    }
    Ok(results)
}

fn mean_bytes(keys: &[Key]) -> f64 {
    keys.iter().map(|key| key.value.len() as f64).sum::<f64>() / keys.len() as f64
}

type Gets = BTreeMap<Point, Vec<BTreeMap<Peer, Load>>>;

fn measure_gets(corpus: &Corpus, sizes: &RpcSizes, core: Option<usize>) -> Result<Gets> {
    let mut servers = BTreeMap::new();
    for program in Program::ALL {
        servers.insert(program, corpus.start(program, core)?);
    }
    for peer in Peer::ALL {
        for (payload, keys) in &corpus.keys {
            for door in Door::ALL {
                let place = servers[&peer.program()].place(door);
                if payload.peers().contains(&peer) {
                    with_client!(peer, check(&place, keys))
                        .with_context(|| format!("{} over {}", peer.label(), door.label()))?;
                }
            }
        }
    }
    let mut gets = Gets::new();
    for round in 0..sizes.rounds {
        note(&format!(
            "RPC: gets, round {} of {}",
            round + 1,
            sizes.rounds
        ));
        for (payload, keys) in &corpus.keys {
            let peers = payload.peers();
            for (door, shape) in points(*payload) {
                let mut loads = BTreeMap::new();
                for turn in 0..peers.len() {
                    let peer = peers[(turn + round) % peers.len()];
                    let server = &servers[&peer.program()];
                    let place = server.place(door);
                    let load = with_client!(peer, drive(server, &place, shape, sizes.slice, keys))
                        .with_context(|| format!("{} at {shape:?}", peer.label()))?;
                    loads.insert(peer, load);
                }
                gets.entry((*payload, door, shape)).or_default().push(loads);
            }
        }
    }
    Ok(gets)
}

fn points(payload: Payload) -> impl Iterator<Item = (Door, Shape)> {
    let shapes = payload.shapes().iter();
    shapes.flat_map(|shape| Door::ALL.map(|door| (door, *shape)))
}

/// Streams a CAR into new stores: directly, and through the slow line; and imports it in process.
fn imports(scratch: &Path, car: &[u8]) -> Result<ImportRound> {
    let into = |door: Door, slow: bool| -> Result<f64> {
        let folder = tempfile::tempdir_in(scratch)?;
        let server = Server::start(Program::Carrack, folder.path(), None)?;
        let mut place = server.place(door);
        if slow {
            place = slow_line(&server)?;
        }
        let rate = upload::rate(&place, car)?;
        server.end()?;
        Ok(rate)
    };
    let folder = tempfile::tempdir_in(scratch)?;
    let store = opened_in(folder.path())?;
    let (_, in_process) = cost_of(|| Ok(store.import(car, &Default::default(), |_| {})?))?;
    Ok(ImportRound {
        unix: into(Door::Unix, false)?,
        tcp: into(Door::Tcp, false)?,
        slow: into(Door::Tcp, true)?,
        in_process,
        bytes: car.len() as u64,
    })
}

/// Returns the way to a server's port through a line that is slow.
pub(crate) fn slow_line(server: &Server) -> Result<Place> {
    match server.place(Door::Tcp) {
        Place::Tcp(address, token) => Ok(Place::Tcp(Delay::start(address, RTT)?.address, token)),
        Place::Unix(path) => bail!("{} is no port", path.display()),
    }
}

fn chains(corpus: &Corpus, sizes: &RpcSizes) -> Result<Chains> {
    let server = corpus.start(Program::Carrack, None)?;
    chain::measure(
        &slow_line(&server)?,
        &corpus.keys[&Payload::Record],
        sizes.chains,
    )
}

fn idle_connections(corpus: &Corpus, sizes: &RpcSizes) -> Result<IdleRound> {
    let of = |program| {
        let server = corpus.start(program, None)?;
        let keys = &corpus.keys[&Payload::Record];
        let place = server.place(Door::Unix);
        idle::bytes_each(&server, program, &place, sizes.connections_idle, keys)
    };
    Ok(IdleRound {
        carrack: of(Program::Carrack)?,
        echo: of(Program::Echo)?,
    })
}

/// Counts the instructions of a server, in its own code, that a get takes at depth 64 over its unix socket.
///
/// The profile of the longer run is kept where a folder is named.
pub(crate) fn instructions(
    scratch: &Path,
    sizes: Sizes,
    profiles: Option<&Path>,
) -> Result<Vec<(Peer, f64)>> {
    profiles.map_or(Ok(()), fs::create_dir_all)?;
    let corpus = Corpus::make(scratch, sizes.import_records, sizes.rpc.keys)?;
    let keys = &corpus.keys[&Payload::Record];
    let shape = Shape::new(1, 64);
    let mut counts = Vec::new();
    for peer in Peer::ALL {
        note(&format!("instructions: {}", peer.label()));
        let mut counted = [0.0; 2];
        for (run, factor) in [1, 2].into_iter().enumerate() {
            let program = peer.program();
            let folder = &corpus.folders[&program];
            let out = profiles.map(|profiles| {
                let file = profiles.join(format!("{peer:?}.callgrind"));
                format!("--callgrind-out-file={}", file.display())
            });
            let mut command = crate::callgrind::COMMAND.to_vec();
            command.extend(out.as_deref());
            let server = Server::start_below(&command, program, folder, None)?;
            let place = server.place(Door::Unix);
            with_client!(peer, make(&place, shape, sizes.calls * factor, keys))?;
            counted[run] = crate::callgrind::collected(&server.end()?)?;
        }
        counts.push((peer, (counted[1] - counted[0]) / sizes.calls as f64));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_records_have_their_length_and_are_valid() {
        for bytes in [64 << 10, PAYLOAD_BYTES_MAX] {
            let record = large_record(bytes);
            // A text of 64 KiB less a little has a head two bytes shorter than one of 64 KiB.
            assert!((bytes - 2..=bytes).contains(&record.len()));
            carrack_repo::cbor::validate(&record).unwrap();
        }
    }
}
