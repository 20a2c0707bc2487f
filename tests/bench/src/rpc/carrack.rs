//! Our own server's clients, on the bare protocol, so that nothing but the server is ours in what is measured.

use std::marker::PhantomData;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use capnp::capability::RemotePromise;
use capnp_rpc::rpc_twoparty_capnp::Side;
use carrack_repo::cbor::{Reader, Token};
use carrack_schema::wire::record_capnp::{record_data, want};
use carrack_schema::wire::store_capnp::{
    collection, gate, read_result, record_cap, repo, session, store,
};

use super::door::{Place, connect};
use super::echo;
use super::load::{Getter, Key};

/// Connects and logs in. All that is measured comes in here.
pub(crate) async fn login(place: &Place) -> Result<session::Client> {
    let mut system = echo::system(connect(place).await?, Side::Client, None);
    let gate: gate::Client = system.bootstrap(Side::Server);
    drop(tokio::task::spawn_local(system));
    let mut request = gate.login_request();
    request.get().set_credential(credential(place));
    Ok(request.send().promise.await?.get()?.get_session()?)
}

/// Returns what to log in with: a token over TCP; whoever reaches the unix socket owns the store.
pub(crate) fn credential(place: &Place) -> &str {
    match place {
        Place::Unix(_) => "",
        Place::Tcp(_, token) => token,
    }
}

/// Makes a grant of all that may be done here and returns a token of it.
pub(crate) async fn issue_token(place: &Place) -> Result<String> {
    let session = login(place).await?;
    let about = session.about_request().send().promise.await?;
    let grants = session.grants_request().send().pipeline.get_grants();
    let mut request = grants.issue_request();
    let mut params = request.get();
    params.set_label("bench");
    params.set_scope(about.get()?.get_about()?.get_scope()?)?;
    let grant = request.send().pipeline.get_grant();
    let mut request = grant.save_request();
    request.get().set_label("bench");
    let saved = request.send().promise.await?;
    Ok(saved.get()?.get_token()?.to_string()?)
}

/// How a record is asked for.
pub(crate) trait Way: 'static {
    const BY: By;
    const FORM: want::Form;
}

/// What is called.
#[derive(PartialEq, Eq)]
pub(crate) enum By {
    /// `Collection.get`.
    Key,
    /// `Collection.record`, and `RecordCap.read` in the same flight.
    Hop,
    /// `RecordCap.read` of a record that is held.
    Record,
}

/// Exact bytes, by key.
pub(crate) struct Bytes;
/// Exact bytes, by way of the record's object.
pub(crate) struct Hop;
/// Exact bytes, of a record that is held.
pub(crate) struct Held;
/// The value, by key.
pub(crate) struct Decoded;

impl Way for Bytes {
    const BY: By = By::Key;
    const FORM: want::Form = want::Form::DagCbor;
}
impl Way for Hop {
    const BY: By = By::Hop;
    const FORM: want::Form = want::Form::DagCbor;
}
impl Way for Held {
    const BY: By = By::Record;
    const FORM: want::Form = want::Form::DagCbor;
}
impl Way for Decoded {
    const BY: By = By::Key;
    const FORM: want::Form = want::Form::Value;
}

/// A client that has its collection, and its records if they are to be held.
pub(crate) struct CarrackClient<W> {
    collection: collection::Client,
    records: Vec<record_cap::Client>,
    way: PhantomData<W>,
}

/// The hops from a session to a collection, each awaited, so that later calls name what came rather than what was promised.
pub(crate) async fn repo_of(session: &session::Client, did: &str) -> Result<repo::Client> {
    let store = session.store_request().send().promise.await?;
    let store: store::Client = store.get()?.get_store()?;
    let mut request = store.repo_request();
    request.get().set_did(did);
    Ok(request.send().promise.await?.get()?.get_repo()?)
}

pub(crate) async fn collection_of(repo: &repo::Client, nsid: &str) -> Result<collection::Client> {
    let mut request = repo.collection_request();
    request.get().set_nsid(nsid);
    Ok(request.send().promise.await?.get()?.get_collection()?)
}

pub(crate) async fn record_of(
    collection: &collection::Client,
    rkey: &str,
) -> Result<record_cap::Client> {
    let mut request = collection.record_request();
    request.get().set_rkey(rkey);
    Ok(request.send().promise.await?.get()?.get_record()?)
}

fn read(record: &record_cap::Client, form: want::Form) -> RemotePromise<read_result::Owned> {
    let mut request = record.read_request();
    request.get().init_want().set_form(form);
    request.send()
}

impl<W: Way> Getter for CarrackClient<W> {
    async fn connect(place: &Place, keys: Rc<[Key]>) -> Result<Self> {
        let session = login(place).await?;
        let key = keys.first().context("no keys")?;
        let repo = repo_of(&session, key.did.as_str()).await?;
        let collection = collection_of(&repo, key.path.collection.as_str()).await?;
        let mut records = Vec::new();
        if W::BY == By::Record {
            for key in &*keys {
                records.push(record_of(&collection, key.path.rkey.as_str()).await?);
            }
        }
        Ok(Self {
            collection,
            records,
            way: PhantomData,
        })
    }

    async fn get(&self, key: &Key, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let reply = match W::BY {
            By::Key => {
                let mut request = self.collection.get_request();
                let mut params = request.get();
                params.set_rkey(key.path.rkey.as_str());
                params.init_want().set_form(W::FORM);
                request.send()
            }
            By::Hop => {
                let mut request = self.collection.record_request();
                request.get().set_rkey(key.path.rkey.as_str());
                read(&request.send().pipeline.get_record(), W::FORM)
            }
            By::Record => read(self.records.get(at).context("not held")?, W::FORM),
        };
        let reply = reply.promise.await?;
        let read_result::Found(found) = reply.get()?.which()? else {
            bail!("no record {}", key.path);
        };
        match found.get_record()?.which()? {
            record_data::DagCbor(bytes) => out.extend_from_slice(bytes?),
            record_data::Value(value) => {
                // Reading it all is the client's work; that it is there is enough.
                out.extend_from_slice(&value?.get_nodes()?.len().to_le_bytes());
            }
            _ => bail!("another form of {}", key.path),
        }
        Ok(())
    }

    fn check(key: &Key, out: &[u8]) -> Result<bool> {
        if W::FORM == want::Form::DagCbor {
            return Ok(out == key.value);
        }
        let mut reader = Reader::new(&key.value);
        let mut nodes = 0_u32;
        while reader.position() < key.value.len() {
            nodes += u32::from(!matches!(reader.token()?, Token::Key(_)));
        }
        Ok(out == nodes.to_le_bytes())
    }
}
