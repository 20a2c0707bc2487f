//! The vocabulary both ends of Carrack speak: names, CIDs, values, limits, error codes, and the Cap'n Proto
//! schemas of the wire and of the disk with their generated code.
//!
//! This crate must never do I/O, read a clock or know a runtime; it builds for WASM. Everything else in the
//! workspace sees it, and it sees nothing of ours.
//!
//! The schemas themselves are in `schema/capnp`; `cargo xtask codegen` turns them into [`wire`].

pub mod cid;
pub mod codes;
pub mod limits;
pub mod names;
pub mod time;
pub mod value;
pub mod wire;

pub use cid::Cid;
pub use codes::Code;
pub use names::{AtUri, Did, Handle, Nsid, RecordKey, RecordPath, Tid};
pub use value::Value;
