//! Private keys in use: opened once, kept for the life of the process or until their key is switched off.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use keyd_client::{KeyName, KeyVersion};

use crate::{
    clock,
    error::Fault,
    kek::{Kek, KeyBits},
    lock::lock,
    model::key::{Key, Version},
    root::RootKey,
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

    /// Makes a version of a key, sealed and enabled. It takes from tenths of a second to seconds: no lock is held.
    ///
    /// # Errors
    /// [`Fault`]: no key, no random bytes, no page.
    pub fn make_version(&self, name: &KeyName, bits: KeyBits) -> Result<Version, Fault> {
        let (kek, der) = Kek::generate(bits)?;
        let version = KeyVersion::random();
        let sealed = self.root.seal(name, version, &der)?;
        lock(&self.opened).insert(version, Arc::new(kek));
        Ok(Version { version, bits: bits.count(), enabled: true, created: clock::now(), sealed })
    }

    /// The opened key of a version.
    ///
    /// # Errors
    /// [`Fault`]: the root key is another one, or the store was changed.
    pub fn kek(&self, name: &KeyName, version: &Version) -> Result<Arc<Kek>, Fault> {
        if let Some(kek) = lock(&self.opened).get(&version.version) {
            return Ok(kek.clone());
        }
        let opened = self.root.unseal(name, version.version, &version.sealed)?;
        let kek = Arc::new(Kek::load(opened.expose())?);
        lock(&self.opened).insert(version.version, kek.clone());
        Ok(kek)
    }

    /// Whether the root key opens a version; what it opened is wiped at once.
    ///
    /// # Errors
    /// [`Fault`]: the root key is another one, or the store was changed.
    pub fn check(&self, name: &KeyName, version: &Version) -> Result<(), Fault> {
        self.root.unseal(name, version.version, &version.sealed)?;
        Ok(())
    }

    /// Forgets the opened forms of a key that was switched off.
    pub fn forget(&self, key: &Key) {
        let mut opened = lock(&self.opened);
        for version in key.versions() {
            opened.remove(&version.version);
        }
    }
}
