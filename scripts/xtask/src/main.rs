//! `cargo xtask`: the project's own tasks, in Rust, so that they need nothing installed.

mod check_schema;
mod codegen;
mod kill_loop;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Carrack's development tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Generate schema/src/wire from schema/capnp
    Codegen {
        /// Change nothing; fail if the checked-in code is not what the schemas give
        #[arg(long)]
        check: bool,
    },
    /// Check that the schemas keep to EVOLUTION.md: additions only since the last release
    CheckSchema {
        /// Compare with this commit or tag, not with the last release
        #[arg(long, value_name = "REF")]
        against: Option<String>,
    },
    /// Kill a serving store at random moments under load, and check that it lost nothing it had acknowledged
    KillLoop(kill_loop::Options),
    /// Write synthetic repos to disk: `cargo xtask gen --help` lists the choices
    #[command(disable_help_flag = true)]
    Gen {
        /// Arguments of the generator
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure the store beside other engines and write BENCHMARKS.md: `cargo xtask bench --help` lists the choices
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Codegen { check } => codegen::run(check),
        Task::CheckSchema { against } => check_schema::run(against.as_deref()),
        Task::Bench { args } => bench(&args),
        Task::KillLoop(options) => kill_loop::run(&options),
        Task::Gen { args } => generate(&["--release"], &args).map(|said| print!("{said}")),
    }
}

/// Runs the test kit's generator and returns what it says; xtask itself sees no crate of the workspace.
fn generate(profile: &[&str], args: &[String]) -> Result<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["run", "--quiet", "-p", "carrack-tests", "--example", "gen"])
        .args(profile)
        .arg("--")
        .args(args)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "the generator failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The bench is a workspace of its own.
const BENCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bench/Cargo.toml");

/// Runs a release build of the benchmarks.
fn bench(args: &[String]) -> Result<()> {
    let status = std::process::Command::new(env!("CARGO"))
        .args(["run", "--locked", "--manifest-path", BENCH, "--quiet", "--release", "--"])
        .args(args)
        .status()?;
    anyhow::ensure!(status.success(), "the benchmarks failed ({status})");
    Ok(())
}
