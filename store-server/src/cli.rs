//! The `carrack` command line: one subcommand a file.
//!
//! Commands talk through the client library, to a running server or to one in this process, so that there is one
//! way to the store whoever asks. What was asked for goes to stdout, all else to stderr.

mod config;
mod get;
mod import;
mod list;
mod output;
mod progress;
mod repos;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use carrack_client::{Address, Client, Session};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::output::Output;
use crate::owner::{self, DataFolder, Opened, Settings};

/// Keep AT Protocol repositories as verified, memory-mapped segments.
#[derive(Parser)]
#[command(name = "carrack", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  carrack import alice.car bob.car       import repo exports
  carrack repos                          what is in the store
  carrack list did:plc:… --limit 10      the first records of a repo
  carrack get at://did:plc:…/app.bsky.actor.profile/self
  carrack serve --listen 127.0.0.1:7440  serve other processes

Exit codes: 0 ok, 1 failed, 2 usage, 3 refused input, 4 damage found, 5 not found.";

#[derive(Args)]
struct Global {
    /// Data folder [default: the platform's, such as ~/.local/share/carrack]
    #[arg(long, global = true, env = "CARRACK_DATA", hide_env_values = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Use the store that listens there (unix:PATH or IP:PORT), not the data folder's
    #[arg(
        long,
        global = true,
        env = "CARRACK_STORE",
        value_name = "ADDR",
        conflicts_with = "data"
    )]
    store: Option<Address>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a data folder until interrupted
    Serve(serve::Arguments),
    /// Import repo exports (CAR files), folders of them, or - for stdin
    Import(import::Arguments),
    /// List the repos in the store
    Repos,
    /// Print a record
    Get(get::Arguments),
    /// List the records of a repo or a collection
    List(list::Arguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Why a command stopped: an error and what it was about.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    words: String,
}

impl Failure {
    fn new(code: Code, words: impl Into<String>) -> Self {
        Self {
            code,
            words: words.into(),
        }
    }

    /// Puts what the command was about before the words.
    fn about(self, what: impl std::fmt::Display) -> Self {
        Self {
            words: format!("{what}: {}", self.words),
            ..self
        }
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::new(error.code(), error.chain())
    }
}

impl From<carrack_client::Error> for Failure {
    fn from(error: carrack_client::Error) -> Self {
        Self::new(error.code(), error.words())
    }
}

type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; clap knows which is which.
            let _closed = error.print();
            return code(if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            });
        }
    };
    start_logging(matches!(cli.command, Command::Serve(_)));
    let mut output = Output::new(cli.global.json);
    match run(cli, &mut output) {
        Ok(exit) => code(exit),
        Err(failure) => {
            output.failure(&failure);
            code(failure.code.exit())
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn run(cli: Cli, output: &mut Output) -> Result<Exit> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "carrack", &mut script);
        output.bytes(&script)?;
        return Ok(Exit::Ok);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    if let Command::Serve(arguments) = cli.command {
        if let Some(store) = &cli.global.store {
            let words = format!("`serve` owns a data folder; --store {store} names another's");
            return Err(Failure::new(Code::InvalidArgument, words));
        }
        return runtime.block_on(serve::run(&cli.global.folder()?, arguments, output));
    }
    runtime.block_on(async {
        let (session, opened) = cli.global.session().await?;
        let done = match cli.command {
            Command::Import(arguments) => import::run(&session, arguments, output).await,
            Command::Repos => repos::run(&session, output).await,
            Command::Get(arguments) => get::run(&session, &arguments, output).await,
            Command::List(arguments) => list::run(&session, &arguments, output).await,
            Command::Serve(_) | Command::Completions { .. } => Ok(Exit::Ok),
        };
        drop(session);
        if let Some(Opened::Owned(owner)) = opened {
            owner.shutdown();
        }
        done
    })
}

impl Global {
    fn folder(&self) -> Result<DataFolder> {
        if let Some(path) = &self.data {
            return Ok(DataFolder::new(path));
        }
        owner::default_folder().ok_or_else(|| {
            Failure::new(
                Code::InvalidArgument,
                "there is no home folder; name a data folder with --data",
            )
        })
    }

    /// Returns the owner's session: of the named store, or of the data folder's, opened here if nobody serves it.
    async fn session(&self) -> Result<(Session, Option<Opened>)> {
        if let Some(address) = &self.store {
            return Ok((Client::connect(address).await?.login(""), None));
        }
        let (client, opened) = owner::open(&self.folder()?, &Settings::default()).await?;
        Ok((client.login(""), Some(opened)))
    }
}

/// Logs to stderr; `CARRACK_LOG` says what (`debug`, `carrack_store=trace`).
fn start_logging(is_server: bool) {
    let default = if is_server { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CARRACK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
