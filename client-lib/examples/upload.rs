//! An upload with progress: write as fast as the store takes it, and look at how far it is meanwhile.
//!
//! `cargo run -p carrack-client --example upload -- unix:/path/to/carrack.sock repo.car`; without a file a made-up repo
//! is uploaded, without an address into a store of the example's own.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

mod common;

use carrack_client::{ImportOptions, ImportOutcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> carrack_client::Result<()> {
    let demo = common::demo().await?;
    let car = match std::env::args().nth(2) {
        Some(file) => std::fs::read(file)?,
        None => common::made_up(2).car(kit::Order::Pds),
    };
    let upload = demo.session.importer().import(ImportOptions {
        size: Some(car.len() as u64),
        ..ImportOptions::default()
    });

    let mut progress = upload.progress();
    let write = async {
        for chunk in car.chunks(64 << 10) {
            // False: the store needs no more of it, and `done` will say why.
            if !upload.write(chunk).await {
                break;
            }
        }
        upload.done().await
    };
    let watch = async {
        // Ends when the upload does.
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            println!("{:?}: {} of {}", now.phase, now.done, now.total);
        }
    };
    let (outcome, ()) = tokio::join!(write, watch);
    match outcome? {
        ImportOutcome::Imported(report) => println!("{} is in the store", report.info.source.did),
        ImportOutcome::Unchanged(_) => println!("the store had this very commit"),
        ImportOutcome::Rejected(why) => println!("refused: {}: {}", why.code, why.words),
    }
    Ok(())
}
