//! Private keys in use: opened once, kept for the life of the process or until their key is switched off.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use keyd_client::KeyVersion;

use crate::{
    error::Fault,
    kek::{ImportedKey, Kek, KekError, KeyBits, Material, PrivateDer, Provider, PublicKey},
    lock::lock,
    model::{key::Key, version::Version},
    root::{OpenedKey, RootKey},
};

/// The opened keys, and the root key that opens them.
#[derive(Debug)]
pub struct Keyring {
    root: RootKey,
    opened: Mutex<HashMap<KeyVersion, Arc<Kek>>>,
}

impl Keyring {
    /// An empty keyring.
    #[must_use]
    pub fn new(root: RootKey) -> Self {
        Self { root, opened: Mutex::default() }
    }

    /// Makes the key pair of a version of the key `id`. It takes from tenths of a second to seconds: no lock is held.
    ///
    /// # Errors
    /// [`Fault`]: no key, no random bytes, no page; [`KekError::NoHsm`].
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
                self.keep(id, version, kek, &der)
            }
            Provider::Hsm => Err(KekError::NoHsm.into()),
        }
    }

    /// Takes over a key pair from elsewhere as a version of the key `id`.
    ///
    /// # Errors
    /// [`Fault`]: no random bytes, no page; [`KekError::NoHsm`].
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
                self.keep(id, version, kek, &der)
            }
            Provider::Hsm => Err(KekError::NoHsm.into()),
        }
    }

    fn keep(
        &self,
        id: &impl fmt::Display,
        version: KeyVersion,
        kek: Kek,
        der: &PrivateDer,
    ) -> Result<(Material, PublicKey), Fault> {
        let material = Material::Sealed(self.root.seal(id, version, der)?);
        let public = kek.public().clone();
        lock(&self.opened).insert(version, Arc::new(kek));
        Ok((material, public))
    }

    /// The opened key of a version.
    ///
    /// # Errors
    /// [`Fault`]: the root key is another one, or the store was changed; [`KekError::NoHsm`].
    pub fn kek(&self, id: &impl fmt::Display, version: &Version) -> Result<Arc<Kek>, Fault> {
        if let Some(kek) = lock(&self.opened).get(&version.version) {
            return Ok(kek.clone());
        }
        let kek = Kek::load(self.unseal(id, version)?.expose())?;
        // What wraps is public and lies unsealed in the store: another one there would wrap for somebody else.
        if *kek.public() != version.public {
            return Err(KekError::Public.into());
        }
        let kek = Arc::new(kek);
        lock(&self.opened).insert(version.version, kek.clone());
        Ok(kek)
    }

    /// Whether the root key opens a version; what it opened is wiped at once.
    ///
    /// # Errors
    /// [`Fault`]: the root key is another one, or the store was changed; [`KekError::NoHsm`].
    pub fn check(&self, id: &impl fmt::Display, version: &Version) -> Result<(), Fault> {
        self.unseal(id, version).map(drop)
    }

    fn unseal(&self, id: &impl fmt::Display, version: &Version) -> Result<OpenedKey, Fault> {
        match &version.material {
            Material::Sealed(sealed) => Ok(self.root.unseal(id, version.version, sealed)?),
            Material::Hsm(_) => Err(KekError::NoHsm.into()),
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
