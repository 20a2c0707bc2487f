//! Carrack's MCP gateway: an agent's tool calls become pipelined calls on a Carrack store.
//!
//! A call goes one way: [`transport`] → [`server`] → `tools` (parse, one flight of RPC) → [`render`] (pure) →
//! [`answer`]. Tools see values, never CBOR; authority is the session that [`connection`] holds.
//!
//! The core knows no threads and no files, so that it builds for WASI; what needs an operating system is behind
//! the features `stdio`, `http` and `embedded`. Nothing here prints to stdout: there, it is the protocol's.

pub mod answer;
pub mod calls;
pub mod cli;
mod completion;
pub mod connection;
#[cfg(all(feature = "embedded", feature = "stdio"))]
mod demo;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "conformance-fixtures")]
mod fixtures;
#[cfg(feature = "stdio")]
mod install;
mod lately;
mod prompts;
mod reference;
pub mod refs;
pub mod render;
mod resources;
mod schema;
pub mod server;
mod source;
mod subscriptions;
mod tools;
pub mod transport;
mod when;
