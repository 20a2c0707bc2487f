//! The gateway over HTTP, by hand: what is on the wire is what is tested.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use super::{PATIENCE, command, logged, reader, signal, wait};

/// A gateway on HTTP.
pub(crate) struct Http {
    child: Child,
    /// Kept open by those who want to read it.
    log: Option<Mutex<Receiver<String>>>,
    pub(crate) port: u16,
    /// The owner's token for this run, where tokens are asked for.
    pub(crate) owner: String,
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
        Self::asking(data, &[&["--tokenless"], arguments].concat(), level)
    }

    /// Starts a gateway that asks for tokens, and whose log is read.
    pub(crate) fn asking(data: &Path, arguments: &[&str], level: &str) -> Self {
        let mut child = command(data, &[&["--http", "127.0.0.1:0"], arguments].concat())
            .env("CARRACK_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = reader(child.stderr.take().unwrap());
        let (mut line, mut owner) = (String::new(), String::new());
        while !line.starts_with("listening on ") {
            line = log
                .recv_timeout(PATIENCE)
                .expect("it says where it listens");
            if let Some(token) = line.strip_prefix("the owner's token for this run: ") {
                owner = token.to_owned();
            }
        }
        let port = line
            .strip_prefix("listening on http://127.0.0.1:")
            .and_then(|rest| rest.strip_suffix("/mcp"))
            .unwrap_or_else(|| panic!("{line}"))
            .parse()
            .unwrap();
        let log = Some(Mutex::new(log));
        Self {
            child,
            log,
            port,
            owner,
        }
    }

    /// Waits for a line of its log that holds this text.
    pub(crate) fn logged(&self, text: &str) {
        logged(&self.log.as_ref().unwrap().lock().unwrap(), text);
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
        self.request_of(&message.to_string(), headers)
    }

    /// Returns the text of a POST whose body need not be a message.
    pub(crate) fn request_of(&self, body: &str, headers: &[(&str, &str)]) -> String {
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

    /// Sends a message with a token, as a client of 2025-11-25.
    pub(crate) fn post_as(&self, token: &str, method: &str, params: Value) -> Response {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("MCP-Protocol-Version", "2025-11-25"),
            ("Authorization", &bearer),
        ];
        self.post(&message(method, params), &headers)
    }

    /// Calls a tool with a token that is good, and returns the result.
    pub(crate) fn call_as(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let response = self.post_as(token, "tools/call", params);
        assert_eq!(response.status, 200, "{response:?}");
        let answer: Value = serde_json::from_str(&response.body).unwrap();
        answer["result"].clone()
    }

    /// Asks for a page, with these further headers.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.port);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        self.raw(&format!("{head}\r\n"))
    }

    /// Ends it and returns what it logged since it said where it listens.
    pub(crate) fn end_and_log(mut self) -> String {
        let log = self.log.take().unwrap().into_inner().unwrap();
        signal(&self.child, "-TERM");
        assert!(wait(&mut self.child).success());
        log.iter().map(|line| line + "\n").collect()
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

    /// Tells it to end, without waiting for that.
    pub(crate) fn terminate(&self) {
        signal(&self.child, "-TERM");
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        signal(&self.child, "-TERM");
        wait(&mut self.child)
    }
}

impl Response {
    /// Returns the value of a header, which is there once.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut values = self.head.lines().filter_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name}");
        value
    }
}

/// Returns a request of JSON-RPC.
pub(crate) fn message(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
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
