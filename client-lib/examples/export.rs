//! An export into a file: bytes come as a stream, no faster than they are written.
//!
//! `cargo run -p carrack-client --example export -- unix:/path/to/carrack.sock out.car`, or without an address.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

mod common;

use std::io::Write;

use futures::TryStreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> carrack_client::Result<()> {
    let demo = common::demo().await?;
    let path = match std::env::args().nth(2) {
        Some(path) => path.into(),
        None => std::env::temp_dir().join("carrack-export.car"),
    };
    let mut file = std::fs::File::create(&path)?;
    let mut export = demo.session.store().repo(&demo.did).export();
    while let Some(bytes) = export.try_next().await? {
        file.write_all(&bytes)?;
    }
    // Only this says that it was all of it.
    let report = export.done().await??;
    file.sync_all()?;
    println!(
        "{} at {}: {} bytes in {}",
        report.source.did,
        report.source.rev,
        report.bytes,
        path.display()
    );
    Ok(())
}
