//! Instructions of the hot paths, counted by valgrind's callgrind.
//!
//! A body runs twice, the second time with twice the calls (or records); the difference is what the calls take, without
//! the start of the process and what it prepares. Counts hardly vary, so that two commits can be compared on a busy
//! machine. valgrind's processor has neither SHA-NI nor AVX-512: the code counted is the one for machines without.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;
use kit::rng::Rng;
use kit::{Mix, Order, Repo, RepoSpec};

use crate::engine::Name;
use crate::options::Sizes;
use crate::source::Source;
use crate::task::{Body, Task};
use crate::{child, note};

/// What a task runs below.
pub(crate) const COMMAND: [&str; 3] = [
    "valgrind",
    "--tool=callgrind",
    "--callgrind-out-file=/dev/null",
];
const SEED: u64 = 3;
const LIKE: &str = "app.bsky.feed.like/";
/// Records of the repo that is read, as many times those of the smaller repo imported.
const READ_FACTOR: usize = 4;

/// Returns the instructions of each body, per call or per record imported; `None` without valgrind.
pub(crate) fn count(scratch: &Path, sizes: Sizes) -> Result<Option<Vec<(Body, f64)>>> {
    let valgrind = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !valgrind.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let folder = scratch.join("counted");
    let repo = spec(sizes.import_records * READ_FACTOR).build();
    Name::Carrack
        .create(&folder)?
        .import(&Source::bytes_of(repo.car(Order::Pds)))?;
    let paths = scratch.join("paths");
    fs::write(&paths, paths_of(&repo, sizes.calls * 2))?;
    let mut counts = Vec::new();
    for body in Body::value_variants() {
        note(&format!("instructions: {body:?}"));
        counts.push((*body, per_call(*body, scratch, &folder, &paths, sizes)?));
    }
    Ok(Some(counts))
}

fn spec(records: usize) -> RepoSpec {
    RepoSpec {
        records,
        seed: SEED,
        mix: Mix::SOCIAL,
        ..RepoSpec::default()
    }
}

/// Returns a list of the DID and paths of likes, which all have the field that is asked for.
fn paths_of(repo: &Repo, count: usize) -> String {
    let likes: Vec<_> = repo
        .records
        .iter()
        .filter(|record| record.path.starts_with(LIKE))
        .collect();
    let mut rng = Rng::new(SEED);
    let path = |_| likes[rng.index(likes.len())].path.to_string() + "\n";
    let paths: String = (0..count).map(path).collect();
    format!("{}\n{paths}", repo.did)
}

fn per_call(body: Body, scratch: &Path, folder: &Path, paths: &Path, sizes: Sizes) -> Result<f64> {
    let mut counted = [0.0; 2];
    let mut amount = [0; 2];
    for (run, factor) in [1, 2].into_iter().enumerate() {
        let car = scratch.join("counted.car");
        let import_folder = scratch.join("counted-import");
        amount[run] = sizes.calls * factor;
        if body == Body::Import {
            amount[run] = sizes.import_records * factor;
            fs::write(&car, spec(amount[run]).build().car(Order::Pds))?;
        }
        let task = Task::Body {
            body,
            car,
            folder: if body == Body::Import {
                import_folder.clone()
            } else {
                folder.to_owned()
            },
            paths: paths.to_owned(),
            calls: amount[run],
        };
        counted[run] = collected(&child::run_below(&COMMAND, &task)?)?;
        if import_folder.exists() {
            fs::remove_dir_all(&import_folder)?;
        }
    }
    Ok((counted[1] - counted[0]) / (amount[1] - amount[0]) as f64)
}

/// Returns the count in callgrind's closing lines: `==1== Collected : 123456`.
pub(crate) fn collected(said: &str) -> Result<f64> {
    let line = said.lines().find(|line| line.contains("Collected :"));
    let count = line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    count.with_context(|| format!("no count in {said}"))
}
