//! A key: a name and its versions, newest first.

use keyd_client::{KeyName, KeyVersion, message::UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    error::Refused,
    kek::{KeyBits, Material, PublicKey},
    limits::VERSIONS_MAX,
};

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name.
    pub name: KeyName,
    /// Whether the daemon made it for the `platform` set.
    pub platform: bool,
    /// Newest first; never empty.
    versions: Vec<Version>,
    /// The journal of a rotation that has begun and not ended.
    pub rotation: Option<Rotation>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its id.
    pub version: KeyVersion,
    /// RSA modulus length, bits.
    pub bits: u32,
    /// Whether it may wrap and unwrap.
    pub enabled: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// The private key, or where it is.
    pub material: Material,
    /// The public key.
    pub public: PublicKey,
}

/// A rotation under way: every DEK under the key's sets is to be wrapped under the newest version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// When it began.
    pub started: UnixMillis,
    /// DEKs wrapped anew so far.
    pub rewrapped: u64,
}

impl Version {
    /// A new version, enabled.
    #[must_use]
    pub fn new(
        version: KeyVersion,
        bits: KeyBits,
        (material, public): (Material, PublicKey),
        now: UnixMillis,
    ) -> Self {
        Self { version, bits: bits.count(), enabled: true, created: now, material, public }
    }
}

impl Key {
    /// A new key with its first version.
    #[must_use]
    pub fn new(name: KeyName, platform: bool, first: Version) -> Self {
        Self { name, platform, versions: vec![first], rotation: None }
    }

    /// The version that wraps.
    ///
    /// # Panics
    /// Never: a key is made with a version and none is ever taken away.
    #[must_use]
    pub fn newest(&self) -> &Version {
        self.versions.first().expect("a key has a version")
    }

    /// All versions, newest first.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Whether its newest version is enabled.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.newest().enabled
    }

    /// A version that may unwrap now.
    ///
    /// # Errors
    /// [`Refused::NoVersion`]; [`Refused::KeyDisabled`] (Key Vault: 403 KeyDisabled on wrap and unwrap).
    pub fn usable(&self, version: KeyVersion) -> Result<&Version, Refused> {
        let found = self.versions.iter().find(|v| v.version == version);
        match found {
            Some(version) if version.enabled => Ok(version),
            Some(_) => Err(Refused::KeyDisabled(self.name.clone())),
            None => Err(Refused::NoVersion(self.name.clone(), version)),
        }
    }

    /// Switches every version on or off.
    ///
    /// # Errors
    /// [`Refused::PlatformSwitch`]: the platform key stays on.
    pub fn switch(&mut self, enabled: bool) -> Result<(), Refused> {
        if self.platform {
            return Err(Refused::PlatformSwitch(self.name.clone()));
        }
        self.versions.iter_mut().for_each(|v| v.enabled = enabled);
        Ok(())
    }

    /// Whether a rotation could begin.
    ///
    /// # Errors
    /// [`Refused::KeyDisabled`], [`Refused::Rotating`], [`Refused::TooManyVersions`].
    pub fn rotatable(&self) -> Result<(), Refused> {
        match self {
            _ if !self.enabled() => Err(Refused::KeyDisabled(self.name.clone())),
            _ if self.rotation.is_some() => Err(Refused::Rotating(self.name.clone())),
            _ if self.versions.len() >= VERSIONS_MAX => {
                Err(Refused::TooManyVersions(self.name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Puts a new version in front and opens the journal. Older versions stay as they are.
    ///
    /// # Errors
    /// As [`Key::rotatable`].
    pub fn begin_rotation(&mut self, new: Version) -> Result<(), Refused> {
        self.rotatable()?;
        self.rotation = Some(Rotation { started: new.created, rewrapped: 0 });
        self.versions.insert(0, new);
        Ok(())
    }

    /// Closes the journal and says how many DEKs were wrapped anew.
    pub fn end_rotation(&mut self) -> u64 {
        self.rotation.take().map_or(0, |r| r.rewrapped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kek::SealedKey;

    fn version(created: UnixMillis) -> Version {
        Version {
            version: KeyVersion::random(),
            bits: 2048,
            enabled: true,
            created,
            material: Material::Sealed(SealedKey(vec![1, 2, 3])),
            public: PublicKey { n: vec![1], e: vec![1] },
        }
    }

    fn key() -> Key {
        Key::new("k".parse().unwrap(), false, version(1))
    }

    #[test]
    fn a_disabled_key_unwraps_nothing_under_any_version() {
        let mut key = key();
        key.begin_rotation(version(2)).unwrap();
        key.end_rotation();
        key.switch(false).unwrap();
        for v in key.versions() {
            assert!(matches!(key.usable(v.version), Err(Refused::KeyDisabled(_))));
        }
    }

    #[test]
    fn the_platform_key_stays_on() {
        let mut key = Key::new("platform".parse().unwrap(), true, version(1));
        assert!(matches!(key.switch(false), Err(Refused::PlatformSwitch(_))));
        assert!(key.enabled());
    }

    #[test]
    fn old_versions_stay_usable_through_a_rotation() {
        let mut key = key();
        let old = key.newest().version;
        key.begin_rotation(version(2)).unwrap();
        assert_ne!(key.newest().version, old);
        assert!(key.usable(old).is_ok());
        key.end_rotation();
        assert!(key.usable(old).is_ok());
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Enable,
        Disable,
        Begin,
        End,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Enable),
            Just(Step::Disable),
            Just(Step::Begin),
            Just(Step::End)
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        /// The oracle knows three things: whether it is on, whether a rotation runs, how many versions there are.
        #[test]
        fn any_sequence_agrees_with_the_oracle(steps in steps()) {
            let (mut key, mut on, mut rotating, mut versions) = (key(), true, false, 1);
            for step in steps {
                match step {
                    Step::Enable => { key.switch(true).unwrap(); on = true; }
                    Step::Disable => { key.switch(false).unwrap(); on = false; }
                    Step::Begin => {
                        let allowed = on && !rotating;
                        prop_assert_eq!(key.begin_rotation(version(9)).is_ok(), allowed);
                        if allowed { rotating = true; versions += 1; }
                    }
                    Step::End => { key.end_rotation(); rotating = false; }
                }
                prop_assert_eq!(key.enabled(), on);
                prop_assert_eq!(key.rotation.is_some(), rotating);
                prop_assert_eq!(key.versions().len(), versions);
                prop_assert!(key.versions().iter().all(|v| v.enabled == on));
            }
        }
    }
}
