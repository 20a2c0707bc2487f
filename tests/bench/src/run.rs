//! The run: inputs are made, every measurement is done in rounds, and all answers are kept.
//!
//! In a round everything that is compared runs one after the other, in an order that turns by one each round, so that a
//! ratio is of figures that were taken close together and nobody is always first. `repo-stream` walks just before our
//! store imports.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use kit::{Mix, Order, RepoSpec};

use crate::engine::Name;
use crate::mcp::{self, McpResults};
use crate::measure::Cost;
use crate::options::{Options, Section, Sizes};
use crate::rpc::{self, Peer, RpcResults};
use crate::task::{Answer, Body, EngineAnswer, Task, TinyAnswer};
use crate::{callgrind, child, note};

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) repos: Vec<RepoResults>,
    /// By engine, one a round.
    pub(crate) tiny: BTreeMap<Name, Vec<TinyAnswer>>,
    pub(crate) open: Option<OpenResults>,
    pub(crate) rpc: Option<RpcResults>,
    pub(crate) mcp: Option<McpResults>,
    /// Instructions per call, or per record imported.
    pub(crate) instructions: Option<Vec<(Body, f64)>>,
    /// Instructions of a server per call.
    pub(crate) served: Vec<(Peer, f64)>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
}

/// Which repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Synthetic,
    Million,
    Midsize,
    Given,
}

/// What was measured with one repo.
pub(crate) struct RepoResults {
    pub(crate) kind: Kind,
    pub(crate) records: u64,
    pub(crate) car_bytes: u64,
    pub(crate) rounds: Vec<Round>,
    /// Peak of our import's anonymous memory, in bytes, one a round.
    pub(crate) memory_bytes: Vec<u64>,
}

/// One round with one repo.
pub(crate) struct Round {
    /// `repo-stream` walking.
    pub(crate) walk: Cost,
    /// `repo-stream` walking, and each record decoded.
    pub(crate) decode: Cost,
    pub(crate) engines: BTreeMap<Name, EngineAnswer>,
}

/// Opening a store of many repos, one figure a round.
pub(crate) struct OpenResults {
    pub(crate) repos: usize,
    pub(crate) many: Vec<(Cost, u64)>,
    /// The same with one repo that has as many records.
    pub(crate) one: Vec<(Cost, u64)>,
}

/// Measures what the options ask for.
pub(crate) fn run(options: &Options) -> Result<Results> {
    fs::create_dir_all(options.scratch())?;
    let scratch = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(options.scratch())?;
    let run = Run {
        scratch: scratch.path(),
        sizes: options.sizes(),
    };
    let mut results = Results::default();
    if options.has(Section::Synthetic) {
        let car = run.synthetic(run.sizes.records, 1)?;
        results
            .repos
            .push(run.repo(Kind::Synthetic, &car, &Name::ALL, run.sizes.rounds)?);
        for car in &options.car {
            results
                .repos
                .push(run.repo(Kind::Given, car, &Name::ALL, run.sizes.rounds)?);
        }
    }
    if options.has(Section::Midsize) {
        match options.midsize() {
            Some(car) => {
                results
                    .repos
                    .push(run.repo(Kind::Midsize, &car, &Name::ALL, run.sizes.rounds)?);
            }
            None => results.skip("the real repo: no such CAR here, see `--midsize`"),
        }
    }
    if options.has(Section::Million) {
        const ENGINES: [Name; 3] = [Name::Carrack, Name::Redb, Name::Sqlite];
        let car = run.synthetic(run.sizes.million, 2)?;
        let rounds = run.sizes.rounds.min(3);
        results
            .repos
            .push(run.repo(Kind::Million, &car, &ENGINES, rounds)?);
    }
    if options.has(Section::Tiny) {
        results.tiny = run.tiny()?;
    }
    if options.has(Section::Open) {
        results.open = Some(run.open()?);
    }
    if options.has(Section::Rpc) {
        let sizes = run.sizes.rpc;
        let car = run.synthetic(sizes.import_records, 1)?;
        results.rpc = Some(rpc::run(run.scratch, &sizes, &car)?);
    }
    if options.has(Section::Mcp) {
        results.mcp = Some(mcp::run(run.scratch, &run.sizes.mcp)?);
    }
    if options.has(Section::Callgrind) {
        results.instructions = callgrind::count(run.scratch, run.sizes)?;
        if results.instructions.is_none() {
            results.skip("instruction counts: valgrind is not installed");
        } else {
            let scratch = run.scratch.join("served");
            results.served = rpc::instructions(&scratch, run.sizes, options.profiles.as_deref())?;
        }
    }
    Ok(results)
}

impl Results {
    fn skip(&mut self, what: &str) {
        note(&format!("skipped {what}"));
        self.skipped.push(what.to_owned());
    }

    /// Returns what was measured with a repo.
    pub(crate) fn repo(&self, kind: Kind) -> Option<&RepoResults> {
        self.repos.iter().find(|repo| repo.kind == kind)
    }
}

struct Run<'a> {
    scratch: &'a Path,
    sizes: Sizes,
}

impl Run<'_> {
    /// Makes a CAR of a social account, in the order of the reference PDS.
    fn synthetic(&self, records: usize, seed: u64) -> Result<PathBuf> {
        note(&format!("making a repo of {records} records"));
        let spec = RepoSpec {
            records,
            seed,
            mix: Mix::SOCIAL,
            ..RepoSpec::default()
        };
        let path = self.scratch.join(format!("{records}.car"));
        let mut file = BufWriter::new(File::create(&path)?);
        spec.build().write_car(Order::Pds, &mut file)?;
        file.flush()?;
        Ok(path)
    }

    /// Gives `work` a folder that is new and gone afterwards.
    fn in_folder<T>(&self, work: impl FnOnce(PathBuf) -> Result<T>) -> Result<T> {
        let folder = tempfile::tempdir_in(self.scratch)?;
        work(folder.path().to_owned())
    }

    fn repo(&self, kind: Kind, car: &Path, engines: &[Name], rounds: usize) -> Result<RepoResults> {
        let car_bytes = fs::metadata(car)?.len();
        let mut results = RepoResults {
            kind,
            records: 0,
            car_bytes,
            rounds: Vec::new(),
            memory_bytes: Vec::new(),
        };
        for round in 0..rounds {
            note(&format!("{kind:?}: round {} of {rounds}", round + 1));
            let mut answers = BTreeMap::new();
            let mut walks = None;
            for turn in 0..engines.len() {
                let name = engines[(turn + round) % engines.len()];
                if name == Name::Carrack {
                    walks = Some((self.walk(car, false)?, self.walk(car, true)?));
                }
                answers.insert(name, self.engine(name, car)?);
            }
            let ((walk, records), (decode, _)) = walks.context("our store was not measured")?;
            check_agreement(&answers)?;
            results.records = records;
            results.rounds.push(Round {
                walk,
                decode,
                engines: answers,
            });
            results.memory_bytes.push(self.memory(car)?);
        }
        Ok(results)
    }

    fn walk(&self, car: &Path, decode: bool) -> Result<(Cost, u64)> {
        let car = car.to_owned();
        match child::run(&Task::Walk { car, decode })? {
            Answer::Walk { cost, records } => Ok((cost, records)),
            other => bail!("a walk answered {other:?}"),
        }
    }

    fn engine(&self, name: Name, car: &Path) -> Result<EngineAnswer> {
        self.in_folder(|folder| {
            let (car, reads) = (car.to_owned(), self.sizes.reads);
            let task = Task::Engine {
                name,
                car,
                folder,
                reads,
            };
            match child::run(&task)? {
                Answer::Engine(answer) => Ok(answer),
                other => bail!("an engine answered {other:?}"),
            }
        })
    }

    fn memory(&self, car: &Path) -> Result<u64> {
        self.in_folder(|folder| memory(car, folder))
    }

    fn tiny(&self) -> Result<BTreeMap<Name, Vec<TinyAnswer>>> {
        const ENGINES: [Name; 3] = [Name::Carrack, Name::Redb, Name::Sqlite];
        // What is of interest hardly varies, and every repo costs an fsync or four.
        const ROUNDS_MAX: usize = 2;
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for round in 0..self.sizes.rounds.min(ROUNDS_MAX) {
            for name in ENGINES {
                note(&format!(
                    "tiny repos: {}, round {}",
                    name.label(),
                    round + 1
                ));
                let answer =
                    self.in_folder(|folder| self.tiny_repos(name, self.sizes.tiny_repos, folder))?;
                all.entry(name).or_default().push(answer);
            }
        }
        Ok(all)
    }

    fn tiny_repos(&self, name: Name, repos: usize, folder: PathBuf) -> Result<TinyAnswer> {
        let task = Task::Tiny {
            name,
            repos,
            records: self.sizes.tiny_records,
            folder,
        };
        match child::run(&task)? {
            Answer::Tiny(answer) => Ok(answer),
            other => bail!("tiny repos answered {other:?}"),
        }
    }

    fn open(&self) -> Result<OpenResults> {
        let repos = self.sizes.open_repos;
        note(&format!("a store of {repos} repos"));
        let (many, one) = (self.scratch.join("many"), self.scratch.join("one"));
        self.tiny_repos(Name::Carrack, repos, many.clone())?;
        let car = self.synthetic(repos * self.sizes.tiny_records, 4)?;
        memory(&car, one.clone())?;
        let mut results = OpenResults {
            repos,
            many: Vec::new(),
            one: Vec::new(),
        };
        for _ in 0..self.sizes.rounds {
            results.many.push(open(&many)?);
            results.one.push(open(&one)?);
        }
        Ok(results)
    }
}

fn memory(car: &Path, folder: PathBuf) -> Result<u64> {
    let car = car.to_owned();
    match child::run(&Task::Memory { car, folder })? {
        Answer::Memory { peak_bytes } => Ok(peak_bytes),
        other => bail!("an import answered {other:?}"),
    }
}

fn open(folder: &Path) -> Result<(Cost, u64)> {
    let folder = folder.to_owned();
    match child::run(&Task::Open { folder })? {
        Answer::Open {
            cost,
            anonymous_bytes,
        } => Ok((cost, anonymous_bytes)),
        other => bail!("an opening answered {other:?}"),
    }
}

/// Refuses figures of engines that did not do the same.
fn check_agreement(answers: &BTreeMap<Name, EngineAnswer>) -> Result<()> {
    let ours = answers
        .get(&Name::Carrack)
        .context("our store was not measured")?;
    for (name, answer) in answers {
        for (what, digest) in &answer.digests {
            ensure!(
                ours.digests.get(what) == Some(digest),
                "{} and our store give different answers: {what}",
                name.label()
            );
        }
    }
    Ok(())
}
