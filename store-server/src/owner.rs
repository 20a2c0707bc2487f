//! [`Owner`]: the one process that holds a data folder, and how everyone else finds it.
//!
//! A folder has one owner at a time, by a lock. Every owner, be it `carrack serve`, a command or an MCP gateway,
//! also listens on the folder's unix socket; so a second process becomes the first one's client and they simply
//! work side by side ([`open`]).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use carrack_client::{Address, Client, Connect};
use carrack_schema::Code;
use carrack_segment::{Directory, Fs};

use crate::clock::SystemClock;
use crate::error::{Error, Result};
use crate::rpc::Bounds;
use crate::server::{Listen, Server, TlsFiles, wait_until};
use crate::settings::StoreSettings;
use crate::store::{CONFIG, LOCK, Store};

/// Name of the socket in a data folder, or of the file that says where it is.
const SOCKET: &str = "carrack.sock";
/// Longest path a socket can be bound to: 108 bytes with the zero at the end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How often, and after which pause, opening a folder is tried while another process holds it: 20 seconds in all.
const OPEN_ATTEMPTS: u32 = 400;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// How long shutting down waits for threads that have nothing left to do but end.
const RELEASE_GRACE: Duration = Duration::from_secs(5);

/// A data folder's path, and how its owner is reached.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

/// How an owner serves its folder.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Further addresses to listen on, beside the folder's own socket.
    pub listen: Vec<Address>,
    /// What TLS shows. Where it is given, every TCP address speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Whether a TCP address that is not loopback may speak plainly.
    pub insecure: bool,
    /// Threads that serve connections, and as many that hash for them.
    pub workers: usize,
    /// How much connections may take.
    pub bounds: Bounds,
    /// What is chosen about the store.
    pub store: StoreSettings,
}

impl Default for Settings {
    /// Only the folder's socket, one thread of each kind: for a command that lives shortly.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls: None,
            insecure: false,
            workers: 1,
            bounds: Bounds::default(),
            store: StoreSettings::default(),
        }
    }
}

impl Settings {
    /// Returns where to listen, beside the folder's own socket.
    fn listen(&self, own: (PathBuf, UnixListener)) -> Result<Listen> {
        let mut listen = Listen {
            unix: vec![own],
            certificate: self.tls.clone(),
            insecure: self.insecure,
            ..Listen::default()
        };
        for address in &self.listen {
            match address {
                Address::Unix(path) => listen.unix.push((path.clone(), bind_unix(path)?)),
                Address::Tcp(address) => listen.tcp.push(*address),
                Address::Tls { host, port } => {
                    let ip = host.parse().map_err(|_| {
                        let words =
                            format!("cannot listen on {address}: name an address, not a host");
                        Error::new(Code::InvalidArgument, words)
                    })?;
                    listen.tls.push(SocketAddr::new(ip, *port));
                }
            }
        }
        Ok(listen)
    }
}

/// A store that this process owns and serves.
pub struct Owner {
    server: Server,
    sockets: Vec<PathBuf>,
    store: Store,
}

/// Whoever serves a data folder: this process or another.
pub enum Opened {
    /// This process.
    Owned(Box<Owner>),
    /// Another one.
    Elsewhere,
}

/// Returns the platform's data folder for Carrack, such as `~/.local/share/carrack`; none without a home folder.
pub fn default_folder() -> Option<DataFolder> {
    let dirs = directories::ProjectDirs::from("", "", "carrack")?;
    Some(DataFolder::new(dirs.data_dir()))
}

/// Returns a client of the store in a data folder: of its running owner if there is one, else of a new one in this
/// process, which lives as long as [`Opened`] is kept.
///
/// # Errors
/// If the folder cannot be used, or is held by a process that does not answer.
pub async fn open(folder: &DataFolder, settings: &Settings) -> Result<(Client, Opened)> {
    // Between losing the race for the lock and the winner's listening there is a moment; and an owner that is ending
    // takes no more connections before it lets go of the lock.
    for _ in 0..OPEN_ATTEMPTS {
        if let Some(client) = folder.client().await
            && client.login("").about().await.is_ok()
        {
            return Ok((client, Opened::Elsewhere));
        }
        match Owner::start(folder, settings) {
            Ok(owner) => {
                let client = owner.client();
                return Ok((client, Opened::Owned(Box::new(owner))));
            }
            Err(error) if error.code() == Code::Overloaded => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(OPEN_PAUSE).await;
    }
    Err(folder.in_use())
}

impl Owner {
    /// Takes the folder, creating it if need be, opens its store and serves it.
    ///
    /// # Errors
    /// `overloaded` if another process holds the folder; else if the folder or an address cannot be used.
    pub fn start(folder: &DataFolder, settings: &Settings) -> Result<Self> {
        let folder = &folder.prepare()?;
        let unusable =
            |error| Error::because(Code::Unavailable, folder.words("cannot be used"), error);
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(&folder.0).map_err(unusable)?);
        let store = Store::open_with(directory, Arc::new(SystemClock), settings.store.clone())
            .map_err(|error| match error.code() {
                Code::Overloaded => folder.in_use(),
                _ => error,
            })?;
        let listen = settings.listen(folder.bind_socket()?)?;
        let mut sockets: Vec<PathBuf> = listen.unix.iter().map(|(path, _)| path.clone()).collect();
        sockets.push(folder.0.join(SOCKET));
        let server = Server::start(&store, listen, settings.workers, settings.bounds.clone())?;
        store.start_background()?;
        Ok(Self {
            server,
            sockets,
            store,
        })
    }

    /// Returns a client of this store, without a socket or a thread between.
    pub fn client(&self) -> Client {
        self.server.connect()
    }

    /// Returns where it listens.
    pub fn addresses(&self) -> &[Address] {
        self.server.addresses()
    }

    /// Reads the TLS certificate and its key anew, if one is shown, for connections to come; those that are there stay.
    ///
    /// # Errors
    /// If the new ones are of no use; then those before are shown.
    pub fn reload_certificate(&self) -> Result<()> {
        self.server.reload_certificate()
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends serving once those who found this owner by the folder's socket have left, for some time; for a command that
    /// owned the folder only because nobody else did.
    pub fn retire(self) {
        self.remove_sockets();
        self.server.drain();
        self.shutdown();
    }

    /// Ends serving, see `Server::shutdown`, and frees the folder.
    pub fn shutdown(self) {
        self.remove_sockets();
        self.server.shutdown();
        // Nobody can use it any longer.
        self.store.write_books();
        // A thread that has given its last answer may be about to let go of the store, and with it of the lock.
        if !wait_until(RELEASE_GRACE, || self.store.is_last()) {
            tracing::warn!("something still uses the store; its folder stays locked until it ends");
        }
    }

    fn remove_sockets(&self) {
        for path in &self.sockets {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "cannot remove a socket");
                }
                _ => {}
            }
        }
    }
}

impl DataFolder {
    /// Names a folder; nothing is touched.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Connects to the running owner, if one listens.
    async fn client(&self) -> Option<Client> {
        // The same folder may be named in several ways, and its socket's path is short or long by the canonical one.
        let canonical = Self(fs::canonicalize(&self.0).ok()?);
        // Once this owner is gone the folder is free: whoever asks anew may become its next, which is not for a client to do.
        let connect = Connect::to(&Address::Unix(canonical.socket()?)).reconnect(false);
        connect.open().await.ok()
    }

    /// Returns where the folder's socket is, if there is one: in the folder, or where the file in its place says.
    fn socket(&self) -> Option<PathBuf> {
        let path = self.0.join(SOCKET);
        if fs::symlink_metadata(&path).ok()?.is_file() {
            let pointer = fs::read_to_string(&path).ok()?;
            return pointer.trim_end().strip_prefix("unix:").map(PathBuf::from);
        }
        Some(path)
    }

    /// Creates the folder for its owner only, or makes sure that it is one of ours; returns its canonical name.
    pub(crate) fn prepare(&self) -> Result<Self> {
        let unusable =
            |error| Error::because(Code::Unavailable, self.words("cannot be used"), error);
        match fs::read_dir(&self.0) {
            Ok(entries) => {
                let names = entries
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>();
                let names = names.map_err(unusable)?;
                // The mode is tightened below, which would be rude to somebody's home folder.
                let may_be_there = |name: &OsString| name == CONFIG || name == "lost+found";
                if !names.iter().any(|name| name == LOCK) && !names.iter().all(may_be_there) {
                    let words = self.words(
                        "is neither empty nor a Carrack data folder; name another with --data",
                    );
                    return Err(Error::new(Code::InvalidArgument, words));
                }
                fs::set_permissions(&self.0, Permissions::from_mode(0o700)).map_err(unusable)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.0)
                    .map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        }
        fs::canonicalize(&self.0).map(Self).map_err(unusable)
    }

    /// Binds the folder's socket. The lock is held, so what is there is a dead owner's: a socket, or a pointer to one.
    fn bind_socket(&self) -> Result<(PathBuf, UnixListener)> {
        let place = self.0.join(SOCKET);
        remove_if_there(&place).map_err(|error| {
            Error::because(Code::Unavailable, self.words("cannot be written"), error)
        })?;
        let path = if place.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            place.clone()
        } else {
            let path = self.runtime_socket()?;
            let pointer = format!("unix:{}\n", path.display());
            fs::write(&place, pointer).map_err(|error| {
                Error::because(Code::Unavailable, self.words("cannot be written"), error)
            })?;
            path
        };
        let listener = bind_unix(&path)?;
        Ok((path, listener))
    }

    /// Returns a short path for the socket of a folder that is too deep for one, in a folder of this user's.
    fn runtime_socket(&self) -> Result<PathBuf> {
        let user = rustix::process::getuid().as_raw();
        let base = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| {
                path.is_absolute() && path.as_os_str().len() < SOCKET_PATH_BYTES_MAX - 40
            })
            .unwrap_or_else(|| PathBuf::from("/tmp"));
        let folder = base.join(format!("carrack-{user}"));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::because(
                    Code::Unavailable,
                    "no folder for the socket",
                    error,
                ));
            }
            _ => {}
        }
        let mut hasher = DefaultHasher::new();
        fs::canonicalize(&self.0)
            .unwrap_or_else(|_| self.0.clone())
            .hash(&mut hasher);
        Ok(folder.join(format!("{:016x}.sock", hasher.finish())))
    }

    fn in_use(&self) -> Error {
        let words = self.words(
            "is held by another process that does not answer on its socket; wait for it or end it",
        );
        Error::new(Code::Overloaded, words)
    }

    fn words(&self, what: &str) -> String {
        format!("the data folder {} {what}", self.0.display())
    }
}

/// Binds a unix socket that only this user can reach: mode 0600, in a folder of mode 0700.
///
/// Connecting asks for write permission on the socket, and everyone on the way for search permission; between
/// binding and setting the mode the folder is what keeps others out, so it is checked first.
fn bind_unix(path: &Path) -> Result<UnixListener> {
    let unusable = |error: io::Error| {
        Error::because(
            Code::Unavailable,
            format!("cannot listen on unix:{}", path.display()),
            error,
        )
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(unusable)?;
    }
    let metadata = fs::metadata(folder).map_err(unusable)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.mode() & 0o077 != 0 || !ours {
        let words = format!(
            "the folder {} of the socket is open to others (mode {:o}); chmod 700 it or name another",
            folder.display(),
            metadata.mode() & 0o777
        );
        return Err(Error::new(Code::Denied, words));
    }
    clear_dead_socket(path).map_err(unusable)?;
    let listener = UnixListener::bind(path).map_err(unusable)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(unusable)?;
    Ok(listener)
}

/// Removes a socket that nobody listens on. Anything else in its place stays, and binding fails.
fn clear_dead_socket(path: &Path) -> io::Result<()> {
    // Any other error than a refusal may come from a socket that lives.
    let refuses =
        || UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    let is_socket =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && refuses() {
        return remove_if_there(path);
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(path: &Path) -> Result<Owner> {
        Owner::start(&DataFolder::new(path), &Settings::default())
    }

    #[test]
    fn a_folder_has_one_owner_and_its_socket_is_private() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("store");
        let owner = start(&path).unwrap();
        assert_eq!(start(&path).err().map(|e| e.code()), Some(Code::Overloaded));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(
            fs::metadata(path.join(SOCKET)).unwrap().mode() & 0o777,
            0o600
        );
        owner.shutdown();
        assert!(!path.join(SOCKET).exists());
        start(&path).unwrap().shutdown();
    }

    #[test]
    fn a_folder_that_is_not_ours_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(base.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(
            start(base.path()).err().map(|e| e.code()),
            Some(Code::InvalidArgument)
        );
        assert_eq!(fs::metadata(base.path()).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_folder_too_deep_for_a_socket_still_has_one() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("d".repeat(120));
        let owner = start(&path).unwrap();
        assert!(fs::metadata(path.join(SOCKET)).unwrap().is_file());
        let folder = DataFolder::new(&path);
        assert!(folder.socket().unwrap().as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        assert!(runtime.block_on(folder.client()).is_some());
        let socket = folder.socket().unwrap();
        owner.shutdown();
        assert!(!socket.exists() && !path.join(SOCKET).exists());
    }

    #[test]
    fn a_file_in_the_sockets_place_is_not_removed() {
        let base = tempfile::tempdir().unwrap();
        let private = base.path().join("private");
        DirBuilder::new().mode(0o700).create(&private).unwrap();
        let path = private.join("thesis.tex");
        fs::write(&path, "x").unwrap();
        assert!(bind_unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let live = private.join("live.sock");
        let _live = bind_unix(&live).unwrap();
        assert!(bind_unix(&live).is_err());
    }

    #[test]
    fn sockets_in_open_folders_and_public_addresses_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let open = base.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        for address in [
            Address::Unix(open.join("x.sock")),
            Address::Tcp("0.0.0.0:0".parse().unwrap()),
            Address::Tcp("192.0.2.1:0".parse().unwrap()),
        ] {
            let settings = Settings {
                listen: vec![address.clone()],
                ..Settings::default()
            };
            let refused = Owner::start(&DataFolder::new(base.path().join("store")), &settings);
            assert_eq!(
                refused.err().map(|e| e.code()),
                Some(Code::Denied),
                "{address}"
            );
        }
    }
}
