//! What a peer sends to a server: messages of the RPC protocol, or anything else.

use std::sync::Arc;
use std::time::Duration;

use capnp_rpc::rpc_capnp::{message, return_};
use carrack_schema::limits::WRITE_SECONDS_MAX;
use carrack_segment::Directory;
use carrack_segment::directory::mem::Mem;
use carrack_store::rpc;
use carrack_store::{Door, Entrance, ImportRequest, Store, SystemClock};
use kit::{Order, RepoSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes on the way each way.
const DUPLEX_BYTES: usize = 1 << 16;
/// Far beyond all deadlines, on a clock that does not wait.
const NEVER: Duration = Duration::from_secs(1_000 * WRITE_SECONDS_MAX);

/// Serves a store of one repo to a peer that says `data`, and then no more.
///
/// - Nothing unwinds out of the RPC library or out of ours.
/// - The connection ends: by the first message that is none, or when the peer has said all.
/// - Another peer is served then.
///
/// # Panics
/// If a property is broken.
pub fn run(data: &[u8]) {
    let store = store();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let service = rpc::Service::new(store.clone(), rpc::Bounds::default());
        serve(&service, data).await;
        let heard = serve(&service, &bootstrap()).await;
        assert!(is_answered(&heard), "another peer is served");
    });
    store.close();
}

/// Serves one peer, and returns what it was told.
async fn serve(service: &rpc::Service, data: &[u8]) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
    // Not through `serve`, which would catch what unwinds.
    let system = service.system(Entrance::new(Door::Owner), theirs);
    let mut disconnect = system.get_disconnector();
    let (mut input, mut output) = tokio::io::split(ours);
    let say = async {
        // It may be cut off in the middle.
        let _cut_off = output.write_all(data).await;
        let _cut_off = output.shutdown().await;
    };
    let mut heard = Vec::new();
    let all = async {
        let (ended, (), read) = tokio::join!(system, say, input.read_to_end(&mut heard));
        let _said = (ended, read);
    };
    let in_time = tokio::time::timeout(NEVER, all).await;
    assert!(in_time.is_ok(), "the connection ends");
    let _disconnected = futures::FutureExt::now_or_never(&mut disconnect);
    heard
}

/// Asks for the bootstrap capability.
fn bootstrap() -> Vec<u8> {
    let mut builder = capnp::message::Builder::new_default();
    let message: message::Builder<'_> = builder.init_root();
    message.init_bootstrap().set_question_id(1);
    capnp::serialize::write_message_to_words(&builder)
}

/// Says whether the first thing that was heard is an answer with results.
fn is_answered(mut heard: &[u8]) -> bool {
    let options = capnp::message::ReaderOptions::new();
    let first = capnp::serialize::read_message(&mut heard, options).expect("a message");
    let message: message::Reader<'_> = first.get_root().expect("a message");
    let Ok(message::Return(Ok(answer))) = message.which() else {
        return false;
    };
    matches!(answer.which(), Ok(return_::Results(Ok(_))))
}

/// Returns a store with one repo, which nobody else has changed.
fn store() -> Store {
    let directory: Arc<dyn Directory> = Arc::new(Mem::new());
    let store = Store::open(directory, Arc::new(SystemClock)).expect("a store");
    let repo = RepoSpec {
        records: 3,
        seed: 7,
        ..RepoSpec::default()
    }
    .build();
    store
        .import(&repo.car(Order::Pds)[..], &ImportRequest::default(), |_| ())
        .expect("a repo");
    store
}
