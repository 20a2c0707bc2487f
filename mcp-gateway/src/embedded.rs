//! [`Folder`]: a data folder as the gateway's store, without a server of its own running.
//!
//! The one file that names the store's crate. A folder has one owner process: if another one serves it, the gateway
//! becomes its client; else the gateway becomes the owner and serves the folder's socket for the others.

use std::path::PathBuf;
use std::sync::Arc;

use carrack_client::{Client, Error};
use carrack_schema::Code;
use carrack_store::{DataFolder, Opened, Owner, Settings};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Most threads an owning gateway serves connections with; it has one client of its own and few guests.
const WORKERS_MAX: usize = 4;

/// A data folder.
pub struct Folder {
    folder: DataFolder,
    owner: Arc<Mutex<Option<Box<Owner>>>>,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Folder").field(&self.folder).finish()
    }
}

impl Folder {
    /// Names a folder, by default the platform's; nothing is touched.
    ///
    /// # Errors
    /// If none is named and there is no home folder.
    pub fn new(path: Option<PathBuf>) -> Result<Self, Error> {
        let folder = match path {
            Some(path) => DataFolder::new(path),
            None => carrack_store::default_folder().ok_or_else(|| {
                let words = "there is no home folder; name a data folder with --data";
                Error::new(Code::InvalidArgument, words)
            })?,
        };
        Ok(Self {
            folder,
            owner: Arc::default(),
        })
    }

    /// Returns a client of the folder's owner, which is this process if there is no other. Each has a connection of its
    /// own: within this process a pipe, else by the folder's socket.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub async fn client(&self) -> Result<Client, Error> {
        // Held while opening, so that this process does not compete with itself for the folder.
        let mut owner = self.owner.clone().lock_owned().await;
        if let Some(owner) = &*owner {
            return Ok(owner.client());
        }
        let settings = Settings {
            workers: std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(WORKERS_MAX),
            store: carrack_store::cli::store_settings(&self.folder).map_err(foreign)?,
            ..Settings::default()
        };
        let (folder, runtime) = (self.folder.clone(), Handle::current());
        // Opening reads the disk; other calls go on meanwhile.
        let opened = tokio::task::spawn_blocking(move || {
            let (client, opened) = runtime.block_on(carrack_store::open(&folder, &settings))?;
            if let Opened::Owned(new) = opened {
                *owner = Some(new);
            }
            Ok(client)
        });
        match opened.await {
            Ok(client) => client.map_err(foreign),
            Err(error) => Err(Error::new(Code::Internal, error.to_string())),
        }
    }

    /// Says whether this process owns the folder.
    pub async fn is_owned(&self) -> bool {
        self.owner.lock().await.is_some()
    }

    /// Ends serving the folder, if this process owns it.
    pub async fn shutdown(&self) {
        let owner = self.owner.lock().await.take();
        if let Some(owner) = owner {
            // A panic of the store's threads has been reported by them.
            let _ended = tokio::task::spawn_blocking(move || owner.shutdown()).await;
        }
    }
}

fn foreign(error: carrack_store::Error) -> Error {
    Error::new(error.code(), error.chain())
}
