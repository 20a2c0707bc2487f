//! [`Task`]: what one child process measures.
//!
//! Each measurement of an engine has a process of its own, so that its CPU time and memory are its alone. The task comes
//! as JSON in an argument, and its [`Answer`] leaves as one line of JSON on stdout.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ipld_core::ipld::Ipld;
use kit::rng::Rng;
use kit::{Mix, Order, RepoSpec};
use serde::{Deserialize, Serialize};

use crate::engine::{Carrack, Engine, Name, OnDisk, opened_in};
use crate::field::{Field, text_at};
use crate::measure::{Cost, Latency, MemoryWatch, anonymous_bytes, cost_of, nanoseconds};
use crate::rpc::{self, server::Program};
use crate::source::{Source, walk};

/// What to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// `repo-stream` walks the CAR in memory, and decodes its records if asked to.
    Walk { car: PathBuf, decode: bool },
    /// An engine takes in a CAR and answers.
    Engine {
        name: Name,
        car: PathBuf,
        folder: PathBuf,
        reads: Reads,
    },
    /// Peak memory of an import by our store.
    Memory { car: PathBuf, folder: PathBuf },
    /// An engine takes in many tiny repos.
    Tiny {
        name: Name,
        repos: usize,
        records: usize,
        folder: PathBuf,
    },
    /// Our store opens a folder.
    Open { folder: PathBuf },
    /// A server that is asked by the parent until that lets go.
    Serve {
        program: Program,
        folder: PathBuf,
        core: Option<usize>,
    },
    /// Work whose instructions are counted: `calls` times, after as many calls as are ever made to warm up.
    Body {
        body: Body,
        car: PathBuf,
        folder: PathBuf,
        paths: PathBuf,
        calls: usize,
    },
}

/// How much is read.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Reads {
    /// Point gets, of records and of each field.
    pub(crate) gets: usize,
    /// Pages listed.
    pub(crate) pages: usize,
    /// Scans; the middle one counts.
    pub(crate) scans: usize,
}

/// A hot path whose instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Body {
    /// One record's DAG-CBOR.
    Get,
    /// One field of a record.
    GetField,
    /// A page of a listing.
    ListPage,
    /// A whole import.
    Import,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Walk { cost: Cost, records: u64 },
    Engine(EngineAnswer),
    Memory { peak_bytes: u64 },
    Tiny(TinyAnswer),
    Open { cost: Cost, anonymous_bytes: u64 },
    Done,
}

/// What was measured of an engine with one repo in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EngineAnswer {
    pub(crate) import: Option<Cost>,
    pub(crate) on_disk: OnDisk,
    /// In the engine's form for what is seldom read.
    pub(crate) on_disk_cold: Option<OnDisk>,
    pub(crate) get: Option<Latency>,
    pub(crate) fields: BTreeMap<String, Latency>,
    pub(crate) page: Option<Latency>,
    /// Records a second.
    pub(crate) scan: Option<f64>,
    /// Digests of what was answered, by what was asked. Engines must agree.
    pub(crate) digests: BTreeMap<String, u64>,
}

/// What was measured of an engine with many tiny repos in it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct TinyAnswer {
    pub(crate) import: Cost,
    pub(crate) on_disk: OnDisk,
    pub(crate) repos: u64,
    pub(crate) records: u64,
}

/// The fields that are read: a reference, a time, a text.
pub(crate) const FIELDS: [&str; 3] = ["subject.uri", "createdAt", "text"];
/// The field that is scanned, and the bound: half of the generated records are above it. It has no fraction and no zone,
/// so that it sorts before every way to write that second.
pub(crate) const SCAN_FIELD: &str = "createdAt";
const SCAN_LEAST: &str = "2024-01-21T00:00:00";
/// Records of a page.
pub(crate) const PAGE_RECORDS: usize = 100;
/// The collection listed; where it is missing, as in no social account, that of the first record.
const LISTED: &str = "app.bsky.feed.like/";

impl Task {
    /// Does it.
    pub(crate) fn run(self) -> Result<Answer> {
        match self {
            Self::Walk { car, decode } => walk_car(&car, decode),
            Self::Engine {
                name,
                car,
                folder,
                reads,
            } => {
                let source = Source::file(car)?;
                measure_engine(name, &source, &folder, reads).map(Answer::Engine)
            }
            Self::Memory { car, folder } => watch_import(car, &folder),
            Self::Tiny {
                name,
                repos,
                records,
                folder,
            } => import_tiny(name, repos, records, &folder).map(Answer::Tiny),
            Self::Open { folder } => open(&folder),
            Self::Serve {
                program,
                folder,
                core,
            } => {
                rpc::server::serve(program, &folder, core)?;
                Ok(Answer::Done)
            }
            Self::Body {
                body,
                car,
                folder,
                paths,
                calls,
            } => {
                run_body(body, car, &folder, &paths, calls)?;
                Ok(Answer::Done)
            }
        }
    }
}

fn walk_car(car: &Path, decode: bool) -> Result<Answer> {
    let car = std::fs::read(car)?;
    let mut records = 0;
    let ((), cost) = cost_of(|| {
        walk(&car, |path, value| {
            records += 1;
            std::hint::black_box((path, value));
            if decode {
                let record: Ipld = serde_ipld_dagcbor::from_slice(value)?;
                std::hint::black_box(record);
            }
            Ok(())
        })
    })?;
    Ok(Answer::Walk { cost, records })
}

fn watch_import(car: PathBuf, folder: &Path) -> Result<Answer> {
    let source = Source::file(car)?;
    let mut engine = Name::Carrack.create(folder)?;
    let watch = MemoryWatch::start();
    engine.import(&source)?;
    let peak_bytes = watch.peak_bytes()?;
    Ok(Answer::Memory { peak_bytes })
}

fn open(folder: &Path) -> Result<Answer> {
    let before = anonymous_bytes()?;
    let (store, cost) = cost_of(|| opened_in(folder))?;
    let after = anonymous_bytes()?;
    ensure!(store.stats()?.repos > 0, "the store opened is empty");
    Ok(Answer::Open {
        cost,
        anonymous_bytes: after.saturating_sub(before),
    })
}

fn import_tiny(name: Name, repos: usize, records: usize, folder: &Path) -> Result<TinyAnswer> {
    let sources = tiny_sources(repos, records);
    if !name.reads_cars() {
        for source in &sources {
            source.rows()?;
        }
    }
    let mut engine = name.create(folder)?;
    let ((), import) = cost_of(|| engine.import_all(&sources))?;
    engine.settle()?;
    Ok(TinyAnswer {
        import,
        on_disk: engine.bytes_on_disk()?,
        repos: repos as u64,
        records: (repos * records) as u64,
    })
}

/// Makes repos that differ in nothing but their seed.
fn tiny_sources(repos: usize, records: usize) -> Vec<Source> {
    const FIRST_SEED: u64 = 1_000;
    let make = |seed| {
        let spec = RepoSpec {
            records,
            seed,
            mix: Mix::SOCIAL,
            ..RepoSpec::default()
        };
        Source::bytes_of(spec.build().car(Order::Pds))
    };
    (FIRST_SEED..FIRST_SEED + repos as u64).map(make).collect()
}

fn measure_engine(
    name: Name,
    source: &Source,
    folder: &Path,
    reads: Reads,
) -> Result<EngineAnswer> {
    if !name.reads_cars() {
        source.rows()?;
    }
    let mut engine = name.create(folder)?;
    let ((), import) = cost_of(|| engine.import(source))?;
    engine.settle()?;
    let mut answer = EngineAnswer {
        import: Some(import),
        on_disk: engine.bytes_on_disk()?,
        ..EngineAnswer::default()
    };
    let rows = source.rows()?;
    let mut measured = Measured {
        name,
        engine: &mut *engine,
        answer: &mut answer,
    };
    measured.fields(rows, reads)?;
    if !name.only_fields() {
        measured.gets(rows, reads)?;
        measured.pages(rows, reads)?;
        measured.scan(rows, reads)?;
    }
    if engine.chill()? {
        answer.on_disk_cold = Some(engine.bytes_on_disk()?);
    }
    Ok(answer)
}

/// An engine whose reads are being measured.
struct Measured<'a> {
    name: Name,
    engine: &'a mut dyn Engine,
    answer: &'a mut EngineAnswer,
}

type SourceRows = [(String, Box<[u8]>)];

impl Measured<'_> {
    fn gets(&mut self, rows: &SourceRows, reads: Reads) -> Result<()> {
        let all: Vec<_> = rows.iter().collect();
        let picked = pick(&all, reads.gets, 1);
        let paths: Vec<&str> = picked.iter().map(|row| row.0.as_str()).collect();
        self.engine.prepare(&paths, &Field::new(""))?;
        if self.name.keeps_bytes() {
            let mut out = Vec::new();
            for (at, (path, value)) in picked.iter().enumerate() {
                out.clear();
                self.engine.get(at, &mut out)?;
                ensure!(
                    out == **value,
                    "{} gave other bytes for {path}",
                    self.name.label()
                );
            }
        }
        let engine = &mut *self.engine;
        let (latency, _) = time_each(reads.gets, |at, out| engine.get(at, out))?;
        self.answer.get = Some(latency);
        Ok(())
    }

    fn fields(&mut self, rows: &SourceRows, reads: Reads) -> Result<()> {
        for name in FIELDS {
            let field = Field::new(name);
            let having: Vec<_> = rows
                .iter()
                .filter(|(_, value)| text_at(value, &field.parts).is_some())
                .collect();
            if having.is_empty() {
                continue;
            }
            let picked = pick(&having, reads.gets, 2);
            let paths: Vec<&str> = picked.iter().map(|row| row.0.as_str()).collect();
            self.engine.prepare(&paths, &field)?;
            let engine = &mut *self.engine;
            let (latency, digest) = time_each(reads.gets, |at, out| engine.get_field(at, out))?;
            self.answer.fields.insert(name.into(), latency);
            self.answer.digests.insert(format!("field {name}"), digest);
        }
        Ok(())
    }

    fn pages(&mut self, rows: &SourceRows, reads: Reads) -> Result<()> {
        let first = rows.first().context("the CAR holds no record")?;
        let listed = |prefix: &str| -> Vec<_> {
            rows.iter()
                .filter(|row| row.0.starts_with(prefix))
                .collect()
        };
        let mut candidates = listed(LISTED);
        if candidates.is_empty() {
            let slash = first.0.find('/').context("a path has no slash")?;
            candidates = listed(&first.0[..=slash]);
        }
        // A page begins at a record that has enough after it, if any has.
        let starts = candidates.len().saturating_sub(PAGE_RECORDS).max(1);
        let picked = pick(&candidates[..starts], reads.pages, 3);
        let paths: Vec<&str> = picked.iter().map(|row| row.0.as_str()).collect();
        self.engine.prepare(&paths, &Field::new(""))?;
        let engine = &mut *self.engine;
        let (latency, digest) = time_each(reads.pages, |at, out| {
            engine.list_page(at, PAGE_RECORDS, out).map(drop)
        })?;
        self.answer.page = Some(latency);
        if self.name.keeps_bytes() {
            self.answer.digests.insert("pages".into(), digest);
        }
        Ok(())
    }

    fn scan(&mut self, rows: &SourceRows, reads: Reads) -> Result<()> {
        self.engine.prepare(&[], &Field::new(SCAN_FIELD))?;
        let mut hits = self.engine.scan_column(SCAN_LEAST)?;
        let mut rates = Vec::new();
        for _ in 0..reads.scans {
            let cost;
            (hits, cost) = cost_of(|| self.engine.scan_column(SCAN_LEAST))?;
            rates.push(rows.len() as f64 / cost.cpu_s);
        }
        rates.sort_unstable_by(f64::total_cmp);
        self.answer.scan = rates.get(rates.len() / 2).copied();
        self.answer.digests.insert("scan".into(), hits);
        Ok(())
    }
}

/// Picks `count` of some rows at random, the same for every engine.
fn pick<'a, T>(rows: &[&'a T], count: usize, seed: u64) -> Vec<&'a T> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| rows[rng.index(rows.len())]).collect()
}

/// Makes the calls once to warm up, for a digest of their answers, and once more for their times.
fn time_each(
    count: usize,
    mut call: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
) -> Result<(Latency, u64)> {
    let mut out = Vec::with_capacity(1 << 20);
    let mut digest = DefaultHasher::new();
    for at in 0..count {
        out.clear();
        call(at, &mut out)?;
        digest.write(&out);
    }
    let mut times = Vec::with_capacity(count);
    for at in 0..count {
        out.clear();
        let start = Instant::now();
        call(at, &mut out)?;
        times.push(nanoseconds(start));
        std::hint::black_box(&out);
    }
    Ok((Latency::of(times), digest.finish()))
}

fn run_body(body: Body, car: PathBuf, folder: &Path, paths: &Path, calls: usize) -> Result<()> {
    let mut engine = Carrack::open(folder)?;
    if body == Body::Import {
        return engine.import(&Source::file(car)?);
    }
    let text = std::fs::read_to_string(paths)?;
    let (did, paths) = text
        .split_once('\n')
        .context("a list of paths without a DID")?;
    let paths: Vec<&str> = paths.lines().collect();
    engine.read_from(did.parse()?);
    engine.prepare(&paths, &Field::new(FIELDS[0]))?;
    let mut out = Vec::with_capacity(1 << 20);
    for at in (0..paths.len()).chain(0..calls) {
        out.clear();
        match body {
            Body::Get => engine.get(at, &mut out)?,
            Body::GetField => engine.get_field(at, &mut out)?,
            Body::ListPage => engine.list_page(at, PAGE_RECORDS, &mut out).map(drop)?,
            Body::Import => {}
        }
        std::hint::black_box(&out);
    }
    Ok(())
}
