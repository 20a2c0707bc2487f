//! [`Door`]: a way to a store. A test body takes a session and runs once for each.

use std::path::Path;

use carrack_client::{Address, Client, ImportOptions, ImportOutcome, ImportReport, Scope, Session};
use carrack_store::{DataFolder, Owner, Settings, StoreSettings};

/// A way to a store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// A duplex pair in this process.
    InProcess,
    /// The data folder's unix socket.
    Unix,
    /// A TCP socket on loopback, with the token of a grant that allows everything.
    Tcp,
}

pub(crate) const DOORS: [Door; 3] = [Door::InProcess, Door::Unix, Door::Tcp];

/// A running store with a client at one of its doors.
pub(crate) struct Store {
    pub(crate) session: Session,
    pub(crate) owner: Owner,
    pub(crate) folder: tempfile::TempDir,
    /// What TCP asks for.
    token: Option<String>,
}

impl Store {
    pub(crate) async fn open(door: Door) -> Self {
        Self::open_with(door, StoreSettings::default()).await
    }

    pub(crate) async fn open_with(door: Door, settings: StoreSettings) -> Self {
        Self::start(tempfile::tempdir().unwrap(), door, settings, None).await
    }

    /// Starts on a folder that there is.
    pub(crate) async fn on(folder: tempfile::TempDir, door: Door) -> Self {
        Self::start(folder, door, StoreSettings::default(), None).await
    }

    async fn start(
        folder: tempfile::TempDir,
        door: Door,
        settings: StoreSettings,
        token: Option<String>,
    ) -> Self {
        let owner = start(folder.path(), settings);
        let token = match (door, token) {
            (Door::Tcp, None) => Some(new_token(&owner).await),
            (_, token) => token,
        };
        Self {
            session: connect(&owner, door, token.as_deref()).await,
            owner,
            folder,
            token,
        }
    }

    /// Shuts down and starts again on the same folder.
    pub(crate) async fn reopen(self, door: Door) -> Self {
        let Self {
            session,
            owner,
            folder,
            token,
        } = self;
        drop(session);
        owner.shutdown();
        Self::start(folder, door, StoreSettings::default(), token).await
    }

    /// Returns the files of the folder that hold data, with their lengths.
    pub(crate) fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        for sub in ["segments", "tmp"] {
            for entry in std::fs::read_dir(self.folder.path().join(sub)).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{sub}/{}", entry.file_name().to_string_lossy());
                files.push((name, entry.metadata().unwrap().len()));
            }
        }
        files.sort();
        files
    }
}

fn start(folder: &Path, store: StoreSettings) -> Owner {
    Owner::start(
        &DataFolder::new(folder),
        &Settings {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            workers: 2,
            store,
            ..Settings::default()
        },
    )
    .unwrap()
}

async fn connect(owner: &Owner, door: Door, token: Option<&str>) -> Session {
    let address = owner.addresses().iter().find(|address| match door {
        Door::InProcess => false,
        Door::Unix => matches!(address, Address::Unix(_)),
        Door::Tcp => matches!(address, Address::Tcp(_)),
    });
    let Some(address) = address else {
        return owner.client().login("");
    };
    let client = Client::connect(address).await.unwrap();
    match token {
        Some(token) => client.restore(token),
        None => client.login(""),
    }
}

/// Returns a token for everything.
async fn new_token(owner: &Owner) -> String {
    let session = owner.client().login("");
    let scope = Scope::all().never_expires();
    let issued = session.grants().issue(scope, "everything").await.unwrap();
    issued.grant.save("").await.unwrap().0
}

/// Runs a test body once for each door.
pub(crate) fn each(body: impl AsyncFn(Store)) {
    for door in DOORS {
        through(door, &body);
    }
}

/// Runs a test body with a store of other settings.
pub(crate) fn with_settings(settings: StoreSettings, body: impl AsyncFnOnce(Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { body(Store::open_with(Door::Unix, settings).await).await });
}

/// Runs a test body through one door.
pub(crate) fn through(door: Door, body: &impl AsyncFn(Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { body(Store::open(door).await).await });
}

/// Runs a body with another store, from within a test's own.
pub(crate) async fn through_new(door: Door, body: impl AsyncFnOnce(Store)) {
    body(Store::open(door).await).await;
}

/// Uploads a CAR in chunks of an odd length.
pub(crate) async fn import(session: &Session, car: &[u8]) -> ImportOutcome {
    import_as(session, car, ImportOptions::default()).await
}

pub(crate) async fn import_as(
    session: &Session,
    car: &[u8],
    options: ImportOptions,
) -> ImportOutcome {
    let upload = session.importer().import(options);
    for chunk in car.chunks(10_007) {
        if !upload.write(chunk).await {
            break;
        }
    }
    upload.done().await.unwrap()
}

pub(crate) async fn must_import(session: &Session, car: &[u8]) -> ImportReport {
    match import(session, car).await {
        ImportOutcome::Imported(report) => report,
        other => panic!("{other:?}"),
    }
}
