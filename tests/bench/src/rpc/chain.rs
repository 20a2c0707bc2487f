//! Store → repo → collection → record, and its read: in one flight, and hop by hop, with a session that is there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp::{read_result, record_cap, session};

use super::carrack::{collection_of, login, record_of, repo_of};
use super::door::Place;
use super::load::{Key, block_on};

/// Milliseconds of chains through a slow line.
#[derive(Clone, Debug)]
pub(crate) struct Chains {
    pub(crate) pipelined_ms: Vec<f64>,
    pub(crate) awaited_ms: Vec<f64>,
    /// A call that nothing goes before: what the line itself takes.
    pub(crate) one_call_ms: Vec<f64>,
}

/// Runs each kind so many times.
pub(crate) fn measure(place: &Place, keys: &[Key], times: usize) -> Result<Chains> {
    block_on(async {
        let session = login(place).await?;
        let mut chains = Chains {
            pipelined_ms: Vec::new(),
            awaited_ms: Vec::new(),
            one_call_ms: Vec::new(),
        };
        for at in 0..times {
            let key = &keys[at % keys.len()];
            let start = Instant::now();
            session.about_request().send().promise.await?;
            chains.one_call_ms.push(millis(start.elapsed()));
            let start = Instant::now();
            read(&pipelined(&session, key), key).await?;
            chains.pipelined_ms.push(millis(start.elapsed()));
            let start = Instant::now();
            let repo = repo_of(&session, key.did.as_str()).await?;
            let collection = collection_of(&repo, key.path.collection.as_str()).await?;
            let record = record_of(&collection, key.path.rkey.as_str()).await?;
            read(&record, key).await?;
            chains.awaited_ms.push(millis(start.elapsed()));
        }
        Ok(chains)
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn pipelined(session: &session::Client, key: &Key) -> record_cap::Client {
    let store = session.store_request().send().pipeline.get_store();
    let mut request = store.repo_request();
    request.get().set_did(key.did.as_str());
    let mut request = request.send().pipeline.get_repo().collection_request();
    request.get().set_nsid(key.path.collection.as_str());
    let mut request = request.send().pipeline.get_collection().record_request();
    request.get().set_rkey(key.path.rkey.as_str());
    request.send().pipeline.get_record()
}

async fn read(record: &record_cap::Client, key: &Key) -> Result<()> {
    let mut request = record.read_request();
    request.get().init_want().set_form(want::Form::DagCbor);
    let reply = request.send().promise.await?;
    let read_result::Found(found) = reply.get()?.which()? else {
        anyhow::bail!("no record {}", key.path);
    };
    let record_data::DagCbor(bytes) = found.get_record()?.which()? else {
        anyhow::bail!("another form of {}", key.path);
    };
    ensure!(
        bytes.context("no bytes")? == key.value,
        "something else for {}",
        key.path
    );
    Ok(())
}
