//! Certificates of the daemon's own CA, issued when a name is first asked for and again before they expire.
//!
//! Each vault's name has one of its own: `*.localhost` would not do, since clients take no wildcard right below a
//! top-level name (OpenSSL, webpki and Node.js all want two labels after it).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use keyd_client::message::UnixMillis;
use rcgen::{KeyPair, SanType};
use rustls::{
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};

use super::{
    Ca, CaError, TlsError,
    ca::alt_name,
    names::{DnsName, Host, Names, Place},
};
use crate::{
    clock,
    limits::{CERTIFICATE_RENEWAL, CERTIFICATES_MAX},
    lock::lock,
    log,
};

/// Issues certificates as handshakes ask for them.
pub struct Issuing {
    ca: Ca,
    names: Names,
    /// One for all certificates; made at each start, never stored.
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    issued: Mutex<BTreeMap<Option<DnsName>, Issued>>,
}

#[derive(Debug)]
struct Issued {
    at: UnixMillis,
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for Issuing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuing")
    }
}

impl Issuing {
    /// Issues certificates of this CA for these names.
    ///
    /// # Errors
    /// [`TlsError`]: no key could be made.
    pub fn new(ca: Ca, names: Names) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(CaError::from)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der()));
        let signer = any_ecdsa_type(&der)?;
        Ok(Self { ca, names, key, signer, issued: Mutex::default() })
    }

    /// The certificate for a name, or without one for those that are no vault's.
    fn certified(&self, vault: Option<DnsName>) -> Result<Arc<CertifiedKey>, CaError> {
        let now = clock::now();
        let mut issued = lock(&self.issued);
        let renewal = CERTIFICATE_RENEWAL.as_millis();
        // One that was issued in the future, by a clock that was wrong, is not valid yet for anybody.
        let fresh = |at: UnixMillis| at <= now && u128::from(now - at) < renewal;
        if let Some(found) = issued.get(&vault)
            && fresh(found.at)
        {
            return Ok(found.certified.clone());
        }
        let certificate = self.ca.issue(&self.alt_names(vault.as_ref())?, &self.key)?;
        let chain = vec![certificate.der().clone()];
        let certified = Arc::new(CertifiedKey::new(chain, self.signer.clone()));
        if issued.len() < CERTIFICATES_MAX || issued.contains_key(&vault) {
            issued.insert(vault, Issued { at: now, certified: certified.clone() });
        }
        Ok(certified)
    }

    fn alt_names(&self, vault: Option<&DnsName>) -> Result<Vec<SanType>, CaError> {
        match vault {
            Some(name) => Ok(vec![alt_name(&Host::Dns(name.clone()))?]),
            None => {
                let bases = self.names.bases().iter().cloned().map(Host::Dns);
                let others = self.names.others().iter().cloned();
                bases.chain(others).map(|host| alt_name(&host)).collect()
            }
        }
    }
}

impl ResolvesServerCert for Issuing {
    /// A client that names no server asks for an address. One that names a server that is not here gets no answer.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let vault = match hello.server_name() {
            None => None,
            Some(name) => {
                let name: DnsName = name.parse().ok()?;
                match self.names.place(&Host::Dns(name.clone()))? {
                    Place::Vault(..) => Some(name),
                    Place::Default => None,
                }
            }
        };
        let certified = self.certified(vault);
        certified.inspect_err(|error| log::line(format_args!("{}", log::chain(error)))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keyring::Keyring, root::RootKey};

    fn issuing() -> (tempfile::TempDir, Issuing) {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::new(&[], &[]);
        let keyring = Keyring::new(RootKey::generate().unwrap(), None);
        let ca = Ca::open(dir.path(), &keyring, &names).unwrap();
        (dir, Issuing::new(ca, names).unwrap())
    }

    #[test]
    fn a_certificate_is_kept_until_it_is_old() {
        let (_dir, issuing) = issuing();
        let name: Option<DnsName> = Some("prod.localhost".parse().unwrap());
        let first = issuing.certified(name.clone()).unwrap();
        assert_eq!(issuing.certified(name.clone()).unwrap().cert, first.cert);
        let age = UnixMillis::try_from(CERTIFICATE_RENEWAL.as_millis()).unwrap();
        lock(&issuing.issued).get_mut(&name).unwrap().at -= age;
        let second = issuing.certified(name.clone()).unwrap();
        assert_ne!(second.cert, first.cert);
        assert_eq!(issuing.certified(name.clone()).unwrap().cert, second.cert);
        // The clock was ahead when it was issued, and is right again.
        lock(&issuing.issued).get_mut(&name).unwrap().at += age;
        assert_ne!(issuing.certified(name).unwrap().cert, second.cert);
    }

    #[test]
    fn however_many_names_are_asked_for_few_are_kept() {
        let (_dir, issuing) = issuing();
        for n in 0..CERTIFICATES_MAX + 10 {
            issuing.certified(Some(format!("v{n}.localhost").parse().unwrap())).unwrap();
        }
        assert_eq!(lock(&issuing.issued).len(), CERTIFICATES_MAX);
    }
}
