//! A certificate of the operator's, from files that other programs renew.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::TlsError;
use crate::{limits::CERTIFICATE_LOOK, lock::lock, log};

/// The certificate of two files. Newer files are taken up by themselves; files that do not belong together, as in the
/// middle of a renewal, are not.
#[derive(Debug)]
pub struct Operator {
    chain: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    stamp: Stamp,
    looked: Instant,
}

/// When the two files were written.
type Stamp = [SystemTime; 2];

impl Operator {
    /// Loads a chain of certificates and its private key, both PEM.
    ///
    /// # Errors
    /// [`TlsError::Pem`], [`TlsError::Pair`].
    pub fn open(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamp = stamp(chain, key).map_err(|error| pem(chain, &error))?;
        let certified = load(chain, key)?;
        let loaded = Mutex::new(Loaded { certified, stamp, looked: Instant::now() });
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), loaded })
    }

    fn look(&self, loaded: &mut Loaded) {
        if loaded.looked.elapsed() < CERTIFICATE_LOOK {
            return;
        }
        loaded.looked = Instant::now();
        // Gone for the moment in which it is replaced.
        let Ok(stamp) = stamp(&self.chain, &self.key) else { return };
        if stamp == loaded.stamp {
            return;
        }
        loaded.stamp = stamp;
        match load(&self.chain, &self.key) {
            Ok(certified) => {
                loaded.certified = certified;
                log::line(format_args!(
                    "the certificate {} was taken up anew",
                    self.chain.display()
                ));
            }
            Err(error) => {
                log::line(format_args!("the certificate of before stays: {}", log::chain(&error)));
            }
        }
    }
}

impl ResolvesServerCert for Operator {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut loaded = lock(&self.loaded);
        self.look(&mut loaded);
        Some(loaded.certified.clone())
    }
}

fn stamp(chain: &Path, key: &Path) -> io::Result<Stamp> {
    Ok([fs::metadata(chain)?.modified()?, fs::metadata(key)?.modified()?])
}

fn load(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificates = certificates(chain)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, &error))?;
    let pair = || -> Result<CertifiedKey, rustls::Error> {
        let certified = CertifiedKey::new(certificates, any_supported_type(&private)?);
        certified.keys_match()?;
        Ok(certified)
    };
    pair().map(Arc::new).map_err(|source| {
        let (chain, key) = (chain.to_owned(), key.to_owned());
        TlsError::Pair { chain, key, source }
    })
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// [`TlsError::Pem`].
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| pem(path, &error))?;
    if certificates.is_empty() { Err(pem(path, &"no certificate in it")) } else { Ok(certificates) }
}

fn pem(path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Pem { path: path.to_owned(), why: why.to_string() }
}
