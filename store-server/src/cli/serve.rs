//! `carrack serve`: own a data folder until told to stop.

use std::path::PathBuf;

use carrack_client::Address;
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::Config;
use super::output::Output;
use super::store_options::StoreOptions;
use super::{Failure, Result};
use crate::owner::{DataFolder, Owner, Settings};
use crate::rpc::Bounds;
use crate::server::TlsFiles;

#[derive(Args)]
#[command(after_help = "\
Examples:
  carrack serve                              on the data folder's own socket
  carrack serve --data /srv/at --listen unix:/run/user/1000/carrack/store.sock
  carrack serve --listen 127.0.0.1:7440      also on TCP; whoever connects shows a token
  carrack serve --listen 0.0.0.0:7440 --tls-cert chain.pem --tls-key key.pem
                                             for other machines; clients name it tls:HOST:7440

A unix socket is its owner's alone: who can open it owns the store. At a TCP port, loopback too, a
token is asked for. Other machines reach the store by TLS only, unless --insecure is said. With a
certificate SIGHUP reads it and its key anew, for connections to come; without one it is not
listened to, so that `nohup carrack serve` goes on.

The data folder's socket is always served; commands on the same folder find it by themselves.
A flag wins over the environment, that over DIR/config.toml, which may hold `listen`, `tls_cert`,
`tls_key`, `insecure`, `workers`, `import_memory_mib`, `import_wait_seconds`, `disk_floor_mib`,
`retention_revs`, `retention_hours`, `purge_hours` and `merge_mib_per_second`.
Environment and file count for other commands as well, where one of them owns the folder; where it
listens, and its threads, are `serve`'s own.")]
pub(super) struct Arguments {
    /// Also listen there: unix:PATH, IP:PORT or tls:IP:PORT (port 0 takes a free one); may be repeated
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Address>,
    #[command(flatten)]
    tls: TlsOptions,
    /// Threads that serve connections, and as many that hash for them [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    #[command(flatten)]
    store: StoreOptions,
}

/// What a TCP port shows.
#[derive(Args)]
struct TlsOptions {
    /// Speak TLS 1.3 on every TCP port, with this certificate and those that follow it (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "CARRACK_TLS_CERT",
        hide_env_values = true
    )]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM), which others may not read
    #[arg(
        long,
        value_name = "FILE",
        env = "CARRACK_TLS_KEY",
        hide_env_values = true
    )]
    tls_key: Option<PathBuf>,
    /// Speak plainly on ports that other machines reach
    #[arg(long, env = "CARRACK_INSECURE", hide_env_values = true)]
    insecure: bool,
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
    let settings = settings(folder, arguments)?;
    // Without a certificate it stays as whoever started this chose: `nohup` has it ignored.
    let hangup = settings.tls.is_some().then(|| signal(SignalKind::hangup()));
    let mut hangup = hangup.transpose().map_err(refused)?;
    raise_files_limit();
    let owner = Owner::start(folder, &settings)?;
    for address in owner.addresses() {
        if output.is_json() {
            output.object(&serde_json::json!({ "listening": address.to_string() }))?;
        } else {
            output.line(&format!("listening on {address}"))?;
        }
    }
    output.flush()?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = heard(&mut hangup) => reload_certificate(&owner),
        }
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

/// Waits for a signal, for ever if it is not listened to.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads the certificate anew.
fn reload_certificate(owner: &Owner) {
    match owner.reload_certificate() {
        Ok(()) => tracing::info!("connections from now on see the TLS certificate as it is now"),
        Err(error) => {
            let error = error.chain();
            tracing::error!(%error, "the new TLS certificate is of no use; the one before is shown");
        }
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
    let TlsOptions {
        tls_cert,
        tls_key,
        insecure,
    } = arguments.tls;
    // A path in the file is from where the file is.
    let in_file = |path: &Option<PathBuf>| path.as_ref().map(|path| folder.path().join(path));
    Ok(Settings {
        listen,
        tls: tls_files(
            tls_cert.or(in_file(&config.tls_cert)),
            tls_key.or(in_file(&config.tls_key)),
        )?,
        insecure: insecure || config.insecure,
        workers: arguments.workers.or(config.workers).unwrap_or_else(cores),
        bounds: Bounds::default(),
        // The flags hold what the environment says where they are not given.
        store: arguments.store.or(config.store()).settings(),
    })
}

fn tls_files(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>> {
    let lacks = |what: &str| Err(Failure::new(Code::InvalidArgument, what));
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => lacks("--tls-cert needs --tls-key, the certificate's private key"),
        (None, Some(_)) => lacks("--tls-key needs --tls-cert, the certificate of that key"),
    }
}

/// Takes as many file descriptors as this process may have: the usual 1,024 are fewer than the connections that are let
/// in. Where there are too few all the same, connections wait until others end.
fn raise_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
