//! A key: a name in a vault and its versions, newest first.

use keyd_client::{
    KeyId, KeyVersion, Principal,
    message::{KeyBackups, KeyChange, KeyOperation, RotationPolicy, UnixMillis},
};
use serde::{Deserialize, Serialize};

use super::version::{Part, Version, VersionId, check_tags};
use crate::{error::Refused, kek::Material, limits::VERSIONS_MAX};

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its vault and name.
    pub id: KeyId,
    /// Whether the daemon made it for disks without a key of the customer's.
    pub platform: bool,
    /// Newest first; never empty.
    versions: Vec<Version>,
    /// Set while it is deleted.
    deleted: Option<Deleted>,
    /// When it is rotated by itself.
    pub rotation_policy: Option<RotationPolicy>,
    /// When it was taken out last, sealed.
    #[serde(default)]
    pub backed_up: Option<UnixMillis>,
}

/// A deleted key: out of use, its name taken, until it is recovered or destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// When it was deleted.
    pub at: UnixMillis,
    /// When it will be destroyed by itself.
    pub purge_at: UnixMillis,
    /// Who asked for its destruction while it wraps DEKs; somebody else must ask too.
    pub purge_asked: Option<Principal>,
}

impl Key {
    /// A new key with its first version.
    #[must_use]
    pub fn new(id: KeyId, platform: bool, first: Version) -> Self {
        Self {
            id,
            platform,
            versions: vec![first],
            deleted: None,
            rotation_policy: None,
            backed_up: None,
        }
    }

    /// The same key in a vault to which a backup of it is brought; each version's material is bound to its key's id and
    /// made anew.
    ///
    /// # Errors
    /// Those of `anew`.
    pub fn moved<E>(
        mut self,
        id: KeyId,
        anew: impl Fn(&Version) -> Result<Material, E>,
    ) -> Result<Self, E> {
        for version in &mut self.versions {
            version.material = anew(version)?;
            version.restored = true;
        }
        Ok(Self { id, deleted: None, ..self })
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

    /// The same as others name them.
    pub fn version_ids(&self) -> impl Iterator<Item = VersionId> {
        let named =
            |version: &Version| VersionId { key: self.id.clone(), version: version.version };
        self.versions.iter().map(named)
    }

    /// When it was taken out of the daemon: by itself, and in the last backup of everything, which was made then. What
    /// is in a token is in neither.
    #[must_use]
    pub fn backups(&self, of_everything: Option<UnixMillis>) -> KeyBackups {
        let sealed = self.versions.iter().filter(|version| version.material.hsm().is_none());
        let first = sealed.map(|version| version.created).min();
        let whole = of_everything.filter(|made| first.is_some_and(|first| first <= *made));
        KeyBackups { own: self.backed_up, whole }
    }

    /// Whether its newest version is enabled.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.newest().enabled
    }

    /// Set while it is deleted.
    #[must_use]
    pub fn deleted(&self) -> Option<&Deleted> {
        self.deleted.as_ref()
    }

    /// The key, if it is not deleted.
    ///
    /// # Errors
    /// [`Refused::KeyDeleted`].
    pub fn alive(&self) -> Result<&Self, Refused> {
        match &self.deleted {
            Some(_) => Err(Refused::KeyDeleted(self.id.clone())),
            None => Ok(self),
        }
    }

    /// A version, whatever its state.
    ///
    /// # Errors
    /// [`Refused::NoVersion`].
    pub fn version(&self, version: KeyVersion) -> Result<&Version, Refused> {
        let found = self.versions.iter().find(|v| v.version == version);
        found.ok_or_else(|| Refused::NoVersion(self.id.clone(), version))
    }

    /// How a refusal names a version: as the key, if there is no other.
    #[must_use]
    pub fn part(&self, version: KeyVersion) -> Part {
        let version = (self.versions.len() > 1).then_some(version);
        Part { key: self.id.clone(), version }
    }

    /// A version that may be used so now.
    ///
    /// # Errors
    /// [`Refused::KeyDeleted`], [`Refused::NoVersion`], and those of [`Version::usable`].
    pub fn usable(
        &self,
        version: KeyVersion,
        operation: KeyOperation,
        now: UnixMillis,
    ) -> Result<&Version, Refused> {
        self.alive()?;
        let found = self.version(version)?;
        found.usable(&self.part(version), operation, now)?;
        Ok(found)
    }

    /// Changes attributes of one version, or of all.
    ///
    /// # Errors
    /// [`Refused::KeyDeleted`], [`Refused::NoVersion`], and those of [`check_tags`] and
    /// [`Version::keeps_a_time`].
    pub fn change(
        &mut self,
        version: Option<KeyVersion>,
        change: &KeyChange,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        self.alive()?;
        if let Some(version) = version {
            self.version(version)?;
        }
        change.tags.as_ref().map_or(Ok(()), check_tags)?;
        let concerned = |v: &Version| version.is_none_or(|only| only == v.version);
        self.versions.iter().filter(|v| concerned(v)).try_for_each(|v| v.keeps_a_time(change))?;
        self.versions.iter_mut().filter(|v| concerned(v)).for_each(|v| v.change(change, now));
        Ok(())
    }

    /// The customer's own words for the newest version said that its end is near.
    pub fn end_was_told(&mut self) {
        if let Some(newest) = self.versions.first_mut() {
            newest.end_told = true;
        }
    }

    /// Whether another version can be put in front.
    ///
    /// # Errors
    /// [`Refused::KeyDeleted`], [`Refused::TooManyVersions`].
    pub fn extendable(&self) -> Result<(), Refused> {
        self.alive()?;
        if self.versions.len() >= VERSIONS_MAX {
            return Err(Refused::TooManyVersions(self.id.clone()));
        }
        Ok(())
    }

    /// Whether it can be rotated.
    ///
    /// # Errors
    /// [`Refused::KeyDisabled`] and those of [`Key::extendable`].
    pub fn rotatable(&self) -> Result<(), Refused> {
        self.extendable()?;
        if !self.enabled() {
            return Err(Refused::KeyDisabled(self.part(self.newest().version)));
        }
        Ok(())
    }

    /// Puts a new version in front. Older versions stay as they are.
    ///
    /// # Errors
    /// As [`Key::extendable`].
    pub fn push(&mut self, new: Version) -> Result<(), Refused> {
        self.extendable()?;
        self.versions.insert(0, new);
        Ok(())
    }

    /// Deletes it, softly.
    ///
    /// # Errors
    /// [`Refused::PlatformKey`]; [`Refused::KeyDeleted`].
    pub fn delete(&mut self, now: UnixMillis, purge_at: UnixMillis) -> Result<(), Refused> {
        self.alive()?;
        if self.platform {
            return Err(Refused::PlatformKey(self.id.clone()));
        }
        self.deleted = Some(Deleted { at: now, purge_at, purge_asked: None });
        Ok(())
    }

    /// Brings it back.
    ///
    /// # Errors
    /// [`Refused::NotDeleted`].
    pub fn recover(&mut self) -> Result<(), Refused> {
        match self.deleted.take() {
            Some(_) => Ok(()),
            None => Err(Refused::NotDeleted(self.id.clone())),
        }
    }

    /// Whether a principal's wish to destroy it is enough: at once if nothing is wrapped under it any more, else when
    /// another principal has asked before.
    ///
    /// # Errors
    /// [`Refused::NotDeleted`].
    pub fn ask_purge(&mut self, who: &Principal, in_use: bool) -> Result<bool, Refused> {
        let deleted = self.deleted.as_mut().ok_or_else(|| Refused::NotDeleted(self.id.clone()))?;
        let seconded = deleted.purge_asked.as_ref().is_some_and(|first| first != who);
        if in_use && !seconded {
            deleted.purge_asked = Some(who.clone());
            return Ok(false);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
