//! [`Door`]: a command's way to the store, and how it comes back when the store moves.
//!
//! Commands on one folder work side by side: the first to come owns the folder for as long as it lives, the others are
//! its clients. When it ends, they find the folder's next owner, or become it.

use std::time::Duration;

use carrack_client::{Connect, Session};
use carrack_schema::Code;

use super::credential::login;
use super::store_options::StoreOptions;
use super::{Failure, Result};
use crate::owner::{self, DataFolder, Opened, Settings};

/// How often a call is made again when its store has gone, and after which pause.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// How long a full store is asked again, in pauses that double up to the longest.
const OVERLOADED_ATTEMPTS: u32 = 120;
const OVERLOADED_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where the store is.
pub(super) enum Place {
    Address(Connect),
    Folder(DataFolder),
}

/// A session, and the store itself if it is in this process.
pub(super) struct Door {
    place: Place,
    /// Of a grant; none has the owner's authority.
    token: Option<String>,
    session: Session,
    opened: Option<Opened>,
}

impl Door {
    pub(super) async fn open(place: Place, token: Option<String>) -> Result<Self> {
        let (session, opened) = enter(&place, token.as_deref()).await?;
        Ok(Self {
            place,
            token,
            session,
            opened,
        })
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Makes a call that may be made again: when its store has gone the folder is opened anew, when it is full the call
    /// waits. Any other error, and the last one, is the call's.
    pub(super) async fn call<T>(
        &mut self,
        mut call: impl AsyncFnMut(&Session) -> Result<T>,
    ) -> Result<T> {
        let (mut gone, mut full) = (0, 0);
        loop {
            let failure = match call(&self.session).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            match failure.code {
                Code::Unavailable if gone < ATTEMPTS && self.is_elsewhere() => {
                    gone += 1;
                    tokio::time::sleep(PAUSE).await;
                    (self.session, self.opened) = enter(&self.place, self.token.as_deref()).await?;
                }
                Code::Overloaded if full < OVERLOADED_ATTEMPTS => {
                    full += 1;
                    tokio::time::sleep((PAUSE * full).min(OVERLOADED_PAUSE_MAX)).await;
                }
                _ => return Err(failure),
            }
        }
    }

    /// Says whether another process serves the folder, which may end before this one is done.
    fn is_elsewhere(&self) -> bool {
        matches!(
            (&self.place, &self.opened),
            (Place::Folder(_), Some(Opened::Elsewhere))
        )
    }

    /// Closes the store, if it is in this process, once nobody else uses it.
    pub(super) fn close(self) {
        drop(self.session);
        if let Some(Opened::Owned(owner)) = self.opened {
            owner.retire();
        }
    }
}

async fn enter(place: &Place, token: Option<&str>) -> Result<(Session, Option<Opened>)> {
    match place {
        Place::Address(connect) => {
            let client = connect.clone().open().await?;
            Ok((login(&client, token), None))
        }
        Place::Folder(folder) => {
            let settings = Settings {
                store: StoreOptions::of(folder)?.settings(),
                ..Settings::default()
            };
            let (client, opened) = owner::open(folder, &settings).await?;
            Ok((login(&client, token), Some(opened)))
        }
    }
}

impl From<carrack_client::Absent> for Failure {
    fn from(absent: carrack_client::Absent) -> Self {
        carrack_client::Error::from(absent).into()
    }
}
