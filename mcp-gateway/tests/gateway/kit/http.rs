//! The gateway over HTTP, by hand: what is on the wire is what is tested.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use super::{PATIENCE, command, logged, reader, signal, wait};

/// A gateway on HTTP.
pub(crate) struct Http {
    child: Child,
    /// Kept open by those who want to read it.
    log: Option<Receiver<String>>,
    pub(crate) port: u16,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Http {
    /// Starts a gateway whose stderr is closed once it has said where it listens, as a launcher may do: what it logs
    /// after that is lost, and no call with it.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut gateway = Self::logging(data, arguments, "warn");
        gateway.log = None;
        gateway
    }

    /// Starts a gateway whose log is read.
    pub(crate) fn logging(data: &Path, arguments: &[&str], level: &str) -> Self {
        let mut child = command(data, &[&["--http", "127.0.0.1:0"], arguments].concat())
            .env("CARRACK_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = reader(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line = log
                .recv_timeout(PATIENCE)
                .expect("it says where it listens");
        }
        let port = line
            .strip_prefix("listening on http://127.0.0.1:")
            .and_then(|rest| rest.strip_suffix("/mcp"))
            .unwrap_or_else(|| panic!("{line}"))
            .parse()
            .unwrap();
        let log = Some(log);
        Self { child, log, port }
    }

    /// Waits for a line of its log that holds this text.
    pub(crate) fn logged(&self, text: &str) {
        logged(self.log.as_ref().unwrap(), text);
    }

    /// Sends a request and returns the connection, from which the answer is still to be read.
    pub(crate) fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends a request as it stands and returns the answer.
    pub(crate) fn raw(&self, request: &str) -> Response {
        let mut reader = BufReader::new(self.open(request));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let body = body(&mut reader, &head.to_lowercase());
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body }
    }

    pub(crate) fn post(&self, message: &Value, headers: &[(&str, &str)]) -> Response {
        self.raw(&self.request(message, headers))
    }

    /// Returns the text of a POST.
    pub(crate) fn request(&self, message: &Value, headers: &[(&str, &str)]) -> String {
        let body = message.to_string();
        let mut head = format!(
            "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
            body.len()
        );
        let host = format!("127.0.0.1:{}", self.port);
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "Host") {
            headers.push(("Host", &host));
        }
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        format!("{head}\r\n{body}")
    }

    /// Calls a tool as a client of 2025-11-25.
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        let message = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments },
        });
        let response = self.post(&message, &[("MCP-Protocol-Version", "2025-11-25")]);
        assert_eq!(response.status, 200, "{response:?}");
        serde_json::from_str(&response.body).unwrap()
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        signal(&self.child, "-TERM");
        wait(&mut self.child)
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Reads a body, which ends where the head says: the connection stays open, since one that the server closes with
/// a request half read may lose the answer.
fn body(reader: &mut impl BufRead, head: &str) -> String {
    let mut body = Vec::new();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if let Some(length) = field("content-length: ") {
        body.resize(length.trim().parse().unwrap(), 0);
        reader.read_exact(&mut body).unwrap();
    } else if field("transfer-encoding: ").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    String::from_utf8(body).unwrap()
}
