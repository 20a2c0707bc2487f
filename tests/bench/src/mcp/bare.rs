//! The floor: an rmcp server with answers at hand, with the transports, the runtime and the settings of our gateway.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::ListenerExt;
use clap::Parser;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    JsonObject, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::net::unix::pipe;

/// Threads of the runtime, as many as our gateway's has.
const WORKERS: usize = 2;

#[derive(Parser)]
struct Options {
    /// JSON: results by the names of tools
    answers: PathBuf,
    /// Serve streamable HTTP there instead of stdin and stdout
    #[arg(long)]
    http: Option<std::net::SocketAddr>,
}

/// Serves until the client has gone.
pub(super) fn main() -> Result<()> {
    let options = Options::parse();
    let answers: HashMap<String, Value> = serde_json::from_reader(File::open(&options.answers)?)?;
    let answers = answers
        .into_iter()
        .map(|(tool, answer)| (tool, result(&answer)));
    let bare = Bare(Arc::new(answers.collect()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        match options.http {
            Some(address) => serve_http(bare, address).await,
            None => serve_stdio(bare).await,
        }
    });
    runtime.shutdown_background();
    served
}

/// Makes a result as our gateway makes its own.
fn result(answer: &Value) -> CallToolResult {
    let text = answer["content"][0]["text"].as_str().unwrap_or_default();
    let mut result = CallToolResult::structured(answer["structuredContent"].clone());
    result.content = vec![ContentBlock::text(text)];
    result
}

async fn serve_stdio(bare: Bare) -> Result<()> {
    // As our gateway waits for its pipes: not on a thread of their own.
    let input = pipe::OpenOptions::new().open_receiver("/proc/self/fd/0")?;
    let output = pipe::OpenOptions::new().open_sender("/proc/self/fd/1")?;
    bare.serve((input, output)).await?.waiting().await?;
    Ok(())
}

async fn serve_http(bare: Bare, address: std::net::SocketAddr) -> Result<()> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(bare.clone()), sessions, config);
    let listener = TcpListener::bind(address).await?;
    crate::note(&format!(
        "listening on http://{}/mcp",
        listener.local_addr()?
    ));
    let listener = listener.tap_io(|stream| {
        // Without it answers wait for acknowledgements; that would show at once.
        let _set = stream.set_nodelay(true);
    });
    let router = Router::new().nest_service("/mcp", service);
    axum::serve(listener, router).await?;
    Ok(())
}

#[derive(Clone)]
struct Bare(Arc<HashMap<String, CallToolResult>>);

impl ServerHandler for Bare {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools();
        ServerConfig::new(capabilities.build())
            .with_server_info(Implementation::new("bare-mcp", env!("CARGO_PKG_VERSION")))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let known = self.0.contains_key(name);
        known.then(|| Tool::new(name.to_owned(), "A constant.", JsonObject::new()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let answer = self.0.get(request.name.as_ref()).context("no such tool");
        let answer = answer.map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        Ok(answer.clone().into())
    }
}
