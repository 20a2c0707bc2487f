//! Peers that do not keep the rules, speaking Cap'n Proto by hand.

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use carrack_schema::limits::{CAR_BYTES_MAX, CHUNK_BYTES_MAX, SERVER_MESSAGE_WORDS_MAX};
use carrack_schema::wire::store_capnp as wire;
use futures::AsyncReadExt;
use kit::{Order, RepoSpec};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::door::{self, Door, Store, must_import};

/// Runs a body with a raw connection to a store.
fn raw(body: impl AsyncFn(&Store, wire::session::Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = Store::open(Door::Unix).await;
        let socket = store.folder.path().join("carrack.sock");
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let (input, output) = stream.compat().split();
        let network = VatNetwork::new(input, output, Side::Client, Default::default());
        let mut system = RpcSystem::new(Box::new(network), None);
        let gate: wire::gate::Client = system.bootstrap(Side::Server);
        tokio::task::spawn_local(async move {
            let _ended = system.await;
        });
        let session = gate.login_request().send().pipeline.get_session();
        body(&store, session).await;
        // The store still serves others.
        must_import(
            &store.session,
            &RepoSpec {
                records: 5,
                seed: 71,
                ..RepoSpec::default()
            }
            .build()
            .car(Order::Pds),
        )
        .await;
        store.owner.shutdown();
    });
}

fn sink(session: &wire::session::Client) -> wire::car_sink::Client {
    let importer = session.importer_request().send().pipeline.get_importer();
    importer.import_car_request().send().pipeline.get_sink()
}

async fn write(sink: &wire::car_sink::Client, bytes: &[u8]) -> capnp::Result<()> {
    let mut request = sink.write_request();
    request.get().set_bytes(bytes);
    request.send().await
}

async fn done(sink: &wire::car_sink::Client) -> Result<(), String> {
    sink.done_request()
        .send()
        .promise
        .await
        .map(|_| ())
        .map_err(|error| error.extra)
}

#[test]
fn a_chunk_has_a_longest_length() {
    raw(async |_, session| {
        let fits = sink(&session);
        write(&fits, &vec![0; CHUNK_BYTES_MAX]).await.unwrap();
        assert!(
            done(&fits).await.is_ok(),
            "bytes that are no CAR are a rejection, not a fault"
        );
        let too_long = sink(&session);
        // A streamed call's failure may show on it or on the next call; `done` sees it in any case.
        let _either = write(&too_long, &vec![0; CHUNK_BYTES_MAX + 1]).await;
        let error = done(&too_long).await.unwrap_err();
        assert!(error.contains("limitExceeded: "), "{error}");
    });
}

#[test]
fn a_sink_is_for_one_import() {
    raw(async |store, session| {
        let repo = RepoSpec {
            records: 5,
            seed: 72,
            ..RepoSpec::default()
        }
        .build();
        let sink = sink(&session);
        write(&sink, &repo.car(Order::Pds)).await.unwrap();
        done(&sink).await.unwrap();
        write(&sink, b"more").await.unwrap();
        assert!(done(&sink).await.unwrap_err().contains("invalidArgument: "));
        assert_eq!(store.session.store().stats().await.unwrap().repos, 1);
    });
}

#[test]
fn a_car_that_announces_too_much_is_refused_before_its_first_byte() {
    raw(async |_, session| {
        for (bytes, fits) in [(CAR_BYTES_MAX, true), (CAR_BYTES_MAX + 1, false)] {
            let mut request = sink(&session).expect_size_request();
            request.get().set_bytes(bytes);
            assert_eq!(request.send().promise.await.is_ok(), fits);
        }
    });
}

#[test]
fn a_message_over_the_limit_ends_only_its_own_connection() {
    raw(async |_, session| {
        let store = session.store_request().send().pipeline.get_store();
        let mut request = store.repo_request();
        request
            .get()
            .set_did(&*"x".repeat(SERVER_MESSAGE_WORDS_MAX * 8 + 8));
        let repo = request.send().pipeline.get_repo();
        let error = repo.info_request().send().promise.await.err().unwrap();
        assert!(
            !error.extra.contains("invalidArgument"),
            "it was read: {error}"
        );
        assert!(session.about_request().send().promise.await.is_err());
    });
}

#[test]
fn a_progress_capability_that_fails_does_not_stop_the_import() {
    struct Refuses;
    impl wire::progress::Server for Refuses {}
    raw(async |store, session| {
        let repo = RepoSpec {
            records: 2_000,
            seed: 73,
            ..RepoSpec::default()
        }
        .build();
        let mut request = session
            .importer_request()
            .send()
            .pipeline
            .get_importer()
            .import_car_request();
        request.get().set_progress(new_client(Refuses));
        let sink = request.send().pipeline.get_sink();
        for chunk in repo.car(Order::Pds).chunks(CHUNK_BYTES_MAX) {
            write(&sink, chunk).await.unwrap();
        }
        done(&sink).await.unwrap();
        assert_eq!(store.session.store().stats().await.unwrap().repos, 1);
    });
}

#[test]
fn garbage_on_a_socket_disturbs_nobody() {
    door::through(Door::InProcess, &async |store| {
        use tokio::io::AsyncWriteExt;
        let mut rng = kit::rng::Rng::new(74);
        let socket = store.folder.path().join("carrack.sock");
        for round in 0..60_u64 {
            let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
            let mut bytes: Vec<u8> = (0..rng.below(400)).map(|_| rng.below(256) as u8).collect();
            if round % 2 == 0 {
                // A well-formed frame header around nonsense.
                let words = (bytes.len() / 8) as u32;
                bytes.splice(0..0, [0_u32.to_le_bytes(), words.to_le_bytes()].concat());
            }
            // The server may close while we write.
            let _closed = stream.write_all(&bytes).await;
        }
        assert!(store.session.about().await.is_ok());
        store.owner.shutdown();
    });
}

#[test]
fn a_call_on_something_nobody_handed_out_is_refused() {
    use capnp_futures::serialize;
    use capnp_rpc::rpc_capnp::message;
    door::through(Door::Unix, &async |store| {
        let socket = store.folder.path().join("carrack.sock");
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let (mut input, mut output) = stream.compat().split();
        let mut builder = capnp::message::Builder::new_default();
        let mut call = builder.init_root::<message::Builder<'_>>().init_call();
        call.set_question_id(7);
        call.reborrow().init_target().set_imported_cap(12_345);
        serialize::write_message(&mut output, &builder)
            .await
            .unwrap();
        let options = capnp::message::ReaderOptions::new();
        // Either answer will do: that this call failed, or that the connection is over.
        let reply = serialize::try_read_message(&mut input, options)
            .await
            .unwrap();
        if let Some(reply) = reply {
            let reply = reply
                .get_root::<message::Reader<'_>>()
                .unwrap()
                .which()
                .unwrap();
            assert!(matches!(reply, message::Abort(_) | message::Return(_)));
        }
        assert!(store.session.about().await.is_ok());
        store.owner.shutdown();
    });
}
