//! What is fuzzed: one function a target, each with the properties it asserts.
//!
//! libFuzzer calls them through `fuzz_targets/`; on stable Rust `tests/fuzz_replay` includes this very file and runs
//! them on the corpora. They take any bytes, must be deterministic, and panic only when a property is broken.

pub mod blocks;
pub mod car;
pub mod cbor;
pub mod commit;
pub mod did_document;
pub mod keys;
pub mod mst;
pub mod names;
pub mod oracle;
pub mod pack;
#[path = "../../hostile/peer.rs"]
#[expect(dead_code, reason = "not all of it is of use here")]
pub(crate) mod peer;
pub mod plan;
pub mod proof;
pub mod rpc_bytes;
pub mod segment;
pub mod value;
pub mod wire;
