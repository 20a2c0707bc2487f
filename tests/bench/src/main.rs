//! `carrack-bench`: measures our store beside other engines that hold the same records and our server beside others, and
//! writes what it found.
//!
//! `cargo xtask bench` builds and runs it. It makes its inputs, gives each measurement a child process ([`task`]),
//! repeats all of it in rounds ([`run`]) and writes ratios of figures from the same round ([`report`]). Nothing here
//! asserts how fast anything is; it fails only when something does not work or when engines give different answers.

mod callgrind;
mod child;
mod engine;
mod field;
mod json;
mod machine;
mod mcp;
mod measure;
mod options;
mod report;
mod rpc;
mod run;
mod source;
mod targets;
mod task;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use options::Options;

fn main() -> Result<ExitCode> {
    if let Some(program) = mcp::Program::of_this_process() {
        return program.serve();
    }
    bench().map(|()| ExitCode::SUCCESS)
}

fn bench() -> Result<()> {
    let options = Options::parse();
    if let Some(task) = &options.child {
        let answer = serde_json::from_str::<task::Task>(task)?.run()?;
        return say(&serde_json::to_string(&answer)?);
    }
    let results = run::run(&options)?;
    let report = report::markdown(&options, &results);
    match options.report_file() {
        Some(file) => {
            std::fs::write(&file, report)
                .with_context(|| format!("cannot write {}", file.display()))?;
            say(&format!("wrote {}", file.display()))
        }
        None => say(report.trim_end()),
    }
}

/// Writes a line to stdout, which is for answers only.
fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// Writes a line about what is going on to stderr.
fn note(line: &str) {
    // Nobody to tell is no reason to stop.
    let _written = writeln!(std::io::stderr().lock(), "{line}");
}
