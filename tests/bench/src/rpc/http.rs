//! JSON over HTTP/1.1 by axum: the same record out of the same store.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use carrack_schema::{Did, RecordPath};
use carrack_store::Store;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::door::{Listeners, Place, connect};
use super::load::{Getter, Key};
use crate::json;

/// Answers like our own: where it comes from, and the record, here as the JSON that it is to AT Protocol.
fn answer(store: &Store, did: &str, collection: &str, rkey: &str) -> Result<Vec<u8>> {
    let path = RecordPath {
        collection: collection.parse()?,
        rkey: rkey.parse()?,
    };
    let did: Did = did.parse()?;
    let read = super::read(store, &did, &path)?;
    // The names need no escaping: their syntax was checked above.
    let mut out = format!(
        r#"{{"did":"{did}","rev":"{}","commit":"{}","collection":"{collection}","rkey":"{rkey}","value":"#,
        read.rev, read.commit
    )
    .into_bytes();
    json::write(&read.value, &mut out)?;
    out.push(b'}');
    Ok(out)
}

async fn record(
    State(store): State<Arc<Store>>,
    Path((did, collection, rkey)): Path<(String, String, String)>,
) -> impl IntoResponse {
    match answer(&store, &did, &collection, &rkey) {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/json")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string().into_bytes(),
        ),
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(listeners: Listeners, store: Store) -> Result<()> {
    let app = Router::new()
        .route("/{did}/{collection}/{rkey}", get(record))
        .with_state(Arc::new(store));
    let tcp = listeners.tcp.tap_io(|stream| {
        // Without it answers wait for acknowledgements; that would show at once.
        let _set = stream.set_nodelay(true);
    });
    let (unix, tcp) = futures::join!(
        axum::serve(listeners.unix, app.clone()).into_future(),
        axum::serve(tcp, app).into_future()
    );
    unix.and(tcp)?;
    Ok(())
}

/// A client of it. One call at a time: HTTP/1.1 does not multiplex.
pub(crate) struct HttpClient(std::cell::RefCell<Option<SendRequest<Empty<Bytes>>>>);

impl Getter for HttpClient {
    const MULTIPLEXES: bool = false;

    async fn connect(place: &Place, _keys: Rc<[Key]>) -> Result<Self> {
        let stream = TokioIo::new(connect(place).await?);
        let (sender, connection) = handshake(stream).await?;
        drop(tokio::task::spawn_local(connection));
        Ok(Self(Some(sender).into()))
    }

    async fn get(&self, key: &Key, _at: usize, out: &mut Vec<u8>) -> Result<()> {
        let mut sender = self.0.take().context("a call is under way already")?;
        sender.ready().await?;
        let (collection, rkey) = (&key.path.collection, &key.path.rkey);
        let request = hyper::Request::get(format!("/{}/{collection}/{rkey}", key.did))
            .header(header::HOST, "peer")
            .body(Empty::new())?;
        let reply = sender.send_request(request).await?;
        let status = reply.status();
        let mut body = reply.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                out.extend_from_slice(&data);
            }
        }
        let text = || String::from_utf8_lossy(out);
        ensure!(status == StatusCode::OK, "{status}: {}", text());
        self.0.replace(Some(sender));
        Ok(())
    }

    fn check(key: &Key, out: &[u8]) -> Result<bool> {
        let answer: serde_json::Value = serde_json::from_slice(out)?;
        let record = serde_json::from_str::<serde_json::Value>(&json::text_of(&key.value)?)?;
        Ok(answer["value"] == record && answer["rkey"] == key.path.rkey.as_str())
    }
}
