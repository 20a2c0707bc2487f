//! A listing as a stream: records come one by one, and a page at a time is held.
//!
//! `cargo run -p carrack-client --example list -- unix:/path/to/carrack.sock`, or without an address.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

mod common;

use std::collections::BTreeMap;

use carrack_client::{Range, Want};
use futures::TryStreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> carrack_client::Result<()> {
    let demo = common::demo().await?;
    let repo = demo.session.store().repo(&demo.did);

    // Nothing is wanted but the keys, so the store reads and sends nothing else.
    let records = repo.list(Range::default(), Want::default()).records(None);
    let mut records = std::pin::pin!(records);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(record) = records.try_next().await? {
        *counts.entry(record.collection).or_default() += 1;
    }
    for (collection, count) in counts {
        println!("{count:>8}  {collection}");
    }
    Ok(())
}
