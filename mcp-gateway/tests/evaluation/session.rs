//! [`Session`]: an agent's session over MCP, and what it costs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tiktoken_rs::CoreBPE;

/// A gateway on stdio, and the client that talks to it.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    id: u64,
}

impl Client {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_carrack-mcp"))
            .arg("--data")
            .arg(data)
            .env_remove("CARRACK_STORE")
            .env_remove("CARRACK_DATA")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut client = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            id: 0,
        };
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "evaluation", "version": "0" },
        });
        client.request("initialize", hello);
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").unwrap();
        self.stdin.flush().unwrap();
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": self.id, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert_ne!(
                self.stdout.read_line(&mut line).unwrap(),
                0,
                "the gateway has ended"
            );
            let mut message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == self.id {
                assert!(message["error"].is_null(), "{message}");
                return message["result"].take();
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Ended already, or its test is over.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// An agent's session.
pub(crate) struct Session {
    client: Client,
    tokenizer: CoreBPE,
    /// The definitions of the tools, as the client got them.
    pub(crate) tools: Vec<Value>,
    /// Of the question that is being asked.
    pub(crate) cost: Cost,
}

/// What the model writes and reads.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) calls: usize,
    /// Tokens of the calls: names and arguments.
    pub(crate) asked: usize,
    /// Tokens of the answers' text.
    pub(crate) read: usize,
    /// Tokens of the answers' structured half, which few clients show to the model.
    pub(crate) structured: usize,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) structured: Value,
    pub(crate) failed: bool,
}

impl Reply {
    /// Returns the first line.
    pub(crate) fn header(&self) -> &str {
        self.text.lines().next().unwrap()
    }

    /// Returns the lines after the first.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &str> {
        self.text.lines().skip(1)
    }
}

impl Session {
    pub(crate) fn start(data: &Path) -> Self {
        let mut client = Client::start(data);
        let list = client.request("tools/list", json!({}));
        let tools = list["tools"].as_array().unwrap().clone();
        let tokenizer = tiktoken_rs::o200k_base().unwrap();
        Self {
            client,
            tokenizer,
            tools,
            cost: Cost::default(),
        }
    }

    pub(crate) fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|known| known["name"] == tool)
    }

    /// Imports an archive, at nobody's cost.
    pub(crate) fn import(&mut self, car: &Path) {
        let reply = self.call("at_import", json!({ "source": car }));
        assert!(!reply.failed, "{}", reply.text);
        self.cost = Cost::default();
    }

    /// Calls a tool.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Reply {
        let asked = format!("{tool} {arguments}");
        let result = self.client.request(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        );
        let blocks = result["content"].as_array().unwrap();
        let reply = Reply {
            text: lines(blocks.iter().filter_map(|block| block["text"].as_str())),
            structured: result["structuredContent"].clone(),
            failed: result["isError"] == true,
        };
        self.cost.calls += 1;
        self.cost.asked += self.tokens(&asked);
        self.cost.read += self.tokens(&reply.text);
        self.cost.structured += self.tokens(&reply.structured.to_string());
        reply
    }

    /// Counts tokens, the same ones on every machine and in every run.
    pub(crate) fn tokens(&self, text: &str) -> usize {
        self.tokenizer.encode_ordinary(&steady(text)).len()
    }
}

fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join("\n")
}

/// Replaces what differs from run to run by something as long: sealed cursors, and where the archives lie.
fn steady(text: &str) -> String {
    const SEALED: &str = "Zk3vQ9xLr7TqWb2Ns8YdHf5JcMu1PaEg";
    let folder = crate::car("mid").parent().unwrap().display().to_string();
    let text = text.replace(&folder, "/srv/archive");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("c1_") {
        let sealed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let length = after.find(|c| !sealed(c)).unwrap_or(after.len());
        out.push_str(before);
        out.push_str("c1_");
        out.extend(SEALED.chars().cycle().take(length));
        rest = &after[length..];
    }
    out + rest
}
