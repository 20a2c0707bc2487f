//! The gateway as its callers meet it: the real binary, over stdio and HTTP, in both eras of the protocol.

mod answers;
mod cancel;
mod definitions;
mod errors;
mod export;
mod grants;
mod handles;
mod hostile;
mod http;
mod import;
mod install;
mod kit;
mod limits;
mod paging;
mod prompts;
mod quoting;
mod reference;
mod resources;
mod revisions;
mod status;
mod stdio;
mod store;
mod subscriptions;
mod tokens;
mod tools;
mod transcript;
