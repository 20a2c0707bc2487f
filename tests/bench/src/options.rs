//! [`Options`]: what to measure, on what, how often.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::mcp::McpSizes;
use crate::rpc::{RpcSizes, Slice};
use crate::task::Reads;

/// Measures Carrack's store and server beside others, and writes BENCHMARKS.md.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Options {
    /// See that all of it works, on small inputs, once: the figures mean nothing and are not kept
    #[arg(long)]
    pub(crate) quick: bool,
    /// Records of the synthetic repo
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Also measure a synthetic repo of a million records
    #[arg(long)]
    million: bool,
    /// Also count instructions, where valgrind is installed
    #[arg(long)]
    callgrind: bool,
    /// Measure only this; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Section>,
    /// A real repo of middle size
    #[arg(long, env = "CARRACK_BENCH_MIDSIZE", value_name = "CAR")]
    midsize: Option<PathBuf>,
    /// Another CAR to measure like the synthetic one; may be repeated
    #[arg(long, value_name = "CAR")]
    pub(crate) car: Vec<PathBuf>,
    /// How often everything is measured
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Folder for inputs and stores while measuring; should be on a real disk
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Folder to keep callgrind's profiles of the servers in, for `callgrind_annotate --inclusive=yes`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) profiles: Option<PathBuf>,
    /// The report; by default BENCHMARKS.md, or stdout with --quick and --only
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A child's task, see task.rs
    #[arg(long, hide = true)]
    pub(crate) child: Option<String>,
}

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// The synthetic repo, and what --car names
    Synthetic,
    /// A synthetic repo of a million records
    Million,
    /// The real repo
    Midsize,
    /// Many tiny repos
    Tiny,
    /// Opening a store of many repos
    Open,
    /// The server: gets, imports, chains, idle connections
    Rpc,
    /// The MCP gateway: tool calls, and a query to a store that is far away
    Mcp,
    /// Instruction counts
    Callgrind,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) records: usize,
    pub(crate) million: usize,
    pub(crate) tiny_repos: usize,
    pub(crate) open_repos: usize,
    pub(crate) tiny_records: usize,
    pub(crate) rounds: usize,
    pub(crate) reads: Reads,
    /// Calls of a body whose instructions are counted.
    pub(crate) calls: usize,
    /// Records of the smaller of the two repos whose import is counted.
    pub(crate) import_records: usize,
    pub(crate) rpc: RpcSizes,
    pub(crate) mcp: McpSizes,
}

impl Options {
    /// Returns how much of everything to measure.
    pub(crate) fn sizes(&self) -> Sizes {
        let rounds = |usual| self.rounds.map_or(usual, |rounds| rounds as usize);
        if self.quick {
            return Sizes {
                records: self.records.min(2_000),
                million: 4_000,
                tiny_repos: 20,
                open_repos: 50,
                tiny_records: 10,
                rounds: rounds(1),
                reads: Reads {
                    gets: 500,
                    pages: 20,
                    scans: 1,
                },
                calls: 50,
                import_records: 200,
                rpc: RpcSizes {
                    rounds: rounds(1),
                    slice: Slice {
                        warm: Duration::from_millis(5),
                        counted: Duration::from_millis(20),
                    },
                    records: 2_000,
                    import_records: 2_000,
                    connections_idle: 20,
                    chains: 1,
                    keys: 64,
                },
                mcp: McpSizes {
                    rounds: rounds(1),
                    records: 2_000,
                    calls: 20,
                    chains: 1,
                },
            };
        }
        Sizes {
            records: self.records,
            million: 1_000_000,
            tiny_repos: 2_000,
            open_repos: 10_000,
            tiny_records: 10,
            rounds: rounds(5),
            reads: Reads {
                gets: 100_000,
                pages: 2_000,
                scans: 5,
            },
            calls: 2_000,
            import_records: 5_000,
            rpc: RpcSizes {
                rounds: rounds(5),
                slice: Slice {
                    warm: Duration::from_millis(100),
                    counted: Duration::from_millis(600),
                },
                records: 20_000,
                import_records: self.records,
                connections_idle: 1_000,
                chains: 10,
                keys: 256,
            },
            mcp: McpSizes {
                rounds: rounds(5),
                records: 20_000,
                calls: 2_000,
                chains: 10,
            },
        }
    }

    /// Says whether a section is to be measured.
    pub(crate) fn has(&self, section: Section) -> bool {
        if !self.only.is_empty() {
            return self.only.contains(&section);
        }
        match section {
            Section::Million => self.million || self.quick,
            Section::Callgrind => self.callgrind || self.quick,
            _ => true,
        }
    }

    /// Returns the real repo, if there is one.
    pub(crate) fn midsize(&self) -> Option<PathBuf> {
        let beside = || project().join("../shared/fixtures/real/repo-stream__midsize.car");
        let car = self.midsize.clone().unwrap_or_else(beside);
        car.is_file().then_some(car)
    }

    /// Returns where scratch folders are made.
    pub(crate) fn scratch(&self) -> PathBuf {
        let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        self.scratch.clone().unwrap_or_else(own)
    }

    /// Returns the file to write the report to, or `None` for stdout.
    pub(crate) fn report_file(&self) -> Option<PathBuf> {
        let partial = self.quick || !self.only.is_empty();
        let usual = || (!partial).then(|| project().join("BENCHMARKS.md"));
        self.out.clone().or_else(usual)
    }

    /// Returns the command that gives such a report, without anybody's paths.
    pub(crate) fn command(&self) -> String {
        let mut command = "cargo xtask bench".to_owned();
        for (flag, given) in [
            (" --quick", self.quick),
            (" --million", self.million),
            (" --callgrind", self.callgrind),
        ] {
            command += if given { flag } else { "" };
        }
        if self.records != 100_000 {
            command += &format!(" --records {}", self.records);
        }
        for section in &self.only {
            let value = section.to_possible_value();
            command += &value.map_or(String::new(), |value| {
                format!(" --only {}", value.get_name())
            });
        }
        for _ in &self.car {
            command += " --car CAR";
        }
        if let Some(rounds) = self.rounds {
            command += &format!(" --rounds {rounds}");
        }
        command
    }
}

/// Returns the project's root.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
