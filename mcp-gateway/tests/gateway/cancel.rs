//! Cancelling a call that is under way: both eras, both transports. The log says that the call itself was dropped,
//! which is what aborts the import; that a client no longer waits would not show it.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kit::{Agent, Http, folder, modern_meta};

const BLOCK_BYTES: u32 = 512 << 10;
const BLOCKS: u32 = 128;
const DEBUG: &str = "carrack_gateway=debug";

/// Writes a CAR of 64 MiB whose blocks are sound and whose root never comes: importing it takes a while, and a
/// cancellation at the first percent comes in time however slow the machine is.
pub(crate) fn long_car(path: &Path) {
    let cid = |digest: &[u8]| [&[0x01, 0x71, 0x12, 0x20], digest].concat();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let root = cid(&[7; 32]);
    let header = [
        &b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"[..],
        &root,
        b"\x67version\x01",
    ]
    .concat();
    write_section(&mut file, &[&header]);
    for i in 0..BLOCKS {
        // A DAG-CBOR byte string.
        let mut block = vec![0x5a];
        block.extend(BLOCK_BYTES.to_be_bytes());
        block.extend(i.to_be_bytes());
        block.resize(block.len() - 4 + BLOCK_BYTES as usize, 0);
        let digest = Sha256::digest(&block);
        write_section(&mut file, &[&cid(&digest), &block]);
    }
    file.flush().unwrap();
}

fn write_section(file: &mut impl Write, parts: &[&[u8]]) {
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    while length >= 0x80 {
        file.write_all(&[(length & 0x7f) as u8 | 0x80]).unwrap();
        length >>= 7;
    }
    file.write_all(&[length as u8]).unwrap();
    for part in parts {
        file.write_all(part).unwrap();
    }
}

fn import(source: &Path, mut meta: Value) -> Value {
    meta["progressToken"] = "t".into();
    json!({
        "jsonrpc": "2.0", "id": 77, "method": "tools/call",
        "params": { "name": "at_import", "arguments": { "source": source }, "_meta": meta },
    })
}

#[test]
fn over_stdio_a_cancelled_import_stops() {
    let files = folder();
    let source = files.path().join("long.car");
    long_car(&source);
    for modern in [false, true] {
        let data = folder();
        let mut gateway = Agent::spawn(data.path(), &[], &[("CARRACK_LOG", DEBUG)]);
        let meta = if modern {
            gateway.modern();
            gateway.request("server/discover", json!({}));
            modern_meta()
        } else {
            gateway.initialize();
            json!({})
        };
        gateway.send(&import(&source, meta));
        let note = gateway.receive();
        assert_eq!(note["method"], "notifications/progress", "{note}");
        gateway.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 77 } }));
        gateway.logged("call cancelled");
        assert!(gateway.text("at_overview", json!({})).starts_with("none"));
        let answered = gateway
            .notes
            .iter()
            .any(|note| note["id"] == 77 && note["result"].is_object());
        assert!(!answered, "{:?}", gateway.notes);
    }
}

/// Over HTTP closing the response stream is the cancellation.
#[test]
fn over_http_closing_the_stream_stops_an_import() {
    let files = folder();
    long_car(&files.path().join("long.car"));
    let root = files.path().to_str().unwrap();
    for modern in [false, true] {
        let data = folder();
        let gateway = Http::logging(data.path(), &["--import-root", root], DEBUG);
        let (meta, headers) = if modern {
            let headers = vec![
                ("MCP-Protocol-Version", "2026-07-28"),
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", "at_import"),
            ];
            (modern_meta(), headers)
        } else {
            (json!({}), vec![("MCP-Protocol-Version", "2025-11-25")])
        };
        let request = gateway.request(&import(Path::new("long.car"), meta), &headers);
        let mut stream = BufReader::new(gateway.open(&request));
        let mut line = String::new();
        while !line.contains("notifications/progress") {
            line.clear();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "no progress came");
        }
        drop(stream);
        gateway.logged("call cancelled");
        let answer = gateway.call("at_overview", json!({}));
        assert_eq!(
            answer["result"]["structuredContent"]["repos"], 0,
            "{answer}"
        );
    }
}
