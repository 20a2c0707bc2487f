//! What each door asks of whom: tokens, TLS, and how many may come in.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use carrack_client::{Address, Client};
use carrack_schema::Code;
use carrack_schema::limits::{CONNECTIONS_PEER_MAX, LOGINS_FAILED_MAX};
use carrack_schema::wire::store_capnp as wire;
use carrack_store::{DataFolder, Owner, Settings, TlsFiles};
use futures::AsyncReadExt;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Far away: it only catches what hangs.
const HANGS: Duration = Duration::from_secs(120);

fn start(folder: &Path, listen: &str, tls: Option<TlsFiles>) -> Owner {
    let settings = Settings {
        listen: vec![listen.parse().unwrap()],
        tls,
        ..Settings::default()
    };
    Owner::start(&DataFolder::new(folder.join("data")), &settings).unwrap()
}

/// Returns the socket address of an owner's TCP door.
fn tcp(owner: &Owner) -> SocketAddr {
    let of = |address: &Address| match address {
        Address::Tcp(address) => Some(*address),
        Address::Tls { host, port } => Some(SocketAddr::new(host.parse().unwrap(), *port)),
        Address::Unix(_) => None,
    };
    owner.addresses().iter().find_map(of).unwrap()
}

fn run(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = async { tokio::time::timeout(HANGS, body).await.expect("it hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, body);
}

/// Returns the bootstrap of a connection, by hand.
fn gate(stream: impl AsyncRead + AsyncWrite + 'static) -> wire::gate::Client {
    let (input, output) = stream.compat().split();
    let network = VatNetwork::new(input, output, Side::Client, Default::default());
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate = system.bootstrap(Side::Server);
    tokio::task::spawn_local(async move {
        let _ended = system.await;
    });
    gate
}

async fn login(gate: &wire::gate::Client, credential: &str) -> capnp::Result<()> {
    let mut request = gate.login_request();
    request.get().set_credential(credential);
    request.send().promise.await.map(drop)
}

#[test]
fn tcp_asks_for_a_token_and_a_unix_socket_is_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path(), "127.0.0.1:0", None);
    run(async {
        for address in owner.addresses() {
            let client = Client::connect(address).await.unwrap();
            let about = client.login("").about().await;
            match address {
                Address::Unix(_) => assert!(about.is_ok()),
                _ => assert_eq!(about.unwrap_err().code(), Code::BadCredential),
            }
            let error = client.login("x").about().await.unwrap_err();
            assert_eq!(error.code(), Code::BadCredential, "{address}");
        }
        assert!(owner.client().login("").about().await.is_ok());
    });
    owner.shutdown();
}

#[test]
fn the_sixth_login_finds_the_connection_closed() {
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path(), "127.0.0.1:0", None);
    run(async {
        let connect = || async { gate(TcpStream::connect(tcp(&owner)).await.unwrap()) };
        let (guessing, patient) = (connect().await, connect().await);
        for attempt in 0..LOGINS_FAILED_MAX {
            let error = login(&guessing, &format!("guess {attempt}"))
                .await
                .unwrap_err();
            assert!(
                error.extra.contains("badCredential: "),
                "{attempt}: {error}"
            );
        }
        let error = login(&guessing, "guess").await.unwrap_err();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        // Another connection still has all of its attempts but one.
        for _ in 1..LOGINS_FAILED_MAX {
            let error = login(&patient, "").await.unwrap_err();
            assert!(error.extra.contains("badCredential: "), "{error}");
        }
    });
    owner.shutdown();
}

/// Connects from one of the many addresses of loopback.
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let from: IpAddr = from.parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Says whether the server serves a connection; else it has closed it.
async fn is_served(stream: TcpStream) -> bool {
    let gate = gate(stream);
    let error = login(&gate, "").await.unwrap_err();
    error.extra.contains("badCredential: ")
}

#[test]
fn one_peer_does_not_take_all_places() {
    let folder = tempfile::tempdir().unwrap();
    let owner = start(folder.path(), "127.0.0.1:0", None);
    let to = tcp(&owner);
    run(async {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PEER_MAX {
            held.push(connect_from("127.0.0.1", to).await);
        }
        let closed = connect_from("127.0.0.1", to).await.read(&mut [0]).await;
        assert!(
            matches!(closed, Ok(0)),
            "one beyond is closed at once: {closed:?}"
        );
        // The last one within the limit is served, another peer is, and so is who comes when one has left.
        assert!(is_served(held.pop().unwrap()).await);
        assert!(is_served(connect_from("127.0.0.2", to).await).await);
        drop(held.pop());
        while !is_served(connect_from("127.0.0.1", to).await).await {
            tokio::task::yield_now().await;
        }
    });
    owner.shutdown();
}

/// Makes a certificate for 127.0.0.1 with its key in a folder, and what trusts it.
fn certificate(folder: &Path) -> (TlsFiles, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut roots = RootCertStore::empty();
    let root: &CertificateDer<'_> = made.cert.der();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (files, TlsConnector::from(Arc::new(config)))
}

#[test]
fn a_certificate_makes_tcp_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (files, connector) = certificate(folder.path());
    // Also where it was not asked for by name, and on every interface.
    for listen in ["127.0.0.1:0", "tls:127.0.0.1:0", "0.0.0.0:0"] {
        let owner = start(folder.path(), listen, Some(files.clone()));
        let text = owner.addresses()[1].to_string();
        let host = listen.trim_start_matches("tls:").trim_end_matches('0');
        assert!(text.starts_with(&format!("tls:{host}")), "{text}");
        let to = SocketAddr::new("127.0.0.1".parse().unwrap(), tcp(&owner).port());
        run(async {
            // Who says nothing, and who speaks plainly, disturb nobody.
            let _silent = TcpStream::connect(to).await.unwrap();
            let plain = gate(TcpStream::connect(to).await.unwrap());
            assert!(
                !login(&plain, "")
                    .await
                    .unwrap_err()
                    .extra
                    .contains("badCredential")
            );
            let stream = TcpStream::connect(to).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let stream = connector.connect(name, stream).await.unwrap();
            let (client, connection) = Client::local(stream);
            let connection = tokio::task::spawn_local(connection);
            let error = client.login("").about().await.unwrap_err();
            assert_eq!(error.code(), Code::BadCredential);
            drop(client);
            connection.await.unwrap();
        });
        owner.shutdown();
    }
}

#[test]
fn addresses_that_others_reach_ask_for_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = certificate(folder.path());
    let with = |listen: &str, tls: Option<&TlsFiles>, insecure| Settings {
        listen: vec![listen.parse().unwrap()],
        tls: tls.cloned(),
        insecure,
        ..Settings::default()
    };
    let data = DataFolder::new(folder.path().join("data"));
    for (settings, code, words) in [
        (with("0.0.0.0:0", None, false), Code::Denied, "--tls-cert"),
        (with("[::]:0", None, false), Code::Denied, "--insecure"),
        (with("192.0.2.1:0", None, false), Code::Denied, "loopback"),
        (
            with("tls:127.0.0.1:0", None, false),
            Code::InvalidArgument,
            "--tls-cert",
        ),
        (
            with("tls:127.0.0.1:0", None, true),
            Code::InvalidArgument,
            "--tls-cert",
        ),
        (
            with("127.0.0.1:0", Some(&files), true),
            Code::InvalidArgument,
            "exclude each other",
        ),
        (
            with("tls:localhost:0", Some(&files), false),
            Code::InvalidArgument,
            "not a host",
        ),
    ] {
        let error = Owner::start(&data, &settings).err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let owner = Owner::start(&data, &with("0.0.0.0:0", None, true)).unwrap();
    assert!(matches!(owner.addresses()[1], Address::Tcp(_)));
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), tcp(&owner).port());
    run(async { assert!(is_served(connect_from("127.0.0.1", to).await).await) });
    owner.shutdown();
}
