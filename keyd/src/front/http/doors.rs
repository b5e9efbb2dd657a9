//! Where the daemon listens beside its own socket: opened before anything is announced, served when the rest is there.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use thiserror::Error;

use super::patience::Patience;
use crate::{
    keyring::Keyring,
    service::Reach,
    tls::{self, Names, TlsError, TlsOptions},
};

/// What `keyd serve` is told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Where HTTPS is served.
    pub listen: Option<SocketAddr>,
    /// How.
    pub tls: TlsOptions,
    /// Where managed identities get their tokens.
    pub identity: Option<SocketAddr>,
}

/// Why one cannot be opened.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The system's.
    #[error(
        "cannot listen at {address}: {source}; is another program there? (Ports below 1024 take root, or CAP_NET_BIND_SERVICE)"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Secrets go over the identity endpoint in plain HTTP, as its clients want it.
    #[error(
        "the identity endpoint is for this host only: give --identity-listen 127.0.0.1:PORT, not {0}"
    )]
    NotLoopback(SocketAddr),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The listening sockets.
#[derive(Debug)]
pub struct Doors {
    pub(super) names: Names,
    pub(super) https: Option<(TcpListener, Arc<rustls::ServerConfig>)>,
    pub(super) identity: Option<TcpListener>,
    pub(super) patience: Patience,
    ca_certificate: Option<String>,
    tls: Option<TlsOptions>,
}

impl Doors {
    /// Opens them. The daemon's own CA lies in `dir`.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(options: &HttpOptions, dir: &Path, keyring: &Keyring) -> Result<Self, DoorError> {
        if let Some(address) = options.identity.filter(|address| !address.ip().is_loopback()) {
            return Err(DoorError::NotLoopback(address));
        }
        let names = options.tls.names.clone();
        let (mut https, mut ca_certificate) = (None, None);
        if let Some(address) = options.listen {
            let (tls, certificate) = tls::server(&options.tls, dir, keyring)?;
            (https, ca_certificate) = (Some((bind(address)?, tls)), certificate);
        }
        let identity = options.identity.map(bind).transpose()?;
        let tls = https.is_some().then(|| options.tls.clone());
        Ok(Self { names, https, identity, patience: Patience::default(), ca_certificate, tls })
    }

    /// The same with other times for their clients: those of a test.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// What is told of them.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let endpoint = |listener: &TcpListener| {
            let address = listener.local_addr().ok()?;
            Some(format!("http://{address}{}", super::identity::PATH))
        };
        Reach {
            identity_endpoint: self.identity.as_ref().and_then(endpoint),
            ca_certificate: self.ca_certificate.clone(),
            tls: self.tls.clone(),
        }
    }

    /// Where HTTPS and the identity endpoint are, for the log.
    #[must_use]
    pub fn told(&self) -> String {
        let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string()).ok();
        let https = self.https.as_ref().and_then(|(listener, _)| address(listener));
        let identity = self.identity.as_ref().and_then(address);
        let one = |name, address: Option<String>| {
            address.map_or_else(String::new, |address| format!(", {name} {address}"))
        };
        one("https", https) + &one("identities", identity)
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, DoorError> {
    TcpListener::bind(address).map_err(|source| DoorError::Listen { address, source })
}
