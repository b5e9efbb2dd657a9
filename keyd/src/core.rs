//! What operations work on, together.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use keyd_client::{Dek, KeyName, KeyVersion};

use crate::{
    clock,
    error::{Failure, Fault, Refused},
    kek::{KeyBits, Provider},
    keyring::Keyring,
    leases::Leases,
    lock::lock,
    model::{
        des::Des,
        disk::Disk,
        key::{Key, Version},
    },
    store::Store,
};

/// The daemon's parts.
#[derive(Debug)]
pub struct Core {
    /// State and audit log.
    pub store: Store,
    /// Private keys.
    pub keyring: Keyring,
    /// Holders.
    pub leases: Leases,
    /// Held while a key is switched and its holders told: two switches of one key must be announced in the order in
    /// which they were committed.
    pub switching: Mutex<()>,
    /// Keys that a thread is rotating now.
    rotating: Mutex<HashSet<KeyName>>,
    stopping: AtomicBool,
}

impl Core {
    /// The parts, with nobody attached.
    #[must_use]
    pub fn new(store: Store, keyring: Keyring) -> Self {
        Self {
            store,
            keyring,
            leases: Leases::default(),
            switching: Mutex::default(),
            rotating: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Unwraps a disk's DEK, if its key may.
    ///
    /// # Errors
    /// [`Refused::KeyDisabled`]; [`crate::error::Fault`] if the wrapped DEK is damaged or another disk's.
    pub fn unwrap(&self, disk: &Disk, set: &Des, key: &Key) -> Result<Dek, Failure> {
        let version = key.usable(disk.key_version)?;
        let kek = self.keyring.kek(&key.name, version)?;
        Ok(kek.unwrap(&disk.wrapped, &disk.binding(set))?)
    }

    /// Makes a version of a key, sealed and enabled. It takes from tenths of a second to seconds: no lock is held.
    ///
    /// # Errors
    /// [`Fault`]: no key, no random bytes, no page.
    pub fn make_version(&self, name: &KeyName, bits: KeyBits) -> Result<Version, Fault> {
        let version = KeyVersion::random();
        let made = self.keyring.make(name, version, bits, Provider::Software)?;
        Ok(Version::new(version, bits, made, clock::now()))
    }

    /// Claims a key's rotation for this thread.
    ///
    /// # Errors
    /// [`Refused::Rotating`].
    pub fn claim_rotation<'a>(&'a self, name: &KeyName) -> Result<RotationClaim<'a>, Refused> {
        if !lock(&self.rotating).insert(name.clone()) {
            return Err(Refused::Rotating(name.clone()));
        }
        Ok(RotationClaim { core: self, name: name.clone() })
    }

    /// Long work is to stop at its next step.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The right to rotate a key, given back when dropped.
#[derive(Debug)]
pub struct RotationClaim<'a> {
    core: &'a Core,
    name: KeyName,
}

impl Drop for RotationClaim<'_> {
    fn drop(&mut self) {
        lock(&self.core.rotating).remove(&self.name);
    }
}
