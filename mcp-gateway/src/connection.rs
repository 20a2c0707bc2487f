//! [`Connection`]: the gateway's session with a store, made again when it is lost.
//!
//! Whoever owns a data folder may end while the gateway runs. A call that meets the loss is repeated once on a new
//! session if it only reads; a write is not, since it may have taken effect.

use std::sync::Arc;

use carrack_client::{Address, Client, Error, Session, Store};
use carrack_schema::Code;
use tokio::sync::Mutex;

#[cfg(feature = "embedded")]
use crate::embedded::Folder;

/// Where the store is.
#[derive(Debug)]
pub enum Backend {
    /// It listens there.
    Listening(Address),
    /// In a data folder, served by whoever owns it: another process, or this one.
    #[cfg(feature = "embedded")]
    Folder(Folder),
}

/// A session with the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    /// Held while connecting, so that many calls that meet a loss make one new session.
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    session: Option<Session>,
    /// Counts sessions: a call may only give up the session it used, not its successor.
    generation: u64,
}

impl Connection {
    /// Names a store; nothing is opened before [`session`](Self::session).
    pub fn new(backend: Backend) -> Self {
        Self(Arc::new(Inner {
            backend,
            live: Mutex::default(),
        }))
    }

    /// Returns the session, made now if there is none.
    ///
    /// # Errors
    /// If the store cannot be reached or opened.
    pub async fn session(&self) -> Result<Session, Error> {
        Ok(self.current().await?.0)
    }

    async fn current(&self) -> Result<(Session, u64), Error> {
        let mut live = self.0.live.lock().await;
        if let Some(session) = &live.session {
            return Ok((session.clone(), live.generation));
        }
        let session = self.0.backend.client().await?.login("");
        live.session = Some(session.clone());
        live.generation += 1;
        Ok((session, live.generation))
    }

    async fn give_up(&self, generation: u64) {
        let mut live = self.0.live.lock().await;
        if live.generation == generation {
            live.session = None;
        }
    }

    /// Reads, and reads again on a new session if this one turns out to be lost.
    ///
    /// # Errors
    /// Those of `read`, and if the store cannot be reached.
    pub(crate) async fn read<T, F>(&self, read: impl Fn(Store) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (session, generation) = self.current().await?;
        match read(session.store()).await {
            Err(error) if error.code() == Code::Unavailable => {
                tracing::info!(%error, "the store is gone; connecting again");
                self.give_up(generation).await;
                read(self.session().await?.store()).await
            }
            answer => answer,
        }
    }

    /// Writes once. A lost session is given up, so that the next call makes a new one.
    ///
    /// # Errors
    /// Those of `write`, and if the store cannot be reached.
    pub(crate) async fn write<T, F>(&self, write: impl FnOnce(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (session, generation) = self.current().await?;
        let answer = write(session).await;
        if let Err(error) = &answer
            && error.code() == Code::Unavailable
        {
            self.give_up(generation).await;
        }
        answer
    }

    /// Closes the session and, if this process owns the store, ends serving it. Blocks until that is done.
    pub async fn shutdown(&self) {
        self.0.live.lock().await.session = None;
        match &self.0.backend {
            Backend::Listening(_) => {}
            #[cfg(feature = "embedded")]
            Backend::Folder(folder) => folder.shutdown().await,
        }
    }
}

impl Backend {
    async fn client(&self) -> Result<Client, Error> {
        match self {
            Self::Listening(address) => Client::connect(address).await,
            #[cfg(feature = "embedded")]
            Self::Folder(folder) => folder.client().await,
        }
    }
}
