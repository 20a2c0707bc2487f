//! gRPC by tonic: the same record out of the same store.
//!
//! Messages and service are written by hand, as `protoc` and tonic's generator would have them.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use carrack_schema::{Did, RecordPath};
use carrack_store::Store;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::door::{Listeners, Place, connect};
use super::load::{Getter, Key};

/// A window that holds the largest answer; the default of 64 KiB would make a large read wait.
const WINDOW_BYTES: u32 = 4 << 20;
const PATH: &str = "/carrack.bench.Records/Get";

#[derive(Clone, PartialEq, prost::Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    did: String,
    #[prost(string, tag = "2")]
    collection: String,
    #[prost(string, tag = "3")]
    rkey: String,
}

/// What our own answer says: where it comes from, and the record's bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct GetReply {
    #[prost(string, tag = "1")]
    did: String,
    #[prost(string, tag = "2")]
    rev: String,
    #[prost(bytes = "vec", tag = "3")]
    commit: Vec<u8>,
    #[prost(string, tag = "4")]
    collection: String,
    #[prost(string, tag = "5")]
    rkey: String,
    #[prost(bytes = "vec", tag = "6")]
    value: Vec<u8>,
}

/// The service.
#[derive(Clone)]
struct Records(Arc<Store>);

impl Records {
    fn get(&self, request: GetRequest) -> Result<GetReply> {
        let did: Did = request.did.parse()?;
        let path = RecordPath {
            collection: request.collection.parse()?,
            rkey: request.rkey.parse()?,
        };
        let read = super::read(&self.0, &did, &path)?;
        Ok(GetReply {
            did: request.did,
            rev: read.rev,
            commit: read.commit.as_bytes().to_vec(),
            collection: request.collection,
            rkey: request.rkey,
            value: read.value,
        })
    }
}

/// One call of it.
struct Get(Records);

impl UnaryService<GetRequest> for Get {
    type Response = GetReply;
    type Future = std::future::Ready<Result<Response<GetReply>, Status>>;

    fn call(&mut self, request: Request<GetRequest>) -> Self::Future {
        let reply = self.0.get(request.into_inner());
        ready(
            reply
                .map(Response::new)
                .map_err(|error| Status::internal(error.to_string())),
        )
    }
}

impl NamedService for Records {
    const NAME: &'static str = "carrack.bench.Records";
}

impl tower::Service<http::Request<Body>> for Records {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let codec: ProstCodec<GetReply, GetRequest> = ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec)
                .unary(Get(service), request)
                .await)
        })
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listeners: Listeners, store: Store) -> Result<()> {
    let service = Records(Arc::new(store));
    let server = || {
        Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .add_service(service.clone())
    };
    let unix = futures::stream::unfold(listeners.unix, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let tcp = futures::stream::unfold(listeners.tcp, |listener| async {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        Some((accepted, listener))
    });
    let (unix, tcp) = futures::join!(
        server().serve_with_incoming(unix.boxed()),
        server().serve_with_incoming(tcp.boxed())
    );
    unix.and(tcp)?;
    Ok(())
}

/// A client of it.
pub(crate) struct GrpcClient(Channel);

impl Getter for GrpcClient {
    async fn connect(place: &Place, _keys: Rc<[Key]>) -> Result<Self> {
        let place = place.clone();
        let connector = tower::service_fn(move |_| {
            let place = place.clone();
            async move {
                let stream = connect(&place).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_static("http://peer")
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect_with_connector(connector)
            .await?;
        Ok(Self(channel))
    }

    async fn get(&self, key: &Key, _at: usize, out: &mut Vec<u8>) -> Result<()> {
        let request = GetRequest {
            did: key.did.to_string(),
            collection: key.path.collection.to_string(),
            rkey: key.path.rkey.to_string(),
        };
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.context("the channel is gone")?;
        let codec: ProstCodec<GetRequest, GetReply> = ProstCodec::default();
        let path = http::uri::PathAndQuery::from_static(PATH);
        let reply = client.unary(Request::new(request), path, codec).await?;
        out.extend_from_slice(&reply.into_inner().value);
        Ok(())
    }
}
