//! A part of one's authority for a helper: one repo, two operations, a thousand calls, ten minutes; watched, then taken
//! back.
//!
//! `cargo run -p carrack-client --example grant -- unix:/path/to/carrack.sock`, or without an address.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

mod common;

use std::time::Duration;

use carrack_client::{Client, Scope, Want};

#[tokio::main(flavor = "current_thread")]
async fn main() -> carrack_client::Result<()> {
    let demo = common::demo().await?;
    let scope = Scope::none()
        .repo(&demo.did)
        .all_collections()
        .read()
        .list()
        .calls(1_000)
        .bytes(10 << 20)
        .expires_in(Duration::from_secs(600));
    let issued = demo.session.grants().issue(scope, "a helper").await?;

    // The token is all that the helper gets; it may be on another machine.
    let (token, _) = issued.grant.save("the helper's").await?;
    helper(&demo.client, &token, &demo.did).await?;

    let info = issued.grant.info().await?;
    println!(
        "the helper made {} calls and read {} bytes; {} were refused",
        info.usage.calls, info.usage.bytes, info.usage.refused
    );
    println!("{} taken back", issued.grant.revoke().await?);
    if let Err(error) = helper(&demo.client, &token, &demo.did).await {
        println!(
            "the helper now hears: {error}; it should {}",
            error.advice()
        );
    }
    Ok(())
}

/// What a helper does with a token.
async fn helper(client: &Client, token: &str, did: &str) -> carrack_client::Result<()> {
    let session = client.restore(token);
    let repo = session.store().repo(did);
    println!("the helper sees {} records", repo.info().await??.records);
    let page = repo
        .list(carrack_client::Range::default(), Want::value())
        .page(carrack_client::PageRequest::default())
        .await??;
    println!("and reads {} of them", page.records.len());
    // Outside of what it was given.
    match session.keeper().delete(did, None, false).await {
        Ok(_) => println!("it deleted the repo!"),
        Err(error) => println!("it may not delete: {error}"),
    }
    Ok(())
}
