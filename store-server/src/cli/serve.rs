//! `carrack serve`: own a data folder until told to stop.

use carrack_client::Address;
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::config::Config;
use super::output::Output;
use super::store_options::StoreOptions;
use super::{Failure, Result};
use crate::owner::{DataFolder, Owner, Settings};

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack serve                              on the data folder's own socket
  carrack serve --listen 127.0.0.1:7440      also on TCP; loopback only
  carrack serve --data /srv/at --listen unix:/run/user/1000/carrack/store.sock

The data folder's socket is always served; commands on the same folder find it by themselves.
A flag wins over the environment, that over DIR/config.toml, which may hold `listen`, `workers`,
`import_memory_mib`, `retention_revs`, `retention_hours`, `purge_hours` and `merge_mib_per_second`.
Environment and file count for other commands as well, where one of them owns the folder.")]
pub(super) struct Arguments {
    /// Also listen there: unix:PATH or IP:PORT (port 0 takes a free one); may be repeated
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Address>,
    /// Threads that serve connections [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    #[command(flatten)]
    store: StoreOptions,
}

pub(super) async fn run(
    folder: &DataFolder,
    arguments: Arguments,
    output: &mut Output,
) -> Result<Exit> {
    // Before the first line is out: whoever reads it may signal at once.
    let refused = |error: std::io::Error| Failure::new(Code::Internal, error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let owner = Owner::start(folder, &settings(folder, arguments)?)?;
    for address in owner.addresses() {
        if output.is_json() {
            output.object(&serde_json::json!({ "listening": address.to_string() }))?;
        } else {
            output.line(&format!("listening on {address}"))?;
        }
    }
    output.flush()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("shutting down; a second signal ends the process at once");
    let (ended, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        owner.shutdown();
        // Nobody waits after a second signal.
        let _left = ended.send(());
    });
    tokio::select! {
        _ = stopped => Ok(Exit::Ok),
        _ = interrupt.recv() => Ok(Exit::Failed),
        _ = terminate.recv() => Ok(Exit::Failed),
    }
}

/// Returns the settings: a flag wins over the file, the file over the default.
fn settings(folder: &DataFolder, arguments: Arguments) -> Result<Settings> {
    let config = Config::read(folder.path())?;
    let listen = if arguments.listen.is_empty() {
        config
            .listen
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error| Failure::from(carrack_client::Error::from(error)))
            })
            .collect::<Result<_>>()?
    } else {
        arguments.listen
    };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        listen,
        workers: arguments.workers.or(config.workers).unwrap_or_else(cores),
        // The flags hold what the environment says where they are not given.
        store: arguments.store.or(config.store()).settings(),
    })
}
