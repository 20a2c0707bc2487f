//! MCP over streamable HTTP, without sessions: who is let in, as whom, and how much of it.
//!
//! A request passes `Host` and `Origin`, then shows a token; the grant that it opens is all that the request can reach.
//! Whoever can use the store's own socket is its owner, but a port can be reached by every program of every user of this
//! machine, and by web pages; so the owner, too, shows a token here, which is made for one run and told on stderr.

mod credential;
mod holder;
mod hosts;
mod meter;
mod page;
mod rate;
mod refusal;
mod serving;
mod status;
mod table;
mod taken;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use carrack_client::Error;
use carrack_schema::Code;
use carrack_schema::limits::{HTTP_BODY_BYTES_MAX, HTTP_BODY_SECONDS_MAX};
use futures::StreamExt;
use rmcp::transport::StreamableHttpServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::credential::Credential;
use self::holder::{Holder, Holders, RunToken};
use self::hosts::Hosts;
use self::meter::Meter;
use self::refusal::Refusal;
use crate::connection::Connection;
use crate::server::Policy;

/// How HTTP is served.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names by which the gateway may be called, beside this machine's own.
    pub hosts: Vec<String>,
    /// Web sites whose pages may call it, beside its own.
    pub origins: Vec<String>,
    /// Whether requests without a token have the gateway's own authority.
    pub tokenless: bool,
}

/// A gateway that listens.
pub struct Server {
    listener: TcpListener,
    site: Arc<Site>,
    stop: CancellationToken,
    token: Option<RunToken>,
}

/// What all requests share.
struct Site {
    hosts: Hosts,
    holders: Holders,
    meter: Arc<Meter>,
    tokenless: bool,
}

/// Refuses an address that others could reach, unless they show tokens and it is said by which name they come.
///
/// # Errors
/// `invalidArgument` if so.
pub fn check(address: SocketAddr, options: &Options) -> Result<(), Error> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let why = if options.tokenless {
        "--tokenless makes everyone the owner; leave it out"
    } else if options.hosts.is_empty() {
        "name the host that they call it by with --allowed-host, and put it behind a proxy that speaks TLS"
    } else {
        return Ok(());
    };
    let words = format!(
        "refusing to listen on {address}: it can be reached from other machines; {why}, or use 127.0.0.1:{}",
        address.port()
    );
    Err(Error::new(Code::InvalidArgument, words))
}

impl Server {
    /// Listens, once the store answers.
    ///
    /// # Errors
    /// If the address is refused or taken, an option is wrong, or the store cannot be reached.
    pub async fn open(
        connection: Connection,
        policy: Policy,
        address: SocketAddr,
        options: &Options,
    ) -> Result<Self, Error> {
        check(address, options)?;
        let is_owner = match connection.about().await {
            Ok(about) => about.grant.is_empty(),
            // A store elsewhere, which takes tokens only: then the gateway has no authority of its own.
            Err(error) if error.code() == Code::BadCredential => false,
            Err(error) => return Err(error),
        };
        if options.tokenless && !is_owner {
            let words = "--tokenless needs the store's own socket, or its data folder";
            return Err(Error::new(Code::InvalidArgument, words));
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let next = match error.kind() {
                std::io::ErrorKind::AddrInUse => "; name another port, or 0 for one that is free",
                _ => "",
            };
            let words = format!("cannot listen on {address}: {error}{next}");
            Error::new(Code::Unavailable, words)
        })?;
        let address = listener.local_addr()?;
        let hosts = Hosts::new(address.port(), &options.hosts, &options.origins)?;
        // Where others come to, what is told on stderr is kept in logs: there, the owner makes a grant that maintains.
        let token = match is_owner && address.ip().is_loopback() {
            true => Some(RunToken::new()?),
            false => None,
        };
        let config = config(&hosts);
        let stop = config.cancellation_token.clone();
        let site = Site {
            hosts,
            holders: Holders::new(connection, policy, config, token.as_ref()),
            meter: Arc::default(),
            tokenless: options.tokenless,
        };
        Ok(Self {
            listener,
            site: Arc::new(site),
            stop,
            token,
        })
    }

    /// Returns where it listens.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the token that has the gateway's own authority until it ends.
    pub fn owner_token(&self) -> Option<&str> {
        self.token.as_ref().map(RunToken::text)
    }

    /// Serves until the process is told to end; calls under way get their answers.
    ///
    /// # Errors
    /// If signals cannot be received.
    pub async fn serve(self) -> std::io::Result<()> {
        let end = crate::transport::told_to_end();
        tokio::pin!(end);
        let serving = serving::run(&self.listener, router(self.site.clone()), self.stop.clone());
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut end => ended,
            () = self.site.holders.sweep() => Ok(()),
            () = &mut serving => return Ok(()),
        };
        self.stop.cancel();
        serving.await;
        self.site.holders.close();
        ended
    }
}

fn config(hosts: &Hosts) -> StreamableHttpServerConfig {
    // Checked here again, though nothing comes so far that was not.
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(HTTP_BODY_BYTES_MAX)
        .with_allowed_hosts(hosts.hosts())
        .with_allowed_origins(hosts.origins())
        .enforce_origin_validation()
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(status::status))
        .route("/metrics", get(status::metrics))
        .route("/mcp", any(mcp))
        .route(METADATA, get(metadata))
        .route("/.well-known/oauth-protected-resource/mcp", get(metadata))
        .layer(from_fn_with_state(site.clone(), guard))
        // Whoever watches over the process may call it by any name.
        .route("/healthz", get(async || "ok\n"))
        .layer(from_fn_with_state(site.clone(), count))
        .with_state(site)
}

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// What a grant may allow, by the names that challenges use.
const SCOPES: [&str; 8] = [
    "at:read",
    "at:list",
    "at:prove",
    "at:export",
    "at:import",
    "at:delete",
    "at:grant",
    "at:maintain",
];

/// Counts what was asked for and how that went.
async fn count(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    site.meter.answered(&path, response.status().as_u16());
    response
}

/// Lets in requests by this gateway's names, and answers browsers that ask for another site's page.
async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = site.hosts.check(request.uri(), request.headers()) {
        return refused(refusal, request, false).await;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match (&origin, request.method()) {
        (Some(_), &Method::OPTIONS) => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    if let Some(origin) = origin {
        share(response.headers_mut(), origin);
    }
    response
}

/// Tells a browser that a page of this site may use the answer.
fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    let fields = [
        ("access-control-allow-methods", "GET, POST"),
        (
            "access-control-allow-headers",
            "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name",
        ),
        (
            "access-control-expose-headers",
            "www-authenticate, retry-after",
        ),
        ("access-control-max-age", "600"),
    ];
    for (name, value) in fields {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers.insert("access-control-allow-origin", origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// RFC 9728: what this resource is, for a client that was refused.
async fn metadata(uri: Uri, headers: HeaderMap) -> Response {
    let body = json!({
        "resource": format!("{}/mcp", hosts::base(&uri, &headers)),
        "resource_name": "Carrack",
        "bearer_methods_supported": ["header"],
        "scopes_supported": SCOPES,
    });
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn mcp(State(site): State<Arc<Site>>, request: Request) -> Response {
    let credential = Credential::bearer(request.headers());
    let holder = match site.holder(credential).await {
        Ok(holder) => holder,
        Err(refusal) => return refused(refusal, request, false).await,
    };
    let place = match holder.enter() {
        Ok(place) => place,
        Err(refusal) => return refused(refusal, request, false).await,
    };
    let (mut parts, body) = request.into_parts();
    let metadata = resource(&parts.uri, &parts.headers);
    let time = Duration::from_secs(HTTP_BODY_SECONDS_MAX);
    let body = match whole(body, HTTP_BODY_BYTES_MAX, time).await {
        Ok(body) => body,
        Err(refusal) => return refusal.response(&metadata, false),
    };
    site.meter.took(body.len());
    // Nothing behind this needs the token, so nothing can tell it on.
    parts.headers.remove(AUTHORIZATION);
    let is_json = is_json(&parts.headers);
    let before = holder.connection.answered();
    let request = Request::from_parts(parts, body.clone().into());
    let response = match holder.serve(request).await {
        // What is JSON by its header and no message by its body.
        response if is_json && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            no_message(&body)
        }
        response => response,
    };
    match site.holders.confirm(&holder, before).await {
        Ok(()) => response.map(|body| serving::metered(body, place, site.meter.clone())),
        Err(refusal) => refusal.response(&metadata, false),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/json"))
}

/// Answers a body that is no message of JSON-RPC: it has no id that an answer could name.
fn no_message(body: &[u8]) -> Response {
    let (code, words) = match serde_json::from_slice::<Value>(body) {
        Ok(_) => (
            -32600,
            "the body is not one message of JSON-RPC: an object of jsonrpc, method, params and, for a request, id",
        ),
        Err(_) => (
            -32700,
            "the body is not JSON, or is nested more than 127 deep, or holds a number or an escape that nothing stands for",
        ),
    };
    let error = json!({ "code": code, "message": words });
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": error });
    let headers = [(CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
}

impl Site {
    async fn holder(&self, credential: Credential) -> Result<Arc<Holder>, Refusal> {
        match credential {
            Credential::Token(token) => self.holders.of(&token).await,
            Credential::Malformed => Err(Refusal::BadToken),
            Credential::None if self.tokenless => self.holders.owner().ok_or(Refusal::NoToken),
            Credential::None => Err(Refusal::NoToken),
        }
    }
}

/// Refuses a request once its body is read, as far as it may be long: a connection that is closed with a body half sent
/// loses the answer.
async fn refused(refusal: Refusal, request: Request, is_page: bool) -> Response {
    let metadata = resource(request.uri(), request.headers());
    let mut left = HTTP_BODY_BYTES_MAX;
    let mut body = request.into_body().into_data_stream();
    let drain = async {
        while let Some(Ok(chunk)) = body.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // One that is still not there costs the client its answer, and us no more.
    let _late = tokio::time::timeout(Duration::from_secs(1), drain).await;
    refusal.response(&metadata, is_page)
}

fn resource(uri: &Uri, headers: &HeaderMap) -> String {
    format!("{}{METADATA}/mcp", hosts::base(uri, headers))
}

/// Reads a body.
async fn whole(body: Body, bytes_max: usize, time: Duration) -> Result<Bytes, Refusal> {
    let read = async {
        let mut whole = Vec::new();
        let mut body = body.into_data_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| Refusal::TooSlow)?;
            if whole.len() + chunk.len() > bytes_max {
                return Err(Refusal::TooLong);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(whole))
    };
    tokio::time::timeout(time, read)
        .await
        .unwrap_or(Err(Refusal::TooSlow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_listened_to_with_tokens_and_a_name_only() {
        let (none, named) = (
            Options::default(),
            Options {
                hosts: vec!["example.org".into()],
                ..Options::default()
            },
        );
        let open = Options {
            tokenless: true,
            ..named.clone()
        };
        for (address, fits) in [
            ("127.0.0.1:80", [true, true, true]),
            ("127.9.9.9:80", [true, true, true]),
            ("[::1]:80", [true, true, true]),
            ("0.0.0.0:80", [false, true, false]),
            ("[::]:80", [false, true, false]),
            ("192.168.1.1:80", [false, true, false]),
        ] {
            let check = |options| check(address.parse().unwrap(), options).is_ok();
            assert_eq!(
                [check(&none), check(&named), check(&open)],
                fits,
                "{address}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_as_long_and_as_slow_as_it_may_be() {
        let time = Duration::from_secs(1);
        let read = |text: &'static str| whole(Body::from(text), 3, time);
        assert_eq!(read("abc").await.unwrap(), "abc");
        assert_eq!(read("abcd").await.unwrap_err(), Refusal::TooLong);
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, Error>>());
        assert_eq!(whole(never, 3, time).await.unwrap_err(), Refusal::TooSlow);
    }
}
