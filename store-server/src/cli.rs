//! The `carrack` command line: one subcommand a file.
//!
//! Commands talk through the client library, to a running server or to one in this process, so that there is one
//! way to the store whoever asks. What was asked for goes to stdout, all else to stderr.

mod backup;
mod check;
mod compact;
mod config;
mod credential;
mod delete;
mod door;
mod export;
mod get;
mod grant;
mod import;
mod inspect;
mod list;
mod output;
mod progress;
mod prove;
mod query;
mod repos;
mod serve;
mod stats;
mod store_options;
mod target;
mod thread;
mod verify;
mod verify_proof;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use carrack_client::{Address, Connect};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::credential::Credential;
use self::door::{Door, Place};
use self::output::Output;
use self::store_options::StoreOptions;
use crate::owner::{self, DataFolder};
use crate::settings::StoreSettings;

/// What `--version` says: the files have versions of their own, and another one is refused.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\nsegment files: format {}\ncatalog: format {}",
        env!("CARGO_PKG_VERSION"),
        carrack_segment::format::VERSION,
        crate::catalog::FORMAT
    )
});

/// Keep AT Protocol repositories as verified, memory-mapped segments.
#[derive(Parser)]
#[command(name = "carrack", version, long_version = VERSION.as_str(), propagate_version = true, after_help = EXAMPLES)]
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
  carrack export did:plc:… -o alice.car  give a repo back, byte for byte
  carrack serve --listen 127.0.0.1:7440  serve other processes
  carrack check                          is everything as it was written
  carrack backup /backup/monday          a copy of it all, while it is in use
  carrack grant create --help            give a program a part of it

A repo is named by its DID, or by a handle that was imported with --did-doc.
Exit codes: 0 ok, 1 failed, 2 usage, 3 refused input, 4 damage found, 5 not found.";

#[derive(Args)]
struct Global {
    /// Data folder [env: CARRACK_DATA] [default: the platform's, such as ~/.local/share/carrack]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "store")]
    data: Option<PathBuf>,
    /// Use the store that listens there (unix:PATH, IP:PORT or tls:HOST:PORT), not a data folder's [env:
    /// CARRACK_STORE]
    #[arg(long, global = true, value_name = "ADDR")]
    store: Option<Address>,
    /// PEM file of the certificate authorities to trust, of a store at tls:HOST:PORT [env: CARRACK_TLS_CA] [default: the
    /// platform's]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    credential: Credential,
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
    /// Filter, count and group records with a plan of steps
    Query(query::Arguments),
    /// Write a repo as a CAR file, or as JSON lines
    Export(export::Arguments),
    /// Write the CAR that proves a record, or that there is none, from the signed commit
    Prove(prove::Arguments),
    /// Check such a proof, without a store
    VerifyProof(verify_proof::Arguments),
    /// Verify a record, from its bytes to the signature
    Verify(verify::Arguments),
    /// Print the posts that a post answers
    Thread(thread::Arguments),
    /// Print what changes in the store, as it does
    Watch(watch::Arguments),
    /// Print totals of the store
    Stats,
    /// Delete a repo or a record from the store
    Delete(delete::Arguments),
    /// Read everything and report what is damaged
    Check(check::Arguments),
    /// Copy the store into a new folder, while it is in use
    Backup(backup::Arguments),
    /// Merge segment files now
    Compact(compact::Arguments),
    /// Give others a part of the store, and take it back
    Grant(grant::Arguments),
    /// Print what is in a segment file, without a store
    Inspect(inspect::Arguments),
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

/// Returns what the environment and a folder's `config.toml` say of its store, for other programs that may own it.
///
/// # Errors
/// If one of them says what cannot be.
pub fn store_settings(folder: &DataFolder) -> Result<StoreSettings, crate::Error> {
    let options = StoreOptions::of(folder);
    options
        .map(|options| options.settings())
        .map_err(|failure| crate::Error::new(failure.code, failure.words))
}

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
    let done = run(cli, &mut output).and_then(|exit| output.flush().map(|()| exit));
    match done {
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    match cli.command {
        Command::Completions { shell } => completions(shell, output),
        Command::VerifyProof(arguments) => verify_proof::run(&arguments, output),
        Command::Inspect(arguments) => inspect::run(&arguments, output),
        Command::Serve(arguments) => {
            let exit = runtime.block_on(serve::run(&cli.global.owned_folder()?, arguments, output));
            // A second signal ended the wait for a thread that still shuts down; it is not waited for here either.
            runtime.shutdown_background();
            exit
        }
        command => runtime.block_on(async {
            if let Command::Delete(arguments) = &command {
                arguments.check_confirmable()?;
            }
            let opened = Door::open(cli.global.place()?, cli.global.credential.token()?).await;
            let mut door = match command {
                Command::Check(_) => opened.map_err(check::unopened)?,
                _ => opened?,
            };
            let done = through(&mut door, command, output).await;
            door.close();
            done
        }),
    }
}

/// Runs a command that needs the store.
async fn through(door: &mut Door, command: Command, output: &mut Output) -> Result<Exit> {
    match command {
        Command::Import(arguments) => import::run(door, arguments, output).await,
        Command::Repos => repos::run(door, output).await,
        Command::Get(arguments) => get::run(door, &arguments, output).await,
        Command::List(arguments) => list::run(door, &arguments, output).await,
        Command::Query(arguments) => query::run(door, &arguments, output).await,
        Command::Export(arguments) => export::run(door, &arguments, output).await,
        Command::Prove(arguments) => prove::run(door, &arguments, output).await,
        Command::Verify(arguments) => verify::run(door, &arguments, output).await,
        Command::Thread(arguments) => thread::run(door, &arguments, output).await,
        Command::Watch(arguments) => watch::run(door, &arguments, output).await,
        Command::Stats => stats::run(door, output).await,
        Command::Delete(arguments) => delete::run(door, &arguments, output).await,
        Command::Check(arguments) => check::run(door, &arguments, output).await,
        Command::Backup(arguments) => backup::run(door, &arguments, output).await,
        Command::Compact(arguments) => compact::run(door, &arguments, output).await,
        Command::Grant(arguments) => grant::run(door, &arguments, output).await,
        // These need no store, and `run` has taken them.
        Command::Serve(_)
        | Command::VerifyProof(_)
        | Command::Inspect(_)
        | Command::Completions { .. } => Ok(Exit::Ok),
    }
}

fn completions(shell: clap_complete::Shell, output: &mut Output) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "carrack", &mut script);
    output.bytes(&script)?;
    Ok(Exit::Ok)
}

impl Global {
    /// Returns the data folder that `serve` owns.
    fn owned_folder(&self) -> Result<DataFolder> {
        if let Some(store) = &self.store {
            let words = format!("`serve` owns a data folder; --store {store} names another's");
            return Err(Failure::new(Code::InvalidArgument, words));
        }
        self.folder()
    }

    /// Returns where the store is. A flag wins over the environment, an address there over a folder.
    fn place(&self) -> Result<Place> {
        if let Some(address) = &self.store {
            return Ok(Place::Address(self.connect(address)));
        }
        if self.data.is_none()
            && let Some(text) = std::env::var_os("CARRACK_STORE").filter(|text| !text.is_empty())
        {
            let address = text
                .to_string_lossy()
                .parse()
                .map_err(carrack_client::Error::from);
            return address
                .map(|address| Place::Address(self.connect(&address)))
                .map_err(|error| Failure::from(error).about("CARRACK_STORE"));
        }
        self.folder().map(Place::Folder)
    }

    /// Returns how to come to a store that listens. A flag wins over the environment, which the client looks at.
    fn connect(&self, address: &Address) -> Connect {
        let connect = Connect::to(address);
        match &self.ca_file {
            Some(path) => connect.ca_file(path),
            None => connect,
        }
    }

    fn folder(&self) -> Result<DataFolder> {
        let environment = || std::env::var_os("CARRACK_DATA").filter(|path| !path.is_empty());
        if let Some(path) = self
            .data
            .clone()
            .or_else(|| environment().map(PathBuf::from))
        {
            return Ok(DataFolder::new(path));
        }
        owner::default_folder().ok_or_else(|| {
            let words = "there is no home folder; name a data folder with --data";
            Failure::new(Code::InvalidArgument, words)
        })
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
        .with_ansi(std::io::stderr().is_terminal())
        // A closed stderr is no reason to panic in whoever logs.
        .log_internal_errors(false)
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
