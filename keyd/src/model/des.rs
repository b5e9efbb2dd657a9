//! A disk encryption set (DES): one key for many disks, and what happens to them when it goes.

use std::time::Duration;

use keyd_client::{
    DesName, KeyName, KeyVersion,
    ids::DesId,
    limits::{LEASE_MAX, LEASE_MIN},
    message::{EncryptionType, Reaction, UnixMillis},
};
use serde::{Deserialize, Serialize};

use crate::{error::Refused, model::key::Key};

/// A set as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Des {
    /// Its id, bound into its disks' wrapped DEKs.
    pub id: DesId,
    /// Its name.
    pub name: DesName,
    /// Its key.
    pub key: KeyName,
    /// The version that wraps new DEKs.
    pub active_version: KeyVersion,
    /// Platform or customer key.
    pub encryption: EncryptionType,
    /// What its disks do when the key is taken away.
    pub on_revoke: Reaction,
    /// Lease of its disks, milliseconds.
    pub lease_ms: u64,
    /// When it was made.
    pub created: UnixMillis,
    /// When its active version last changed.
    pub last_rotation: Option<UnixMillis>,
}

/// What a set's maker chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What its disks do when the key is taken away.
    pub on_revoke: Reaction,
    /// Lease of its disks, milliseconds.
    pub lease_ms: u64,
}

impl Des {
    /// A new set on a customer's key.
    ///
    /// # Errors
    /// [`Refused::LeaseLength`]; [`Refused::PlatformSet`] (Azure: a set has no platform encryption type);
    /// [`Refused::KeyDisabled`].
    pub fn on_key(
        name: DesName,
        key: &Key,
        policy: Policy,
        now: UnixMillis,
    ) -> Result<Self, Refused> {
        let lease = Duration::from_millis(policy.lease_ms);
        match key {
            _ if !(LEASE_MIN..=LEASE_MAX).contains(&lease) => {
                Err(Refused::LeaseLength(policy.lease_ms))
            }
            _ if key.platform => Err(Refused::PlatformSet(key.name.clone())),
            _ if !key.enabled() => Err(Refused::KeyDisabled(key.name.clone())),
            _ => Ok(Self::make(name, key, policy, EncryptionType::CustomerKey, now)),
        }
    }

    /// The built-in set for disks without a key of the customer's.
    #[must_use]
    pub fn platform(name: DesName, key: &Key, policy: Policy, now: UnixMillis) -> Self {
        Self::make(name, key, policy, EncryptionType::PlatformKey, now)
    }

    fn make(
        name: DesName,
        key: &Key,
        policy: Policy,
        encryption: EncryptionType,
        now: UnixMillis,
    ) -> Self {
        Self {
            id: DesId::random(),
            name,
            key: key.name.clone(),
            active_version: key.newest().version,
            encryption,
            on_revoke: policy.on_revoke,
            lease_ms: policy.lease_ms,
            created: now,
            last_rotation: None,
        }
    }

    /// New DEKs are wrapped under another version from now on.
    pub fn activate(&mut self, version: KeyVersion, now: UnixMillis) {
        self.active_version = version;
        self.last_rotation = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kek::{Material, PublicKey, SealedKey},
        model::key::Version,
    };

    fn key(platform: bool) -> Key {
        let version = Version {
            version: KeyVersion::random(),
            bits: 2048,
            enabled: true,
            created: 1,
            material: Material::Sealed(SealedKey(vec![])),
            public: PublicKey { n: vec![1], e: vec![1] },
        };
        Key::new("k".parse().unwrap(), platform, version)
    }

    fn set(key: &Key, lease_ms: u64) -> Result<Des, Refused> {
        let policy = Policy { on_revoke: Reaction::Park, lease_ms };
        Des::on_key("s".parse().unwrap(), key, policy, 5)
    }

    #[test]
    fn leases_outside_the_bounds_are_refused() {
        for (lease_ms, allowed) in [
            (0, false),
            (999, false),
            (1000, true),
            (3_600_000, true),
            (3_600_001, false),
            (u64::MAX, false),
        ] {
            assert_eq!(set(&key(false), lease_ms).is_ok(), allowed, "{lease_ms}");
        }
    }

    #[test]
    fn a_set_needs_an_enabled_key_of_the_customers() {
        assert!(matches!(set(&key(true), 5000), Err(Refused::PlatformSet(_))));
        let mut disabled = key(false);
        disabled.switch(false).unwrap();
        assert!(matches!(set(&disabled, 5000), Err(Refused::KeyDisabled(_))));
    }

    #[test]
    fn activation_is_dated() {
        let mut set = set(&key(false), 5000).unwrap();
        let new = KeyVersion::random();
        set.activate(new, 77);
        assert_eq!((set.active_version, set.last_rotation), (new, Some(77)));
    }
}
