//! A disk encryption set (DES): one key for many disks, and what happens to them when it goes.

use std::time::Duration;

use keyd_client::{
    DesName, KeyId, KeyVersion, Principal,
    ids::DesId,
    limits::{LEASE_MAX, LEASE_MIN},
    message::{DesChange, EncryptionType, OnRevoke, Reaction, RotationError, Terms, UnixMillis},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Refused,
    limits::{AZURE_GRACE_MS, GRACE_MS_MAX},
    model::{key::Key, version::VersionId},
};

/// A set as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Des {
    /// Its id, bound into its disks' wrapped DEKs.
    pub id: DesId,
    /// Its name.
    pub name: DesName,
    /// Its key.
    pub key: KeyId,
    /// The version that wraps new DEKs.
    pub active_version: KeyVersion,
    /// The platform key's version that wraps the other share, under platform and customer keys.
    pub platform_version: Option<KeyVersion>,
    /// Platform key, customer's key, or both.
    pub encryption: EncryptionType,
    /// The terms its disks run on.
    pub terms: Terms,
    /// Whether it follows its key's newest version.
    pub auto_rotate: bool,
    /// When it was made.
    pub created: UnixMillis,
    /// When its active version last changed.
    pub last_rotation: Option<UnixMillis>,
    /// The journal of a rotation that has begun and not ended.
    pub rotation: Option<Rotation>,
    /// Keys that may still wrap DEKs of it while that rotation runs.
    pub previous_keys: Vec<KeyId>,
    /// Why it does not follow its key.
    pub rotation_error: Option<RotationError>,
    /// Since when its key is lost, if its terms give a grace.
    pub lost_since: Option<UnixMillis>,
}

/// A rotation under way: DEKs that are not under the active versions are to be wrapped anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// When it began.
    pub started: UnixMillis,
    /// DEKs wrapped anew so far.
    pub rewrapped: u64,
}

/// What a set's maker chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Customer's key, or both.
    pub encryption: EncryptionType,
    /// Terms.
    pub terms: Terms,
    /// Whether it follows its key's newest version.
    pub auto_rotate: bool,
}

impl Des {
    /// A new set on a customer's key. `platform` is the newest version of the platform key.
    ///
    /// # Errors
    /// [`Refused::LeaseLength`], [`Refused::Grace`]; [`Refused::PlatformSet`] (Azure: a set has no platform encryption
    /// type).
    pub fn on_key(
        name: DesName,
        (key, version): (&Key, KeyVersion),
        platform: KeyVersion,
        choice: Choice,
        now: UnixMillis,
    ) -> Result<Self, Refused> {
        check_terms(&choice.terms)?;
        if key.platform || choice.encryption == EncryptionType::PlatformKey {
            return Err(Refused::PlatformSet(key.id.clone()));
        }
        let mut set = Self::make(name, (&key.id, version), choice, now);
        set.platform_version =
            (choice.encryption == EncryptionType::PlatformAndCustomerKeys).then_some(platform);
        Ok(set)
    }

    /// The built-in set for disks without a key of the customer's.
    #[must_use]
    pub fn platform(name: DesName, key: &Key, terms: Terms, now: UnixMillis) -> Self {
        let choice = Choice { encryption: EncryptionType::PlatformKey, terms, auto_rotate: true };
        Self::make(name, (&key.id, key.newest().version), choice, now)
    }

    fn make(
        name: DesName,
        (key, version): (&KeyId, KeyVersion),
        choice: Choice,
        now: UnixMillis,
    ) -> Self {
        Self {
            id: DesId::random(),
            name,
            key: key.clone(),
            active_version: version,
            platform_version: None,
            encryption: choice.encryption,
            terms: choice.terms,
            auto_rotate: choice.auto_rotate,
            created: now,
            last_rotation: None,
            rotation: None,
            previous_keys: Vec::new(),
            rotation_error: None,
            lost_since: None,
        }
    }

    /// Its own identity.
    #[must_use]
    pub fn identity(&self) -> Principal {
        Principal::Des(self.name.clone())
    }

    /// Whether a version of a key wraps what is wrapped now.
    #[must_use]
    pub fn is_active(&self, id: &VersionId) -> bool {
        let platform = id.key == KeyId::platform() && Some(id.version) == self.platform_version;
        platform || *id == self.active()
    }

    /// The version of its key that wraps new DEKs.
    #[must_use]
    pub fn active(&self) -> VersionId {
        VersionId { key: self.key.clone(), version: self.active_version }
    }

    /// New DEKs are wrapped under another version, maybe of another key, from now on; older wrapped DEKs are to follow.
    pub fn activate(&mut self, key: &KeyId, version: KeyVersion, now: UnixMillis) {
        if self.key != *key {
            let previous = std::mem::replace(&mut self.key, key.clone());
            self.previous_keys.retain(|other| *other != previous && other != key);
            self.previous_keys.push(previous);
        }
        self.active_version = version;
        self.last_rotation = Some(now);
        self.rotation_error = None;
        self.begin(now);
    }

    /// The platform's share is wrapped under another version from now on.
    pub fn activate_platform(&mut self, version: KeyVersion, now: UnixMillis) {
        self.platform_version = Some(version);
        self.begin(now);
    }

    /// Opens the journal. What an unfinished rotation counted is counted on.
    fn begin(&mut self, now: UnixMillis) {
        self.rotation.get_or_insert(Rotation { started: now, rewrapped: 0 });
    }

    /// Closes the journal and says how many DEKs were wrapped anew.
    pub fn end_rotation(&mut self) -> u64 {
        self.rotation_error = None;
        self.previous_keys.clear();
        self.rotation.take().map_or(0, |r| r.rewrapped)
    }

    /// Changes its terms; what is missing stays.
    ///
    /// # Errors
    /// [`Refused::LeaseLength`], [`Refused::Grace`].
    pub fn change(&mut self, change: &DesChange) -> Result<(), Refused> {
        let terms = Terms {
            on_revoke: change.on_revoke.unwrap_or(self.terms.on_revoke),
            lease_ms: change.lease_ms.unwrap_or(self.terms.lease_ms),
            grace_ms: change.grace_ms.unwrap_or(self.terms.grace_ms),
            on_expiry: change.on_expiry.unwrap_or(self.terms.on_expiry),
        };
        check_terms(&terms)?;
        self.terms = terms;
        if self.halts_after().is_none_or(|after| after == 0) {
            // Nobody keeps the date any more: a later grace begins with the loss that it is for.
            self.lost_since = None;
        }
        self.auto_rotate = change.auto_rotate.unwrap_or(self.auto_rotate);
        if !self.auto_rotate && self.rotation.is_none() {
            // It was for what it is not to follow any more.
            self.rotation_error = None;
        }
        Ok(())
    }

    /// What its disks' processes are told to do with the guest's requests.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        match self.terms.on_revoke {
            OnRevoke::Park | OnRevoke::Deferred => Reaction::Park,
            OnRevoke::Fail | OnRevoke::Azure1h => Reaction::Fail,
        }
    }

    /// How long after the loss of its key its disks are halted, milliseconds; none if only the next attach is.
    #[must_use]
    pub fn halts_after(&self) -> Option<u64> {
        match self.terms.on_revoke {
            OnRevoke::Park | OnRevoke::Fail => Some(self.terms.grace_ms),
            OnRevoke::Azure1h => Some(self.terms.grace_ms.max(AZURE_GRACE_MS)),
            OnRevoke::Deferred => None,
        }
    }

    /// Whether its disks are to be halted now, their key being lost.
    #[must_use]
    pub fn halts_now(&self, now: UnixMillis) -> bool {
        match self.halts_after() {
            Some(0) => true,
            Some(after) => {
                // A loss in the future was dated by a clock that was wrong: it is no reason to wait for it.
                self.lost_since.is_some_and(|since| now < since || now >= since + after)
            }
            None => false,
        }
    }
}

fn check_terms(terms: &Terms) -> Result<(), Refused> {
    let lease = Duration::from_millis(terms.lease_ms);
    if !(LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return Err(Refused::LeaseLength(terms.lease_ms));
    }
    if terms.grace_ms > GRACE_MS_MAX {
        return Err(Refused::Grace(terms.grace_ms));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
