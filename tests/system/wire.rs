//! A raw connection to a store: the generated types of the schema, as any other Cap'n Proto client has them.

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use carrack_schema::Code;
use carrack_schema::wire::grant_capnp::{grant, scope, selection};
use carrack_schema::wire::store_capnp::{byte_sink, car_sink, gate, session};
use futures::AsyncReadExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::door::{Door, Store};

/// Runs a body on a runtime that raw connections can be made on, with a new store.
pub(crate) fn with_store(body: impl AsyncFnOnce(Store)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        body(Store::open(Door::Unix).await).await;
    });
}

/// Connects to a store's unix socket.
pub(crate) async fn connect(store: &Store) -> gate::Client {
    let socket = store.folder.path().join("carrack.sock");
    over(tokio::net::UnixStream::connect(socket).await.unwrap())
}

/// Returns the bootstrap of a connection.
pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + 'static) -> gate::Client {
    let (input, output) = stream.compat().split();
    let network = VatNetwork::new(input, output, Side::Client, Default::default());
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate = system.bootstrap(Side::Server);
    tokio::task::spawn_local(async move {
        let _ended = system.await;
    });
    gate
}

/// Returns the session of the store's owner.
pub(crate) fn owner(gate: &gate::Client) -> session::Client {
    gate.login_request().send().pipeline.get_session()
}

/// Returns the code of an error that came over the wire.
pub(crate) fn code(error: &capnp::Error) -> Code {
    // The library puts `remote exception: ` in front.
    let text = error.extra.rsplit_once("remote exception: ");
    Code::split(text.map_or(error.extra.as_str(), |(_, text)| text)).0
}

/// Which DIDs or NSIDs a scope allows.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    Only(Vec<String>),
    All,
}

/// What a grant allows; the rest as much as the issuer may.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub(crate) repos: Names,
    pub(crate) collections: Names,
    /// Names of operations that are left out.
    pub(crate) but: Vec<&'static str>,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            repos: Names::All,
            collections: Names::All,
            but: Vec::new(),
        }
    }
}

pub(crate) fn names(names: &[&str]) -> Names {
    Names::Only(names.iter().map(|&name| name.to_owned()).collect())
}

fn select(wire: selection::Builder<'_>, names: &Names) {
    let mut wire = wire;
    match names {
        Names::All => wire.set_all(()),
        Names::Only(names) => {
            let mut list = wire.init_only(names.len() as u32);
            for (i, name) in (0..).zip(names) {
                list.set(i, name.as_str());
            }
        }
    }
}

pub(crate) fn fill(mut wire: scope::Builder<'_>, allowed: &Allowed) {
    select(wire.reborrow().init_repos(), &allowed.repos);
    select(wire.reborrow().init_collections(), &allowed.collections);
    let mut calls = wire.reborrow().init_calls();
    calls.reborrow().init_total().set_unlimited(());
    calls.init_per_second().set_unlimited(());
    let mut bytes = wire.reborrow().init_bytes();
    bytes.reborrow().init_total().set_unlimited(());
    bytes.init_per_second().set_unlimited(());
    wire.set_expires(i64::MAX);
    let may = |operation: &str| !allowed.but.contains(&operation);
    let mut wire = wire.init_may();
    wire.set_read(may("read"));
    wire.set_list(may("list"));
    wire.set_search(may("search"));
    wire.set_blobs(may("blobs"));
    wire.set_prove(may("prove"));
    wire.set_export(may("export"));
    wire.set_import(may("import"));
    wire.set_delete(may("delete"));
    wire.set_grant(may("grant"));
    wire.set_maintain(may("maintain"));
}

/// Makes a grant from a session.
pub(crate) async fn issue(
    session: &session::Client,
    allowed: &Allowed,
    label: &str,
) -> capnp::Result<(session::Client, grant::Client)> {
    let grants = session.grants_request().send().pipeline.get_grants();
    let mut request = grants.issue_request();
    fill(request.get().init_scope(), allowed);
    request.get().set_label(label);
    let issued = request.send().promise.await?;
    let issued = issued.get()?;
    Ok((issued.get_session()?, issued.get_grant()?))
}

/// Returns a sink for an import.
pub(crate) fn car_sink(session: &session::Client) -> car_sink::Client {
    let importer = session.importer_request().send().pipeline.get_importer();
    importer.import_car_request().send().pipeline.get_sink()
}

/// Writes a CAR into a sink in chunks.
pub(crate) async fn upload(sink: &car_sink::Client, car: &[u8]) -> capnp::Result<()> {
    for chunk in car.chunks(64 << 10) {
        let mut request = sink.write_request();
        request.get().set_bytes(chunk);
        request.send().await?;
    }
    Ok(())
}

/// Takes an export and counts it.
pub(crate) struct Counting(pub(crate) std::rc::Rc<std::cell::Cell<usize>>);

impl byte_sink::Server for Counting {
    async fn write(self: std::rc::Rc<Self>, params: byte_sink::WriteParams) -> capnp::Result<()> {
        self.0.set(self.0.get() + params.get()?.get_bytes()?.len());
        Ok(())
    }

    async fn done(
        self: std::rc::Rc<Self>,
        _params: byte_sink::DoneParams,
        _results: byte_sink::DoneResults,
    ) -> capnp::Result<()> {
        Ok(())
    }
}
