//! The gateway as its callers meet it: the real binary, over stdio and HTTP, in both eras of the protocol.

mod answers;
mod cancel;
mod definitions;
mod errors;
mod http;
mod import;
mod kit;
mod paging;
mod stdio;
mod store;
mod transcript;
