//! Connections: how many, what they may take, and how they end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use carrack_schema::limits::{
    HTTP_CONNECTIONS_MAX, HTTP_GOODBYE_SECONDS_MAX, HTTP_HEAD_SECONDS_MAX, HTTP_WRITE_SECONDS_MAX,
};
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::holder::Place;
use super::meter::Meter;
use super::taken::Taken;

/// What connections may take.
struct Bounds {
    connections: usize,
    head: Duration,
    write: Duration,
    goodbye: Duration,
}

/// Serves until `stop`; answers under way are given, for some time.
pub(super) async fn run(listener: &TcpListener, router: Router, stop: CancellationToken) {
    let bounds = Bounds {
        connections: HTTP_CONNECTIONS_MAX,
        head: Duration::from_secs(HTTP_HEAD_SECONDS_MAX),
        write: Duration::from_secs(HTTP_WRITE_SECONDS_MAX),
        goodbye: Duration::from_secs(HTTP_GOODBYE_SECONDS_MAX),
    };
    serve(listener, router, stop, &bounds).await;
}

async fn serve(listener: &TcpListener, router: Router, stop: CancellationToken, bounds: &Bounds) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let graceful = GracefulShutdown::new();
    let accepting = async {
        // Never closed; whoever comes beyond it waits in the listener's own queue.
        while let Ok(place) = places.clone().acquire_owned().await {
            let stream = Taken::new(accept(listener).await, bounds.write);
            let service = TowerToHyperService::new(router.clone());
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
    if tokio::time::timeout(bounds.goodbye, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("a client does not take its answer; ending without it");
    }
}

/// Returns the next connection. Nagle's algorithm is off: with it, an answer in two parts waits for the client's delayed
/// acknowledgement, 44 ms each.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return stream,
            Err(error) if is_the_peers(&error) => tracing::debug!(%error, "a connection was lost"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of descriptors, most likely: those in use end sooner or later.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput
    )
}

/// Returns the body of an answer, which is charged to whoever asked and keeps their place until it is given.
pub(super) fn metered(body: Body, place: Place, meter: Arc<Meter>) -> Body {
    Body::new(Metered { body, place, meter })
}

struct Metered {
    body: Body,
    place: Place,
    meter: Arc<Meter>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.place.charge(bytes);
            self.meter.gave(bytes);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 1,
        head: Duration::from_millis(50),
        write: Duration::from_millis(50),
        goodbye: Duration::from_millis(50),
    };

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn accepted_connections_have_nodelay() {
        let (listener, address) = listener().await;
        let (client, served) = futures::join!(TcpStream::connect(address), accept(&listener));
        assert!(served.nodelay().unwrap());
        drop(client);
    }

    /// Asks as another client, and sees that it is answered.
    async fn is_served(address: std::net::SocketAddr) {
        let mut next = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        next.write_all(request).await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// The first takes the only place and sends half a head; the second is served once that has taken too long.
    #[tokio::test]
    async fn whoever_sends_no_head_makes_room() {
        let (listener, address) = listener().await;
        let router = Router::new().route("/", get(async || "ok"));
        let stop = CancellationToken::new();
        let clients = async {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
            is_served(address).await;
            stop.cancel();
        };
        futures::join!(serve(&listener, router, stop.clone(), &BOUNDS), clients);
    }

    /// The first has the only place and takes nothing of its answer; the second is served once that has taken too long.
    #[tokio::test]
    async fn whoever_takes_no_answer_makes_room() {
        let (listener, address) = listener().await;
        let huge = || Body::from(vec![b'x'; 64 << 20]);
        let router = Router::new()
            .route("/huge", get(async move || huge()))
            .route("/", get(async || "ok"));
        let stop = CancellationToken::new();
        let clients = async {
            let mut deaf = TcpStream::connect(address).await.unwrap();
            deaf.write_all(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            is_served(address).await;
            stop.cancel();
            drop(deaf);
        };
        futures::join!(serve(&listener, router, stop.clone(), &BOUNDS), clients);
    }

    /// A request that is never answered does not keep the gateway from ending.
    #[tokio::test]
    async fn goodbye_is_not_for_ever() {
        let (listener, address) = listener().await;
        let stop = CancellationToken::new();
        let told = stop.clone();
        let stuck = move || {
            told.cancel();
            std::future::pending::<&'static str>()
        };
        let router = Router::new().route("/", get(stuck));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        serve(&listener, router, stop, &BOUNDS).await;
    }
}
