//! `cargo xtask`: the project's own tasks, in Rust, so that they need nothing installed.

mod codegen;

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
        Task::Gen { args } => cargo(&["run", "-p", "carrack-tests", "--example", "gen"], &args),
        Task::Bench { args } => cargo(&["run", "--locked", "--manifest-path", BENCH], &args),
    }
}

/// The bench is a workspace of its own.
const BENCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bench/Cargo.toml");

/// Runs a release build of a program of the project; xtask itself sees no crate of the workspace.
fn cargo(run: &[&str], args: &[String]) -> Result<()> {
    let status = std::process::Command::new(env!("CARGO"))
        .args(run)
        .args(["--quiet", "--release", "--"])
        .args(args)
        .status()?;
    anyhow::ensure!(status.success(), "{run:?} failed ({status})");
    Ok(())
}
