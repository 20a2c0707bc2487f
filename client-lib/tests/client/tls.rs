//! Stores behind TLS: who is trusted, and what is said of who is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrack_client::{Address, Connect, Error};
use carrack_schema::Code;
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::kit::{address, owner, run};

/// A door with TLS in front of a store's socket, and the file that names its certificate.
struct TlsDoor {
    port: u16,
    ca_file: PathBuf,
}

async fn door(folder: &Path, names: &[&str], store: &Address) -> TlsDoor {
    let Address::Unix(socket) = store.clone() else {
        panic!("{store}");
    };
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                // A client that trusts another hangs up here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut store) = UnixStream::connect(socket).await {
                    let _ended = tokio::io::copy_bidirectional(&mut stream, &mut store).await;
                }
            });
        }
    });
    TlsDoor { port, ca_file }
}

fn connect(host: &str, port: u16, ca_file: &Path) -> Connect {
    let host = host.to_owned();
    Connect::to(&Address::Tls { host, port }).ca_file(ca_file)
}

async fn refused(connect: Connect) -> Error {
    connect.open().await.map(drop).unwrap_err()
}

#[test]
fn a_store_with_a_trusted_certificate_is_read_and_read_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = owner(&data);
        let door = door(folder.path(), &["localhost", "127.0.0.1"], &address(&first)).await;
        for host in ["localhost", "127.0.0.1"] {
            let client = connect(host, door.port, &door.ca_file)
                .open()
                .await
                .unwrap();
            assert_eq!(client.login("").store().stats().await.unwrap().repos, 0);
        }
        let client = connect("localhost", door.port, &door.ca_file);
        let store = client.open().await.unwrap().login("").store();
        store.stats().await.unwrap();
        // Off the runtime's thread, which carries the bytes.
        tokio::task::spawn_blocking(|| first.shutdown())
            .await
            .unwrap();
        let second = owner(&data);
        assert_eq!(store.stats().await.unwrap().repos, 0);
        tokio::task::spawn_blocking(|| second.shutdown())
            .await
            .unwrap();
    });
}

#[test]
fn a_certificate_of_another_or_for_another_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = owner(&folder.path().join("data"));
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        std::fs::create_dir(&ours).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        let ours = door(&ours, &["localhost"], &address(&store)).await;
        let theirs = door(&theirs, &["localhost"], &address(&store)).await;
        for (host, ca_file) in [("localhost", &theirs.ca_file), ("127.0.0.1", &ours.ca_file)] {
            let error = refused(connect(host, ours.port, ca_file)).await;
            assert_eq!(error.code(), Code::Unavailable);
            assert!(error.words().starts_with("no trusted store"), "{error}");
        }
        tokio::task::spawn_blocking(|| store.shutdown())
            .await
            .unwrap();
    });
}

#[test]
fn a_door_without_tls_is_no_door_with_tls() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let text = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, text)
                .await
                .unwrap();
        };
        let (error, ()) = tokio::join!(refused(connect("localhost", port, &ca_file)), answer);
        assert_eq!(error.code(), Code::Unavailable, "{error}");
    });
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let broken = folder.path().join("broken.pem");
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&broken, text).unwrap();
        for file in [folder.path().join("none.pem"), empty, broken] {
            let error = refused(connect("localhost", 1, &file)).await;
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.words().contains(file.to_str().unwrap()), "{error}");
        }
    });
}
