//! TLS for the HTTPS front: which names are served, the certificates for them (of a CA that keyd makes itself, or the
//! operator's), and who a client certificate says its holder is.

pub mod ca;
pub mod config;
pub mod issue;
pub mod names;
pub mod operator;

pub use ca::{Ca, CaError};
pub use config::{TlsError, TlsOptions, server};
pub use names::{DnsName, Host, Names};
pub use operator::certificates;

use aws_lc_rs::digest::{SHA256, digest};
use keyd_client::Fingerprint;
use rustls::pki_types::CertificateDer;

/// The fingerprint of a certificate: who shows it is known by it.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
    Fingerprint(bytes)
}
