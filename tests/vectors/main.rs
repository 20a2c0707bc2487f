//! Interop vectors: what the protocol's authors and others published for every implementation to agree with.
//!
//! Small ones live in `tests/fixtures/interop` and always run. Large ones, and those that are people's data, are read
//! beside the project; where they are not there the tests say so. Each family prints its counts to stderr: how many
//! vectors passed, and how many do not apply, with the reason. A vector that is neither fails its family.

mod blocks;
mod cbor;
mod commit_proofs;
mod containers;
mod crypto;
mod data_model;
mod did_documents;
mod firehose;
mod json;
mod mst;
mod places;
mod suite;
mod syntax;
mod tally;
