//! A CAR streamed in through the client library, as anybody would do it.

use std::time::Instant;

use anyhow::{Result, bail};
use carrack_client::{Client, ImportOptions, ImportOutcome};

use super::carrack::credential;
use super::door::Place;

/// What a writer has at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Streams a CAR into a store that does not have it, and returns bytes a second from the first to the acknowledgement.
pub(crate) fn rate(place: &Place, car: &[u8]) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::connect(&place.address()).await?;
        let session = client.login(credential(place));
        session.about().await?;
        let start = Instant::now();
        let upload = session.importer().import(ImportOptions::default());
        for piece in car.chunks(PIECE_BYTES) {
            upload.write(piece).await;
        }
        match upload.done().await? {
            ImportOutcome::Imported(_) => {}
            other => bail!("an import ended as {other:?}"),
        }
        Ok(car.len() as f64 / start.elapsed().as_secs_f64())
    })
}
