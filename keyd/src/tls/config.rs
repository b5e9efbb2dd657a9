//! The TLS server: 1.2 and 1.3, HTTP/1.1 inside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use thiserror::Error;

use super::{
    Ca, CaError, Names,
    issue::Issuing,
    operator::{self, Operator},
};
use crate::keyring::Keyring;

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The daemon's own CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A file of the operator's.
    #[error("{path}: {why}; it must be PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Two files that do not belong together.
    #[error("{} and {} are no certificate and its private key: {source}", .chain.display(), .key.display())]
    Pair {
        /// The certificates.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// No certificate of the client CA is of use.
    #[error("{path}: client certificates cannot be checked with it: {why}")]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The library's.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// What the operator says of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Under which names the daemon is reached.
    pub names: Names,
    /// A certificate chain and its key, in place of the daemon's own CA.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whose client certificates are taken.
    pub client_ca: Option<PathBuf>,
}

impl TlsOptions {
    /// What of the files that it names keeps the next start from serving. This daemon goes on with what it read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let certificate = self.certificate.as_ref().and_then(|(chain, key)| {
            let why = operator::check(chain, key).err()?;
            Some(format!(
                "the certificate of HTTPS cannot be read any more, and keyd goes on with the one it has, which it does not renew and would not start with again: {why}"
            ))
        });
        // A file that cannot be read behind the sandbox is there all the same.
        let gone = |path: &&PathBuf| {
            fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let authority = self.client_ca.as_ref().filter(gone).map(|path| {
            format!(
                "{} (--client-ca) is gone, and keyd would not start without it: put it back",
                path.display()
            )
        });
        certificate.into_iter().chain(authority).collect()
    }
}

/// The server's side of TLS, and the certificate of the daemon's own CA if it is that which clients are to trust. The
/// CA lies in `dir`.
///
/// # Errors
/// [`TlsError`].
pub fn server(
    options: &TlsOptions,
    dir: &Path,
    keyring: &Keyring,
) -> Result<(Arc<ServerConfig>, Option<String>), TlsError> {
    let (certificates, ca): (Arc<dyn ResolvesServerCert>, _) = match &options.certificate {
        Some((chain, key)) => (Arc::new(Operator::open(chain, key)?), None),
        None => {
            let ca = Ca::open(dir, keyring, &options.names)?;
            let certificate = ca.certificate().to_owned();
            (Arc::new(Issuing::new(ca, options.names.clone())?), Some(certificate))
        }
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match &options.client_ca {
        Some(path) => client_verifier(path, &provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), ca))
}

/// A certificate is asked for, not demanded: those without one have a token.
fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unfit = |why: &dyn std::fmt::Display| TlsError::ClientCa {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in operator::certificates(path)? {
        roots.add(certificate).map_err(|error| unfit(&error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(|error| unfit(&error))
}

#[cfg(test)]
mod tests;
