//! The fuzz targets on stable Rust: every file of the corpora, every input that once broke something, and some
//! thousands of seeded mutations of them.
//!
//! `CARRACK_FUZZ_SEED` starts the mutations elsewhere, `CARRACK_FUZZ_ROUNDS` multiplies them; a failure says how to
//! come back to it. To write the seeds of the corpora anew: `cargo test -p carrack-tests --test fuzz_replay -- --ignored`.

#[path = "../fuzz/bodies/lib.rs"]
pub mod bodies;
mod mutate;
mod seeds;

use std::env;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use kit::rng::Rng;

/// Where mutations start if nobody says otherwise.
const SEED: u64 = 20_261_122;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn number(variable: &str, default: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is a number: `{text}`")),
        Err(_) => default,
    }
}

/// Returns the files of a folder by name, in order; none if there is no such folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs a target on its files and on `mutations` inputs made of them.
fn replay(target: &str, run: fn(&[u8]), mutations: u64) {
    let corpus = files(&folder().join("corpus").join(target));
    assert!(corpus.len() >= 10, "a corpus of {target}");
    let regressions = files(&folder().join("regressions").join(target));
    let inputs: Vec<_> = corpus.into_iter().chain(regressions).collect();
    for (name, input) in &inputs {
        guarded(target, run, input, name);
    }

    let seed = number("CARRACK_FUZZ_SEED", SEED);
    let mutations = mutations * number("CARRACK_FUZZ_ROUNDS", 1);
    let words = mutate::dictionary(&folder().join("dictionaries").join(format!("{target}.dict")));
    for mutation in 0..mutations {
        // Each mutation has a seed of its own, so that one alone can be run again.
        let mut rng = Rng::new(seed.wrapping_add(mutation));
        let (name, input) = rng.pick(&inputs);
        let (_, other) = rng.pick(&inputs);
        let input = mutate::mutated(input, other, &words, &mut rng);
        let again = format!("CARRACK_FUZZ_SEED={}", seed.wrapping_add(mutation));
        guarded(target, run, &input, &format!("{name}, mutated: {again}"));
    }
}

/// Runs a target, and leaves the input in the temporary folder if it panics.
fn guarded(target: &str, run: fn(&[u8]), input: &[u8], what: &str) {
    // What the panic said is on stderr already.
    if catch_unwind(|| run(input)).is_err() {
        let path = env::temp_dir().join(format!("carrack-fuzz-{target}"));
        let kept = fs::write(&path, input).map(|()| path);
        panic!("{target}: {what}; the input: {kept:?}");
    }
}

macro_rules! targets {
    ($($target:ident: $mutations:literal,)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), bodies::$target::run, $mutations);
            }
        )*

        const TARGETS: &[&str] = &[$(stringify!($target)),*];
    };
}

targets! {
    car: 5_000,
    cbor: 20_000,
    commit: 4_000,
    did_document: 4_000,
    mst: 1_200,
    names: 20_000,
    pack: 3_000,
    plan: 3_000,
    proof: 600,
    rpc_bytes: 1_500,
    segment: 3_000,
    value: 8_000,
    wire: 8_000,
}

#[test]
fn every_target_is_replayed() {
    let stubs = files(&folder().join("fuzz_targets"));
    let stubs: Vec<_> = stubs
        .iter()
        .map(|(name, _)| name.trim_end_matches(".rs"))
        .collect();
    assert_eq!(stubs, TARGETS);
}

#[test]
fn blocks_are_linked_as_they_were() {
    for (_, seeds) in seeds::all()
        .into_iter()
        .filter(|(target, _)| *target == "mst")
    {
        for (name, input) in seeds {
            let blocks = bodies::blocks::link(&input);
            let again = bodies::blocks::unlink(blocks.iter().map(|block| &block.bytes[..]));
            assert_eq!(again, input, "{name}");
        }
    }
}

#[test]
fn seeds_of_segments_are_the_files_they_were_made_of() {
    let (_, seeds) = seeds::all()
        .into_iter()
        .find(|(target, _)| *target == "segment")
        .unwrap();
    let made = bodies::segment::file(&seeds["text-names"]);
    assert!(made == seeds["whole-file"], "byte for byte");
}

#[test]
fn seeds_of_plans_are_answered() {
    let (_, seeds) = seeds::all()
        .into_iter()
        .find(|(target, _)| *target == "plan")
        .unwrap();
    for (name, seed) in seeds {
        let rows = bodies::plan::rows(&seed);
        assert_eq!(
            rows.is_some_and(|rows| rows > 0),
            name != "nothing",
            "{name}: {rows:?}"
        );
    }
}

#[test]
#[ignore = "writes the seeds into the corpora"]
fn write_the_seeds() {
    for (target, seeds) in seeds::all() {
        let folder = folder().join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
