//! [`Door`]: the same requests over both transports, in both eras.

use std::path::Path;

use serde_json::{Value, json};

use super::{Agent, Http, modern_meta};

/// A gateway that answers requests, however they are carried.
pub(crate) enum Door {
    Stdio(Box<Agent>),
    Http { gateway: Http, is_modern: bool },
}

impl Door {
    /// Opens all doors to a folder, one after the other.
    pub(crate) fn each(data: &Path, mut test: impl FnMut(&mut Self, bool)) {
        for is_modern in [false, true] {
            let mut agent = Agent::spawn(data, &[], &[]);
            if is_modern {
                agent.modern();
                agent.request("server/discover", json!({}));
            } else {
                agent.initialize();
            }
            test(&mut Self::Stdio(Box::new(agent)), is_modern);
            let gateway = Http::start(data, &[]);
            test(&mut Self::Http { gateway, is_modern }, is_modern);
        }
    }

    /// Returns the answer without its id and without what only the newer era says.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let mut answer = match self {
            Self::Stdio(agent) => agent.request(method, params),
            Self::Http { gateway, is_modern } => over_http(gateway, *is_modern, method, params),
        };
        let answer = answer.as_object_mut().unwrap();
        answer.shift_remove("id");
        answer.shift_remove("jsonrpc");
        if let Some(result) = answer.get_mut("result").and_then(Value::as_object_mut) {
            result.shift_remove("resultType");
            if let Some(meta) = result.get_mut("_meta").and_then(Value::as_object_mut) {
                meta.shift_remove("io.modelcontextprotocol/serverInfo");
                if meta.is_empty() {
                    result.shift_remove("_meta");
                }
            }
        }
        Value::Object(answer.clone())
    }
}

fn over_http(gateway: &Http, is_modern: bool, method: &str, mut params: Value) -> Value {
    let version = if is_modern {
        "2026-07-28"
    } else {
        "2025-11-25"
    };
    let mut headers = vec![("MCP-Protocol-Version", version)];
    let name = params["name"].as_str().or(params["uri"].as_str());
    let name = name.map(str::to_owned);
    if is_modern {
        params["_meta"] = modern_meta();
        headers.push(("Mcp-Method", method));
        headers.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
    }
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let response = gateway.post(&message, &headers);
    serde_json::from_str(&response.body).unwrap_or_else(|_| panic!("{response:?}"))
}
