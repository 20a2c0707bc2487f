//! A plain client: lines of JSON over pipes, or HTTP/1.1 by hand; it parses nothing while it is timed.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::process::Server;

/// Which of the two eras of the protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Era {
    /// It shakes hands.
    Sessions,
    /// Every request says who asks.
    Stateless,
}

impl Era {
    pub(crate) const ALL: [Self; 2] = [Self::Sessions, Self::Stateless];

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Sessions => "2025-11-25",
            Self::Stateless => "2026-07-28",
        }
    }
}

/// A tool call, but for its id.
pub(super) struct Request {
    tool: &'static str,
    params: String,
    era: Era,
}

impl Request {
    pub(super) fn new(era: Era, tool: &'static str, arguments: Value) -> Self {
        let mut params = json!({ "name": tool, "arguments": arguments });
        if era == Era::Stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": era.version(),
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "0" },
            });
        }
        Self {
            tool,
            params: params.to_string(),
            era,
        }
    }

    fn body(&self, id: u64) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{}}}"#,
            self.params
        )
    }
}

/// Calls of one server, each answered before the next.
pub(super) struct Calls {
    server: Rc<Server>,
    wire: Wire,
    /// As wide in every message, so that answers are of one length.
    id: u64,
    answer: Vec<u8>,
}

enum Wire {
    Stdio {
        input: std::process::ChildStdin,
        output: std::io::BufReader<std::process::ChildStdout>,
    },
    Http {
        stream: TcpStream,
        address: SocketAddr,
        tokens: Vec<String>,
    },
}

/// Requests with one token before the next one is shown.
const REQUESTS_A_TOKEN: u64 = 50;

impl Calls {
    /// Shakes hands where the era has it.
    pub(super) fn over_stdio(mut server: Server, era: Era) -> Result<Self> {
        let input = server.stdin.take().context("no stdin")?;
        let output = server.stdout.take().context("no stdout")?;
        let mut calls = Self::of(Rc::new(server), Wire::Stdio { input, output });
        if era == Era::Sessions {
            let params = json!({
                "protocolVersion": era.version(),
                "capabilities": {},
                "clientInfo": { "name": "bench", "version": "0" },
            });
            let hello =
                json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
            calls.exchange(format!("{hello}\n").as_bytes())?;
            let done = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
            if let Wire::Stdio { input, .. } = &mut calls.wire {
                writeln!(input, "{done}")?;
            }
        }
        Ok(calls)
    }

    /// Connects; requests show the tokens, if there are any, one after the other.
    pub(super) fn over_http(server: Rc<Server>, tokens: &[String]) -> Result<Self> {
        let address = server.address.context("no port")?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let tokens = tokens.to_vec();
        let wire = Wire::Http {
            stream,
            address,
            tokens,
        };
        Ok(Self::of(server, wire))
    }

    fn of(server: Rc<Server>, wire: Wire) -> Self {
        Self {
            server,
            wire,
            id: 1_000_000,
            answer: Vec::new(),
        }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Makes a call and returns the JSON of its answer.
    pub(super) fn call(&mut self, request: &Request) -> Result<&[u8]> {
        let message = self.next(request);
        self.exchange(&message)
    }

    /// Returns the bytes of the next call.
    pub(super) fn next(&mut self, request: &Request) -> Vec<u8> {
        self.id += 1;
        let body = request.body(self.id);
        match &self.wire {
            Wire::Stdio { .. } => (body + "\n").into_bytes(),
            Wire::Http {
                address, tokens, ..
            } => {
                let mut head = format!(
                    "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                     Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\nContent-Length: {}\r\n",
                    request.era.version(),
                    body.len()
                );
                if request.era == Era::Stateless {
                    head += &format!("Mcp-Method: tools/call\r\nMcp-Name: {}\r\n", request.tool);
                }
                let turn = (self.id / REQUESTS_A_TOKEN) as usize;
                if let Some(token) = tokens.get(turn % tokens.len().max(1)) {
                    head += &format!("Authorization: Bearer {token}\r\n");
                }
                (head + "\r\n" + &body).into_bytes()
            }
        }
    }

    /// Sends a message and returns the JSON of its answer.
    pub(super) fn exchange(&mut self, message: &[u8]) -> Result<&[u8]> {
        self.answer.clear();
        match &mut self.wire {
            Wire::Stdio { input, output } => {
                input.write_all(message)?;
                output.read_until(b'\n', &mut self.answer)?;
                ensure!(self.answer.ends_with(b"\n"), "the server has gone");
                Ok(&self.answer)
            }
            Wire::Http { stream, .. } => {
                stream.write_all(message)?;
                let body = receive(stream, &mut self.answer)?;
                Ok(&self.answer[body..])
            }
        }
    }
}

/// Reads one HTTP answer and returns where its body begins.
fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<usize> {
    let mut end = None;
    let mut piece = [0; 64 << 10];
    loop {
        if end.is_none()
            && let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&answer[..at])?;
            ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
            end = Some((at + 4, at + 4 + content_length(head)?));
        }
        if let Some((start, end)) = end
            && answer.len() >= end
        {
            return Ok(start);
        }
        let count = stream.read(&mut piece)?;
        ensure!(count > 0, "the server has gone");
        answer.extend_from_slice(&piece[..count]);
    }
}

fn content_length(head: &str) -> Result<usize> {
    let lengths = head.lines().filter_map(|line| line.split_once(": "));
    let length = lengths
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.parse())
        .next();
    Ok(length.context("an answer in chunks")??)
}
