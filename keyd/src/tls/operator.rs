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

/// Why the next start would not have these files, as they are now.
///
/// # Errors
/// [`TlsError::Pem`], [`TlsError::Pair`].
pub(super) fn check(chain: &Path, key: &Path) -> Result<(), TlsError> {
    load(chain, key).map(drop)
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
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| pem(path, &error))?;
    if certificates.is_empty() { Err(pem(path, &"no certificate in it")) } else { Ok(certificates) }
}

fn pem(path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Pem { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(dir: &Path) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec!["a.localhost".to_owned()]).unwrap();
        fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(dir.join("chain.pem"), made.cert.pem()).unwrap();
        made.cert.der().to_vec()
    }

    fn served(operator: &Operator) -> Vec<u8> {
        let mut loaded = lock(&operator.loaded);
        loaded.looked = loaded.looked.checked_sub(CERTIFICATE_LOOK).unwrap();
        operator.look(&mut loaded);
        loaded.certified.cert[0].to_vec()
    }

    #[test]
    fn newer_files_are_taken_up_and_half_a_renewal_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
        let first = write(dir.path());
        let operator = Operator::open(&chain, &key).unwrap();
        assert_eq!(served(&operator), first);
        // File systems count time in ticks.
        std::thread::sleep(Duration::from_millis(20));
        let old_key = fs::read(&key).unwrap();
        let second = write(dir.path());
        let new_key = fs::read(&key).unwrap();
        fs::write(&key, old_key).unwrap();
        assert_eq!(served(&operator), first, "the new certificate, still with the old key");
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&key, new_key).unwrap();
        assert_eq!(served(&operator), second);
        fs::remove_file(&key).unwrap();
        assert_eq!(served(&operator), second);
    }
}
