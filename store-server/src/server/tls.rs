//! [`TlsFiles`] and [`Certificate`]: the certificate and the key that a public port shows, from files to a handshake's
//! configuration, and from newer files to a newer one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use carrack_schema::Code;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS13;

use crate::error::{Error, Result};

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead from it to one that clients know; PEM.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC1; PEM.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads them. TLS 1.3 is the only version: every client of this protocol is younger than it.
    ///
    /// # Errors
    /// `invalidArgument` if a file is not there or holds something else, or if the key is not the certificate's;
    /// `denied` if others may read the key.
    fn acceptor(&self) -> Result<TlsAcceptor> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable("certificate", &self.certificate, error))?;
        if chain.is_empty() {
            let error = pem::Error::NoItemsFound;
            return Err(unusable("certificate", &self.certificate, error));
        }
        check_private(&self.key)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unusable("key", &self.key, error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| {
                let words = format!(
                    "the certificate in {} and the key in {} cannot be used together",
                    self.certificate.display(),
                    self.key.display()
                );
                Error::because(Code::InvalidArgument, words, error)
            })?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// What a public port shows to whoever comes next. Cheap to clone.
#[derive(Clone)]
pub(super) struct Certificate(Arc<Shown>);

struct Shown {
    files: TlsFiles,
    acceptor: RwLock<TlsAcceptor>,
}

impl Certificate {
    /// Reads it.
    ///
    /// # Errors
    /// As [`TlsFiles::acceptor`].
    pub(super) fn read(files: &TlsFiles) -> Result<Self> {
        Ok(Self(Arc::new(Shown {
            acceptor: RwLock::new(files.acceptor()?),
            files: files.clone(),
        })))
    }

    /// Reads it anew for the connections to come. One that is of no use changes nothing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn reload(&self) -> Result<()> {
        let newer = self.0.files.acceptor()?;
        let acceptor = self.0.acceptor.write();
        *acceptor.unwrap_or_else(PoisonError::into_inner) = newer;
        Ok(())
    }

    /// Returns what shakes hands with the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let acceptor = self.0.acceptor.read();
        acceptor.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A key that any user can read is no secret; a group may be meant to.
fn check_private(key: &Path) -> Result<()> {
    let metadata =
        fs::metadata(key).map_err(|error| unusable("key", key, pem::Error::Io(error)))?;
    if metadata.mode() & 0o007 != 0 {
        let words = format!(
            "the TLS key in {} is open to every user (mode {:o}); chmod 600 it",
            key.display(),
            metadata.mode() & 0o777
        );
        return Err(Error::new(Code::Denied, words));
    }
    Ok(())
}

fn unusable(what: &str, path: &Path, error: pem::Error) -> Error {
    let words = match error {
        pem::Error::NoItemsFound => {
            let words = format!("there is no {what} in PEM form in {}", path.display());
            return Error::new(Code::InvalidArgument, words);
        }
        pem::Error::Io(error) => {
            let words = format!("cannot read the TLS {what} {}", path.display());
            return Error::because(Code::InvalidArgument, words, error);
        }
        _ => format!("the TLS {what} in {} is broken", path.display()),
    };
    Error::because(Code::InvalidArgument, words, error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_that_do_not_serve_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let new = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (ours, other) = (new(), new());
        write(&path("cert"), &ours.cert.pem(), 0o644);
        write(&path("key"), &ours.signing_key.serialize_pem(), 0o600);
        write(&path("group"), &ours.signing_key.serialize_pem(), 0o640);
        write(&path("open"), &ours.signing_key.serialize_pem(), 0o604);
        write(&path("other"), &other.signing_key.serialize_pem(), 0o600);
        write(&path("text"), "no PEM at all", 0o600);
        let torn = ours.cert.pem().replace("END CERTIFICATE", "END");
        write(&path("torn"), &torn, 0o600);
        for (certificate, key, refused) in [
            ("cert", "key", None),
            ("cert", "group", None),
            ("cert", "open", Some((Code::Denied, "chmod 600"))),
            (
                "none",
                "key",
                Some((Code::InvalidArgument, "cannot read the TLS certificate")),
            ),
            (
                "cert",
                "none",
                Some((Code::InvalidArgument, "cannot read the TLS key")),
            ),
            (
                "text",
                "key",
                Some((Code::InvalidArgument, "no certificate in PEM form")),
            ),
            (
                "torn",
                "key",
                Some((Code::InvalidArgument, "certificate in")),
            ),
            ("cert", "cert", Some((Code::Denied, "every user"))),
            (
                "key",
                "key",
                Some((Code::InvalidArgument, "no certificate in PEM form")),
            ),
            (
                "cert",
                "text",
                Some((Code::InvalidArgument, "no key in PEM form")),
            ),
            (
                "cert",
                "other",
                Some((Code::InvalidArgument, "cannot be used together")),
            ),
        ] {
            let files = TlsFiles {
                certificate: path(certificate),
                key: path(key),
            };
            let error = files.acceptor().err();
            let told = error.as_ref().map(|error| (error.code(), error.chain()));
            match (told, refused) {
                (None, None) => {}
                (Some((code, words)), Some((expected, part))) => {
                    assert_eq!(code, expected, "{certificate} {key}: {words}");
                    assert!(words.contains(part), "{certificate} {key}: {words}");
                }
                (told, _) => panic!("{certificate} {key}: {told:?}"),
            }
        }
    }
}
