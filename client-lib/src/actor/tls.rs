//! TLS towards a store: whom to trust, and the handshake.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use carrack_schema::Code;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::error::{Error, Result};

/// What is decided once for all connections of a client.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    host: String,
    server: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.host)
    }
}

impl Tls {
    /// Prepares for a host, trusting the certificates in `ca_file`, or whom the platform trusts.
    ///
    /// # Errors
    /// `invalidArgument` if the host has no legal form or the file holds no certificate.
    pub(crate) fn new(host: &str, ca_file: Option<&Path>) -> Result<Self> {
        let server = ServerName::try_from(host.to_owned()).map_err(|_| {
            let words = format!("`{host}` is neither a host name nor an address");
            Error::new(Code::InvalidArgument, words)
        })?;
        let roots = match ca_file {
            Some(path) => from_file(path)?,
            None => from_platform()?,
        };
        // One version, as the server: nothing older has to be spoken by either.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| Error::new(Code::Internal, error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            host: host.to_owned(),
            server,
        })
    }

    /// Connects and shakes hands.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let stream = super::route::tcp((&*self.host, port)).await?;
        self.connector.connect(self.server.clone(), stream).await
    }
}

fn from_file(path: &Path) -> Result<RootCertStore> {
    let unusable = |words: &dyn std::fmt::Display| {
        let words = format!("the CA file {} cannot be used: {words}", path.display());
        Error::new(Code::InvalidArgument, words)
    };
    let pem = fs::read(path).map_err(|error| unusable(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"it holds no certificate"));
    }
    Ok(roots)
}

fn from_platform() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // What this library cannot read may still be there for others.
    let (_added, _passed_over) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let words = "the platform names no certificate authorities; name a file of them with --ca-file or CARRACK_TLS_CA";
        return Err(Error::new(Code::InvalidArgument, words));
    }
    Ok(roots)
}
