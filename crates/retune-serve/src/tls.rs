//! Certificate and key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those that stand between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let unread = |path: &Path, problem: &pem::Error| Error::File {
            path: path.to_owned(),
            problem: format!("cannot be read as PEM: {problem}"),
        };
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|problem| unread(&self.certificate, &problem))?;
        if certificates.is_empty() {
            return Err(Error::File {
                path: self.certificate.clone(),
                problem: "holds no certificate".to_owned(),
            });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|problem| unread(&self.key, &problem))?;
        let unfit = |problem: tokio_rustls::rustls::Error| Error::Setting {
            name: "tls-cert",
            problem: format!("certificate and key do not go together: {problem}"),
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(unfit)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
