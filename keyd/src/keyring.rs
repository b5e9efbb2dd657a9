//! Private keys in use: opened once, kept for the life of the process or until their key is switched off. A sealed key
//! is opened in memory, one of an HSM is found there.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use keyd_client::{KeyId, KeyVersion};
use zeroize::Zeroizing;

use crate::{
    error::{Fault, Refused},
    hsm::{Hsm, HsmKey},
    kek::{
        HsmObject, ImportedKey, Kek, KekError, KeyBits, Material, PrivateDer, Provider, PublicKey,
    },
    lock::lock,
    model::{key::Key, version::Version},
    root::{DERIVED_LEN, RootError, RootKey},
};

/// The opened keys, and the root key that opens them.
#[derive(Debug)]
pub struct Keyring {
    root: RootKey,
    hsm: Option<Arc<Hsm>>,
    opened: Mutex<HashMap<KeyVersion, Arc<Kek>>>,
}

impl Keyring {
    /// An empty keyring, without or with an HSM.
    #[must_use]
    pub fn new(root: RootKey, hsm: Option<Arc<Hsm>>) -> Self {
        Self { root, hsm, opened: Mutex::default() }
    }

    /// Makes the key pair of a version of the key `id`. It takes from tenths of a second to seconds: no lock is held.
    ///
    /// # Errors
    /// [`Fault`]: no key, no random bytes, no page; [`KekError::NoHsm`], [`KekError::Hsm`].
    pub fn make(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        bits: KeyBits,
        provider: Provider,
    ) -> Result<(Material, PublicKey), Fault> {
        match provider {
            Provider::Software => {
                let (kek, der) = Kek::generate(bits)?;
                self.sealed(id, version, &kek, &der)
            }
            Provider::Hsm => {
                let key = HsmKey::generate(self.hsm()?, bits, &label(id, version))?;
                in_hsm(key)
            }
        }
    }

    /// Takes over a key pair from elsewhere as a version of the key `id`.
    ///
    /// # Errors
    /// [`Fault`]: no random bytes, no page; [`KekError::NoHsm`], [`KekError::Hsm`].
    pub fn import(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        key: ImportedKey,
        provider: Provider,
    ) -> Result<(Material, PublicKey), Fault> {
        match provider {
            Provider::Software => {
                let (kek, der) = key.into_parts();
                self.sealed(id, version, &kek, &der)
            }
            Provider::Hsm => {
                let key = HsmKey::import(self.hsm()?, key.numbers(), &label(id, version))?;
                in_hsm(key)
            }
        }
    }

    /// What is made is opened anew at its first use: its commit may be refused, and then nothing would take it away.
    fn sealed(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        kek: &Kek,
        der: &PrivateDer,
    ) -> Result<(Material, PublicKey), Fault> {
        let material = Material::Sealed(self.root.seal(id, version, der)?);
        Ok((material, kek.public().clone()))
    }

    fn keep(&self, version: KeyVersion, kek: Kek) -> Arc<Kek> {
        let kek = Arc::new(kek);
        lock(&self.opened).insert(version, kek.clone());
        kek
    }

    /// The opened key of a version.
    ///
    /// # Errors
    /// [`Fault`]: the root key is another one, or the store was changed; [`KekError::NoHsm`], [`KekError::Hsm`].
    pub fn kek(&self, id: &impl fmt::Display, version: &Version) -> Result<Arc<Kek>, Fault> {
        if let Some(kek) = lock(&self.opened).get(&version.version) {
            return Ok(kek.clone());
        }
        Ok(self.keep(version.version, self.open(id, version)?))
    }

    /// Whether a version can be opened; what was opened is wiped at once.
    ///
    /// # Errors
    /// As [`Keyring::kek`].
    pub fn check(&self, id: &impl fmt::Display, version: &Version) -> Result<(), Fault> {
        self.open(id, version).map(drop)
    }

    fn open(&self, id: &impl fmt::Display, version: &Version) -> Result<Kek, Fault> {
        let kek = match &version.material {
            Material::Sealed(sealed) => {
                Kek::load(self.root.unseal(id, version.version, sealed)?.expose())?
            }
            Material::Hsm(object) => Kek::in_hsm(HsmKey::open(self.hsm()?, object)?)?,
        };
        // What wraps is public and lies unsealed in the store: another one there would wrap for somebody else.
        if *kek.public() != version.public {
            return Err(KekError::Public.into());
        }
        Ok(kek)
    }

    /// The root key: a backup takes it along.
    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    /// Whether keys of a provider can be made here.
    ///
    /// # Errors
    /// [`Refused::NoHsm`].
    pub fn has(&self, provider: Provider) -> Result<(), Refused> {
        match provider {
            Provider::Hsm if self.hsm.is_none() => Err(Refused::NoHsm),
            Provider::Hsm | Provider::Software => Ok(()),
        }
    }

    fn hsm(&self) -> Result<&Arc<Hsm>, KekError> {
        self.hsm.as_ref().ok_or(KekError::NoHsm)
    }

    /// Destroys a key pair in the HSM. A sealed key is gone with its record.
    ///
    /// # Errors
    /// [`KekError::NoHsm`], [`KekError::Hsm`]; the key pair is still there then.
    pub fn destroy(&self, object: &HsmObject) -> Result<(), Fault> {
        Ok(HsmKey::destroy(self.hsm()?, object)?)
    }

    /// Seals what only this daemon is to read. `purpose` is the protocol's name.
    ///
    /// # Errors
    /// [`Fault::Root`].
    pub fn seal_blob(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.root.seal_blob(purpose, plain)?)
    }

    /// Secret bytes that only this daemon can make, and makes again.
    ///
    /// # Errors
    /// [`Fault::Root`].
    pub fn derive(&self, purpose: &str) -> Result<Zeroizing<[u8; DERIVED_LEN]>, Fault> {
        Ok(self.root.derive(purpose)?)
    }

    /// Opens what [`Keyring::seal_blob`] sealed for the same purpose; nothing if it is not that.
    ///
    /// # Errors
    /// [`Fault::Root`].
    pub fn open_blob(
        &self,
        purpose: &str,
        blob: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        match self.root.open_blob(purpose, blob) {
            Ok(plain) => Ok(Some(plain)),
            Err(RootError::Sealed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Seals a private key anew, for a key of another id. One in an HSM is bound to none.
    ///
    /// # Errors
    /// [`Fault::Root`].
    pub fn reseal(&self, from_to: (&KeyId, &KeyId), version: &Version) -> Result<Material, Fault> {
        match &version.material {
            Material::Sealed(sealed) => {
                let (from, to) = from_to;
                let anew = self.root.reseal((from, to), version.version, sealed)?;
                Ok(Material::Sealed(anew))
            }
            Material::Hsm(object) => Ok(Material::Hsm(object.clone())),
        }
    }

    /// Forgets the opened forms of what must not be used any more.
    pub fn forget_unusable(&self, key: &Key) {
        let mut opened = lock(&self.opened);
        let gone = key.alive().is_err();
        for version in key.versions().iter().filter(|version| gone || !version.enabled) {
            opened.remove(&version.version);
        }
    }
}

fn in_hsm(key: HsmKey) -> Result<(Material, PublicKey), Fault> {
    let material = Material::Hsm(key.object().clone());
    Ok((material, Kek::in_hsm(key)?.public().clone()))
}

/// What an administrator of the token sees.
fn label(id: &impl fmt::Display, version: KeyVersion) -> String {
    format!("keyd {id} {version}")
}

#[cfg(test)]
mod tests {
    use keyd_client::dek::page::PageError;

    use super::*;
    use crate::clock;

    /// What was made for a commit that is then refused is not there any more.
    #[test]
    fn a_key_pair_that_was_made_is_open_from_its_first_use_on() {
        let root = RootKey::fill_with(|bytes: &mut [u8; 32]| {
            bytes.fill(7);
            Ok::<_, PageError>(())
        });
        let keyring = Keyring::new(root.unwrap(), None);
        let version = KeyVersion::random();
        let made = keyring.make(&"k", version, KeyBits::Rsa2048, Provider::Software).unwrap();
        assert!(lock(&keyring.opened).is_empty());
        keyring.kek(&"k", &Version::new(version, made, clock::now())).unwrap();
        assert!(lock(&keyring.opened).contains_key(&version));
    }
}
