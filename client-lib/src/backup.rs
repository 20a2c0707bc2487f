//! [`Backup`]: a copy of the store on its way out.

use std::collections::HashMap;
use std::rc::Rc;

use capnp_rpc::new_client;
use carrack_schema::wire::store_capnp as wire;
use tokio::sync::mpsc;

use crate::error::Result;
use crate::handle::Handle;
use crate::push::Push;
use crate::read;
use crate::types::{BackupFile, BackupReport};

/// Parts that wait between the connection and the reader.
const PARTS_QUEUED_MAX: usize = 4;

/// A part of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupPart {
    /// The next file.
    File(BackupFile),
    /// The next bytes of the file that came last.
    Bytes(Vec<u8>),
}

/// A copy of the store on its way out: take its parts to the last, then ask for [`done`](Self::done).
///
/// What came is no copy until `done` said so. Dropping it stops the copy. It is not begun again if the connection is lost.
#[derive(Debug)]
pub struct Backup {
    parts: Push<BackupPart, BackupReport>,
}

impl Backup {
    pub(crate) fn new(keeper: &Handle<wire::keeper::Client>, there: HashMap<String, u64>) -> Self {
        let parts = keeper.push(PARTS_QUEUED_MAX, async move |on, parts| {
            let mut request = on.backup_request();
            request.get().set_sink(new_client(Sink { parts, there }));
            let response = request.send().promise.await?;
            Ok(read::backup(&response)?)
        });
        Self { parts }
    }

    /// Returns the next part; none after the last, or when the copy has failed. One round trip to the first, and one more for
    /// each file before it.
    pub async fn next(&mut self) -> Option<BackupPart> {
        self.parts.next().await
    }

    /// Returns what the copy is of, whatever parts are left. One round trip after the last bytes came.
    ///
    /// # Errors
    /// `denied` to whoever is not the store's owner; `damaged` if a file of the store is missing; as every leaf.
    pub async fn done(self) -> Result<BackupReport> {
        self.parts.done().await
    }
}

/// Passes on the parts of a copy. A call is answered when its part has room, which holds back the server.
struct Sink {
    parts: mpsc::Sender<BackupPart>,
    /// Segment files that need not come, and their lengths.
    there: HashMap<String, u64>,
}

impl Sink {
    async fn pass(&self, part: BackupPart) -> capnp::Result<()> {
        let left = |_| capnp::Error::disconnected("the receiver left".into());
        self.parts.send(part).await.map_err(left)
    }
}

impl wire::backup_sink::Server for Sink {
    async fn file(
        self: Rc<Self>,
        params: wire::backup_sink::FileParams,
        mut results: wire::backup_sink::FileResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let name = params.get_name()?.to_string()?;
        let file = BackupFile {
            bytes: params.get_bytes(),
            left: params.get_left(),
            is_skipped: self.there.get(&name) == Some(&params.get_bytes()),
            name,
        };
        results.get().set_skip(file.is_skipped);
        self.pass(BackupPart::File(file)).await
    }

    async fn write(self: Rc<Self>, params: wire::backup_sink::WriteParams) -> capnp::Result<()> {
        let bytes = params.get()?.get_bytes()?.to_vec();
        self.pass(BackupPart::Bytes(bytes)).await
    }

    async fn done(
        self: Rc<Self>,
        _params: wire::backup_sink::DoneParams,
        _results: wire::backup_sink::DoneResults,
    ) -> capnp::Result<()> {
        // The end is the answer to the backup itself.
        Ok(())
    }
}
