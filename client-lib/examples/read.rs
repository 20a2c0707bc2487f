//! Four hops and a read in one round trip: a handle names what was promised, and nothing is sent before it is needed.
//!
//! `cargo run -p carrack-client --example read -- unix:/path/to/carrack.sock`, or without an address.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example talks to a person"
)]

mod common;

use carrack_client::{Body, PageRequest, Range, Want};

#[tokio::main(flavor = "current_thread")]
async fn main() -> carrack_client::Result<()> {
    let demo = common::demo().await?;
    let repo = demo.session.store().repo(&demo.did);

    // These do not depend on each other, so they go out together: one round trip for both.
    let first = PageRequest {
        limit: 1,
        ..PageRequest::default()
    };
    let listing = repo.list(Range::default(), Want::default());
    let (info, page) = tokio::join!(repo.info(), listing.page(first));
    let (info, page) = (info??, page??);
    println!(
        "{}: {} records, {}",
        info.source.did,
        info.records,
        info.source.verdict.words()
    );

    let Some(record) = page.records.first() else {
        println!("no records");
        return Ok(());
    };
    // From the session to the record's value: `store`, `repo`, `collection`, `record` and `read` in one flight.
    let store = demo.session.store();
    let (source, data) = store
        .repo(&demo.did)
        .collection(&record.collection)
        .record(&record.rkey)
        .read(Want::value().with_cid())
        .await??;
    println!(
        "{}/{} at {} is {}",
        record.collection,
        record.rkey,
        source.rev,
        data.cid.map(|cid| cid.to_string()).unwrap_or_default()
    );
    if let Body::Value(value) = data.body {
        println!("{value:?}");
    }
    Ok(())
}
