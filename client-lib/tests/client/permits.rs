//! How much of one client is under way at once, seen from the server's side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carrack_client::Client;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::kit::run;

/// Bytes that came in so far, and a call each time there are more.
#[derive(Default)]
struct Line {
    bytes: AtomicUsize,
    more: Notify,
}

/// A server that reads everything and answers nothing.
fn silent(path: &std::path::Path) -> Arc<Line> {
    let listener = UnixListener::bind(path).unwrap();
    let line = Arc::new(Line::default());
    let count = line.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            count.bytes.fetch_add(read, Ordering::SeqCst);
            count.more.notify_one();
        }
    });
    line
}

#[test]
fn hops_send_nothing() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let line = silent(&path);
        let address = carrack_client::Address::Unix(path);
        let store = Client::connect(&address).await.unwrap().login("").store();
        let names: Vec<_> = (0..10_000)
            .map(|i| store.repo("did:plc:a").record(&format!("a.b.c/{i}")))
            .collect();
        drop(names);
        let leaf = tokio::spawn(async move { store.stats().await });
        line.more.notified().await;
        // The bootstrap, a login, one hop, one leaf.
        let bytes = line.bytes.load(Ordering::SeqCst);
        assert!(bytes < 1_024, "{bytes} bytes");
        leaf.abort();
    });
}
