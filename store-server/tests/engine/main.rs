//! The engine without RPC: revisions, merges, deletions and commits of a [`Store`](carrack_store::Store), against models.

mod ancestors;
mod backups;
mod chains;
mod changes;
mod checks;
mod commits;
mod deletions;
mod guards;
mod merges;
mod opening;
mod query;
mod retention;
mod room;
mod snapshots;
mod verifies;
mod world;
