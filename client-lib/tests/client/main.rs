//! The client against real stores: what it does when a connection is lost, TLS, streams.

mod gone;
mod kit;
mod permits;
mod restart;
mod streams;
mod tls;
