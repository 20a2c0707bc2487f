//! The floor: capnp-rpc with nothing behind it, on buffers and a runtime like those of our server.

use std::rc::Rc;

use anyhow::Result;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client};
use carrack_schema::limits::CLIENT_MESSAGE_WORDS_MAX;
use futures::io::{AsyncReadExt, BufReader, BufWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::door::{Listeners, Place, connect};
use super::echo_capnp::echo;
use super::load::{Getter, Key};
use super::{BUFFER_BYTES, PAYLOAD_BYTES_MAX};

struct Echo {
    bytes: Vec<u8>,
}

impl echo::Server for Echo {
    async fn get(
        self: Rc<Self>,
        params: echo::GetParams,
        mut results: echo::GetResults,
    ) -> capnp::Result<()> {
        let key = params.get()?.get_key()?.to_str()?;
        let length: Option<usize> = key.parse().ok();
        let Some(bytes) = length.and_then(|length| self.bytes.get(..length)) else {
            return Err(capnp::Error::failed("not a length".into()));
        };
        results.get().set_bytes(bytes);
        Ok(())
    }
}

/// Makes an RPC system with the buffers that our server and our client have.
pub(crate) fn system(
    stream: impl AsyncRead + AsyncWrite + 'static,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
) -> RpcSystem<Side> {
    let (input, output) = stream.compat().split();
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(CLIENT_MESSAGE_WORDS_MAX));
    let network = VatNetwork::new(
        BufReader::with_capacity(BUFFER_BYTES, input),
        BufWriter::with_capacity(BUFFER_BYTES, output),
        side,
        options,
    );
    RpcSystem::new(Box::new(network), bootstrap)
}

/// Serves until the process ends; poll it on a `LocalSet`.
pub(crate) async fn serve(listeners: Listeners) -> Result<()> {
    let bytes = vec![b'e'; PAYLOAD_BYTES_MAX];
    let echo: echo::Client = new_client(Echo { bytes });
    let unix = async {
        loop {
            let (stream, _) = listeners.unix.accept().await?;
            drop(tokio::task::spawn_local(system(
                stream,
                Side::Server,
                Some(echo.client.clone()),
            )));
        }
    };
    let tcp = async {
        loop {
            let (stream, _) = listeners.tcp.accept().await?;
            stream.set_nodelay(true)?;
            drop(tokio::task::spawn_local(system(
                stream,
                Side::Server,
                Some(echo.client.clone()),
            )));
        }
    };
    let (unix, tcp): (Result<()>, Result<()>) = futures::join!(unix, tcp);
    unix.and(tcp)
}

/// A client of it.
pub(crate) struct EchoClient(echo::Client);

impl Getter for EchoClient {
    async fn connect(place: &Place, _keys: Rc<[Key]>) -> Result<Self> {
        let mut system = system(connect(place).await?, Side::Client, None);
        let echo = system.bootstrap(Side::Server);
        drop(tokio::task::spawn_local(system));
        Ok(Self(echo))
    }

    async fn get(&self, key: &Key, _at: usize, out: &mut Vec<u8>) -> Result<()> {
        let mut request = self.0.get_request();
        // As long as the record key that the others send.
        let width = key.path.rkey.as_str().len();
        request
            .get()
            .set_key(format!("{:0width$}", key.value.len()));
        let reply = request.send().promise.await?;
        out.extend_from_slice(reply.get()?.get_bytes()?);
        Ok(())
    }

    fn check(key: &Key, out: &[u8]) -> Result<bool> {
        Ok(out.len() == key.value.len())
    }
}
