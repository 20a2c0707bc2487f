//! Drives `carrack-mcp` as a child process. Waits end with what they wait for, or fail after [`PATIENCE`].

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod door;
mod grants;
mod http;
pub(crate) use door::Door;
pub(crate) use grants::{Issuer, reading};
pub(crate) use http::{Http, Response, message};

/// How long an answer may take on a busy machine before a test calls it lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The account of the first sample; it has 12 posts and 23 records.
pub(crate) const ACTOR: &str = "did:plc:rilb2cohzwgttp7xjllpyq2i";
/// The account of the second one.
pub(crate) const FRIEND: &str = "did:plc:4laajcqkrquefjrfvdn5wm6j";

pub(crate) fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sample")
        .join(name)
}

/// A data folder of a test's own.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("cgw").tempdir().unwrap()
}

/// Where the owner of a data folder serves it.
pub(crate) fn address(data: &Path) -> String {
    format!("unix:{}", data.join("carrack.sock").display())
}

/// A gateway without anything of this process's environment that is meant for one.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARRACK_") {
            command.env_remove(name);
        }
    }
    command
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = bare();
    command.arg("--data").arg(data).args(arguments);
    command
}

/// A gateway on stdio, and the agent that talks to it.
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Receiver<String>,
    next_id: u64,
    meta: Option<Value>,
    /// Notifications that came while waiting for answers.
    pub(crate) notes: Vec<Value>,
    /// Every line that went either way.
    pub(crate) transcript: Vec<(char, Value)>,
}

fn reader(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Agent {
    pub(crate) fn spawn(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(data, arguments);
        command.envs(environment.iter().copied());
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            lines: reader(child.stdout.take().unwrap()),
            log: reader(child.stderr.take().unwrap()),
            child,
            next_id: 1,
            meta: None,
            notes: Vec::new(),
            transcript: Vec::new(),
        }
    }

    /// Starts a gateway of a store that listens elsewhere.
    pub(crate) fn to_store(address: &str) -> Self {
        let mut command = bare();
        command.args(["--store", address]);
        let mut gateway = Self::of(command);
        gateway.initialize();
        gateway
    }

    /// Starts a gateway and shakes hands as a client of 2025-11-25 does.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut gateway = Self::spawn(data, arguments, &[]);
        gateway.initialize();
        gateway
    }

    /// Starts a gateway over a store that holds both samples.
    pub(crate) fn with_samples(data: &Path) -> Self {
        let mut gateway = Self::start(data, &[]);
        for name in ["varied.car", "varied-friend.car"] {
            let source = sample(name);
            let result = gateway.call("at_import", json!({ "source": source }));
            assert_ne!(result["isError"], true, "{result}");
        }
        gateway.transcript.clear();
        gateway.next_id = 100;
        gateway
    }

    pub(crate) fn initialize(&mut self) -> Value {
        let answer = self.request("initialize", initialize_params());
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    /// From here on requests carry what a client of 2026-07-28 sends with each.
    pub(crate) fn modern(&mut self) {
        self.meta = Some(modern_meta());
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.transcript.push(('>', message.clone()));
        self.send_line(&message.to_string());
    }

    /// Sends what need not be a message.
    pub(crate) fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Returns the next message; every line on stdout has to be one.
    pub(crate) fn receive(&mut self) -> Value {
        let line = self
            .lines
            .recv_timeout(PATIENCE)
            .expect("the gateway answers");
        let message: Value = serde_json::from_str(&line).expect("stdout carries JSON only");
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        self.transcript.push(('<', message.clone()));
        message
    }

    pub(crate) fn request(&mut self, method: &str, mut params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(meta) = &self.meta {
            let mut all = meta.clone();
            if let Some(own) = params["_meta"].as_object() {
                all.as_object_mut().unwrap().extend(own.clone());
            }
            params["_meta"] = all;
        }
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
            self.notes.push(message);
        }
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        );
        answer
            .get("result")
            .unwrap_or_else(|| panic!("{answer}"))
            .clone()
    }

    /// Returns the text of a call that has to succeed.
    pub(crate) fn text(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{result}");
        text(&result)
    }

    /// Closes stdin and returns what comes after that.
    pub(crate) fn close_and_receive(&mut self) -> Value {
        drop(self.stdin.take());
        self.receive()
    }

    /// Closes stdin, which ends it.
    pub(crate) fn close(&mut self) {
        drop(self.stdin.take());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Closes stdin and returns how the gateway ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.stdin.take());
        wait(&mut self.child)
    }

    /// Waits for the end without closing stdin.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for a line of its log that holds this text.
    pub(crate) fn logged(&self, text: &str) {
        logged(&self.log, text);
    }

    /// Returns what it logged until it ended.
    pub(crate) fn log(&mut self) -> String {
        let mut log = String::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            log.push_str(&line);
            log.push('\n');
        }
        log
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Ended already, or its test failed.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn logged(log: &Receiver<String>, text: &str) {
    while !log.recv_timeout(PATIENCE).expect("it logs").contains(text) {}
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .arg(name)
        .arg(child.id().to_string())
        .status();
    assert!(status.unwrap().success());
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the gateway does not end");
}

pub(crate) fn initialize_params() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "tests", "version": "0" },
    })
}

pub(crate) fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "tests", "version": "0" },
    })
}

/// Returns the text half of a result; beside it there are links to resources only.
pub(crate) fn text(result: &Value) -> String {
    let blocks = result["content"].as_array().unwrap();
    for link in &blocks[1..] {
        assert_eq!(link["type"], "resource_link", "{result}");
    }
    blocks[0]["text"].as_str().unwrap().to_owned()
}

/// Replaces what differs from run to run.
pub(crate) fn redact(text: &str) -> String {
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    let text = text.replace(version, "\"version\":\"VERSION\"");
    let text = after(&text, "imported ", 20, |t| t.ends_with('Z'), "TIME");
    // How well the store packs is its own affair.
    let text = after(&text, "bytes of CAR, ", 0, |_| true, "BYTES");
    let text = after(&text, "bytes in, ", 0, |_| true, "BYTES");
    let text = after(&text, "\"bytesStored\":", 0, |_| true, "BYTES");
    let text = after(&text, "cursor=c1_", 0, |_| true, "CURSOR");
    let text = after(&text, "\"next\":\"c1_", 0, |_| true, "CURSOR");
    after(&text, "\"cursor\":\"c1_", 0, |_| true, "CURSOR")
}

/// Replaces the word after each `mark`, of that length or (0) of URL-safe base64 or grouped digits, if it looks so.
fn after(text: &str, mark: &str, length: usize, looks: fn(&str) -> bool, with: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, found)) = rest.split_once(mark) {
        out.push_str(before);
        out.push_str(mark);
        let word = |c: char| c.is_ascii_alphanumeric() || "_-,".contains(c);
        let end = match length {
            0 => found.find(|c| !word(c)).unwrap_or(found.len()),
            length => length,
        };
        rest = found;
        if let Some(value) = found.get(..end).filter(|value| looks(value)) {
            out.push_str(with);
            rest = &found[value.len()..];
        }
    }
    out.push_str(rest);
    out
}
