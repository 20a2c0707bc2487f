//! The `carrack-mcp` command line.
//!
//! stdout is the protocol's while serving; what people should know goes to stderr.

#[cfg(any(feature = "stdio", feature = "http"))]
mod config;

#[cfg(any(feature = "stdio", feature = "http", feature = "embedded"))]
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
#[cfg(feature = "http")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use carrack_client::{Address, Connect, Error};
use carrack_schema::Code;
use carrack_schema::codes::Exit;
use clap::{Args, CommandFactory, Parser, Subcommand};
use rmcp::model::ProtocolVersion;

use crate::connection::{Backend, Connection};
#[cfg(any(feature = "stdio", not(feature = "http")))]
use crate::server::Gateway;
use crate::server::{ImportRule, Policy};

/// What `--version` says. Clients of older revisions are spoken to as well, as far as the library does.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\nMCP: {}, {}",
        env!("CARGO_PKG_VERSION"),
        ProtocolVersion::V_2025_11_25,
        ProtocolVersion::V_2026_07_28
    )
});

/// Let AI agents read and fill an archive of AT Protocol repositories, over MCP.
#[derive(Parser)]
#[command(name = "carrack-mcp", version, long_version = VERSION.as_str(), propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  carrack-mcp demo                          see what an agent sees, on a shipped sample
  carrack-mcp                               serve one client on stdin and stdout
  carrack-mcp --read-only --data /srv/at    without tools that write
  carrack-mcp install --client cursor       print the client's settings; --write writes them
  carrack-mcp --http 127.0.0.1:8080         serve http://127.0.0.1:8080/mcp, and tell the
                                            owner's token; `carrack grant create`
                                            makes narrower ones
  carrack-mcp --store tls:at.example.org:7440 --token-file agent.token
                                            in front of a store elsewhere, by a grant of it
  carrack-mcp --config gateway.toml         with the options of a file

For an MCP client's settings:
  {\"mcpServers\": {\"carrack\": {\"command\": \"carrack-mcp\", \"args\": []}}}

Without --store the data folder's store is used: through its running owner, be it
`carrack serve` or another gateway, else opened here. A flag wins over the environment,
that over the file of --config. CARRACK_LOG=debug says more, on stderr. A signal ends it,
on stdio the end of stdin too; over HTTP calls under way are answered first.
Exit codes: 0 ok, 1 failed, 2 usage.";

#[cfg(feature = "stdio")]
const INSTALL_EXAMPLES: &str = "\
Examples:
  carrack-mcp install --client claude-desktop                 print what belongs in its file
  carrack-mcp install --client cursor --write                 put it there
  carrack-mcp install --client vscode --write --read-only --data /srv/at
                                                              with options for the gateway

What else is in the file stays, byte for byte; what it was before is kept beside it.";

/// A flag wins over the environment, that over the file of `--config`.
#[derive(Args)]
struct Global {
    /// Data folder [env: CARRACK_DATA] [default: the platform's, such as ~/.local/share/carrack]
    #[cfg(feature = "embedded")]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Use the store that listens there (unix:PATH, IP:PORT or tls:HOST:PORT), not a data folder's [env: CARRACK_STORE]
    #[cfg_attr(feature = "embedded", arg(conflicts_with = "data"))]
    #[arg(long, global = true, value_name = "ADDR")]
    store: Option<Address>,
    /// PEM file of the certificate authorities to trust, of a store at tls:HOST:PORT [env: CARRACK_TLS_CA] [default: the
    /// platform's]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Be the holder of the token in this file, and may no more than its grant; for stdin and stdout [env: CARRACK_TOKEN, which
    /// holds the token itself]
    #[cfg(feature = "stdio")]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve streamable HTTP there (IP:PORT, port 0 takes a free one) instead of stdin and stdout, for holders of tokens
    #[cfg(feature = "http")]
    #[cfg_attr(feature = "stdio", arg(conflicts_with = "token_file"))]
    #[arg(long, value_name = "ADDR", value_parser = http_address)]
    #[arg(env = "CARRACK_MCP_HTTP", hide_env_values = true)]
    http: Option<SocketAddr>,
    /// Name by which HTTP clients may call this gateway, beside this machine's own (HOST or HOST:PORT; several, or by commas)
    #[cfg(feature = "http")]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    #[arg(env = "CARRACK_MCP_ALLOWED_HOST", hide_env_values = true)]
    allowed_host: Vec<String>,
    /// Web site whose pages may call this gateway, beside its own (such as https://app.example.org; several, or by commas)
    #[cfg(feature = "http")]
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    #[arg(env = "CARRACK_MCP_ALLOWED_ORIGIN", hide_env_values = true)]
    allowed_origin: Vec<String>,
    /// Over HTTP, let whoever shows no token do what the owner may: every program on this machine
    #[cfg(feature = "http")]
    #[arg(long, env = "CARRACK_MCP_TOKENLESS", hide_env_values = true)]
    tokenless: bool,
    /// Offer no tool that writes
    #[arg(long, global = true)]
    #[arg(env = "CARRACK_MCP_READ_ONLY", hide_env_values = true)]
    read_only: bool,
    /// Offer these tools alone, such as at_overview,at_get; `carrack-mcp tools` describes all
    #[arg(long, global = true, value_name = "LIST", value_delimiter = ',')]
    #[arg(env = "CARRACK_MCP_TOOLS", hide_env_values = true)]
    tools: Option<Vec<String>>,
    /// Import files below this folder only; over HTTP, at_import is not offered without it
    #[arg(long, global = true, value_name = "DIR")]
    #[arg(env = "CARRACK_MCP_IMPORT_ROOT", hide_env_values = true)]
    import_root: Option<PathBuf>,
    /// Take what is not given from this file: in TOML, by the options' names (read_only = true)
    #[cfg(any(feature = "stdio", feature = "http"))]
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(env = "CARRACK_MCP_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

/// Reads where HTTP is served.
#[cfg(feature = "http")]
fn http_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    let refused = |_| "write IP:PORT, such as 127.0.0.1:8080".to_owned();
    numeric.parse().map_err(refused)
}

#[derive(Subcommand)]
enum Command {
    /// Import a shipped sample and show what an agent sees, through a real MCP client and server
    #[cfg(all(feature = "embedded", feature = "stdio"))]
    #[command(
        after_help = "In a folder of its own that is removed at the end, or in that of --data."
    )]
    Demo,
    /// Print the settings with which an MCP client starts this gateway, with the options given here
    #[cfg(feature = "stdio")]
    #[command(after_help = INSTALL_EXAMPLES)]
    Install {
        /// The client
        #[arg(long)]
        client: crate::install::Client,
        /// Write them into the client's file, and keep all else that is in it
        #[arg(long)]
        write: bool,
    },
    /// Print what agents see, in Markdown
    Tools,
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  carrack-mcp completions bash > ~/.local/share/bash-completion/completions/carrack-mcp
  carrack-mcp completions zsh > ~/.zfunc/_carrack-mcp
  carrack-mcp completions fish > ~/.config/fish/completions/carrack-mcp.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
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
    match run(cli) {
        Ok(()) => code(Exit::Ok),
        Err(error) => {
            note(&format!(
                "carrack-mcp: {} ({})",
                error.words(),
                error.code()
            ));
            code(error.code().exit())
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

/// Tells a person something.
fn note(text: &str) {
    // Nothing is left to be told to somebody whose stderr is closed.
    let _closed = writeln!(io::stderr(), "{text}");
}

fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "carrack-mcp", &mut script);
            io::stdout().write_all(&script).map_err(Error::from)
        }
        Some(Command::Tools) => {
            let text = crate::reference::markdown();
            io::stdout().write_all(text.as_bytes()).map_err(Error::from)
        }
        #[cfg(feature = "stdio")]
        Some(Command::Install { client, write }) => install(&cli.global, client, write),
        #[cfg(all(feature = "embedded", feature = "stdio"))]
        Some(Command::Demo) => {
            start_logging();
            let runtime = runtime()?;
            let done = runtime.block_on(crate::demo::run(cli.global.data));
            runtime.shutdown_background();
            done
        }
        None => serve(cli.global),
    }
}

#[cfg(any(feature = "stdio", feature = "http"))]
fn serve(global: Global) -> Result<(), Error> {
    let global = &global.completed()?;
    #[cfg(feature = "http")]
    let http = global.http;
    #[cfg(not(feature = "http"))]
    let http: Option<std::net::SocketAddr> = None;
    // Before anything else can print.
    #[cfg(feature = "stdio")]
    let output = if http.is_none() {
        Some(crate::transport::stdio::take_stdout()?)
    } else {
        None
    };
    start_logging();
    let connection = Connection::new(global.backend()?);
    let policy = global.policy(http.is_some())?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let served = async {
            #[cfg(feature = "http")]
            if let Some(address) = http {
                return serve_http(global, connection.clone(), policy, address).await;
            }
            #[cfg(feature = "stdio")]
            if let Some(output) = output {
                // A store that cannot be opened, or a token that opens nothing, is better known now than from the first call.
                let connection = global.authority(&connection)?;
                connection.scope().await.map_err(without_access)?;
                if io::stdin().is_terminal() {
                    note(TO_A_PERSON);
                }
                let gateway = Gateway::new(connection.clone(), policy);
                return Ok(crate::transport::stdio::serve(gateway, output).await?);
            }
            Err(Error::new(
                Code::InvalidArgument,
                "this build has no stdio transport; name an address with --http",
            ))
        };
        let served = served.await;
        connection.shutdown().await;
        served
    });
    // A read of stdin may still wait on its thread; nobody waits for it.
    runtime.shutdown_background();
    served
}

#[cfg(not(any(feature = "stdio", feature = "http")))]
fn serve(global: Global) -> Result<(), Error> {
    start_logging();
    let connection = Connection::new(global.backend()?);
    let gateway = Gateway::new(connection, global.policy(false)?);
    tracing::debug!(
        tools = gateway.tools().len(),
        "no transport to serve them on"
    );
    Err(Error::new(
        Code::InvalidArgument,
        "this build has no transport; build with the feature stdio or http",
    ))
}

#[cfg(feature = "http")]
async fn serve_http(
    global: &Global,
    connection: Connection,
    policy: Policy,
    address: SocketAddr,
) -> Result<(), Error> {
    use crate::transport::http::{Options, Server};

    let options = Options {
        hosts: global.allowed_host.clone(),
        origins: global.allowed_origin.clone(),
        tokenless: global.tokenless,
    };
    let server = Server::open(connection, policy, address, &options).await?;
    if options.tokenless {
        note("no token is asked for: every program on this machine may do what the owner may");
    } else if let Some(token) = server.owner_token() {
        note(&format!("the owner's token for this run: {token}"));
    } else {
        note("callers bring tokens of the store's grants");
    }
    note(&format!("listening on http://{}/mcp", server.address()?));
    Ok(server.serve().await?)
}

/// Whoever starts it by hand would else wait for something to happen.
#[cfg(feature = "stdio")]
const TO_A_PERSON: &str = "\
serving an MCP client on stdin and stdout, which is you now: close stdin (Ctrl-D) to end. MCP clients start this by
themselves, see `carrack-mcp install --help`; `carrack-mcp demo` shows what they see";

/// Tells whoever may not come in what to bring.
#[cfg(feature = "stdio")]
fn without_access(error: Error) -> Error {
    if error.code() != Code::BadCredential {
        return error;
    }
    let advice = "`carrack grant create` makes one; name its file with --token-file";
    Error::new(error.code(), format!("{}; {advice}", error.words()))
}

#[cfg(any(feature = "stdio", feature = "http"))]
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?)
}

/// Threads of the gateway's own runtime: one call that renders does not hold up another; the store has its own.
#[cfg(any(feature = "stdio", feature = "http"))]
const WORKERS: usize = 2;

/// Prints a client's settings, or writes them.
#[cfg(feature = "stdio")]
fn install(global: &Global, client: crate::install::Client, write: bool) -> Result<(), Error> {
    use crate::install::{self, Home, Written};

    let refused = |words: String| Error::new(Code::InvalidArgument, words);
    // Options that would stop the gateway are better known now than by the client.
    global.policy(false)?;
    let entry = client.entry(&text_of(&std::env::current_exe()?)?, &global.arguments()?);
    let file = client.file(&Home::of_user().map_err(refused)?);
    if !write {
        note(&format!("for {} (--write puts it there):", file.display()));
        let settings = client.settings(&entry);
        return io::stdout()
            .write_all(settings.as_bytes())
            .map_err(Error::from);
    }
    let written = install::write(client, &file, &entry).map_err(refused)?;
    note(&match written {
        Written::New => format!("written: {}", file.display()),
        Written::Changed(backup) => {
            format!("changed: {}; before: {}", file.display(), backup.display())
        }
        Written::Same => format!("nothing to change: {}", file.display()),
    });
    note("start the client anew to let it see the gateway");
    Ok(())
}

/// Returns a path as it can stand in JSON.
#[cfg(feature = "stdio")]
fn text_of(path: &std::path::Path) -> Result<String, Error> {
    let path = std::path::absolute(path)?;
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let words = format!("{} is no UTF-8 text", path.display());
        Error::new(Code::InvalidArgument, words)
    })
}

/// Returns the token that a file holds. One that holds none is refused: without a token a caller would be the owner.
#[cfg(feature = "stdio")]
fn token_in(path: &std::path::Path) -> Result<String, Error> {
    let refused = |why: &dyn std::fmt::Display| {
        let words = format!("--token-file {}: {why}", path.display());
        Error::new(Code::InvalidArgument, words)
    };
    let token = carrack_client::token_in_file(path).map_err(|error| refused(&error))?;
    token.ok_or_else(|| refused(&"it holds no token; `carrack grant create` prints one"))
}

/// Where the token itself may stand.
#[cfg(any(feature = "stdio", feature = "http"))]
const TOKEN: &str = "CARRACK_TOKEN";

/// Where the file of `--ca-file` may stand.
#[cfg(any(feature = "stdio", feature = "http"))]
const CA_FILE: &str = "CARRACK_TLS_CA";

/// Returns the environment's token. A variable that is set and holds none is refused, as a file is.
#[cfg(feature = "stdio")]
fn token_of_environment() -> Result<Option<String>, Error> {
    let Some(text) = std::env::var_os(TOKEN) else {
        return Ok(None);
    };
    match carrack_client::token_in(text) {
        None => {
            let words = format!("{TOKEN} is set and holds no token; unset it to be the owner");
            Err(Error::new(Code::InvalidArgument, words))
        }
        token => Ok(token),
    }
}

/// Returns what the environment says by a name; an empty text says nothing.
#[cfg(any(feature = "stdio", feature = "http", feature = "embedded"))]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Global {
    /// Returns the options that were given, as they mean the same from any folder.
    #[cfg(feature = "stdio")]
    fn arguments(&self) -> Result<Vec<String>, Error> {
        let mut arguments = Vec::new();
        #[cfg(feature = "http")]
        if self.http.is_some() {
            let words = "a client starts the gateway on stdin and stdout: leave --http out";
            return Err(Error::new(Code::InvalidArgument, words));
        }
        match self.address()? {
            Some(store) => arguments.extend(["--store".to_owned(), store.to_string()]),
            #[cfg(feature = "embedded")]
            None => {
                if let Some(data) = self.folder() {
                    arguments.extend(["--data".to_owned(), text_of(&data)?]);
                }
            }
            #[cfg(not(feature = "embedded"))]
            None => {}
        }
        match &self.token_file {
            Some(file) => arguments.extend(["--token-file".to_owned(), text_of(file)?]),
            // The client has another environment: what it starts would be the owner.
            None if std::env::var_os(TOKEN).is_some() => {
                let words =
                    format!("{TOKEN} would not be the client's: name its file with --token-file");
                return Err(Error::new(Code::InvalidArgument, words));
            }
            None => {}
        }
        let trusted = || environment(CA_FILE).map(PathBuf::from);
        if let Some(file) = self.ca_file.clone().or_else(trusted) {
            arguments.extend(["--ca-file".to_owned(), text_of(&file)?]);
        }
        if self.read_only {
            arguments.push("--read-only".to_owned());
        }
        if let Some(tools) = &self.tools {
            arguments.extend(["--tools".to_owned(), tools.join(",")]);
        }
        if let Some(root) = &self.import_root {
            arguments.extend(["--import-root".to_owned(), text_of(root)?]);
        }
        if let Some(file) = &self.config {
            arguments.extend(["--config".to_owned(), text_of(file)?]);
        }
        Ok(arguments)
    }

    /// Returns the options with what the file says in the place of what is not given.
    #[cfg(any(feature = "stdio", feature = "http"))]
    fn completed(mut self) -> Result<Self, Error> {
        let read = self.config.as_deref().map(config::Config::read);
        let file = read.transpose()?.unwrap_or_default();
        let says = |name| environment(name).is_some();
        let is_named = self.store.is_some() || says("CARRACK_STORE") || says("CARRACK_DATA");
        #[cfg(feature = "embedded")]
        let is_named = is_named || self.data.is_some();
        if !is_named {
            self.store = file.store;
            #[cfg(feature = "embedded")]
            {
                self.data = file.data;
            }
        }
        #[cfg(feature = "stdio")]
        if self.token_file.is_none() && std::env::var_os(TOKEN).is_none() {
            // Another store would be shown the token, and without one the caller would be its owner.
            if is_named && file.token_file.is_some() {
                let words = "the token_file of --config is for the store of that file: name the one for this store with --token-file";
                return Err(Error::new(Code::InvalidArgument, words));
            }
            self.token_file = file.token_file;
        }
        if self.ca_file.is_none() && environment(CA_FILE).is_none() {
            self.ca_file = file.ca_file;
        }
        #[cfg(feature = "http")]
        {
            self.http = self.http.or(file.http);
            self.tokenless |= file.tokenless;
            let or = |given: Vec<_>, file| if given.is_empty() { file } else { given };
            self.allowed_host = or(self.allowed_host, file.allowed_host);
            self.allowed_origin = or(self.allowed_origin, file.allowed_origin);
        }
        self.read_only |= file.read_only;
        self.tools = self.tools.or(file.tools);
        self.import_root = self.import_root.or(file.import_root);
        #[cfg(feature = "http")]
        self.fits()?;
        Ok(self)
    }

    /// Refuses options that say nothing together.
    #[cfg(feature = "http")]
    fn fits(&self) -> Result<(), Error> {
        #[cfg(feature = "stdio")]
        let brings_token = self.token_file.is_some();
        #[cfg(not(feature = "stdio"))]
        let brings_token = false;
        let words = match self.http {
            None if self.tokenless => "--tokenless needs --http",
            None if !self.allowed_host.is_empty() => "--allowed-host needs --http",
            None if !self.allowed_origin.is_empty() => "--allowed-origin needs --http",
            Some(_) if brings_token => {
                "over HTTP each caller brings a token: leave --token-file out"
            }
            Some(_) if std::env::var_os(TOKEN).is_some() => {
                "over HTTP each caller brings a token: leave CARRACK_TOKEN out"
            }
            _ => return Ok(()),
        };
        Err(Error::new(Code::InvalidArgument, words))
    }

    /// Returns where the store listens, if it is another's. A flag wins over the environment, an address there over a folder.
    fn address(&self) -> Result<Option<Address>, Error> {
        #[cfg(feature = "embedded")]
        if self.data.is_some() {
            return Ok(None);
        }
        if let Some(address) = &self.store {
            return Ok(Some(address.clone()));
        }
        let text = std::env::var("CARRACK_STORE").unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text
            .parse()
            .map_err(|error| Error::new(Code::InvalidArgument, format!("CARRACK_STORE: {error}")));
        parsed.map(Some)
    }

    /// Returns the data folder that is named.
    #[cfg(feature = "embedded")]
    fn folder(&self) -> Option<PathBuf> {
        let named = || environment("CARRACK_DATA").map(PathBuf::from);
        self.data.clone().or_else(named)
    }

    /// Returns the connection of the token's holder, if one is given; a flag wins over the environment.
    #[cfg(feature = "stdio")]
    fn authority(&self, connection: &Connection) -> Result<Connection, Error> {
        let token = match &self.token_file {
            Some(path) => Some(token_in(path)?),
            None => token_of_environment()?,
        };
        Ok(match token {
            Some(token) => connection.restored(&token),
            None => connection.clone(),
        })
    }

    /// Returns the tools named, by what they are called now.
    fn named_tools(&self) -> Result<Option<Vec<String>>, Error> {
        let all = crate::tools::definitions(&Policy::all());
        let known: Vec<_> = all.iter().map(|tool| tool.name.to_string()).collect();
        let current = |name: &String| {
            let current = crate::tools::names::current(name.trim());
            if known.iter().any(|known| known == current) {
                return Ok(current.to_owned());
            }
            let nearest = crate::tools::nearest(name, &known);
            let words = format!(
                "--tools: there is no tool {name:?}; did you mean {}? There are {}",
                nearest.map_or("", String::as_str),
                known.join(", ")
            );
            Err(Error::new(Code::InvalidArgument, words))
        };
        let names = self.tools.iter().flatten().map(current);
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        Ok(self.tools.as_ref().map(|_| names))
    }

    fn backend(&self) -> Result<Backend, Error> {
        if let Some(address) = self.address()? {
            let connect = Connect::to(&address);
            return Ok(Backend::Listening(match &self.ca_file {
                Some(path) => connect.ca_file(path),
                None => connect,
            }));
        }
        #[cfg(feature = "embedded")]
        return Ok(Backend::Folder(crate::embedded::Folder::new(
            self.folder(),
        )?));
        #[cfg(not(feature = "embedded"))]
        Err(Error::new(
            Code::InvalidArgument,
            "this build embeds no store; name one with --store",
        ))
    }

    /// The caller on stdio is whoever started this process, and may read what they may; over HTTP it is anyone who
    /// reaches the port.
    fn policy(&self, is_http: bool) -> Result<Policy, Error> {
        let import = match &self.import_root {
            Some(root) if root.is_dir() => ImportRule::Below(root.clone()),
            Some(root) => {
                let words = format!("--import-root {} is not a folder", root.display());
                return Err(Error::new(Code::InvalidArgument, words));
            }
            None if is_http => ImportRule::Nothing,
            None => ImportRule::AnyFile,
        };
        Ok(Policy {
            read_only: self.read_only,
            import,
            tools: self.named_tools()?,
        })
    }
}

/// Logs to stderr; `CARRACK_LOG` says what (`debug`, `carrack_gateway=trace`).
fn start_logging() {
    let filter = match tracing_subscriber::EnvFilter::try_from_env("CARRACK_LOG") {
        // At its finest rmcp logs whole messages, and an answer of at_grant holds a token.
        Ok(filter) => filter.add_directive("rmcp=info".parse().expect("a directive of two words")),
        Err(_) => tracing_subscriber::EnvFilter::new("warn"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would tell stderr that stderr is closed, and panic over it in the middle of a call.
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

    #[test]
    fn over_http_nothing_is_imported_without_a_root() {
        let global = |arguments: &[&str]| {
            Cli::try_parse_from([&["carrack-mcp"], arguments].concat())
                .unwrap()
                .global
        };
        let imports =
            |arguments: &[&str], is_http| global(arguments).policy(is_http).unwrap().imports();
        assert!(imports(&[], false));
        assert!(!imports(&[], true));
        assert!(imports(&["--import-root", "."], true));
        assert!(!imports(&["--import-root", ".", "--read-only"], true));
        assert!(!imports(&["--read-only"], false));
        assert!(global(&["--import-root", "/no/such"]).policy(true).is_err());
    }

    /// Over HTTP each caller brings a token of its own.
    #[cfg(all(feature = "stdio", feature = "http"))]
    #[test]
    fn a_token_is_for_stdio_alone() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from([&["carrack-mcp", "--token-file", "t"], arguments].concat())
        };
        assert!(parse(&[]).is_ok());
        assert!(parse(&["install", "--client", "cursor"]).is_ok());
        assert!(parse(&["--http", "127.0.0.1:0"]).is_err());
    }
}
