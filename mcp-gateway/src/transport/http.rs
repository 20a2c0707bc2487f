//! MCP over streamable HTTP, without sessions, on loopback only.
//!
//! Nothing asks callers for a token yet, so whoever reaches the port may do all that the gateway may: hence loopback
//! addresses only, and a check of `Host` and `Origin` against web pages that try to reach it through a browser.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use axum::serve::{Listener, ListenerExt};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};

use crate::server::Gateway;
use crate::transport::told_to_end;

/// Refuses an address that others could reach.
///
/// # Errors
/// If it is not a loopback address.
pub fn check(address: SocketAddr) -> io::Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let words = format!(
        "refusing to listen on {address}: it can be reached from other machines, and callers are not asked for a token \
         yet; use 127.0.0.1:{} (behind a proxy that authenticates, if others need it)",
        address.port()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}

/// Listens on a loopback address.
///
/// # Errors
/// If it is none, or is taken.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    check(address)?;
    TcpListener::bind(address).await
}

/// Serves until the process is told to end; calls under way get their answers.
///
/// # Errors
/// If signals or connections cannot be received.
pub async fn serve(gateway: Gateway, listener: TcpListener) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    let config = config(port);
    let stop = config.cancellation_token.clone();
    let service = StreamableHttpService::new(
        move || Ok(gateway.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .nest_service("/mcp", service);
    axum::serve(nodelay(listener), router)
        .with_graceful_shutdown(async move {
            if let Err(error) = told_to_end().await {
                tracing::error!(%error, "signals cannot be received");
            }
            stop.cancel();
        })
        .await
}

/// Turns Nagle's algorithm off on every connection: with it, an answer in two parts waits for the client's delayed
/// acknowledgement, 44 ms each.
fn nodelay(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    })
}

fn config(port: u16) -> StreamableHttpServerConfig {
    let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
    let origins = hosts.clone().map(|host| format!("http://{host}"));
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(hosts)
        .with_allowed_origins(origins)
        .enforce_origin_validation()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_have_nodelay() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = nodelay(listener);
        let (client, (served, _)) = futures::join!(TcpStream::connect(address), listener.accept());
        assert!(served.nodelay().unwrap());
        drop(client);
    }

    #[test]
    fn only_loopback_is_listened_on() {
        for (address, fits) in [
            ("127.0.0.1:80", true),
            ("127.9.9.9:80", true),
            ("[::1]:80", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("192.168.1.1:80", false),
        ] {
            assert_eq!(check(address.parse().unwrap()).is_ok(), fits, "{address}");
        }
    }
}
